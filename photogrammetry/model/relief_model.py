"""The ground as a textured mesh: one height for each place, and walls between them.

The orthomosaic pictures what can be seen from above, square by square; photographs picture what
stands steep (`charts.py`).  The mesh is as fine as its detail asks, within a number of corners and
of pixels, so that the file opens on a field laptop however large the survey is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.kernels.projection import FARTHEST_SLANT
from photogrammetry.model.charts import (
    Charts,
    chart_sizes,
    choose_charts,
    draw_pages,
    lay_out,
    places_on_pages,
)
from photogrammetry.model.glb import Model, Part, as_jpeg, glb_bytes
from photogrammetry.model.mesh import NOTHING, WHITE, HeightField, Mesh, Solid, Tint
from photogrammetry.pictures import Picture
from photogrammetry.views import View, place_views
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid
from tmp.progress import Track, silent

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

CONTINUED_TINT: Tint = (0.55, 0.55, 0.6)
"""What the colours of continued ground are multiplied by, so that nobody takes it for measured."""
UNSURE_TINT: Tint = (0.8, 0.8, 0.85)
"""The same of photographs on what stands and was not measured: they show it, not where it is."""
NOT_MEASURED = "continued, not measured"
"""How the names begin of all that was not measured."""
LEAST_SIGHT_M, MOST_SIGHT_M = 5.0, 40.0
"""Distance about a square within which what stands may block the sight on what is in it."""
SOLID_SHARE = 0.4
"""Corners that go to what stands, as a share of the ground's, beside which they are."""
MARGIN = 2
"""Pixels about a square's picture."""
PICTURE_SIDE = 4096
STEEP_MEGAPIXELS = 100
"""Most pixels of charts in all, so that memory does not grow with the survey."""
LEAST_BLOCK = 32
ATTEMPTS = 3
"""How often pictures are drawn anew, coarser, if the file is too large."""
SHRINK = 0.8
"""What is kept of the pixels that would just keep to the size, as large pixels take more each."""


class Detail(StrEnum):
    """How much of the survey's detail the model keeps."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a model may take."""

    corners: int
    """Of the ground."""
    megapixels: float
    error_cells: float
    """Cells of the surface by which the mesh may lie off it."""
    megabytes: float
    """Of the file; where it would be larger, its pictures get coarser."""


BUDGETS = {
    Detail.LOW: Budget(corners=60_000, megapixels=10, error_cells=1.0, megabytes=12),
    Detail.NORMAL: Budget(corners=320_000, megapixels=48, error_cells=0.4, megabytes=50),
    Detail.HIGH: Budget(corners=1_500_000, megapixels=200, error_cells=0.2, megabytes=200),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What pictures a model."""

    orthomosaic: Callable[[Grid], Bytes]
    """Gives red, green and blue (rows, cols, 3) over a grid."""
    gsd_m: float
    """Side of its pixels."""
    views: Sequence[View]
    frame: LocalFrame
    gains: Mapping[str, Float]
    """Factors (3,) for blue, green and red by photograph."""
    photograph: Callable[[str], Picture]
    """Gives a photograph by name: blue, green and red (rows, cols, 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliefModel:
    """A model, and what is to be said of it."""

    model: Model
    origin: tuple[float, float, float]
    """Easting, northing and map height of the model's origin, whole metres."""
    allowed: float
    """Times the budget's that the mesh may lie off the surface; 1 if its corners sufficed."""
    pixel_m: float
    """Side on the ground of a pixel of its pictures."""
    charts: int
    """Pieces of photographs on what stands steep."""


def build_relief_model(
    field: HeightField,
    sources: Sources,
    budget: Budget,
    *,
    solids: Sequence[Solid] = (),
    track: Track = silent,
) -> ReliefModel:
    """Make the textured mesh of a ground, and of what stands on it.

    Raises `tmp.errors.InputError` if there is no ground.
    """
    pixel_m = _pixel_m(field, sources.gsd_m, budget.megapixels)
    mesh = Mesh.of(
        field,
        solids,
        block_cells=_block_cells(field.grid.cell_m / pixel_m),
        error_cells=budget.error_cells,
        most_corners=budget.corners,
    )
    squares = mesh.squares()
    charts = Charts.joined(
        [
            charts_aside(mesh, faces, sources, field.grid.cell_m)
            for faces in track(squares, "Finding what is seen from aside", len(squares))
        ]
    )
    model = _drawn(mesh, charts, field, sources, pixel_m, track)
    for _ in range(ATTEMPTS):
        drawn = sum(map(len, model.pictures))
        room = budget.megabytes * 1e6 - (glb_bytes(model) - drawn)
        if drawn <= room:
            break
        pixel_m *= float(np.sqrt(drawn / (SHRINK * max(room, drawn / 16))))
        model = _drawn(mesh, charts, field, sources, pixel_m, track)
    return ReliefModel(
        model=model,
        origin=mesh.origin,
        allowed=mesh.allowed,
        pixel_m=pixel_m,
        charts=len(charts.views),
    )


def _drawn(
    mesh: Mesh,
    charts: Charts,
    field: HeightField,
    sources: Sources,
    pixel_m: float,
    track: Track,
) -> Model:
    """Return the mesh with its pictures, of pixels of a size on the ground."""
    scale = steep_scale(charts, sources.gsd_m, pixel_m)
    parts, pictures = steep_parts(mesh, charts, sources, scale)
    level = np.ones(len(mesh.faces), np.bool_)
    level[charts.faces] = False
    squares = mesh.squares()
    for faces in track(squares, "Drawing the model", len(squares)):
        parts += ground_parts(mesh, field, faces[level[faces]], sources, pixel_m, pictures)
    return Model(parts=parts, pictures=pictures)


def steep_scale(charts: Charts, gsd_m: float, pixel_m: float) -> float:
    """Return the scale of photographs at which charts have pixels of a size on the ground.

    They have `STEEP_MEGAPIXELS` at most: a wood has more of them than a model has room for.
    """
    sides = charts.boxes[:, 2:] - charts.boxes[:, :2]
    most = np.sqrt(STEEP_MEGAPIXELS * 1e6 / max(sides.prod(axis=1).sum(), 1))
    return min(1.0, gsd_m / pixel_m, float(most))


def _pixel_m(field: HeightField, gsd_m: float, megapixels: float) -> float:
    """Return the side of the pictures' pixels: the orthomosaic's own, or what the budget allows."""
    area_m2 = float((field.kind != NOTHING).sum()) * field.grid.cell_m**2
    return max(gsd_m, float(np.sqrt(area_m2 / (megapixels * 1e6))))


def _block_cells(pixels_per_cell: float) -> int:
    """Return the cells, a power of two, of the squares that have a picture each."""
    most = (PICTURE_SIDE - 2 * MARGIN - 2) / pixels_per_cell
    return int(2 ** max(np.floor(np.log2(most)), np.log2(LEAST_BLOCK)))


def steep_parts(
    mesh: Mesh, charts: Charts, sources: Sources, scale: float
) -> tuple[list[Part], list[bytes]]:
    """Return the parts that photographs picture, at a scale of theirs, and their pictures."""
    if not charts.views:
        return [], []
    placement = lay_out(chart_sizes(charts, scale))
    pages = draw_pages(charts, placement, sources.gains, sources.photograph)
    uv = places_on_pages(charts, placement)
    key = charts.chart[:, None] * len(mesh.points) + mesh.faces[charts.faces]
    measured = mesh.measured[charts.faces]
    parts = []
    for n in range(len(pages)):
        for name, kind, tint in (("steep", True, WHITE), (NOT_MEASURED, False, UNSURE_TINT)):
            here = (placement.page[charts.chart] == n) & (measured == kind)
            if here.any():
                parts.append(
                    mesh.part(
                        f"{name} {n + 1}",
                        charts.faces[here],
                        uv[here],
                        key[here],
                        picture=n,
                        tint=tint,
                    )
                )
    return parts, [as_jpeg(page) for page in pages]


def charts_aside(mesh: Mesh, faces: Ints, sources: Sources, cell_m: float) -> Charts:
    """Return the charts of what the orthomosaic does not show of a square."""
    # What stands is there, measured or not: where a photograph shows it, that is its picture.
    wanted = faces[mesh.aside[faces] & (mesh.measured | mesh.standing)[faces]]
    if len(wanted) == 0:
        return Charts()
    corners = mesh.points[mesh.faces[wanted]].reshape(-1, 3).astype(float)
    low, high = corners.min(axis=0), corners.max(axis=0)
    around = _may_hide(mesh, low, high)
    centre = (low + high) / 2
    half = np.maximum((high - low) / 2, cell_m)
    up_m = centre[2] + mesh.origin[2]
    placed = place_views(
        sources.views,
        sources.frame,
        centre + mesh.origin,
        (float(half[0]), float(half[1])),
        (up_m - float(half[2]), up_m + float(half[2])),
    )
    used, number = np.unique(mesh.faces[around], return_inverse=True)
    charts = choose_charts(
        (mesh.points[used] - centre).astype(np.float32),
        number.reshape(-1, 3),
        np.searchsorted(around, wanted),
        placed,
        cell_m=cell_m,
        pixel_m=sources.gsd_m,
    )
    return replace(charts, faces=around[charts.faces])


def _may_hide(mesh: Mesh, low: Float, high: Float) -> Ints:
    """Return the triangles in a box, and those about it that may stand before them, in order."""
    x, y, z = mesh.points[mesh.faces[:, 0]].T
    reach_m = np.clip(FARTHEST_SLANT * (z - low[2]), LEAST_SIGHT_M, MOST_SIGHT_M)
    near = (x > low[0] - reach_m) & (x < high[0] + reach_m)
    near &= (y > low[1] - reach_m) & (y < high[1] + reach_m)
    return np.flatnonzero(near)


def ground_parts(
    mesh: Mesh,
    field: HeightField,
    faces: Ints,
    sources: Sources,
    pixel_m: float,
    pictures: list[bytes],
) -> list[Part]:
    """Return the parts of a square that the orthomosaic pictures; adds their picture."""
    if len(faces) == 0:
        return []
    places = mesh.points[mesh.faces[faces]][..., :2] + np.array(mesh.origin[:2])
    low, high = places.min(axis=(0, 1)), places.max(axis=(0, 1))
    margin_m = MARGIN * pixel_m
    # The orthomosaic's own pixels, or those of an overview, so that they are not resampled twice.
    times = 2.0 ** np.floor(np.log2(pixel_m / sources.gsd_m) + 1e-6)
    window = Grid.from_bounds(
        (*(low - margin_m).tolist(), *(high + margin_m).tolist()),
        sources.gsd_m * times,
        field.grid.crs,
    )
    uv = np.stack(
        [
            (places[..., 0] - window.x_min) / (window.cell_m * window.cols),
            (window.y_max - places[..., 1]) / (window.cell_m * window.rows),
        ],
        axis=-1,
    ).astype(np.float32)
    number = len(pictures)
    pictures.append(as_jpeg(_picture(sources, window, pixel_m)))
    measured = mesh.measured[faces] & ~mesh.below[faces]
    kinds = (
        ("ground", measured, WHITE),
        (NOT_MEASURED, ~measured, CONTINUED_TINT),
    )
    return [
        mesh.part(
            f"{name} {number + 1}",
            faces[chosen],
            uv[chosen],
            mesh.faces[faces[chosen]],
            picture=number,
            tint=tint,
        )
        for name, chosen, tint in kinds
        if chosen.any()
    ]


def _picture(sources: Sources, window: Grid, pixel_m: float) -> Picture:
    """Return the orthomosaic over a window at a size of pixels: blue, green and red."""
    picture = sources.orthomosaic(window)[..., ::-1]
    share = window.cell_m / pixel_m
    if share > 0.999:
        return picture
    size = (max(round(window.cols * share), 1), max(round(window.rows * share), 1))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
