"""Slopes and the light on them: hillshade, from one side and from several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photogrammetry.kernels.relief import slopes

Float32 = NDArray[np.float32]

SUN_AZIMUTH_DEG, SUN_ELEVATION_DEG = 315.0, 35.0
"""Light from the north-west, low: where people expect it on a map."""
THREE_AZIMUTHS_DEG = (315.0, 22.5, 90.0)
"""Of the red, green and blue light of the hillshade from several sides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slopes:
    """How the ground rises in each cell, (rows, cols); NaN where its height is unknown."""

    east: Float32
    """Metres to the east, per metre."""
    north: Float32
    """Metres to the north, per metre."""

    @property
    def degrees(self) -> Float32:
        """Steepness."""
        return np.asarray(np.degrees(np.arctan(np.hypot(self.east, self.north))), np.float32)


def find_slopes(heights: Float32, cell_m: float) -> Slopes:
    """Return the slopes of heights (rows + 2, cols + 2), in metres, NaN where unknown.

    They are half the differences between the neighbours on either side, which shows detail better
    than a smoother estimate; at borders and holes the difference to the one neighbour there is.

    Examples
    --------
    >>> ramp = np.tile(np.arange(4, dtype=np.float32), (3, 1))
    >>> find_slopes(ramp, 2.0).east.tolist()
    [[0.5, 0.5]]
    """
    east, north = np.empty((2, heights.shape[0] - 2, heights.shape[1] - 2), np.float32)
    slopes(np.ascontiguousarray(heights, np.float32), np.float32(cell_m), east, north)
    return Slopes(east=east, north=north)


def shade(
    ground: Slopes,
    azimuth_deg: float = SUN_AZIMUTH_DEG,
    elevation_deg: float = SUN_ELEVATION_DEG,
) -> Float32:
    """Return how brightly each cell is lit, 0 to 1, by light from an azimuth and elevation.

    It is the cosine of the angle between the light and the ground's normal, ``(-p, -q, 1)`` over
    its length with the slopes p east and q north; no shadows are cast.

    References
    ----------
    Horn, B. K. P. (1981). Hill shading and the reflectance map. Proceedings of the IEEE 69(1).

    Examples
    --------
    >>> level = Slopes(east=np.zeros((1, 1), np.float32), north=np.zeros((1, 1), np.float32))
    >>> round(float(shade(level)[0, 0]), 4)  # the sine of 35 degrees
    0.5736
    """
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    to_east, to_north = np.cos(elevation) * np.sin(azimuth), np.cos(elevation) * np.cos(azimuth)
    p, q = ground.east, ground.north
    lit = np.sin(elevation) - np.float32(to_east) * p - np.float32(to_north) * q
    return np.asarray(np.maximum(lit / np.sqrt(1 + p * p + q * q), 0), np.float32)


def shade_from_three_sides(ground: Slopes, elevation_deg: float = SUN_ELEVATION_DEG) -> Float32:
    """Return red, green and blue light (rows, cols, 3) from north-west, north and east.

    A wall shows whichever way it runs, and its colour says which way it faces.
    """
    return np.stack([shade(ground, azimuth, elevation_deg) for azimuth in THREE_AZIMUTHS_DEG], 2)
