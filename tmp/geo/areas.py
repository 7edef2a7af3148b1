"""The ground that is to be surveyed, as someone drew it, and as a shape on Earth.

What is drawn in files comes from `tmp.geo.drawings`, in the coordinates it was drawn in.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError
from shapely.affinity import translate
from shapely.errors import GEOSException
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from tmp.errors import InputError
from tmp.geo.drawings import WGS84, Drawing, DrawnKind, one_line, parts_of, read_drawing
from tmp.geo.frames import PlanFrame

log = logging.getLogger(__name__)

MOST_POINTS = 5_000_000
"""Of one polygon with the points that bring its long edges onto the ellipsoid."""

Float = NDArray[np.float64]
LEAST_M2 = 1.0
MOST_M2 = 1e10
"""10 000 km²: no drone surveys that, so it is a wrong file or a wrong CRS."""
BEND_M = 0.1
"""How far the edge of an area may lie beside the straight edge that was drawn."""
SNAP_DEG = 1e-10
"""Hundredth of a millimetre, to join polygons that share an edge."""
SLIT_M = 0.01
"""Width of the cut that opens the corridor of a loop: what it goes round may be flown over, and a
hole may not."""
MITRE = 2.0
"""Farthest corner of a corridor from a bend of its line, as a share of half its width."""
_ELLIPSOID = Geod(ellps="WGS84")


@dataclass(frozen=True, kw_only=True)
class SurveyArea:
    """One or several polygons on WGS 84."""

    polygons: shapely.MultiPolygon
    """Longitude and latitude in degrees.  Longitudes are continuous: an area across the
    antimeridian goes on beyond 180 instead of jumping, so that it is in one piece."""
    source: str
    """Where it came from, for messages."""
    middle: shapely.MultiLineString | None = None
    """Of a corridor, the lines along which it was laid, as the polygons; else None."""

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
        """Return the area in another CRS; raises `InputError` if it has no place there."""
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

    Files are KML, KMZ, WKT (``.wkt``), GeoJSON, GeoPackage, shapefile (zipped or not), FlatGeobuf
    or GML; WKT itself may have ``SRID=…;`` before it. The layer, or folder of a KML, is
    needed if several hold polygons. The CRS is that of the coordinates, for sources that do not say
    it; it overrules those that do. An area of `most_m2` or more is refused; exclusions may be a
    country's, `math.inf`. Edges stay within `BEND_M` of the straight line that was drawn in the
    source's CRS.

    Raises `InputError` if the source cannot be read, has no polygon or CRS or area, crosses itself,
    holds a pole, has no place on Earth, or is as large as `most_m2`, or if it is not clear which
    layer is meant.

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
    drawing = read_drawing(source, DrawnKind.POLYGON, layer=layer, crs=crs)
    to_wgs84 = _to_wgs84(drawing)
    placed = [
        _place(polygon, drawing.crs, to_wgs84, name)
        for polygon, name in zip(drawing.shapes, _names(drawing), strict=True)
    ]
    area = SurveyArea(polygons=_join(placed, drawing.source), source=drawing.source)
    _refuse_size(area, most_m2)
    return area


def read_corridor(
    source: Path | str, *, width_m: float, layer: str | None = None, crs: str | None = None
) -> SurveyArea:
    """Read the lines of a file, or of WKT, and return the ground within half a width of them.

    Files are those of `read_area`, and GPX with its tracks and routes.  The corridor ends square
    where a line ends, and has the corners of its bends up to `MITRE`.  Where a line goes round
    ground, that is left out; it may be flown over, as the corridor is cut open there.

    Raises `InputError` as `read_area` does, and if the source has no line or the width is none.

    Examples
    --------
    >>> road = read_corridor("SRID=4326;LINESTRING (8 47, 8.01 47)", width_m=60)
    >>> round(road.area_m2 / 760.6)  # a hundredth of a degree of longitude at 47° N is 760.6 m
    60
    """
    if not 0 < width_m < math.inf:
        raise InputError(f"a corridor {width_m!r} m wide is none; give its whole width in metres")
    drawing = read_drawing(source, DrawnKind.LINE, layer=layer, crs=crs)
    to_wgs84 = _to_wgs84(drawing)
    placed = [
        _place_line(line, drawing.crs, to_wgs84, name)
        for line, name in zip(drawing.shapes, _names(drawing), strict=True)
    ]
    home = placed[0].centroid.x
    lines = [translate(line, xoff=_turns_deg(home - line.centroid.x)) for line in placed]
    x_min, y_min, x_max, y_max = shapely.MultiLineString(lines).bounds
    turn = _half_turn((x_min + x_max) / 2) - (x_min + x_max) / 2
    middle = shapely.MultiLineString([translate(line, xoff=turn) for line in lines])
    frame = PlanFrame(lon_deg=(x_min + x_max) / 2 + turn, lat_deg=(y_min + y_max) / 2)
    strips = [
        line.simplify(BEND_M).buffer(
            width_m / 2, cap_style="flat", join_style="mitre", mitre_limit=MITRE
        )
        for line in shapely.get_parts(frame.to_plan(middle))
    ]
    parts = [_opened(part) for part in parts_of(shapely.union_all(strips))]
    ground = frame.to_geodetic(shapely.MultiPolygon([orient(part) for part in parts]))
    area = SurveyArea(polygons=ground, source=drawing.source, middle=middle)
    _refuse_size(area, MOST_M2)
    return area


def _opened(corridor: shapely.Polygon) -> shapely.Polygon:
    """Return a corridor, plan metres, with a cut from each ground it goes round to its outside."""
    ways = shapely.shortest_line(np.array(corridor.interiors), corridor.exterior)
    # A hair longer at both ends, so that the cut goes through.
    slits = [way.buffer(SLIT_M / 2, cap_style="square") for way in ways]
    parts = parts_of(corridor.difference(shapely.union_all(slits)))
    return max(parts, key=lambda part: part.area)


def _names(drawing: Drawing) -> list[str]:
    """Return what messages call each shape of a drawing."""
    count, kind = len(drawing.shapes), DrawnKind.POLYGON
    if count == 1:
        return [drawing.source]
    if isinstance(drawing.shapes[0], shapely.LineString):
        kind = DrawnKind.LINE
    return [f"{drawing.source}, {kind} {number}" for number in range(1, count + 1)]


def _to_wgs84(drawing: Drawing) -> Transformer:
    try:
        return Transformer.from_crs(drawing.crs, WGS84, always_xy=True)
    except ProjError as error:
        raise InputError(
            f"{drawing.source}: no way leads from its CRS to the Earth; check it"
        ) from error


def _refuse_size(area: SurveyArea, most_m2: float) -> None:
    if not area.area_m2 >= LEAST_M2:
        raise InputError(
            f"{area.source}: {area.area_m2:.2g} m² are too small an area; draw it round the ground "
            "to survey"
        )
    if not area.area_m2 < most_m2:
        raise InputError(
            f"{area.source}: the area is {area.area_m2 / 1e6:,.0f} km², too large for a drone "
            f"(below {most_m2 / 1e6:,.0f} km²); check the file and its CRS"
        )


def _place(polygon: shapely.Polygon, crs: CRS, to_wgs84: Transformer, name: str) -> shapely.Polygon:
    """Bring a polygon to WGS 84, with continuous longitudes."""
    rings = [np.asarray(ring.coords)[:, :2] for ring in (polygon.exterior, *polygon.interiors)]
    _refuse_no_numbers(np.vstack(rings), name)
    if _in_degrees(crs):
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
    placed = [_placed(ring, crs, to_wgs84, name) for ring in rings]
    placed = _continuous(placed, name)
    return shapely.Polygon(placed[0], placed[1:])


def _place_line(
    line: shapely.LineString, crs: CRS, to_wgs84: Transformer, name: str
) -> shapely.LineString:
    """Bring a line to WGS 84, with continuous longitudes."""
    points = np.asarray(line.coords)[:, :2]
    _refuse_no_numbers(points, name)
    if _in_degrees(crs):
        _refuse_no_degrees(points, name)
        points = _unwound(points)
    if not np.ptp(points, axis=0).any():
        raise InputError(f"{name}: the line has no length; draw it along the ground to survey")
    return shapely.LineString(_unwound(_placed(points, crs, to_wgs84, name)))


def _in_degrees(crs: CRS) -> bool:
    return bool(crs.is_geographic and crs.axis_info[0].unit_name == "degree")


def _refuse_no_numbers(points: Float, name: str) -> None:
    if not np.isfinite(points).all():
        raise InputError(f"{name}: a corner whose coordinates are no numbers; draw it again")


def _placed(points: Float, crs: CRS, to_wgs84: Transformer, name: str) -> Float:
    """Return points (N, 2) of a ring or line in degrees, with those that its long edges need."""
    placed = np.column_stack(to_wgs84.transform(*_bend(points, to_wgs84, name).T))
    # Some projections turn far-away coordinates into latitudes that no place has.
    if not (np.abs(placed[:, 1]) <= 90).all() or not np.isfinite(placed).all():
        raise InputError(f"{name}: the area has no place on Earth in {crs.name}; check its CRS")
    return placed


def _unwound(points: Float) -> Float:
    """Return points (N, 2) without jumps of a whole turn in longitude."""
    return np.column_stack([np.unwrap(points[:, 0], period=360.0), points[:, 1]])


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


def _bend(ring: Float, to_wgs84: Transformer, name: str) -> Float:
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
    if pieces.sum() > MOST_POINTS:
        raise InputError(f"{name}: edges of half the Earth; check the file and its CRS")
    edge = np.repeat(np.arange(len(pieces)), pieces)
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    share = (np.arange(len(edge)) - first) / pieces[edge]
    return np.vstack([start[edge] + share[:, None] * (end - start)[edge], ring[-1:]])


def _directions(points: Float, to_wgs84: Transformer) -> Float:
    """Return unit vectors (N, 3) normal to the ellipsoid at points (N, 2)."""
    lon, lat = np.radians(to_wgs84.transform(*points.T))
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _join(polygons: list[shapely.Polygon], name: str) -> shapely.MultiPolygon:
    """Bring polygons onto the same turn of longitude and unite them."""
    home = max(polygons, key=lambda polygon: polygon.area).centroid.x
    near = [translate(polygon, xoff=_turns_deg(home - polygon.centroid.x)) for polygon in polygons]
    shapes = np.array(list(dict.fromkeys(near)))
    # To unite what nothing touches takes most of the time of thousands of parcels.
    alone = _is_alone(shapes)
    try:
        united = shapely.union_all(shapes[~alone], grid_size=SNAP_DEG)
    except GEOSException as error:
        raise InputError(f"{name}: its polygons cannot be joined; {one_line(error)}") from error
    parts = [*shapes[alone], *parts_of(united)]
    whole = shapely.MultiPolygon([orient(part) for part in parts])
    middle = (whole.bounds[0] + whole.bounds[2]) / 2
    turn = _half_turn(middle) - middle
    return translate(whole, xoff=turn)


def _is_alone(shapes: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell for each of N different polygons whether no other lies within `SNAP_DEG` of it, (N,)."""
    # One neighbour each will do: thousands that lie upon each other make millions of pairs.
    meets, _ = shapely.STRtree(shapes).query_nearest(
        shapes, max_distance=SNAP_DEG, exclusive=True, all_matches=False
    )
    # That passes over a shape's equals too, such as one with another first corner.
    _, of, count = np.unique(
        shapely.bounds(shapes), axis=0, return_inverse=True, return_counts=True
    )
    alone = np.asarray(count[of.ravel()] == 1)
    alone[meets] = False
    return alone


def _turns_deg(degrees: float) -> float:
    """Return the whole turns nearest to an angle."""
    return 360.0 * round(degrees / 360.0)


def _half_turn(degrees: float) -> float:
    """Bring an angle into [-180, 180)."""
    return degrees - 360.0 * math.floor((degrees + 180.0) / 360.0)
