"""MAVLink mission items: what autopilots are told, and what `.plan` and WPL files list.

References
----------
MAVLink common message set, MAV_CMD and MAV_FRAME: https://mavlink.io/en/messages/common.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from flightplan.formats.coordinates import leg, wrapped
from flightplan.formats.ways import photo_stops, photo_ways, way_speed
from flightplan.missions import AtEnd, HeightReference, Mission
from tmp.errors import InputError


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
    DELAY = 93
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


MANY_ITEMS = 650
"""What ArduCopter 4.7 was seen to hold with its settings as delivered, home included."""

FRAMES = {
    HeightReference.TAKEOFF: Frame.TAKEOFF,
    HeightReference.TERRAIN: Frame.TERRAIN,
    HeightReference.AMSL: Frame.AMSL,
}

HOLD_S = 1.0
"""Hold at a waypoint that is marked as a halt; 0 would be flown through."""

ALREADY_FACING_DEG = 1.0
"""A heading this near to the course needs no command: drones face the way they fly."""

MOUNT_MAVLINK_TARGETING = 2.0

ONE_UNIT_DEG = 1e-7
"""Step of latitude and longitude as autopilots keep them, 1.1 cm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One MAVLink mission item."""

    command: int
    frame: int
    params: tuple[float, float, float, float, float, float, float]
    """Parameters 1 to 7; 5, 6, 7 are latitude, longitude (degrees) and height for places."""
    autocontinue: bool = True


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
    return _placed(
        Command.WAYPOINT,
        Frame.AMSL,
        (0.0, 0.0, 0.0, 0.0),
        (mission.takeoff.lon_deg, mission.takeoff.lat_deg, ground if math.isfinite(ground) else 0),
    )


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
    state = _Commanded()
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


class _Commanded:
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
        height = _first_height_takeoff_m(mission)
    yaw = 0.0 if autopilot is Autopilot.ARDUPILOT else math.nan
    params = (0.0, 0.0, 0.0, yaw, *home.params[4:6], height)
    return Item(command=Command.TAKEOFF, frame=Frame.TAKEOFF, params=params)


def _first_height_takeoff_m(mission: Mission) -> float:
    """Return the first waypoint's height above the take-off point."""
    height = mission.waypoints[0].height_m
    if mission.height_reference is HeightReference.AMSL:
        height -= mission.takeoff.ground_m if mission.takeoff else math.nan
    if not height > 0:
        raise InputError(
            f"mission {mission.name!r} does not say how high to climb at take-off; "
            "give the take-off height"
        )
    return height


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
    last = mission.waypoints[-1]
    at = mission.landing or last
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
