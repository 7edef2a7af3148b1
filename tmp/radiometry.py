"""What pixel values say about light: a photograph's bands, and what its reflectance rests on.

`BandTags` is read from the file when it is needed (`ingest.metadata.bands.read_band_tags`) and
stored nowhere: the photograph itself is the record.

A `Calibration` holds factors for each photograph and band, their provenance and doubt, and travels
with every raster made from it: into GDAL tags, the catalogue, the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tmp.errors import InputError

UNKNOWN_BAND = "unknown"
"""Name of the band of a photograph of `Family.UNKNOWN`."""
Float32 = NDArray[np.float32]


class Family(StrEnum):
    """Cameras whose pixel values follow one formula."""

    SEQUOIA = "Parrot Sequoia"
    MICASENSE = "MicaSense"
    DJI = "DJI multispectral"
    MAPIR = "MAPIR Survey3"
    SENTERA = "Sentera"
    DECLARED = "declared"
    """Bands named in cameras.toml, as of a converted consumer camera, or by a file whose maker
    publishes no formula."""
    RGB = "RGB"
    """An ordinary colour camera."""
    UNKNOWN = "unknown"
    """A picture of one band, or of changed channels, which nobody names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One band of light, and the channel of the picture that holds it."""

    name: str
    """``blue``, ``green``, ``red``, ``rededge``, ``nir``, ``panchro``, ``lwir``, or a maker's own
    word in lower case."""
    centre_nm: float | None = None
    """Wavelength of the centre; None where nobody says."""
    width_nm: float | None = None
    """Full width at half maximum."""
    channel: int = 0
    """Place in the picture, from 0, in the order that the file stores its channels."""

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("a band has no name")
        if self.centre_nm is not None and not 200 <= self.centre_nm <= 20_000:
            raise InputError(
                f"band {self.name!r}: centre {self.centre_nm!r} nm; give it in nanometres"
            )
        if self.width_nm is not None and not 0.01 <= self.width_nm <= 20_000:
            raise InputError(
                f"band {self.name!r}: width {self.width_nm!r} nm; give it in nanometres"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RadialVignetting:
    """A polynomial of the distance from a centre: ``1 + k[0] r + k[1] r² + …``, r in pixels."""

    centre_px: tuple[float, float]
    """x, y; as the maker writes it, pixel (0, 0) having its centre at (0, 0)."""
    coefficients: tuple[float, ...]
    multiplies: bool
    """True where pixel values are multiplied by the polynomial (DJI), False where they are
    divided by it (MicaSense)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneVignetting:
    """``Σ c (x / width)^n (y / height)^m``, by which pixel values are divided (Sequoia)."""

    powers: tuple[tuple[int, int], ...]
    """n, m of each term."""
    coefficients: tuple[float, ...]


Vignetting = RadialVignetting | PlaneVignetting


@dataclass(frozen=True, slots=True, kw_only=True)
class SunReading:
    """One reading of a sun sensor, as the file holds it.

    Which fields are there depends on the maker; None where it does not say.
    """

    boot_time_s: float | None = None
    """Time since the camera started, to compare with `BandTags.boot_time_s`."""
    irradiance: float | None = None
    """What fell on the sensor, tilted as it was, in W/m²/nm; for DJI without unit."""
    horizontal: float | None = None
    """On a level surface, by the sensor's own sums, W/m²/nm."""
    direct: float | None = None
    """From the sun, on a surface facing it, W/m²/nm."""
    scattered: float | None = None
    """From the sky, W/m²/nm."""
    solar_azimuth_rad: float | None = None
    solar_elevation_rad: float | None = None
    counts: tuple[int, int] | None = None
    """Raw channels 0 and 1 (Sequoia)."""
    gain_index: int | None = None
    """Which of the sensor's gains; an index and not a factor (Sequoia)."""
    integration_s: float | None = None
    yaw_rad: float | None = None
    """Attitude of the sensor: heading from north, clockwise."""
    pitch_rad: float | None = None
    roll_rad: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelMark:
    """What metadata says of a reflectance panel in the picture."""

    albedo: float | None = None
    """Reflectance of the panel in this band, 0 to 1."""
    corners_px: tuple[tuple[float, float], ...] = ()
    """Outline of the panel in the picture, x and y, as the maker writes it; may be empty."""
    serial: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandTags:
    """Everything radiometric that one file says; None or empty where it says nothing."""

    family: Family
    bands: tuple[Band, ...] = ()
    """One for a band photograph, one per channel of an RGN or declared container, none for RGB."""
    make: str = ""
    model: str = ""
    serial: str = ""
    """Of the camera."""
    firmware: str = ""
    capture_id: str = ""
    """Same in all files that were released together; empty where the maker writes none."""
    flight_id: str = ""
    boot_time_s: float | None = None
    """Time of the exposure since the camera started (Sequoia)."""
    exposure_s: float | None = None
    gain: float | None = None
    """Amplification as a factor: ISO / 100, or DJI's ``SensorGain``."""
    gain_adjustment: float | None = None
    """DJI's ``SensorGainAdjustment``, which levels the bands of one camera."""
    f_number: float | None = None
    black_level: float | None = None
    """Pixel value of darkness, the mean of the file's levels."""
    bits: int = 8
    """Bits in which the file stores a pixel value."""
    saturation_dn: float = 255.0
    """Pixel values from here on are saturated."""
    linear: bool = False
    """Whether pixel values grow in proportion to light, and not along a display curve."""
    vignetting: Vignetting | None = None
    radiometric: tuple[float, float, float] | None = None
    """MicaSense's ``RadiometricCalibration`` a1, a2, a3."""
    sensor_model: tuple[float, float, float] | None = None
    """Sequoia's ``SensorModel`` A, B, C; absent before firmware 1.2.1."""
    sun: tuple[SunReading, ...] = ()
    sun_gains: tuple[tuple[float, ...], ...] = ()
    """Sequoia's ``IrradianceCalibrationMeasurement``: gain index, integration time in ms,
    counts of channels 0 and 1."""
    panel: PanelMark | None = None
    """The file marks itself as a picture of a reflectance panel."""
    mixing: tuple[tuple[float, ...], ...] = ()
    """A row for each band: weights of the picture's channels that take the bands apart, where
    light of one band reaches several channels (Sentera); empty where a channel is its band."""
    problems: tuple[str, ...] = ()
    """What the file says of its bands that cannot be true, each in a few words."""

    @property
    def band(self) -> str:
        """Return the band's name; of a container its names joined by ``+``; empty for RGB."""
        if self.family is Family.UNKNOWN:
            return UNKNOWN_BAND
        return "+".join(band.name for band in self.bands)


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

        Raises `InputError` if the photograph is not among those calibrated.
        """
        if name not in self._by_name:
            raise InputError(f"{name}: not calibrated; calibrate it with the rest of its survey")
        return self._by_name[name]

    def to_reflectance(
        self, name: str, radiance: Float32, *, out: Float32 | None = None
    ) -> Float32:
        """Return the reflectance of a photograph, not clipped: snow and glints exceed 1.

        The radiance (rows, cols) or (rows, cols, bands) has all its channels, in their order, and
        may be `out` itself. Raises `InputError` if it has not as many as there are calibrated
        bands.
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
