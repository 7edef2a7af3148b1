"""How high, how far apart and how fast to fly for the detail and overlap asked.

Between the lowest and the highest clearance above the ground, overlap binds at the lowest, where
footprints are smallest, and ground sample distance at the highest.  Cameras released together
each set their own bounds: lines and photographs follow the tighter footprint, height and blur the
coarser pixels, which are those asked for, the speed the slower shutter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from flightplan.equipment.catalogue import CameraModel
from tmp.errors import InputError

EXPOSURE_S = 1 / 800
"""What a camera needs on an overcast day."""
ASKED_SPEED = "--speed"
"""Limit of the speed where it was asked for."""
SPEEDS_M_S = (0.5, 30.0)
"""Slowest and fastest that can be meant."""
EXPOSURES_S = (1 / 32_000, 1 / 50)
LEAST_HEIGHT_M = 10.0
"""Lower than this above the ground, rotor wash, obstacles and height errors spoil a survey."""
KEEPS_UP = 0.95
"""Of the speed at which the shutter just keeps up: a slow card or a gust from behind takes the
rest."""
HORIZON_DEG = 80.0
"""Rays flatter than this from the vertical do not count as seeing the ground."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How far neighbouring photographs overlap, as fractions of the footprint."""

    front: float = 0.78
    side: float = 0.66

    def __post_init__(self) -> None:
        for name, value in (("frontlap", self.front), ("sidelap", self.side)):
            if not 0 <= value < 1:
                raise InputError(f"{name} {value!r} is not a fraction; give 0 up to below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a survey is asked for; give a GSD or a height, not both."""

    overlap: Overlap
    gsd_m: float | None = None
    """Nowhere coarser than this."""
    height_agl_m: float | None = None
    """Height above the ground aimed at."""
    below_m: float = 0.0
    """How much nearer to the ground than aimed the drone may come."""
    above_m: float = 0.0
    """How much farther from it."""
    pitch_deg: float = -90.0
    """Of the camera; -90 looks straight down."""
    raw: bool = False
    """Whether raw files are written, which takes longer."""
    exposure_s: float = EXPOSURE_S
    """Assumed time of exposure."""
    blur_px: float = 0.5
    """How far a point may move over the picture of the coarsest camera during exposure."""
    speed_m_s: float = math.inf
    """Faster than this not to fly, whatever is possible."""
    least_height_m: float = LEAST_HEIGHT_M
    """Clearance below which not to go."""

    def __post_init__(self) -> None:
        if (self.gsd_m is None) == (self.height_agl_m is None):
            raise InputError("give either a ground sample distance or a height above ground")
        for name in ("gsd_m", "height_agl_m", "exposure_s", "blur_px", "least_height_m"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} {value!r} is not positive")
        if not (0 <= self.below_m < math.inf and 0 <= self.above_m < math.inf):
            raise InputError(f"height band -{self.below_m!r} +{self.above_m!r} m is not a band")
        if not -90 <= self.pitch_deg < 0:
            raise InputError(
                f"camera pitch {self.pitch_deg!r}° does not look down; give -90 up to below 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """The ground that one photograph covers for sure, from one metre above level ground."""

    across: float
    """Width at the near edge, which is the narrowest."""
    along: float
    """Twice the way from the near edge to the middle of the picture: all of it looking straight
    down, less than all of it looking ahead."""
    near: float
    """Depth of the near edge along the optical axis; times 1 / f_px, its ground sample distance."""
    distance: float
    """Depth of the middle of the picture, which is its distance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSpacing:
    """What a plan means for one of its cameras."""

    camera: str
    gsd_m: float
    """In the middle of the picture at the height aimed at."""
    coarsest_gsd_m: float
    """At the highest clearance."""
    footprint_m: tuple[float, float]
    """Across and along the flight at the height aimed at."""
    frontlap: float
    """At the lowest clearance, as a fraction."""
    sidelap: float
    speed_by_interval_m_s: float
    """Highest at which the shutter keeps up, with a little to spare."""
    blur_px_per_m_s: float
    """Way of a point over the picture during exposure for each m/s, at the lowest clearance."""
    rolling_px_per_m_s: float
    """Shift between first and last row for each m/s; NaN where the readout is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spacing:
    """Height, distances and speed of a survey."""

    height_agl_m: float
    """Aimed at."""
    lowest_m: float
    highest_m: float
    line_m: float
    """Between flight lines."""
    photo_m: float
    """Between photographs of a line."""
    speed_m_s: float
    """Highest allowed."""
    speed_limit: str
    """What sets it, in words."""
    exposure_s: float
    """For which blur was reckoned."""
    cameras: tuple[CameraSpacing, ...]


def footprint(camera: CameraModel, *, pitch_deg: float = -90.0) -> Footprint:
    """Return a camera's footprint from one metre above level ground, looking down or ahead.

    Raises
    ------
    InputError
        If the picture would show the horizon.

    Notes
    -----
    A ray at image coordinate v below the middle, of an axis tilted by τ from the vertical, meets
    the ground at depth ``z = h / (cos τ + (v / f) sin τ)`` along the axis; a row there is
    ``z · width / f`` long.
    """
    tilt = math.radians(pitch_deg + 90.0)
    half = math.atan(0.5 * camera.height_px / camera.f_px)
    if math.degrees(tilt + half) > HORIZON_DEG:
        raise InputError(
            f"camera {camera.key!r} at pitch {pitch_deg:g}° sees up to "
            f"{math.degrees(tilt + half):.0f}° from the vertical, too near the horizon; "
            f"look down to {math.degrees(math.radians(HORIZON_DEG) - half) - 90:.0f}° or more"
        )
    near_depth = 1 / (math.cos(tilt) + math.tan(half) * math.sin(tilt))
    return Footprint(
        across=camera.width_px / camera.f_px * near_depth,
        along=2 * (math.tan(tilt) - math.tan(tilt - half)),
        near=near_depth,
        distance=1 / math.cos(tilt),
    )


def choose_spacing(
    cameras: Sequence[CameraModel], wanted: Wanted, *, max_speed_m_s: float = math.inf
) -> Spacing:
    """Return height, line and photograph spacing and speed for cameras released together.

    Raises
    ------
    InputError
        If the detail asked for needs less than the least height above ground, or the picture
        would show the horizon.
    """
    if not cameras:
        raise InputError("no camera to plan for; name one with --camera")
    prints = [footprint(camera, pitch_deg=wanted.pitch_deg) for camera in cameras]
    height_m = _height(cameras, prints, wanted)
    lowest_m, highest_m = height_m - wanted.below_m, height_m + wanted.above_m
    line_m = (1 - wanted.overlap.side) * lowest_m * min(p.across for p in prints)
    photo_m = (1 - wanted.overlap.front) * lowest_m * min(p.along for p in prints)
    single = []
    limits = [(max_speed_m_s, "the drone"), (wanted.speed_m_s, ASKED_SPEED)]
    for camera, seen in zip(cameras, prints, strict=True):
        pixel_m = lowest_m * seen.near / camera.f_px
        interval_s = camera.interval_s(raw=wanted.raw)
        single.append(
            CameraSpacing(
                camera=camera.key,
                gsd_m=height_m * seen.distance / camera.f_px,
                coarsest_gsd_m=highest_m * seen.distance / camera.f_px,
                footprint_m=(height_m * seen.across, height_m * seen.along),
                frontlap=1 - photo_m / (lowest_m * seen.along),
                sidelap=1 - line_m / (lowest_m * seen.across),
                speed_by_interval_m_s=KEEPS_UP * photo_m / interval_s,
                blur_px_per_m_s=wanted.exposure_s / pixel_m,
                rolling_px_per_m_s=camera.readout_s / pixel_m,
            )
        )
        interval = f"{interval_s:g} s between photographs"
        limits.append((single[-1].speed_by_interval_m_s, interval))
    coarsest = min(one.blur_px_per_m_s for one in single)
    limits.append((wanted.blur_px / coarsest, f"blur in {exposure_text(wanted.exposure_s)}"))
    speed_m_s, speed_limit = min(limits)
    return Spacing(
        height_agl_m=height_m,
        lowest_m=lowest_m,
        highest_m=highest_m,
        line_m=line_m,
        photo_m=photo_m,
        speed_m_s=speed_m_s,
        speed_limit=speed_limit,
        exposure_s=wanted.exposure_s,
        cameras=tuple(single),
    )


def _height(cameras: Sequence[CameraModel], prints: Sequence[Footprint], wanted: Wanted) -> float:
    """Return the height to aim at, and refuse one that comes too near the ground."""
    per_gsd = [camera.f_px / seen.distance for camera, seen in zip(cameras, prints, strict=True)]
    coarsest = per_gsd.index(min(per_gsd))
    if wanted.gsd_m is not None:
        height_m = wanted.gsd_m * per_gsd[coarsest] - wanted.above_m
    else:
        height_m = wanted.height_agl_m or 0.0
    if height_m - wanted.below_m >= wanted.least_height_m:
        return height_m
    band_m = wanted.least_height_m + wanted.below_m
    if wanted.gsd_m is None:
        raise InputError(
            f"height {height_m:g} m above ground less {wanted.below_m:g} m comes nearer than "
            f"{wanted.least_height_m:g} m; fly at {band_m:g} m or more"
        )
    best_m = (band_m + wanted.above_m) / per_gsd[coarsest]
    raise InputError(
        f"GSD {wanted.gsd_m * 100:.3g} cm would take {cameras[coarsest].key!r} to "
        f"{height_m - wanted.below_m:.1f} m above ground, and {wanted.least_height_m:g} m is the "
        f"least; ask for {math.ceil(best_m * 1e4 - 1e-9) / 100:g} cm or more"
    )


def exposure_text(exposure_s: float) -> str:
    """Return a time of exposure in words.

    Examples
    --------
    >>> exposure_text(1 / 800)
    '1/800 s of exposure'
    """
    return f"1/{1 / exposure_s:.0f} s of exposure"


def exposure_from_text(text: str, name: str = "exposure") -> float:
    """Return a time of exposure in seconds, from one over a number such as 1/2000.

    Raises
    ------
    InputError
        If it is none, or cannot be meant.
    """
    found = re.fullmatch(r"\s*1\s*/\s*([0-9]+)\s*s?\s*", text)
    least_s, most_s = EXPOSURES_S
    if not found or not least_s <= 1 / max(int(found[1]), 1) <= most_s:
        raise InputError(
            f"{name} {text!r} is no time of exposure; give one over a number, such as 1/2000, "
            f"from 1/{1 / most_s:.0f} to 1/{1 / least_s:.0f}"
        )
    return 1 / int(found[1])


def speed_from_text(text: str, name: str = "speed") -> float:
    """Return a speed in m/s, from a number with its unit: m/s, km/h or kn.

    Raises
    ------
    InputError
        If it is not a number with a unit, or cannot be meant.

    Examples
    --------
    >>> speed_from_text("6m/s"), speed_from_text("18 km/h")
    (6.0, 5.0)
    """
    units = {"m/s": 1.0, "km/h": 1 / 3.6, "kn": 0.514444}
    found = re.fullmatch(r"\s*([0-9]*[.,]?[0-9]+)\s*(m/s|km/h|kn)\s*", text)
    if not found:
        raise InputError(f"{name} {text!r} needs a number and a unit, such as 6m/s or 20km/h")
    speed_m_s = round(float(found[1].replace(",", ".")) * units[found[2]], 9)
    slowest, fastest = SPEEDS_M_S
    if not slowest <= speed_m_s <= fastest:
        raise InputError(f"{name} {text!r} cannot be meant; give {slowest:g} to {fastest:g} m/s")
    return speed_m_s


def overlap_from_text(text: str, name: str = "overlap") -> float:
    """Return an overlap as a fraction, from what a person writes.

    With a sign, per cent; without one, a fraction below 1 and per cent from 2 up.  Between lies
    what could be either.

    Raises
    ------
    InputError
        If it is not a number, is negative, is 100 % or more, or could be either.

    Examples
    --------
    >>> overlap_from_text("80"), overlap_from_text("0.8"), overlap_from_text("0.8 %")
    (0.8, 0.8, 0.008)
    """
    found = re.fullmatch(r"\s*([-+]?[0-9]*[.,]?[0-9]+)\s*(%?)\s*", text)
    if not found:
        raise InputError(f"{name} {text!r} is not a number; give per cent, such as 80")
    value, percent = float(found[1].replace(",", ".")), bool(found[2])
    if not percent and 1 <= value < 2:
        raise InputError(
            f"{name} {text!r} may be {value:g} % or all; write {value:g}% with its sign, "
            "or a fraction below 1"
        )
    fraction = value if not percent and value < 1 else value / 100
    if fraction < 0:
        raise InputError(f"{name} {text!r} is negative; give 0 to 95 %")
    if fraction >= 1:
        raise InputError(
            f"{name} {text!r} would need all photographs in one place; give less than 100 %"
        )
    return fraction


def length_from_text(text: str, name: str = "length") -> float:
    """Return a length in metres, from a number with its unit: mm, cm, m, km or ft.

    Raises
    ------
    InputError
        If it is not a number with a unit, or not positive.

    Examples
    --------
    >>> length_from_text("2.5cm"), length_from_text("120 m"), length_from_text("400ft")
    (0.025, 120.0, 121.92)
    """
    units = {"mm": 0.001, "cm": 0.01, "m": 1.0, "km": 1000.0, "ft": 0.3048}
    found = re.fullmatch(r"\s*([0-9]*[.,]?[0-9]+)\s*(mm|cm|km|m|ft)\s*(?:/\s*px)?\s*", text)
    if not found:
        raise InputError(f"{name} {text!r} needs a number and a unit, such as 2.5cm or 60m")
    value_m = float(found[1].replace(",", ".")) * units[found[2]]
    if value_m <= 0:
        raise InputError(f"{name} {text!r} is not positive")
    return round(value_m, 9)
