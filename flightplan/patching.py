"""Mend a draft: lengthen and shift its lines, or add some, until every place is seen enough."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flightplan.drafts import Draft, Pricing
from flightplan.sweep import MARGIN_M
from flightplan.trimming import Lacks, Seen, spaced, toggled
from flightplan.views import HAIR_M, Axes, Counts, Strip

Float = NDArray[np.float64]

REPAIRS = 12
"""Most times that all strips are gone through to mend what is not seen enough."""
PATCHES = 40
"""Most strips that are added for what is then still not seen enough."""
ROWS = 7
"""Offsets across a place at which a strip over it is tried."""


def lengthened(draft: Draft, lacks: Lacks, pricing: Pricing) -> Draft:
    """Return the draft with strips lengthened, shifted or denser until every place is seen enough.

    Strip by strip, the change is made that gains most area for its time; ends when nothing lacks,
    or no change of a single strip helps.
    """
    seen, seconds = lacks.look(draft.strips), pricing.seconds(draft)
    for _ in range(REPAIRS):
        before = lacks.area_m2(seen)
        for index in lacks.helpful(seen, draft.strips):
            lack = lacks.area_m2(seen)
            best: tuple[float, Draft, Seen, float] | None = None
            for changes in _remedies(draft.strips, index, pricing):
                seen_after = lacks.changed(seen, draft.strips, changes)
                gained = lack - lacks.area_m2(seen_after)
                if gained <= 0:
                    continue
                after = draft.changed(changes)
                seconds_after = pricing.seconds(after)
                worth = gained / max(seconds_after - seconds + 0.5, 0.1)
                if best is None or worth > best[0]:
                    best = worth, after, seen_after, seconds_after
            if best is not None:
                _, draft, seen, seconds = best
                seen = seen.settled()
        if lacks.area_m2(seen) in (0, before):
            break
    return draft


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


def patched(
    draft: Draft, lacks: Lacks, pricing: Pricing, places: Float, axes: Sequence[Axes]
) -> Draft:
    """Return the draft with short strips added over places that are not seen enough.

    Each time, the strip is added that gains most area for its time; ends when no place lacks
    views, or none can be seen from outside the obstacles.

    Parameters
    ----------
    places : ndarray of shape (N, 2)
        Those at which `lacks` counts views, plan metres.
    axes : sequence of Axes
        Of the sweeps.
    """
    seen, seconds = lacks.look(draft.strips), pricing.seconds(draft)
    for _ in range(PATCHES):
        short, missing = lacks.missing(seen)
        if len(short) == 0 or lacks.area_m2(seen) == 0:
            break
        lack = lacks.area_m2(seen)
        best: tuple[float, Draft, Seen] | None = None
        for strip in _patches(places[short], missing, pricing, axes):
            changes = {len(draft.strips): strip}
            seen_after = lacks.changed(seen, draft.strips, changes)
            gained = lack - lacks.area_m2(seen_after)
            after = draft.changed(changes)
            worth = gained / max(pricing.seconds(after) - seconds, 0.1)
            if gained > 0 and (best is None or worth > best[0]):
                best = worth, after, seen_after
        if best is None:
            break
        _, draft, seen = best
        seen, seconds = seen.settled(), pricing.seconds(draft)
    return draft


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
                start = middle + slide - (photos - 1) * pattern.photo_spacing_m / 2
                strip = Strip(
                    sweep=sweep,
                    across_m=row,
                    start_m=start,
                    photos=photos,
                    spacing_m=pattern.photo_spacing_m,
                )
                if pricing.clear([strip]):
                    yield strip
