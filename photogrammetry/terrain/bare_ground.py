"""Which cells of a surface are bare ground, by where one could walk.

Houses, cars, trees and bushes have steep sides all about; turf walls, banks and ditches have flanks
that one can walk up, or a way round.  So the surface is cut where it is too steep to walk, and what
hangs together is ground or stands on it as a whole: ground, if a share of it is as low as what lies
about it.  Small steep places between ground are ground again if they lie where the ground about
them says.

References
----------
Vosselman, G. (2000). Slope based filtering of laser altimetry data. IAPRS 33(B3/2): a place is
    ground if none near it is lower by more than a slope allows; here it tells which patches are.
Sithole, G. & Vosselman, G. (2005). Filtering of airborne laser scanner data based on segmented
    point clouds. IAPRS 36(3/W19): patches are judged, not points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

WALKABLE = 1.2
"""Steepest slope that is walked, rise over run: 50°."""
BASELINE_CELLS = 2
"""Cells to both sides of a place over which its slope is taken."""
LOW_SLOPE = 0.35
"""Slope off the trend by which lower places about one may lie below it."""
LOW_M = 0.3
"""Height above those by which a place still counts as low."""
TREND_SLOPE = 0.6
"""Steepest slope of the trend."""
TREND_M = 30.0
"""Standard deviation of the trend against which places are low."""
LOW_SHARE = 0.3
"""Share of low places from which a patch is ground."""
LEAST_PATCH_M2 = 1.0
NEAR_M = 0.12
"""Height off the ground about it within which a steep place is ground, beside its own doubt."""
MOST_NEAR_M = 0.3
"""The most that the doubt of a place makes of that height: in a wood anything would do."""
PATH_M = 0.4
"""Width of the narrowest path that joins two places."""
HIGH_M = 0.5
"""Height above the ground from which the surface is smeared at the foot of what stands."""
SMEAR_CELLS = 3
DOUBT_SLOPE = 0.07
"""Standard deviation of an interpolated height for each metre to the nearest ground.

Two thirds of heights lie within it where discs of 1 to 8 m were cut out of measured ground, that
of a park (brighton) and of the rehearsed farm, and interpolated."""
RELAXATIONS = 8
"""How often interpolated heights are moved to the mean of those about them, at each level."""
LEVEL_M = 1.0
"""Side of the squares in which lower places are sought."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BareGround:
    """The ground below what stands on it; all arrays (rows, cols)."""

    ground: Mask
    """Cells of the surface that are ground."""
    height: Float32
    """Heights in metres, interpolated where the surface is not ground."""
    sigma: Float32
    """Standard deviation in metres; of interpolated heights with the distance to the ground."""


def find_bare_ground(height: Float32, known: Mask, sigma: Float32, cell_m: float) -> BareGround:
    """Take away what stands on a surface, and interpolate the ground below it.

    Heights (rows, cols) are in metres, continued where not known; sigma is their standard
    deviation, 0 where that is not known.
    """
    ground = find_ground(height, known, sigma, cell_m)
    if not ground.any():
        ground = known
    away_m = cell_m * cv2.distanceTransform(
        (~ground).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    at_rim = float(np.median(sigma[ground])) if ground.any() else 0.0
    return BareGround(
        ground=ground,
        height=fill_gaps(height, ground),
        sigma=np.where(ground, sigma, np.hypot(at_rim, DOUBT_SLOPE * away_m)).astype(np.float32),
    )


def find_ground(height: Float32, known: Mask, sigma: Float32, cell_m: float) -> Mask:
    """Return which cells (rows, cols) of a surface are bare ground.

    Heights are in metres, continued where not known; sigma is their standard deviation, 0 where
    that is not known.
    """
    walkable = known & (steepness(height, cell_m) < WALKABLE)
    side = 2 * max(round(PATH_M / cell_m / 2), 1) + 1
    path = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    core = cv2.erode(walkable.astype(np.uint8), path)
    count, patch, stats, _ = cv2.connectedComponentsWithStats(core, connectivity=4)
    low = is_low(height, known, cell_m)
    cells = np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    share = np.bincount(patch.ravel(), weights=low.ravel(), minlength=count) / cells
    chosen = (share >= LOW_SHARE) & (cells * cell_m**2 >= LEAST_PATCH_M2)
    chosen[0] = False
    ground = chosen[patch]
    # What the erosion took is given back, where it can be walked.
    ground = (cv2.dilate(ground.astype(np.uint8), path) > 0) & walkable
    near = np.clip(2 * sigma, NEAR_M, MOST_NEAR_M)
    off = height - fill_gaps(height, ground)
    # The ground lies nowhere above what was seen: wide places below it are ground.
    below = cv2.erode((walkable & (off < -near)).astype(np.uint8), path) > 0
    below = (cv2.dilate(_wide(below, cell_m).astype(np.uint8), path) > 0) & walkable
    if (below & ~ground).any():
        ground |= below
        off = height - fill_gaps(height, ground)
    ground |= known & (np.abs(off) < near)
    # Beside what stands high, heights are smeared.
    high = known & ~ground & (off > HIGH_M)
    beside = cv2.dilate(high.astype(np.uint8), np.ones((2 * SMEAR_CELLS + 1,) * 2, np.uint8)) > 0
    # Specks amid what is not ground are what happens to lie at the height sought.
    return _wide(ground & ~beside, cell_m)


def _wide(places: Mask, cell_m: float) -> Mask:
    """Return the places that hang together over `LEAST_PATCH_M2` or more."""
    _, patch, stats, _ = cv2.connectedComponentsWithStats(places.astype(np.uint8), connectivity=4)
    chosen = stats[:, cv2.CC_STAT_AREA] * cell_m**2 >= LEAST_PATCH_M2
    chosen[0] = False
    return np.asarray(chosen[patch])


def steepness(height: Float32, cell_m: float) -> Float32:
    """Return the steepest slope (rows, cols) along rows, columns and diagonals."""
    n = BASELINE_CELLS
    wide = cv2.copyMakeBorder(height, n, n, n, n, cv2.BORDER_REPLICATE)
    rows, cols = height.shape

    def at(row: int, col: int) -> Float32:
        part = wide[n + row : n + row + rows, n + col : n + col + cols]
        return np.asarray(part, np.float32)

    steepest = np.zeros(height.shape, np.float32)
    for row, col in ((0, n), (n, 0), (n, n), (n, -n)):
        run = np.float32(2 * np.hypot(row, col) * cell_m)
        np.maximum(steepest, np.abs(at(row, col) - at(-row, -col)) / run, out=steepest)
    return steepest


def is_low(height: Float32, known: Mask, cell_m: float) -> Mask:
    """Tell which known places are not much higher than any lower place about them."""
    times = max(round(LEVEL_M / cell_m), 1)
    lowest = _lowest(np.where(known, height, np.inf), times)
    holes = ~np.isfinite(lowest)
    filled = fill_gaps(np.where(holes, 0, lowest).astype(np.float32), ~holes)
    side_m = times * cell_m
    bare = _below_cones(filled, TREND_SLOPE * side_m)
    trend = cv2.GaussianBlur(bare, (0, 0), TREND_M / side_m, borderType=cv2.BORDER_REPLICATE)
    level = _below_cones(filled - trend, LOW_SLOPE * side_m) + trend
    size = (level.shape[1] * times, level.shape[0] * times)
    fine = cv2.resize(level, size, interpolation=cv2.INTER_LINEAR)
    over = height - fine[: height.shape[0], : height.shape[1]]
    return np.asarray(known & (over < LOW_M + LOW_SLOPE * side_m))


def _lowest(height: NDArray[Any], times: int) -> Float32:
    rows, cols = (-(-side // times) for side in height.shape)
    pad = ((0, rows * times - height.shape[0]), (0, cols * times - height.shape[1]))
    wide = np.pad(height, pad, constant_values=np.inf)
    return np.asarray(wide.reshape(rows, times, cols, times).min(axis=(1, 3)), np.float32)


def _below_cones(height: Float32, rise: float) -> Float32:
    """Return the highest surface below a height that rises by no more than so much a cell."""
    level = height.copy()
    reach = 1
    # Minimum over a square of 3 cells plus the rise, until nothing changes.
    kernel = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
    square = np.ones((3, 3), np.uint8)
    while True:
        straight = cv2.erode(level, kernel, borderType=cv2.BORDER_REPLICATE) + np.float32(rise)
        diagonal = cv2.erode(level, square, borderType=cv2.BORDER_REPLICATE) + np.float32(
            rise * np.sqrt(2)
        )
        lower = np.minimum(level, np.minimum(straight, diagonal))
        if np.array_equal(lower, level) or reach > max(level.shape):
            return np.asarray(lower, np.float32)
        level, reach = lower, reach + 1


def fill_gaps(height: Float32, known: Mask) -> Float32:
    """Return heights with the unknown ones interpolated from those about them, wide gaps smoothly.

    A pyramid of means, filled from the coarsest level down (Burt 1988), whose finer levels are
    relaxed towards the mean of their neighbours.
    """
    weight = known.astype(np.float32)
    value = np.where(known, height, 0).astype(np.float32)
    levels = [(value, weight)]
    while not weight.all() and max(weight.shape) > 1:
        shape = tuple(-(-side // 2) for side in reversed(levels[-1][0].shape))
        total, share = (_halved(part, shape) for part in (value * weight, weight))
        value = np.where(share > 0, total / np.maximum(share, 1e-12), 0).astype(np.float32)
        weight = (share > 0).astype(np.float32)
        levels.append((value, weight))
    filled = levels[-1][0]
    for value, weight in reversed(levels[:-1]):
        size = (value.shape[1], value.shape[0])
        wide = cv2.resize(filled, size, interpolation=cv2.INTER_LINEAR)
        unknown = weight == 0
        filled = np.where(unknown, wide, value)
        for _ in range(RELAXATIONS):
            mean = cv2.blur(filled, (3, 3), borderType=cv2.BORDER_REPLICATE)
            filled = np.where(unknown, mean, value)
    return np.asarray(filled, np.float32)


def _halved(part: Float32, shape: tuple[int, ...]) -> Float32:
    rows, cols = part.shape
    wide = np.pad(part, ((0, shape[1] * 2 - rows), (0, shape[0] * 2 - cols)))
    return np.asarray(wide.reshape(shape[1], 2, shape[0], 2).mean(axis=(1, 3)), np.float32)
