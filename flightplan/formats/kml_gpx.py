"""KML and GPX: to look at in Google Earth, QGIS and receivers, and to read drawn routes from.

References
----------
https://www.topografix.com/GPX/1/1/
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import pairwise
from xml.etree.ElementTree import Element

from shapely import LinearRing, Polygon

from flightplan.formats.geojson import (
    MARK,
    Value,
    as_text,
    mission_fields,
    mission_from,
    photo_fields,
    photo_from,
    waypoint_fields,
    waypoint_from,
    with_polygons,
)
from flightplan.formats.geometry import (
    corners,
    degrees,
    finite,
    near,
    place,
    polygons_by_kind,
    ring_of,
    waypoints_at,
    with_holes,
    wrapped,
)
from flightplan.formats.markup import (
    KML,
    add,
    child,
    children,
    descendants,
    document,
    local_name,
    text,
)
from flightplan.formats.mission import (
    EVERYTHING,
    Content,
    HeightReference,
    Mission,
    Waypoint,
    Written,
)
from tmp.errors import InputError

GPX = "http://www.topografix.com/GPX/1/1"
FIELDS = "urn:terrestrial-mapping-platform:mission"

GPX_CARRIES = frozenset(Content) - {Content.FENCE, Content.EXCLUSIONS}

KML_CARRIES = EVERYTHING

_ABSOLUTE, _ABOVE_GROUND, _ON_GROUND = "absolute", "relativeToGround", "clampToGround"
_MODES = {
    _ABSOLUTE: HeightReference.AMSL,
    _ABOVE_GROUND: HeightReference.TERRAIN,
}
_NO_HEIGHTS = "it does not say what heights are measured from; they are left out"
_WAYPOINTS, _PHOTOS = "Waypoints", "Photographs"


def to_kml(mission: Mission) -> Written:
    """Return a mission as KML, with all it says as extended data."""
    mode, heights = shown_heights(mission)
    root = Element("kml", {"xmlns": KML})
    holder = add(root, "Document")
    add(holder, "name", mission.name)
    add(holder, "description", "\n".join(_description(mission, mode)))
    for style, colour, fill in (
        ("path", "ff00a5ff", "00000000"),
        ("area", "ffffffff", "30ffffff"),
        ("fence", "ff00ffff", "00000000"),
        ("exclusion", "ff0000ff", "500000ff"),
    ):
        element = add(holder, "Style", id=style)
        line = add(element, "LineStyle")
        add(line, "color", colour)
        add(line, "width", "2")
        add(add(element, "PolyStyle"), "color", fill)
    _add_data(holder, mission_fields(mission))
    path = _placemark(holder, "Flight path", "path")
    line = add(path, "LineString")
    add(line, "altitudeMode", mode)
    points = zip(mission.waypoints, heights, strict=True)
    add(line, "coordinates", " ".join(_point(w, height) for w, height in points))
    folder = _folder(holder, _WAYPOINTS)
    for index, (waypoint, height) in enumerate(zip(mission.waypoints, heights, strict=True)):
        placemark = _placemark(folder, str(index + 1))
        _add_data(placemark, waypoint_fields(waypoint))
        point = add(placemark, "Point")
        add(point, "altitudeMode", mode)
        add(point, "coordinates", _point(waypoint, height))
    if mission.photos:
        folder = _folder(holder, _PHOTOS)
        for index, photo in enumerate(mission.photos):
            placemark = _placemark(folder, str(index + 1))
            _add_data(placemark, photo_fields(photo))
            place_text = f"{degrees(wrapped(photo.lon_deg))},{degrees(photo.lat_deg)}"
            add(add(placemark, "Point"), "coordinates", place_text)
    for kind, polygons in polygons_by_kind(mission).items():
        for polygon in polygons:
            _add_polygon(holder, kind, polygon)
    return Written(content=document(root))


def shown_heights(mission: Mission) -> tuple[str, list[float]]:
    """Return how heights are drawn (KML altitude mode) and the heights to draw.

    Above-ground heights need no geoid, so they come first where the ground is known.
    """
    waypoints = mission.waypoints
    heights = [w.height_m for w in waypoints]
    base = mission.takeoff.ground_m if mission.takeoff else math.nan
    if mission.height_reference is HeightReference.AMSL:
        return _ABSOLUTE, heights
    if mission.height_reference is HeightReference.TAKEOFF:
        clearances = [base + w.height_m - w.ground_m for w in waypoints]
        if all(map(math.isfinite, clearances)):
            return _ABOVE_GROUND, clearances
        return _ABOVE_GROUND, heights
    if mission.height_reference is HeightReference.TERRAIN:
        return _ABOVE_GROUND, heights
    return _ON_GROUND, [0.0] * len(heights)


def _description(mission: Mission, mode: str) -> Iterable[str]:
    yield f"Heights of waypoints (height_m) are above: {mission.height_reference.value}."
    yield f"Heights as drawn are {mode}."
    yield from mission.notes


def _placemark(holder: Element, name: str, style: str = "") -> Element:
    placemark = add(holder, "Placemark")
    add(placemark, "name", name)
    if style:
        add(placemark, "styleUrl", f"#{style}")
    return placemark


def _folder(holder: Element, name: str) -> Element:
    folder = add(holder, "Folder")
    add(folder, "name", name)
    return folder


def _add_data(holder: Element, fields: dict[str, Value]) -> None:
    data = add(holder, "ExtendedData")
    for key, value in fields.items():
        add(add(data, "Data", name=key), "value", as_text(value))


def _point(waypoint: Waypoint, height_m: float) -> str:
    return f"{degrees(wrapped(waypoint.lon_deg))},{degrees(waypoint.lat_deg)},{height_m:.3f}"


def _add_polygon(holder: Element, kind: str, polygon: Polygon) -> None:
    placemark = _placemark(holder, kind.capitalize(), kind)
    element = add(placemark, "Polygon")
    _add_ring(add(element, "outerBoundaryIs"), polygon.exterior)
    for hole in polygon.interiors:
        _add_ring(add(element, "innerBoundaryIs"), hole)


def _add_ring(boundary: Element, ring: LinearRing) -> None:
    points = corners(ring)
    closed = [*points, points[0]]
    joined = " ".join(f"{degrees(lon)},{degrees(lat)}" for lon, lat in closed)
    add(add(boundary, "LinearRing"), "coordinates", joined)


def from_kml(root: Element, name: str) -> Mission:
    """Return the mission of a KML file: ours whole, of others the lines or else the points.

    Raises
    ------
    InputError
        If it holds neither lines nor points, such as an area alone, or malformed coordinates.
    """
    holder = child(root, "Document")
    if holder is not None and MARK in _data(holder):
        return _ours(holder)
    lines = [_coordinates(element) for element in descendants(root, "LineString")]
    lines += [_track(element) for element in descendants(root, "Track")]
    joined = [point for line in lines for point in line]
    if not joined:
        joined = [p for element in descendants(root, "Point") for p in _coordinates(element)]
    if not joined:
        raise InputError("no line and no point in it; if it is an area, plan a mission over it")
    modes = {(text_ or "").strip() for text_ in (e.text for e in descendants(root, "altitudeMode"))}
    mode = modes.pop() if len(modes) == 1 else _ON_GROUND
    reference = _MODES.get(mode)
    notes = [] if reference else [_NO_HEIGHTS]
    if len(lines) > 1:
        notes.append(f"{len(lines)} lines in one file, joined in their order")
    points = [joined[0], *(b for a, b in pairwise(joined) if a != b)]
    if not reference:
        points = [(lon, lat, math.nan) for lon, lat, _ in points]
    return Mission(
        name=name,
        waypoints=waypoints_at(points),
        height_reference=reference or HeightReference.TERRAIN,
        notes=tuple(notes),
    )


def _data(holder: Element) -> dict[str, str]:
    """Return an element's extended data."""
    extended = child(holder, "ExtendedData")
    if extended is None:
        return {}
    return {data.get("name", ""): text(data, "value") or "" for data in children(extended, "Data")}


def _ours(holder: Element) -> Mission:
    folders = {text(folder, "name"): folder for folder in children(holder, "Folder")}
    about = math.nan
    points: dict[str, list[tuple[float, float, dict[str, str]]]] = {_WAYPOINTS: [], _PHOTOS: []}
    for key, found in points.items():
        folder = folders.get(key)
        for placemark in children(folder, "Placemark") if folder is not None else ():
            point = child(placemark, "Point")
            places = _coordinates(point) if point is not None else []
            if len(places) != 1:
                raise InputError(f"a placemark of {key!r} has no place; write the file again")
            lon, lat, _ = places[0]
            about = near(lon, 0.0) if math.isnan(about) else about
            found.append((near(lon, about), lat, _data(placemark)))
    waypoints = tuple(waypoint_from(*point) for point in points[_WAYPOINTS])
    mission = mission_from(_data(holder), waypoints)
    photos = tuple(photo_from(*point) for point in points[_PHOTOS])
    polygons: dict[str, list[Polygon]] = {}
    for placemark in children(holder, "Placemark"):
        for polygon in children(placemark, "Polygon"):
            kind = (text(placemark, "name") or "").lower()
            polygons.setdefault(kind, []).append(_polygon(polygon, about))
    return with_polygons(mission, photos, polygons)


def _polygon(element: Element, about_deg: float) -> Polygon:
    return with_holes(
        [
            ring_of(_coordinates(ring), about_deg, "a polygon")
            for boundary in ("outerBoundaryIs", "innerBoundaryIs")
            for holder in children(element, boundary)
            for ring in children(holder, "LinearRing")
        ]
    )


def _coordinates(element: Element) -> list[tuple[float, float, float]]:
    """Return the (longitude, latitude, height) of an element's coordinates."""
    joined = re.sub(r"\s*,\s*", ",", text(element, "coordinates") or "")
    return [_tuple(words.split(",")) for words in joined.split()]


def _track(element: Element) -> list[tuple[float, float, float]]:
    return [_tuple((e.text or "").split()) for e in element if local_name(e) == "coord"]


def _tuple(parts: list[str]) -> tuple[float, float, float]:
    what = f"coordinates {','.join(parts)[:40]!r}"
    if not 2 <= len(parts) <= 3:
        raise InputError(f"{what} are not longitude,latitude[,height]; draw the line again")
    lon, lat = place(finite(parts[0], what), finite(parts[1], what), what)
    return lon, lat, finite(parts[2], what) if len(parts) == 3 else math.nan


def to_gpx(mission: Mission) -> Written:
    """Return a mission as a GPX route.

    Elevations are written where heights above sea level are known: from the mission itself, or
    from the ground's height at the take-off.
    """
    root = Element(
        "gpx",
        {
            "version": "1.1",
            "creator": "Terrestrial Mapping Platform",
            "xmlns": GPX,
            "xmlns:tmp": FIELDS,
        },
    )
    notes = []
    base_m = _base_m(mission)
    if math.isnan(base_m):
        notes.append("no elevations: heights above sea level are not known from this mission")
    if mission.takeoff is not None:
        point = _add_point(root, "wpt", mission.takeoff.lon_deg, mission.takeoff.lat_deg)
        if math.isfinite(mission.takeoff.ground_m):
            add(point, "ele", f"{mission.takeoff.ground_m:.3f}")
        add(point, "name", "Take-off")
    route = add(root, "rte")
    add(route, "name", mission.name)
    _add_fields(route, mission_fields(mission))
    for index, waypoint in enumerate(mission.waypoints):
        point = _add_point(route, "rtept", waypoint.lon_deg, waypoint.lat_deg)
        if math.isfinite(base_m):
            add(point, "ele", f"{base_m + waypoint.height_m:.3f}")
        add(point, "name", str(index + 1))
        _add_fields(point, waypoint_fields(waypoint))
    return Written(content=document(root), notes=tuple(notes))


def _base_m(mission: Mission) -> float:
    """Return what to add to the mission's heights for heights above sea level; NaN if unknown."""
    if mission.height_reference is HeightReference.AMSL:
        return 0.0
    if mission.height_reference is HeightReference.TAKEOFF and mission.takeoff is not None:
        ellipsoid = "ellips" in mission.vertical_datum.lower()
        return math.nan if ellipsoid else mission.takeoff.ground_m
    return math.nan


def _add_point(parent: Element, tag: str, lon_deg: float, lat_deg: float) -> Element:
    return add(parent, tag, lat=degrees(lat_deg), lon=degrees(wrapped(lon_deg)))


def _add_fields(parent: Element, fields: dict[str, Value]) -> None:
    extensions = add(parent, "extensions")
    for key, value in fields.items():
        add(extensions, "tmp:field", as_text(value), name=key)


def from_gpx(root: Element, name: str) -> Mission:
    """Return the mission of a GPX file: its routes, or else its tracks, or else its points.

    Raises
    ------
    InputError
        If it has none of them, or a place is not on Earth.
    """
    notes: list[str] = []
    for holder, point in (("rte", "rtept"), ("trk", "trkpt"), ("gpx", "wpt")):
        found = [list(descendants(part, point)) for part in descendants(root, holder)]
        points = [element for part in found for element in part]
        if not points:
            continue
        if len(found) > 1:
            notes.append(f"{len(found)} routes or tracks in one file, joined in their order")
        about = near(_lon_lat(points[0])[0], 0.0)
        route = next(descendants(root, holder))
        fields = _fields(route)
        if MARK in fields:
            own = tuple(
                waypoint_from(near(lon, about), lat, _fields(element))
                for element in points
                for lon, lat in (_lon_lat(element),)
            )
            return mission_from(fields, own)
        waypoints = waypoints_at([(*_lon_lat(element), _height(element)) for element in points])
        if any(math.isnan(w.height_m) for w in waypoints):
            notes.append("some points have no elevation; their height is not known")
        return Mission(
            name=text(route, "name") or name,
            waypoints=waypoints,
            height_reference=HeightReference.AMSL,
            notes=tuple(notes),
        )
    raise InputError("no route, track or waypoint in it; export it again")


def _lon_lat(element: Element) -> tuple[float, float]:
    lat = finite(element.get("lat"), "a point's lat")
    return place(finite(element.get("lon"), "a point's lon"), lat, "a point")


def _height(element: Element) -> float:
    elevation = text(element, "ele")
    return math.nan if elevation is None else finite(elevation, "a point's ele")


def _fields(element: Element) -> dict[str, str]:
    extensions = child(element, "extensions")
    if extensions is None:
        return {}
    return {
        field.get("name", ""): (field.text or "").strip()
        for field in children(extensions, "field")
        if str(field.tag).startswith("{" + FIELDS)
    }
