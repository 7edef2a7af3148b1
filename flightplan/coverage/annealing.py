"""Make the lines of a field as quick to fly as the views it needs allow: simulated annealing.

Before it a tour is completed: its lines are lengthened and shifted, or some added, until every
place is seen often enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from flightplan.coverage.routes import Axes, Pattern, Strip
from flightplan.coverage.sweep import CLOSEST, DENSER, MARGIN_M
from flightplan.coverage.tours import Pricing, Tour

Float = NDArray[np.float64]
Counts = NDArray[np.int32]

HAIR_M = 1e-6
"""A place on the rim of a footprint counts as seen."""

Changes = Mapping[int, Strip | None]
"""Strips by their place in the tour; None for one left out."""

HOT_S, COLD_S = 3.0, 0.05
"""Loss of time accepted with probability 1/e at the beginning and at the end."""
CHEAP_S_M2, DEAR_S_M2 = 0.01, 1.0
"""Time put on a square metre that is seen too rarely, at the beginning and at the end."""
DEPTH = 0.1
"""Weight of each view that is missing there, against the place being short at all."""
HOPELESS = 12.0
"""Losses so many times the accepted one are not worth timing."""
FEW = 4
"""Of up to so many strips, the whole sweep is moved as often as anything else is changed."""
SLIDES_M = (0.5, 1.0, 2.0, 4.0, 8.0)
NEAR = (0.505, 1.0)
"""Shares of the spacings, across and along, within which a place has a photograph of its own: half
of it across, so that lines of neighbouring cells, too, are no farther apart than was asked; along,
some room where a line ends at those of another heading."""
RIM = 0.3
"""Width of the rim of the field where that is not asked, as a share of the line spacing."""

REPAIRS = 12
"""Most times that all strips are gone through to complete what is not seen enough."""
PATCHES = 40
"""Most strips that are added for what is then still not seen enough."""
ROWS = 7
"""Offsets across a place at which a strip over it is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How often places are seen, and what that leaves to be seen."""

    counts: tuple[Counts, Counts]
    """Photographs that see each place (N,), and that have each inner one near (M,)."""
    owed: tuple[int, int]
    """Places seen too rarely, and views missing there in all."""
    far: int
    """Inner places with no photograph near."""
    fresh: tuple[tuple[NDArray[np.intp], Counts], ...] = ()
    """Places whose counts a change has made others, and those counts, for both."""

    def settled(self) -> Seen:
        """Write what has changed into the counts, in place, and return them as they are now."""
        for counts, (places, after) in zip(self.counts, self.fresh, strict=bool(self.fresh)):
            counts[places] = after
        return replace(self, fresh=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the views of a tour are counted."""

    views: Float
    """(N, 2)."""
    inner: Float
    """Where a photograph must be near, (M, 2)."""
    cells_m2: tuple[float, float]
    """Area that one of each stands for."""


class Lacks:
    """What a tour's photographs leave to be seen.

    Besides the views asked for, the overlap asked for must hold: every place in the field's
    interior has a photograph of its own, no farther than `NEAR` of the spacings.
    """

    def __init__(self, places: Places, axes: Sequence[Axes], pattern: Pattern, views: int) -> None:
        self.places, self.axes = places, axes
        self._views = Sightings(
            places.views, axes, across_m=pattern.across_m, along_m=pattern.along_m
        )
        self._near = Sightings(
            places.inner,
            axes,
            across_m=2 * NEAR[0] * pattern.line_spacing_m,
            along_m=2 * NEAR[1] * pattern.photo_spacing_m,
        )
        self._asked = views

    def look(self, strips: Sequence[Strip]) -> Seen:
        """Return what strips leave to be seen."""
        counts = self._views.count(strips), self._near.count(strips)
        return Seen(counts=counts, owed=self._owed(counts[0]), far=int((counts[1] < 1).sum()))

    def area_m2(self, seen: Seen) -> float:
        """Return the area seen too rarely, weighted by depth."""
        places, views = seen.owed
        view_m2, near_m2 = self.places.cells_m2
        return places * view_m2 + DEPTH * views * view_m2 + seen.far * near_m2

    def short_share(self, seen: Seen) -> float:
        """Return the share of places with fewer views than asked."""
        return seen.owed[0] / max(len(seen.counts[0]), 1)

    def changed(self, seen: Seen, strips: Sequence[Strip], changes: Changes) -> Seen:
        """Return what is left to be seen after strips of one sweep have changed.

        The counts are those before, with what changes in them kept aside; see `settled`.
        """
        gone = [strips[index] for index in changes if index < len(strips)]
        come = [strip for strip in changes.values() if strip is not None]
        places, views = self._views.changed(seen.counts[0], gone, come)
        inner, near = self._near.changed(seen.counts[1], gone, come)
        before, after = self._owed(seen.counts[0][places]), self._owed(views)
        far = np.count_nonzero(near < 1) - np.count_nonzero(seen.counts[1][inner] < 1)
        return Seen(
            counts=seen.counts,
            owed=(seen.owed[0] + after[0] - before[0], seen.owed[1] + after[1] - before[1]),
            far=seen.far + int(far),
            fresh=((places, views), (inner, near)),
        )

    def helpful(self, seen: Seen, strips: Sequence[Strip]) -> list[int]:
        """Return which strips have a place not seen enough beside them, or nearly."""
        wanting = (
            (seen.counts[0] < self._asked, self._views),
            (seen.counts[1] < 1, self._near),
        )
        return [
            index
            for index, strip in enumerate(strips)
            if any(
                counts[sightings.in_order(strip.sweep, *sightings.reach(strip))].any()
                for counts, sightings in wanting
            )
        ]

    def missing(self, seen: Seen) -> tuple[NDArray[np.intp], Counts]:
        """Return which places (K,) have fewer views than asked, and how many are missing there."""
        short = np.maximum(self._asked - seen.counts[0], 0)
        places = np.flatnonzero(short)
        return places, short[places]

    def _owed(self, views: Counts) -> tuple[int, int]:
        short = np.maximum(self._asked - views, 0)
        return int(np.count_nonzero(short)), int(short.sum())


def anneal(tour: Tour, lacks: Lacks, pricing: Pricing, *, moves: int, seed: int = 0) -> Tour:
    """Return the best tour found in a number of random moves.

    A strip gains or loses a photograph at an end, slides along or across, takes its photographs
    more closely, or is left out, or its whole sweep slides; what costs time is accepted now and
    then, ever more seldom, and a place not seen enough gets ever dearer.

    References
    ----------
    Kirkpatrick, S., Gelatt, C. D., & Vecchi, M. P. (1983). Optimization by simulated annealing.
    Science 220(4598).
    """
    rng = np.random.default_rng(seed)
    seen = lacks.look(tour.strips)
    seconds, lack = pricing.seconds(tour), lacks.area_m2(seen)
    best, best_cost = tour, seconds + DEAR_S_M2 * lack
    for step in range(moves):
        heat = HOT_S * (COLD_S / HOT_S) ** (step / moves)
        price = CHEAP_S_M2 * (DEAR_S_M2 / CHEAP_S_M2) ** min(1.5 * step / moves, 1.0)
        changes = _proposal(tour.strips, pricing, rng)
        if changes is None:
            continue
        seen_after = lacks.changed(seen, tour.strips, changes)
        lack_after = lacks.area_m2(seen_after)
        dearer = price * (lack_after - lack)
        if dearer > HOPELESS * heat + 30.0:  # no move saves so much
            continue
        after = tour.changed(changes)
        seconds_after = pricing.seconds(after)
        worse = seconds_after - seconds + dearer
        if worse > 0 and rng.random() >= math.exp(-worse / heat):
            continue
        tour, seconds, lack = after, seconds_after, lack_after
        seen = seen_after.settled()
        if seconds + DEAR_S_M2 * lack < best_cost - 1e-9:
            best, best_cost = tour, seconds + DEAR_S_M2 * lack
    return best


def toggled(strip: Strip, pattern: Pattern) -> Strip:
    """Return a strip with its photographs closer, or as usual if they are closer already."""
    usual = pattern.photo_spacing_m
    spacing = usual * (DENSER if strip.spacing_m == usual else 1.0)
    photos = round(strip.length_m / spacing) + 1
    slack = strip.length_m - (photos - 1) * spacing
    return replace(strip, spacing_m=spacing, photos=photos, start_m=strip.start_m + slack / 2)


def _proposal(
    strips: Sequence[Strip], pricing: Pricing, rng: np.random.Generator
) -> dict[int, Strip | None] | None:
    """Return a random change, or None where it may not be made."""
    index, kind, slide = (int(n) for n in rng.integers([len(strips), 13, len(SLIDES_M)]))
    strip, pattern = strips[index], pricing.pattern
    amount = SLIDES_M[slide] * (1 if rng.random() < 0.5 else -1)
    changed: Strip | None
    if kind < 4:
        changed = strip.grown(*((-1, 0), (0, -1), (1, 0), (0, 1))[kind])
    elif kind < 7:
        changed = replace(strip, start_m=strip.start_m + amount)
    elif kind < 9:
        changed = replace(strip, across_m=strip.across_m + amount)
    elif kind == 9:
        changed = toggled(strip, pattern)
    elif kind == 10:
        if len(strips) == 1:
            return None
        changed = None
    elif kind == 11:
        return _beside(strips, index, amount, pricing)
    elif rng.random() > FEW / len(strips):
        return None  # moving many strips at once is slow to judge
    else:
        group: dict[int, Strip | None] = {
            i: replace(s, across_m=s.across_m + amount)
            for i, s in enumerate(strips)
            if s.sweep == strip.sweep
        }
        return group if pricing.clear([s for s in group.values() if s]) else None
    if changed is not None and (
        changed.photos < min(strip.photos, 2) or not pricing.clear([changed])
    ):
        return None
    return {index: changed} if spaced(strips, index, changed, pattern) else None


def _beside(
    strips: Sequence[Strip], index: int, side: float, pricing: Pricing
) -> dict[int, Strip | None] | None:
    """Return a new strip on one side of another, numbered after the last, or None."""
    step = math.copysign(pricing.pattern.line_spacing_m, side)
    strip = replace(strips[index], across_m=strips[index].across_m + step)
    gaps = [
        abs(other.across_m - strip.across_m)
        for other in strips
        if other.sweep == strip.sweep
        and other.end_m > strip.start_m
        and other.start_m < strip.end_m
    ]
    if min(gaps, default=math.inf) < CLOSEST * abs(step) or not pricing.clear([strip]):
        return None
    return {len(strips): strip}


def spaced(strips: Sequence[Strip], index: int, changed: Strip | None, pattern: Pattern) -> bool:
    """Tell whether a strip's neighbours would be neither too far nor too near."""
    old = strips[index]
    span = changed or old
    beside = [
        s.across_m
        for i, s in enumerate(strips)
        if i != index and s.sweep == old.sweep and s.end_m > span.start_m and s.start_m < span.end_m
    ]
    below = max((across for across in beside if across < old.across_m), default=-math.inf)
    above = min((across for across in beside if across > old.across_m), default=math.inf)
    most = pattern.line_spacing_m + 1e-6
    if changed is None:
        return math.isinf(above - below) or above - below <= most
    gaps = changed.across_m - below, above - changed.across_m
    return all(CLOSEST * most <= gap and (gap <= most or math.isinf(gap)) for gap in gaps)


def lengthened(tour: Tour, lacks: Lacks, pricing: Pricing) -> Tour:
    """Return the tour with strips lengthened, shifted or denser until every place is seen enough.

    Strip by strip, the change is made that gains most area for its time; ends when nothing lacks,
    or no change of a single strip helps.
    """
    seen, seconds = lacks.look(tour.strips), pricing.seconds(tour)
    for _ in range(REPAIRS):
        before = lacks.area_m2(seen)
        for index in lacks.helpful(seen, tour.strips):
            lack = lacks.area_m2(seen)
            best: tuple[float, Tour, Seen, float] | None = None
            for changes in _remedies(tour.strips, index, pricing):
                seen_after = lacks.changed(seen, tour.strips, changes)
                gained = lack - lacks.area_m2(seen_after)
                if gained <= 0:
                    continue
                after = tour.changed(changes)
                seconds_after = pricing.seconds(after)
                worth = gained / max(seconds_after - seconds + 0.5, 0.1)
                if best is None or worth > best[0]:
                    best = worth, after, seen_after, seconds_after
            if best is not None:
                _, tour, seen, seconds = best
                seen = seen.settled()
        if lacks.area_m2(seen) in (0, before):
            break
    return tour


def _remedies(
    strips: Sequence[Strip], index: int, pricing: Pricing
) -> list[dict[int, Strip | None]]:
    """Return changes of one strip that may let it see more."""
    strip = strips[index]
    options = [strip.grown(1, 0), strip.grown(0, 1), strip.grown(1, 1)]
    options += [replace(strip, start_m=strip.start_m + d) for d in (-4, -2, -1, 1, 2, 4)]
    options += [replace(strip, across_m=strip.across_m + d) for d in (-4, -2, -1, 1, 2, 4)]
    options.append(toggled(strip, pricing.pattern))
    return [
        {index: changed}
        for changed in options
        if spaced(strips, index, changed, pricing.pattern) and pricing.clear([changed])
    ]


def patched(tour: Tour, lacks: Lacks, pricing: Pricing) -> Tour:
    """Return the tour with short strips added over places that are not seen enough.

    Each time, the strip is added that gains most area for its time; ends when no place lacks
    views, or none can be seen from outside the obstacles.
    """
    seen, seconds = lacks.look(tour.strips), pricing.seconds(tour)
    for _ in range(PATCHES):
        short, missing = lacks.missing(seen)
        if len(short) == 0 or lacks.area_m2(seen) == 0:
            break
        lack = lacks.area_m2(seen)
        best: tuple[float, Tour, Seen] | None = None
        for strip in _patches(lacks.places.views[short], missing, pricing, lacks.axes):
            changes = {len(tour.strips): strip}
            seen_after = lacks.changed(seen, tour.strips, changes)
            gained = lack - lacks.area_m2(seen_after)
            after = tour.changed(changes)
            worth = gained / max(pricing.seconds(after) - seconds, 0.1)
            if gained > 0 and (best is None or worth > best[0]):
                best = worth, after, seen_after
        if best is None:
            break
        _, tour, seen = best
        seen, seconds = seen.settled(), pricing.seconds(tour)
    return tour


def _patches(
    places: Float, missing: Counts, pricing: Pricing, axes: Sequence[Axes]
) -> Iterator[Strip]:
    """Yield strips over the place that lacks most views and those it can be seen together with."""
    pattern, worst = pricing.pattern, int(np.argmax(missing))
    half = pattern.across_m / 2 - MARGIN_M
    for sweep, axis in enumerate(axes):
        across, along = places @ axis.across, places @ axis.along
        for row in (across[worst] + np.linspace(-half, half, ROWS)).tolist():
            beside = along[abs(across - row) <= half + HAIR_M]
            near = beside[abs(beside - along[worst]) <= pattern.along_m]
            span = float(np.ptp(near)) - pattern.along_m + 2 * MARGIN_M
            photos = math.ceil(max(span, 0.0) / pattern.photo_spacing_m) + int(missing[worst])
            photos = max(photos, 2)  # a single one would have no course
            middle = float(near.max() + near.min()) / 2
            for slide in (0.0, -half / 2, half / 2):
                spacing = pattern.photo_spacing_m
                start = middle + slide - (photos - 1) * spacing / 2
                strip = Strip(
                    sweep=sweep, across_m=row, start_m=start, photos=photos, spacing_m=spacing
                )
                if pricing.clear([strip]):
                    yield strip


class Sightings:
    """Counts of the photographs that have each of many places in a window about their middle.

    The window is a rectangle aligned with the line: the footprint on level ground, or a part of it.
    """

    def __init__(
        self, places: Float, axes: Sequence[Axes], *, across_m: float, along_m: float
    ) -> None:
        self.count_of_places = len(places)
        self._half_across, self._half_along = across_m / 2, along_m / 2
        self._order = [np.argsort(places @ axis.across, kind="stable") for axis in axes]
        ordered = list(zip(axes, self._order, strict=True))
        self._across = [(places @ axis.across)[order] for axis, order in ordered]
        self._along = [(places @ axis.along)[order] for axis, order in ordered]

    def reach(self, strip: Strip) -> tuple[int, int]:
        """Return between which numbers of its sweep's order the places beside a strip lie."""
        half = self._half_across + HAIR_M
        low, high = np.searchsorted(
            self._across[strip.sweep], [strip.across_m - half, strip.across_m + half]
        ).tolist()
        return low, high

    def in_order(self, sweep: int, low: int, high: int) -> NDArray[np.intp]:
        """Return the numbers of the places between two numbers of a sweep's order."""
        return self._order[sweep][low:high]

    def seen_by(self, strip: Strip, low: int, high: int) -> Counts:
        """Return how many of a strip's photographs have each place within its reach."""
        beyond = self._along[strip.sweep][low:high] - strip.start_m
        half, step = self._half_along + HAIR_M, strip.spacing_m
        last = np.minimum(np.floor((beyond + half) / step), strip.photos - 1)
        first = np.maximum(np.ceil((beyond - half) / step), 0)
        return np.asarray(np.maximum(last - first + 1, 0), np.int32)

    def count(self, strips: Iterable[Strip]) -> Counts:
        """Return how many photographs have each place in their window (N,)."""
        counts = np.zeros(self.count_of_places, np.int32)
        for strip in strips:
            low, high = self.reach(strip)
            counts[self.in_order(strip.sweep, low, high)] += self.seen_by(strip, low, high)
        return counts

    def changed(
        self, counts: Counts, gone: Sequence[Strip], come: Sequence[Strip]
    ) -> tuple[NDArray[np.intp], Counts]:
        """Return which places (K,) strips of one sweep that go and come touch, and their counts.

        `counts` (N,) stay as they are.
        """
        reaches = [self.reach(strip) for strip in (*gone, *come)]
        first, last = min(low for low, _ in reaches), max(high for _, high in reaches)
        places = self.in_order((*gone, *come)[0].sweep, first, last)
        after = counts[places]
        for index, (strip, (low, high)) in enumerate(zip((*gone, *come), reaches, strict=True)):
            sign = 1 if index >= len(gone) else -1
            after[low - first : high - first] += sign * self.seen_by(strip, low, high)
        return places, after


def places_on_edge(area: BaseGeometry, step_m: float) -> Float:
    """Return places (N, 2) along the boundary of an area, corners included."""
    rings = shapely.segmentize(area.boundary, step_m)
    return np.asarray(shapely.get_coordinates(rings))


def places_inside(area: BaseGeometry, cell_m: float) -> Float:
    """Return the centres (N, 2) of the square cells whose centre lies in the area."""
    x_min, y_min, x_max, y_max = area.bounds
    x = np.arange(x_min + cell_m / 2, x_max, cell_m)
    y = np.arange(y_min + cell_m / 2, y_max, cell_m)
    grid = np.column_stack([axis.ravel() for axis in np.meshgrid(x, y)])
    shapely.prepare(area)
    return np.asarray(grid[shapely.contains_xy(area, grid[:, 0], grid[:, 1])])
