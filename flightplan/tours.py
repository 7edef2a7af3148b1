"""In which order and direction lines are flown: local search on a matrix of times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Tour = NDArray[np.intp]

LONGEST_MOVED = 3
"""Most lines that are moved to another place of the tour at a time."""
LEAST_GAIN_S = 1e-6


def best_tour(
    between_s: Float,
    line_s: Float,
    *,
    start_s: Float | None = None,
    end_s: Float | None = None,
    shakes: int = 20,
    seed: int = 0,
) -> Tour:
    """Return the states (n,) in the order flown.

    Line i can be flown in two states: ``2 i`` is the given direction, ``2 i + 1`` the other.

    Parameters
    ----------
    between_s : ndarray of shape (2 n, 2 n)
        Time from leaving a line in one state to entering another in another.
    line_s : ndarray of shape (2 n,)
        Time along the line.
    start_s, end_s : ndarray of shape (2 n,), optional
        Time to the first line and from the last one; none by default.
    shakes : int
        How often the best tour is disturbed and improved again.

    Notes
    -----
    Nearest neighbour from several lines; then reversals of a part (2-opt) and moves of up to
    three lines to another place, in either direction (or-opt), until none helps; then the same
    again after random exchanges of two parts (double bridge), from a seeded generator.

    References
    ----------
    Johnson, D. S., & McGeoch, L. A. (1997). The traveling salesman problem: a case study in local
    optimization. In Aarts & Lenstra, Local Search in Combinatorial Optimization.
    """
    count = len(line_s) // 2
    if count == 0:
        return np.empty(0, np.intp)
    problem = _Problem(between_s, line_s, start_s, end_s)
    firsts = np.unique(np.linspace(0, 2 * count - 1, min(2 * count, 12)).round().astype(int))
    tours = [problem.improved(problem.nearest(int(first))) for first in firsts]
    best = min(tours, key=problem.seconds)
    best_s = problem.seconds(best)
    rng = np.random.default_rng(seed)
    for _ in range(shakes if count > 3 else 0):
        a, b, c = np.sort(rng.choice(np.arange(1, count), 3, replace=False))
        shaken = np.concatenate([best[:a], best[b:c], best[a:b], best[c:]])
        tour = problem.improved(shaken)
        if problem.seconds(tour) < best_s - LEAST_GAIN_S:
            best, best_s = tour, problem.seconds(tour)
    return best


class _Problem:
    """The matrix with one more state, the ground, from which the tour starts and where it ends."""

    def __init__(
        self, between_s: Float, line_s: Float, start_s: Float | None, end_s: Float | None
    ) -> None:
        states = len(line_s)
        self._ground = states
        # The time along a line is counted on the way into it.
        self._cost = np.zeros((states + 1, states + 1))
        self._cost[:states, :states] = between_s + line_s
        self._cost[states, :states] = line_s + (0 if start_s is None else start_s)
        if end_s is not None:
            self._cost[:states, states] = end_s
        self._flip = np.append(np.arange(states) ^ 1, states)

    def seconds(self, tour: Tour) -> float:
        ring = np.concatenate([[self._ground], tour, [self._ground]])
        return float(self._cost[ring[:-1], ring[1:]].sum())

    def nearest(self, first: int) -> Tour:
        tour, left = [first], np.ones(self._ground, bool)
        left[[first, first ^ 1]] = False
        while left.any():
            cost = np.where(left, self._cost[tour[-1], :-1], np.inf)
            state = int(np.argmin(cost))
            tour.append(state)
            left[[state, state ^ 1]] = False
        return np.array(tour)

    def improved(self, tour: Tour) -> Tour:
        while True:
            for move in (self._reversal, self._displacement):
                better = move(tour)
                if better is not None:
                    tour = better
                    break
            else:
                return tour

    def _along(self, ring: Tour) -> tuple[Float, Float]:
        """Return the time from the tour's start to each state (n + 2,), and the same backwards."""
        flipped = self._flip[ring]
        there = self._cost[ring[:-1], ring[1:]]
        back = self._cost[flipped[1:], flipped[:-1]]
        return np.append(0, np.cumsum(there)), np.append(0, np.cumsum(back))

    def _reversal(self, tour: Tour) -> Tour | None:
        """Return the tour with the part reversed that gains most, or None."""
        ring = np.concatenate([[self._ground], tour, [self._ground]])
        flipped, cost = self._flip[ring], self._cost
        there, back = self._along(ring)
        i, j = np.triu_indices(len(tour))
        i, j = i + 1, j + 1
        gain = (
            (there[j + 1] - there[i - 1])
            - cost[ring[i - 1], flipped[j]]
            - (back[j] - back[i])
            - cost[flipped[i], ring[j + 1]]
        )
        k = int(np.argmax(gain))
        if gain[k] < LEAST_GAIN_S:
            return None
        low, high = i[k] - 1, j[k]
        part = self._flip[tour[low:high][::-1]]
        return np.concatenate([tour[:low], part, tour[high:]])

    def _displacement(self, tour: Tour) -> Tour | None:
        """Return the tour with up to three lines moved elsewhere, or None if nothing gains."""
        ring = np.concatenate([[self._ground], tour, [self._ground]])
        flipped, cost = self._flip[ring], self._cost
        there, back = self._along(ring)
        best: tuple[float, int, int, int, bool] | None = None
        for size in range(1, min(LONGEST_MOVED, len(tour) - 1) + 1):
            i = np.arange(1, len(tour) - size + 2)[:, None]
            last = i + size - 1
            k = np.arange(len(tour) + 1)[None, :]
            freed = there[last + 1] - there[i - 1] - cost[ring[i - 1], ring[last + 1]]
            opened = cost[ring[k], ring[k + 1]]
            within = there[last] - there[i]
            same = cost[ring[k], ring[i]] + within + cost[ring[last], ring[k + 1]]
            turned = (
                cost[ring[k], flipped[last]]
                + (back[last] - back[i])
                + cost[flipped[i], ring[k + 1]]
            )
            beside = (k >= i - 1) & (k <= last)
            for turn, put in ((False, same), (True, turned)):
                gain = np.where(beside, -np.inf, freed + opened - put)
                row, col = np.unravel_index(int(np.argmax(gain)), gain.shape)
                if gain[row, col] > (best[0] if best else LEAST_GAIN_S):
                    best = float(gain[row, col]), int(row), size, int(col), turn
        if best is None:
            return None
        _, low, size, after, turn = best
        part = tour[low : low + size]
        rest = np.concatenate([tour[:low], tour[low + size :]])
        at = after if after <= low else after - size
        return np.concatenate([rest[:at], self._flip[part[::-1]] if turn else part, rest[at:]])
