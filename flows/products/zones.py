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
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from shapely.errors import GEOSException

from tmp.errors import InputError
from tmp.files import replacing
from tmp.geo.grids import Grid
from tmp.geo.rasters import read_grid
from tmp.geo.vectors import list_layers, read_layer

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


def write_zones(zones: Zones, rasters: Sequence[Path], products_dir: Path) -> tuple[Path, Path]:
    """Summarise index rasters in polygons; writes ``zones_<name>.csv`` and ``.gpkg``.

    Rasters have one band each, on any grids. Raises `InputError` if no polygon touches the map.
    """
    columns = dict(zones.columns)
    for raster in rasters:
        with rasterio.open(raster, driver="GTiff") as file:
            rests_on = file.tags().get("RESTS_ON", "")
        for name, values in zonal_statistics(zones, raster).items():
            columns[f"{raster.stem}_{name}"] = values
        columns[f"{raster.stem}_rests_on"] = np.full(len(zones.shapes), rests_on, object)
    target = products_dir / f"zones_{zones.source.stem}"
    csv_path, gpkg_path = target.with_suffix(".csv"), target.with_suffix(".gpkg")
    _write_csv(csv_path, columns)
    _write_gpkg(gpkg_path, zones, columns)
    return csv_path, gpkg_path


def read_zones(path: Path) -> Zones:
    """Read polygons with their columns; of several layers, the first with polygons counts.

    Raises
    ------
    InputError
        If there are none, or it is not known where they lie.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; give polygons as GeoPackage, GeoJSON or the like")
    layers = list_layers(path)
    if not layers:
        raise InputError(f"{path}: holds no polygon; draw one for each plot")
    holding = [name for name, kind in layers.items() if not kind or "polygon" in kind]
    layer = (holding or list(layers))[0]
    if len(holding) > 1:
        log.warning("%s: holds several layers of polygons; taking %r", path, layer)
    shapes, crs, columns = read_layer(path, layer)
    polygonal = np.isin(shapely.get_type_id(shapes), [3, 6]) & ~shapely.is_empty(shapes)
    if not polygonal.any():
        raise InputError(f"{path}: holds no polygon; draw one for each plot")
    if not crs:
        raise InputError(f"{path}: does not say its CRS; save it again with one")
    zones = Zones(
        source=path,
        shapes=_mended(path, shapes[polygonal]),
        crs=_crs(path, crs),
        columns={
            # A GeoPackage numbers its rows in a column of that name.
            "fid_before" if name.lower() == "fid" else name: values[polygonal]
            for name, values in columns.items()
        },
    )
    _refuse_no_place(zones)
    return zones


def _mended(path: Path, shapes: NDArray[Any]) -> NDArray[Any]:
    """Return polygons that do not cross themselves."""
    if not np.isfinite(shapely.get_coordinates(shapes)).all():
        raise InputError(f"{path}: a corner whose coordinates are no numbers; draw it again")
    try:
        return np.asarray(shapely.make_valid(shapes))
    except GEOSException as error:
        said = " ".join(str(error).split())
        raise InputError(f"{path}: a polygon cannot be mended ({said}); draw it again") from error


def _crs(path: Path, said: str) -> CRS:
    try:
        return CRS.from_user_input(said)
    except CRSError as error:
        raise InputError(f"{path}: its CRS is not known; save it again with one") from error


def _refuse_no_place(zones: Zones) -> None:
    """Refuse polygons that lie nowhere on Earth by their CRS."""
    try:
        to_wgs84 = Transformer.from_crs(zones.crs, "EPSG:4326", always_xy=True)
    except ProjError as error:
        raise InputError(
            f"{zones.source}: no way leads from its CRS to the Earth; check it"
        ) from error
    lon, lat = np.abs(to_wgs84.transform(*shapely.get_coordinates(zones.shapes).T))
    if not (np.isfinite(lon).all() and (lon <= 360).all() and (lat <= 90).all()):
        raise InputError(
            f"{zones.source}: polygons have no place on Earth in {zones.crs.name}; check its CRS"
        )


def shapes_on_map(zones: Zones, raster: Path) -> tuple[Grid, NDArray[Any]]:
    """Return a raster's grid, and the polygons in its CRS.

    Raises `InputError` if the map has no place, or no polygon lies on it.
    """
    grid = read_grid(raster)
    if grid.crs is None:
        raise InputError(f"{raster}: the map has no place, so polygons cannot be laid on it")
    to_map = Transformer.from_crs(zones.crs, grid.crs, always_xy=True).transform
    shapes = np.asarray(shapely.transform(zones.shapes, to_map, interleaved=False))
    if not shapely.intersects(shapes, shapely.box(*grid.bounds)).any():
        raise InputError(f"{zones.source}: no polygon lies on the map; see their CRS")
    return grid, shapes


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

    grid, shapes = shapes_on_map(zones, raster)
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
