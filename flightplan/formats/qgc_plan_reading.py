"""A mission from a QGroundControl `.plan`, ours or anyone's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from shapely import MultiPolygon, Point, Polygon

from flightplan.formats.coordinates import finite, near, place, ring_of
from flightplan.formats.item_reading import mission_from_items
from flightplan.formats.items import Autopilot, Item
from flightplan.formats.qgc_plan import FIRMWARE
from flightplan.missions import Mission, Place
from flightplan.planframe import PlanFrame
from tmp.errors import InputError

Json = dict[str, Any]

_LANDING_PATTERNS = ("fwLandingPattern", "vtolLandingPattern")
_CIRCLE_SEGMENTS = 16


def from_plan(plan: Json, name: str) -> Mission:
    """Return the mission of a QGroundControl plan.

    Raises
    ------
    InputError
        If the plan is of another version, an item is malformed, or a survey lacks the items that
        would be flown.
    """
    if plan.get("version") != 1:
        raise InputError(f"plan version {plan.get('version')!r} is not known; save it as version 1")
    mission = _part(plan, "mission", dict, "the plan")
    notes: list[str] = []
    surveys: list[Json] = []
    items = list(_items(_part(mission, "items", list, "the mission"), surveys, notes))
    px4 = mission.get("firmwareType") == FIRMWARE[Autopilot.PX4]
    autopilot = Autopilot.PX4 if px4 else Autopilot.ARDUPILOT
    home = _home(mission.get("plannedHomePosition"))
    read = mission_from_items(items, name, home, autopilot)
    about = read.waypoints[0].lon_deg
    if isinstance(plan.get("rallyPoints"), dict) and plan["rallyPoints"].get("points"):
        notes.append("rally points are left out")
    fence = plan.get("geoFence")
    inside, outside = _fence(fence if isinstance(fence, dict) else {}, about, notes)
    area = [
        ring_of(
            [(lon, lat) for lat, lon in _pairs(s.get("polygon"), "a survey's polygon")],
            about,
            "a survey's polygon",
        )
        for s in surveys
        if s.get("complexItemType") == "survey"
    ]
    return replace(
        read,
        area=MultiPolygon(area) if area else None,
        fence=inside,
        exclusions=tuple(outside),
        notes=(*read.notes, *dict.fromkeys(notes)),
    )


def _part(holder: Json, key: str, kind: type, where: str) -> Any:
    value = holder.get(key)
    if not isinstance(value, kind):
        raise InputError(f"{where} has no {key!r}; save it again with QGroundControl")
    return value


def _home(value: object) -> Place | None:
    if not isinstance(value, list) or len(value) < 2:
        return None
    lat, lon = (finite(part, "plannedHomePosition") for part in value[:2])
    place(lon, lat, "plannedHomePosition")
    height = value[2] if len(value) > 2 and value[2] is not None else math.nan
    ground = finite(height, "plannedHomePosition") if height == height else math.nan
    return Place(lon_deg=lon, lat_deg=lat, ground_m=ground)


def _items(entries: list[Any], surveys: list[Json], notes: list[str]) -> Iterator[Item]:
    """Yield all items, those of surveys in their place."""
    for entry in entries:
        kind = entry.get("type") if isinstance(entry, dict) else None
        if kind == "SimpleItem":
            yield _item(entry)
            continue
        if kind != "ComplexItem":
            raise InputError(f"item type {kind!r} is not known; save it again with QGroundControl")
        complex_kind = entry.get("complexItemType")
        if complex_kind in _LANDING_PATTERNS:
            notes.append(f"the landing pattern ({complex_kind}) is left out")
            continue
        transects = entry.get("TransectStyleComplexItem")
        inner = transects.get("Items") if isinstance(transects, dict) else None
        if not isinstance(inner, list) or not inner:
            raise InputError(
                f"a {complex_kind!r} item does not hold the waypoints it would fly; "
                "open it in QGroundControl and save it again"
            )
        surveys.append(entry)
        for simple in inner:
            yield _item(simple)


def _item(entry: object) -> Item:
    if not isinstance(entry, dict):
        raise InputError("an item is not an object; save the plan again with QGroundControl")
    number = entry.get("doJumpId", "?")
    params = entry.get("params")
    if not isinstance(params, list) or len(params) != 7:
        raise InputError(f"item {number} has not seven parameters; save it again")
    p1, p2, p3, p4, p5, p6, p7 = (
        math.nan if value is None else finite(value, f"a parameter of item {number}")
        for value in params
    )
    return Item(
        command=int(finite(entry.get("command"), f"the command of item {number}")),
        frame=int(finite(entry.get("frame"), f"the frame of item {number}")),
        params=(p1, p2, p3, p4, p5, p6, p7),
        autocontinue=bool(entry.get("autoContinue", True)),
    )


def _pairs(value: object, what: str) -> list[tuple[float, float]]:
    """Return (latitude, longitude) pairs."""
    if not isinstance(value, list) or not all(isinstance(p, list) and len(p) >= 2 for p in value):
        raise InputError(f"{what} is not a list of [latitude, longitude]; draw it again")
    return [(finite(p[0], what), finite(p[1], what)) for p in value]


def _fence(fence: Json, about_deg: float, notes: list[str]) -> tuple[Polygon | None, list[Polygon]]:
    """Return the polygon to stay inside of, and those to stay out of."""
    inside: list[Polygon] = []
    outside: list[Polygon] = []
    for entry in _entries(fence, "polygons"):
        if isinstance(entry, dict):
            points = [(lon, lat) for lat, lon in _pairs(entry.get("polygon"), "a fence polygon")]
            polygon = ring_of(points, about_deg, "a fence polygon")
            (inside if entry.get("inclusion", True) else outside).append(polygon)
    for entry in _entries(fence, "circles"):
        if isinstance(entry, dict):
            inclusion = bool(entry.get("inclusion", True))
            circle = _circle(entry.get("circle"), about_deg, inclusion=inclusion)
            (inside if inclusion else outside).append(circle)
    if len(inside) > 1:
        notes.append(f"{len(inside)} inclusion fences; only the first is kept")
    return (inside[0] if inside else None), outside


def _entries(fence: Json, key: str) -> list[Any]:
    """Return a list of the fence; an absent one is empty."""
    value = fence.get(key)
    if value is not None and not isinstance(value, list):
        raise InputError(f"the fence's {key!r} are not a list; draw the fence again")
    return value or []


def _circle(value: object, about_deg: float, *, inclusion: bool) -> Polygon:
    """Return a circle as a polygon on its safe side."""
    circle = value if isinstance(value, dict) else {}
    ((lat, lon),) = _pairs([circle.get("center")], "the centre of a fence circle")
    radius = finite(circle.get("radius"), "the radius of a fence circle")
    place(lon, lat, "the centre of a fence circle")
    if not 0 < radius < 1e6:
        raise InputError(f"a fence circle has a radius of {radius!r} m; draw it again")
    if not inclusion:
        radius /= math.cos(math.pi / (4 * _CIRCLE_SEGMENTS))
    frame = PlanFrame(lon_deg=near(lon, about_deg), lat_deg=lat)
    disc = Point(0.0, 0.0).buffer(radius, quad_segs=_CIRCLE_SEGMENTS)
    polygon = frame.to_geodetic(disc)
    assert isinstance(polygon, Polygon)
    return polygon
