"""The waypoints of a WPML file, with the actions that start there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from flightplan.formats.geometry import degrees, leg, number, turn_deg, way_speed, wrapped
from flightplan.formats.markup import add, add_all
from flightplan.formats.mission import Mission

_CORNER_DEG = 10.0
"""An enterprise drone halts where the course changes by more, and flies through otherwise."""

_DAMPING_M = 1.0
_STOP_STRAIGHT = "toPointAndStopWithDiscontinuityCurvature"
_STOP_CURVED = "toPointAndStopWithContinuityCurvature"
_PASS = "toPointAndPassWithContinuityCurvature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shoot:
    """A group of waypoints over which, or at which, photographs are taken."""

    first: int
    last: int
    kind: str
    """`actionTriggerType`."""
    every: float = math.nan
    """Metres or seconds between photographs; NaN for one at the waypoint."""


def add_placemark(
    folder: Element,
    mission: Mission,
    index: int,
    shoots: Sequence[Shoot],
    *,
    group: int,
    lens: str,
    enterprise: bool,
    template: bool,
) -> int:
    """Append a waypoint and the action groups that start there; return the next group's number.

    Parameters
    ----------
    template : bool
        Whether it is for `template.kml`, which names heights otherwise than `waylines.wpml`.
    """
    waypoint = mission.waypoints[index]
    placemark = add(folder, "Placemark")
    where = f"{degrees(wrapped(waypoint.lon_deg))},{degrees(waypoint.lat_deg)}"
    add(add(placemark, "Point"), "coordinates", where)
    add(placemark, "wpml:index", str(index))
    height = f"{waypoint.height_m:.3f}"
    if template:
        own = ("useGlobalHeight", "useGlobalSpeed", "useGlobalHeadingParam", "useGlobalTurnParam")
        add_all(placemark, {"wpml:ellipsoidHeight": height, "wpml:height": height})
        add_all(placemark, {f"wpml:{name}": "0" for name in own})
    else:
        add(placemark, "wpml:executeHeight", height)
    add(placemark, "wpml:waypointSpeed", _speed(mission, index))
    _add_heading(placemark, waypoint.heading_deg)
    straight = _add_turn(placemark, mission, index, enterprise=enterprise)
    add(placemark, "wpml:useStraightLine", straight)
    before = mission.waypoints[index - 1].gimbal_pitch_deg if index else math.nan
    if waypoint.gimbal_pitch_deg != before:
        actions = _group(placemark, group, index, index, "reachPoint")
        _add_gimbal(actions, waypoint.gimbal_pitch_deg)
        group += 1
    for shoot in shoots:
        actions = _group(placemark, group, shoot.first, shoot.last, shoot.kind, shoot.every)
        _add_photo(actions, lens)
        group += 1
    return group


def _speed(mission: Mission, index: int) -> str:
    speed = way_speed(mission, min(index, max(len(mission.waypoints) - 2, 0)))
    return number(min(speed, 15.0), 2) if speed > 0 else "5"


def _add_heading(placemark: Element, heading_deg: float) -> None:
    follows = not math.isfinite(heading_deg)
    angle = 0.0 if follows else (heading_deg + 180.0) % 360.0 - 180.0
    add_all(
        add(placemark, "wpml:waypointHeadingParam"),
        {
            "wpml:waypointHeadingMode": "followWayline" if follows else "smoothTransition",
            "wpml:waypointHeadingAngle": number(angle, 1),
            "wpml:waypointPoiPoint": "0.000000,0.000000,0.000000",
            "wpml:waypointHeadingAngleEnable": "0" if follows else "1",
            "wpml:waypointHeadingPathMode": "followBadArc",
            "wpml:waypointHeadingPoiIndex": "0",
        },
    )


def _add_turn(placemark: Element, mission: Mission, index: int, *, enterprise: bool) -> str:
    """Add how the waypoint is flown through; return whether the way there is straight, 1 or 0."""
    points = mission.waypoints
    ends = index in (0, len(points) - 1)
    stop = points[index].stop or ends
    damping = 0.0
    if enterprise and not stop:
        stop = turn_deg(points[index - 1], points[index], points[index + 1]) > _CORNER_DEG
    if stop:
        mode = _STOP_STRAIGHT if enterprise else _STOP_CURVED
    else:
        mode = _PASS
        shorter = min(
            leg(points[index - 1], points[index])[1], leg(points[index], points[index + 1])[1]
        )
        damping = min(_DAMPING_M, 0.3 * shorter) if enterprise else 0.0
    add_all(
        add(placemark, "wpml:waypointTurnParam"),
        {"wpml:waypointTurnMode": mode, "wpml:waypointTurnDampingDist": number(damping, 2)},
    )
    return "1" if enterprise else "0"


def _group(
    placemark: Element, number_: int, first: int, last: int, kind: str, every: float = math.nan
) -> Element:
    """Add a group of actions, so far empty."""
    group = add(placemark, "wpml:actionGroup")
    add_all(
        group,
        {
            "wpml:actionGroupId": str(number_),
            "wpml:actionGroupStartIndex": str(first),
            "wpml:actionGroupEndIndex": str(last),
            "wpml:actionGroupMode": "sequence",
        },
    )
    trigger = add(group, "wpml:actionTrigger")
    add(trigger, "wpml:actionTriggerType", kind)
    if math.isfinite(every):
        add(trigger, "wpml:actionTriggerParam", number(every, 3))
    return group


def _action(group: Element, function: str, params: dict[str, str]) -> None:
    action = add(group, "wpml:action")
    add(action, "wpml:actionId", "0")
    add(action, "wpml:actionActuatorFunc", function)
    add_all(
        add(action, "wpml:actionActuatorFuncParam"),
        {f"wpml:{name}": value for name, value in params.items()},
    )


def _add_photo(group: Element, lens: str) -> None:
    params = {"payloadPositionIndex": "0", "useGlobalPayloadLensIndex": "0"}
    if lens:
        params["payloadLensIndex"] = lens
    _action(group, "takePhoto", params)


def _add_gimbal(group: Element, pitch_deg: float) -> None:
    _action(
        group,
        "gimbalRotate",
        {
            "gimbalHeadingYawBase": "aircraft",
            "gimbalRotateMode": "absoluteAngle",
            "gimbalPitchRotateEnable": "1",
            "gimbalPitchRotateAngle": number(pitch_deg, 1),
            "gimbalRollRotateEnable": "0",
            "gimbalRollRotateAngle": "0",
            "gimbalYawRotateEnable": "0",
            "gimbalYawRotateAngle": "0",
            "gimbalRotateTimeEnable": "0",
            "gimbalRotateTime": "0",
            "payloadPositionIndex": "0",
        },
    )
