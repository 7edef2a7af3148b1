"""Semi-global aggregation of a cost volume over the ground grid, and the winning heights.

Hirschmüller's semi-global matching, along eight directions, applied in object space with a search
range of its own for every cell.

References
----------
Hirschmüller, H. (2008). Stereo processing by semiglobal matching and mutual information. IEEE
TPAMI 30(2), eq. 13.

Bethmann, F. & Luhmann, T. (2015). Semi-global matching in object space. ISPRS Archives XL-3/W2.

Rothermel, M. et al. (2012). SURE: photogrammetric surface reconstruction from imagery (search
ranges that narrow from level to level).
"""

import numpy as np
from numba import njit

DIRECTIONS = np.array(
    [(0, 1), (1, 0), (1, 1), (1, -1), (0, -1), (-1, 0), (-1, -1), (-1, 1)], np.int64
)
"""Rows and columns of a step: those of a sweep southwards, then those of one northwards."""
SIDE = 4
"""Directions of one sweep."""
FAR = np.float32(1e6)
RIVAL_STEPS = 3
"""Hypotheses between two minima of a cell that are no longer the same one."""


@njit(nogil=True, cache=True)
def aggregate(cost, low, count, small, large, total):
    """Sum the path costs of eight directions.

    Each cell searches `count` hypotheses (rows, cols) from `low` on; `cost`, uint8 (rows, cols, N),
    has that of its lowest at index 0. A change of one hypothesis between neighbours costs P1,
    `small`; any greater one costs a cell's P2, `large`, float32 (rows, cols). The sums are written
    to `total`, float32 (rows, cols, N).
    """
    rows, cols, depth = cost.shape
    flat_cost, flat_total = cost.ravel(), total.ravel()
    flat_total[:] = np.float32(0.0)
    # Path costs of the row being swept and of the one before it, by direction, in slots of
    # depth + 4: two guards at either end stand for the hypotheses a cell does not have.
    slot = depth + 4
    behind = np.full((SIDE, cols * slot), FAR, np.float32)
    here = np.full((SIDE, cols * slot), FAR, np.float32)
    least_behind = np.zeros((SIDE, cols), np.float32)
    least_here = np.zeros((SIDE, cols), np.float32)
    # Four directions are swept with each row, so that the sums pass through memory twice and not
    # eight times.
    for half in range(0, DIRECTIONS.shape[0], SIDE):
        for i in range(rows):
            r = i if half == 0 else rows - 1 - i
            for d in range(SIDE):
                dr, dc = DIRECTIONS[half + d]
                path, least = here[d], least_here[d]
                source = behind[d] if dr != 0 else path
                least_source = least_behind[d] if dr != 0 else least
                for j in range(cols):
                    c = j if dc >= 0 else cols - 1 - j
                    c_from = c - dc
                    at = (r * cols + c) * depth
                    if (dr != 0 and i == 0) or c_from < 0 or c_from >= cols:
                        least[c] = _start_path(
                            flat_cost, flat_total, at, count[r, c], path, c * slot
                        )
                    else:
                        least[c] = _extend_path(
                            flat_cost, flat_total, at, count[r, c],
                            low[r, c] - low[r - dr, c_from],
                            source, c_from * slot, count[r - dr, c_from], least_source[c_from],
                            np.float32(small), large[r, c], path, c * slot,
                        )  # fmt: skip
            behind, here = here, behind
            least_behind, least_here = least_here, least_behind


# Unsigned indices below: Numba wraps negative ones round, and the test for it would keep these
# loops, where the time goes, from being vectorised.


@njit(nogil=True, cache=True, fastmath=True)
def _start_path(cost, total, at, count, path, slot):
    first, to, n = np.uint64(at), np.uint64(slot + 2), np.uint64(count)
    least = FAR
    for k in range(n):
        value = np.float32(cost[first + k])
        path[to + k] = value
        total[first + k] += value
        least = min(least, value)
    _guard(path, slot, count)
    return least


@njit(nogil=True, cache=True, fastmath=True)
def _extend_path(
    cost, total, at, count, shift, source, source_slot, source_count, least, small, large,
    path, slot,
):  # fmt: skip
    """Extend a path by one cell (Hirschmüller 2008, eq. 13); return its least cost.

    `shift` is the cell's lowest hypothesis less that of the cell the path comes from.
    """
    # Only hypotheses within one of the source's range can be reached by a small step.
    near_low = min(max(0, -1 - shift), count)
    near_high = max(min(count, source_count + 1 - shift), near_low)
    first, to = np.uint64(at), np.uint64(slot + 2)
    for k in range(np.uint64(near_low)):
        path[to + k] = np.float32(cost[first + k]) + large
    begin, length = np.uint64(near_low), np.uint64(near_high - near_low)
    origin = np.uint64(source_slot + 2 + shift + near_low)
    one = np.uint64(1)
    for k in range(length):
        step = min(
            source[origin + k], min(source[origin + k - one], source[origin + k + one]) + small
        )
        path[to + begin + k] = np.float32(cost[first + begin + k]) + min(step - least, large)
    begin, length = np.uint64(near_high), np.uint64(count - near_high)
    for k in range(length):
        path[to + begin + k] = np.float32(cost[first + begin + k]) + large
    best = FAR
    for k in range(np.uint64(count)):
        value = path[to + k]
        total[first + k] += value
        best = min(best, value)
    _guard(path, slot, count)
    return best


@njit(nogil=True, cache=True)
def _guard(path, slot, count):
    path[slot] = path[slot + 1] = path[slot + 2 + count] = path[slot + 3 + count] = FAR


@njit(nogil=True, cache=True)
def pick_heights(total, low, count, sheet, step, height, margin, away):
    """Take the cheapest hypothesis of each cell, refined by a parabola through its neighbours.

    Costs are those of `aggregate`; `sheet` has the heights of hypothesis 0, and hypotheses are
    `step` metres apart. Written, float32 (rows, cols), are the height; the margin, by which the
    cell's best rival costs more: the cheapest other minimum `RIVAL_STEPS` or more away, infinite
    where there is none; and how many metres away that is.
    """
    rows, cols, _ = total.shape
    for r in range(rows):
        for c in range(cols):
            last = count[r, c] - 1
            best = 0
            for k in range(1, last + 1):
                if total[r, c, k] < total[r, c, best]:
                    best = k
            shift = 0.0
            if 0 < best < last:
                left, mid, right = total[r, c, best - 1], total[r, c, best], total[r, c, best + 1]
                curvature = left - 2.0 * mid + right
                if curvature > 0.0:
                    shift = 0.5 * (left - right) / curvature
            height[r, c] = sheet[r, c] + (low[r, c] + best + shift) * step
            least, rival = np.float32(np.inf), best
            for k in range(last + 1):
                if abs(k - best) >= RIVAL_STEPS and total[r, c, k] < least:
                    lowest = k == 0 or total[r, c, k] <= total[r, c, k - 1]
                    if lowest and (k == last or total[r, c, k] <= total[r, c, k + 1]):
                        least, rival = total[r, c, k], k
            margin[r, c] = least - total[r, c, best]
            away[r, c] = abs(rival - best) * step
