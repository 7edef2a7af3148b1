"""The ground along a way, sampled so that what lies between samples is known too.

And the height between ground and flight, metre by metre.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flightplan.terrain.terrain import Terrain
from tmp.errors import InputError

Float = NDArray[np.float64]

STEP_M = 2.0
RESOLUTION_M = 1.0
"""Longest way between two samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundProfile:
    """Bounds of the ground along a way; both are straight between samples."""

    distance_m: Float
    """(N,), along the way, strictly increasing from 0."""
    lowest_m: Float
    """(N,); the ground below the way is nowhere lower."""
    highest_m: Float
    """(N,); the ground below the way and in its corridor is nowhere higher."""


def ground_profile(
    terrain: Terrain, way: ArrayLike, *, half_width_m: float = 0.0, step_m: float = STEP_M
) -> GroundProfile:
    """Sample the ground below a way and beside it.

    Parameters
    ----------
    way : array-like of shape (M, 2)
        Corners in plan metres, M at least 2; points that repeat count once.
    half_width_m : float
        How far beside the way the drone may come.
    step_m : float
        Samples closer than this are thinned out.

    Raises
    ------
    InputError
        If the way has no length, or leaves the terrain.

    Notes
    -----
    `lowest_m` and `highest_m` bound the terrain between samples too, not only at them.  Without a
    corridor, and where cells are larger than `step_m`, they differ only by the twist of a cell.

    Along a straight line the bilinear ground is a parabola within each cell, so samples are
    taken where the line goes from cell to cell, and the parabola's arrow, which is greatest half
    way, is added to both ends of a stretch that bulges.  The corridor is covered by parallel
    lines no more than a cell apart, each treated alike.  Between parallels, and round the
    outside of corners, the ground is not looked at.
    """
    corners = np.atleast_2d(np.asarray(way, float))
    corners = corners[np.append(True, np.hypot(*np.diff(corners, axis=0).T) > 0)]
    if len(corners) < 2:
        raise InputError("a way needs two corners apart from each other to sample the ground below")
    lines = math.ceil(half_width_m / terrain.cell_m)
    beside_m = np.linspace(-half_width_m, half_width_m, 2 * lines + 1)
    begun_m = 0.0
    parts = []
    for start, end in pairwise(corners):
        distance, low, high = _stretch(terrain, start, end, beside_m)
        parts.append(np.array([begun_m + distance, low, high]))
        begun_m += float(distance[-1])
    # Where stretches meet, the lower and the higher of both ends count.
    distance, lows, highs = np.hstack(parts)
    distance, place = np.unique(distance, return_inverse=True)
    lowest, highest = np.full(len(distance), np.inf), np.full(len(distance), -np.inf)
    np.minimum.at(lowest, place, lows)
    np.maximum.at(highest, place, highs)
    kept = _kept(distance, step_m)
    return GroundProfile(
        distance_m=distance[kept],
        lowest_m=-_over(distance, -lowest, kept),
        highest_m=_over(distance, highest, kept),
    )


def _stretch(
    terrain: Terrain, start: Float, end: Float, beside_m: Float
) -> tuple[Float, Float, Float]:
    """Return distances and bounds of the ground along one straight stretch."""
    length = float(np.hypot(*(end - start)))
    along = (end - start) / length
    offsets = beside_m[:, None] * np.array([along[1], -along[0]])
    distance = _crossings(terrain, start + offsets, along, length)
    middle = (distance[1:] + distance[:-1]) / 2

    def heights(places: Float) -> Float:
        points = start + places[:, None] * along + offsets[:, None, :]
        return terrain.at(points.reshape(-1, 2)).reshape(len(offsets), -1)

    ground = heights(distance)
    arrow = heights(middle) - (ground[:, 1:] + ground[:, :-1]) / 2
    below = ground[len(offsets) // 2]
    sag = np.maximum(-arrow[len(offsets) // 2], 0.0)
    bulge = np.maximum(arrow.max(axis=0), 0.0)
    return distance, below - _both_ends(sag), ground.max(axis=0) + _both_ends(bulge)


def _both_ends(lift: Float) -> Float:
    """Return for each end of stretches (N-1,) the larger of those that meet there, (N,)."""
    return np.asarray(np.maximum(np.append(lift, 0.0), np.append(0.0, lift)))


def _crossings(terrain: Terrain, starts: Float, along: Float, length: float) -> Float:
    """Return where parallels (K, 2) go from one square between cell centres to the next."""
    found = [np.array([0.0, length])]
    corner = np.array([terrain.x_min, terrain.y_max])
    for axis in (0, 1):
        if abs(along[axis]) < 1e-9:
            continue
        for start in starts[:, axis]:
            first, last = sorted(
                (start + part - corner[axis]) / terrain.cell_m - 0.5
                for part in (0.0, length * along[axis])
            )
            centres = corner[axis] + (np.arange(math.ceil(first), last) + 0.5) * terrain.cell_m
            found.append((centres - start) / along[axis])
    distance = np.unique(np.concatenate(found).clip(0.0, length))
    # Rounding sets crossings of parallels beside each other that are one.
    apart = np.append(np.diff(distance) > 1e-9 * length, True)
    distance = distance[apart]
    distance[0] = 0.0
    return np.asarray(distance)


def _kept(distance: Float, step_m: float) -> NDArray[np.intp]:
    """Return the indices of samples at least a step apart, first and last among them."""
    kept = np.unique(np.floor(distance / step_m), return_index=True)[1]
    kept[-1:] = len(distance) - 1
    return np.unique(np.append(0, kept))


def _over(distance: Float, height: Float, kept: NDArray[np.intp]) -> Float:
    """Return heights for the samples kept, such that straight lines between them pass over all.

    A stretch with something above its straight line is lifted at both ends, or each end is set to
    the stretch's highest, whichever lifts less: the one suits a hump, the other a cliff.
    """
    ends = height[kept]
    chord = np.interp(distance, distance[kept], ends)
    left, right = ends[:-1], ends[1:]
    hump = np.maximum.reduceat(np.maximum(height - chord, 0.0), kept[:-1])
    top = np.maximum(np.maximum.reduceat(height, kept[:-1]), right)
    flat = 2 * top - left - right < 2 * hump
    new_left = np.where(flat, top, left + hump)
    new_right = np.where(flat, top, right + hump)
    return np.asarray(np.maximum(np.append(new_left, -np.inf), np.append(-np.inf, new_right)))


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


def profile_along(
    way: ArrayLike,
    terrain: Terrain,
    *,
    surveying: Sequence[bool] | NDArray[np.bool_] | None = None,
    step_m: float = RESOLUTION_M,
) -> Profile:
    """Sample a way over the terrain, no farther apart than `step_m`.

    It is straight between waypoints (N, 3): plan x, y, and height in the terrain's datum.
    `surveying` (N - 1,) tells where photographs are taken to the next; by default everywhere.

    Raises
    ------
    InputError
        If the way has fewer than two waypoints, or leaves the terrain.

    Examples
    --------
    >>> ground = Terrain.flat((0.0, 0.0, 100.0, 100.0), height_m=10.0)
    >>> profile_along([[0, 0, 70], [30, 40, 80]], ground).height_agl_m[[0, -1]]
    array([60., 70.])
    """
    points = np.asarray(way, float)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < 2:
        raise InputError(f"a way of shape {points.shape} has no length; give (N, 3), N at least 2")
    legs = np.hypot(*np.diff(points[:, :2], axis=0).T)
    at = np.concatenate([[0.0], np.cumsum(legs)])
    taking = np.ones(len(legs), bool) if surveying is None else np.asarray(surveying, bool)
    samples = np.maximum(np.ceil(legs / step_m).astype(int), 1) + 1
    leg_of = np.repeat(np.arange(len(legs)), samples)
    ends = zip(at[:-1], at[1:], samples, strict=True)
    along = np.concatenate([np.linspace(start, end, count) for start, end, count in ends])
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
