"""The ground surface, tile by tile: semi-global matching in object space, coarse to fine.

Every piece of ground is reconstructed once, on the grid it is wanted on, from the views that see
it best.  A tile needs nothing from its neighbours: each level carries a halo wide enough for the
windows and the aggregation.

Then the edges of houses are sharpened.  Windows and aggregation let a roof spread over the ground
beside it, and an edge that runs along a baseline correlates at any height.  Where the surface on
both sides of a jump is plain, each cell between is put to a simple question: continued from above
and continued from below, which of the two do the photographs agree on, those left out that the
roof blocks?

References
----------
Bethmann, F. & Luhmann, T. (2015). Semi-global matching in object space. ISPRS Archives XL-3/W2.
Rothermel, M. et al. (2012). SURE: photogrammetric surface reconstruction from imagery.
Knutsson, H. & Westin, C.-F. (1993). Normalized and differential convolution. CVPR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.kernels.aggregation import DIRECTIONS, aggregate, pick_heights
from photogrammetry.kernels.correlation import COST_SCALE, MAX_VIEWS, match_blocks
from photogrammetry.kernels.rendering import compare_surfaces
from photogrammetry.pictures import PictureStore
from photogrammetry.surface.confidence import Rule, bridge_gaps, judge
from photogrammetry.surface.search import (
    LevelGrid,
    PyramidLevel,
    Search,
    Sought,
    choose_views,
    narrowed_search,
    widest_search,
)
from photogrammetry.surface.trend import local_moment, plane_equations
from photogrammetry.views import TileViews, View, pack_grey, place_views
from tmp.errors import InputError
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid, Tile

SMOOTHED_NOISE = 0.625
"""Noise that weights of 1, 3, 3, 1 leave of a picture, as a share of what averages leave: the sum
of their squares, 20/64, over 1/2."""

RIVAL_SCALE = 0.2
"""Difference in correlation over which the probability of a rival falls."""

LEAST_JUMP_CELLS = 8.0
"""Jump in height, in cells, from which an edge is looked at."""
REACH_CELLS = 22
"""Distance from an edge over which its two surfaces are looked for."""
DOUBT_CELLS = 9
"""Distance from an edge within which cells are decided anew."""
INSET_CELLS = 4.0
"""Distance from an edge within which heights are not trusted, towards the roof."""
OUTSET_CELLS = 7.0
"""The same towards the ground: roofs grow rather than shrink."""
PLAIN_CELLS = 3.0
"""Greatest range of heights, in cells, among the neighbours of a cell of a plain surface."""
SUPPORT_CELLS = 6.0
"""Standard deviation of the Gaussian weight with which a plane is fitted."""
LEAST_SUPPORT = 0.003
"""Least sum of weights, of 1 for a full neighbourhood, of a plane."""
GREATEST_ROUGHNESS_CELLS = 2.5
"""Greatest deviation from the plane, in cells: a ridge is less, crowns of trees are more."""
CLEAR_ADVANTAGE = 0.2
"""Difference in correlation from which a decision counts as measured."""
ROOF_ADVANTAGE = -0.1
"""Advantage at the edge itself: a window there hangs over it and agrees less than on the roof."""
ROUNDS = 3
"""How often cells are decided; each round knows better what blocks the sight."""

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]


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
    step: float = 0.75
    """Height between hypotheses in cells."""
    margin: int = 4
    """Hypotheses searched beyond the coarser level's local range, where a boulder was not seen."""
    widest: int = 28
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
    rule: Rule = field(default_factory=Rule)
    """What a cell must show to count as measured."""

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
    """Correlation of the views at the cell; NaN where fewer than two see it."""
    views: NDArray[np.uint8]
    """Number of agreeing views; 0 where a measured cell was bridged from its surroundings."""
    sigma: Float32
    """Standard deviation of the height in metres, from the rays; NaN where unknown."""


def measure_tile(
    grid: Grid,
    tile: Tile,
    views: Sequence[View],
    frame: LocalFrame,
    store: PictureStore,
    sought: Sought,
    *,
    options: SurfaceOptions,
) -> TileSurface:
    """Measure one tile of the survey's surface grid; views that do not see it are passed over."""
    window = grid.window(tile)
    x0, y0, x1, y1 = window.bounds
    middle = (x0 + x1) / 2, (y0 + y1) / 2
    centre = np.array([*middle, float(sought.trend.at(*map(np.asarray, middle)))])
    coarsest = _lay_out(window, options.levels - 1, options)
    sheet = sought.sheet(coarsest, centre)
    half = float(np.ptp(coarsest.x)) / 2, float(np.ptp(coarsest.y)) / 2
    z_range_m = (
        float(sheet.min()) + sought.low_m + centre[2],
        float(sheet.max()) + sought.high_m + centre[2],
    )
    placed = place_views(views, frame, centre, half, z_range_m)
    levels, height, rivalry = _search_down(placed, store, window, sought, centre, options)
    finest = levels[0]
    # Many views, because most may be blocked beside a wall.
    many = choose_views(placed, finest.ground, finest.ground.padded(height), count=MAX_VIEWS)
    height, decided = sharpen_edges(placed, replace(finest, chosen=many), height)
    judged = judge(placed, levels, height, decided, rivalry, rule=options.rule)
    height, judged = bridge_gaps(height, judged, grid.cell_m)
    core = tuple(slice(options.halo, options.halo + side) for side in window.shape)
    return TileSurface(
        height=height[core] + np.float32(centre[2]),
        measured=judged.measured[core],
        confidence=judged.confidence[core],
        views=judged.views[core],
        sigma=judged.sigma[core],
    )


def _search_down(
    placed: TileViews,
    store: PictureStore,
    window: Grid,
    sought: Sought,
    centre: Float,
    options: SurfaceOptions,
) -> tuple[list[PyramidLevel], Float32, Float32]:
    """Search from the coarsest to the finest level; return the levels, finest first, and heights.

    The heights are those of the finest level, (rows, cols) with the halo; with them comes the
    standard deviation that other heights at which the photographs agree leave to each.
    """
    levels: list[PyramidLevel] = []
    height = rivalry = np.empty((0, 0), np.float32)
    for number in reversed(range(options.levels)):
        ground = _lay_out(window, number, options)
        sheet = sought.sheet(ground, centre)
        search = (
            narrowed_search(
                ground,
                levels[-1].ground,
                height,
                step=options.step,
                margin=options.margin,
                widest=options.widest,
            )
            if levels
            else widest_search(ground, sought, sheet, step=options.step)
        )
        levels.append(
            PyramidLevel(
                ground=ground,
                packed=pack_grey(
                    placed,
                    store,
                    ground.cell_m / options.rule.pixels_per_cell,
                    _lattice(ground, sheet, sought),
                    smooth=number > 0,
                ),
                chosen=choose_views(placed, ground, search.sheet, count=options.views),
                noise_dn=options.noise_dn * (SMOOTHED_NOISE if number > 0 else 1.0),
                sheet=sheet,
            )
        )
        height, rivalry = _match(levels[-1], search, options)
    return levels[::-1], height, rivalry


def _lay_out(window: Grid, number: int, options: SurfaceOptions) -> LevelGrid:
    return LevelGrid.of(
        window,
        number,
        halo=options.halo,
        radius=options.radius if number == 0 else options.coarse_radius,
        block=max(options.block // 2**number, 16),
    )


def _lattice(ground: LevelGrid, sheet: Float32, sought: Sought) -> Float:
    """Return tile points (98, 3) that bound what is looked at: below and above the sheet."""
    rows = np.linspace(0, len(ground.y) - 1, 7).astype(int)
    cols = np.linspace(0, len(ground.x) - 1, 7).astype(int)
    r, c = (index.ravel() for index in np.meshgrid(rows, cols, indexing="ij"))
    places = [
        np.column_stack([ground.x[c], ground.y[r], sheet[r, c] + rise])
        for rise in (sought.low_m, sought.high_m)
    ]
    return np.concatenate(places).astype(float)


def _match(level: PyramidLevel, search: Search, options: SurfaceOptions) -> tuple[Float32, Float32]:
    """Fill, aggregate and read one level's cost volume.

    Returns tile heights (rows, cols), and the standard deviation in metres that the best rival
    leaves to each.
    """
    ground, count = level.ground, search.high - search.low
    cost = np.empty((*ground.shape, int(count.max())), np.uint8)
    match_blocks(*level.compared, search.sheet, search.step_m, search.low, search.high, cost)
    if search.penalty is not None:
        cost = np.asarray(cv2.add(cost, np.broadcast_to(search.penalty, cost.shape)), np.uint8)
    total = np.empty(cost.shape, np.float32)
    large = np.full(ground.shape, options.large_penalty, np.float32)
    aggregate(cost, search.low, count, options.small_penalty, large, total)
    height, margin, away = (np.empty(ground.shape, np.float32) for _ in range(3))
    inner = search.sheet[ground.radius : -ground.radius, ground.radius : -ground.radius]
    pick_heights(total, search.low, count, inner, search.step_m, height, margin, away)
    return np.asarray(cv2.medianBlur(height, 3), np.float32), _rivalry(margin, away)


def _rivalry(margin: Float32, away: Float32) -> Float32:
    """Return the standard deviation that a height has because its best rival may be the true one.

    The rival costs more by a margin (rows, cols), summed over the paths of the aggregation, and
    lies so many metres away.

    Two heights at the same cost are equally probable.  On rehearsed surveys the share of cells
    where the rival was right fell about as a Gaussian of the difference in correlation.
    """
    difference = margin / np.float32(len(DIRECTIONS) * COST_SCALE * RIVAL_SCALE)
    return np.asarray(np.sqrt(0.5 * np.exp(-(difference**2))) * away, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plane:
    """A surface continued beyond its edge, (rows, cols)."""

    height: Float32
    rough: Float32
    """Standard deviation about the plane."""
    known: Mask


def sharpen_edges(placed: TileViews, level: PyramidLevel, height: Float32) -> tuple[Float32, Mask]:
    """Decide the cells beside jumps between two plain surfaces anew.

    The level is the finest, with many views of each block: most may be blocked beside a wall.
    Returns the tile heights (rows, cols), changed only beside such jumps, and the cells that were
    clearly one or the other.
    """
    ground = level.ground
    nothing = np.zeros(height.shape, np.bool_)
    high, edge = _split(height, ground.cell_m)
    if not edge.any():
        return height, nothing
    near = _grown(edge, REACH_CELLS)
    plain = near & _plain(height, ground.cell_m)
    roof = plain & high & ~_grown(near & ~high, INSET_CELLS)
    floor = plain & ~high & ~_grown(near & high, OUTSET_CELLS)
    doubt = _grown(edge, DOUBT_CELLS) & _grown(roof, REACH_CELLS) & _grown(floor, REACH_CELLS)
    if not doubt.any():
        return height, nothing
    upper = _continued(height, roof, doubt, ground.cell_m)
    lower = _continued(height, floor, doubt, ground.cell_m)
    apart = upper.height - lower.height > 0.5 * LEAST_JUMP_CELLS * ground.cell_m
    usable = cv2.erode((upper.known & lower.known & apart).astype(np.uint8), np.ones((3, 3))) > 0
    candidates = usable & doubt
    candidates[[0, -1]] = candidates[:, [0, -1]] = False
    if not candidates.any():
        return height, nothing
    on_roof = high & ~_grown(near & ~high, INSET_CELLS)
    advantage = np.empty(height.shape, np.float32)
    for _ in range(ROUNDS):
        surface = np.where(on_roof, height, np.where(near, lower.height, height))
        surface = np.where(candidates & on_roof, upper.height, surface)
        compare_surfaces(
            *level.compared,
            placed.centres,
            upper.height,
            lower.height,
            surface.astype(np.float32),
            candidates,
            advantage,
        )
        on_roof = np.where(candidates, _decide(advantage, high, candidates), high)
    wanted = np.where(on_roof, upper.height, lower.height)
    tolerance = ground.cell_m + 2 * np.where(on_roof, upper.rough, lower.rough)
    wrong = candidates & (np.abs(height - wanted) > tolerance)
    clear = np.where(on_roof, advantage, -advantage) > CLEAR_ADVANTAGE
    return np.where(wrong, wanted, height).astype(np.float32), candidates & clear


def _split(height: Float32, cell_m: float) -> tuple[Mask, Mask]:
    """Tell cells above half way between their surroundings' extremes, and cells on a jump."""
    around = np.ones((2 * REACH_CELLS + 1,) * 2, np.uint8)
    top, bottom = cv2.dilate(height, around), cv2.erode(height, around)
    high = height > (top + bottom) / 2
    near = np.ones((5, 5), np.uint8)
    drop = cv2.dilate(height, near) - cv2.erode(height, near)
    flips = cv2.morphologyEx(high.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return high, (drop > LEAST_JUMP_CELLS * cell_m) & (flips > 0)


def _grown(mask: Mask, cells: float) -> Mask:
    """Return the cells within a distance of a mask."""
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(away <= cells)


def _plain(height: Float32, cell_m: float) -> Mask:
    """Tell where a surface is smooth over more than a few cells, as crowns of trees are not."""
    kernel = np.ones((3, 3), np.uint8)
    drop = cv2.dilate(height, kernel) - cv2.erode(height, kernel)
    smooth = (drop < PLAIN_CELLS * cell_m).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(smooth, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)) > 0)


def _continued(height: Float32, trusted: Mask, wanted: Mask, cell_m: float) -> _Plane:
    """Fit a plane about each wanted cell to trusted cells near it, by weighted least squares."""
    middle = float(height[trusted].mean()) if trusted.any() else 0.0
    w = trusted.astype(np.float32)
    z = np.where(trusted, (height - middle) / cell_m, 0.0).astype(np.float32)

    normal, right = plane_equations(z, w, SUPPORT_CELLS, wanted)
    weight = np.maximum(normal[:, 0, 0], 1e-9)
    # A hair of ridge, so that a narrow support is not tilted at will.
    normal[:, [1, 2], [1, 2]] += 0.02 * weight[:, None]
    normal[:, 0, 0] = weight
    solution = np.linalg.solve(normal, right[..., None])[..., 0]
    residual = local_moment(z * z, SUPPORT_CELLS)[wanted] - np.einsum("ni,ni->n", solution, right)
    rough = np.sqrt(np.maximum(residual, 0) / weight)
    plane = _Plane(
        height=height.copy(),
        rough=np.zeros(height.shape, np.float32),
        known=np.zeros(height.shape, np.bool_),
    )
    plane.height[wanted] = solution[:, 0] * cell_m + middle
    plane.rough[wanted] = rough * cell_m
    plane.known[wanted] = (weight > LEAST_SUPPORT) & (rough < GREATEST_ROUGHNESS_CELLS)
    return plane


def _decide(advantage: Float32, high: Mask, candidates: Mask) -> Mask:
    """Give each candidate to the roof or the ground, in accord with its neighbours."""
    known = np.isfinite(advantage)
    # What cannot be compared stays as it was, with little say.
    vote = np.where(known, advantage, np.where(high, 0.1, -0.1)).astype(np.float32)
    vote[~candidates] = np.where(high, 0.5, -0.5)[~candidates]
    return np.asarray(cv2.GaussianBlur(vote, (0, 0), 1.2) > ROOF_ADVANTAGE)
