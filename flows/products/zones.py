"""Indices summarised in polygons: a table for people, and the polygons themselves with numbers.

Cells on a polygon's edge count by the share of them that lies inside (Baston's exactextract), so
that narrow plots and coarse cells give no jumps.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import rasterio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS, Transformer

from tmp.errors import InputError
from tmp.files import replacing
from tmp.geo.rasters import read_grid

log = logging.getLogger(__name__)

STATISTICS = ("mean", "median", "std", "p5", "p95", "count", "valid_share")
"""Columns for each index.  ``count`` is the number of cells with a value, edge cells by their
share; ``valid_share`` is what part of the polygon's area they make up."""
_OPERATIONS = {
    "mean": ("mean", "mean"),
    "median": ("median", "median"),
    "std": ("stdev", "stdev"),
    "p5": ("quantile(q=0.05)", "quantile_5"),
    "p95": ("quantile(q=0.95)", "quantile_95"),
    "count": ("count", "count"),
}
"""What exactextract is asked for, and what it calls the answer."""
LAYER = "zones"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zones:
    """Polygons with whatever columns people gave them."""

    source: Path
    shapes: NDArray[Any]
    """Geometries, (N,), in their own CRS."""
    crs: CRS
    columns: dict[str, NDArray[Any]]
    """By name, N values each."""


def write_zones(zones_file: Path, rasters: Sequence[Path], products_dir: Path) -> tuple[Path, Path]:
    """Summarise index rasters in polygons; writes ``zones_<name>.csv`` and ``.gpkg``.

    Of any vector file GDAL reads, the first layer with polygons counts; rasters have one band each,
    on any grids.

    Raises
    ------
    InputError
        If the file has no polygons or no CRS, or none of them touches the map.
    """
    zones = read_zones(zones_file)
    columns = dict(zones.columns)
    for raster in rasters:
        with rasterio.open(raster) as file:
            rests_on = file.tags().get("RESTS_ON", "")
        for name, values in zonal_statistics(zones, raster).items():
            columns[f"{raster.stem}_{name}"] = values
        columns[f"{raster.stem}_rests_on"] = np.full(len(zones.shapes), rests_on, object)
    target = products_dir / f"zones_{zones_file.stem}"
    csv_path, gpkg_path = target.with_suffix(".csv"), target.with_suffix(".gpkg")
    _write_csv(csv_path, columns)
    _write_gpkg(gpkg_path, zones, columns)
    return csv_path, gpkg_path


def read_zones(path: Path) -> Zones:
    """Read polygons with their columns.

    Raises
    ------
    InputError
        If there are none, or it is not known where they lie.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; give polygons as GeoPackage, GeoJSON or the like")
    try:
        layers = pyogrio.list_layers(path)
        holding = [name for name, kind in layers if kind is None or "Polygon" in kind]
        layer = (holding or [layers[0][0]])[0]
        if len(holding) > 1:
            log.warning("%s: holds several layers of polygons; taking %r", path, layer)
        meta, _, wkb, columns = pyogrio.raw.read(path, layer=layer, force_2d=True)
    except (DataLayerError, DataSourceError, IndexError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as a vector file; {said}") from error
    shapes = shapely.from_wkb(wkb)
    polygonal = np.isin(shapely.get_type_id(shapes), [3, 6]) & ~shapely.is_empty(shapes)
    if not polygonal.any():
        raise InputError(f"{path}: holds no polygon; draw one for each plot")
    if not meta["crs"]:
        raise InputError(f"{path}: does not say its CRS; save it again with one")
    return Zones(
        source=path,
        shapes=shapely.make_valid(shapes[polygonal]),
        crs=CRS.from_user_input(meta["crs"]),
        columns={
            # A GeoPackage numbers its rows in a column of that name.
            "fid_before" if str(name).lower() == "fid" else str(name): values[polygonal]
            for name, values in zip(meta["fields"], columns, strict=True)
        },
    )


def zonal_statistics(zones: Zones, raster: Path) -> dict[str, NDArray[np.float64]]:
    """Return the `STATISTICS` of a raster of one band in each polygon, (N,) each.

    NaN where a polygon holds no value.

    Raises
    ------
    InputError
        If the map has no place, or no polygon lies on it.

    References
    ----------
    Baston, D. exactextract, https://github.com/isciences/exactextract: each cell counts by the
    share of it that a polygon covers, in quantiles too.
    """
    from exactextract import exact_extract

    grid = read_grid(raster)
    if grid.crs is None:
        raise InputError(f"{raster}: the map has no place, so polygons cannot be laid on it")
    to_map = Transformer.from_crs(zones.crs, grid.crs, always_xy=True).transform
    shapes = shapely.transform(zones.shapes, to_map, interleaved=False)
    if not shapely.intersects(shapes, shapely.box(*grid.bounds)).any():
        raise InputError(f"{zones.source}: no polygon lies on the map; see their CRS")
    features = [
        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)}
        for shape in shapes
    ]
    found = exact_extract(str(raster), features, [asked for asked, _ in _OPERATIONS.values()])
    rows = [feature["properties"] for feature in found]
    table = {
        name: np.array([row[said] for row in rows], float)  # None is NaN
        for name, (_, said) in _OPERATIONS.items()
    }
    area_cells = shapely.area(shapes) / grid.cell_m**2
    table["valid_share"] = np.minimum(table["count"] / area_cells, 1.0)
    return {name: table[name] for name in STATISTICS}


def _write_csv(path: Path, columns: dict[str, NDArray[Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(
            [_cell(value) for value in row] for row in zip(*columns.values(), strict=True)
        )


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.6g}"
    return "" if value is None else str(value)


def _write_gpkg(path: Path, zones: Zones, columns: dict[str, NDArray[Any]]) -> None:
    shapes = np.array(
        [
            shape if shape.geom_type == "MultiPolygon" else shapely.MultiPolygon([shape])
            for shape in zones.shapes
        ],
        object,
    )
    with replacing(path) as temporary:
        pyogrio.raw.write(
            temporary,
            shapely.to_wkb(shapes),
            list(columns.values()),
            list(columns),
            layer=LAYER,
            driver="GPKG",
            geometry_type="MultiPolygon",
            crs=zones.crs.to_wkt(),
        )
