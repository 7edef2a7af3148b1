"""How long an autopilot takes over a mission by its own settings.

References
----------
ArduPilot: AC_WPNav.cpp, SCurve.cpp, ArduCopter/Parameters.cpp and mode_rtl.cpp; version 4.7 has the
same parameters under other names, in metres.
PX4: mc_pos_control, navigator and commander parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from pyproj import Geod

from flightplan.equipment.flight_model import Motion
from flightplan.formats.geometry import way_speed
from flightplan.formats.mavlink_items import HOLD_S, Autopilot
from flightplan.formats.mission import Mission, Place

NOTABLE = 1.05
"""Longer than planned by this factor is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The way from one halt to the next."""

    length_m: float
    cruise_s: float
    """Of its legs at the speeds that the mission asks for; infinite where it asks for none."""
    up_m: float = 0.0
    down_m: float = 0.0
    runs_m: tuple[float, ...] = ()
    """Its first and its last leg, where it has several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What of a mission takes time."""

    stretches: tuple[Stretch, ...]
    climb_m: float
    """Straight up from the take-off."""
    return_m: float
    """Level, from the last waypoint home, at the autopilot's own speed."""
    land_m: float
    """Height above home from which it lands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How an autopilot flies."""

    motion: Motion
    """Its cruise is the speed that it takes where a mission asks for none."""
    home_m_s: float
    up_m_s: float
    down_m_s: float
    landing_m_s: float
    landing_below_m: float
    home_s: float
    """Wait over home."""
    ground_s: float
    """On the ground with motors running, and climb gained and lost; as in the catalogue."""


def pace_of(values: Mapping[str, float], autopilot: Autopilot) -> Pace:
    """Return the pace that parameters give; those that are missing are as delivered."""
    return (_ardupilot if autopilot is Autopilot.ARDUPILOT else _px4)(values)


def home_speed(values: Mapping[str, float]) -> tuple[float, str]:
    """Return ArduPilot's speed on the way home in m/s, NaN if untold, and the parameter's name."""
    for name, scale in (("RTL_SPEED_MS", 1.0), ("RTL_SPEED", 100.0), ("WP_SPD", 1.0)):
        if values.get(name, 0) > 0:
            return values[name] / scale, name
    return values.get("WPNAV_SPEED", math.nan) / 100.0, "WPNAV_SPEED"


def _ardupilot(values: Mapping[str, float]) -> Pace:
    def of(name: str, old: str, usual: float) -> float:
        """Return a value in metres or, by its old name, in centimetres."""
        found = values.get(name, values.get(old, usual * 100) / 100)
        return found if found > 0 else usual

    cruise = of("WP_SPD", "WPNAV_SPEED", 10.0)
    home, _ = home_speed(values)
    jerk = values.get("WP_JERK", values.get("WPNAV_JERK", 1.0))
    return Pace(
        motion=Motion(
            cruise_m_s=cruise,
            acceleration_m_s2=of("WP_ACC", "WPNAV_ACCEL", 2.5),
            jerk_m_s3=jerk if jerk > 0 else 1.0,
            legs_alone=True,
        ),
        home_m_s=home if home > 0 else cruise,
        up_m_s=of("WP_SPD_UP", "WPNAV_SPEED_UP", 2.5),
        down_m_s=of("WP_SPD_DN", "WPNAV_SPEED_DN", 1.5),
        landing_m_s=of("LAND_SPD_MS", "LAND_SPEED", 0.5),
        landing_below_m=of("LAND_ALT_LOW_M", "LAND_ALT_LOW", 10.0),
        home_s=values.get("RTL_LOIT_TIME", 5000.0) / 1000.0,
        ground_s=9.0,
    )


def _px4(values: Mapping[str, float]) -> Pace:
    cruise, down = values.get("MPC_XY_CRUISE", 5.0), values.get("MPC_Z_V_AUTO_DN", 1.5)
    slow = min(values.get("MPC_LAND_SPEED", 0.7), down)
    # From 10 to 5 m above ground it slows with the height, and is slow below.
    slowing_s = 5 / down if down <= slow else 5 / (down - slow) * math.log(down / slow)
    return Pace(
        motion=Motion(
            cruise_m_s=cruise,
            acceleration_m_s2=values.get("MPC_ACC_HOR", 3.0),
            jerk_m_s3=values.get("MPC_JERK_AUTO", 4.0),
        ),
        home_m_s=cruise,
        up_m_s=values.get("MPC_Z_V_AUTO_UP", 3.0),
        down_m_s=down,
        landing_m_s=10 / (slowing_s + 5 / slow),
        landing_below_m=10.0,
        home_s=max(values.get("RTL_LAND_DELAY", 0.0), 0.0),
        ground_s=8.3,
    )


def way_through(mission: Mission, home: Place) -> Way:
    """Return what of a mission that takes off from `home` takes time."""
    points = mission.waypoints
    earth = Geod(ellps="WGS84")

    def apart_m(one: object, other: object) -> float:
        lon_lat = (getattr(at, name) for at in (one, other) for name in ("lon_deg", "lat_deg"))
        return float(earth.inv(*lon_lat)[2])

    stretches = [Stretch(length_m=apart_m(home, points[0]), cruise_s=math.inf)]
    steps: list[float] = []
    cruise = up = down = 0.0
    for index, (here, there) in enumerate(pairwise(points)):
        step, rise = apart_m(here, there), there.height_m - here.height_m
        speed = way_speed(mission, index)
        up, down = up + max(rise, 0.0), down + max(-rise, 0.0)
        cruise += step / speed if speed > 0 else math.inf
        steps.append(step)
        if there.stop or index == len(points) - 2:
            runs = (steps[0], steps[-1]) if len(steps) > 1 else ()
            stretches.append(
                Stretch(length_m=sum(steps), cruise_s=cruise, up_m=up, down_m=down, runs_m=runs)
            )
            steps, cruise, up, down = [], 0.0, 0.0, 0.0
    climb = mission.takeoff_height_m
    return Way(
        stretches=tuple(stretches),
        climb_m=climb if math.isfinite(climb) else points[0].height_m,
        return_m=apart_m(points[-1], mission.landing or home),
        land_m=points[-1].height_m,
    )


def flight_seconds(way: Way, pace: Pace) -> float:
    """Return the time of a mission from arming to disarming.

    Each stretch between halts is a leg at the mean of the speeds asked for; where it climbs or
    descends faster than the autopilot does, that counts.
    """
    seconds = pace.ground_s + way.climb_m / pace.up_m_s
    for one in way.stretches:
        asked = one.length_m / one.cruise_s if one.cruise_s > 0 else 0.0
        motion = replace(pace.motion, cruise_m_s=asked) if asked > 0 else pace.motion
        leg_s = float(motion.leg_seconds([one.length_m, 0.0]))
        leg_s += sum(motion.run_lost_s(run, motion.cruise_m_s) for run in one.runs_m)
        seconds += max(leg_s, one.up_m / pace.up_m_s + one.down_m / pace.down_m_s) + HOLD_S
    low_m = min(pace.landing_below_m, max(way.land_m, 0.0))
    seconds += way.return_m / pace.home_m_s + pace.home_s
    return seconds + max(way.land_m - low_m, 0.0) / pace.down_m_s + low_m / pace.landing_m_s
