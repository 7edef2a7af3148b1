"""MAVLink mission items: what autopilots are told, and what `.plan` and WPL files list.

They are written from a mission, and read into one, whoever wrote them.

References
----------
MAVLink common message set, MAV_CMD and MAV_FRAME: https://mavlink.io/en/messages/common.html
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

from flightplan.formats.geometry import (
    first_line_m_s,
    leg,
    near,
    photo_stops,
    place,
    way_speed,
    wrapped,
)
from flightplan.formats.mission import (
    AtEnd,
    HeightReference,
    Mission,
    Photo,
    Place,
    Role,
    Waypoint,
    photo_ways,
)
from tmp.errors import InputError

MANY_ITEMS = 650
"""What ArduCopter 4.7 was seen to hold with its settings as delivered, home included."""
HOLD_S = 1.0
"""Hold at a waypoint that is marked as a halt; 0 would be flown through."""
ALREADY_FACING_DEG = 1.0
"""A heading this near to the course needs no command: drones face the way they fly."""
MOUNT_MAVLINK_TARGETING = 2.0
ONE_UNIT_DEG = 1e-7
"""Step of latitude and longitude as autopilots keep them, 1.1 cm."""


class Autopilot(StrEnum):
    """Whose reading of the commands is meant."""

    ARDUPILOT = "ardupilot"
    PX4 = "px4"


class Command(IntEnum):
    """MAV_CMD numbers that missions use."""

    WAYPOINT = 16
    LOITER_UNLIMITED = 17
    LOITER_TURNS = 18
    LOITER_TIME = 19
    RETURN = 20
    LAND = 21
    TAKEOFF = 22
    LOITER_TO_HEIGHT = 31
    SPLINE_WAYPOINT = 82
    YAW = 115
    SPEED = 178
    SET_HOME = 179
    ONE_PHOTO = 203
    MOUNT = 205
    TRIGGER_DISTANCE = 206
    GIMBAL_PITCH_YAW = 1000
    START_PHOTOS = 2000
    STOP_PHOTOS = 2001


class Frame(IntEnum):
    """MAV_FRAME numbers: what an item's height is measured from."""

    AMSL = 0
    MISSION = 2
    """No place at all.  ArduPilot takes a waypoint in it to be above sea level."""
    TAKEOFF = 3
    AMSL_INT = 5
    TAKEOFF_INT = 6
    TERRAIN = 10
    TERRAIN_INT = 11


FRAMES = {
    HeightReference.TAKEOFF: Frame.TAKEOFF,
    HeightReference.TERRAIN: Frame.TERRAIN,
    HeightReference.AMSL: Frame.AMSL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One MAVLink mission item."""

    command: int
    frame: int
    params: tuple[float, float, float, float, float, float, float]
    """Parameters 1 to 7; 5, 6, 7 are latitude, longitude (degrees) and height for places."""


def home_item(mission: Mission) -> Item:
    """Return the row that stands for home: where the drone takes off, above sea level.

    Raises
    ------
    InputError
        If the mission has no take-off place.
    """
    if mission.takeoff is None:
        raise InputError(
            f"mission {mission.name!r} has no take-off place, which autopilots count heights "
            "from; add one"
        )
    ground = mission.takeoff.ground_m
    where = mission.takeoff.lon_deg, mission.takeoff.lat_deg, ground if math.isfinite(ground) else 0
    return _placed(Command.WAYPOINT, Frame.AMSL, (0.0, 0.0, 0.0, 0.0), where)


def mission_items(mission: Mission, autopilot: Autopilot) -> tuple[Item, ...]:
    """Return what the autopilot is told, from take-off to landing, without the home row.

    Only commands that ArduCopter and PX4 accept in a mission are used.  Speed, gimbal and camera
    follow the waypoint at which they take effect.

    Raises
    ------
    InputError
        If the mission has no take-off place, or its heights are above the ellipsoid, which
        autopilots do not know.
    """
    frame = FRAMES.get(mission.height_reference)
    if frame is None:
        raise InputError(
            f"mission {mission.name!r} has heights above the {mission.height_reference.value}, "
            "which autopilots do not take; give heights above the take-off point"
        )
    items = [_takeoff(mission, autopilot)]
    state = _CommandState()
    spacings = photo_ways(mission.waypoints)
    stops = photo_stops(mission)
    items += state.speed(mission.transit_speed_m_s)
    for index, waypoint in enumerate(mission.waypoints):
        yaw = 0.0 if autopilot is Autopilot.ARDUPILOT else waypoint.heading_deg
        hold = HOLD_S if waypoint.stop else 0.0
        where = (waypoint.lon_deg, waypoint.lat_deg, waypoint.height_m)
        items.append(_placed(Command.WAYPOINT, frame, (hold, 0.0, 0.0, yaw), where))
        items += state.gimbal(waypoint.gimbal_pitch_deg)
        last = index == len(mission.waypoints) - 1
        if not last:
            items += state.speed(way_speed(mission, index))
        items += state.trigger(0.0 if last else spacings[index])
        if index in stops:
            items.append(_one_photo(autopilot))
        if not last and autopilot is Autopilot.ARDUPILOT:
            items += _yaw(mission, index)
    return (*items, *_ending(mission))


def size_notes(count: int) -> tuple[str, ...]:
    """Return a warning for more items than an ArduPilot holds as delivered."""
    if count <= MANY_ITEMS:
        return ()
    return (
        f"{count} items with home, and ArduPilot holds {MANY_ITEMS} as delivered: set "
        "BRD_SD_MISSION on a board with a memory card, or split the mission",
    )


class _CommandState:
    """What has been commanded so far, so that nothing is commanded twice."""

    def __init__(self) -> None:
        self._speed_m_s = math.nan
        self._pitch_deg = math.nan
        self._spacing_m = 0.0

    def speed(self, speed_m_s: float) -> list[Item]:
        """Return the command for a ground speed; none where it holds or nothing is asked."""
        if not math.isfinite(speed_m_s) or speed_m_s == self._speed_m_s:
            return []
        self._speed_m_s = speed_m_s
        return [_done(Command.SPEED, 1.0, speed_m_s, -1.0)]

    def gimbal(self, pitch_deg: float) -> list[Item]:
        """Return the command for a gimbal pitch, -90 down."""
        if not math.isfinite(pitch_deg) or pitch_deg == self._pitch_deg:
            return []
        self._pitch_deg = pitch_deg
        return [_done(Command.MOUNT, pitch_deg, p7=MOUNT_MAVLINK_TARGETING)]

    def trigger(self, spacing_m: float) -> list[Item]:
        """Return the command for a photo spacing, 0 for none, with one photograph at once."""
        if spacing_m == self._spacing_m:
            return []
        at_once = 1.0 if spacing_m > 0 and self._spacing_m == 0 else 0.0
        self._spacing_m = spacing_m
        return [_done(Command.TRIGGER_DISTANCE, spacing_m, 0.0, at_once)]


def _takeoff(mission: Mission, autopilot: Autopilot) -> Item:
    home = home_item(mission)
    height = mission.takeoff_height_m
    if not math.isfinite(height):
        height = mission.waypoints[0].height_m
        if mission.height_reference is HeightReference.AMSL:
            height -= mission.takeoff.ground_m if mission.takeoff else math.nan
        if not height > 0:
            raise InputError(
                f"mission {mission.name!r} does not say how high to climb at take-off; "
                "give the take-off height"
            )
    yaw = 0.0 if autopilot is Autopilot.ARDUPILOT else math.nan
    params = (0.0, 0.0, 0.0, yaw, *home.params[4:6], height)
    return Item(command=Command.TAKEOFF, frame=Frame.TAKEOFF, params=params)


def _yaw(mission: Mission, index: int) -> list[Item]:
    """Return ArduPilot's command for a heading other than the course of the way."""
    waypoint = mission.waypoints[index]
    course, length = leg(waypoint, mission.waypoints[index + 1])
    off = abs((waypoint.heading_deg - course + 180.0) % 360.0 - 180.0)
    if not off > ALREADY_FACING_DEG or length < 0.1:
        return []
    return [_done(Command.YAW, waypoint.heading_deg % 360.0)]


def _one_photo(autopilot: Autopilot) -> Item:
    if autopilot is Autopilot.ARDUPILOT:
        return _done(Command.ONE_PHOTO, p5=1.0)
    return _done(Command.START_PHOTOS, 0.0, 0.0, 1.0)


def _ending(mission: Mission) -> list[Item]:
    """Return the way home; landing away from the take-off needs a place to land at."""
    if mission.at_end is AtEnd.HOVER:
        return []
    zeros = (0.0, 0.0, 0.0, 0.0)
    if mission.at_end is AtEnd.RETURN and mission.landing is None:
        return [Item(command=Command.RETURN, frame=Frame.TAKEOFF, params=(*zeros, 0.0, 0.0, 0.0))]
    at = mission.landing or mission.waypoints[-1]
    return [_placed(Command.LAND, Frame.TAKEOFF, zeros, (at.lon_deg, at.lat_deg, 0.0))]


def _placed(
    command: Command,
    frame: Frame,
    params: tuple[float, float, float, float],
    where: tuple[float, float, float],
) -> Item:
    lon, lat, height = where
    if max(abs(lon), abs(lat)) < ONE_UNIT_DEG / 2:
        # Autopilots take 0, 0 for wherever the drone is.
        lat = math.copysign(ONE_UNIT_DEG, lat)
    return Item(command=command, frame=frame, params=(*params, lat, wrapped(lon), height))


def _done(
    command: Command,
    p1: float = 0.0,
    p2: float = 0.0,
    p3: float = 0.0,
    *,
    p5: float = 0.0,
    p7: float = 0.0,
) -> Item:
    """Return an item that is done rather than flown to."""
    return Item(command=command, frame=Frame.MISSION, params=(p1, p2, p3, 0.0, p5, 0.0, p7))


_REFERENCES = {
    **{frame: reference for reference, frame in FRAMES.items()},
    Frame.AMSL_INT: HeightReference.AMSL,
    Frame.TAKEOFF_INT: HeightReference.TAKEOFF,
    Frame.TERRAIN_INT: HeightReference.TERRAIN,
}
_HALTS = {command for command in Command if command.name.startswith("LOITER")}
_FLOWN = {Command.WAYPOINT, Command.SPLINE_WAYPOINT, *_HALTS}
_WITHOUT_EFFECT = {0, 112, 530, int(Command.STOP_PHOTOS)}
"""Commands that change neither the way flown nor where photographs are taken."""


@dataclass(slots=True)
class _ItemState:
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
    """Return the mission that a list of items without a home row describes.

    PX4 turns to a waypoint's parameter 4, ArduPilot drops it.  MAVLink knows no roles: a way with
    photographs reads as a line, any other as a transit.

    Raises
    ------
    InputError
        If nothing is flown to, a place is not on Earth, or heights are measured from several
        things that cannot be brought together.
    """
    about = next((i.params[5] for i in items if i.command in _FLOWN and _has_place(i)), 0.0)
    state = _ItemState(about_deg=near(about, 0.0), home=home, autopilot=autopilot)
    waypoints: list[Waypoint] = []
    references: list[HeightReference] = []
    photos: list[Photo] = []
    notes: list[str] = []
    for number, item in enumerate(items, start=1):
        if item.command in _FLOWN:
            waypoints.append(_waypoint(item, number, state, waypoints, notes))
            references.append(_reference(item, number))
        elif item.command in (Command.ONE_PHOTO, Command.START_PHOTOS):
            photos += _photos(item, waypoints, notes)
        else:
            _take_in(item, number, state, waypoints, notes)
    if not waypoints:
        raise InputError("no waypoint in it; it is not a mission to fly")
    reference = _one_reference(waypoints, references, state.home)
    return Mission(
        name=name,
        waypoints=tuple(waypoints),
        photos=tuple(photos),
        takeoff=state.home,
        landing=state.landing,
        height_reference=reference,
        takeoff_height_m=state.takeoff_height_m,
        speed_m_s=first_line_m_s(waypoints),
        transit_speed_m_s=state.transit_speed_m_s,
        at_end=state.at_end,
        notes=tuple(dict.fromkeys(notes)),
    )


def _has_place(item: Item) -> bool:
    return any(value != 0 and math.isfinite(value) for value in item.params[4:6])


def _place(item: Item, number: int, state: _ItemState) -> tuple[float, float]:
    lon, lat = place(item.params[5], item.params[4], f"item {number} (command {item.command})")
    return near(lon, state.about_deg), lat


def _waypoint(
    item: Item, number: int, state: _ItemState, before: list[Waypoint], notes: list[str]
) -> Waypoint:
    if _has_place(item):
        lon, lat = _place(item, number, state)
    elif before or state.home:
        here = before[-1] if before else state.home
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
    photographs = state.spacing_m > 0
    turns = state.autopilot is Autopilot.PX4 and item.command == Command.WAYPOINT
    return Waypoint(
        lon_deg=lon,
        lat_deg=lat,
        height_m=item.params[6],
        speed_m_s=state.speed_m_s,
        heading_deg=item.params[3] % 360.0 if turns else math.nan,
        gimbal_pitch_deg=state.pitch_deg,
        role=Role.LINE if photographs else Role.TRANSIT,
        photo_spacing_m=state.spacing_m,
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
    return [Photo.at(waypoints[-1])]


def _take_in(
    item: Item, number: int, state: _ItemState, waypoints: list[Waypoint], notes: list[str]
) -> None:
    """Take in a command that is not flown to."""
    changes = _setting(item, state)
    if changes:
        if waypoints:
            waypoints[-1] = replace(waypoints[-1], **changes)  # type: ignore[arg-type]
        elif "speed_m_s" in changes:
            state.transit_speed_m_s = state.speed_m_s
    elif not _ground_command(item, number, state) and item.command not in _WITHOUT_EFFECT:
        notes.append(f"command {item.command} is not understood and left out")


def _setting(item: Item, state: _ItemState) -> dict[str, object]:
    """Return what a command changes from the last waypoint on; nothing if it is no setting."""
    p = item.params
    match item.command:
        case Command.SPEED if p[1] > 0:
            state.speed_m_s = p[1]
            return {"speed_m_s": p[1]}
        case Command.TRIGGER_DISTANCE:
            state.spacing_m = p[0] if p[0] > 0 else math.nan
            role = Role.LINE if p[0] > 0 else Role.TRANSIT
            return {"photo_spacing_m": state.spacing_m, "role": role}
        case Command.MOUNT | Command.GIMBAL_PITCH_YAW if math.isfinite(p[0]):
            state.pitch_deg = p[0]
            return {"gimbal_pitch_deg": p[0]}
        case Command.YAW if p[3] == 0:
            return {"heading_deg": p[0] % 360.0}
    return {}


def _ground_command(item: Item, number: int, state: _ItemState) -> bool:
    """Take in a command about leaving or coming back to the ground; tell whether it is one."""
    p = item.params
    match item.command:
        case Command.TAKEOFF:
            state.takeoff_height_m = p[6]
            state.home = state.home or _ground(item, number, state)
        case Command.SET_HOME if p[0] == 0 and _has_place(item):
            lon, lat = _place(item, number, state)
            state.home = Place(lon_deg=lon, lat_deg=lat, ground_m=p[6])
        case Command.RETURN:
            state.at_end = AtEnd.RETURN
        case Command.LAND:
            state.at_end = AtEnd.LAND
            state.landing = _ground(item, number, state)
        case _:
            return False
    return True


def _ground(item: Item, number: int, state: _ItemState) -> Place | None:
    if not _has_place(item):
        return None
    lon, lat = _place(item, number, state)
    return Place(lon_deg=lon, lat_deg=lat)
