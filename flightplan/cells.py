"""Cut a field into cells, each to be flown at a heading of its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import split

Float = NDArray[np.float64]

MOST_CUTS = 12
"""Cuts tried on one cell, those along the longest edges first."""
MOST_HEADINGS = 4
"""Edge directions tried on one cell, those of the longest edges first."""
BEAM = 4
"""Divisions that are cut further at each step."""
DEEPEST = 4
"""Most cuts one after another."""
SAME_HEADING_DEG = 1.0
SAME_LINE_M = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A part of a field and the heading of its lines."""

    ground: BaseGeometry
    """Plan metres."""
    heading_deg: float
    """Clockwise from north, 0 up to below 180."""


Division = tuple[Cell, ...]
Cost = Callable[[BaseGeometry, float], float]
"""Seconds for flying a piece of ground at a heading, roughly."""


def edge_headings(ground: BaseGeometry, most: int = MOST_HEADINGS) -> list[float]:
    """Return the directions of a geometry's longest edges, 0 up to below 180° from north.

    Examples
    --------
    >>> edge_headings(shapely.box(0, 0, 30, 10))
    [90.0, 0.0]
    """
    totals: dict[float, float] = {}
    for start, end in _edges(ground):
        dx, dy = end - start
        heading = math.degrees(math.atan2(dx, dy)) % 180.0
        for known in totals:
            if abs((heading - known + 90.0) % 180.0 - 90.0) < SAME_HEADING_DEG:
                totals[known] += math.hypot(dx, dy)
                break
        else:
            totals[heading] = math.hypot(dx, dy)
    ranked = sorted(totals, key=lambda heading: -totals[heading])
    return [round(heading, 6) % 180.0 for heading in ranked[:most]]


def divisions(
    area: BaseGeometry, cost: Cost, *, step_deg: float, tolerance_m: float, least_m2: float
) -> list[Division]:
    """Return ways to divide a field into cells with headings, the seemingly quickest first.

    Parameters
    ----------
    area : shapely Polygon or MultiPolygon
        Plan metres.
    cost : callable
        Seconds for a piece of ground at a heading.
    step_deg : float
        Step of the headings tried for the field in one piece, besides those of its edges.
    tolerance_m : float
        Bends of the boundary smaller than this are no reason to cut.
    least_m2 : float
        Smallest cell a cut may leave.

    Notes
    -----
    Cuts run along the edges that meet in a corner which juts into the field, right across it;
    the best few divisions at each step are cut again, until no cut saves time.

    References
    ----------
    Huang, W. H. (2001). Optimal line-sweep-based decompositions for coverage algorithms. ICRA:
    lines of adjacent cells may differ in heading, and cuts follow the boundary's edges.
    """
    outline = area.simplify(tolerance_m)
    plain = outline if outline.is_valid and outline.area > 0 else area
    swept = np.arange(0.0, 180.0, step_deg).tolist()
    headings = list(dict.fromkeys(edge_headings(plain, 8) + swept))
    whole = sorted((cost(area, h), h) for h in headings)
    main = [h for _, h in whole[:2]]
    found: list[tuple[float, Division]] = [
        (seconds, (Cell(ground=area, heading_deg=h),)) for seconds, h in whole[:MOST_HEADINGS]
    ]
    pieces = _Pieces(cost, main)
    beam = [pieces.division(list(shapely.get_parts(area)))]
    seen = {_key(division) for _, division in found}
    found += [each for each in beam if _key(each[1]) not in seen]
    seen |= {_key(division) for _, division in beam}
    for _ in range(DEEPEST):
        fresh: list[tuple[float, Division]] = []
        for _, division in beam:
            for grounds in _cut_once(division, tolerance_m, least_m2):
                made = pieces.division(grounds)
                if _key(made[1]) not in seen:
                    seen.add(_key(made[1]))
                    fresh.append(made)
        if not fresh:
            break
        beam = sorted(fresh, key=lambda each: each[0])[:BEAM]
        found += beam
    ranked = sorted(found, key=lambda each: each[0])
    return [division for _, division in ranked]


class _Pieces:
    """The best heading of each piece of ground, kept once found."""

    def __init__(self, cost: Cost, main: list[float]) -> None:
        self._cost, self._main = cost, main
        self._known: dict[bytes, tuple[float, float]] = {}

    def division(self, grounds: list[BaseGeometry]) -> tuple[float, Division]:
        cells, seconds = [], 0.0
        for ground in grounds:
            best_s, heading = self._best(ground)
            seconds += best_s
            cells.append(Cell(ground=ground, heading_deg=heading))
        return seconds, tuple(cells)

    def _best(self, ground: BaseGeometry) -> tuple[float, float]:
        key = shapely.to_wkb(ground)
        if key not in self._known:
            headings = dict.fromkeys(edge_headings(ground) + self._main)
            self._known[key] = min((self._cost(ground, h), h) for h in headings)
        return self._known[key]


def _key(division: Division) -> tuple[tuple[int, ...], ...]:
    return tuple(
        sorted(
            tuple(np.round([*cell.ground.bounds, cell.heading_deg]).astype(int).tolist())
            for cell in division
        )
    )


def _cut_once(
    division: Division, tolerance_m: float, least_m2: float
) -> Iterator[list[BaseGeometry]]:
    """Yield the grounds of a division with one of its cells cut."""
    grounds = [cell.ground for cell in division]
    for index, ground in enumerate(grounds):
        for parts in itertools.islice(_cuts(ground, tolerance_m), MOST_CUTS):
            if min(part.area for part in parts) >= least_m2:
                yield [*grounds[:index], *parts, *grounds[index + 1 :]]


def _cuts(ground: BaseGeometry, tolerance_m: float) -> Iterator[list[BaseGeometry]]:
    """Yield a polygon cut along the edges at its reflex corners, longest edges first."""
    plain = ground.simplify(tolerance_m)
    if not isinstance(plain, Polygon) or plain.is_empty:
        return
    size = float(np.hypot(*np.subtract(ground.bounds[2:], ground.bounds[:2]))) + 1.0
    lines: list[tuple[float, Float, Float]] = []
    oriented = shapely.geometry.polygon.orient(plain)
    for ring in (oriented.exterior, *oriented.interiors):
        points = np.asarray(ring.coords)[:-1]
        before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
        reflex = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0] < 0
        for corner in np.flatnonzero(reflex):
            for edge in (before[corner], after[corner]):
                length = float(np.hypot(*edge))
                lines.append((length, points[corner], edge / length))
    kept: list[tuple[Float, Float]] = []
    for _, point, course in sorted(lines, key=lambda each: -each[0]):
        if any(_same_line(point, course, *other) for other in kept):
            continue
        kept.append((point, course))
        cut = shapely.linestrings([point - size * course, point + size * course])
        parts = [part for part in split(ground, cut).geoms if part.area > 0]
        if len(parts) > 1:
            yield parts


def _same_line(one: Float, course: Float, other: Float, its_course: Float) -> bool:
    parallel = abs(course[0] * its_course[1] - course[1] * its_course[0]) < 0.02
    away = other - one
    return bool(parallel and abs(course[0] * away[1] - course[1] * away[0]) < SAME_LINE_M)


def _edges(ground: BaseGeometry) -> Iterator[tuple[Float, Float]]:
    for polygon in shapely.get_parts(ground):
        for ring in (polygon.exterior, *polygon.interiors):
            points = np.asarray(ring.coords)
            keep = np.hypot(*np.diff(points, axis=0).T) > 0
            yield from zip(points[:-1][keep], points[1:][keep], strict=True)
