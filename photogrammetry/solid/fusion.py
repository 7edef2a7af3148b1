"""The sides of a site and its ground, joined to one surface and triangulated.

References
----------
Curless, B. & Levoy, M. (1996). A volumetric method for building complex models from range images.
    SIGGRAPH.
Lewiner, T., Lopes, H., Vieira, A. W. & Tavares, G. (2003). Efficient implementation of marching
    cubes' cases with topological guarantees. Journal of Graphics Tools 8(2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from skimage.measure import marching_cubes

from photogrammetry.kernels.fusion import AROUND, fuse_nodes
from photogrammetry.solid.sides import Side, SiteFrame
from photogrammetry.solid.sites import BLOCK, Site
from tmp.geo.grids import Tile

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

REACH_CELLS = 2.5
"""Distance before and behind a sheet, in cells, within which it says how far the surface is."""
OWN_SIGMA_CELLS = 0.2
"""Standard deviation, in cells, that no height is believed to go below."""
LEAST_VIEWS = 3
"""Photographs that must agree on a cell of a side."""
JUMP_CELLS = 6.0
"""Drop within a sheet, in cells, beside which heights are those of what stands before."""
JUMP_REACH = 2
"""Cells about it."""
JUMP_SHARE = 0.05
"""What is left of their say."""
UNMEASURED = 1e-5
"""Say of a cell of the ground that was not measured: less than any that was."""
FADE_CELLS = 8
"""Cells within a site's outline over which its sides get their say: there it meets the ground."""
FADE_FROM = 2
LEAST_PIECE_M2 = 1.0
"""Area of a piece that floats, below which it is an error."""
KEYS = 4096
"""Parts of a spacing that are told apart when corners are joined."""
SLAB = 64
"""Levels that are triangulated at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A surface seen along one direction, or a window of it, as `fuse_nodes` takes it."""

    placing: Float
    """(3, 4), see `photogrammetry.kernels.fusion`."""
    height: Float32
    weight: Float32
    cosine: Float32


@dataclass(frozen=True, slots=True, kw_only=True)
class SolidMesh:
    """The triangulated surface of a part of a site."""

    points: Float
    """Corners (N, 3): column, row and level of the site's nodes, as fractions."""
    faces: Ints
    """(F, 3), anticlockwise seen from outside."""
    seen: Mask
    """Which corners lie on a surface that was measured, (N,)."""


def ground_sheet(
    frame: SiteFrame, first: tuple[int, int], height: Float32, sigma: Float32
) -> Sheet:
    """Return a window of the ground from above as a sheet.

    It begins at row and column `first` of the site's nodes: map heights (rows, cols), and their
    standard deviations, NaN where not measured.
    """
    cell_m = frame.grid.cell_m
    placing = np.zeros((3, 4))
    placing[0, 0] = placing[1, 1] = 1.0
    placing[0, 3], placing[1, 3] = -first[1], -first[0]
    placing[2, 2], placing[2, 3] = cell_m, frame.floor_m
    weight = np.maximum(_say(height, sigma, np.isfinite(sigma), cell_m), UNMEASURED)
    return Sheet(
        placing=placing,
        height=height.astype(np.float32),
        weight=np.asarray(weight, np.float32),
        cosine=_cosine(height, cell_m),
    )


def side_sheet(side: Side, frame: SiteFrame, first: tuple[int, int], bands: Float32) -> Sheet:
    """Return a window of a side as a sheet: what `measure_side` gives, (3, rows, cols).

    The window begins at row and column `first` of the side's grid; heights are NaN beyond what was
    looked at.
    """
    height, sigma, views = bands
    known = np.isfinite(height)
    cell_m = side.grid.cell_m
    right, up, towards = side.rotation @ frame.matrix @ frame.node_axes
    placing = np.stack([right / cell_m, -up / cell_m, towards])
    placing[0, 3] -= side.grid.x_min / cell_m + 0.5 + first[1]
    placing[1, 3] += side.grid.y_max / cell_m - 0.5 - first[0]
    # Beyond what was looked at a sheet lies behind all, whichever window of it is read.
    surface = np.where(known, height, -2 * cell_m * frame.levels).astype(np.float32)
    measured = known & np.isfinite(sigma) & (views >= LEAST_VIEWS)
    return Sheet(
        placing=placing,
        height=surface,
        weight=_say(surface, sigma, measured, cell_m),
        cosine=_cosine(surface, cell_m),
    )


def group_box(site: Site, group: tuple[int, int], size: int) -> tuple[int, int, int, int]:
    """Return first column and row, last column and row of the nodes of a group of blocks."""
    rows, cols = site.blocks.shape
    last_row, last_col = min(group[0] + size, rows), min(group[1] + size, cols)
    return group[1] * BLOCK, group[0] * BLOCK, last_col * BLOCK, last_row * BLOCK


def group_outline(mesh: SolidMesh, box: tuple[int, int, int, int]) -> Mask:
    """Tell which corners (N,) lie on the sides of a group's box."""
    col, row = mesh.points[:, 0], mesh.points[:, 1]
    return np.asarray((col == box[0]) | (row == box[1]) | (col == box[2]) | (row == box[3]))


def side_window(side: Side, frame: SiteFrame, box: tuple[int, int, int, int]) -> Tile:
    """Return what a box of the site's nodes takes of a side, with a margin."""
    corners = np.array(
        [
            (col, row, level, 1)
            for col in (box[0], box[2])
            for row in (box[1], box[3])
            for level in (0, frame.levels)
        ],
        float,
    )
    seen = corners @ (side.rotation @ frame.matrix @ frame.node_axes).T
    cell_m, margin = side.grid.cell_m, 2 * AROUND
    col = (seen[:, 0] - side.grid.x_min) / cell_m
    row = (side.grid.y_max - seen[:, 1]) / cell_m
    first = np.floor([row.min(), col.min()]).astype(int) - margin
    last = np.ceil([row.max(), col.max()]).astype(int) + margin
    return Tile(
        row=int(first[0]),
        col=int(first[1]),
        rows=int(last[0] - first[0]),
        cols=int(last[1] - first[1]),
    )


def _say(surface: Float32, sigma: Float32, measured: Mask, cell_m: float) -> Float32:
    """Return the weight of each cell (rows, cols): 1 at best, 0 where it was not measured."""
    least = np.float32(OWN_SIGMA_CELLS * cell_m)
    weight = np.where(measured, least**2 / (np.nan_to_num(sigma, nan=1.0) ** 2 + least**2), 0.0)
    kernel = np.ones((3, 3), np.uint8)
    drop = cv2.dilate(surface, kernel) - cv2.erode(surface, kernel)
    jump = (drop > JUMP_CELLS * cell_m).astype(np.uint8)
    beside = cv2.dilate(jump, np.ones((2 * JUMP_REACH + 1,) * 2, np.uint8)) > 0
    return np.asarray(np.where(beside, JUMP_SHARE * weight, weight), np.float32)


def _cosine(surface: Float32, cell_m: float) -> Float32:
    """Return the cosine of the slope of a sheet (rows, cols), smoothed over its neighbours.

    Plain sums, the same to the last bit in whichever window a cell lies: the surfaces of
    neighbouring groups have to meet.
    """
    smooth: NDArray[Any] = np.pad(surface, 2, mode="edge")
    for _ in range(4):
        smooth = (smooth[:-1] + smooth[1:]) / 2
        smooth = (smooth[:, :-1] + smooth[:, 1:]) / 2
    down, right = np.gradient(smooth, cell_m)
    return np.asarray(1 / np.sqrt(1 + down**2 + right**2), np.float32)


def fade_of(site: Site) -> Float32:
    """Return the share (rows, cols) of their say that sides have at a site's nodes."""
    nodes = np.pad(site.nodes(), 1)
    away = cv2.distanceTransform(nodes.astype(np.uint8), cv2.DIST_C, 3)[1:-1, 1:-1] - 1
    return np.asarray(np.clip((away - FADE_FROM) / FADE_CELLS, 0, 1), np.float32)


def fuse_group(
    frame: SiteFrame, group: tuple[int, int], size: int, sheets: Sequence[Sheet], fade: Float32
) -> SolidMesh:
    """Triangulate a square of a site's blocks, `size` on each side, from the ground and its sides.

    The group has first row and column of blocks; the ground is the first sheet.  Neighbouring
    groups have the same corners where they meet.
    """
    packed = _packed(sheets)
    site, spacing = frame.site, frame.grid.cell_m
    rows, cols = site.blocks.shape
    meshes = []
    for i in range(group[0], min(group[0] + size, rows)):
        for j in range(group[1], min(group[1] + size, cols)):
            if not site.blocks[i, j]:
                continue
            around = np.s_[i * BLOCK : (i + 1) * BLOCK + 1, j * BLOCK : (j + 1) * BLOCK + 1]
            share = np.ascontiguousarray(fade[around].T)
            shape = *share.shape, frame.levels
            distance, seen = np.empty(shape, np.float32), np.empty(shape, np.uint8)
            origin = np.array([j * BLOCK, i * BLOCK, 0.0])
            fuse_nodes(*packed, share, spacing, REACH_CELLS * spacing, origin, distance, seen)
            meshes += _triangulated(distance, seen, origin)
    return joined(meshes)


def _packed(sheets: Sequence[Sheet]) -> tuple[Any, Any, Any, Any, Any, Any, Any]:
    """Return layout, placing, height, weight, cosine, lowest and highest of sheets."""
    around = np.ones((2 * AROUND + 1,) * 2, np.uint8)
    sizes = [sheet.height.shape for sheet in sheets]
    offsets = np.cumsum([0] + [rows * cols for rows, cols in sizes])
    layout = np.array([(n, *size) for n, size in zip(offsets, sizes, strict=False)], np.int64)

    def flat(arrays: Sequence[Float32]) -> Float32:
        return np.concatenate([array.ravel() for array in arrays]).astype(np.float32)

    return (
        layout,
        np.stack([sheet.placing for sheet in sheets]),
        flat([sheet.height for sheet in sheets]),
        flat([sheet.weight for sheet in sheets]),
        flat([sheet.cosine for sheet in sheets]),
        flat([np.asarray(cv2.erode(sheet.height, around)) for sheet in sheets]),
        flat([np.asarray(cv2.dilate(sheet.height, around)) for sheet in sheets]),
    )


def _triangulated(distance: Float32, seen: NDArray[np.uint8], origin: Float) -> list[SolidMesh]:
    """Triangulate where the distance (cols, rows, levels) is 0."""
    found = []
    for level in range(0, distance.shape[2] - 1, SLAB):
        slab = distance[:, :, level : level + SLAB + 1]
        if slab.min() >= 0 or slab.max() <= 0:
            continue
        # Rows run south, so that the box is a mirror image: its triangles are turned round.
        points, faces, _, _ = marching_cubes(slab, 0.0, gradient_direction="ascent")
        points = points.astype(float)
        points[:, 2] += level
        near = np.rint(points).astype(int)
        known = seen[near[:, 0], near[:, 1], near[:, 2]] > 0
        found.append(
            SolidMesh(
                points=points + origin,
                faces=faces.astype(np.int64),
                seen=known,
            )
        )
    return found


def joined(meshes: Sequence[SolidMesh]) -> SolidMesh:
    """Return meshes as one, corners at one place made one and triangles without area left out."""
    if not meshes:
        return SolidMesh(
            points=np.zeros((0, 3)), faces=np.zeros((0, 3), np.int64), seen=np.zeros(0, np.bool_)
        )
    before = np.cumsum([0] + [len(mesh.points) for mesh in meshes])
    points = np.concatenate([mesh.points for mesh in meshes])
    faces = np.concatenate([mesh.faces + n for mesh, n in zip(meshes, before, strict=False)])
    key = np.rint(points * KEYS).astype(np.int64)
    _, first, number = np.unique(key, axis=0, return_index=True, return_inverse=True)
    faces = number.reshape(-1)[faces]
    whole = (
        (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    )
    seen = np.concatenate([mesh.seen for mesh in meshes])
    return SolidMesh(points=points[first], faces=faces[whole], seen=seen[first])


def without_specks(mesh: SolidMesh, spacing: float, keeps: Mask) -> SolidMesh:
    """Leave out small pieces that hang together with nothing else, and hollows within others.

    Pieces that have one of the corners that `keeps` (N,) tells stay: they go on elsewhere.
    """
    faces = mesh.faces
    if len(faces) == 0:
        return mesh
    ends = np.concatenate([faces[:, :2], faces[:, 1:]])
    links = coo_matrix((np.ones(len(ends)), ends.T), shape=(len(mesh.points),) * 2)
    count, piece = connected_components(links, directed=False)
    corners = (mesh.points[faces] - mesh.points.mean(axis=0)) * (spacing, -spacing, spacing)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    of_piece = piece[faces[:, 0]]
    area = np.bincount(of_piece, np.linalg.norm(cross, axis=1) / 2, minlength=count)
    volume = np.bincount(of_piece, (corners[:, 0] * cross).sum(axis=1) / 6, minlength=count)
    goes_on = np.bincount(piece[keeps], minlength=count) > 0
    kept = (((area >= LEAST_PIECE_M2) & (volume > 0)) | goes_on)[of_piece]
    used, number = np.unique(faces[kept], return_inverse=True)
    return SolidMesh(points=mesh.points[used], faces=number.reshape(-1, 3), seen=mesh.seen[used])
