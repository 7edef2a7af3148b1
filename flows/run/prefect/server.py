"""Where Prefect keeps its records: the server a person configured, or one that answers here.

Prefect is not imported until a server is known or asked for: that alone takes a second.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
}
"""What keeps Prefect from sending anything to its makers."""
DEFAULTS = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # A server that goes away is given up after seconds, not after a minute at each stage.
    "PREFECT_CLIENT_MAX_RETRIES": "2",
}
"""What suits the platform where a person has set nothing else."""
URL = "PREFECT_API_URL"
USUAL_URL = "http://127.0.0.1:4200/api"
"""Where ``prefect server start`` serves unless told otherwise."""
PATIENCE_S = 5.0
"""Time that a configured server gets to answer."""
GLANCE_S = 0.5
"""Time that the usual address, where there may be nothing, gets to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server of Prefect."""

    url: str
    """Of its API."""
    answers: bool


def find_server() -> Server | None:
    """Return the server that a person configured, or else the one at the usual address, if any.

    Notes
    -----
    A configured server is returned whether it answers or not; at the usual address nobody may have
    meant one to be, so that silence there says nothing.
    """
    configured = configured_url()
    if configured is not None:
        return Server(url=configured, answers=_answers(configured))
    return Server(url=USUAL_URL, answers=True) if _is_prefect(USUAL_URL) else None


def configured_url() -> str | None:
    """Return the address that ``PREFECT_API_URL`` or a profile of Prefect's gives, if any."""
    if URL in os.environ or _profiles_path().exists() or "prefect" in sys.modules:
        configure()
        from prefect.settings import PREFECT_API_URL

        return PREFECT_API_URL.value() or None
    return None


@contextmanager
def using(server: Server | None) -> Iterator[None]:
    """Have Prefect talk to a server within the block; None: to one that it starts itself."""
    configure()
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({} if server is None else {PREFECT_API_URL: server.url}):
        yield


def configure() -> None:
    """Set Prefect up, before it is imported; what a person has set is kept."""
    os.environ.update(QUIET)
    for key, value in DEFAULTS.items():
        os.environ.setdefault(key, value)
    if not _profiles_path().exists() and "PREFECT_HOME" not in os.environ:
        cache_dir().mkdir(parents=True, exist_ok=True)
        os.environ["PREFECT_HOME"] = str(cache_dir())


def cache_dir() -> Path:
    """Return the folder in which Prefect keeps its own files."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "terrestrial-mapping-platform" / "prefect"


def _profiles_path() -> Path:
    """Return where a person's profiles of Prefect are, if there are any."""
    home = os.environ.get("PREFECT_HOME") or str(Path.home() / ".prefect")
    return Path(os.environ.get("PREFECT_PROFILES_PATH") or Path(home) / "profiles.toml")


def _answers(url: str) -> bool:
    """Tell whether anything answers at an address, even if only to ask who is there."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=PATIENCE_S):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500
    except (OSError, ValueError):
        return False


def _is_prefect(url: str) -> bool:
    """Tell whether a server of Prefect answers on this machine; others use its port, too."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/health", timeout=GLANCE_S) as answer:
            return json.loads(answer.read(16)) is True
    except (OSError, ValueError):
        return False
