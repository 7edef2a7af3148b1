"""Cells and search ranges of the pyramid."""

from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.surface.search import (
    LevelGrid,
    Sought,
    coarsen,
    narrowed_search,
    refine,
    refine_outline,
    widest_search,
)
from photogrammetry.surface.trend import Trend
from tmp.geo.grids import Grid

WINDOW = Grid(crs=None, x_min=0.0, y_max=10.0, cell_m=0.1, rows=37, cols=52)


SLOPE = Trend(
    x_min=-100.0,
    y_max=100.0,
    cell_m=4.0,
    height=np.tile(300.0 + 2.0 * np.arange(50.0), (50, 1)),
)
"""Rises 0.5 m per metre eastwards."""


def ground(level: int, radius: int = 2) -> LevelGrid:
    return LevelGrid.of(WINDOW, level, halo=8, radius=radius, block=16)


def test_a_grounds_cells_are_those_of_the_grid_about_its_centre():
    finest = ground(0, radius=1)
    inner = slice(8 + 1, -(8 + 1))
    x, y = WINDOW.cell_centres()
    x0, y0, x1, y1 = WINDOW.bounds
    np.testing.assert_allclose(finest.x[inner], x - (x0 + x1) / 2, atol=1e-6)
    np.testing.assert_allclose(finest.y[inner], y - (y0 + y1) / 2, atol=1e-6)
    assert finest.shape == (37 + 16, 52 + 16)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_coarse_cell_covers_whole_fine_cells(level):
    finest, coarse = ground(0), ground(level)
    west = coarse.x[coarse.radius + 8] - coarse.cell_m / 2
    assert west == pytest.approx(finest.x[finest.radius + 8] - finest.cell_m / 2, abs=1e-6)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_plane_stays_a_plane_on_coarser_levels(level):
    finest, coarse = ground(0), ground(level)
    inner = slice(finest.radius, -finest.radius)
    plane = 0.3 * finest.x[None, inner] - 0.2 * finest.y[inner, None]
    found = coarsen(plane.astype(np.float32), finest, coarse)
    expected = 0.3 * coarse.x[None] - 0.2 * coarse.y[:, None]
    # Only where the coarser level lies within the finer one's halo.
    core = slice(coarse.radius + 8, -(coarse.radius + 8))
    np.testing.assert_allclose(found[core, core], expected[core, core], atol=1e-5)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_refining_repeats_each_coarse_cell(level):
    finest, coarse = ground(0), ground(level)
    inner = slice(coarse.radius, -coarse.radius)
    fine = finest.x[finest.radius : -finest.radius]
    found = refine(np.broadcast_to(coarse.x[inner], coarse.shape), coarse, finest)
    assert found.shape == finest.shape
    assert np.abs(found - fine).max() <= coarse.cell_m / 2 + 1e-5


def test_the_widest_search_covers_the_range_asked_for():
    sought = Sought(trend=SLOPE, low_m=-4.0, high_m=6.0)
    level = ground(3)
    sheet = sought.sheet(level, np.array([2.0, 8.0, 300.0]))
    search = widest_search(level, sought, sheet, step=0.75)
    heights = search.sheet[0, 0] + search.step_m * np.arange(search.low[0, 0], search.high[0, 0])
    assert heights[0] <= sheet[0, 0] - 4.0 + 1e-5
    assert heights[-1] >= sheet[0, 0] + 6.0 - 1e-5
    assert search.step_m == pytest.approx(0.6)


def test_heights_far_off_the_sheet_cost_more_the_closer_tie_points_keep_to_it():
    level = ground(3)

    def penalty(scatter_m):
        sought = Sought(trend=SLOPE, low_m=-4.0, high_m=12.0, scatter_m=scatter_m)
        sheet = sought.sheet(level, np.array([2.0, 8.0, 300.0]))
        search = widest_search(level, sought, sheet, step=0.75)
        heights = search.step_m * np.arange(search.low[0, 0], search.high[0, 0])
        assert len(search.penalty) == len(heights)
        return heights, search.penalty

    heights, close = penalty(0.6)
    assert close[np.argmin(np.abs(heights))] == 0
    assert (np.diff(close[heights >= 0].astype(int)) >= 0).all()
    # Two standard deviations: four times the logarithm of 1 + 2².
    assert close[np.argmin(np.abs(heights - 1.2))] == round(4 * np.log(5))
    assert (penalty(3.0)[1] <= close).all()
    assert close.max() <= 20  # a sixth of a correlation, however far
    assert not penalty(np.inf)[1].any()


def test_the_first_search_follows_the_sheet_and_neighbouring_tiles_share_its_heights():
    sought = Sought(trend=SLOPE, low_m=-2.0, high_m=3.0)
    level = ground(3)
    here, there = (sought.sheet(level, np.array([x, 8.0, 250.0])) for x in (2.0, 2.0 + 0.8))
    assert np.ptp(here[0]) == pytest.approx(0.5 * np.ptp(level.x), rel=1e-5)
    # Moved by one coarse cell of 0.8 m, the same places have the same heights.
    np.testing.assert_allclose(here[:, 1:], there[:, :-1], atol=1e-4)


def test_a_narrowed_search_holds_the_coarser_surface_and_both_sides_of_a_wall():
    coarse, fine = ground(1), ground(0)
    height = np.zeros(coarse.shape, np.float32)
    height[:, 20:] = 1.5
    search = narrowed_search(fine, coarse, height, step=0.75, margin=3, widest=60)
    inner = search.sheet[fine.radius : -fine.radius, fine.radius : -fine.radius]
    bottom = inner + search.low * search.step_m
    top = inner + (search.high - 1) * search.step_m
    wall = np.abs(fine.x[fine.radius : -fine.radius] - coarse.x[coarse.radius + 20]) < 0.15
    assert bottom[:, wall].max() < 0.0
    assert top[:, wall].min() > 1.5
    flat = np.abs(fine.x[fine.radius : -fine.radius] - coarse.x[coarse.radius + 20]) > 1.5
    assert (search.high - search.low)[:, flat].max() <= 2 * 3 + 2


def test_an_outline_from_a_coarser_level_has_no_staircase():
    finest, coarse = ground(0), ground(2)
    inner = slice(coarse.radius, -coarse.radius)
    mask = coarse.x[None, inner] > 1.3 * coarse.y[inner, None]
    found = refine_outline(mask, coarse, finest)
    assert found.shape == finest.shape
    x, y = finest.x[finest.radius : -finest.radius], finest.y[finest.radius : -finest.radius]
    core = np.s_[8:-8, 8:-8]
    away = np.abs(x[None] - 1.3 * y[:, None]) / np.hypot(1, 1.3)
    wrong = found != (x[None] > 1.3 * y[:, None])
    assert away[core][wrong[core]].max() < 0.6 * coarse.cell_m
    staircase = refine(mask, coarse, finest) != (x[None] > 1.3 * y[:, None])
    assert wrong[core].sum() < 0.8 * staircase[core].sum()
