"""Judge what matters to radiometry: exposure, bands that fail a capture, tags that cannot be true.

As in `ingest.verdicts`, each rule returns reasons by place in the list of captures.  None of them
takes a photograph out of the map but the one for empty pictures.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from ingest.declared import how_to_declare
from ingest.rigs import rigs_of
from tmp.bands import UNKNOWN_BAND
from tmp.captures import Capture

Verdicts = dict[int, str]

CLIPPED_SHARE = 0.1
"""Snow and low sun, well exposed, clip far less than this share of a picture."""
DARK = 0.04
"""A picture whose brightest parts stay below this share of the range holds mostly noise."""
LEAST_REACH = 1 / 8
"""Share of the range that a camera's brightest picture reaches if its files use all their bits."""
SAME_EXPOSURE = 1.02
"""Ratio up to which two exposures are the same setting."""
LEAST_RIGS = 3
"""Captures of a camera from which on it can be told what is usual for it."""


def find_empty(captures: Sequence[Capture]) -> Verdicts:
    """Find pictures without any content."""
    return {
        i: "99 % of its pixels are black or zero"
        for i, c in enumerate(captures)
        if c.brightness is not None and c.brightness <= 0
    }


def find_overexposed(captures: Sequence[Capture]) -> Verdicts:
    """Find pictures of which much is saturated."""
    return {
        i: f"{c.clipped_share:.0%} of the picture is saturated{_exposure(c)}"
        for i, c in enumerate(captures)
        if c.clipped_share is not None and c.clipped_share > CLIPPED_SHARE
    }


def find_underexposed(captures: Sequence[Capture]) -> Verdicts:
    """Find pictures that use next to nothing of the range of values.

    Notes
    -----
    A camera none of whose pictures reaches an eighth of the range is taken to leave the upper bits
    of its files unused, as 12 bits in 16 do, and not to have exposed all of them wrongly.
    """
    reach: defaultdict[str, float] = defaultdict(float)
    for capture in captures:
        reach[capture.camera_id] = max(reach[capture.camera_id], capture.brightness or 0.0)
    return {
        i: f"99 % of the picture is below {c.brightness:.1%} of the range{_exposure(c)}"
        for i, c in enumerate(captures)
        if c.brightness is not None
        and 0 < c.brightness < DARK
        and reach[c.camera_id] >= LEAST_REACH
    }


def _exposure(capture: Capture) -> str:
    return f", exposed {shutter(capture.exposure_s)}" if capture.exposure_s else ""


def find_implausible(captures: Sequence[Capture]) -> Verdicts:
    """Find photographs whose tags cannot be true."""
    return {i: c.problems for i, c in enumerate(captures) if c.problems}


def find_unknown_bands(captures: Sequence[Capture]) -> Verdicts:
    """Find photographs of one band or of changed channels that nobody names."""
    return {
        i: f"the file does not say which bands it holds; {how_to_declare(c.camera_id)}"
        for i, c in enumerate(captures)
        if c.band == UNKNOWN_BAND
    }


def find_missing_bands(captures: Sequence[Capture]) -> Verdicts:
    """Find captures that lack a band which at least half of their camera's captures have."""
    reason_of: dict[str, str] = {}
    for rigs in _rigs_by_body(captures):
        counts = Counter(band for members in rigs.values() for band in {c.band for c in members})
        usual = [band for band, count in counts.items() if 2 * count >= len(rigs)]
        for rig, members in rigs.items():
            lacking = sorted(set(usual) - {c.band for c in members})
            if lacking:
                names = ", ".join(band or "RGB" for band in lacking)
                have = min(counts[band] for band in lacking)
                reason_of[rig] = (
                    f"its capture lacks {names}, which {have} of {len(rigs)} captures of this "
                    "camera have"
                )
    return _by_place(captures, reason_of)


def find_changed_exposures(captures: Sequence[Capture]) -> Verdicts:
    """Find captures whose bands differ in exposure where this camera's bands share theirs.

    Notes
    -----
    Cameras that expose each band by itself, as the Sequoia does, are left alone.
    """
    reason_of: dict[str, str] = {}
    for rigs in _rigs_by_body(captures):
        spread = {rig: _spread(members) for rig, members in rigs.items()}
        known = {rig: value for rig, value in spread.items() if value is not None}
        alike = sum(value <= SAME_EXPOSURE for value in known.values())
        if len(known) < LEAST_RIGS or 2 * alike <= len(known):
            continue
        for rig, value in known.items():
            if value > SAME_EXPOSURE:
                said = ", ".join(
                    f"{c.band} {shutter(c.exposure_s)} at gain {c.gain or 1:g}"
                    for c in rigs[rig]
                    if c.band and c.exposure_s
                )
                reason_of[rig] = (
                    f"exposure changed inside its capture ({said}), while this camera's bands "
                    "usually share one"
                )
    return _by_place(captures, reason_of)


def _rigs_by_body(captures: Sequence[Capture]) -> Iterator[dict[str, list[Capture]]]:
    """Yield the rigs of each camera body; that of the bands, where an RGB camera comes with it."""
    bodies: defaultdict[str, dict[str, list[Capture]]] = defaultdict(dict)
    for rig, members in rigs_of(captures).items():
        body = next((c.body for c in members if c.band), members[0].body)
        bodies[body][rig] = members
    yield from bodies.values()


def _spread(members: Sequence[Capture]) -> float | None:
    """Return the largest over the smallest exposure (time × gain) of a capture's bands."""
    values = [c.exposure_s * (c.gain or 1.0) for c in members if c.band and c.exposure_s]
    if len(values) < 2 or min(values) <= 0:
        return None
    return max(values) / min(values)


def _by_place(captures: Sequence[Capture], reason_of: dict[str, str]) -> Verdicts:
    return {i: reason_of[c.rig_id] for i, c in enumerate(captures) if c.rig_id in reason_of}


def shutter(exposure_s: float | None) -> str:
    """Return an exposure time as people write it.

    Examples
    --------
    >>> shutter(0.002), shutter(2.0)
    ('1/500 s', '2 s')
    """
    if not exposure_s:
        return "an unknown time"
    return f"1/{1 / exposure_s:.0f} s" if exposure_s < 0.5 else f"{exposure_s:g} s"
