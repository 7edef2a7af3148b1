"""The 3D model of a survey as a widget: turned, lit from any side, and cut by a plane."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from tmp.errors import InputError
from tmp.explore.map_widget import STATIC, page_code

log = logging.getLogger(__name__)
PIECE_BYTES = 4 * 2**20
"""Of the model's file in one message, so that a slow line shows how far it is."""


class ModelView(anywidget.AnyWidget):
    """A survey's 3D model, to turn, to light from any side, and to cut.

    `tmp.survey.Survey.view_model` makes one.  All that the sliders change can be read and set from
    the notebook.
    """

    _esm = page_code("three.min.js", "model.js", "THREE")
    _css = (STATIC / "map.css").read_text(encoding="utf-8")

    light = traitlets.List([315.0, 35.0]).tag(sync=True)
    """Azimuth and elevation in degrees."""
    photographs = traitlets.Bool(True).tag(sync=True)
    """Whether the photographs are on it; else it is grey, and light alone shows its shape."""
    continued = traitlets.Bool(True).tag(sync=True)
    """Whether ground that was not measured is shown."""
    exaggeration = traitlets.Float(1.0).tag(sync=True)
    """By how much heights are drawn out."""
    section = traitlets.Dict({"on": False, "azimuth": 0.0, "at": 0.0, "thickness": 0.0}).tag(
        sync=True
    )
    """Upright plane that looks towards an azimuth (degrees), so many metres from the middle; what
    lies before it is cut away, and what lies farther behind than a thickness above 0."""
    picked = traitlets.Dict().tag(sync=True)
    """Place last clicked: ``x``, ``y`` in the survey's CRS and ``height``."""
    height_px = traitlets.Int(520).tag(sync=True)
    _about = traitlets.Dict().tag(sync=True)

    def __init__(self, path: Path, **state: Any) -> None:
        self._path = path
        about = read_about(path)
        super().__init__(_about=about | {"bytes": path.stat().st_size}, **state)
        self.on_msg(_answer)


def read_about(path: Path) -> dict[str, Any]:
    """Return what a GLB says of its origin and CRS.

    Raises `InputError` if it is no GLB.
    """
    try:
        with path.open("rb") as file:
            magic, _, _ = struct.unpack("<4sII", file.read(12))
            length, _ = struct.unpack("<II", file.read(8))
            if magic != b"glTF":
                raise ValueError("it does not begin as one")
            document = json.loads(file.read(length))
    except (OSError, ValueError, struct.error) as error:
        raise InputError(f"{path}: is no GLB ({error}); run 'tmp map' again") from error
    origin = document.get("asset", {}).get("extras", {})
    place = origin.get("origin", {})
    return {
        "crs": origin.get("crs") or "",
        "unit": "m" if origin.get("crs") else "units",
        "origin": [float(place.get(name, 0.0)) for name in ("easting", "northing", "height")],
    }


def _answer(widget: ModelView, asked: Mapping[str, Any], buffers: Sequence[bytes]) -> None:
    """Send the page a piece of the file, or say why not."""
    del buffers
    answer: dict[str, Any] = {"id": asked.get("id")}
    try:
        with widget._path.open("rb") as file:
            file.seek(int(asked["offset"]))
            piece = file.read(PIECE_BYTES)
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s: %s", widget._path, error)
        widget.send(answer | {"error": str(error)})
    else:
        widget.send(answer, [piece])
