"""Whether the ground itself stands between a camera and a place (Numba kernel).

Coordinates here are nodes of the terrain's grid: column to the east and row to the south, with
the centre of the first cell at (0, 0); heights are metres.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

HAIR_M = 0.01
"""Height by which the ground must rise above a ray to hide what lies behind."""


@njit(cache=True, nogil=True, error_model="numpy")
def hidden(
    heights: NDArray[np.float32],
    places: NDArray[np.float64],
    camera: tuple[float, float, float],
    highest: float,
    out: NDArray[np.bool_],
) -> None:
    """Tell which places a camera cannot see because the ground is in the way.

    Parameters
    ----------
    heights : ndarray of shape (rows, cols), float32
    places : ndarray of shape (N, 3)
        Column, row, height.
    camera : tuple of 3 floats
        Column, row, height; higher than each place.
    highest : float
        Height above which there is no ground.
    out : ndarray of shape (N,), bool
        Written.

    Notes
    -----
    The ray is compared with the ground wherever it crosses a grid line of the axis along which
    it goes faster.  There bilinear ground is a straight line between two nodes, so the comparison
    is exact; only a ridge between two such crossings, lower than the relief of one cell, is missed.
    """
    rows, cols = heights.shape
    for n in range(places.shape[0]):
        x, y, z = places[n, 0], places[n, 1], places[n, 2]
        dx, dy, dz = camera[0] - x, camera[1] - y, camera[2] - z
        length = max(abs(dx), abs(dy))
        out[n] = False
        if length < 1e-9:
            continue
        dx, dy, dz = dx / length, dy / length, dz / length
        by_column = abs(dx) >= abs(dy)
        fast, toward = (x, dx) if by_column else (y, dy)
        # To the first grid line ahead, then from line to line.
        t = math.floor(fast) + 1 - fast if toward > 0 else fast - math.ceil(fast) + 1
        while t < length:
            ray = z + t * dz
            if ray > highest:
                break
            across = (y + t * dy) if by_column else (x + t * dx)
            line = round(fast + t * toward)
            lines, sides = (cols, rows) if by_column else (rows, cols)
            if line < 0 or line >= lines or across < -0.5 or across > sides - 0.5:
                break
            side = min(max(math.floor(across), 0), sides - 2)
            share = min(max(across - side, 0.0), 1.0)
            if by_column:
                ground = heights[side, line] * (1 - share) + heights[side + 1, line] * share
            else:
                ground = heights[line, side] * (1 - share) + heights[line, side + 1] * share
            if ground > ray + HAIR_M:
                out[n] = True
                break
            t += 1.0
