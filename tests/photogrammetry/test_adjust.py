from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from photogrammetry.orientation.adjust import (
    AdjustOptions,
    TieWeight,
    adjust,
    assess_vertical_scale,
    camera_covariance,
    camera_from_parameters,
    camera_parameters,
)
from photogrammetry.orientation.priors import (
    collect_known,
    held_in_place,
    with_doubted_lens,
    with_flying_height,
)
from photogrammetry.orientation.refine import (
    RefineOptions,
    observation_sigma_px,
    weigh,
    without_outliers,
)
from photogrammetry.orientation.summary import warn_of_weak_scale

WEIGHT = TieWeight(loss_px=1.0, sigma_px=1.0)


def start_from(block, camera):
    """A block as reconstruction leaves it: the lens from the metadata, poses a little off."""
    random = np.random.default_rng(9)
    poses = block.poses.copy()
    poses[:, 4:] += random.normal(scale=0.3, size=(len(poses), 3))
    return replace(block, poses=poses, cameras=(camera,))


def test_the_lens_and_the_poses_are_found_again(flown):
    block, poses = flown.flown_block(noise_px=0.3)
    guess = replace(flown.CAMERA, k1=0.0, k2=0.0, p1=0.0, p2=0.0, cx_px=400.0, cy_px=300.0)
    known = flown.known_of(block, sigma_m=0.01, camera=replace(guess, focal_sigma=0.001))
    found = adjust(start_from(block, guess), known, WEIGHT, AdjustOptions())
    camera = found.cameras[0]
    assert np.linalg.norm(found.residuals(), axis=1).mean() < 0.45  # 0.3 px along each axis
    assert camera.fx_px == pytest.approx(700, rel=0.002)
    assert (camera.cx_px, camera.cy_px) == pytest.approx((405, 298), abs=2)
    assert camera.k1 == pytest.approx(-0.03, abs=0.01)
    off = found.centres - np.array([p.centre for p in poses])
    assert np.sqrt((off**2).mean(axis=0)).max() < 0.02


def test_a_wrong_match_pulls_no_pose_away(flown):
    block, poses = flown.flown_block(noise_px=0.3)
    known = flown.known_of(block, sigma_m=0.01)
    xy = block.xy_px.copy()
    random = np.random.default_rng(0)
    wrong = random.choice(len(xy), len(xy) // 30, replace=False)
    xy[wrong] += random.normal(scale=40, size=(len(wrong), 2))
    found = adjust(replace(block, xy_px=xy), known, WEIGHT, AdjustOptions())
    off = found.centres - np.array([p.centre for p in poses])
    assert np.sqrt((off**2).mean(axis=0)).max() < 0.02
    left = without_outliers(found, RefineOptions())
    assert len(left.photo) < len(xy) - 0.9 * len(wrong)


def test_a_wrong_position_is_given_little_weight(flown):
    block, poses = flown.flown_block(noise_px=0.3)
    known = flown.known_of(block, sigma_m=0.05)
    known.positions[4] += [30.0, 0.0, 0.0]
    found = adjust(block, known, WEIGHT, AdjustOptions())
    off = found.centres - np.array([p.centre for p in poses])
    assert np.linalg.norm(off[4]) < 0.2


def test_two_heights_and_exact_positions_find_a_focal_length_the_metadata_have_wrong(flown):
    block, _ = flown.flown_block(noise_px=0.3, heights_m=(40.0, 60.0))
    wrong = replace(flown.CAMERA, fx_px=728.0, fy_px=728.0, focal_sigma=0.05)
    known = flown.known_of(block, sigma_m=0.01, camera=wrong)
    found = adjust(replace(block, cameras=(wrong,)), known, WEIGHT, AdjustOptions())
    assert found.cameras[0].fx_px == pytest.approx(700, rel=0.003)


def test_a_held_focal_length_is_held(flown):
    block, _ = flown.flown_block(noise_px=0.3)
    known = flown.known_of(block, sigma_m=0.05)
    found = adjust(block, known, WEIGHT, AdjustOptions(), held_focal_factor=1.05)
    assert found.cameras[0].fx_px == 700 * 1.05
    assert found.cameras[0].k1 != block.cameras[0].k1


def test_the_result_is_the_same_every_time(flown):
    block, _ = flown.flown_block(noise_px=0.3)
    known = flown.known_of(block, sigma_m=0.05)
    one, other = (adjust(block, known, WEIGHT, AdjustOptions()) for _ in range(2))
    assert np.array_equal(one.poses, other.poses)


def test_parameters_come_back_as_a_camera(flown):
    again = camera_from_parameters(flown.CAMERA, camera_parameters(flown.CAMERA))
    assert again == flown.CAMERA


def test_the_prior_says_focal_sigma_and_square_pixels(flown):
    covariance = camera_covariance(flown.CAMERA, AdjustOptions())
    assert np.sqrt(covariance[0, 0]) == pytest.approx(0.02 * 700, rel=1e-3)
    difference = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    assert np.sqrt(difference) == pytest.approx(AdjustOptions().aspect_sigma * 700)


def test_sigma_of_an_observation_allows_for_the_unknowns(flown):
    block, _ = flown.flown_block(noise_px=0.5)
    found = adjust(block, flown.known_of(block, sigma_m=0.05), WEIGHT, AdjustOptions())
    assert observation_sigma_px(found) == pytest.approx(0.5, rel=0.1)


def test_many_observations_that_err_together_weigh_less(flown):
    block, _ = flown.flown_block(noise_px=0.5)
    alone = weigh(block, RefineOptions(common_error_share=0.0))
    together = weigh(block, RefineOptions(common_error_share=0.02))
    number = np.median(np.bincount(block.photo))
    ratio = together.sigma_px / alone.sigma_px
    assert ratio == pytest.approx(np.sqrt(1 + (number - 1) * 0.02))


def test_level_ground_from_one_height_leaves_the_vertical_scale_weak(flown):
    block, _ = flown.flown_block(noise_px=0.3)
    known = flown.known_of(block, sigma_m=2.0)
    weight = weigh(block, RefineOptions())
    found = adjust(block, known, weight, AdjustOptions())
    scale = assess_vertical_scale(found, known, weight, AdjustOptions())
    assert scale.weak
    assert scale.sigma_scale <= 0.02
    assert scale.height_agl_m[0] < scale.height_agl_m[1] < scale.height_agl_m[2]
    assert "oblique" in warn_of_weak_scale(scale, "test bench")


def test_a_second_height_makes_the_vertical_scale_firm(flown):
    block, _ = flown.flown_block(noise_px=0.3, heights_m=(40.0, 60.0))
    known = flown.known_of(block, sigma_m=0.02)
    weight = weigh(block, RefineOptions())
    found = adjust(block, known, weight, AdjustOptions())
    scale = assess_vertical_scale(found, known, weight, AdjustOptions())
    assert not scale.weak
    assert scale.sigma_scale < 0.005


def test_the_flying_height_speaks_for_the_focal_length(flown):
    block, poses = flown.flown_block(noise_px=0.0)
    wrong = replace(flown.CAMERA, fx_px=721.0, fy_px=721.0)
    captures = flown.captures_of(poses)
    known = collect_known(captures, {"test": wrong}, flown.FRAME)
    told = with_flying_height(known, block, captures).cameras[0]
    assert 700 < told.fx_px < 721
    assert told.focal_sigma < wrong.focal_sigma


def test_a_flying_height_above_other_ground_is_not_believed(flown):
    block, poses = flown.flown_block(noise_px=0.0)
    captures = [replace(c, height_takeoff_m=70.0) for c in flown.captures_of(poses)]
    known = collect_known(captures, {"test": flown.CAMERA}, flown.FRAME)
    assert with_flying_height(known, block, captures) is known


def test_a_lens_that_block_and_barometer_contradict_is_let_go(flown):
    block, poses = flown.flown_block(noise_px=0.0)
    captures = flown.captures_of(poses)
    wrong = replace(flown.CAMERA, fx_px=805.0, fy_px=805.0)  # 15 % too long
    known = collect_known(captures, {"test": wrong}, flown.FRAME)
    assert with_flying_height(known, block, captures) is known  # too far apart to be joined
    (lens,) = with_doubted_lens(known, known, block, captures).cameras
    assert lens.fx_px == pytest.approx(700, rel=0.02)
    assert lens.focal_sigma > wrong.focal_sigma


def test_a_lens_is_not_let_go_where_the_barometer_does_not_bear_it_out(flown):
    block, poses = flown.flown_block(noise_px=0.0)
    wrong = replace(flown.CAMERA, fx_px=805.0, fy_px=805.0)
    silent = [replace(c, height_takeoff_m=None) for c in flown.captures_of(poses)]
    known = collect_known(silent, {"test": wrong}, flown.FRAME)
    assert with_doubted_lens(known, known, block, silent) is known
    right = collect_known(silent, {"test": flown.CAMERA}, flown.FRAME)
    assert with_doubted_lens(right, right, block, silent) is right


def test_no_position_is_trusted_beyond_the_floor(flown):
    _, poses = flown.flown_block(noise_px=0.0)
    captures = flown.captures_of(poses, sigma_m=1e-4)
    known = collect_known(captures, {"test": flown.CAMERA}, flown.FRAME)
    assert known.position_sigmas.min() == 0.01


def test_a_block_without_positions_is_held_where_it_is(flown):
    block, poses = flown.flown_block(noise_px=0.3)
    captures = [replace(c, longitude_deg=None) for c in flown.captures_of(poses)]
    known = held_in_place(collect_known(captures, {"test": flown.CAMERA}, flown.FRAME), block)
    found = adjust(block, known, WEIGHT, AdjustOptions())
    assert np.linalg.norm(found.centres.mean(axis=0) - block.centres.mean(axis=0)) < 0.5
