"""Longitudes, courses, fences and ways, as mission files want them.

A `Mission` keeps its longitudes in one piece across the antimeridian (181° rather than -179°);
files want -180 to 180.  Writers wrap, readers unwrap about the first point.

Fences become few corners on the safe side of what was drawn; each way of a mission has its speed,
its photographs and its corners.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import shapely
from pyproj import Geod
from shapely import LinearRing, LineString, Polygon
from shapely.geometry.base import BaseGeometry

from flightplan.formats.mission import Mission, Role, Waypoint, even_stations, photo_ways
from tmp.errors import InputError
from tmp.geo.frames import PlanFrame

_EARTH = Geod(ellps="WGS84")

MOST_CORNERS = 60
"""All polygons together; ArduCopter 4.7 was seen to refuse fences of 70 corners."""
_TOLERANCES_M = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
SNAP_M = 0.5
"""A photograph this near to a waypoint is taken at the waypoint."""
STRAIGHT_DEG = 5.0
"""Waypoints where the course changes by less count as straight on."""
GUARD_M = 10.0
"""Distance from a line's end at which an extra point keeps a curving drone on the line."""


def wrapped(lon_deg: float) -> float:
    """Return a longitude brought into -180 up to 180.

    Examples
    --------
    >>> wrapped(181.0), wrapped(-21.9)
    (-179.0, -21.9)
    """
    if not -180 <= lon_deg < 180:
        lon_deg = (lon_deg + 180.0) % 360.0 - 180.0
    # Written with nine decimals it must not become 180.
    return lon_deg if lon_deg < 180 - 5e-10 else -180.0


def near(lon_deg: float, about_deg: float) -> float:
    """Return a longitude within 180° of another.

    Examples
    --------
    >>> near(-179.5, 179.5)
    180.5
    """
    return lon_deg + 360.0 * round((about_deg - lon_deg) / 360.0)


def degrees(value_deg: float) -> str:
    """Return an angle as text, to 0.1 mm on the ground."""
    return f"{value_deg:.9f}"


def number(value: float, decimals: int = 3) -> str:
    """Return a number as text, without trailing zeros.

    Examples
    --------
    >>> number(60.0), number(12.3456), number(-0.0001)
    ('60', '12.346', '0')
    """
    text = f"{value:.{decimals}f}".rstrip("0").rstrip(".") if decimals else f"{value:.0f}"
    return "0" if text in ("-0", "") else text


def place(lon_deg: float, lat_deg: float, what: str) -> tuple[float, float]:
    """Return longitude and latitude if they are a place on Earth.

    Raises
    ------
    InputError
        If they are not finite or out of range.
    """
    if not (abs(lat_deg) <= 90 and abs(lon_deg) <= 360):
        raise InputError(
            f"{what} at latitude {lat_deg!r}, longitude {lon_deg!r} is not on Earth; "
            "check the order and the unit (degrees) of the coordinates"
        )
    return lon_deg, lat_deg


def finite(value: object, what: str) -> float:
    """Return a number read from a file.

    Raises
    ------
    InputError
        If it is not a finite number.
    """
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if isinstance(value, bool) or not math.isfinite(result):
        shown = repr(value)
        raise InputError(
            f"{what} is {shown if len(shown) < 60 else shown[:57] + '...'}, not a number; "
            "mend it or export the file again"
        )
    return result


def leg(start: Waypoint, end: Waypoint) -> tuple[float, float]:
    """Return course (degrees clockwise from north) and length (metres) between waypoints.

    References
    ----------
    Karney, C. F. F. (2013). Algorithms for geodesics. Journal of Geodesy 87.
    """
    course, _, length = _EARTH.inv(start.lon_deg, start.lat_deg, end.lon_deg, end.lat_deg)
    return course % 360.0, length


def turn_deg(before: Waypoint, at: Waypoint, after: Waypoint) -> float:
    """Return the change of course at a waypoint, 0 (straight on) to 180 (back)."""
    course_in, length_in = leg(before, at)
    course_out, length_out = leg(at, after)
    if min(length_in, length_out) < 1e-3:
        return 0.0
    return abs((course_out - course_in + 180.0) % 360.0 - 180.0)


def along(start: Waypoint, end: Waypoint, way_m: float) -> tuple[float, float, float]:
    """Return longitude, latitude and height at a distance from `start` towards `end`."""
    course, length = leg(start, end)
    lon, lat, _ = _EARTH.fwd(start.lon_deg, start.lat_deg, course, way_m)
    share = way_m / length if length else 0.0
    height_m = start.height_m + share * (end.height_m - start.height_m)
    return near(lon, start.lon_deg), lat, height_m


def ring_of(points: Iterable[Sequence[float]], about_deg: float, what: str) -> Polygon:
    """Return a polygon of (longitude, latitude) points, in one piece about a longitude.

    Raises
    ------
    InputError
        If it has fewer than three points, no area, or crosses itself.
    """
    ring = [(near(lon, about_deg), lat) for lon, lat in (place(p[0], p[1], what) for p in points)]
    polygon = Polygon(ring) if len(set(ring)) >= 3 else Polygon()
    if polygon.is_empty or not polygon.is_valid or polygon.area == 0:
        raise InputError(f"{what} is no polygon with an area; draw it again without crossing lines")
    return polygon


def with_holes(rings: Sequence[Polygon]) -> Polygon:
    """Return the polygon with an outer boundary and holes as read.

    Raises
    ------
    InputError
        If there is no boundary.
    """
    if not rings:
        raise InputError("a polygon has no boundary; draw it again")
    return Polygon(rings[0].exterior, [ring.exterior for ring in rings[1:]])


def waypoints_at(points: Sequence[tuple[float, float, float]]) -> tuple[Waypoint, ...]:
    """Return waypoints at (longitude, latitude, height), in one piece about the first."""
    about = near(points[0][0], 0.0)
    return tuple(
        Waypoint(lon_deg=near(lon, about), lat_deg=lat, height_m=height)
        for lon, lat, height in points
    )


def polygons_by_kind(mission: Mission) -> dict[str, list[Polygon]]:
    """Return what a mission covers, stays inside of, and keeps out of."""
    return {
        "area": polygons_of(mission.area),
        "fence": polygons_of(mission.fence),
        "exclusion": list(mission.exclusions),
    }


def first_line_m_s(waypoints: Iterable[Waypoint], otherwise: float = math.nan) -> float:
    """Return the speed on the first line; `otherwise` where there is none."""
    return next((w.speed_m_s for w in waypoints if w.role is Role.LINE), otherwise)


def corners(ring: LinearRing) -> list[tuple[float, float]]:
    """Return a ring's (longitude, latitude) corners, wrapped, without the closing one."""
    return [(wrapped(lon), lat) for lon, lat in shapely.get_coordinates(ring)[:-1].tolist()]


def polygons_of(geometry: BaseGeometry | None) -> list[Polygon]:
    """Return the polygons of a polygon or multipolygon; none of None."""
    if geometry is None:
        return []
    return [part for part in shapely.get_parts(geometry).tolist() if isinstance(part, Polygon)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """Polygons without holes that a drone stays inside of, or outside of; WGS 84."""

    inside: tuple[Polygon, ...] = ()
    outside: tuple[Polygon, ...] = ()

    @property
    def corners(self) -> int:
        """Number of corners, closing ones not counted."""
        return sum(len(p.exterior.coords) - 1 for p in self.inside + self.outside)


def fence_of(mission: Mission) -> Fence:
    """Return the mission's fence with at most `MOST_CORNERS` corners.

    The drone is never allowed anywhere it was not before: the fence shrinks and exclusions grow
    by what simplifying may cut.  Holes of the fence become exclusions.

    Raises
    ------
    InputError
        If so few corners cannot describe it, or would shut the mission's own path out.
    """
    outside = [Polygon(polygon.exterior) for polygon in mission.exclusions]
    inside = []
    if mission.fence is not None:
        inside = [Polygon(mission.fence.exterior)]
        outside += map(Polygon, mission.fence.interiors)
    fence = Fence(inside=tuple(inside), outside=tuple(outside))
    if fence.corners <= MOST_CORNERS:
        return fence
    first = mission.waypoints[0]
    frame = PlanFrame(lon_deg=first.lon_deg, lat_deg=first.lat_deg)
    path = frame.to_plan(_path(mission))
    for tolerance_m in _TOLERANCES_M:
        simpler = Fence(
            inside=tuple(_simplified(p, frame, -tolerance_m) for p in inside),
            outside=tuple(_simplified(p, frame, tolerance_m) for p in outside),
        )
        if simpler.corners <= MOST_CORNERS and _safe(simpler, fence, path, frame):
            return simpler
    raise InputError(
        f"the fence of mission {mission.name!r} has {fence.corners} corners and an autopilot "
        f"holds {MOST_CORNERS}; draw it simpler, or farther from the flight path"
    )


def _safe(simpler: Fence, drawn: Fence, path: BaseGeometry, frame: PlanFrame) -> bool:
    """Tell whether a fence allows nothing that was not allowed, and still allows the path."""
    within = [frame.to_plan(polygon) for polygon in simpler.inside]
    without = [frame.to_plan(polygon) for polygon in simpler.outside]
    return (
        all(frame.to_plan(o).covers(n) for o, n in zip(drawn.inside, within, strict=True))
        and all(n.covers(frame.to_plan(o)) for o, n in zip(drawn.outside, without, strict=True))
        and all(polygon.covers(path) for polygon in within)
        and not any(polygon.intersects(path) for polygon in without)
    )


def _path(mission: Mission) -> LineString:
    points = [(w.lon_deg, w.lat_deg) for w in mission.waypoints]
    return LineString(points if len(points) > 1 else points * 2)


def _simplified(polygon: Polygon, frame: PlanFrame, tolerance_m: float) -> Polygon:
    """Return a polygon of fewer corners, outside the old one; inside for a negative tolerance."""
    plan = frame.to_plan(polygon)
    moved = plan.buffer(tolerance_m, join_style="mitre").simplify(abs(tolerance_m) * 0.8)
    parts = polygons_of(moved)
    if not parts:
        return polygon
    largest = max(parts, key=lambda part: part.area)
    return shapely.Polygon(frame.to_geodetic(Polygon(largest.exterior)).exterior)


def way_speed(mission: Mission, index: int) -> float:
    """Return the speed from waypoint `index` to the next, m/s; NaN where nothing says."""
    waypoint = mission.waypoints[index]
    if math.isfinite(waypoint.speed_m_s):
        return waypoint.speed_m_s
    on_line = waypoint.role is not Role.TRANSIT
    return mission.speed_m_s if on_line else mission.transit_speed_m_s


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
    """Return waypoints with one more for each photograph, and which of them take one.

    Photographs stand as `flightplan.formats.mission.even_stations` has them; a bend of the way
    close to one is left out for it.
    """
    runs = photo_runs(
        [way.photo_spacing_m if way.photo_spacing_m > 0 else 0 for way in waypoints[:-1]]
    )
    due = {run.first: run for run in runs}
    points: list[Waypoint] = []
    photos: set[int] = set()
    index, closes = 0, False
    while index < len(waypoints):
        if closes or index in due:
            photos.add(len(points))
        points.append(waypoints[index])
        closes = False
        if index in due:
            run = due[index]
            within, closes = _photo_points(waypoints[index : run.last + 1], run.spacing_m)
            photos |= {len(points) + number for number, (_, taken) in enumerate(within) if taken}
            points += [point for point, _ in within]
            index = run.last
        else:
            index += 1
    return tuple(points), photos


def _photo_points(
    waypoints: Sequence[Waypoint], spacing_m: float
) -> tuple[list[tuple[Waypoint, bool]], bool]:
    """Return what lies between the ends of a run, with whether a photograph is taken there.

    Also whether one is taken where the run ends.
    """
    ways = [leg(here, there)[1] for here, there in pairwise(waypoints)]
    at = [0.0, *accumulate(ways)]
    stations = even_stations(at[-1], spacing_m).tolist()
    found = [
        (at_m, bend, False)
        for at_m, bend in zip(at[1:-1], waypoints[1:-1], strict=True)
        if min(abs(station - at_m) for station in stations) > SNAP_M
    ]
    for station in stations[1:-1]:
        way = bisect_right(at, station, hi=len(ways)) - 1
        point = _between(waypoints[way], waypoints[way + 1], station - at[way])
        found.append((station, point, True))
    found.sort(key=lambda one: one[0])
    return [(point, taken) for _, point, taken in found], len(stations) > 1


def _between(start: Waypoint, end: Waypoint, way_m: float) -> Waypoint:
    """Return a waypoint on a way, flown through as the way itself."""
    lon, lat, height = along(start, end, way_m)
    length = leg(start, end)[1]
    ground = start.ground_m + way_m / length * (end.ground_m - start.ground_m)
    return replace(start, lon_deg=lon, lat_deg=lat, height_m=height, ground_m=ground, stop=False)
