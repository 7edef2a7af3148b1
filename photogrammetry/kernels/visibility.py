"""Lines of sight over a height field, and photo-consistency of single cells beside its jumps."""

from __future__ import annotations

import numpy as np
from numba import njit

from photogrammetry.kernels.projection import FARTHEST_SLANT, inside, load_view, project, sample

CLEARANCE_CELLS = 1.0
"""Height in cells by which a surface must rise above a ray to block it."""

MOST_VIEWS = 8
WINDOW = 9
"""Samples of a window of 3 × 3 cells."""


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


@njit(nogil=True, cache=True, error_model="numpy")
def mark_visible(height, cell, top, tolerance, x, y, centre, visible):
    """Clear the cells whose ray to a projection centre the surface blocks.

    The ray is followed from cell to cell until it rises above the highest ground.

    Parameters
    ----------
    height : float32 (rows, cols)
        Tile heights.
    cell : float
        Metres.
    top : float
        Highest height of the surface.
    tolerance : float
        Metres by which the surface must rise above a ray to block it.
    x, y : float32 (cols,), (rows,)
        Tile coordinates of the cells.
    centre : float64 (3,)
        Projection centre, tile coordinates.
    visible : bool (rows, cols), changed
    """
    rows, cols = height.shape
    for r in range(rows):
        for c in range(cols):
            if not visible[r, c]:
                continue
            z = height[r, c]
            bx = (centre[0] - x[c]) / (centre[2] - z)
            by = (centre[1] - y[r]) / (centre[2] - z)
            steepest = max(abs(bx), abs(by))
            if steepest < 1e-3:
                continue
            rise = cell / steepest
            dc, dr = bx * rise / cell, -by * rise / cell
            steps = int((top - z) / rise)
            for n in range(1, steps + 1):
                row, col = int(r + 0.5 + n * dr), int(c + 0.5 + n * dc)
                if row < 0 or col < 0 or row >= rows or col >= cols:
                    break
                if height[row, col] > z + n * rise + tolerance:
                    visible[r, c] = False
                    break


@njit(nogil=True, cache=True)
def count_sights(
    geometry, layout, chosen, block, radius, x, y, centres, sheet, envelope, sights
):  # fmt: skip
    """Count the views of its block from which each cell of a surface is seen.

    Views further off the vertical than `FARTHEST_SLANT` do not count.

    Parameters
    ----------
    geometry, layout, chosen, block, radius, x, y
        As for `photogrammetry.kernels.correlation.match_blocks`.
    centres : float64 (V, 3)
        Projection centres, tile coordinates.
    sheet : float32 (rows + 2 radius, cols + 2 radius)
        Tile heights of the surface.
    envelope : float32 (rows + 2 radius, cols + 2 radius)
        Tile heights at which a view's picture must reach the cell.
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
                if sx * sx + sy * sy > FARTHEST_SLANT * FARTHEST_SLANT:
                    continue
                number += in_sight(sheet, cell, i, j, z, sx, sy, highest)
            sights[r, c] = number


@njit(nogil=True, cache=True, error_model="numpy")
def compare_surfaces(
    pixels, geometry, layout, chosen, block, radius, noise, x, y, centres,
    upper, lower, surface, candidates, advantage
):  # fmt: skip
    """Compare how well the views agree on the upper and on the lower of two surfaces.

    Parameters
    ----------
    pixels, geometry, layout, chosen, block, radius, noise, x, y
        As for `photogrammetry.kernels.correlation.match_blocks`, with at most `MOST_VIEWS` views
        of a block.
    centres : float64 (V, 3)
        Projection centres, tile coordinates.
    upper, lower : float32 (rows, cols)
        The two surfaces, known about every candidate.
    surface : float32 (rows, cols)
        What may block the sight on the lower surface.
    candidates : bool (rows, cols)
        Cells to compare; none at the edge.
    advantage : float32 (rows, cols), written
        Mean ZNCC on the upper surface less that on the lower; NaN if either is unknown.
    """
    rows, cols = upper.shape
    cell = abs(x[1] - x[0])
    highest = surface.max()
    windows = np.empty((MOST_VIEWS, WINDOW), np.float32)
    for r in range(rows):
        for c in range(cols):
            advantage[r, c] = np.nan
            if not candidates[r, c]:
                continue
            above = below = 0
            views = chosen[r // block, c // block]
            for v in views:
                if v >= 0:
                    above += _take_window(
                        pixels, geometry, layout, v, x, y, radius, upper, r, c, noise,
                        windows[above],
                    )  # fmt: skip
            score = _agreement(windows, above)
            for v in views:
                if v < 0 or centres[v, 2] <= lower[r, c]:
                    continue
                height = centres[v, 2] - lower[r, c]
                sx = (centres[v, 0] - x[c + radius]) / height
                sy = (centres[v, 1] - y[r + radius]) / height
                if in_sight(surface, cell, r, c, lower[r, c], sx, sy, highest):
                    below += _take_window(
                        pixels, geometry, layout, v, x, y, radius, lower, r, c, noise,
                        windows[below],
                    )  # fmt: skip
            advantage[r, c] = score - _agreement(windows, below)


@njit(nogil=True, cache=True, error_model="numpy")
def _take_window(pixels, geometry, layout, view, x, y, radius, sheet, r, c, noise, window):
    """Sample a window about a cell, less its mean, of unit length; 0 if it leaves the picture."""
    numbers = load_view(geometry, view)
    offset, height, width = layout[view, 0], layout[view, 1], layout[view, 2]
    k = 0
    mean = np.float32(0.0)
    for i in range(r - 1, r + 2):
        for j in range(c - 1, c + 2):
            px, py = project(numbers, x[j + radius], y[i + radius], sheet[i, j])
            if not inside(height, width, px, py):
                return 0
            window[k] = sample(pixels, offset, width, px, py)
            mean += window[k]
            k += 1
    mean /= np.float32(WINDOW)
    square = np.float32(WINDOW * noise * noise)
    for k in range(WINDOW):
        window[k] -= mean
        square += window[k] * window[k]
    for k in range(WINDOW):
        window[k] /= np.sqrt(square)
    return 1


@njit(nogil=True, cache=True, error_model="numpy")
def _agreement(windows, count):
    """Return the mean ZNCC of all pairs; from four windows on without the least agreeing one."""
    if count < 2:
        return np.nan
    sums = np.zeros(MOST_VIEWS)
    total = 0.0
    for a in range(count):
        for b in range(a + 1, count):
            zncc = 0.0
            for k in range(WINDOW):
                zncc += windows[a, k] * windows[b, k]
            sums[a] += zncc
            sums[b] += zncc
            total += zncc
    score = total / (count * (count - 1) / 2)
    if count >= 4:
        rest = (count - 1) * (count - 2) / 2
        for a in range(count):
            score = max(score, (total - sums[a]) / rest)
    return score
