"""JupyterLab on a survey: its notebooks beside it, and a server that asks no other machine."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from tmp.errors import ExecutionError, InputError
from tmp.files import replacing

HERE = Path(__file__).parent
CONFIG = HERE / "static" / "lab"
"""Jupyter's configuration: no news, no look for updates, no shop of extensions."""
FOLDER = "notebooks"
"""Of a survey, where its notebooks lie."""
NEEDED = ("jupyterlab", "ipykernel", "anywidget", "rioxarray")
"""Modules of the extra "jupyter"."""
SURVEY_VARIABLE = "TMP_SURVEY"
"""Tells notebooks which survey they are of; without it, it is the folder above them."""
_ABOVE = r"\"..\""
"""How notebooks say, in JSON, that the survey is the folder above theirs."""
FIRST_PORT, LAST_PORT = 8888, 8987
START_S = 90.0
END_S = 10.0
HOST = "127.0.0.1"


def notebooks_folder() -> Path:
    """Return where the platform's own notebooks lie: in the package, or in the repository."""
    packed = HERE / FOLDER
    return packed if packed.is_dir() else HERE.parent.parent / FOLDER


def copy_notebooks(to: Path, survey: Path | None = None) -> list[Path]:
    """Copy the platform's notebooks to a folder; those that are there, edited or not, stay.

    Copies that do not lie in a folder of the survey are told where it is.  Returns the paths of
    those that were copied.  Raises `InputError` if the folder cannot be written to.
    """
    apart = survey is not None and to.parent != survey
    copied = []
    try:
        to.mkdir(parents=True, exist_ok=True)
        for source in sorted(notebooks_folder().glob("*.ipynb")):
            target = to / source.name
            if not target.exists():
                text = source.read_text(encoding="utf-8")
                if apart:  # a string of Python's within one of JSON's
                    text = text.replace(_ABOVE, json.dumps(json.dumps(str(survey)))[1:-1])
                with replacing(target) as partial:
                    partial.write_text(text, encoding="utf-8", newline="\n")
                copied.append(target)
    except OSError as error:
        raise InputError(
            f"{to}: notebooks cannot be copied there ({error.strerror}); copy the survey to a "
            "folder of your own, or give one with --to"
        ) from error
    return copied


def refuse_without_jupyter() -> None:
    """Raise `InputError` unless all that Jupyter needs is installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"{', '.join(missing)} not installed, which Jupyter needs; "
            "pip install 'terrestrial-mapping-platform[jupyter]'"
        )


def choose_port(asked: int | None) -> int:
    """Return the port that was asked for, else the first free one.

    Raises `InputError` if it is in use, or none is free.
    """
    for port in [asked] if asked is not None else range(FIRST_PORT, LAST_PORT + 1):
        with socket.socket() as probe:
            if sys.platform != "win32":  # where it would take a port from who has it
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    if asked is not None:
        raise InputError(f"port {asked} is in use; give another with --port, or leave it away")
    raise InputError(f"no port from {FIRST_PORT} to {LAST_PORT} is free; give one with --port")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A JupyterLab that is up."""

    process: subprocess.Popen[bytes]
    address: str
    """With its token: whoever knows it may run programs here."""


@contextmanager
def serve_lab(survey: Path, notebooks: Path, *, first: str, port: int) -> Iterator[Lab]:
    """Start JupyterLab on a survey and wait until it answers; end it with the block.

    Parameters
    ----------
    survey : Path
        The survey's folder, which the notebooks find in their environment.
    notebooks : Path
        The folder with the notebooks, which the file browser begins with.
    first : str
        Name of the notebook to open.
    port : int

    Raises
    ------
    ExecutionError
        If it ends before it answers, or does not answer in time.
    """
    token = secrets.token_urlsafe(24)
    root = survey if notebooks.is_relative_to(survey) else notebooks
    with tempfile.TemporaryDirectory(prefix="tmp-lab-") as runtime:
        log = Path(runtime) / "log.txt"
        with log.open("wb") as said:
            process = subprocess.Popen(
                _command(root, port, Path(runtime)),
                env=_environment(survey, Path(runtime), token),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                # Ctrl-C is ours: the server would ask whether it is meant.
                start_new_session=sys.platform != "win32",
            )
        try:
            _wait_for(process, port, token, log)
            path = quote((notebooks / first).relative_to(root).as_posix())
            yield Lab(
                process=process, address=f"http://{HOST}:{port}/lab/tree/{path}?token={token}"
            )
        finally:
            _end(process)


def _command(root: Path, port: int, runtime: Path) -> list[str]:
    options = {
        "LabApp.workspaces_dir": str(runtime),  # not the tabs of another survey
        "ServerApp.ip": HOST,
        "ServerApp.port": str(port),
        "ServerApp.port_retries": "0",
        "ServerApp.open_browser": "False",
        "ServerApp.root_dir": str(root),
    }
    if os.name == "posix" and os.geteuid() == 0:
        options["ServerApp.allow_root"] = "True"
    return [sys.executable, "-m", "jupyterlab", *(f"--{key}={options[key]}" for key in options)]


def _environment(survey: Path, runtime: Path, token: str) -> dict[str, str]:
    former = os.environ.get("JUPYTER_CONFIG_PATH")
    return os.environ | {
        SURVEY_VARIABLE: str(survey),
        "JUPYTER_TOKEN": token,
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, (str(CONFIG), former))),
        "JUPYTER_PREFER_ENV_PATH": "1",  # kernels of this installation before others of their name
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }


def _wait_for(process: subprocess.Popen[bytes], port: int, token: str, log: Path) -> None:
    request = urllib.request.Request(
        f"http://{HOST}:{port}/api/status", headers={"Authorization": f"token {token}"}
    )
    asking = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        if process.poll() is not None:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise ExecutionError(
                f"JupyterLab ended as it began: {lines[-1] if lines else 'it said nothing'}; "
                "'tmp doctor' says what is missing"
            )
        try:
            with asking.open(request, timeout=5):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    raise ExecutionError(f"JupyterLab did not answer within {START_S:.0f} s; try again")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and what began it; it ends its kernels."""
    if sys.platform == "win32":
        process.terminate()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def open_browser(address: str, say: Callable[[str], None]) -> None:
    """Open an address in the user's browser, or say it where there is none."""
    try:
        opened = webbrowser.open(address)
    except (webbrowser.Error, OSError):
        opened = False
    if not opened:
        say("no browser here; open the address above in one on this machine")
