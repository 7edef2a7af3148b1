"""Which patches of a surface stand, and how rough a window's ground is."""

from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.judgement import _firm_patches, _local_mean, _relief
from photogrammetry.surface import SurfaceOptions

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
    firm[:, :10] = True  # a third of the lower half
    firm[:, 50:53] = True  # a tenth of the upper half
    kept = kept_of(height, probable, compared, firm)
    assert kept[:, :29].all()
    assert not kept[:, 32:].any()


def test_evidence_is_averaged_over_known_neighbours_only():
    confidence = np.full((9, 9), 0.5, np.float32)
    confidence[:, 6:] = np.nan
    found = _local_mean(confidence)
    np.testing.assert_allclose(found[2:7, 2:6], 0.5, atol=1e-6)
    assert (found[:, 6:] == -1).all()


def test_relief_of_a_slope_is_that_of_evenly_spaced_heights():
    sheet = np.broadcast_to(np.arange(20, dtype=np.float32) * 0.1 + 300.0, (20, 20)).copy()
    # Five heights 0.1 m apart: 0.1 m times the standard deviation of 0, 1, 2, 3, 4.
    expected = 0.1 * np.std(np.arange(5))
    assert _relief(sheet, 2)[8, 8] == pytest.approx(expected, rel=1e-3)
    assert _relief(sheet, 2).shape == (16, 16)
