"""How firmly a block itself fixes its vertical scale.

Over level ground, seen from one height by cameras that look down, a longer focal length and a
greater flying height make the same photographs.  The block is therefore solved again with the
focal length held 5 % shorter and 5 % longer: where that costs the tie points nothing, the heights
rest on the metadata, and the report must say so.

References
----------
James, M. R., Robson, S. (2014). Mitigating systematic error in topographic models derived from
UAV and ground-based image networks. Earth Surface Processes and Landforms 39.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from photogrammetry.adjust import AdjustOptions, Known, TieWeight, adjust
from photogrammetry.block import Block
from tmp.reconstruction import VerticalScale

log = logging.getLogger(__name__)

STEP = 0.05
"""By which the focal length is changed, as a fraction."""
WEAK = 0.004
"""Standard deviation of the scale from the block alone above which it counts as weak.

16 cm at 40 m: about what a block flown at one height leaves open, and several times what a second
height does.
"""


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
