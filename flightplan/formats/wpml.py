"""DJI's WPML: a KMZ of `template.kml` (what apps show) and `waylines.wpml` (what drones fly).

Enterprise drones follow DJI's published specification.  DJI Fly on consumer drones does not
publish one; its variants mirror missions saved by DJI Fly itself, and differ only in who takes the
photographs, because it is disputed which way each app version honours.

Drones and their cameras are called by DJI's numbers.

References
----------
https://developer.dji.com/doc/cloud-api-tutorial/en/api-reference/dji-wpml/overview.html
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element

from flightplan.equipment.catalogue import App, Catalogue, Drone, Wpml, no_waypoints
from flightplan.formats.geometry import (
    degrees,
    leg,
    number,
    photo_runs,
    photo_stops,
    turn_deg,
    way_speed,
    with_guards,
    with_photo_points,
    wrapped,
)
from flightplan.formats.markup import KML, Tree, add_all, document, zipped
from flightplan.formats.mission import (
    AtEnd,
    Content,
    HeightReference,
    Mission,
    ReleasedBy,
    Role,
    Waypoint,
    Written,
    photo_ways,
)
from tmp.errors import InputError

MAVIC_3M_CAMERA = 68
MINI_4_PRO = 68
"""`droneEnumValue` in missions that a Mini 4 Pro's controller saved.  Others write it for all of
DJI Fly's drones; DJI publishes no numbers for them."""
_SURE_OF = ("mini 4 pro", "mini-4-pro")
NAMESPACE = "http://www.dji.com/wpmz/1.0.2"
TIMER_CARRIES = frozenset(
    {Content.AT_END, Content.SPEED, Content.HEADING, Content.GIMBAL, Content.STOPS}
)
CONSUMER_CARRIES = TIMER_CARRIES | {Content.PHOTOS}
ENTERPRISE_CARRIES = CONSUMER_CARRIES | {
    *(Content.TAKEOFF, Content.TAKEOFF_HEIGHT, Content.RETURN_HEIGHT)
}
MOST_INDEX = 65535
MANY_POINTS = 99
"""Controllers with DJI Fly have crashed or scrambled missions of 100 to 250 points."""
FASTEST_M_S = 11.5
"""DJI Fly silently flies 2.5 m/s where a file asks for more than 12 m/s."""
FASTEST_ENTERPRISE_M_S = 15.0
_CORNER_DEG = 10.0
"""An enterprise drone halts where the course changes by more, and flies through otherwise."""
_DAMPING_M = 1.0
_STOP_STRAIGHT = "toPointAndStopWithDiscontinuityCurvature"
_STOP_CURVED = "toPointAndStopWithContinuityCurvature"
_PASS = "toPointAndPassWithContinuityCurvature"
_NO_POI = "0.000000,0.000000,0.000000"
_GIMBAL = {
    "wpml:gimbalHeadingYawBase": "aircraft",
    "wpml:gimbalRotateMode": "absoluteAngle",
    "wpml:gimbalPitchRotateEnable": "1",
    "wpml:gimbalPitchRotateAngle": "-90",
    "wpml:gimbalRollRotateEnable": "0",
    "wpml:gimbalRollRotateAngle": "0",
    "wpml:gimbalYawRotateEnable": "0",
    "wpml:gimbalYawRotateAngle": "0",
    "wpml:gimbalRotateTimeEnable": "0",
    "wpml:gimbalRotateTime": "0",
    "wpml:payloadPositionIndex": "0",
}
_MADE = "1577836800000"
"""Moment of making, 2020-01-01 in milliseconds: fixed, so that equal missions make equal files."""
_HEIGHTS = {HeightReference.TAKEOFF: "relativeToStartPoint", HeightReference.ELLIPSOID: "WGS84"}
_FINISH = {AtEnd.RETURN: "goHome", AtEnd.LAND: "autoLand", AtEnd.HOVER: "noAction"}
_LOST = {AtEnd.RETURN: "goBack", AtEnd.LAND: "landing", AtEnd.HOVER: "hover"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shoot:
    """A group of waypoints over which, or at which, something is done: mostly photographs."""

    first: int
    last: int
    kind: str
    """`actionTriggerType`."""
    every: float = math.nan
    """Metres or seconds between photographs; NaN for one at the waypoint."""


_OTHERS = {
    "m30t": Wpml(drone=67, drone_sub=1, payload=53),
    "m30": Wpml(drone=67, payload=52),
    "m3td": Wpml(drone=91, drone_sub=1, payload=81),
    "m3d": Wpml(drone=91, payload=80),
}
"""Of DJI's specification (Cloud API, WPML common elements), beyond the catalogue's."""


def enterprise_numbers(mission: Mission, catalogue: Catalogue) -> Wpml:
    """Return how WPML calls the mission's enterprise drone and its camera.

    Raises
    ------
    InputError
        If DJI has no numbers for the drone, or it flies with DJI Fly.
    """
    drone = _listed(mission, catalogue)
    found = drone.wpml if drone is not None else None
    if found is not None and not found.consumer and found.payload is not None:
        return found
    word = re.sub(r"[^a-z0-9]", "", mission.drone.lower())
    word = word.removeprefix("dji").replace("matrice", "m").replace("mavic", "m")
    if word in _OTHERS:
        return _OTHERS[word]
    if found is not None and found.consumer:
        remedy = "choose a format for DJI Fly"
    elif found is not None:
        remedy = "its camera is not known; add payload to its [drone.KEY.wpml] in your drones file"
    else:
        remedy = "add its [drone.KEY.wpml] to your drones file, or choose another format"
    raise InputError(f"drone {mission.drone!r} has no number for DJI Pilot 2; {remedy}")


def consumer_numbers(mission: Mission, catalogue: Catalogue) -> tuple[Wpml, tuple[str, ...]]:
    """Return how DJI Fly calls the mission's drone, and a warning where that is a guess.

    Raises
    ------
    InputError
        If DJI Fly flies no waypoints with it.
    """
    drone = _listed(mission, catalogue)
    if drone is not None and App.DJI_FLY in drone.no_waypoints_in:
        raise InputError(no_waypoints(drone))
    found = drone.wpml if drone is not None else None
    number = found.drone if found is not None and found.consumer else MINI_4_PRO
    numbers = Wpml(drone=number)
    if any(name in mission.drone.lower() for name in _SURE_OF):
        return numbers, ()
    return numbers, (
        f"drone number {number} is a guess for {mission.drone or 'an unnamed drone'}: DJI "
        "publishes none for consumer drones; if DJI Fly refuses the file, copy the number from a "
        "mission saved on your controller",
    )


def _lens(numbers: Wpml) -> str:
    """Return which of several cameras store a photograph; empty where there is one."""
    return "visible,narrow_band" if numbers.payload == MAVIC_3M_CAMERA else ""


def _listed(mission: Mission, catalogue: Catalogue) -> Drone | None:
    """Return the catalogue's entry of the mission's drone; None for one it does not know."""
    if not mission.drone:
        return None
    try:
        return catalogue.drone(mission.drone)
    except InputError:
        return None


def to_enterprise(mission: Mission, *, catalogue: Catalogue) -> Written:
    """Return a mission for DJI Pilot 2: photographs at equal distances along lines.

    Raises
    ------
    InputError
        If the drone or its camera has no DJI number, heights are neither above the take-off nor
        the ellipsoid, or there are more than 65 536 waypoints.
    """
    numbers = enterprise_numbers(mission, catalogue)
    shoots = _shoots(mission, ReleasedBy.DISTANCE)
    return Written(
        content=_kmz(mission, shoots, numbers),
        notes=(*_size_notes(mission, limit=MOST_INDEX), *_ground_notes(mission)),
    )


def to_consumer(mission: Mission, trigger: ReleasedBy, *, catalogue: Catalogue) -> Written:
    """Return a mission for DJI Fly on a consumer drone.

    Raises
    ------
    InputError
        If the trigger needs a photo interval the mission does not give, heights are neither above
        the take-off nor the ellipsoid, or there are more than 65 536 waypoints.
    """
    numbers, notes = consumer_numbers(mission, catalogue)
    laid, shoots, speed_notes = _laid(mission, trigger)
    return Written(
        content=_kmz(laid, shoots, numbers),
        notes=(*notes, *speed_notes, *_size_notes(laid, limit=MANY_POINTS)),
    )


def consumer_points(mission: Mission, trigger: ReleasedBy) -> int:
    """Return how many waypoints a mission for DJI Fly has in its file; raises as `to_consumer`."""
    return len(_laid(mission, trigger)[0].waypoints)


def _laid(
    mission: Mission, trigger: ReleasedBy
) -> tuple[Mission, Sequence[Shoot], tuple[str, ...]]:
    """Return a mission with the speeds and points of a consumer drone, photographs, and notes."""
    slowed, notes = _slowed(mission, trigger)
    if trigger is ReleasedBy.POINT and any(photo_ways(mission.waypoints)):
        points, photos = with_photo_points(slowed.waypoints)
        shoots = [Shoot(first=i, last=i, kind="reachPoint") for i in sorted(photos)]
        return replace(slowed, waypoints=points), shoots, notes
    slowed = replace(slowed, waypoints=with_guards(slowed.waypoints))
    return slowed, _shoots(slowed, trigger), notes


def _slowed(mission: Mission, trigger: ReleasedBy) -> tuple[Mission, tuple[str, ...]]:
    """Return the mission at speeds that DJI Fly honours and the camera's timer keeps up with."""
    interval = mission.photo_interval_s
    timed = trigger in (ReleasedBy.TIMER, ReleasedBy.INTERVAL)
    if timed and not interval > 0:
        raise InputError(
            f"mission {mission.name!r} has no time between photographs, which a timer needs; give "
            "the camera's interval, or choose another trigger"
        )
    notes: list[str] = []
    waypoints: list[Waypoint] = []
    spacings = [*photo_ways(mission.waypoints), 0.0, 0.0]
    for index, waypoint in enumerate(mission.waypoints):
        speed = way_speed(mission, index)
        # A run-in brings the drone to the speed of the line behind it.
        spacing = spacings[index + (waypoint.role is Role.RUN_IN)]
        if timed and spacing > 0:
            # Slower where the timer does not keep up; never faster than blur allows.
            speed = min(spacing / interval, speed) if speed > 0 else spacing / interval
        if speed > FASTEST_M_S:
            notes.append(f"speeds above {FASTEST_M_S} m/s are cut to it; DJI Fly mistakes others")
            speed = FASTEST_M_S
        waypoints.append(replace(waypoint, speed_m_s=speed))
    if trigger is ReleasedBy.TIMER:
        notes.append(f"set the camera's timer to {number(interval, 1)} s")
    return replace(mission, waypoints=tuple(waypoints)), tuple(dict.fromkeys(notes))


def _shoots(mission: Mission, trigger: ReleasedBy) -> list[Shoot]:
    if trigger is ReleasedBy.TIMER:
        return []
    stops = [Shoot(first=i, last=i, kind="reachPoint") for i in sorted(photo_stops(mission))]
    timed = trigger is ReleasedBy.INTERVAL
    runs = photo_runs(photo_ways(mission.waypoints))
    if timed:
        # The last one by time may come up to one spacing before the line's end.
        stops += [Shoot(first=run.last, last=run.last, kind="reachPoint") for run in runs]
    return stops + [
        Shoot(
            first=run.first,
            last=run.last,
            kind="multipleTiming" if timed else "multipleDistance",
            every=mission.photo_interval_s if timed else run.spacing_m,
        )
        for run in runs
    ]


def _ground_notes(mission: Mission) -> tuple[str, ...]:
    """Return a warning where the file has to give a height of the ground that is not known."""
    if mission.takeoff is None or math.isfinite(mission.takeoff.ground_m):
        return ()
    return ("the ground's height at the take-off is not known and stands as 0 in the file",)


def _size_notes(mission: Mission, *, limit: int) -> tuple[str, ...]:
    count = len(mission.waypoints)
    if count > MOST_INDEX + 1:
        raise InputError(
            f"mission {mission.name!r} has {count} waypoints and DJI's files hold "
            f"{MOST_INDEX + 1}; split it into more sorties"
        )
    if count <= limit:
        return ()
    return (
        f"{count} waypoints: controllers with DJI Fly have crashed on 100 to 250; open the "
        "mission once before going to the field, and split it if it does not open",
    )


def _config(mission: Mission, numbers: Wpml) -> dict[str, Tree]:
    """Return `missionConfig` in the order DJI writes it."""
    enterprise = numbers.payload is not None
    transit = mission.transit_speed_m_s
    if not transit > 0:
        transit = mission.speed_m_s if mission.speed_m_s > 0 else 5.0
    config: dict[str, Tree] = {
        "wpml:flyToWaylineMode": "safely",
        "wpml:finishAction": _FINISH[mission.at_end],
        "wpml:exitOnRCLost": "executeLostAction",
        "wpml:executeRCLostAction": _LOST[mission.at_end],
    }
    if enterprise:
        climb = mission.takeoff_height_m if math.isfinite(mission.takeoff_height_m) else 20.0
        config["wpml:takeOffSecurityHeight"] = number(min(max(climb, 1.2), 1500.0), 1)
        place = mission.takeoff
        if place is not None:
            ground = place.ground_m if math.isfinite(place.ground_m) else 0.0
            config["wpml:takeOffRefPoint"] = (
                f"{degrees(place.lat_deg)},{degrees(wrapped(place.lon_deg))},{ground:.3f}"
            )
    fastest = FASTEST_ENTERPRISE_M_S if enterprise else FASTEST_M_S
    config["wpml:globalTransitionalSpeed"] = number(min(transit, fastest), 1)
    if enterprise and math.isfinite(mission.return_height_m):
        config["wpml:globalRTHHeight"] = number(mission.return_height_m, 1)
    config["wpml:droneInfo"] = {
        "wpml:droneEnumValue": str(numbers.drone),
        "wpml:droneSubEnumValue": str(numbers.drone_sub),
    }
    if enterprise:
        config["wpml:payloadInfo"] = {
            "wpml:payloadEnumValue": str(numbers.payload),
            "wpml:payloadSubEnumValue": "0",
            "wpml:payloadPositionIndex": "0",
        }
    return config


def _kmz(mission: Mission, shoots: Sequence[Shoot], numbers: Wpml) -> bytes:
    heights = _HEIGHTS.get(mission.height_reference)
    if heights is None:
        raise InputError(
            f"mission {mission.name!r} has heights above {mission.height_reference.value}; DJI's "
            "files take heights above the take-off point or the ellipsoid"
        )
    speeds = (mission.speed_m_s, *(way_speed(mission, i) for i in range(len(mission.waypoints))))
    speed = number(min(next((one for one in speeds if one > 0), 5.0), FASTEST_ENTERPRISE_M_S), 2)
    config, lens = _config(mission, numbers), _lens(numbers)
    template: dict[str, Tree] = {
        "wpml:author": "Terrestrial Mapping Platform",
        "wpml:createTime": _MADE,
        "wpml:updateTime": _MADE,
        "wpml:missionConfig": config,
    }
    if numbers.payload is not None:
        template["Folder"] = {
            "wpml:templateType": "waypoint",
            "wpml:templateId": "0",
            "wpml:waylineCoordinateSysParam": {
                "wpml:coordinateMode": "WGS84",
                "wpml:heightMode": heights,
            },
            "wpml:autoFlightSpeed": speed,
            # Asked for even where every waypoint has its own.
            "wpml:globalHeight": number(mission.waypoints[0].height_m),
            "wpml:caliFlightEnable": "0",
            "wpml:gimbalPitchMode": "manual",
            "wpml:globalWaypointHeadingParam": {
                "wpml:waypointHeadingMode": "followWayline",
                "wpml:waypointHeadingAngle": "0",
                "wpml:waypointPoiPoint": _NO_POI,
                "wpml:waypointHeadingPoiIndex": "0",
            },
            "wpml:globalWaypointTurnMode": _STOP_STRAIGHT,
            "wpml:globalUseStraightLine": "1",
            "Placemark": _placemarks(mission, shoots, numbers, template=True),
            "wpml:payloadParam": {
                "wpml:payloadPositionIndex": "0",
                **({"wpml:imageFormat": lens} if lens else {}),
            },
        }
    waylines: dict[str, Tree] = {
        "wpml:missionConfig": config,
        "Folder": {
            "wpml:templateId": "0",
            "wpml:executeHeightMode": heights,
            "wpml:waylineId": "0",
            "wpml:autoFlightSpeed": speed,
            "Placemark": _placemarks(mission, shoots, numbers, template=False),
        },
    }
    return zipped(
        {"wpmz/template.kml": _document(template), "wpmz/waylines.wpml": _document(waylines)}
    )


def _document(content: dict[str, Tree]) -> bytes:
    root = Element("kml", {"xmlns": KML, "xmlns:wpml": NAMESPACE})
    add_all(root, {"Document": content})
    return document(root)


def _placemarks(
    mission: Mission, shoots: Sequence[Shoot], numbers: Wpml, *, template: bool
) -> list[Mapping[str, Tree]]:
    """Return the waypoints; `template.kml` names heights otherwise than `waylines.wpml`."""
    placemarks: list[Mapping[str, Tree]] = []
    enterprise, lens = numbers.payload is not None, _lens(numbers)
    by_first: dict[int, list[Shoot]] = {}
    for shoot in shoots:
        by_first.setdefault(shoot.first, []).append(shoot)
    photograph = {"wpml:payloadPositionIndex": "0", "wpml:useGlobalPayloadLensIndex": "0"}
    if lens:
        photograph["wpml:payloadLensIndex"] = lens
    groups = itertools.count()
    shared = ("Height", "Speed", "HeadingParam", "TurnParam")
    for index, waypoint in enumerate(mission.waypoints):
        height = f"{waypoint.height_m:.3f}"
        heights = {"wpml:executeHeight": height}
        if template:
            heights = {"wpml:ellipsoidHeight": height, "wpml:height": height}
            heights |= {f"wpml:useGlobal{name}": "0" for name in shared}
        before = mission.waypoints[index - 1].gimbal_pitch_deg if index else math.nan
        actions: list[Mapping[str, Tree]] = []
        if waypoint.gimbal_pitch_deg != before:
            tilt = Shoot(first=index, last=index, kind="reachPoint")
            gimbal = _GIMBAL | {"wpml:gimbalPitchRotateAngle": number(waypoint.gimbal_pitch_deg, 1)}
            actions.append(_group(next(groups), tilt, "gimbalRotate", gimbal))
        for shoot in by_first.get(index, ()):
            actions.append(_group(next(groups), shoot, "takePhoto", photograph))
        where = f"{degrees(wrapped(waypoint.lon_deg))},{degrees(waypoint.lat_deg)}"
        placemarks.append(
            {
                "Point": {"coordinates": where},
                "wpml:index": str(index),
                **heights,
                "wpml:waypointSpeed": _speed(mission, index),
                "wpml:waypointHeadingParam": _heading(waypoint.heading_deg),
                "wpml:waypointTurnParam": _turn(mission, index, enterprise=enterprise),
                "wpml:useStraightLine": "1" if enterprise else "0",
                "wpml:actionGroup": actions,
            }
        )
    return placemarks


def _speed(mission: Mission, index: int) -> str:
    speed = way_speed(mission, min(index, max(len(mission.waypoints) - 2, 0)))
    return number(min(speed, FASTEST_ENTERPRISE_M_S), 2) if speed > 0 else "5"


def _heading(heading_deg: float) -> dict[str, Tree]:
    follows = not math.isfinite(heading_deg)
    angle = 0.0 if follows else (heading_deg + 180.0) % 360.0 - 180.0
    return {
        "wpml:waypointHeadingMode": "followWayline" if follows else "smoothTransition",
        "wpml:waypointHeadingAngle": number(angle, 1),
        "wpml:waypointPoiPoint": _NO_POI,
        "wpml:waypointHeadingAngleEnable": "0" if follows else "1",
        "wpml:waypointHeadingPathMode": "followBadArc",
        "wpml:waypointHeadingPoiIndex": "0",
    }


def _turn(mission: Mission, index: int, *, enterprise: bool) -> dict[str, Tree]:
    """Return how a waypoint is flown through."""
    points = mission.waypoints
    stop = points[index].stop or index in (0, len(points) - 1)
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
    return {"wpml:waypointTurnMode": mode, "wpml:waypointTurnDampingDist": number(damping, 2)}


def _group(number_: int, shoot: Shoot, function: str, params: Mapping[str, str]) -> dict[str, Tree]:
    """Return a group of one action."""
    every = number(shoot.every, 3) if math.isfinite(shoot.every) else ""
    return {
        "wpml:actionGroupId": str(number_),
        "wpml:actionGroupStartIndex": str(shoot.first),
        "wpml:actionGroupEndIndex": str(shoot.last),
        "wpml:actionGroupMode": "sequence",
        "wpml:actionTrigger": {
            "wpml:actionTriggerType": shoot.kind,
            **({"wpml:actionTriggerParam": every} if every else {}),
        },
        "wpml:action": {
            "wpml:actionId": "0",
            "wpml:actionActuatorFunc": function,
            "wpml:actionActuatorFuncParam": params,
        },
    }
