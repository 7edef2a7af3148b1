"""Lines of sight over a height field with one wall."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from photogrammetry.kernels.rendering import in_sight

CELL_M = 0.5


def wall(height_m: float) -> np.ndarray:
    """Flat ground, 41 × 41 cells, with a wall along column 20."""
    sheet = np.zeros((41, 41), np.float32)
    sheet[:, 20] = height_m
    return sheet


def test_a_wall_hides_what_lies_in_its_shadow():
    # Ten cells beside the wall, a ray that climbs 1 m per metre is 5 m up at the wall.
    assert not in_sight(wall(6.0), CELL_M, 20, 10, 0.0, 1.0, 0.0, 6.0)
    assert in_sight(wall(5.0), CELL_M, 20, 10, 0.0, 1.0, 0.0, 5.0)
    assert in_sight(wall(6.0), CELL_M, 20, 10, 0.0, -1.0, 0.0, 6.0)


def test_north_is_up_the_rows():
    sheet = wall(6.0).T.copy()
    assert not in_sight(sheet, CELL_M, 30, 5, 0.0, 0.0, 1.0, 6.0)
    assert in_sight(sheet, CELL_M, 30, 5, 0.0, 0.0, -1.0, 6.0)


def test_nothing_hides_a_cell_from_straight_above():
    assert in_sight(wall(50.0), CELL_M, 20, 19, 0.0, 0.0, 0.0, 50.0)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.1, 12), st.floats(0.1, 12), st.floats(-3, 3), st.integers(0, 19))
def test_a_lower_wall_never_hides_more(one, other, slope, column):
    low, high = sorted((one, other))
    if in_sight(wall(high), CELL_M, 20, column, 0.0, slope, 0.3, high):
        assert in_sight(wall(low), CELL_M, 20, column, 0.0, slope, 0.3, low)
