"""Where a surface is searched for: cells of a pyramid level, and the heights tried in each.

A piece of ground is compared in the photographs chosen for it here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.kernels.correlation import MAX_VIEWS
from photogrammetry.kernels.projection import FARTHEST_SLANT
from photogrammetry.surface.trend import Trend
from photogrammetry.views import KernelViews, TileViews
from tmp.geo.grids import Grid

Array = NDArray[Any]
Float = NDArray[np.float64]
Mask = NDArray[np.bool_]
Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]
Compared = tuple[Array, Array, Array, Array, int, int, float, Array, Array]
"""Packed views (pixels, geometry, layout), the views of each block, its side and the window radius
in cells, noise in grey values, x and y of the cells."""
SHEET_COST = 4.0
"""Cost of a height off the sheet, for each factor of e in likelihood (127 per 1.0 of correlation).
Between 2 and 6 it makes no difference."""
MOST_PENALTY = 20.0
"""Most that it costs."""
LEAST_SCATTER_STEPS = 0.5
"""Least scatter of tie points that is believed, in steps of the search."""
BELOW, ABOVE = 0.1, 0.35
"""Room for ground without tie points, as fractions of the flying height: pits, and trees."""
NORMAL_RANGE = 5.15
"""Standard deviations between the 0.5 and 99.5 per cent of a normal distribution."""
LEAST_POINTS = 30
"""Tie points that a part of the ground needs to speak for its own range of heights."""
_T = TypeVar("_T", bound=np.generic)

STEEP = 0.9
"""Tangent of the angle between a ray and the vertical from which a view stands back."""
LEAST_BASE = 0.06
"""Least base-to-height ratio between two views of a place."""
ENOUGH_VIEWS = 4
"""Views of a place from which no worse ones are wanted: the least agreeing can be left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelGrid:
    """Cells of one pyramid level of a tile, halo included, in tile coordinates."""

    x: Float32
    """Centres of the columns, west to east; a margin of the window radius on both ends."""
    y: Float32
    """Centres of the rows, north to south; likewise."""
    cell_m: float
    radius: int
    """Window radius in cells."""
    block: int
    """Side in cells of the squares that share a choice of views."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, without the margin."""
        return len(self.y) - 2 * self.radius, len(self.x) - 2 * self.radius

    @classmethod
    def of(cls, window: Grid, level: int, *, halo: int, radius: int, block: int) -> LevelGrid:
        """Lay out one level of a tile: its own grid with the cell doubled `level` times.

        The halo is the width in cells of the margin round the tile.
        """
        factor = 2**level
        rows, cols = -(-window.rows // factor), -(-window.cols // factor)
        cell_m = window.cell_m * factor
        margin = halo + radius
        # Tile coordinates: the centre of the (unpadded) tile is the origin, cells of all levels
        # share their north-west corner.
        west, north = -window.cols * window.cell_m / 2, window.rows * window.cell_m / 2
        x = west + (np.arange(-margin, cols + margin) + 0.5) * cell_m
        y = north - (np.arange(-margin, rows + margin) + 0.5) * cell_m
        return cls(
            x=x.astype(np.float32),
            y=y.astype(np.float32),
            cell_m=cell_m,
            radius=radius,
            block=block,
        )

    def padded(self, height: Float32) -> Float32:
        """Return heights (rows, cols) with the window margin round them."""
        return np.asarray(
            cv2.copyMakeBorder(height, *(self.radius,) * 4, cv2.BORDER_REPLICATE), np.float32
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Where to look: a smooth sheet and, per cell, a range of hypotheses above and below it."""

    sheet: Float32
    """Tile heights of hypothesis 0, (rows + 2 radius, cols + 2 radius)."""
    low: Int32
    high: Int32
    """(rows, cols), low ≤ k < high"""
    step_m: float
    penalty: NDArray[np.uint8] | None = None
    """(N,), cost of each hypothesis from the lowest on, beside what the pictures say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Where the ground is looked for: about a smooth sheet, map heights."""

    trend: Trend
    low_m: float
    high_m: float
    """Heights below and above the sheet, low < high."""
    scatter_m: float = math.inf
    """Standard deviation of the tie points about the sheet; infinite if they say nothing."""

    def sheet(self, ground: LevelGrid, centre: NDArray[np.float64]) -> Float32:
        """Return tile heights of the sheet (rows + 2 radius, cols + 2 radius).

        The centre (3,) has the map coordinates of the tile's origin.
        """
        height = self.trend.over(ground.x + centre[0], ground.y + centre[1])
        return np.asarray(height - centre[2], np.float32)


def seek_ground(
    points: Float, trend: Trend, bounds: tuple[float, float, float, float], flying_height_m: float
) -> Sought:
    """Return how far below and above a sheet to search over a part of the ground.

    The tie points (N, 3), map, within half a flying height of its bounds speak for it, or all if
    they are too few.
    """
    reach = flying_height_m / 2
    near = (
        (points[:, 0] > bounds[0] - reach)
        & (points[:, 1] > bounds[1] - reach)
        & (points[:, 0] < bounds[2] + reach)
        & (points[:, 1] < bounds[3] + reach)
    )
    chosen = points[near] if near.sum() >= LEAST_POINTS else points
    above = chosen[:, 2] - trend.at(chosen[:, 0], chosen[:, 1])
    low, high = np.percentile(above, [0.5, 99.5])
    return Sought(
        trend=trend,
        low_m=float(low - BELOW * flying_height_m),
        high_m=float(high + ABOVE * flying_height_m),
        scatter_m=float(high - low) / NORMAL_RANGE,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PyramidLevel:
    """What one level of the pyramid is matched with."""

    ground: LevelGrid
    packed: KernelViews
    chosen: NDArray[np.int64]
    """Views of each block, see `choose_views`."""
    noise_dn: float
    """Standard deviation of its pictures' noise in grey values."""
    sheet: Float32
    """Tile heights of the sheet through the tie points, (rows + 2 radius, cols + 2 radius)."""

    @property
    def compared(self) -> Compared:
        """What kernels that compare views take first, see `kernels.correlation.match_blocks`."""
        ground = self.ground
        block = self.chosen, ground.block, ground.radius, self.noise_dn
        return *self.packed, *block, ground.x, ground.y


def widest_search(ground: LevelGrid, sought: Sought, sheet: Float32, *, step: float) -> Search:
    """Search everywhere from below a sheet to above it, every `step` cells.

    Far off the sheet the photographs must agree a little better: where they agree at many heights
    alike, as over crop rows, or at none, as beyond the rim of the block, the ground is where the
    tie points are.

    The penalty is the negative logarithm of a Cauchy density as wide as the tie points' scatter.
    It is cut off: a lone crown above a plain need not agree more than a sixth of a correlation
    better than the plain does.
    """
    step_m = ground.cell_m * step
    low = int(np.floor(sought.low_m / step_m))
    high = max(int(np.ceil(sought.high_m / step_m)) + 1, low + 3)
    width = max(sought.scatter_m / step_m, LEAST_SCATTER_STEPS)
    penalty = SHEET_COST * np.log1p((np.arange(low, high) / width) ** 2)
    return Search(
        sheet=sheet,
        low=np.full(ground.shape, low, np.int32),
        high=np.full(ground.shape, high, np.int32),
        step_m=step_m,
        penalty=np.rint(np.minimum(penalty, MOST_PENALTY)).astype(np.uint8),
    )


def narrowed_search(
    ground: LevelGrid, coarser: LevelGrid, height: Float32, *, step: float, margin: int, widest: int
) -> Search:
    """Search around the coarser level's surface, wider where it is rough.

    The sheet is smooth, so that a correlation window never hangs on an interpolated wall; the
    range covers what the coarser surface does within one of its cells.

    Heights (rows, cols) are those of the coarser level in the tile.  Hypotheses are `step` cells
    apart; so many as `margin` are searched beyond the coarser level's local range, and so many as
    `widest` in one cell at most.
    """
    kernel = np.ones((3, 3), np.uint8)
    lowest = np.asarray(cv2.erode(height, kernel), np.float32)
    highest = np.asarray(cv2.dilate(height, kernel), np.float32)
    smooth = np.asarray(cv2.GaussianBlur(cv2.blur(height, (3, 3)), (0, 0), 1.5), np.float32)
    sheet = _resample(smooth, coarser, ground, cv2.INTER_LINEAR)
    step_m = ground.cell_m * step
    inner = (slice(ground.radius, -ground.radius),) * 2
    middle = _resample(height, coarser, ground, cv2.INTER_LINEAR)[inner] - sheet[inner]
    bottom = _resample(lowest, coarser, ground, cv2.INTER_NEAREST)[inner] - sheet[inner]
    top = _resample(highest, coarser, ground, cv2.INTER_NEAREST)[inner] - sheet[inner]
    low = np.floor(np.minimum(bottom, middle) / step_m) - margin
    high = np.ceil(np.maximum(top, middle) / step_m) + margin + 1
    about = np.round(middle / step_m)
    low, high = np.maximum(low, about - widest // 2), np.minimum(high, about + widest // 2)
    return Search(sheet=sheet, low=low.astype(np.int32), high=high.astype(np.int32), step_m=step_m)


def _resample(array: Float32, coarser: LevelGrid, ground: LevelGrid, method: int) -> Float32:
    """Bring an array (rows, cols) of the coarser level to the finer level with its margin."""
    col = (ground.x - coarser.x[coarser.radius]) / coarser.cell_m
    row = (coarser.y[coarser.radius] - ground.y) / coarser.cell_m
    return _looked_up(array, col, row, method)


def _looked_up(array: Float32, col: Float32, row: Float32, method: int) -> Float32:
    """Read an array at (column, row) of cell centres, the edge repeated beyond it."""
    across, down = np.meshgrid(col.astype(np.float32), row.astype(np.float32))
    found = cv2.remap(array, across, down, method, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32)


def coarsen(height: Float32, finest: LevelGrid, ground: LevelGrid) -> Float32:
    """Average the finest level's heights to a coarser one's cells, with its window margin."""
    factor = round(ground.cell_m / finest.cell_m)
    if factor == 1:
        return ground.padded(height)
    # The centre of a coarse cell lies on a corner of four fine ones: half a cell north-west of
    # where OpenCV, anchoring an even window at its middle, stores the average.
    height = np.asarray(
        cv2.blur(height, (factor, factor), anchor=(factor // 2, factor // 2)), np.float32
    )
    col = (ground.x - finest.x[finest.radius]) / finest.cell_m + 0.5
    row = (finest.y[finest.radius] - ground.y) / finest.cell_m + 0.5
    return _looked_up(height, col, row, cv2.INTER_NEAREST)


def refine(array: NDArray[_T], ground: LevelGrid, finest: LevelGrid) -> NDArray[_T]:
    """Repeat a coarser level's cells (rows, cols) on the finest level."""
    if ground is finest:
        return array
    inner = slice(finest.radius, -finest.radius)
    col = np.floor((finest.x[inner] - ground.x[0]) / ground.cell_m + 0.5).astype(int)
    row = np.floor((ground.y[0] - finest.y[inner]) / ground.cell_m + 0.5).astype(int)
    return array[np.ix_(row - ground.radius, col - ground.radius)]


def refine_outline(
    mask: NDArray[np.bool_], ground: LevelGrid, finest: LevelGrid
) -> NDArray[np.bool_]:
    """Bring a coarser level's mask (rows, cols) to the finest level, without its staircase."""
    share = _resample(mask.astype(np.float32), ground, finest, cv2.INTER_LINEAR)
    inner = slice(finest.radius, -finest.radius)
    return np.asarray(share[inner, inner] > 0.5, np.bool_)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sightings:
    """What every view V sees of every block B."""

    corners: Mask
    """(4, V, B), whether the view holds each corner of the block."""
    slopes: Float
    """(V, B, 2), of the ray from the block's middle, metres per metre of height."""
    good: Mask
    """(V, B), views that see the whole of a block, and not too far off the vertical."""
    usable: Mask
    """(V, B)"""


def choose_views(
    placed: TileViews, ground: LevelGrid, sheet: Float32, *, count: int
) -> NDArray[np.int64]:
    """Choose the views that see each block best: positions in `placed`, -1 where there are fewer.

    The view nearest to the vertical comes first; each further one is the next nearest whose ray
    differs from all chosen ones by at least `LEAST_BASE` of the height, so that five photographs
    taken from one spot do not pass for five views.

    Views that see only part of a block, or see it from far off the vertical, stand back: they are
    taken for corners of it that fewer than `ENOUGH_VIEWS` of the others see, those first that help
    most, and up to `MAX_VIEWS` in all. So the surface ends where the photographs do, not where a
    block ends.

    The sheet (rows + 2 radius, cols + 2 radius) has approximate tile heights; `count` is the most
    views of a block that see it well. Returns int64 (block rows, block cols, MAX_VIEWS).
    """
    rows, cols = ground.shape
    radius, block = ground.radius, ground.block
    block_rows, block_cols = -(-rows // block), -(-cols // block)
    edges_r = np.minimum(np.arange(block_rows + 1) * block, rows - 1) + radius
    edges_c = np.minimum(np.arange(block_cols + 1) * block, cols - 1) + radius
    corner_r, corner_c = np.meshgrid(edges_r, edges_c, indexing="ij")
    corners = np.stack(
        [ground.x[corner_c], ground.y[corner_r], sheet[corner_r, corner_c]], axis=-1
    ).astype(float)
    chosen = _greedy(_look(placed, corners), count)
    return chosen.reshape(block_rows, block_cols, MAX_VIEWS)


def _look(placed: TileViews, corners: Float) -> _Sightings:
    """Tell what every view sees of the blocks between corners (rows, cols, 3)."""
    middle = _of_blocks(corners).mean(axis=0).reshape(-1, 3)
    shape = len(placed), len(middle)
    seen = np.zeros((4, *shape), np.bool_)
    slopes = np.full((*shape, 2), np.nan)
    good, usable = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    for v, view in enumerate(placed.views):
        pixels = placed.pixel_from_tile(v, corners.reshape(-1, 3))
        inside = (
            (pixels[:, 0] > 2)
            & (pixels[:, 1] > 2)
            & (pixels[:, 0] < view.camera.width_px - 2)
            & (pixels[:, 1] < view.camera.height_px - 2)
        )
        offset = placed.centres[v] - corners
        with np.errstate(divide="ignore", invalid="ignore"):
            tangents = np.hypot(offset[..., 0], offset[..., 1]) / offset[..., 2]
        within = (offset[..., 2] > 0) & (tangents < FARTHEST_SLANT)
        seen[:, v] = _of_blocks(inside.reshape(within.shape) & within).reshape(4, -1) > 0
        away = placed.centres[v] - middle
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes[v] = away[:, :2] / away[:, 2:]
        usable[v] = seen[:, v].any(axis=0) & (away[:, 2] > 0)
        good[v] = seen[:, v].all(axis=0) & (np.hypot(*slopes[v].T) < STEEP)
    return _Sightings(corners=seen, slopes=slopes, good=good & usable, usable=usable)


def _of_blocks(corners: NDArray[np.generic]) -> Float:
    """Gather the four corner values of every block: (4, block rows, block cols, ...)."""
    return np.stack(
        [corners[:-1, :-1], corners[1:, :-1], corners[:-1, 1:], corners[1:, 1:]]
    ).astype(float)


def _greedy(sightings: _Sightings, count: int) -> NDArray[np.int64]:
    slopes, left = sightings.slopes, sightings.usable.copy()
    tangent = np.hypot(slopes[..., 0], slopes[..., 1])
    number = left.shape[1]
    chosen = np.full((number, MAX_VIEWS), -1, np.int64)
    have = np.zeros((4, number))
    everyone = np.arange(number)
    for k in range(MAX_VIEWS if len(left) else 0):
        # Views that stand back come after all others, and only where they are wanted.
        wanted = np.maximum(ENOUGH_VIEWS - have, 0.0)
        help_given = (sightings.corners * wanted[:, None]).sum(axis=0)
        standing_back = np.where(help_given > 0, 1e4 - 100.0 * help_given + tangent, np.inf)
        well = tangent if k < count else np.full_like(tangent, np.inf)
        rank = np.where(left, np.where(sightings.good, well, standing_back), np.inf)
        best = np.argmin(rank, axis=0)
        found = np.isfinite(rank[best, everyone])
        chosen[found, k] = best[found]
        have += sightings.corners[:, best, everyone] * found
        with np.errstate(invalid="ignore"):
            base = np.hypot(*np.moveaxis(slopes - slopes[best, everyone], 2, 0))
        left &= ~((base < LEAST_BASE) & found)
        left[best[found], everyone[found]] = False
    return chosen
