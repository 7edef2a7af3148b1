"""From radiance to a photograph's pixel values: lens blur, vignetting, exposure, noise, gamma."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tmp.cameras import Camera

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """How a camera turns radiance into pixel values."""

    gain: float = 2.2
    """Signal, as a fraction of saturation, of unit radiance at normal exposure."""
    exposure_spread: float = 0.08
    """Standard deviation of the exposure from photograph to photograph, in stops."""
    blur_px: float = 0.45
    """Standard deviation of the lens' Gaussian point spread, on top of the pixel's own square."""
    vignetting: float = 0.22
    """Loss of light in the corners."""
    full_well: float = 9000.0
    """Electrons at saturation; sets the shot noise."""
    read_noise: float = 7.0
    """Electrons."""
    jpeg_quality: int = 92


COLOUR_SENSOR = Sensor()


def srgb_from_linear(linear: F32) -> F32:
    """Encode linear intensities 0 … 1 with the sRGB curve (IEC 61966-2-1)."""
    clipped = np.clip(linear, 0.0, 1.0)
    return np.where(
        clipped <= 0.0031308, 12.92 * clipped, 1.055 * np.power(clipped, 1 / 2.4) - 0.055
    ).astype(np.float32)


_CURVE = np.round(255 * srgb_from_linear(np.linspace(0, 1, 4097, dtype=np.float32))).astype(
    np.uint8
)


def to_picture(radiance: F32, gain: float) -> NDArray[np.uint8]:
    """Return 8-bit sRGB of radiance (rows, cols, 3) without any of a camera's flaws."""
    return np.asarray(_CURVE[np.clip(radiance * (gain * 4096), 0, 4096).astype(np.uint16)])


def expose(radiance: F32, camera: Camera, sensor: Sensor, rng: np.random.Generator) -> F32:
    """Return the signal (rows, cols, bands) as a fraction of saturation, with blur and noise.

    Notes
    -----
    Shot noise is taken as normal, which is right above some tens of electrons.
    """
    blurred = cv2.GaussianBlur(radiance, (0, 0), sensor.blur_px)
    signal = np.asarray(blurred, np.float32).reshape(radiance.shape)
    x = (np.arange(camera.width_px, dtype=np.float32) + 0.5 - camera.cx_px) / camera.fx_px
    y = (np.arange(camera.height_px, dtype=np.float32) + 0.5 - camera.cy_px) / camera.fy_px
    radius2 = x[None, :] ** 2 + y[:, None] ** 2
    gain = sensor.gain * 2.0 ** rng.normal(0.0, sensor.exposure_spread)
    signal *= (gain * (1.0 - sensor.vignetting * radius2 / radius2.max())).astype(np.float32)[
        ..., None
    ]
    electrons2 = np.maximum(signal, 0) * sensor.full_well + sensor.read_noise**2
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    signal += noise * np.sqrt(electrons2) / np.float32(sensor.full_well)
    return np.asarray(signal)


def develop(signal: F32) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return 8-bit sRGB for three bands, linear 16-bit (rows, cols) for a single one."""
    if signal.shape[2] == 3:
        return to_picture(signal, 1.0)
    return np.clip(signal[..., 0] * 65535, 0, 65535).astype(np.uint16)
