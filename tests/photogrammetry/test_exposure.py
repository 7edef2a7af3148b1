from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.exposure import _solve_gains, balance_exposures
from photogrammetry.pictures import PictureStore


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
    assert _solve_gains(samples) == pytest.approx(np.ones(4), abs=1e-6)


def test_the_geometric_mean_of_gains_is_one() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(4.5, 0.2, (5, 40)) + rng.normal(0, 0.1, (5, 1))
    gains = _solve_gains(samples.astype(np.float32))
    assert np.log(gains).mean() == pytest.approx(0.0, abs=1e-9)


def test_a_shining_thing_in_one_photograph_hardly_changes_the_gains() -> None:
    samples = np.full((3, 100), 4.0, np.float32)
    samples[0, :5] = 5.5
    assert _solve_gains(samples) == pytest.approx(np.ones(3), abs=0.01)


def test_photographs_without_overlap_keep_their_exposure() -> None:
    samples = np.full((2, 10), np.nan, np.float32)
    samples[0, :5], samples[1, 5:] = 4.0, 5.0
    assert _solve_gains(samples) == pytest.approx(np.ones(2))
