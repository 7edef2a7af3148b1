"""A mission and its fence as they travel: MISSION_ITEM_INT, whole 1e-7 degrees.

What an autopilot is told is decided in `flightplan.formats.items`, for files and for the link.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.formats.coordinates import corners
from flightplan.formats.fences import fence_of
from flightplan.formats.items import Autopilot, Command, Frame, Item, home_item, mission_items
from flightplan.missions import HeightReference, Mission, Place
from tmp.errors import InputError

UNITS_PER_DEG = 1e7
"""Steps of an item's latitude and longitude, of 1.1 cm."""

_PLACED = (
    Command.WAYPOINT,
    Command.TAKEOFF,
    Command.LAND,
    mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_INCLUSION,
    mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_EXCLUSION,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WireItem:
    """One MISSION_ITEM_INT, without its number in the list."""

    command: int
    """MAV_CMD."""
    frame: int
    """MAV_FRAME: what `z` is measured from; MISSION where there is no place."""
    p1: float = 0.0
    p2: float = 0.0
    p3: float = 0.0
    p4: float = 0.0
    x: int = 0
    """Latitude in 1e-7 degrees, or parameter 5 of a command without a place."""
    y: int = 0
    """Longitude in 1e-7 degrees, or parameter 6."""
    z: float = 0.0
    """Height in metres, or parameter 7."""
    waypoint: int = field(default=-1, compare=False)
    """Index of the mission's waypoint flown to; -1 for other items, and when read back."""

    @classmethod
    def from_item(cls, item: Item) -> WireItem:
        """Round an item's place to what travels.

        Notes
        -----
        Commands without a place go in the frame MISSION: PX4 refuses to return home in another.
        """
        p1, p2, p3, p4, p5, p6, p7 = item.params
        placed = item.command in _PLACED
        scale = UNITS_PER_DEG if placed else 1.0
        return cls(
            command=int(item.command),
            frame=int(item.frame if placed else Frame.MISSION),
            p1=p1,
            p2=p2,
            p3=p3,
            p4=p4,
            x=round(p5 * scale),
            y=round(p6 * scale),
            z=p7,
        )

    @classmethod
    def from_message(cls, message: Any) -> WireItem:
        """Take an item out of a MISSION_ITEM_INT."""
        return cls(
            command=message.command,
            frame=message.frame,
            p1=message.param1,
            p2=message.param2,
            p3=message.param3,
            p4=message.param4,
            x=message.x,
            y=message.y,
            z=message.z,
        )

    def to_message(self, make: Any, target: tuple[int, int], seq: int, mission_type: int) -> Any:
        """Return the item as a MISSION_ITEM_INT.

        Parameters
        ----------
        make : pymavlink MAVLink
            The factory of messages.
        target : tuple of 2 ints
            System and component.
        """
        params = (self.p1, self.p2, self.p3, self.p4, self.x, self.y, self.z)
        current, go_on = int(seq == 0), 1
        return make.mission_item_int_encode(
            *target, seq, self.frame, self.command, current, go_on, *params, mission_type
        )

    def __str__(self) -> str:
        entry = mavlink.enums["MAV_CMD"].get(self.command)
        name = entry.name.removeprefix("MAV_CMD_") if entry else f"command {self.command}"
        if self.command not in _PLACED:
            return str(name)
        lat, lon = self.x / UNITS_PER_DEG, self.y / UNITS_PER_DEG
        return f"{name} at {lat:.7f}, {lon:.7f}, {self.z:g} m"


def wire_mission(mission: Mission, autopilot: Autopilot, home: Place) -> tuple[WireItem, ...]:
    """Return the items of a mission, in flying order.

    Parameters
    ----------
    home : Place
        Where the vehicle stands; it takes off here if the mission does not say where.

    Returns
    -------
    tuple of WireItem
        For ArduPilot the first is its home, which it overwrites with its own; see `has_home`.

    Raises
    ------
    InputError
        If the autopilot cannot fly heights above what the mission's are measured from.
    """
    if autopilot is Autopilot.PX4 and mission.height_reference is HeightReference.TERRAIN:
        raise InputError(
            f"mission {mission.name!r}: PX4 takes no heights above the terrain in a mission; "
            "plan with heights above the take-off point"
        )
    if mission.takeoff is None:
        mission = replace(mission, takeoff=home)
    first = [home_item(mission)] if has_home(autopilot) else []
    waypoint = -len(first)
    wired = []
    for item in (*first, *mission_items(mission, autopilot)):
        number = -1
        if item.command == Command.WAYPOINT:
            number = waypoint if waypoint < len(mission.waypoints) else -1
            waypoint += 1
        wired.append(replace(WireItem.from_item(item), waypoint=number))
    return tuple(wired)


def has_home(autopilot: Autopilot) -> bool:
    """Whether the autopilot keeps its home as the first item of a mission."""
    return autopilot is Autopilot.ARDUPILOT


def wire_fence(mission: Mission) -> tuple[WireItem, ...]:
    """Return the items of a mission's fence and exclusions; none where it has neither.

    Raises
    ------
    InputError
        If the fence has more corners than an autopilot holds, and cannot be simplified safely.
    """
    fence = fence_of(mission)
    return tuple(
        WireItem.from_item(
            Item(
                command=command,
                frame=Frame.AMSL,
                params=(float(len(vertices)), 0.0, 0.0, 0.0, lat, lon, 0.0),
            )
        )
        for command, polygons in (
            (mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_INCLUSION, fence.inside),
            (mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_EXCLUSION, fence.outside),
        )
        for vertices in (corners(polygon.exterior) for polygon in polygons)
        for lon, lat in vertices
    )


def waypoints_passed(items: Sequence[WireItem], seq: int) -> int:
    """Return the greatest index of a waypoint among the items up to `seq`; -1 for none."""
    return max((item.waypoint for item in items[: seq + 1]), default=-1)


def same_angle(a_deg: float, b_deg: float, tolerance_deg: float) -> bool:
    """Whether two angles agree, full turns aside.

    Examples
    --------
    >>> same_angle(359.999, 0.0, 0.01)
    True
    """
    return math.fabs((a_deg - b_deg + 180.0) % 360.0 - 180.0) <= tolerance_deg
