"""Longitudes, courses and numbers, as mission files want them.

A `Mission` keeps its longitudes in one piece across the antimeridian (181° rather than -179°);
files want -180 to 180.  Writers wrap, readers unwrap about the first point.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import shapely
from pyproj import Geod
from shapely import LinearRing, Polygon
from shapely.geometry.base import BaseGeometry

from flightplan.missions import Waypoint
from tmp.errors import InputError

_EARTH = Geod(ellps="WGS84")


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
    return (
        near(lon, start.lon_deg),
        lat,
        start.height_m + share * (end.height_m - start.height_m),
    )


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


def corners(ring: LinearRing) -> list[tuple[float, float]]:
    """Return a ring's (longitude, latitude) corners, wrapped, without the closing one."""
    return [(wrapped(lon), lat) for lon, lat in shapely.get_coordinates(ring)[:-1].tolist()]


def polygons_of(geometry: BaseGeometry | None) -> list[Polygon]:
    """Return the polygons of a polygon or multipolygon; none of None."""
    if geometry is None:
        return []
    return [part for part in shapely.get_parts(geometry).tolist() if isinstance(part, Polygon)]
