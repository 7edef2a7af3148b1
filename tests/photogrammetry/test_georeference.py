from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from photogrammetry.orientation.georeference import (
    ASSUMED_HEIGHT,
    HeightSource,
    assess_firmness,
    centres_later,
    georeference,
    level,
    weigh_positions,
)
from photogrammetry.orientation.priors import Priors, estimate_vertical
from tmp.captures import HeightUse
from tmp.errors import OrientationError

ONE = [""] * 15
RANDOM = Rotation.from_rotvec([0.3, -1.1, 2.0]).as_matrix()


def known_of(block, positions, *, sigmas=(3.0, 6.0), rotations=None):
    count = len(block.names)
    return Priors(
        positions=np.asarray(positions, float),
        position_sigmas=np.tile([sigmas[0], sigmas[0], sigmas[1]], (count, 1)).astype(float),
        cameras=block.cameras,
        rotations=np.full((count, 3, 3), np.nan) if rotations is None else rotations,
        tilt_sigmas_deg=np.full(count, 2.0),
    )


def place(block, positions, *, rotations=None, sigmas=(3.0, 6.0), **options):
    """Place a block that has been moved to a frame of its own."""
    away = block.transformed(0.2, RANDOM, np.array([3.0, 4.0, 5.0]))
    known = known_of(away, positions, sigmas=sigmas, rotations=rotations)
    return georeference(away, known, estimate_vertical(away, known.rotations), **options)


def tilt_deg(block, truth):
    """Return how far the world's vertical is off, by the rotations of the photographs."""
    off = truth.rotations.transpose(0, 2, 1) @ block.rotations
    return float(np.degrees(np.arccos(np.clip(off[:, 2, 2], -1, 1))).max())


def test_a_block_is_brought_back_to_its_world(flown):
    block, poses = flown.flown_block(noise_px=0)
    placed = place(block, [p.centre for p in poses], sigmas=(0.01, 1e-6))
    assert placed.heights is HeightSource.GNSS
    assert np.allclose(placed.block.centres, [p.centre for p in poses], atol=1e-3)
    assert np.allclose(placed.block.points, block.points, atol=1e-3)
    assert np.abs(placed.block.residuals()).max() < 1e-6


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
    placed = place(line, [p.centre for p in poses[:5]], rotations=rotations if gimbal else None)
    angle = np.degrees(
        (
            Rotation.from_matrix(placed.block.rotations) * Rotation.from_matrix(rotations).inv()
        ).magnitude()
    )
    assert angle.max() < (0.5 if gimbal else 2.0)  # the views wobble by one degree


@pytest.mark.parametrize("gimbal", [True, False])
def test_heights_that_climb_while_the_drone_flew_level_do_not_tilt_the_block(flown, gimbal):
    block, poses = flown.flown_block(noise_px=0)
    positions = np.array([p.centre for p in poses])
    positions[:, 2] += np.linspace(0, 100, len(poses))
    rotations = np.array([p.rotation for p in poses]) if gimbal else None
    placed = place(block, positions, rotations=rotations)
    assert placed.heights is HeightSource.NONE
    assert placed.judged.range_m > 80
    assert tilt_deg(placed.block, block) < 2.5
    assert placed.block.centres[:, :2] == pytest.approx(positions[:, :2], abs=1.5)


def test_heights_that_are_off_by_a_constant_are_believed(flown):
    block, poses = flown.flown_block(noise_px=0)
    placed = place(block, np.array([p.centre for p in poses]) + np.array([0, 0, 77.0]))
    assert placed.heights is HeightSource.GNSS
    assert np.median(placed.block.centres[:, 2]) == pytest.approx(117, abs=1)


def test_heights_above_take_off_take_the_place_of_heights_that_drift(flown):
    block, poses = flown.flown_block(noise_px=0)
    positions = np.array([p.centre for p in poses])
    relative = positions[:, 2].copy()
    positions[:, 2] += np.linspace(0, 100, len(poses))
    placed = place(block, positions, relative=relative)
    assert placed.heights is HeightSource.RELATIVE
    assert placed.known.positions[:, 2] - relative == pytest.approx(
        np.full(15, (placed.known.positions[:, 2] - relative).mean()), abs=1e-6
    )


def test_loose_heights_of_a_small_block_hardly_tilt_it(flown):
    block, poses = flown.flown_block(noise_px=0)
    positions = np.array([p.centre for p in poses])
    # 12 degrees by heights good to 10 m each, of which a slope is known to 8 degrees.
    positions[:, 2] += np.tan(np.radians(12)) * (positions[:, 1] - positions[:, 1].mean())
    rotations = np.array([p.rotation for p in poses])
    placed = place(block, positions, rotations=rotations, sigmas=(3.0, 10.0))
    assert placed.heights is HeightSource.GNSS
    assert tilt_deg(placed.block, block) < 2.0


def test_what_the_user_says_of_heights_is_done(flown):
    block, poses = flown.flown_block(noise_px=0)
    good = np.array([p.centre for p in poses])
    ignored = place(block, good, heights=HeightUse.IGNORE)
    assert ignored.heights is HeightSource.NONE
    drifting = good + np.linspace(0, 100, len(poses))[:, None] * [0, 0, 1]
    trusted = place(block, drifting, heights=HeightUse.TRUST)
    assert trusted.heights is HeightSource.GNSS
    assert tilt_deg(trusted.block, block) > 10


@pytest.mark.parametrize("late", [0.0, 1.0])
def test_positions_that_are_late_are_set_back_and_others_left(flown, caplog, late):
    block, poses = flown.flown_block(noise_px=0, heights_m=(30.0, 34.0))
    true = np.array([p.centre for p in poses])
    placed = place(block, centres_later(true, np.arange(len(true)), late))
    # But for the ends of lines, where nobody can tell how the drone had flown on.
    assert np.median(np.linalg.norm(placed.block.centres - true, axis=1)) < 0.5
    assert ("positions are late by 1.00 photographs: set back" in caplog.text) == (late > 0)


def test_positions_worse_than_they_claim_weigh_less(flown):
    block, poses = flown.flown_block(noise_px=0)
    random = np.random.default_rng(4)
    scattered = np.array([p.centre for p in poses]) + random.normal(scale=[12, 12, 1], size=(15, 3))
    placed = place(block, scattered)
    weighed = weigh_positions(placed.block, placed.known, placed.known)
    assert 6 < np.median(weighed.position_sigmas[:, 0]) < 20
    assert np.median(weighed.position_sigmas[:, 2]) >= 6.0
    assert assess_firmness(placed.block, weighed, placed, ONE).scale_sigma > 0.05


@pytest.mark.parametrize("number", [5, 6])
def test_the_scatter_of_six_positions_says_something_and_that_of_five_nothing(flown, number):
    block, poses = flown.flown_block(noise_px=0)
    scatter = np.random.default_rng(4).normal(scale=[12, 12, 1], size=(15, 3))
    placed = place(block, np.array([p.centre for p in poses]) + scatter)
    few = placed.known.positions.copy()
    few[number:] = np.nan
    known = replace(placed.known, positions=few)
    weighed = weigh_positions(placed.block, known, known)
    assert (weighed.position_sigmas[0, 0] > known.position_sigmas[0, 0]) == (number == 6)


def test_positions_as_good_as_they_claim_keep_their_weight(flown):
    block, poses = flown.flown_block(noise_px=0)
    placed = place(block, [p.centre for p in poses])
    weighed = weigh_positions(placed.block, placed.known, placed.known)
    assert np.array_equal(weighed.position_sigmas, placed.known.position_sigmas)


def test_the_tilt_of_firm_heights_is_known_better_than_that_of_loose_ones(flown):
    block, poses = flown.flown_block(noise_px=0)
    away = block.transformed(0.2, RANDOM, np.zeros(3))
    doubts = []
    for sigmas in ((0.02, 0.03), (3.0, 6.0)):
        known = known_of(away, [p.centre for p in poses], sigmas=sigmas)
        placed = georeference(away, known, estimate_vertical(away, known.rotations))
        doubts.append(assess_firmness(placed.block, placed.known, placed, ONE))
    assert doubts[0].tilt_sigma_deg < 0.1 < doubts[1].tilt_sigma_deg
    # 3 m in nine independent positions that spread by 12.7 m and 9.8 m: 3 / (3 * 16.1).
    assert doubts[1].scale_sigma == pytest.approx(0.062, abs=0.005)


def test_two_flights_leave_more_open_than_one(flown):
    block, poses = flown.flown_block(noise_px=0)
    placed = place(block, [p.centre for p in poses])
    one = assess_firmness(placed.block, placed.known, placed, ONE)
    two = assess_firmness(placed.block, placed.known, placed, ["1"] * 8 + ["2"] * 7)
    assert two.scale_sigma > one.scale_sigma
    assert two.tilt_sigma_deg > one.tilt_sigma_deg


def test_offsets_of_two_flights_open_the_scale_as_trials_show(flown):
    block, _ = flown.flown_block(noise_px=0)
    places = block.centres[:, :2] - block.centres[:, :2].mean(axis=0)
    second = np.arange(15) >= 8
    random = np.random.default_rng(3)
    scales = []
    for _ in range(3000):
        offsets = random.normal(scale=3.0, size=(2, 2))
        target = places + offsets[second.astype(int)]
        scales.append(float((places * (target - target.mean(axis=0))).sum() / (places**2).sum()))
    known = known_of(block, block.centres)
    placed = place(block, block.centres)
    two = assess_firmness(block, known, placed, [str(late) for late in second])
    one = assess_firmness(block, known, placed, ONE)
    between = np.sqrt(two.scale_sigma**2 - one.scale_sigma**2)
    assert between == pytest.approx(np.std(scales), rel=0.05)


def test_positions_at_one_place_are_refused(flown):
    block, poses = flown.flown_block(noise_px=0)
    with pytest.raises(OrientationError, match="two at different places"):
        place(block, np.ones((len(poses), 3)))


def test_a_block_without_positions_is_levelled(flown):
    block, _ = flown.flown_block(noise_px=0)
    away = block.transformed(0.2, RANDOM, np.ones(3))
    levelled = level(away, estimate_vertical(away, np.full((15, 3, 3), np.nan)))
    assert np.median(levelled.points[:, 2]) == pytest.approx(0, abs=1e-9)
    assert np.median(levelled.centres[:, 2]) == pytest.approx(ASSUMED_HEIGHT)
    assert levelled.rotations[:, 2, 2].mean() < -0.99
    assert np.abs(levelled.residuals()).max() < 1e-6
