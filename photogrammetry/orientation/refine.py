"""Place a block in the world and adjust it until it rests: rounds, weights and outliers.

It also tells how firmly a block itself fixes its vertical scale.  Over level ground, seen from one
height by cameras that look down, a longer focal length and a greater flying height make the same
photographs.  The block is therefore solved again with the focal length held 5 % shorter and 5 %
longer: where that costs the tie points nothing, the heights rest on the metadata, and the report
must say so.

References
----------
James, M. R., Robson, S. (2014). Mitigating systematic error in topographic models derived from
UAV and ground-based image networks. Earth Surface Processes and Landforms 39.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from photogrammetry.orientation.adjust import (
    AdjustOptions,
    FlyingHeight,
    Known,
    TieWeight,
    adjust,
    collect_known,
    compare_flying_height,
    held_in_place,
    with_doubted_lens,
    with_flying_height,
)
from photogrammetry.orientation.beside import Laid, lay_beside
from photogrammetry.orientation.block import Block
from photogrammetry.orientation.georeference import (
    Firmness,
    Placement,
    assess_firmness,
    georeference,
    level,
    weigh_positions,
)
from photogrammetry.orientation.vertical import estimate_vertical
from tmp.cameras import Camera
from tmp.captures import Capture, HeightUse
from tmp.geo.frames import LocalFrame
from tmp.progress import Track, silent
from tmp.reconstruction import VerticalScale

STEP = 0.05
"""By which the focal length is changed, as a fraction."""
WEAK = 0.004
"""Standard deviation of the scale from the block alone above which it counts as weak.

16 cm at 40 m: about what a block flown at one height leaves open, and several times what a second
height does.
"""

log = logging.getLogger(__name__)
LOOSE = 1e-3
"""Residual, as a fraction of the long side, that the first round lets pass: the lens is not
yet known."""
ROUNDS = 3
STRAY_ANGLE_DEG = 0.1
"""Angle between the widest rays to a tie point under which it is as good as infinitely far."""
HASTY = 1e-4
"""Tolerance of all rounds but the last."""


def height_above_ground_m(block: Block) -> float:
    """Return the median height of the cameras above the tie points they see."""
    return float(np.median(block.centres[block.photo, 2] - block.points[block.point, 2]))


def assess_vertical_scale(
    block: Block, known: Known, weight: TieWeight, options: AdjustOptions
) -> VerticalScale:
    """Solve a block again at other focal lengths and tell how much worse it fits.

    Notes
    -----
    With the cost ``c`` of tie points and positions, minimised over everything else, as a
    function of the focal length's fraction ``d``, the standard deviation of the scale from the
    block alone is ``s = d / sqrt(c(+d) - 2 c(0) + c(-d))``: the curvature of the profile
    likelihood.  `VerticalScale.sigma_scale` joins this with what is known of the lens.
    """
    shorter = adjust(block, known, weight, options, held_focal_factor=1 - STEP)
    longer = adjust(block, known, weight, options, held_focal_factor=1 + STEP)
    blocks = (shorter, block, longer)
    cost = [_cost(b, known, weight, options) for b in blocks]
    curvature = max(cost[0] - 2 * cost[1] + cost[2], 0.0) / STEP**2
    prior = sum(camera.focal_sigma**-2 for camera in known.cameras) / len(known.cameras)
    alone = curvature**-0.5 if curvature > 0 else np.inf
    log.info("vertical scale: %.1f %% from the block alone", 100 * alone)
    return VerticalScale(
        focal_factors=(1 - STEP, 1.0, 1 + STEP),
        mean_residual_px=tuple(_mean_residual_px(b) for b in blocks),
        height_agl_m=tuple(height_above_ground_m(b) for b in blocks),
        sigma_scale=float((curvature + prior) ** -0.5),
        weak=bool(alone > WEAK),
    )


def warn_of_weak_scale(scale: VerticalScale, evidence: str) -> str:
    """Say in plain words what a weak vertical scale means and how to mend it.

    Parameters
    ----------
    evidence : str
        Where the focal length comes from, `tmp.cameras.Camera.source`.
    """
    short, fitted, long = scale.mean_residual_px
    return (
        "The photographs alone do not fix the vertical scale: with a focal length 5 % shorter or "
        f"longer they fit almost as well ({short:.2f} and {long:.2f} px against {fitted:.2f} px) "
        f"while the cameras stand {scale.height_agl_m[0]:.1f} or {scale.height_agl_m[2]:.1f} m "
        f"instead of {scale.height_agl_m[1]:.1f} m above the ground. Heights therefore rest on the "
        f"focal length in the metadata ({evidence}): relief may be stretched by about "
        f"{100 * scale.sigma_scale:.1f} %, and the whole ground lie "
        f"{scale.sigma_scale * scale.height_agl_m[1]:.2f} m too high or too low (one standard "
        "deviation). To mend it, add oblique photographs (camera 20 to 30° from the vertical) or "
        "some flight lines at another height."
    )


def _mean_residual_px(block: Block) -> float:
    # A stray point may come to lie behind a camera at another focal length, where it says nothing.
    return float(np.nanmean(np.linalg.norm(block.residuals(), axis=1)))


def _cost(block: Block, known: Known, weight: TieWeight, options: AdjustOptions) -> float:
    """Return half the weighted sum of squares of tie points and positions, as minimised."""
    squared = (block.residuals() ** 2).sum(axis=1)
    robust = np.log1p(squared / weight.loss_px**2)
    ties = weight.loss_px**2 * np.nansum(robust) / weight.sigma_px**2
    off: NDArray[np.float64] = (block.centres - known.positions) / known.position_sigmas
    distance = (off[np.isfinite(off).all(axis=1)] ** 2).sum(axis=1)
    gnss = options.gnss_loss_sigmas**2 * np.log1p(distance / options.gnss_loss_sigmas**2).sum()
    return float(ties + gnss) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleOptions:
    """How tie points are weighed and which are dropped."""

    adjustment: AdjustOptions = field(default_factory=AdjustOptions)
    common_error_share: float = 0.02
    """Share of the variance of a tie point's residual that it has in common with the others of
    its photograph: lens, shutter, light.  Because of it n observations weigh less than n."""
    min_ray_angle_deg: float = 1.5
    """Tie points seen under a smaller angle are dropped."""
    outlier_spreads: float = 4.0
    """Observations further off than this many times the spread of all are dropped."""
    assess_scale: bool = True
    """Whether to solve again at other focal lengths and tell how firm the vertical scale is."""
    heights: HeightUse = HeightUse.AUTO
    """Whether recorded GNSS heights give the block its tilt."""
    position_sigma_m: tuple[float, float] | None = None
    """Standard deviation of all positions, horizontal and vertical; None for those recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """An adjusted block with what it was adjusted to."""

    block: Block
    known: Known
    """As recorded; positions are NaN where the block has no place on Earth."""
    weighed: Known
    """As it was believed in the last adjustment."""
    placement: Placement | None
    """How the block came to its place; None where it has none."""
    firmness: Firmness | None
    """How firmly it is placed; None where it has no place."""
    laid: Laid | None
    """What was laid beside the largest piece, and what could not be; None without positions."""
    flown: FlyingHeight | None
    """Flying height as recorded and as solved; None where they cannot be compared."""
    frame: LocalFrame
    sigma_px: float
    """Standard deviation of an image coordinate, the unknowns allowed for."""
    dropped: int
    """Observations taken for outliers."""
    scale: VerticalScale | None


def settle(
    blocks: Sequence[Block],
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera],
    frame: LocalFrame,
    *,
    options: SettleOptions,
    threads: int,
    track: Track = silent,
) -> Solution:
    """Place a block in the world, other pieces beside it, and adjust all in three rounds.

    The first round finds the lens, robustly; the second has weights from what the first left,
    and the flying height; the third is free of outliers.

    Parameters
    ----------
    blocks : sequence of Block
        Pieces that share nothing, the largest first; the others are laid beside it where they have
        positions that allow it.
    captures : sequence of Capture
        Of all their photographs.
    cameras : mapping of Camera
        From the metadata, by camera id.
    """
    by_name = {capture.name: capture for capture in captures}
    start = _place(
        blocks,
        lambda block: [by_name[name] for name in block.names],
        lambda mine: _recorded(mine, cameras, frame, options),
        options.heights,
    )
    mine, placement = start.captures, start.placement
    block, known = replace(start.block, cameras=start.known.cameras), start.known
    settings = replace(options.adjustment, threads=threads)
    weight = _first_weight(block, options)
    hasty = replace(settings, tolerance=HASTY)
    for number in track(range(ROUNDS), "Adjusting the block", ROUNDS):
        last = number == ROUNDS - 1
        block = adjust(block, known, weight, settings if last else hasty)
        block = without_strays(block) if last else without_outliers(block, options)
        weight = weigh(block, options)
        if placement is not None:
            if number == 0:
                known = with_flying_height(known, block, mine)
            elif number == 1:
                known = with_doubted_lens(known, start.recorded, block, mine)
            known = weigh_positions(block, known, start.known)
    flown, firmness = None, None
    if placement is not None:
        flown = compare_flying_height(known, block, mine)
        firmness = assess_firmness(block, known, placement, [c.flight for c in mine])
    scale = None
    if options.assess_scale:
        scale = assess_vertical_scale(block, known, weight, settings)
        scale = _doubted(scale, flown, block, start.recorded)
    return Solution(
        block=block,
        known=start.recorded,
        weighed=known,
        placement=placement,
        firmness=firmness,
        laid=start.laid,
        flown=flown,
        frame=frame if placement is not None else LocalFrame(origin=None, crs=None),
        sigma_px=observation_sigma_px(block),
        dropped=len(start.block.photo) - len(block.photo),
        scale=scale,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """A block before it is adjusted, in the world or in a level frame of its own."""

    block: Block
    captures: list[Capture]
    """Of its photographs, in its order."""
    recorded: Known
    known: Known
    placement: Placement | None
    laid: Laid | None


def _place(
    blocks: Sequence[Block],
    captures_of: Callable[[Block], list[Capture]],
    recorded_of: Callable[[list[Capture]], Known],
    heights: HeightUse,
) -> _Start:
    """Place the largest piece and lay the others beside it; level it alone without positions."""
    block, mine = blocks[0], captures_of(blocks[0])
    recorded = recorded_of(mine)
    vertical = estimate_vertical(block, recorded.rotations)
    if int(np.isfinite(recorded.positions).all(axis=1).sum()) < 2:
        block = level(block, vertical)
        recorded = replace(recorded, positions=np.full_like(recorded.positions, np.nan))
        return _Start(
            block=block,
            captures=mine,
            recorded=recorded,
            known=held_in_place(recorded, block),
            placement=None,
            laid=None,
        )
    placement = georeference(
        block,
        recorded,
        vertical,
        heights=heights,
        relative=_relative_heights(mine),
        order=_order_taken(mine),
    )
    laid = lay_beside(
        placement,
        blocks[1:],
        lambda piece: recorded_of(captures_of(piece)),
        lambda piece: _relative_heights(captures_of(piece)),
    )
    mine = captures_of(laid.block)
    return _Start(
        block=laid.block,
        captures=mine,
        recorded=recorded_of(mine),
        known=laid.known,
        placement=placement,
        laid=laid,
    )


def _doubted(
    scale: VerticalScale, flown: FlyingHeight | None, block: Block, recorded: Known
) -> VerticalScale:
    """Count contradictions about the lens as doubt about the vertical scale.

    Notes
    -----
    Where the adjusted focal length is further from the metadata's than its standard deviation, that
    of the scale is multiplied by their ratio (Birge's), as all of them are evidently too small.
    Half the difference between lens and barometer counts where they exclude each other.

    References
    ----------
    Birge, R. T. (1932). The calculation of errors by the method of least squares. Physical Review
    40, 207.
    """
    ratio = max(
        abs(adjusted.fx_px / prior.fx_px - 1) / prior.focal_sigma
        for adjusted, prior in zip(block.cameras, recorded.cameras, strict=True)
    )
    apart = 0.0 if flown is None or flown.agrees else abs(flown.recorded_m / flown.solved_m - 1)
    sigma = float(np.hypot(scale.sigma_scale * max(ratio, 1.0), apart / 2))
    return replace(scale, sigma_scale=sigma, weak=scale.weak or apart > 0)


def _relative_heights(captures: Sequence[Capture]) -> NDArray[np.float64]:
    return np.array([c.height_takeoff_m or np.nan for c in captures], float)


def _order_taken(captures: Sequence[Capture]) -> NDArray[np.int64]:
    """Return the indices of captures by camera and time, or by name where times are not known."""
    timed = all(capture.time_utc is not None for capture in captures)
    order = sorted(
        range(len(captures)),
        key=lambda i: (
            captures[i].body,
            captures[i].band,
            str(captures[i].time_utc) if timed else "",
            captures[i].name,
        ),
    )
    return np.array(order)


def _recorded(
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera],
    frame: LocalFrame,
    options: SettleOptions,
) -> Known:
    """Collect what is recorded, with the standard deviations of a user who knows better."""
    known = collect_known(captures, cameras, frame)
    if options.position_sigma_m is None:
        return known
    level_m, up_m = options.position_sigma_m
    sigmas = np.broadcast_to([level_m, level_m, up_m], known.position_sigmas.shape)
    return replace(known, position_sigmas=sigmas.copy())


def observation_sigma_px(block: Block) -> float:
    """Return the standard deviation of one image coordinate, the unknowns allowed for."""
    squared = float((block.residuals() ** 2).sum())
    freedom = 2 * len(block.photo) - 3 * len(block.points) - 6 * len(block.names)
    return float(np.sqrt(squared / max(freedom, 1)))


def weigh(block: Block, options: SettleOptions) -> TieWeight:
    """Weigh tie points by how well they fit and by how much they err together.

    Notes
    -----
    ``n`` observations of one photograph whose residuals have the correlation ``rho`` are worth
    ``n / (1 + (n - 1) rho)`` independent ones.

    References
    ----------
    Kish, L. (1965). Survey Sampling, section 5.4 (the design effect).
    """
    return _weight(observation_sigma_px(block), block, options)


def _first_weight(block: Block, options: SettleOptions) -> TieWeight:
    camera = block.cameras[0]
    return _weight(LOOSE * max(camera.width_px, camera.height_px) / 2, block, options)


def _weight(sigma_px: float, block: Block, options: SettleOptions) -> TieWeight:
    number = float(np.median(np.bincount(block.photo, minlength=len(block.names))))
    effect = 1 + max(number - 1, 0) * options.common_error_share
    return TieWeight(loss_px=2 * sigma_px, sigma_px=sigma_px * float(np.sqrt(effect)))


def without_strays(block: Block) -> Block:
    """Return the block without points that ran away in the adjustment.

    It feels neither those that came to lie behind a camera nor those beyond all measure.
    """
    near = block.ray_angles() > np.radians(STRAY_ANGLE_DEG)
    return block.kept(np.isfinite(block.residuals()).all(axis=1) & near[block.point])


def without_outliers(block: Block, options: SettleOptions) -> Block:
    """Return the block without what fits badly and points seen under too small an angle."""
    residual_px = np.linalg.norm(block.residuals(), axis=1)
    limit_px = options.outlier_spreads * 1.4826 * float(np.nanmedian(residual_px))
    wide = block.ray_angles() > np.radians(options.min_ray_angle_deg)
    return block.kept((residual_px < limit_px) & wide[block.point])
