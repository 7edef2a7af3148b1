"""GeoJSON: the one format that carries all a mission says, for QGIS and programs.

Coordinates have two dimensions; heights are in the property `height_m`, because RFC 7946 wants
third coordinates above the ellipsoid and missions count from the take-off point.

References
----------
RFC 7946: https://www.rfc-editor.org/rfc/rfc7946
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterator
from typing import Any

from shapely import Polygon

from flightplan.formats.fields import (
    MARK,
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
    finite,
    near,
    place,
    polygons_by_kind,
    ring_of,
    waypoints_at,
    with_holes,
    wrapped,
)
from flightplan.formats.mission import EVERYTHING, HeightReference, Mission, Waypoint, Written
from tmp.errors import InputError

CARRIES = EVERYTHING

Json = dict[str, Any]


def to_geojson(mission: Mission) -> Written:
    """Return a mission as a GeoJSON feature collection."""
    features = [
        _feature(
            {"type": "LineString", "coordinates": [_lon_lat(w) for w in _path(mission)]},
            {"kind": "path", "name": mission.name},
        )
    ]
    features += [
        _feature(
            {"type": "Point", "coordinates": _lon_lat(waypoint)},
            {"kind": "waypoint", "number": number, **waypoint_fields(waypoint)},
        )
        for number, waypoint in enumerate(mission.waypoints, start=1)
    ]
    features += [
        _feature(
            {"type": "Point", "coordinates": [round(wrapped(p.lon_deg), 9), round(p.lat_deg, 9)]},
            {"kind": "photo", "number": number, **photo_fields(p)},
        )
        for number, p in enumerate(mission.photos, start=1)
    ]
    for kind, polygons in polygons_by_kind(mission).items():
        features += [_feature(_polygon(polygon), {"kind": kind}) for polygon in polygons]
    collection = {
        "type": "FeatureCollection",
        "mission": mission_fields(mission),
        "features": features,
    }
    text = json.dumps(collection, indent=1, allow_nan=False, ensure_ascii=False)
    return Written(content=(text + "\n").encode(errors="replace"))


def _path(mission: Mission) -> list[Waypoint]:
    """Return the waypoints, twice if there is one, as a line needs two points."""
    waypoints = list(mission.waypoints)
    return waypoints if len(waypoints) > 1 else waypoints * 2


def _lon_lat(waypoint: Waypoint) -> list[float]:
    return [round(wrapped(waypoint.lon_deg), 9), round(waypoint.lat_deg, 9)]


def _feature(geometry: Json, properties: Json) -> Json:
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def _polygon(polygon: Polygon) -> Json:
    rings = []
    for ring in (polygon.exterior, *polygon.interiors):
        points = [[round(lon, 9), round(lat, 9)] for lon, lat in corners(ring)]
        rings.append([*points, points[0]])
    return {"type": "Polygon", "coordinates": rings}


def from_geojson(collection: Json, name: str) -> Mission:
    """Return the mission of a GeoJSON: ours whole, of others the lines or else the points.

    Raises
    ------
    InputError
        If it holds neither lines nor points, such as an area alone, or malformed coordinates.
    """
    geometries = list(_geometries(collection))
    fields = collection.get("mission")
    if isinstance(fields, dict) and MARK in fields:
        return _ours(geometries, fields)
    lines: list[list[Any]] = []
    points: list[Any] = []
    for geometry, _ in geometries:
        kind, coordinates = geometry.get("type"), geometry.get("coordinates")
        if kind in ("LineString", "MultiLineString"):
            parts = _list(coordinates)
            lines += [parts] if kind == "LineString" else [_list(part) for part in parts]
        elif kind in ("Point", "MultiPoint"):
            points += [coordinates] if kind == "Point" else _list(coordinates)
    joined = [_position(p) for p in ([p for line in lines for p in line] or points)]
    if not joined:
        raise InputError("no line and no point in it; if it is an area, plan a mission over it")
    notes = [f"{len(lines)} lines in one file, joined in their order"] if len(lines) > 1 else []
    if any(math.isfinite(height) for *_, height in joined):
        notes.append("heights are taken to be above the WGS 84 ellipsoid, as RFC 7946 says")
    else:
        notes.append("no heights in it")
    return Mission(
        name=name,
        waypoints=waypoints_at(joined),
        height_reference=HeightReference.ELLIPSOID,
        notes=tuple(notes),
    )


def _geometries(node: object) -> Iterator[tuple[Json, Json]]:
    """Yield the simple geometries of any GeoJSON object, with the properties they come with."""
    pending: deque[tuple[object, Json]] = deque([(node, {})])
    while pending:
        value, properties = pending.popleft()
        if not isinstance(value, dict):
            raise InputError("a feature or geometry is not an object; export it again")
        kind = value.get("type")
        if kind == "FeatureCollection":
            pending += [(feature, {}) for feature in _list(value.get("features"))]
        elif kind == "Feature":
            own = value.get("properties")
            if value.get("geometry") is not None:
                pending.append((value["geometry"], own if isinstance(own, dict) else {}))
        elif kind == "GeometryCollection":
            pending += [(part, properties) for part in _list(value.get("geometries"))]
        else:
            yield value, properties


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise InputError("coordinates or features are not a list; export it again")
    return value


def _position(value: object) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) < 2:
        raise InputError(f"position {str(value)[:40]!r} is not [longitude, latitude]")
    lon, lat = place(finite(value[0], "a longitude"), finite(value[1], "a latitude"), "a position")
    return lon, lat, finite(value[2], "a height") if len(value) > 2 else math.nan


def _ours(geometries: list[tuple[Json, Json]], fields: Json) -> Mission:
    kinds: dict[str, list[tuple[Json, Json]]] = {}
    for geometry, properties in geometries:
        kinds.setdefault(str(properties.get("kind")), []).append((geometry, properties))
    placed = {
        kind: [(*_position(g.get("coordinates"))[:2], p) for g, p in kinds.get(kind, [])]
        for kind in ("waypoint", "photo")
    }
    if not placed["waypoint"]:
        raise InputError("no waypoints in it; write the mission again")
    about = near(placed["waypoint"][0][0], 0.0)
    mission = mission_from(
        fields,
        tuple(waypoint_from(near(lon, about), lat, p) for lon, lat, p in placed["waypoint"]),
    )
    photos = tuple(photo_from(near(lon, about), lat, p) for lon, lat, p in placed["photo"])
    polygons = {
        kind: [_read_polygon(g, about) for g, _ in kinds.get(kind, [])]
        for kind in ("area", "fence", "exclusion")
    }
    return with_polygons(mission, photos, polygons)


def _read_polygon(geometry: Json, about_deg: float) -> Polygon:
    return with_holes(
        [
            ring_of([_position(p)[:2] for p in _list(ring)], about_deg, "a polygon")
            for ring in _list(geometry.get("coordinates"))
        ]
    )
