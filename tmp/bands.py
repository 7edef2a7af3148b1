"""What a photograph's file says about light: its bands, and all that its pixel values hang on.

`BandTags` is read from the file when it is needed (`ingest.bandtags.read_band_tags`) and stored
nowhere: the photograph itself is the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tmp.errors import InputError


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


UNKNOWN_BAND = "unknown"
"""Name of the band of a photograph of `Family.UNKNOWN`."""


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
class RigPlace:
    """Where in its rig a camera sits, as the maker calibrated it."""

    index: int
    """From 0 where the maker counts so; its own count otherwise."""
    relatives_deg: tuple[float, float, float] | None = None
    """Rotations ω, φ, κ against the reference camera (Pix4D's ``RigRelatives``); None on the
    reference itself and where the maker gives none."""
    translations_m: tuple[float, float, float] | None = None
    offset_px: tuple[float, float] | None = None
    """Shift of the optical centre against the reference band (DJI's ``RelativeOpticalCenter``)."""
    homography: tuple[float, ...] | None = None
    """Nine numbers, row by row, as DJI's ``CalibratedHMatrix``; this picture to the rig's."""
    rgb_homography: tuple[float, ...] | None = None
    """Nine numbers, row by row, as DJI's ``DewarpHMatrix``; this picture to the colour camera's."""


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
    rig: RigPlace | None = None
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
    sun_rotation_deg: tuple[float, float, float] | None = None
    """Sequoia's ``IrradianceRelativeRotation``: how the sun sensor is turned against the camera."""
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
