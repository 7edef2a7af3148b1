"""A mission's fence as few corners, on the safe side of what was drawn."""

from __future__ import annotations

from dataclasses import dataclass

import shapely
from shapely import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from flightplan.formats.coordinates import polygons_of
from flightplan.missions import Mission
from flightplan.planframe import PlanFrame
from tmp.errors import InputError

MOST_CORNERS = 60
"""All polygons together; ArduCopter 4.7 was seen to refuse fences of 70 corners."""

_TOLERANCES_M = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """Polygons without holes that a drone stays inside of, or outside of; WGS 84."""

    inside: tuple[Polygon, ...] = ()
    outside: tuple[Polygon, ...] = ()

    @property
    def corners(self) -> int:
        """Number of corners, closing ones not counted."""
        return sum(len(p.exterior.coords) - 1 for p in self.inside + self.outside)


def fence_of(mission: Mission, most: int = MOST_CORNERS) -> Fence:
    """Return the mission's fence with at most `most` corners.

    The drone is never allowed anywhere it was not before: the fence shrinks and exclusions grow
    by what simplifying may cut.  Holes of the fence become exclusions.

    Raises
    ------
    InputError
        If so few corners cannot describe it, or would shut the mission's own path out.
    """
    inside = [Polygon(mission.fence.exterior)] if mission.fence is not None else []
    drawn = [*mission.exclusions]
    if mission.fence is not None:
        drawn += [Polygon(hole) for hole in mission.fence.interiors]
    outside = [Polygon(polygon.exterior) for polygon in drawn]
    fence = Fence(inside=tuple(inside), outside=tuple(outside))
    if fence.corners <= most:
        return fence
    first = mission.waypoints[0]
    frame = PlanFrame(lon_deg=first.lon_deg, lat_deg=first.lat_deg)
    path = frame.to_plan(_path(mission))
    for tolerance_m in _TOLERANCES_M:
        simpler = Fence(
            inside=tuple(_simplified(p, frame, -tolerance_m) for p in inside),
            outside=tuple(_simplified(p, frame, tolerance_m) for p in outside),
        )
        if simpler.corners <= most and _safe(simpler, fence, path, frame):
            return simpler
    raise InputError(
        f"the fence of mission {mission.name!r} has {fence.corners} corners and an autopilot "
        f"holds {most}; draw it simpler, or farther from the flight path"
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
