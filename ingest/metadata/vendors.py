"""What each maker of multispectral cameras writes in its own way.

Each function takes a photograph's tags and returns fields of `BandTags` that differ from, or come
on top of, what all makers write. Names of bands come in one spelling, with the wavelengths that
suit them.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from ingest.metadata.exif import Tags
from tmp.radiometry import Band, PanelMark, PlaneVignetting, RadialVignetting, SunReading

BANDS_OF_FILTERS: dict[str, tuple[Band, ...]] = {
    "RGN": (
        Band(name="red", centre_nm=660.0, channel=0),
        Band(name="green", centre_nm=550.0, channel=1),
        Band(name="nir", centre_nm=850.0, channel=2),
    ),
    "OCN": (
        Band(name="orange", centre_nm=615.0, channel=0),
        Band(name="cyan", centre_nm=490.0, channel=1),
        Band(name="nir", centre_nm=808.0, channel=2),
    ),
    "NGB": (
        Band(name="nir", centre_nm=850.0, channel=0),
        Band(name="green", centre_nm=550.0, channel=1),
        Band(name="blue", centre_nm=475.0, channel=2),
    ),
    "RE": (Band(name="rededge", centre_nm=725.0, channel=0),),
    "NIR": (Band(name="nir", centre_nm=850.0, channel=0),),
}
"""What the channels of a one-sensor camera hold behind a filter, by the filter's letters.

References
----------
MAPIR Survey3 camera data sheets: transmission peaks of the filters.
"""

_SPELLINGS = {
    "b": "blue",
    "g": "green",
    "gre": "green",
    "r": "red",
    "n": "nir",
    "nearinfrared": "nir",
    "nearir": "nir",
    "re": "rededge",
    "reg": "rededge",
    "panchromatic": "panchro",
    "pan": "panchro",
    "thermal": "lwir",
}
"""Our spelling of names that are written without blanks; none of ours is spelled once more."""

_RANGES_NM = {
    "blue": (400.0, 520.0),
    "cyan": (460.0, 540.0),
    "green": (500.0, 610.0),
    "orange": (580.0, 650.0),
    "red": (600.0, 710.0),
    "rededge": (670.0, 780.0),
    "nir": (740.0, 1100.0),
}
"""Wavelengths that a band of this name can be centred at."""

_WAVELENGTH = re.compile(r"-[_\s]*([0-9]+)[_\s]*\Z")
_BLANKS = re.compile(r"[-_\s]+")

_SUN_RECORD = struct.Struct("<QHHHHfff")
"""Sequoia: µs since boot, two counts, gain index, integration in ms, yaw, pitch, roll in °."""
_WRONG_EXPOSURE_S, _RIGHT_EXPOSURE_S = 1 / 6329, 0.000274
"""MicaSense firmware wrote the first where the shutter did the second."""
_HORIZONTAL_SINCE = {"altum": (1, 2, 3), "rededge-m": (5, 1, 7), "rededge": (5, 1, 7)}
"""Firmware from which a model's ``HorizontalIrradiance`` is right."""
_SENTERA_FILTERS: dict[str, tuple[tuple[tuple[str, int], ...], tuple[tuple[float, ...], ...]]] = {
    "5.4mm-0001_0015": ((("red", 0), ("nir", 2)), ((1.0, 0.0, -0.966), (-0.286, 0.0, 4.350))),
    "5.4mm-0001_0016": ((("rededge", 0), ("nir", 2)), ((1.0, 0.0, -0.956), (-0.341, 0.0, 2.426))),
}
"""Double 4K lenses by EXIF LensModel: bands with the channel whose metadata is theirs, and the
weights of red, green and blue that take them apart, as Sentera publishes them."""


def normal_name(text: str) -> str:
    """Return a maker's name of a band in our spelling, which is its own normal name.

    A dash stays only before a wavelength in digits at the end; others are blanks, as underscores
    are, and blanks go.

    Examples
    --------
    >>> [normal_name(text) for text in ("NIR", "Red edge", "GRE", "Red edge-740", "Red-Edge")]
    ['nir', 'rededge', 'green', 'rededge-740', 'rededge']
    """
    said = text.strip().casefold()
    wavelength = _WAVELENGTH.search(said)
    name = _BLANKS.sub("", said[: wavelength.start()] if wavelength else said)
    return _SPELLINGS.get(name, name) + (f"-{wavelength[1]}" if wavelength else "")


def why_implausible(band: Band) -> str:
    """Return why a band's wavelength cannot belong to its name; empty when it can.

    Examples
    --------
    >>> why_implausible(Band(name="nir", centre_nm=550.0))
    "band 'nir' centred at 550 nm"
    """
    low, high = _RANGES_NM.get(band.name.partition("-")[0], (0.0, 1e9))
    if band.centre_nm is None or low <= band.centre_nm <= high:
        return ""
    return f"band {band.name!r} centred at {band.centre_nm:g} nm"


def light_nm(wavelength_nm: float | None) -> float | None:
    """Return a wavelength that light can have; None for any other."""
    return wavelength_nm if wavelength_nm and 200 <= wavelength_nm <= 20_000 else None


def _width_nm(width_nm: float | None) -> float | None:
    """Return a width that a band can have; None for any other."""
    return width_nm if width_nm and 0.01 <= width_nm <= 20_000 else None


def bands_at(tags: Tags, named: Iterable[tuple[str, int]]) -> tuple[Band, ...]:
    """Return bands by name and channel, with the wavelengths that Pix4D's tags list by channel."""
    centres, widths = tags.xmp_numbers("CentralWavelength"), tags.xmp_numbers("WavelengthFWHM")
    return tuple(
        Band(
            name=name,
            centre_nm=light_nm(centres[at]) if at < len(centres) else None,
            width_nm=_width_nm(widths[at]) if at < len(widths) else None,
            channel=at,
        )
        for name, at in named
    )


def sequoia_tags(tags: Tags) -> dict[str, Any]:
    """Return what a Parrot Sequoia writes.

    References
    ----------
    Parrot, Application note SEQ-AN-01 (2017): pixel value to irradiance; SEQ-AN-02: sun sensor.
    """
    powers = [int(power) for power in tags.xmp_numbers("VignettingPolynomial2DName")]
    coefficients = tags.xmp_numbers("VignettingPolynomial2D")
    vignetting = None
    if coefficients and len(powers) == 2 * len(coefficients):
        vignetting = PlaneVignetting(
            powers=tuple(zip(powers[::2], powers[1::2], strict=True)),
            coefficients=tuple(coefficients),
        )
    gains = tags.xmp_numbers("IrradianceCalibrationMeasurement")
    return {
        "boot_time_s": _boot_time_s(tags),
        "vignetting": vignetting,
        "sensor_model": _three(tags.xmp_numbers("SensorModel")),
        "sun": _sequoia_sun(tags.xmp_text("IrradianceList")),
        "sun_gains": tuple(tuple(gains[k : k + 4]) for k in range(0, len(gains) - 3, 4)),
        "panel": PanelMark() if (tags.xmp_number("CalibrationPicture") or 0) > 0 else None,
    }


def _sequoia_sun(encoded: str) -> tuple[SunReading, ...]:
    try:
        packed = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return ()
    whole = len(packed) // _SUN_RECORD.size * _SUN_RECORD.size
    return tuple(
        SunReading(
            boot_time_s=time_us / 1e6,
            counts=(first, second),
            gain_index=gain,
            integration_s=integration_ms / 1000,
            yaw_rad=math.radians(yaw_deg),
            pitch_rad=math.radians(pitch_deg),
            roll_rad=math.radians(roll_deg),
        )
        for time_us, first, second, gain, integration_ms, yaw_deg, pitch_deg, roll_deg in (
            _SUN_RECORD.iter_unpack(packed[:whole])
        )
    )


def _boot_time_s(tags: Tags) -> float | None:
    """Return the time since the Sequoia started, which it writes as a date in January 1970."""
    text = tags.text("EXIF DateTimeDigitized")
    try:
        moment = datetime.strptime(text, "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    subsecond = tags.text("EXIF SubSecTimeDigitized")
    fraction = float(f"0.{subsecond}") if subsecond.isdigit() else 0.0
    return moment.timestamp() + fraction if moment.year == 1970 else None


def micasense_tags(tags: Tags) -> dict[str, Any]:
    """Return what MicaSense's RedEdge and Altum write.

    References
    ----------
    MicaSense knowledge base, "RedEdge camera radiometric calibration model"; the tags of its
    public image processing tutorials.
    """
    exposure_s = tags.number("EXIF ExposureTime")
    if exposure_s and math.isclose(exposure_s, _WRONG_EXPOSURE_S, rel_tol=1e-4):
        exposure_s = _RIGHT_EXPOSURE_S
    panel = None
    if tags.xmp_number("CalibrationPicture") == 2:
        corners = tags.xmp_numbers("ReflectArea")
        panel = PanelMark(
            albedo=tags.xmp_number("Albedo"),
            corners_px=tuple(zip(corners[::2], corners[1::2], strict=False)),
            serial=tags.xmp_text("PanelSerial"),
        )
    return {
        "exposure_s": exposure_s,
        "vignetting": _radial(tags, reverse=False),
        "radiometric": _three(tags.xmp_numbers("RadiometricCalibration")),
        "sun": _micasense_sun(tags),
        "panel": panel,
    }


def _micasense_sun(tags: Tags) -> tuple[SunReading, ...]:
    """Read the downwelling light sensor of the first or second kind, in W/m²/nm and radians."""
    horizontal = tags.xmp_number("HorizontalIrradiance")
    # The second sensor's unit is µW/cm²/nm unless it says otherwise.
    scale = tags.xmp_number("IrradianceScaleToSIUnits") or (0.01 if horizontal is not None else 1)
    sensed = tags.xmp_number("SpectralIrradiance", "Irradiance")
    if sensed is None and horizontal is None:
        return ()
    direct, scattered = map(tags.xmp_number, ("DirectIrradiance", "ScatteredIrradiance"))
    yaw, pitch, roll = (tags.xmp_number(n, namespace="DLS") for n in ("Yaw", "Pitch", "Roll"))
    if None in (yaw, pitch, roll):
        yaw, pitch, roll = _sensor_attitude_rad(tags)
    reading = SunReading(
        irradiance=None if sensed is None else scale * sensed,
        horizontal=scale * horizontal if horizontal is not None and _levelled(tags) else None,
        direct=None if direct is None else scale * direct,
        scattered=None if scattered is None else scale * scattered,
        solar_azimuth_rad=tags.xmp_number("SolarAzimuth"),
        solar_elevation_rad=tags.xmp_number("SolarElevation"),
        yaw_rad=yaw,
        pitch_rad=pitch,
        roll_rad=roll,
    )
    return (reading,)


def _levelled(tags: Tags) -> bool:
    """Tell whether this firmware's sum of the light on a level surface is to be trusted."""
    since = _HORIZONTAL_SINCE.get(tags.text("Image Model").casefold())
    version = re.match(r"v?(\d+)\.(\d+)\.(\d+)", tags.text("Image Software"))
    return since is None or (version is not None and tuple(map(int, version.groups())) >= since)


def dji_tags(tags: Tags) -> dict[str, Any]:
    """Return what the Phantom 4 Multispectral and the Mavic 3 Multispectral write.

    References
    ----------
    DJI, P4 Multispectral Image Processing Guide (2020); Mavic 3M Image Processing Guide (2023).
    """
    exposure_us = tags.xmp_number("ExposureTime")
    black = tags.xmp_number("BlackLevel", "BlackCurrent")
    centre = (
        tags.xmp_number("CalibratedOpticalCenterX"),
        tags.xmp_number("CalibratedOpticalCenterY"),
    )
    vignetting = tags.xmp_numbers("VignettingData") or tags.xmp_numbers("VignettingPolynomial")
    found: dict[str, Any] = {
        "bands": _dji_bands(tags),
        "gain": tags.xmp_number("SensorGain"),
        "gain_adjustment": tags.xmp_number("SensorGainAdjustment"),
        "sun": _dji_sun(tags),
    }
    if exposure_us is not None:
        found["exposure_s"] = exposure_us / 1e6
    if black is not None:
        found["black_level"] = black
    if centre[0] is not None and centre[1] is not None and vignetting:
        found["vignetting"] = RadialVignetting(
            centre_px=(centre[0], centre[1]), coefficients=tuple(vignetting), multiplies=True
        )
    return found


def _dji_bands(tags: Tags) -> tuple[Band, ...]:
    """Return the band, its wavelength from ``BandFreq``, as ``860(+/-26)nm``, half width there."""
    name = normal_name(tags.xmp_text("BandName"))
    if not name or name == "rgb":
        return ()
    centre_nm, width_nm = tags.xmp_number("CentralWavelength"), tags.xmp_number("WavelengthFWHM")
    spread = re.match(r"\s*(\d+)\s*nm?\s*\(?|\s*(\d+)\s*\(", tags.xmp_text("BandFreq"))
    half = re.search(r"\+/-\s*(\d+)", tags.xmp_text("BandFreq"))
    if centre_nm is None and spread:
        centre_nm = float(spread.group(1) or spread.group(2))
    if width_nm is None and half:
        width_nm = 2 * float(half.group(1))
    return (Band(name=name, centre_nm=light_nm(centre_nm), width_nm=_width_nm(width_nm)),)


def _dji_sun(tags: Tags) -> tuple[SunReading, ...]:
    sensed = tags.xmp_number("Irradiance")
    if sensed is None:
        return ()
    yaw, pitch, roll = _sensor_attitude_rad(tags)
    return (SunReading(irradiance=sensed, yaw_rad=yaw, pitch_rad=pitch, roll_rad=roll),)


def _sensor_attitude_rad(tags: Tags) -> list[float | None]:
    """Return yaw, pitch and roll of a sun sensor that writes them in degrees."""
    degrees = [tags.xmp_number(f"Irradiance{axis}") for axis in ("Yaw", "Pitch", "Roll")]
    return [None if angle is None else math.radians(angle) for angle in degrees]


def mapir_tags(tags: Tags) -> dict[str, Any]:
    """Return the bands of a MAPIR Survey3 whose model ends in its filter, as ``Survey3W_RGN``."""
    letters = re.search(r"_(RGN|OCN|NGB|NIR|RE)\b", tags.text("Image Model").upper())
    return {"bands": BANDS_OF_FILTERS[letters.group(1)] if letters else ()}


def sentera_tags(tags: Tags) -> dict[str, Any]:
    """Return what Sentera's 6X and Double 4K write.

    References
    ----------
    Sentera's public image correction scripts: lenses, weights of the channels, sun sensor.
    """
    found: dict[str, Any] = {
        "vignetting": _radial(tags, reverse=True),
        "sun": tuple(SunReading(irradiance=value) for value in tags.xmp_numbers("SunSensor")),
        "capture_id": tags.xmp_text("CaptureUUID") or tags.xmp_text("ImageUniqueID"),
    }
    lens = _SENTERA_FILTERS.get(tags.text("EXIF LensModel"))
    if lens is not None:
        found["bands"] = bands_at(tags, lens[0])
        found["mixing"] = lens[1]
    return found


def _radial(tags: Tags, *, reverse: bool) -> RadialVignetting | None:
    """Read Pix4D's vignetting polynomial; Sentera lists the highest power first."""
    centre = tags.xmp_numbers("VignettingCenter")
    coefficients = tags.xmp_numbers("VignettingPolynomial")
    if len(centre) != 2 or not coefficients:
        return None
    return RadialVignetting(
        centre_px=(centre[0], centre[1]),
        coefficients=tuple(reversed(coefficients) if reverse else coefficients),
        multiplies=False,
    )


def _three(values: list[float]) -> tuple[float, float, float] | None:
    return (values[0], values[1], values[2]) if len(values) == 3 else None
