from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.time_slip import estimate_slip, steps_of


def lawnmower(lines: int = 4, photographs: int = 8) -> np.ndarray:
    places = []
    for line in range(lines):
        for step in range(photographs):
            x = (step if line % 2 == 0 else photographs - 1 - step) * 10.0
            places.append([x, line * 14.0, 40.0])
    return np.array(places)


def slipped(centres: np.ndarray, photographs: int) -> np.ndarray:
    index = np.clip(np.arange(len(centres)) + photographs, 0, len(centres) - 1)
    return centres[index]


@pytest.mark.parametrize("late", [-2, -1, 1, 2])
def test_positions_of_a_neighbouring_photograph_are_found_out(late):
    centres = lawnmower()
    noise = np.random.default_rng(2).normal(scale=0.5, size=centres.shape)
    slip = estimate_slip(centres, slipped(centres, late) + noise, np.arange(len(centres)))
    assert slip == pytest.approx(late, abs=0.15 * abs(late))


def test_positions_that_merely_scatter_have_no_slip():
    centres = lawnmower()
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(scale=3.0, size=centres.shape)
        assert estimate_slip(centres, centres + noise, np.arange(len(centres))) == 0.0


def test_a_shift_of_the_whole_block_is_no_slip():
    centres = lawnmower()
    moved = centres + np.array([5.0, -3.0, 2.0])
    assert estimate_slip(centres, moved, np.arange(len(centres))) == 0.0


def test_few_photographs_say_nothing():
    centres = lawnmower(lines=1, photographs=6)
    assert estimate_slip(centres, slipped(centres, 1), np.arange(6)) == 0.0


def test_steps_follow_the_order_in_which_photographs_were_taken():
    centres = np.array([[20.0, 0, 0], [0.0, 0, 0], [10.0, 0, 0]])
    steps = steps_of(centres, np.array([1, 2, 0]))
    assert steps[:, 0].tolist() == [10.0, 10.0, 10.0]


def test_the_way_to_another_flight_is_no_step():
    centres = np.array([[0.0, 0, 0], [10, 0, 0], [20, 0, 0], [500, 0, 0], [510, 0, 0]])
    assert steps_of(centres, np.arange(5))[:, 0].tolist() == [10, 10, 10, 10, 10]
