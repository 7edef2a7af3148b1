"""The ground that is to be surveyed, as someone drew it, and as a shape on Earth.

Polygons come out of the files people draw them in, in the coordinates they were drawn in.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError, ProjError
from shapely.affinity import translate
from shapely.errors import GEOSException
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from tmp.errors import InputError
from tmp.geo.vectors import list_layers, read_kml, read_layer, read_whole

log = logging.getLogger(__name__)

WGS84 = "EPSG:4326"
MOST_WKT_DEPTH = 16
"""Brackets in brackets; a collection of polygons with holes has 4."""
MOST_POINTS = 5_000_000
"""Of one polygon with the points that bring its long edges onto the ellipsoid."""

_WKT = re.compile(
    r"^\s*(?:SRID\s*=\s*(?P<srid>\d+)\s*;)?\s*"
    r"(?P<wkt>(?:POINT|LINESTRING|POLYGON|MULTI\w+|GEOMETRYCOLLECTION)\b.*)$",
    re.IGNORECASE | re.DOTALL,
)
_LAYER_TYPES = ("polygon", "surface", "unknown", "collection")

Float = NDArray[np.float64]
LEAST_M2 = 1.0
MOST_M2 = 1e10
"""10 000 km²: no drone surveys that, so it is a wrong file or a wrong CRS."""
BEND_M = 0.1
"""How far the edge of an area may lie beside the straight edge that was drawn."""
SNAP_DEG = 1e-10
"""Hundredth of a millimetre, to join polygons that share an edge."""
_ELLIPSOID = Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawing:
    """What a file holds of polygons."""

    polygons: tuple[shapely.Polygon, ...]
    """As drawn, without heights; not checked for crossings; at least one."""
    crs: CRS
    """Of the coordinates: x or longitude first."""
    source: str
    """The file's name, or a word for text, for messages."""


def _read_polygons(source: Path | str, layer: str | None, crs: str | None) -> _Drawing:
    """Read the polygons of one layer; points and lines beside them are left out, and logged."""
    text = _WKT.match(source) if isinstance(source, str) else None
    if text is not None:
        return _read_wkt(text, "WKT", crs)
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path}: no such file; give the area as a polygon file")
    suffix = path.suffix.lower()
    found: str | None
    if suffix in (".wkt", ".ewkt"):
        text = _WKT.match(_read_text(path))
        if text is None:
            raise InputError(f"{path}: does not begin as WKT does; write POLYGON ((…))")
        return _read_wkt(text, str(path), crs)
    if suffix in (".kml", ".kmz"):
        layers, found = _read_kml(path), WGS84
    else:
        layers, found = _read_gdal(path, layer)
    polygons = _one_layer(path, layers, layer)
    return _Drawing(polygons=polygons, crs=_known_crs(str(path), found, crs), source=str(path))


def _read_text(path: Path) -> str:
    try:
        return read_whole(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read as text; {error}") from error


def _read_wkt(text: re.Match[str], source: str, crs: str | None) -> _Drawing:
    depth = 0
    for bracket in re.finditer(r"[()]", text["wkt"]):  # GEOS overflows the stack
        depth += 1 if bracket[0] == "(" else -1
        if depth > MOST_WKT_DEPTH:
            raise InputError(f"{source}: WKT nested too deep; draw the area again")
    try:
        shape = shapely.from_wkt(text["wkt"].strip())
    except GEOSException as error:
        raise InputError(f"{source}: cannot be read as WKT; {_one_line(error)}") from error
    found = f"EPSG:{text['srid']}" if text["srid"] else None
    return _Drawing(
        polygons=_polygons_of(source, [shape]), crs=_known_crs(source, found, crs), source=source
    )


def _read_gdal(path: Path, layer: str | None) -> tuple[dict[str, list[BaseGeometry]], str | None]:
    """Return the shapes of each layer, empty for those passed over, and the CRS."""
    layers: dict[str, list[BaseGeometry]] = {}
    found: str | None = None
    kinds = list_layers(path)
    wanted = [name for name in kinds if any(word in kinds[name] for word in _LAYER_TYPES)]
    if layer is not None:
        wanted = [layer] if layer in kinds else []
    for name in kinds:
        layers[name] = []
        # With nothing else, what there is gets read to say what it is.
        if name in wanted or (not wanted and kinds[name]):
            shapes, crs, _ = read_layer(path, name, columns=[])
            layers[name] = list(shapes)
            found = crs or found
    return layers, found


def _one_layer(
    path: Path, layers: Mapping[str, list[BaseGeometry]], layer: str | None
) -> tuple[shapely.Polygon, ...]:
    names = ", ".join(repr(name) for name in layers)
    if layer is not None:
        if layer not in layers:
            raise InputError(f"{path}: has no layer {layer!r}; it has {names or 'none'}")
        return _polygons_of(f"{path}, layer {layer!r}", layers[layer])
    holding = {name: shapes for name, shapes in layers.items() if any(map(_parts, shapes))}
    if len(holding) > 1:
        names = ", ".join(repr(name) for name in holding)
        raise InputError(f"{path}: layers {names} hold polygons; name one of them with --layer")
    shapes = next(iter(holding.values()), [shape for all_ in layers.values() for shape in all_])
    return _polygons_of(str(path), shapes)


def _polygons_of(source: str, shapes: Iterable[BaseGeometry | None]) -> tuple[shapely.Polygon, ...]:
    drawn = [shape for shape in shapes if shape is not None and not shape.is_empty]
    polygons = tuple(part for shape in drawn for part in _parts(shape))
    others = Counter(shape.geom_type for shape in drawn if not _parts(shape))
    said = ", ".join(f"{number} {kind}" for kind, number in others.items())
    if not polygons:
        raise InputError(
            f"{source}: holds no polygon{', only ' + said if said else ''}; "
            "draw a polygon round the area"
        )
    if others:
        log.warning("%s: left out what is not a polygon: %s", source, said)
    return polygons


def _parts(shape: BaseGeometry | None) -> list[shapely.Polygon]:
    """Return the polygons that a geometry is made of."""
    if isinstance(shape, shapely.Polygon):
        return [] if shape.is_empty else [shape]
    if isinstance(shape, shapely.GeometryCollection | shapely.MultiPolygon):
        return [part for member in shape.geoms for part in _parts(member)]
    return []


def _known_crs(source: str, found: str | None, given: str | None) -> CRS:
    try:
        said = CRS.from_user_input(found) if found else None
    except CRSError:
        said = None
    # A GeoPackage without a CRS carries one that is called undefined.
    if said is not None and (
        not (said.is_geographic or said.is_projected) or "undefined" in said.name.lower()
    ):
        said = None
    if given is not None:
        try:
            wanted = CRS.from_user_input(given)
        except CRSError as error:
            raise InputError(f"{given!r} is not a CRS; give one such as EPSG:4326") from error
        if said is not None and said != wanted:
            log.warning("%s: taken to be in %s, though it says %s", source, given, said.name)
        said = wanted
    if said is None:
        raise InputError(
            f"{source}: does not say its CRS; save it again with one, or pass --crs EPSG:4326 "
            "if it is in degrees"
        )
    return said.sub_crs_list[0] if said.is_compound else said


def _read_kml(path: Path) -> dict[str, list[BaseGeometry]]:
    """Return the shapes of each folder of a KML or KMZ."""
    folders: dict[str, list[BaseGeometry]] = {}
    _collect(path, read_kml(path), "", folders)
    return folders


def _collect(
    path: Path, element: Element, folder: str, found: dict[str, list[BaseGeometry]]
) -> None:
    """Add the shapes below an element to the folder they lie in."""
    for child in element:
        kind = _tag(child)
        if kind in ("Folder", "Document"):
            name = next((part.text for part in child if _tag(part) == "name"), None)
            _collect(path, child, (name or "").strip() or folder, found)
        elif kind == "Polygon":
            found.setdefault(folder, []).append(_kml_polygon(path, child))
        elif kind in ("Point", "LineString", "LinearRing"):
            # Only counted, to say what there is instead of a polygon.
            shape = shapely.Point(0, 0) if kind == "Point" else shapely.LineString([(0, 0), (1, 1)])
            found.setdefault(folder, []).append(shape)
        else:
            _collect(path, child, folder, found)


def _kml_polygon(path: Path, polygon: Element) -> shapely.Polygon:
    rings: dict[str, list[list[tuple[float, float]]]] = {}
    for boundary in polygon:
        for place in boundary.iter():
            if _tag(place) == "coordinates":
                rings.setdefault(_tag(boundary), []).append(_kml_ring(path, place.text or ""))
    outer = rings.get("outerBoundaryIs", [])
    if len(outer) != 1:
        raise InputError(f"{path}: a polygon has {len(outer)} outer boundaries; draw it again")
    return shapely.Polygon(outer[0], rings.get("innerBoundaryIs", []))


def _kml_ring(path: Path, text: str) -> list[tuple[float, float]]:
    # Blanks part places and commas their numbers, but people write blanks after commas too.
    places = re.sub(r"\s*,\s*", ",", text).split()
    try:
        ring = [tuple(map(float, place.split(",")[:2])) for place in places]
        if len(ring) < 3:
            raise ValueError(f"only {len(ring)} places")
        if not np.isfinite(ring).all():
            raise ValueError("a coordinate that is no number")
        return [(lon, lat) for lon, lat in ring]
    except ValueError as error:
        raise InputError(f"{path}: a ring cannot be read ({error}); draw it again") from error


def _tag(element: Element) -> str:
    """Return an element's name without its namespace, which programs write differently."""
    return str(element.tag).rpartition("}")[2]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


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
    drawing = _read_polygons(source, layer, crs)
    name, several = drawing.source, len(drawing.polygons) > 1
    try:
        to_wgs84 = Transformer.from_crs(drawing.crs, WGS84, always_xy=True)
    except ProjError as error:
        raise InputError(f"{name}: no way leads from its CRS to the Earth; check it") from error
    placed = [
        _place(polygon, drawing.crs, to_wgs84, name + (f", polygon {number}" if several else ""))
        for number, polygon in enumerate(drawing.polygons, start=1)
    ]
    area = SurveyArea(polygons=_join(placed, name), source=name)
    if not area.area_m2 >= LEAST_M2:
        raise InputError(f"{name}: the polygon has no area; draw it round the ground to survey")
    if not area.area_m2 < most_m2:
        raise InputError(
            f"{name}: the area is {area.area_m2 / 1e6:,.0f} km², too large for a drone "
            f"(below {most_m2 / 1e6:,.0f} km²); check the file and its CRS"
        )
    return area


def _place(polygon: shapely.Polygon, crs: CRS, to_wgs84: Transformer, name: str) -> shapely.Polygon:
    """Bring a polygon to WGS 84, with continuous longitudes."""
    degrees = crs.is_geographic and crs.axis_info[0].unit_name == "degree"
    rings = [np.asarray(ring.coords)[:, :2] for ring in (polygon.exterior, *polygon.interiors)]
    if not np.isfinite(np.vstack(rings)).all():
        raise InputError(f"{name}: a corner whose coordinates are no numbers; draw it again")
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
    placed = [np.column_stack(to_wgs84.transform(*_bend(ring, to_wgs84, name).T)) for ring in rings]
    # Some projections turn far-away coordinates into latitudes that no place has.
    if not (np.abs(np.vstack(placed)[:, 1]) <= 90).all() or not np.isfinite(placed[0]).all():
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
        raise InputError(f"{name}: its polygons cannot be joined; {_one_line(error)}") from error
    parts = [*shapes[alone], *_parts(united)]
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
