"""Parallel flight lines over one cell of a field: how many, where, and from where to where."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import affine_transform
from shapely.geometry.base import BaseGeometry

from flightplan.transits import Airspace
from flightplan.views import Axes, Pattern, Strip

Float = NDArray[np.float64]

CLOSEST = 0.5
"""Least distance between neighbouring lines as a share of the greatest: views from nearly the
same place say nothing new."""
OUTERMOST = 0.9
"""Greatest distance of a cell's edge from the outermost line, as a share of the line spacing."""
MARGIN_M = 0.5
"""By how much the edge of a field is to lie inside the outermost footprint that must see it."""
DENSER = 0.8
"""Spacing of photographs on a line flown more slowly to see more, as a fraction of the usual."""


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
    return affine_transform(cell, [ax, ay, bx, by, 0.0, 0.0])


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
) -> list[Strip]:
    """Return the strips of a sweep over a cell, row by row.

    Each row covers the ground nearer to it than to the other rows; where an obstacle stands in
    the row, or the cell has a gap there, the row falls into several strips.

    Parameters
    ----------
    sweep : int
        Number given to the strips.
    photos_at_ends : int
        How many photographs of a row are to see the cell's edge at its ends.
    """
    turned = in_axes(cell, axes)
    _, low, _, high = turned.bounds
    rows = low + offsets(high - low, pattern, edges.lines)
    strips: list[Strip] = []
    for number, (row, spans) in enumerate(zip(rows, _spans(turned, rows), strict=True)):
        dense = edges.dense and number in (0, len(rows) - 1)
        spacing = pattern.photo_spacing_m * (DENSER if dense else 1.0)
        beyond = (photos_at_ends - 1) * spacing - pattern.along_m / 2 + MARGIN_M
        for start, end in spans:
            strips += _cut(sweep, float(row), start - beyond, end + beyond, spacing, axes, airspace)
    return strips


def _spans(turned: BaseGeometry, rows: Float) -> list[list[tuple[float, float]]]:
    """Return from where to where along the sweep the ground nearest to each row extends."""
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
        spans.append(_joined(sorted((part[0], part[2]) for part in parts)))
    filled = [index for index, span in enumerate(spans) if span]
    return [
        span or spans[min(filled, key=lambda index: abs(index - row))] if filled else []
        for row, span in enumerate(spans)
    ]


def _joined(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return sorted spans with those that overlap made one."""
    joined: list[tuple[float, float]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
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
        # Towards an obstacle the line ends early, elsewhere it may end late.
        photos = math.ceil(room / spacing - 1e-6) + 1
        over = (photos - 1) * spacing - room
        if all(limits):
            photos = math.floor(room / spacing + 1e-6) + 1
            over = (photos - 1) * spacing - room
        shift = {(True, False): 0.0, (False, True): -over}.get(limits, -over / 2)
        strips.append(
            Strip(
                sweep=sweep,
                across_m=across,
                start_m=start + low + shift,
                photos=photos,
                spacing_m=spacing,
            )
        )
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
