"""From radiance to reflectance: what each band of each flight rests on, and how far to trust it.

Panels give the level, sun sensors how the light changed; a sun sensor alone, or the exposure alone,
gives less, and the `Calibration` says so.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ingest.empirical import spans_a_line
from ingest.levels import (
    BandGroup,
    Level,
    level_by_exposure,
    level_by_line,
    level_by_panel,
    level_by_sun,
    level_by_sun_changes,
    level_of_heat,
)
from ingest.light import Light, Shot, read_light
from ingest.panelchoice import choose_readings
from ingest.panels import PanelReading
from ingest.radiance import THERMAL_BAND, Unit, full_scale, radiance_unit
from ingest.sun import SunUnit
from tmp.calibration import BandCalibration, Calibration

log = logging.getLogger(__name__)


def calibrate(shots: Sequence[Shot], readings: Sequence[PanelReading] = ()) -> Calibration:
    """Calibrate all bands of a survey, each with the best there is for it.

    Parameters
    ----------
    shots : sequence of Shot
        All band photographs, panel pictures included; colour photographs are passed over.
    readings : sequence of PanelReading
        As `ingest.panels.measure_panels` returns them.

    Returns
    -------
    Calibration
        With a factor for every photograph and band.

    Raises
    ------
    InputError
        If targets contradict each other, or a photograph lacks the tags of its maker's formula.
    """
    light = read_light(shots)
    groups = _group(shots)
    levels = [_find_level(group, groups, readings, light) for group in groups]
    scales = _common_scales(groups, levels)
    bands = []
    for group, level in zip(groups, levels, strict=True):
        scale = scales[_scale_key(group)] if level.scaled else 1.0
        unit = radiance_unit(group.shots[0].tags)
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
                panel_irradiance=float(np.mean(irradiance))
                if irradiance and unit is Unit.ABSOLUTE
                else None,
                panel_serials=tuple(dict.fromkeys(r.serial for r in level.panel)),
                sun_over_panel=level.sun_over_panel,
                reasons=level.reasons,
            )
        )
        log.info(
            "flight %s, %s: %s, sigma %.1f %%",
            group.flight or "-",
            group.band.name,
            level.provenance,
            100 * level.sigma,
        )
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
