"""Find reflectance panels in photographs by their QR code, and measure the light they send back.

Which photographs of a survey show one is found out without looking at them all.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ingest.radiometry.panel_table import PanelTable, panel_version
from ingest.radiometry.radiance import THERMAL_BAND, find_saturated, read_stored, to_radiance
from ingest.radiometry.sun_sensor import Shot
from tmp.captures import Capture, CaptureKind, Flag
from tmp.radiometry import Band, BandTags

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
Picture = NDArray[np.unsignedinteger]

GEOMETRY_MM = ((6, 41.0, 50.0, 130.84), (3, 45.0, 50.0, 145.8), (0, 42.0, 76.2, 143.2))
"""From which version of a MicaSense panel: half the width of the code, the width of the panel's
inner square (half its own width), and the distance of their centres."""
STRETCHES = ((0.0, 100.0), (0.5, 99.5), (5.0, 95.0))
"""Percentiles between which grey values are spread for the code reader, in the order of trial."""
WHITE_SHARE = (0.3, 1.5)
"""A panel is this bright beside the white of its code; a lawn or a shadow is not."""

SATURATED_SHARE = 0.005
"""Of a panel's pixels, from which its mean is too low."""
UNEVEN = 0.05
"""Standard deviation over mean of an evenly lit panel stays below; 0.02 is usual. Halves that
differ by a tenth give as much."""
FEWEST_PIXELS = 100
NOT_FOUND = "picture of a panel, but no code is read in it: outline the panel in panels.toml"

ENDS = 5
"""Releases at each end of a flight among which a panel is looked for."""
LOW_SHARE, LOW_MARGIN_M = 0.5, 10.0
"""A release is low below this share of the way from a flight's lowest to its median height, where
that way is longer than the margin."""
MOST_LOW = 20
"""Low releases of a flight that are searched; more are a flight down a slope."""
Release = list[Capture]


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelSighting:
    """Where in a photograph a panel lies."""

    serial: str
    """Serial number, or the name that the user gave it."""
    outline_px: tuple[tuple[float, float], ...]
    """Of the part to measure; x, y of pixel centres counted from (0, 0) as OpenCV does."""
    source: str
    """"QR code", "metadata" or "panels.toml"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelReading:
    """What one band saw of a panel."""

    photograph: str
    serial: str
    band: str
    radiance: float
    """Mean over the panel, in the unit of `ingest.radiometry.radiance.radiance_unit`."""
    pixels: int
    reflectance: float | None
    """Of the panel in this band; None where nobody says."""
    place_px: tuple[float, float] = (0.0, 0.0)
    """Middle of what was measured, x, y; corner of the first pixel at (0, 0)."""
    time_utc: datetime | None = None
    problem: str = ""
    """Why it must not be used; empty when it may."""

    @property
    def irradiance(self) -> float | None:
        """Light that fell on the panel, ``π L / ρ`` (W/m²/nm where radiance has its unit)."""
        if self.reflectance is None:
            return None
        return float(np.pi) * self.radiance / self.reflectance

    @property
    def usable(self) -> bool:
        """Tell whether it can calibrate anything."""
        return not self.problem and self.reflectance is not None and self.radiance > 0


def find_panel(dn: Picture, tags: BandTags | None = None) -> PanelSighting | None:
    """Find the MicaSense panel in a photograph; None where there is none.

    A mark of a panel in its tags is believed before the picture is searched.

    About 0.07 s for 1.2 megapixels, with or without a panel.  The code says which panel it is, and
    so where the panel lies from it; on which of the four sides is tried: the side that is bright
    beside the white of the code, and evenest.
    """
    mark = tags.panel if tags else None
    if mark and len(mark.corners_px) >= 3:
        return PanelSighting(
            serial=mark.serial or "panel", outline_px=mark.corners_px, source="metadata"
        )
    if tags is not None and tags.band == THERMAL_BAND:
        return None
    grey = dn if dn.ndim == 2 else dn[..., :3].max(axis=2)
    code = _read_code(grey)
    if code is None:
        return None
    serial, corners = code
    outline = _choose_side(grey, corners, panel_version(serial) or 0)
    if outline is None:
        return None
    return PanelSighting(
        serial=serial, outline_px=tuple((float(x), float(y)) for x, y in outline), source="QR code"
    )


def measure_panel(
    name: str,
    dn: Picture,
    tags: BandTags,
    sighting: PanelSighting,
    table: PanelTable,
    time_utc: datetime | None = None,
) -> list[PanelReading]:
    """Measure a panel in all bands of a photograph, and judge whether it may be used."""
    radiance, saturated = to_radiance(dn, tags), find_saturated(dn, tags)
    inside = _mask(dn.shape[:2], np.array(sighting.outline_px))
    x, y = (float(v) + 0.5 for v in np.mean(sighting.outline_px, axis=0))
    readings = []
    for channel, band in enumerate(tags.bands):
        plane = radiance if radiance.ndim == 2 else radiance[..., channel]
        values = plane[inside].astype(float)
        mean = float(values.mean()) if values.size else 0.0
        problem = _judge(plane, inside, saturated)
        readings.append(
            PanelReading(
                photograph=name,
                serial=sighting.serial,
                band=band.name,
                radiance=mean,
                pixels=int(values.size),
                reflectance=_reflectance(band, channel, tags, sighting, table),
                place_px=(x, y),
                time_utc=time_utc,
                problem=problem,
            )
        )
    return readings


def measure_panels(
    shots: Sequence[Shot],
    load: Callable[[str], Picture],
    table: PanelTable,
    *,
    expected: Collection[str] = (),
) -> list[PanelReading]:
    """Find and measure panels in all photographs that may show one.

    `load` returns pixel values by name; where a panel is expected, finding none is worth a word.
    """
    readings = []
    for shot in shots:
        dn = load(shot.name)
        sightings = [
            PanelSighting(
                serial=target.panel,
                # Corner origin to OpenCV's centre origin.
                outline_px=tuple((x - 0.5, y - 0.5) for x, y in target.corners_px),
                source="panels.toml",
            )
            for target in table.targets
            if target.photograph == shot.name
        ]
        if not sightings and (found := find_panel(dn, shot.tags)):
            sightings.append(found)
        for sighting in sightings:
            readings += measure_panel(shot.name, dn, shot.tags, sighting, table, shot.time_utc)
        if not sightings and shot.name in expected:
            readings += [
                PanelReading(
                    photograph=shot.name,
                    serial="",
                    band=band.name,
                    radiance=0.0,
                    pixels=0,
                    reflectance=None,
                    time_utc=shot.time_utc,
                    problem=NOT_FOUND,
                )
                for band in shot.tags.bands
                if band.name != THERMAL_BAND
            ]
    log.info("panels: %d readings in %d photographs", len(readings), len(shots))
    return readings


def _read_code(grey: Picture) -> tuple[str, Float] | None:
    """Return serial and corners (4, 2) of a panel's code, trying several stretches of the grey."""
    detector = cv2.QRCodeDetector()
    for low, high in STRETCHES:
        text, corners, _ = detector.detectAndDecode(_stretch(grey, low, high))
        if text and panel_version(text) is not None:
            return text, np.asarray(corners, float).reshape(4, 2)
        if corners is None:
            return None  # without even an outline, another stretch shows none either
    return None


def _stretch(grey: Picture, low: float, high: float) -> NDArray[np.uint8]:
    bottom, top = np.percentile(grey[::4, ::4], (low, high))
    scale = 255.0 / max(float(top - bottom), 1.0)
    return np.asarray(
        np.clip((grey.astype(np.float32) - np.float32(bottom)) * np.float32(scale), 0, 255),
        np.uint8,
    )


def _choose_side(grey: Picture, corners: Float, version: int) -> Float | None:
    """Return the outline (4, 2) of the panel's inner square on the likeliest side of its code."""
    half, width, distance = next(row[1:] for row in GEOMETRY_MM if version >= row[0])
    code = np.array([(-half, -half), (half, -half), (half, half), (-half, half)], np.float32)
    image_from_mm = cv2.getPerspectiveTransform(code, corners.astype(np.float32))
    square = code * np.float32(0.5 * width / half)
    white = float(np.percentile(grey[_mask(grey.shape, corners)], 90))
    best, least = None, np.inf
    for side in ((0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0)):
        moved = square + np.float32(distance) * np.array(side, np.float32)
        outline = cv2.perspectiveTransform(moved[None], image_from_mm)[0].astype(float)
        if outline.min() < 0 or (outline >= np.array(grey.shape[::-1])).any():
            continue
        values = grey[_mask(grey.shape, outline)].astype(float)
        if values.size < FEWEST_PIXELS:
            continue
        bright = WHITE_SHARE[0] * white < values.mean() < WHITE_SHARE[1] * white
        variation = values.std() / values.mean() if values.mean() > 0 else np.inf
        if bright and variation < least:
            best, least = outline, variation
    return best


def _mask(shape: tuple[int, ...], outline: Float) -> NDArray[np.bool_]:
    """Return the pixels (rows, cols) inside an outline (N, 2), OpenCV's origin."""
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 1)
    return mask.astype(bool)


def _judge(
    radiance: NDArray[np.float32], inside: NDArray[np.bool_], saturated: NDArray[np.bool_]
) -> str:
    """Return why a panel's pixels must not be used; empty when they may."""
    values = radiance[inside].astype(float)
    if values.size < FEWEST_PIXELS:
        return f"panel of {values.size} pixels is too small; picture it from nearer"
    share = float(saturated[inside].mean())
    if share > SATURATED_SHARE:
        return f"panel saturated in {100 * share:.1f} % of its pixels; expose it shorter"
    mean = float(values.mean())
    if not mean > 0:
        return "panel is black"
    rows, cols = np.nonzero(inside)
    halves = (
        (values[rows < np.median(rows)], values[rows >= np.median(rows)]),
        (values[cols < np.median(cols)], values[cols >= np.median(cols)]),
    )
    slant = max(abs(a.mean() - b.mean()) / mean for a, b in halves if a.size and b.size)
    variation = float(values.std()) / mean
    if variation > UNEVEN:
        return (
            f"panel unevenly lit (variation {100 * variation:.0f} %, halves differ by "
            f"{100 * slant:.0f} %): a shadow or a glint lies on it"
        )
    return ""


def _reflectance(
    band: Band, channel: int, tags: BandTags, sighting: PanelSighting, table: PanelTable
) -> float | None:
    """Return the panel's reflectance: the user's word before the file's, that before the code's."""
    in_file = tags.panel.albedo if tags.panel is not None and channel == 0 else None
    if in_file is not None and table.listed(sighting.serial, band) is None:
        return in_file
    return table.at(sighting.serial, band)


def find_panels(captures: Sequence[Capture], photos_dir: Path) -> dict[str, str]:
    """Return the serial numbers of panels not yet known, by photograph, once rigs and flights are.

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
    return [release for releases in flights.values() for release in _likely_in(releases)]


def _likely_in(releases: Mapping[str, Release]) -> list[Release]:
    """Return the releases of one flight at its ends, and its low ones."""
    start = datetime.min.replace(tzinfo=UTC)
    ordered = sorted(releases.values(), key=lambda r: (r[0].time_utc or start, r[0].name))
    ends = {*range(min(ENDS, len(ordered))), *range(max(0, len(ordered) - ENDS), len(ordered))}
    heights = np.array([np.nan if r[0].height_m is None else r[0].height_m for r in ordered])
    low: set[int] = set()
    if np.isfinite(heights).any():
        lowest, median = float(np.nanmin(heights)), float(np.nanmedian(heights))
        if median - lowest > LOW_MARGIN_M:
            below = np.flatnonzero(heights < lowest + LOW_SHARE * (median - lowest))
            low = {int(k) for k in below} if len(below) <= MOST_LOW else set()
    return [ordered[k] for k in sorted(ends | low)]
