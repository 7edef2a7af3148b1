"""Match all proposed pairs and keep the matches that one motion of the camera explains.

COLMAP is given *ideal* keypoints: freed of the distortion that is known beforehand and scaled
to a common size, so that its thresholds mean the same for every camera.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2  # noqa: F401  before pycolmap, whose zlib would otherwise serve OpenCV's PNG writer
import numpy as np
import pycolmap
from numpy.typing import NDArray

from photogrammetry.features import Features, features_path, read_features
from photogrammetry.matching import Matches, MatchOptions, match_features
from photogrammetry.pairs import Pair
from tmp.cameras import Camera
from tmp.captures import Capture
from tmp.files import replacing
from tmp.parallel import map_threads
from tmp.progress import Track, silent

log = logging.getLogger(__name__)
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


def match_all(
    pairs: Sequence[Pair],
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera],
    folders: tuple[Path, Path],
    *,
    options: tuple[MatchOptions, VerifyOptions],
    workers: int,
    track: Track = silent,
) -> list[VerifiedPair]:
    """Match and verify pairs of photographs, remembering what is done.

    Parameters
    ----------
    folders : tuple of Path
        Where the keypoints are, and where the matches are kept, one file for the pairs of each
        first photograph.
    """
    features_dir, matches_dir = folders

    @lru_cache(maxsize=64)
    def load(index: int) -> tuple[Features, Float]:
        capture = captures[index]
        features = read_features(features_path(features_dir, capture.name))
        return features, ideal_keypoints(cameras[capture.camera_id], features.xy_px)

    def match_one(group: list[Pair]) -> list[VerifiedPair]:
        first = group[0].first
        wanted = [captures[pair.second].name for pair in group]
        path = matches_dir / f"{captures[first].name}.npz"
        if (stored := read_matches(path, group, wanted)) is not None:
            return stored
        verified = []
        for pair in group:
            (a, xy_a), (b, xy_b) = load(pair.first), load(pair.second)
            matches = match_features(a, b, options[0], expected=bool(pair.overlap))
            ideals = tuple(
                ideal_camera(cameras[captures[i].camera_id]) for i in (pair.first, pair.second)
            )
            found = verify_pair(pair, (ideals[0], ideals[1]), (xy_a, xy_b), matches, options[1])
            if found is not None:
                verified.append(found)
        write_matches(path, verified, wanted, captures)
        return verified

    groups = [list(g) for _, g in itertools.groupby(sorted(pairs), key=lambda pair: pair.first)]
    done = map_threads(match_one, groups, workers=workers)
    found = [v for _, vs in track(done, "Matching photographs", len(groups)) for v in vs]
    log.info("matches: %d of %d pairs verified", len(found), len(pairs))
    return sorted(found, key=lambda v: (v.first, v.second))


def _fingerprint(wanted: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(wanted).encode()).hexdigest()


def write_matches(
    path: Path,
    verified: Sequence[VerifiedPair],
    wanted: Sequence[str],
    captures: Sequence[Capture],
) -> None:
    """Write the verified pairs of one first photograph, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        np.savez(
            partial,
            wanted=np.array(_fingerprint(wanted)),
            second=np.array([captures[v.second].name for v in verified], str),
            configuration=np.array([v.configuration for v in verified], int),
            matrices=np.array([v.matrices for v in verified]).reshape(-1, 3, 3, 3),
            counts=np.array([len(v.inliers) for v in verified], int),
            inliers=np.concatenate([np.zeros((0, 2), np.uint32), *(v.inliers for v in verified)]),
        )


def read_matches(
    path: Path, group: Sequence[Pair], wanted: Sequence[str]
) -> list[VerifiedPair] | None:
    """Read what `write_matches` wrote; None if it is not there or answers another question."""
    if not path.exists():
        return None
    index = {name: pair.second for name, pair in zip(wanted, group, strict=True)}
    with np.load(path) as stored:
        if str(stored["wanted"]) != _fingerprint(wanted):
            return None
        parts = np.split(stored["inliers"], np.cumsum(stored["counts"])[:-1])
        return [
            VerifiedPair(
                first=group[0].first,
                second=index[str(name)],
                configuration=int(configuration),
                matrices=matrices,
                inliers=inliers,
            )
            for name, configuration, matrices, inliers in zip(
                stored["second"], stored["configuration"], stored["matrices"], parts, strict=False
            )
        ]
