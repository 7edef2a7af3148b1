import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightplan.terrain.profiles import GroundProfile, ground_profile
from flightplan.terrain.terrain import Terrain
from tmp.errors import InputError


def rough(seed: int, cell_m: float, relief_m: float) -> Terrain:
    """Ground of 100 m by 100 m whose cells know nothing of each other."""
    count = round(100 / cell_m)
    heights = np.random.default_rng(seed).uniform(0, relief_m, (count, count))
    return Terrain(
        heights=heights.astype(np.float32), x_min=-50, y_max=50, cell_m=cell_m, datum="local"
    )


def beside(way: np.ndarray, offset_m: float, step_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances along a way, and points beside it."""
    distances, points, begun_m = [], [], 0.0
    for start, end in pairwise(way):
        length = math.dist(start, end)
        along = (end - start) / length
        places = np.append(np.arange(0, length, step_m), length)
        distances.append(begun_m + places)
        points.append(start + places[:, None] * along + offset_m * np.array([along[1], -along[0]]))
        begun_m += length
    return np.concatenate(distances), np.vstack(points)


places = st.tuples(st.floats(-40, 40), st.floats(-40, 40))


@given(
    seed=st.integers(0, 999),
    way=st.lists(places, min_size=2, max_size=4, unique=True),
    cell_m=st.sampled_from([0.5, 2.0, 9.0]),
    half_width_m=st.sampled_from([0.0, 3.0]),
)
def test_ground_is_between_the_bounds_everywhere(
    seed: int, way: list[tuple[float, float]], cell_m: float, half_width_m: float
) -> None:
    terrain = rough(seed, cell_m, 20.0)
    corners = np.array(way)
    if np.hypot(*np.diff(corners, axis=0).T).min() < 1e-3:
        return
    profile = ground_profile(terrain, corners, half_width_m=half_width_m)
    for offset in sorted({-half_width_m, 0.0, half_width_m}):
        distance, points = beside(corners, offset, 0.1)
        ground = terrain.at(points)
        assert (ground <= np.interp(distance, profile.distance_m, profile.highest_m) + 1e-6).all()
        if offset == 0:
            low = np.interp(distance, profile.distance_m, profile.lowest_m)
            assert (ground >= low - 1e-6).all()


def test_a_slope_is_bounded_by_itself() -> None:
    x, _ = np.meshgrid(np.arange(50) * 2 + 1.0 - 50, np.arange(50))
    terrain = Terrain(
        heights=(0.25 * x).astype(np.float32), x_min=-50, y_max=50, cell_m=2.0, datum="local"
    )
    profile = ground_profile(terrain, [(-40, -30), (40, 30)])
    # 0.25 along x is 0.2 along a way of slope 3 in 4.
    expected = -10 + 0.2 * profile.distance_m
    assert profile.lowest_m == pytest.approx(expected, abs=1e-5)
    assert profile.highest_m == pytest.approx(expected, abs=1e-5)
    assert profile.distance_m[[0, -1]].tolist() == [0.0, 100.0]
    assert np.diff(profile.distance_m).min() > 0


def test_a_corridor_across_a_slope_takes_its_upper_side() -> None:
    x, _ = np.meshgrid(np.arange(50) * 2 + 1.0 - 50, np.arange(50))
    terrain = Terrain(
        heights=(0.25 * x).astype(np.float32), x_min=-50, y_max=50, cell_m=2.0, datum="local"
    )
    profile = ground_profile(terrain, [(0, -30), (0, 30)], half_width_m=4.0)
    assert profile.highest_m == pytest.approx(np.ones_like(profile.highest_m), abs=1e-5)
    assert profile.lowest_m == pytest.approx(np.zeros_like(profile.lowest_m), abs=1e-5)


def test_a_cliff_is_not_raised_by_thinning() -> None:
    heights = np.where(np.arange(400) < 200, 0.0, 60.0) * np.ones((400, 1))
    terrain = Terrain(
        heights=heights.astype(np.float32), x_min=-50, y_max=50, cell_m=0.25, datum="local"
    )
    profile = ground_profile(terrain, [(-40, 0), (40, 0)], step_m=5.0)
    assert len(profile.distance_m) <= 18
    assert profile.highest_m.max() == 60
    assert profile.lowest_m.min() == 0


def test_samples_are_thinned_to_the_step() -> None:
    def count(step_m: float) -> int:
        profile: GroundProfile = ground_profile(
            rough(1, 0.5, 1.0), [(-40, 0.1), (40, 0.1)], step_m=step_m
        )
        return len(profile.distance_m)

    assert count(0.1) == 162
    assert count(4.0) <= 22


def test_a_way_without_length_or_off_the_terrain_is_refused() -> None:
    terrain = rough(1, 2.0, 1.0)
    with pytest.raises(InputError, match="two corners apart"):
        ground_profile(terrain, [(0, 0), (0, 0)])
    with pytest.raises(InputError, match="no ground height"):
        ground_profile(terrain, [(0, 0), (60, 0)])
