"""Add photographs where a proof finds too few, as few as will do, along the lines flown anyway."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from flightplan.additions import Candidate, Pattern, join, propose, without_gaps
from flightplan.certificate import whereabouts
from flightplan.footprints import Photos
from flightplan.proof import Coverage, prove, sights
from flightplan.routes import Line
from flightplan.sheet import Sheet
from tmp.cameras import Camera
from tmp.errors import InputError

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
class Repaired:
    """A plan after repair."""

    lines: tuple[Line, ...]
    """The lines given, some of them longer, in their order; then new ones."""
    coverage: Coverage
    """What all photographs see."""
    added: int = 0
    """Number of photographs added."""
    words: tuple[str, ...] = ()
    """What was added and why, and what could not be mended, in sentences."""
    remaining_m2: float = 0.0
    """Ground still seen by too few."""


def repair(
    lines: Sequence[Line],
    coverage: Coverage,
    sheet: Sheet,
    camera: Camera,
    *,
    photographs: int,
    pattern: Pattern,
) -> Repaired:
    """Add photographs until every place is seen by enough of them, or no photograph helps.

    Parameters
    ----------
    lines : sequence of Line
    coverage : Coverage
        Proof of these lines on `sheet`.
    sheet : Sheet
    camera : Camera
    photographs : int
        Fewest that must see each place.
    pattern : Pattern

    Raises
    ------
    InputError
        If there is no line to begin with.

    Notes
    -----
    Candidates are the continuations of every line at both ends and rows parallel to the longest
    line, half a line spacing apart.  The one that relieves most of what is missing is taken, again
    and again (the greedy cover, within a factor ln n of the fewest).  A continuation counts
    `JOINING` times, so that pieces grow in a row.  Ground that no candidate sees is left and said.

    References
    ----------
    Wolsey, L. A. (1982). An analysis of the greedy algorithm for the submodular set covering
    problem. Combinatorica 2(4).
    """
    if not lines:
        raise InputError("there is no line to repair; lay out lines first")
    mended, seen, chosen = tuple(lines), coverage, list[Candidate]()
    for _ in range(ROUNDS):
        missing = _missing(seen, photographs)
        if not missing.any():
            break
        candidates = propose(mended, missing > 0, sheet, pattern)
        more = _choose(candidates, missing, sheet, camera, pattern)
        more = without_gaps(more, candidates, len(mended))
        if not more:
            break
        seen = seen.plus(prove(_stand(more, pattern), camera, sheet))
        mended = join(mended, more)
        chosen += more
    remaining_m2 = float((_missing(seen, photographs) > 0).sum()) * sheet.grid.cell_m**2
    words = [*_added(chosen, lines, mended, coverage, photographs, sheet)]
    if remaining_m2:
        words.append(
            f"{remaining_m2:.0f} m² are still seen by fewer than {photographs} photographs, and "
            "none taken from this height along these lines would help: add lines in another "
            "direction or tilt the camera."
        )
    for sentence in words:
        log.info("%s", sentence)
    return Repaired(
        lines=mended,
        coverage=seen,
        added=len(chosen),
        words=tuple(words),
        remaining_m2=remaining_m2,
    )


def _missing(coverage: Coverage, photographs: int) -> NDArray[np.int_]:
    """Return how many photographs each cell lacks."""
    lack = photographs - coverage.count.astype(int)
    return np.where(coverage.inside, lack.clip(min=0), 0)


def _stand(chosen: Sequence[Candidate], pattern: Pattern) -> Photos:
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
    sheet: Sheet,
    camera: Camera,
    pattern: Pattern,
) -> list[Candidate]:
    """Return the candidates that together relieve all that can be, most useful first."""
    if not candidates:
        return []
    failing = np.flatnonzero(missing)
    failing = failing[:: max(1, math.ceil(failing.size / MOST_CELLS))]
    needed = missing.ravel()[failing]
    lacking = needed.copy()
    # Rows are candidates and columns failing cells; a one where the first would see the second.
    views = _views(candidates, failing, sheet, camera, pattern).tocsc()
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
    sheet: Sheet,
    camera: Camera,
    pattern: Pattern,
) -> sparse.csr_array:
    see = sights(_stand(candidates, pattern), camera, sheet)
    column = np.full(sheet.grid.rows * sheet.grid.cols, -1)
    column[failing] = np.arange(failing.size)
    column = column.reshape(sheet.grid.shape)
    seen = []
    for number in range(len(candidates)):
        sight = see(number, slice(0, sheet.grid.rows))
        cells = np.empty(0, int) if sight is None else column[sight.rows, sight.cols][sight.seen]
        seen.append(cells[cells >= 0])
    starts = np.concatenate([[0], np.cumsum([cells.size for cells in seen])])
    cells = np.concatenate(seen)
    shape = (len(candidates), failing.size)
    return sparse.csr_array((np.ones(cells.size, np.int32), cells, starts), shape=shape)


def _added(
    chosen: Sequence[Candidate],
    lines: Sequence[Line],
    mended: Sequence[Line],
    before: Coverage,
    photographs: int,
    sheet: Sheet,
) -> Iterator[str]:
    """Yield for each part of the area what was added there, and what was wrong there."""
    bounds = before.grid.bounds
    x, y = before.grid.cell_centres()
    row, col = np.nonzero(_missing(before, photographs))
    parts = np.array([whereabouts(*place, bounds) for place in zip(x[col], y[row], strict=True)])
    slope_deg = np.degrees(np.arccos(np.clip(sheet.normals[2], -1, 1)))
    number = Counter(whereabouts(one.x, one.y, bounds) for one in chosen)
    middles = [np.mean([line.start, line.end], axis=0) for line in mended[len(lines) :]]
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
