"""Split a route into sorties: one battery each, cut where lines end.

A sortie takes off, climbs, flies to its first line, over its lines, home from the last one, and
lands with the reserve left.  Of all ways to cut the route, the one with the fewest sorties is
taken, and among these the one that flies the shortest time.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from flightplan.coverage.pricing import Cost, Point, Prices, SortieRules, entry, farthest, leave
from flightplan.coverage.routes import Line, Route
from flightplan.equipment.flight_model import SAME_PLACE_M
from tmp.errors import InputError

log = logging.getLogger(__name__)

Float = NDArray[np.float64]


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

    def card_mb(self, photo_mb: float) -> float:
        """Return the card space of all photographs at so much each."""
        return self.photos * photo_mb


def split_route(route: Route, rules: SortieRules) -> Sorties:
    """Split a route into the fewest sorties that batteries, sight and controller allow.

    Parameters
    ----------
    route : Route
        Plan metres.

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
    line_costs: tuple[Cost, ...]
    transit_costs: tuple[Cost, ...]
    out: dict[tuple[Point, int], Cost]
    """From each launch to each line."""
    home: dict[tuple[Point, int], Cost]

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
        nothing = Cost(seconds=0.0, joules=0.0)
        places = rules.launches
        return cls(
            prices=prices,
            lines=tuple(lines),
            transits=tuple(transits),
            line_costs=tuple(prices.line(line) for line in lines),
            transit_costs=tuple(
                nothing if way is None else prices.path(_between(way, before, after))
                for way, (before, after) in zip(transits, pairwise(lines), strict=True)
            ),
            out={
                (p, i): prices.path(rules.way(p, entry(n)))
                for p in places
                for i, n in enumerate(lines)
            },
            home={
                (p, i): prices.path(rules.way(leave(n), p))
                for p in places
                for i, n in enumerate(lines)
            },
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
                seen = {p for p in seen if farthest(p, transit) <= rules.sight_m}
            over += self.line_costs[end]
            ends = self.lines[end].flown
            seen = {p for p in seen if farthest(p, ends) <= rules.sight_m}
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
        way_out, way_home = rules.way(launch, entry(lines[0])), rules.way(leave(lines[-1]), landing)
        cost = prices.fixed + self.out[launch, start] + self.home[landing, end - 1]
        for number in range(start, end):
            cost += self.line_costs[number]
        for number in range(start, end - 1):
            cost += self.transit_costs[number]
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
            farthest_m=max(farthest(launch, w) for w in level_ways),
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
        f"line {number + 1}, {line.length_m:.0f} m long, cannot be flown even in parts: it "
        f"{reason}; give further take-offs, keep less in reserve or choose another drone"
    )


def _between(transit: Float, before: Line, after: Line) -> Float:
    """Return a transit without the run-out and run-in with which it begins and ends."""
    first = 1 if len(transit) > 1 and np.hypot(*(transit[1] - leave(before))) < SAME_PLACE_M else 0
    last = 1 if len(transit) > 1 and np.hypot(*(transit[-2] - entry(after))) < SAME_PLACE_M else 0
    return transit[first : max(len(transit) - last, first + 1)]


def _cut(line: Line, count: int, shared: int) -> list[Line]:
    """Return a line in equal parts, neighbours of which share so many photographs."""
    size = math.ceil((line.photos + (count - 1) * shared) / count)
    stations = [(x, y) for x, y in line.stations.tolist()]
    starts = [min(k * (size - shared), line.photos - size) for k in range(count)]
    return [
        replace(line, start=stations[a], end=stations[a + size - 1], photos=size) for a in starts
    ]
