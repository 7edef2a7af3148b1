"""The ways from radiance to reflectance: by targets, panels, sun sensors, or the exposure alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ingest.radiometry.panels import PanelReading
from ingest.radiometry.radiance import Unit, exposure_product, radiance_unit, why_relative
from ingest.radiometry.sun_sensor import Light, Shot, SunUnit
from tmp.errors import InputError
from tmp.radiometry import Band, Family, Provenance

FAR_BEYOND = 1.5
"""Reflectance beyond the brightest target, times this, is far extrapolated."""
LEAST_SPREAD = 0.1
"""Targets of more nearly equal reflectance fix no offset."""

PANEL_SIGMA = 0.03
"""Of a panel's level: its reflectance, its slant, the sky that whoever holds the camera hides."""
UNSEEN_SIGMA = 0.05
"""Of the light that may have changed between the panel and the flight, unseen."""
SUN_SIGMA = 0.20
"""Of a sun sensor's level without a panel: sensors of one flight differed by -11 to +36 %."""
SPECTRUM_SIGMA = 0.15
"""Of the bands against each other by the sun's spectrum alone."""
NOTHING_SIGMA = 1.0
SUN_K = 5778.0
"""Effective temperature of the sun."""
PLANCK_NM_K = 1.438777e7
"""Second radiation constant, nm K (CODATA 2018)."""
MAPIR_FACTORY = {"red": (3.38, -0.026), "green": (2.02, -0.020), "nir": (6.64, -0.026)}
"""Slope and intercept of reflectance over pixel value (0 to 1) of Survey3 RGN TIFFs, as MAPIR's
Camera Control takes them without a target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmpiricalLine:
    """``reflectance = gain × radiance + offset``."""

    gain: float
    offset: float
    residual: float
    """Root mean square of what targets differ from the line, in reflectance; 0 for two targets."""
    lowest: float
    highest: float
    """Range of the targets' reflectance."""
    targets: int

    @property
    def said(self) -> str:
        """The line in words, with how far it may be trusted.

        Examples
        --------
        >>> fit_line([1.0, 5.0], [0.1, 0.5]).said
        'empirical line through 2 targets of reflectance 0.10 to 0.50, residual not known; \
above 0.75 it is far extrapolated'
        """
        residual = f"{self.residual:.3f}" if self.targets > 2 else "not known"
        return (
            f"empirical line through {self.targets} targets of reflectance {self.lowest:.2f} to "
            f"{self.highest:.2f}, residual {residual}; above {FAR_BEYOND * self.highest:.2f} it is "
            "far extrapolated"
        )


def spans_a_line(reflectance: ArrayLike) -> bool:
    """Tell whether targets differ enough in reflectance to fix an offset."""
    return bool(np.ptp(np.asarray(reflectance, float)) >= LEAST_SPREAD)


def fit_line(radiance: ArrayLike, reflectance: ArrayLike) -> EmpiricalLine:
    """Fit the line by least squares; through the origin if the targets are all but equal.

    Radiance and reflectance are those of the targets, (N,). Raises `InputError` if a brighter
    target sent back less light.

    References
    ----------
    Smith, G. M., Milton, E. J. (1999). The use of the empirical line method to calibrate remotely
    sensed data to reflectance. International Journal of Remote Sensing 20(13), eq. 1.
    """
    x, y = np.asarray(radiance, float), np.asarray(reflectance, float)
    if spans_a_line(y):
        gain, offset = (float(value) for value in np.polyfit(x, y, 1))
    else:
        gain, offset = float(x @ y / (x @ x)), 0.0
    if not gain > 0:
        pairs = ", ".join(f"{b:.2f} at radiance {a:.4g}" for a, b in zip(x, y, strict=True))
        raise InputError(
            f"targets contradict each other: reflectance {pairs}; check which panel is outlined "
            "where in panels.toml"
        )
    return EmpiricalLine(
        gain=gain,
        offset=offset,
        residual=float(np.sqrt(np.mean((gain * x + offset - y) ** 2))),
        lowest=float(y.min()),
        highest=float(y.max()),
        targets=len(x),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BandGroup:
    """The photographs of one band of one camera during one flight."""

    flight: str
    camera_id: str
    band: Band
    shots: tuple[Shot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What a calibration rests on, before the common scale of relative bands is known."""

    provenance: Provenance
    factors: dict[str, float]
    sigma: float
    offset: float = 0.0
    absolute: bool = False
    reasons: tuple[str, ...] = ()
    panel: tuple[PanelReading, ...] = ()
    sun_over_panel: float | None = None
    scaled: bool = False
    """Whether the factors are still to be brought to the scale common to a camera's bands."""


def level_of_heat(group: BandGroup) -> Level:
    """Leave a thermal band's temperatures as they are."""
    return Level(
        provenance=Provenance.NONE,
        factors={shot.name: 1.0 for shot in group.shots},
        sigma=NOTHING_SIGMA,
        reasons=("thermal band: temperatures in °C by the maker's calibration",),
    )


def level_by_line(
    group: BandGroup, readings: Sequence[PanelReading], light: Light, reasons: tuple[str, ...]
) -> Level:
    """Put an empirical line through targets of different reflectance."""
    changes = _changes(group, readings, light)
    line = fit_line(
        [r.radiance / changes.get(r.photograph, 1.0) for r in readings],
        [r.reflectance or 0.0 for r in readings],
    )
    middle = 0.5 * (line.lowest + line.highest)
    unseen = 0.0 if changes else UNSEEN_SIGMA
    return Level(
        provenance=Provenance.EMPIRICAL_LINE,
        factors={s.name: line.gain / changes.get(s.name, 1.0) for s in group.shots},
        offset=line.offset,
        absolute=True,
        sigma=float(np.hypot(np.hypot(PANEL_SIGMA, line.residual / middle), unseen)),
        reasons=(*reasons, line.said),
        panel=tuple(readings),
    )


def level_by_panel(
    group: BandGroup, readings: Sequence[PanelReading], light: Light, reasons: tuple[str, ...]
) -> Level:
    """Take the level from panels, the changes from the sun sensor, or from panel to panel."""
    changes = _changes(group, readings, light)
    seen = np.array([r.irradiance or 0.0 for r in readings])
    at_panel = np.array([changes.get(r.photograph, 1.0) for r in readings])
    settled = seen / at_panel
    between = float(settled.std() / settled.mean())
    if changes:
        spread = light.disagreement.get(group.camera_id, 0.0)
        irradiance = {s.name: float(settled.mean()) * changes[s.name] for s in group.shots}
        sigma = float(np.sqrt(PANEL_SIGMA**2 + between**2 + spread**2))
    else:
        irradiance = _between_panels(group, readings)
        sigma = float(np.hypot(PANEL_SIGMA, max(between, UNSEEN_SIGMA if len(seen) < 2 else 0.0)))
    ratio = None
    if light.units.get(group.camera_id) is SunUnit.ABSOLUTE:
        pairs = [light.measured[r.photograph] for r in readings if r.photograph in light.measured]
        if len(pairs) == len(readings):
            ratio = round(float(np.mean(np.array(pairs) / seen)), 4)
            reasons += (f"{group.band.name}: sun sensor reads {ratio:.2f} of the panel's light",)
    return Level(
        provenance=Provenance.BOTH if changes else Provenance.PANEL,
        factors={name: float(np.pi) / value for name, value in irradiance.items()},
        absolute=True,
        sigma=sigma,
        reasons=reasons,
        panel=tuple(readings),
        sun_over_panel=ratio,
    )


def _changes(group: BandGroup, readings: Sequence[PanelReading], light: Light) -> dict[str, float]:
    """Return the changes of light from panels to photographs; empty unless known for them all."""
    names = [shot.name for shot in group.shots] + [r.photograph for r in readings]
    if any(name not in light.changes for name in names):
        return {}
    return {name: light.changes[name] for name in names}


def _between_panels(group: BandGroup, readings: Sequence[PanelReading]) -> dict[str, float]:
    """Return the panels' irradiance for each photograph, along straight lines in time."""
    values = [r.irradiance or 0.0 for r in readings]
    moments = [r.time_utc.timestamp() if r.time_utc else None for r in readings]
    if None in moments or any(shot.time_utc is None for shot in group.shots):
        return {shot.name: float(np.mean(values)) for shot in group.shots}
    times, inverse = np.unique(np.array(moments, float), return_inverse=True)
    means = np.bincount(inverse, weights=values) / np.bincount(inverse)
    return {
        shot.name: float(np.interp(shot.time_utc.timestamp(), times, means))
        for shot in group.shots
        if shot.time_utc is not None
    }


def level_by_sun(group: BandGroup, light: Light, reasons: tuple[str, ...]) -> Level:
    """Take the level and its changes from a sun sensor that reads W/m²/nm."""
    level = light.levels[group.camera_id]
    spread = light.disagreement[group.camera_id]
    return Level(
        provenance=Provenance.SUN_SENSOR,
        factors={s.name: float(np.pi) / (level * light.changes[s.name]) for s in group.shots},
        absolute=True,
        sigma=float(np.hypot(SUN_SIGMA, spread)),
        reasons=(
            *reasons,
            "no panel: the level rests on the sun sensor, which is biased band by band",
        ),
    )


def level_by_sun_changes(
    group: BandGroup, light: Light, reasons: tuple[str, ...], unit: SunUnit
) -> Level:
    """Level the photographs of a flight by a sun sensor whose numbers have no unit."""
    tags = group.shots[0].tags
    if unit is SunUnit.VENDOR:
        weight = 1.0 / light.levels[group.camera_id]
        why = "reflectance but for one factor common to all bands, by the maker's formula"
    else:
        weight = _band_weight(group)
        why = "sun sensor without unit: changes of light taken out, the level unknown"
    notes = (*reasons, *filter(None, (why_relative(tags), why)))
    return Level(
        provenance=Provenance.SUN_SENSOR,
        factors={shot.name: weight / light.changes[shot.name] for shot in group.shots},
        sigma=float(np.hypot(SPECTRUM_SIGMA, light.disagreement[group.camera_id])),
        reasons=notes,
        scaled=True,
    )


def level_by_exposure(group: BandGroup, reasons: tuple[str, ...]) -> Level:
    """Level photographs by exposure time and gain alone."""
    tags = group.shots[0].tags
    unexposed = [shot.name for shot in group.shots if shot.tags.exposure_s is None]
    if unexposed:
        return Level(
            provenance=Provenance.NONE,
            factors={shot.name: 1.0 for shot in group.shots},
            sigma=NOTHING_SIGMA,
            reasons=(*reasons, f"{unexposed[0]}: no exposure time: pixel values as they are"),
            scaled=True,
        )
    factory = _factory_line(group)
    if factory is not None:
        slope, offset = factory
        return Level(
            provenance=Provenance.RELATIVE,
            factors={shot.name: slope for shot in group.shots},
            offset=offset,
            sigma=SPECTRUM_SIGMA,
            reasons=(*reasons, "no target: MAPIR's factory line, which fits no light but its own"),
        )
    notes = filter(
        None, (why_relative(tags), "no panel and no sun sensor: relative within a flight")
    )
    return Level(
        provenance=Provenance.RELATIVE,
        factors={shot.name: _band_weight(group) for shot in group.shots},
        sigma=SPECTRUM_SIGMA,
        reasons=(*reasons, *notes),
        scaled=True,
    )


def _factory_line(group: BandGroup) -> tuple[float, float] | None:
    """Return MAPIR's own line at the middle exposure; None where it does not apply."""
    tags = group.shots[0].tags
    names = {band.name for band in tags.bands}
    if tags.family is not Family.MAPIR or tags.bits != 16 or names != set(MAPIR_FACTORY):
        return None
    slope, offset = MAPIR_FACTORY[group.band.name]
    middle = float(np.median([exposure_product(shot.tags) for shot in group.shots]))
    return slope * middle, offset


def _band_weight(group: BandGroup) -> float:
    """Return what brings bands of unknown sensitivity to one level: the sun's light in each.

    Planck's law for the sun's temperature follows the light on the ground to 15 % between 450 and
    900 nm.  Behind a filter of its own, a sensor also gathers light as the filter is wide.
    """
    tags = group.shots[0].tags
    weight = 1.0
    if group.band.centre_nm is not None:
        weight /= _planck(group.band.centre_nm) / _planck(650.0)
    alone = len(tags.bands) == 1 and tags.family is not Family.DJI
    if alone and radiance_unit(tags) is Unit.RELATIVE and group.band.width_nm:
        weight *= 40.0 / group.band.width_nm
    return float(weight)


def _planck(wavelength_nm: float) -> float:
    """Return the sun's spectral radiance but for a factor (Planck 1901)."""
    return float(wavelength_nm**-5 / np.expm1(PLANCK_NM_K / (wavelength_nm * SUN_K)))
