from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from photogrammetry.surface.confidence import LEAST_SHARE, REACH_CELLS, Judgement, bridge_gaps

SIZE = 6 * REACH_CELLS
CELL_M = 0.04


def judgement(measured: np.ndarray) -> Judgement:
    return Judgement(
        measured=measured,
        confidence=np.where(measured, 0.8, 0.1).astype(np.float32),
        views=np.full(measured.shape, 3, np.uint8),
        sigma=np.where(measured, 0.01, np.nan).astype(np.float32),
        open=np.ones_like(measured),
    )


def hole(size: int) -> np.ndarray:
    measured = np.ones((SIZE, SIZE), np.bool_)
    low = (SIZE - size) // 2
    measured[low : low + size, low : low + size] = False
    return measured


def test_a_small_gap_on_a_lawn_is_closed_with_the_lawns_own_doubt_and_never_millimetres() -> None:
    x = np.arange(SIZE, dtype=np.float32) * 0.001 + 150.0
    height, judged = bridge_gaps(np.tile(x, (SIZE, 1)), judgement(hole(8)), CELL_M)
    assert judged.measured.all()
    assert height == pytest.approx(np.tile(x, (SIZE, 1)), abs=1e-3)
    assert np.nanmax(judged.sigma) < 0.03
    assert judged.sigma[SIZE // 2, SIZE // 2] >= 0.5 * CELL_M
    assert judged.views[SIZE // 2, SIZE // 2] == 0


def test_a_pit_between_crowns_gets_their_height_and_metres_of_doubt() -> None:
    rng = np.random.default_rng(4)
    crowns = (15 + rng.normal(0, 1.0, (SIZE, SIZE))).astype(np.float32)
    measured = hole(10)
    crowns[~measured] = 0.0
    height, judged = bridge_gaps(crowns, judgement(measured), CELL_M)
    gap = ~measured
    assert height[gap] == pytest.approx(15.0, abs=0.5)
    assert (judged.sigma[gap] > 0.8).all()
    assert (height[measured] == crowns[measured]).all()
    assert judged.sigma[measured] == pytest.approx(0.01)


def test_a_gap_at_the_foot_of_a_wall_stays_on_its_side() -> None:
    height = np.zeros((SIZE, SIZE), np.float32)
    height[:, SIZE // 2 :] = 3.0
    measured = np.ones_like(height, np.bool_)
    measured[:, SIZE // 2 - 4 : SIZE // 2 + 1] = False
    bridged, judged = bridge_gaps(height, judgement(measured), CELL_M)
    assert judged.measured.all()
    assert (bridged == height).all()
    assert judged.sigma[10, SIZE // 2] > 1.0


def test_a_surface_on_its_side_is_bridged_alike() -> None:
    crowns = np.full((SIZE, SIZE), 15.0, np.float32)
    crowns[:, : SIZE // 2] += np.random.default_rng(5).normal(0, 0.5, (SIZE, SIZE // 2))
    measured = np.ones((SIZE, SIZE), np.bool_)
    low, side = SIZE // 2, SIZE // 4
    measured[low - 2 : low + 3, low - side : low + side] = False
    crowns[~measured] = 0.0
    height, judged = bridge_gaps(crowns, judgement(measured), CELL_M)
    turned, judged_turned = bridge_gaps(
        np.ascontiguousarray(crowns.T), judgement(np.ascontiguousarray(measured.T)), CELL_M
    )
    assert height[low, low + side - 2] == pytest.approx(15.0, abs=0.05)  # amid level ground
    np.testing.assert_allclose(turned.T, height, atol=1e-4)
    np.testing.assert_allclose(judged_turned.sigma.T, judged.sigma, atol=1e-4)


def test_a_gap_too_large_for_its_surroundings_stays_open() -> None:
    level = np.zeros((SIZE, SIZE), np.float32)
    _, judged = bridge_gaps(level, judgement(hole(4 * REACH_CELLS)), CELL_M)
    assert LEAST_SHARE < 1
    assert not judged.measured[SIZE // 2, SIZE // 2]


def test_ground_that_no_two_photographs_look_at_is_never_bridged() -> None:
    measured = hole(6)
    blind = replace(judgement(measured), open=measured)
    _, judged = bridge_gaps(np.zeros((SIZE, SIZE), np.float32), blind, CELL_M)
    assert (judged.measured == measured).all()


def test_a_cell_in_which_no_two_views_agree_keeps_its_height_with_its_surroundings_doubt() -> None:
    rng = np.random.default_rng(5)
    height = rng.normal(0, 0.2, (SIZE, SIZE)).astype(np.float32)
    judged = judgement(np.ones(height.shape, np.bool_))
    alone = np.s_[SIZE // 2, SIZE // 2]
    judged.views[alone] = 1
    found, bridged = bridge_gaps(height, judged, CELL_M)
    assert found[alone] == height[alone]
    assert bridged.measured.all()
    assert bridged.views[alone] == 0
    assert bridged.sigma[alone] == pytest.approx(0.2, rel=0.2)


def test_cells_without_agreeing_views_do_not_stand_by_themselves() -> None:
    measured = np.zeros((SIZE, SIZE), np.bool_)
    measured[10:20, 10:20] = True
    judged = replace(judgement(measured), views=np.ones(measured.shape, np.uint8))
    _, bridged = bridge_gaps(np.zeros(measured.shape, np.float32), judged, CELL_M)
    assert not bridged.measured.any()
    assert np.isnan(bridged.sigma).all()
