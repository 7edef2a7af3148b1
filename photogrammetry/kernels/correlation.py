"""Multi-view photo-consistency on the ground: normalised cross-correlation of rectified layers.

A *sheet* is a surface over a block of cells.  Each view is sampled on the sheet (a rectified
layer); where the sheet is the true surface the layers agree.  Agreement is the zero-mean
normalised cross-correlation (ZNCC) of small windows, averaged over pairs of views.  From four
views on, the one that agrees least is left out, so that a wall or a moving car does no harm in it.

Window sums are separable, so a layer costs one sample per cell and view whatever the window.

The kernels work on the upper left (rows, cols) of square scratch arrays: whole arrays, not slices
of them, keep the inner loops contiguous, and so vectorised.

`assess_blocks` tells how well, by how many views, and how precisely a finished surface was seen.
"""

import numpy as np
from numba import njit

from photogrammetry.kernels.projection import inside, load_view, project, sample

MAX_VIEWS = 8
LEAST_REST = 3
"""Pairs that must remain for a view to be left out: the better of two pairs is better by chance."""
COST_SCALE = 127.0
"""Cost of a ZNCC of 0; a ZNCC of 1 costs 0."""
NO_MATCH = 110
"""Cost of a cell and height that fewer than two views see: neither evidence for nor against it.

About what wrong heights cost on average; were it more, cells at the rim of the block would be
drawn down to heights at which the footprints happen to overlap.
"""

# Not `nnan`: samples outside a picture are NaN and must stay so.
FAST = {"contract", "reassoc", "nsz", "arcp", "afn"}

NOBODY = -2.0
"""A mean correlation that every view reaches."""


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _rectify(pixels, geometry, layout, view, x, y, z, rows, cols, layer, px, py):
    """Sample a view on the sheet z: grey values less 128, NaN where it does not see the sheet.

    Columns and rows have the tile coordinates x and y; px and py (≥ cols,) are scratch.
    """
    numbers = load_view(geometry, view)
    offset, height, width = layout[view, 0], layout[view, 1], layout[view, 2]
    for r in range(rows):
        for c in range(cols):
            px[c], py[c] = project(numbers, x[c], y[r], z[r, c])
        # A sum is NaN if any of its terms is; most rows lie inside from end to end.
        west, east = px[0], px[0]
        north, south = py[0], py[0]
        known = np.float32(0.0)
        for c in range(cols):
            west, east = min(west, px[c]), max(east, px[c])
            north, south = min(north, py[c]), max(south, py[c])
            known += px[c]
        if (
            known == known
            and inside(height, width, west, north)
            and inside(height, width, east, south)
        ):
            for c in range(cols):
                layer[r, c] = sample(pixels, offset, width, px[c], py[c]) - np.float32(128.0)
        else:
            for c in range(cols):
                layer[r, c] = np.float32(np.nan)
                if inside(height, width, px[c], py[c]):
                    layer[r, c] = sample(pixels, offset, width, px[c], py[c]) - np.float32(128.0)


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _window_sum(a, b, radius, rows, cols, product, across, out):
    """Sum ``a * b`` over windows: layers (rows + 2 radius, cols + 2 radius) to (rows, cols).

    The two usual windows are written out: it is these sums that the time goes into.
    """
    for r in range(rows + 2 * radius):
        for c in range(cols + 2 * radius):
            product[c] = a[r, c] * b[r, c]
        if radius == 1:
            for c in range(cols):
                across[r, c] = product[c] + product[c + 1] + product[c + 2]
        elif radius == 2:
            for c in range(cols):
                across[r, c] = (
                    product[c] + product[c + 1] + product[c + 2] + product[c + 3] + product[c + 4]
                )
        else:
            for c in range(cols):
                across[r, c] = product[c]
            for i in range(1, 2 * radius + 1):
                for c in range(cols):
                    across[r, c] += product[c + i]
    for r in range(rows):
        if radius == 1:
            for c in range(cols):
                out[r, c] = across[r, c] + across[r + 1, c] + across[r + 2, c]
        elif radius == 2:
            for c in range(cols):
                out[r, c] = (
                    across[r, c]
                    + across[r + 1, c]
                    + across[r + 2, c]
                    + across[r + 3, c]
                    + across[r + 4, c]
                )
        else:
            for c in range(cols):
                out[r, c] = across[r, c]
            for i in range(1, 2 * radius + 1):
                for c in range(cols):
                    out[r, c] += across[r + i, c]


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def consistency(
    layers, count, radius, rows, cols, noise, scratch, mean, inverse, agreement, pairs, score
):
    """Score how well the layers of several views agree in each cell.

    Layers are (≥ count, ≥ rows + 2 radius, ≥ cols + 2 radius), `scratch` (4, side, side). The noise
    is the standard deviation of a picture's in grey values; it keeps the ZNCC of a featureless
    window near 0.

    Written are, by layer, the window's mean, its inverse standard deviation, the sum of the ZNCC
    with the other views, and the number of views it could be compared with; and the score: mean
    ZNCC over the pairs, without the least agreeing view if there are four or more; NaN below two
    views.
    """
    n = np.float32((2 * radius + 1) ** 2)
    floor = n * np.float32(noise * noise)
    across, total, ones, product = scratch[0], scratch[1], scratch[2], scratch[3, 0]
    ones[:] = np.float32(1.0)
    for a in range(count):
        _window_sum(layers[a], ones, radius, rows, cols, product, across, mean[a])
        _window_sum(layers[a], layers[a], radius, rows, cols, product, across, total)
        for r in range(rows):
            for c in range(cols):
                mean[a, r, c] /= n
                variance = total[r, c] - n * mean[a, r, c] * mean[a, r, c]
                # Rounding may leave a featureless window just below 0; the floor is above it.
                inverse[a, r, c] = np.float32(1.0) / np.sqrt(variance + floor)
                agreement[a, r, c] = np.float32(0.0)
                pairs[a, r, c] = np.float32(0.0)
    for a in range(count):
        for b in range(a + 1, count):
            _window_sum(layers[a], layers[b], radius, rows, cols, product, across, total)
            for r in range(rows):
                for c in range(cols):
                    covariance = total[r, c] - n * mean[a, r, c] * mean[b, r, c]
                    value = covariance * inverse[a, r, c] * inverse[b, r, c]
                    seen = value == value
                    value = value if seen else np.float32(0.0)
                    number = np.float32(1.0) if seen else np.float32(0.0)
                    agreement[a, r, c] += value
                    agreement[b, r, c] += value
                    pairs[a, r, c] += number
                    pairs[b, r, c] += number
    _leave_one_out(agreement, pairs, count, rows, cols, total, across, score)


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _leave_one_out(agreement, pairs, count, rows, cols, total, number, score):
    half = np.float32(0.5)
    least = np.float32(LEAST_REST - 0.5)
    for r in range(rows):
        for c in range(cols):
            total[r, c] = np.float32(0.0)
            number[r, c] = np.float32(0.0)
        for a in range(count):
            for c in range(cols):
                # Every pair is counted from both ends.
                total[r, c] += half * agreement[a, r, c]
                number[r, c] += half * pairs[a, r, c]
        for c in range(cols):
            score[r, c] = total[r, c] / number[r, c]  # 0 / 0 is the NaN of no pair
        for a in range(count):
            for c in range(cols):
                rest = number[r, c] - pairs[a, r, c]
                without = (total[r, c] - agreement[a, r, c]) / max(rest, half)
                better = rest > least and without > score[r, c]
                score[r, c] = without if better else score[r, c]


@njit(nogil=True, cache=True)
def _work_arrays(side):
    """Return heights, agreement, pairs and score of a block, and what they are computed with."""
    z, score = np.empty((side, side), np.float32), np.empty((side, side), np.float32)
    agreement = np.empty((MAX_VIEWS, side, side), np.float32)
    pairs, mean, inverse = (
        np.empty_like(agreement),
        np.empty_like(agreement),
        np.empty_like(agreement),
    )
    layers, scratch = np.empty_like(agreement), np.empty((4, side, side), np.float32)
    px, py = np.empty(side, np.float32), np.empty(side, np.float32)
    return z, agreement, pairs, score, layers, scratch, mean, inverse, px, py


@njit(nogil=True, cache=True, error_model="numpy")
def _compare(
    pixels, geometry, layout, views, count, radius, noise, x, y, rows, cols, work
):  # fmt: skip
    """Score how well some views agree on the heights in the work arrays."""
    z, agreement, pairs, score, layers, scratch, mean, inverse, px, py = work
    for q in range(count):
        _rectify(
            pixels, geometry, layout, views[q], x, y, z,
            rows + 2 * radius, cols + 2 * radius, layers[q], px, py,
        )  # fmt: skip
    consistency(
        layers, count, radius, rows, cols, noise, scratch, mean, inverse, agreement, pairs, score
    )


@njit(nogil=True, cache=True)
def count_views(chosen):
    """Count the views in a block's choice, which ends with the first -1."""
    count = 0
    while count < chosen.shape[0] and chosen[count] >= 0:
        count += 1
    return count


@njit(nogil=True, cache=True, error_model="numpy")
def match_blocks(
    pixels, geometry, layout, chosen, block, radius, noise, x, y, sheet, step, low, high, cost
):
    """Fill the cost volume of a tile, block by block.

    Blocks are squares of `block` cells; `chosen`, int64 (block rows, block cols, K), has the views
    of each, -1 where fewer than K. The sheet, of the heights of hypothesis 0, and x and y carry a
    margin of the window's radius. Hypotheses are `step` metres apart; a cell searches those from
    `low` to below `high`, int32 (rows, cols). Written is `cost`, uint8 (rows, cols, N): the cost of
    `low` at index 0; beyond `high` it is left alone.
    """
    rows, cols = low.shape
    work = _work_arrays(block + 2 * radius)
    z, score = work[0], work[3]
    for i in range(chosen.shape[0]):
        for j in range(chosen.shape[1]):
            r0, c0 = i * block, j * block
            r1, c1 = min(r0 + block, rows), min(c0 + block, cols)
            count = count_views(chosen[i, j])
            for k in range(low[r0:r1, c0:c1].min(), high[r0:r1, c0:c1].max()):
                ra, rb, ca, cb = _searched_box(low, high, k, r0, r1, c0, c1)
                nr, nc = rb - ra, cb - ca
                if nr <= 0:
                    continue
                if count < 2:
                    score[:nr, :nc] = np.nan
                    _write_cost(score, low, high, ra, rb, ca, cb, k, cost)
                    continue
                lift = np.float32(k * step)
                for r in range(nr + 2 * radius):
                    for c in range(nc + 2 * radius):
                        z[r, c] = sheet[ra + r, ca + c] + lift
                _compare(
                    pixels, geometry, layout, chosen[i, j], count, radius, noise,
                    x[ca:], y[ra:], nr, nc, work,
                )  # fmt: skip
                _write_cost(score, low, high, ra, rb, ca, cb, k, cost)


@njit(nogil=True, cache=True)
def _searched_box(low, high, k, r0, r1, c0, c1):
    """Bound the cells of a block that search hypothesis k: rows ra to rb, columns ca to cb."""
    ra, rb, ca, cb = r1, r0, c1, c0
    for r in range(r0, r1):
        for c in range(c0, c1):
            if low[r, c] <= k < high[r, c]:
                ra, rb = min(ra, r), max(rb, r + 1)
                ca, cb = min(ca, c), max(cb, c + 1)
    return ra, rb, ca, cb


@njit(nogil=True, cache=True)
def _write_cost(score, low, high, ra, rb, ca, cb, k, cost):
    for r in range(ra, rb):
        for c in range(ca, cb):
            if low[r, c] <= k < high[r, c]:
                value = NO_MATCH
                if score[r - ra, c - ca] == score[r - ra, c - ca]:
                    value = int((1.0 - score[r - ra, c - ca]) * COST_SCALE)
                    value = min(max(value, 0), 255)
                cost[r, c, k - low[r, c]] = value


@njit(nogil=True, cache=True, error_model="numpy")
def assess_blocks(
    pixels, geometry, layout, chosen, block, radius, noise, x, y, centres, agree, sheet,
    confidence, agreeing, compared, spread
):  # fmt: skip
    """Judge a finished surface: how well, by how many views, and how precisely it was seen.

    Blocks, views and margins are those of `match_blocks`; the sheet is the finished surface. A view
    whose mean ZNCC with the others is `agree` or more counts as agreeing.

    Written, (rows, cols), are the score of `consistency`; the number of agreeing views, and of
    those whose whole window could be compared, uint8; and as spread ``sum |b - mean b|²`` over the
    agreeing views, or over all if fewer than two agree, with b the horizontal displacement of a
    view's footprint per metre of height; 0 below two views.
    """
    rows, cols = confidence.shape
    work = _work_arrays(block + 2 * radius)
    z, agreement, pairs, score = work[0], work[1], work[2], work[3]
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
            _compare(
                pixels, geometry, layout, chosen[i, j], count, radius, noise,
                x[c0:], y[r0:], nr, nc, work,
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
