"""Oriented photographs and tie points, as they pass from orientation to the products."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmp.cameras import Camera, Pose
from tmp.frames import LocalFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class OrientedPhoto:
    """One photograph with its exterior orientation."""

    name: str
    """As in `tmp.captures.Capture.name`."""
    camera_id: str
    pose: Pose
    gnss_residual_m: tuple[float, float, float] | None = None
    """Adjusted minus recorded projection centre, east, north, up; None without a position."""
    observations: int = 0
    """Tie point observations in this photograph."""
    mean_residual_px: float = float("nan")
    """Mean reprojection residual of those observations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerticalScale:
    """How firmly the block itself fixes its vertical scale.

    The block is solved again with the focal length held at 0.95 and 1.05 of its value; where the
    residual hardly moves but the height above ground does, the scale rests on the metadata.
    """

    focal_factors: tuple[float, ...]
    mean_residual_px: tuple[float, ...]
    """Mean reprojection residual at each factor."""
    height_agl_m: tuple[float, ...]
    """Median height of the cameras above the tie points at each factor."""
    sigma_scale: float
    """Standard deviation of the vertical scale as a fraction, from residuals and priors."""
    weak: bool
    """Whether the block alone leaves the scale looser than 1 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """The result of orientation; world coordinates are those of ``frame``."""

    frame: LocalFrame
    cameras: dict[str, Camera]
    """Adjusted interior orientation by camera id."""
    priors: dict[str, Camera]
    """Interior orientation as it came from the metadata."""
    photos: tuple[OrientedPhoto, ...]
    left_out: dict[str, str]
    """Photographs that could not be oriented, with the reason in words."""
    points: NDArray[np.float64]
    """Tie points, world, (N, 3)."""
    point_views: NDArray[np.int32]
    """Number of photographs that see each tie point, (N,)."""
    point_residuals_px: NDArray[np.float32]
    """Mean reprojection residual of each tie point, (N,)."""
    vertical_scale: VerticalScale | None = None
    warnings: tuple[str, ...] = ()
    """In plain words, for the report."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Further numbers for the report, JSON-able: pairs matched, verified, inliers, ..."""
