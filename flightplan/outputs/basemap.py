"""A user's own map or orthophoto under the map of a plan; nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from tmp.errors import InputError
from tmp.geo.rasters import Bounds, open_raster

if TYPE_CHECKING:
    import rasterio

Pixels = NDArray[np.uint8]

DRIVERS = ("GTiff", "MBTiles", "GPKG")
"""What base maps come as; GDAL's names."""
KINDS = "it is no GeoTIFF, MBTiles or GeoPackage of tiles; save it as one"
STRETCH = (2.0, 98.0)
"""Per cent of the values that become black and white, where they are not bytes."""
OPAQUE = 255


def open_basemap(path: Path) -> rasterio.DatasetReader:
    """Open a base map, and nothing that could lead out of its file.

    Raises
    ------
    InputError
        If it is none, says no CRS, or has neither one band nor colours.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a GeoTIFF or MBTiles as the base map")
    source = open_raster(path, DRIVERS, KINDS)
    if source.crs is None:
        raise InputError(f"{path}: does not say its CRS; save it again with one")
    if not source.count or np.issubdtype(np.dtype(source.dtypes[0]), np.complexfloating):
        raise InputError(f"{path}: has no picture to draw; give one in grey or colours")
    return source


def read_basemap(path: Path, crs: str, box: Bounds, shape: tuple[int, int]) -> Pixels:
    """Return a base map over a box of a CRS, (rows, cols, 4): red, green, blue, opacity.

    Raises
    ------
    InputError
        As `open_basemap` does, and if the map cannot be read or nothing of it lies in the box.
    """
    west, south, east, north = box
    rows, cols = shape
    place = Affine((east - west) / cols, 0.0, west, 0.0, -(north - south) / rows, north)
    try:
        with open_basemap(path) as source:
            table = _colour_table(source)
            alpha = ColorInterp.alpha in source.colorinterp
            with WarpedVRT(
                source,
                crs=crs,
                transform=place,
                width=cols,
                height=rows,
                resampling=Resampling.nearest if table is not None else Resampling.bilinear,
                add_alpha=not alpha,
            ) as warped:
                bands = warped.read()
    except RasterioError as error:
        said = " ".join(str(error.__cause__ or error).split())
        raise InputError(f"{path}: cannot be read as a base map; {said}") from error
    *values, opacity = bands
    shown = opacity > 0
    if not shown.any():
        raise InputError(f"{path}: the base map does not cover the area; give one that does")
    if table is not None:
        colours = table[values[0].astype(int).clip(0, len(table) - 1)]
    else:
        chosen = values[:3] if len(values) >= 3 else values[:1] * 3
        colours = _bytes(np.stack(chosen, axis=-1), shown)
    return np.dstack([colours, np.where(shown, OPAQUE, 0)]).astype(np.uint8)


def _colour_table(source: rasterio.DatasetReader) -> Pixels | None:
    """Return red, green and blue (256, 3) of the values of a palette; None where there is none."""
    if source.colorinterp[0] is not ColorInterp.palette:
        return None
    table = np.zeros((256, 3), np.uint8)
    for value, colour in source.colormap(1).items():
        if value < len(table):
            table[value] = colour[:3]
    return table


def _bytes(values: NDArray[np.generic], shown: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return values (rows, cols, 3) from 0 to 255, those of wider types stretched."""
    if values.dtype == np.uint8:
        return values.astype(float)
    found = np.nan_to_num(values.astype(float))
    low, high = np.percentile(found[shown], STRETCH)
    return np.asarray(np.clip((found - low) / max(high - low, 1e-9) * OPAQUE, 0, OPAQUE))
