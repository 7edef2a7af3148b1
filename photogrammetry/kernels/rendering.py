"""Kernels that bring photographs onto the surface: what a cell looks like, and who sees it.

Lines of sight run over a height field; beside its jumps the photo-consistency of single cells is
compared.
"""

import numpy as np
from numba import njit

from photogrammetry.kernels.projection import FARTHEST_SLANT, inside, load_view, project, sample

LEAST_WEIGHT = np.float32(0.004)
"""A view of less weight changes no 8-bit value."""
CLEARANCE_CELLS = 1.0
"""Height in cells by which a surface must rise above a ray to block it."""

MOST_VIEWS = 8
WINDOW = 9
"""Samples of a window of 3 × 3 cells."""


@njit(nogil=True, cache=True, error_model="numpy")
def sample_grey(pixels, geometry, layout, view, x, y, z, wanted, out):
    """Sample a packed grey view on a surface (rows, cols); NaN where not wanted or not in it."""
    numbers = load_view(geometry, view)
    offset, height, width = layout[view, 0], layout[view, 1], layout[view, 2]
    for r in range(z.shape[0]):
        for c in range(z.shape[1]):
            out[r, c] = np.float32(np.nan)
            if not wanted[r, c]:
                continue
            px, py = project(numbers, x[c], y[r], z[r, c])
            if inside(height, width, px, py):
                out[r, c] = sample(pixels, offset, width, px, py)


@njit(nogil=True, cache=True, error_model="numpy")
def sample_colour(picture, geometry, x, y, z, out):
    """Sample a picture, uint8 (height, width, bands), on a surface; NaN where it does not see."""
    numbers = load_view(geometry, 0)
    height, width, bands = picture.shape
    for r in range(z.shape[0]):
        for c in range(z.shape[1]):
            px, py = project(numbers, x[c], y[r], z[r, c])
            if inside(height, width, px, py):
                for b in range(bands):
                    out[r, c, b] = _bilinear(picture, px, py, b)
            else:
                out[r, c, :] = np.nan


@njit(nogil=True, cache=True, error_model="numpy")
def add_view(picture, geometry, gain, x, y, z, weight, row_at, col_at, total, weights):
    """Add a full-size photograph, weighted, to an orthomosaic tile.

    Where the first band of the picture, uint8 or float32 (height, width, bands), is NaN, the place
    is left to other photographs. Bands are multiplied by `gain`. The weight of the view lies on the
    coarser label grid, on which pixels have the places `row_at` and `col_at`, centre origin;
    between them it is interpolated bilinearly, and beyond them it is none. Changed are `total`
    (rows, cols, bands) and `weights` (rows, cols).
    """
    numbers = load_view(geometry, 0)
    height, width, bands = picture.shape
    west, east, at = 0, 0, -1
    for r in range(z.shape[0]):
        i = int(row_at[r])
        if row_at[r] < np.float32(0.0) or i + 1 >= weight.shape[0]:
            continue
        fr = row_at[r] - np.float32(i)
        if i != at:
            west, east = _reach(weight, i, col_at)
            at = i
        for c in range(west, east):
            j = int(col_at[c])
            fc = col_at[c] - np.float32(j)
            upper = weight[i, j] + fc * (weight[i, j + 1] - weight[i, j])
            lower = weight[i + 1, j] + fc * (weight[i + 1, j + 1] - weight[i + 1, j])
            w = upper + fr * (lower - upper)
            if w < LEAST_WEIGHT:
                continue
            px, py = project(numbers, x[c], y[r], z[r, c])
            if not inside(height, width, px, py):
                continue
            first = _bilinear(picture, px, py, 0)
            if np.isnan(first):
                continue
            total[r, c, 0] += w * gain[0] * first
            for b in range(1, bands):
                total[r, c, b] += w * gain[b] * _bilinear(picture, px, py, b)
            weights[r, c] += w


@njit(nogil=True, cache=True)
def _reach(weight, i, col_at):
    """Return the first pixel column that a view has weight in below label row i, and the end."""
    low, high = weight.shape[1], -1
    for j in range(weight.shape[1]):
        if weight[i, j] > np.float32(0.0) or weight[i + 1, j] > np.float32(0.0):
            low, high = min(low, j), j
    low, high = max(low - 1, 0), min(high + 1, weight.shape[1] - 1)
    west, east = 0, len(col_at)
    while west < east and col_at[west] < np.float32(low):
        west += 1
    while east > west and col_at[east - 1] >= np.float32(high):
        east -= 1
    return west, east


@njit(inline="always")
def _bilinear(picture, px, py, band):
    cx = px - np.float32(0.5)
    cy = py - np.float32(0.5)
    col, row = np.uint64(cx), np.uint64(cy)
    one = np.uint64(1)
    fx = cx - np.float32(col)
    fy = cy - np.float32(row)
    top = np.float32(picture[row, col, band])
    top += fx * (np.float32(picture[row, col + one, band]) - top)
    bottom = np.float32(picture[row + one, col, band])
    bottom += fx * (np.float32(picture[row + one, col + one, band]) - bottom)
    return top + fy * (bottom - top)


@njit(nogil=True, cache=True, error_model="numpy")
def compose(total, weights, evening, row_at, col_at, mapped, out):
    """Finish a tile: mean of the views, brightness evened out, as red, green, blue and alpha.

    `total` and `weights` are blue, green and red from `add_view`. What evens them out is added,
    from a coarse grid (low rows, low cols, 3), on which pixels have the places `row_at` and
    `col_at`, centre origin and clamped to it. Written is `out`, uint8 (4, rows, cols), where mapped
    and seen.
    """
    last_row, last_col = evening.shape[0] - 2, evening.shape[1] - 2
    for r in range(total.shape[0]):
        i = min(max(int(row_at[r]), 0), last_row)
        fr = min(max(row_at[r] - np.float32(i), np.float32(0.0)), np.float32(1.0))
        for c in range(total.shape[1]):
            if not mapped[r, c] or weights[r, c] < np.float32(0.5):
                continue
            j = min(max(int(col_at[c]), 0), last_col)
            fc = min(max(col_at[c] - np.float32(j), np.float32(0.0)), np.float32(1.0))
            for b in range(3):
                upper = evening[i, j, b] + fc * (evening[i, j + 1, b] - evening[i, j, b])
                lower = evening[i + 1, j, b] + fc * (
                    evening[i + 1, j + 1, b] - evening[i + 1, j, b]
                )
                value = total[r, c, b] / weights[r, c] + upper + fr * (lower - upper)
                value = min(max(value + np.float32(0.5), np.float32(0.0)), np.float32(255.0))
                out[2 - b, r, c] = np.uint8(value)
            out[3, r, c] = 255


@njit(nogil=True, cache=True)
def in_sight(sheet, cell, r, c, z, sx, sy, highest):
    """Tell whether a surface leaves the ray from a cell to a view open.

    The ray starts above the cell (r, c) of the sheet at the tile height z and goes sx metres east
    and sy north per metre of height; above `highest` nothing blocks.
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

    The ray is followed from cell to cell until it rises above `top`, the highest ground; it is
    blocked where the surface rises above it by more than `tolerance`, metres.
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

    Blocks, views and margins are those of `photogrammetry.kernels.correlation.match_blocks`. A
    view's picture must reach the cell at the height of the envelope. Views further off the vertical
    than `FARTHEST_SLANT` do not count. Written is `sights`, uint8 (rows, cols).
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

    Blocks, views and margins are those of `photogrammetry.kernels.correlation.match_blocks`, with
    at most `MOST_VIEWS` views of a block. The two are known about every candidate, none of which is
    at the edge; `surface` may block the sight on the lower one. Written is the mean ZNCC on the
    upper less that on the lower, float32 (rows, cols); NaN if either is unknown.
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
