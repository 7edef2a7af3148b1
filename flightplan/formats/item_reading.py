"""A mission from MAVLink items, whoever wrote them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flightplan.formats.coordinates import near, place
from flightplan.formats.items import Autopilot, Command, Frame, Item
from flightplan.missions import (
    AtEnd,
    HeightReference,
    Mission,
    Photo,
    Place,
    Role,
    Waypoint,
)
from tmp.errors import InputError

_REFERENCES = {
    Frame.AMSL: HeightReference.AMSL,
    Frame.AMSL_INT: HeightReference.AMSL,
    Frame.TAKEOFF: HeightReference.TAKEOFF,
    Frame.TAKEOFF_INT: HeightReference.TAKEOFF,
    Frame.TERRAIN: HeightReference.TERRAIN,
    Frame.TERRAIN_INT: HeightReference.TERRAIN,
}

_HALTS = {
    Command.LOITER_UNLIMITED,
    Command.LOITER_TURNS,
    Command.LOITER_TIME,
    Command.LOITER_TO_HEIGHT,
}

_FLOWN = {Command.WAYPOINT, Command.SPLINE_WAYPOINT, *_HALTS}

_WITHOUT_EFFECT = {0, 112, 530, int(Command.STOP_PHOTOS)}
"""Commands that change neither the way flown nor where photographs are taken."""


@dataclass(slots=True)
class _Reading:
    """What the items read so far have set."""

    about_deg: float
    home: Place | None
    autopilot: Autopilot
    speed_m_s: float = math.nan
    transit_speed_m_s: float = math.nan
    takeoff_height_m: float = math.nan
    spacing_m: float = math.nan
    pitch_deg: float = -90.0
    at_end: AtEnd = AtEnd.HOVER
    landing: Place | None = None


def mission_from_items(
    items: Sequence[Item], name: str, home: Place | None, autopilot: Autopilot
) -> Mission:
    """Return the mission that a list of items describes.

    Parameters
    ----------
    items : sequence of Item
        In order, without a home row.
    home : Place or None
        Where it takes off, with the ground's height above sea level.
    autopilot : Autopilot
        Whom it was written for: PX4 turns to a waypoint's parameter 4, ArduPilot drops it.

    Raises
    ------
    InputError
        If nothing is flown to, a place is not on Earth, or heights are measured from several
        things that cannot be brought together.

    Notes
    -----
    MAVLink knows no roles: a way with photographs reads as a line, any other as a transit.
    """
    about = next((i.params[5] for i in items if i.command in _FLOWN and _has_place(i)), 0.0)
    reading = _Reading(about_deg=near(about, 0.0), home=home, autopilot=autopilot)
    waypoints: list[Waypoint] = []
    references: list[HeightReference] = []
    photos: list[Photo] = []
    notes: list[str] = []
    for number, item in enumerate(items, start=1):
        if item.command in _FLOWN:
            waypoints.append(_waypoint(item, number, reading, waypoints, notes))
            references.append(_reference(item, number))
        elif item.command in (Command.ONE_PHOTO, Command.START_PHOTOS):
            photos += _photos(item, waypoints, notes)
        else:
            _take_in(item, number, reading, waypoints, notes)
    if not waypoints:
        raise InputError("no waypoint in it; it is not a mission to fly")
    reference = _one_reference(waypoints, references, reading.home)
    lines = [w.speed_m_s for w in waypoints if w.role is Role.LINE]
    return Mission(
        name=name,
        waypoints=tuple(waypoints),
        photos=tuple(photos),
        takeoff=reading.home,
        landing=reading.landing,
        height_reference=reference,
        takeoff_height_m=reading.takeoff_height_m,
        speed_m_s=lines[0] if lines else math.nan,
        transit_speed_m_s=reading.transit_speed_m_s,
        at_end=reading.at_end,
        notes=tuple(dict.fromkeys(notes)),
    )


def _has_place(item: Item) -> bool:
    return any(value != 0 and math.isfinite(value) for value in item.params[4:6])


def _place(item: Item, number: int, reading: _Reading) -> tuple[float, float]:
    lon, lat = place(item.params[5], item.params[4], f"item {number} (command {item.command})")
    return near(lon, reading.about_deg), lat


def _waypoint(
    item: Item, number: int, reading: _Reading, before: list[Waypoint], notes: list[str]
) -> Waypoint:
    if _has_place(item):
        lon, lat = _place(item, number, reading)
    elif before or reading.home:
        here = before[-1] if before else reading.home
        assert here is not None
        lon, lat = here.lon_deg, here.lat_deg
        notes.append(f"item {number} has no place and stays over the one before it")
    else:
        raise InputError(f"item {number} has no place and none comes before it; give it one")
    if item.command == Command.SPLINE_WAYPOINT:
        notes.append("flown as a curve (spline waypoints); shown as straight ways")
    if item.command in _HALTS:
        notes.append("circles at some waypoints (loiter); read as halts")
    if not math.isfinite(item.params[6]):
        raise InputError(f"item {number} has no height; give every waypoint one")
    photographs = reading.spacing_m > 0
    turns = reading.autopilot is Autopilot.PX4 and item.command == Command.WAYPOINT
    return Waypoint(
        lon_deg=lon,
        lat_deg=lat,
        height_m=item.params[6],
        speed_m_s=reading.speed_m_s,
        heading_deg=item.params[3] % 360.0 if turns else math.nan,
        gimbal_pitch_deg=reading.pitch_deg,
        role=Role.LINE if photographs else Role.TRANSIT,
        photo_spacing_m=reading.spacing_m,
        stop=item.command in _HALTS or item.params[0] > 0,
    )


def _reference(item: Item, number: int) -> HeightReference:
    try:
        return _REFERENCES[Frame(item.frame)]
    except (ValueError, KeyError):
        raise InputError(
            f"item {number} has frame {item.frame!r}, which does not say what its height is "
            "measured from; use 3 (take-off), 0 (sea level) or 10 (terrain)"
        ) from None


def _one_reference(
    waypoints: list[Waypoint], references: list[HeightReference], home: Place | None
) -> HeightReference:
    """Return what all heights are measured from, having brought them to it where need be."""
    kinds = set(references)
    if len(kinds) == 1:
        return references[0]
    known = home is not None and math.isfinite(home.ground_m)
    if HeightReference.TERRAIN in kinds or not known:
        names = " and ".join(sorted(kind.value for kind in kinds))
        raise InputError(
            f"waypoint heights are above {names} by turns, which cannot be brought together; "
            "give all of them one frame"
        )
    assert home is not None
    for index, reference in enumerate(references):
        if reference is HeightReference.AMSL:
            height = waypoints[index].height_m - home.ground_m
            waypoints[index] = replace(waypoints[index], height_m=height)
    return HeightReference.TAKEOFF


def _photos(item: Item, waypoints: list[Waypoint], notes: list[str]) -> list[Photo]:
    """Return the photograph an item takes over the waypoint before it, if it takes one."""
    once = item.params[4] == 1 if item.command == Command.ONE_PHOTO else item.params[2] == 1
    if not once or not waypoints:
        notes.append(f"command {item.command} starts or stops the camera's own timer; left out")
        return []
    here = waypoints[-1]
    return [
        Photo(
            lon_deg=here.lon_deg,
            lat_deg=here.lat_deg,
            height_m=here.height_m,
            heading_deg=here.heading_deg,
            gimbal_pitch_deg=here.gimbal_pitch_deg,
        )
    ]


def _take_in(
    item: Item, number: int, reading: _Reading, waypoints: list[Waypoint], notes: list[str]
) -> None:
    """Take in a command that is not flown to."""
    changes = _setting(item, reading)
    if changes:
        if waypoints:
            waypoints[-1] = replace(waypoints[-1], **changes)  # type: ignore[arg-type]
        elif "speed_m_s" in changes:
            reading.transit_speed_m_s = reading.speed_m_s
    elif not _ground_command(item, number, reading) and item.command not in _WITHOUT_EFFECT:
        notes.append(f"command {item.command} is not understood and left out")


def _setting(item: Item, reading: _Reading) -> dict[str, object]:
    """Return what a command changes from the last waypoint on; nothing if it is no setting."""
    p = item.params
    match item.command:
        case Command.SPEED if p[1] > 0:
            reading.speed_m_s = p[1]
            return {"speed_m_s": p[1]}
        case Command.TRIGGER_DISTANCE:
            reading.spacing_m = p[0] if p[0] > 0 else math.nan
            role = Role.LINE if p[0] > 0 else Role.TRANSIT
            return {"photo_spacing_m": reading.spacing_m, "role": role}
        case Command.MOUNT | Command.GIMBAL_PITCH_YAW if math.isfinite(p[0]):
            reading.pitch_deg = p[0]
            return {"gimbal_pitch_deg": p[0]}
        case Command.YAW if p[3] == 0:
            return {"heading_deg": p[0] % 360.0}
    return {}


def _ground_command(item: Item, number: int, reading: _Reading) -> bool:
    """Take in a command about leaving or coming back to the ground; tell whether it is one."""
    p = item.params
    match item.command:
        case Command.TAKEOFF:
            reading.takeoff_height_m = p[6]
            reading.home = reading.home or _ground(item, number, reading)
        case Command.SET_HOME if p[0] == 0 and _has_place(item):
            lon, lat = _place(item, number, reading)
            reading.home = Place(lon_deg=lon, lat_deg=lat, ground_m=p[6])
        case Command.RETURN:
            reading.at_end = AtEnd.RETURN
        case Command.LAND:
            reading.at_end = AtEnd.LAND
            reading.landing = _ground(item, number, reading)
        case _:
            return False
    return True


def _ground(item: Item, number: int, reading: _Reading) -> Place | None:
    if not _has_place(item):
        return None
    lon, lat = _place(item, number, reading)
    return Place(lon_deg=lon, lat_deg=lat)
