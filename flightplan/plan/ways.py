"""The way of a sortie over the ground, and where its file takes the photographs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from flightplan.coverage.routes import Line
from flightplan.coverage.sorties import Sortie
from flightplan.coverage.spacing import KEEPS_UP, Spacing
from flightplan.equipment.catalogue import App, Drone
from flightplan.equipment.flight_model import airframe_of, economical_m_s
from flightplan.formats.mission import (
    TIMER_PHASES,
    ReleasedBy,
    Role,
    releases,
    spacing_in_file,
)
from flightplan.formats.mission_files import FORMATS, flown_by, released_by
from flightplan.plan.request import CORRIDOR_M, PlanRequest
from flightplan.terrain.height_band import (
    FlightProfile,
    HeightBand,
    fit_heights,
    following_share,
)
from flightplan.terrain.profiles import ground_profile
from flightplan.terrain.terrain import Terrain

Float = NDArray[np.float64]
SAME_M = 0.05
"""Points closer than this are one."""
SHORTEST_M = 0.5
"""Shortest stretch on which photographs are taken."""
SPARE = 0.5
"""Photographs up to this part of their spacing beyond the ends of a line count as on it."""
SLOWEST_M_S, SPEED_STEP_M_S = 1.5, 0.1
"""Lowest speed on steep ground, and the steps in which it is said."""


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
    speeds_m_s: Float
    """Ground speed from each waypoint but the last, (N - 1,)."""
    photos: Float
    """Plan x, y and height of every photograph as the drone's own file takes it, (M, 3)."""
    photo_lines: NDArray[np.int_]
    """Number within the sortie of the line each belongs to, (M,)."""
    on_line: NDArray[np.bool_]
    """Which of them are taken on the line itself, and not on its run-in or run-out, (M,)."""
    profile: FlightProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """How fast a drone flies: as its cameras keep up, and as it rises and falls with the ground.

    Each line and each way between lines has one speed, at which the drone can follow the ground
    below it, see `following_share`.
    """

    spacing: Spacing
    request: PlanRequest
    terrain: Terrain
    band: HeightBand
    """With slopes at the greatest speed of lines."""
    home_m_s: float
    """On level ways from the launch and to it."""
    known: dict[bytes, float] = field(default_factory=dict, compare=False)
    """Speeds over ways looked at before."""

    @classmethod
    def of(
        cls, spacing: Spacing, request: PlanRequest, terrain: Terrain, band: HeightBand
    ) -> Speeds:
        """Return the speeds of a plan: from the launch and to it, that which saves most energy."""
        drone = request.drone
        economical = economical_m_s(airframe_of(drone), drone.mission_speed_m_s)
        home_m_s = max(economical, spacing.speed_m_s)
        return cls(spacing=spacing, request=request, terrain=terrain, band=band, home_m_s=home_m_s)

    def on_line(self, line: Line) -> float:
        """Return the ground speed in m/s on a line, its run-in and its run-out."""
        slowest = max(camera.least_interval_s for camera in self.request.cameras)
        keeps_up = KEEPS_UP * line.spacing_m / slowest
        speed_m_s = min(
            self.spacing.speed_m_s,
            keeps_up if line.spacing_m else math.inf,
            self._over_ground(_flown(line), self.spacing.speed_m_s, only_ends=False),
        )
        if released_by(self.request.drone) is ReleasedBy.TIMER:
            # DJI's files say hundredths: so flown, photographs are where they are proved.
            return math.floor(100 * speed_m_s) / 100
        return speed_m_s

    def on_steep_lines(self, lines: Iterable[Line]) -> list[float]:
        """Return the ground speeds in m/s of those lines that the ground slows down."""
        most_m_s = self.spacing.speed_m_s
        over = (self._over_ground(_flown(line), most_m_s, only_ends=False) for line in lines)
        return [speed_m_s for speed_m_s in over if speed_m_s < most_m_s]

    def on_way(self, way: Float) -> float:
        """Return the ground speed in m/s on a way between lines, (N, 2)."""
        return self._over_ground(way, self.spacing.speed_m_s, only_ends=True)

    def on_way_home(self, way: Float) -> float:
        """Return the ground speed in m/s on a way from the launch or to it, (N, 2)."""
        return self._over_ground(way, self.home_m_s, only_ends=True)

    def _over_ground(self, way: Float, most_m_s: float, *, only_ends: bool) -> float:
        """Return the speed, up to a bound, at which a drone keeps its height over a way (N, 2)."""
        x0, y0, x1, y1 = self.terrain.bounds
        # Beyond the ground known so far it is taken to go on level.
        way = np.clip(way, (x0, y0), (x1, y1))
        length_m = float(np.hypot(*np.diff(way, axis=0).T).sum())
        if length_m < SAME_M or float(np.ptp(self.terrain.heights)) == 0.0:
            return most_m_s
        key = np.round(way, 2).tobytes() + f"{most_m_s} {only_ends}".encode()
        if key not in self.known:
            ground = ground_profile(self.terrain, way, half_width_m=CORRIDOR_M)
            slower = self.spacing.speed_m_s / most_m_s
            share = following_share(
                ground.distance_m,
                ground.lowest_m,
                replace(
                    self.band, climb=slower * self.band.climb, descent=slower * self.band.descent
                ),
                highest_m=ground.highest_m,
                least=min(SLOWEST_M_S / most_m_s, 1.0),
                only_ends=only_ends,
            )
            steps = math.floor(share * most_m_s / SPEED_STEP_M_S)
            self.known[key] = most_m_s if share == 1.0 else round(steps * SPEED_STEP_M_S, 6)
        return self.known[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """How the file of a drone takes the photographs of its lines."""

    by: ReleasedBy
    spacing: Spacing
    speeds: Speeds
    interval_s: float
    """Of the camera's timer, as the pilot sets it: whole seconds, too short for no line."""
    phase: float = 0.0
    """Of the timer where a line begins, see `flightplan.formats.mission.releases`."""

    @classmethod
    def of(cls, lines: Iterable[Line], speeds: Speeds) -> Release:
        """Return how the drone of a plan releases along its lines."""
        by = released_by(speeds.request.drone)
        release = cls(by=by, spacing=speeds.spacing, speeds=speeds, interval_s=1.0)
        waits = [release.spacing_m(one) / release.speed_m_s(one) for one in lines]
        return replace(release, interval_s=float(max(math.floor(min(waits) + 1e-6), 1)))

    def spacing_m(self, line: Line) -> float:
        """Return the spacing in the file of a line."""
        camera_on_m = line.length_m + line.run_out_m
        wanted_m = line.spacing_m or self.spacing.photo_m
        return spacing_in_file(wanted_m, line.photos, camera_on_m)

    def flown_m(self, line: Line) -> float:
        """Return the way from one photograph of a line to the next, as the file has it."""
        if self.by in (ReleasedBy.TIMER, ReleasedBy.INTERVAL):
            return self.interval_s * self.speed_m_s(line)
        return self.spacing_m(line)

    def speed_m_s(self, line: Line) -> float:
        """Return the ground speed on a line, its run-in and its run-out."""
        return self.speeds.on_line(line)

    def along(self, line: Line) -> Float:
        """Return where photographs are taken on a line, metres from its first, run-out included.

        A timer takes some on the run-in too, at less than nothing.
        """
        entry, start, end, leave = _flown(line)
        begin = entry if self.by is ReleasedBy.TIMER else start
        goes_off = end if self.by is ReleasedBy.POINT else leave
        before_m, after_m = np.hypot(*(start - begin)), np.hypot(*(goes_off - begin))
        found = releases(float(after_m), self.flown_m(line), self.by, self.phase)
        return np.asarray(found - before_m)

    def others(self) -> Iterator[Release]:
        """Yield the other ways in which the photographs may come.

        By other phases of a timer, and by other files of the plan that the drone flies.
        """
        if self.by is ReleasedBy.TIMER:
            yield from (replace(self, phase=one) for one in TIMER_PHASES if one != self.phase)
        files = dict.fromkeys(FORMATS[one].by for one in flown_by(self.speeds.request.drone))
        yield from (replace(self, by=by, phase=0.0) for by in files if by is not self.by)


def points_of(way: FlightWay, drone: Drone) -> int:
    """Return the waypoints of a way in the drone's own file.

    In DJI Fly's a point more keeps the drone straight at each end of a line without a run.
    """
    lines = {id(leg.line): leg.line for leg in way.legs if leg.line is not None}.values()
    bare = sum((one.run_in_m < SAME_M) + (one.run_out_m < SAME_M) for one in lines)
    return len(way.points) + bare * (drone.app is App.DJI_FLY)


def lay_way(sortie: Sortie, release: Release) -> FlightWay:
    """Return the way of a sortie inside a height band above the ground.

    Over level ground it is level.  Waypoints are where the way turns, where its purpose changes,
    and where the band asks for one.
    """
    legs, way = list(_legs(sortie)), way_of(sortie)
    steps = [np.hypot(*np.diff(leg.way, axis=0).T) for leg in legs]
    at = np.cumsum(np.concatenate([[0.0], *steps]))
    leg_start = at[np.cumsum([0, *map(len, steps[:-1])])]
    speeds_m_s = np.array(_speeds(legs, release.speeds))
    profile = _heights(way, at, np.repeat(speeds_m_s, list(map(len, steps))), release.speeds)
    # A bend that all but meets a corner is the corner, whose stretch has a speed of its own.
    bends = profile.distance_m[np.abs(profile.distance_m[:, None] - at).min(axis=1) > SAME_M]
    distance = np.sort(np.concatenate([at, bends]))
    distance = distance[np.append(True, np.diff(distance) > SAME_M)]
    place = np.column_stack([np.interp(distance, at, way[:, axis]) for axis in (0, 1)])
    which = np.searchsorted(leg_start, distance[:-1] + SAME_M / 2, side="right") - 1
    photos, photo_lines, on_line = _photos(legs, leg_start, profile, release)
    return FlightWay(
        points=np.column_stack([place, profile.at(distance)]),
        legs=tuple(legs[number] for number in which),
        begins=np.append(np.abs(distance[:-1] - leg_start[which]) < SAME_M, True),
        speeds_m_s=speeds_m_s[which],
        photos=photos,
        photo_lines=photo_lines,
        on_line=on_line,
        profile=profile,
    )


def released(way: FlightWay, release: Release) -> FlightWay:
    """Return a way with the photographs that come in another way."""
    begin = np.flatnonzero(way.begins[:-1])
    along = np.cumsum(np.concatenate([[0.0], np.hypot(*np.diff(way.points[:, :2], axis=0).T)]))
    legs = [way.legs[number] for number in begin]
    photos, photo_lines, on_line = _photos(legs, along[begin], way.profile, release)
    return replace(way, photos=photos, photo_lines=photo_lines, on_line=on_line)


def way_of(sortie: Sortie) -> Float:
    """Return the corners of a sortie's way over the ground, plan metres (N, 2)."""
    legs = list(_legs(sortie))
    return np.concatenate([legs[0].way[:1], *(leg.way[1:] for leg in legs)])


def _speeds(legs: Sequence[Leg], speeds: Speeds) -> list[float]:
    """Return the ground speed of each leg; the first and last may lead from and to the launch."""
    ends = 0, len(legs) - 1
    return [
        speeds.on_line(leg.line)
        if leg.line is not None
        else (speeds.on_way_home if number in ends else speeds.on_way)(leg.way)
        for number, leg in enumerate(legs)
    ]


def _heights(way: Float, at: Float, speeds_m_s: Float, speeds: Speeds) -> FlightProfile:
    """Return the heights along a way (N, 2) with corners at distances (N,), at speeds (N - 1,).

    The slower the drone, the more it climbs for each metre along: heights are fitted over the
    distances at which the way would be flown at one speed in the same time.
    """
    terrain, band = speeds.terrain, speeds.band
    if float(np.ptp(terrain.heights)) == 0.0:
        level = float(terrain.heights.flat[0]) + band.height_m
        return FlightProfile(distance_m=at[[0, -1]], height_m=np.array([level, level]))
    ground = ground_profile(terrain, way, half_width_m=CORRIDOR_M)
    slower = speeds.spacing.speed_m_s / speeds_m_s
    evenly = np.concatenate([[0.0], np.cumsum(np.diff(at) * slower)])
    fitted = fit_heights(
        np.interp(ground.distance_m, at, evenly),
        ground.lowest_m,
        band,
        highest_m=ground.highest_m,
    )
    # Straight at one speed is bent where the speed changes.
    changes = np.flatnonzero(np.diff(slower)) + 1
    places = np.union1d(fitted.distance_m, evenly[changes])
    return FlightProfile(
        distance_m=np.interp(places, evenly, at),
        height_m=fitted.at(places),
        excesses=tuple(
            replace(
                one,
                start_m=float(np.interp(one.start_m, evenly, at)),
                end_m=float(np.interp(one.end_m, evenly, at)),
            )
            for one in fitted.excesses
        ),
    )


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
    legs: Sequence[Leg], leg_start: Float, profile: FlightProfile, release: Release
) -> tuple[Float, NDArray[np.int_], NDArray[np.bool_]]:
    places, on_line = [np.empty((0, 3))], [np.empty(0, bool)]
    spare_m = release.spacing.photo_m * SPARE
    for start, leg in zip(leg_start, legs, strict=True):
        if leg.role is Role.LINE and leg.line is not None:
            along = release.along(leg.line)
            first, last = leg.way
            stations = first + along[:, None] * (last - first) / np.hypot(*(last - first))
            places.append(np.column_stack([stations, profile.at(start + along)]))
            on_line.append((along >= -spare_m) & (along <= leg.line.length_m + spare_m))
    counts = [len(each) for each in places[1:]]
    lines = np.repeat(np.arange(len(counts)), counts)
    return np.concatenate(places), lines, np.concatenate(on_line)
