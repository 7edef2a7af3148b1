from __future__ import annotations

import numpy as np

from photogrammetry.surface.continuation import REACH_CELLS, closed_ground

SIZE = 4 * REACH_CELLS


def test_a_gap_among_measured_cells_is_closed_where_it_is_seen() -> None:
    measured = np.ones((SIZE, SIZE), np.bool_)
    measured[SIZE // 2 - 20 : SIZE // 2 + 20, SIZE // 2 - 20 : SIZE // 2 + 20] = False
    seen = np.ones_like(measured)
    assert closed_ground(measured, seen, seen)[SIZE // 2, SIZE // 2]
    assert not closed_ground(measured, seen & measured, seen)[SIZE // 2, SIZE // 2]


def test_stray_cells_are_left_open() -> None:
    measured = np.zeros((SIZE, SIZE), np.bool_)
    measured[::5, ::5] = True
    assert not closed_ground(measured, np.ones_like(measured), np.ones_like(measured)).any()


def test_nothing_is_closed_far_beyond_measured_ground() -> None:
    measured = np.zeros((SIZE, SIZE), np.bool_)
    measured[:, : SIZE // 2] = True
    closed = closed_ground(measured, np.ones_like(measured), np.ones_like(measured))[SIZE // 2]
    assert closed[: SIZE // 2].all()
    assert not closed[SIZE // 2 + REACH_CELLS :].any()


def test_the_edge_of_the_grid_is_not_a_rim() -> None:
    measured = np.zeros((SIZE, SIZE), np.bool_)
    measured[:, REACH_CELLS:] = np.arange(3 * REACH_CELLS) % 3 > 0
    asked = np.zeros_like(measured)
    asked[:, REACH_CELLS:] = True
    closed = closed_ground(measured, asked, asked)
    assert (closed == asked).all()
