from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.ortho.gains import _solve_gains, balance_exposures
from photogrammetry.pictures import PictureStore


def solve(samples: np.ndarray) -> np.ndarray:
    """Solve the gains of samples (views, points) that every view has of every point."""
    view_of, point_of = np.indices(samples.shape).reshape(2, -1)
    return _solve_gains(view_of, point_of, samples.ravel().astype(float), len(samples))


def test_gains_bring_photographs_of_the_same_ground_together(small_world, tmp_path) -> None:
    world = small_world.SmallWorld()
    factors = np.linspace(0.9, 1.1, len(world.views))
    store = PictureStore(folder=tmp_path)
    for view, factor in zip(world.views, factors, strict=True):
        picture = np.clip(world.render(view, oversample=1) * factor, 0, 255).astype(np.uint8)
        store.save(view.name, picture, halvings=0)
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-8, 8, (2, 3000))
    points = np.column_stack([x, y, small_world.surface_height(x, y)])
    gains = balance_exposures(world.views, points, store)
    evened = factors * gains[:, 0]
    # Restraint leaves a sixth of the difference; the seams take care of that.
    assert np.ptp(np.log(evened)) < 0.3 * np.ptp(np.log(factors))
    assert gains == pytest.approx(gains[:, :1].repeat(3, axis=1), abs=1e-6)


def test_equal_photographs_keep_a_gain_of_one() -> None:
    samples = np.log(np.tile(np.linspace(50, 200, 30), (4, 1))).astype(np.float32)
    assert solve(samples) == pytest.approx(np.ones(4), abs=1e-6)


def test_the_geometric_mean_of_gains_is_one() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(4.5, 0.2, (5, 40)) + rng.normal(0, 0.1, (5, 1))
    gains = solve(samples)
    assert np.log(gains).mean() == pytest.approx(0.0, abs=1e-9)


def test_a_shining_thing_in_one_photograph_hardly_changes_the_gains() -> None:
    samples = np.full((3, 100), 4.0, np.float32)
    samples[0, :5] = 5.5
    assert solve(samples) == pytest.approx(np.ones(3), abs=0.01)


def test_photographs_without_overlap_keep_their_exposure() -> None:
    samples = np.full((2, 10), np.nan, np.float32)
    samples[0, :5], samples[1, 5:] = 4.0, 5.0
    assert solve(samples) == pytest.approx(np.ones(2))


def test_a_thousand_photographs_are_solved_without_a_matrix_of_all_pairs() -> None:
    views, each = 1000, 40
    # A line of photographs, point p seen by photographs p // 40 to p // 40 + 4.
    point_of = np.repeat(np.arange((views - 4) * each), 5)
    view_of = point_of // each + np.tile(np.arange(5), (views - 4) * each)
    true = np.linspace(-0.002, 0.002, views)
    gains = _solve_gains(view_of, point_of, 4.0 + np.sin(view_of) * 0.1 + true[view_of], views)
    assert gains.shape == (views,)
    assert np.corrcoef(np.log(gains), -np.sin(np.arange(views)))[0, 1] > 0.95
