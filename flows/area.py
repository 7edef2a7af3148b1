"""The ground a map is wanted of, as a polygon that someone drew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataSourceError
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from tmp.errors import InputError

FARTHEST_M = 1000.0
"""An area farther than this from every photograph belongs to another survey."""


def read_area(path: Path, crs: str) -> BaseGeometry:
    """Read the polygons of a vector file as one area.

    Parameters
    ----------
    path : Path
        GeoJSON, GeoPackage, KML, shapefile, or whatever else GDAL reads.  GeoJSON is WGS 84
        unless it says otherwise, by RFC 7946.
    crs : str
        Projected CRS to bring it to.

    Returns
    -------
    shapely Polygon or MultiPolygon
        In metres of `crs`, without heights.

    Raises
    ------
    InputError
        If the file cannot be read, has no CRS, holds something other than polygons, or a
        polygon crosses itself.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; give the area as a polygon file")
    try:
        meta, _, shapes, _ = pyogrio.raw.read(path, columns=[], force_2d=True)
    except (DataSourceError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a vector file; {error}") from error
    source = _known_crs(path, meta["crs"])
    polygons = [shape for shape in shapely.from_wkb(shapes) if shape is not None]
    if not polygons:
        raise InputError(f"{path}: holds no polygon; draw one round the area")
    for number, polygon in enumerate(polygons, start=1):
        _refuse_bad_polygon(path, number, polygon)
    transformer = Transformer.from_crs(source, crs, always_xy=True)

    def project(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(transformer.transform(points[:, 0], points[:, 1]))

    area = shapely.union_all([shapely.transform(polygon, project) for polygon in polygons])
    if not np.isfinite(shapely.bounds(area)).all():
        raise InputError(f"{path}: the area has no place in {crs}; check the file's CRS")
    return area


def refuse_distant_area(path: Path, area: BaseGeometry, positions_m: NDArray[np.float64]) -> None:
    """Raise `InputError` if no photograph was taken near the area.

    Parameters
    ----------
    path : Path
        Where the area came from, for the message.
    area : shapely geometry
    positions_m : ndarray of shape (N, 2)
        Easting and northing of the photographs, in the CRS of the area.
    """
    nearest_m = float(shapely.distance(area, shapely.points(positions_m)).min())
    if nearest_m > FARTHEST_M:
        raise InputError(
            f"{path}: the area lies {nearest_m / 1000:.1f} km from the nearest photograph; "
            "give the polygon of this survey, or check its CRS"
        )


def _known_crs(path: Path, text: str | None) -> CRS:
    try:
        crs = CRS.from_user_input(text) if text else None
    except CRSError:
        crs = None
    # A GeoPackage without a CRS carries one that is called undefined.
    if (
        crs is None
        or not (crs.is_geographic or crs.is_projected)
        or "undefined" in crs.name.lower()
    ):
        raise InputError(f"{path}: does not say its CRS; save it again with one, such as EPSG:4326")
    return crs


def _refuse_bad_polygon(path: Path, number: int, polygon: BaseGeometry) -> None:
    if polygon.geom_type not in ("Polygon", "MultiPolygon"):
        raise InputError(
            f"{path}: shape {number} is a {polygon.geom_type}, not a polygon; "
            "draw a polygon round the area"
        )
    if polygon.is_empty or not polygon.is_valid:
        reason = shapely.is_valid_reason(polygon)
        raise InputError(
            f"{path}: polygon {number} crosses itself or is broken ({reason}); draw it again"
        )
