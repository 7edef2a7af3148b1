"""Which pictures of a panel serve which photographs, and why the others do not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from ingest.levels import BandGroup
from ingest.light import Light
from ingest.panels import PanelReading
from ingest.sun import SunUnit

PANEL_WITHIN = timedelta(hours=2)
"""A panel pictured in another flight serves this long before and after."""
SHADED = 0.5
"""A panel that shows less than this share of what the sun sensor or another panel picture shows
lies in a shadow."""
UNKNOWN = (
    "panel {serial} found, but not what it reflects in each band; give it with --panel or in "
    "panels.toml"
)


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
