from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.orientation.georeference import centres_later, estimate_slip


def lawnmower(lines: int = 4, photographs: int = 8) -> np.ndarray:
    places = []
    for line in range(lines):
        for step in range(photographs):
            x = (step if line % 2 == 0 else photographs - 1 - step) * 10.0
            places.append([x, line * 14.0, 40.0])
    return np.array(places)


@pytest.mark.parametrize("late", [-3.0, -2.0, -1.0, 0.6, 1.0, 2.0, 3.0])
def test_positions_of_a_neighbouring_photograph_are_found_out(late):
    centres, order = lawnmower(), np.arange(32)
    noise = np.random.default_rng(2).normal(scale=0.5, size=centres.shape)
    positions = 1.7 * centres_later(centres, order, late) + noise
    assert estimate_slip(centres, positions, order) == pytest.approx(late, abs=0.11)


def test_positions_that_merely_scatter_have_no_slip():
    centres = lawnmower()
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(scale=3.0, size=centres.shape)
        assert estimate_slip(centres, centres + noise, np.arange(len(centres))) == 0.0


def test_a_shift_of_the_whole_block_is_no_slip():
    centres = lawnmower()
    moved = centres + np.array([5.0, -3.0, 2.0])
    assert estimate_slip(centres, moved, np.arange(len(centres))) == 0.0


def test_few_photographs_say_nothing():
    centres = lawnmower(lines=1, photographs=6)
    late = centres_later(centres, np.arange(6), 1.0)
    assert estimate_slip(centres, late, np.arange(6)) == 0.0


def test_one_photograph_later_is_where_the_next_one_was_taken():
    centres, order = lawnmower(), np.arange(32)
    assert np.allclose(centres_later(centres, order, 1.0)[:-1], centres[1:])
    assert np.allclose(centres_later(centres, order, -2.0)[2:], centres[:-2])


def test_cameras_fly_in_the_order_in_which_photographs_were_taken():
    centres = np.array([[20.0, 0, 0], [0.0, 0, 0], [10.0, 0, 0]])
    later = centres_later(centres, np.array([1, 2, 0]), 0.5)
    assert later[:, 0].tolist() == [25.0, 5.0, 15.0]


def test_cameras_do_not_fly_across_a_break():
    centres = np.array([[0.0, 0, 0], [10, 0, 0], [20, 0, 0], [500, 0, 0], [510, 0, 0]])
    later = centres_later(centres, np.arange(5), 1.0)
    assert later[:, 0].tolist() == [10, 20, 30, 510, 520]
