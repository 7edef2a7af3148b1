"""Match the keypoints of two photographs: roughly over the whole, then closely by place.

A thousand keypoints of the largest scale are compared all against all and give the homography
between the two pictures, to a few per cent of their width.  That is enough to say where in the
other picture each of the remaining keypoints must lie, relief included, so that it is compared
with a few hundred neighbours and not with thousands: a twentieth of the arithmetic, and a sharper
ratio test, because the second best candidate is no longer somewhere else altogether.

Of the matches those are kept that one motion of the camera explains.  COLMAP is given *ideal*
keypoints: freed of the distortion that is known beforehand and scaled to a common size, so that
its thresholds mean the same for every camera.

The pairs of one first photograph are kept in one file below ``work/``.  A pair is known by the
content of both photographs' keypoints and by their cameras, so that a photograph more, or another
lens, has only those pairs compared anew that it touches.

References
----------
Lowe (2004), section 7.1 (ratio test).  Hartley, R., Zisserman, A. (2004). Multiple View Geometry
in Computer Vision, chapter 4 (robust estimation of a homography).
"""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.orientation.features import (
    DAMAGE,
    DIGEST,
    Features,
    features_path,
    open_arrays,
    read_features,
    write_arrays,
)
from tmp.cameras import Camera
from tmp.captures import Capture
from tmp.progress import Track, silent
from tmp.threads import keeping_signals, map_threads

with keeping_signals():
    import pycolmap

Float32 = NDArray[np.float32]
Matches = NDArray[np.uint32]
"""Indices into the keypoints of the first and of the second photograph, (M, 2)."""

COARSE_RATIO = 0.85
"""Best distance over second best below which two keypoints of whole photographs are alike."""
ROOT_SIFT_LENGTH = 512.0
"""Length of the vectors in `Features.descriptors`."""

Float = NDArray[np.float64]
IDEAL_LONG_SIDE_PX = 2000
"""Size of the ideal picture that COLMAP sees."""
log = logging.getLogger(__name__)
REMEMBERED = 64
"""Photographs whose keypoints are kept in memory."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Pair:
    """Two photographs worth comparing, by index; ``first < second``."""

    first: int
    second: int
    overlap: float | None = None
    """Predicted common fraction of the smaller footprint; None where it cannot be predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchOptions:
    """When two keypoints are taken for the same point on the ground."""

    coarse_keypoints: int = 1000
    """Keypoints of each photograph, the largest, that are compared all against all."""
    patient_keypoints: int = 2500
    """As many on a second attempt, where the photographs are known to overlap: woods need it."""
    coarse_ratio: float = COARSE_RATIO
    """Best distance over second best, for the coarse comparison."""
    coarse_error: float = 0.03
    """Misfit allowed to the homography, as a fraction of the picture's long side: relief."""
    coarse_inliers: int = 12
    """With fewer than this the photographs are taken not to overlap."""
    ratio: float = 0.8
    """Best distance over second best, among the candidates at the right place."""
    radius: float = 0.07
    """Reach of the search around the predicted place, as a fraction of the long side."""
    cells: int = 10
    """Cells along the long side; the keypoints of one are compared together."""


def match_features(
    first: Features, second: Features, options: MatchOptions, *, expected: bool = False
) -> Matches:
    """Match the keypoints of two photographs.

    Where they are known to overlap a second attempt is worth it. Returns pairs of indices (M, 2),
    each keypoint at most once; none when the photographs seem not to overlap. They still hold
    outliers, which geometric verification must remove.
    """
    none = np.zeros((0, 2), np.uint32)
    if min(len(first.xy_px), len(second.xy_px)) < options.coarse_inliers:
        return none
    homography = estimate_homography(first, second, options)
    if homography is None and expected:
        patient = replace(options, coarse_keypoints=options.patient_keypoints)
        homography = estimate_homography(first, second, patient)
    if homography is None:
        return none
    return _match_nearby(first, second, homography, options)


def count_alike(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> int:
    """Count the descriptors (N, 128) of two photographs that pass ratio and mutual test."""
    if min(len(first), len(second)) < 2:
        return 0
    return int(_mutual(first, second, COARSE_RATIO)[1].sum())


def estimate_homography(
    first: Features, second: Features, options: MatchOptions
) -> NDArray[np.float64] | None:
    """Return the homography (3, 3) from the first picture to the second, or None.

    A plane's homography stands for the ground; what stands on it misses by its parallax.
    """
    n = options.coarse_keypoints
    forward, ok = _mutual(first.descriptors[:n], second.descriptors[:n], options.coarse_ratio)
    if ok.sum() < options.coarse_inliers:
        return None
    limit_px = options.coarse_error * max(second.width_px, second.height_px)
    homography, inlier = cv2.findHomography(
        first.xy_px[:n][ok],
        second.xy_px[:n][forward[ok]],
        cv2.RANSAC,
        limit_px,
        maxIters=3000,
        confidence=0.999,
    )
    if homography is None or inlier.sum() < options.coarse_inliers:
        return None
    return np.asarray(homography, float)


def _match_nearby(
    first: Features, second: Features, homography: NDArray[np.float64], options: MatchOptions
) -> Matches:
    """Match keypoints whose places agree with a homography to within `options.radius`."""
    predicted = _transfer(homography, first.xy_px)
    long_side_px = max(second.width_px, second.height_px)
    cell_px, reach_px = long_side_px / options.cells, options.radius * long_side_px
    size_px = np.array([second.width_px, second.height_px])
    inside = np.all((predicted > -reach_px) & (predicted < size_px + reach_px), axis=1)
    cells = np.floor(predicted / cell_px)
    a, b = _unit(first.descriptors), _unit(second.descriptors)
    best_b = np.full(len(a), -1)
    best_a, best_a_similarity = np.full(len(b), -1), np.full(len(b), -1.0, np.float32)
    for x, y in np.unique(cells[inside], axis=0):
        rows = np.flatnonzero(inside & (cells[:, 0] == x) & (cells[:, 1] == y))
        columns = _within(second.xy_px, (x * cell_px, y * cell_px), cell_px, reach_px)
        if len(columns) < 2:
            continue
        similarity = a[rows] @ b[columns].T
        nearest, ok = _best(similarity, options.ratio)
        best_b[rows[ok]] = columns[nearest[ok]]
        from_b = np.ascontiguousarray(similarity.T).argmax(axis=1)  # along memory: much faster
        value = similarity[from_b, np.arange(len(columns))]
        better = value > best_a_similarity[columns]
        best_a_similarity[columns[better]] = value[better]
        best_a[columns[better]] = rows[from_b[better]]
    matched = np.flatnonzero(best_b >= 0)
    mutual = matched[best_a[best_b[matched]] == matched]
    return np.column_stack([mutual, best_b[mutual]]).astype(np.uint32)


def _within(
    xy: Float32, corner: tuple[float, float], cell_px: float, reach_px: float
) -> NDArray[np.intp]:
    """Return the points (N, 2) no further than `reach_px` outside a square cell."""
    x, y = xy.T
    left, top = corner[0] - reach_px, corner[1] - reach_px
    side_px = cell_px + 2 * reach_px
    return np.flatnonzero((x > left) & (x < left + side_px) & (y > top) & (y < top + side_px))


def _unit(descriptors: NDArray[np.uint8]) -> Float32:
    """Return descriptors as float32 of length one."""
    return np.asarray(descriptors, np.float32) / np.float32(ROOT_SIFT_LENGTH)


def _mutual(
    first: NDArray[np.uint8], second: NDArray[np.uint8], ratio: float
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the second descriptor most like each first, and whether ratio and mutual test hold."""
    similarity = _unit(first) @ _unit(second).T
    forward, ok = _best(similarity, ratio)
    backward, _ = _best(np.ascontiguousarray(similarity.T), 1.0)
    return forward, ok & (backward[forward] == np.arange(len(forward)))


def _best(similarity: Float32, ratio: float) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the most similar column of each row, and whether it passes the ratio test.

    Distances are those of unit vectors, ``d² = 2 - 2 s``.
    """
    rows = np.arange(len(similarity))
    best = similarity.argmax(axis=1)
    if ratio >= 1 or similarity.shape[1] < 2:
        return best, np.ones(len(rows), bool)
    top = similarity[rows, best]
    similarity[rows, best] = -1
    second = similarity.max(axis=1)
    similarity[rows, best] = top
    return best, np.asarray(1 - top < ratio**2 * (1 - second))


def _transfer(homography: NDArray[np.float64], xy: Float32) -> NDArray[np.float64]:
    """Apply a homography to points (N, 2)."""
    x, y, w = homography @ np.vstack([xy.T, np.ones(len(xy))])
    w = np.where(w > 1e-9, w, np.nan)  # behind the horizon: nowhere
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nan_to_num(np.column_stack([x / w, y / w]), nan=-1e9))


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

    Cameras and keypoints (N, 2) are the ideal ones of both photographs.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchPlaces:
    """Where keypoints are found and matches are kept."""

    features_dir: Path
    matches_dir: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedGroup:
    """What became of the pairs of one first photograph."""

    compared: tuple[str, ...]
    """What each pair is known by."""
    verified: int
    """Pairs whose matches agree with one motion."""
    digest: str
    """Of all that was found."""


def group_pairs(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """Return pairs by their first photograph, both in order of index."""
    return [list(group) for _, group in itertools.groupby(sorted(pairs), key=lambda p: p.first)]


class PairMatcher:
    """Matches the pairs of one first photograph after the other, from several threads.

    The indices of pairs refer to the captures; digests are those of each photograph's features, by
    name.
    """

    def __init__(
        self,
        captures: Sequence[Capture],
        cameras: Mapping[str, Camera],
        digests: Mapping[str, str],
        places: MatchPlaces,
        options: tuple[MatchOptions, VerifyOptions],
    ) -> None:
        self._captures, self._cameras, self._digests = captures, cameras, digests
        self._places, self._options = places, options
        self._load = lru_cache(maxsize=REMEMBERED)(self._read)

    def known(self, group: Sequence[Pair]) -> MatchedGroup | None:
        """Return what is remembered of a group; None unless it is all of it and no more."""
        found = _read_group(self._path(group))
        keys = tuple(self._key(pair) for pair in group)
        return found if found is not None and found.compared == keys else None

    def match(self, group: Sequence[Pair]) -> list[VerifiedPair]:
        """Match pairs with the same first photograph, as far as that is not remembered."""
        path, keys = self._path(group), [self._key(pair) for pair in group]
        before = read_matches(path)
        known = {} if before is None else before
        pairs = {
            key: known[key] if key in known else self._compare(pair)
            for key, pair in zip(keys, group, strict=True)
        }
        if before is None or list(before) != keys:
            _write_matches(path, pairs)
        return [
            replace(found, first=pair.first, second=pair.second)  # indices as they are now
            for pair, found in zip(group, pairs.values(), strict=True)
            if found is not None
        ]

    def _path(self, group: Sequence[Pair]) -> Path:
        return self._places.matches_dir / f"{self._captures[group[0].first].name}.npz"

    def _compare(self, pair: Pair) -> VerifiedPair | None:
        (a, xy_a), (b, xy_b) = self._load(pair.first), self._load(pair.second)
        matches = match_features(a, b, self._options[0], expected=bool(pair.overlap))
        ideals = (ideal_camera(self._camera(pair.first)), ideal_camera(self._camera(pair.second)))
        return verify_pair(pair, ideals, (xy_a, xy_b), matches, self._options[1])

    def _read(self, index: int) -> tuple[Features, Float]:
        path = features_path(self._places.features_dir, self._captures[index].name)
        features = read_features(path)
        return features, ideal_keypoints(self._camera(index), features.xy_px)

    def _camera(self, index: int) -> Camera:
        return self._cameras[self._captures[index].camera_id]

    def _key(self, pair: Pair) -> str:
        """Return what the result of a pair is known by."""
        said = [str(bool(pair.overlap))]
        for index in (pair.first, pair.second):
            name, camera = self._captures[index].name, self._camera(index)
            lens = replace(camera, source="", focal_sigma=1.0)
            said += [name, self._digests[name], repr(lens)]
        return hashlib.blake2b("\n".join(said).encode(), digest_size=12).hexdigest()


def match_all(
    groups: Sequence[Sequence[Pair]], matcher: PairMatcher, *, workers: int, track: Track = silent
) -> list[VerifiedPair]:
    """Match groups of pairs; those whose matches agree with one motion are returned, in order."""
    done = map_threads(matcher.match, groups, workers=workers)
    found = [pair for _, of in track(done, "Matching photographs", len(groups)) for pair in of]
    log.info("matches: %d of %d pairs verified", len(found), sum(map(len, groups)))
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def _write_matches(path: Path, pairs: Mapping[str, VerifiedPair | None]) -> None:
    """Write the pairs of one first photograph, complete or not at all.

    They are given by what a pair is known by; None where nothing agrees.  Indices are not kept.
    """
    found = [pair for pair in pairs.values() if pair is not None]
    arrays = {
        "compared": np.array(list(pairs), str),
        "verified": np.array([pair is not None for pair in pairs.values()], bool),
        "configuration": np.array([pair.configuration for pair in found], np.int64),
        "matrices": np.array([pair.matrices for pair in found], float).reshape(-1, 3, 3, 3),
        "counts": np.array([len(pair.inliers) for pair in found], np.int64),
        "inliers": np.concatenate([np.zeros((0, 2), np.uint32), *(p.inliers for p in found)]),
    }
    write_arrays(path, arrays)


def read_matches(path: Path) -> dict[str, VerifiedPair | None] | None:
    """Read what `_write_matches` wrote; None if it is missing or damaged."""
    try:
        with open_arrays(path) as stored:
            starts = np.cumsum(stored["counts"])[:-1]
            parts = zip(
                stored["configuration"],
                stored["matrices"],
                np.split(stored["inliers"], starts),
                strict=False,  # nothing verified is split into one empty part
            )
            found = (
                VerifiedPair(
                    first=0, second=0, configuration=int(kind), matrices=matrices, inliers=inliers
                )
                for kind, matrices, inliers in parts
            )
            return {
                str(key): next(found) if verified else None
                for key, verified in zip(stored["compared"], stored["verified"], strict=True)
            }
    except DAMAGE:
        return None


def _read_group(path: Path) -> MatchedGroup | None:
    """Read what `_write_matches` wrote, but for the matches themselves."""
    try:
        with open_arrays(path) as stored:
            return MatchedGroup(
                compared=tuple(str(key) for key in stored["compared"]),
                verified=int(np.count_nonzero(stored["verified"])),
                digest=str(stored[DIGEST]),
            )
    except DAMAGE:
        return None
