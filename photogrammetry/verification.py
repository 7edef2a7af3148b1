"""Keep the matches of two photographs that one motion of the camera explains.

COLMAP is given *ideal* keypoints: freed of the distortion that is known beforehand and scaled
to a common size, so that its thresholds mean the same for every camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2  # noqa: F401  before pycolmap, whose zlib would otherwise serve OpenCV's PNG writer
import numpy as np
import pycolmap
from numpy.typing import NDArray

from photogrammetry.matching import Matches
from photogrammetry.pairs import Pair
from tmp.cameras import Camera

Float = NDArray[np.float64]

IDEAL_LONG_SIDE_PX = 2000
"""Size of the ideal picture that COLMAP sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """When matches count as explained."""

    max_error_px: float = 4.0
    """Of a match from its epipolar line, in the ideal picture."""
    min_inliers: int = 15
    """Pairs with fewer verified matches are not used."""
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedPair:
    """Matches of two photographs, by index, that agree with one motion of the camera."""

    first: int
    second: int
    configuration: int
    """COLMAP's verdict on the two views: calibrated, planar, ..."""
    matrices: Float
    """Essential, fundamental and homography matrix, (3, 3, 3); zero where there is none."""
    inliers: Matches


def ideal_camera(camera: Camera) -> pycolmap.Camera:
    """Return COLMAP's camera for ideal keypoints: a pinhole with one radial term at zero."""
    scale = IDEAL_LONG_SIDE_PX / max(camera.width_px, camera.height_px)
    width, height = round(camera.width_px * scale), round(camera.height_px * scale)
    return pycolmap.Camera(
        model="SIMPLE_RADIAL",
        width=width,
        height=height,
        params=[np.sqrt(camera.fx_px * camera.fy_px) * scale, width / 2, height / 2, 0.0],
        has_prior_focal_length=True,
    )


def ideal_keypoints(camera: Camera, xy_px: NDArray[np.float32]) -> Float:
    """Return where keypoints (N, 2) would lie in the picture of `ideal_camera`, (N, 2)."""
    ideal = ideal_camera(camera)
    rays = camera.ray_from_pixel(xy_px)[:, :2]
    return np.asarray(rays * ideal.params[0] + ideal.params[1:3])


def verify_pair(
    pair: Pair,
    cameras: tuple[pycolmap.Camera, pycolmap.Camera],
    keypoints: tuple[Float, Float],
    matches: Matches,
    options: VerifyOptions,
) -> VerifiedPair | None:
    """Keep the matches that agree with one relative orientation, or return None.

    Parameters
    ----------
    cameras : tuple of pycolmap.Camera
        Ideal cameras of both photographs.
    keypoints : tuple of ndarray of shape (N, 2)
        Ideal keypoints of both photographs.
    """
    if len(matches) < options.min_inliers:
        return None
    chosen = pycolmap.TwoViewGeometryOptions()
    chosen.min_num_inliers = options.min_inliers
    chosen.ransac.max_error = options.max_error_px
    chosen.ransac.random_seed = options.seed
    chosen.ransac.min_num_trials = 30  # nine in ten matches are right already
    chosen.use_sampson_refinement = False  # only the verdict on each match is kept
    chosen.detect_watermark = False
    geometry = pycolmap.estimate_calibrated_two_view_geometry(
        cameras[0], keypoints[0], cameras[1], keypoints[1], matches, chosen
    )
    if len(geometry.inlier_matches) < options.min_inliers:
        return None
    found = (geometry.E, geometry.F, geometry.H)
    return VerifiedPair(
        first=pair.first,
        second=pair.second,
        configuration=int(geometry.config),
        matrices=np.array([np.zeros((3, 3)) if matrix is None else matrix for matrix in found]),
        inliers=np.asarray(geometry.inlier_matches, np.uint32),
    )
