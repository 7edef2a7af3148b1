"""Positions that belong to the photograph before or after: clocks disagree, receivers lag.

A drone that flies up and down shows it.  Positions that come late lie ahead of the cameras on one
line and behind them, seen on the map, on the next; no shift of the whole block explains both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from photogrammetry.orientation.block import fit_level_similarity

Float = NDArray[np.float64]
Int = NDArray[np.int64]

LEAST_PHOTOGRAPHS = 16
MOST_SLIP, COARSE, FINE = 3.0, 0.25, 0.05
"""Photographs that positions may be early or late, and steps in which that is sought."""
LEAST_GAIN = 0.5
"""Residual with the slip over that without it, up to which the slip is real."""
LONGEST_STEP = 3.0
"""Steps longer than this many times the median one are not flown between two photographs."""


def estimate_slip(centres: Float, positions: Float, order: Int) -> float:
    """Return by how many photographs positions are late; 0 where nothing says so.

    Parameters
    ----------
    centres : ndarray of shape (N, 3)
        Projection centres of a level block, at any scale, heading and place.
    positions : ndarray of shape (N, 3)
        Recorded positions, world; NaN where there is none.
    order : ndarray of shape (N,)
        The photographs in the order they were taken.

    Notes
    -----
    Of all slips the one is sought whose centres, that many photographs later, fit the positions
    best by a level similarity.  It is believed where it halves the residuals.
    """
    placed = np.isfinite(positions).all(axis=1)
    if placed.sum() < LEAST_PHOTOGRAPHS:
        return 0.0

    def misfit(slip: float) -> float:
        source = centres_later(centres, order, slip)[placed, :2]
        target = positions[placed, :2]
        scale, heading_rad, shift = fit_level_similarity(source, target, trials=50)
        turn = scale * np.exp(1j * heading_rad)
        off = turn * (source @ [1, 1j]) + shift @ [1, 1j] - target @ [1, 1j]
        return float(np.sqrt(np.mean(np.minimum(np.abs(off), 3 * np.median(np.abs(off))) ** 2)))

    without = misfit(0.0)
    if without <= 0:
        return 0.0
    coarse = np.arange(-MOST_SLIP, MOST_SLIP + COARSE / 2, COARSE)
    best = coarse[int(np.argmin([misfit(float(slip)) for slip in coarse]))]
    fine = best + np.arange(-COARSE, COARSE + FINE / 2, FINE)
    misfits = [misfit(float(slip)) for slip in fine]
    if min(misfits) > LEAST_GAIN * without:
        return 0.0
    return float(fine[int(np.argmin(misfits))])


def centres_later(centres: Float, order: Int, later: float) -> Float:
    """Return where the cameras were some photographs later, (N, 3), between them on straight ways.

    Beyond the first and the last photograph, and across breaks of the flight, the camera is taken
    to have flown on as it did.
    """
    flown = centres[order]
    ahead = np.diff(flown, axis=0)
    length = np.linalg.norm(ahead, axis=1)
    whole = length < LONGEST_STEP * max(float(np.median(length)), 1e-9)
    moved = np.empty_like(flown)
    for i in range(len(flown)):
        moved[i] = _fly(flown, ahead, whole, i, later)
    found = np.empty_like(centres)
    found[order] = moved
    return found


def _fly(flown: Float, ahead: Float, whole: NDArray[np.bool_], start: int, later: float) -> Float:
    """Return the place a number of photographs after (or before) one of them."""
    place, left = flown[start], abs(later)
    direction = 1 if later > 0 else -1
    at, step = start, np.zeros(3)
    while left > 0:
        leg = at if direction > 0 else at - 1
        if 0 <= leg < len(ahead) and whole[leg]:
            step = direction * ahead[leg]
        elif not step.any():  # nothing flown before it: as on the other side
            other = at - 1 if direction > 0 else at
            if 0 <= other < len(ahead) and whole[other]:
                step = direction * ahead[other]
        part = min(left, 1.0)
        place = place + part * step
        left -= part
        at += direction
    return np.asarray(place)
