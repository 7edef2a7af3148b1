"""One photograph as the survey knows it: where, when, by what, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class HeightDatum(StrEnum):
    """What a GNSS height is measured from."""

    ELLIPSOID = "ellipsoid"
    EGM96 = "egm96"
    BAROMETRIC = "barometric"
    UNKNOWN = "unknown"


class Flag(StrEnum):
    """Why a photograph is not used by default, or deserves a second look."""

    UNREADABLE = "unreadable"
    DUPLICATE = "duplicate"
    NO_POSITION = "no position"
    STRAGGLER = "straggler"
    BLURRED = "blurred"


LEAVES_OUT = frozenset({Flag.UNREADABLE, Flag.DUPLICATE, Flag.STRAGGLER})
"""Flags that keep a photograph out of the orientation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One photograph of a survey."""

    name: str
    """Path below the survey's ``photos/``, with forward slashes; the photograph's identity."""
    source: str
    """Path it was ingested from, for the record."""
    sha256: str
    size_bytes: int
    width_px: int
    height_px: int
    camera_id: str
    """Key of its `Camera` in survey.toml; empty for an unreadable file."""
    time_utc: datetime | None = None
    time_evidence: str = ""
    """Which tags gave the time and how its zone was settled."""
    longitude_deg: float | None = None
    latitude_deg: float | None = None
    height_m: float | None = None
    height_datum: HeightDatum = HeightDatum.UNKNOWN
    sigma_horizontal_m: float = 3.0
    """Standard deviation of each horizontal coordinate."""
    sigma_vertical_m: float = 6.0
    position_source: str = ""
    """"EXIF GNSS", "XMP RTK fixed", ..."""
    height_takeoff_m: float | None = None
    """Height above the take-off point, from the autopilot's barometer."""
    gimbal_yaw_deg: float | None = None
    gimbal_pitch_deg: float | None = None
    gimbal_roll_deg: float | None = None
    sharpness: float | None = None
    """Variance of the Laplacian of the half-size grey picture; for comparison within a camera."""
    flags: tuple[Flag, ...] = ()
    reason: str = ""
    """The flags in a sentence with their numbers; empty when there are none."""

    @property
    def positioned(self) -> bool:
        """Tell whether longitude, latitude and height are all known."""
        return None not in (self.longitude_deg, self.latitude_deg, self.height_m)

    @property
    def used(self) -> bool:
        """Tell whether the photograph takes part in the orientation."""
        return not LEAVES_OUT.intersection(self.flags)
