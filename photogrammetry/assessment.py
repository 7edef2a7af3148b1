"""How well, by how many views, and how precisely a finished surface was seen."""

from __future__ import annotations

import numpy as np
from numba import njit

from photogrammetry.correlation import MAX_VIEWS, consistency, count_views, rectify

NOBODY = -2.0
"""A mean correlation that every view reaches."""


@njit(nogil=True, cache=True, error_model="numpy")
def assess_blocks(
    pixels, geometry, layout, centres, chosen, block, radius, noise, agree, x, y, sheet,
    confidence, agreeing, compared, spread
):  # fmt: skip
    """Judge a finished surface: how well, by how many views, and how precisely it was seen.

    Parameters
    ----------
    pixels, geometry, layout, chosen, block, radius, noise, x, y, sheet
        As for `match_blocks`; the sheet is the finished surface.
    centres : float32 (V, 3)
        Projection centres, tile coordinates.
    agree : float
        Mean ZNCC with the other views from which a view counts as agreeing.
    confidence : float32 (rows, cols), written
        ZNCC as `consistency` scores it, NaN below two views.
    agreeing, compared : uint8 (rows, cols), written
        Number of agreeing views, and of those whose whole window could be compared.
    spread : float32 (rows, cols), written
        ``sum |b - mean b|²`` over the agreeing views, or over all if fewer than two agree, with
        b the horizontal displacement of a view's footprint per metre of height; 0 below two views.
    """
    rows, cols = confidence.shape
    side = block + 2 * radius
    layers = np.empty((MAX_VIEWS, side, side), np.float32)
    z = np.empty((side, side), np.float32)
    px = np.empty(side, np.float32)
    py = np.empty(side, np.float32)
    scratch = np.empty((4, side, side), np.float32)
    mean = np.empty((MAX_VIEWS, side, side), np.float32)
    inverse = np.empty_like(mean)
    agreement = np.empty_like(mean)
    pairs = np.empty_like(mean)
    score = np.empty((side, side), np.float32)
    for i in range(chosen.shape[0]):
        for j in range(chosen.shape[1]):
            r0, c0 = i * block, j * block
            nr, nc = min(block, rows - r0), min(block, cols - c0)
            count = count_views(chosen[i, j])
            if count < 2:
                confidence[r0 : r0 + nr, c0 : c0 + nc] = np.nan
                agreeing[r0 : r0 + nr, c0 : c0 + nc] = 0
                compared[r0 : r0 + nr, c0 : c0 + nc] = 0
                spread[r0 : r0 + nr, c0 : c0 + nc] = 0.0
                continue
            for r in range(nr + 2 * radius):
                for c in range(nc + 2 * radius):
                    z[r, c] = sheet[r0 + r, c0 + c]
            for q in range(count):
                rectify(
                    pixels, geometry, layout, chosen[i, j, q], x[c0:], y[r0:], z,
                    nr + 2 * radius, nc + 2 * radius, layers[q], px, py,
                )  # fmt: skip
            consistency(
                layers, count, radius, nr, nc, noise, scratch,
                mean, inverse, agreement, pairs, score,
            )  # fmt: skip
            for r in range(nr):
                for c in range(nc):
                    confidence[r0 + r, c0 + c] = score[r, c]
                    agreeing[r0 + r, c0 + c], compared[r0 + r, c0 + c], spread[r0 + r, c0 + c] = (
                        _weigh_rays(
                            agreement[:, r, c], pairs[:, r, c], count, agree, centres, chosen[i, j],
                            x[c0 + c + radius], y[r0 + r + radius], z[r + radius, c + radius],
                        )
                    )  # fmt: skip


@njit(nogil=True, cache=True)
def _weigh_rays(agreement, pairs, count, agree, centres, views, x, y, z):
    """Count agreeing and compared views, and return the spread of the agreeing ones' rays."""
    compared = 0
    for q in range(count):
        compared += pairs[q] > 0.5
    agreeing, spread = _ray_spread(agreement, pairs, count, agree, centres, views, x, y, z)
    if agreeing < 2:
        _, spread = _ray_spread(agreement, pairs, count, NOBODY, centres, views, x, y, z)
    return agreeing, compared, spread


@njit(nogil=True, cache=True)
def _ray_spread(agreement, pairs, count, agree, centres, views, x, y, z):
    number = 0
    sx = sy = sxx = syy = 0.0
    for q in range(count):
        if pairs[q] > 0.5 and agreement[q] >= agree * pairs[q]:
            centre = centres[views[q]]
            bx = (centre[0] - x) / (centre[2] - z)
            by = (centre[1] - y) / (centre[2] - z)
            number += 1
            sx += bx
            sy += by
            sxx += bx * bx
            syy += by * by
    if number < 2:
        return number, 0.0
    return number, sxx + syy - (sx * sx + sy * sy) / number
