"""Interior and exterior orientation: pinhole with Brown distortion, and poses.

``cam`` is x right, y down, z forward.  Image coordinates have the *corner* of the first pixel at
(0, 0), so the centre of pixel (row, column) is at (column + 0.5, row + 0.5), as in COLMAP and
GDAL.  OpenCV puts its origin at the first pixel's centre: subtract 0.5 when calling it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tmp.errors import LARGEST, InputError, require_range

Float = NDArray[np.float64]
MOST_PX = 200_000
"""Side of a picture; ten times that of the largest sensor there is."""
MOST_FOCAL_PX = 1e7
MOST_FOCAL_SIGMA = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Interior orientation of one camera, with where it comes from and how firm it is.

    References
    ----------
    Brown, D. C. (1971). Close-range camera calibration. Photogrammetric Engineering 37(8).
    The parametrisation is OpenCV's and COLMAP's: k multiply powers of the squared radius in
    normalised coordinates, p1 and p2 are tangential.
    """

    camera_id: str
    """Make, model, size and lens in one word; the key in survey.toml."""
    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    """Principal point, corner origin."""
    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    k3: float = 0.0
    focal_sigma: float = 0.02
    """Standard deviation of the focal length as a fraction of it."""
    distortion_known: bool = False
    """Whether k and p come from a calibration, and are not just zero for want of one."""
    source: str = "given"
    """Evidence in words: "dewarp data", "sensor table", "EXIF focal plane", ..."""

    def __post_init__(self) -> None:
        try:
            require_range(self, "width_px", "height_px", least=1, most=MOST_PX)
            require_range(self, "fx_px", "fy_px", above=0, most=MOST_FOCAL_PX)
            require_range(self, "cx_px", "cy_px", least=-MOST_FOCAL_PX, most=MOST_FOCAL_PX)
            require_range(self, "k1", "k2", "p1", "p2", "k3", least=-LARGEST)
            require_range(self, "focal_sigma", above=0, most=MOST_FOCAL_SIGMA)
        except InputError as error:
            raise InputError(f"camera {self.camera_id!r}: {error}") from error

    @property
    def distortion(self) -> Float:
        """``(k1, k2, p1, p2, k3)``, in OpenCV's order."""
        return np.array([self.k1, self.k2, self.p1, self.p2, self.k3])

    def pixel_from_cam(self, points: ArrayLike) -> Float:
        """Project camera coordinates (N, 3) to image coordinates (N, 2); NaN behind the camera."""
        x, y, z = np.atleast_2d(np.asarray(points, float)).T
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = np.where(z > 0, x / z, np.nan), np.where(z > 0, y / z, np.nan)
        u, v = distort(u, v, self.distortion)
        return np.column_stack([self.fx_px * u + self.cx_px, self.fy_px * v + self.cy_px])

    def ray_from_pixel(self, pixels: ArrayLike) -> Float:
        """Return rays (N, 3) with z = 1 through image coordinates (N, 2).

        Solved by fixed-point iteration, as OpenCV does; converges for the distortion of ordinary
        lenses inside the image, not for fisheyes.
        """
        pixels = np.atleast_2d(np.asarray(pixels, float))
        u0 = (pixels[:, 0] - self.cx_px) / self.fx_px
        v0 = (pixels[:, 1] - self.cy_px) / self.fy_px
        u, v = u0.copy(), v0.copy()
        for _ in range(30):
            du, dv = distort(u, v, self.distortion)
            u, v = u + (u0 - du), v + (v0 - dv)
        return np.column_stack([u, v, np.ones_like(u)])

    def scaled(self, width_px: int, height_px: int) -> Camera:
        """Return this camera for the same picture resampled to another size."""
        sx, sy = width_px / self.width_px, height_px / self.height_px
        return replace(
            self,
            width_px=width_px,
            height_px=height_px,
            fx_px=self.fx_px * sx,
            fy_px=self.fy_px * sy,
            cx_px=self.cx_px * sx,
            cy_px=self.cy_px * sy,
        )


def distort(u: Float, v: Float, distortion: ArrayLike) -> tuple[Float, Float]:
    """Apply Brown's distortion ``(k1, k2, p1, p2, k3)`` to normalised coordinates."""
    k1, k2, p1, p2, k3 = np.asarray(distortion, float)
    r2 = u * u + v * v
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return (
        u * radial + 2 * p1 * u * v + p2 * (r2 + 2 * u * u),
        v * radial + p1 * (r2 + 2 * v * v) + 2 * p2 * u * v,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Exterior orientation: ``cam = rotation @ world + translation``."""

    rotation: Float
    """cam_from_world rotation, (3, 3)."""
    translation: Float
    """cam_from_world translation in metres, (3,)."""

    @property
    def centre(self) -> Float:
        """Projection centre in world coordinates, (3,)."""
        return np.asarray(-self.rotation.T @ self.translation)

    def cam_from_world(self, points: ArrayLike) -> Float:
        """Transform world coordinates (N, 3) to camera coordinates (N, 3)."""
        return np.asarray(np.atleast_2d(np.asarray(points, float)) @ self.rotation.T) + (
            self.translation
        )

    @classmethod
    def from_centre(cls, rotation: Float, centre: ArrayLike) -> Pose:
        """Build a pose from its cam_from_world rotation (3, 3) and projection centre (3,)."""
        rotation = np.asarray(rotation, float)
        return cls(rotation=rotation, translation=-rotation @ np.asarray(centre, float))

    @classmethod
    def from_gimbal(
        cls, yaw_deg: float, pitch_deg: float, roll_deg: float, centre: ArrayLike
    ) -> Pose:
        """Build a pose from gimbal angles as DJI writes them, and a projection centre (3,), world.

        Yaw is the heading of the optical axis, clockwise from north; pitch -90 looks straight down,
        0 at the horizon; a positive roll tilts the right edge of the picture down.

        At pitch -90 the top of the picture points along the heading.
        """
        yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
        forward = np.array(
            [np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)]
        )
        right = np.array([np.cos(yaw), -np.sin(yaw), 0.0])
        down = np.cross(forward, right)
        right, down = (
            np.cos(roll) * right + np.sin(roll) * down,
            np.cos(roll) * down - np.sin(roll) * right,
        )
        return cls.from_centre(np.vstack([right, down, forward]), centre)
