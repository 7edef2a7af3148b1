"""How long a way takes: legs flown with a full stop at both ends, corners, and wind."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tmp.errors import InputError

Float = NDArray[np.float64]

SAME_PLACE_M = 0.05
"""Points closer than this to the one before are one point."""
SAME_COURSE_DEG = 2.0
"""Legs that turn by less than this are flown through as one."""


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
    corner_s: float = 1.0
    """Time lost at a corner besides braking and speeding up."""
    wind: Wind | None = None
    max_airspeed_m_s: float = math.inf
    """What the drone can do through the air; only wind makes it matter."""

    def __post_init__(self) -> None:
        for name, value in (
            ("cruise speed", self.cruise_m_s),
            ("acceleration", self.acceleration_m_s2),
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

    @property
    def still(self) -> bool:
        """Tell whether a way takes as long as the way back."""
        return self.wind is None or self.wind.speed_m_s == 0 or math.isinf(self.max_airspeed_m_s)

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

        Parameters
        ----------
        vectors : array-like of shape (..., 2)
            From start to end, metres east and north.
        cap_m_s : array-like, broadcast against (...)
            Ground speed not to be exceeded, such as that at which the camera keeps up.

        Notes
        -----
        Speed against time is a trapezoid, or a triangle where the leg is too short to reach
        cruise: ``L / v + v / a`` for ``L ≥ v² / a``, else ``2 √(L / a)``.
        """
        vectors = np.asarray(vectors, float)
        length = np.hypot(vectors[..., 0], vectors[..., 1])
        speed = np.minimum(self.ground_speed(vectors), cap_m_s)
        long = length >= speed**2 / self.acceleration_m_s2
        cruising = length / speed + speed / self.acceleration_m_s2
        return np.asarray(np.where(long, cruising, 2 * np.sqrt(length / self.acceleration_m_s2)))

    def stopping_m(self, speed_m_s: float | None = None) -> float:
        """Return the way needed to reach a speed, or to brake from it; by default from cruise."""
        speed = self.cruise_m_s if speed_m_s is None else speed_m_s
        return speed**2 / (2 * self.acceleration_m_s2)


def merged(points: ArrayLike, caps_m_s: ArrayLike | None = None) -> tuple[Float, Float]:
    """Return the points (K, 2) at which a way really turns, and the speed caps (K - 1,) between.

    Points closer than `SAME_PLACE_M` to the one before are left out, and so are those where the
    course changes by less than `SAME_COURSE_DEG`; a merged leg has the lower cap of its parts.

    Parameters
    ----------
    points : array-like of shape (N, 2)
    caps_m_s : array-like of shape (N - 1,), optional
        Highest speed of each leg; none by default.
    """
    points = np.asarray(points, float).reshape(-1, 2)
    caps = np.full(max(len(points) - 1, 0), math.inf)
    if caps_m_s is not None:
        caps = np.broadcast_to(np.asarray(caps_m_s, float), caps.shape)
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

    Parameters
    ----------
    points : array-like of shape (N, 2)
        Plan metres; fewer than two points take no time.
    caps_m_s : array-like of shape (N - 1,), optional
        Highest speed of each leg.

    Examples
    --------
    >>> path_seconds([[0, 0], [80, 0], [160, 0], [160, 8]], Motion())
    29.0
    """
    corners, caps = merged(points, caps_m_s)
    if len(corners) < 2:
        return 0.0
    legs = motion.leg_seconds(np.diff(corners, axis=0), cap_m_s=caps)
    return float(legs.sum()) + motion.corner_s * (len(corners) - 2)
