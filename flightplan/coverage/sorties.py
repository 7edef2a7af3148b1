"""Split a route into sorties: by place, then by battery, cut where lines end.

Lines are first shared out among the take-off places, the fewest that see them all, and ordered
for each.  A sortie takes off, climbs, flies to its first line, over its lines, home from the last
one, and lands with the reserve left; what a battery still holds when the team moves on is flown
from the next place.  Of all ways to cut the lines, the one with the fewest batteries is taken,
among these the one with the fewest sorties, and then the one that flies the shortest time.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from flightplan.coverage.routes import Airspace, Line, Route, route_over, route_seconds
from flightplan.coverage.takeoffs import (
    Point,
    Seam,
    farthest_m,
    fewest_places,
    share_out,
    walked,
)
from flightplan.coverage.tours import UNREACHABLE_S, best_tour
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
ROUNDING = 1e-9
"""Share of the budget by which costs added in another order may differ."""
POINTS_OF_LINE = 4
"""Waypoints of a line at one height: ends of run-in, of the photographs, and of run-out."""
BEYOND_M = 1e6
"""Farther than any place of a survey, where sight is not bounded."""
WALK_M_S, SET_UP_S, CHANGE_S = 1.0, 300.0, 180.0
"""How fast a team moves with its things, what a place takes until the first take-off, and a change
of battery: for the hours in the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SortieRules:
    """What a sortie may take, and from where it may start."""

    drone: Drone
    motion: Motion
    line_speed: Callable[[Line], float]
    """Ground speed in m/s at which camera and drone keep up on a line."""
    way_speed: Callable[[Float], float] = field(default=lambda way: math.inf)
    """Ground speed in m/s at which the drone keeps up on a way between lines (N, 2)."""
    home_speed: Callable[[Float], float] | None = None
    """Ground speed in m/s on a way (N, 2) from or to the launch; by default that of other ways."""
    launches: tuple[Point, ...]
    """Where one may take off and land, plan metres; the fewest that do are taken."""
    height_m: float
    """Above the take-off point, climbed to before anything else."""
    battery: Battery = field(default_factory=Battery)
    sight_m: float = math.inf
    """Greatest distance from the pilot, who stands at the launch."""
    seam_photos: int = 3
    """Photographs taken again where a line is cut in two."""
    airspace: Airspace
    """What may not be flown over."""
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

    def way(self, start: Point, end: Point) -> Float:
        """Return the way from one point to another, (N, 2) with both ends.

        Raises
        ------
        InputError
            If there is none.
        """
        found = self.airspace.way(start, end, self.motion)
        if found is None:
            raise InputError("exclusions wall off part of the way; take off elsewhere")
        return found


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

    def path(
        self,
        points: Float,
        *,
        cap_m_s: float = math.inf,
        corners: int = 1,
        motion: Motion | None = None,
    ) -> SortieCost:
        """Return the cost of a path (N, 2), with `corners` more where it joins others."""
        motion = motion or self.rules.motion
        caps = np.full(max(len(points) - 1, 0), cap_m_s)
        standing = standing_w(self.frame, motion.wind)
        return SortieCost(
            seconds=path_seconds(points, motion, caps_m_s=caps) + corners * motion.corner_s,
            joules=path_joules(points, motion, self.frame, caps_m_s=caps)
            + corners * motion.corner_s * standing
            + climb_joules(self.frame, self.rules.climb_m(points)),
            points=max(len(points) - 2, 0),
        )

    def way(self, points: Float) -> SortieCost:
        """Return the cost of a way (N, 2) between lines."""
        return self.path(points, cap_m_s=self.rules.way_speed(points))

    def home(self, points: Float) -> SortieCost:
        """Return the cost of a way (N, 2) from the launch or to it."""
        if self.rules.home_speed is None:
            return self.way(points)
        motion = replace(self.rules.motion, cruise_m_s=self.rules.home_speed(points))
        return self.path(points, motion=motion)

    def line(self, line: Line) -> SortieCost:
        """Return the cost of a line with its run-in and run-out."""
        motion = self.rules.motion
        speed_m_s = min(self.rules.line_speed(line), motion.cruise_m_s)
        lost_s = sum(motion.run_lost_s(run, speed_m_s) for run in (line.run_in_m, line.run_out_m))
        lost = SortieCost(seconds=lost_s, joules=lost_s * standing_w(self.frame, motion.wind))
        return replace(self.path(line.flown, cap_m_s=speed_m_s) + lost, points=POINTS_OF_LINE)

    def affords(self, cost: SortieCost) -> bool:
        """Tell whether a battery and the controller allow a sortie of this cost."""
        few = cost.points <= self.rules.drone.max_points
        return few and cost.joules <= self.budget_j * (1 + ROUNDING)

    def alone(self, line: Line, place: Point) -> str | None:
        """Return why a line cannot be a sortie of its own, and what helps; None when it can."""
        rules = self.rules
        away_m = farthest_m(place, line.flown)
        if away_m > rules.sight_m:
            return (
                f"reaches {away_m:.0f} m from the nearest take-off, and {rules.sight_m:g} m is "
                "as far as one flies from the pilot; give a take-off nearer to it (--takeoff, "
                "several may do), plan the area in parts, or, where your rules allow it, say "
                f"--sight {math.ceil(away_m / 10) * 10}"
            )
        way_out, way_home = rules.way(place, line.entry), rules.way(line.exit, place)
        sortie = self.fixed + self.line(line) + self.home(way_out) + self.home(way_home)
        if self.affords(sortie):
            return None
        if sortie.points > rules.drone.max_points:
            return (
                f"takes {sortie.points} waypoints and the controller {rules.drone.max_points}; "
                "plan the area in parts or choose another drone"
            )
        return (
            f"takes {sortie.joules / self.budget_j:.0%} of what a battery gives; give "
            "further take-offs, keep less in reserve (--reserve) or choose another drone"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sortie:
    """One flight, from take-off to landing."""

    first: int
    """Number of its first line, in the order flown over all sorties."""
    lines: tuple[Line, ...]
    transits: tuple[Float, ...]
    """Between its lines, as in the route; one fewer."""
    launch: Point
    """Where it takes off and lands."""
    battery: int
    """Number of the battery that it flies with; sorties that follow each other may share one."""
    way_out: Float
    """From above the launch to the run-in of the first line, (N, 2)."""
    way_home: Float
    """From the run-out of the last line to above the launch, (N, 2)."""
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
        return max((flight.battery for flight in self.flights), default=0)

    @property
    def places(self) -> tuple[Point, ...]:
        """Take-off places in the order that the team comes to them."""
        return tuple(dict.fromkeys(flight.launch for flight in self.flights))

    @property
    def walk_m(self) -> float:
        """From the first place to the last, as the crow flies."""
        return sum(math.dist(*two) for two in pairwise(self.places))

    @property
    def field_s(self) -> float:
        """From the arrival at the first place to the last landing, as far as can be foreseen."""
        changes = max(self.batteries - 1, 0)
        moving_s = self.walk_m / WALK_M_S + SET_UP_S * len(self.places)
        return self.time_s + moving_s + CHANGE_S * changes


def card_gb(photos: int, cameras: Iterable[CameraModel]) -> float:
    """Return the card space of so many photographs of all cameras whose size is known."""
    each_mb = (camera.photo_mb for camera in cameras if camera.photo_mb > 0)
    return sum(photos * one for one in each_mb) / 1000


def split_route(route: Route, rules: SortieRules) -> Sorties:
    """Split a route into the fewest sorties that places, batteries, sight and controller allow.

    Where one place sees all, the lines are flown in the order of the route; else each place's
    lines in an order of their own.

    Raises
    ------
    InputError
        If some line cannot be flown with a battery even in parts, is out of sight from every
        launch, or takes more waypoints than the controller does.
    """
    if not route.lines:
        raise InputError("the route has no lines to fly")
    legs = _Legs.of(_shares(route, rules), Prices.of(rules))
    flown = legs.fewest()
    ends = [*(one.start for one in flown[1:]), len(legs.lines)]
    result = Sorties(lines=legs.lines, flights=tuple(map(legs.sortie, flown, ends)))
    log.info(
        "%d lines from %d places in %d sorties with %d batteries, %.0f s",
        *(len(result.lines), len(result.places), len(result.flights), result.batteries),
        result.time_s,
    )
    return result


def _shares(route: Route, rules: SortieRules) -> list[tuple[Point, Route]]:
    """Return the take-off places in the order walked, and what is flown from each."""
    run_m = max(max(line.run_in_m, line.run_out_m) for line in route.lines)
    seam = Seam(photos=rules.seam_photos, run_m=run_m)
    margin_m = max(map(seam.room_m, route.lines))
    launches, sight_m = np.array(rules.launches), min(rules.sight_m, BEYOND_M)
    found = fewest_places(route.lines, launches, sight_m, margin_m)
    places = [rules.launches[number] for number in found or range(len(launches))]
    if len(places) == 1:
        return [(places[0], route)]
    shared = share_out(route.lines, places, sight_m, seam)
    used = [number for number, lines in enumerate(shared) if lines]
    walk = walked([places[number] for number in used])
    return [(places[k], _in_order(shared[k], rules)) for k in (used[step] for step in walk)]


def _in_order(lines: tuple[Line, ...], rules: SortieRules) -> Route:
    """Return lines as they are quickest to fly: in the order given, or in one looked for."""
    airspace, motion = rules.airspace, rules.motion
    doubled = [turned for line in lines for turned in (line, line.reversed())]
    leave, enter = (np.array([getattr(one, end) for one in doubled]) for end in ("exit", "entry"))
    between = airspace.seconds(leave, enter, motion) + 2 * motion.corner_s
    order = best_tour(np.minimum(between, UNREACHABLE_S), np.zeros(len(doubled)), shakes=0)
    routes = [
        route_over(each, airspace, motion)
        for each in (lines, [doubled[state] for state in order.tolist()])
    ]
    return min(routes, key=lambda one: route_seconds(one, motion))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flown:
    """Sorties up to a line that can be flown: the last of them, and what they come to."""

    batteries: int
    flights: int
    seconds: float
    used_j: float
    """Of the last battery."""
    start: int
    """The last sortie's first line."""
    before: _Flown | None = None
    """Without the last sortie."""

    @property
    def order(self) -> tuple[int, int, float]:
        """Fewer is better."""
        return self.batteries, self.flights, self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class _Legs:
    """Lines in the order flown, and transits, with their costs."""

    prices: Prices
    lines: tuple[Line, ...]
    places: tuple[Point, ...]
    """From which each line is flown."""
    transits: tuple[Float | None, ...]
    """After each line but the last; None where a new sortie has to begin: where a line goes on in
    the next, and where the place changes."""
    line_costs: tuple[SortieCost, ...]
    transit_costs: tuple[SortieCost, ...]
    out: tuple[SortieCost, ...]
    """From each line's place to it."""
    home: tuple[SortieCost, ...]

    @classmethod
    def of(cls, shares: list[tuple[Point, Route]], prices: Prices) -> _Legs:
        rules = prices.rules
        lines: list[Line] = []
        places: list[Point] = []
        transits: list[Float | None] = []
        for place, route in shares:
            for number, line in enumerate(route.lines):
                parts = _parts(line, prices, place, len(lines))
                lines += parts
                places += [place] * len(parts)
                transits += [None] * (len(parts) - 1)
                ways = route.transits[number : number + 1]
                transits += [np.asarray(way, float) for way in ways] or [None]
        nothing = SortieCost(seconds=0.0, joules=0.0)
        ends = list(zip(places, lines, strict=True))
        return cls(
            prices=prices,
            lines=tuple(lines),
            places=tuple(places),
            transits=tuple(transits[:-1]),
            line_costs=tuple(prices.line(line) for line in lines),
            transit_costs=tuple(
                nothing if way is None else prices.way(_between(way, before, after))
                for way, (before, after) in zip(transits[:-1], pairwise(lines), strict=True)
            ),
            out=tuple(prices.home(rules.way(place, line.entry)) for place, line in ends),
            home=tuple(prices.home(rules.way(line.exit, place)) for place, line in ends),
        )

    def fewest(self) -> list[_Flown]:
        """Return the sorties of the best cut, in the order flown.

        Notes
        -----
        A shortest path over the lines.  Where the place changes, what is left in the battery
        counts as well, so that ways there are kept which none is better than in both.
        """
        nobody = _Flown(batteries=0, flights=0, seconds=0.0, used_j=math.inf, start=0)
        best: list[list[_Flown]] = [[nobody], *([] for _ in self.lines)]
        for start in range(len(self.lines)):
            moved = start > 0 and self.places[start] != self.places[start - 1]
            ways = _undominated(best[start]) if moved else best[start][:1]
            for end, cost in self.from_line(start):
                for way in ways:
                    shared = moved and way.used_j + cost.joules <= self.prices.budget_j
                    flown = _Flown(
                        batteries=way.batteries + (not shared),
                        flights=way.flights + 1,
                        seconds=way.seconds + cost.seconds,
                        used_j=cost.joules + (way.used_j if shared else 0.0),
                        start=start,
                        before=way,
                    )
                    best[end].append(flown)
                best[end].sort(key=lambda one: one.order)
        sorties: list[_Flown] = []
        last: _Flown | None = best[-1][0]
        while last is not None and last.before is not None:
            sorties.append(last)
            last = last.before
        return sorties[::-1]

    def from_line(self, start: int) -> Iterator[tuple[int, SortieCost]]:
        """Yield the sorties that begin with a line: over it alone, it and the next, and so on.

        Each by the number of the line before which it ends, and its cost.
        """
        prices, place = self.prices, self.places[start]
        over = prices.fixed + self.out[start]
        for end in range(start, len(self.lines)):
            if end > start:
                transit = self.transits[end - 1]
                if transit is None or farthest_m(place, transit) > prices.rules.sight_m:
                    return
                over += self.transit_costs[end - 1]
            over += self.line_costs[end]
            if not prices.affords(over):
                return
            if prices.affords(whole := over + self.home[end]):
                yield end + 1, whole

    def sortie(self, flown: _Flown, end: int) -> Sortie:
        """Return a sortie up to before line `end`."""
        rules, prices, start = self.prices.rules, self.prices, flown.start
        lines, place = self.lines[start:end], self.places[start]
        transits = tuple(t for t in self.transits[start : end - 1] if t is not None)
        way_out, way_home = rules.way(place, lines[0].entry), rules.way(lines[-1].exit, place)
        cost = prices.fixed + self.out[start] + self.home[end - 1]
        for part in (*self.line_costs[start:end], *self.transit_costs[start : end - 1]):
            cost += part
        between = [_between(t, *two) for t, two in zip(transits, pairwise(lines), strict=True)]
        level_ways = [way_out, *between, way_home, *(line.flown for line in lines)]
        return Sortie(
            first=start,
            lines=lines,
            transits=transits,
            launch=place,
            battery=flown.batteries,
            way_out=way_out,
            way_home=way_home,
            time_s=cost.seconds,
            distance_m=sum(float(np.hypot(*np.diff(w, axis=0).T).sum()) for w in level_ways),
            energy_share=cost.joules / (rules.drone.battery_wh * 3600),
            points=cost.points,
            farthest_m=max(farthest_m(place, w) for w in level_ways),
        )


def _undominated(ways: list[_Flown]) -> list[_Flown]:
    """Return of ways to the same line, the best first, each that uses less than all before it."""
    kept: list[_Flown] = []
    for way in ways:
        if not kept or (way.batteries, way.used_j) < (kept[-1].batteries, kept[-1].used_j):
            kept.append(way)
    return kept


def _parts(line: Line, prices: Prices, place: Point, number: int) -> list[Line]:
    """Return a line whole, or in the fewest equal parts that can be flown one by one.

    Neighbouring parts share `seam_photos` photographs.
    """
    reason = prices.alone(line, place)
    if reason is None:
        return [line]
    shared = prices.rules.seam_photos
    most = line.photos // (shared + 1)
    finest = _cut(line, most, shared) if most > 1 else []
    # The ends of a line lie farthest from the launch: if those cannot be flown, no cut helps.
    if finest and all(prices.alone(part, place) is None for part in (finest[0], finest[-1])):
        for count in range(2, most + 1):
            parts = _cut(line, count, shared)
            if all(prices.alone(part, place) is None for part in parts):
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
