"""In which order and direction lines are flown: local search on a matrix of times.

A tour holds strips in the order flown, until that order takes least time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flightplan.coverage.routes import Airspace, Axes, Pattern, Strip
from flightplan.equipment.flight_model import SAME_COURSE_DEG, Motion

Float = NDArray[np.float64]
States = NDArray[np.intp]

LONGEST_MOVED = 3
"""Most lines that are moved to another place of the tour at a time."""
LEAST_GAIN_S = 1e-6

UNREACHABLE_S = 1e6
"""Stands for no way at all, where infinity would make differences meaningless."""
STRAIGHT = math.cos(math.radians(SAME_COURSE_DEG))


def best_tour(
    between_s: Float,
    line_s: Float,
    *,
    start_s: Float | None = None,
    end_s: Float | None = None,
    shakes: int = 20,
    seed: int = 0,
) -> States:
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

    def seconds(self, tour: States) -> float:
        ring = np.concatenate([[self._ground], tour, [self._ground]])
        return float(self._cost[ring[:-1], ring[1:]].sum())

    def nearest(self, first: int) -> States:
        tour, left = [first], np.ones(self._ground, bool)
        left[[first, first ^ 1]] = False
        while left.any():
            cost = np.where(left, self._cost[tour[-1], :-1], np.inf)
            state = int(np.argmin(cost))
            tour.append(state)
            left[[state, state ^ 1]] = False
        return np.array(tour)

    def improved(self, tour: States) -> States:
        while True:
            for move in (self._reversal, self._displacement):
                better = move(tour)
                if better is not None:
                    tour = better
                    break
            else:
                return tour

    def _along(self, ring: States) -> tuple[Float, Float]:
        """Return the time from the tour's start to each state (n + 2,), and the same backwards."""
        flipped = self._flip[ring]
        there = self._cost[ring[:-1], ring[1:]]
        back = self._cost[flipped[1:], flipped[:-1]]
        return np.append(0, np.cumsum(there)), np.append(0, np.cumsum(back))

    def _reversal(self, tour: States) -> States | None:
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

    def _displacement(self, tour: States) -> States | None:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tour:
    """Strips in the order flown."""

    strips: tuple[Strip, ...]
    turned: tuple[bool, ...]
    """Whether each strip is flown against its sweep's heading."""

    def changed(self, changes: Mapping[int, Strip | None]) -> Tour:
        """Return the tour with some strips replaced or, for None, left out.

        One whose number is past the end is new, and flown after the strip nearest to it.
        """
        strips, turned = list(self.strips), list(self.turned)
        for index in sorted(changes, reverse=True):
            strip = changes[index]
            if strip is None:
                del strips[index], turned[index]
            elif index < len(strips):
                strips[index] = strip
            else:
                near = min(range(len(strips)), key=lambda i: _apart(strips[i], strip))
                strips.insert(near + 1, strip)
                turned.insert(near + 1, not turned[near])
        return Tour(strips=tuple(strips), turned=tuple(turned))

    def backwards(self) -> Tour:
        """Return the tour flown from its end to its start."""
        return Tour(strips=self.strips[::-1], turned=tuple(not t for t in self.turned[::-1]))

    def then(self, other: Tour) -> Tour:
        """Return this tour with another flown after it."""
        return Tour(strips=self.strips + other.strips, turned=self.turned + other.turned)


def _apart(one: Strip, other: Strip) -> tuple[bool, float]:
    return one.sweep != other.sweep, abs(one.across_m - other.across_m)


class Pricing:
    """The time that tours take."""

    def __init__(
        self,
        axes: Sequence[Axes],
        airspace: Airspace,
        motion: Motion,
        pattern: Pattern,
        *,
        run_in_m: float = 0.0,
        home: tuple[float, float] | None = None,
    ) -> None:
        self.pattern, self.airspace, self.motion = pattern, airspace, motion
        self._run_in_m = run_in_m
        self._home = None if home is None else np.asarray(home, float)
        self._spans: dict[Strip, tuple[float, float]] = {}
        self._detours: dict[tuple[float, ...], float] = {}
        self._along = np.array([axis.along for axis in axes])
        self._across = np.array([axis.across for axis in axes])

    def ends(self, strips: Sequence[Strip], turned: Sequence[bool]) -> Float:
        """Return where the drone enters and leaves each strip, run-ins included, (n, 2, 2)."""
        sweeps = [strip.sweep for strip in strips]
        across = np.array([strip.across_m for strip in strips])
        spans = np.array([self._span(strip) for strip in strips])
        backwards = np.asarray(turned, bool)
        spans[backwards] = spans[backwards, ::-1]
        base = across[:, None] * self._across[sweeps]
        return np.asarray(base[:, None, :] + spans[:, :, None] * self._along[sweeps][:, None, :])

    def _span(self, strip: Strip) -> tuple[float, float]:
        """Return from where to where along its sweep a strip is flown, run-ins included."""
        if self._run_in_m == 0 or strip.photos == 1:
            return strip.start_m, strip.end_m
        if self.airspace.free:
            return strip.start_m - self._run_in_m, strip.end_m + self._run_in_m
        if strip not in self._spans:
            base = strip.across_m * self._across[strip.sweep]
            course = self._along[strip.sweep]
            start, end = base + strip.start_m * course, base + strip.end_m * course
            self._spans[strip] = (
                strip.start_m - self.airspace.room_m(start, -course, self._run_in_m),
                strip.end_m + self.airspace.room_m(end, course, self._run_in_m),
            )
        return self._spans[strip]

    def clear(self, strips: Sequence[Strip]) -> bool:
        """Tell whether strips keep out of obstacles."""
        if self.airspace.free or not strips:
            return True
        ends = self.ends(strips, [False] * len(strips))
        return not self.airspace.blocked(ends[:, 0], ends[:, 1]).any()

    def line_seconds(self, ends: Float, strips: Sequence[Strip]) -> Float:
        """Return the time (n,) along strips with the given ends (n, 2, 2)."""
        caps = [self.pattern.speed_cap_m_s(strip.spacing_m) for strip in strips]
        return self.motion.leg_seconds(ends[:, 1] - ends[:, 0], cap_m_s=caps)

    def seconds(self, tour: Tour) -> float:
        """Return the time of a tour from its first strip's start to its last one's end.

        Infinite where a strip cannot be reached.  With a home, the way from and to it is added.
        """
        if not tour.strips:
            return 0.0
        ends = self.ends(tour.strips, tour.turned)
        lines = ends[:, 1] - ends[:, 0]
        total = self.line_seconds(ends, tour.strips).sum()
        total += self._hops(ends[:-1, 1], ends[1:, 0], lines[:-1], lines[1:]).sum()
        if self._home is not None:
            total += self.motion.leg_seconds(
                [ends[0, 0] - self._home, self._home - ends[-1, 1]]
            ).sum()
        return float(total)

    def _hops(self, leave: Float, enter: Float, before: Float, after: Float) -> Float:
        """Return the time (n,) from one strip to the next, given their courses (n, 2)."""
        hops = enter - leave
        seconds = self.motion.leg_seconds(hops) + 2 * self.motion.corner_s
        seconds = np.minimum(seconds, self._flown_through(hops, before, after))
        for index in np.flatnonzero(self.airspace.blocked(leave, enter)):
            seconds[index] = self._detour(leave[index], enter[index])
        return seconds

    def _flown_through(self, hops: Float, before: Float, after: Float) -> Float:
        """Return the time (...) of hops (..., 2) straight on into the next strip, else infinite.

        Braking and speeding up, counted with both strips, is taken off.
        """
        gaps = np.hypot(hops[..., 0], hops[..., 1])
        on = np.ones(gaps.shape, bool)
        for course in (before, after):
            size = np.hypot(course[..., 0], course[..., 1])
            on &= (course * hops).sum(-1) > STRAIGHT * size * gaps
        if not on.any():
            return np.full(gaps.shape, np.inf)
        speed = self.motion.ground_speed(hops)
        return np.where(on, gaps / speed - self.motion.ramp_s(speed), np.inf)

    def _detour(self, leave: Float, enter: Float) -> float:
        key = *leave.tolist(), *enter.tolist()
        if key not in self._detours:
            legs = self.airspace.seconds(leave[None], enter[None], self.motion)
            self._detours[key] = float(legs[0, 0]) + 2 * self.motion.corner_s
        return self._detours[key]

    def ordered(self, strips: Sequence[Strip], *, shakes: int = 20, seed: int = 0) -> Tour:
        """Return strips in the order and directions that take least time."""
        if not strips:
            return Tour(strips=(), turned=())
        doubled = [strip for strip in strips for _ in range(2)]
        ends = self.ends(doubled, [False, True] * len(strips))
        courses = ends[:, 1] - ends[:, 0]
        leave, enter = ends[:, 1], ends[:, 0]
        between = self.airspace.seconds(leave, enter, self.motion)
        hops = enter[None] - leave[:, None]
        open_way = between <= self.motion.leg_seconds(hops) + 1e-9
        through = self._flown_through(hops, courses[:, None], courses[None])
        between = between + 2 * self.motion.corner_s
        between = np.where(open_way, np.minimum(between, through), between)
        to_first = to_home = None
        if self._home is not None:
            to_first = self.motion.leg_seconds(ends[:, 0] - self._home)
            to_home = self.motion.leg_seconds(self._home - ends[:, 1])
        states = best_tour(
            np.minimum(between, UNREACHABLE_S),
            self.line_seconds(ends, doubled),
            start_s=to_first,
            end_s=to_home,
            shakes=shakes,
            seed=seed,
        )
        return Tour(
            strips=tuple(doubled[state] for state in states.tolist()),
            turned=tuple(bool(state % 2) for state in states.tolist()),
        )
