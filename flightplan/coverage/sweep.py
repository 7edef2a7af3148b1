"""Cut a field into cells, and sweep each with parallel flight lines at a heading of its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Polygon
from shapely.affinity import affine_transform
from shapely.geometry.base import BaseGeometry
from shapely.ops import split

from flightplan.coverage.routes import Airspace, Axes, Pattern, Strip, rings

Float = NDArray[np.float64]

CLOSEST = 0.5
"""Least distance between neighbouring lines as a share of the greatest: views from nearly the
same place say nothing new."""
OUTERMOST = 0.9
"""Greatest distance of a cell's edge from the outermost line, as a share of the line spacing."""
PARTED_M = 1e-4
"""Distance to which rings that touch are parted."""
MARGIN_M = 0.5
"""By how much the edge of a field is to lie inside the outermost footprint that must see it."""
DENSER = 0.8
"""Spacing of photographs on a line flown more slowly to see more, as a fraction of the usual."""

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
Cost = Callable[[BaseGeometry, float], float]
"""Seconds for flying a piece of ground at a heading, roughly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """How well the edges of a cell, across the sweep, are to be seen."""

    lines: int
    """Lines that are to see the edge."""
    dense: bool = False
    """Whether the outermost line takes its photographs more closely."""


def in_axes(cell: BaseGeometry, axes: Axes) -> BaseGeometry:
    """Return a geometry with the sweep's along and across as x and y."""
    (ax, ay), (bx, by) = axes.along, axes.across
    turning = [ax, ay, bx, by, 0.0, 0.0]
    turned = affine_transform(cell, turning)
    if turned.is_valid:
        return turned
    # Rings that touch, as where a cut meets a hole's corner, cross by rounding: part them first.
    return affine_transform(cell.buffer(-PARTED_M, join_style="mitre"), turning)


def views_per_line(pattern: Pattern, spacing_m: float) -> int:
    """Return how many photographs of one line see a place beside it, at least."""
    # Spacings are often rounded to the centimetre; a place in a thousand may then see one less.
    return max(math.floor(pattern.along_m / spacing_m + 0.01), 1)


def edge_choices(views: int, pattern: Pattern) -> tuple[Edges, ...]:
    """Return ways to have the edges of a cell seen often enough, safest first.

    Either enough lines see the edge; or one fewer, of which the outermost is flown more slowly;
    or a single one, for a cell whose neighbours see its edges too.
    """
    per_line = views_per_line(pattern, pattern.photo_spacing_m)
    enough = math.ceil(views / per_line)
    choices = [Edges(lines=enough)]
    denser = views_per_line(pattern, DENSER * pattern.photo_spacing_m)
    if enough > 1 and denser + (enough - 2) * per_line >= views:
        choices.append(Edges(lines=enough - 1, dense=True))
    if enough > 1:
        choices.append(Edges(lines=1))
    return tuple(choices)


def offsets(width_m: float, pattern: Pattern, lines: int) -> Float:
    """Return where the rows of a sweep lie (n,), from one edge of a cell of a given width.

    The fewest rows, evenly about the middle, of which so many lines see each edge, none farther
    from its neighbour than the line spacing and the outermost within `OUTERMOST` of it from the
    edge.

    Examples
    --------
    >>> pattern = Pattern(across_m=80, along_m=60, line_spacing_m=24, photo_spacing_m=15)
    >>> offsets(100, pattern, 2).tolist()
    [14.0, 38.0, 62.0, 86.0]
    """
    half, most = pattern.across_m / 2 - MARGIN_M, pattern.line_spacing_m
    for count in itertools.count(max(lines, 1)):
        # All limits on the step s follow from the outermost row at (width - (count - 1) s) / 2.
        least_step, most_step = CLOSEST * most, most
        if count > 1:
            least_step = max(least_step, (width_m - 2 * OUTERMOST * most) / (count - 1))
        elif width_m > 2 * OUTERMOST * most:
            continue
        beyond = (count - 1) / 2 - (lines - 1)
        if beyond > 0:
            least_step = max(least_step, (width_m / 2 - half) / beyond)
        elif beyond < 0:
            most_step = min(most_step, (half - width_m / 2) / -beyond)
        elif width_m / 2 > half:
            continue
        if least_step <= most_step + 1e-9:
            break
    step = min(max(width_m / count, least_step), most_step)
    return np.asarray(width_m / 2 + step * (np.arange(count) - (count - 1) / 2))


def lay_strips(
    sweep: int,
    cell: BaseGeometry,
    axes: Axes,
    pattern: Pattern,
    airspace: Airspace,
    *,
    edges: Edges,
    photos_at_ends: int,
    gap_m: float = 0.0,
) -> list[Strip]:
    """Return the strips of a sweep over a cell, row by row.

    Each row covers the ground nearer to it than to the other rows; where an obstacle stands in
    the row, or the cell has a gap there of more than `gap_m`, the row falls into several strips.
    `photos_at_ends` photographs of a row are to see the cell's edge at its ends.
    """
    turned = in_axes(cell, axes)
    _, low, _, high = turned.bounds
    rows = low + offsets(high - low, pattern, edges.lines)
    strips: list[Strip] = []
    for number, (row, spans) in enumerate(zip(rows, _spans(turned, rows, gap_m), strict=True)):
        dense = edges.dense and number in (0, len(rows) - 1)
        spacing = pattern.photo_spacing_m * (DENSER if dense else 1.0)
        beyond = (photos_at_ends - 1) * spacing - pattern.along_m / 2 + MARGIN_M
        for start, end in spans:
            strips += _cut(sweep, float(row), start - beyond, end + beyond, spacing, axes, airspace)
    return strips


def _spans(
    turned: BaseGeometry, rows: Float, gap_m: float = 0.0
) -> list[list[tuple[float, float]]]:
    """Return from where to where along the sweep the ground nearest to each row extends.

    Gaps of up to `gap_m` are passed over.
    """
    x_min, y_min, x_max, y_max = turned.bounds
    middles = (rows[1:] + rows[:-1]) / 2
    lows = np.concatenate([[y_min - 1], middles])
    highs = np.concatenate([middles, [y_max + 1]])
    bands = shapely.intersection(turned, shapely.box(x_min - 1, lows, x_max + 1, highs))
    spans = []
    for row, band in enumerate(bands):
        if band.is_empty:  # an outer row beyond the cell: it sees what its inner neighbour sees
            near = shapely.box(x_min - 1, lows[row] - 1, x_max + 1, highs[row] + 1)
            band = shapely.intersection(turned, near)
        parts = [part.bounds for part in shapely.get_parts(band) if part.area > 0]
        spans.append(_joined(sorted((part[0], part[2]) for part in parts), gap_m))
    filled = [index for index, span in enumerate(spans) if span]
    return [
        span or spans[min(filled, key=lambda index: abs(index - row))] if filled else []
        for row, span in enumerate(spans)
    ]


def _joined(spans: list[tuple[float, float]], gap_m: float) -> list[tuple[float, float]]:
    """Return sorted spans with those made one that overlap, or lie no farther apart."""
    joined: list[tuple[float, float]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1] + gap_m:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined


def _cut(
    sweep: int,
    across: float,
    start: float,
    end: float,
    spacing: float,
    axes: Axes,
    airspace: Airspace,
) -> list[Strip]:
    """Return the strips of one row between two places, obstacles left out."""
    if end < start:
        start = end = (start + end) / 2
    a, b = (across * axes.across + along * axes.along for along in (start, end))
    if end - start < 1e-6:
        parts = [] if airspace.blocked(a, b)[0] else [(0.0, 0.0)]
    else:
        parts = [(low, high) for low, high in airspace.open_parts(a, b).tolist()]
    strips = []
    for low, high in parts:
        limits = (low > 1e-6), (high < end - start - 1e-6)
        room = high - low
        steps = room / spacing
        # Towards an obstacle the line ends early, elsewhere it may end late; early there, too,
        # where an obstacle stands just beyond the row.
        for early in (True,) if all(limits) else (False, True):
            photos = 1 + (math.floor(steps + 1e-6) if early else math.ceil(steps - 1e-6))
            over = (photos - 1) * spacing - room
            shift = {(True, False): 0.0, (False, True): -over}.get(limits, -over / 2)
            strip = Strip(
                sweep=sweep,
                across_m=across,
                start_m=start + low + shift,
                photos=photos,
                spacing_m=spacing,
            )
            line = axes.line(strip)
            if not airspace.blocked(line.start, line.end)[0]:
                break
        strips.append(strip)
    return strips


def sweep_extent(cell: BaseGeometry, axes: Axes, pattern: Pattern) -> tuple[float, int]:
    """Return the length of the rows over a cell, metres, and in how many strips they fall.

    Rows are laid edge to edge, without regard to what the edges need.
    """
    turned = in_axes(cell, axes)
    _, low, _, high = turned.bounds
    count = max(math.ceil((high - low) / pattern.line_spacing_m + 0.2), 1)
    rows = low + (high - low) / count * (np.arange(count) + 0.5)
    strips = list(itertools.chain.from_iterable(_spans(turned, rows)))
    return sum(end - start for start, end in strips), len(strips)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A part of a field and the heading of its lines."""

    ground: BaseGeometry
    """Plan metres."""
    heading_deg: float
    """Clockwise from north, 0 up to below 180."""


Division = tuple[Cell, ...]


def edge_headings(ground: BaseGeometry, most: int = MOST_HEADINGS) -> list[float]:
    """Return the directions of a geometry's longest edges, 0 up to below 180° from north.

    Examples
    --------
    >>> edge_headings(shapely.box(0, 0, 30, 10))
    [90.0, 0.0]
    """
    totals: dict[float, float] = {}
    for dx, dy in _edges(ground):
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
        beam = sorted(fresh, key=lambda each: each[0])[:BEAM]
        found += beam
    return [division for _, division in sorted(found, key=lambda each: each[0])]


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


def along_line(ground: BaseGeometry, line: BaseGeometry, tolerance_m: float) -> Division:
    """Return a corridor divided at the bends of its line, with the courses of its legs.

    Parameters
    ----------
    ground : shapely geometry
        What of the corridor is to be seen, plan metres.
    line : LineString or MultiLineString
        Its middle.
    tolerance_m : float
        Bends smaller than this are none.

    Examples
    --------
    >>> bent = shapely.LineString([(0, 0), (100, 0), (100, 80)])
    >>> [cell.heading_deg for cell in along_line(bent.buffer(10), bent, 5.0)]
    [90.0, 0.0]
    """
    corners = shapely.get_coordinates(shapely.boundary(ground))
    half_m = float(np.median(shapely.distance(shapely.points(corners), line))) + tolerance_m
    legs = [
        shapely.linestrings(pair)
        for part in shapely.get_parts(line.simplify(tolerance_m))
        for pair in itertools.pairwise(shapely.get_coordinates(part))
    ]
    grounds: list[BaseGeometry] = []
    left = ground
    for leg in legs:
        beside = leg.buffer(half_m, cap_style="square")
        grounds.append(left.intersection(beside))
        left = left.difference(beside)
    # The outermost corners of sharp bends go with the nearest leg.
    for part in shapely.get_parts(left):
        nearest = int(np.argmin(shapely.distance(legs, part)))
        grounds[nearest] = grounds[nearest].union(part)
    headings = (
        math.degrees(math.atan2(*np.diff(shapely.get_coordinates(leg), axis=0)[0])) for leg in legs
    )
    return tuple(
        Cell(ground=each, heading_deg=round(heading, 6) % 180.0)
        for each, heading in zip(grounds, headings, strict=True)
        if each.area > 0
    )


def _key(division: Division) -> tuple[tuple[int, ...], ...]:
    rounded = np.round([[*cell.ground.bounds, cell.heading_deg] for cell in division])
    return tuple(sorted(map(tuple, rounded.astype(int).tolist())))


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
    for points, before, after in rings(plain):
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


def _edges(ground: BaseGeometry) -> Iterator[Float]:
    for polygon in shapely.get_parts(ground):
        for ring in (polygon.exterior, *polygon.interiors):
            edges = np.diff(np.asarray(ring.coords), axis=0)
            yield from edges[np.hypot(*edges.T) > 0]
