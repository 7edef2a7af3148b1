"""Match the keypoints of two photographs: roughly over the whole, then closely by place.

A thousand keypoints of the largest scale are compared all against all and give the homography
between the two pictures, to a few per cent of their width.  That is enough to say where in the
other picture each of the remaining keypoints must lie, relief included, so that it is compared
with a few hundred neighbours and not with thousands: a twentieth of the arithmetic, and a
sharper ratio test, because the second best candidate is no longer somewhere else altogether.

References
----------
Lowe (2004), section 7.1 (ratio test).  Hartley, R., Zisserman, A. (2004). Multiple View Geometry
in Computer Vision, chapter 4 (robust estimation of a homography).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.features import Features

Float32 = NDArray[np.float32]
Matches = NDArray[np.uint32]
"""Indices into the keypoints of the first and of the second photograph, (M, 2)."""

COARSE_RATIO = 0.85
"""Best distance over second best below which two keypoints of whole photographs are alike."""
ROOT_SIFT_LENGTH = 512.0
"""Length of the vectors in `Features.descriptors`."""


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

    Parameters
    ----------
    expected : bool
        Whether the photographs are known to overlap, so that a second attempt is worth it.

    Returns
    -------
    ndarray of uint32, shape (M, 2)
        Pairs of indices, each keypoint at most once; empty when the photographs seem not to
        overlap.  They still hold outliers, which geometric verification must remove.
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
    return match_nearby(first, second, homography, options)


def count_alike(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> int:
    """Count the descriptors (N, 128) of two photographs that pass ratio and mutual test."""
    if min(len(first), len(second)) < 2:
        return 0
    similarity = _unit(first) @ _unit(second).T
    forward, ok = _best(similarity, COARSE_RATIO)
    backward, _ = _best(np.ascontiguousarray(similarity.T), 1.0)
    return int((ok & (backward[forward] == np.arange(len(forward)))).sum())


def estimate_homography(
    first: Features, second: Features, options: MatchOptions
) -> NDArray[np.float64] | None:
    """Return the homography (3, 3) from the first picture to the second, or None.

    Notes
    -----
    A plane's homography stands for the ground; what stands on it misses by its parallax.
    """
    n = options.coarse_keypoints
    similarity = _unit(first.descriptors[:n]) @ _unit(second.descriptors[:n]).T
    forward, ok = _best(similarity, options.coarse_ratio)
    backward, _ = _best(np.ascontiguousarray(similarity.T), 1.0)
    ok &= backward[forward] == np.arange(len(forward))
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


def match_nearby(
    first: Features,
    second: Features,
    homography: NDArray[np.float64],
    options: MatchOptions,
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
