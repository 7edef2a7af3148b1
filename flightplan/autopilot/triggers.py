"""Where the camera was when a photograph was triggered, as autopilots and cameras report it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flightplan.autopilot.items import UNITS_PER_DEG

MESSAGES = ("CAMERA_FEEDBACK", "CAMERA_IMAGE_CAPTURED")
"""ArduPilot sends the first; PX4, and cameras of their own mind, send the second."""

_EARLIEST = datetime(2010, 1, 1, tzinfo=UTC)
"""Times before this count from when the autopilot was switched on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One photograph, from the message about it."""

    time: datetime
    lon_deg: float
    lat_deg: float
    height_amsl_m: float
    height_takeoff_m: float
    yaw_deg: float
    """Of the camera, clockwise from north; NaN where not told, as the other angles."""
    pitch_deg: float
    """Of the camera, -90 looks down; without a gimbal the autopilot tells its own."""
    roll_deg: float
    camera: int
    index: int
    """Counts the photographs since the autopilot or camera was switched on."""
    message: str
    """Which of `MESSAGES` told it."""


def read_trigger(message: Any, received: datetime) -> Trigger | None:
    """Return the photograph that a message tells of; None if the camera failed to take it.

    Parameters
    ----------
    message : pymavlink message
        One of `MESSAGES`.
    received : datetime
        Stands in for the time in the message where that is missing or no time of day.
    """
    if message.get_type() == "CAMERA_FEEDBACK":
        return Trigger(
            time=_time(message.time_usec, received),
            lon_deg=message.lng / UNITS_PER_DEG,
            lat_deg=message.lat / UNITS_PER_DEG,
            height_amsl_m=message.alt_msl,
            height_takeoff_m=message.alt_rel,
            yaw_deg=message.yaw % 360.0,
            pitch_deg=message.pitch,
            roll_deg=message.roll,
            camera=message.cam_idx,
            index=message.img_idx,
            message=message.get_type(),
        )
    if message.capture_result != 1:
        return None
    yaw_deg, pitch_deg, roll_deg = angles_deg(message.q)
    return Trigger(
        time=_time(message.time_utc, received),
        lon_deg=message.lon / UNITS_PER_DEG,
        lat_deg=message.lat / UNITS_PER_DEG,
        height_amsl_m=message.alt / 1000.0,
        height_takeoff_m=message.relative_alt / 1000.0,
        yaw_deg=yaw_deg,
        pitch_deg=pitch_deg,
        roll_deg=roll_deg,
        camera=message.camera_id,
        index=message.image_index,
        message=message.get_type(),
    )


def angles_deg(quaternion: Sequence[float]) -> tuple[float, float, float]:
    """Return yaw, pitch and roll of a rotation from body to north-east-down.

    Parameters
    ----------
    quaternion : sequence of 4 floats
        w, x, y, z.

    Returns
    -------
    tuple of 3 floats
        Degrees; yaw 0 up to 360.  Looking straight down or up, where yaw and roll turn about one
        axis, all of it is yaw.  NaN for a quaternion that is none.

    Examples
    --------
    >>> angles_deg([0.5, 0.5, -0.5, 0.5])  # down, the top of the picture to the east
    (90.0, -90.0, 0.0)
    """
    w, x, y, z = quaternion
    length = math.sqrt(w * w + x * x + y * y + z * z)
    if not abs(length - 1.0) < 0.01:
        return math.nan, math.nan, math.nan
    w, x, y, z = w / length, x / length, y / length, z / length
    sine = 2 * (w * y - z * x)
    if abs(sine) > 1 - 1e-6:
        pitch_deg = math.copysign(90.0, sine)
        yaw_deg = math.degrees(-2 * math.copysign(1.0, sine) * math.atan2(x, w))
        return round(yaw_deg % 360.0, 6), pitch_deg, 0.0
    yaw_deg = math.degrees(math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))
    roll_deg = math.degrees(math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)))
    return yaw_deg % 360.0, math.degrees(math.asin(sine)), roll_deg


def _time(microseconds: int, received: datetime) -> datetime:
    try:
        told = datetime.fromtimestamp(microseconds / 1e6, UTC)
    except (OverflowError, OSError, ValueError):
        return received
    return told if told >= _EARLIEST else received
