"""The proof as rasters that QGIS opens: photographs, ground sampling distance, flying height."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from flightplan.proof import Coverage
from tmp.files import replacing

OUTSIDE = 65535
"""Nodata of the raster of counts: beyond the area."""


def write_rasters(folder: Path, coverage: Coverage, *, terrain: str = "") -> list[Path]:
    """Write a proof's rasters in the plan's own CRS and return their paths.

    Parameters
    ----------
    folder : Path
        Made if absent.
    coverage : Coverage
    terrain : str
        What the terrain's heights are measured from; stored as the tag VERTICAL_DATUM.

    Notes
    -----
    ``views.tif`` holds the number of photographs; ``gsd.tif`` the ground sampling distance of the
    best view, metres; ``height.tif`` the height of that view's camera above the ground, metres.
    Beyond the area all are nodata; so are the latter two where no photograph sees the ground.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inside = coverage.inside
    views = np.where(inside, np.minimum(coverage.count, OUTSIDE - 1), OUTSIDE).astype(np.uint16)
    seen = inside & (coverage.count > 0)
    gsd = np.where(seen, coverage.gsd_m, np.nan).astype(np.float32)
    height = np.where(seen, coverage.height_agl_m, np.nan).astype(np.float32)
    tags = {"VERTICAL_DATUM": terrain} if terrain else {}
    rasters: tuple[tuple[str, NDArray[Any], float, str, str], ...] = (
        ("views", views, OUTSIDE, "photographs that see the ground", ""),
        ("gsd", gsd, np.nan, "ground sampling distance of the best view", "metre"),
        ("height", height, np.nan, "height of the best view above the ground", "metre"),
    )
    paths = []
    for name, values, nodata, description, unit in rasters:
        path = folder / f"{name}.tif"
        with (
            replacing(path) as partial,
            rasterio.open(
                partial,
                "w",
                driver="GTiff",
                width=coverage.grid.cols,
                height=coverage.grid.rows,
                count=1,
                dtype=values.dtype,
                crs=coverage.grid.crs,
                transform=coverage.grid.transform,
                nodata=nodata,
                compress="deflate",
                tiled=True,
                blockxsize=256,
                blockysize=256,
            ) as file,
        ):
            file.write(values, 1)
            file.set_band_description(1, description)
            file.set_band_unit(1, unit)
            file.update_tags(**tags)
        paths.append(path)
    return paths
