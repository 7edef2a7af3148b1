"""QGroundControl's `.plan`: what we fly, inside a survey that QGroundControl can still edit.

A survey item holds the exact items besides the settings they could be drawn anew from;
QGroundControl flies the items as they are until someone edits the survey.

References
----------
https://docs.qgroundcontrol.com/master/en/qgc-dev-guide/file_formats/plan.html
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from shapely import MultiPolygon, Polygon

from flightplan.formats.contents import Content, Written
from flightplan.formats.coordinates import corners, leg, polygons_of, wrapped
from flightplan.formats.fences import fence_of
from flightplan.formats.items import (
    FRAMES,
    Autopilot,
    Command,
    Frame,
    Item,
    home_item,
    mission_items,
    size_notes,
)
from flightplan.formats.ways import photo_runs, photo_ways
from flightplan.missions import HeightReference, Mission
from flightplan.planframe import PlanFrame

CARRIES = frozenset(Content) - {Content.RETURN_HEIGHT, Content.FENCE_HEIGHT}

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
                *(_fence_polygon(polygon, inclusion=True) for polygon in fence.inside),
                *(_fence_polygon(polygon, inclusion=False) for polygon in fence.outside),
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


def _fence_polygon(polygon: Polygon, *, inclusion: bool) -> Json:
    return {"version": 1, "inclusion": inclusion, "polygon": _ring(polygon)}


def _ring(polygon: Polygon) -> list[list[float]]:
    return [[_deg(lat), _deg(lon)] for lon, lat in corners(polygon.exterior)]


def _deg(value_deg: float) -> float:
    return round(float(value_deg), 9)
