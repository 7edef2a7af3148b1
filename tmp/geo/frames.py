"""Where things are: geodetic coordinates, the local frame, and the map grid.

``world`` is the local east-north-up frame in metres about `LocalFrame.origin`; poses, tie points
and rays live there.  Products live in ``map``: easting and northing in a projected CRS with the
height unchanged.  Heights are carried in the vertical datum of the GNSS positions (see
`tmp.captures.HeightDatum`); no geoid model is applied, so a height in equals a height out.

A mission is laid out in a plane of its own: true metres about the area, at any latitude.

How far a CRS of another datum can be trusted is told by `describe_datum_shift`: PROJ takes the best
transformation whose grid files are there, and says nothing when a better one lacks its file.  The
sun's direction is given by its elevation and its azimuth from north, as seen from a place.  People
read a place by its hemispheres, and by the country that it is in or near.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from datetime import timedelta, timezone
from functools import cached_property, lru_cache
from pathlib import PurePosixPath

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS, Transformer
from pyproj.aoi import AreaOfInterest
from pyproj.database import query_crs_info, query_utm_crs_info
from pyproj.enums import PJType
from pyproj.exceptions import ProjError
from pyproj.transformer import TransformerGroup
from shapely.geometry.base import BaseGeometry

from tmp.errors import InputError

Float = NDArray[np.float64]

EGM96_GRID = "us_nga_egm96_15.tif"
"""Heights of the geoid that 'pyproj sync' fetches."""
ECEF = "EPSG:4978"
GEODETIC = "EPSG:4979"

RISEN_DEG = -0.833
"""Elevation of the sun's centre when its upper edge touches the horizon, refraction included."""
WORTH_M = 0.5
"""Gain in accuracy below which a better transformation is not worth a word."""
LOOSE_M = 2.0
"""Accuracy from which a transformation is worth a word though there is no better one."""
DELTA_T_S = 69.2
"""Terrestrial time less UT1, 2020 to 2030 within a second: 0.004° of the sun's way."""
COUNTRY_DEG2 = 1000.0
"""Largest area, square degrees, that names a country: beyond are continents and oceans."""
_NO_COUNTRY = re.compile(
    r"World|Between|(North|South)ern hemisphere|Asia|Africa|Arctic|Europe|.* America "
)
_COUNTRY = re.compile(r"[^-:.;(]+?(?= - |[:.;(]| mainland| onshore| between|$)")


def position_in_words(longitude_deg: float, latitude_deg: float, *, decimals: int = 6) -> str:
    """Return a place as people write it: latitude first, each with its hemisphere.

    Examples
    --------
    >>> position_in_words(-91.994093, 46.842109), position_in_words(181.5, -18.1, decimals=2)
    ('46.842109° N, 91.994093° W', '18.10° S, 178.50° W')
    """
    east_deg = longitude_deg if abs(longitude_deg) <= 180 else (longitude_deg + 180) % 360 - 180
    return (
        f"{abs(latitude_deg):.{decimals}f}° {'S' if latitude_deg < 0 else 'N'}, "
        f"{abs(east_deg):.{decimals}f}° {'W' if east_deg < 0 else 'E'}"
    )


@lru_cache(maxsize=32)
def country_near(longitude_deg: float, latitude_deg: float) -> str:
    """Return the country that a place is in or near, by name; empty in the open sea.

    It is the smallest of the areas in which reference systems are used, as PROJ's database has
    them, that holds the place. They are rectangles: near a border a neighbour may be named.

    Examples
    --------
    >>> country_near(-19.76, 64.14), country_near(64.14, -19.76)
    ('Iceland', '')
    """
    at = AreaOfInterest(longitude_deg, latitude_deg, longitude_deg, latitude_deg)
    kinds = [PJType.PROJECTED_CRS, PJType.GEOGRAPHIC_2D_CRS]
    found = [
        (str(crs.area_of_use.name), crs.area_of_use)
        for crs in query_crs_info("EPSG", kinds, area_of_interest=at, contains=True)
        if crs.area_of_use
    ]
    sized = [
        (((area.east - area.west) % 360 or 360) * (area.north - area.south), name)
        for name, area in found
        if not _NO_COUNTRY.match(name)
    ]
    size, name = min(sized, default=(np.inf, ""))
    country = _COUNTRY.match(name)
    return country[0].strip() if country and size < COUNTRY_DEG2 else ""


def zone_of_longitude(longitude_deg: float) -> timezone:
    """Return the time zone of whole hours that a longitude suggests.

    What law makes of it is up to two hours off, and another hour in summer.

    Examples
    --------
    >>> str(zone_of_longitude(-91.99))
    'UTC-06:00'
    """
    return timezone(timedelta(hours=round(longitude_deg / 15)))


@lru_cache(maxsize=32)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def choose_utm_crs(longitude_deg: float, latitude_deg: float) -> str:
    """Return the WGS 84 UTM zone that holds a place, as an authority string.

    Raises `InputError` if the place lies outside the UTM system (84° N to 80° S).

    Examples
    --------
    >>> choose_utm_crs(-21.9, 64.1)
    'EPSG:32627'
    """
    east_deg = _zone_longitude(longitude_deg, latitude_deg)
    area = AreaOfInterest(east_deg, latitude_deg, east_deg, latitude_deg)
    found = query_utm_crs_info(datum_name="WGS 84", area_of_interest=area)
    if not found:
        raise InputError(
            f"no UTM zone at longitude {longitude_deg:.4f}, latitude {latitude_deg:.4f}; "
            "give a projected CRS with --crs"
        )
    return f"EPSG:{found[0].code}"


def _zone_longitude(longitude_deg: float, latitude_deg: float) -> float:
    """Return a longitude inside the zone in use, which differs in Norway and Svalbard.

    References
    ----------
    NGA.STND.0037, Universal Grids and Grid Reference Systems (2014), figure 12: bands V and X.
    """
    if 56 <= latitude_deg < 64 and 3 <= longitude_deg < 12:
        return 9.0
    if 72 <= latitude_deg <= 84:
        for west_deg, east_deg, centre_deg in ((0, 9, 3), (9, 21, 15), (21, 33, 27), (33, 42, 39)):
            if west_deg <= longitude_deg < east_deg:
                return float(centre_deg)
    return longitude_deg


@dataclass(frozen=True, kw_only=True)
class LocalFrame:
    """A local east-north-up frame and the projected CRS its products are written in.

    A survey without positions has ``crs`` and ``origin`` of None: ``world`` and ``map`` are then
    the same arbitrary frame, of arbitrary scale.
    """

    origin: tuple[float, float, float] | None
    """Longitude and latitude in degrees (WGS 84) and height in metres of the world's zero."""

    crs: str | None
    """Projected CRS of the products, metric, as understood by PROJ (``EPSG:32627``)."""

    def __post_init__(self) -> None:
        if (self.origin is None) != (self.crs is None):
            raise InputError("a local frame needs both an origin and a crs, or neither")
        if self.crs is not None:
            crs = CRS.from_user_input(self.crs)
            if not crs.is_projected or crs.axis_info[0].unit_name != "metre":
                raise InputError(
                    f"{self.crs!r} is not a projected CRS in metres; "
                    "use a UTM zone or a national grid"
                )

    @property
    def referenced(self) -> bool:
        """Tell whether the frame has a place on Earth."""
        return self.crs is not None

    @cached_property
    def ecef_from_world(self) -> tuple[Float, Float]:
        """Rotation (3, 3) and translation (3,) from world to Earth-centred coordinates.

        As if heights counted from the ellipsoid. Only for a frame that has a place.
        """
        assert self.origin is not None
        lon, lat = np.radians(self.origin[:2])
        sin_lon, cos_lon, sin_lat, cos_lat = np.sin(lon), np.cos(lon), np.sin(lat), np.cos(lat)
        rotation = np.array(
            [
                [-sin_lon, -sin_lat * cos_lon, cos_lat * cos_lon],
                [cos_lon, -sin_lat * sin_lon, cos_lat * sin_lon],
                [0.0, cos_lat, sin_lat],
            ]
        )
        origin = np.array(_transformer(GEODETIC, ECEF).transform(*self.origin))
        return rotation, origin

    def world_from_geodetic(self, lon_lat_height: ArrayLike) -> Float:
        """Return world coordinates (N, 3) of longitudes, latitudes (degrees) and heights (N, 3)."""
        rotation, origin = self.ecef_from_world
        points = np.atleast_2d(np.asarray(lon_lat_height, float))
        ecef = np.column_stack(_transformer(GEODETIC, ECEF).transform(*points.T))
        return np.asarray((ecef - origin) @ rotation)

    def geodetic_from_world(self, world: ArrayLike) -> Float:
        """Return longitude, latitude (degrees) and height (N, 3) of world coordinates (N, 3)."""
        rotation, origin = self.ecef_from_world
        ecef = np.atleast_2d(np.asarray(world, float)) @ rotation.T + origin
        return np.column_stack(_transformer(ECEF, GEODETIC).transform(*ecef.T))

    def map_from_world(self, world: ArrayLike) -> Float:
        """Return easting, northing, height (N, 3) of world coordinates (N, 3)."""
        if self.crs is None:
            return np.atleast_2d(np.asarray(world, float))
        lon, lat, height = self.geodetic_from_world(world).T
        return np.column_stack([*_transformer("EPSG:4326", self.crs).transform(lon, lat), height])

    def world_from_map(self, points: ArrayLike) -> Float:
        """Return world coordinates (N, 3) of easting, northing, height (N, 3)."""
        points = np.atleast_2d(np.asarray(points, float))
        if self.crs is None:
            return points
        lon, lat = _transformer(self.crs, "EPSG:4326").transform(points[:, 0], points[:, 1])
        return self.world_from_geodetic(np.column_stack([lon, lat, points[:, 2]]))

    def world_from_map_affine(self, centre: ArrayLike) -> tuple[Float, Float]:
        """Linearise `world_from_map` about a map point (3,), for use over one ground tile.

        Returns a matrix (3, 3) and offset (3,): ``world ≈ matrix @ (map - centre) + offset``.

        The neglected curvature is ``d² / 2R``: 0.2 mm at 50 m from the centre.
        """
        centre = np.asarray(centre, float)
        step = 10.0
        offsets = np.vstack([np.zeros(3), step * np.eye(3), -step * np.eye(3)])
        world = self.world_from_map(centre + offsets)
        matrix = ((world[1:4] - world[4:7]) / (2 * step)).T
        return np.asarray(matrix), np.asarray(world[0])


def egm96_height(longitude_deg: float, latitude_deg: float) -> float | None:
    """Return how high the EGM96 geoid lies above the ellipsoid at a place, metres.

    None where PROJ's grid file of it, `EGM96_GRID`, is not on this machine; no network is used.
    """
    try:
        shift = Transformer.from_pipeline(f"+proj=vgridshift +grids={EGM96_GRID} +multiplier=1")
        longitude, latitude = math.radians(longitude_deg), math.radians(latitude_deg)
        height_m = float(shift.transform(longitude, latitude, 0.0, radians=True, errcheck=True)[2])
    except ProjError:
        return None
    return height_m if np.isfinite(height_m) else None


@dataclass(frozen=True, kw_only=True)
class PlanFrame:
    """Transverse Mercator about one point: conformal, north up, scale 1 on its meridian.

    The scale is off by ``d² / 2R²`` at d metres east or west of the centre: 3e-7 at 5 km, 3e-5 at
    50 km, the same from the equator to the poles and across the antimeridian.

    References
    ----------
    Karney, C. F. F. (2011). Transverse Mercator with an accuracy of a few nanometers. Journal of
    Geodesy 85(8).
    """

    lon_deg: float
    lat_deg: float

    @property
    def crs(self) -> str:
        """The frame as a PROJ string."""
        return (
            f"+proj=tmerc +lat_0={float(self.lat_deg)!r} +lon_0={float(self.lon_deg)!r} "
            "+k=1 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs"
        )

    @cached_property
    def _forward(self) -> Transformer:
        return Transformer.from_crs("EPSG:4326", self.crs, always_xy=True)

    def plan_from_geodetic(self, lon_lat: ArrayLike) -> Float:
        """Return plan coordinates (N, 2) of longitudes and latitudes in degrees (N, 2)."""
        lon, lat = np.atleast_2d(np.asarray(lon_lat, float)).T
        return np.column_stack(self._forward.transform(lon, lat))

    def geodetic_from_plan(self, plan: ArrayLike) -> Float:
        """Return longitudes and latitudes in degrees (N, 2) of plan coordinates (N, 2).

        Longitudes lie within 180° of the frame's own, so an area across the antimeridian stays
        in one piece.
        """
        x, y = np.atleast_2d(np.asarray(plan, float)).T
        lon, lat = self._forward.transform(x, y, direction="INVERSE")
        lon = self.lon_deg + (np.asarray(lon) - self.lon_deg + 180.0) % 360.0 - 180.0
        return np.column_stack([lon, lat])

    def to_plan(self, geometry: BaseGeometry) -> BaseGeometry:
        """Bring a WGS 84 geometry into the plan."""
        return shapely.transform(geometry, self.plan_from_geodetic)

    def to_geodetic(self, geometry: BaseGeometry) -> BaseGeometry:
        """Bring a plan geometry back to WGS 84."""
        return shapely.transform(geometry, self.geodetic_from_plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatumShift:
    """The transformation from WGS 84 to a projected CRS that is used at a place."""

    crs: str
    accuracy_m: float | None
    """Stated accuracy, metres; None where nobody knows the relation of the datums."""
    better_accuracy_m: float | None = None
    """Of the best one that lacks its grid file; None where the best there is is used."""
    better_grid: str = ""
    """Name of that file, as PROJ knows it."""

    def in_words(self) -> str:
        """Say what is amiss and how to mend it; empty when nothing is."""
        if self.accuracy_m is None:
            return (
                f"How {self.crs} lies against WGS 84 is not known here: the map may lie hundreds "
                "of metres from its true place. Choose a CRS made for this place, or a UTM zone, "
                "with --crs."
            )
        good = f"Map coordinates in {self.crs} are good to {self.accuracy_m:g} m only"
        if self.better_accuracy_m is None:
            known = f"{good}: nothing better is known of how its datum lies against WGS 84."
            return known if self.accuracy_m >= LOOSE_M else ""
        return (
            f"{good}: the grid file {self.better_grid}, which makes them good to "
            f"{self.better_accuracy_m:g} m, is not on this machine. Get it with 'pyproj sync "
            f"--file {self.better_grid}' (once, with a network) and delete work/ before the next "
            "'tmp map', or choose a UTM zone with --crs."
        )


def describe_datum_shift(crs: str, longitude_deg: float, latitude_deg: float) -> DatumShift:
    """Tell which accuracy the transformation from WGS 84 to a projected CRS has at a place.

    Reads PROJ's database only; whatever is set, no network is used.
    """
    place = AreaOfInterest(longitude_deg, latitude_deg, longitude_deg, latitude_deg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the best one lacks a file
        group = TransformerGroup(
            "EPSG:4326",
            crs,
            always_xy=True,
            area_of_interest=place,  # type: ignore[arg-type]  # pyproj's stub has one of its own
        )
    if not group.transformers or group.transformers[0].accuracy < 0:
        accuracy_m = None
    else:
        accuracy_m = float(group.transformers[0].accuracy)
    lacking = [
        (float(operation.accuracy), PurePosixPath(grid.url or grid.short_name).name)
        for operation in group.unavailable_operations
        for grid in operation.grids
        if not grid.available and operation.accuracy >= 0
    ]
    best = min(lacking, default=None)
    if accuracy_m is None or best is None or best[0] > accuracy_m - WORTH_M:
        return DatumShift(crs=crs, accuracy_m=accuracy_m)
    return DatumShift(
        crs=crs, accuracy_m=accuracy_m, better_accuracy_m=best[0], better_grid=best[1]
    )


def sun_position(lon_deg: float, lat_deg: float, times: ArrayLike) -> tuple[Float, Float]:
    """Return the sun's elevation and azimuth, as seen from a place on the ellipsoid.

    Times are datetime64, UTC, of any shape, which the angles have, in radians: above the horizon
    with the refraction of sea level, and clockwise from north.

    References
    ----------
    Reda, I., Andreas, A. (2004). Solar position algorithm for solar radiation applications.
    Solar Energy 76(5); good to 0.0003°, at any latitude.
    """
    from sunposition import sunpos  # imports Numba, which frames do not need

    azimuth_deg, zenith_deg, *_ = sunpos(
        np.asarray(times, "datetime64[ms]"), lat_deg, lon_deg, 0.0, delta_t=DELTA_T_S, jit=False
    )
    return np.pi / 2 - np.radians(zenith_deg), np.radians(np.asarray(azimuth_deg) % 360.0)
