"""Read one photograph: from the bytes of its file to what the survey knows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from ingest.bandtags import band_tags
from ingest.cameras import propose_camera
from ingest.declared import Declaration
from ingest.position import read_position
from ingest.quality import measure_picture, why_unreadable
from ingest.tags import Tags, read_tags
from ingest.times import read_time
from tmp.bands import BandTags, Family
from tmp.cameras import Camera
from tmp.captures import Capture, CaptureKind, Flag

HEIGHTS_M = (-500.0, 9000.0)
"""Heights that a drone can photograph from."""
CLOCK_SLACK = timedelta(days=2)
"""A photograph dated farther in the future has a wrong date."""
SENTERA_PANEL = "cal_"
"""Sentera's cameras name pictures of the panel so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a photograph's file says, and the camera that took it; None if it is unreadable."""

    capture: Capture
    camera: Camera | None


def read_photograph(
    data: bytes, capture: Capture, declarations: Sequence[Declaration] = ()
) -> Reading:
    """Fill in all that a file says of itself.

    Parameters
    ----------
    data : bytes
        The whole file.
    capture : Capture
        With name, source, digest and size; the rest is set.
    declarations : sequence of Declaration
        What a person wrote in ``cameras.toml``.
    """
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
    if picture is None:
        reason = problem or "the picture does not decode"
        return Reading(
            capture=replace(capture, flags=(Flag.UNREADABLE,), reason=reason), camera=None
        )
    camera = propose_camera(tags)
    capture = replace(
        capture,
        camera_id=camera.camera_id,
        sharpness=round(picture.sharpness, 1),
        clipped_share=round(picture.clipped_share, 4),
        brightness=round(picture.brightness, 4),
        problems="; ".join((*bands.problems, *_problems(capture))),
    )
    return Reading(capture=capture, camera=camera)


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
        longitude_deg=position.longitude_deg,
        latitude_deg=position.latitude_deg,
        height_m=position.height_m,
        height_datum=position.height_datum,
        sigma_horizontal_m=position.sigma_horizontal_m,
        sigma_vertical_m=position.sigma_vertical_m,
        position_source=position.source,
        height_takeoff_m=position.height_takeoff_m,
        gimbal_yaw_deg=yaw,
        gimbal_pitch_deg=pitch,
        gimbal_roll_deg=roll,
    )


def read_attitude(tags: Tags) -> tuple[float | None, float | None, float | None]:
    """Return yaw, pitch and roll of the camera in degrees, pitch -90 looking down.

    Notes
    -----
    Pix4D's ``Camera:Pitch`` counts from nadir.  Some makers write angles from the horizon under
    that name, so only values within 45° of nadir are believed.
    """
    angles = [tags.xmp_number(f"Gimbal{axis}Degree") for axis in ("Yaw", "Pitch", "Roll")]
    if None in angles:
        angles = [tags.xmp_number(f"Camera{axis}Degree") for axis in ("Yaw", "Pitch", "Roll")]
    if None not in angles:
        return angles[0], angles[1], angles[2]
    yaw, pitch, roll = (
        tags.xmp_number(axis, namespace="pix4d") for axis in ("Yaw", "Pitch", "Roll")
    )
    if yaw is None or pitch is None or roll is None or abs(pitch) > 45:
        return None, None, None
    return yaw, pitch - 90, roll
