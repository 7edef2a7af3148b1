"""Which patches of a surface stand, and how it goes on beyond them."""

from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.surface.continuation import (
    COARSE_CELLS,
    Standing,
    Summary,
    blend_into,
    continue_surface,
)
from tmp.geo.grids import Grid, Tile

FLYING_M = 40.0
SIDE = 60
GRID = Grid(
    crs=None, x_min=0.0, y_max=60.0, cell_m=1 / COARSE_CELLS, rows=SIDE * 16, cols=SIDE * 16
)
ISLAND = np.s_[50:53, 50:53]
NO_POINTS = np.zeros((0, 3))


def summary(views: float = 4.0) -> Summary:
    """Level ground at 100 m over the north-west, in coarse cells of 1 m."""
    made = Summary.empty(GRID)
    made.share[:40, :40] = 1.0
    made.height[:40, :40] = 100.0
    made.views[:40, :40] = views
    return made


def with_island(height_m: float, views: float = 4.0) -> Summary:
    made = summary()
    made.share[ISLAND] = 1.0
    made.height[ISLAND] = height_m
    made.views[ISLAND] = views
    return made


def ties(height_m: float, number: int = 5) -> np.ndarray:
    return np.column_stack(
        [np.linspace(50.2, 52.8, number), np.full(number, 8.5), np.full(number, height_m)]
    )


def stands(made: Summary, points=NO_POINTS) -> bool:
    standing = continue_surface(made, points, FLYING_M).standing[ISLAND]
    assert (standing == standing[0, 0]).all()
    return bool(standing[0, 0] == Standing.TRUSTED)


def test_the_main_surface_stands_and_the_sheet_follows_it_and_goes_on():
    continued = continue_surface(summary(), NO_POINTS, FLYING_M)
    assert (continued.standing[:40, :40] == Standing.TRUSTED).all()
    assert (continued.standing[45:, 45:] == Standing.CONTINUED).all()
    assert continued.height == pytest.approx(100.0, abs=0.5)


def test_an_island_below_the_ground_about_it_is_dropped():
    assert not stands(with_island(94.0))


def test_an_island_of_two_photographs_is_dropped_and_of_three_is_kept():
    assert not stands(with_island(106.0, views=2.0))
    assert stands(with_island(106.0, views=3.0))


def test_a_second_large_surface_stands_however_far_below_the_first_it_lies():
    """A terrace of 15 m by 60 m at the foot of a cliff, seen by three photographs."""
    made = summary()
    made.share[45:, :] = 1.0
    made.height[45:, :] = 80.0
    made.views[45:, :] = 3.0
    standing = continue_surface(made, NO_POINTS, FLYING_M).standing
    assert (standing[45:, :] == Standing.TRUSTED).all()
    assert (standing[:40, :40] == Standing.TRUSTED).all()


def test_of_small_surfaces_alone_the_largest_counts_as_the_ground():
    made = Summary.empty(GRID)
    for part, height_m in ((np.s_[5:11, 5:11], 100.0), (np.s_[20:23, 20:23], 92.0)):
        made.share[part], made.height[part], made.views[part] = 1.0, height_m, 3.0
    standing = continue_surface(made, NO_POINTS, FLYING_M).standing
    assert (standing[5:11, 5:11] == Standing.TRUSTED).all()
    assert (standing[20:23, 20:23] != Standing.TRUSTED).all()


def test_an_island_with_tie_points_at_its_height_is_kept():
    assert stands(with_island(94.0, views=2.0), ties(94.0))
    assert not stands(with_island(94.0, views=2.0), ties(100.0))


def test_a_pit_that_two_photographs_alone_see_within_the_surface_is_dropped():
    made = summary()
    made.height[36:40, 10:20] = 98.5
    made.views[36:40, 10:20] = 2.0
    standing = continue_surface(made, NO_POINTS, FLYING_M).standing
    assert (standing[36:40, 10:20] == Standing.CONTINUED).all()
    made.views[36:40, 10:20] = 3.0
    standing = continue_surface(made, NO_POINTS, FLYING_M).standing
    assert (standing[36:40, 10:20] == Standing.TRUSTED).all()


def test_far_from_anything_known_nothing_is_drawn():
    made = Summary.empty(
        Grid(crs=None, x_min=0.0, y_max=20.0, cell_m=1 / COARSE_CELLS, rows=320, cols=3200)
    )
    made.share[:, :20] = 1.0
    made.views[:, :20] = 4.0
    standing = continue_surface(made, NO_POINTS, FLYING_M).standing
    assert (standing[:, 25:70] == Standing.CONTINUED).all()
    assert (standing[:, 90:] == Standing.UNKNOWN).all()


def test_tie_points_carry_the_sheet_where_nothing_was_measured():
    rng = np.random.default_rng(1)
    points = np.column_stack([rng.uniform(40, 60, (600, 2)), np.full(600, 103.0)])
    points[:, 1] -= 40
    continued = continue_surface(summary(), points, FLYING_M)
    assert continued.height[48:58, 44:56] == pytest.approx(103.0, abs=0.7)


def test_a_survey_without_any_surface_is_summed_up_without_fuss():
    continued = continue_surface(Summary.empty(GRID), NO_POINTS, FLYING_M)
    assert (continued.standing == Standing.UNKNOWN).all()


def test_a_tile_is_summed_up_by_measured_cells_and_their_own_views():
    made = Summary.empty(GRID)
    height = np.full((32, 40), 7.0, np.float32)
    measured = np.zeros(height.shape, bool)
    measured[:16, :8] = True
    views = np.where(np.arange(40) < 4, 0.0, 3.0).astype(np.float32) * np.ones((32, 1), np.float32)
    made.add(Tile(row=16, col=32, rows=32, cols=40), height, measured, views)
    assert made.share[1, 2] == pytest.approx(0.5)
    assert made.height[1, 2] == pytest.approx(7.0)
    assert made.views[1, 2] == pytest.approx(3.0)
    assert made.share.sum() == pytest.approx(0.5)


def test_a_gap_on_a_slope_lies_on_the_slope_and_measured_heights_stay():
    slope = np.tile(np.linspace(200.0, 201.0, 80, dtype=np.float32), (80, 1))
    measured = np.ones(slope.shape, bool)
    measured[35:45, 35:45] = False
    blended = blend_into(
        np.where(measured, slope, 150).astype(np.float32), measured, slope + 1, 0.1
    )
    assert (blended[measured] == slope[measured]).all()
    assert blended[~measured] == pytest.approx(slope[~measured], abs=0.15)


def test_a_crown_ends_with_a_step_and_not_with_a_flank():
    height = np.full((100, 100), 12.0, np.float32)
    measured = np.zeros(height.shape, bool)
    measured[40:60, 40:60] = True
    blended = blend_into(height, measured, np.zeros_like(height), 0.1)
    assert (blended[~measured] == 0.0).all()


def test_a_crown_that_stands_alone_does_not_lift_the_sheet():
    made = summary()
    made.height[20:23, 20:23] = 115.0
    continued = continue_surface(made, NO_POINTS, FLYING_M)
    assert continued.height[16:27, 16:27] == pytest.approx(100.0, abs=0.5)
    assert (continued.standing[20:23, 20:23] == Standing.TRUSTED).all()


def test_beyond_the_rim_a_surface_leaves_for_the_sheet():
    height = np.full((300, 40), 3.0, np.float32)
    measured = np.zeros(height.shape, bool)
    measured[:50] = True
    sheet = np.full(height.shape, 5.0, np.float32)
    blended = blend_into(height, measured, sheet, 0.1)
    assert blended[52, 20] == pytest.approx(3.0, abs=0.2)
    assert blended[120:, 20] == pytest.approx(5.0, abs=0.01)
    assert (np.diff(blended[50:, 20]) >= -1e-6).all()
    assert (blend_into(height, np.zeros_like(measured), sheet, 0.1) == sheet).all()
