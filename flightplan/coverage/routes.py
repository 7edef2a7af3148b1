"""Flight lines over a field, in the order flown: what path planning makes, in plan metres.

Plan coordinates are x east, y north in metres in the plan's own transverse Mercator (see
`tmp.geo.frames`); times follow `flightplan.equipment.flight_model`.

Ways from one line to another keep out of obstacles by shortest paths round corners; the time of a
route includes them and the run-ins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import dijkstra, shortest_path
from shapely import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from flightplan.equipment.flight_model import Motion, path_seconds
from tmp.errors import InputError

Float = NDArray[np.float64]

Mask = NDArray[np.bool_]
NADIR_DEG = -90.0
"""Pitch of a gimbal that looks straight down."""
NOTHING_M, NOTHING_M2 = 1e-6, 1e-6
"""Shorter ways are none, and slivers of less area are no ground."""
LEAST_ROOM_M = 0.06
"""Shortest way worth a waypoint at its end."""
TOUCH_M = 0.01
"""A way may run along an obstacle's rim; only what goes deeper than this is in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One straight flight line, in its direction of flight."""

    start: tuple[float, float]
    """Where the first photograph is taken, plan metres."""
    end: tuple[float, float]
    """Where the last photograph is taken at the latest, plan metres."""
    photos: int
    """Number of photographs, evenly spaced from start to end; at least 1."""
    run_in_m: float = 0.0
    """Way flown straight before the first photograph."""
    run_out_m: float = 0.0
    """Way flown straight after the last photograph."""
    pitch_deg: float = -90.0
    """Of the gimbal, which looks ahead along the line where this is above -90."""
    extra: bool = False
    """Whether it was added to a regular pattern, where that sees too little."""

    @property
    def length_m(self) -> float:
        """Distance from the first to the last photograph."""
        return float(np.hypot(self.end[0] - self.start[0], self.end[1] - self.start[1]))

    @property
    def heading_deg(self) -> float:
        """Course from start to end, clockwise from north; 0 for a line of no length."""
        dx, dy = self.end[0] - self.start[0], self.end[1] - self.start[1]
        return float(np.degrees(np.arctan2(dx, dy)) % 360.0)

    @property
    def course(self) -> Float:
        """Unit vector from start to end, (2,); zero for a line of no length."""
        way = np.array(self.end) - np.array(self.start)
        return np.asarray(way / self.length_m if self.length_m > 0 else np.zeros(2))

    @property
    def stations(self) -> Float:
        """Where the photographs are taken, (photos, 2)."""
        return np.linspace(self.start, self.end, self.photos)

    @property
    def spacing_m(self) -> float:
        """Distance from one photograph to the next; 0 for a single one."""
        return self.length_m / (self.photos - 1) if self.photos > 1 else 0.0

    @property
    def flown(self) -> Float:
        """Start of the run-in, first and last photograph, end of the run-out, (4, 2).

        A line of one photograph is taken without run-in and run-out: it has no direction.
        """
        start, end, course = np.array(self.start), np.array(self.end), self.course
        return np.array([start - self.run_in_m * course, start, end, end + self.run_out_m * course])

    @property
    def entry(self) -> tuple[float, float]:
        """Where the run-in starts."""
        x, y = self.flown[0].tolist()
        return x, y

    @property
    def exit(self) -> tuple[float, float]:
        """Where the run-out ends."""
        x, y = self.flown[-1].tolist()
        return x, y

    def reversed(self) -> Line:
        """Return the line flown the other way."""
        turned = replace(self, start=self.end, end=self.start)
        return replace(turned, run_in_m=self.run_out_m, run_out_m=self.run_in_m)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Lines in the order flown, and the ways between them."""

    lines: tuple[Line, ...]
    transits: tuple[Float, ...]
    """Way from the end of each line to the start of the next, (N, 2) with both ends; one fewer
    than lines.  Straight ways have two points; those round an obstacle have more."""
    time_s: float
    """From the first line's start to the last line's end, run-ins and turns included."""

    @property
    def photos(self) -> int:
        """Number of photographs."""
        return sum(line.photos for line in self.lines)

    @property
    def length_m(self) -> float:
        """Whole way flown, from the first line's start to the last one's end."""
        ways = sum(float(np.hypot(*np.diff(way, axis=0).T).sum()) for way in self.transits)
        return sum(line.length_m for line in self.lines) + ways


def route_path(route: Route) -> Float:
    """Return the whole way of a route (N, 2), from the first run-in to the last run-out."""
    return np.concatenate([part for part, _ in _parts(route)]) if route.lines else np.empty((0, 2))


def route_seconds(
    route: Route, motion: Motion, *, caps_m_s: Sequence[float] | None = None
) -> float:
    """Return the time of a route from the first run-in to the last run-out.

    `caps_m_s` are the highest speeds on each line; none by default.
    """
    caps = [math.inf] * len(route.lines) if caps_m_s is None else caps_m_s
    limits: list[float] = []
    for part, line in _parts(route):
        # The first leg leads from the part before to this one.
        limits += [math.inf] + [math.inf if line is None else caps[line]] * (len(part) - 1)
    return path_seconds(route_path(route), motion, caps_m_s=limits[1:])


def route_over(
    lines: Sequence[Line],
    airspace: Airspace,
    motion: Motion,
    *,
    caps_m_s: Sequence[float] | None = None,
) -> Route:
    """Return the route that flies lines in the order given, as `route_seconds` times it.

    Raises
    ------
    InputError
        If obstacles wall in a line.
    """
    transits = []
    for before, after in pairwise(lines):
        way = airspace.way(before.exit, after.entry, motion)
        if way is None:
            raise InputError("part of the area cannot be reached; exclusions wall it in")
        whole = np.concatenate([[before.end], way, [after.start]])
        moving = np.hypot(*np.diff(whole, axis=0).T) > 0
        transits.append(whole[np.concatenate([[True], moving])])
    route = Route(lines=tuple(lines), transits=tuple(transits), time_s=0.0)
    return replace(route, time_s=route_seconds(route, motion, caps_m_s=caps_m_s))


def _parts(route: Route) -> Iterator[tuple[Float, int | None]]:
    """Yield the ways of a route in order, each with the number of its line, None for transits.

    Transits hold the run-outs and run-ins between lines; only the very first run-in and the very
    last run-out are in none.
    """
    last = len(route.lines) - 1
    for number, line in enumerate(route.lines):
        yield line.flown[0 if number == 0 else 1 : 4 if number == last else 3], number
        if number < last:
            yield route.transits[number], None


def inserted(lines: list[Line], new: Sequence[Line]) -> list[Line]:
    """Return lines with new ones put where they cost the shortest detour."""
    ordered = list(lines)
    for line in new:
        best = math.inf, 0, line
        for place in range(len(ordered) + 1):
            for turned in (line, line.reversed()):
                before = ordered[place - 1] if place else None
                after = ordered[place] if place < len(ordered) else None
                detour = _gap(before, turned) + _gap(turned, after) - _gap(before, after)
                if detour < best[0]:
                    best = detour, place, turned
        ordered.insert(best[1], best[2])
    return ordered


def _gap(before: Line | None, after: Line | None) -> float:
    if before is None or after is None:
        return 0.0
    return float(math.dist(before.exit, after.entry))


class Airspace:
    """The plane without obstacles, which no way may enter, and `within` an area none may leave.

    Notes
    -----
    The shortest way among polygons bends only at their convex corners, so it is looked for in the
    graph of corners that see each other, by time.  Corners closer together than half the
    clearance are made one.

    References
    ----------
    Lozano-Pérez, T., & Wesley, M. A. (1979). An algorithm for planning collision-free paths among
    polyhedral obstacles. Communications of the ACM 22(10).
    """

    def __init__(
        self,
        obstacles: BaseGeometry,
        *,
        clearance_m: float = 0.0,
        within: BaseGeometry | None = None,
    ) -> None:
        solid = obstacles.buffer(clearance_m, join_style="mitre", mitre_limit=2.0)
        if clearance_m > 0:
            solid = solid.simplify(clearance_m / 2)
        if within is not None:
            frame = shapely.box(*within.union(solid).bounds).buffer(1000.0)
            solid = solid.union(frame.difference(within))
        self.solid: BaseGeometry = solid
        self._inside = solid.buffer(-TOUCH_M, join_style="mitre")
        shapely.prepare(self._inside)
        self.free = self._inside.is_empty
        self._corners = _convex_corners(solid)
        self._between: tuple[Motion, Float] | None = None

    def blocked(self, starts: ArrayLike, ends: ArrayLike) -> Mask:
        """Tell for straight ways from starts (N, 2) to ends (N, 2) which enter an obstacle."""
        starts, ends = np.atleast_2d(starts), np.atleast_2d(ends)
        if self.free:
            return np.zeros(len(starts), bool)
        ways = shapely.linestrings(np.stack([starts, ends], axis=1))
        return np.asarray(shapely.intersects(self._inside, ways))

    def open_parts(self, start: ArrayLike, end: ArrayLike) -> Float:
        """Return the parts of a line outside obstacles as distances from its start, (K, 2)."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        length = float(np.hypot(*(end - start)))
        if self.free:
            return np.array([[0.0, length]])
        rest = shapely.linestrings([start, end]).difference(self.solid)
        parts = [np.asarray(part.coords) for part in shapely.get_parts(rest) if not part.is_empty]
        if not parts:
            return np.empty((0, 2))
        ends = np.array([[part[0], part[-1]] for part in parts])
        return np.asarray(np.sort(np.hypot(*np.moveaxis(ends - start, 2, 0)), axis=1))

    def room_m(self, place: ArrayLike, course: ArrayLike, most_m: float) -> float:
        """Return how far one can fly from a place on a course, a unit vector, up to a bound.

        Less than `LEAST_ROOM_M` is none: a waypoint so near to another is the same.
        """
        parts = self.open_parts(place, np.asarray(place) + most_m * np.asarray(course))
        starts_here = parts[parts[:, 0] < NOTHING_M]
        room_m = float(starts_here[0, 1]) if len(starts_here) else 0.0
        return room_m if room_m >= LEAST_ROOM_M else 0.0

    def with_runs(self, line: Line, run_m: float) -> Line:
        """Return a line with as much run-in and run-out as asked, and there is room for."""
        course = line.course
        return replace(
            line,
            run_in_m=self.room_m(line.start, -course, run_m),
            run_out_m=self.room_m(line.end, course, run_m),
        )

    def reaches(self, start: ArrayLike, line: Line, motion: Motion) -> bool:
        """Tell whether a line is free, and there is a way to it from a place."""
        flown = line.flown
        free = not self.blocked(flown[0], flown[-1])[0]
        return free and self.way(start, line.entry, motion) is not None

    def seconds(self, starts: Float, ends: Float, motion: Motion) -> Float:
        """Return the time (N, M) from each start (N, 2) to each end (M, 2) round the obstacles.

        A stop is made at every bend; stops at the ends themselves cost no corner.  Infinite where
        there is no way.
        """
        straight = self._seen_seconds(starts, ends, motion)
        blocked = np.isinf(straight)
        if not blocked.any() or len(self._corners) == 0:
            return straight
        first = self._seen_seconds(starts, self._corners, motion)
        last = self._seen_seconds(self._corners, ends, motion)
        middle = self._between_corners(motion)
        to_corner = (first[:, :, None] + middle[None]).min(axis=1, initial=np.inf)
        detour = np.full_like(straight, np.inf)
        for corner in range(len(self._corners)):
            np.minimum(detour, to_corner[:, corner, None] + last[None, corner], out=detour)
        return np.where(blocked, detour + motion.corner_s, straight)

    def way(self, start: ArrayLike, end: ArrayLike, motion: Motion) -> Float | None:
        """Return the quickest way (N, 2) from start to end, or None where there is none."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        if not self.blocked(start, end)[0]:
            return np.array([start, end])
        count = len(self._corners)
        graph = np.full((count + 2, count + 2), np.inf)
        graph[:count, :count] = self._seen_seconds(self._corners, self._corners, motion)
        graph[:count, :count] += motion.corner_s
        graph[count, :count] = self._seen_seconds(start[None], self._corners, motion)[0]
        graph[:count, count + 1] = self._seen_seconds(self._corners, end[None], motion)[:, 0]
        away, before = dijkstra(graph, indices=count, return_predecessors=True)
        if not math.isfinite(away[count + 1]):
            return None
        bends, at = [], int(before[count + 1])
        while at != count:
            bends.append(self._corners[at])
            at = int(before[at])
        return np.array([start, *bends[::-1], end])

    def _seen_seconds(self, starts: Float, ends: Float, motion: Motion) -> Float:
        """Return the time (N, M) of straight ways, infinite for those that are blocked."""
        ways = starts.repeat(len(ends), 0), np.tile(ends, (len(starts), 1))
        blocked = self.blocked(*ways).reshape(len(starts), len(ends))
        legs = motion.leg_seconds(ends[None, :, :] - starts[:, None, :])
        return np.where(blocked, np.inf, legs)

    def _between_corners(self, motion: Motion) -> Float:
        """Return the time (K, K) from corner to corner, stops at the bends between included."""
        if self._between is None or self._between[0] != motion:
            legs = self._seen_seconds(self._corners, self._corners, motion) + motion.corner_s
            np.fill_diagonal(legs, 0.0)
            self._between = motion, np.asarray(shortest_path(legs))
        return self._between[1]


def _convex_corners(solid: BaseGeometry) -> Float:
    """Return the corners (K, 2) of polygons that a taut string could bend round."""
    # Counter-clockwise outside, clockwise inside: left turns stick out of the solid.
    corners = [
        points[before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0] > 0]
        for points, before, after in rings(solid)
    ]
    return np.concatenate([np.empty((0, 2)), *corners])


def rings(geometry: BaseGeometry) -> Iterator[tuple[Float, Float, Float]]:
    """Yield the corners of each ring of polygons, the edges (K, 2) before and after each corner.

    Outer rings run counter-clockwise, holes clockwise.
    """
    for polygon in shapely.get_parts(geometry):
        if not isinstance(polygon, Polygon) or polygon.is_empty:
            continue
        oriented = shapely.geometry.polygon.orient(polygon)
        for ring in (oriented.exterior, *oriented.interiors):
            points = np.asarray(ring.coords)[:-1]
            yield points, points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points


def holes_of(area: Polygon | MultiPolygon) -> BaseGeometry:
    """Return the holes of an area, without what of its other polygons lies in them."""
    holes = [Polygon(ring) for part in shapely.get_parts(area) for ring in part.interiors]
    return shapely.union_all(holes).difference(area) if holes else Polygon()


def obstacles_of(
    area: Polygon | MultiPolygon, exclusions: BaseGeometry | None, *, overfly_holes: bool = False
) -> BaseGeometry:
    """Return what may not be flown over: exclusions, and the area's holes unless they may be."""
    solid = Polygon() if overfly_holes else holes_of(area)
    return solid if exclusions is None else solid.union(exclusions)


def without(area: Polygon | MultiPolygon, exclusions: BaseGeometry | None) -> MultiPolygon:
    """Return what of an area is left to be seen.

    Raises
    ------
    InputError
        If the exclusions cover it.
    """
    ground = area if exclusions is None else area.difference(exclusions)
    parts = [part for part in shapely.get_parts(ground) if part.area > NOTHING_M2]
    if not parts:
        raise InputError("exclusions cover the whole area; leave some of it to be flown")
    return MultiPolygon(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What one photograph covers, and how far apart photographs and lines may be."""

    across_m: float
    """Width of the footprint, across the line."""
    along_m: float
    """Length of the footprint, along the line."""
    line_spacing_m: float
    """Greatest distance between neighbouring lines."""
    photo_spacing_m: float
    """Greatest distance between photographs of a line."""
    least_interval_s: float = 0.0
    """Shortest time from one photograph to the next; it slows lines whose photographs are close."""

    def __post_init__(self) -> None:
        for name, value, most in (
            ("line spacing", self.line_spacing_m, self.across_m),
            ("photo spacing", self.photo_spacing_m, self.along_m),
        ):
            if not 0 < value <= most:
                raise InputError(
                    f"{name} of {value!r} m with a footprint of {most!r} m; "
                    "ask for an overlap of 0 up to below 1"
                )

    def speed_cap_m_s(self, spacing_m: float) -> float:
        """Return the speed at which the camera keeps up with a spacing of photographs."""
        return spacing_m / self.least_interval_s if self.least_interval_s > 0 else np.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """A flight line in the making, in the frame of its sweep (see `Axes`)."""

    sweep: int
    """Number of the sweep it belongs to."""
    across_m: float
    start_m: float
    """Of the first photograph, along the sweep."""
    photos: int
    spacing_m: float

    @property
    def end_m(self) -> float:
        """Of the last photograph, along the sweep."""
        return self.start_m + (self.photos - 1) * self.spacing_m

    @property
    def length_m(self) -> float:
        """From the first to the last photograph."""
        return (self.photos - 1) * self.spacing_m

    def grown(self, before: int, after: int) -> Strip:
        """Return the strip with photographs added at its ends; negative numbers take away."""
        return replace(
            self,
            start_m=self.start_m - before * self.spacing_m,
            photos=self.photos + before + after,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """Directions along and across a sweep: unit vectors in plan coordinates."""

    heading_deg: float

    @property
    def along(self) -> Float:
        """Course of the lines (2,)."""
        heading = np.radians(self.heading_deg)
        return np.array([np.sin(heading), np.cos(heading)])

    @property
    def across(self) -> Float:
        """To the left of the course (2,)."""
        x, y = self.along
        return np.array([-y, x])

    def line(self, strip: Strip) -> Line:
        """Return a strip as a line in plan coordinates."""
        base = strip.across_m * self.across
        start, end = base + strip.start_m * self.along, base + strip.end_m * self.along
        return Line(
            start=(float(start[0]), float(start[1])),
            end=(float(end[0]), float(end[1])),
            photos=strip.photos,
        )
