from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from photogrammetry.orientation.priors import GIMBAL, angle_deg, estimate_vertical, fit_plane
from tmp.cameras import Pose

UP = np.array([0.0, 0.0, 1.0])
SILENT = np.full((15, 3, 3), np.nan)


def turned(block, rotations, centres=None):
    """Return a block with other rotations, and other centres if given."""
    centres = block.centres if centres is None else centres
    quaternions = Rotation.from_matrix(rotations).as_quat()
    translations = -np.einsum("nij,nj->ni", rotations, centres)
    return replace(block, poses=np.column_stack([quaternions, translations]))


def looking(yaws_deg, pitch_deg):
    return np.array([Pose.from_gimbal(y, pitch_deg, 0.0, np.zeros(3)).rotation for y in yaws_deg])


def test_gimbal_angles_are_believed_alone_where_they_agree(flown):
    block, poses = flown.flown_block(noise_px=0)
    found = estimate_vertical(block, np.array([p.rotation for p in poses]))
    assert found.evidence == (GIMBAL,)
    assert angle_deg(found.up, UP) < 0.01
    assert found.sigma_deg == pytest.approx(1.0, abs=0.05)


def test_a_third_of_wrong_gimbal_angles_does_not_lean_the_block(flown):
    block, poses = flown.flown_block(noise_px=0)
    recorded = np.array([p.rotation for p in poses])
    recorded[:5] = looking([0] * 5, -30.0)
    assert angle_deg(estimate_vertical(block, recorded).up, UP) < 1.0


def test_gimbal_angles_that_contradict_each_other_say_nothing(flown):
    block, _ = flown.flown_block(noise_px=0)
    recorded = np.array([p.rotation for p in flown.stations()])
    recorded[::2] = [looking([20.0 * i], -90.0 + 9.0 * i)[0] for i in range(8)]
    assert GIMBAL not in estimate_vertical(block, recorded).evidence


@pytest.mark.parametrize("pitch_deg", [-90.0, -75.0, -45.0])
def test_a_camera_at_a_fixed_slant_gives_the_vertical_when_headings_are_spread(flown, pitch_deg):
    # Three of five photographs look west: their mean view is not vertical, what they share is.
    block, _ = flown.flown_block(noise_px=0)
    slanted = turned(block, looking([90] * 9 + [-90] * 6, pitch_deg))
    found = estimate_vertical(slanted, SILENT)
    assert found.evidence[0] == "views"
    assert angle_deg(found.up, UP) < 1.0


def test_level_flight_pulls_back_a_drone_that_leans_into_the_wind(flown):
    block, _ = flown.flown_block(noise_px=0)
    lean = Rotation.from_rotvec(np.radians([0.0, 5.0, 0.0])).as_matrix()
    leaning = turned(block, looking([90] * 8 + [-90] * 7, -90.0) @ lean)
    found = estimate_vertical(leaning, SILENT)
    assert found.evidence == ("views", "level flight", "the lie of the ground")
    assert angle_deg(found.up, UP) < 3.0


def test_a_slope_flown_along_does_not_count_as_level(flown):
    # Cameras that look straight down over ground and flight at 25 degrees.
    block, _ = flown.flown_block(noise_px=0)
    slope = np.tan(np.radians(25.0)) * np.array([1.0, 0.0])
    climbing = block.centres + np.outer(block.centres[:, :2] @ slope, UP)
    ground = block.points + np.outer(block.points[:, :2] @ slope, UP)
    steep = replace(turned(block, block.rotations, climbing), points=ground)
    found = estimate_vertical(steep, SILENT)
    assert found.evidence == ("views",)
    assert angle_deg(found.up, UP) < 1.5


def test_views_of_one_heading_are_believed_less(flown):
    block, _ = flown.flown_block(noise_px=0)
    line = turned(block, looking([90.0] * 15, -90.0))
    spread = turned(block, looking([90.0] * 8 + [-90.0] * 7, -90.0))
    found = [estimate_vertical(b, SILENT).sigma_deg for b in (line, spread)]
    assert found[0] > found[1]


def test_a_plane_is_fitted_through_most_of_its_points():
    random = np.random.default_rng(1)
    points = np.column_stack(
        [random.uniform(-50, 50, (200, 2)), random.normal(scale=0.1, size=200)]
    )
    points[:40, 2] += random.uniform(5, 30, 40)
    normal, spread = fit_plane(points, UP)
    assert angle_deg(normal, UP) < 0.2
    assert spread < 0.3
