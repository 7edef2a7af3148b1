"""What a sortie may take, and what its parts cost in time and energy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flightplan.coverage.routes import Line
from flightplan.equipment.catalogue import Drone
from flightplan.equipment.flight_model import (
    Airframe,
    Battery,
    Motion,
    airframe_of,
    climb_joules,
    path_joules,
    path_seconds,
    standing_w,
    vertical,
)
from tmp.errors import InputError

Float = NDArray[np.float64]
ROUNDING = 1e-9
"""Share of the budget by which costs added in another order may differ."""
Point = tuple[float, float]
Way = Callable[[Point, Point], Float]
"""From one point to another round what may not be flown over, (N, 2) with both ends."""


def straight(start: Point, end: Point) -> Float:
    """Return the straight way, (2, 2)."""
    return np.array([start, end], float)


def level(path: Float) -> float:
    """Return the metres climbed along a path (N, 2) at one height: none."""
    del path
    return 0.0


def any_speed(line: Line) -> float:
    """Return the speed limit of a line for cameras that always keep up: none."""
    del line
    return math.inf


def four_points(line: Line) -> int:
    """Return the waypoints of a line with run-in and run-out, at one height: four."""
    del line
    return 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SortieRules:
    """What a sortie may take, and from where it may start."""

    drone: Drone
    motion: Motion
    line_speed: Callable[[Line], float] = any_speed
    """Ground speed in m/s at which the camera keeps up on a line."""
    launches: tuple[Point, ...]
    """Where one may take off and land, plan metres."""
    height_m: float
    """Above the take-off point, climbed to before anything else."""
    battery: Battery = field(default_factory=Battery)
    sight_m: float = math.inf
    """Greatest distance from the pilot, who stands at the launch."""
    land_elsewhere: bool = False
    """Whether a sortie may land at another of the launches."""
    seam_photos: int = 3
    """Photographs taken again where a line is cut in two."""
    way: Way = straight
    climb_m: Callable[[Float], float] = level
    """Metres climbed along a path (N, 2)."""
    points: Callable[[Line], int] = four_points
    """Waypoints that a line takes."""

    def __post_init__(self) -> None:
        if not self.launches:
            raise InputError("no place to take off from; give one with --takeoff LON,LAT")
        if not (self.height_m > 0 and self.sight_m > 0):
            raise InputError(
                f"flying height {self.height_m!r} m and sight {self.sight_m!r} m must be positive"
            )
        if self.seam_photos < 0:
            raise InputError(f"{self.seam_photos!r} photographs at a seam; give 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Time, energy and waypoints."""

    seconds: float
    joules: float
    points: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Return both together."""
        return Cost(
            seconds=self.seconds + other.seconds,
            joules=self.joules + other.joules,
            points=self.points + other.points,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What parts of a sortie cost."""

    rules: SortieRules
    frame: Airframe
    budget_j: float
    """Energy of one battery without its reserve."""
    fixed: Cost
    """Take-off climb and landing."""

    @classmethod
    def of(cls, rules: SortieRules) -> Prices:
        """Return the prices under some rules."""
        frame = airframe_of(rules.drone)
        seconds, joules = vertical(rules.drone, frame, rules.height_m, rules.motion.wind)
        return cls(
            rules=rules,
            frame=frame,
            budget_j=rules.drone.battery_wh * 3600 * rules.battery.usable,
            fixed=Cost(seconds=seconds, joules=joules),
        )

    def path(self, points: Float, *, cap_m_s: float = math.inf, corners: int = 1) -> Cost:
        """Return the cost of a path (N, 2), with `corners` more where it joins others."""
        motion = self.rules.motion
        caps = np.full(max(len(points) - 1, 0), cap_m_s)
        standing = standing_w(self.frame, motion.wind)
        return Cost(
            seconds=path_seconds(points, motion, caps_m_s=caps) + corners * motion.corner_s,
            joules=path_joules(points, motion, self.frame, caps_m_s=caps)
            + corners * motion.corner_s * standing
            + climb_joules(self.frame, self.rules.climb_m(points)),
            points=max(len(points) - 2, 0),
        )

    def line(self, line: Line) -> Cost:
        """Return the cost of a line with its run-in and run-out."""
        cost = self.path(line.flown, cap_m_s=self.rules.line_speed(line))
        return replace(cost, points=self.rules.points(line))

    def affords(self, cost: Cost) -> bool:
        """Tell whether a battery and the controller allow a sortie of this cost."""
        few = cost.points <= self.rules.drone.max_points
        return few and cost.joules <= self.budget_j * (1 + ROUNDING)

    def alone(self, line: Line) -> str | None:
        """Return why a line cannot be a sortie of its own; None when it can."""
        rules = self.rules
        seen = [p for p in rules.launches if farthest(p, line.flown) <= rules.sight_m]
        if not seen:
            return f"lies farther than {rules.sight_m:g} m from every launch"
        sorties = [
            self.fixed + self.line(line) + self.path(way_out) + self.path(way_home)
            for place in seen
            for landing in (rules.launches if rules.land_elsewhere else (place,))
            for way_out in [rules.way(place, entry(line))]
            for way_home in [rules.way(leave(line), landing)]
        ]
        if not any(self.affords(sortie) for sortie in sorties):
            cheapest = min(sorties, key=lambda sortie: sortie.joules)
            if cheapest.points > rules.drone.max_points:
                return (
                    f"takes {cheapest.points} waypoints and the controller {rules.drone.max_points}"
                )
            return f"takes {cheapest.joules / self.budget_j:.0%} of what a battery gives"
        return None


def entry(line: Line) -> Point:
    """Return where the run-in of a line starts."""
    x, y = line.flown[0].tolist()
    return x, y


def leave(line: Line) -> Point:
    """Return where the run-out of a line ends."""
    x, y = line.flown[-1].tolist()
    return x, y


def farthest(place: Point, path: ArrayLike) -> float:
    """Return the greatest distance of a path's points (N, 2) from a place."""
    away = np.asarray(path, float) - place
    return float(np.hypot(away[:, 0], away[:, 1]).max())
