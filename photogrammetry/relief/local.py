"""What rises from its surroundings: the simple local relief model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from photogrammetry.kernels.relief import box_means

Float32 = NDArray[np.float32]


def find_local_relief(heights: Float32, halo: int) -> Float32:
    """Return how far each cell lies above the mean of the square about it, in metres.

    Parameters
    ----------
    heights : ndarray of shape (rows + 2 halo, cols + 2 halo), float32
        In metres, NaN where unknown and beyond the map: such cells take no part in the mean.
    halo : int
        Half the square's side in cells.

    References
    ----------
    Hesse, R. (2010). LiDAR-derived local relief models. Archaeological Prospection 17(2). Only its
    first step, the trend, is taken away: the simple model of Kokalj & Hesse (2017).

    Examples
    --------
    >>> stone = np.zeros((5, 5), np.float32)
    >>> stone[2, 2] = 0.25
    >>> float(find_local_relief(stone, 2)[0, 0])
    0.23999999463558197
    """
    core = heights[halo : heights.shape[0] - halo, halo : heights.shape[1] - halo]
    means = np.empty(core.shape, np.float32)
    # About their own middle, heights have digits enough for the sums.
    known = core[np.isfinite(core)]
    middle = np.float32(known.mean() if known.size else 0)
    box_means(np.ascontiguousarray(heights - middle, np.float32), halo, means)
    return np.asarray(core - middle - means, np.float32)
