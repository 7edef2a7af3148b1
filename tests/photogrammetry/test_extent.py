from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.extent import (
    flying_heights,
    footprint,
    ground_sample_distance,
    height_range,
    mapped_bounds,
)
from tmp.cameras import Camera, Pose
from tmp.errors import OrientationError
from tmp.frames import LocalFrame
from tmp.reconstruction import OrientedPhoto, Reconstruction

CAMERA = Camera(
    camera_id="c", width_px=1000, height_px=500, fx_px=1000.0, fy_px=1000.0, cx_px=500.0,
    cy_px=250.0,
)  # fmt: skip


def block(*stations: tuple[float, float], height_m: float = 50.0, pitch_deg: float = -90.0):
    x, y = np.meshgrid(np.linspace(-100, 100, 21), np.linspace(-100, 100, 21))
    points = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)])
    return Reconstruction(
        frame=LocalFrame(origin=None, crs=None),
        cameras={"c": CAMERA},
        priors={"c": CAMERA},
        photos=tuple(
            OrientedPhoto(
                name=str(i),
                camera_id="c",
                pose=Pose.from_gimbal(0.0, pitch_deg, 0.0, (*station, height_m)),
            )
            for i, station in enumerate(stations)
        ),
        left_out={},
        points=points,
        point_views=np.full(len(points), 3, np.int32),
        point_residuals_px=np.zeros(len(points), np.float32),
    )


def test_a_nadir_photograph_covers_its_size_times_the_sample_distance() -> None:
    corners = footprint(block((10.0, 20.0)), block((10.0, 20.0)).photos[0])
    assert np.ptp(corners, axis=0) == pytest.approx([50.0, 25.0])
    assert corners.mean(axis=0) == pytest.approx([10.0, 20.0])


def test_sample_distance_doubles_with_the_height() -> None:
    low, high = block((0.0, 0.0)), block((0.0, 0.0), height_m=100.0)
    assert ground_sample_distance(low) == pytest.approx(0.05)
    assert ground_sample_distance(high) == pytest.approx(0.1)
    assert flying_heights(low) == pytest.approx([50.0])


def test_the_map_reaches_as_far_as_two_photographs_see() -> None:
    bounds = mapped_bounds(block((0.0, 0.0), (30.0, 0.0)))
    # Footprints of 50 m, 30 m apart: 20 m in common, from x = 5 to 25.
    assert bounds == pytest.approx((5.0, -12.5, 25.0, 12.5), abs=0.4)


def test_photographs_that_do_not_overlap_are_refused() -> None:
    with pytest.raises(OrientationError, match="no place is seen by two"):
        mapped_bounds(block((0.0, 0.0), (80.0, 0.0)))


def test_a_picture_of_the_horizon_does_not_reach_to_it() -> None:
    tilted = block((0.0, 0.0), pitch_deg=-15.0)
    corners = footprint(tilted, tilted.photos[0])
    assert np.hypot(*corners.T).max() <= 1.5 * 50.0 + 1e-6


def test_heights_are_searched_about_the_tie_points_nearby() -> None:
    points = np.column_stack(
        [np.linspace(0, 1000, 1001), np.zeros(1001), np.linspace(0, 100, 1001)]
    )
    low, high = height_range(points, (400.0, -10.0, 500.0, 10.0), 40.0)
    assert low == pytest.approx(38.0 - 4.0, abs=0.5)
    assert high == pytest.approx(52.0 + 14.0, abs=0.5)


def test_a_part_without_tie_points_uses_all_of_them() -> None:
    points = np.column_stack([np.arange(50.0), np.zeros(50), np.linspace(0, 10, 50)])
    low, high = height_range(points, (900.0, 0.0, 950.0, 10.0), 40.0)
    assert low < 0.5
    assert high > 9.5
