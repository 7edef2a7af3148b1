"""Semi-global aggregation against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photogrammetry.kernels.aggregation import DIRECTIONS, aggregate, pick_heights


def aggregated_by_definition(cost, low, count, small, large):
    """Hirschmüller (2008), eq. 13, cell by cell, hypotheses by their height."""
    rows, cols, _ = cost.shape
    total = np.zeros(cost.shape)
    for dr, dc in DIRECTIONS:
        order_r = range(rows) if dr >= 0 else range(rows - 1, -1, -1)
        order_c = range(cols) if dc >= 0 else range(cols - 1, -1, -1)
        paths = {}
        for r in order_r:
            for c in order_c:
                before = paths.get((r - dr, c - dc))
                path = {}
                for k in range(low[r, c], low[r, c] + count[r, c]):
                    own = float(cost[r, c, k - low[r, c]])
                    if before is not None:
                        least = min(before.values())
                        ways = [least + large]
                        ways += [before[k]] if k in before else []
                        ways += [before[n] + small for n in (k - 1, k + 1) if n in before]
                        own += min(ways) - least
                    path[k] = own
                    total[r, c, k - low[r, c]] += own
                paths[r, c] = path
    return total


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_path_costs_follow_their_definition(seed, rows, cols, ragged):
    rng = np.random.default_rng(seed)
    depth = 7
    cost = rng.integers(0, 255, (rows, cols, depth)).astype(np.uint8)
    low = rng.integers(-9, 9, (rows, cols)) if ragged else np.zeros((rows, cols))
    count = rng.integers(1, depth + 1, (rows, cols)) if ragged else np.full((rows, cols), depth)
    low, count = low.astype(np.int32), count.astype(np.int32)
    total = np.empty(cost.shape, np.float32)
    aggregate(cost, low, count, 10.0, np.full((rows, cols), 60.0, np.float32), total)
    expected = aggregated_by_definition(cost, low, count, 10.0, 60.0)
    searched = np.arange(depth) < count[..., None]
    # Sums of whole numbers far below 2^24 are exact in float32.
    np.testing.assert_array_equal(total[searched], expected[searched])


def test_a_lone_wrong_cell_is_brought_into_line():
    cost = np.full((9, 9, 5), 100, np.uint8)
    cost[..., 2] = 20
    cost[4, 4] = (10, 100, 30, 100, 100)
    low, count = np.zeros((9, 9), np.int32), np.full((9, 9), 5, np.int32)
    total = np.empty(cost.shape, np.float32)
    aggregate(cost, low, count, 10.0, np.full((9, 9), 60.0, np.float32), total)
    assert total[4, 4].argmin() == 2


def picked(total, low, sheet_m, step_m):
    """Height, margin and distance of the rival of one cell."""
    total = np.asarray(total, np.float32).reshape(1, 1, -1)
    found = [np.empty((1, 1), np.float32) for _ in range(3)]
    count = np.array([[total.shape[2]]], np.int32)
    sheet = np.array([[sheet_m]], np.float32)
    pick_heights(total, np.array([[low]], np.int32), count, sheet, step_m, *found)
    return [float(value[0, 0]) for value in found]


def test_a_height_is_refined_to_the_parabolas_vertex():
    height, _, _ = picked((np.arange(6) - 2.3) ** 2, -1, 5.0, 0.1)
    assert height == pytest.approx(5.0 + (-1 + 2.3) * 0.1, abs=1e-5)


def test_a_height_at_the_end_of_the_search_is_not_refined():
    assert picked([1.0, 2.0, 9.0], 0, 0.0, 0.5)[0] == 0.0


def test_the_rival_is_the_cheapest_other_minimum_three_steps_away():
    #        best      too near    no minimum     rival
    total = [9.0, 1.0, 5.0, 3.0, 8.0, 7.0, 6.0, 4.0, 9.0]
    _, margin, away = picked(total, 0, 0.0, 0.5)
    assert margin == 3.0
    assert away == 3.0


def test_a_single_minimum_has_no_rival():
    _, margin, away = picked([5.0, 1.0, 2.0, 3.0, 4.0, 5.0, 5.5], 0, 0.0, 0.5)
    assert margin == np.inf
    assert away == 0.0
