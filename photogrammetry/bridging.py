"""Small gaps in a measured surface, closed from what lies about them, with a doubt to match."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.judgement import Judgement

Float32 = NDArray[np.float32]

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


def bridge_gaps(height: Float32, judged: Judgement, cell_m: float) -> tuple[Float32, Judgement]:
    """Close gaps that are small against the measured surface about them.

    In a wood the photographs bear out the surface from crown to crown with gaps of a few
    decimetres between.  There the aggregation still found a height, but nothing of its own speaks
    for it.  It is kept where it is in keeping with its neighbourhood, and replaced by the
    neighbourhood's mean where it is not (a pit between crowns); either way its standard deviation
    is that of the heights about it, which in a wood is metres, and on a lawn half a cell.

    A cell that was called measured for its neighbours' sake, and in which fewer than two views
    agree, keeps its height, too, but counts as such a gap.

    Parameters
    ----------
    height : ndarray of shape (rows, cols)
        Tile heights.
    judged : Judgement
    cell_m : float
        Side of a cell.

    Returns
    -------
    height : ndarray of shape (rows, cols)
    judged : Judgement
        With bridged cells measured, and no views of theirs; their confidence is their own.
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
