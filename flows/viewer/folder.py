"""Write the viewer: one folder with a page, what it runs, and what it shows."""

from __future__ import annotations

import base64
import csv
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pyproj import Transformer

from flows.engine.result import DISTRIBUTION
from flows.products.cameras import CSV
from flows.products.table import MODEL, VIEWER_PAGE
from flows.report.photographs import read_small
from flows.viewer.heights import TILE_CELLS, HeightSource, find_heights, height_facts, write_heights
from flows.viewer.layers import Layer, find_layers
from flows.viewer.tiles import Scheme, places, scheme_of, write_tile
from tmp.errors import InputError
from tmp.progress import Track
from tmp.survey import Survey, read_settings
from tmp.threads import map_threads

STATIC = "static"
LIBRARIES = (
    "leaflet.css",
    "leaflet.js",
    "LICENSE-leaflet.txt",
    "three.min.js",
    "LICENSE-three.txt",
)
"""What the page shares with the notebooks' widgets, of `tmp.explore`."""
PHOTOGRAPH_PX, PHOTOGRAPH_QUALITY = 400, 70
MODEL_PART_BYTES = 3 * 2**20
"""Of the model in one script: a multiple of three, so that parts in base64 go end to end."""
DEGREE = 3
"""Of the polynomials that give longitude and latitude."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerSize:
    """What a viewer takes."""

    files: int
    megabytes: float
    """Units of 1e6 bytes."""


def write_viewer(survey: Survey, folder: Path, *, track: Track, workers: int = 1) -> None:
    """Write the viewer of what lies in a survey's ``products/`` into an empty folder.

    Raises
    ------
    InputError
        If there is no raster to show.
    """
    products_dir = survey.products_dir
    layers = find_layers(products_dir)
    if not layers:
        raise InputError(f"{survey.folder}: has no map to show; make one with 'tmp map'")
    settings = read_settings(survey)
    scheme = scheme_of(layers)
    data: dict[str, Any] = {
        "title": settings.name,
        "crs": layers[0].grid.crs or "",
        "unit": "m" if layers[0].grid.crs else "units",
        "x": scheme.x_min,
        "y": scheme.y_max,
        "width": scheme.width_m,
        "height": scheme.height_m,
        "pixel": scheme.finest_m,
        "levels": scheme.levels,
        "lonlat": _lonlat(scheme, layers[0].grid.crs),
        "datum": str(settings.vertical_datum),
        "made": f"{datetime.now(UTC):%Y-%m-%d}",
        "software": f"Terrestrial Mapping Platform {version(DISTRIBUTION)}",
        "layers": _layers(scheme, layers, folder, track=track, workers=workers),
        "heights": _heights(find_heights(products_dir), folder, track=track, workers=workers),
        "cameras": _cameras(survey, folder, track=track, workers=workers),
        "model": _model(products_dir / MODEL.file, folder),
    }
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    (folder / "data.js").write_text(f"window.TMP_DATA={text};\n", encoding="ascii")
    libraries = files("tmp.explore").joinpath(STATIC)
    own = files("flows.viewer").joinpath(STATIC).iterdir()
    for path in (*own, *(libraries / name for name in LIBRARIES)):
        content = path.read_bytes()
        if path.name == VIEWER_PAGE:
            content = content.replace(b"{title}", html.escape(settings.name).encode())
        (folder / path.name).write_bytes(content)


def size_of(folder: Path) -> ViewerSize:
    """Return what a viewer takes."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return ViewerSize(files=len(sizes), megabytes=sum(sizes) / 1e6)


def _layers(
    scheme: Scheme, layers: Sequence[Layer], folder: Path, *, track: Track, workers: int
) -> list[dict[str, Any]]:
    """Write the tiles of all layers; returns what the page needs to know of each."""
    asked = [(number, place) for number, one in enumerate(layers) for place in places(scheme, one)]

    def write(task: tuple[int, tuple[int, int, int]]) -> str:
        number, place = task
        return write_tile(scheme, layers[number], folder / f"t{number}", place)

    written = map_threads(write, asked, workers=workers)
    kinds = dict(track(written, "Drawing tiles", len(asked)))
    told = []
    for number, layer in enumerate(layers):
        of_level: dict[int, str] = {}
        for place in places(scheme, layer):
            of_level[place[0]] = of_level.get(place[0], "") + kinds[number, place]
        told.append(
            {
                "id": layer.product.name.replace("/", "_"),
                "folder": f"t{number}",
                "title": layer.product.title,
                "group": layer.group,
                "purpose": layer.product.purpose,
                "level": scheme.level_of(layer.grid.cell_m),
                "cell": layer.grid.cell_m,
                "legend": layer.legend(),
                "steps": bool(layer.product.classes),
                "tiles": {
                    level: {"cols": scheme.shape(level)[1], "kinds": text}
                    for level, text in of_level.items()
                },
            }
        )
    return told


def _heights(
    source: HeightSource | None, folder: Path, *, track: Track, workers: int
) -> dict[str, Any] | None:
    """Write the tiles of heights; returns what the page needs to know of them."""
    if source is None:
        return None
    tiles = list(source.grid.tiles(TILE_CELLS))
    write = partial(write_heights, source, folder / "heights")
    written = track(map_threads(write, tiles, workers=workers), "Writing heights", len(tiles))
    return height_facts(source, sorted(tile.name for tile, there in written if there))


def _cameras(survey: Survey, folder: Path, *, track: Track, workers: int) -> list[dict[str, Any]]:
    """Write the photographs, small; returns where each was taken and what is known of it."""
    table = survey.products_dir / CSV
    if not table.exists():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    (folder / "photographs").mkdir()

    def picture(number: int) -> str:
        pixels = read_small(survey.photos_dir / rows[number]["photograph"], PHOTOGRAPH_PX)
        if pixels is None:
            return ""
        path = folder / "photographs" / f"{number}.jpg"
        Image.fromarray(pixels).save(path, "JPEG", quality=PHOTOGRAPH_QUALITY)
        return f"photographs/{path.name}"

    pictures = map_threads(picture, range(len(rows)), workers=workers)
    shown = dict(track(pictures, "Making photographs small", len(rows)))
    return [_camera(row, shown[number]) for number, row in enumerate(rows)]


def _camera(row: dict[str, str], picture: str) -> dict[str, Any]:
    def number(*names: str) -> float | None:
        said = next((row[name] for name in names if row.get(name)), "")
        return float(said) if said else None

    return {
        "name": row["photograph"],
        "x": number("easting_m", "x"),
        "y": number("northing_m", "y"),
        "z": number("height_m", "z"),
        "sigma": number("sigma_up_m"),
        "kappa": number("kappa_deg"),
        "time": row["time_utc"],
        "picture": picture,
    }


def _model(path: Path, folder: Path) -> dict[str, Any] | None:
    """Write the 3D model as scripts; returns how many there are."""
    if not path.exists():
        return None
    (folder / "model").mkdir()
    parts = 0
    with path.open("rb") as file:
        while part := file.read(MODEL_PART_BYTES):
            text = base64.b64encode(part).decode()
            script = f'TMP.takeModel({parts},"{text}");\n'
            (folder / "model" / f"{parts}.js").write_text(script, encoding="ascii")
            parts += 1
    return {"parts": parts, "megabytes": round(path.stat().st_size / 1e6, 1)}


def _lonlat(scheme: Scheme, crs: str | None) -> dict[str, Any] | None:
    """Return polynomials in shares of the map that give longitude and latitude, in degrees.

    They stand for the CRS, whose formulas a page has not: to a millionth of a metre for a map of a
    kilometre, to millimetres for one of thirty.
    """
    if crs is None:
        return None
    u, v = map(np.ravel, np.meshgrid(*[np.linspace(0, 1, 12)] * 2))
    x, y = scheme.x_min + u * scheme.width_m, scheme.y_max - v * scheme.height_m
    degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)
    powers = [(i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)]
    terms = np.stack([u**i * v**j for i, j in powers], axis=1)
    solved, *_ = np.linalg.lstsq(terms, np.stack(degrees, axis=1), rcond=None)
    return {"powers": powers, "lon": solved[:, 0].tolist(), "lat": solved[:, 1].tolist()}
