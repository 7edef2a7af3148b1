"""Kernels that bring photographs onto the surface: what a cell looks like from them."""

from __future__ import annotations

import numpy as np
from numba import njit

from photogrammetry.kernels.projection import inside, load_view, project, sample

LEAST_WEIGHT = np.float32(0.004)
"""A view of less weight changes no 8-bit value."""


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
    """Sample a colour picture on a surface.

    Parameters
    ----------
    picture : uint8 (height, width, bands)
    geometry : float32 (1, 22)
        For the whole picture at its size, see `photogrammetry.kernels.projection`.
    x, y : float32 (cols,), (rows,)
    z : float32 (rows, cols)
    out : float32 (rows, cols, bands), written
        NaN where the picture does not see the surface.
    """
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

    Parameters
    ----------
    picture : uint8 or float32 (height, width, bands)
        Where the first band is NaN the place is left to other photographs.
    geometry : float32 (1, 22)
    gain : float32 (bands,)
        Factors of the bands.
    x, y : float32 (cols,), (rows,)
        Tile coordinates of the pixels.
    z : float32 (rows, cols)
    weight : float32 (label rows, label cols)
        Weight of the view on the coarser label grid, interpolated bilinearly.
    row_at, col_at : float32 (rows,), (cols,)
        Place of the pixels on that grid, centre origin; beyond it the view has no weight.
    total : float32 (rows, cols, bands), changed
    weights : float32 (rows, cols), changed
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

    Parameters
    ----------
    total, weights : float32 (rows, cols, 3), (rows, cols)
        From `add_view`; blue, green, red.
    evening : float32 (low rows, low cols, 3)
        To be added, on a coarse grid, interpolated bilinearly.
    row_at, col_at : float32 (rows,), (cols,)
        Place of the pixels on the coarse grid, centre origin, clamped to it.
    mapped : bool (rows, cols)
    out : uint8 (4, rows, cols), written where mapped and seen
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
