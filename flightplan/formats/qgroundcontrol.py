"""QGroundControl's files: `.plan` and QGC WPL 110, written and read.

In a `.plan` we fly what stands inside a survey that QGroundControl can still edit: a survey item
holds the exact items besides the settings they could be drawn anew from;
QGroundControl flies the items as they are until someone edits the survey.

QGC WPL 110 is the plain list of items that Mission Planner and pymavlink read as well.  Row 0 is
home; heights of the other rows are above home (frame 3) unless the mission's own are not.

References
----------
https://mavlink.io/en/file_formats/
https://docs.qgroundcontrol.com/master/en/qgc-dev-guide/file_formats/plan.html
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from shapely import MultiPolygon, Point, Polygon

from flightplan.formats.geometry import (
    corners,
    degrees,
    fence_of,
    finite,
    leg,
    near,
    number,
    photo_runs,
    place,
    polygons_of,
    ring_of,
    wrapped,
)
from flightplan.formats.mavlink_items import (
    FRAMES,
    Autopilot,
    Command,
    Frame,
    Item,
    home_item,
    mission_from_items,
    mission_items,
    size_notes,
)
from flightplan.formats.mission import (
    Content,
    HeightReference,
    Mission,
    Place,
    Written,
    photo_ways,
)
from tmp.errors import InputError
from tmp.geo.frames import PlanFrame

PLAN_CARRIES = frozenset(Content) - {Content.RETURN_HEIGHT, Content.FENCE_HEIGHT}
WPL_CARRIES = PLAN_CARRIES - {Content.FENCE, Content.EXCLUSIONS}
WPL_HEADER = "QGC WPL 110"

FIRMWARE = {Autopilot.ARDUPILOT: 3, Autopilot.PX4: 12}
"""MAV_AUTOPILOT numbers."""
_QUADROTOR = 2
_ALTITUDE_MODES = {
    HeightReference.TAKEOFF: 1,
    HeightReference.AMSL: 2,
    HeightReference.TERRAIN: 4,
}
_PLACED = (Command.WAYPOINT, Command.TAKEOFF, Command.LAND)

Json = dict[str, Any]

_LANDING_PATTERNS = ("fwLandingPattern", "vtolLandingPattern")
_CIRCLE_SEGMENTS = 16


def to_plan(mission: Mission, autopilot: Autopilot) -> Written:
    """Return a mission as a QGroundControl plan.

    Raises
    ------
    InputError
        If the mission has no take-off place, heights above the ellipsoid, or a fence with more
        corners than an autopilot holds.
    """
    home = home_item(mission).params
    speed = mission.speed_m_s if math.isfinite(mission.speed_m_s) else 5.0
    fence = fence_of(mission)
    items = mission_items(mission, autopilot)
    size = size_notes(len(items) + 1) if autopilot is Autopilot.ARDUPILOT else ()
    plan = {
        "fileType": "Plan",
        "version": 1,
        "groundStation": "QGroundControl",
        "mission": {
            "version": 2,
            "firmwareType": FIRMWARE[autopilot],
            "vehicleType": _QUADROTOR,
            "cruiseSpeed": speed,
            "hoverSpeed": speed,
            "globalPlanAltitudeMode": _ALTITUDE_MODES.get(mission.height_reference, 0),
            "plannedHomePosition": [_deg(home[4]), _deg(home[5]), round(home[6], 3)],
            "items": _items(mission, items),
        },
        "geoFence": {
            "version": 2,
            "circles": [],
            "polygons": [
                {"version": 1, "inclusion": inclusion, "polygon": _ring(polygon)}
                for inclusion, polygons in ((True, fence.inside), (False, fence.outside))
                for polygon in polygons
            ],
        },
        "rallyPoints": {"version": 2, "points": []},
    }
    text = json.dumps(plan, indent=4, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return Written(content=(text + "\n").encode(), notes=(*size, *_notes(mission)))


def _notes(mission: Mission) -> Iterable[str]:
    polygons = polygons_of(mission.area)
    if polygons:
        yield (
            "QGroundControl flies the waypoints in the file as they are until the survey is "
            "edited there; it would then lay out lines of its own"
        )
    if len(polygons) > 1 or any(polygon.interiors for polygon in polygons):
        yield (
            "the survey shown in QGroundControl is the hull of the area, without its holes, which "
            "QGroundControl does not know"
        )


def _items(mission: Mission, items: Sequence[Item]) -> list[Json]:
    """Return simple items around one survey item; simple items alone if there is no area."""
    numbered = [_simple(item, number) for number, item in enumerate(items, start=1)]
    outline = _outline(mission)
    if outline is None:
        return numbered
    flown = [index for index, item in enumerate(items) if item.command == Command.WAYPOINT]
    ends = (Command.RETURN, Command.LAND)
    last = len(items) - 1 if items[-1].command in ends else len(items)
    survey = _survey(mission, outline, numbered[flown[0] : last])
    return [*numbered[: flown[0]], survey, *numbered[last:]]


def _simple(item: Item, number: int) -> Json:
    placed = item.command in _PLACED
    p1, p2, p3, p4, p5, p6, p7 = item.params
    where = [_deg(p5), _deg(p6), round(p7, 3)] if placed else [p5, p6, p7]
    simple: Json = {
        "type": "SimpleItem",
        "autoContinue": True,
        "command": int(item.command),
        "doJumpId": number,
        "frame": int(item.frame if placed else Frame.MISSION),
        "params": [None if math.isnan(value) else value for value in (p1, p2, p3, p4, *where)],
    }
    if placed:
        modes = {int(FRAMES[reference]): mode for reference, mode in _ALTITUDE_MODES.items()}
        simple["Altitude"] = round(p7, 3)
        simple["AltitudeMode"] = modes[int(item.frame)]
        simple["AMSLAltAboveTerrain"] = None
    return simple


def _survey(mission: Mission, outline: Polygon, items: list[Json]) -> Json:
    lines = photo_runs(photo_ways(mission.waypoints))
    first = lines[0] if lines else None
    heights = [mission.waypoints[run.first].height_m for run in lines]
    angle, side_m = _lines(mission)
    spacing_m = first.spacing_m if first else 0.0
    return {
        "type": "ComplexItem",
        "complexItemType": "survey",
        "version": 5,
        "angle": round(angle, 3),
        "entryLocation": 0,
        "flyAlternateTransects": False,
        "splitConcavePolygons": False,
        "polygon": _ring(outline),
        "TransectStyleComplexItem": {
            "version": 2,
            "CameraShots": len(mission.photos),
            "CameraTriggerInTurnAround": False,
            "HoverAndCapture": False,
            "Refly90Degrees": False,
            "TurnAroundDistance": 0,
            "CameraCalc": {
                "version": 2,
                "CameraName": "Manual (no camera specs)",
                "DistanceMode": _ALTITUDE_MODES.get(mission.height_reference, 1),
                "DistanceToSurface": round(float(np.median(heights)), 2) if heights else 0,
                "AdjustedFootprintFrontal": round(spacing_m, 3),
                "AdjustedFootprintSide": round(side_m or spacing_m, 3),
            },
            "VisualTransectPoints": [
                [_deg(w.lat_deg), _deg(wrapped(w.lon_deg))] for w in mission.waypoints
            ],
            "Items": items,
        },
    }


def _lines(mission: Mission) -> tuple[float, float]:
    """Return the lines' heading (degrees) and distance from one another (metres, 0 unknown)."""
    points = mission.waypoints
    runs = photo_runs(photo_ways(points))
    if not runs:
        return 0.0, 0.0
    longest = max(runs, key=lambda run: leg(points[run.first], points[run.last])[1])
    heading = leg(points[longest.first], points[longest.last])[0]
    frame = PlanFrame(lon_deg=points[0].lon_deg, lat_deg=points[0].lat_deg)
    starts = frame.plan_from_geodetic(
        [(points[r.first].lon_deg, points[r.first].lat_deg) for r in runs]
    )
    across = starts @ (math.cos(math.radians(heading)), -math.sin(math.radians(heading)))
    gaps = [b - a for a, b in pairwise(sorted(across.tolist())) if b - a > 1.0]
    return heading, float(np.median(gaps)) if gaps else 0.0


def _outline(mission: Mission) -> Polygon | None:
    """Return the one polygon without holes that QGroundControl's survey can hold."""
    polygons = polygons_of(mission.area)
    if not polygons:
        return None
    if len(polygons) == 1:
        return Polygon(polygons[0].exterior)
    hull = MultiPolygon(polygons).convex_hull
    return hull if isinstance(hull, Polygon) else None


def _ring(polygon: Polygon) -> list[list[float]]:
    return [[_deg(lat), _deg(lon)] for lon, lat in corners(polygon.exterior)]


def _deg(value_deg: float) -> float:
    return round(float(value_deg), 9)


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
    items = list(_read_items(_part(mission, "items", list, "the mission"), surveys, notes))
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
        _read_ring(survey.get("polygon"), about, "a survey's polygon")
        for survey in surveys
        if survey.get("complexItemType") == "survey"
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


def _read_items(entries: list[Any], surveys: list[Json], notes: list[str]) -> Iterator[Item]:
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
    )


def _pairs(value: object, what: str) -> list[tuple[float, float]]:
    """Return (latitude, longitude) pairs."""
    if not isinstance(value, list) or not all(isinstance(p, list) and len(p) >= 2 for p in value):
        raise InputError(f"{what} is not a list of [latitude, longitude]; draw it again")
    return [(finite(p[0], what), finite(p[1], what)) for p in value]


def _read_ring(value: object, about_deg: float, what: str) -> Polygon:
    return ring_of([(lon, lat) for lat, lon in _pairs(value, what)], about_deg, what)


def _fence(fence: Json, about_deg: float, notes: list[str]) -> tuple[Polygon | None, list[Polygon]]:
    """Return the polygon to stay inside of, and those to stay out of."""
    inside: list[Polygon] = []
    outside: list[Polygon] = []
    for entry in _entries(fence, "polygons"):
        if isinstance(entry, dict):
            polygon = _read_ring(entry.get("polygon"), about_deg, "a fence polygon")
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
    polygon = frame.to_geodetic(Point(0.0, 0.0).buffer(radius, quad_segs=_CIRCLE_SEGMENTS))
    assert isinstance(polygon, Polygon)
    return polygon


def to_wpl(mission: Mission) -> Written:
    """Return a mission for ArduPilot as QGC WPL 110.

    Raises
    ------
    InputError
        If the mission has no take-off place or heights above the ellipsoid.
    """
    rows = [home_item(mission), *mission_items(mission, Autopilot.ARDUPILOT)]
    return Written(content=wpl_text(rows).encode(), notes=size_notes(len(rows)))


def wpl_text(items: Iterable[Item]) -> str:
    """Return items as QGC WPL 110, the first of them as home."""
    return "\n".join([WPL_HEADER, *(_row(index, item) for index, item in enumerate(items)), ""])


def _row(index: int, item: Item) -> str:
    p1, p2, p3, p4, lat, lon, height = item.params
    fields = [
        str(index),
        "1" if index == 0 else "0",
        str(int(item.frame)),
        str(int(item.command)),
        *(number(value, 6) for value in (p1, p2, p3, p4)),
        degrees(lat),
        degrees(lon),
        f"{height:.3f}",
        "1",
    ]
    return "\t".join(fields)


def from_wpl(content: bytes, name: str) -> Mission:
    """Return the mission of a QGC WPL 110 file.

    Raises
    ------
    InputError
        If a row has not twelve numbers, or the rows make no mission.
    """
    lines = content.decode("utf-8-sig", errors="replace").splitlines()
    if not lines or not lines[0].strip().startswith(WPL_HEADER):
        version = lines[0].strip()[:40] if lines else ""
        raise InputError(f"first line is {version!r}, not {WPL_HEADER!r}; export it as version 110")
    items = [
        _wpl_item(line.split(), row)
        for row, line in enumerate(lines[1:], start=2)
        if line.strip() and not line.startswith("#")
    ]
    home = None
    if items and items[0].frame == Frame.AMSL and items[0].command in (0, Command.WAYPOINT):
        p = items.pop(0).params
        lon, lat = place(p[5], p[4], "the home row")
        home = Place(lon_deg=lon, lat_deg=lat, ground_m=p[6])
    return mission_from_items(items, name, home, Autopilot.ARDUPILOT)


def _wpl_item(fields: list[str], row: int) -> Item:
    if len(fields) != 12:
        raise InputError(
            f"line {row} has {len(fields)} fields instead of 12; export the file again"
        )
    values = [finite(field, f"line {row}: {field!r}") for field in fields]
    p1, p2, p3, p4, p5, p6, p7 = values[4:11]
    params = (p1, p2, p3, p4, p5, p6, p7)
    return Item(command=int(values[3]), frame=int(values[2]), params=params)
