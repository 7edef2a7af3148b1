"""Where to take off: the fewest places from which all lines are in sight, and whose line is whose.

Lines that reach farther than the pilot sees are cut where another place is nearer, so that each
place gets a piece of the ground and the lines over it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.spatial.distance import cdist

from flightplan.coverage.routes import Line
from flightplan.coverage.tours import best_tour

Float = NDArray[np.float64]
Point = tuple[float, float]

LOOKED_AT, MORE = 200, 20
"""Stations looked at in the beginning, and how many are added at a time of those out of sight."""
FEW = 6
"""Places up to which it is worth while to look for fewer."""
NODES = 300
"""Branches of the search for the fewest places, at most: a bound that is the same everywhere."""
NEARER = 0.2
"""Weight of nearness among as few places."""
MOVES = 10
"""Most times that places are moved to the middle of what is theirs."""
CUT = 0.6
"""What cutting a line counts, in photographs taken as far away as one sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seam:
    """How a line is cut in two."""

    photos: int
    """Taken again on both sides."""
    run_m: float
    """Flown straight before and after the photographs."""

    def room_m(self, line: Line) -> float:
        """Return how far a piece of a line goes on beyond where it is cut."""
        return self.run_m + (self.photos + 1) // 2 * line.spacing_m


def fewest_places(
    lines: Sequence[Line], places: Float, reach_m: float, margin_m: float
) -> list[int] | None:
    """Return the numbers of the fewest places (N, 2) that see all lines, the nearest of as few.

    Where it takes several, lines are cut, and each place is to see `margin_m` beyond its part.
    None where some part of a line is in reach of none.

    Notes
    -----
    This is the set cover problem, which HiGHS solves as an integer program where a greedy cover
    shows that a few places do; for many, which would take it long, that cover is taken.  A place
    counts a little more the farther it is from the stations that it sees.

    References
    ----------
    Huangfu, Q., & Hall, J. A. J. (2018). Parallelizing the dual revised simplex method.
    Mathematical Programming Computation 10.
    """
    flown = cdist(np.concatenate([line.flown for line in lines]), places) <= reach_m
    stations = np.concatenate([line.stations for line in lines])
    away_m = cdist(stations, places)
    alone = np.flatnonzero(flown.all(axis=0))
    if alone.size:
        return [int(alone[np.argmin(away_m[:, alone].sum(axis=0))])]
    sees = away_m <= reach_m - margin_m
    if not sees.any(axis=1).all():
        return None
    mean_m = np.where(sees, away_m, 0.0).sum(axis=0) / np.maximum(sees.sum(axis=0), 1)
    price = 1.0 + NEARER * mean_m / reach_m
    looked_at = np.linspace(0, len(stations) - 1, LOOKED_AT).round().astype(np.intp)
    while True:
        chosen = _cover(sees[np.unique(looked_at)], price)
        unseen = np.flatnonzero(~sees[:, chosen].any(axis=1))
        if not unseen.size:
            return _settled([int(number) for number in chosen], away_m, sees)
        # What is in sight of fewest binds most.
        binding = unseen[np.argsort(sees[unseen].sum(axis=1), kind="stable")]
        looked_at = np.append(looked_at, binding[:: max(len(binding) // MORE, 1)])


def _settled(chosen: list[int], away_m: Float, sees: NDArray[np.bool_]) -> list[int]:
    """Return as many places, each moved to the middle of the stations that are nearest to it."""
    for _ in range(MOVES):
        nearest = np.where(sees[:, chosen], away_m[:, chosen], np.inf).argmin(axis=1)
        moved = []
        for number in range(len(chosen)):
            mine = nearest == number
            if not mine.any():
                moved.append(chosen[number])
                continue
            serves = sees[mine].all(axis=0)
            moved.append(int(np.where(serves, away_m[mine].sum(axis=0), np.inf).argmin()))
        if moved == chosen:
            break
        chosen = moved
    return chosen


def _cover(seen: NDArray[np.bool_], price: Float) -> NDArray[np.intp]:
    """Return columns that together have a one in every row, of least price where they are few."""
    chosen = _greedy(seen)
    if len(chosen) > FEW:
        return chosen
    found = milp(
        price,
        integrality=np.ones(len(price)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(sparse.csr_array(seen.astype(float)), lb=1.0),
        options={"node_limit": NODES},
    )
    return np.flatnonzero(found.x > 0.5) if found.x is not None else chosen


def _greedy(seen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return columns that cover all rows, each time the one that covers most of what is left."""
    left, chosen = np.ones(len(seen), bool), []
    while left.any():
        chosen.append(int(np.argmax(seen[left].sum(axis=0))))
        left &= ~seen[:, chosen[-1]]
    for one in list(chosen):  # what later ones made superfluous
        others = [other for other in chosen if other != one]
        if seen[:, others].any(axis=1).all():
            chosen = others
    return np.array(chosen, np.intp)


def share_out(
    lines: Sequence[Line], places: Sequence[Point], reach_m: float, seam: Seam
) -> tuple[tuple[Line, ...], ...]:
    """Return for each place the lines flown from it, in the order given, cut where need be.

    Each photograph is taken from a place that sees it, near ones rather than far ones, and a line
    is cut as seldom as that allows.  A line that no place sees wholly goes to the nearest as it is.
    """
    shared: list[list[Line]] = [[] for _ in places]
    for line in lines:
        for place, first, last in _runs(line, places, reach_m, seam):
            shared[place].append(_piece(line, first, last, seam))
    return tuple(map(tuple, shared))


def _runs(
    line: Line, places: Sequence[Point], reach_m: float, seam: Seam
) -> list[tuple[int, int, int]]:
    """Return which place takes which photographs of a line: place, first and last.

    The cheapest way through stations and places (Viterbi), where a photograph costs the square of
    its distance as a share of the reach, and a change of place `CUT`.
    """
    whole_m = cdist(line.flown, np.asarray(places)).max(axis=0)
    if (whole_m <= reach_m).any() and len(places) == 1:
        return [(0, 0, line.photos - 1)]
    stations = line.stations
    away_m = cdist(stations, np.asarray(places))
    room_m = seam.room_m(line)
    hidden = away_m + np.where(whole_m <= reach_m, 0.0, room_m) > reach_m
    cost = np.where(hidden, np.inf, (away_m / reach_m) ** 2)
    if np.isinf(cost).all(axis=1).any():
        return [(int(np.argmin(whole_m)), 0, line.photos - 1)]
    cut = CUT * max(line.photos, 1) ** 0.5
    total, before = cost[0], []
    for here in cost[1:]:
        origin = int(np.argmin(total))
        moved = total[origin] + cut < total
        before.append(np.where(moved, origin, np.arange(len(places))))
        total = np.where(moved, total[origin] + cut, total) + here
    chain = [int(np.argmin(total))]
    for origins in reversed(before):
        chain.append(int(origins[chain[-1]]))
    runs, at = [], 0
    for place, group in itertools.groupby(reversed(chain)):
        count = len(list(group))
        runs.append((place, at, at + count - 1))
        at += count
    return runs


def _piece(line: Line, first: int, last: int, seam: Seam) -> Line:
    """Return some photographs of a line, and those of the seams beyond them."""
    first = first if first == 0 else max(first - seam.photos // 2, 0)
    last = min(last + (seam.photos + 1) // 2, line.photos - 1)
    if (first, last) == (0, line.photos - 1):
        return line
    (x0, y0), (x1, y1) = line.stations[[first, last]].tolist()
    return replace(
        line,
        start=(x0, y0),
        end=(x1, y1),
        photos=last - first + 1,
        run_in_m=line.run_in_m if first == 0 else seam.run_m,
        run_out_m=line.run_out_m if last == line.photos - 1 else seam.run_m,
    )


def walked(places: Sequence[Point]) -> list[int]:
    """Return the numbers of places in the order that is quickest to walk."""
    points = np.asarray(places, float).reshape(-1, 2).repeat(2, axis=0)
    order = best_tour(cdist(points, points), np.zeros(len(points)))
    return [int(state) // 2 for state in order]


def farthest_m(place: Point, path: ArrayLike) -> float:
    """Return the greatest distance of a path's points (N, 2) from a place."""
    away = np.asarray(path, float) - place
    return float(np.hypot(away[:, 0], away[:, 1]).max())
