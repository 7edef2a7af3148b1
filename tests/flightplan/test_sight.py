"""Lines of sight against a dense walk over the same bilinear ground."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flightplan.proof.casting import hidden
from flightplan.terrain.terrain import Terrain


def walked(ground: Terrain, place: np.ndarray, camera: np.ndarray) -> float:
    """Return by how much the ground rises above a ray, looked at in 4 000 steps."""
    share = np.linspace(0, 1, 4001)[:, None]
    ray = place + share * (camera - place)
    x = ground.x_min + (ray[:, 0] + 0.5) * ground.cell_m
    y = ground.y_max - (ray[:, 1] + 0.5) * ground.cell_m
    return float((ground.at(np.column_stack([x, y])) - ray[:, 2]).max())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    place=st.tuples(st.floats(1, 38), st.floats(1, 28)),
    camera=st.tuples(st.floats(0, 39), st.floats(0, 29), st.floats(12, 40)),
)
def test_the_kernel_agrees_with_a_dense_walk(
    seed: int, place: tuple[float, float], camera: tuple[float, float, float]
) -> None:
    heights = np.random.default_rng(seed).uniform(0, 10, (30, 40)).astype(np.float32)
    ground = Terrain(heights=heights, x_min=0, y_max=60, cell_m=2, datum="test")
    x, y = (place[0] + 0.5) * 2, 60 - (place[1] + 0.5) * 2
    start = np.array([place[0], place[1], float(ground.at([[x, y]])[0])])
    rise = walked(ground, start, np.array(camera))
    if hidden(heights, tuple(start.tolist()), camera, 10.0):
        # Where a grid line shows ground above the ray, so does the walk.
        assert rise > 0
    else:
        # Between grid lines a ridge as high as the relief of one cell may be missed.
        assert rise < 5


def test_level_ground_hides_nothing_and_a_wall_hides_what_is_low_behind_it() -> None:
    heights = np.zeros((9, 40), np.float32)
    behind, near, before = (30.0, 4.0, 0.0), (22.0, 4.0, 0.0), (5.0, 4.0, 0.0)
    eye = 2.0, 4.0, 20.0
    assert not any(hidden(heights, place, eye, 0.0) for place in (behind, near, before))
    heights[:, 20] = 10
    assert [hidden(heights, place, eye, 10.0) for place in (behind, near, before)] == [
        True,
        True,
        False,
    ]


def test_looking_straight_down_is_never_blocked() -> None:
    heights = np.random.default_rng(1).uniform(0, 50, (9, 9)).astype(np.float32)
    assert not hidden(heights, (4.0, 4.0, float(heights[4, 4])), (4.0, 4.0, 90.0), 50.0)
