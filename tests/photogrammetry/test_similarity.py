from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from photogrammetry.orientation.block import (
    fit_level_similarity,
    fit_similarity,
    fit_similarity_robustly,
)

RANDOM = Rotation.from_rotvec([0.3, -1.1, 2.0]).as_matrix()


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_a_similarity_is_recovered_exactly(seed: int, scale: float):
    random = np.random.default_rng(seed)
    rotation = Rotation.random(random_state=seed).as_matrix()
    source, shift = random.normal(size=(6, 3)), random.normal(size=3)
    fit = fit_similarity(source, scale * source @ rotation.T + shift)
    assert fit.scale == pytest.approx(scale, rel=1e-9)
    assert np.allclose(fit.rotation, rotation, atol=1e-9)
    assert np.allclose(fit.translation, shift, atol=1e-8 * max(scale, 1))
    assert np.allclose(fit.inverse(fit(source)), source, atol=1e-8)


def test_a_mirrored_block_is_turned_and_not_mirrored():
    """The corners of a cube: Umeyama's equations 40 and 42 give a third of the size there."""
    cube = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    fit = fit_similarity(cube, cube * [1.0, 1.0, -1.0])
    assert np.linalg.det(fit.rotation) == pytest.approx(1)
    assert fit.scale == pytest.approx(1 / 3)


@given(st.integers(0, 1000))
def test_a_flat_block_in_noise_keeps_its_right_side_up(seed: int):
    random = np.random.default_rng(seed)
    flat = random.normal(size=(5, 3)) * [1.0, 1.0, 1e-6]
    fit = fit_similarity(flat, flat @ RANDOM.T + random.normal(scale=1e-4, size=(5, 3)))
    assert np.linalg.det(fit.rotation) == pytest.approx(1)


def test_a_third_of_wrong_positions_does_not_disturb():
    random = np.random.default_rng(1)
    source = random.normal(size=(30, 3))
    target = 5 * source @ RANDOM.T + random.normal(scale=0.01, size=(30, 3))
    target[:10] += random.normal(scale=100, size=(10, 3))
    fit = fit_similarity_robustly(source, target)
    assert fit.scale == pytest.approx(5, rel=0.005)


@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-3, 3))
def test_a_level_similarity_is_recovered_in_spite_of_wrong_points(
    seed: int, scale: float, heading_rad: float
):
    random = np.random.default_rng(seed)
    source, shift = random.uniform(-50, 50, (20, 2)), random.normal(size=2)
    cosine, sine = np.cos(heading_rad), np.sin(heading_rad)
    target = scale * source @ np.array([[cosine, sine], [-sine, cosine]]) + shift
    target[:6] += scale * random.uniform(40, 90, (6, 2))
    found = fit_level_similarity(source, target)
    assert found[0] == pytest.approx(scale, rel=1e-3)
    assert found[1] == pytest.approx(heading_rad, abs=1e-3)


def test_two_points_fix_a_level_similarity():
    scale, heading_rad, shift = fit_level_similarity(
        np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[5.0, 5.0], [5.0, 7.0]])
    )
    assert (scale, heading_rad) == pytest.approx((2.0, np.pi / 2))
    assert shift == pytest.approx([5.0, 5.0])
