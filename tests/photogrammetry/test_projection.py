"""Projection and sampling against the platform's camera and NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from photogrammetry.kernels.projection import GEOMETRY_WIDTH, inside, load_view, project, sample
from photogrammetry.views import trusted_radius2
from tmp.cameras import Camera, Pose

CAMERA = Camera(
    camera_id="wide", width_px=4000, height_px=3000, fx_px=2900.0, fy_px=2910.0,
    cx_px=2010.0, cy_px=1490.0, k1=-0.08, k2=0.05, p1=0.001, p2=-0.0007, k3=-0.01,
)  # fmt: skip
POSE = Pose.from_gimbal(33.0, -85.0, 3.0, (4.0, -7.0, 50.0))


def geometry_row() -> np.ndarray:
    row = np.zeros((1, GEOMETRY_WIDTH), np.float32)
    row[0, :12] = np.column_stack([POSE.rotation, POSE.translation]).ravel()
    row[0, 12:16] = CAMERA.fx_px, CAMERA.fy_px, CAMERA.cx_px, CAMERA.cy_px
    row[0, 16:21] = CAMERA.distortion
    row[0, 21] = trusted_radius2(CAMERA)
    return row


@settings(deadline=None, max_examples=50)
@given(st.floats(-15, 15), st.floats(-12, 12), st.floats(-5, 5))
def test_a_kernel_projects_as_the_camera_does(x, y, z):
    expected = CAMERA.pixel_from_cam(POSE.cam_from_world([(x, y, z)]))[0]
    found = project(load_view(geometry_row(), 0), np.float32(x), np.float32(y), np.float32(z))
    # float32 holds pixel coordinates of thousands to 0.0005 px; a few operations add up.
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_points_behind_the_camera_and_beyond_the_lens_have_no_image():
    view = load_view(geometry_row(), 0)
    assert np.isnan(project(view, np.float32(0), np.float32(0), np.float32(80))[0])
    assert np.isnan(project(view, np.float32(500), np.float32(0), np.float32(0))[0])


def test_a_sample_at_a_pixels_centre_is_that_pixel():
    picture = np.arange(30, dtype=np.uint8).reshape(5, 6)
    value = sample(np.r_[np.zeros(7, np.uint8), picture.ravel()], 7, 6, np.float32(3.5), 2.5)
    assert value == picture[2, 3]


@settings(deadline=None, max_examples=50)
@given(st.floats(0.5, 5.49), st.floats(0.5, 4.49))
def test_a_sample_is_bilinear(px, py):
    picture = np.random.default_rng(0).integers(0, 255, (5, 6)).astype(np.uint8)
    col, row = int(px - 0.5), int(py - 0.5)
    fx, fy = px - 0.5 - col, py - 0.5 - row
    corners = picture[row : row + 2, col : col + 2].astype(float)
    expected = np.array([1 - fy, fy]) @ corners @ np.array([1 - fx, fx])
    found = sample(picture.ravel(), 0, 6, np.float32(px), np.float32(py))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_bilinear_sample_needs_all_four_neighbours():
    half = np.float32(0.5)
    assert inside(5, 6, half, half)
    assert inside(5, 6, np.float32(5.49), np.float32(4.49))
    assert not inside(5, 6, np.float32(0.49), half)
    assert not inside(5, 6, np.float32(5.5), half)
    assert not inside(5, 6, np.float32(np.nan), half)
