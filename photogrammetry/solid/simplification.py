"""A mesh with fewer triangles.

References
----------
Garland, M. & Heckbert, P. S. (1997). Surface simplification using quadric error metrics. SIGGRAPH.
"""

from __future__ import annotations

from threading import Lock

import fast_simplification
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Float = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

_SIMPLIFYING = Lock()
"""Held while the library works, as it keeps its mesh where all threads find it."""


def simplified(
    points: Float,
    faces: Ints,
    seen: Mask,
    *,
    tolerance: float | None = None,
    share: float = 1.0,
) -> tuple[Float, Ints, Mask]:
    """Return a mesh with fewer triangles: that lies off it by no more than a tolerance, or a share.

    Corners (N, 3) and what is known of them (N,), triangles (F, 3); the tolerance is in the
    corners' unit.  Open edges stay as they are, so that the mesh fits its neighbours.

    The library collapses sides whose quadric error is below the machine's epsilon: in units in
    which that is the square of the tolerance.
    """
    if len(faces) == 0:
        return points, faces, seen
    middle = np.rint(points.mean(axis=0))
    scale = 1.0 if tolerance is None else float(np.sqrt(np.finfo(float).eps)) / tolerance
    with _SIMPLIFYING:
        fewer, left = fast_simplification.simplify(
            (points - middle) * scale,
            faces.astype(np.int32),
            target_reduction=None if tolerance is not None else 1 - share,
            lossless=tolerance is not None,
            preserve_border=True,
        )
    fewer = np.asarray(fewer / scale + middle)
    _, nearest = cKDTree(points).query(fewer)
    return fewer, left.astype(np.int64), seen[nearest]
