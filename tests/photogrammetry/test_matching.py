from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.orientation.features import Features
from photogrammetry.orientation.matching import (
    MatchOptions,
    Pair,
    VerifyOptions,
    estimate_homography,
    ideal_camera,
    ideal_keypoints,
    match_features,
    verify_pair,
)

SIZE = (1000, 800)


def scattered(xy: np.ndarray, descriptors: np.ndarray) -> Features:
    return Features(
        width_px=SIZE[0],
        height_px=SIZE[1],
        xy_px=xy.astype(np.float32),
        scale_px=np.ones(len(xy), np.float32),
        descriptors=descriptors,
    )


@pytest.fixture
def shifted() -> tuple[Features, Features]:
    """Two pictures of the same 400 points, the second 120 px to the left, in another order."""
    random = np.random.default_rng(2)
    xy = random.uniform([150, 0], SIZE, (400, 2))
    descriptors = random.integers(0, 90, (400, 128)).astype(np.uint8)
    order = random.permutation(400)
    return scattered(xy, descriptors), scattered(xy[order] - [120, 0], descriptors[order])


def test_the_same_points_are_found_again(shifted):
    first, second = shifted
    matches = match_features(first, second, MatchOptions())
    assert len(matches) == 400
    offset = second.xy_px[matches[:, 1]] - first.xy_px[matches[:, 0]]
    assert np.allclose(offset, [-120, 0], atol=1e-3)


def test_no_keypoint_is_matched_twice(shifted):
    matches = match_features(*shifted, MatchOptions())
    assert len(np.unique(matches[:, 0])) == len(np.unique(matches[:, 1])) == len(matches)


def test_the_homography_is_the_shift(shifted):
    homography = estimate_homography(*shifted, MatchOptions())
    assert homography is not None
    assert np.allclose(homography / homography[2, 2], [[1, 0, -120], [0, 1, 0], [0, 0, 1]], atol=1)


def test_a_twin_elsewhere_in_the_picture_does_not_disturb(shifted):
    first, second = shifted
    # Every point again, 500 px further down: a global ratio test would refuse all of them.
    twins = scattered(
        np.vstack([second.xy_px, np.add(second.xy_px, [0, 500]) % SIZE]),
        np.vstack([second.descriptors, second.descriptors]),
    )
    options = MatchOptions(coarse_ratio=1.0, radius=0.05)
    assert len(match_features(first, twins, options)) > 150


def test_pictures_with_nothing_in_common_do_not_match():
    random = np.random.default_rng(3)
    one, other = (
        scattered(
            random.uniform(0, SIZE, (500, 2)), random.integers(0, 90, (500, 128)).astype(np.uint8)
        )
        for _ in range(2)
    )
    assert len(match_features(one, other, MatchOptions(), expected=True)) == 0


def test_pictures_without_keypoints_do_not_match():
    empty = scattered(np.zeros((0, 2)), np.zeros((0, 128), np.uint8))
    assert match_features(empty, empty, MatchOptions()).shape == (0, 2)


def test_ideal_keypoints_are_free_of_distortion(flown):
    rays = np.array([[0.3, -0.2, 1.0], [0.0, 0.0, 1.0]])
    pixels = flown.CAMERA.pixel_from_cam(rays)
    ideal = ideal_camera(flown.CAMERA)
    assert max(ideal.width, ideal.height) == 2000
    expected = rays[:, :2] * ideal.focal_length + [ideal.width / 2, ideal.height / 2]
    assert np.allclose(ideal_keypoints(flown.CAMERA, pixels), expected, atol=1e-6)


def test_verification_keeps_true_matches_and_drops_the_rest(flown):
    block, _ = flown.flown_block(noise_px=0.2)
    a, b = block.photo == 0, block.photo == 1
    common, in_a, in_b = np.intersect1d(block.point[a], block.point[b], return_indices=True)
    count = len(common)
    wrong = np.roll(np.arange(count), 7)[: count // 3]
    true = np.column_stack([np.arange(count), np.arange(count)])
    false = np.column_stack([np.arange(count // 3), wrong])
    keypoints = tuple(
        ideal_keypoints(flown.CAMERA, block.xy_px[mask][order])
        for mask, order in ((a, in_a), (b, in_b))
    )
    camera = ideal_camera(flown.CAMERA)
    matches = np.vstack([true, false]).astype(np.uint32)
    pair = Pair(first=0, second=1)
    found = verify_pair(pair, (camera, camera), keypoints, matches, VerifyOptions())
    assert found is not None
    kept = found.inliers[:, 0] == found.inliers[:, 1]
    assert kept.sum() > 0.97 * count
    assert (~kept).sum() < 0.1 * len(false)


def test_too_few_matches_are_no_pair(flown):
    camera = ideal_camera(flown.CAMERA)
    none = np.zeros((14, 2), np.uint32)
    keypoints = (np.zeros((1, 2)), np.zeros((1, 2)))
    pair = Pair(first=0, second=1)
    assert verify_pair(pair, (camera, camera), keypoints, none, VerifyOptions()) is None
