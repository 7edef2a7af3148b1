from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.coverage import REACH_CELLS, continued_heights, mapped_ground

SIZE = 4 * REACH_CELLS


def test_a_gap_among_measured_cells_belongs_to_the_map_where_it_is_seen() -> None:
    measured = np.ones((SIZE, SIZE), np.bool_)
    measured[SIZE // 2 - 20 : SIZE // 2 + 20, SIZE // 2 - 20 : SIZE // 2 + 20] = False
    seen = np.ones_like(measured)
    assert mapped_ground(measured, seen, seen)[SIZE // 2, SIZE // 2]
    assert not mapped_ground(measured, seen & measured, seen)[SIZE // 2, SIZE // 2]


def test_stray_cells_do_not() -> None:
    measured = np.zeros((SIZE, SIZE), np.bool_)
    measured[::5, ::5] = True
    assert not mapped_ground(measured, np.ones_like(measured), np.ones_like(measured)).any()


def test_nothing_reaches_far_beyond_measured_ground() -> None:
    measured = np.zeros((SIZE, SIZE), np.bool_)
    measured[:, : SIZE // 2] = True
    mapped = mapped_ground(measured, np.ones_like(measured), np.ones_like(measured))[SIZE // 2]
    assert mapped[: SIZE // 2].all()
    assert not mapped[SIZE // 2 + REACH_CELLS :].any()


def test_the_edge_of_the_grid_is_not_a_rim() -> None:
    measured = np.zeros((SIZE, SIZE), np.bool_)
    measured[:, REACH_CELLS:] = np.arange(3 * REACH_CELLS) % 3 > 0
    asked = np.zeros_like(measured)
    asked[:, REACH_CELLS:] = True
    mapped = mapped_ground(measured, asked, asked)
    assert (mapped == asked).all()


def test_a_pit_is_continued_from_the_slope_about_it_and_the_slope_left_alone() -> None:
    slope = np.tile(np.linspace(200.0, 201.0, 80, dtype=np.float32), (80, 1))
    measured = np.ones(slope.shape, np.bool_)
    measured[35:45, 35:45] = False
    pitted = np.where(measured, slope, 150.0).astype(np.float32)
    continued = continued_heights(pitted, measured)
    assert (continued[measured] == slope[measured]).all()
    assert continued[~measured] == pytest.approx(slope[~measured], abs=0.1)


def test_far_from_anything_measured_the_guess_stays() -> None:
    height = np.full((300, 20), 7.0, np.float32)
    measured = np.zeros(height.shape, np.bool_)
    measured[:5] = True
    height[:5] = 3.0
    continued = continued_heights(height, measured)
    assert continued[8, 10] == pytest.approx(3.0, abs=0.01)
    assert (continued[200:] == 7.0).all()
    assert (continued_heights(height, np.zeros_like(measured)) == height).all()
