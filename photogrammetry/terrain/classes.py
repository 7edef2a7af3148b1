"""What each cell of a surface is: ground, plants by height, building, noise; classes as in LAS.

Told cell by cell from what lies within a metre or two, so that tiles with a halo of `HALO_M` agree.
Ground is what the terrain has taken from the surface.  Of the rest, roofs are planar and not green,
plants are green, or rough and high.  What is neither, such as a car, has no class.

References
----------
ASPRS (2019). LAS specification 1.4 R15, table 17: standard
    point classes.
Woebbecke, D. M. et al. (1995). Color indices for weed identification under various soil, residue,
    and lighting conditions. Transactions of the ASAE 38(1): excess green.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]


class PointClass(IntEnum):
    """Standard classes of LAS."""

    UNCLASSIFIED = 1
    GROUND = 2
    LOW_PLANTS = 3
    MEDIUM_PLANTS = 4
    HIGH_PLANTS = 5
    BUILDING = 6
    LOW_NOISE = 7
    HIGH_NOISE = 18


HALO_M = 4.0
"""Ground about a tile that its classes are told from."""
MEDIUM_M, HIGH_M = 0.5, 2.0
"""Heights above ground from which plants are medium, and high."""
ROOF_M = 1.8
"""Height above ground of the lowest roof."""
PLANE_M = 0.4
"""Half a side of the square in which a plane is fitted to a place."""
PLANAR_M = 0.05
"""Standard deviation about that plane up to which a place is planar, beside its own doubt."""
ROUGH_M = 0.12
"""Standard deviation about it from which what stands high is a plant, whatever its colour."""
GREEN = 0.06
"""Excess green from which a place is a plant."""
SMOOTH_M = 0.3
"""Diameter over which colours are averaged."""
ROOF_ACROSS_M = 1.6
"""Width of the narrowest roof."""
EAVES_M = 0.5
"""How far about what is planar a roof reaches: to its eaves and over its ridge."""
NOISE_SIGMAS, NOISE_M = 4.0, 0.5
"""Doubts, and metres, below the ground from which a height is false."""
SPECK_M, SPECK_CELLS = 1.0, 3
"""Height above what is about it, and width in cells, of false heights that stand alone."""


def classify(
    surface: Float32, terrain: Float32, sigma: Float32, rgb: Bytes, cell_m: float
) -> Bytes:
    """Return the class of each cell of a surface (rows, cols); 0 where it has no height.

    Surface, terrain and the surface's standard deviation (rows, cols) are in metres, NaN where not
    known; colours (rows, cols, 3).  The terrain is the surface's own height where it is ground.
    """
    above = surface - terrain
    known = np.isfinite(above)
    ground = known & (above == 0)
    doubt = np.where(np.isfinite(sigma), sigma, 0).astype(np.float32)
    low_noise = known & (above < -np.maximum(NOISE_SIGMAS * doubt, NOISE_M))
    high = known & (above > ROOF_M)
    rough = roughness(np.where(known, surface, terrain), cell_m)
    green = excess_green(rgb, cell_m) > GREEN
    planar = high & ~green & (rough < np.maximum(PLANAR_M, 2 * doubt))
    roof = find_roofs(planar, high, cell_m)
    plant = known & (green | ((above > HIGH_M) & (rough > ROUGH_M)))
    found = np.where(known, PointClass.UNCLASSIFIED, 0).astype(np.uint8)
    for code, least_m in (
        (PointClass.LOW_PLANTS, 0.0),
        (PointClass.MEDIUM_PLANTS, MEDIUM_M),
        (PointClass.HIGH_PLANTS, HIGH_M),
    ):
        found[plant & (above > least_m)] = code
    found[roof] = PointClass.BUILDING
    found[ground] = PointClass.GROUND
    found[low_noise] = PointClass.LOW_NOISE
    found[high & ~roof & _specks(np.where(known, above, 0), known)] = PointClass.HIGH_NOISE
    return found


def find_roofs(planar: Mask, high: Mask, cell_m: float) -> Mask:
    """Return roofs: planar places as wide as one, and what stands high about them."""
    side = _odd(ROOF_ACROSS_M / cell_m)
    wide = cv2.morphologyEx(
        _closed(planar, cell_m).astype(np.uint8),
        cv2.MORPH_OPEN,
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)),
    )
    reach = _odd(2 * EAVES_M / cell_m)
    about = cv2.dilate(wide, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    return np.asarray((about > 0) & high)


def _closed(planar: Mask, cell_m: float) -> Mask:
    """Return planar places with their ridges, chimneys and small holes."""
    side = _odd(2 * PLANE_M / cell_m + 1)
    kernel = np.ones((side, side), np.uint8)
    return cv2.morphologyEx(planar.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0


def roughness(height: Float32, cell_m: float) -> Float32:
    """Return the standard deviation (rows, cols) of heights about the plane fitted to each place.

    The plane is that of least squares in a square of twice `PLANE_M`; what is not known (NaN)
    makes no part of it rough.
    """
    half = max(round(PLANE_M / cell_m), 1)
    side = 2 * half + 1
    known = np.isfinite(height)
    middle = float(np.median(height[known])) if known.any() else 0.0
    z = np.where(known, height - middle, 0).astype(np.float64)
    step = np.arange(-half, half + 1, dtype=np.float64)
    flat, ramp = np.full(side, 1 / side), step / side
    spread = float((step**2).mean())

    def mean(values: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> Any:
        return cv2.sepFilter2D(values, cv2.CV_64F, x, y, borderType=cv2.BORDER_REPLICATE)

    slopes = mean(z, ramp, flat) ** 2 + mean(z, flat, ramp) ** 2
    variance = mean(z**2, flat, flat) - mean(z, flat, flat) ** 2 - slopes / spread
    return np.asarray(np.sqrt(np.maximum(variance, 0)), np.float32)


def excess_green(rgb: Bytes, cell_m: float) -> Float32:
    """Return 2 g - r - b of colours (rows, cols, 3) as shares of their sum, averaged."""
    side = _odd(SMOOTH_M / cell_m)
    smooth = np.asarray(cv2.blur(rgb.astype(np.float32), (side, side)), np.float32)
    red, green, blue = np.moveaxis(smooth, 2, 0)
    return np.asarray((2 * green - red - blue) / np.maximum(red + green + blue, 1), np.float32)


def _specks(above: Float32, known: Mask) -> Mask:
    """Return cells that stand high above all about them, over a width that nothing real has."""
    kernel = np.ones((SPECK_CELLS, SPECK_CELLS), np.uint8)
    opened = cv2.morphologyEx(above.astype(np.float32), cv2.MORPH_OPEN, kernel)
    return np.asarray(known & (above - opened > SPECK_M))


def _odd(cells: float) -> int:
    return 2 * max(round((cells - 1) / 2), 0) + 1
