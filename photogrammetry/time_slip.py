"""Positions that belong to the photograph before or after: clocks disagree, receivers lag.

A drone that flies up and down shows it.  Positions that come late lie ahead of the cameras on one
line and behind them, seen on the map, on the next; no shift of the whole block explains both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

LEAST_PHOTOGRAPHS = 10
LEAST_GAIN = 0.5
"""Residual with the slip over that without it, up to which the slip is real."""
LEAST_SLIP = 0.25
"""Photographs by which positions must be late or early to be worth correcting."""
LONGEST_STEP = 3.0
"""Steps longer than this many times the median one are not flown between two photographs."""


def estimate_slip(centres: Float, positions: Float, order: NDArray[np.int64]) -> float:
    """Return by how many photographs positions are late; 0 where nothing says so.

    Parameters
    ----------
    centres : ndarray of shape (N, 3)
        Projection centres of a block laid on its positions, world.
    positions : ndarray of shape (N, 3)
        Recorded positions, NaN where there is none.
    order : ndarray of shape (N,)
        The photographs in the order they were taken.

    Notes
    -----
    The slip ``s`` minimises ``|p - c - s v - t|`` over all photographs, with ``v`` the step from
    one to the next and ``t`` free, robustly (Cauchy's weights); it is believed where it halves the
    residuals.
    """
    steps = steps_of(centres, order)[:, :2]
    off = (positions - centres)[:, :2]
    used = np.isfinite(off).all(axis=1) & (np.abs(steps) > 0).any(axis=1)
    if used.sum() < LEAST_PHOTOGRAPHS:
        return 0.0
    off, steps = off[used], steps[used]
    without = _typical(off - np.median(off, axis=0))
    slip, shift = 0.0, np.median(off, axis=0)
    for _ in range(30):
        left = off - slip * steps - shift
        length = np.linalg.norm(left, axis=1)
        weights = 1 / (1 + (length / max(2 * float(np.median(length)), 1e-9)) ** 2)
        weights /= weights.sum()
        steps_about, off_about = steps - weights @ steps, off - weights @ off
        variance = float(weights @ (steps_about**2).sum(axis=1))
        if variance <= 0:
            return 0.0
        slip = float(weights @ (steps_about * off_about).sum(axis=1)) / variance
        shift = weights @ (off - slip * steps)
    if abs(slip) < LEAST_SLIP or _typical(off - slip * steps - shift) > LEAST_GAIN * without:
        return 0.0
    return slip


def steps_of(centres: Float, order: NDArray[np.int64]) -> Float:
    """Return how far each photograph's camera moves until the next, (N, 3), 0 where it is unknown.

    The mean of the steps before and after, where both were flown without a break.
    """
    flown = centres[order]
    ahead = np.diff(flown, axis=0)
    length = np.linalg.norm(ahead, axis=1)
    whole = length < LONGEST_STEP * max(float(np.median(length)), 1e-9)
    steps, count = np.zeros_like(flown), np.zeros(len(flown))
    for side in (slice(None, -1), slice(1, None)):
        steps[side] += np.where(whole[:, None], ahead, 0.0)
        count[side] += whole
    found = np.zeros_like(centres)
    found[order] = steps / np.maximum(count, 1)[:, None]
    return found


def _typical(off: Float) -> float:
    return float(np.median(np.linalg.norm(off, axis=1)))
