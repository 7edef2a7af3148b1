"""How much energy a multirotor takes to fly, from what makers publish.

Makers say how long a drone hovers, and some how long it cruises at one speed.  Hover gives the
power at no airspeed.  Momentum theory says how the power to hold the drone up falls with airspeed,
the tilt at top speed how much drag there is to work against, and the cruise figure how much of the
power at hover follows momentum theory and how much is spent whatever the drone does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flightplan.catalogue import Drone
from flightplan.motion import Motion, Wind, merged
from tmp.errors import InputError

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
EFFICIENCY = 0.5
"""Of turning the battery's energy into height or into way against the drag: about 0.75 for motor
and controller, 0.7 for the rotor."""


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
    return Airframe(
        mass_kg=frame.mass_kg,
        disc_m2=frame.disc_m2,
        drag_m2=frame.drag_m2,
        hover_w=frame.hover_w,
        share=float(np.clip(share, *SHARES)),
    )


def power_w(frame: Airframe, airspeed_m_s: ArrayLike, climb_m_s: ArrayLike = 0.0) -> Float:
    """Return the power of steady flight.

    Parameters
    ----------
    airspeed_m_s : array-like
        Level speed through the air.
    climb_m_s : array-like
        Upward speed, broadcast against the airspeed; sinking is taken to cost as much as level
        flight, since slow descent through one's own wake saves nothing.

    Notes
    -----
    ``P = P_h (1 - s + s T v_i / (m g v_h)) + D v / η + m g w / η`` at airspeed v and climb w, with
    s the induced share, T the thrust, v_i the induced speed (v_h at hover), D the drag and η
    `EFFICIENCY`.

    References
    ----------
    Leishman, J. G. (2006). Principles of Helicopter Aerodynamics, 2nd ed., chapter 2.14.
    Stolaroff, J. K., et al. (2018). Energy use and life cycle greenhouse gas emissions of drones
    for commercial package delivery. Nature Communications 9:409, equations 1 to 5.
    Zeng, Y., Xu, J., Zhang, R. (2019). Energy minimization for wireless communication with
    rotary-wing UAV. IEEE Transactions on Wireless Communications 18(4), equation 12.
    """
    held_up = frame.hover_w * (1 - frame.share + frame.share * _induced(frame, airspeed_m_s))
    lift_w = frame.mass_kg * GRAVITY_M_S2 * np.maximum(np.asarray(climb_m_s, float), 0.0)
    return np.asarray(held_up + _drag_w(frame, airspeed_m_s) + lift_w / EFFICIENCY)


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
    points: ArrayLike,
    motion: Motion,
    frame: Airframe,
    *,
    caps_m_s: ArrayLike | None = None,
    heights_m: ArrayLike | None = None,
) -> float:
    """Return the energy of a way through points, flown as `flightplan.motion` times it.

    Parameters
    ----------
    points : array-like of shape (N, 2)
        Plan metres.
    caps_m_s : array-like of shape (N - 1,), optional
        Highest speed of each leg.
    heights_m : array-like of shape (N,), optional
        Of the points; each metre climbed costs its own, sinking gives nothing back.

    Notes
    -----
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
    cruising = np.maximum(length / ground - ground / motion.acceleration_m_s2, 0.0)
    standing = standing_w(frame, motion.wind)
    moving = power_w(frame, leg_airspeeds(vectors, ground, motion.wind))
    joules = float((cruising * moving + (seconds - cruising) * np.maximum(moving, standing)).sum())
    joules += standing * motion.corner_s * (len(corners) - 2)
    if heights_m is not None:
        joules += climb_joules(frame, np.maximum(np.diff(np.asarray(heights_m, float)), 0).sum())
    return joules


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
    """Return seconds and joules of climbing to a height over the take-off and landing again."""
    seconds = height_m / drone.climb_m_s + height_m / drone.descent_m_s
    return seconds, seconds * standing_w(frame, wind) + climb_joules(frame, height_m)
