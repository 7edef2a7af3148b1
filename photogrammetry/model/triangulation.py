"""A grid of heights as few triangles: right-triangulated irregular networks.

Squares of the grid are halved along their diagonals, and the triangles at the middle of their
longest side, as often as the ground between their corners asks for it.  A place is made a corner
when the ground there, or at any place that can only be a corner after it, lies off the triangle
by more than is allowed; so neighbours always fit, without cracks and without a search.

References
----------
Evans, W., Kirkpatrick, D. & Townsend, G. (2001). Right-triangulated irregular networks.
    Algorithmica 30(2).
Lindstrom, P. & Pascucci, V. (2002). Terrain simplification simplified. IEEE TVCG 8(3): errors are
    nested, so that a place is never a corner before those that it needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
Array = NDArray[Any]

BORDER = np.float32(np.inf)
"""Error of places where classes meet: always corners."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Triangulation:
    """Triangles over the cell centres of a grid."""

    row: Ints
    """Row of each corner, (N,)."""
    col: Ints
    """Column of each corner, (N,)."""
    faces: Ints
    """Corners of each triangle, (F, 3), anticlockwise seen from above with rows to the south."""
    block: Ints
    """Square that a triangle lies in, (F,): row of squares times their columns, plus column."""
    factor: float
    """Times what was allowed that places may lie off the triangles; 1 if there was room."""


def triangulate(
    height: Float32,
    kind: NDArray[np.uint8],
    allowed_m: Float32,
    *,
    block_cells: int,
    most_corners: int,
) -> Triangulation:
    """Triangulate heights (rows, cols) in metres wherever `kind` (rows, cols) is not 0.

    No triangle crosses from one square of `block_cells`, a power of two, into the next, and where
    the kind changes the grid is followed cell by cell. Each place may lie off the triangles by what
    is allowed there (rows, cols), in metres, and everywhere by the same factor more where it would
    take more than `most_corners` to keep that.

    There is no triangle if no three cells of any kind touch.

    Examples
    --------
    >>> level = np.zeros((9, 9), np.float32)
    >>> kind, allowed_m = np.ones((9, 9), np.uint8), np.full((9, 9), 0.1, np.float32)
    >>> found = triangulate(level, kind, allowed_m, block_cells=8, most_corners=99)
    >>> found.faces.shape
    (2, 3)
    """
    rows, cols = (-(-(side - 1) // block_cells) * block_cells for side in height.shape)
    pad = ((0, rows + 1 - height.shape[0]), (0, cols + 1 - height.shape[1]))
    height = np.pad(height.astype(np.float32), pad, mode="edge")
    kind = np.pad(kind, pad)
    weight = np.pad(np.float32(1) / allowed_m.astype(np.float32), pad)
    errors = _nested_errors(np.where(kind > 0, height, 0), weight, kind, block_cells)
    factor = _factor(errors[kind > 0], most_corners)
    corners, block = _split(errors > factor, block_cells)
    whole = (kind.ravel()[corners] > 0).all(axis=1)
    corners, block = corners[whole], block[whole]
    used, faces = np.unique(corners, return_inverse=True)
    row, col = np.divmod(used, cols + 1)
    return Triangulation(row=row, col=col, faces=faces.reshape(-1, 3), block=block, factor=factor)


def _factor(errors: Float32, most_corners: int) -> float:
    """Return the least error from 1 on that leaves no more corners than wanted."""
    asked = errors[(errors > 1) & (errors < BORDER)]
    room = most_corners - int((errors == BORDER).sum())
    if len(asked) <= room:
        return 1.0
    if room <= 0:  # the borders alone take more: nothing within them
        return float(asked.max())
    return float(np.partition(asked, len(asked) - room)[len(asked) - room])


def _nested_errors(
    height: Float32, weight: Float32, kind: NDArray[np.uint8], block: int
) -> Float32:
    """Return the error (rows, cols) of every place, never less than that of those that need it.

    Errors are multiplied by a weight (rows, cols).

    A place is the middle of the longest side of the triangles that it splits: of a diagonal if it
    is the middle of a square, else of a square's side.
    """
    errors = np.where(_borders(kind), BORDER, np.float32(0))
    size = 2
    while size <= block:
        half = size // 2
        _add_sides(errors, height, weight, size)
        _add_sides(errors.T, height.T, weight.T, size)
        middles = errors[half::size, half::size]
        south_east = _off(height, (half, half), ((0, 0), (size, size)), size)
        north_east = _off(height, (half, half), ((0, size), (size, 0)), size)
        falling = _is_falling(middles.shape)
        off = np.where(falling, south_east, north_east) * weight[half::size, half::size]
        np.maximum(middles, off, out=middles)
        for sides in (errors[::size, half::size], errors.T[::size, half::size].T):
            axis = 0 if sides.shape[0] > middles.shape[0] else 1
            first, last = (np.delete(sides, end, axis=axis) for end in (-1, 0))
            np.maximum(middles, np.maximum(first, last), out=middles)
        size *= 2
    return errors


def _add_sides(errors: Float32, height: Float32, weight: Float32, size: int) -> None:
    """Set the errors of the middles of the squares' sides that lie along rows."""
    half, quarter = size // 2, size // 4
    sides = errors[::size, half::size]
    off = np.abs(
        height[::size, half::size]
        - (height[::size, :-1:size] + height[::size, size::size]) / np.float32(2)
    )
    np.maximum(sides, off * weight[::size, half::size], out=sides)
    if quarter == 0:
        return
    smaller = errors[quarter::half, quarter::half]  # middles of the squares half as large
    pairs = np.maximum(smaller[:, 0::2], smaller[:, 1::2])
    np.maximum(sides[:-1], pairs[0::2], out=sides[:-1])
    np.maximum(sides[1:], pairs[1::2], out=sides[1:])


def _off(
    height: Float32, at: tuple[int, int], ends: tuple[tuple[int, int], tuple[int, int]], size: int
) -> Float32:
    """Return how far places lie off the middle between two ends, within every square of a size."""
    rows, cols = ((side - 1) // size for side in height.shape)

    def of(place: tuple[int, int]) -> Float32:
        part = height[place[0] :: size, place[1] :: size]
        return part[:rows, :cols]

    return np.asarray(np.abs(of(at) - (of(ends[0]) + of(ends[1])) / np.float32(2)), np.float32)


def _is_falling(shape: tuple[int, ...]) -> Mask:
    """Tell which squares are halved from the north-west to the south-east."""
    rows, cols = shape
    return np.asarray((np.arange(rows)[:, None] + np.arange(cols)) % 2 == 0)


def _borders(kind: NDArray[np.uint8]) -> Mask:
    """Tell which places have another kind among their eight neighbours."""
    border = np.zeros(kind.shape, np.bool_)
    pairs = (
        (np.s_[1:, :], np.s_[:-1, :]),
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[1:, 1:], np.s_[:-1, :-1]),
        (np.s_[1:, :-1], np.s_[:-1, 1:]),
    )
    for one, other in pairs:
        differs = kind[one] != kind[other]
        border[one] |= differs
        border[other] |= differs
    return border


def _split(corner: Mask, block: int) -> tuple[Ints, Ints]:
    """Return the triangles (F, 3), as indices of places, and the square each lies in, (F,)."""
    cols = corner.shape[1]
    triangles = _whole_squares(corner.shape, block)
    done: list[Ints] = []
    while len(triangles):
        ends = triangles[:, :2]
        rows, columns = np.divmod(ends, cols)
        row, col = rows.sum(axis=1), columns.sum(axis=1)
        middle = (row // 2) * cols + col // 2
        split = (row % 2 == 0) & (col % 2 == 0) & corner.ravel()[middle]
        done.append(triangles[~split])
        a, b, c = triangles[split].T
        m = middle[split]
        triangles = np.concatenate([np.column_stack([c, a, m]), np.column_stack([b, c, m])])
    found = np.concatenate(done)
    row, col = (at.sum(axis=1) // 3 // block for at in np.divmod(found, cols))
    return found, row * ((cols - 1) // block) + col


def _whole_squares(shape: tuple[int, int], block: int) -> Ints:
    """Return two triangles of every square: ends of the longest side, and the right angle."""
    rows, cols = ((side - 1) // block for side in shape)
    i, j = (at.ravel() for at in np.mgrid[:rows, :cols])
    north_west = i * block * shape[1] + j * block
    north_east, south_west = north_west + block, north_west + block * shape[1]
    south_east = south_west + block
    falling = (i + j) % 2 == 0
    first = np.where(
        falling, (south_east, north_west, south_west), (north_east, south_west, south_east)
    )
    second = np.where(
        falling, (north_west, south_east, north_east), (south_west, north_east, north_west)
    )
    return np.concatenate([first.T, second.T]).astype(np.int64)
