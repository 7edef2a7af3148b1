"""The kernel that joins surfaces measured from several sides to one signed distance.

A *sheet* is a surface seen along one direction: a height, towards whoever looks, in every cell of
a grid across that direction.  All sheets lie end to end in plain arrays:

``layout`` : int64 (S, 3)
    Offset of the sheet in the arrays below, its rows and its columns.
``placing`` : float64 (S, 3, 4)
    From a node's column, row and level to column and row in the sheet, cell centres at whole
    numbers, and to the height above it in metres.
``height``, ``weight``, ``cosine`` : float32 (N,)
    Height of each cell in metres, its say (0: none), and the cosine of its slope.
``lowest``, ``highest`` : float32 (N,)
    Least and greatest height within `AROUND` cells.
"""

import math

import numpy as np
from numba import njit

BRICK = 8
"""Side in nodes of the cubes that are passed over where no sheet comes near."""
AROUND = 9
"""Cells about a sheet's cell that a brick reaches at most: half its diagonal, and a cell of grace.
"""
SMOOTH_CELLS = 3.0
"""Range of a sheet's heights, in nodes' spacings, up to which it is interpolated between cells."""
LEAST_SAY = 1e-4
"""Weight up to which a sheet's cell was not measured, and speaks only where no other does."""
ON_SURFACE_M = 1e-6
"""Distance that a node keeps from the surface: on it, triangles would have no area."""
HALF_WAY = 0.5 + 1e-6
"""Where the nearer cell changes: a hair past half way.  There the last bit of a node's place would
decide, which differs between windows."""
SEEN_COSINE = 0.35
"""A steeper slope of a sheet is what lies between two surfaces that were seen."""
LEAST_COSINE = 0.2
"""A steeper slope counts as this: its distance could not be told apart from its neighbours'."""


@njit(nogil=True, cache=True)
def _placed(placing, s, col, row, level):
    p = placing[s]
    return (
        p[0, 0] * col + p[0, 1] * row + p[0, 2] * level + p[0, 3],
        p[1, 0] * col + p[1, 1] * row + p[1, 2] * level + p[1, 3],
        p[2, 0] * col + p[2, 1] * row + p[2, 2] * level + p[2, 3],
    )


@njit(nogil=True, cache=True)
def _brick_lies(layout, placing, lowest, highest, spacing, tau, first):
    """Tell where a brick lies: 1 before all of the first sheet, -1 behind all, 0 maybe near."""
    half = (np.float64(BRICK) - 1.0) / 2.0
    radius = half * math.sqrt(3.0) * spacing + tau / LEAST_COSINE
    free_of_first, free_of_any = False, False
    for s in range(len(layout)):
        u, v, d = _placed(placing, s, first[0] + half, first[1] + half, first[2] + half)
        col, row = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
        if (
            col < -AROUND
            or row < -AROUND
            or col >= layout[s, 2] + AROUND
            or row >= layout[s, 1] + AROUND
        ):
            continue
        if col < 0 or row < 0 or col >= layout[s, 2] or row >= layout[s, 1]:
            return 0
        n = layout[s, 0] + row * layout[s, 2] + col
        if d - radius > highest[n]:
            free_of_any = True
            free_of_first |= s == 0
        elif d + radius >= lowest[n]:
            return 0
    if free_of_first:
        return 1
    return 0 if free_of_any else -1


@njit(nogil=True, cache=True)
def fuse_nodes(
    layout, placing, height, weight, cosine, lowest, highest, fade, spacing, tau, origin, distance,
    seen,
):  # fmt: skip
    """Write the signed distance of the nodes of a box from the surface, positive outside.

    Each sheet says how far before it (positive) or behind it a node lies, as long as that is less
    than `tau` metres; farther before it a node is free, and what lies farther behind it cannot
    know.  The distance is the mean by weight of what the sheets say (Curless & Levoy 1996).  Where
    none says anything a node is inside.

    The first sheet is the ground from above and knows every column.  The others have a share
    `fade` (cols, rows) of their say.  The box begins at the node `origin`, column, row and level;
    nodes are `spacing` metres apart.  Written are `distance`, float32 (cols, rows, levels), and
    whether a sheet that was measured comes near, `seen`, uint8.
    """
    cols, rows, levels = distance.shape
    first = np.empty(3)
    for bc in range(0, cols, BRICK):
        for br in range(0, rows, BRICK):
            for bk in range(0, levels, BRICK):
                first[0], first[1], first[2] = origin[0] + bc, origin[1] + br, origin[2] + bk
                lies = _brick_lies(layout, placing, lowest, highest, spacing, tau, first)
                for c in range(bc, min(bc + BRICK, cols)):
                    for r in range(br, min(br + BRICK, rows)):
                        for k in range(bk, min(bk + BRICK, levels)):
                            if lies != 0:
                                distance[c, r, k] = lies * tau
                                seen[c, r, k] = 0
                                continue
                            distance[c, r, k], seen[c, r, k] = _fused(
                                layout, placing, height, weight, cosine, fade[c, r], spacing, tau,
                                origin[0] + c, origin[1] + r, origin[2] + k,
                            )  # fmt: skip


@njit(nogil=True, cache=True)
def _fused(
    layout, placing, height, weight, cosine, fade, spacing, tau, col, row, level
):  # fmt: skip
    total, say, seen = 0.0, 0.0, 0
    for s in range(len(layout)):
        u, v, d = _placed(placing, s, col, row, level)
        c0, r0 = int(np.floor(u)), int(np.floor(v))
        if c0 < 0 or r0 < 0 or c0 + 1 >= layout[s, 2] or r0 + 1 >= layout[s, 1]:
            continue
        fu, fv = u - c0, v - r0
        n = layout[s, 0] + r0 * layout[s, 2] + c0
        below = n + layout[s, 2]
        nearest = (below if fv > HALF_WAY else n) + (1 if fu > HALF_WAY else 0)
        share = float(weight[nearest]) * (1.0 if s == 0 else fade)
        if share <= 0.0:
            continue
        a, b, e, f = height[n], height[n + 1], height[below], height[below + 1]
        if max(max(a, b), max(e, f)) - min(min(a, b), min(e, f)) < SMOOTH_CELLS * spacing:
            surface = (a * (1 - fu) + b * fu) * (1 - fv) + (e * (1 - fu) + f * fu) * fv
        else:
            surface = float(height[nearest])
        slope = max(float(cosine[nearest]), LEAST_COSINE)
        if s == 0:
            slope = 1.0 + fade * (slope - 1.0)
        away = (d - surface) * slope
        if away < -tau:
            continue
        share *= slope * slope
        if away < tau and share > LEAST_SAY and slope > SEEN_COSINE:
            seen = 1
        # What lies behind a surface may as well lie before another, as below an eave.
        share *= 1.0 + min(away, 0.0) / tau
        total += share * min(away, tau)
        say += share
    if say <= 0.0:
        return np.float32(-tau), np.uint8(0)
    mean = total / say
    return np.float32(mean if abs(mean) > ON_SURFACE_M else ON_SURFACE_M), np.uint8(seen)
