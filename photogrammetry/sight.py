"""Lines of sight over a height field."""

from __future__ import annotations

import numpy as np
from numba import njit

from photogrammetry.projection import inside, load_view, project

CLEARANCE_CELLS = 1.0
"""Height in cells by which a surface must rise above a ray to block it."""


@njit(nogil=True, cache=True)
def in_sight(sheet, cell, r, c, z, sx, sy, highest):
    """Tell whether a surface leaves the ray from a cell to a view open.

    Parameters
    ----------
    sheet : float32 (rows, cols)
        Tile heights of the surface.
    cell : float
        Side of a cell in metres.
    r, c : int
        The cell.
    z : float
        Tile height at which the ray starts.
    sx, sy : float
        Metres the ray goes east and north per metre of height.
    highest : float
        Height above which nothing blocks.
    """
    rows, cols = sheet.shape
    slope = max(abs(sx), abs(sy))
    if slope < 1e-6:
        return True
    # One cell along the longer of its two components at a time.
    rise = cell / slope
    dc, dr = sx / slope, -sy / slope
    step = 1
    above = z + CLEARANCE_CELLS * cell + rise
    while above < highest:
        i, j = int(np.floor(r + step * dr + 0.5)), int(np.floor(c + step * dc + 0.5))
        if i < 0 or j < 0 or i >= rows or j >= cols:
            return True
        if sheet[i, j] > above:
            return False
        step += 1
        above += rise
    return True


@njit(nogil=True, cache=True)
def count_sights(
    geometry, layout, sheet, envelope, x, y, radius, centres, chosen, block, steepest, sights
):  # fmt: skip
    """Count the views of its block from which each cell of a surface is seen.

    Parameters
    ----------
    geometry, layout : ndarray
        Packed views, see `photogrammetry.projection`.
    sheet : float32 (rows + 2 radius, cols + 2 radius)
        Tile heights of the surface.
    envelope : float32 (rows + 2 radius, cols + 2 radius)
        Tile heights at which a view's picture must reach the cell.
    x, y : float32 (cols + 2 radius,), (rows + 2 radius,)
    radius : int
        Margin of the arrays above in cells.
    centres : float64 (V, 3)
        Projection centres, tile coordinates.
    chosen : int64 (block rows, block cols, K)
        Views of each block, -1 where fewer than K.
    block : int
        Side of a block in cells.
    steepest : float
        Tangent of the angle off the vertical beyond which a view does not count.
    sights : uint8 (rows, cols), written
    """
    highest = sheet.max()
    cell = abs(x[1] - x[0])
    for r in range(sights.shape[0]):
        for c in range(sights.shape[1]):
            i, j = r + radius, c + radius
            z = sheet[i, j]
            number = 0
            for v in chosen[r // block, c // block]:
                if v < 0 or centres[v, 2] <= z:
                    continue
                px, py = project(load_view(geometry, v), x[j], y[i], envelope[i, j])
                if not inside(layout[v, 1], layout[v, 2], px, py):
                    continue
                height = centres[v, 2] - z
                sx, sy = (centres[v, 0] - x[j]) / height, (centres[v, 1] - y[i]) / height
                if sx * sx + sy * sy > steepest * steepest:
                    continue
                number += in_sight(sheet, cell, i, j, z, sx, sy, highest)
            sights[r, c] = number
