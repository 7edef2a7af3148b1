"""What the file of one photograph says: its tags, and what one look at the picture tells.

That is whether it can be read, how sharp it is and how well exposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ingest.metadata.bands import Declaration, band_tags
from ingest.metadata.cameras import propose_camera
from ingest.metadata.exif import Tags, read_position, read_tags, read_time
from tmp.cameras import Camera
from tmp.captures import Capture, CaptureKind, Flag
from tmp.radiometry import BandTags, Family

HEIGHTS_M = (-500.0, 9000.0)
"""Heights that a drone can photograph from."""
CLOCK_SLACK = timedelta(days=2)
"""A photograph dated farther in the future has a wrong date."""
SENTERA_PANEL = "cal_"
"""Sentera's cameras name pictures of the panel so."""

MIDDLE_GREY, MOST_BLANK = 128, 0.01
"""Value of rows that a JPEG has no data for, and the share of them that tells of a wrong size."""

# Its TIFF reader reports every private tag, and every broken file that we flag anyway.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

MAX_GREY_PX = 3_000_000
"""Pictures are halved while decoding until they are smaller than this many pixels..."""
MIN_HALVINGS = 1
"""...but at least once, which keeps JPEG noise out of the sharpness."""

_REDUCED = {
    1: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    3: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
MAX_HALVINGS = max(_REDUCED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a photograph's file says, and the camera that took it; None if it is unreadable."""

    capture: Capture
    camera: Camera | None


def read_photograph(
    data: bytes, capture: Capture, declarations: Sequence[Declaration] = ()
) -> Reading:
    """Fill in all that a file says of itself, where name, source, digest and size are known."""
    tags = read_tags(data)
    bands = band_tags(tags, declarations)
    capture = _with_bands(_with_tags(capture, tags), tags, bands)
    problem = why_unreadable(tags)
    picture = None
    if not problem:
        black_dn, saturation_dn = bands.black_level or 0.0, bands.saturation_dn
        if not 0 <= black_dn < saturation_dn - 1:  # told among the problems
            black_dn = 0.0
        picture = measure_picture(data, tags, black_dn=black_dn, saturation_dn=saturation_dn)
    if picture is not None and picture.blank_share > MOST_BLANK:
        picture, problem = None, _too_little(tags)
    if picture is None:
        reason = problem or "the picture does not decode"
        unreadable = replace(capture, flags=(Flag.UNREADABLE,), reason=reason)
        return Reading(capture=unreadable, camera=None)
    camera = propose_camera(tags)
    capture = replace(
        capture,
        camera_id=camera.camera_id,
        sharpness=round(picture.sharpness, 1),
        clipped_share=round(picture.clipped_share, 4),
        brightness=round(picture.brightness, 4),
        problems="; ".join(filter(None, (*bands.problems, capture.problems, *_problems(capture)))),
    )
    return Reading(capture=capture, camera=camera)


def why_unreadable(tags: Tags) -> str:
    """Return why a file cannot serve as a photograph, from its tags alone; empty when it can."""
    if not tags.kind:
        return "not a JPEG, TIFF or PNG picture inside"
    if tags.truncated:
        return "the file is cut short"
    if min(tags.width_px, tags.height_px) <= 0:
        return "no picture size in the file"
    if tags.short:
        return _too_little(tags)
    return ""


def _too_little(tags: Tags) -> str:
    return (
        f"its header says {tags.width_px} × {tags.height_px} pixels, and the file holds only a "
        "part of them"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What one look at a picture tells."""

    sharpness: float
    """Variance of the Laplacian of the reduced grey picture."""
    clipped_share: float
    """Share of the pixels with a saturated channel, 0 to 1."""
    brightness: float
    """Pixel value that 99 % stay below, from black (0) to saturation (1); may lie outside."""
    blank_share: float
    """Share of the rows, counted from the lower edge, that a decoder ran out of data for."""


def measure_picture(
    data: bytes, tags: Tags, *, black_dn: float = 0.0, saturation_dn: float = 255.0
) -> Picture | None:
    """Measure sharpness and exposure of a whole file, between pixel values of black and saturation.

    Of the tags only kind and size are used. Returns None when the picture does not decode.

    Sharpness depends on the scene and the camera: compare it within one camera and with
    photographs taken next to it.

    References
    ----------
    Pech-Pacheco et al. (2000). Diatom autofocusing in brightfield microscopy: a comparative
    study. ICPR, 3, 314–317.
    """
    pixels, halvings = tags.width_px * tags.height_px, MIN_HALVINGS
    while pixels > MAX_GREY_PX << (2 * halvings) and halvings < MAX_HALVINGS:
        halvings += 1
    # A reduced JPEG costs a fraction of a whole one; of a TIFF the true values are wanted.
    mode = cv2.IMREAD_UNCHANGED if tags.kind == "tiff" else _REDUCED[halvings]
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
        if picture is None:
            return None
        if tags.kind == "tiff":
            grey, peak = _grey(picture, halvings), _peak(picture[::2, ::2])
        else:
            grey = peak = picture
            saturation_dn -= 1.0  # a reduced pixel is the mean of several
    except cv2.error:  # damaged, or too narrow to be halved
        return None
    bright_dn = float(np.percentile(peak[::4, ::4], 99))
    return Picture(
        sharpness=float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1][0, 0]) ** 2,
        clipped_share=float(np.count_nonzero(peak >= saturation_dn) / peak.size),
        brightness=(bright_dn - black_dn) / (saturation_dn - black_dn),
        blank_share=_blank_share(picture) if tags.kind == "jpeg" else 0.0,
    )


def _blank_share(picture: NDArray[Any]) -> float:
    """Return the share of rows at the lower edge in the grey that stands for absent JPEG data.

    A decoder takes coefficients it does not find for zeros, and the middle of the range comes out
    of them.  Noise keeps the rows of true pictures from being of one value.
    """
    blank = (picture == MIDDLE_GREY).all(axis=1)[::-1]
    return float(blank.argmin() / len(blank)) if not blank.all() else 1.0


def _peak(picture: NDArray[Any]) -> NDArray[Any]:
    """Return each pixel's brightest channel, (rows, cols)."""
    return picture if picture.ndim == 2 else np.asarray(picture.max(axis=2))


def _grey(picture: NDArray[Any], halvings: int) -> NDArray[Any]:
    """Return a whole picture as grey values of 8 bits' range, halved so many times."""
    small = cv2.resize(picture, None, fx=0.5**halvings, fy=0.5**halvings)
    grey = np.asarray(small, np.float32)
    if grey.ndim == 3:
        grey = np.asarray(grey.mean(axis=2))
    return grey / np.float32(256 if picture.dtype == np.uint16 else 1)


def _with_bands(capture: Capture, tags: Tags, bands: BandTags) -> Capture:
    """Return the capture with what its file says of camera body, bands and exposure."""
    name = capture.name.rpartition("/")[2].casefold()
    panel = bands.panel is not None or (
        bands.family is Family.SENTERA and name.startswith(SENTERA_PANEL)
    )
    make, model = bands.make, bands.model
    if model.casefold().startswith(make.casefold()):
        make = ""
    body = " ".join(filter(None, (make, model)))
    serial = tags.xmp_text("DroneSerialNumber") or bands.serial
    return replace(
        capture,
        band=bands.band,
        kind=CaptureKind.PANEL if panel else CaptureKind.SURVEY,
        body=f"{body} / {serial}" if serial else body,
        firmware=bands.firmware,
        capture_id=bands.capture_id,
        flight_id=bands.flight_id,
        exposure_s=bands.exposure_s,
        gain=bands.gain,
    )


def _problems(capture: Capture) -> list[str]:
    """Name what a photograph says of time and height that cannot be true."""
    found = []
    height_m, moment = capture.height_m, capture.time_utc
    if height_m is not None and not HEIGHTS_M[0] <= height_m <= HEIGHTS_M[1]:
        found.append(f"height {height_m:.0f} m")
    if moment is not None and moment > datetime.now(UTC) + CLOCK_SLACK:
        found.append(f"taken on {moment:%Y-%m-%d}, which is still to come")
    return found


def _with_tags(capture: Capture, tags: Tags) -> Capture:
    """Return the capture with size, position, time and attitude as the tags give them."""
    position = read_position(tags)
    time_utc, evidence = read_time(tags, position.longitude_deg)
    yaw, pitch, roll = read_attitude(tags)
    return replace(
        capture,
        width_px=tags.width_px,
        height_px=tags.height_px,
        time_utc=time_utc,
        time_evidence=evidence,
        **asdict(position),
        gimbal_yaw_deg=yaw,
        gimbal_pitch_deg=pitch,
        gimbal_roll_deg=roll,
    )


def read_attitude(tags: Tags) -> tuple[float | None, float | None, float | None]:
    """Return yaw, pitch and roll of the camera in degrees, pitch -90 looking down.

    Pix4D's ``Camera:Pitch`` counts from nadir.  Some makers write angles from the horizon under
    that name, so only values within 45° of nadir are believed.  Of angles beyond a full turn none
    is.
    """
    angles = [tags.xmp_number(f"Gimbal{axis}Degree") for axis in ("Yaw", "Pitch", "Roll")]
    if None in angles:
        angles = [tags.xmp_number(f"Camera{axis}Degree") for axis in ("Yaw", "Pitch", "Roll")]
    known = [angle for angle in angles if angle is not None]
    if len(known) == 3:
        turned = any(abs(angle) > 360 for angle in known)
        return (None, None, None) if turned else (known[0], known[1], known[2])
    yaw, pitch, roll = (
        tags.xmp_number(axis, namespace="pix4d") for axis in ("Yaw", "Pitch", "Roll")
    )
    if yaw is None or pitch is None or roll is None or abs(pitch) > 45:
        return None, None, None
    return yaw, pitch - 90, roll
