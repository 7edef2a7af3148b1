from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmp.cameras import Camera, Pose
from tmp.errors import InputError

CAMERA = Camera(
    camera_id="c",
    width_px=4000,
    height_px=3000,
    fx_px=2900.0,
    fy_px=2880.0,
    cx_px=2010.0,
    cy_px=1490.0,
    k1=-0.12,
    k2=0.05,
    p1=0.001,
    p2=-0.002,
    k3=-0.01,
)
ANGLES = st.tuples(st.floats(-180, 180), st.floats(-90, 0), st.floats(-30, 30))


def test_projection_is_opencvs_half_a_pixel_further():
    points = np.random.default_rng(0).uniform([-3, -2, 5], [3, 2, 9], (50, 3))
    matrix = np.array([[2900.0, 0, 2010.0 - 0.5], [0, 2880.0, 1490.0 - 0.5], [0, 0, 1]])
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, CAMERA.distortion)
    np.testing.assert_allclose(CAMERA.pixel_from_cam(points), expected[:, 0] + 0.5, atol=1e-6)


def test_points_behind_the_camera_have_no_pixel():
    assert np.isnan(CAMERA.pixel_from_cam([[0, 0, -1], [0, 0, 0]])).all()


@given(st.floats(0, 4000), st.floats(0, 3000))
def test_rays_go_back_through_their_pixels(x, y):
    ray = CAMERA.ray_from_pixel([x, y])
    np.testing.assert_allclose(CAMERA.pixel_from_cam(7 * ray), [[x, y]], atol=1e-6)


def test_a_half_size_picture_halves_the_pixels_and_not_the_rays():
    half = CAMERA.scaled(2000, 1500)
    points = [[1.0, 0.5, 4.0]]
    np.testing.assert_allclose(half.pixel_from_cam(points), CAMERA.pixel_from_cam(points) / 2)
    assert half.source == CAMERA.source


@pytest.mark.parametrize(
    "change", [{"fx_px": 0.0}, {"fy_px": float("nan")}, {"width_px": 0}, {"focal_sigma": 10.1}]
)
def test_an_impossible_camera_is_refused_by_name(change):
    with pytest.raises(InputError, match="'c'"):
        replace(CAMERA, **change)


def test_a_nadir_camera_heading_north_has_east_right_and_north_up():
    pose = Pose.from_gimbal(0, -90, 0, (10.0, 20.0, 50.0))
    below, east, north = pose.cam_from_world([[10, 20, 0], [11, 20, 0], [10, 21, 0]])
    np.testing.assert_allclose(below, [0, 0, 50], atol=1e-12)
    np.testing.assert_allclose(east - below, [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(north - below, [0, -1, 0], atol=1e-12)


def test_a_nadir_camera_heading_east_has_east_up():
    pose = Pose.from_gimbal(90, -90, 0, (0, 0, 0))
    np.testing.assert_allclose(pose.rotation @ [1, 0, 0], [0, -1, 0], atol=1e-12)


def test_a_level_camera_heading_east_looks_east():
    pose = Pose.from_gimbal(90, 0, 0, (0, 0, 0))
    np.testing.assert_allclose(pose.rotation @ [1, 0, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(pose.rotation @ [0, 0, -1], [0, 1, 0], atol=1e-12)


def test_positive_roll_tilts_the_right_edge_down():
    right = Pose.from_gimbal(0, 0, 10, (0, 0, 0)).rotation[0]
    assert right[2] < 0


@given(ANGLES)
def test_gimbal_angles_give_rotations_and_keep_the_centre(angles):
    pose = Pose.from_gimbal(*angles, (1.0, 2.0, 3.0))
    np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(pose.rotation) == pytest.approx(1)
    np.testing.assert_allclose(pose.centre, [1, 2, 3], atol=1e-12)
