"""Many tile files as one dataset, in GDAL's virtual format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from rasterio.crs import CRS

from tmp.grids import Tile

if TYPE_CHECKING:
    from tmp.rasters import TiledRaster

GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "float32": "Float32",
    "float64": "Float64",
}


def mosaic_vrt(
    raster: TiledRaster,
    descriptions: Sequence[str],
    units: Sequence[str],
    tags: Mapping[str, str],
) -> str:
    """Describe the written tiles of a raster as one dataset.

    Parameters
    ----------
    raster : TiledRaster
    descriptions, units : sequence of str
        One for each band, or none.
    tags : mapping of str to str
        Dataset tags.

    References
    ----------
    GDAL documentation, "VRT: GDAL virtual format".
    """
    grid = raster.grid
    parts = [f'<VRTDataset rasterXSize="{grid.cols}" rasterYSize="{grid.rows}">']
    if grid.crs is not None:
        wkt = CRS.from_user_input(grid.crs).to_wkt()
        parts.append(f"<SRS>{escape(wkt)}</SRS>")
    coefficients = ", ".join(repr(float(value)) for value in grid.transform.to_gdal())
    parts.append(f"<GeoTransform>{coefficients}</GeoTransform>")
    items = "".join(
        f"<MDI key={quoteattr(key)}>{escape(value)}</MDI>" for key, value in tags.items()
    )
    parts.append(f"<Metadata>{items}</Metadata>")
    written = [tile for tile in raster.tiles() if raster.has(tile)]
    for band in range(raster.bands):
        description = descriptions[band] if descriptions else ""
        unit = units[band] if units else ""
        parts.append(_band_vrt(raster, band, description, unit, written))
    parts.append("</VRTDataset>")
    return "\n".join(parts)


def _band_vrt(
    raster: TiledRaster, band: int, description: str, unit: str, written: Sequence[Tile]
) -> str:
    parts = [f'<VRTRasterBand dataType="{GDAL_TYPES[raster.dtype]}" band="{band + 1}">']
    if description:
        parts.append(f"<Description>{escape(description)}</Description>")
    if unit:
        parts.append(f"<UnitType>{escape(unit)}</UnitType>")
    if raster.nodata is not None:
        parts.append(f"<NoDataValue>{raster.nodata!r}</NoDataValue>")
    parts.append(f"<ColorInterp>{_colour(raster, band, description)}</ColorInterp>")
    for tile in written:
        size = f'xSize="{tile.cols}" ySize="{tile.rows}"'
        parts.append(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{tile.name}.tif</SourceFilename>'
            f"<SourceBand>{band + 1}</SourceBand>"
            f'<SrcRect xOff="0" yOff="0" {size}/>'
            f'<DstRect xOff="{tile.col}" yOff="{tile.row}" {size}/></SimpleSource>'
        )
    parts.append("</VRTRasterBand>")
    return "\n".join(parts)


def _colour(raster: TiledRaster, band: int, description: str) -> str:
    named = {"red": "Red", "green": "Green", "blue": "Blue", "alpha": "Alpha"}
    if description in named:
        return named[description]
    return "Gray" if raster.bands == 1 else "Undefined"
