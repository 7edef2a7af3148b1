from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from photogrammetry.orientation import precision
from photogrammetry.orientation.adjust import AdjustOptions, TieWeight, adjust
from photogrammetry.orientation.precision import INTERIOR, _interior, assess_precision
from tmp.cameras import Camera

NOISE_PX, SIGMA_M = 0.3, 0.05
WEIGHT = TieWeight(loss_px=10.0, sigma_px=NOISE_PX)


def test_poses_scatter_as_their_standard_deviations_say(flown):
    """Twelve adjustments by Ceres, each with other noise: what they scatter by is the truth."""
    off, focal_px = [], []
    for seed in range(12):
        block, poses = flown.flown_block(noise_px=NOISE_PX, seed=seed)
        known = flown.known_of(block, sigma_m=SIGMA_M, seed=100 + seed)
        known = replace(known, cameras=(replace(flown.CAMERA, focal_sigma=1.0),))
        found = adjust(block, known, WEIGHT, AdjustOptions(tolerance=1e-10))
        off.append(found.centres - np.array([pose.centre for pose in poses]))
        focal_px.append(found.cameras[0].fx_px - flown.CAMERA.fx_px)
    said = assess_precision(found, known, WEIGHT, AdjustOptions())
    assert said is not None
    spread = np.sqrt((np.array(off) ** 2).mean(axis=(0, 1)))
    stated = np.sqrt((said.centre_sigmas**2).mean(axis=0))
    assert spread == pytest.approx(stated, rel=0.35)  # 12 draws of errors that are much alike
    interior = said.interior["test"]
    assert np.std(focal_px) == pytest.approx(interior.sigmas[0], rel=0.45)
    assert (said.turn_sigmas_deg < 0.2).all()


def test_focal_length_and_flying_height_cannot_be_told_apart_over_level_ground(flown):
    block, _ = flown.flown_block()
    known = flown.known_of(block, sigma_m=1.0)
    one = assess_precision(block, known, WEIGHT, AdjustOptions())
    twice, _ = flown.flown_block(heights_m=(40.0, 60.0))
    two = assess_precision(twice, flown.known_of(twice, sigma_m=1.0), WEIGHT, AdjustOptions())
    assert one is not None
    assert two is not None
    fx = INTERIOR.index("fx_px")
    assert one.interior["test"].sigmas[fx] > 1.4 * two.interior["test"].sigmas[fx]
    assert one.centre_sigmas[:, 2].mean() > 1.4 * two.centre_sigmas[:, 2].mean()


def test_correlations_are_symmetric_and_of_unit_diagonal(flown):
    block, _ = flown.flown_block()
    said = assess_precision(block, flown.known_of(block, sigma_m=0.1), WEIGHT, AdjustOptions())
    assert said is not None
    matrix = np.array(said.interior["test"].correlation)
    assert (matrix == matrix.T).all()
    assert (np.diag(matrix) == 1).all()
    assert matrix[INTERIOR.index("k1"), INTERIOR.index("k2")] < -0.3  # they bend the other way


def test_each_camera_of_several_has_its_own_precision():
    sigmas = np.arange(1.0, 19.0)
    for start in (0, 9):
        found = _interior(np.diag(sigmas**2), start)
        assert found.sigmas == tuple(sigmas[start : start + 9])
        assert found.correlation == tuple(map(tuple, np.eye(9).tolist()))


def test_derivatives_are_those_of_the_projection(flown):
    block, _ = flown.flown_block(noise_px=0.0)
    pose, interior, ground = precision._derivatives(block, np.arange(len(block.photo)))
    camera, seen = block.cameras[0], block.residuals() + block.xy_px
    for column, name in enumerate(INTERIOR):
        step = 1e-3 if name.endswith("px") else 1e-6
        other: Camera = replace(camera, **{name: getattr(camera, name) + step})
        moved = replace(block, cameras=(other,))
        by = (moved.residuals() + block.xy_px - seen) / step
        assert interior[:, :, column] == pytest.approx(by, abs=1e-2 + 1e-3 * np.abs(by).max())
    moved = replace(block, points=block.points + np.array([0, 0, 1e-4]))
    by = (moved.residuals() + block.xy_px - seen) / 1e-4
    assert ground[:, :, 2] == pytest.approx(by, rel=1e-3, abs=1e-3)
    shift = block.rotations @ np.array([0, 0, -1e-4])  # the centres rise
    poses = np.column_stack([block.poses[:, :4], block.poses[:, 4:] + shift])
    by = (replace(block, poses=poses).residuals() + block.xy_px - seen) / 1e-4
    assert pose[:, :, 5] == pytest.approx(by, rel=1e-3, abs=1e-3)


def test_of_a_block_that_is_too_large_nothing_is_said(flown, monkeypatch):
    block, _ = flown.flown_block()
    monkeypatch.setattr(precision, "MOST_PHOTOGRAPHS", 14)
    known = flown.known_of(block, sigma_m=0.1)
    assert assess_precision(block, known, WEIGHT, AdjustOptions()) is None
