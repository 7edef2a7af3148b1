"""Where Prefect keeps its records: the server a person configured, else one of the run's own.

A server that merely answers at some port is nobody's to trust.  Prefect is not imported here: that
alone takes a second, in which a server of the run's own starts.
"""

from __future__ import annotations

import base64
import gc
import logging
import os
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flows.execution.worker import PARENT, die_with_parent
from tmp.errors import InputError
from tmp.files import replacing

log = logging.getLogger(__name__)

PACKAGES = ("flows", "ingest", "photogrammetry", "tmp")
"""Whose log goes to the page of a run."""
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
}
"""What keeps Prefect from sending anything to its makers."""
DEFAULTS = {
    # The platform's log goes to the run's page, Prefect's own not to the terminal as well.
    "PREFECT_LOGGING_EXTRA_LOGGERS": ",".join(PACKAGES),
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # A server that goes away is given up after seconds, not after a minute at each stage.
    "PREFECT_CLIENT_MAX_RETRIES": "2",
}
"""What suits the platform where a person has set nothing else."""
LEAN = {
    "PREFECT_UI_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}
"""A server without pages or services."""
URL, AUTHORISATION = "PREFECT_API_URL", "PREFECT_API_AUTH_STRING"
PATIENCE_S = 5.0
"""Time that a configured server gets to answer."""
START_S = 90.0
"""Time that a server of the run's own gets to start."""
END_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server of Prefect."""

    url: str
    """Of its API."""
    authorisation: str = ""
    """Name and password as ``name:password``; empty for what the environment says."""
    patience_s: float = PATIENCE_S

    def answers(self) -> bool:
        """Tell whether it lets us in."""
        return self._lets_in(self.authorisation or os.environ.get(AUTHORISATION, ""))

    def answers_anyone(self) -> bool:
        """Tell whether it lets in whoever reaches it, without a password."""
        return self._lets_in("")

    def _lets_in(self, said: str) -> bool:
        request = urllib.request.Request(f"{self.url}/flows/count", data=b"{}")
        request.add_header("Content-Type", "application/json")
        if said:
            request.add_header("Authorization", f"Basic {base64.b64encode(said.encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=self.patience_s) as answer:
                return bool(answer.status == 200)
        except (OSError, ValueError):
            return False

    @contextmanager
    def used(self) -> Iterator[None]:
        """Have Prefect talk to it within the block; what is on its way then is waited for.

        Raises
        ------
        OSError
            If it does not answer.
        """
        configure()
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker
        from prefect.settings import (
            PREFECT_API_AUTH_STRING,
            PREFECT_API_URL,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
            temporary_settings,
        )

        if not self.answers():
            raise OSError(f"{self.url} does not answer")
        # Each flow would wait a second for its heartbeat's thread; dead runs are found without.
        own: dict[Any, Any] = {PREFECT_API_URL: self.url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
        if self.authorisation:
            own[PREFECT_API_AUTH_STRING] = self.authorisation
        with temporary_settings(own):
            yield
            APILogWorker.drain_all(timeout=END_S)
            EventsWorker.drain_all(timeout=END_S)


def configured_server() -> Server | None:
    """Return the server that ``PREFECT_API_URL`` or a profile of Prefect's names, if any."""
    if URL in os.environ or _profiles_path().exists() or "prefect" in sys.modules:
        configure()
        from prefect.settings import PREFECT_API_URL

        url = PREFECT_API_URL.value()
        return Server(url=url) if url else None
    return None


@contextmanager
def server_of_run() -> Iterator[Server | None]:
    """Yield the server for a run: the configured one, else one for the time of the block.

    None if that one does not answer, or cannot be started; this is logged.
    """
    configured, server, said = configured_server(), None, ""
    with ExitStack() as stack:
        if configured is None:
            try:
                server = stack.enter_context(_own_server())
            except OSError as error:
                said = f"Prefect's server cannot be started ({error})"
        elif configured.answers():
            server = configured
        else:
            said = f"Prefect's server at {configured.url} does not answer"
        if server is None:
            log.warning("%s; the run goes on without its record", said)
        yield server


@contextmanager
def _own_server() -> Iterator[Server]:
    """Start a server on a port that the kernel gives, with a password, and end it after the block.

    Its database is empty at each start: a copy of one that was set up when it was first needed.
    """
    configure()
    empty = cache_dir() / f"empty-{version('prefect')}.db"
    known = empty.exists()
    with tempfile.TemporaryDirectory(prefix="tmp-prefect-", ignore_cleanup_errors=True) as home:
        database = Path(home) / "prefect.db"
        if known:
            shutil.copyfile(empty, database)
        # Connections wait at the socket until the server takes it over.
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = Server(
                url=f"http://127.0.0.1:{listening.getsockname()[1]}/api",
                authorisation=f"tmp:{secrets.token_urlsafe(24)}",
                patience_s=START_S,
            )
            if sys.platform == "win32":  # where a process is not given another's socket
                listening.close()
            process = _start(server, listening, database, migrate=not known)
        try:
            if not known and server.answers():
                _keep_empty(database, empty)
            yield server
        finally:
            process.kill()  # its records go with it
            process.wait()


def _start(
    server: Server, listening: socket.socket, database: Path, *, migrate: bool
) -> subprocess.Popen[bytes]:
    """Start a process that serves on a socket, with a database beside which it logs."""
    kept = {key: value for key, value in os.environ.items() if key not in (URL, AUTHORISATION)}
    own = {
        PARENT: str(os.getpid()),
        "PREFECT_HOME": str(database.parent),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{database}",
        "PREFECT_API_DATABASE_MIGRATE_ON_START": str(migrate).lower(),
        "PREFECT_SERVER_API_AUTH_STRING": server.authorisation,
    }
    descriptors = () if listening.fileno() < 0 else (listening.fileno(),)
    with (database.parent / "server.log").open("wb") as log_file:
        return subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "flows.prefect.server",
                server.url,
                *map(str, descriptors),
            ],
            env=kept | LEAN | own,
            pass_fds=descriptors,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
        )


def _keep_empty(database: Path, empty: Path) -> None:
    """Keep a copy of a database that has just been set up, for the servers to come."""
    with suppress(OSError, InputError, sqlite3.Error):
        empty.parent.mkdir(parents=True, exist_ok=True)
        with (
            replacing(empty) as temporary,
            closing(sqlite3.connect(database)) as source,
            closing(sqlite3.connect(temporary)) as target,
        ):
            source.backup(target)


def configure() -> None:
    """Set Prefect up, before it is imported; what a person has set is kept."""
    os.environ.update(QUIET)
    for key, value in DEFAULTS.items():
        os.environ.setdefault(key, value)
    if not _profiles_path().exists() and "PREFECT_HOME" not in os.environ:
        home = cache_dir()
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError:  # a home that may not be written to
            home = Path(tempfile.mkdtemp(prefix="tmp-prefect-"))
        os.environ["PREFECT_HOME"] = str(home)


def cache_dir() -> Path:
    """Return the folder in which Prefect keeps its own files."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "terrestrial-mapping-platform" / "prefect"


def _profiles_path() -> Path:
    """Return where a person's profiles of Prefect are, if there are any."""
    home = os.environ.get("PREFECT_HOME") or str(Path.home() / ".prefect")
    return Path(os.environ.get("PREFECT_PROFILES_PATH") or Path(home) / "profiles.toml")


def _serve(url: str, *descriptors: str) -> None:
    """Serve on a socket that the parent process has opened, or at its address, until that ends."""
    die_with_parent()
    gc.disable()  # what is imported stays: looking through it takes a fifth of the start
    import uvicorn
    from prefect.server.api.server import create_app

    gc.enable()
    # Services would write into a database that is thrown away, and lock it meanwhile.
    app = create_app(ephemeral=True, webserver_only=True, final=True)
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    port = urlsplit(url).port or 0
    listening = (
        socket.socket(fileno=int(descriptors[0]))
        if descriptors
        else socket.create_server(("127.0.0.1", port))
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    _serve(*sys.argv[1:])
