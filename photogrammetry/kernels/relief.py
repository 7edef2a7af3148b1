"""The kernels of relief pictures: what a person would see who stands in each cell and looks about.

Each is handed heights with a halo, float32 with NaN where they are unknown, and writes the cells
within the halo. A comparison with NaN is false, so that unknown cells hide nothing.
"""

import numpy as np
from numba import njit

LEAST = np.float32(-1e30)
"""Below the tangent of any angle."""
HALF_PI = np.float32(np.pi / 2)


@njit(nogil=True, cache=True, error_model="numpy")
def look_around(heights, halo, offsets, inverse_m, starts, sines, above, below):
    """Write what each cell sees of the sky, of its horizon from above, and from below.

    For direction `d` the samples `starts[d]` to `starts[d + 1]` lie `offsets` (N, 2) rows and
    columns away, `inverse_m` (N,) being one over their distances. With the largest tangent t of the
    angle up to a sample, and the largest one of the angle down to a sample, s, `sines` is
    the mean over directions of max(sin(atan(t)), 0), `above` that of atan(t), `below` that of
    atan(s), all float32 (rows, cols), radians. A direction without any known sample is left out;
    where all are, the three are NaN, as they are where the height is unknown.
    """
    rows, cols = sines.shape
    up = np.empty(cols, np.float32)
    down = np.empty(cols, np.float32)
    seen = np.empty(cols, np.float32)
    for row in range(rows):
        here = heights[row + halo, halo : halo + cols]
        sines[row] = 0.0
        above[row] = 0.0
        below[row] = 0.0
        seen[:] = 0.0
        for direction in range(len(starts) - 1):
            up[:] = LEAST
            down[:] = LEAST
            for n in range(starts[direction], starts[direction + 1]):
                first = halo + offsets[n, 1]
                there = heights[row + halo + offsets[n, 0], first : first + cols]
                scale = inverse_m[n]
                for col in range(cols):
                    rise = (there[col] - here[col]) * scale
                    up[col] = rise if rise > up[col] else up[col]
                    down[col] = -rise if -rise > down[col] else down[col]
            for col in range(cols):
                t, s = up[col], down[col]
                known = np.float32(1.0) if t > LEAST else np.float32(0.0)
                steep = t if t > np.float32(0.0) else np.float32(0.0)
                sines[row, col] += steep / np.sqrt(np.float32(1.0) + steep * steep)
                above[row, col] += known * _arctan(t)
                below[row, col] += known * _arctan(s)
                seen[col] += known
        for col in range(cols):
            # 0 / 0 is NaN: of an unknown height, and of a cell without any neighbour.
            sines[row, col] /= seen[col]
            above[row, col] /= seen[col]
            below[row, col] /= seen[col]


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _arctan(x):
    """Return the arctangent: Abramowitz & Stegun (1964), 4.4.49, to 2e-8; loops of it vectorise."""
    size = abs(x)
    wide = size > np.float32(1.0)
    u = np.float32(1.0) / size if wide else size
    v = u * u
    series = np.float32(0.0028662257)
    series = series * v - np.float32(0.0161657367)
    series = series * v + np.float32(0.0429096138)
    series = series * v - np.float32(0.0752896400)
    series = series * v + np.float32(0.1065626393)
    series = series * v - np.float32(0.1420889944)
    series = series * v + np.float32(0.1999355085)
    series = series * v - np.float32(0.3333314528)
    angle = u + u * v * series
    angle = HALF_PI - angle if wide else angle
    return angle if x > np.float32(0.0) else -angle


@njit(nogil=True, cache=True, error_model="numpy")
def look_down(heights, halo, offsets, distances, weights, eye, dominance):
    """Write how far a person in each cell looks down on what lies about.

    Samples lie `offsets` (N, 2) rows and columns and `distances` (N,) away and count by `weights`
    (N,); `eye` is the height of the eyes above the ground, in metres as the distances. Written is
    `dominance` (rows, cols), float32: the weighted mean of the tangents of the angles down to the
    samples that lie below the eyes, over that of level ground. NaN as in `look_around`.
    """
    rows, cols = dominance.shape
    level = np.empty(cols, np.float32)
    for row in range(rows):
        here = heights[row + halo, halo : halo + cols]
        dominance[row] = 0.0
        level[:] = 0.0
        for n in range(len(offsets)):
            first = halo + offsets[n, 1]
            there = heights[row + halo + offsets[n, 0], first : first + cols]
            scale = weights[n] / distances[n]
            for col in range(cols):
                drop = here[col] + eye - there[col]
                known = drop == drop
                dominance[row, col] += drop * scale if drop > np.float32(0.0) else np.float32(0.0)
                level[col] += eye * scale if known else np.float32(0.0)
        for col in range(cols):
            dominance[row, col] /= level[col]


@njit(nogil=True, cache=True, error_model="numpy")
def slopes(heights, cell_m, east, north):
    """Write how much the ground rises to the east and to the north, from each cell's neighbours.

    The heights (rows, cols) have a halo of one cell. Half the difference of the two neighbours of
    a cell, over the cell; where one is unknown, the difference to the other; where both are, 0.
    Written are `east` and `north`, float32 (rows - 2, cols - 2), NaN where the height is unknown.
    """
    rows, cols = east.shape
    for row in range(rows):
        for col in range(cols):
            z = heights[row + 1, col + 1]
            east[row, col] = _across(heights[row + 1, col], z, heights[row + 1, col + 2]) / cell_m
            north[row, col] = _across(heights[row + 2, col + 1], z, heights[row, col + 1]) / cell_m


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _across(behind, here, ahead):
    """Return the rise over a cell; NaN where its own height is unknown."""
    if np.isnan(here):
        return here
    if np.isnan(behind):
        return np.float32(0.0) if np.isnan(ahead) else ahead - here
    if np.isnan(ahead):
        return here - behind
    return (ahead - behind) / np.float32(2.0)


@njit(nogil=True, cache=True, error_model="numpy")
def box_means(heights, halo, means):
    """Write the means of the known heights in the squares of 2 halo + 1 cells about each cell.

    Written is `means`, float32 (rows, cols): the heights less the halo; NaN where none is known.
    Sums are kept for each column and moved on, so that the work does not grow with the square.
    """
    rows, cols = means.shape
    wide = heights.shape[1]
    total = np.zeros(wide, np.float64)
    count = np.zeros(wide, np.int64)
    for row in range(-1, rows):
        for line in range(2 * halo + 1 if row < 0 else 1):
            if row < 0 and line == 2 * halo:
                break  # of the first square all lines but the last
            new = line if row < 0 else row + 2 * halo
            for col in range(wide):
                z = heights[new, col]
                if not np.isnan(z):
                    total[col] += z
                    count[col] += 1
        if row < 0:
            continue
        of_square, known = 0.0, 0
        for col in range(2 * halo):
            of_square += total[col]
            known += count[col]
        for col in range(cols):
            of_square += total[col + 2 * halo]
            known += count[col + 2 * halo]
            means[row, col] = of_square / known
            of_square -= total[col]
            known -= count[col]
        for col in range(wide):
            z = heights[row, col]
            if not np.isnan(z):
                total[col] -= z
                count[col] -= 1
