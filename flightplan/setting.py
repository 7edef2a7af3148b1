"""Where a plan is laid out: its plane, the area, what may not be flown over, and the ground."""

from __future__ import annotations

import logging
from dataclasses import dataclass

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


def set_plan(request: PlanRequest, margin_m: float) -> Setting:
    """Bring what was asked into a plane of its own.

    Parameters
    ----------
    request : PlanRequest
    margin_m : float
        How far beyond the area the drone and its pictures may reach.

    Raises
    ------
    InputError
        If a take-off lies in an exclusion, exclusions cover the area, or the elevation model does
        not serve (see `flightplan.terrain.read_terrain`).
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
    x0, y0, x1, y1 = shapely.union_all([whole, *(Point(place) for place in takeoffs)]).bounds
    bounds = x0 - margin_m, y0 - margin_m, x1 + margin_m, y1 + margin_m
    if request.dem is None:
        terrain = Terrain.flat(bounds, cell_m=FLAT_CELL_M)
    else:
        terrain = read_terrain(request.dem, frame, bounds, datum=request.dem_datum)
    return Setting(
        frame=frame,
        area=MultiPolygon(parts),
        exclusions=exclusions,
        terrain=terrain,
        airspace=Airspace(obstacles_of(whole, solid), clearance_m=CLEARANCE_M),
        takeoffs=takeoffs,
    )


def _takeoff(place: tuple[float, float], frame: PlanFrame, solid: BaseGeometry | None) -> Place:
    (point,) = frame.plan_from_geodetic([place])
    if solid is not None and solid.contains(Point(point)):
        raise InputError(
            f"take-off {place[0]:.6f},{place[1]:.6f} lies inside an exclusion; "
            "choose another with --takeoff"
        )
    return float(point[0]), float(point[1])
