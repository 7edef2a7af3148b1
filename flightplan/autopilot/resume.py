"""What is left of a sortie that ended early."""

from __future__ import annotations

import math
from dataclasses import replace

from shapely import LineString, Point

from flightplan.formats.ways import photo_runs, photo_ways
from flightplan.missions import HeightReference, Mission, Place
from tmp.errors import InputError


def resume_from(mission: Mission, waypoint: int) -> int:
    """Return the waypoint to begin again at, after `waypoint` was the last one passed.

    Notes
    -----
    An interrupted line is flown anew from the waypoint before it, so that the drone is level and
    up to speed at its first photograph.  Lines that were whole are not flown again.
    """
    for run in photo_runs(photo_ways(mission.waypoints)):
        if run.first <= waypoint < run.last:
            return max(run.first - 1, 0)
    return max(waypoint, 0)


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
    spacings = photo_ways(mission.waypoints)
    if not spacings[first:] or (any(spacings) and not any(spacings[first:])):
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
