"""A mission's words and numbers by name, for formats with room for more than they define.

KML, GPX and GeoJSON let a file carry named values.  Ours carry everything, so that what we write
reads back whole; other programs show the values or leave them alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from enum import StrEnum
from typing import TypeVar

from shapely import MultiPolygon, Polygon

from flightplan.formats.geometry import finite, wrapped
from flightplan.formats.mission import (
    AtEnd,
    HeightReference,
    Mission,
    Photo,
    Place,
    Role,
    Waypoint,
)
from tmp.errors import InputError

_Choice = TypeVar("_Choice", bound=StrEnum)

Value = str | float | int | bool

MARK = "height_reference"
"""A file with this field is one of ours."""


def _numbers_of(kind: type[Waypoint] | type[Mission] | type[Photo]) -> tuple[str, ...]:
    """Return the names of a class's numbers beyond its place."""
    places = ("lon_deg", "lat_deg")
    return tuple(one.name for one in fields(kind) if one.type == "float" and one.name not in places)


_WAYPOINT_NUMBERS, _PHOTO_NUMBERS = _numbers_of(Waypoint), _numbers_of(Photo)
_MISSION_NUMBERS = _numbers_of(Mission)
_MISSION_WORDS = ("drone", "camera", "vertical_datum")


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
    for key, place in (("takeoff", mission.takeoff), ("landing", mission.landing)):
        if place is not None:
            values[f"{key}_lon_deg"] = round(wrapped(place.lon_deg), 9)
            values[f"{key}_lat_deg"] = round(place.lat_deg, 9)
            if math.isfinite(place.ground_m):
                values[f"{key}_ground_m"] = round(place.ground_m, 3)
    if mission.notes:
        values["notes"] = "\n".join(mission.notes)
    return values


def waypoint_from(lon_deg: float, lat_deg: float, values: Mapping[str, object]) -> Waypoint:
    """Return a waypoint from a place and its fields.

    Raises
    ------
    InputError
        If a field has a value it cannot have.
    """
    numbers = _read_numbers(values, _WAYPOINT_NUMBERS)
    return Waypoint(
        lon_deg=lon_deg,
        lat_deg=lat_deg,
        height_m=numbers.pop("height_m", math.nan),
        role=_choice(Role, values.get("role", Role.TRANSIT.value), "role"),
        stop=str(values.get("stop", False)).lower() in ("true", "1"),
        **numbers,
    )


def photo_from(lon_deg: float, lat_deg: float, values: Mapping[str, object]) -> Photo:
    """Return a photograph from a place and its fields."""
    numbers = _read_numbers(values, _PHOTO_NUMBERS)
    return Photo(
        lon_deg=lon_deg,
        lat_deg=lat_deg,
        height_m=numbers.get("height_m", math.nan),
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
