"""Cloud-optimised GeoTIFF: the products people open, written from tiles."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import rasterio.shutil

from tmp.files import replacing
from tmp.rasters import TiledRaster, full_disk_said, gdal
from tmp.virtual import mosaic_vrt

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CogProfile:
    """How a product is compressed.

    Notes
    -----
    Measured with GDAL 3.10 on RGBA photographs, in CPU-milliseconds and bytes per cell of
    a million: DEFLATE level 1 with predictor 75 and 2.4, level 6 197 and 2.4, ZSTD level 1
    58 and 2.8.  Level 1 costs little, loses nothing in size, and every GIS reads it.  Overviews
    are first written to a file of their own; compressed, this costs a quarter of the whole.
    """

    compress: str = "DEFLATE"
    level: int = 1
    predictor: str = "YES"
    blocksize: int = 512


def finish_cog(
    source: TiledRaster,
    target: Path,
    *,
    overviews: str = "average",
    descriptions: Sequence[str] = (),
    units: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    threads: int = 1,
    profile: CogProfile | None = None,
) -> None:
    """Write a cloud-optimised GeoTIFF from tiles.

    Parameters
    ----------
    source : TiledRaster
        Tiles that were never written become nodata.
    target : Path
        Appears only when complete.
    overviews : str
        Resampling of the overviews: "average" for measured values and pictures, "nearest"
        for counts and classes.
    descriptions, units : sequence of str
        One for each band, or none.  "red", "green", "blue" and "alpha" also set what a GIS
        shows them as.
    tags : mapping of str to str, optional
        Dataset tags, such as SOFTWARE and VERTICAL_DATUM.
    threads : int
        Threads that compress.
    profile : CogProfile, optional
    """
    profile = profile or CogProfile()
    target.parent.mkdir(parents=True, exist_ok=True)
    mosaic = source.folder / f"{target.stem}.vrt"
    mosaic.write_text(mosaic_vrt(source, descriptions, units, tags or {}))
    with replacing(target) as partial, full_disk_said(target), gdal(COG_TMP_COMPRESSION="NONE"):
        rasterio.shutil.copy(
            str(mosaic),
            str(partial),
            driver="COG",
            compress=profile.compress,
            level=profile.level,
            predictor=profile.predictor,
            blocksize=profile.blocksize,
            overview_resampling=overviews.upper(),
            num_threads=threads,
            bigtiff="IF_SAFER",
        )
    log.info("%s: %d × %d cells of %.3f m", target.name, *source.grid.shape, source.grid.cell_m)
