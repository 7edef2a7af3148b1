"""Photographs of a plan: their attitude and where their rays meet the ground."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flightplan.coverage.routes import Line
from flightplan.proof.footprints import Photos, border_rays, cast, height_below
from flightplan.terrain.terrain import Terrain
from tmp.cameras import Camera, Pose
from tmp.errors import InputError

CAMERA = Camera(
    camera_id="even", width_px=4000, height_px=3000, fx_px=3000, fy_px=3000, cx_px=2000, cy_px=1500
)  # fmt: skip


def one(heading: float, pitch: float, z: float = 60.0) -> Photos:
    return Photos(
        position=np.array([[0.0, 0.0, z]]),
        heading_deg=np.array([heading]),
        pitch_deg=np.array([pitch]),
        line=np.array([0]),
    )


@given(heading=st.floats(0, 360), pitch=st.floats(-90, 0))
def test_rotations_are_those_of_a_gimbal(heading: float, pitch: float) -> None:
    pose = Pose.from_gimbal(heading, pitch, 0.0, (0, 0, 60))
    np.testing.assert_allclose(one(heading, pitch).cam_from_plan[0], pose.rotation, atol=1e-12)


@settings(max_examples=30)
@given(height=st.floats(1, 500), times=st.floats(1.1, 5))
def test_a_footprint_grows_with_the_height(height: float, times: float) -> None:
    ground = Terrain.flat((-5000, -5000, 5000, 5000), cell_m=1000)
    low, high = (
        cast(one(30, -90, z), border_rays(CAMERA), ground)[0, :, :2]
        for z in (height, times * height)
    )
    np.testing.assert_allclose(high, times * low, rtol=1e-2, atol=0.03)


def test_a_nadir_footprint_from_60_m_is_80_by_60_m() -> None:
    corners = cast(one(0, -90), border_rays(CAMERA, 1), Terrain.flat((-99, -99, 99, 99)))[0]
    np.testing.assert_allclose(
        corners[:, :2], [[-40, 30], [40, 30], [40, -30], [-40, -30]], atol=0.02
    )
    np.testing.assert_allclose(corners[:, 2], 0, atol=0.02)


def test_rays_above_the_horizon_are_bent_down_to_ten_degrees() -> None:
    far = cast(one(90, 0), [[0.0, 0.0, 1.0]], Terrain.flat((-99, -99, 99, 99)))[0, 0]
    assert far[0] == pytest.approx(60 / np.tan(np.radians(10)), rel=1e-3)


def test_a_cliff_stops_a_ray_at_its_face() -> None:
    x = -100 + np.arange(200) + 0.5
    cliff = np.broadcast_to(np.where(x > 30, 40.0, 0.0), (200, 200)).astype(np.float32)
    ground = Terrain(heights=cliff, x_min=-100, y_max=100, cell_m=1, datum="test")
    hit = cast(one(90, -90), [[0.0, -0.75, 1.0]], ground)[0, 0]
    assert hit[0] == pytest.approx(30, abs=0.8)
    assert hit[2] == pytest.approx(60 - hit[0] / 0.75, abs=0.1)


def test_photographs_of_lines_face_along_them_and_know_their_line() -> None:
    lines = [
        Line(start=(0, 0), end=(0, 30), photos=4),
        Line(start=(10, 30), end=(10, 0), photos=2, pitch_deg=-60.0),
    ]
    photos = Photos.on_lines(lines, lambda xy: xy[:, 1] + 60)
    np.testing.assert_array_equal(photos.line, [0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(photos.pitch_deg, [-90, -90, -90, -90, -60, -60])
    np.testing.assert_allclose(photos.heading_deg, [0, 0, 0, 0, 180, 180])
    np.testing.assert_allclose(photos.position[[3, 4]], [[0, 30, 90], [10, 30, 90]])
    assert len(Photos.on_lines([], lambda xy: xy[:, 0])) == 0


def test_the_ground_beyond_the_terrain_is_that_of_its_edge() -> None:
    heights = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    ground = Terrain(heights=heights, x_min=0, y_max=2, cell_m=1, datum="test")
    np.testing.assert_allclose(height_below(ground, np.array([[-5.0, 9.0], [9.0, -5.0]])), [1, 4])


def test_headings_that_do_not_match_the_positions_are_refused() -> None:
    with pytest.raises(InputError, match="as many headings"):
        Photos(
            position=np.zeros((2, 3)),
            heading_deg=np.zeros(1),
            pitch_deg=np.zeros(2),
            line=np.zeros(2, int),
        )
