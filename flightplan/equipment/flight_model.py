"""How much time and energy a multirotor takes to fly, from what makers publish.

Makers say how long a drone hovers, and some how long it cruises at one speed.  Hover gives the
power at no airspeed.  Momentum theory says how the power to hold the drone up falls with airspeed,
the tilt at top speed how much drag there is to work against, and the cruise figure how much of the
power at hover follows momentum theory and how much is spent whatever the drone does.

The time of a way counts legs with a full stop at both ends, corners, and wind.  How speed is
gained and lost, and what take-off and landing take besides climb and descent, is the firmware's;
the catalogue has it for ArduCopter and PX4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flightplan.equipment.catalogue import Drone
from tmp.errors import InputError

SAME_PLACE_M = 0.05
"""Points closer than this to the one before are one point."""
SAME_COURSE_DEG = 2.0
"""Legs that turn by less than this are flown through as one."""

Float = NDArray[np.float64]
GRAVITY_M_S2 = 9.80665
AIR_KG_M3 = 1.225
"""Standard atmosphere at sea level, ISO 2533."""
USUAL_SHARE = 0.5
"""Induced share of hover power where no cruise figure is published; Zeng et al. 2019 have 0.53."""
SHARES = (0.2, 1.0)
"""Bounds of that share, for figures that would put it elsewhere."""
BISECTIONS = 30
"""Halve the interval of the induced speed to a billionth of it."""
SPEED_STEP_M_S = 0.5
"""Steps in which the most economical speed is looked for."""
EFFICIENCY = 0.5
"""Of turning the battery's energy into height or into way against the drag: about 0.75 for motor
and controller, 0.7 for the rotor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wind:
    """Wind over the whole survey."""

    speed_m_s: float
    from_deg: float
    """Where it comes from, clockwise from north, as in weather reports."""

    def __post_init__(self) -> None:
        if not 0 <= self.speed_m_s < math.inf:
            raise InputError(f"wind of {self.speed_m_s!r} m/s; give 0 or more")

    @property
    def velocity(self) -> tuple[float, float]:
        """How the air moves over the ground, east and north, m/s."""
        towards = math.radians(self.from_deg + 180.0)
        return self.speed_m_s * math.sin(towards), self.speed_m_s * math.cos(towards)


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """How a drone moves between stops."""

    cruise_m_s: float = 8.0
    """Ground speed the drone is told to fly."""
    acceleration_m_s2: float = 2.0
    """Of speeding up and of braking."""
    jerk_m_s3: float = math.inf
    """How fast that acceleration is reached; infinity for at once."""
    legs_alone: bool = False
    """Whether the autopilot shapes each leg by itself, see `run_lost_s`."""
    corner_s: float = 1.0
    """Time lost at a corner besides braking and speeding up."""
    wind: Wind | None = None
    max_airspeed_m_s: float = math.inf
    """What the drone can do through the air; only wind makes it matter."""

    def __post_init__(self) -> None:
        for name, value in (
            ("cruise speed", self.cruise_m_s),
            ("acceleration", self.acceleration_m_s2),
            ("jerk", self.jerk_m_s3),
            ("airspeed", self.max_airspeed_m_s),
        ):
            if not value > 0:
                raise InputError(f"{name} {value!r} is not positive")
        if not self.corner_s >= 0:
            raise InputError(f"time for a corner {self.corner_s!r} s is negative")
        if self.wind is not None and self.wind.speed_m_s >= self.max_airspeed_m_s:
            raise InputError(
                f"wind of {self.wind.speed_m_s:g} m/s carries away a drone that flies "
                f"{self.max_airspeed_m_s:g} m/s; wait for less wind"
            )

    def ground_speed(self, vectors: ArrayLike) -> Float:
        """Return the speed (...) held along courses given as vectors (..., 2) of any length.

        Notes
        -----
        The wind triangle: the drone heads into the wind so far that the cross wind cancels; what
        is left of its airspeed and the wind along the course give the greatest ground speed.
        """
        vectors = np.asarray(vectors, float)
        if self.wind is None or math.isinf(self.max_airspeed_m_s):
            return np.full(vectors.shape[:-1], self.cruise_m_s)
        length = np.hypot(vectors[..., 0], vectors[..., 1])
        course = vectors / np.maximum(length, 1e-12)[..., None]
        east, north = self.wind.velocity
        along = course[..., 0] * east + course[..., 1] * north
        across = course[..., 0] * north - course[..., 1] * east
        fastest = along + np.sqrt(self.max_airspeed_m_s**2 - across**2)
        return np.asarray(np.minimum(self.cruise_m_s, fastest))

    def leg_seconds(self, vectors: ArrayLike, *, cap_m_s: ArrayLike = math.inf) -> Float:
        """Return the time (...) of legs given as vectors (..., 2), at rest at both ends.

        `cap_m_s` (...) is a ground speed not to be exceeded, such as that at which the camera
        keeps up.

        A leg of length L takes ``L / v + t(v)``, with v the speed that it reaches and t the time
        to reach it, see `ramp_s`; the ways of speeding up and of braking are each ``v t / 2``.
        """
        vectors = np.asarray(vectors, float)
        length = np.hypot(vectors[..., 0], vectors[..., 1])
        speed = np.minimum(self.ground_speed(vectors), cap_m_s)
        speed = np.minimum(speed, self.reached_m_s(length))
        level = np.divide(length, speed, out=np.zeros_like(length), where=speed > 0)
        return np.asarray(level + self.ramp_s(speed))

    def ramp_s(self, speed_m_s: ArrayLike) -> Float:
        """Return the time (...) to reach a speed from rest, or to brake from it.

        ``v / a + a / j``, or ``2 √(v / j)`` where the acceleration a is not reached at jerk j:
        speed against time is an S, a straight line at infinite jerk.
        """
        speed = np.asarray(speed_m_s, float)
        a, j = self.acceleration_m_s2, self.jerk_m_s3
        return np.asarray(np.where(speed < a * a / j, 2 * np.sqrt(speed / j), speed / a + a / j))

    def reached_m_s(self, length_m: ArrayLike) -> Float:
        """Return the speed (...) reached half way between two stops so far apart."""
        length = np.asarray(length_m, float)
        a, j = self.acceleration_m_s2, self.jerk_m_s3
        full = a / 2 * (np.sqrt((a / j) ** 2 + 4 * length / a) - a / j)
        if math.isinf(j):
            return np.asarray(full)
        return np.asarray(np.where(full < a * a / j, (length * math.sqrt(j) / 2) ** (2 / 3), full))

    def run_lost_s(self, run_m: float, speed_m_s: float) -> float:
        """Return the time lost on a run-in or run-out of a line.

        ArduCopter shapes each leg by itself: it gains on its first half only what it could lose
        on the second (`SCurve::add_segments`), flies the rest of a short run-in at that, and goes
        on speeding up on the line.
        """
        reached = float(self.reached_m_s(max(run_m, 0.0)))
        if not self.legs_alone or not 0 < reached < speed_m_s:
            return 0.0
        more_s = float(self.ramp_s(speed_m_s - reached))
        took_s = float(self.ramp_s(reached)) + run_m / 2 / reached + more_s
        way_m = run_m + (reached + speed_m_s) / 2 * more_s
        return max(took_s - way_m / speed_m_s - float(self.ramp_s(speed_m_s)) / 2, 0.0)


def merged(points: ArrayLike, caps_m_s: ArrayLike | None = None) -> tuple[Float, Float]:
    """Return the points (K, 2) at which a way really turns, and the speed caps (K - 1,) between.

    Of points (N, 2), those closer than `SAME_PLACE_M` to the one before are left out, and so are
    those where the course changes by less than `SAME_COURSE_DEG`; a merged leg has the lower cap
    of its parts (N - 1,).
    """
    points = np.asarray(points, float).reshape(-1, 2)
    given = math.inf if caps_m_s is None else caps_m_s
    caps = np.broadcast_to(np.asarray(given, float), max(len(points) - 1, 0))
    straight = math.cos(math.radians(SAME_COURSE_DEG))
    kept: list[tuple[float, float]] = [(x, y) for x, y in points[:1].tolist()]
    kept_caps: list[float] = []
    for (x, y), cap in zip(points[1:].tolist(), caps.tolist(), strict=True):
        dx, dy = x - kept[-1][0], y - kept[-1][1]
        length = math.hypot(dx, dy)
        if length < SAME_PLACE_M:
            continue
        if len(kept) > 1:
            px, py = kept[-1][0] - kept[-2][0], kept[-1][1] - kept[-2][1]
            if (px * dx + py * dy) > straight * length * math.hypot(px, py):
                kept[-1] = (x, y)
                kept_caps[-1] = min(kept_caps[-1], cap)
                continue
        kept.append((x, y))
        kept_caps.append(cap)
    return np.array(kept).reshape(-1, 2), np.array(kept_caps)


def path_seconds(points: ArrayLike, motion: Motion, *, caps_m_s: ArrayLike | None = None) -> float:
    """Return the time of a way through points (N, 2), with a stop at every corner.

    `caps_m_s` (N - 1,) are the highest speeds of each leg.

    Examples
    --------
    >>> path_seconds([[0, 0], [80, 0], [160, 0], [160, 8]], Motion())
    29.0
    >>> path_seconds([[0, 0], [80, 0]], Motion())  # 10 s, and 2 s each to speed up and to brake
    14.0
    """
    corners, caps = merged(points, caps_m_s)
    if len(corners) < 2:
        return 0.0
    legs = motion.leg_seconds(np.diff(corners, axis=0), cap_m_s=caps)
    return float(legs.sum()) + motion.corner_s * (len(corners) - 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """What of a battery may be spent."""

    reserve: float = 0.25
    """Fraction of the rated capacity to come home with."""
    health: float = 0.9
    """Fraction of the rated capacity that is there: lower for old or cold batteries."""

    def __post_init__(self) -> None:
        for name in ("reserve", "health"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"battery {name} {getattr(self, name)!r}; give 0 to 1")
        if self.health <= self.reserve:
            raise InputError(
                f"a battery with {self.health:.0%} of its capacity and {self.reserve:.0%} in "
                "reserve has nothing to fly with; lower the reserve"
            )

    @property
    def usable(self) -> float:
        """Fraction of the rated capacity to fly with."""
        return self.health - self.reserve


@dataclass(frozen=True, slots=True, kw_only=True)
class Airframe:
    """What power depends on."""

    mass_kg: float
    disc_m2: float
    """Area swept by all rotors."""
    drag_m2: float
    """Drag area: drag over dynamic pressure."""
    hover_w: float
    share: float
    """Induced part of the hover power, which falls with airspeed; the rest is spent always."""

    @property
    def induced_m_s(self) -> float:
        """Speed of the air through the rotors at hover."""
        return math.sqrt(self.mass_kg * GRAVITY_M_S2 / (2 * AIR_KG_M3 * self.disc_m2))


def airframe_of(drone: Drone) -> Airframe:
    """Return a drone's airframe from its published figures.

    Notes
    -----
    Hover power is the battery's energy over the endurance at hover.  At top speed and full tilt
    the rotors' forward thrust ``m g tan(tilt)`` is the drag.  The share follows from the
    endurance at cruise, where published.
    """
    weight_n = drone.mass_kg * GRAVITY_M_S2
    drag_n = weight_n * math.tan(math.radians(drone.max_tilt_deg))
    frame = Airframe(
        mass_kg=drone.mass_kg,
        disc_m2=drone.rotors * math.pi * drone.rotor_m**2 / 4,
        drag_m2=2 * drag_n / (AIR_KG_M3 * drone.top_speed_m_s**2),
        hover_w=drone.battery_wh * 60 / drone.hover_min,
        share=USUAL_SHARE,
    )
    if math.isnan(drone.cruise_min) or math.isnan(drone.cruise_m_s):
        return frame
    drag = float(_drag_w(frame, drone.cruise_m_s)) / frame.hover_w
    saved = 1 - float(_induced(frame, drone.cruise_m_s))
    share = (1 + drag - drone.hover_min / drone.cruise_min) / saved
    return replace(frame, share=float(np.clip(share, *SHARES)))


def power_w(frame: Airframe, airspeed_m_s: ArrayLike) -> Float:
    """Return the power of steady level flight.

    Notes
    -----
    ``P = P_h (1 - s + s T v_i / (m g v_h)) + D v / η`` at airspeed v, with s the induced share, T
    the thrust, v_i the induced speed (v_h at hover), D the drag and η `EFFICIENCY`.

    References
    ----------
    Leishman, J. G. (2006). Principles of Helicopter Aerodynamics, 2nd ed., chapter 2.14.
    Stolaroff, J. K., et al. (2018). Energy use and life cycle greenhouse gas emissions of drones
    for commercial package delivery. Nature Communications 9:409, equations 1 to 5.
    Zeng, Y., Xu, J., Zhang, R. (2019). Energy minimization for wireless communication with
    rotary-wing UAV. IEEE Transactions on Wireless Communications 18(4), equation 12.
    """
    held_up = frame.hover_w * (1 - frame.share + frame.share * _induced(frame, airspeed_m_s))
    return np.asarray(held_up + _drag_w(frame, airspeed_m_s))


def economical_m_s(frame: Airframe, most_m_s: float) -> float:
    """Return the airspeed up to a bound at which a metre of level way takes least energy."""
    speeds = np.arange(SPEED_STEP_M_S, most_m_s + SPEED_STEP_M_S / 2, SPEED_STEP_M_S)
    return float(speeds[np.argmin(power_w(frame, speeds) / speeds)])


def _drag_w(frame: Airframe, airspeed_m_s: ArrayLike) -> Float:
    v = np.asarray(airspeed_m_s, float)
    return np.asarray(0.5 * AIR_KG_M3 * frame.drag_m2 * v**3 / EFFICIENCY)


def _induced(frame: Airframe, airspeed_m_s: ArrayLike) -> Float:
    """Return ``T v_i`` over its value at hover, for level flight at airspeed v.

    T is the thrust that balances weight and drag, α the tilt it needs; the induced speed solves
    ``v_i √((v cos α)² + (v sin α + v_i)²) = v_h² T / (m g)``, here by bisection.
    """
    v = np.asarray(airspeed_m_s, float)
    weight_n = frame.mass_kg * GRAVITY_M_S2
    drag_n = 0.5 * AIR_KG_M3 * frame.drag_m2 * v**2
    thrust = np.hypot(weight_n, drag_n) / weight_n
    tilt = np.arctan2(drag_n, weight_n)
    along, through = v * np.cos(tilt), v * np.sin(tilt)
    v_h = frame.induced_m_s
    low, high = np.zeros_like(v), v_h * np.sqrt(thrust)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        too_low = middle * np.hypot(along, through + middle) < v_h**2 * thrust
        low, high = np.where(too_low, middle, low), np.where(too_low, high, middle)
    return np.asarray(thrust * 0.5 * (low + high) / v_h)


def leg_airspeeds(vectors: ArrayLike, ground_m_s: ArrayLike, wind: Wind | None) -> Float:
    """Return the airspeed (N,) of flying along vectors (N, 2) at ground speeds (N,)."""
    vectors = np.asarray(vectors, float)
    length = np.maximum(np.hypot(vectors[..., 0], vectors[..., 1]), 1e-12)
    velocity = vectors / length[..., None] * np.asarray(ground_m_s, float)[..., None]
    air = np.zeros(2) if wind is None else np.array(wind.velocity)
    return np.asarray(np.hypot(*np.moveaxis(velocity - air, -1, 0)))


def path_joules(
    points: ArrayLike, motion: Motion, frame: Airframe, *, caps_m_s: ArrayLike | None = None
) -> float:
    """Return the energy of a way through points (N, 2), flown as `path_seconds` times it.

    Level parts at cruise are charged at their airspeed, speeding up and braking at the dearer of
    that and standing in the wind, corners at standing.
    """
    corners, caps = merged(points, caps_m_s)
    if len(corners) < 2:
        return 0.0
    vectors = np.diff(corners, axis=0)
    seconds = motion.leg_seconds(vectors, cap_m_s=caps)
    ground = np.minimum(motion.ground_speed(vectors), caps)
    length = np.hypot(vectors[:, 0], vectors[:, 1])
    cruising = np.maximum(length / ground - motion.ramp_s(ground), 0.0)
    standing = standing_w(frame, motion.wind)
    moving = power_w(frame, leg_airspeeds(vectors, ground, motion.wind))
    joules = float((cruising * moving + (seconds - cruising) * np.maximum(moving, standing)).sum())
    return joules + standing * motion.corner_s * (len(corners) - 2)


def standing_w(frame: Airframe, wind: Wind | None) -> float:
    """Return the power of standing still over the ground."""
    return _power_at(frame, wind.speed_m_s if wind else 0.0)


@lru_cache(maxsize=64)
def _power_at(frame: Airframe, airspeed_m_s: float) -> float:
    return float(power_w(frame, airspeed_m_s))


def climb_joules(frame: Airframe, height_m: float) -> float:
    """Return what a climb costs besides the time it takes."""
    return frame.mass_kg * GRAVITY_M_S2 * max(float(height_m), 0.0) / EFFICIENCY


def vertical(
    drone: Drone, frame: Airframe, height_m: float, wind: Wind | None = None
) -> tuple[float, float]:
    """Return seconds and joules of climbing to a height over the take-off and landing again.

    Some firmware lands slowly from a height on, waits over home before it, and runs the motors on
    the ground before and after.
    """
    slow_m = min(height_m, drone.landing_below_m) if drone.landing_m_s > 0 else 0.0
    seconds = height_m / drone.climb_m_s + (height_m - slow_m) / drone.descent_m_s
    seconds += drone.ground_s + drone.home_s
    if slow_m:
        seconds += slow_m / drone.landing_m_s
    return seconds, seconds * standing_w(frame, wind) + climb_joules(frame, height_m)
