"""Which cells of a finished surface the photographs bear out, and how precisely.

Small gaps are closed from what lies about them, with a doubt to match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.kernels.correlation import assess_blocks
from photogrammetry.kernels.rendering import count_sights
from photogrammetry.surface.search import (
    Float32,
    LevelGrid,
    PyramidLevel,
    coarsen,
    refine,
    refine_outline,
)
from photogrammetry.views import TileViews

Mask = NDArray[np.bool_]
Counts = NDArray[np.uint8]

EVIDENCE_CELLS = 5
"""Side of the square over which confidence is averaged before it is judged."""
JUMP_CELLS = 10.0
"""Difference in height, in cells, that parts two neighbours into two patches."""
LEAST_SIDE = 0.1
"""Mean confidence of wide windows that must be reached on every side of a cell: wrong heights have
about as much."""
SUPPORT_CELLS = 12
"""Half the side of the square about a cell in which there must be firm cells, too."""
LEAST_SUPPORT = 0.02
"""Least share of firm cells in it: as many wrong heights are firm by chance."""

ACCEPTED, PROBABLE, FIRM = 1, 2, 4
"""What a level says of a cell: see `Rule.accept`, `Rule.slack` and `Rule.firm`."""

TWO_VIEW_SIGMA_CELLS = 20.0
"""Standard deviation, in cells, from which a height that no third view checks is not taken."""

SIGHT_LEVEL = 2
"""Pyramid level on which sight from the views is tested; finer would cost much and tell little."""
RIM_CELLS = 3
"""Surroundings, in cells of that level, at whose height a picture must reach a cell."""

REACH_CELLS = 16
"""Half the side of the neighbourhood that speaks for a gap."""
LEAST_SHARE = 0.3
"""Share of measured cells in it from which it may."""
LEAST_OWN_SHARE = 0.02
"""Share of cells among them in which two views agree."""
LEAST_VIEWS = 2
"""Agreeing views below which a cell's height is not its own evidence."""
LEAST_SIGMA_CELLS = 0.5
"""Least standard deviation of a bridged height, in cells: what such heights were found to have."""
PLAUSIBLE = 2.0
"""Standard deviations of the neighbourhood within which a gap's own height is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a cell must show to count as measured."""

    agree: float = 0.4
    """Mean correlation from which a view counts as seeing a cell."""
    accept: tuple[float, float, float, float] = (0.45, 0.38, 0.40, 0.40)
    """Mean confidence about a cell compared in 2, 3, 4, and 5 or more views from which its level
    speaks for its precision."""
    accept_small: float = 0.12
    """What windows of 3 × 3 cells must show beyond that: they agree more easily by chance."""
    smooth: float = 0.04
    """What all others must show beyond that and beyond `firm`: their pictures are smoothed, and
    broad texture agrees more easily."""
    slack: float = 0.25
    """By how much less confidence does for a cell of a patch that is firm."""
    firm: tuple[float, float, float, float] = (0.63, 0.48, 0.56, 0.50)
    """Mean confidence that wrong heights reach in 2 % of cells, by the number of views."""
    firm_share: float = 0.25
    """Least share of a patch's cells that are firm."""
    least_patch_m2: float = 0.3
    """Least area of a patch of surface that stands by itself."""
    matching_sigma_px: float = 0.13
    """Standard deviation of a correlation's position, in pixels as sampled."""
    pixels_per_cell: float = 1.5
    """Resolution of the pictures against the grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is known of each cell; all arrays (rows, cols) of the finest level."""

    measured: Mask
    confidence: Float32
    views: Counts
    sigma: Float32
    open: Mask
    """Cells that two views or more look at past the surface about them."""


def judge(
    placed: TileViews,
    levels: Sequence[PyramidLevel],
    height: Float32,
    decided: Mask,
    rivalry: Float32,
    *,
    rule: Rule,
) -> Judgement:
    """Judge the finished surface at the finest level whose pictures bear it out.

    Asphalt has texture at some scale, and crowns of trees agree where their leaves do not: a cell
    that does not correlate in the finest windows is tried in windows twice, four and eight times as
    wide, at the price of a greater standard deviation.

    Levels come finest first; the other arrays (rows, cols) are of the finest: tile heights, the
    cells that `photogrammetry.surface.measure.sharpen_edges` has decided, and the standard
    deviation in metres that other heights at which the photographs agree leave.

    A search takes the best of many heights, so a wrong surface correlates too.  How much was
    found by searching, in the same photographs, a range of heights in which there is nothing;
    the thresholds of `Rule` are set against that, see ``docs/surface.md``.
    """
    finest, centres = levels[0].ground, placed.centres.astype(np.float32)
    confidence = np.full(finest.shape, np.nan, np.float32)
    sigma = np.full(finest.shape, np.nan, np.float32)
    views = np.zeros(finest.shape, np.uint8)
    most = np.zeros(finest.shape, np.uint8)
    accepted, probable, firm = (np.zeros(finest.shape, np.bool_) for _ in range(3))
    for level in levels:
        ground = level.ground
        sheet = coarsen(height, finest, ground)
        found, spread = (np.empty(ground.shape, np.float32) for _ in range(2))
        agreeing, compared = (np.empty(ground.shape, np.uint8) for _ in range(2))
        assess_blocks(
            *level.compared, centres, rule.agree, sheet, found, agreeing, compared, spread
        )
        verdict = _weigh(ground, found, compared, rule)
        if ground is finest:
            verdict[decided & (compared >= 2)] = ACCEPTED | PROBABLE | FIRM
        precision = _precision(level, sheet, spread, rule)
        if ground is finest:
            # Plain ground is as rough as matching leaves it: its relief does not count twice.
            precision = np.maximum(precision, _relief(sheet, ground.radius))
            precision = np.where(decided, precision, np.hypot(precision, rivalry))
        else:
            wider = EVIDENCE_CELLS // 2
            precision = np.hypot(precision, _relief(sheet, ground.radius, wider=wider))
        found, precision = refine(found, ground, finest), refine(precision, ground, finest)
        verdict = refine(verdict, ground, finest)
        newly = ~accepted & (verdict & ACCEPTED > 0)
        # Short of that, the widest windows that speak for a cell say how precise it is.
        told = newly | (~accepted & (verdict & PROBABLE > 0))
        sigma[told] = precision[told]
        better = told | (np.isnan(confidence) & np.isfinite(found))
        confidence[better] = found[better]
        views[better] = refine(agreeing, ground, finest)[better]
        accepted |= newly
        probable |= verdict & PROBABLE > 0
        firm |= verdict & FIRM > 0
        most = np.maximum(most, refine(compared, ground, finest))
    open_to_two = refine_outline(*_open_to_two(placed, levels, height), finest)
    with np.errstate(invalid="ignore"):
        sound = (most > 2) | (sigma <= TWO_VIEW_SIGMA_CELLS * finest.cell_m)
    measured = _firm_patches(
        height, probable & open_to_two & sound, firm, most, finest.cell_m, rule
    )
    sigma[~measured] = np.nan
    return Judgement(
        measured=measured, confidence=confidence, views=views, sigma=sigma, open=open_to_two
    )


def _weigh(ground: LevelGrid, confidence: Float32, compared: Counts, rule: Rule) -> Counts:
    """Return what one level says of each of its cells, as a sum of the flags above."""
    small = ground.radius == 1
    extra = np.float32(rule.accept_small if small else rule.smooth)
    views = np.minimum(compared, len(rule.accept) + 1)
    accept = np.array([np.inf, np.inf, *rule.accept], np.float32)[views] + extra
    firm = np.array([np.inf, np.inf, *rule.firm], np.float32)[views]
    mean = _local_mean(confidence)
    if not small:
        firm += np.float32(rule.smooth)
        mean = np.where(_least_side(confidence) < LEAST_SIDE, -1, mean)
    return np.asarray(
        ACCEPTED * (mean >= accept)
        + PROBABLE * (mean >= accept - rule.slack)
        + FIRM * (mean >= firm),
        np.uint8,
    )


def _open_to_two(
    placed: TileViews, levels: Sequence[PyramidLevel], height: Float32
) -> tuple[Mask, LevelGrid]:
    """Tell which cells of a coarse level the surface leaves open to two views or more.

    Photographs overlap more below the ground than on it.  Beyond the rim of a block they agree
    there sooner or later, in a pit that none of them could look into.  So a cell must lie within
    two pictures even at the height of its surroundings, and of the sheet through the tie points:
    a wide pit surrounds itself.
    """
    level = levels[min(SIGHT_LEVEL, len(levels) - 1)]
    ground = level.ground
    sheet = coarsen(height, levels[0].ground, ground)
    around = np.ones((2 * RIM_CELLS + 1, 2 * RIM_CELLS + 1), np.uint8)
    sights = np.zeros(ground.shape, np.uint8)
    count_sights(
        level.packed.geometry,
        level.packed.layout,
        level.chosen,
        ground.block,
        ground.radius,
        ground.x,
        ground.y,
        placed.centres,
        sheet,
        np.maximum(np.asarray(cv2.dilate(sheet, around), np.float32), level.sheet),
        sights,
    )
    return sights >= 2, ground


def _local_mean(confidence: Float32) -> Float32:
    """Average over neighbours where known; -1 where the cell itself is not."""
    mean, _ = _known_mean(confidence, EVIDENCE_CELLS)
    return np.where(np.isfinite(confidence), mean, -1).astype(np.float32)


def _least_side(confidence: Float32) -> Float32:
    """Return the least of the mean confidences north-west, north-east, south-west, south-east.

    A wide window that holds a shore agrees as the shore does, on the water beside it as well.
    """
    away = 2
    mean, weight = _known_mean(confidence, 3)
    mean = np.where(weight > 0, mean, np.inf).astype(np.float32)
    wide = cv2.copyMakeBorder(mean, *(away,) * 4, cv2.BORDER_REPLICATE)
    rows, cols = confidence.shape
    ends = (0, 2 * away)
    return np.asarray(
        np.min([wide[r : r + rows, c : c + cols] for r in ends for c in ends], axis=0), np.float32
    )


def _known_mean(values: Float32, side: int) -> tuple[Float32, Float32]:
    """Return the mean of the known cells in a square about every cell, and their share of it."""
    known, size = np.isfinite(values), (side, side)
    weight = np.asarray(cv2.blur(known.astype(np.float32), size), np.float32)
    total = cv2.blur(np.where(known, values, 0).astype(np.float32), size)
    return np.asarray(total / np.maximum(weight, 1e-6), np.float32), weight


def _precision(level: PyramidLevel, sheet: Float32, spread: Float32, rule: Rule) -> Float32:
    """Return the standard deviation of a height in metres from matching and rays alone."""
    pixel_m = level.ground.cell_m / rule.pixels_per_cell
    with np.errstate(divide="ignore"):
        return np.asarray(rule.matching_sigma_px * pixel_m / np.sqrt(spread), np.float32)


def _relief(sheet: Float32, margin: int, *, wider: int = 0) -> Float32:
    """Return the standard deviation of heights within a window about a plane through them.

    A height that a window bears out is no more certain than the relief within it. The sheet (rows +
    2 margin, cols + 2 margin) has the window's radius as margin; `wider` is added to it, in cells:
    what is averaged over many windows bears out no less than all of them.
    """
    radius = margin + wider
    side = 2 * radius + 1
    middle = np.float32(sheet.mean())
    even = np.full(side, 1 / side, np.float32)
    along = np.arange(-radius, radius + 1, dtype=np.float32) / side
    z = sheet - middle
    mean = cv2.blur(z, (side, side))
    east = cv2.sepFilter2D(z, cv2.CV_32F, along, even)
    south = cv2.sepFilter2D(z, cv2.CV_32F, even, along)
    left = cv2.blur(z * z, (side, side)) - mean**2
    left -= (east**2 + south**2) / np.float32(radius * (radius + 1) / 3)
    inner = slice(margin, -margin)
    return np.asarray(np.sqrt(np.maximum(left, 0))[inner, inner], np.float32)


def _firm_patches(
    height: Float32, probable: Mask, firm: Mask, compared: Counts, cell_m: float, rule: Rule
) -> Mask:
    """Keep the patches of surface, parted by jumps, that enough of their cells speak for.

    Chance agrees here and there; a true surface hangs together.  So single cells may be doubtful
    where their patch is not, as in hysteresis thresholding (Canny 1986).  A patch can be large: a
    field does not vouch for the lake it ends at, so there must be firm cells about every cell.
    """
    kernel = np.ones((3, 3), np.uint8)
    top, bottom = cv2.dilate(height, kernel), cv2.erode(height, kernel)
    smooth = (probable & (top - bottom < JUMP_CELLS * cell_m)).astype(np.uint8)
    number, labels = cv2.connectedComponents(smooth, connectivity=4)
    # What two views say needs ten times the ground to stand on.
    weight = np.where(compared > 2, 1.0, 0.1)
    area = np.bincount(labels.ravel(), weights=weight.ravel(), minlength=number) * cell_m**2
    cells = np.bincount(labels.ravel(), minlength=number)
    sure = np.bincount(labels.ravel(), weights=firm.ravel(), minlength=number)
    kept = (area >= rule.least_patch_m2) & (sure >= rule.firm_share * cells)
    kept[0] = False
    stands = kept[labels] & (_share_about(firm, kept[labels]) >= LEAST_SUPPORT)
    # Cells on a jump belong to whatever patch they touch.
    return probable & (cv2.dilate(stands.astype(np.uint8), kernel) > 0)


def _share_about(firm: Mask, among: Mask) -> Float32:
    """Return the share of firm cells among the cells of a mask in a square about every cell."""
    size = (2 * SUPPORT_CELLS + 1,) * 2
    total = cv2.blur(among.astype(np.float32), size)
    return np.asarray(cv2.blur((firm & among).astype(np.float32), size) / np.maximum(total, 1e-6))


def bridge_gaps(height: Float32, judged: Judgement, cell_m: float) -> tuple[Float32, Judgement]:
    """Close gaps that are small against the measured surface about them.

    In a wood the photographs bear out the surface from crown to crown with gaps of a few
    decimetres between.  There the aggregation still found a height, but nothing of its own speaks
    for it.  It is kept where it is in keeping with its neighbourhood, and replaced by the
    neighbourhood's mean where it is not (a pit between crowns); either way its standard deviation
    is that of the heights about it, which in a wood is metres, and on a lawn half a cell.

    A cell that was called measured for its neighbours' sake, and in which fewer than two views
    agree, keeps its height, too, but counts as such a gap.

    Returns the tile heights (rows, cols), and the judgement with bridged cells measured, and no
    views of theirs; their confidence is their own.
    """
    weak = judged.measured & (judged.views < LEAST_VIEWS)
    own = judged.measured & ~weak
    measured = own.astype(np.float32)
    size = (2 * REACH_CELLS + 1, 2 * REACH_CELLS + 1)
    share = cv2.blur(judged.measured.astype(np.float32), size)
    near = (share >= LEAST_SHARE) & (cv2.blur(measured, size) >= LEAST_OWN_SHARE)
    gap = ~own & near & judged.open & np.isfinite(judged.confidence)
    if not gap.any():
        sigma = np.where(own, judged.sigma, np.float32(np.nan))
        return height, replace(judged, measured=own, sigma=sigma)
    # About the median, so that float32 squares keep their centimetres.
    level = np.median(height[own])

    def mean(values: Float32) -> Float32:
        total = cv2.GaussianBlur(values * measured, (0, 0), REACH_CELLS / 2)
        weight = cv2.GaussianBlur(measured, (0, 0), REACH_CELLS / 2)
        return np.asarray(total / np.maximum(weight, 1e-6), np.float32)

    about = mean(height - level)
    spread = np.sqrt(np.maximum(mean((height - level) ** 2) - about**2, 0.0))
    matching = mean(np.nan_to_num(judged.sigma))
    strange = gap & ~weak & (np.abs(height - level - about) > PLAUSIBLE * spread + matching)
    bridged = np.where(strange, about + level, height).astype(np.float32)
    doubt = np.maximum(np.hypot(spread, matching), np.float32(LEAST_SIGMA_CELLS * cell_m))
    sigma = np.where(gap, doubt, np.where(own, judged.sigma, np.nan)).astype(np.float32)
    views = np.where(gap, 0, judged.views).astype(np.uint8)
    return bridged, replace(judged, measured=own | gap, views=views, sigma=sigma)
