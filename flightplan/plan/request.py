"""What a survey's plan is asked for, and where it is laid out.

The setting has the plan's plane, the area, what may not be flown over, and the ground.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TypedDict

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Geod
from shapely import MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry

from flightplan.coverage.routes import NOTHING_M2, Airspace, holes_of, without
from flightplan.coverage.spacing import EXPOSURE_S, Overlap
from flightplan.equipment.catalogue import CameraModel, Drone, narrowest, no_waypoints
from flightplan.equipment.flight_model import Battery, Wind
from flightplan.formats.geometry import MOST_CORNERS
from flightplan.proof.rules import RuleLimits, require_rules
from flightplan.terrain.terrain import Terrain, bounds_about, read_terrain
from tmp.errors import InputError
from tmp.geo.areas import SurveyArea
from tmp.geo.frames import PlanFrame

MOST_VIEWS = 9
"""Photographs of every place from which a surface comes out whole, edges included."""
VIEWS_OF_NOMINAL = 0.68
"""Share of the photographs that the overlaps promise in the middle of a field which can be had at
its edges for a few lines more."""
TERRAIN_BAND = 0.08
"""Part of the flying height by which the drone may leave it over relief."""
MOST_BAND_M = 6.0
FINEST_GSD_M, COARSEST_GSD_M = 0.001, 1.0
OBLIQUE_DEG = (5.0, 45.0)

log = logging.getLogger(__name__)
Float = NDArray[np.float64]
Place = tuple[float, float]
CLEARANCE_M = 5.0
"""Distance kept from holes and exclusions: consumer GNSS and gusts."""
CORRIDOR_M = 5.0
"""How far beside the way the drone may come: consumer GNSS and gusts."""
CORNERS_OF_WAY = 18
"""Corners of the fence round a way at the most; what an autopilot holds more is for exclusions."""
GROWTH_M = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""By how much a hole may grow in the fence to have fewer corners; the way keeps clear of it."""
FLAT_CELL_M = 50.0
FARTHEST_M = 20_000.0
"""No drone of the catalogue flies farther from where it takes off."""
GEOD = Geod(ellps="WGS84")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """A plan that somebody wants."""

    area: SurveyArea
    drone: Drone
    cameras: Sequence[CameraModel]
    """Released together; the first is what the plan is proved with if all see the same."""
    gsd_m: float | None = None
    """Ground sampling distance, nowhere coarser."""
    height_agl_m: float | None = None
    """Height above ground instead: one of the two."""
    overlap: Overlap = field(default_factory=lambda: Overlap(front=0.8, side=0.7))
    speed_m_s: float | None = None
    """Faster than this not to fly on lines."""
    exposure_s: float = EXPOSURE_S
    """Longest time of exposure, which bounds the speed by blur."""
    views: int | None = None
    """Photographs that shall see every place; by default what the overlaps make possible, up to
    `MOST_VIEWS`."""
    exclusions: Sequence[SurveyArea] = ()
    overfly_holes: bool = False
    """Whether holes of the area are merely not wanted; else they are exclusions."""
    dem: Path | None = None
    dem_datum: str | None = None
    takeoffs: Sequence[tuple[float, float]] = ()
    """Longitude and latitude in degrees."""
    wind: Wind | None = None
    heading_deg: float | None = None
    double_grid: bool = False
    oblique_deg: float | None = None
    """Tilt from the vertical of a second set of lines."""
    keep_inside: bool = False
    day: date = field(default_factory=date.today)
    """When it is to be flown, for the light."""
    battery: Battery = field(default_factory=Battery)
    bounds: RuleLimits = field(default_factory=RuleLimits)
    allowed: frozenset[str] = frozenset()
    """Names of rules that shall not stop the plan."""

    def __post_init__(self) -> None:
        if self.gsd_m is not None and not FINEST_GSD_M <= self.gsd_m <= COARSEST_GSD_M:
            raise InputError(
                f"GSD of {self.gsd_m * 100:g} cm cannot be meant; give "
                f"{FINEST_GSD_M * 100:g} cm to {COARSEST_GSD_M * 100:g} cm, such as --gsd 2.5cm"
            )
        require_rules(self.allowed)
        if self.drone.app in self.drone.no_waypoints_in:
            raise InputError(no_waypoints(self.drone))
        if self.oblique_deg is not None and not (
            OBLIQUE_DEG[0] <= self.oblique_deg <= OBLIQUE_DEG[1]
        ):
            raise InputError(
                f"--oblique {self.oblique_deg:g}: give {OBLIQUE_DEG[0]:g} to "
                f"{OBLIQUE_DEG[1]:g} degrees from the vertical; 20 to 30 fixes the heights best"
            )

    @property
    def proving_camera(self) -> CameraModel:
        """The camera that sees least ground: where it covers, the others do."""
        return narrowest(self.cameras)

    @property
    def sight_m(self) -> float:
        """How far from its pilot a drone may fly; infinite where that rule is overridden."""
        return math.inf if "sight" in self.allowed else self.bounds.sight_m

    @property
    def asked_views(self) -> int:
        """Photographs that shall see every place."""
        if self.views is not None:
            return self.views
        nominal = 1 / ((1 - self.overlap.front) * (1 - self.overlap.side))
        return max(1, min(MOST_VIEWS, math.floor(VIEWS_OF_NOMINAL * nominal)))


class PlanOptions(TypedDict, total=False):
    """What may be said of a plan beside its area, drone and cameras: fields of `PlanRequest`."""

    gsd_m: float | None
    height_agl_m: float | None
    overlap: Overlap
    speed_m_s: float | None
    exposure_s: float
    views: int | None
    overfly_holes: bool
    dem: Path | None
    dem_datum: str | None
    takeoffs: Sequence[tuple[float, float]]
    wind: Wind | None
    heading_deg: float | None
    double_grid: bool
    oblique_deg: float | None
    keep_inside: bool
    day: date
    battery: Battery
    bounds: RuleLimits
    allowed: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a plan is laid out; all but the frame in plan metres."""

    frame: PlanFrame
    area: MultiPolygon
    """What is surveyed: the area asked for without the exclusions."""
    middle: BaseGeometry | None
    """Line of the corridor that it is, if it is one."""
    exclusions: tuple[BaseGeometry, ...]
    """Polygons not to be flown over and fenced, holes of the area among them unless these may be;
    holes perhaps a little larger, so that a fence holds their corners."""
    unfenced: int = 0
    """Holes that no fence has room for, which the way keeps clear of all the same."""
    obstacles: BaseGeometry
    """All that may not be flown over, in one."""
    terrain: Terrain
    airspace: Airspace
    takeoffs: tuple[Place, ...]
    """Empty where none is given."""

    @property
    def forbidden(self) -> BaseGeometry | None:
        """What may not be flown over."""
        return None if self.obstacles.is_empty else self.obstacles


def set_plan(request: PlanRequest) -> Setting:
    """Bring what was asked into a plane of its own, on level ground until more is known.

    Raises
    ------
    InputError
        If a take-off lies in a hole or an exclusion, or exclusions cover the area.
    """
    lon_deg, lat_deg = request.area.centre
    frame = PlanFrame(lon_deg=lon_deg, lat_deg=lat_deg)
    whole = frame.to_plan(request.area.polygons)
    exclusions = tuple(
        part
        for each in request.exclusions
        for part in shapely.get_parts(frame.to_plan(each.polygons))
    )
    holes = Polygon() if request.overfly_holes else holes_of(whole)
    spare = MOST_CORNERS - CORNERS_OF_WAY - sum(map(_corners, exclusions))
    fenced, unfenced = _fenced(holes, spare)
    obstacles = shapely.union_all([*exclusions, *fenced, holes])
    for place in request.takeoffs:
        _refuse_far(place, request.area.centre)
    solid = shapely.union_all(exclusions) if exclusions else None
    takeoffs = tuple(_takeoff(place, frame, obstacles) for place in request.takeoffs)
    return Setting(
        frame=frame,
        area=without(whole, solid),
        middle=frame.to_plan(request.area.middle) if request.area.middle is not None else None,
        exclusions=(*exclusions, *fenced),
        unfenced=unfenced,
        obstacles=obstacles,
        terrain=Terrain.flat(whole.bounds, cell_m=FLAT_CELL_M),
        airspace=Airspace(obstacles, clearance_m=CLEARANCE_M),
        takeoffs=takeoffs,
    )


def _fenced(holes: BaseGeometry, corners: int) -> tuple[tuple[Polygon, ...], int]:
    """Return holes as a fence takes them, the largest first, and how many it has no room for.

    With no more corners than given, they grow rather than shrink.
    """
    drawn = [Polygon(one.exterior) for one in shapely.get_parts(holes) if one.area > NOTHING_M2]
    drawn.sort(key=lambda one: -one.area)
    for growth_m in GROWTH_M:
        grown = [_grown(one, growth_m) for one in drawn]
        if sum(map(_corners, grown)) <= corners:
            return tuple(grown), 0
    most = np.cumsum([_corners(one) for one in grown])
    room = int(np.searchsorted(most, corners, side="right"))
    return tuple(grown[:room]), len(grown) - room


def _grown(hole: Polygon, growth_m: float) -> Polygon:
    """Return a polygon of fewer corners round a hole, at most so much larger."""
    if growth_m == 0:
        return hole
    larger = hole.buffer(growth_m, join_style="mitre").simplify(0.8 * growth_m)
    simpler = isinstance(larger, Polygon) and _corners(larger) < _corners(hole)
    return Polygon(larger.exterior) if simpler and larger.covers(hole) else hole


def _corners(polygon: BaseGeometry) -> int:
    return int(shapely.get_num_coordinates(polygon)) - 1


def with_terrain(
    setting: Setting, request: PlanRequest, way: Float, margin_m: float, spare_m: float = 0.0
) -> Setting:
    """Return the setting with the ground known below a way (N, 2), the area and the take-offs.

    So it is `margin_m` about them, and `spare_m` farther as far as the elevation model knows it.

    Raises
    ------
    InputError
        If the elevation model does not serve, see `flightplan.terrain.terrain.read_terrain`.
    """
    places = np.concatenate(
        [way, shapely.get_coordinates(setting.area), np.reshape(setting.takeoffs, (-1, 2))]
    )
    bounds = bounds_about(places, margin_m)
    if request.dem is None:
        return replace(setting, terrain=Terrain.flat(bounds, cell_m=FLAT_CELL_M))
    inner, outer = np.reshape(setting.area.bounds, (2, 2)), np.reshape(bounds, (2, 2))
    beyond_m = max((inner[0] - outer[0]).max(), (outer[1] - inner[1]).max())
    terrain = read_terrain(
        request.dem,
        setting.frame,
        bounds,
        datum=request.dem_datum,
        spare_m=spare_m,
        needed=(
            f"the area and {math.ceil(beyond_m)} m beyond it, where lines and turns and the ways "
            "to the take-off are, or take off nearer to it (--takeoff)"
        ),
    )
    return replace(setting, terrain=terrain)


def _refuse_far(place: tuple[float, float], centre: tuple[float, float]) -> None:
    """Refuse a take-off that cannot be meant, before anything is measured in the plan's plane."""

    def away_m(lon_deg: float, lat_deg: float) -> float:
        if not (abs(lat_deg) <= 90 and abs(lon_deg) <= 360):
            return math.inf
        return float(GEOD.inv(lon_deg, lat_deg, *centre)[2])

    if (far_m := away_m(*place)) <= FARTHEST_M:
        return
    said = f"take-off {place[0]:g},{place[1]:g} lies {far_m / 1000:,.0f} km from the area"
    if math.isinf(far_m):
        said = f"take-off {place[0]:g},{place[1]:g} lies nowhere on Earth"
    swapped = away_m(place[1], place[0]) <= FARTHEST_M
    remedy = f"say --takeoff {place[1]:g},{place[0]:g}" if swapped else "give --takeoff LON,LAT"
    raise InputError(f"{said}; {'longitude comes first: ' if swapped else ''}{remedy}")


def _takeoff(place: tuple[float, float], frame: PlanFrame, solid: BaseGeometry) -> Place:
    (point,) = frame.plan_from_geodetic([place])
    if solid.contains(Point(point)):
        raise InputError(
            f"take-off {place[0]:.6f},{place[1]:.6f} lies inside an exclusion or a hole of the "
            "area; choose another with --takeoff, or say --overfly-holes if it is a hole that may "
            "be flown over"
        )
    return float(point[0]), float(point[1])
