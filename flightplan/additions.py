"""Photographs that could be added to flight lines, and the lines that come of those chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from flightplan.routes import Line
from flightplan.sheet import Sheet
from tmp.errors import InputError

Float = NDArray[np.float64]
Key = tuple[int, int]
"""Number of a line or row, and a step along it."""

LONGEST_GAP = 4
"""Photographs missing in a row up to which it is flown through."""
HAIR_M = 1e-3
"""Length of a line of a single photograph, so that it has a course."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """How photographs may be added."""

    photo_spacing_m: float
    line_spacing_m: float
    reach_m: float
    """How far from a place a photograph can stand and still see it: half the diagonal of a
    footprint, more for an oblique camera."""
    height_at: Callable[[Float], Float]
    """Flying height at plan points (N, 2), in the terrain's datum, (N,)."""
    pitch_deg: float = -90.0
    forbidden: BaseGeometry | None = None
    """Where no photograph may be taken, plan metres; kept clear by half a photograph spacing, so
    that the way between two photographs does not enter it either."""

    def __post_init__(self) -> None:
        for name in ("photo_spacing_m", "line_spacing_m", "reach_m"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} {getattr(self, name)!r} is not above 0")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A photograph that could be added."""

    x: float
    y: float
    key: Key
    """For a continued line its number and 1, 2, ... beyond its end, -1, -2, ... before its start;
    for a row between lines a number above those of lines, and any step."""
    heading_deg: float


def propose(
    lines: Sequence[Line], failing: NDArray[np.bool_], sheet: Sheet, pattern: Pattern
) -> list[Candidate]:
    """Return the photographs that might help: allowed, and within reach of failing ground."""
    found = [*_continuations(lines, pattern), *_rows(lines, failing, sheet, pattern)]
    x, y = np.array([(one.x, one.y) for one in found]).T
    grid = sheet.grid
    away_m = np.asarray(ndimage.distance_transform_edt(~failing)) * grid.cell_m
    col, row = (x - grid.x_min) / grid.cell_m, (grid.y_max - y) / grid.cell_m
    i, j = np.clip(row, 0, grid.rows - 1), np.clip(col, 0, grid.cols - 1)
    beyond_m = np.hypot(row - i, col - j) * grid.cell_m
    # Beyond the sheet the nearest failing ground is at least as far as either way to it.
    near = np.maximum(away_m[i.astype(int), j.astype(int)] - beyond_m, beyond_m) <= (
        pattern.reach_m + 2 * grid.cell_m
    )
    near &= sheet.terrain.covers(np.column_stack([x, y]))
    if pattern.forbidden is not None:
        closed = pattern.forbidden.buffer(pattern.photo_spacing_m / 2)
        shapely.prepare(closed)
        near &= ~np.asarray(shapely.intersects_xy(closed, x, y))
    return [found[number] for number in np.flatnonzero(near)]


def _ahead(heading_deg: float) -> Float:
    course = math.radians(heading_deg)
    return np.array([math.sin(course), math.cos(course)])


def _continuations(lines: Sequence[Line], pattern: Pattern) -> Iterator[Candidate]:
    for number, line in enumerate(lines):
        single = line.photos == 1
        each_m = pattern.photo_spacing_m if single else line.length_m / (line.photos - 1)
        ahead = _ahead(line.heading_deg)
        for step in range(1, math.ceil(2 * pattern.reach_m / each_m) + 1):
            for end, sign in ((line.end, 1), (line.start, -1)):
                x, y = (np.asarray(end) + sign * step * each_m * ahead).tolist()
                yield Candidate(x, y, (number, sign * step), line.heading_deg)


def _rows(
    lines: Sequence[Line], failing: NDArray[np.bool_], sheet: Sheet, pattern: Pattern
) -> Iterator[Candidate]:
    """Yield photographs on rows half a line spacing apart, over the failing ground's rectangle."""
    longest = max(lines, key=lambda line: line.length_m)
    ahead = _ahead(longest.heading_deg)
    right = np.array([ahead[1], -ahead[0]])
    origin = np.asarray(longest.start)
    x, y = sheet.grid.cell_centres()
    row, col = np.nonzero(failing)
    offset = np.column_stack([x[col], y[row]]) - origin
    ranges = []
    for axis, each_m in ((ahead, pattern.photo_spacing_m), (right, pattern.line_spacing_m / 2)):
        way = offset @ axis
        first = math.floor((way.min() - pattern.reach_m) / each_m)
        ranges.append(range(first, math.ceil((way.max() + pattern.reach_m) / each_m) + 1))
    along, across = ranges
    for number, beside in enumerate(across, start=len(lines)):
        foot = origin + beside * pattern.line_spacing_m / 2 * right
        for step in along:
            x0, y0 = (foot + step * pattern.photo_spacing_m * ahead).tolist()
            yield Candidate(x0, y0, (number, step), longest.heading_deg)


def without_gaps(
    chosen: Sequence[Candidate], candidates: Sequence[Candidate], lines: int
) -> list[Candidate]:
    """Return the chosen photographs and those that close short gaps in their row.

    To fly on and take a few photographs more is quicker than to turn twice.
    """
    allowed = {one.key: one for one in candidates}
    filled = {one.key: one for one in chosen}
    for row in sorted({line for line, _ in filled}):
        steps = [step for line, step in filled if line == row]
        # A line ends in step 0 at both ends: its continuations are two rows that begin there.
        parts = [steps]
        if row < lines:
            parts = [[0, *(s for s in steps if s > 0)], [0, *(s for s in steps if s < 0)]]
        for part in parts:
            for first, following in pairwise(sorted(part)):
                between = [(row, step) for step in range(first + 1, following)]
                if len(between) <= LONGEST_GAP and all(key in allowed for key in between):
                    filled.update((key, allowed[key]) for key in between)
    return list(filled.values())


def join(lines: Sequence[Line], chosen: Sequence[Candidate]) -> tuple[Line, ...]:
    """Return the lines, longer where photographs continue them, and the new lines after them."""
    places = {one.key: (one.x, one.y) for one in chosen}
    headings = {one.key[0]: one.heading_deg for one in chosen}
    joined = []
    for number, line in enumerate(lines):
        after = before = 0
        while (number, after + 1) in places:
            after += 1
        while (number, -before - 1) in places:
            before += 1
        joined.append(
            Line(
                start=places.get((number, -before), line.start),
                end=places.get((number, after), line.end),
                photos=line.photos + after + before,
            )
        )
        for step in (*range(1, after + 1), *range(-before, 0)):
            del places[number, step]
    for number in sorted({line for line, _ in places}):
        steps = np.array(sorted(step for line, step in places if line == number))
        for run in np.split(steps, np.flatnonzero(np.diff(steps) > 1) + 1):
            start, end = places[number, int(run[0])], places[number, int(run[-1])]
            if len(run) == 1:
                end = tuple((np.asarray(start) + HAIR_M * _ahead(headings[number])).tolist())
            joined.append(Line(start=start, end=end, photos=len(run)))
    return tuple(joined)
