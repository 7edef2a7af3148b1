"""Products as xarray arrays that read what is used of them, when it is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import rasterio

from tmp.errors import InputError
from tmp.geo.rasters import read_grid

if TYPE_CHECKING:
    import xarray


def open_array(path: Path, cell_m: float | None = None) -> xarray.DataArray:
    """Return a raster file as an array (band, y, x) in its CRS, NaN where it has no value.

    Parameters
    ----------
    path : Path
    cell_m : float, optional
        Coarsest cell that will do: the file's overview of at most that cell is opened, which has
        means of its cells, or of counts the nearest.  By default the file's own cells.

    Raises
    ------
    InputError
        If the file is not there, or `cell_m` is not above 0.
    """
    import rioxarray

    own_m = read_grid(path).cell_m
    level = None
    if cell_m is not None:
        if not cell_m > 0:
            raise InputError(f"cell_m = {cell_m!r}; give a length above 0")
        with rasterio.open(path.resolve(), driver="GTiff") as file:
            factors = file.overviews(1)
        fitting = [n for n, factor in enumerate(factors) if factor * own_m <= cell_m * (1 + 1e-6)]
        level = max(fitting, default=None)
    options: dict[str, Any] = {} if level is None else {"overview_level": level}
    array = rioxarray.open_rasterio(
        path.resolve(), masked=True, cache=False, driver="GTiff", **options
    )
    return cast("xarray.DataArray", array).rename(path.stem)
