"""Place a block in the world and adjust it until it rests: rounds, weights and outliers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from photogrammetry.adjust import AdjustOptions, Known, TieWeight, adjust
from photogrammetry.block import Block
from photogrammetry.georeference import georeference, level
from photogrammetry.known import collect_known, pinned, with_flying_height
from photogrammetry.observability import assess_vertical_scale
from tmp.cameras import Camera
from tmp.captures import Capture
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """An adjusted block with what it was adjusted to."""

    block: Block
    known: Known
    """Positions are NaN where the block has no place on Earth."""
    frame: LocalFrame
    sigma_px: float
    """Standard deviation of an image coordinate, the unknowns allowed for."""
    dropped: int
    """Observations taken for outliers."""
    scale: VerticalScale | None


def settle(
    block: Block,
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera],
    frame: LocalFrame,
    *,
    options: SettleOptions,
    threads: int,
    track: Track = silent,
) -> Solution:
    """Place a block in the world and adjust it in three rounds.

    The first round finds the lens, robustly; the second has weights from what the first left,
    and the flying height; the third is free of outliers.

    Parameters
    ----------
    captures : sequence of Capture
        Of the block's photographs, in its order.
    cameras : mapping of Camera
        From the metadata, by camera id.
    """
    known = collect_known(captures, cameras, frame)
    recorded = known.positions
    placed = int(np.isfinite(recorded).all(axis=1).sum()) >= 2
    if placed:
        block = georeference(block, recorded, known.rotations)
    else:
        block, frame = level(block), LocalFrame(origin=None, crs=None)
        recorded = np.full_like(recorded, np.nan)
    known = pinned(replace(known, positions=recorded), block)
    block = replace(block, cameras=known.cameras)
    settings = replace(options.adjustment, threads=threads)
    observations = len(block.photo)
    weight = _first_weight(block, options)
    hasty = replace(settings, tolerance=HASTY)
    for number in track(range(ROUNDS), "Adjusting the block", ROUNDS):
        last = number == ROUNDS - 1
        block = adjust(block, known, weight, settings if last else hasty)
        block = without_strays(block) if last else without_outliers(block, options)
        weight = weigh(block, options)
        if number == 0 and placed:
            known = with_flying_height(known, block, captures)
    scale = assess_vertical_scale(block, known, weight, settings) if options.assess_scale else None
    return Solution(
        block=block,
        known=replace(known, positions=recorded),
        frame=frame,
        sigma_px=observation_sigma_px(block),
        dropped=observations - len(block.photo),
        scale=scale,
    )


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
