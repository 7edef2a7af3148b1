"""Normals of surfaces: planes, rims and holes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photogrammetry.surface.cloud import normals_of


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.01, 2), st.integers(2, 6), st.integers(2, 6))
def test_normals_of_a_tilted_plane_are_exact_to_its_rim(east, north, cell_m, rows, cols):
    x, y = np.meshgrid(np.arange(cols) * cell_m, -np.arange(rows) * cell_m)
    normals = normals_of((east * x + north * y).astype(np.float32), cell_m)
    true = np.array([-east, -north, 1.0]) / np.sqrt(1 + east**2 + north**2)
    np.testing.assert_allclose(normals, np.broadcast_to(true, normals.shape), atol=1e-5)


@given(st.integers(0, 1000))
def test_normals_of_any_surface_turn_with_it(seed):
    height = np.random.default_rng(seed).normal(0, 1, (4, 5)).astype(np.float32)
    height.ravel()[seed % 20] = np.nan
    east, north, up = np.moveaxis(normals_of(height, 0.7), 2, 0)
    turned = normals_of(np.rot90(height), 0.7)  # a quarter anticlockwise
    expected = np.rot90(np.stack([-north, east, up], axis=2))
    np.testing.assert_allclose(turned, expected, atol=1e-5)


def test_normals_beside_a_hole_are_those_of_the_plane():
    x, _ = np.meshgrid(np.arange(5.0), np.arange(5.0))
    height = (0.5 * x).astype(np.float32)
    height[2, 3] = np.nan
    normals = normals_of(height, 1.0)
    assert np.isnan(normals[2, 3]).all()
    normals[2, 3] = normals[0, 0]
    np.testing.assert_allclose(normals, np.broadcast_to([-0.4472136, 0, 0.8944272], (5, 5, 3)))


@pytest.mark.parametrize(
    ("height", "normal"),
    [
        ([[0, 1]], (-1, 0, 1)),  # known to the east only
        ([[1], [0]], (0, -1, 1)),  # to the south only
        ([[np.nan, 1], [0, np.nan]], (-0.5, -0.5, 1)),  # along one diagonal only
    ],
)
def test_slope_known_in_one_direction_is_level_across_it(height, normal):
    normals = normals_of(np.array(height, np.float32), 1.0)
    expected = np.array(normal) / np.linalg.norm(normal)
    np.testing.assert_allclose(normals[1 if len(height) == 2 else 0, 0], expected, atol=1e-3)


def test_one_cell_points_up():
    np.testing.assert_array_equal(normals_of(np.ones((1, 1), np.float32), 0.1), [[[0, 0, 1]]])
