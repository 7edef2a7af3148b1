"""Open ground, found in a surface by its own relief, so that no mask is drawn by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray

from tmp.geo.grids import Grid
from tmp.geo.rasters import read_grid

Float = NDArray[np.floating[Any]]
Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

SMOOTH_M = 0.5
"""Side of the square over which heights are averaged first, so that noise does not count."""
NEIGHBOURHOOD_M = 2.0
"""Side of the square within which the averaged surface may not rise too much."""
MOST_RELIEF_M = 0.6
"""Relief within a neighbourhood from which it is a tree, car, boulder or wall."""
LEAST_MEASURED = 0.5
"""Share of measured cells in the averaging square."""


def read_heights(path: Path) -> tuple[Float32, Grid]:
    """Return a surface model (rows, cols) with NaN where it has no value, and its grid."""
    with rasterio.open(path) as file:
        height = file.read(1).astype(np.float32)
        if file.nodata is not None:
            height[height == np.float32(file.nodata)] = np.nan
    return height, read_grid(path)


def read_layer(path: Path) -> Float32:
    """Return a companion of a surface model (rows, cols) with NaN where it has no value."""
    return read_heights(path)[0]


def print_within_sigma(error: Float, sigma: Float, views: Float) -> None:
    """Print how many errors lie within their standard deviation, by agreeing photographs.

    Of normal errors 68 % do.  The arrays (N,) are NaN where unknown.
    """
    for least, most, name in (
        (0, 0, "none (closed)"),
        (2, 2, "2"),
        (3, 3, "3"),
        (4, 99, "4 and up"),
    ):
        chosen = np.isfinite(error) & np.isfinite(sigma) & (views >= least) & (views <= most)
        if chosen.any():
            off, doubt = np.abs(error[chosen]), sigma[chosen]
            print(
                f"agreeing {name:15s} {chosen.sum():8d} cells, {100 * (off < doubt).mean():.0f} % "
                f"within sigma, {100 * (off < 2 * doubt).mean():.0f} % within two; median error "
                f"{100 * np.median(off):.1f} cm, sigma {100 * np.median(doubt):.1f} cm"
            )


def open_ground(height: Float32, cell_m: float) -> Mask:
    """Return the measured cells of a surface (rows, cols) that lie on open ground."""
    measured = np.isfinite(height)
    size = (max(round(SMOOTH_M / cell_m), 1),) * 2
    share = cv2.blur(measured.astype(np.float32), size, borderType=cv2.BORDER_CONSTANT)
    total = cv2.blur(np.where(measured, height, 0), size, borderType=cv2.BORDER_CONSTANT)
    known = share >= LEAST_MEASURED
    smooth = total / np.where(known, share, 1)
    reach = np.ones((max(round(NEIGHBOURHOOD_M / cell_m), 1),) * 2, np.uint8)
    highest = cv2.dilate(np.where(known, smooth, -np.inf).astype(np.float32), reach)
    lowest = cv2.erode(np.where(known, smooth, np.inf).astype(np.float32), reach)
    with np.errstate(over="ignore"):  # where nothing is known
        level = highest - lowest < MOST_RELIEF_M
    return np.asarray(measured & known & level, np.bool_)
