"""A plan's sorties as missions: waypoints above the take-off, photographs, fence, ways home.

Which lines are flown is remembered, so that another day can fly the rest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPoint, Polygon

from flightplan.coverage.pricing import Way, entry, leave, straight
from flightplan.coverage.routes import Line, Route
from flightplan.coverage.sorties import Sortie
from flightplan.equipment.catalogue import Trigger
from flightplan.equipment.flight_model import Motion, path_seconds
from flightplan.formats.mission import Mission, Photo, Place, Role, Waypoint
from flightplan.plan.planning import FlightPlan, line_speed
from flightplan.terrain.profiles import FlightWay
from tmp.errors import InputError, VersionError
from tmp.files import replacing
from tmp.geo.frames import PlanFrame

Float = NDArray[np.float64]

FENCE_M = 40.0
"""Room between the way and the fence round it."""
FENCE_ABOVE_M = 20.0
RETURN_ABOVE_M = 15.0
"""Height above the highest ground or way near at which the drone comes home."""
SETTLE_M = 5.0
"""Fence corners closer to a straight line than this are left out."""

VERSION = 1
MEASURES = tuple(
    field.name for field in fields(Line) if field.name not in ("start", "end", "photos", "extra")
)
"""What of a line is kept besides its ends and photographs: run-in, run-out and the like."""


def missions_of(plan: FlightPlan) -> tuple[Mission, ...]:
    """Return one mission for each sortie, heights above its take-off point."""
    return tuple(
        _mission(plan, number, flight, way)
        for number, (flight, way) in enumerate(
            zip(plan.sorties.flights, plan.ways, strict=True), start=1
        )
    )


def _mission(plan: FlightPlan, number: int, flight: Sortie, way: FlightWay) -> Mission:
    setting, request = plan.setting, plan.request
    takeoff = _place(flight.launch, plan)
    home_m = takeoff.ground_m
    landing = None if flight.landing == flight.launch else _place(flight.landing, plan)
    highest_m = float(way.points[:, 2].max()) - home_m
    return_m = max(highest_m, _highest_near(plan, way) + RETURN_ABOVE_M - home_m)
    speed = plan.spacing.speed_m_s
    return Mission(
        name=f"sortie-{number}",
        waypoints=_waypoints(plan, way, home_m),
        photos=_photos(plan, flight, way, home_m),
        takeoff=takeoff,
        landing=landing,
        takeoff_height_m=round(float(way.points[0, 2]) - home_m, 2),
        return_height_m=math.ceil(return_m * 10) / 10,
        speed_m_s=speed,
        transit_speed_m_s=speed,
        drone=request.drone.key,
        camera=plan.camera.key,
        photo_interval_s=_interval_s(plan),
        area=setting.frame.to_geodetic(setting.area),
        fence=setting.frame.to_geodetic(_fence(way)),
        exclusions=tuple(_in_frame(part, setting.frame) for part in setting.exclusions),
        fence_height_m=math.ceil(return_m + FENCE_ABOVE_M),
        duration_s=flight.time_s,
        vertical_datum=setting.terrain.datum if request.dem else "",
    )


def _place(point: tuple[float, float], plan: FlightPlan) -> Place:
    ((lon, lat),) = plan.setting.frame.geodetic_from_plan([point])
    (ground,) = plan.setting.terrain.at([point])
    return Place(lon_deg=float(lon), lat_deg=float(lat), ground_m=float(ground))


def _waypoints(plan: FlightPlan, way: FlightWay, home_m: float) -> tuple[Waypoint, ...]:
    lon_lat = plan.setting.frame.geodetic_from_plan(way.points[:, :2])
    ground = plan.setting.terrain.at(way.points[:, :2])
    waypoints: list[Waypoint] = []
    last = len(way.points) - 1
    for index, (x, y, z) in enumerate(way.points):
        leg = way.legs[min(index, last - 1)]
        line = leg.line
        following = way.points[index + 1] if index < last else way.points[index]
        course = math.degrees(math.atan2(following[0] - x, following[1] - y)) % 360.0
        if index == last:
            course = waypoints[-1].heading_deg
        taking = leg.role is Role.LINE and line is not None and index < last
        waypoints.append(
            Waypoint(
                lon_deg=float(lon_lat[index, 0]),
                lat_deg=float(lon_lat[index, 1]),
                height_m=round(float(z) - home_m, 3),
                ground_m=float(ground[index]),
                speed_m_s=_speed(plan, line),
                heading_deg=line.heading_deg if line is not None else course,
                gimbal_pitch_deg=line.pitch_deg if line is not None else -90.0,
                role=leg.role if index < last else Role.TRANSIT,
                photo_spacing_m=_spacing(plan, line) if taking and line is not None else math.nan,
                stop=bool(way.begins[index]) and leg.role is not Role.RUN_OUT and not taking,
            )
        )
    return tuple(waypoints)


def _speed(plan: FlightPlan, line: Line | None) -> float:
    if line is None:
        return plan.spacing.speed_m_s
    return line_speed(line, plan.spacing, plan.request)


def _spacing(plan: FlightPlan, line: Line) -> float:
    return round(line.spacing_m or plan.spacing.photo_m, 3)


def _interval_s(plan: FlightPlan) -> float:
    """Return the timer to set where photographs come by time: whole seconds, never too long."""
    if Trigger.TIMER not in plan.request.drone.triggers:
        return math.nan
    longest = plan.spacing.photo_m / plan.spacing.speed_m_s
    return float(max(math.floor(longest + 1e-6), 1))


def _photos(plan: FlightPlan, flight: Sortie, way: FlightWay, home_m: float) -> tuple[Photo, ...]:
    if not len(way.photos):
        raise InputError("a sortie without photographs; give a larger area")
    lon_lat = plan.setting.frame.geodetic_from_plan(way.photos[:, :2])
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
    hull = MultiPoint(way.points[:, :2]).convex_hull.buffer(FENCE_M)
    x0, y0, x1, y1 = hull.bounds
    cell = plan.setting.terrain.cell_m
    x, y = np.meshgrid(np.arange(x0, x1 + cell, cell), np.arange(y0, y1 + cell, cell))
    places = np.column_stack([x.ravel(), y.ravel()])
    places = places[plan.setting.terrain.covers(places)]
    return float(plan.setting.terrain.at(places).max())


def _in_frame(part: shapely.Geometry, frame: PlanFrame) -> Polygon:
    polygon: Polygon = frame.to_geodetic(part)
    return polygon


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """A survey's lines in the order flown, and how far it has come."""

    lines: tuple[Line, ...]
    """Plan metres."""
    flown: frozenset[int]
    """Numbers of the lines that need not be flown again, from 0."""

    @property
    def left(self) -> tuple[Line, ...]:
        """Lines still to be flown, in order."""
        return tuple(line for i, line in enumerate(self.lines) if i not in self.flown)

    def route(self, motion: Motion, *, way: Way = straight) -> Route:
        """Return the route over the lines that are left.

        Raises
        ------
        InputError
            If none is left.
        """
        lines = self.left
        if not lines:
            raise InputError("every line is flown; nothing is left to plan")
        transits = tuple(way(leave(lines[i]), entry(lines[i + 1])) for i in range(len(lines) - 1))
        seconds = sum(path_seconds(line.flown, motion) for line in lines)
        seconds += sum(path_seconds(transit, motion) for transit in transits)
        seconds += 2 * motion.corner_s * len(transits)
        return Route(lines=lines, transits=transits, time_s=seconds)


def write_resume(
    path: Path, lines: Sequence[Line], frame: PlanFrame, *, flown: Collection[int] = ()
) -> None:
    """Write a survey's lines, each with whether it is flown, for people to read and mend.

    Parameters
    ----------
    path : Path
        JSON, replaced if it exists.
    lines : sequence of Line
        In the order flown, plan metres.
    flown : collection of int
        Numbers of the lines flown, from 0.
    """
    ends = [frame.geodetic_from_plan([line.start, line.end]).round(9).tolist() for line in lines]
    table = [
        {
            "line": i + 1,
            "flown": i in flown,
            "start": start,
            "end": end,
            "photos": line.photos,
            "extra": line.extra,
            **{name: round(getattr(line, name), 3) for name in MEASURES},
        }
        for i, (line, (start, end)) in enumerate(zip(lines, ends, strict=True))
    ]
    rows = ",\n".join(f"    {json.dumps(row)}" for row in table)
    with replacing(path) as beside:
        beside.write_text(
            f'{{\n  "kind": "tmp flown lines",\n  "version": {VERSION},\n'
            f'  "lines": [\n{rows}\n  ]\n}}\n',
            encoding="utf-8",
        )


def read_resume(path: Path, frame: PlanFrame) -> Resume:
    """Read which lines of a survey are flown.

    Raises
    ------
    InputError
        If the file is missing, damaged, or something else.
    VersionError
        If a newer platform wrote it.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    if not isinstance(data, dict) or data.get("kind") != "tmp flown lines":
        raise InputError(f"{path}: does not list flown lines; give the file that tmp plan wrote")
    if data.get("version") != VERSION:
        raise VersionError(f"{path}: version {data.get('version')!r}; this platform reads 1")
    rows = data.get("lines")
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path}: lists no lines; plan anew")
    lines = tuple(_line(row, frame, f"{path}: line {i + 1}") for i, row in enumerate(rows))
    return Resume(
        lines=lines, flown=frozenset(i for i, row in enumerate(rows) if row.get("flown") is True)
    )


def _line(row: Any, frame: PlanFrame, where: str) -> Line:
    try:
        (x0, y0), (x1, y1) = frame.plan_from_geodetic([row["start"], row["end"]]).tolist()
        photos = row["photos"]
        measures = {name: float(row[name]) for name in MEASURES if name in row}
        if type(photos) is not int or photos < 1 or type(row["flown"]) is not bool:
            raise ValueError("photos is a number from 1, flown is true or false")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where} is damaged ({error}); plan anew") from error
    extra = row.get("extra") is True
    return Line(start=(x0, y0), end=(x1, y1), photos=photos, extra=extra, **measures)
