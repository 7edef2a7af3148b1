"""GeoJSON: the one format that carries all a mission says, for QGIS and programs.

Coordinates have two dimensions; heights are in the property `height_m`, because RFC 7946 wants
third coordinates above the ellipsoid and missions count from the take-off point.

KML and GPX carry the same words and numbers by name, so that what we write reads back whole; other
programs show them or leave them alone.

References
----------
RFC 7946: https://www.rfc-editor.org/rfc/rfc7946
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from enum import StrEnum
from typing import Any, TypeVar

from shapely import MultiPolygon, Polygon

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
from flightplan.formats.mission import (
    EVERYTHING,
    AtEnd,
    HeightReference,
    Mission,
    Photo,
    Place,
    Role,
    Waypoint,
    Written,
)
from tmp.errors import InputError

_Choice = TypeVar("_Choice", bound=StrEnum)

Value = str | float | int | bool

MARK = "height_reference"
"""A file with this field is one of ours."""


_MISSION_WORDS = ("drone", "camera", "vertical_datum")

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


def _numbers_of(kind: type[Waypoint] | type[Mission] | type[Photo]) -> tuple[str, ...]:
    """Return the names of a class's numbers beyond its place."""
    places = ("lon_deg", "lat_deg")
    return tuple(one.name for one in fields(kind) if one.type == "float" and one.name not in places)


_WAYPOINT_NUMBERS, _PHOTO_NUMBERS = _numbers_of(Waypoint), _numbers_of(Photo)
_MISSION_NUMBERS = _numbers_of(Mission)


def waypoint_fields(waypoint: Waypoint) -> dict[str, Value]:
    """Return what a waypoint says beyond its place; unknown numbers are left out."""
    numbers = _numbers(waypoint, _WAYPOINT_NUMBERS)
    return {**numbers, "role": waypoint.role.value, "stop": waypoint.stop}


def photo_fields(photo: Photo) -> dict[str, Value]:
    """Return what a photograph says beyond its place."""
    return {**_numbers(photo, _PHOTO_NUMBERS), "line": photo.line}


def mission_fields(mission: Mission) -> dict[str, Value]:
    """Return what a mission says of the whole flight."""
    values: dict[str, Value] = {
        "name": mission.name,
        MARK: mission.height_reference.value,
        "at_end": mission.at_end.value,
    }
    values |= _numbers(mission, _MISSION_NUMBERS)
    values |= {key: getattr(mission, key) for key in _MISSION_WORDS if getattr(mission, key)}
    for key, at in (("takeoff", mission.takeoff), ("landing", mission.landing)):
        if at is not None:
            values[f"{key}_lon_deg"] = round(wrapped(at.lon_deg), 9)
            values[f"{key}_lat_deg"] = round(at.lat_deg, 9)
            if math.isfinite(at.ground_m):
                values[f"{key}_ground_m"] = round(at.ground_m, 3)
    if mission.notes:
        values["notes"] = "\n".join(mission.notes)
    return values


def waypoint_from(lon_deg: float, lat_deg: float, values: Mapping[str, object]) -> Waypoint:
    """Return a waypoint from a place and its fields.

    Raises
    ------
    InputError
        If a field has a value it cannot have, or the height is missing.
    """
    numbers = _read_numbers(values, _WAYPOINT_NUMBERS)
    if "height_m" not in numbers:
        raise InputError("a waypoint has no height_m; write the mission again")
    return Waypoint(
        lon_deg=lon_deg,
        lat_deg=lat_deg,
        role=_choice(Role, values.get("role", Role.TRANSIT.value), "role"),
        stop=str(values.get("stop", False)).lower() in ("true", "1"),
        **numbers,
    )


def photo_from(lon_deg: float, lat_deg: float, values: Mapping[str, object]) -> Photo:
    """Return a photograph from a place and its fields; raises as `waypoint_from` does."""
    numbers = _read_numbers(values, _PHOTO_NUMBERS)
    if "height_m" not in numbers:
        raise InputError("a photograph has no height_m; write the mission again")
    return Photo(
        lon_deg=lon_deg,
        lat_deg=lat_deg,
        height_m=numbers["height_m"],
        heading_deg=numbers.get("heading_deg", math.nan),
        gimbal_pitch_deg=numbers.get("gimbal_pitch_deg", -90.0),
        line=int(finite(values.get("line", 0), "line")),
    )


def mission_from(values: Mapping[str, object], waypoints: tuple[Waypoint, ...]) -> Mission:
    """Return a mission, without its geometry, from its fields and waypoints."""
    reference = values.get(MARK, HeightReference.TAKEOFF.value)
    return Mission(
        name=str(values.get("name", "")),
        waypoints=waypoints,
        takeoff=_place(values, "takeoff"),
        landing=_place(values, "landing"),
        height_reference=_choice(HeightReference, reference, MARK),
        at_end=_choice(AtEnd, values.get("at_end", AtEnd.RETURN.value), "at_end"),
        drone=str(values.get("drone", "")),
        camera=str(values.get("camera", "")),
        vertical_datum=str(values.get("vertical_datum", "")),
        notes=tuple(str(values["notes"]).split("\n")) if values.get("notes") else (),
        **_read_numbers(values, _MISSION_NUMBERS),  # type: ignore[arg-type]
    )


def as_text(value: Value) -> str:
    """Return a field's value as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _numbers(holder: object, keys: tuple[str, ...]) -> dict[str, Value]:
    values = {key: getattr(holder, key) for key in keys}
    return {key: round(value, 6) for key, value in values.items() if math.isfinite(value)}


def _read_numbers(values: Mapping[str, object], keys: tuple[str, ...]) -> dict[str, float]:
    return {key: finite(values[key], key) for key in keys if values.get(key) is not None}


def _place(values: Mapping[str, object], key: str) -> Place | None:
    lon, lat, ground = (values.get(f"{key}_{part}") for part in ("lon_deg", "lat_deg", "ground_m"))
    if lon is None or lat is None:
        return None
    return Place(
        lon_deg=finite(lon, f"{key}_lon_deg"),
        lat_deg=finite(lat, f"{key}_lat_deg"),
        ground_m=math.nan if ground is None else finite(ground, f"{key}_ground_m"),
    )


def _choice(kind: type[_Choice], value: object, what: str) -> _Choice:
    try:
        return kind(str(value))
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise InputError(f"{what} is {str(value)[:40]!r}; it can be {known}") from None


def with_polygons(
    mission: Mission, photos: tuple[Photo, ...], polygons: Mapping[str, list[Polygon]]
) -> Mission:
    """Return a mission with its photographs, and polygons as `polygons_by_kind` has them."""
    area, fence = polygons.get("area"), polygons.get("fence")
    return replace(
        mission,
        photos=photos,
        area=MultiPolygon(area) if area else None,
        fence=fence[0] if fence else None,
        exclusions=tuple(polygons.get("exclusion", ())),
    )
