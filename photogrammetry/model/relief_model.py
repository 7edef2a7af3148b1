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

from photogrammetry.model.charts import (
    STEEP,
    Charts,
    chart_sizes,
    choose_charts,
    draw_pages,
    lay_out,
    places_on_pages,
)
from photogrammetry.model.glb import Model, Part, as_jpeg, glb_bytes
from photogrammetry.model.triangulation import Triangulation, triangulate
from photogrammetry.pictures import Picture
from photogrammetry.views import View, place_views
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid, Tile
from tmp.progress import Track, silent

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

NOTHING, MEASURED, CONTINUED = range(3)
"""Kinds of cells: outside the model; measured; ground that goes on beyond what was measured."""
Tint = tuple[float, float, float]
WHITE: Tint = (1.0, 1.0, 1.0)
CONTINUED_TINT: Tint = (0.55, 0.55, 0.6)
"""What the colours of continued ground are multiplied by, so that nobody takes it for measured."""
SIGHT_CELLS = 192
"""Cells about a square that may block the sight on what stands in it."""
SIGMAS = 2.0
"""Standard deviations of a height by which the mesh may lie off it: nobody knows it better."""
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
class HeightField:
    """The ground that a model is made of."""

    grid: Grid
    height: Float32
    """Map heights in metres (rows, cols)."""
    sigma: Float32
    """Standard deviation of the heights in metres (rows, cols); 0 where it is not known."""
    kind: Bytes
    """(rows, cols): `NOTHING`, `MEASURED` or `CONTINUED`."""


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
    field: HeightField, sources: Sources, budget: Budget, *, track: Track = silent
) -> ReliefModel:
    """Make the textured mesh of a ground.

    Raises `tmp.errors.InputError` if there is no ground.
    """
    pixel_m = _pixel_m(field, sources.gsd_m, budget.megapixels)
    mesh = _Mesh.of(field, _block_cells(field.grid.cell_m / pixel_m), budget)
    squares = mesh.squares()
    charts = Charts.joined(
        [
            _steep_charts(mesh, field, faces, sources)
            for faces in track(squares, "Finding what stands steep", len(squares))
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
    mesh: _Mesh,
    charts: Charts,
    field: HeightField,
    sources: Sources,
    pixel_m: float,
    track: Track,
) -> Model:
    """Return the mesh with its pictures, of pixels of a size on the ground."""
    scale = min(1.0, sources.gsd_m / pixel_m, _steep_scale(charts))
    parts, pictures = _steep_parts(mesh, charts, sources, scale)
    level = np.ones(len(mesh.faces), np.bool_)
    level[charts.faces] = False
    squares = mesh.squares()
    for faces in track(squares, "Drawing the model", len(squares)):
        parts += _ground_parts(mesh, field, faces[level[faces]], sources, pixel_m, pictures)
    return Model(parts=parts, pictures=pictures)


def _steep_scale(charts: Charts) -> float:
    """Return the scale of photographs at which a survey's charts have `STEEP_MEGAPIXELS`.

    A wood has more of them than a model has room for.
    """
    sides = charts.boxes[:, 2:] - charts.boxes[:, :2]
    return float(np.sqrt(STEEP_MEGAPIXELS * 1e6 / max(sides.prod(axis=1).sum(), 1)))


def _pixel_m(field: HeightField, gsd_m: float, megapixels: float) -> float:
    """Return the side of the pictures' pixels: the orthomosaic's own, or what the budget allows."""
    area_m2 = float((field.kind != NOTHING).sum()) * field.grid.cell_m**2
    return max(gsd_m, float(np.sqrt(area_m2 / (megapixels * 1e6))))


def _block_cells(pixels_per_cell: float) -> int:
    """Return the cells, a power of two, of the squares that have a picture each."""
    most = (PICTURE_SIDE - 2 * MARGIN - 2) / pixels_per_cell
    return int(2 ** max(np.floor(np.log2(most)), np.log2(LEAST_BLOCK)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mesh:
    """The triangulated ground."""

    points: Float32
    """(N, 3), about the origin."""
    normals: Float32
    faces: Ints
    block: Ints
    row: Ints
    col: Ints
    upward: Float32
    """Upward part of each triangle's unit normal, (F,)."""
    outward: Float32
    """Horizontal direction that each triangle faces, east and north, (F, 2); unit, or 0 if level"""
    origin: tuple[float, float, float]
    allowed: float

    @classmethod
    def of(cls, field: HeightField, block_cells: int, budget: Budget) -> _Mesh:
        """Triangulate a ground."""
        grid = field.grid
        found: Triangulation = triangulate(
            field.height,
            field.kind,
            np.maximum(budget.error_cells * grid.cell_m, SIGMAS * field.sigma),
            block_cells=block_cells,
            most_corners=budget.corners,
        )
        x, y = grid.cell_centres()
        z = field.height[found.row, found.col].astype(float)
        origin = (
            float(np.round((x[0] + x[-1]) / 2)),
            float(np.round((y[0] + y[-1]) / 2)),
            float(np.floor(z.min())),
        )
        points = np.column_stack([x[found.col], y[found.row], z]) - origin
        corners = points[found.faces]
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(cross, axis=1)
        level = np.maximum(np.hypot(cross[:, 0], cross[:, 1]), 1e-12)
        return cls(
            points=points.astype(np.float32),
            normals=_corner_normals(found.faces, cross, len(points)),
            faces=found.faces,
            block=found.block,
            row=found.row,
            col=found.col,
            upward=(cross[:, 2] / length).astype(np.float32),
            outward=(cross[:, :2] / level[:, None]).astype(np.float32),
            origin=origin,
            allowed=found.factor,
        )

    def squares(self) -> list[Ints]:
        """Return the triangles of each square that has any."""
        order = np.argsort(self.block, kind="stable")
        cuts = np.flatnonzero(np.diff(self.block[order])) + 1
        return [np.asarray(part, np.int64) for part in np.split(order, cuts)]

    def part(
        self, name: str, faces: Ints, uv: Float32, key: Ints, *, picture: int, tint: Tint = WHITE
    ) -> Part:
        """Return triangles as a part of the model.

        Their corners' places in its picture are (F, 3, 2); those with one key (F, 3) are the same.
        """
        _, first, number = np.unique(key, return_index=True, return_inverse=True)
        corner = self.faces[faces].ravel()[first]
        return Part(
            name=name,
            points=self.points[corner],
            normals=self.normals[corner],
            uv=uv.reshape(-1, 2)[first].astype(np.float32),
            faces=number.reshape(-1, 3).astype(np.uint32),
            picture=picture,
            tint=tint,
        )


def _corner_normals(faces: Ints, cross: Float, count: int) -> Float32:
    """Return the mean unit normals (N, 3) of the triangles about corners, by area."""
    total = np.column_stack(
        [
            sum(np.bincount(faces[:, k], weights=cross[:, axis], minlength=count) for k in range(3))
            for axis in range(3)
        ]
    )
    return np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True), np.float32)


def _steep_parts(
    mesh: _Mesh, charts: Charts, sources: Sources, scale: float
) -> tuple[list[Part], list[bytes]]:
    """Return the parts that photographs picture, at a scale of theirs, and their pictures."""
    if not charts.views:
        return [], []
    placement = lay_out(chart_sizes(charts, scale))
    pages = draw_pages(charts, placement, sources.gains, sources.photograph)
    uv = places_on_pages(charts, placement)
    key = charts.chart[:, None] * len(mesh.points) + mesh.faces[charts.faces]
    parts = []
    for n in range(len(pages)):
        here = placement.page[charts.chart] == n
        parts.append(
            mesh.part(f"steep {n + 1}", charts.faces[here], uv[here], key[here], picture=n)
        )
    return parts, [as_jpeg(page) for page in pages]


def _steep_charts(mesh: _Mesh, field: HeightField, faces: Ints, sources: Sources) -> Charts:
    """Return the charts of what stands steep in a square."""
    steep = faces[(mesh.upward[faces] < STEEP) & _is_measured(mesh, field, faces)]
    if len(steep) == 0:
        return Charts()
    grid = field.grid
    rows, cols = mesh.row[mesh.faces[steep]], mesh.col[mesh.faces[steep]]
    low, high = (rows.min(), cols.min()), (rows.max(), cols.max())
    around = grid.clip(
        Tile(
            row=int(low[0]), col=int(low[1]), rows=int(np.ptp(rows)) + 1, cols=int(np.ptp(cols)) + 1
        ).grown(SIGHT_CELLS)
    )
    assert around is not None
    sheet = field.height[
        around.row : around.row + around.rows, around.col : around.col + around.cols
    ]
    x, y = grid.cell_centres()
    z = field.height[rows, cols]
    west, east = x[low[1]], x[high[1]]
    south, north = y[high[0]], y[low[0]]
    centre = np.array([(west + east) / 2, (south + north) / 2, float(np.median(z))])
    placed = place_views(
        sources.views,
        sources.frame,
        centre,
        (max((east - west) / 2, grid.cell_m), max((north - south) / 2, grid.cell_m)),
        (float(z.min()), float(z.max())),
    )
    used, local = np.unique(mesh.faces[steep], return_inverse=True)
    corners = mesh.points[used] + np.asarray(mesh.origin) - centre
    ahead = np.rint(mesh.outward[steep]).astype(np.int64)  # one of the eight cells about it
    start = np.column_stack(
        [
            np.rint(rows.mean(axis=1)).astype(np.int64) - around.row - ahead[:, 1],
            np.rint(cols.mean(axis=1)).astype(np.int64) - around.col + ahead[:, 0],
        ]
    )
    start = np.clip(start, 0, (around.rows - 1, around.cols - 1))
    charts = choose_charts(
        corners.astype(np.float32),
        local.reshape(-1, 3),
        start,
        (sheet - np.float32(centre[2])).astype(np.float32),
        grid.cell_m,
        placed,
    )
    return replace(charts, faces=steep[charts.faces])


def _is_measured(mesh: _Mesh, field: HeightField, faces: Ints) -> NDArray[np.bool_]:
    """Tell which triangles have at least two corners that were measured."""
    corner = mesh.faces[faces]
    kinds = field.kind[mesh.row[corner], mesh.col[corner]]
    return np.asarray((kinds == MEASURED).sum(axis=1) >= 2)


def _ground_parts(
    mesh: _Mesh,
    field: HeightField,
    faces: Ints,
    sources: Sources,
    pixel_m: float,
    pictures: list[bytes],
) -> list[Part]:
    """Return the parts of a square that the orthomosaic pictures; adds their picture."""
    if len(faces) == 0:
        return []
    grid = field.grid
    corner = mesh.faces[faces]
    rows, cols = mesh.row[corner], mesh.col[corner]
    x, y = grid.cell_centres()
    margin_m = MARGIN * pixel_m
    # The orthomosaic's own pixels, or those of an overview, so that they are not resampled twice.
    times = 2.0 ** np.floor(np.log2(pixel_m / sources.gsd_m) + 1e-6)
    window = Grid.from_bounds(
        (
            float(x[cols.min()]) - margin_m,
            float(y[rows.max()]) - margin_m,
            float(x[cols.max()]) + margin_m,
            float(y[rows.min()]) + margin_m,
        ),
        sources.gsd_m * times,
        grid.crs,
    )
    uv = np.stack(
        [
            (x[cols] - window.x_min) / (window.cell_m * window.cols),
            (window.y_max - y[rows]) / (window.cell_m * window.rows),
        ],
        axis=-1,
    ).astype(np.float32)
    number = len(pictures)
    pictures.append(as_jpeg(_picture(sources, window, pixel_m)))
    measured = _is_measured(mesh, field, faces)
    kinds = (
        ("ground", measured, WHITE),
        ("continued, not measured", ~measured, CONTINUED_TINT),
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
