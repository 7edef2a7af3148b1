"""Which gaps of a surface model may be closed: those among measured cells."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

REACH_CELLS = 96
"""Half the side of the square over which the share of measured cells is taken."""
LEAST_SHARE = 0.3
"""Share of measured cells about a place from which a gap there is closed."""


def closed_ground(measured: Mask, seen: Mask, asked: Mask) -> Mask:
    """Return the cells of a surface model whose gaps are closed.

    A gap among measured cells belongs to it; what lies beyond the ragged rim, and stray cells, do
    not.

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
