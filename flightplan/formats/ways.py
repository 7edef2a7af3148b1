"""What happens on each way of a mission: its speed, its photographs, its corners."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flightplan.formats.coordinates import along, leg, turn_deg
from flightplan.missions import Mission, Role, Waypoint

SNAP_M = 0.5
"""A photograph this near to a waypoint is taken at the waypoint."""

STRAIGHT_DEG = 5.0
"""Waypoints where the course changes by less count as straight on."""

GUARD_M = 10.0
"""Distance from a line's end at which an extra point keeps a curving drone on the line."""


def way_speed(mission: Mission, index: int) -> float:
    """Return the speed from waypoint `index` to the next, m/s; NaN where nothing says."""
    waypoint = mission.waypoints[index]
    if math.isfinite(waypoint.speed_m_s):
        return waypoint.speed_m_s
    on_line = waypoint.role is not Role.TRANSIT
    return mission.speed_m_s if on_line else mission.transit_speed_m_s


def photo_ways(waypoints: Sequence[Waypoint]) -> list[float]:
    """Return the photo spacing on each way, metres, 0 for none; one fewer than waypoints.

    Notes
    -----
    The camera stays on over a run-out: autopilots trigger a little late at every photograph, so
    the last one of a line would otherwise fall past the line's end, where nothing triggers.
    """
    spacings: list[float] = []
    for waypoint in waypoints[:-1]:
        spacing = waypoint.photo_spacing_m
        if not spacing > 0:
            spacing = spacings[-1] if waypoint.role is Role.RUN_OUT and spacings else 0.0
        spacings.append(spacing)
    return spacings


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoRun:
    """Ways flown one after the other with one photo spacing."""

    first: int
    """Index of the waypoint it starts at."""
    last: int
    """Index of the waypoint it ends at."""
    spacing_m: float


def photo_runs(spacings: Sequence[float]) -> list[PhotoRun]:
    """Return the runs of equal photo spacing over ways.

    Examples
    --------
    >>> [(run.first, run.last) for run in photo_runs([0.0, 15.0, 15.0, 0.0])]
    [(1, 3)]
    """
    runs: list[PhotoRun] = []
    for index, spacing in enumerate(spacings):
        if not spacing > 0:
            continue
        if runs and runs[-1].last == index and runs[-1].spacing_m == spacing:
            runs[-1] = replace(runs[-1], last=index + 1)
        else:
            runs.append(PhotoRun(first=index, last=index + 1, spacing_m=spacing))
    return runs


def photo_stops(mission: Mission) -> set[int]:
    """Return the waypoints at which a mission without photo spacing takes a photograph."""
    if any(photo_ways(mission.waypoints)):
        return set()
    stops: set[int] = set()
    start = 0
    for photo in mission.photos:
        here = Waypoint(lon_deg=photo.lon_deg, lat_deg=photo.lat_deg, height_m=photo.height_m)
        for index in range(start, len(mission.waypoints)):
            if leg(here, mission.waypoints[index])[1] <= SNAP_M:
                stops.add(index)
                start = index
                break
    return stops


def with_guards(waypoints: Sequence[Waypoint]) -> tuple[Waypoint, ...]:
    """Return the waypoints with extra ones that keep curving drones straight on lines.

    A drone that flies a smooth curve through its waypoints leaves a line near a corner.  Two
    points in a row along the line fix its direction there: a run-in and a run-out do, and where
    they are missing a point is added on the line near that end.
    """
    spacings = [waypoint.photo_spacing_m for waypoint in waypoints]
    guarded: list[Waypoint] = []
    for index, waypoint in enumerate(waypoints):
        guarded.append(waypoint)
        if index == len(waypoints) - 1 or not spacings[index] > 0:
            continue
        following = waypoints[index + 1]
        length = leg(waypoint, following)[1]
        inset = min(GUARD_M, length / 3)
        if inset < 1.0:
            continue
        if index == 0 or turn_deg(waypoints[index - 1], waypoint, following) > STRAIGHT_DEG:
            guarded.append(_between(waypoint, following, inset))
        if (
            index + 2 >= len(waypoints)
            or turn_deg(waypoint, following, waypoints[index + 2]) > STRAIGHT_DEG
        ):
            guarded.append(_between(waypoint, following, length - inset))
    return tuple(guarded)


def with_photo_points(waypoints: Sequence[Waypoint]) -> tuple[tuple[Waypoint, ...], set[int]]:
    """Return waypoints with one more for each photograph, and which of them take one."""
    runs = photo_runs(
        [way.photo_spacing_m if way.photo_spacing_m > 0 else 0 for way in waypoints[:-1]]
    )
    due = {run.first: run for run in runs}
    points: list[Waypoint] = []
    photos: set[int] = set()
    spacing, left, last = 0.0, 0.0, -1
    for index, waypoint in enumerate(waypoints):
        if index in due:
            spacing, left, last = due[index].spacing_m, 0.0, due[index].last
        points.append(waypoint)
        if index > last or (index == last and left > SNAP_M):
            continue
        if left <= SNAP_M:
            photos.add(len(points) - 1)
            left += spacing
        if index == last:
            continue
        length = leg(waypoint, waypoints[index + 1])[1]
        while left < length - SNAP_M:
            points.append(_between(waypoint, waypoints[index + 1], left))
            photos.add(len(points) - 1)
            left += spacing
        left -= length
    return tuple(points), photos


def _between(start: Waypoint, end: Waypoint, way_m: float) -> Waypoint:
    """Return a waypoint on a way, flown through as the way itself."""
    lon, lat, height = along(start, end, way_m)
    length = leg(start, end)[1]
    ground = start.ground_m + way_m / length * (end.ground_m - start.ground_m)
    return replace(start, lon_deg=lon, lat_deg=lat, height_m=height, ground_m=ground, stop=False)
