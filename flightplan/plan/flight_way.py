"""The way of one sortie in three dimensions, and which part of it is for what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from flightplan.coverage.routes import Line
from flightplan.coverage.sorties import Sortie
from flightplan.formats.mission import Role
from flightplan.terrain.height_band import FlightProfile, HeightBand, fit_heights
from flightplan.terrain.profiles import ground_profile
from flightplan.terrain.terrain import Terrain

Float = NDArray[np.float64]
CORRIDOR_M = 5.0
"""How far beside the way the drone may come: consumer GNSS and gusts."""
SAME_M = 0.05
"""Points closer than this are one."""
SHORTEST_M = 0.5
"""Shortest stretch on which photographs are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A stretch of a sortie's way that serves one purpose."""

    way: Float
    """Corners, plan metres (N, 2)."""
    role: Role
    line: Line | None = None
    """The line it belongs to; None for transits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlightWay:
    """A sortie's way from above its take-off to above its landing."""

    points: Float
    """Waypoints: plan x, y and height in the terrain's datum, (N, 3)."""
    legs: tuple[Leg, ...]
    """The stretch that begins at each waypoint but the last, (N - 1)."""
    begins: NDArray[np.bool_]
    """Whether a waypoint begins a stretch, or only bends it, (N,)."""
    photos: Float
    """Plan x, y and height of every photograph in the order taken, (M, 3)."""
    photo_lines: NDArray[np.int_]
    """Number within the sortie of the line each belongs to, (M,)."""
    profile: FlightProfile


def lay_way(sortie: Sortie, terrain: Terrain, band: HeightBand) -> FlightWay:
    """Return the way of a sortie inside a height band above the ground.

    Over level ground it is level.  Waypoints are where the way turns, where its purpose changes,
    and where the band asks for one.
    """
    legs = list(_legs(sortie))
    corners = [legs[0].way[0]]
    starts: list[tuple[float, Leg]] = []
    begun_m = 0.0
    turns_m = [0.0]
    for leg in legs:
        starts.append((begun_m, leg))
        for here, there in pairwise(leg.way):
            begun_m += float(np.hypot(*(there - here)))
            corners.append(there)
            turns_m.append(begun_m)
    way = np.array(corners)
    at = np.array(turns_m)
    profile = _heights(way, at, terrain, band)
    distance = np.sort(np.concatenate([at, profile.distance_m]))
    distance = distance[np.append(True, np.diff(distance) > SAME_M)]
    place = np.column_stack([np.interp(distance, at, way[:, axis]) for axis in (0, 1)])
    leg_start = np.array([start for start, _ in starts])
    which = np.searchsorted(leg_start, distance[:-1] + SAME_M / 2, side="right") - 1
    photos, photo_lines = _photos(starts, profile)
    return FlightWay(
        points=np.column_stack([place, profile.at(distance)]),
        legs=tuple(legs[number] for number in which),
        begins=np.append(np.abs(distance[:-1] - leg_start[which]) < SAME_M, True),
        photos=photos,
        photo_lines=photo_lines,
        profile=profile,
    )


def _heights(way: Float, at: Float, terrain: Terrain, band: HeightBand) -> FlightProfile:
    if float(np.ptp(terrain.heights)) == 0.0:
        level = float(terrain.heights.flat[0]) + band.height_m
        return FlightProfile(distance_m=at[[0, -1]], height_m=np.array([level, level]))
    ground = ground_profile(terrain, way, half_width_m=CORRIDOR_M)
    return fit_heights(ground.distance_m, ground.lowest_m, band, highest_m=ground.highest_m)


def _legs(sortie: Sortie) -> Iterator[Leg]:
    """Yield the parts of a sortie in order; none is shorter than a step."""
    yield from _transit(sortie.way_out)
    for number, line in enumerate(sortie.lines):
        entry, start, end, leave = _flown(line)
        for here, there, role in (
            (entry, start, Role.RUN_IN),
            (start, end, Role.LINE),
            (end, leave, Role.RUN_OUT),
        ):
            if role is Role.LINE or np.hypot(*(there - here)) > SAME_M:
                yield Leg(way=np.array([here, there]), role=role, line=line)
        if number < len(sortie.transits):
            # A transit begins and ends with the run-out and run-in that the lines have already.
            after = _flown(sortie.lines[number + 1])[0]
            inner = [
                point
                for point in sortie.transits[number][1:-1]
                if min(np.hypot(*(point - leave)), np.hypot(*(point - after))) > SAME_M
            ]
            yield from _transit(np.array([leave, *inner, after]))
    yield from _transit(sortie.way_home)


def _flown(line: Line) -> Float:
    """Return a line's four corners; even a single photograph has a stretch on which it is taken."""
    corners = line.flown
    if line.length_m >= SHORTEST_M:
        return corners
    course = corners[3] - corners[0]
    length = float(np.hypot(*course))
    along = (course / length if length > SAME_M else np.array([0.0, 1.0])) * SHORTEST_M / 2
    start, end = corners[1] - along, corners[2] + along
    entry = corners[0] if line.run_in_m > SHORTEST_M else start
    leave = corners[3] if line.run_out_m > SHORTEST_M else end
    return np.array([entry, start, end, leave])


def _transit(way: Float) -> Iterator[Leg]:
    if float(np.hypot(*np.diff(way, axis=0).T).sum()) > SAME_M:
        yield Leg(way=np.asarray(way, float), role=Role.TRANSIT)


def _photos(
    starts: list[tuple[float, Leg]], profile: FlightProfile
) -> tuple[Float, NDArray[np.int_]]:
    places, lines = [np.empty((0, 3))], [np.empty(0, int)]
    number = 0
    for start, leg in starts:
        if leg.role is Role.LINE and leg.line is not None:
            stations = leg.line.stations
            along = start + np.hypot(*(stations - stations[0]).T)
            places.append(np.column_stack([stations, profile.at(along)]))
            lines.append(np.full(len(stations), number))
            number += 1
    return np.concatenate(places), np.concatenate(lines)
