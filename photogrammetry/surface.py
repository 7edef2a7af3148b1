"""The ground surface, tile by tile: semi-global matching in object space, coarse to fine.

Every piece of ground is reconstructed once, on the grid it is wanted on, from the views that see
it best.  A tile needs nothing from its neighbours: each level carries a halo wide enough for the
windows and the aggregation.

References
----------
Bethmann, F. & Luhmann, T. (2015). Semi-global matching in object space. ISPRS Archives XL-3/W2.
Rothermel, M. et al. (2012). SURE: photogrammetric surface reconstruction from imagery.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.aggregation import aggregate, pick_heights
from photogrammetry.correlation import MAX_VIEWS, assess_blocks, match_blocks
from photogrammetry.pictures import PictureStore
from photogrammetry.views import KernelViews, TileViews, View, pack_grey, place_views
from tmp.errors import InputError
from tmp.frames import LocalFrame
from tmp.grids import Grid, Tile

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceOptions:
    """How a surface is searched for."""

    levels: int = 4
    """Pyramid levels; each doubles the cell."""
    views: int = 5
    """Views compared in one place."""
    radius: int = 1
    """Window radius in cells at the finest level."""
    coarse_radius: int = 2
    """Window radius in cells at all other levels."""
    pixels_per_cell: float = 1.5
    """Resolution of the pictures against the grid."""
    step: float = 0.75
    """Height between hypotheses in cells."""
    margin: int = 3
    """Hypotheses searched beyond the coarser level's local range."""
    widest: int = 40
    """Most hypotheses searched in one cell below the coarsest level."""
    block: int = 32
    """Side in cells of the squares that share a choice of views, at the finest level."""
    halo: int = 24
    """Width in cells of the margin round a tile at every level."""
    small_penalty: float = 10.0
    """P1 of the aggregation, in units of cost (127 per 1.0 of correlation)."""
    large_penalty: float = 60.0
    """P2 of the aggregation."""
    noise_dn: float = 1.0
    """Standard deviation of a picture's noise in grey values."""
    agree: float = 0.4
    """Mean correlation from which a view counts as seeing a cell."""
    accept: float = 0.3
    """Least correlation of a measured cell, over three views or more."""
    accept_pair: float = 0.6
    """Least correlation of a cell that only two views see."""
    max_off_nadir: float = 0.9
    """Greatest tangent of the angle between a ray and the vertical."""
    matching_sigma_px: float = 0.35
    """Standard deviation of a correlation's position, in pixels as sampled."""

    def __post_init__(self) -> None:
        if not 2 <= self.views <= MAX_VIEWS:
            raise InputError(f"{self.views} views per place; choose 2 to {MAX_VIEWS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSurface:
    """The surface of one tile, without its halo; all arrays (rows, cols)."""

    height: Float32
    """Map height in metres, everywhere; a guess where it was not measured."""
    measured: NDArray[np.bool_]
    """Whether the height was measured."""
    confidence: Float32
    """Correlation without the least agreeing view; NaN where fewer than two views see the cell."""
    views: NDArray[np.uint8]
    """Number of agreeing views."""
    sigma: Float32
    """Standard deviation of the height in metres, from the rays; NaN where unknown."""


def measure_tile(
    grid: Grid,
    tile: Tile,
    views: Sequence[View],
    frame: LocalFrame,
    store: PictureStore,
    z_range_m: tuple[float, float],
    *,
    options: SurfaceOptions,
) -> TileSurface:
    """Measure the surface of one tile.

    Parameters
    ----------
    grid : Grid
        The survey's surface grid.
    tile : Tile
        A tile of it.
    views : sequence of View
        Oriented photographs; those that do not see the tile are passed over.
    frame : LocalFrame
    store : PictureStore
        Holds the grey pyramids of the views.
    z_range_m : tuple of float
        Lowest and highest map height to look for.
    options : SurfaceOptions
    """
    window = grid.window(tile)
    x0, y0, x1, y1 = window.bounds
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2, sum(z_range_m) / 2])
    reach = options.halo * grid.cell_m * 2 ** (options.levels - 1)
    half = ((x1 - x0) / 2 + reach, (y1 - y0) / 2 + reach)
    placed = place_views(views, frame, centre, half, z_range_m)
    z_low, z_high = z_range_m[0] - centre[2], z_range_m[1] - centre[2]
    search: _Search | None = None
    levels: list[_Level] = []
    height = np.empty((0, 0), np.float32)
    for number in reversed(range(options.levels)):
        ground = _Ground.of(window, number, options)
        search = (
            _widest_search(ground, z_low, z_high, options)
            if search is None
            else _narrowed_search(ground, levels[-1].ground, height, options)
        )
        packed = pack_grey(
            placed,
            store,
            ground.cell_m / options.pixels_per_cell,
            _lattice(ground, z_low, z_high),
        )
        chosen = choose_views(placed, ground, search.sheet, options)
        levels.append(_Level(ground=ground, packed=packed, chosen=chosen))
        height = _match(levels[-1], search, options)
    return _judge(placed, levels[::-1], height, window, float(centre[2]), options)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """Cells of one pyramid level of a tile, halo included, in tile coordinates."""

    x: Float32
    """Centres of the columns, west to east; a margin of the window radius on both ends."""
    y: Float32
    """Centres of the rows, north to south; likewise."""
    cell_m: float
    radius: int
    block: int

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.y) - 2 * self.radius, len(self.x) - 2 * self.radius

    @classmethod
    def of(cls, window: Grid, level: int, options: SurfaceOptions) -> _Ground:
        factor = 2**level
        rows, cols = -(-window.rows // factor), -(-window.cols // factor)
        cell_m = window.cell_m * factor
        radius = options.radius if level == 0 else options.coarse_radius
        margin = options.halo + radius
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
            block=max(options.block // factor, 16),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """What one pyramid level is matched with."""

    ground: _Ground
    packed: KernelViews
    chosen: NDArray[np.int64]
    """Views of each block, see `choose_views`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """Where to look: a smooth sheet and, per cell, a range of hypotheses above and below it."""

    sheet: Float32
    """(rows + 2 radius, cols + 2 radius)"""
    low: Int32
    high: Int32
    """(rows, cols), low ≤ k < high"""
    step_m: float


def _widest_search(
    ground: _Ground, z_low: float, z_high: float, options: SurfaceOptions
) -> _Search:
    step = ground.cell_m * options.step
    count = max(int(np.ceil((z_high - z_low) / step)) + 1, 3)
    middle = (z_low + z_high) / 2
    return _Search(
        sheet=np.full((len(ground.y), len(ground.x)), middle, np.float32),
        low=np.full(ground.shape, -(count // 2), np.int32),
        high=np.full(ground.shape, count - count // 2, np.int32),
        step_m=step,
    )


def _narrowed_search(
    ground: _Ground, coarser: _Ground, height: Float32, options: SurfaceOptions
) -> _Search:
    """Search around the coarser level's surface, wider where it is rough.

    The sheet is smooth, so that a correlation window never hangs on an interpolated wall; the
    range covers what the coarser surface does within one of its cells.
    """
    kernel = np.ones((3, 3), np.uint8)
    lowest = cv2.erode(height, kernel)
    highest = cv2.dilate(height, kernel)
    smooth = cv2.GaussianBlur(cv2.blur(height, (3, 3)), (0, 0), 1.5)
    sheet = _resample(smooth, coarser, ground, cv2.INTER_LINEAR)
    step = ground.cell_m * options.step
    inner = (slice(ground.radius, -ground.radius),) * 2
    middle = _resample(height, coarser, ground, cv2.INTER_LINEAR)[inner] - sheet[inner]
    bottom = _resample(lowest, coarser, ground, cv2.INTER_NEAREST)[inner] - sheet[inner]
    top = _resample(highest, coarser, ground, cv2.INTER_NEAREST)[inner] - sheet[inner]
    low = np.floor(np.minimum(bottom, middle) / step) - options.margin
    high = np.ceil(np.maximum(top, middle) / step) + options.margin + 1
    half = options.widest // 2
    about = np.round(middle / step)
    low, high = np.maximum(low, about - half), np.minimum(high, about + half)
    return _Search(sheet=sheet, low=low.astype(np.int32), high=high.astype(np.int32), step_m=step)


def _resample(array: Float32, coarser: _Ground, ground: _Ground, method: int) -> Float32:
    """Bring an array (rows, cols) of the coarser level to the finer level with its margin."""
    col = (ground.x - coarser.x[coarser.radius]) / coarser.cell_m
    row = (coarser.y[coarser.radius] - ground.y) / coarser.cell_m
    return np.asarray(
        cv2.remap(
            array,
            *np.meshgrid(col.astype(np.float32), row.astype(np.float32)),
            method,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )


def _lattice(ground: _Ground, z_low: float, z_high: float) -> NDArray[np.float64]:
    x, y, z = np.meshgrid(
        np.linspace(ground.x[0], ground.x[-1], 7),
        np.linspace(ground.y[0], ground.y[-1], 7),
        np.array([z_low, z_high], float),
    )
    return np.column_stack([x.ravel(), y.ravel(), z.ravel()])


def choose_views(
    placed: TileViews, ground: _Ground, sheet: Float32, options: SurfaceOptions
) -> NDArray[np.int64]:
    """Choose the views that see each block best.

    The view nearest to the vertical comes first; each further one is the next nearest whose ray
    differs from all chosen ones by at least `LEAST_BASE` of the height, so that five photographs
    taken from one spot do not pass for five views.

    Returns
    -------
    ndarray of shape (block rows, block cols, K), int64
        Positions in `placed`, -1 where fewer views see the block.
    """
    rows, cols = ground.shape
    radius, block = ground.radius, ground.block
    block_rows, block_cols = -(-rows // block), -(-cols // block)
    edges_r = np.minimum(np.arange(block_rows + 1) * block, rows - 1) + radius
    edges_c = np.minimum(np.arange(block_cols + 1) * block, cols - 1) + radius
    corner_r, corner_c = np.meshgrid(edges_r, edges_c, indexing="ij")
    corners = np.column_stack(
        [
            ground.x[corner_c.ravel()],
            ground.y[corner_r.ravel()],
            sheet[corner_r.ravel(), corner_c.ravel()],
        ]
    ).astype(float)
    shape = (block_rows + 1, block_cols + 1)
    middle = _of_blocks(corners.reshape(*shape, 3)).mean(axis=0).reshape(-1, 3)
    slopes = np.full((len(placed), block_rows * block_cols, 2), np.nan)
    rank = np.full((len(placed), block_rows * block_cols), np.inf)
    for v, view in enumerate(placed.views):
        pixels = placed.pixel_from_tile(v, corners)
        inside = (
            (pixels[:, 0] > 2)
            & (pixels[:, 1] > 2)
            & (pixels[:, 0] < view.camera.width_px - 2)
            & (pixels[:, 1] < view.camera.height_px - 2)
        )
        visible = _of_blocks(inside.reshape(shape)).sum(axis=0).ravel()
        offset = placed.centres[v] - middle
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes[v] = offset[:, :2] / offset[:, 2:]
        tangent = np.hypot(*slopes[v].T)
        usable = (offset[:, 2] > 0) & (tangent < options.max_off_nadir) & (visible > 0)
        # A view that sees only part of a block comes after all that see the whole.
        rank[v] = np.where(usable, tangent + 10.0 * (visible < 4), np.inf)
    chosen = _greedy(rank, slopes, options.views)
    return chosen.reshape(block_rows, block_cols, options.views)


LEAST_BASE = 0.06
"""Least base-to-height ratio between two views of a place."""


def _of_blocks(corners: NDArray[np.generic]) -> NDArray[np.float64]:
    """Gather the four corner values of every block: (4, block rows, block cols, ...)."""
    return np.stack(
        [corners[:-1, :-1], corners[1:, :-1], corners[:-1, 1:], corners[1:, 1:]]
    ).astype(float)


def _greedy(
    rank: NDArray[np.float64], slopes: NDArray[np.float64], count: int
) -> NDArray[np.int64]:
    rank = rank.copy()
    number = rank.shape[1]
    chosen = np.full((number, count), -1, np.int64)
    everyone = np.arange(number)
    for k in range(count if len(rank) else 0):
        best = np.argmin(rank, axis=0)
        found = np.isfinite(rank[best, everyone])
        chosen[found, k] = best[found]
        with np.errstate(invalid="ignore"):
            base = np.hypot(*np.moveaxis(slopes - slopes[best, everyone], 2, 0))
        rank[(base < LEAST_BASE) & found] = np.inf
        rank[best[found], everyone[found]] = np.inf
    return chosen


def _match(level: _Level, search: _Search, options: SurfaceOptions) -> Float32:
    """Fill, aggregate and read one level's cost volume; returns heights (rows, cols)."""
    ground, packed = level.ground, level.packed
    count = search.high - search.low
    cost = np.empty((*ground.shape, int(count.max())), np.uint8)
    match_blocks(
        packed.pixels,
        packed.geometry,
        packed.layout,
        level.chosen,
        ground.block,
        ground.radius,
        options.noise_dn,
        ground.x,
        ground.y,
        search.sheet,
        search.step_m,
        search.low,
        search.high,
        cost,
    )
    total = np.empty(cost.shape, np.float32)
    large = np.full(ground.shape, options.large_penalty, np.float32)
    aggregate(cost, search.low, count, options.small_penalty, large, total)
    height = np.empty(ground.shape, np.float32)
    inner = search.sheet[ground.radius : -ground.radius, ground.radius : -ground.radius]
    pick_heights(total, search.low, count, inner, search.step_m, height)
    return np.asarray(cv2.medianBlur(height, 3), np.float32)


def _judge(
    placed: TileViews,
    levels: Sequence[_Level],
    height: Float32,
    window: Grid,
    reference_m: float,
    options: SurfaceOptions,
) -> TileSurface:
    """Judge the finished surface at the finest level whose pictures bear it out.

    Asphalt has texture at some scale, and crowns of trees agree where their leaves do not: a cell
    that does not correlate in the finest windows is tried in windows twice, four and eight times
    as wide, at the price of a greater standard deviation.

    Parameters
    ----------
    levels : sequence of _Level
        Finest first.
    height : ndarray of shape (rows, cols)
        Tile heights on the finest level, halo included.
    """
    finest = levels[0].ground
    core = (
        slice(options.halo, options.halo + window.rows),
        slice(options.halo, options.halo + window.cols),
    )
    confidence = np.full(window.shape, np.nan, np.float32)
    sigma = np.full(window.shape, np.nan, np.float32)
    views = np.zeros(window.shape, np.uint8)
    measured = np.zeros(window.shape, np.bool_)
    for level in levels:
        ground = level.ground
        judged = _assess(placed, level, _coarsen(height, finest, ground), options)
        found, number, spread = (_refine(array, ground, finest)[core] for array in judged)
        with np.errstate(invalid="ignore", divide="ignore"):
            enough = np.where(number > 2, options.accept, options.accept_pair)
            accepted = ~measured & (found >= enough) & (number >= 2)
            precision = (
                options.matching_sigma_px * ground.cell_m / options.pixels_per_cell
            ) / np.sqrt(spread)
        better = accepted | (np.isnan(confidence) & np.isfinite(found))
        confidence[better] = found[better]
        views[better] = number[better]
        sigma[accepted] = precision[accepted]
        measured |= accepted
    return TileSurface(
        height=height[core] + np.float32(reference_m),
        measured=measured,
        confidence=confidence,
        views=views,
        sigma=sigma,
    )


def _coarsen(height: Float32, finest: _Ground, ground: _Ground) -> Float32:
    """Average the finest level's heights to a coarser one's cells, with its window margin."""
    factor = round(ground.cell_m / finest.cell_m)
    if factor > 1:
        # Its centre lies on the corner of four cells: half a cell north-west of where OpenCV,
        # anchoring an even window at its middle, stores it.
        height = cv2.blur(height, (factor, factor), anchor=(factor // 2, factor // 2))
    offset = 0.5 if factor > 1 else 0.0
    col = (ground.x - finest.x[finest.radius]) / finest.cell_m + offset
    row = (finest.y[finest.radius] - ground.y) / finest.cell_m + offset
    where = np.meshgrid(col.astype(np.float32), row.astype(np.float32))
    return np.asarray(
        cv2.remap(height, *where, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def _refine(array: NDArray[Any], ground: _Ground, finest: _Ground) -> NDArray[Any]:
    """Repeat a coarser level's cells (rows, cols) on the finest level."""
    if ground is finest:
        return array
    inner = slice(finest.radius, -finest.radius)
    col = np.floor((finest.x[inner] - ground.x[0]) / ground.cell_m + 0.5).astype(int)
    row = np.floor((ground.y[0] - finest.y[inner]) / ground.cell_m + 0.5).astype(int)
    return array[np.ix_(row - ground.radius, col - ground.radius)]


def _assess(
    placed: TileViews, level: _Level, sheet: Float32, options: SurfaceOptions
) -> tuple[Float32, NDArray[np.uint8], Float32]:
    """Return confidence, number of agreeing views and ray spread of a sheet on one level."""
    ground, packed = level.ground, level.packed
    confidence = np.empty(ground.shape, np.float32)
    views = np.empty(ground.shape, np.uint8)
    spread = np.empty(ground.shape, np.float32)
    assess_blocks(
        packed.pixels,
        packed.geometry,
        packed.layout,
        placed.centres.astype(np.float32),
        level.chosen,
        ground.block,
        ground.radius,
        options.noise_dn,
        options.agree,
        ground.x,
        ground.y,
        sheet,
        confidence,
        views,
        spread,
    )
    return confidence, views, spread
