"""A page to mark control points in: pieces of photographs about where each point should be.

It opens from the survey's folder by a double click and asks no other machine.  Marks leave it as a
table, which ``tmp control`` takes in.  Where a point should be follows from the last map: its place
there, and the map's own height at it, so that heights counted from another level do no harm.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flows.products.table import DSM
from tmp.cameras import Camera
from tmp.errors import InputError, PhotographError
from tmp.geo.control import Control
from tmp.geo.grids import Tile
from tmp.geo.rasters import read_grid, read_window
from tmp.progress import Track
from tmp.reconstruction import Reconstruction
from tmp.survey import Survey
from tmp.threads import map_threads

Float = NDArray[np.float64]

PAGE = "index.html"
STATIC = "marking_page"
PIECE_PX = 900
"""Side of a piece of a photograph, in its own pixels."""
MARGIN = 0.02
"""Share of a photograph's sides in which no point is looked for: edges are drawn worst."""
FOLDED = 0.01
"""Tangent between a ray and the one that its image comes from, above which distortion folds."""
MOST_PHOTOGRAPHS = 12
"""Of a point, those nearest to whose middle it lies."""
QUALITY = 88


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A photograph that should show a point."""

    point: str
    photograph: str
    x_px: float
    """Where it should show it: full size, corner origin."""
    y_px: float


def expected_sights(
    control: Control, reconstruction: Reconstruction, products_dir: Path
) -> list[Sight]:
    """Return where photographs should show each point, the best placed ones first.

    Raises `InputError` if the map has no place on Earth.
    """
    frame = reconstruction.frame
    if frame.crs is None:
        raise InputError("the map has no place on Earth, so nothing is known of where points are")
    places = control.on_map(frame.crs)
    places[:, 2] = _heights(places, reconstruction, products_dir / DSM.file)
    world = frame.world_from_map(places)
    found = []
    for point, place in zip(control.points, world, strict=True):
        seen = []
        for photo in reconstruction.photos:
            camera = reconstruction.cameras[photo.camera_id]
            pixel = _seen_at(camera, photo.pose.cam_from_world(place))
            if pixel is not None:
                size = np.array([camera.width_px, camera.height_px])
                off = float(np.linalg.norm((pixel - size / 2) / size[0]))
                sight = Sight(
                    point=point.name,
                    photograph=photo.name,
                    x_px=float(pixel[0]),
                    y_px=float(pixel[1]),
                )
                seen.append((off, photo.name, sight))
        found += [sight for _, _, sight in sorted(seen, key=lambda one: one[:2])[:MOST_PHOTOGRAPHS]]
    return found


def _seen_at(camera: Camera, cam: Float) -> Float | None:
    """Return where a camera shows camera coordinates (1, 3); None outside of its picture.

    Far beyond the picture, distortion may fold back into it what nobody sees there.
    """
    pixel = camera.pixel_from_cam(cam)
    share = pixel[0] / (camera.width_px, camera.height_px)
    if not np.all((share > MARGIN) & (share < 1 - MARGIN)):
        return None
    folded = np.abs(camera.ray_from_pixel(pixel)[0] - cam[0] / cam[0, 2]).max() > FOLDED
    return None if folded else np.asarray(pixel[0])


def _heights(places: Float, reconstruction: Reconstruction, path: Path) -> Float:
    """Return the map's height at places (N, 3): the surface's, else that of nearby tie points."""
    ties = reconstruction.frame.map_from_world(reconstruction.points)
    heights = np.empty(len(places))
    grid = read_grid(path) if path.exists() else None
    for i, (x, y, _) in enumerate(places):
        near = np.argsort((ties[:, 0] - x) ** 2 + (ties[:, 1] - y) ** 2)[:15]
        heights[i] = np.median(ties[near, 2])
        if grid is not None:
            row = int((grid.y_max - y) // grid.cell_m)
            col = int((x - grid.x_min) // grid.cell_m)
            if 0 <= row < grid.rows and 0 <= col < grid.cols:
                (value,) = read_window(path, Tile(row=row, col=col, rows=1, cols=1)).ravel()
                heights[i] = value if abs(value - heights[i]) < 100 else heights[i]
    return heights


def write_marking_page(
    survey: Survey,
    control: Control,
    reconstruction: Reconstruction,
    folder: Path,
    *,
    track: Track,
    workers: int,
) -> int:
    """Write the page into an empty folder; returns how many pieces of photographs it shows.

    Raises
    ------
    InputError
        If no photograph should show any of the points, or the map has no place.
    """
    sights = expected_sights(control, reconstruction, survey.products_dir)
    if not sights:
        raise InputError(
            f"{survey.folder}: no photograph of the map should show any of its points; are "
            "coordinates and CRS right?"
        )
    by_photo: dict[str, list[Sight]] = {}
    for sight in sights:
        by_photo.setdefault(sight.photograph, []).append(sight)
    number = {photo.name: i for i, photo in enumerate(reconstruction.photos)}
    pieces: dict[tuple[str, str], dict[str, Any]] = {}

    def cut(name: str) -> list[tuple[Sight, dict[str, Any]]]:
        return _cut(survey.photos_dir / name, number[name], by_photo[name], folder)

    done = map_threads(cut, sorted(by_photo), workers=workers)
    for _, made in track(done, "Cutting photographs", len(by_photo)):
        pieces |= {(sight.point, sight.photograph): piece for sight, piece in made}
    title = survey.folder.resolve().name
    data = {
        "survey": title,
        "points": [
            {
                "name": point.name,
                "role": str(point.role),
                "said": f"{point.x:.3f}, {point.y:.3f}, {point.height_m:.3f} ({point.crs})",
                "sights": [
                    pieces[sight.point, sight.photograph]
                    for sight in sights
                    if sight.point == point.name and (sight.point, sight.photograph) in pieces
                ],
            }
            for point in control.points
        ],
        "marks": [[mark.point, mark.photograph, mark.x_px, mark.y_px] for mark in control.marks],
    }
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    (folder / "data.js").write_text(f"window.TMP_MARKING={text};\n", encoding="ascii")
    for path in files("flows.viewer").joinpath(STATIC).iterdir():
        content = path.read_bytes().replace(b"{title}", html.escape(title).encode())
        (folder / path.name).write_bytes(content)
    return len(pieces)


def _cut(
    path: Path, number: int, sights: Sequence[Sight], folder: Path
) -> list[tuple[Sight, dict[str, Any]]]:
    """Write the pieces of a photograph about its sights; none of one that cannot be read."""
    from photogrammetry.pictures import read_photograph

    try:
        picture = read_photograph(path)
    except PhotographError:
        return []
    rows, cols = picture.shape[:2]
    made = []
    for k, sight in enumerate(sights):
        left = int(np.clip(round(sight.x_px) - PIECE_PX // 2, 0, max(cols - PIECE_PX, 0)))
        top = int(np.clip(round(sight.y_px) - PIECE_PX // 2, 0, max(rows - PIECE_PX, 0)))
        piece = picture[top : top + PIECE_PX, left : left + PIECE_PX, ::-1]
        name = f"piece-{number}-{k}.jpg"
        Image.fromarray(np.ascontiguousarray(piece)).save(folder / name, quality=QUALITY)
        told = {
            "photograph": sight.photograph,
            "file": name,
            "left": left,
            "top": top,
            "width": piece.shape[1],
            "height": piece.shape[0],
            "x": sight.x_px,
            "y": sight.y_px,
        }
        made.append((sight, told))
    return made
