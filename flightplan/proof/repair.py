"""Add photographs where a proof finds too few, as few as will do, along the lines flown anyway."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage, sparse
from shapely.geometry.base import BaseGeometry

from flightplan.coverage.routes import Line
from flightplan.proof.casting import sights
from flightplan.proof.footprints import GroundCells, Photos
from flightplan.proof.prove import Coverage, prove, whereabouts
from tmp.cameras import Camera
from tmp.errors import InputError

Key = tuple[int, int]
"""Number of a line or row, and a step along it."""

LONGEST_GAP = 4
"""Photographs missing in a row up to which it is flown through."""
HAIR_M = 1e-3
"""Length of a line of a single photograph, so that it has a course."""

log = logging.getLogger(__name__)
Float = NDArray[np.float64]
JOINING = 3.0
"""How much more a photograph counts that prolongs a line or a piece already chosen: a piece apart
costs two turns."""
ROUNDS = 4
MOST_CELLS = 20_000
"""Failing cells looked at in one round; of more, evenly chosen ones stand for all."""
STEEP_DEG = 10.0
"""Slope from which it is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdditionPattern:
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


def propose_photographs(
    lines: Sequence[Line],
    failing: NDArray[np.bool_],
    ground: GroundCells,
    pattern: AdditionPattern,
    *,
    across: bool = False,
) -> list[Candidate]:
    """Return the photographs that might help: allowed, and within reach of failing ground.

    On rows along the longest line and in its continuations, or on rows `across`.
    """
    course_deg = max(lines, key=lambda line: line.length_m).heading_deg
    if across:
        found = [*_rows(lines, (course_deg + 90.0) % 360.0, failing, ground, pattern)]
    else:
        rows = _rows(lines, course_deg, failing, ground, pattern)
        found = [*_continuations(lines, pattern), *rows]
    x, y = np.array([(one.x, one.y) for one in found]).T
    grid = ground.grid
    away_m = np.asarray(ndimage.distance_transform_edt(~failing)) * grid.cell_m
    col, row = (x - grid.x_min) / grid.cell_m, (grid.y_max - y) / grid.cell_m
    i, j = np.clip(row, 0, grid.rows - 1), np.clip(col, 0, grid.cols - 1)
    beyond_m = np.hypot(row - i, col - j) * grid.cell_m
    # Beyond the cells the nearest failing ground is at least as far as either way to it.
    near = np.maximum(away_m[i.astype(int), j.astype(int)] - beyond_m, beyond_m) <= (
        pattern.reach_m + 2 * grid.cell_m
    )
    near &= ground.terrain.covers(np.column_stack([x, y]))
    if pattern.forbidden is not None:
        closed = pattern.forbidden.buffer(pattern.photo_spacing_m / 2)
        shapely.prepare(closed)
        near &= ~np.asarray(shapely.intersects_xy(closed, x, y))
    return [found[number] for number in np.flatnonzero(near)]


def _ahead(heading_deg: float) -> Float:
    course = math.radians(heading_deg)
    return np.array([math.sin(course), math.cos(course)])


def _continuations(lines: Sequence[Line], pattern: AdditionPattern) -> Iterator[Candidate]:
    for number, line in enumerate(lines):
        single = line.photos == 1
        each_m = pattern.photo_spacing_m if single else line.length_m / (line.photos - 1)
        ahead = _ahead(line.heading_deg)
        for step in range(1, math.ceil(2 * pattern.reach_m / each_m) + 1):
            for end, sign in ((line.end, 1), (line.start, -1)):
                x, y = (np.asarray(end) + sign * step * each_m * ahead).tolist()
                yield Candidate(x, y, (number, sign * step), line.heading_deg)


def _rows(
    lines: Sequence[Line],
    heading_deg: float,
    failing: NDArray[np.bool_],
    ground: GroundCells,
    pattern: AdditionPattern,
) -> Iterator[Candidate]:
    """Yield photographs on rows half a line spacing apart, over the failing ground's rectangle."""
    longest = max(lines, key=lambda line: line.length_m)
    ahead = _ahead(heading_deg)
    right = np.array([ahead[1], -ahead[0]])
    origin = np.asarray(longest.start)
    x, y = ground.grid.cell_centres()
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
            yield Candidate(x0, y0, (number, step), heading_deg)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """A plan after repair."""

    lines: tuple[Line, ...]
    """The lines given, some of them longer, in their order; then new ones."""
    coverage: Coverage
    """What all photographs see."""
    added: int = 0
    """Number of photographs added."""
    words: tuple[str, ...] = ()
    """What was added and why, and what could not be repaired, in sentences."""
    remaining_m2: float = 0.0
    """Ground still seen by too few."""


def repair(
    lines: Sequence[Line],
    coverage: Coverage,
    ground: GroundCells,
    camera: Camera,
    *,
    photographs: int,
    pattern: AdditionPattern,
) -> Repaired:
    """Add photographs until every place is seen by enough of them, or no photograph helps.

    Raises
    ------
    InputError
        If there is no line to begin with.

    Notes
    -----
    Candidates are the continuations of every line at both ends and rows parallel to the longest
    line, half a line spacing apart; where none of them helps, as beside a hole that no row along
    the lines comes near enough, rows across.  The one that relieves most of what is missing is
    taken, again and again (the greedy cover, within a factor ln n of the fewest).  A continuation
    counts `JOINING` times, so that pieces grow in a row.  Ground that no candidate sees is left
    and said.

    References
    ----------
    Wolsey, L. A. (1982). An analysis of the greedy algorithm for the submodular set covering
    problem. Combinatorica 2(4).
    """
    if not lines:
        raise InputError("there is no line to repair; lay out lines first")
    repaired, seen, chosen = tuple(lines), coverage, list[Candidate]()
    for _ in range(ROUNDS):
        missing = _missing(seen, photographs)
        if not missing.any():
            break
        for across in (False, True):
            candidates = propose_photographs(repaired, missing > 0, ground, pattern, across=across)
            more = _choose(candidates, missing, ground, camera, pattern)
            if more:
                break
        else:
            break
        more = without_gaps(more, candidates, len(repaired))
        seen = seen.plus(prove(_stand(more, pattern), camera, ground))
        repaired = join(repaired, more)
        chosen += more
    remaining_m2 = float((_missing(seen, photographs) > 0).sum()) * ground.grid.cell_m**2
    words = [*_added(chosen, lines, repaired, coverage, photographs, ground)]
    if remaining_m2:
        words.append(
            f"{remaining_m2:.0f} m² are still seen by fewer than {photographs} photographs, and "
            "none taken from this height along these lines or across would help: fly higher or "
            "tilt the camera."
        )
    for sentence in words:
        log.info("%s", sentence)
    return Repaired(
        lines=repaired,
        coverage=seen,
        added=len(chosen),
        words=tuple(words),
        remaining_m2=remaining_m2,
    )


def _missing(coverage: Coverage, photographs: int) -> NDArray[np.int_]:
    """Return how many photographs each cell lacks."""
    lack = photographs - coverage.count.astype(int)
    return np.where(coverage.inside, lack.clip(min=0), 0)


def _stand(chosen: Sequence[Candidate], pattern: AdditionPattern) -> Photos:
    places = np.array([(one.x, one.y) for one in chosen]).reshape(-1, 2)
    return Photos(
        position=np.column_stack([places, pattern.height_at(places)]),
        heading_deg=np.array([one.heading_deg for one in chosen]),
        pitch_deg=np.full(len(chosen), pattern.pitch_deg),
        line=np.array([one.key[0] for one in chosen], int),
    )


def _choose(
    candidates: Sequence[Candidate],
    missing: NDArray[np.int_],
    ground: GroundCells,
    camera: Camera,
    pattern: AdditionPattern,
) -> list[Candidate]:
    """Return the candidates that together relieve all that can be, most useful first."""
    if not candidates:
        return []
    failing = np.flatnonzero(missing)
    failing = failing[:: max(1, math.ceil(failing.size / MOST_CELLS))]
    needed = missing.ravel()[failing]
    lacking = needed.copy()
    # Rows are candidates and columns failing cells; a one where the first would see the second.
    views = _views(candidates, failing, ground, camera, pattern).tocsc()
    gains = np.asarray(views.sum(axis=1)).ravel().astype(float)
    weight = np.array([JOINING if abs(one.key[1]) == 1 else 1.0 for one in candidates])
    number_of = {one.key: number for number, one in enumerate(candidates)}
    by_candidate = views.tocsr()
    chosen: list[int] = []
    while gains.max() > 0:
        best = int(np.argmax(gains * weight))
        chosen.append(best)
        cells = by_candidate.indices[by_candidate.indptr[best] : by_candidate.indptr[best + 1]]
        served = cells[lacking[cells] == 1]
        lacking[cells] -= lacking[cells] > 0
        gains -= np.asarray(views[:, served].sum(axis=1)).ravel()
        gains[best] = -np.inf
        line, step = candidates[best].key
        for beside in (step - 1, step + 1):
            if (line, beside) in number_of:
                weight[number_of[line, beside]] = JOINING
    kept = _without_spare([candidates[number] for number in chosen], by_candidate[chosen], needed)
    return [candidates[chosen[number]] for number in kept]


def _without_spare(
    chosen: Sequence[Candidate], views: sparse.csr_array, needed: NDArray[np.int_]
) -> list[int]:
    """Return the numbers of chosen photographs less those that later ones made superfluous.

    Photographs apart go first, then those at the ends of pieces; none is taken out of a row.
    """
    gained = np.asarray(views.sum(axis=0)).ravel()
    needed = np.minimum(needed, gained)
    kept = {one.key: number for number, one in enumerate(chosen)}
    for most_neighbours in (0, 1):
        for number, one in enumerate(chosen):
            line, step = one.key
            neighbours = ((line, step - 1) in kept) + ((line, step + 1) in kept)
            cells = views.indices[views.indptr[number] : views.indptr[number + 1]]
            if (
                one.key in kept
                and neighbours <= most_neighbours
                and (gained[cells] > needed[cells]).all()
            ):
                gained[cells] -= 1
                del kept[one.key]
    return sorted(kept.values())


def _views(
    candidates: Sequence[Candidate],
    failing: NDArray[np.int_],
    ground: GroundCells,
    camera: Camera,
    pattern: AdditionPattern,
) -> sparse.csr_array:
    see = sights(_stand(candidates, pattern), camera, ground)
    column = np.full(ground.grid.rows * ground.grid.cols, -1)
    column[failing] = np.arange(failing.size)
    column = column.reshape(ground.grid.shape)
    seen = []
    for number in range(len(candidates)):
        sight = see(number)
        cells = np.empty(0, int) if sight is None else column[sight[0]][sight[1]]
        seen.append(cells[cells >= 0])
    starts = np.concatenate([[0], np.cumsum([cells.size for cells in seen])])
    cells = np.concatenate(seen)
    shape = (len(candidates), failing.size)
    return sparse.csr_array((np.ones(cells.size, np.int32), cells, starts), shape=shape)


def _added(
    chosen: Sequence[Candidate],
    lines: Sequence[Line],
    repaired: Sequence[Line],
    before: Coverage,
    photographs: int,
    ground: GroundCells,
) -> Iterator[str]:
    """Yield for each part of the area what was added there, and what was wrong there."""
    bounds = before.grid.bounds
    x, y = before.grid.cell_centres()
    row, col = np.nonzero(_missing(before, photographs))
    parts = np.array([whereabouts(*place, bounds) for place in zip(x[col], y[row], strict=True)])
    slope_deg = np.degrees(np.arccos(np.clip(ground.normals[2], -1, 1)))
    number = Counter(whereabouts(one.x, one.y, bounds) for one in chosen)
    middles = [np.mean([line.start, line.end], axis=0) for line in repaired[len(lines) :]]
    new = Counter(whereabouts(float(x0), float(y0), bounds) for x0, y0 in middles)
    for part, photos in number.most_common():
        preposition = "in" if part == "middle" else "at"
        sentence = f"{photos} photograph{'s' * (photos > 1)} added {preposition} the {part}"
        if new[part]:
            sentence += f", {new[part]} new line{'s' * (new[part] > 1)} among them"
        there = parts == part
        if there.any():
            cells = row[there], col[there]
            area_m2 = there.sum() * before.grid.cell_m**2
            fewest, steepest = int(before.count[cells].min()), float(slope_deg[cells].max())
            sentence += (
                f": {area_m2:.0f} m² there were seen by as few as {fewest} instead of {photographs}"
            )
            if steepest >= STEEP_DEG:
                sentence += f", on slopes of up to {steepest:.0f}°"
        yield sentence + "."
