"""From radiance to a photograph: blur, vignetting, exposure, noise, gamma, and its file.

Files are written as a drone does: JPEG or TIFF with EXIF and DJI's XMP.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from PIL.TiffImagePlugin import IFDRational

from tmp.cameras import Camera
from tmp.files import replacing

F32 = NDArray[np.float32]

MAKE, MODEL = "TMP", "Rehearsal"
XMP_TAG = 700
DJI_NAMESPACE = "http://www.dji.com/drone-dji/1.0/"
RTK_FIXED = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorModel:
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


COLOUR_SENSOR = SensorModel()


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


def expose(radiance: F32, camera: Camera, sensor: SensorModel, rng: np.random.Generator) -> F32:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoTags:
    """What the metadata of one photograph say; recorded values, not the truth."""

    time: datetime
    """Moment of exposure, with its zone."""
    focal_mm: float
    pixels_per_mm: float
    """Resolution of the focal plane."""
    longitude_deg: float
    latitude_deg: float
    height_ellipsoid_m: float
    height_takeoff_m: float
    gimbal_yaw_deg: float
    gimbal_pitch_deg: float
    gimbal_roll_deg: float
    rtk_sigma_m: tuple[float, float, float] | None = None
    """Standard deviations east, north and up of a fixed RTK solution; None without RTK."""
    exposure_s: float = 0.001
    band: str = "RGB"
    wavelength_nm: float | None = None
    """Centre of a single band."""
    model: str = MODEL


def _rational(value: float, denominator: int) -> IFDRational:
    return IFDRational(Fraction(round(value * denominator), denominator))


def _degrees(value: float) -> tuple[IFDRational, IFDRational, IFDRational]:
    """Return degrees, minutes and seconds to 1e-7 seconds, which is 3 µm on the ground."""
    units = round(abs(value) * 3600 * 10**7)
    minutes, seconds = divmod(units, 60 * 10**7)
    degrees, minutes = divmod(minutes, 60)
    return IFDRational(degrees), IFDRational(minutes), IFDRational(Fraction(seconds, 10**7))


def to_exif(tags: PhotoTags, width_px: int, height_px: int) -> Image.Exif:
    """Return the EXIF block of a photograph."""
    exif = Image.Exif()
    stamp = tags.time.strftime("%Y:%m:%d %H:%M:%S")
    zone = tags.time.strftime("%z")
    exif[Base.Make], exif[Base.Model] = MAKE, tags.model
    exif[Base.Software] = "tmp rehearse"
    exif[Base.Orientation] = 1
    exif[Base.DateTime] = stamp
    exif.get_ifd(IFD.Exif).update(
        {
            Base.ExifVersion: b"0231",
            Base.DateTimeOriginal: stamp,
            Base.DateTimeDigitized: stamp,
            Base.OffsetTimeOriginal: f"{zone[:3]}:{zone[3:5]}",
            Base.SubsecTimeOriginal: f"{tags.time.microsecond // 1000:03d}",
            Base.ExposureTime: _rational(tags.exposure_s, 10**6),
            Base.FNumber: IFDRational(28, 10),
            Base.ISOSpeedRatings: 100,
            Base.FocalLength: _rational(tags.focal_mm, 10**5),
            Base.FocalPlaneXResolution: _rational(tags.pixels_per_mm * 10, 10**4),
            Base.FocalPlaneYResolution: _rational(tags.pixels_per_mm * 10, 10**4),
            Base.FocalPlaneResolutionUnit: 3,  # per centimetre
            Base.ExifImageWidth: width_px,
            Base.ExifImageHeight: height_px,
            Base.ColorSpace: 1 if tags.band == "RGB" else 0xFFFF,
        }
    )
    exif.get_ifd(IFD.GPSInfo).update(
        {
            GPS.GPSVersionID: b"\x02\x03\x00\x00",
            GPS.GPSLatitudeRef: "N" if tags.latitude_deg >= 0 else "S",
            GPS.GPSLatitude: _degrees(tags.latitude_deg),
            GPS.GPSLongitudeRef: "E" if tags.longitude_deg >= 0 else "W",
            GPS.GPSLongitude: _degrees(tags.longitude_deg),
            GPS.GPSAltitudeRef: b"\x00" if tags.height_ellipsoid_m >= 0 else b"\x01",
            GPS.GPSAltitude: _rational(abs(tags.height_ellipsoid_m), 10**4),
            GPS.GPSMapDatum: "WGS-84",
        }
    )
    return exif


def to_xmp(tags: PhotoTags) -> bytes:
    """Return the XMP packet with DJI's entries."""
    entries: dict[str, Any] = {
        "AltitudeType": "RtkAlt" if tags.rtk_sigma_m else "GPSFusionAlt",
        "GpsStatus": "RTK" if tags.rtk_sigma_m else "Normal",
        "GpsLatitude": f"{tags.latitude_deg:+.11f}",
        "GpsLongitude": f"{tags.longitude_deg:+.11f}",
        "AbsoluteAltitude": f"{tags.height_ellipsoid_m:+.4f}",
        "RelativeAltitude": f"{tags.height_takeoff_m:+.3f}",
        "GimbalRollDegree": f"{tags.gimbal_roll_deg:+.2f}",
        "GimbalYawDegree": f"{(tags.gimbal_yaw_deg + 180) % 360 - 180:+.2f}",
        "GimbalPitchDegree": f"{tags.gimbal_pitch_deg:+.2f}",
    }
    if tags.rtk_sigma_m:
        east, north, up = tags.rtk_sigma_m
        entries["RtkFlag"] = RTK_FIXED
        entries["RtkStdLon"], entries["RtkStdLat"] = f"{east:.5f}", f"{north:.5f}"
        entries["RtkStdHgt"] = f"{up:.5f}"
    if tags.wavelength_nm is not None:
        entries["BandName"] = tags.band
        entries["CentralWavelength"] = f"{tags.wavelength_nm:.0f}"
    lines = "\n".join(f"   drone-dji:{key}={quoteattr(str(v))}" for key, v in entries.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '  <rdf:Description rdf:about=""\n'
        f'   xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:drone-dji="{DJI_NAMESPACE}"\n'
        f'   tiff:Make="{MAKE}" tiff:Model={quoteattr(tags.model)}\n{lines}/>\n'
        " </rdf:RDF>\n</x:xmpmeta>\n"
        '<?xpacket end="w"?>'
    ).encode()


def write_photograph(
    path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16], tags: PhotoTags, *, quality: int
) -> None:
    """Write a photograph: 8-bit (rows, cols, 3) as JPEG, 16-bit (rows, cols) as TIFF."""
    image = Image.fromarray(pixels)
    exif, xmp = to_exif(tags, image.width, image.height), to_xmp(tags)
    with replacing(path) as beside:
        if pixels.dtype == np.uint8:
            image.save(beside, format="JPEG", quality=quality, exif=exif, xmp=xmp)
        else:
            # Pillow's compressed TIFF would drop the sub-directories.
            for part in (IFD.Exif, IFD.GPSInfo):
                exif[part] = dict(exif.get_ifd(part))
            exif[XMP_TAG] = xmp
            image.save(beside, format="TIFF", exif=exif)
