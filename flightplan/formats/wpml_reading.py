"""A mission from DJI's WPML: a KMZ, a bare `waylines.wpml`, or a template with waypoints."""

from __future__ import annotations

import math
from dataclasses import replace
from xml.etree.ElementTree import Element

from flightplan.formats.geometry import finite, first_line_m_s, near, place
from flightplan.formats.markup import child, children, descendants, text
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

_HEIGHTS = {
    "WGS84": HeightReference.ELLIPSOID,
    "relativeToStartPoint": HeightReference.TAKEOFF,
    "EGM96": HeightReference.AMSL,
    "aboveGroundLevel": HeightReference.TERRAIN,
    "realTimeFollowSurface": HeightReference.TERRAIN,
}
_ENDS = {
    "goHome": AtEnd.RETURN,
    "autoLand": AtEnd.LAND,
    "noAction": AtEnd.HOVER,
    "gotoFirstWaypoint": AtEnd.HOVER,
}
_PASSING = ("toPointAndPassWithContinuityCurvature", "coordinateTurn")
_TILTS = ("gimbalRotate", "gimbalEvenlyRotate", "orientedShoot")
_SHOTS = ("takePhoto", "orientedShoot", "accurateShoot")
_DRAWN_BY_APP = ("mapping2d", "mapping3d", "mappingStrip")


def is_wpml(root: Element) -> bool:
    """Tell whether a KML document is one of DJI's."""
    return any(True for _ in descendants(root, "missionConfig"))


def from_wpml(root: Element, name: str) -> Mission:
    """Return the mission of a `waylines.wpml` or of a template with waypoints.

    Raises
    ------
    InputError
        If it holds no waypoints, a value is not what it should be, or heights are measured from
        something unknown.
    """
    notes: list[str] = []
    holder = child(root, "Document")
    folders = children(root if holder is None else holder, "Folder")
    placemarks = [
        (f, p) for f in folders for p in children(f, "Placemark") if child(p, "index") is not None
    ]
    if not placemarks:
        raise InputError(_why_empty(folders))
    if len(folders) > 1:
        notes.append(f"{len(folders)} routes in one file, joined in their order")
    about = near(_lon_lat(placemarks[0][1], 0)[0], 0.0)
    waypoints = [_waypoint(f, p, n, about) for n, (f, p) in enumerate(placemarks)]
    for end in (0, -1):
        waypoints[end] = replace(waypoints[end], stop=False)
    start, interval = 0, math.nan
    shot: list[int] = []
    for folder in folders:
        own = [p for f, p in placemarks if f is folder]
        indexes = [_integer(p, "index") for p in own]
        if indexes != list(range(len(own))):
            notes.append("waypoint indexes have gaps; controllers are known to crash on them")
        position = {index: start + n for n, index in enumerate(indexes)}
        found = _take_in_actions(own, position, waypoints, shot, notes)
        interval = found if math.isfinite(found) else interval
        start += len(own)
    photos = [Photo.at(waypoints[index]) for index in shot]
    return _mission(root, folders[0], name, waypoints, photos, interval, notes)


def _why_empty(folders: list[Element]) -> str:
    kinds = [text(folder, "templateType") for folder in folders]
    drawn = next((kind for kind in kinds if kind in _DRAWN_BY_APP), None)
    if drawn:
        return f"a {drawn} template: the app draws its route; read the waylines.wpml it makes of it"
    return "no waypoints in it; the route is in waylines.wpml"


def _mission(
    root: Element,
    folder: Element,
    name: str,
    waypoints: list[Waypoint],
    photos: list[Photo],
    interval_s: float,
    notes: list[str],
) -> Mission:
    mode = text(folder, "executeHeightMode")
    mode = mode or text(folder, "waylineCoordinateSysParam", "heightMode") or ""
    if mode not in _HEIGHTS:
        raise InputError(f"height mode {mode[:40]!r} is not known; it can be {', '.join(_HEIGHTS)}")
    config = next(descendants(root, "missionConfig"))
    finish = text(config, "finishAction") or "noAction"
    return Mission(
        name=name,
        waypoints=tuple(waypoints),
        photos=tuple(photos),
        takeoff=_takeoff(config, waypoints[0].lon_deg),
        height_reference=_HEIGHTS[mode],
        takeoff_height_m=_optional(config, "takeOffSecurityHeight"),
        return_height_m=_optional(config, "globalRTHHeight"),
        speed_m_s=first_line_m_s(waypoints, _optional(folder, "autoFlightSpeed")),
        transit_speed_m_s=_optional(config, "globalTransitionalSpeed"),
        at_end=_ENDS.get(finish, AtEnd.HOVER),
        photo_interval_s=interval_s,
        notes=tuple(dict.fromkeys(notes)),
    )


def _takeoff(config: Element, about_deg: float) -> Place | None:
    point = text(config, "takeOffRefPoint")
    if not point:
        return None
    parts = [finite(part, "takeOffRefPoint") for part in point.split(",")]
    if len(parts) < 2:
        raise InputError(f"takeOffRefPoint {point[:40]!r} is not latitude,longitude,height")
    lon, lat = place(parts[1], parts[0], "takeOffRefPoint")
    ground = parts[2] if len(parts) > 2 else math.nan
    return Place(lon_deg=near(lon, about_deg), lat_deg=lat, ground_m=ground)


def _optional(element: Element, *names: str) -> float:
    value = text(element, *names)
    return math.nan if value is None else finite(value, names[-1])


def _integer(element: Element, name: str) -> int:
    return int(finite(text(element, name), name))


def _lon_lat(placemark: Element, number: int) -> tuple[float, float]:
    coordinates = text(placemark, "Point", "coordinates") or ""
    parts = coordinates.split(",")
    what = f"waypoint {number}: coordinates {coordinates[:40]!r}"
    if len(parts) < 2:
        raise InputError(f"{what} are not longitude,latitude; export the mission again")
    return place(finite(parts[0], what), finite(parts[1], what), f"waypoint {number}")


def _waypoint(folder: Element, placemark: Element, number: int, about_deg: float) -> Waypoint:
    lon, lat = _lon_lat(placemark, number)
    height = _own(placemark, folder, "executeHeight", "useGlobalHeight", "globalHeight")
    if math.isnan(height):
        height = _own(placemark, folder, "height", "useGlobalHeight", "globalHeight")
    if math.isnan(height):
        raise InputError(f"waypoint {number} has no height; export the mission again")
    heading = child(placemark, "waypointHeadingParam")
    turned = heading is not None and text(heading, "waypointHeadingMode") == "smoothTransition"
    turn = text(placemark, "waypointTurnParam", "waypointTurnMode") or text(
        folder, "globalWaypointTurnMode"
    )
    return Waypoint(
        lon_deg=near(lon, about_deg),
        lat_deg=lat,
        height_m=height,
        speed_m_s=_own(placemark, folder, "waypointSpeed", "useGlobalSpeed", "autoFlightSpeed"),
        heading_deg=_optional(heading, "waypointHeadingAngle") % 360.0
        if turned and heading is not None
        else math.nan,
        stop=turn is not None and turn not in _PASSING,
    )


def _own(placemark: Element, folder: Element, name: str, switch: str, shared: str) -> float:
    """Return a waypoint's own value, or the one all share if it says so."""
    if text(placemark, switch) == "1":
        return _optional(folder, shared)
    return _optional(placemark, name)


def _take_in_actions(
    placemarks: list[Element],
    position: dict[int, int],
    waypoints: list[Waypoint],
    shot: list[int],
    notes: list[str],
) -> float:
    """Set gimbal and photographs of waypoints from their actions; return the photo interval."""
    interval = math.nan
    pitch = -90.0
    for placemark in placemarks:
        here = position[_integer(placemark, "index")]
        for group in children(placemark, "actionGroup"):
            for action in children(group, "action"):
                function = text(action, "actionActuatorFunc") or ""
                if function in _TILTS:
                    angle = _optional(action, "actionActuatorFuncParam", "gimbalPitchRotateAngle")
                    pitch = angle if math.isfinite(angle) else pitch
                if function in _SHOTS:
                    found = _take_in_shots(group, position, waypoints, shot)
                    interval = found if math.isfinite(found) else interval
                elif function not in (*_TILTS, "hover", "rotateYaw", "focus"):
                    notes.append(f"action {function[:40]!r} is left out")
        waypoints[here] = replace(waypoints[here], gimbal_pitch_deg=pitch)
    return interval


def _take_in_shots(
    group: Element, position: dict[int, int], waypoints: list[Waypoint], shot: list[int]
) -> float:
    """Set what one group of photographs says; return its interval in seconds, or NaN."""
    first, last = (_integer(group, f"actionGroup{end}Index") for end in ("Start", "End"))
    kind = text(group, "actionTrigger", "actionTriggerType")
    every = _optional(group, "actionTrigger", "actionTriggerParam")
    if first not in position or last not in position or last < first:
        raise InputError(
            f"an action group runs from waypoint {first} to {last}, which are not in the route; "
            "export the mission again"
        )
    start, end = position[first], position[last]
    if kind == "reachPoint":
        shot += range(start, end + 1)
        return math.nan
    timed = kind == "multipleTiming"
    for index in range(start, end):
        spacing = every * waypoints[index].speed_m_s if timed else every
        if spacing > 0:
            waypoints[index] = replace(waypoints[index], role=Role.LINE, photo_spacing_m=spacing)
    return every if timed else math.nan
