from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photogrammetry.orientation.features import (
    FeatureOptions,
    detect_all,
    detect_features,
    features_path,
    read_digest,
    read_features,
    read_keypoints,
    spread_by_scale,
    to_root_sift,
    write_features,
)
from tmp.errors import OrientationError


def blobs(shift_px: float = 0.0, size: int = 480) -> np.ndarray:
    """Bright spots on a lattice; the centre of the first pixel is at (0.5, 0.5)."""
    y, x = np.mgrid[0:size, 0:size] + 0.5
    picture = np.full((size, size), 60.0)
    for i, (cx, cy) in enumerate(np.random.default_rng(4).uniform(40, size - 40, (40, 2))):
        sigma = 3 + i % 4
        picture += 120 * np.exp(-((x - cx - shift_px) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    return cv2.merge([np.clip(picture, 0, 255).astype(np.uint8)] * 3)


def test_keypoints_lie_at_the_centres_of_blobs_in_corner_origin_coordinates():
    centres = np.random.default_rng(4).uniform(40, 440, (40, 2))
    features = detect_features(blobs(), (480, 480), FeatureOptions())
    distance = np.linalg.norm(features.xy_px[:, None] - centres[None], axis=2).min(axis=1)
    near = features.xy_px[distance < 2]
    nearest = np.argmin(np.linalg.norm(near[:, None] - centres[None], axis=2), axis=1)
    # A tenth of a pixel; half a pixel would mean OpenCV's origin had leaked through.
    assert np.abs(np.median(near - centres[nearest], axis=0)).max() < 0.1


def test_positions_refer_to_the_photograph_and_not_to_the_reduced_picture():
    full = detect_features(blobs(), (480, 480), FeatureOptions())
    double = detect_features(blobs(), (960, 960), FeatureOptions())
    assert np.allclose(double.xy_px, 2 * full.xy_px)
    assert np.allclose(double.scale_px, 2 * full.scale_px)


def test_a_picture_without_texture_has_no_keypoints():
    grey = np.full((300, 400, 3), 128, np.uint8)
    features = detect_features(grey, (400, 300), FeatureOptions())
    assert features.xy_px.shape == (0, 2)
    assert features.descriptors.shape == (0, 128)


def test_every_cell_gives_its_largest_keypoints_before_any_gives_its_second_best():
    xy = np.array([[10, 10], [12, 12], [14, 14], [90, 90]], np.float32)
    scale = np.array([9, 8, 7, 1], np.float32)
    chosen = spread_by_scale(xy, scale, (100, 100), FeatureOptions(keypoints=2, cells=2))
    assert chosen.tolist() == [0, 3]


@given(st.integers(0, 60), st.integers(1, 40))
def test_as_many_keypoints_are_kept_as_there_are_or_were_asked_for(found: int, asked: int):
    random = np.random.default_rng(found)
    xy = random.uniform(0, 99, (found, 2)).astype(np.float32)
    scale = random.uniform(1, 9, found).astype(np.float32)
    chosen = spread_by_scale(xy, scale, (100, 100), FeatureOptions(keypoints=asked))
    assert len(set(chosen.tolist())) == min(found, asked)
    assert np.all(np.diff(scale[chosen]) <= 0)


def test_root_sift_has_length_512():
    descriptors = np.random.default_rng(0).integers(1, 60, (20, 128)).astype(np.float32)
    length = np.linalg.norm(to_root_sift(descriptors).astype(float), axis=1)
    assert np.allclose(length, 512, atol=4)  # rounding to bytes


def test_features_come_back_as_they_were_written(tmp_path):
    features = detect_features(blobs(), (480, 480), FeatureOptions())
    path = features_path(tmp_path, "day 1/a.jpg")
    write_features(features, path)
    again = read_features(path)
    assert again.width_px == 480
    assert np.array_equal(again.xy_px, features.xy_px)
    assert np.array_equal(again.descriptors, features.descriptors)


def test_damaged_features_are_refused_by_name(tmp_path):
    path = tmp_path / "a.jpg.npz"
    path.write_bytes(b"not an archive")
    with pytest.raises(OrientationError, match=r"a\.jpg\.npz: keypoints unreadable"):
        read_features(path)


def test_digest_is_that_of_the_content_and_none_for_a_damaged_file(tmp_path):
    features = detect_features(blobs(), (480, 480), FeatureOptions())
    first, second, other = (tmp_path / name for name in ("1.npz", "2.npz", "3.npz"))
    write_features(features, first)
    write_features(features, second)
    write_features(replace(features, xy_px=features.xy_px + 1), other)
    assert read_digest(first) == read_digest(second) is not None
    assert read_digest(other) != read_digest(first)
    assert np.array_equal(read_keypoints(first), features.xy_px)
    first.write_bytes(first.read_bytes()[:1000])
    assert read_digest(first) is None
    assert read_digest(tmp_path / "none.npz") is None


def test_each_photograph_is_decoded_once_and_handed_on(tmp_path, flown):
    poses = flown.stations()[:2]
    flown.photograph_ground(tmp_path / "photos", poses)
    captures = flown.captures_of(poses)
    seen: list[tuple[str, tuple[int, ...]]] = []

    def run() -> dict[str, str]:
        return detect_all(
            captures,
            tmp_path / "photos",
            tmp_path / "keypoints",
            options=FeatureOptions(keypoints=300),
            workers=2,
            on_picture=lambda name, picture: seen.append((name, picture.shape)),
        )

    assert run() == {}
    assert sorted(seen) == [("000.jpg", (600, 800, 3)), ("001.jpg", (600, 800, 3))]
    assert run() == {}
    assert len(seen) == 2  # nothing is done twice


def test_an_unreadable_photograph_is_named_and_the_others_go_on(tmp_path, flown):
    poses = flown.stations()[:2]
    flown.photograph_ground(tmp_path, poses)
    (tmp_path / "000.jpg").write_bytes(b"torn")
    failed = detect_all(
        flown.captures_of(poses),
        tmp_path,
        tmp_path / "keypoints",
        options=FeatureOptions(),
        workers=1,
    )
    assert list(failed) == ["000.jpg"]
    assert features_path(tmp_path / "keypoints", "001.jpg").exists()
