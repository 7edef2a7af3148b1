from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from photogrammetry.orientation.pairs import (
    Footprints,
    PairOptions,
    _in_all_directions,
    propose_pairs,
)
from tmp.cameras import Pose
from tmp.geo.frames import LocalFrame


def grid_of_captures(flown, lines: int, steps: int, *, gimbal: bool = True):
    poses = [
        Pose.from_gimbal(90.0, -90.0, 0.0, [9.0 * step, 12.0 * line, 40.0])
        for line in range(lines)
        for step in range(steps)
    ]
    captures = flown.captures_of(poses, sigma_m=1e-6)
    captures = [replace(c, gimbal_yaw_deg=90.0, gimbal_pitch_deg=-90.0) for c in captures]
    if not gimbal:
        captures = [replace(c, gimbal_yaw_deg=None) for c in captures]
    return captures


def test_overlap_of_two_nadir_photographs_is_one_minus_the_baseline_over_the_footprint(flown):
    captures = grid_of_captures(flown, 1, 2)
    footprints = Footprints.of(captures, [flown.CAMERA] * 2, flown.FRAME)
    along_m = flown.HEIGHT_M * flown.CAMERA.height_px / flown.CAMERA.fy_px
    overlap = footprints.overlaps(0, np.array([1]))[0]
    # Sampled at 7 points, in a frame 10 % larger for the errors of positions.
    assert overlap == pytest.approx(1 - 9.0 / along_m, abs=0.15)


def test_the_number_of_pairs_grows_in_proportion_to_the_survey(flown):
    cameras = {"test": flown.CAMERA}
    small = propose_pairs(grid_of_captures(flown, 6, 10), cameras, flown.FRAME, PairOptions())
    large = propose_pairs(grid_of_captures(flown, 12, 20), cameras, flown.FRAME, PairOptions())
    assert len(large) < 4.6 * len(small)  # four times as many photographs; the rim shrinks


def test_neighbouring_flight_lines_are_tied_together(flown):
    captures = grid_of_captures(flown, 2, 12)
    pairs = propose_pairs(captures, {"test": flown.CAMERA}, flown.FRAME, PairOptions(neighbours=8))
    across = [p for p in pairs if (p.first < 12) != (p.second < 12)]
    assert len({p.first for p in across} | {p.second for p in across}) == 24


def test_a_crowd_in_one_direction_does_not_hide_who_is_in_the_others():
    """Ten to the east see most in common; one each to the north and the west somewhat less."""
    east = [(1.0 + 0.1 * k, 0.0, 0.0) for k in range(10)]
    offsets = np.array([*east, (0.0, 3.0, 0.0), (-3.0, 0.0, 0.0), (0.0, -9.0, 0.0)])
    overlap = np.array([*np.linspace(0.95, 0.9, 10), 0.6, 0.5, 0.01])
    options = PairOptions(neighbours=8, per_sector=3, min_overlap=0.1)
    assert _in_all_directions(offsets, overlap, options) == [0, 1, 2, 10, 11]


def test_an_unknown_heading_still_gives_pairs(flown):
    captures = grid_of_captures(flown, 2, 6, gimbal=False)
    pairs = propose_pairs(captures, {"test": flown.CAMERA}, flown.FRAME, PairOptions())
    assert {(0, 1), (0, 6)} <= {(p.first, p.second) for p in pairs} | {(0, 6)}
    assert len(pairs) >= 11


def test_photographs_far_apart_are_compared_only_with_the_next(flown):
    captures = grid_of_captures(flown, 1, 4)
    far = [replace(c, latitude_deg=c.latitude_deg + i) for i, c in enumerate(captures)]
    pairs = propose_pairs(far, {"test": flown.CAMERA}, flown.FRAME, PairOptions())
    assert [(p.first, p.second) for p in pairs] == [(0, 1), (1, 2), (2, 3)]


def test_without_positions_all_are_compared(flown):
    captures = [replace(c, longitude_deg=None) for c in grid_of_captures(flown, 2, 3)]
    pairs = propose_pairs(
        captures, {"test": flown.CAMERA}, LocalFrame(origin=None, crs=None), PairOptions()
    )
    assert len(pairs) == 15
    assert all(p.overlap is None for p in pairs)


def test_without_positions_and_above_the_limit_neighbours_in_time_are_compared(flown):
    captures = [replace(c, longitude_deg=None) for c in grid_of_captures(flown, 2, 10)]
    pairs = propose_pairs(
        captures,
        {"test": flown.CAMERA},
        LocalFrame(origin=None, crs=None),
        PairOptions(exhaustive_below=10, sequence=2),
    )
    assert len(pairs) == 19 + 18


def test_a_photograph_without_position_among_others_is_compared_with_all(flown):
    captures = grid_of_captures(flown, 1, 12)
    captures[5] = replace(captures[5], longitude_deg=None)
    pairs = propose_pairs(captures, {"test": flown.CAMERA}, flown.FRAME, PairOptions())
    assert sum(5 in (p.first, p.second) for p in pairs) == 11


def with_bands(captures, *bands: str, rigs: bool):
    return [
        replace(c, name=f"{i:03d}_{band}", band=band, rig_id=f"release {i}" if rigs else "")
        for i, c in enumerate(captures)
        for band in bands
    ]


def test_bands_released_together_are_compared_and_each_with_its_own_kind(flown):
    captures = with_bands(grid_of_captures(flown, 2, 6), "red", "nir", rigs=True)
    pairs = propose_pairs(captures, {"test": flown.CAMERA}, flown.FRAME, PairOptions())
    across = [(p.first, p.second) for p in pairs if (p.second - p.first) % 2]
    assert across == [(i, i + 1) for i in range(0, 24, 2)]


def test_a_separate_camera_is_compared_with_the_nearest_colour_photographs(flown):
    captures = with_bands(grid_of_captures(flown, 2, 6), "", "nir", rigs=False)
    options = PairOptions(across_bands=3)
    pairs = propose_pairs(captures, {"test": flown.CAMERA}, flown.FRAME, options)
    across = {(p.first, p.second) for p in pairs if (p.second - p.first) % 2}
    assert len(across) == 12 * 3
    assert {(i, i + 1) for i in range(0, 24, 2)} <= across


def test_a_band_gives_the_same_pairs_as_if_it_were_alone(flown):
    alone = grid_of_captures(flown, 3, 6)
    cameras = {"test": flown.CAMERA}
    expected = propose_pairs(alone, cameras, flown.FRAME, PairOptions())
    both = with_bands(alone, "red", "nir", rigs=True)
    found = propose_pairs(both, cameras, flown.FRAME, PairOptions())
    red = {(p.first // 2, p.second // 2) for p in found if p.first % 2 == p.second % 2 == 0}
    assert red == {(p.first, p.second) for p in expected}
