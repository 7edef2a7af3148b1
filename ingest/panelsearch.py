"""Find out which photographs of a survey show a reflectance panel, without looking at them all."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ingest.panels import find_panel
from ingest.pixels import read_stored
from ingest.radiance import THERMAL_BAND
from tmp.captures import Capture, CaptureKind, Flag

log = logging.getLogger(__name__)

ENDS = 5
"""Releases at each end of a flight among which a panel is looked for."""
LOW_SHARE, LOW_MARGIN_M = 0.5, 10.0
"""A release is low below this share of the way from a flight's lowest to its median height, where
that way is longer than the margin."""
MOST_LOW = 20
"""Low releases of a flight that are searched; more are a flight down a slope."""

Release = list[Capture]


def find_panels(captures: Sequence[Capture], photos_dir: Path) -> dict[str, str]:
    """Return the serial numbers of panels not yet known, by photograph.

    Parameters
    ----------
    captures : sequence of Capture
        With ``rig_id`` and ``flight`` settled.
    photos_dir : Path
        Folder that their names start from.

    Notes
    -----
    One band of each likely release is searched, about 0.07 s each; the others of the release
    follow it.  A panel is pictured before and after a flight, or by a person who holds the drone.
    """
    found: dict[str, str] = {}
    for release in likely_releases(captures):
        looked_at = next((c.name for c in release if c.band != THERMAL_BAND), None)
        sighting = find_panel(read_stored(photos_dir / looked_at)) if looked_at else None
        if sighting is not None:
            log.info("%s: panel %s", looked_at, sighting.serial)
            found |= dict.fromkeys((capture.name for capture in release), sighting.serial)
    return found


def mark_panel(capture: Capture, panels: Mapping[str, str]) -> Capture:
    """Return the capture, as a picture of a panel if it is among those found."""
    return replace(capture, kind=CaptureKind.PANEL) if capture.name in panels else capture


def likely_releases(captures: Sequence[Capture]) -> list[Release]:
    """Return the releases of band cameras that may show a panel and are not yet known to.

    They lie at the ends of a flight, or low in it.
    """
    flights: defaultdict[tuple[str, str], dict[str, Release]] = defaultdict(dict)
    for capture in captures:
        good = not {Flag.UNREADABLE, Flag.EMPTY}.intersection(capture.flags)
        if capture.band and capture.kind is CaptureKind.SURVEY and good:
            releases = flights[capture.flight, capture.body]
            releases.setdefault(capture.rig_id or capture.name, []).append(capture)
    chosen: list[Release] = []
    for releases in flights.values():
        chosen += _likely_in(releases)
    return chosen


def _likely_in(releases: Mapping[str, Release]) -> list[Release]:
    """Return the releases of one flight at its ends, and its low ones."""
    ordered = sorted(releases.values(), key=lambda r: (_stamp(r[0]), r[0].name))
    ends = {*range(min(ENDS, len(ordered))), *range(max(0, len(ordered) - ENDS), len(ordered))}
    heights = np.array([np.nan if r[0].height_m is None else r[0].height_m for r in ordered])
    low: set[int] = set()
    if np.isfinite(heights).any():
        lowest, median = float(np.nanmin(heights)), float(np.nanmedian(heights))
        if median - lowest > LOW_MARGIN_M:
            below = np.flatnonzero(heights < lowest + LOW_SHARE * (median - lowest))
            low = {int(k) for k in below} if len(below) <= MOST_LOW else set()
    return [ordered[k] for k in sorted(ends | low)]


def _stamp(capture: Capture) -> float:
    return capture.time_utc.timestamp() if capture.time_utc else 0.0
