"""Which ground belongs to the map: measured cells and the gaps between them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

REACH_CELLS = 96
"""Half the side of the square over which the share of measured cells is taken."""
LEAST_SHARE = 0.3
"""Share of measured cells about a place from which it belongs to the map."""

CONTINUED_CELLS = 12.0
"""Standard deviation of the surroundings from which a gap is continued."""
LEAST_WEIGHT = 0.02


def mapped_ground(measured: Mask, seen: Mask, asked: Mask) -> Mask:
    """Return the cells that belong to the map.

    A gap among measured cells does; the ragged rim, where few photographs reach, and stray cells
    do not.

    Parameters
    ----------
    measured : ndarray of shape (rows, cols), bool
        Cells with a measured height.
    seen : ndarray of shape (rows, cols), bool
        Cells that two photographs or more see.
    asked : ndarray of shape (rows, cols), bool
        Cells that could have been measured: not beyond the survey's grid.
    """
    size = (2 * REACH_CELLS + 1,) * 2
    share = cv2.blur(measured.astype(np.float32), size, borderType=cv2.BORDER_CONSTANT)
    most = cv2.blur(asked.astype(np.float32), size, borderType=cv2.BORDER_CONSTANT)
    enough = np.asarray(share) > LEAST_SHARE * np.asarray(most)
    return np.asarray((measured | seen) & enough, np.bool_)


def continued_heights(height: NDArray[np.float32], measured: Mask) -> NDArray[np.float32]:
    """Continue a surface smoothly over its gaps, to draw on and to fill, not to measure.

    Parameters
    ----------
    height : ndarray of shape (rows, cols), float32
        Heights, a guess where not measured.
    measured : ndarray of shape (rows, cols), bool

    Returns
    -------
    ndarray of shape (rows, cols), float32
        Measured heights as they are; elsewhere the weighted mean of those about a place, or the
        guess where there are none (normalised convolution, Knutsson & Westin 1993).
    """
    if not measured.any():
        return height
    level = np.median(height[measured])
    known = measured.astype(np.float32)
    weight = cv2.GaussianBlur(known, (0, 0), CONTINUED_CELLS)
    total = cv2.GaussianBlur((height - level) * known, (0, 0), CONTINUED_CELLS)
    near = ~measured & (np.asarray(weight) > LEAST_WEIGHT)
    mean = np.asarray(total) / np.maximum(np.asarray(weight), LEAST_WEIGHT) + level
    return np.where(near, mean, height).astype(np.float32)
