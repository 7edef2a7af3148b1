from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from photogrammetry.ortho.alignment import (
    Alignment,
    Method,
    align_band,
    rig_median,
    warp_onto,
)

REDEDGE = Path(__file__).parents[3] / "shared" / "data" / "rededge_panel"
TRUE = np.array([[1.002, -0.004, 7.3], [0.005, 0.999, -5.6], [1e-6, -2e-6, 1.0]])


def scene(shape=(480, 640), seed=3) -> np.ndarray:
    """Smooth patches with edges, as fields and paths have them."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.random(shape).astype(np.float32), (0, 0), 4)
    return np.digitize(noise, np.quantile(noise, [0.2, 0.4, 0.6, 0.8])).astype(np.float32)


def two_bands() -> tuple[np.ndarray, np.ndarray]:
    """A band, and another whose brightness runs the other way for half of the patches."""
    levels = scene()
    wide = cv2.copyMakeBorder(levels, 40, 40, 40, 40, cv2.BORDER_REFLECT)
    other = np.array([0.9, 0.2, 0.7, 0.3, 0.5], np.float32)[wide.astype(int)]
    border = np.array([[1, 0, 40], [0, 1, 40], [0, 0, 1.0]])
    corner = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    # TRUE takes the first band's places to the second's, corner origin.
    matrix = np.linalg.inv(corner) @ TRUE @ np.linalg.inv(border) @ corner
    seen = cv2.warpPerspective(other, matrix, (640, 480), flags=cv2.INTER_AREA)
    return (1000 + 8000 * levels).astype(np.uint16), (40000 * seen).astype(np.uint16)


def corners_apart_px(first: np.ndarray, second: np.ndarray) -> float:
    corners = np.array([[[0.0, 0.0], [640.0, 0.0], [640.0, 480.0], [0.0, 480.0]]])
    apart = cv2.perspectiveTransform(corners, first) - cv2.perspectiveTransform(corners, second)
    return float(np.linalg.norm(apart, axis=2).max())


def test_bands_of_opposite_contrast_are_laid_onto_each_other_within_half_a_pixel():
    red, nir = two_bands()
    alignment = align_band(red, nir)
    assert alignment.good
    assert corners_apart_px(alignment.homography, TRUE) < 0.5


def test_bands_that_show_nothing_in_common_are_not_called_good():
    rng = np.random.default_rng(1)
    first, second = (rng.integers(0, 60000, (300, 400)).astype(np.uint16) for _ in range(2))
    assert not align_band(first, second).good


def test_warping_a_picture_by_the_identity_changes_nothing():
    picture = scene()
    assert np.array_equal(warp_onto(picture, np.eye(3), picture.shape), picture)


def test_places_beyond_the_band_are_nan():
    moved = np.array([[1, 0, 100.0], [0, 1, 0], [0, 0, 1]])
    laid = warp_onto(scene(), moved, (480, 640))
    assert np.isnan(laid[:, 600:]).all()
    assert np.isfinite(laid[:, :500]).all()


def test_the_median_of_a_rig_leaves_out_the_release_that_went_astray():
    astray = np.array([[1, 0, 60.0], [0, 1, 0], [0, 0, 1]])
    found = rig_median(
        Alignment(method=Method.ECC, homography=homography, residual_px=0.2)
        for homography in (TRUE, TRUE, TRUE, astray)
    )
    assert corners_apart_px(found, TRUE) < 0.01


@pytest.mark.real
@pytest.mark.skipif(not REDEDGE.exists(), reason="../shared/data/rededge_panel is not there")
@pytest.mark.parametrize("number", [1, 3, 4, 5])
def test_bands_of_an_orchard_lie_within_half_a_pixel_of_green(number):
    green, band = (
        cv2.imread(str(REDEDGE / f"IMG_0001_{n}.tif"), cv2.IMREAD_UNCHANGED) for n in (2, number)
    )
    assert align_band(green, band).residual_px < 0.3
