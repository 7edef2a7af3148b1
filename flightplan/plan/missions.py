"""The missions of a plan: its ways as waypoints and photographs, with fence and way home."""

from __future__ import annotations

import math

import numpy as np
from shapely import MultiPoint, Polygon

from flightplan.coverage.sorties import Sortie
from flightplan.equipment.catalogue import Trigger
from flightplan.formats.mission import Mission, Photo, Place, Role, Waypoint
from flightplan.plan.planning import FlightPlan
from flightplan.plan.ways import SAME_M, FlightWay
from tmp.errors import InputError

FENCE_M = 40.0
"""Room between the way and the fence round it."""
FENCE_ABOVE_M = 20.0
RETURN_ABOVE_M = 15.0
"""Height above the highest ground or way near at which the drone comes home."""
SETTLE_M = 5.0
"""Fence corners closer to a straight line than this are left out."""


def missions_of(plan: FlightPlan) -> tuple[Mission, ...]:
    """Return one mission for each sortie, heights above its take-off point."""
    flown = zip(plan.sorties.flights, plan.ways, strict=True)
    return tuple(_mission(plan, number, *one) for number, one in enumerate(flown, start=1))


def _mission(plan: FlightPlan, number: int, flight: Sortie, way: FlightWay) -> Mission:
    setting, request = plan.layout.setting, plan.request
    takeoff = _place(flight.launch, plan)
    home_m = takeoff.ground_m
    return_m = _return_m(plan, way, home_m)
    return Mission(
        name=f"sortie-{number}",
        waypoints=_waypoints(plan, way, home_m),
        photos=_photos(plan, flight, way, home_m),
        takeoff=takeoff,
        takeoff_height_m=round(float(way.points[0, 2]) - home_m, 2),
        return_height_m=return_m,
        speed_m_s=plan.layout.spacing.speed_m_s,
        transit_speed_m_s=float(way.speeds_m_s[0]),
        drone=request.drone.key,
        camera=plan.request.proving_camera.key,
        photo_interval_s=_interval_s(plan),
        area=setting.frame.to_geodetic(setting.area),
        fence=setting.frame.to_geodetic(_fence(way)),
        exclusions=tuple(map(setting.frame.to_geodetic, setting.exclusions)),
        fence_height_m=math.ceil(return_m + FENCE_ABOVE_M),
        duration_s=flight.time_s,
        vertical_datum=setting.terrain.datum if request.dem else "",
    )


def _return_m(plan: FlightPlan, way: FlightWay, home_m: float) -> float:
    """Return the height above a take-off at `home_m` that is clear of the ground all the way."""
    highest_m = float(way.points[:, 2].max())
    return_m = max(highest_m, _highest_near(plan, way) + RETURN_ABOVE_M) - home_m
    return math.ceil(return_m * 10) / 10


def _place(point: tuple[float, float], plan: FlightPlan) -> Place:
    ((lon, lat),) = plan.layout.setting.frame.geodetic_from_plan([point])
    (ground,) = plan.layout.setting.terrain.at([point])
    return Place(lon_deg=float(lon), lat_deg=float(lat), ground_m=float(ground))


def _waypoints(plan: FlightPlan, way: FlightWay, home_m: float) -> tuple[Waypoint, ...]:
    lon_lat = plan.layout.setting.frame.geodetic_from_plan(way.points[:, :2])
    ground = plan.layout.setting.terrain.at(way.points[:, :2])
    waypoints: list[Waypoint] = []
    last = len(way.points) - 1
    for index, (x, y, z) in enumerate(way.points):
        leg = way.legs[min(index, last - 1)]
        line = leg.line
        if index < last:
            east, north = way.points[index + 1, :2] - (x, y)
            course = math.degrees(math.atan2(east, north)) % 360.0
        else:
            course = waypoints[-1].heading_deg
        taking = leg.role is Role.LINE and line is not None and index < last
        waypoints.append(
            Waypoint(
                lon_deg=float(lon_lat[index, 0]),
                lat_deg=float(lon_lat[index, 1]),
                height_m=round(float(z) - home_m, 3),
                ground_m=float(ground[index]),
                speed_m_s=float(way.speeds_m_s[min(index, last - 1)]),
                heading_deg=line.heading_deg if line is not None else course,
                gimbal_pitch_deg=line.pitch_deg if line is not None else -90.0,
                role=leg.role if index < last else Role.TRANSIT,
                photo_spacing_m=plan.release.spacing_m(line)
                if taking and line is not None
                else math.nan,
                # A line without a run-in begins where the drone turns.
                stop=bool(way.begins[index])
                and leg.role is not Role.RUN_OUT
                and not (taking and line is not None and line.run_in_m > SAME_M),
            )
        )
    return tuple(waypoints)


def _interval_s(plan: FlightPlan) -> float:
    """Return the timer to set where photographs come by time."""
    return plan.release.interval_s if Trigger.TIMER in plan.request.drone.triggers else math.nan


def _photos(plan: FlightPlan, flight: Sortie, way: FlightWay, home_m: float) -> tuple[Photo, ...]:
    if not len(way.photos):
        raise InputError("a sortie without photographs; give a larger area")
    lon_lat = plan.layout.setting.frame.geodetic_from_plan(way.photos[:, :2])
    return tuple(
        Photo(
            lon_deg=float(lon),
            lat_deg=float(lat),
            height_m=round(float(z) - home_m, 3),
            heading_deg=flight.lines[number].heading_deg,
            gimbal_pitch_deg=flight.lines[number].pitch_deg,
            line=flight.first + int(number),
        )
        for (lon, lat), z, number in zip(lon_lat, way.photos[:, 2], way.photo_lines, strict=True)
    )


def _fence(way: FlightWay) -> Polygon:
    """Return a polygon with room for the whole way; of few corners, as autopilots want."""
    around = MultiPoint(way.points[:, :2]).convex_hull.buffer(FENCE_M, quad_segs=2)
    return around.simplify(SETTLE_M)


def _highest_near(plan: FlightPlan, way: FlightWay) -> float:
    """Return the highest ground under any straight way home."""
    terrain = plan.layout.setting.terrain
    x0, y0, x1, y1 = MultiPoint(way.points[:, :2]).convex_hull.buffer(FENCE_M).bounds
    cell = terrain.cell_m
    x, y = np.meshgrid(np.arange(x0, x1 + cell, cell), np.arange(y0, y1 + cell, cell))
    places = np.column_stack([x.ravel(), y.ravel()])
    return float(terrain.at(places[terrain.covers(places)]).max())
