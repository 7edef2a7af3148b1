from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from photogrammetry.georeference import (
    ASSUMED_HEIGHT,
    fit_similarity,
    fit_similarity_robustly,
    georeference,
    level,
)
from tmp.errors import OrientationError

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


def test_a_third_of_wrong_positions_does_not_disturb():
    random = np.random.default_rng(1)
    source = random.normal(size=(30, 3))
    target = 5 * source @ RANDOM.T + random.normal(scale=0.01, size=(30, 3))
    target[:10] += random.normal(scale=100, size=(10, 3))
    fit = fit_similarity_robustly(source, target)
    assert fit.scale == pytest.approx(5, rel=0.005)


def test_a_block_is_brought_back_to_its_world(flown):
    block, poses = flown.flown_block(noise_px=0)
    away = block.transformed(0.2, RANDOM, np.array([3.0, 4.0, 5.0]))
    nothing = np.full((len(poses), 3, 3), np.nan)
    back = georeference(away, np.array([p.centre for p in poses]), nothing)
    assert np.allclose(back.centres, [p.centre for p in poses], atol=1e-6)
    assert np.allclose(back.points, block.points, atol=1e-6)
    assert np.abs(back.residuals()).max() < 1e-6


@pytest.mark.parametrize("gimbal", [True, False])
def test_one_straight_line_takes_its_tilt_from_the_views(flown, gimbal):
    block, poses = flown.flown_block(noise_px=0)
    line = block.kept(block.photo < 5)
    line = type(line)(
        names=line.names[:5],
        cameras=line.cameras,
        camera_of=line.camera_of[:5],
        poses=line.poses[:5],
        points=line.points,
        photo=line.photo,
        point=line.point,
        xy_px=line.xy_px,
    )
    rotations = np.array([p.rotation for p in poses[:5]])
    away = line.transformed(0.2, RANDOM, np.zeros(3))
    recorded = rotations if gimbal else np.full((5, 3, 3), np.nan)
    back = georeference(away, np.array([p.centre for p in poses[:5]]), recorded)
    angle = np.degrees(
        (Rotation.from_matrix(back.rotations) * Rotation.from_matrix(rotations).inv()).magnitude()
    )
    assert angle.max() < (0.5 if gimbal else 2.0)  # the views wobble by one degree


def test_positions_at_one_place_are_refused(flown):
    block, poses = flown.flown_block(noise_px=0)
    nothing = np.full((len(poses), 3, 3), np.nan)
    same = np.ones((len(poses), 3))
    with pytest.raises(OrientationError, match="two at different places"):
        georeference(block, same, nothing)


def test_a_block_without_positions_is_levelled(flown):
    block, _ = flown.flown_block(noise_px=0)
    levelled = level(block.transformed(0.2, RANDOM, np.ones(3)))
    assert np.median(levelled.points[:, 2]) == pytest.approx(0, abs=1e-9)
    assert np.median(levelled.centres[:, 2]) == pytest.approx(ASSUMED_HEIGHT)
    assert levelled.rotations[:, 2, 2].mean() < -0.99
    assert np.abs(levelled.residuals()).max() < 1e-6
