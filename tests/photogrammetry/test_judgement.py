"""Which patches of a surface stand, on what evidence, and how rough a window's ground is."""

from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.surface.confidence import (
    ACCEPTED,
    _firm_patches,
    _least_side,
    _local_mean,
    _relief,
    _weigh,
)
from photogrammetry.surface.measure import SurfaceOptions
from photogrammetry.surface.search import LevelGrid
from tmp.geo.grids import Grid

CELL_M = 0.1
RULE = SurfaceOptions().rule


def flat(compared: int = 4):
    height = np.zeros((60, 60), np.float32)
    return height, np.ones(height.shape, bool), np.full(height.shape, compared, np.uint8)


def kept_of(height, probable, compared, firm=None):
    firm = probable if firm is None else firm
    return _firm_patches(height, probable, firm, compared, CELL_M, RULE)


def test_a_plain_surface_is_kept_whole():
    height, measured, compared = flat()
    assert kept_of(height, measured, compared).all()


def test_a_lone_spike_is_dropped_and_a_car_is_kept():
    height, measured, compared = flat()
    height[10:14, 10:14] = 5.0  # 0.16 m² on a pole
    height[30:50, 20:50] = 1.5  # 6 m²
    kept = kept_of(height, measured, compared)
    assert not kept[11:13, 11:13].any()
    assert kept[32:48, 22:48].all()


def test_a_patch_that_only_two_views_compare_must_be_ten_times_as_large():
    height, measured, compared = flat()
    height[10:25, 10:25] = 3.0  # 2.25 m²
    height[30:55, 10:45] = 3.0  # 8.75 m²
    compared[5:, 5:50] = 2
    kept = kept_of(height, measured, compared)
    assert not kept[12:23, 12:23].any()
    assert kept[32:53, 12:43].all()


def test_doubtful_cells_stand_with_a_firm_patch_and_fall_without():
    height, probable, compared = flat()
    height[:, 30:] = 5.0
    firm = np.zeros_like(probable)
    firm[:, :30:3] = True  # a third of the lower half
    firm[:, 34::9] = True  # a tenth of the upper half
    kept = kept_of(height, probable, compared, firm)
    assert kept[:, :29].all()
    assert not kept[:, 32:].any()


def test_evidence_is_averaged_over_known_neighbours_only():
    confidence = np.full((9, 9), 0.5, np.float32)
    confidence[:, 6:] = np.nan
    found = _local_mean(confidence)
    np.testing.assert_allclose(found[2:7, 2:6], 0.5, atol=1e-6)
    assert (found[:, 6:] == -1).all()


def test_a_field_does_not_vouch_for_the_lake_it_ends_at():
    height, probable, compared = flat()
    firm = np.zeros_like(probable)
    firm[:, :25] = True  # the field: far more than a quarter of the patch
    kept = kept_of(height, probable, compared, firm)
    assert kept[:, :30].all()  # windows about the shore hold enough of it
    assert not kept[:, 40:].any()


def test_single_doubtful_cells_stand_among_firm_ones():
    height, probable, compared = flat()
    firm = probable.copy()
    firm[25:33, 25:33] = False
    assert kept_of(height, probable, compared, firm).all()


def test_the_least_side_is_that_of_the_four_corners_and_unknown_ones_do_not_count():
    confidence = np.full((12, 12), 0.9, np.float32)
    confidence[:, 8:] = 0.0
    least = _least_side(confidence)
    np.testing.assert_allclose(least[:, :4], 0.9, atol=1e-6)
    np.testing.assert_allclose(least[:, 7:], 0.0, atol=1e-6)
    confidence[:, 8:] = np.nan
    np.testing.assert_allclose(_least_side(confidence)[:, :8], 0.9, atol=1e-6)


def test_a_wide_window_does_not_speak_for_water_beside_a_shore():
    grid = Grid.from_bounds((0.0, 0.0, 4.0, 4.0), 0.1, "EPSG:32630")
    confidence = np.full((40, 40), 0.9, np.float32)
    confidence[:, 20:] = 0.05
    compared = np.full(confidence.shape, 4, np.uint8)
    for radius, shore in ((2, 19), (1, 20)):
        ground = LevelGrid.of(grid, 0, halo=0, radius=radius, block=16)
        accepted = _weigh(ground, confidence, compared, RULE) & ACCEPTED > 0
        # The average of five cells alone would do up to the land's last cell, 19.
        assert accepted[:, :shore].all()
        assert not accepted[:, shore:].any()


def test_a_slope_has_no_relief():
    row, col = np.indices((20, 20)).astype(np.float32)
    assert _relief(300 + 0.1 * col - 0.07 * row, 2)[2:-2, 2:-2].max() < 1e-3


def test_relief_is_what_a_plane_leaves_of_a_windows_heights():
    row, col = np.indices((11, 11)).astype(np.float32)
    sheet = (0.2 * col + np.random.default_rng(5).normal(0, 1, (11, 11))).astype(np.float32)
    for wider in (0, 1):
        reach = 2 + wider
        part = np.s_[5 - reach : 6 + reach, 5 - reach : 6 + reach]
        z = sheet[part].ravel()
        design = np.column_stack([np.ones(z.size), col[part].ravel(), row[part].ravel()])
        left = z - design @ np.linalg.lstsq(design, z, rcond=None)[0]
        found = _relief(sheet, 2, wider=wider)
        assert found.shape == (7, 7)
        assert found[3, 3] == pytest.approx(left.std(), rel=1e-3)
