"""Camera stations over a rectangle: parallel lines flown to and fro."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from tmp.cameras import Camera, Pose
from tmp.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """Where a photograph is taken from, and the gimbal's angles there."""

    position: tuple[float, float, float]
    """Projection centre, world (east, north, up in metres)."""
    yaw_deg: float
    """Heading of the picture's top, clockwise from north."""
    pitch_deg: float = -90.0
    roll_deg: float = 0.0

    @property
    def pose(self) -> Pose:
        """The exterior orientation."""
        return Pose.from_gimbal(self.yaw_deg, self.pitch_deg, self.roll_deg, self.position)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How far neighbouring photographs overlap, as fractions of the footprint."""

    front: float = 0.78
    side: float = 0.66

    def __post_init__(self) -> None:
        for name, value in (("frontlap", self.front), ("sidelap", self.side)):
            if not 0 <= value < 1:
                raise InputError(f"{name} {value!r} is not a fraction; give 0 up to below 1")


def fly_lines(
    size_m: tuple[float, float],
    camera: Camera,
    height_agl_m: float,
    *,
    heading_deg: float,
    overlap: Overlap | None = None,
    pitch_deg: float = -90.0,
    inset: float = 0.15,
) -> list[Station]:
    """Return the stations of parallel lines over a rectangle about the world's origin.

    Parameters
    ----------
    size_m : tuple of 2 floats
        East-west and north-south extent of the area.
    height_agl_m : float
        Height of the camera above the origin; the ground is taken to be level.
    heading_deg : float
        0 flies lines north and south, 90 east and west.
    pitch_deg : float
        -90 looks down; otherwise each line looks ahead along its direction of flight.
    inset : float
        How far inside the area the outermost stations lie, as a fraction of the footprint.

    Raises
    ------
    InputError
        If an overlap is not a fraction, or the height is not positive.
    """
    if height_agl_m <= 0:
        raise InputError(f"flying height {height_agl_m!r} m is not above the ground")
    overlap = overlap or Overlap()
    heading = math.radians(heading_deg)
    along = np.array([math.sin(heading), math.cos(heading)])
    across = np.array([along[1], -along[0]])
    footprint = (
        np.array([camera.height_px / camera.fy_px, camera.width_px / camera.fx_px]) * height_agl_m
    )
    extent = np.abs(np.array([along, across])) @ np.array(size_m) - 2 * inset * footprint
    extent = np.maximum(extent, 0.0)
    photos, lines = (
        math.ceil(length / ((1 - lap) * print_m) - 1e-9) + 1
        for length, lap, print_m in zip(
            extent, (overlap.front, overlap.side), footprint, strict=True
        )
    )
    stations = []
    for number, side in enumerate(np.linspace(-0.5, 0.5, lines) * extent[1]):
        backwards = number % 2 == 1
        ways = np.linspace(-0.5, 0.5, photos) * extent[0]
        # An oblique camera sees the area from behind it.
        set_back = height_agl_m / math.tan(math.radians(-pitch_deg)) if pitch_deg > -89 else 0.0
        for way in -ways if backwards else ways:
            offset = (way + (set_back if backwards else -set_back)) * along + side * across
            stations.append(
                Station(
                    position=(float(offset[0]), float(offset[1]), height_agl_m),
                    yaw_deg=(heading_deg + 180.0 * backwards) % 360.0,
                    pitch_deg=pitch_deg,
                )
            )
    return stations


def flown(
    stations: Iterable[Station],
    rng: np.random.Generator,
    *,
    position_sigma_m: float = 0.35,
    angle_sigma_deg: float = 0.8,
) -> list[Station]:
    """Return the stations as wind and gimbal leave them."""
    return [
        replace(
            station,
            position=tuple(np.add(station.position, rng.normal(0, position_sigma_m, 3)).tolist()),
            yaw_deg=station.yaw_deg + float(rng.normal(0, 2 * angle_sigma_deg)),
            pitch_deg=station.pitch_deg + float(rng.normal(0, angle_sigma_deg)),
            roll_deg=station.roll_deg + float(rng.normal(0, angle_sigma_deg)),
        )
        for station in stations
    ]
