"""A flown way over the terrain: ground, flight and the height between them, metre by metre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flightplan.terrain import Terrain
from tmp.errors import InputError

Float = NDArray[np.float64]

STEP_M = 1.0
"""Longest way between two samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Samples along one way."""

    distance_m: Float
    """Along the way, (N,)."""
    place: Float
    """Plan metres, (N, 2)."""
    ground_m: Float
    """Height of the terrain, (N,)."""
    flight_m: Float
    """Height flown at, in the terrain's datum, (N,)."""
    surveying: NDArray[np.bool_]
    """Where photographs are taken, (N,)."""
    waypoint_m: Float
    """Distance at which each waypoint lies, (W,)."""

    @property
    def height_agl_m(self) -> Float:
        """Height above the ground, (N,)."""
        return self.flight_m - self.ground_m


def follow(
    way: ArrayLike,
    terrain: Terrain,
    *,
    surveying: Sequence[bool] | NDArray[np.bool_] | None = None,
    step_m: float = STEP_M,
) -> Profile:
    """Sample a way over the terrain.

    Parameters
    ----------
    way : array-like of shape (N, 3)
        Waypoints: plan x, y, and height in the terrain's datum; straight between them.
    terrain : Terrain
    surveying : sequence of N - 1 bools, optional
        Whether photographs are taken from each waypoint to the next; by default always.
    step_m : float
        Longest way between two samples.

    Raises
    ------
    InputError
        If the way has fewer than two waypoints, or leaves the terrain.

    Examples
    --------
    >>> ground = Terrain.flat((0.0, 0.0, 100.0, 100.0), height_m=10.0)
    >>> follow([[0, 0, 70], [30, 40, 80]], ground).height_agl_m[[0, -1]]
    array([60., 70.])
    """
    points = np.asarray(way, float)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < 2:
        raise InputError(f"a way of shape {points.shape} has no length; give (N, 3), N at least 2")
    legs = np.hypot(*np.diff(points[:, :2], axis=0).T)
    at = np.concatenate([[0.0], np.cumsum(legs)])
    taking = np.ones(len(legs), bool) if surveying is None else np.asarray(surveying, bool)
    distance, which = [], []
    for number, leg in enumerate(legs):
        samples = max(int(np.ceil(leg / step_m)), 1) + 1
        distance.append(np.linspace(at[number], at[number + 1], samples))
        which.append(np.full(samples, number))
    leg_of = np.concatenate(which)
    along = np.concatenate(distance)
    share = (along - at[leg_of]) / np.maximum(legs[leg_of], 1e-12)
    # A leg straight up has no length: its first sample is its foot, its last its top.
    upright = legs[leg_of] == 0
    last = np.append(leg_of[1:] != leg_of[:-1], True)
    share = np.where(upright, last.astype(float), share)[:, None]
    place = points[leg_of] + share * np.diff(points, axis=0)[leg_of]
    return Profile(
        distance_m=along,
        place=place[:, :2],
        ground_m=terrain.at(place[:, :2]),
        flight_m=place[:, 2],
        surveying=taking[leg_of],
        waypoint_m=at,
    )
