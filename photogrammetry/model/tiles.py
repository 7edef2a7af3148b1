"""A model of a large survey as a tree of tiles, of which a viewer loads what it shows: 3D Tiles.

Each tile has as many cells of the ground as any other, so the tiles of a level lie on a grid whose
cells are twice as wide as those of the next.  A tile is a mesh of its own, made from its part of
the ground and a margin; a skirt hangs down from its edge, so that no gap shows between
neighbours, whatever level each is at.

References
----------
Open Geospatial Consortium (2023). 3D Tiles Specification 1.1, OGC 22-025r4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.model.charts import Charts
from photogrammetry.model.glb import Model
from photogrammetry.model.mesh import NOTHING, HeightField, Mesh, Solid
from photogrammetry.model.relief_model import (
    Sources,
    charts_aside,
    ground_parts,
    steep_parts,
    steep_scale,
)
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid, Tile

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

TILE_CELLS = 256
"""Side of a tile in cells of its level."""
HALO_CELLS = 64
"""Cells about a tile that its mesh is made from as well: what stands there hides what is in it."""
SOLID_TIMES = 4
"""Cells of the ground along one cell of a level up to which it has what stands in true 3D; wider
cells would leave little of it."""
SKIRT_CELLS = 2.0
"""Depth of the skirts in cells of their level: more than neighbouring levels differ by."""
SCREEN_PX = 16.0
"""Error on the screen at which viewers refine a tile unless told otherwise: that of CesiumJS."""
MOST_CORNERS = 2**40
SPECKS = 5
"""Side in cells of the squares within which single cells of another kind are passed over."""

Node = tuple[int, int, int]
"""A tile: its level, from 0 for the one that holds all, and its row and column there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileTree:
    """The tiles of a ground."""

    grid: Grid
    """Cells of the finest level."""

    @property
    def depth(self) -> int:
        """Number of the finest level."""
        tiles = -(-(max(self.grid.shape) - 1) // TILE_CELLS)
        return int(max(tiles - 1, 0)).bit_length()

    def times(self, level: int) -> int:
        """Return how many cells of the finest level lie along one of a level."""
        return int(2 ** (self.depth - level))

    def level_grid(self, level: int) -> Grid:
        """Return the cells of a level: their centres are every so many of the finest level's."""
        times, cell_m = self.times(level), self.grid.cell_m
        shift_m = (times - 1) / 2 * cell_m
        rows, cols = (-(-(side - 1) // times) + 1 for side in self.grid.shape)
        return replace(
            self.grid,
            x_min=self.grid.x_min - shift_m,
            y_max=self.grid.y_max + shift_m,
            cell_m=cell_m * times,
            rows=rows,
            cols=cols,
        )

    def nodes(self, level: int) -> list[Node]:
        """Return the tiles of a level, neighbours after each other."""
        rows, cols = (-(-(side - 1) // TILE_CELLS) for side in self.level_grid(level).shape)
        across = range(max(cols, 1))
        return [
            (level, row, col)
            for row in range(max(rows, 1))
            for col in (across if row % 2 == 0 else reversed(across))
        ]

    def core(self, node: Node) -> Tile:
        """Return the cells of its level whose centres a tile spans, those on both rims too."""
        _, row, col = node
        side = TILE_CELLS + 1
        return Tile(row=row * TILE_CELLS, col=col * TILE_CELLS, rows=side, cols=side)


def halved(field: Float32) -> Float32:
    """Return heights, their standard deviations and kinds (3, rows, cols) for cells twice as wide.

    The field reaches one cell beyond those at even rows and columns, from the first; heights are
    smoothed over the eight neighbours, kinds are those of the cells themselves.
    """
    height, sigma, kind = field
    known = (kind > NOTHING).astype(np.float32)
    weight = _binomial(known)
    smooth = _binomial(height * known) / np.maximum(weight, 1e-6)
    core = np.s_[1:-1:2, 1:-1:2]
    return np.stack(
        [
            np.where(weight > 0, smooth, height)[core],
            np.where(weight > 0, _binomial(sigma * known) / np.maximum(weight, 1e-6), 0)[core],
            kind[core],
        ]
    ).astype(np.float32)


def _binomial(values: Float32) -> Float32:
    kernel = np.array([0.25, 0.5, 0.25], np.float32)
    return np.asarray(cv2.sepFilter2D(values, cv2.CV_32F, kernel, kernel))


def smooth_kinds(kind: Bytes) -> Bytes:
    """Pass over single cells of another kind, which would cost more corners than anyone sees."""
    smooth = cv2.medianBlur(kind, SPECKS)
    return np.where((kind != NOTHING) & (smooth != NOTHING), smooth, kind).astype(np.uint8)


def has_ground(field: HeightField) -> bool:
    """Tell whether there is anything to show in a tile, of whose ground and margin this is."""
    core = np.s_[HALO_CELLS:-HALO_CELLS, HALO_CELLS:-HALO_CELLS]
    return bool((field.kind[core] != NOTHING).any())


def build_tile(
    field: HeightField,
    solids: Sequence[Solid],
    sources: Sources,
    *,
    error_cells: float,
    pixel_m: float,
    aside: bool,
) -> tuple[Model, tuple[float, float, float]] | None:
    """Make the mesh of one tile, and return it with its origin in the map; None if it has none.

    The field is of the tile's cells and of `HALO_CELLS` about them.  The mesh may lie off it by so
    many cells, and its pictures have pixels of a size on the ground.  What is seen from aside has
    photographs if asked for, else the orthomosaic.
    """
    mesh = Mesh.of(
        field,
        solids,
        block_cells=HALO_CELLS,
        error_cells=error_cells,
        most_corners=MOST_CORNERS,
    )
    faces = np.flatnonzero(_inner_blocks(field.grid)[mesh.block])
    if len(faces) == 0:
        return None
    cell_m = field.grid.cell_m
    charts = charts_aside(mesh, faces, sources, cell_m) if aside else Charts()
    parts, pictures = steep_parts(
        mesh, charts, sources, steep_scale(charts, sources.gsd_m, pixel_m)
    )
    drawn, skirts = _with_skirts(mesh, faces, SKIRT_CELLS * cell_m)
    level = np.concatenate([np.setdiff1d(faces, charts.faces), skirts])
    parts += ground_parts(drawn, field, level, sources, pixel_m, pictures)
    return Model(parts=parts, pictures=pictures), mesh.origin


def _inner_blocks(grid: Grid) -> NDArray[np.bool_]:
    """Tell which squares of `HALO_CELLS` are not on the rim of a tile's window."""
    down, across = (-(-(side - 1) // HALO_CELLS) for side in grid.shape)
    inner = np.zeros((down, across), np.bool_)
    inner[1:-1, 1:-1] = True
    return inner.ravel()


def _with_skirts(mesh: Mesh, faces: Ints, depth_m: float) -> tuple[Mesh, Ints]:
    """Return a mesh with skirts below the open edges of the ground among triangles, and these."""
    own = faces[~mesh.standing[faces]]
    corners, count = mesh.faces[own], len(mesh.points)
    start, end = corners.ravel(), np.roll(corners, -1, axis=1).ravel()
    inside = np.isin(start * count + end, end * count + start)
    start, end, owner = start[~inside], end[~inside], np.repeat(own, 3)[~inside]
    top, number = np.unique(np.concatenate([start, end]), return_inverse=True)
    below_start, below_end = count + number[: len(start)], count + number[len(start) :]
    added = np.concatenate(
        [
            np.column_stack([start, below_start, below_end]),
            np.column_stack([start, below_end, end]),
        ]
    )
    owners = np.concatenate([owner, owner])
    lower = mesh.points[top] - np.array([0, 0, depth_m], np.float32)

    def more(values: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([values, values[owners]])

    return replace(
        mesh,
        points=np.concatenate([mesh.points, lower]),
        normals=np.concatenate([mesh.normals, mesh.normals[top]]),
        faces=np.concatenate([mesh.faces, added]),
        block=more(mesh.block),
        measured=more(mesh.measured),
        aside=more(mesh.aside),
        below=more(mesh.below),
        standing=more(mesh.standing),
    ), len(mesh.faces) + np.arange(len(added))


def in_world(
    model: Model, origin: tuple[float, float, float], frame: LocalFrame
) -> tuple[Model, tuple[float, float, float], Float]:
    """Return a model in the world's axes, where its origin lies there, and its bounds (2, 3).

    The map's scale, its north and the curvature of the Earth are taken out corner by corner.
    """
    at = np.round(frame.world_from_map([origin])[0], 3)
    matrix, _ = frame.world_from_map_affine(origin)
    turn = np.linalg.inv(matrix)
    parts, bounds = [], []
    for part in model.parts:
        world = frame.world_from_map(part.points + np.array(origin))
        normals = part.normals @ turn
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        parts.append(
            replace(
                part,
                points=(world - at).astype(np.float32),
                normals=normals.astype(np.float32),
            )
        )
        bounds += [world.min(axis=0), world.max(axis=0)]
    east, north, up = at.tolist()
    ends = np.array([np.min(bounds, axis=0), np.max(bounds, axis=0)])
    return replace(model, parts=parts), (east, north, up), ends


def geometric_error(pixel_m: float) -> float:
    """Return the error in metres of a tile whose pictures have pixels of a size on the ground.

    Viewers show a finer tile where it would be `SCREEN_PX` on the screen: where a pixel of the
    picture gets larger than one of the screen.  Its mesh lies off the ground by less.
    """
    return SCREEN_PX * pixel_m


def tileset_document(
    bounds: Mapping[Node, Float],
    pixels_m: Sequence[float],
    transform: Float,
    uri: Callable[[Node], str],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a tileset says of itself, JSON-able.

    Parameters
    ----------
    bounds : mapping
        Least and greatest world coordinates (2, 3) of each tile that shows anything.
    pixels_m : sequence of float
        Side on the ground of the pictures' pixels, of each level.
    transform : ndarray of shape (4, 4)
        Earth-centred, Earth-fixed coordinates from world.
    uri : callable
        Gives the file of a tile.
    about : mapping
        Said in the extras.
    """
    finest = len(pixels_m) - 1

    def tile(node: Node) -> tuple[dict[str, Any], Float] | None:
        level, row, col = node
        below = []
        if level < finest:
            places = [(2 * row + i, 2 * col + j) for i in (0, 1) for j in (0, 1)]
            below = [found for at in places if (found := tile((level + 1, *at))) is not None]
        if node not in bounds and not below:
            return None
        own = [bounds[node]] if node in bounds else []
        ends = np.array([*own, *(one for _, one in below)])
        whole = np.array([ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)])
        said: dict[str, Any] = {
            "boundingVolume": {"box": _box(whole)},
            "geometricError": geometric_error(pixels_m[level]) if below else 0.0,
            "refine": "REPLACE",
        }
        if node in bounds:
            said["content"] = {"uri": uri(node)}
        if below:
            said["children"] = [child for child, _ in below]
        return said, whole

    found = tile((0, 0, 0))
    assert found is not None
    root = {"transform": transform.T.ravel().tolist(), **found[0]}
    return {
        "asset": {"version": "1.1", "extras": dict(about)},
        "geometricError": 2 * geometric_error(pixels_m[0]),
        "root": root,
    }


def _box(ends: Float) -> list[float]:
    """Return centre and half axes of a box, as 3D Tiles has them."""
    centre, half = ends.mean(axis=0), np.maximum((ends[1] - ends[0]) / 2, 1e-3)
    return [round(float(value), 4) for value in (*centre, *np.diag(half + 1e-3).ravel())]


def ground_field(grid: Grid, bands: Float32, replaced: NDArray[np.bool_] | None) -> HeightField:
    """Return a tile's ground: heights, standard deviations and kinds (3, rows, cols) of a window.

    Cells of which nothing is known have a negative kind.
    """
    height, sigma, kind = bands
    known = kind >= 0
    lowest = height[known].min() if known.any() else 0.0
    kinds = smooth_kinds(np.where(known, kind, NOTHING).astype(np.uint8))
    return HeightField(
        grid=grid,
        height=np.where(known, height, lowest).astype(np.float32),
        sigma=np.where(known, sigma, 0).astype(np.float32),
        kind=kinds,
        replaced=replaced,
    )
