"""From radiance to reflectance: what each band of each flight rests on, and how far to trust it.

Panels give the level, sun sensors how the light changed; a sun sensor alone, or the exposure
alone, gives less, and the `Calibration` says so.

Pictures of a panel that do not serve a photograph are named with the reason.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.radiometry.calibration_methods import (
    BandGroup,
    Level,
    level_by_exposure,
    level_by_line,
    level_by_panel,
    level_by_sun,
    level_by_sun_changes,
    level_of_heat,
    spans_a_line,
)
from ingest.radiometry.panel_table import PanelTable
from ingest.radiometry.panels import PanelReading, measure_panels
from ingest.radiometry.radiance import THERMAL_BAND, Unit, full_scale, radiance_unit
from ingest.radiometry.sun_sensor import Light, Shot, SunUnit, read_light
from tmp.captures import Capture, CaptureKind, Flag
from tmp.errors import InputError
from tmp.radiometry import UNKNOWN_BAND, BandCalibration, BandTags, Calibration

PANEL_WITHIN = timedelta(hours=2)
"""A panel pictured in another flight serves this long before and after."""
SHADED = 0.5
"""A panel that shows less than this share of what the sun sensor or another panel picture shows
lies in a shadow."""
UNKNOWN = (
    "panel {serial} found, but not what it reflects in each band; give it with --panel or in "
    "panels.toml"
)

log = logging.getLogger(__name__)
Leveller = Callable[[str, tuple[float, float]], Sequence[float]]
"""Gives the factors, one for each band, by which the light that a photograph recorded at a place
(x, y in pixels) is to be multiplied before photographs are compared."""


def choose_readings(
    group: BandGroup, groups: Sequence[BandGroup], readings: Sequence[PanelReading], light: Light
) -> tuple[list[PanelReading], tuple[str, ...]]:
    """Return the panel readings that serve a group, and what to say of those that do not."""
    own = {shot.name for shot in group.shots}
    others = {
        shot.name
        for other in groups
        if other.camera_id == group.camera_id and other.band == group.band
        for shot in other.shots
    }
    of_band = [r for r in readings if r.photograph in others and r.band == group.band.name]
    near = [r for r in of_band if r.photograph in own] or [
        r for r in of_band if _apart(r, group) <= PANEL_WITHIN
    ]
    reasons: list[str] = []
    usable: list[PanelReading] = []
    for reading in near:
        why = reading.problem or _why_unknown(reading) or _why_shaded(reading, near, group, light)
        if why:
            # What a panel reflects concerns its serial number, not one picture of it.
            unknown = why == _why_unknown(reading)
            reasons.append(why if unknown else f"{reading.photograph}: {why}")
        else:
            usable.append(reading)
    if usable and usable[0].photograph not in own:
        minutes = min(_apart(reading, group) for reading in usable).total_seconds() / 60
        reasons.append(f"panel pictured {minutes:.0f} min away, in another flight")
    return usable, tuple(dict.fromkeys(reasons))


def _why_unknown(reading: PanelReading) -> str:
    if reading.reflectance is not None:
        return "" if reading.usable else "panel shows no light"
    return UNKNOWN.format(serial=reading.serial)


def _why_shaded(
    reading: PanelReading, near: Sequence[PanelReading], group: BandGroup, light: Light
) -> str:
    irradiance = reading.irradiance or 0.0
    sun = light.measured.get(reading.photograph)
    if sun and light.units.get(group.camera_id) is SunUnit.ABSOLUTE and irradiance < SHADED * sun:
        return (
            f"panel in shadow: it shows {irradiance:.3g} W/m²/nm, the sun sensor {sun:.3g} W/m²/nm"
        )
    good = [r for r in near if r.usable]
    brightest = max((r.irradiance or 0.0) / light.changes.get(r.photograph, 1.0) for r in good)
    if irradiance / light.changes.get(reading.photograph, 1.0) < SHADED * brightest:
        return "panel in shadow: another picture of it shows more than twice the light"
    return ""


def _apart(reading: PanelReading, group: BandGroup) -> timedelta:
    """Return the time between a panel picture and the nearest photograph of a group."""
    times = [shot.time_utc for shot in group.shots if shot.time_utc is not None]
    if reading.time_utc is None or not times:
        return timedelta.max
    return min(abs(reading.time_utc - time) for time in times)


def calibrate(shots: Sequence[Shot], readings: Sequence[PanelReading] = ()) -> Calibration:
    """Calibrate all bands of a survey, each with the best there is for it.

    Panel pictures are among the photographs, their readings from
    `ingest.radiometry.panels.measure_panels`; colour photographs are passed over. Every photograph
    and band has a factor then.

    Raises `InputError` if targets contradict each other, or a photograph lacks the tags of its
    maker's formula.
    """
    light = read_light(shots)
    groups = _group(shots)
    levels = [_find_level(group, groups, readings, light) for group in groups]
    scales = _common_scales(groups, levels)
    bands = []
    for group, level in zip(groups, levels, strict=True):
        scale = scales[_scale_key(group)] if level.scaled else 1.0
        absolute = radiance_unit(group.shots[0].tags) is Unit.ABSOLUTE
        irradiance = [r.irradiance for r in level.panel if r.irradiance is not None]
        bands.append(
            BandCalibration(
                flight=group.flight,
                camera_id=group.camera_id,
                band=group.band.name,
                provenance=level.provenance,
                factors={name: factor * scale for name, factor in level.factors.items()},
                offset=level.offset,
                absolute=level.absolute,
                sigma=round(level.sigma, 4),
                panel_irradiance=float(np.mean(irradiance)) if irradiance and absolute else None,
                panel_serials=tuple(dict.fromkeys(r.serial for r in level.panel)),
                sun_over_panel=level.sun_over_panel,
                reasons=level.reasons,
            )
        )
        said = group.flight or "-", group.band.name, level.provenance, 100 * level.sigma
        log.info("flight %s, %s: %s, sigma %.1f %%", *said)
    return Calibration(bands=tuple(bands))


def _group(shots: Sequence[Shot]) -> list[BandGroup]:
    members: defaultdict[tuple[str, str], list[Shot]] = defaultdict(list)
    for shot in shots:
        if shot.tags.bands:
            members[shot.flight, shot.camera_id].append(shot)
    return [
        BandGroup(flight=flight, camera_id=camera_id, band=band, shots=tuple(found))
        for (flight, camera_id), found in members.items()
        for band in found[0].tags.bands
    ]


def _find_level(
    group: BandGroup, groups: Sequence[BandGroup], readings: Sequence[PanelReading], light: Light
) -> Level:
    """Choose the firmest ground that there is for one band."""
    tags = group.shots[0].tags
    if group.band.name == THERMAL_BAND:
        return level_of_heat(group)
    usable, reasons = choose_readings(group, groups, readings, light)
    if usable and spans_a_line([reading.reflectance or 0.0 for reading in usable]):
        return level_by_line(group, usable, light, reasons)
    if usable:
        return level_by_panel(group, usable, light, reasons)
    unit = light.units.get(group.camera_id)
    if unit is None or any(shot.name not in light.changes for shot in group.shots):
        if unit is not None:
            reasons += ("some photographs lack a sun reading, so none is used",)
        return level_by_exposure(group, reasons)
    if unit is SunUnit.ABSOLUTE and radiance_unit(tags) is Unit.ABSOLUTE:
        return level_by_sun(group, light, reasons)
    return level_by_sun_changes(group, light, reasons, unit)


def _scale_key(group: BandGroup) -> tuple[str, str]:
    return group.flight, group.shots[0].body or group.camera_id


def _common_scales(
    groups: Sequence[BandGroup], levels: Sequence[Level]
) -> dict[tuple[str, str], float]:
    """Return one factor per flight and camera body that brings relative bands to about 0 to 1.

    A saturated pixel of the band that reaches furthest becomes 1 at the median exposure: known
    before any picture is read, and the same for all bands, so that their ratios stay.
    """
    reach: dict[tuple[str, str], float] = {}
    for group, level in zip(groups, levels, strict=True):
        if level.scaled:
            full = [full_scale(s.tags) * level.factors[s.name] for s in group.shots]
            key = _scale_key(group)
            reach[key] = max(reach.get(key, 0.0), float(np.median(full)))
    return {key: 1.0 / value for key, value in reach.items()}


def calibrate_captures(
    captures: Sequence[Capture],
    *,
    load: Callable[[str], NDArray[Any]],
    tags_of: Callable[[str], BandTags],
    table: PanelTable | None = None,
    level: Leveller | None = None,
) -> Calibration:
    """Calibrate all band photographs of a survey.

    Panel pictures are included and marked as such (`ingest.radiometry.panels.find_panels`); those
    without tags are passed over. `load` returns the pixel values of a photograph, as stored, by
    name; `level` what it will be multiplied by: panels count as they look then. The table of what
    panels reflect is from ``panels.toml``.

    Raises `InputError` if it outlines a target in a photograph that is not there.
    """
    table = table or PanelTable()
    broken = {Flag.UNREADABLE, Flag.EMPTY}
    readable = [c for c in captures if c.band != UNKNOWN_BAND and not broken.intersection(c.flags)]
    tags = {capture.name: tags_of(capture.name) for capture in readable}
    usable = [capture for capture in readable if tags[capture.name].bands]
    names = {capture.name for capture in usable}
    lost = [t.photograph for t in table.targets if t.photograph not in names]
    if lost:
        raise InputError(
            f"panels.toml outlines a target in {lost[0]!r}, which is no band photograph of the "
            "survey; write the name as survey.gpkg has it"
        )
    shots = [_shot(capture, tags[capture.name]) for capture in usable]
    panels = {capture.name for capture in usable if capture.kind is CaptureKind.PANEL}
    outlined = {target.photograph for target in table.targets}
    candidates = [shot for shot in shots if shot.name in panels | outlined]
    readings = measure_panels(candidates, load, table, expected=panels)
    if level is not None:
        for place, reading in enumerate(readings):
            bands = [band.name for band in tags[reading.photograph].bands]
            factors = level(reading.photograph, reading.place_px)
            factor = float(factors[bands.index(reading.band)])
            readings[place] = replace(reading, radiance=reading.radiance * factor)
    return calibrate(shots, readings)


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
