"""Where a plan is laid out: its plane, the area, what may not be flown over, and the ground."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Point
from shapely.geometry.base import BaseGeometry

from flightplan.planframe import PlanFrame
from flightplan.request import PlanRequest
from flightplan.terrain import Terrain, read_terrain
from flightplan.transits import Airspace, obstacles_of
from tmp.errors import InputError

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
Place = tuple[float, float]

CLEARANCE_M = 5.0
"""Distance kept from holes and exclusions: consumer GNSS and gusts."""
FLAT_CELL_M = 50.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where a plan is laid out; all but the frame in plan metres."""

    frame: PlanFrame
    area: MultiPolygon
    """What is surveyed: the area asked for without the exclusions."""
    exclusions: tuple[BaseGeometry, ...]
    terrain: Terrain
    airspace: Airspace
    takeoffs: tuple[Place, ...]
    """Empty where none is given."""

    @property
    def forbidden(self) -> BaseGeometry | None:
        """What may not be flown over, beyond the area's own holes."""
        return shapely.union_all(self.exclusions) if self.exclusions else None


def set_plan(request: PlanRequest) -> Setting:
    """Bring what was asked into a plane of its own, on level ground until more is known.

    Raises
    ------
    InputError
        If a take-off lies in an exclusion, or exclusions cover the area.
    """
    lon_deg, lat_deg = request.area.centre
    frame = PlanFrame(lon_deg=lon_deg, lat_deg=lat_deg)
    whole = frame.to_plan(request.area.polygons)
    exclusions = tuple(
        part
        for each in request.exclusions
        for part in shapely.get_parts(frame.to_plan(each.polygons))
    )
    solid = shapely.union_all(exclusions) if exclusions else None
    area = whole if solid is None else whole.difference(solid)
    parts = [
        part for part in shapely.get_parts(area) if part.area > 0 and part.geom_type == "Polygon"
    ]
    if not parts:
        raise InputError("exclusions cover the whole area; leave some of it to be flown")
    takeoffs = tuple(_takeoff(place, frame, solid) for place in request.takeoffs)
    return Setting(
        frame=frame,
        area=MultiPolygon(parts),
        exclusions=exclusions,
        terrain=Terrain.flat(whole.bounds, cell_m=FLAT_CELL_M),
        airspace=Airspace(obstacles_of(whole, solid), clearance_m=CLEARANCE_M),
        takeoffs=takeoffs,
    )


def with_terrain(setting: Setting, request: PlanRequest, way: Float, margin_m: float) -> Setting:
    """Return the setting with the ground known below a way, the area and the take-offs.

    Parameters
    ----------
    setting : Setting
    request : PlanRequest
    way : ndarray of shape (N, 2)
        Plan metres.
    margin_m : float
        Ground to know beyond them.

    Raises
    ------
    InputError
        If the elevation model does not serve, see `flightplan.terrain.read_terrain`.
    """
    places = np.concatenate(
        [way, shapely.get_coordinates(setting.area), np.reshape(setting.takeoffs, (-1, 2))]
    )
    low, high = places.min(axis=0) - margin_m, places.max(axis=0) + margin_m
    bounds = float(low[0]), float(low[1]), float(high[0]), float(high[1])
    if request.dem is None:
        return replace(setting, terrain=Terrain.flat(bounds, cell_m=FLAT_CELL_M))
    terrain = read_terrain(request.dem, setting.frame, bounds, datum=request.dem_datum)
    return replace(setting, terrain=terrain)


def _takeoff(place: tuple[float, float], frame: PlanFrame, solid: BaseGeometry | None) -> Place:
    (point,) = frame.plan_from_geodetic([place])
    if solid is not None and solid.contains(Point(point)):
        raise InputError(
            f"take-off {place[0]:.6f},{place[1]:.6f} lies inside an exclusion; "
            "choose another with --takeoff"
        )
    return float(point[0]), float(point[1])
