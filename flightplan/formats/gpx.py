"""GPX 1.1: routes and tracks for handheld receivers and maps.

References
----------
https://www.topografix.com/GPX/1/1/
"""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

from flightplan.formats.fields import (
    MARK,
    Value,
    as_text,
    mission_fields,
    mission_from,
    waypoint_fields,
    waypoint_from,
)
from flightplan.formats.geometry import degrees, finite, near, place, waypoints_at, wrapped
from flightplan.formats.markup import add, child, children, descendants, document, text
from flightplan.formats.mission import Content, HeightReference, Mission, Written
from tmp.errors import InputError

GPX = "http://www.topografix.com/GPX/1/1"
FIELDS = "urn:terrestrial-mapping-platform:mission"

CARRIES = frozenset(Content) - {Content.FENCE, Content.EXCLUSIONS}


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
