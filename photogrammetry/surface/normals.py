"""Which way a surface faces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_DIRECTIONS = {"E": (0, 1, 2.0), "N": (-1, 0, 2.0), "NE": (-1, 1, 1.0), "SE": (1, 1, 1.0)}
"""Cells to the south and east of the neighbour ahead, and weight."""
_HAIR = np.float32(1e-3)


def normals_of(height: Float32, cell_m: float) -> Float32:
    """Return the upward unit normals of a surface.

    Parameters
    ----------
    height : ndarray of shape (rows, cols)
        Metres, first row in the north; NaN where unknown.
    cell_m : float

    Returns
    -------
    ndarray of shape (rows, cols, 3), float32
        East, north, up; NaN where the height is unknown.

    Notes
    -----
    ``n = (-p, -q, 1) / sqrt(1 + p² + q²)``.  The slopes p east and q north are Horn's, written as
    what they are: the least-squares solution for the height differences across the cell in four
    directions, diagonals at half weight.  So holes and rims can be left out: where one of two
    opposite neighbours is unknown, the difference to the other stands for both; where both are,
    that direction does not count.

    References
    ----------
    Horn, B. K. P. (1981). Hill shading and the reflectance map. Proceedings of the IEEE 69(1).

    Examples
    --------
    >>> normals_of(np.zeros((2, 2), np.float32), 0.1)[0, 0]
    array([0., 0., 1.], dtype=float32)
    """
    padded = np.pad(height.astype(np.float32), 1, constant_values=np.nan)
    known: dict[str, Float32] = {}
    rise: dict[str, Float32] = {}
    for name, (south, east, weight) in _DIRECTIONS.items():
        found = _difference_across(padded, south, east) / np.float32(cell_m)
        known[name] = np.where(np.isnan(found), 0, weight).astype(np.float32)
        rise[name] = known[name] * np.nan_to_num(found)
    diagonal = known["NE"] + known["SE"]
    a, b, c = known["E"] + diagonal, known["NE"] - known["SE"], known["N"] + diagonal
    lone = a * c - b * b < 1  # at most one direction: level across it
    a, c = a + _HAIR * lone, c + _HAIR * lone
    u, v = rise["E"] + rise["NE"] + rise["SE"], rise["N"] + rise["NE"] - rise["SE"]
    determinant = 2 * (a * c - b * b)
    p, q = (c * u - b * v) / determinant, (a * v - b * u) / determinant
    normals = np.stack([-p, -q, np.ones_like(p)], axis=-1)
    normals /= np.sqrt(1 + p**2 + q**2)[..., None]
    normals += np.float32(0)  # no negative zeros
    normals[np.isnan(height)] = np.nan
    return np.asarray(normals, np.float32)


def _difference_across(padded: Float32, south: int, east: int) -> Float32:
    """Return the rise from the neighbour behind each cell to the one ahead; NaN if both are."""
    rows, cols = padded.shape[0] - 2, padded.shape[1] - 2
    height = padded[1:-1, 1:-1]
    ahead = padded[1 + south : 1 + south + rows, 1 + east : 1 + east + cols] - height
    behind = height - padded[1 - south : 1 - south + rows, 1 - east : 1 - east + cols]
    ahead = np.where(np.isnan(ahead), behind, ahead)
    behind = np.where(np.isnan(behind), ahead, behind)
    return np.asarray(ahead + behind, np.float32)
