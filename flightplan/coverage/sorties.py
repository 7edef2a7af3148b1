"""Split a route into sorties: one battery each, cut where lines end.

A sortie takes off, climbs, flies to its first line, over its lines, home from the last one, and
lands with the reserve left.  Of all ways to cut the route, the one with the fewest sorties is
taken, and among these the one that flies the shortest time.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flightplan.coverage.routes import Line, Route
from flightplan.equipment.catalogue import CameraModel, Drone
from flightplan.equipment.flight_model import (
    SAME_PLACE_M,
    Airframe,
    Battery,
    Motion,
    airframe_of,
    climb_joules,
    path_joules,
    path_seconds,
    standing_w,
    vertical,
)
from tmp.errors import InputError

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
Point = tuple[float, float]
ROUNDING = 1e-9
"""Share of the budget by which costs added in another order may differ."""
POINTS_OF_LINE = 4
"""Waypoints of a line at one height: ends of run-in, of the photographs, and of run-out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SortieRules:
    """What a sortie may take, and from where it may start."""

    drone: Drone
    motion: Motion
    line_speed: Callable[[Line], float]
    """Ground speed in m/s at which the camera keeps up on a line."""
    launches: tuple[Point, ...]
    """Where one may take off and land, plan metres."""
    height_m: float
    """Above the take-off point, climbed to before anything else."""
    battery: Battery = field(default_factory=Battery)
    sight_m: float = math.inf
    """Greatest distance from the pilot, who stands at the launch."""
    land_elsewhere: bool = False
    """Whether a sortie may land at another of the launches."""
    seam_photos: int = 3
    """Photographs taken again where a line is cut in two."""
    way: Callable[[Point, Point], Float]
    """From one point to another round what may not be flown over, (N, 2) with both ends."""
    climb_m: Callable[[Float], float]
    """Metres climbed along a path (N, 2)."""

    def __post_init__(self) -> None:
        if not self.launches:
            raise InputError("no place to take off from; give one with --takeoff LON,LAT")
        if not (self.height_m > 0 and self.sight_m > 0):
            raise InputError(
                f"flying height {self.height_m!r} m and sight {self.sight_m!r} m must be positive"
            )
        if self.seam_photos < 0:
            raise InputError(f"{self.seam_photos!r} photographs at a seam; give 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class SortieCost:
    """Time, energy and waypoints."""

    seconds: float
    joules: float
    points: int = 0

    def __add__(self, other: SortieCost) -> SortieCost:
        """Return both together."""
        return SortieCost(
            seconds=self.seconds + other.seconds,
            joules=self.joules + other.joules,
            points=self.points + other.points,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What parts of a sortie cost."""

    rules: SortieRules
    frame: Airframe
    budget_j: float
    """Energy of one battery without its reserve."""
    fixed: SortieCost
    """Take-off climb and landing."""

    @classmethod
    def of(cls, rules: SortieRules) -> Prices:
        """Return the prices under some rules."""
        frame = airframe_of(rules.drone)
        seconds, joules = vertical(rules.drone, frame, rules.height_m, rules.motion.wind)
        return cls(
            rules=rules,
            frame=frame,
            budget_j=rules.drone.battery_wh * 3600 * rules.battery.usable,
            fixed=SortieCost(seconds=seconds, joules=joules),
        )

    def path(self, points: Float, *, cap_m_s: float = math.inf, corners: int = 1) -> SortieCost:
        """Return the cost of a path (N, 2), with `corners` more where it joins others."""
        motion = self.rules.motion
        caps = np.full(max(len(points) - 1, 0), cap_m_s)
        standing = standing_w(self.frame, motion.wind)
        return SortieCost(
            seconds=path_seconds(points, motion, caps_m_s=caps) + corners * motion.corner_s,
            joules=path_joules(points, motion, self.frame, caps_m_s=caps)
            + corners * motion.corner_s * standing
            + climb_joules(self.frame, self.rules.climb_m(points)),
            points=max(len(points) - 2, 0),
        )

    def line(self, line: Line) -> SortieCost:
        """Return the cost of a line with its run-in and run-out."""
        cost = self.path(line.flown, cap_m_s=self.rules.line_speed(line))
        return replace(cost, points=POINTS_OF_LINE)

    def affords(self, cost: SortieCost) -> bool:
        """Tell whether a battery and the controller allow a sortie of this cost."""
        few = cost.points <= self.rules.drone.max_points
        return few and cost.joules <= self.budget_j * (1 + ROUNDING)

    def alone(self, line: Line) -> str | None:
        """Return why a line cannot be a sortie of its own, and what helps; None when it can."""
        rules = self.rules
        away_m = {p: _farthest(p, line.flown) for p in rules.launches}
        seen = [p for p in rules.launches if away_m[p] <= rules.sight_m]
        if not seen:
            nearest_m = min(away_m.values())
            return (
                f"reaches {nearest_m:.0f} m from the nearest take-off, and {rules.sight_m:g} m is "
                "as far as one flies from the pilot; give a take-off nearer to it (--takeoff, "
                "several may do), plan the area in parts, or, where your rules allow it, say "
                f"--sight {math.ceil(nearest_m / 10) * 10}"
            )
        sorties = [
            self.fixed + self.line(line) + self.path(way_out) + self.path(way_home)
            for place in seen
            for landing in (rules.launches if rules.land_elsewhere else (place,))
            for way_out in [rules.way(place, line.entry)]
            for way_home in [rules.way(line.exit, landing)]
        ]
        if not any(self.affords(sortie) for sortie in sorties):
            cheapest = min(sorties, key=lambda sortie: sortie.joules)
            if cheapest.points > rules.drone.max_points:
                return (
                    f"takes {cheapest.points} waypoints and the controller "
                    f"{rules.drone.max_points}; plan the area in parts or choose another drone"
                )
            return (
                f"takes {cheapest.joules / self.budget_j:.0%} of what a battery gives; give "
                "further take-offs, keep less in reserve (--reserve) or choose another drone"
            )
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sortie:
    """One battery's flight."""

    first: int
    """Number of its first line, in the order flown over all sorties."""
    lines: tuple[Line, ...]
    transits: tuple[Float, ...]
    """Between its lines, as in the route; one fewer."""
    launch: Point
    landing: Point
    way_out: Float
    """From above the launch to the run-in of the first line, (N, 2)."""
    way_home: Float
    """From the run-out of the last line to above the landing, (N, 2)."""
    time_s: float
    """From take-off to landing."""
    distance_m: float
    """Flown level."""
    energy_share: float
    """Of the battery's rated capacity."""
    points: int
    """Waypoints."""
    farthest_m: float
    """Greatest distance from the launch."""

    @property
    def last(self) -> int:
        """Number of its last line."""
        return self.first + len(self.lines) - 1

    @property
    def photos(self) -> int:
        """Number of photographs."""
        return sum(line.photos for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorties:
    """All flights of a survey."""

    lines: tuple[Line, ...]
    """In the order flown; those too long for a battery in parts."""
    flights: tuple[Sortie, ...]

    @property
    def photos(self) -> int:
        """Number of photographs."""
        return sum(line.photos for line in self.lines)

    @property
    def time_s(self) -> float:
        """In the air, changes of battery not counted."""
        return sum(flight.time_s for flight in self.flights)

    @property
    def distance_m(self) -> float:
        """Flown level."""
        return sum(flight.distance_m for flight in self.flights)

    @property
    def batteries(self) -> int:
        """Full batteries needed."""
        return len(self.flights)

    def card_gb(self, cameras: Iterable[CameraModel]) -> float:
        """Return the card space of the photographs of all cameras whose size is known."""
        each_mb = (camera.photo_mb for camera in cameras if camera.photo_mb > 0)
        return sum(self.photos * one for one in each_mb) / 1000


def split_route(route: Route, rules: SortieRules) -> Sorties:
    """Split a route into the fewest sorties that batteries, sight and controller allow.

    Raises
    ------
    InputError
        If some line cannot be flown with a battery even in parts, is out of sight from every
        launch, or takes more waypoints than the controller does.
    """
    legs = _Legs.of(route, rules)
    count = len(legs.lines)
    best: list[tuple[int, float]] = [(0, 0.0)] + [(count + 1, math.inf)] * count
    came_from: list[tuple[int, Point, Point] | None] = [None] * (count + 1)
    for start in range(count):
        for flight in legs.from_line(start):
            flights, seconds = best[start][0] + 1, best[start][1] + flight.seconds
            if (flights, seconds) < best[flight.end]:
                best[flight.end] = flights, seconds
                came_from[flight.end] = start, flight.launch, flight.landing
    flights_made: list[Sortie] = []
    end = count
    while end:
        origin = came_from[end]
        assert origin is not None  # each line alone can be flown, or was refused
        start, launch, landing = origin
        flights_made.append(legs.sortie(start, end, launch, landing))
        end = start
    result = Sorties(lines=legs.lines, flights=tuple(reversed(flights_made)))
    log.info("%d lines in %d sorties, %.0f s", count, result.batteries, result.time_s)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flight:
    """A sortie that can be flown, ending before line `end`."""

    end: int
    seconds: float
    launch: Point
    landing: Point


@dataclass(frozen=True, slots=True, kw_only=True)
class _Legs:
    """A route's lines and transits with their costs."""

    prices: Prices
    lines: tuple[Line, ...]
    transits: tuple[Float | None, ...]
    """After each line but the last; None where the line goes on in the next, which begins a new
    sortie."""
    line_costs: tuple[SortieCost, ...]
    transit_costs: tuple[SortieCost, ...]
    out: dict[tuple[Point, int], SortieCost]
    """From each launch to each line."""
    home: dict[tuple[Point, int], SortieCost]

    @classmethod
    def of(cls, route: Route, rules: SortieRules) -> _Legs:
        if not route.lines:
            raise InputError("the route has no lines to fly")
        prices = Prices.of(rules)
        lines: list[Line] = []
        transits: list[Float | None] = []
        for number, line in enumerate(route.lines):
            parts = _parts(line, prices, number)
            lines += parts
            transits += [None] * (len(parts) - 1)
            transits += [np.asarray(way, float) for way in route.transits[number : number + 1]]
        nothing = SortieCost(seconds=0.0, joules=0.0)
        pairs = [(p, i, line) for p in rules.launches for i, line in enumerate(lines)]
        return cls(
            prices=prices,
            lines=tuple(lines),
            transits=tuple(transits),
            line_costs=tuple(prices.line(line) for line in lines),
            transit_costs=tuple(
                nothing if way is None else prices.path(_between(way, before, after))
                for way, (before, after) in zip(transits, pairwise(lines), strict=True)
            ),
            out={(p, i): prices.path(rules.way(p, line.entry)) for p, i, line in pairs},
            home={(p, i): prices.path(rules.way(line.exit, p)) for p, i, line in pairs},
        )

    def from_line(self, start: int) -> Iterator[_Flight]:
        """Yield the sorties that begin with a line: over it alone, it and the next, and so on."""
        rules, prices = self.prices.rules, self.prices
        over = prices.fixed
        seen = set(rules.launches)
        for end in range(start, len(self.lines)):
            if end > start:
                transit = self.transits[end - 1]
                if transit is None:
                    return
                over += self.transit_costs[end - 1]
                seen = {p for p in seen if _farthest(p, transit) <= rules.sight_m}
            over += self.line_costs[end]
            ends = self.lines[end].flown
            seen = {p for p in seen if _farthest(p, ends) <= rules.sight_m}
            if not seen or not prices.affords(over):
                return
            found = [
                (over + self.out[p, start] + self.home[q, end], p, q)
                for p in seen
                for q in (rules.launches if rules.land_elsewhere else (p,))
            ]
            found = [one for one in found if prices.affords(one[0])]
            if found:
                cost, launch, landing = min(found, key=lambda one: (one[0].seconds, one[1:]))
                yield _Flight(end=end + 1, seconds=cost.seconds, launch=launch, landing=landing)

    def sortie(self, start: int, end: int, launch: Point, landing: Point) -> Sortie:
        """Return the sortie over lines `start` up to before `end`."""
        rules, prices = self.prices.rules, self.prices
        lines = self.lines[start:end]
        transits = tuple(t for t in self.transits[start : end - 1] if t is not None)
        way_out, way_home = rules.way(launch, lines[0].entry), rules.way(lines[-1].exit, landing)
        cost = prices.fixed + self.out[launch, start] + self.home[landing, end - 1]
        for part in (*self.line_costs[start:end], *self.transit_costs[start : end - 1]):
            cost += part
        between = [_between(t, *two) for t, two in zip(transits, pairwise(lines), strict=True)]
        level_ways = [way_out, *between, way_home, *(line.flown for line in lines)]
        return Sortie(
            first=start,
            lines=lines,
            transits=transits,
            launch=launch,
            landing=landing,
            way_out=way_out,
            way_home=way_home,
            time_s=cost.seconds,
            distance_m=sum(float(np.hypot(*np.diff(w, axis=0).T).sum()) for w in level_ways),
            energy_share=cost.joules / (rules.drone.battery_wh * 3600),
            points=cost.points,
            farthest_m=max(_farthest(launch, w) for w in level_ways),
        )


def _parts(line: Line, prices: Prices, number: int) -> list[Line]:
    """Return a line whole, or in the fewest equal parts that can be flown one by one.

    Neighbouring parts share `seam_photos` photographs.
    """
    reason = prices.alone(line)
    if reason is None:
        return [line]
    shared = prices.rules.seam_photos
    most = line.photos // (shared + 1)
    finest = _cut(line, most, shared) if most > 1 else []
    # The ends of a line lie farthest from the launch: if those cannot be flown, no cut helps.
    if finest and all(prices.alone(part) is None for part in (finest[0], finest[-1])):
        for count in range(2, most + 1):
            parts = _cut(line, count, shared)
            if all(prices.alone(part) is None for part in parts):
                log.info("line %d is cut into %d parts: it %s", number + 1, count, reason)
                return parts
    raise InputError(
        f"line {number + 1}, {line.length_m:.0f} m long, cannot be flown even in parts: it {reason}"
    )


def _between(transit: Float, before: Line, after: Line) -> Float:
    """Return a transit without the run-out and run-in with which it begins and ends."""
    first = 1 if len(transit) > 1 and np.hypot(*(transit[1] - before.exit)) < SAME_PLACE_M else 0
    last = 1 if len(transit) > 1 and np.hypot(*(transit[-2] - after.entry)) < SAME_PLACE_M else 0
    return transit[first : max(len(transit) - last, first + 1)]


def _cut(line: Line, count: int, shared: int) -> list[Line]:
    """Return a line in equal parts, neighbours of which share so many photographs."""
    size = math.ceil((line.photos + (count - 1) * shared) / count)
    stations = [(x, y) for x, y in line.stations.tolist()]
    starts = [min(k * (size - shared), line.photos - size) for k in range(count)]
    return [
        replace(line, start=stations[a], end=stations[a + size - 1], photos=size) for a in starts
    ]


def _farthest(place: Point, path: ArrayLike) -> float:
    """Return the greatest distance of a path's points (N, 2) from a place."""
    away = np.asarray(path, float) - place
    return float(np.hypot(away[:, 0], away[:, 1]).max())
