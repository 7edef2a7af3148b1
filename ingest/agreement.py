"""Say where the photographs of one survey do not fit together: firmware, days, places."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ingest.verdicts import plane_metres
from tmp.captures import Capture

AWAY_M, AWAY_FACTOR = 50.0, 5.0
"""A NIR photograph is elsewhere when farther from each RGB photograph than the larger of this
distance and this many times the usual one between RGB photographs."""
MOSTLY = 0.5
"""Share of a flight that must be elsewhere."""


def find_disagreements(captures: Sequence[Capture]) -> list[str]:
    """Return what does not fit together, a line each; empty when all is well.

    Parameters
    ----------
    captures : sequence of Capture
        All photographs of a survey, judged; those left out are not looked at.
    """
    used = [capture for capture in captures if capture.used]
    return [*_mixed_firmware(used), *_elsewhere(used)]


def _mixed_firmware(captures: Sequence[Capture]) -> Iterator[str]:
    """Name models of band cameras whose photographs come from several versions of firmware."""
    versions: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for capture in captures:
        if capture.band and capture.firmware:
            versions[capture.body.partition(" / ")[0]][capture.firmware] += 1
    for model, counts in versions.items():
        if len(counts) > 1:
            said = " and ".join(f"{version} ({n})" for version, n in sorted(counts.items()))
            yield (
                f"{model}: mixed firmware, {said} photographs; pixel values may differ between "
                "them: compare their calibrations"
            )


def _elsewhere(captures: Sequence[Capture]) -> Iterator[str]:
    """Name cameras with bands only that flew over another place, or on another day, than RGB."""
    placed = [c for c in captures if c.longitude_deg is not None and c.time_utc is not None]
    colour = [c for c in placed if not c.band]
    with_colour = {(c.flight, c.body) for c in colour}
    flights: defaultdict[tuple[str, str], list[Capture]] = defaultdict(list)
    for capture in placed:
        if capture.band and (capture.flight, capture.body) not in with_colour:
            flights[capture.flight, capture.body].append(capture)
    for bands in flights.values() if colour else ():
        away_m = _distances_m(bands, colour)
        limit_m = max(AWAY_M, AWAY_FACTOR * _spacing_m(colour))
        # Both ways, so that a NIR flight around a smaller RGB flight is not another place.
        apart = (away_m, _distances_m(colour, bands))
        if all(float(np.mean(distances > limit_m)) > MOSTLY for distances in apart):
            yield (
                f"{_named(bands)} lies {np.median(away_m):.0f} m away from {_named(colour)}: "
                "another place; keep them as two surveys"
            )
        elif {_day(c) for c in bands}.isdisjoint({_day(c) for c in colour}):
            yield (
                f"{_named(bands)} was flown on another day than {_named(colour)}: what grew, "
                "moved or melted in between will not match"
            )


def _named(captures: Sequence[Capture]) -> str:
    """Describe a set of photographs: bands, day, camera, and the first and last file."""
    days = sorted({_day(c) for c in captures})
    when = f"{days[0]}" if len(days) == 1 else f"{days[0]} to {days[-1]}"
    bands = "/".join(sorted({c.band or "RGB" for c in captures}))
    model = Counter(c.body.partition(" / ")[0] for c in captures).most_common(1)[0][0]
    ordered = sorted(captures, key=lambda c: (c.time_utc is None, c.time_utc, c.name))
    return (
        f"{bands} of {when} ({model}, {len(captures)} photographs, {ordered[0].name} to "
        f"{ordered[-1].name})"
    )


def _day(capture: Capture) -> date:
    """Return the day in solar time, so that no flight in daylight is parted by midnight UTC."""
    assert capture.time_utc is not None
    return (capture.time_utc + timedelta(hours=(capture.longitude_deg or 0.0) / 15)).date()


def _distances_m(ones: Sequence[Capture], others: Sequence[Capture]) -> NDArray[np.float64]:
    """Return from each of `ones` the distance to the nearest of `others`."""
    both = [*ones, *others]
    xy = plane_metres(both, range(len(both)))
    return np.asarray(cKDTree(xy[len(ones) :]).query(xy[: len(ones)])[0])


def _spacing_m(captures: Sequence[Capture]) -> float:
    """Return the usual distance between neighbours; 0 for a single photograph."""
    if len(captures) < 2:
        return 0.0
    xy = plane_metres(captures, range(len(captures)))
    return float(np.median(cKDTree(xy).query(xy, k=2)[0][:, 1]))
