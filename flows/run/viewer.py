"""The viewer of a survey: made when its products have changed, served to this machine's browser."""

from __future__ import annotations

import threading
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flows.engine.result import DISTRIBUTION, digest_of
from flows.products.table import DSM, DTM, RELIEF, VIEWER, VIEWER_PAGE
from flows.products.volumes import Surface
from flows.run.publish import recall_map, report_map
from flows.run.relief import ReliefOptions, make_relief
from flows.viewer.folder import ViewerSize, size_of, write_viewer
from tmp.errors import InputError
from tmp.files import read_json, replacing_folder, write_json
from tmp.lock import locked_survey
from tmp.progress import Track, silent
from tmp.survey import StrPath, Survey, open_survey, read_settings

MADE_OF = "made_of.json"
"""File in the viewer that says what it was made of."""
LOCAL = "127.0.0.1"
HOSTS = (LOCAL, "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerResult:
    """What was made."""

    survey: Survey
    path: Path
    """The page to open."""
    size: ViewerSize
    reused: bool
    """Whether it was there already."""


def make_viewer(
    root: StrPath, *, track: Track = silent, relief: bool = True, workers: int = 1
) -> ViewerResult:
    """Write ``products/viewer/``, a folder that any browser opens without a server.

    Parameters
    ----------
    root : path or Survey
        A survey folder with a map.
    track : Track
    relief : bool
        Whether pictures of relief are made first where there are none.
    workers : int
        Threads.

    Raises
    ------
    NotASurveyError, InputError
        If the survey has no map.
    """
    survey = open_survey(root)
    products_dir = survey.products_dir
    heights = next((one for one in (DTM, DSM) if (products_dir / one.file).exists()), None)
    if heights is None and not list(products_dir.glob("*.tif")):
        raise InputError(
            f"{survey.folder}: has no map to show; make one with 'tmp map {survey.folder}'"
        )
    folder = products_dir / VIEWER
    # One that is true is shown as it lies, also from a disk that cannot be written to.
    reused = _is_true(survey, folder)
    if not reused:
        if relief and heights and not any((products_dir / one.file).exists() for one in RELIEF):
            surface = Surface.DTM if heights is DTM else Surface.DSM
            make_relief(survey, ReliefOptions(surface=surface, workers=workers), track=track)
        with locked_survey(survey, "'tmp view'"):
            digest = _digest(survey)
            with replacing_folder(folder) as new:
                write_viewer(survey, new, track=track, workers=workers)
                write_json(new / MADE_OF, {"digest": digest})
            _report(survey)
    return ViewerResult(
        survey=survey, path=folder / VIEWER_PAGE, size=size_of(folder), reused=reused
    )


def _digest(survey: Survey) -> str:
    """Digest what a viewer is made of: products by size and time, name, and version."""
    stats = {
        path.relative_to(survey.products_dir).as_posix(): [
            path.stat().st_size,
            path.stat().st_mtime_ns,
        ]
        for pattern in ("*.tif", "*.glb", "cameras.csv", "relief/*.tif")
        for path in sorted(survey.products_dir.glob(pattern))
    }
    name = read_settings(survey).name
    return digest_of({"files": stats, "name": name, "software": version(DISTRIBUTION)})


def _is_true(survey: Survey, folder: Path) -> bool:
    """Tell whether a viewer is there, and of the products as they are."""
    path = folder / MADE_OF
    if not path.exists() or not (folder / VIEWER_PAGE).exists():
        return False
    return bool(read_json(path).get("digest") == _digest(survey))


def _report(survey: Survey) -> None:
    """Have the report lead to the viewer, where the map's results are there to write it anew."""
    if survey.map_path.exists():
        record = recall_map(survey, read_settings(survey), survey.captures)
        if record is not None:
            report_map(record)


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder's files to this machine, and nothing to pages of others."""

    def send_head(self) -> Any:
        """Answer only requests for this machine by its own names."""
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
        if host not in HOSTS:
            self.send_error(HTTPStatus.FORBIDDEN, "this server answers its own machine alone")
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        """List none."""
        del path
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve_viewer(
    folder: Path, port: int, said: Callable[[str], None], *, browse: bool = True
) -> None:
    """Serve a viewer at an address of this machine until interrupted, and open it in a browser.

    `said` is told the address.

    Raises
    ------
    InputError
        If the port is in use.
    """
    try:
        server = ThreadingHTTPServer((LOCAL, port), partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise InputError(
            f"--port {port}: cannot be used ({error.strerror}); give another, or leave it away"
        ) from error
    with server:
        address = f"http://{LOCAL}:{server.server_address[1]}/"
        said(address)
        if browse:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        server.serve_forever()
