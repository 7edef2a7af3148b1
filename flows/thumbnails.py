"""Small pictures of rasters, for pages that hold them themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from flows.charts import data_uri
from flows.figures import hillshade
from flows.indexproducts import read_index_products
from flows.products import DSM, ORTHOMOSAIC, REFLECTANCE
from flows.ramps import colour_values
from tmp.rasters import read_reduced

Picture = NDArray[np.floating[Any]] | NDArray[np.uint8]

LONGEST_PX = 480
"""Longest side of a picture."""
MOST_BYTES = 55_000
"""Of a picture; in the address it takes a third more."""
QUALITIES = (80, 60, 40, 20)
"""JPEG qualities that are tried, until the picture is small enough."""
PAPER = 255.0
STRETCHED = (2.0, 98.0)
"""Percentiles of a band that are shown as black and white."""


def thumbnail(folder: Path) -> tuple[str, str]:
    """Return the name and the picture of the first raster in a folder that can be drawn.

    Returns
    -------
    name : str
        Of the file; empty where there is none.
    address : str
        The picture as a ``data:`` address of less than 80 kB.
    """
    for name, draw in _DRAWN.items():
        if (folder / name).exists():
            return name, _address(draw(folder / name))
    for product in read_index_products(folder):
        values = _filled(folder / product.file)[0]
        return product.file, _address(colour_values(values, product.shown, product.ramp))
    return "", ""


def _orthomosaic(path: Path) -> Picture:
    bands, _ = read_reduced(path, LONGEST_PX)
    rgba = np.moveaxis(np.ma.getdata(bands), 0, 2).astype(np.float32)
    alpha = rgba[..., 3:] / 255
    return np.asarray(rgba[..., :3] * alpha + PAPER * (1 - alpha))


def _surface(path: Path) -> Picture:
    bands, grid = read_reduced(path, LONGEST_PX)
    height = np.ma.filled(bands[0].astype(np.float32), np.nan)
    if np.isnan(height).all():
        return np.full((*height.shape, 3), PAPER, np.float32)
    share = (_stretched(height) * 255).astype(np.uint8)
    colours = cv2.applyColorMap(share, cv2.COLORMAP_VIRIDIS)[..., ::-1].astype(np.float32)
    lit = (0.35 * PAPER + 0.65 * colours) * (0.25 + 0.85 * hillshade(height, grid.cell_m))[
        ..., None
    ]
    lit[np.isnan(height)] = PAPER
    return lit


def _reflectance(path: Path) -> Picture:
    """Draw the last bands, the longest waves first, as red, green and blue; one alone as grey."""
    bands = _filled(path)
    chosen = bands[:-4:-1] if len(bands) >= 3 else bands[[-1, -1, -1]]
    picture = np.stack([_stretched(band) * 255 for band in chosen], axis=2)
    picture[np.isnan(chosen).any(axis=0)] = PAPER
    return picture


def _filled(path: Path) -> NDArray[np.float32]:
    """Return bands (bands, rows, cols) at the size of a picture, NaN where there is no value."""
    bands, _ = read_reduced(path, LONGEST_PX)
    return np.ma.filled(bands.astype(np.float32), np.nan)


def _stretched(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values as 0 to 1 between their robust ends; NaN becomes 0."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, STRETCHED) if len(known) else (0.0, 1.0)
    share = (np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-6)
    return np.asarray(np.clip(share, 0, 1), np.float32)


def _address(picture: Picture) -> str:
    pixels = np.clip(picture, 0, 255).astype(np.uint8)[..., ::-1]
    for quality in QUALITIES:
        _, content = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if len(content) <= MOST_BYTES:
            break
    return data_uri(content.tobytes(), "image/jpeg")


_DRAWN: dict[str, Callable[[Path], Picture]] = {
    ORTHOMOSAIC.file: _orthomosaic,
    DSM.file: _surface,
    REFLECTANCE.file: _reflectance,
}
