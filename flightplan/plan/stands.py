"""Where a team may take off that was told no place."""

from __future__ import annotations

import math

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from shapely.geometry.base import BaseGeometry

from flightplan.coverage.routes import Route
from flightplan.plan.request import Place, Setting
from flightplan.plan.ways import SAME_M
from flightplan.terrain.terrain import Terrain
from tmp.errors import InputError

Float = NDArray[np.float64]

MOST_STANDS = 400
"""Places on the edge of the area, and in it, that are looked at for taking off."""
LEVEL_ENOUGH, SLOPE_OVER_M = (0.10, 0.15, 0.25, math.inf), 6.0
"""Slopes on which one may take off and land, steeper ones only where the gentler do not see all,
and the length over which they are measured."""


def stands(route: Route, setting: Setting, sight_m: float) -> tuple[Place, ...]:
    """Return where a team may take off that was told no place.

    On the edge of the area, where it is nearest to both ends of the route, if all is in sight from
    there; else anywhere on the edge and in the area.  Not on slopes, where there is a better place.
    """
    outer = shapely.union_all([shapely.Polygon(part.exterior) for part in setting.area.geoms])
    edges = outer.boundary.difference(setting.airspace.solid)
    if edges.is_empty:
        raise InputError("no place on the edge of the area to take off from; give --takeoff")
    steps = np.arange(0.0, edges.length, min(max(edges.length / MOST_STANDS, SAME_M), sight_m / 8))
    around = shapely.get_coordinates(_along(edges, steps))
    slopes = slopes_at(around, setting.terrain)
    gentle = around[slopes <= max(LEVEL_ENOUGH[0], float(slopes.min()))]
    ends = np.mean([route.lines[0].entry, route.lines[-1].exit], axis=0)
    near = gentle[np.argmin(np.hypot(*(gentle - ends).T))]
    flown = np.concatenate([line.flown for line in route.lines])
    if np.hypot(*(flown - near).T).max() <= sight_m:
        return ((float(near[0]), float(near[1])),)
    within = outer.difference(setting.airspace.solid)
    step_m = max(sight_m / 8, math.sqrt(within.area / MOST_STANDS))
    x_min, y_min, x_max, y_max = within.bounds
    x, y = np.meshgrid(np.arange(x_min, x_max, step_m), np.arange(y_min, y_max, step_m))
    x, y = x.ravel() + step_m / 2, y.ravel() + step_m / 2
    inner = np.column_stack([x, y])[shapely.contains_xy(within, x, y)]
    places = np.concatenate([around, inner])
    slopes = np.concatenate([slopes, slopes_at(inner, setting.terrain)])
    for steepest in LEVEL_ENOUGH:
        chosen = places[slopes <= steepest]
        if len(chosen) and cKDTree(chosen).query(flown)[0].max() <= sight_m:
            break
    return tuple((float(x), float(y)) for x, y in chosen)


def _along(edges: BaseGeometry, steps: Float) -> Float:
    """Return points at distances along edges, which may be in parts."""
    parts = shapely.get_parts(shapely.line_merge(edges))
    starts = np.cumsum([0.0, *(part.length for part in parts)])
    which = np.minimum(np.searchsorted(starts, steps, side="right"), len(parts)) - 1
    return np.asarray(shapely.line_interpolate_point(parts[which], steps - starts[which]))


def slopes_at(places: Float, terrain: Terrain) -> Float:
    """Return the rise over run about places (N, 2), as (N,)."""
    half_m = SLOPE_OVER_M / 2
    if not len(places):
        return np.empty(0)
    east, north = (
        (terrain.at(places + step) - terrain.at(places - step)) / SLOPE_OVER_M
        for step in ((half_m, 0.0), (0.0, half_m))
    )
    return np.asarray(np.hypot(east, north))
