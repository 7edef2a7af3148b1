from __future__ import annotations

import numpy as np

from photogrammetry.kernels.rendering import compose, mark_visible

CELL_M = 0.5
SHAPE = (21, 41)
X = ((np.arange(SHAPE[1]) - 20) * CELL_M).astype(np.float32)
Y = (-(np.arange(SHAPE[0]) - 10) * CELL_M).astype(np.float32)


def seen_from(centre, height) -> np.ndarray:
    visible = np.ones(height.shape, np.bool_)
    mark_visible(height, CELL_M, float(height.max()), 0.1, X, Y, np.array(centre), visible)
    return visible


def test_flat_ground_is_visible_from_everywhere() -> None:
    assert seen_from((30.0, 5.0, 20.0), np.zeros(SHAPE, np.float32)).all()


def test_a_wall_hides_the_ground_behind_it_as_far_as_its_shadow_reaches() -> None:
    height = np.zeros(SHAPE, np.float32)
    height[:, 20] = 2.0  # at x = 0
    visible = seen_from((10.0, 0.0, 10.0), height)[10]
    # The ray over the wall's top falls 0.8 m a metre: it reaches the ground at x = -2.5.
    assert visible[21:].all()
    assert not visible[16:20].any()
    assert visible[:14].all()


def test_the_top_of_a_wall_sees_the_camera() -> None:
    height = np.zeros(SHAPE, np.float32)
    height[:, 20] = 2.0
    assert seen_from((10.0, 0.0, 10.0), height)[:, 20].all()


def test_cells_already_hidden_stay_hidden() -> None:
    visible = np.zeros(SHAPE, np.bool_)
    height = np.zeros(SHAPE, np.float32)
    mark_visible(height, CELL_M, 0.0, 0.1, X, Y, np.array([0.0, 0.0, 9.0]), visible)
    assert not visible.any()


def test_composing_divides_by_the_weights_and_adds_the_evening() -> None:
    total = np.full((2, 3, 3), 60.0, np.float32)
    total[..., 2] = 90.0  # red
    weights = np.full((2, 3), 0.6, np.float32)
    weights[1, 2] = 0.0
    evening = np.full((2, 2, 3), 5.0, np.float32)
    at = np.zeros(3, np.float32)
    out = np.zeros((4, 2, 3), np.uint8)
    compose(total, weights, evening, at[:2], at, np.ones((2, 3), np.bool_), out)
    assert out[:, 0, 0].tolist() == [155, 105, 105, 255]
    assert out[:, 1, 2].tolist() == [0, 0, 0, 0]


def test_composing_clips_instead_of_wrapping() -> None:
    total = np.full((1, 1, 3), 400.0, np.float32)
    out = np.zeros((4, 1, 1), np.uint8)
    compose(
        total, np.ones((1, 1), np.float32), np.zeros((2, 2, 3), np.float32),
        np.zeros(1, np.float32), np.zeros(1, np.float32), np.ones((1, 1), np.bool_), out,
    )  # fmt: skip
    assert out[:3].ravel().tolist() == [255, 255, 255]
