"""Place a block in the world and adjust it until it rests: rounds, weights and outliers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from photogrammetry.adjust import AdjustOptions, Known, TieWeight, adjust
from photogrammetry.beside import Laid, lay_beside
from photogrammetry.block import Block
from photogrammetry.georeference import (
    Firmness,
    Placement,
    assess_firmness,
    georeference,
    level,
    weigh_positions,
)
from photogrammetry.known import (
    FlyingHeight,
    collect_known,
    compare_flying_height,
    held_in_place,
    with_doubted_lens,
    with_flying_height,
)
from photogrammetry.observability import assess_vertical_scale
from photogrammetry.vertical import estimate_vertical
from tmp.cameras import Camera
from tmp.captures import Capture, HeightUse
from tmp.frames import LocalFrame
from tmp.progress import Track, silent
from tmp.reconstruction import VerticalScale

log = logging.getLogger(__name__)

LOOSE = 1e-3
"""Residual, as a fraction of the long side, that the first round lets pass: the lens is not
yet known."""
ROUNDS = 3
STRAY_ANGLE_DEG = 0.1
"""Angle between the widest rays to a tie point under which it is as good as infinitely far."""
HASTY = 1e-4
"""Tolerance of all rounds but the last."""


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
