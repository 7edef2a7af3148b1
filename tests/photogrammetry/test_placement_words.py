from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from photogrammetry.orientation.refine import RefineOptions, refine
from photogrammetry.orientation.summary import warn_of_positions
from tmp.captures import HeightUse

QUICK = RefineOptions(assess_scale=False)


@pytest.fixture(scope="module")
def block(flown):
    return flown.flown_block(noise_px=0.3)


def words(flown, block, captures, **options):
    found, _ = block
    solution = refine(
        [found.transformed(0.2, np.eye(3), np.ones(3))],
        captures,
        {"test": flown.CAMERA},
        flown.FRAME,
        options=replace(QUICK, **options),
        threads=1,
    )
    return solution, " ".join(warn_of_positions(solution))


def drifting(captures, metres):
    count = len(captures)
    return [
        replace(
            c,
            height_m=c.height_m + metres * i / (count - 1),
            height_takeoff_m=None,
            sigma_horizontal_m=3.0,
            sigma_vertical_m=6.0,
        )
        for i, c in enumerate(captures)
    ]


def test_sound_positions_are_no_cause_for_words(flown, block):
    _, said = words(flown, block, flown.captures_of(block[1]))
    assert said == ""


def test_drifting_heights_are_told_with_numbers_and_what_levels_the_map_instead(flown, block):
    captures = drifting(flown.captures_of(block[1]), 100.0)
    solution, said = words(flown, block, captures)
    assert "recorded heights drift by" in said
    assert "levelled by gimbal angles instead" in said
    assert "--heights trust" in said
    assert np.degrees(np.arccos(-solution.block.rotations[:, 2, 2])).max() < 4


def test_heights_that_are_trusted_against_the_gimbal_are_told(flown, block):
    captures = drifting(flown.captures_of(block[1]), 100.0)
    _, said = words(flown, block, captures, heights=HeightUse.TRUST)
    assert "trusted as asked, the map leans by" in said


def test_heights_that_are_ignored_as_asked_are_not_called_wrong(flown, block):
    _, said = words(flown, block, flown.captures_of(block[1]), heights=HeightUse.IGNORE)
    assert said.startswith("The recorded heights were not used, as asked")
    assert "drift" not in said


def test_positions_that_scatter_more_than_they_claim_are_told(flown, block):
    captures = flown.captures_of(block[1], sigma_m=4.0)
    captures = [replace(c, sigma_horizontal_m=0.5, sigma_vertical_m=5.0) for c in captures]
    _, said = words(flown, block, captures)
    assert "Recorded positions scatter by" in said
    assert "(stated: 0.5 m)" in said


def test_a_single_wrong_position_is_named_with_its_distance(flown, block):
    captures = flown.captures_of(block[1])
    captures[4] = replace(captures[4], latitude_deg=captures[4].latitude_deg + 0.0005)
    _, said = words(flown, block, captures)
    assert said.startswith("1 recorded position lies far from")
    assert "004.jpg by 5" in said  # 55.7 m


def test_a_focal_length_that_the_barometer_contradicts_is_told_both_ways(flown, block):
    captures = [replace(c, height_takeoff_m=70.0) for c in flown.captures_of(block[1])]
    _, said = words(flown, block, captures)
    assert "By lens and positions the cameras flew 40 m above the ground" in said
    assert "above the take-off point" in said
    assert "too short" in said


def test_a_user_who_knows_the_accuracy_of_positions_has_the_last_word(flown, block):
    captures = flown.captures_of(block[1])
    solution, _ = words(flown, block, captures, position_sigma_m=(2.0, 4.0))
    assert np.median(solution.weighed.position_sigmas, axis=0).tolist() == [2.0, 2.0, 4.0]
