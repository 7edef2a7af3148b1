"""The ground that is to be surveyed, as someone drew it, and as a shape on Earth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from tmp.errors import InputError
from tmp.vectors import WGS84, read_polygons

Float = NDArray[np.float64]

LEAST_M2 = 1.0
MOST_M2 = 1e10
"""10 000 km²: no drone surveys that, so it is a wrong file or a wrong CRS."""
BEND_M = 0.1
"""How far the edge of an area may lie beside the straight edge that was drawn."""
SNAP_DEG = 1e-10
"""Hundredth of a millimetre, to join polygons that share an edge."""

_ELLIPSOID = Geod(ellps="WGS84")


@dataclass(frozen=True, kw_only=True)
class SurveyArea:
    """One or several polygons on WGS 84."""

    polygons: shapely.MultiPolygon
    """Longitude and latitude in degrees.  Longitudes are continuous: an area across the
    antimeridian goes on beyond 180 instead of jumping, so that it is in one piece."""
    source: str
    """Where it came from, for messages."""

    @cached_property
    def area_m2(self) -> float:
        """Area on the ellipsoid, holes taken out."""
        return abs(float(_ELLIPSOID.geometry_area_perimeter(self.polygons)[0]))

    @cached_property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude in degrees of the centroid, for the frame of a plan."""
        x_min, y_min, x_max, y_max = self.polygons.bounds
        middle = (x_min + x_max) / 2
        plane = f"+proj=laea +lat_0={(y_min + y_max) / 2!r} +lon_0={middle!r} +datum=WGS84 +units=m"
        centroid = self.projected(plane).centroid
        back = Transformer.from_crs(plane, WGS84, always_xy=True)
        lon, lat = back.transform(centroid.x, centroid.y)
        return float(middle + _half_turn(lon - middle)), float(lat)

    def projected(self, crs: str) -> BaseGeometry:
        """Return the area in another CRS.

        Raises
        ------
        InputError
            If it has no place there.
        """
        transformer = Transformer.from_crs(WGS84, crs, always_xy=True)
        shape = shapely.transform(
            self.polygons, lambda points: np.column_stack(transformer.transform(*points.T))
        )
        if not np.isfinite(shapely.bounds(shape)).all():
            raise InputError(f"{self.source}: the area has no place in {crs}; check the file's CRS")
        return shape


def read_area(
    source: Path | str,
    *,
    layer: str | None = None,
    crs: str | None = None,
    most_m2: float = MOST_M2,
) -> SurveyArea:
    """Read the polygons of a file, or of WKT, as one area.

    Parameters
    ----------
    source, layer, crs
        See `tmp.vectors.read_polygons`.
    most_m2 : float
        Refuse an area this large or larger; `math.inf` for exclusions, which may be a country's.

    Returns
    -------
    SurveyArea
        Edges stay within `BEND_M` of the straight line that was drawn in the source's CRS.

    Raises
    ------
    InputError
        If the source cannot be read, has no CRS or no area, crosses itself, holds a pole, has no
        place on Earth, or is as large as `most_m2`.

    Notes
    -----
    RFC 7946 (section 3.1.9) cuts polygons at the antimeridian; the parts are joined again.  A
    ring that jumps from 180 to -180 without being cut is taken the short way round.

    Examples
    --------
    >>> area = read_area("SRID=4326;POLYGON ((8 47, 8.01 47, 8.01 47.01, 8 47.01, 8 47))")
    >>> round(area.area_m2), [round(degrees, 4) for degrees in area.centre]
    (845443, [8.005, 47.005])
    """
    drawing = read_polygons(source, layer=layer, crs=crs)
    name = drawing.source
    placed = [
        _place(polygon, drawing.crs, _several(name, number, len(drawing.polygons)))
        for number, polygon in enumerate(drawing.polygons, start=1)
    ]
    area = SurveyArea(polygons=_join(placed), source=name)
    if area.area_m2 < LEAST_M2:
        raise InputError(f"{name}: the polygon has no area; draw it round the ground to survey")
    if area.area_m2 >= most_m2:
        raise InputError(
            f"{name}: the area is {area.area_m2 / 1e6:,.0f} km², too large for a drone "
            f"(below {most_m2 / 1e6:,.0f} km²); check the file and its CRS"
        )
    return area


def _several(source: str, number: int, count: int) -> str:
    return source if count == 1 else f"{source}, polygon {number}"


def _place(polygon: shapely.Polygon, crs: CRS, name: str) -> shapely.Polygon:
    """Bring a polygon to WGS 84, with continuous longitudes."""
    degrees = crs.is_geographic and crs.axis_info[0].unit_name == "degree"
    rings = [np.asarray(ring.coords)[:, :2] for ring in (polygon.exterior, *polygon.interiors)]
    if degrees:
        _refuse_no_degrees(np.vstack(rings), name)
        rings = _continuous(rings, name)
    drawn = shapely.Polygon(rings[0], rings[1:])
    if drawn.convex_hull.area == 0:
        raise InputError(f"{name}: the polygon has no area; draw it round the ground to survey")
    if not drawn.is_valid:
        raise InputError(
            f"{name}: the polygon crosses itself or is broken ({shapely.is_valid_reason(drawn)}); "
            "draw it again"
        )
    to_wgs84 = Transformer.from_crs(crs, WGS84, always_xy=True)
    placed = [np.column_stack(to_wgs84.transform(*_bend(ring, to_wgs84).T)) for ring in rings]
    if not np.isfinite(np.vstack(placed)).all():
        raise InputError(f"{name}: the area has no place on Earth in {crs.name}; check its CRS")
    placed = _continuous(placed, name)
    return shapely.Polygon(placed[0], placed[1:])


def _refuse_no_degrees(points: Float, name: str) -> None:
    lon, lat = np.abs(points).max(axis=0)
    if lat <= 90 and lon <= 360:
        return
    if lon <= 90 and lat <= 360:
        raise InputError(
            f"{name}: latitude of {lat:.4f}°; latitude and longitude seem to be swapped, "
            "write longitude first"
        )
    raise InputError(
        f"{name}: coordinates up to {max(lon, lat):.0f} are no degrees; "
        "pass the CRS they are in with --crs"
    )


def _continuous(rings: list[Float], name: str) -> list[Float]:
    """Take out jumps of a whole turn in longitude, along each ring and from shell to holes."""
    unwound = []
    for ring in rings:
        lon = np.unwrap(ring[:, 0], period=360.0)
        if abs(lon[-1] - lon[0]) > 180:
            raise InputError(
                f"{name}: the polygon goes round a pole; cut it into pieces that do not hold it"
            )
        # The last point is the first one, not nearly so.
        lon[-1] = lon[0]
        unwound.append(np.column_stack([lon, ring[:, 1]]))
    home = unwound[0][:, 0].mean()
    turns = [_turns_deg(home - ring[:, 0].mean()) for ring in unwound]
    return [ring + np.array([turn, 0.0]) for ring, turn in zip(unwound, turns, strict=True)]


def _bend(ring: Float, to_wgs84: Transformer) -> Float:
    """Add points to long edges, so that they stay where they were drawn (N, 2), (M, 2).

    An edge that is straight in the CRS it was drawn in is a curve on Earth.  Its arrow falls with
    the square of the number of pieces, so the number follows from the arrow of the whole edge.
    """
    start, end = ring[:-1], ring[1:]
    inner = [_directions(start + part * (end - start), to_wgs84) for part in (0.25, 0.5, 0.75)]
    normal = np.cross(_directions(start, to_wgs84), _directions(end, to_wgs84))
    length = np.linalg.norm(normal, axis=1)
    arrow = np.max([np.abs(np.sum(normal * point, axis=1)) for point in inner], axis=0)
    # Edges below a metre are straight; their normal is only rounding.
    known = np.isfinite(arrow) & (length * _ELLIPSOID.a > 1.0)
    arrow_m = np.where(known, arrow, 0.0) / np.where(known, length, 1.0) * _ELLIPSOID.a
    pieces = np.maximum(np.ceil(np.sqrt(arrow_m / BEND_M)), 1).astype(int)
    points = [
        a + np.arange(count)[:, None] / count * (b - a)
        for a, b, count in zip(start, end, pieces, strict=True)
    ]
    return np.vstack([*points, ring[-1:]])


def _directions(points: Float, to_wgs84: Transformer) -> Float:
    """Return unit vectors (N, 3) normal to the ellipsoid at points (N, 2)."""
    lon, lat = np.radians(to_wgs84.transform(*points.T))
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _join(polygons: list[shapely.Polygon]) -> shapely.MultiPolygon:
    """Bring polygons onto the same turn of longitude and unite them."""
    home = max(polygons, key=lambda polygon: polygon.area).centroid.x
    near = [translate(polygon, xoff=_turns_deg(home - polygon.centroid.x)) for polygon in polygons]
    whole = near[0] if len(near) == 1 else shapely.union_all(near, grid_size=SNAP_DEG)
    middle = (whole.bounds[0] + whole.bounds[2]) / 2
    turn = _half_turn(middle) - middle
    parts = whole.geoms if isinstance(whole, shapely.MultiPolygon) else [whole]
    return translate(shapely.MultiPolygon([orient(part) for part in parts]), xoff=turn)


def _turns_deg(degrees: float) -> float:
    """Return the whole turns nearest to an angle."""
    return 360.0 * round(degrees / 360.0)


def _half_turn(degrees: float) -> float:
    """Bring an angle into [-180, 180)."""
    return degrees - 360.0 * math.floor((degrees + 180.0) / 360.0)
