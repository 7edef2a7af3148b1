"""Calibrate a whole survey: its panels found and measured, its sun sensors read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from ingest.albedo import PanelTable
from ingest.light import Shot
from ingest.panels import PanelCandidate, PanelReading, measure_panels
from ingest.reflectance import calibrate
from tmp.bands import UNKNOWN_BAND, BandTags
from tmp.calibration import Calibration
from tmp.captures import Capture, CaptureKind, Flag
from tmp.errors import InputError

Level = Callable[[str, tuple[float, float]], Sequence[float]]
"""Gives the factors, one for each band, by which the light that a photograph recorded at a place
(x, y in pixels) is to be multiplied before photographs are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A survey's calibration, and the panel readings it was made from."""

    calibration: Calibration
    readings: tuple[PanelReading, ...]


def calibrate_captures(
    captures: Sequence[Capture],
    *,
    load: Callable[[str], NDArray[Any]],
    tags_of: Callable[[str], BandTags],
    table: PanelTable | None = None,
    level: Level | None = None,
) -> Calibrated:
    """Calibrate all band photographs of a survey.

    Parameters
    ----------
    captures : sequence of Capture
        Panel pictures included and marked as such (`ingest.panelsearch.find_panels`).
    load : callable
        Returns the pixel values of a photograph, as stored, by name.
    tags_of : callable
        Returns what a photograph says of its bands, by name; those without are passed over.
    table : PanelTable, optional
        What panels reflect, from ``panels.toml``.
    level : callable, optional
        What photographs of the survey will be multiplied by; panels count as they look then.

    Raises
    ------
    InputError
        If the table outlines a target in a photograph that is not there.
    """
    table = table or PanelTable()
    readable = [c for c in captures if c.band != UNKNOWN_BAND and _good(c)]
    tags = {capture.name: tags_of(capture.name) for capture in readable}
    usable = [capture for capture in readable if tags[capture.name].bands]
    names = {capture.name for capture in usable}
    lost = [t.photograph for t in table.targets if t.photograph not in names]
    if lost:
        raise InputError(
            f"panels.toml outlines a target in {lost[0]!r}, which is no band photograph of the "
            "survey; write the name as survey.gpkg has it"
        )
    outlined = {target.photograph for target in table.targets}
    candidates = [
        PanelCandidate(
            name=c.name,
            tags=tags[c.name],
            time_utc=c.time_utc,
            expected=c.kind is CaptureKind.PANEL,
        )
        for c in usable
        if c.kind is CaptureKind.PANEL or c.name in outlined
    ]
    readings = measure_panels(candidates, load, table)
    if level is not None:
        readings = [_levelled(reading, tags[reading.photograph], level) for reading in readings]
    shots = [_shot(capture, tags[capture.name]) for capture in usable]
    return Calibrated(calibration=calibrate(shots, readings), readings=tuple(readings))


def _levelled(reading: PanelReading, tags: BandTags, level: Level) -> PanelReading:
    factors = level(reading.photograph, reading.place_px)
    place = [band.name for band in tags.bands].index(reading.band)
    return replace(reading, radiance=reading.radiance * float(factors[place]))


def _good(capture: Capture) -> bool:
    return not {Flag.UNREADABLE, Flag.EMPTY}.intersection(capture.flags)


def _shot(capture: Capture, tags: BandTags) -> Shot:
    placed = capture.longitude_deg is not None and capture.latitude_deg is not None
    return Shot(
        name=capture.name,
        flight=capture.flight,
        camera_id=capture.camera_id,
        body=capture.body,
        release=capture.rig_id,
        time_utc=capture.time_utc,
        lon_lat_deg=(capture.longitude_deg or 0.0, capture.latitude_deg or 0.0) if placed else None,
        tags=tags,
    )
