"""The triangles of a model: the ground, one height for each place, and what stands on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.model.glb import Part
from photogrammetry.model.triangulation import triangulate
from photogrammetry.solid.simplification import simplified
from tmp.errors import InputError
from tmp.geo.grids import Grid

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Tint = tuple[float, float, float]

NOTHING, MEASURED, CONTINUED = range(3)
"""Kinds of cells: outside the model; measured; ground that goes on beyond what was measured."""
WHITE: Tint = (1.0, 1.0, 1.0)
SIGMAS = 2.0
"""Standard deviations of a height by which the mesh may lie off it: nobody knows it better."""
STEEP = 0.5
"""Upward part of the unit normal below which a triangle is steep: 60° and more."""
LEAST_NORMAL_M2 = 1e-9
"""Area of the triangles about a corner, added by direction, below which that is noise."""
EDGE_CELLS = 4.0
"""Range of heights of a cell and its neighbours, in cells, from which an edge runs through it: the
orthomosaic shows the roof there, whatever of the wall below it a triangle is."""
HIDDEN_CELLS = 2.0
"""Cells below the ground as seen from above from which a triangle is hidden."""


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
    replaced: Mask | None = None
    """(rows - 1, cols - 1), squares between four cell centres that what stands takes over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solid:
    """What stands on a part of the ground, in true 3D."""

    points: Float
    """Corners (N, 3), map coordinates."""
    faces: Ints
    """(F, 3), anticlockwise seen from outside."""
    seen: Mask
    """Which corners lie on a surface that was measured, (N,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """The triangles of a model."""

    points: Float32
    """(N, 3), about the origin."""
    normals: Float32
    faces: Ints
    block: Ints
    """Square of the ground that each triangle lies in, (F,)."""
    measured: Mask
    """Which triangles lie on a surface that was measured, (F,)."""
    aside: Mask
    """Which the orthomosaic does not show: steep, below something, or at an edge, (F,)."""
    below: Mask
    """Which of them lie below something, (F,)."""
    standing: Mask
    """Which are of what stands, (F,)."""
    origin: tuple[float, float, float]
    allowed: float
    """Times what was asked that the mesh may lie off the ground."""

    @classmethod
    def of(
        cls,
        field: HeightField,
        solids: Sequence[Solid],
        *,
        block_cells: int,
        error_cells: float,
        most_corners: int,
    ) -> Mesh:
        """Triangulate a ground, and put in what stands on it.

        Raises `InputError` if there is neither.
        """
        grid = field.grid
        found = triangulate(
            field.height,
            np.where(_inner(field.replaced, field.kind.shape), NOTHING, field.kind),
            np.maximum(error_cells * grid.cell_m, SIGMAS * field.sigma),
            block_cells=block_cells,
            most_corners=most_corners,
        )
        x, y = grid.cell_centres()
        z = field.height[found.row, found.col].astype(float)
        kept = ~_over(field.replaced, found.row[found.faces], found.col[found.faces])
        kinds = field.kind[found.row, found.col]
        parts = [
            Solid(
                points=np.column_stack([x[found.col], y[found.row], z]),
                faces=found.faces[kept],
                seen=kinds == MEASURED,
            )
        ]
        parts += [_on_ground(solid, field) for solid in solids]
        before = np.cumsum([0] + [len(part.points) for part in parts])
        points = np.concatenate([part.points for part in parts])
        if len(points) == 0:
            raise InputError("model: no ground that a triangle could be laid over")
        origin = (
            float(np.round((x[0] + x[-1]) / 2)),
            float(np.round((y[0] + y[-1]) / 2)),
            float(np.floor(points[:, 2].min())),
        )
        faces = np.concatenate([part.faces + n for part, n in zip(parts, before, strict=False)])
        seen = np.concatenate([part.seen for part in parts])
        corners = points[faces]
        middle = corners.mean(axis=1)
        block = _blocks(middle, grid, block_cells)
        ground = int(kept.sum())
        block[:ground] = found.block[kept]
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.maximum(np.linalg.norm(cross, axis=1), 1e-12)
        below, beside = _unseen(middle, field)
        below[:ground] = beside[:ground] = False
        return cls(
            points=(points - origin).astype(np.float32),
            normals=_corner_normals(faces, cross, len(points)),
            faces=faces,
            block=block,
            measured=seen[faces].sum(axis=1) >= 2,
            aside=(cross[:, 2] / length < STEEP) | below | beside,
            below=below,
            standing=np.arange(len(faces)) >= ground,
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
    """Return the mean unit normals (N, 3) of the triangles about corners, by area.

    Up where they have none, or point in all directions.
    """
    total = np.column_stack(
        [
            sum(np.bincount(faces[:, k], weights=cross[:, axis], minlength=count) for k in range(3))
            for axis in range(3)
        ]
    )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    some = length > LEAST_NORMAL_M2
    up = np.array([0.0, 0.0, 1.0])
    return np.asarray(np.where(some, total / np.where(some, length, 1.0), up), np.float32)


def fair_share(counts: Sequence[int], most: int) -> int:
    """Return what each may have so that all together have no more than `most`.

    Those that need less have what they need, and the others share the rest.

    Examples
    --------
    >>> fair_share([10, 100, 200], 110)
    50
    """
    rest = most
    for done, count in enumerate(sorted(counts)):
        share = rest // (len(counts) - done)
        if count > share:
            return share
        rest -= count
    return max(counts, default=0)


def thinned(solid: Solid, most_corners: int) -> Solid:
    """Return a solid with about as many corners as wanted, as far as its open edges allow."""
    share = most_corners / max(len(solid.points), 1)
    if share >= 1:
        return solid
    points, faces, seen = simplified(solid.points, solid.faces, solid.seen, share=share)
    return Solid(points=points, faces=faces, seen=seen)


def _inner(replaced: Mask | None, shape: tuple[int, int]) -> Mask:
    """Tell which cell centres lie within what is replaced, and not on its outline."""
    if replaced is None:
        return np.zeros(shape, np.bool_)
    whole = np.pad(replaced, 1)
    return whole[1:, 1:] & whole[1:, :-1] & whole[:-1, 1:] & whole[:-1, :-1]


def _over(replaced: Mask | None, rows: Ints, cols: Ints) -> Mask:
    """Tell which triangles, of corners (F, 3), lie in squares that are replaced."""
    if replaced is None:
        return np.zeros(len(rows), np.bool_)
    row, col = rows.sum(axis=1) // 3, cols.sum(axis=1) // 3
    return np.asarray(
        replaced[np.minimum(row, replaced.shape[0] - 1), np.minimum(col, replaced.shape[1] - 1)]
    )


def _cells(middle: Float, grid: Grid) -> tuple[Ints, Ints]:
    """Return row and column of the cells that places (N, 3) lie over."""
    row = np.floor((grid.y_max - middle[:, 1]) / grid.cell_m).astype(np.int64)
    col = np.floor((middle[:, 0] - grid.x_min) / grid.cell_m).astype(np.int64)
    return np.clip(row, 0, grid.rows - 1), np.clip(col, 0, grid.cols - 1)


def _on_ground(solid: Solid, field: HeightField) -> Solid:
    """Leave out the triangles that lie over nothing."""
    row, col = _cells(solid.points[solid.faces].mean(axis=1), field.grid)
    kept = field.kind[row, col] != NOTHING
    used, number = np.unique(solid.faces[kept], return_inverse=True)
    return Solid(points=solid.points[used], faces=number.reshape(-1, 3), seen=solid.seen[used])


def _blocks(middle: Float, grid: Grid, block_cells: int) -> Ints:
    """Return the square that places (N, 3) lie in, as `triangulate` counts them."""
    across = -(-(grid.cols - 1) // block_cells)
    down = -(-(grid.rows - 1) // block_cells)
    row = np.floor(((grid.y_max - middle[:, 1]) / grid.cell_m - 0.5) / block_cells)
    col = np.floor(((middle[:, 0] - grid.x_min) / grid.cell_m - 0.5) / block_cells)
    return np.clip(row, 0, down - 1).astype(np.int64) * across + np.clip(col, 0, across - 1).astype(
        np.int64
    )


def _unseen(middle: Float, field: HeightField) -> tuple[Mask, Mask]:
    """Tell which places (N, 3) lie below the ground as it is seen from above, and which beside it.

    Those beside it lie above all of it, or where an edge runs.
    """
    around, cell_m = np.ones((3, 3), np.uint8), field.grid.cell_m
    lowest = np.asarray(cv2.erode(field.height, around))
    highest = np.asarray(cv2.dilate(field.height, around))
    at = _cells(middle, field.grid)
    low, high, z = lowest[at], highest[at], middle[:, 2]
    above = z > high + HIDDEN_CELLS * cell_m
    return z < low - HIDDEN_CELLS * cell_m, above | (high - low > EDGE_CELLS * cell_m)
