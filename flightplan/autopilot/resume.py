"""What is left of a sortie that ended early."""

from __future__ import annotations

import math
from dataclasses import replace

from shapely import LineString, Point

from flightplan.missions import HeightReference, Mission, Place, Role
from tmp.errors import InputError


def resume_from(mission: Mission, waypoint: int) -> int:
    """Return the waypoint to begin again at, after `waypoint` was the last one passed.

    Notes
    -----
    An interrupted line is flown anew from its run-in, so that its photographs join up with those
    of the first flight; whatever was whole is not flown again.
    """
    index = max(waypoint, 0)
    if index > 0 and mission.waypoints[index].role is Role.RUN_OUT:
        index -= 1
    while (
        index > 0
        and mission.waypoints[index].role is Role.LINE
        and mission.waypoints[index - 1].role in (Role.LINE, Role.RUN_IN)
    ):
        index -= 1
    return index


def remaining(mission: Mission, first: int, home: Place) -> Mission:
    """Return a mission that flies what is left from a waypoint on.

    Parameters
    ----------
    first : int
        Index of the waypoint to begin at; see `resume_from`.
    home : Place
        Where it takes off, if the mission does not say.

    Raises
    ------
    InputError
        If nothing is left, or the straight way from the take-off point to what is left leaves
        the fence or enters an exclusion.

    Notes
    -----
    It climbs to the greatest height of the part flown before it sets out, for the straight way
    there was not looked at when the plan was made.
    """
    if first == 0:
        return mission
    if first >= len(mission.waypoints) - 1:
        raise InputError(f"mission {mission.name!r} was flown to its end; nothing is left")
    takeoff = mission.takeoff or home
    left = mission.waypoints[first:]
    start, end = (takeoff.lon_deg, takeoff.lat_deg), (left[0].lon_deg, left[0].lat_deg)
    way = LineString([start, end]) if start != end else Point(start)
    outside = mission.fence is not None and not mission.fence.covers(way)
    if outside or any(zone.intersects(way) for zone in mission.exclusions):
        raise InputError(
            f"mission {mission.name!r}: the straight way from the take-off point to waypoint "
            f"{first} leaves the fence or enters an exclusion; take off from elsewhere with a new "
            "plan of what is left"
        )
    climbs = [mission.takeoff_height_m]
    if mission.height_reference is HeightReference.TAKEOFF:
        climbs += [waypoint.height_m for waypoint in mission.waypoints[: first + 1]]
    climb = max((height for height in climbs if math.isfinite(height)), default=math.nan)
    return replace(mission, waypoints=left, photos=(), takeoff_height_m=climb, duration_s=math.nan)
