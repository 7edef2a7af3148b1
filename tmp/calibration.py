"""What reflectance rests on: factors for each photograph and band, their provenance and doubt.

A `Calibration` travels with every raster made from it: into GDAL tags, the catalogue, the report.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmp.errors import InputError

Float32 = NDArray[np.float32]


class Provenance(StrEnum):
    """What the level of reflectance rests on, the firmest first."""

    BOTH = "both"
    """A panel for the level, a sun sensor for how the light changed."""
    EMPIRICAL_LINE = "empirical line"
    """Several targets of known reflectance."""
    PANEL = "panel"
    SUN_SENSOR = "sun sensor"
    RELATIVE = "relative"
    """Exposure alone: comparable within a flight, of unknown level."""
    NONE = "none"
    """Pixel values as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandCalibration:
    """How one band of one camera becomes reflectance during one flight."""

    flight: str
    camera_id: str
    band: str
    provenance: Provenance
    factors: Mapping[str, float]
    """Reflectance per unit of radiance, by photograph."""
    offset: float = 0.0
    """Reflectance at no radiance; other than 0 only with an empirical line."""
    absolute: bool = False
    """Whether the level is reflectance, and not just proportional to it."""
    sigma: float
    """Standard deviation of the level as a fraction of it; where the level is unknown, of the
    level against that of the other bands."""
    panel_irradiance: float | None = None
    """Mean of the panels' irradiance, in W/m²/nm where radiance is absolute."""
    panel_serials: tuple[str, ...] = ()
    sun_over_panel: float | None = None
    """What the sun sensor read when the panel was pictured, over what the panel says."""
    reasons: tuple[str, ...] = ()
    """What a reader of the map should know, a sentence each."""

    def __post_init__(self) -> None:
        broken = [name for name, factor in self.factors.items() if not 0 < factor < np.inf]
        if broken:
            raise InputError(
                f"{broken[0]}: calibration factor {self.factors[broken[0]]!r} of band "
                f"{self.band!r}; its exposure, sun sensor or panel reading is absurd"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The calibration of all photographs of a survey."""

    bands: tuple[BandCalibration, ...]
    _by_name: Mapping[str, tuple[BandCalibration, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        found: dict[str, tuple[BandCalibration, ...]] = {}
        for band in self.bands:
            for name in band.factors:
                found[name] = (*found.get(name, ()), band)
        object.__setattr__(self, "_by_name", found)

    def of(self, name: str) -> tuple[BandCalibration, ...]:
        """Return the calibrations of a photograph, one for each of its channels, in their order.

        Raises
        ------
        InputError
            If the photograph is not among those calibrated.
        """
        if name not in self._by_name:
            raise InputError(f"{name}: not calibrated; calibrate it with the rest of its survey")
        return self._by_name[name]

    def to_reflectance(
        self, name: str, radiance: Float32, *, out: Float32 | None = None
    ) -> Float32:
        """Return the reflectance of a photograph, not clipped: snow and glints exceed 1.

        Parameters
        ----------
        radiance : ndarray of shape (rows, cols) or (rows, cols, bands), float32
            Of all its channels, in their order.
        out : ndarray of the same shape, float32, optional
            Where to put the result; may be `radiance` itself.

        Returns
        -------
        ndarray of the same shape, float32
        """
        bands = self.of(name)
        factors = np.array([band.factors[name] for band in bands], np.float32)
        offsets = np.array([band.offset for band in bands], np.float32)
        channels = radiance.shape[2] if radiance.ndim == 3 else 1
        if channels != len(bands):
            raise InputError(
                f"{name}: {channels} channels, but {len(bands)} calibrated bands "
                f"({', '.join(band.band for band in bands)})"
            )
        if radiance.ndim == 2:
            factors, offsets = factors[0], offsets[0]
        reflectance: Float32 = np.multiply(radiance, factors, out=out, dtype=np.float32)
        if offsets.any():
            reflectance += offsets
        return reflectance

    @property
    def provenance(self) -> Provenance:
        """The weakest provenance of all bands, which is that of what is computed from them."""
        order = list(Provenance)
        return max((b.provenance for b in self.bands), key=order.index, default=Provenance.NONE)

    @property
    def absolute(self) -> bool:
        """Tell whether every band is at the level of reflectance."""
        return bool(self.bands) and all(band.absolute for band in self.bands)

    def choose(self, *bands: str) -> Calibration:
        """Return what concerns some bands only, as an index of theirs rests on."""
        return Calibration(bands=tuple(b for b in self.bands if b.band in bands))

    def raster_tags(self) -> dict[str, str]:
        """Return what to write into a raster's tags.

        Examples
        --------
        >>> red = BandCalibration(flight="", camera_id="c", band="red", factors={"1.tif": 2.0},
        ...                       provenance=Provenance.PANEL, absolute=True, sigma=0.034)
        >>> Calibration(bands=(red,)).raster_tags()["CALIBRATION"]
        'panel'
        """
        notes = dict.fromkeys(reason for band in self.bands for reason in band.reasons)
        tags = {
            "CALIBRATION": str(self.provenance),
            "CALIBRATION_LEVEL": "reflectance" if self.absolute else "proportional to reflectance",
            "CALIBRATION_NOTES": "; ".join(notes),
        }
        for band in dict.fromkeys(b.band for b in self.bands):
            of_band = [b for b in self.bands if b.band == band]
            part = Calibration(bands=tuple(of_band))
            text = f"{part.provenance}, sigma {100 * max(b.sigma for b in of_band):.1f} %"
            ratios = [b.sun_over_panel for b in of_band if b.sun_over_panel is not None]
            if ratios:
                text += f", sun sensor over panel {np.mean(ratios):.2f}"
            tags[f"CALIBRATION_{band.upper()}"] = text
        return tags

    def to_json(self) -> str:
        """Return it as JSON, to lie beside the products."""
        return json.dumps([asdict(band) for band in self.bands], indent=1)

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Return what `to_json` wrote.

        Raises
        ------
        InputError
            If it is something else.
        """
        try:
            rows = json.loads(text)
            if not isinstance(rows, list):
                raise TypeError(f"{type(rows).__name__} where bands are listed")
            return cls(bands=tuple(_band_from(row) for row in rows))
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(f"not a calibration: {error}; calibrate again") from error


def _band_from(row: dict[str, Any]) -> BandCalibration:
    fixed = {
        "provenance": Provenance(row["provenance"]),
        "panel_serials": tuple(row["panel_serials"]),
        "reasons": tuple(row["reasons"]),
    }
    return BandCalibration(**(row | fixed))
