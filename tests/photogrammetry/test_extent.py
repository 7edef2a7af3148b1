from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.kernels.projection import FARTHEST_SLANT
from photogrammetry.surface.search import seek_ground
from photogrammetry.surface.trend import (
    Trend,
    flying_heights,
    footprint,
    ground_sample_distance,
    mapped_bounds,
    survey_trend,
    trend_of,
)
from tmp.cameras import Camera, Pose
from tmp.errors import OrientationError
from tmp.geo.frames import LocalFrame
from tmp.reconstruction import OrientedPhoto, Reconstruction

CAMERA = Camera(
    camera_id="c", width_px=1000, height_px=500, fx_px=1000.0, fy_px=1000.0, cx_px=500.0,
    cy_px=250.0,
)  # fmt: skip


def block(
    *stations: tuple[float, float],
    height_m: float = 50.0,
    pitch_deg: float = -90.0,
    slope: float = 0.0,
):
    x, y = np.meshgrid(np.linspace(-100, 100, 21), np.linspace(-100, 100, 21))
    points = np.column_stack([x.ravel(), y.ravel(), slope * x.ravel()])
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
    one = block((10.0, 20.0))
    corners = footprint(one, one.photos[0], survey_trend(one))
    assert np.ptp(corners, axis=0) == pytest.approx([50.0, 25.0])
    assert corners.mean(axis=0) == pytest.approx([10.0, 20.0])


def test_sample_distance_doubles_with_the_height() -> None:
    low, high = block((0.0, 0.0)), block((0.0, 0.0), height_m=100.0)
    assert ground_sample_distance(low) == pytest.approx(0.05)
    assert ground_sample_distance(high) == pytest.approx(0.1)
    assert flying_heights(low) == pytest.approx([50.0])


def test_the_map_reaches_as_far_as_one_photograph_sees_and_the_surface_as_far_as_two() -> None:
    two = block((0.0, 0.0), (30.0, 0.0))
    # Footprints of 50 m, 30 m apart: 20 m in common, from x = 5 to 25.
    trend = survey_trend(two)
    assert mapped_bounds(two, trend) == pytest.approx((-25.0, -12.5, 55.0, 12.5), abs=0.01)
    twice = mapped_bounds(two, trend, least_views=2)
    assert twice == pytest.approx((5.0, -12.5, 25.0, 12.5), abs=0.4)
    # Counted in cells of 80 m / 500; none that two see may be cut off by more than its half.
    assert (np.array(twice[:2]) <= np.array([5.0, -12.5]) + 0.08 + 1e-9).all()
    assert (np.array(twice[2:]) >= np.array([25.0, 12.5])).all()


def test_a_footprint_on_a_slope_is_longer_downhill() -> None:
    slope = block((0.0, 0.0), slope=0.5)
    corners = footprint(slope, slope.photos[0], survey_trend(slope))
    # 0.5 m across per metre of height: 50 = h + 0.5 x and x = 0.5 h uphill, and so on.
    assert corners[:, 0].max() == pytest.approx(25.0 / 1.25, abs=0.3)
    assert corners[:, 0].min() == pytest.approx(-25.0 / 0.75, abs=0.3)


def test_photographs_that_do_not_overlap_are_refused() -> None:
    apart = block((0.0, 0.0), (80.0, 0.0))
    with pytest.raises(OrientationError, match="no place is seen by two"):
        mapped_bounds(apart, survey_trend(apart), least_views=2)


def test_a_picture_of_the_horizon_does_not_reach_to_it() -> None:
    tilted = block((0.0, 0.0), pitch_deg=-15.0)
    corners = footprint(tilted, tilted.photos[0], survey_trend(tilted))
    assert np.hypot(*corners.T).max() == pytest.approx(FARTHEST_SLANT * 50.0, abs=0.1)


def level(height_m: float = 0.0) -> Trend:
    return Trend(x_min=0.0, y_max=10.0, cell_m=5.0, height=np.full((2, 2), height_m))


def test_heights_are_searched_about_the_tie_points_nearby() -> None:
    points = np.column_stack(
        [np.linspace(0, 1000, 1001), np.zeros(1001), np.linspace(0, 100, 1001)]
    )
    sought = seek_ground(points, level(20.0), (400.0, -10.0, 500.0, 10.0), 40.0)
    assert sought.low_m == pytest.approx(38.0 - 20.0 - 4.0, abs=0.5)
    assert sought.high_m == pytest.approx(52.0 - 20.0 + 14.0, abs=0.5)


def test_on_a_steep_slope_little_is_searched_about_its_sheet() -> None:
    x, y = np.meshgrid(np.linspace(0, 200, 81), np.linspace(0, 100, 41))
    points = np.column_stack([x.ravel(), y.ravel(), 0.87 * x.ravel()])
    trend = trend_of(points, 40.0, np.full(len(points), 4))
    sought = seek_ground(points, trend, (50.0, 20.0, 150.0, 80.0), 40.0)
    assert sought.low_m == pytest.approx(-4.0, abs=1.5)
    assert sought.high_m == pytest.approx(14.0, abs=1.5)


def test_a_part_without_tie_points_uses_all_of_them() -> None:
    points = np.column_stack([np.arange(50.0), np.zeros(50), np.linspace(0, 10, 50)])
    sought = seek_ground(points, level(), (900.0, 0.0, 950.0, 10.0), 40.0)
    assert sought.low_m < 0.5
    assert sought.high_m > 9.5


def test_the_scatter_of_tie_points_is_their_standard_deviation_about_the_sheet() -> None:
    rng = np.random.default_rng(2)
    points = np.column_stack([rng.uniform(0, 100, (20000, 2)), rng.normal(20.0, 0.7, 20000)])
    sought = seek_ground(points, level(20.0), (0.0, 0.0, 100.0, 100.0), 40.0)
    # The percentiles of 20 000 normal deviates are known to 2 %.
    assert sought.scatter_m == pytest.approx(0.7, rel=0.06)
