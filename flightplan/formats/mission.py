"""What a drone is told: waypoints, photographs and limits of one sortie, whatever the format.

Every mission format is written from a `Mission` and read into one; planning ends in a list of
them, one for each battery.  Places are WGS 84 longitude and latitude in degrees.

A format may carry less than a mission says: `Content` names what.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from tmp.errors import InputError, require_range
from tmp.geo.frames import PlanFrame

HAIR_M = 0.01
"""By which a photograph may lie beyond the end of its line."""
LATE_M = 0.07
"""Way by which an autopilot that releases by distance is late at each photograph; it adds up."""
END_M = 0.5
"""Way between the last photograph of a line and the place where the camera goes off."""
EVEN = 0.02
"""Part of a way between photographs by which each may be longer, lest one more be taken."""
TIMER_PHASES = (0.0, 0.25, 0.5, 0.75)
"""Fractions of its interval at which a timer may stand where a line begins: nobody can set it."""
_MOST_M, _MOST_M_S, _MOST_S = 100_000.0, 400.0, 1e7


def _refuse_nonsense(
    entry: Waypoint | Photo | Mission | Place,
    *,
    heights: tuple[str, ...] = (),
    speeds: tuple[str, ...] = (),
    amounts: tuple[str, ...] = (),
    angles: tuple[str, ...] = (),
) -> None:
    """Raise `InputError` for what no drone can fly; NaN leaves it open."""
    require_range(entry, *heights, least=-_MOST_M, most=_MOST_M, or_nan=True)
    require_range(entry, *speeds, least=0, most=_MOST_M_S, or_nan=True)
    require_range(entry, *amounts, least=0, most=_MOST_S, or_nan=True)
    require_range(entry, *angles, least=-720, most=720, or_nan=True)


class HeightReference(StrEnum):
    """What the heights of a mission's waypoints are measured from."""

    TAKEOFF = "takeoff"
    """The ground at the take-off point; what the platform writes."""
    TERRAIN = "terrain"
    """The ground below, as the autopilot's own terrain model has it."""
    AMSL = "amsl"
    """Mean sea level."""
    ELLIPSOID = "ellipsoid"
    """The WGS 84 ellipsoid."""


class ReleasedBy(StrEnum):
    """Who takes the photographs."""

    POINT = "point"
    """Each photograph is a waypoint with an action of its own."""
    DISTANCE = "distance"
    """The drone, at equal distances along lines."""
    INTERVAL = "interval"
    """The drone, at equal times along lines."""
    TIMER = "timer"
    """The pilot starts the camera's own timer; the speed is made to fit."""


class Role(StrEnum):
    """What the way from a waypoint to the next is for."""

    LINE = "line"
    """Photographs are taken."""
    RUN_IN = "run-in"
    """The drone comes level and up to speed before a line."""
    RUN_OUT = "run-out"
    """The last photograph is still to be written; the drone slows down."""
    TRANSIT = "transit"
    """From one line to another, or to and from the take-off point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A point on the ground."""

    lon_deg: float
    lat_deg: float
    ground_m: float = math.nan
    """Height of the ground in the plan's vertical datum; NaN where it is not known."""

    def __post_init__(self) -> None:
        if not (-90 <= self.lat_deg <= 90 and -360 <= self.lon_deg <= 360):
            raise InputError(
                f"place {self.lon_deg!r}, {self.lat_deg!r} is not on Earth; "
                "give longitude, then latitude, in degrees"
            )
        _refuse_nonsense(self, heights=("ground_m",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Waypoint:
    """A place to fly through, and how to fly from there to the next one."""

    lon_deg: float
    lat_deg: float
    height_m: float
    """Above the mission's `HeightReference`."""
    ground_m: float = math.nan
    """Height of the ground below in the plan's vertical datum; NaN where it is not known."""
    speed_m_s: float = math.nan
    """Ground speed on the way to the next waypoint; NaN leaves it to the drone."""
    heading_deg: float = math.nan
    """Heading of the drone's nose, clockwise from north; NaN leaves it to the drone."""
    gimbal_pitch_deg: float = -90.0
    """-90 looks straight down."""
    role: Role = Role.TRANSIT
    photo_spacing_m: float = math.nan
    """Way between photographs from here to the next waypoint; NaN takes none."""
    stop: bool = False
    """Whether the drone halts here instead of flying through."""

    def __post_init__(self) -> None:
        _refuse_nonsense(
            self,
            heights=("height_m", "ground_m"),
            speeds=("speed_m_s",),
            amounts=("photo_spacing_m",),
            angles=("heading_deg", "gimbal_pitch_deg"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """Where one photograph is to be taken."""

    lon_deg: float
    lat_deg: float
    height_m: float
    """Above the mission's `HeightReference`."""
    heading_deg: float
    """Of the picture's top, clockwise from north."""
    gimbal_pitch_deg: float = -90.0
    line: int = 0
    """Number of the flight line it belongs to, in the order flown over all sorties."""

    def __post_init__(self) -> None:
        angles = ("heading_deg", "gimbal_pitch_deg")
        _refuse_nonsense(self, heights=("height_m",), amounts=("line",), angles=angles)

    @classmethod
    def at(cls, waypoint: Waypoint) -> Photo:
        """Return a photograph taken at a waypoint, looking as the drone does there."""
        return cls(
            lon_deg=waypoint.lon_deg,
            lat_deg=waypoint.lat_deg,
            height_m=waypoint.height_m,
            heading_deg=waypoint.heading_deg,
            gimbal_pitch_deg=waypoint.gimbal_pitch_deg,
        )


class AtEnd(StrEnum):
    """What the drone does after its last waypoint, and when the link is lost."""

    RETURN = "return"
    LAND = "land"
    HOVER = "hover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mission:
    """One sortie, from take-off to landing.

    `waypoints` hold the survey and the ways between its lines, without take-off and landing
    themselves: each format has its own way to say those.
    """

    name: str
    waypoints: tuple[Waypoint, ...]
    photos: tuple[Photo, ...] = ()
    """In the order taken; empty for a mission read from a file that does not say."""
    takeoff: Place | None = None
    landing: Place | None = None
    """Where to land if not where it took off."""
    height_reference: HeightReference = HeightReference.TAKEOFF
    takeoff_height_m: float = math.nan
    """Height climbed to above the take-off point before anything else."""
    return_height_m: float = math.nan
    """Height above the take-off point at which the drone comes home."""
    speed_m_s: float = math.nan
    """Ground speed on lines."""
    transit_speed_m_s: float = math.nan
    drone: str = ""
    """Key of the drone in the catalogue; empty when not known."""
    camera: str = ""
    """Key of the camera in the catalogue; empty when not known."""
    at_end: AtEnd = AtEnd.RETURN
    photo_interval_s: float = math.nan
    """Time between photographs on lines, for drones that only have a timer."""
    area: MultiPolygon | None = None
    """What is surveyed, WGS 84."""
    fence: Polygon | None = None
    """The drone must not leave it, WGS 84; None for none."""
    exclusions: tuple[Polygon, ...] = ()
    """The drone must not enter them, WGS 84."""
    fence_height_m: float = math.nan
    """Greatest height above the take-off point."""
    duration_s: float = math.nan
    """Predicted, from take-off to landing."""
    vertical_datum: str = ""
    """Of all `ground_m`; empty when not known."""
    notes: tuple[str, ...] = field(default=())
    """What a person reading the file should know, or what was not understood when reading."""

    def __post_init__(self) -> None:
        if not self.waypoints:
            raise InputError(f"mission {self.name!r} has no waypoint")
        _refuse_nonsense(
            self,
            heights=("takeoff_height_m", "return_height_m", "fence_height_m"),
            speeds=("speed_m_s", "transit_speed_m_s"),
            amounts=("photo_interval_s", "duration_s"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A mission in some format, and what a person must know about it."""

    content: bytes
    notes: tuple[str, ...] = ()
    """One sentence for each thing the format changed, or could not carry."""


class Content(StrEnum):
    """Something a mission may say that not every format can."""

    TAKEOFF = "take-off place"
    TAKEOFF_HEIGHT = "height climbed to before anything else"
    LANDING = "landing place away from the take-off"
    RETURN_HEIGHT = "height at which the drone comes home"
    AT_END = "what the drone does at the end"
    SPEED = "speed"
    HEADING = "heading"
    GIMBAL = "gimbal pitch"
    STOPS = "halts at waypoints"
    PHOTOS = "where photographs are taken"
    FENCE = "fence"
    EXCLUSIONS = "exclusions"
    FENCE_HEIGHT = "greatest height of the fence"


EVERYTHING = frozenset(Content)

_REMEDIES = {
    Content.TAKEOFF: "start from the place on the briefing",
    Content.TAKEOFF_HEIGHT: "climb by hand first",
    Content.LANDING: "fly there by hand after the last waypoint",
    Content.RETURN_HEIGHT: "set it in the app or as the autopilot's parameter",
    Content.AT_END: "set it in the app",
    Content.SPEED: "set it in the app",
    Content.HEADING: "let the drone face the way it flies",
    Content.GIMBAL: "tilt the camera by hand before the first line",
    Content.STOPS: "the drone flies through",
    Content.PHOTOS: "run the camera's own timer",
    Content.FENCE: "set it in the app or on the autopilot",
    Content.EXCLUSIONS: "keep clear of them by eye; the waypoints already do",
    Content.FENCE_HEIGHT: "set it in the app or as the autopilot's parameter",
}


def said_by(mission: Mission) -> frozenset[Content]:
    """Return what a mission says."""
    waypoints = mission.waypoints
    speeds = [mission.speed_m_s, mission.transit_speed_m_s, *(w.speed_m_s for w in waypoints)]
    says = {
        Content.TAKEOFF: mission.takeoff is not None,
        Content.TAKEOFF_HEIGHT: math.isfinite(mission.takeoff_height_m),
        Content.LANDING: mission.landing is not None,
        Content.RETURN_HEIGHT: math.isfinite(mission.return_height_m),
        Content.AT_END: True,
        Content.SPEED: any(map(math.isfinite, speeds)),
        Content.HEADING: any(math.isfinite(w.heading_deg) for w in waypoints),
        Content.GIMBAL: True,
        Content.STOPS: any(w.stop for w in waypoints),
        Content.PHOTOS: bool(mission.photos) or any(w.photo_spacing_m > 0 for w in waypoints),
        Content.FENCE: mission.fence is not None,
        Content.EXCLUSIONS: bool(mission.exclusions),
        Content.FENCE_HEIGHT: math.isfinite(mission.fence_height_m),
    }
    return frozenset(content for content, said in says.items() if said)


def losses(mission: Mission, carries: Collection[Content]) -> tuple[str, ...]:
    """Return a sentence for each thing a mission says and a format cannot carry."""
    lost = said_by(mission) - frozenset(carries)
    return tuple(
        f"not in the file: {content.value}; {remedy}"
        for content, remedy in _REMEDIES.items()
        if content in lost
    )


def photo_ways(waypoints: Sequence[Waypoint]) -> list[float]:
    """Return the photo spacing on each way, metres, 0 for none; one fewer than waypoints.

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


def spacing_in_file(spacing_m: float, photos: int, camera_on_m: float) -> float:
    """Return the spacing to ask for on a line, so that photographs come as planned, the last too.

    It is closer by what each photograph is late, and closer still where the camera goes off
    before the last one would be taken.

    Parameters
    ----------
    camera_on_m : float
        Way over which the camera is on: the line and its run-out.

    Examples
    --------
    >>> spacing_in_file(6.0, 21, 140.0)
    5.93
    >>> spacing_in_file(6.0, 21, 120.0)
    5.905
    """
    asked_m = spacing_m - LATE_M
    if photos > 1:
        asked_m = min(asked_m, (camera_on_m - END_M) / (photos - 1) - LATE_M)
    return math.floor(max(asked_m, spacing_m / 2) * 1000 + 1e-6) / 1000


def even_stations(way_m: float, spacing_m: float) -> NDArray[np.float64]:
    """Return where photographs are taken that have waypoints of their own, metres from the start.

    Evenly from one end of a line to the other, as far apart as a file that asks for `spacing_m`
    brings them, or a little closer.  On a line too short for two there is one.

    Examples
    --------
    >>> even_stations(12.0, 5.93).tolist(), even_stations(13.0, 5.93).round(2).tolist()
    ([0.0, 6.0, 12.0], [0.0, 4.33, 8.67, 13.0])
    """
    if way_m <= END_M:
        return np.zeros(1)
    ways = math.ceil(way_m / (spacing_m + LATE_M) - EVEN)
    return np.linspace(0.0, way_m, max(ways, 1) + 1)


def releases(
    way_m: float, spacing_m: float, by: ReleasedBy, phase: float = 0.0
) -> NDArray[np.float64]:
    """Return where on a way with the camera on photographs are taken, metres from its start.

    By distance the first is taken at once and each later one `LATE_M` late; none at the very end,
    where the camera goes off.  By interval and by point there is no lateness.  By a timer the
    first comes at a `phase` of the spacing, one of `TIMER_PHASES`.  What it takes while the drone
    halts at an end is not counted: the drone may be turning.  By interval one more is taken at the
    end, and by point they stand as `even_stations` has them.

    Examples
    --------
    >>> releases(10.0, 4.0, ReleasedBy.TIMER, 0.5).tolist()
    [2.0, 6.0, 10.0]
    """
    if by is ReleasedBy.POINT:
        return even_stations(way_m, spacing_m)
    late = by is ReleasedBy.DISTANCE
    end_m = max(way_m - HAIR_M if late else way_m + HAIR_M, phase * spacing_m + HAIR_M)
    found = np.arange(phase * spacing_m, end_m, spacing_m + LATE_M * late)
    return np.append(found, way_m) if by is ReleasedBy.INTERVAL else found


def photos_along(
    mission: Mission, by: ReleasedBy = ReleasedBy.DISTANCE, phase: float = 0.0
) -> Iterator[Photo]:
    """Yield where a drone that follows a mission takes photographs, as `releases` has them.

    All ways that follow one another with the camera on are one line.
    """
    frame = PlanFrame(lon_deg=mission.waypoints[0].lon_deg, lat_deg=mission.waypoints[0].lat_deg)
    places = frame.plan_from_geodetic([(p.lon_deg, p.lat_deg) for p in mission.waypoints])
    late_m = LATE_M if by is ReleasedBy.DISTANCE else 0.0
    line, left_m = -1, math.nan
    ways = photo_ways(mission.waypoints)
    if by is ReleasedBy.POINT:
        ways = [max(np.nan_to_num(one.photo_spacing_m), 0.0) for one in mission.waypoints[:-1]]
    spacings = [*ways, 0.0]
    for index, (here, there) in enumerate(pairwise(mission.waypoints)):
        spacing_m = spacings[index]
        if not spacing_m > 0:
            left_m = math.nan
            continue
        step = places[index + 1] - places[index]
        length = float(np.hypot(*step))
        if math.isnan(left_m):
            line, left_m = line + 1, phase * spacing_m
        course = math.degrees(math.atan2(step[0], step[1])) % 360.0
        goes_off = not spacings[index + 1] > 0
        end_m = length + (HAIR_M if goes_off and not late_m else -HAIR_M)
        at_m = []
        while left_m <= end_m or (left_m == 0 and goes_off):
            at_m.append(left_m)
            left_m += spacing_m + late_m
        for part in np.clip(np.array(at_m) / max(length, HAIR_M), 0.0, 1.0).tolist():
            ((lon, lat),) = frame.geodetic_from_plan([places[index] + part * step])
            yield Photo(
                lon_deg=float(lon),
                lat_deg=float(lat),
                height_m=here.height_m + part * (there.height_m - here.height_m),
                heading_deg=course if math.isnan(here.heading_deg) else here.heading_deg,
                gimbal_pitch_deg=here.gimbal_pitch_deg,
                line=line,
            )
        left_m -= length
