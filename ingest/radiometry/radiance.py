"""Pixel values to radiance, by each maker's formula.

Pixel values are read as the file stores them.  Whole arrays in float32; the vignetting of a camera
is computed once and kept.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tmp.errors import InputError, PhotographError
from tmp.radiometry import BandTags, Family, PlaneVignetting, RadialVignetting, Vignetting

Float32 = NDArray[np.float32]

THERMAL_BAND = "lwir"
KELVIN_PER_DN, ZERO_CELSIUS_K = 0.01, 273.15
"""MicaSense writes thermal pixels as hundredths of a kelvin."""


BLOCK_VALUES = 1 << 17
"""Pixel values worked on at a time: what fits into a core's cache."""


class Unit(StrEnum):
    """What the numbers of `to_radiance` are."""

    ABSOLUTE = "W/m²/sr/nm"
    SEQUOIA = "proportional to W/m²/sr/nm, alike for all Sequoia cameras"
    RELATIVE = "relative"
    """Proportional to radiance; comparable within one band of one camera only."""
    CELSIUS = "°C"


def radiance_unit(tags: BandTags) -> Unit:
    """Return the unit that a photograph's radiance will have."""
    if tags.band == THERMAL_BAND:
        return Unit.CELSIUS
    if tags.family is Family.MICASENSE and tags.radiometric is not None:
        return Unit.ABSOLUTE
    if tags.family is Family.SEQUOIA and tags.sensor_model is not None:
        return Unit.SEQUOIA
    return Unit.RELATIVE


def why_relative(tags: BandTags) -> str:
    """Return why radiance has no unit, in words; empty where it has one."""
    if radiance_unit(tags) is not Unit.RELATIVE:
        return ""
    if tags.family is Family.SEQUOIA:
        firmware = f" (firmware {tags.firmware}; written from 1.2.1 on)" if tags.firmware else ""
        return f"SensorModel missing{firmware}: radiance of each band in a scale of its own"
    if tags.family is Family.MICASENSE:
        return "RadiometricCalibration missing: radiance of each band in a scale of its own"
    if tags.family is Family.DJI:
        return "DJI does not publish the factor from pixel values to radiance"
    if not _linear(tags):
        return "display curve undone as if it were sRGB's; save raw or linear TIFF if you can"
    return f"no radiance calibration exists for {tags.model or tags.family}"


def to_radiance(dn: NDArray[np.unsignedinteger], tags: BandTags) -> Float32:
    """Return the radiance that a photograph's pixels recorded, vignetting taken out.

    Pixel values as stored, (rows, cols) or (rows, cols, channels), become float32 (rows, cols) or
    (rows, cols, bands) in the unit that `radiance_unit` tells; °C for a thermal band. The bands of
    a picture with several channels come in the order of ``tags.bands``; all channels where none is
    named. Not clipped: noise around black stays around zero.

    Raises `InputError` if the maker's formula needs a tag that the file lacks.

    MicaSense: ``L = V R (DN - BL) a1 / (g t 2^bits)`` with ``R = 1 / (1 + a2 y / t - a3 y)``.
    DJI: ``V (DN - BL) / 65535 / (gain t)``, times ``SensorGainAdjustment``.
    Sequoia: ``f² (DN - B) / V / (A t ISO + C)``, or without the sensor model
    ``f² (DN - BL) / V / (t ISO)``.  Black is taken off *before* the vignetting is divided out, for
    darkness does not pass the lens; public scripts do it the other way round, which bleaches the
    corners.
    All others: ``f² (DN - BL) / (2^bits - 1) / (gain t)``, where f, gain and t count as 1 if
    unknown.

    References
    ----------
    MicaSense (2017), RedEdge Camera Radiometric Calibration Model.
    DJI (2020), P4 Multispectral Image Processing Guide, eq. 2 to 5.
    Parrot (2017), SEQ-AN-01, Pixel value to irradiance using the sensor calibration model.
    """
    if tags.band == THERMAL_BAND:
        return np.float32(KELVIN_PER_DN) * dn.astype(np.float32) - np.float32(ZERO_CELSIUS_K)
    black, scale = _black_and_scale(tags)
    gain = None
    if tags.vignetting is not None:
        gain = vignetting_gain(tags.vignetting, dn.shape[0], dn.shape[1])
    by_row = np.full(len(dn), scale)
    if tags.family is Family.MICASENSE and tags.radiometric is not None:
        by_row *= _row_gain(tags, len(dn))
    factors = by_row.astype(np.float32).reshape(-1, *(1,) * (dn.ndim - 1))
    light = np.empty(dn.shape, np.float32)
    step = max(1, BLOCK_VALUES * len(dn) // max(dn.size, 1))
    for start in range(0, len(dn), step):
        rows = slice(start, start + step)
        block = light[rows]
        if _linear(tags):
            np.subtract(dn[rows], np.float32(black), out=block, dtype=np.float32)
        else:
            np.subtract(_display_table(tags.bits)[dn[rows]], np.float32(black), out=block)
        if gain is not None:
            block *= gain[rows] if dn.ndim == 2 else gain[rows, :, None]
        block *= factors[rows]
    return light if light.ndim == 2 else _part_bands(light, tags)


def find_saturated(dn: NDArray[np.unsignedinteger], tags: BandTags) -> NDArray[np.bool_]:
    """Tell which pixels (rows, cols) hold a saturated value in any channel."""
    saturated = dn >= tags.saturation_dn
    return np.asarray(saturated.any(axis=2) if dn.ndim == 3 else saturated)


def exposure_product(tags: BandTags) -> float:
    """Return exposure time in seconds × gain ÷ squared f-number; 1 for each that is unknown."""
    return (tags.exposure_s or 1.0) * (tags.gain or 1.0) / (tags.f_number or 1.0) ** 2


def full_scale(tags: BandTags) -> float:
    """Return the radiance of a saturated pixel in the middle of the vignetting."""
    plain = replace(tags, vignetting=None, mixing=())
    return float(to_radiance(np.full((1, 1), int(tags.saturation_dn), np.uint16), plain)[0, 0])


@lru_cache(maxsize=32)
def vignetting_gain(vignetting: Vignetting, rows: int, cols: int) -> Float32:
    """Return the factors (rows, cols) that undo a lens's fall-off; read-only, kept for reuse."""
    gain = (
        _radial_gain(vignetting, rows, cols)
        if isinstance(vignetting, RadialVignetting)
        else _plane_gain(vignetting, rows, cols)
    )
    gain.flags.writeable = False
    return gain


def _radial_gain(vignetting: RadialVignetting, rows: int, cols: int) -> Float32:
    x0, y0 = vignetting.centre_px
    r = np.hypot(np.arange(cols) - x0, (np.arange(rows) - y0)[:, None])
    polynomial = np.polynomial.polynomial.polyval(r, (1.0, *vignetting.coefficients))
    if not vignetting.multiplies:
        polynomial = _inverse(polynomial)
    return np.asarray(polynomial, np.float32)


def _plane_gain(vignetting: PlaneVignetting, rows: int, cols: int) -> Float32:
    x, y = np.arange(cols) / cols, (np.arange(rows) / rows)[:, None]
    terms = zip(vignetting.powers, vignetting.coefficients, strict=True)
    polynomial = np.zeros((rows, cols))
    for (n, m), c in terms:
        polynomial += c * x**n * y**m
    return np.asarray(_inverse(polynomial), np.float32)


def _inverse(polynomial: NDArray[np.float64]) -> NDArray[np.float64]:
    if polynomial.min() < 0.05:
        raise InputError(
            f"vignetting lets only {polynomial.min():.3g} of the light through in a corner; "
            "the tags are damaged or belong to another picture size"
        )
    return 1.0 / polynomial


def _black_and_scale(tags: BandTags) -> tuple[float, float]:
    """Return what is taken off the pixel values, and what they are multiplied by."""
    if tags.family is Family.MICASENSE and tags.radiometric is not None:
        t, gain = _needed(tags, "exposure_s"), _needed(tags, "gain")
        return _needed(tags, "black_level"), tags.radiometric[0] / (gain * t * 2**tags.bits)
    if tags.family is Family.DJI:
        t, gain = _needed(tags, "exposure_s"), _needed(tags, "gain")
        adjustment = tags.gain_adjustment or 1.0
        return _needed(tags, "black_level"), adjustment / (65535 * gain * t)
    if tags.family is Family.SEQUOIA:
        f, t = _needed(tags, "f_number"), _needed(tags, "exposure_s")
        iso = 100 * _needed(tags, "gain")
        if tags.sensor_model is not None:
            a, b, c = tags.sensor_model
            return b, f**2 / (a * t * iso + c)
        return _needed(tags, "black_level"), f**2 / (t * iso)
    full = float(2**tags.bits - 1) if _linear(tags) else 1.0
    return tags.black_level or 0.0, 1.0 / (full * exposure_product(tags))


def _needed(tags: BandTags, name: str) -> float:
    value = getattr(tags, name)
    if value is None or not value > 0:
        words = name.replace("_", " ")
        raise InputError(
            f"{tags.family} {tags.band}: {words} {value!r}, but radiance needs it; "
            "the file lost its tags, take the original"
        )
    return float(value)


def _row_gain(tags: BandTags, rows: int) -> NDArray[np.float64]:
    """Return MicaSense's R (rows,): the sensor gathers light while its rows are read out."""
    _, a2, a3 = tags.radiometric or (0.0, 0.0, 0.0)
    y = np.arange(rows)
    return np.asarray(1.0 / (1.0 + a2 * y / _needed(tags, "exposure_s") - a3 * y))


def _part_bands(light: Float32, tags: BandTags) -> Float32:
    """Return the bands (rows, cols, bands) of a picture's channels, taken apart where they mix."""
    if tags.mixing:
        return np.asarray(light @ np.array(tags.mixing, np.float32).T)
    channels = [band.channel for band in tags.bands]
    if not channels or channels == list(range(light.shape[2])):
        return light
    return np.ascontiguousarray(light[..., channels])


def _linear(tags: BandTags) -> bool:
    return tags.linear or tags.family in (Family.MICASENSE, Family.SEQUOIA, Family.DJI)


@lru_cache(maxsize=4)
def _display_table(bits: int) -> Float32:
    """Return light from 0 to 1 by pixel value (IEC 61966-2-1, inverse transfer function)."""
    v = np.arange(2**bits) / (2**bits - 1)
    light = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    return np.asarray(light, np.float32)


# Its TIFF reader reports every private tag.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def read_stored(path: Path) -> NDArray[Any]:
    """Return a photograph's pixel values as stored: (rows, cols) or (rows, cols, channels).

    Channels are in the order of the file, red first in a colour picture. Raises `PhotographError`
    if the file cannot be decoded.
    """
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise PhotographError(f"{path}: cannot be decoded; copy it again from the card")
    if stored.ndim == 2:
        return np.asarray(stored)
    return np.ascontiguousarray(stored[..., 2::-1])  # OpenCV has blue first
