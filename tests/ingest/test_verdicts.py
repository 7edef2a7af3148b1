from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ingest.checks import fill_heights, find_blurred, find_stragglers, judge
from tmp.captures import Capture, Flag, HeightDatum

START = datetime(2024, 6, 1, 12, tzinfo=UTC)


def capture(
    index: int, *, takeoff_m: float | None = 40.0, minute: float = 0.0, **changes
) -> Capture:
    made = Capture(
        name=f"DJI_{index:04d}.JPG",
        source="",
        sha256=f"{index:064d}",
        size_bytes=1,
        width_px=4000,
        height_px=3000,
        camera_id="c",
        time_utc=START + timedelta(minutes=minute, seconds=2 * index),
        longitude_deg=7.6 + 0.00025 * (index % 6),
        latitude_deg=45.0 + 0.00018 * (index // 6),
        height_m=300.0 + (takeoff_m or 0.0),
        height_takeoff_m=takeoff_m,
        sharpness=1000.0,
    )
    return replace(made, **changes)


def block(heights_m: list[float], **changes) -> list[Capture]:
    return [capture(i, takeoff_m=h, **changes) for i, h in enumerate(heights_m)]


def test_an_ordinary_block_has_no_flags():
    assert all(not c.flags and not c.reason for c in judge(block([40.0] * 24)))


def test_pictures_of_the_climb_and_the_landing_are_stragglers_with_their_heights():
    found = find_stragglers(block([2.0, 9.0, *[40.0] * 20, 11.0, 1.5]))
    assert sorted(found) == [0, 1, 22, 23]
    assert "9.0 m above take-off" in found[1]
    assert "40.0 m" in found[1]


def test_a_picture_at_the_very_limit_is_no_straggler():
    # 40 % of 40 m, on a climb of 24 m over 20 m: steep enough, were it lower.
    assert not find_stragglers(block([16.0, *[40.0] * 20]))
    assert list(find_stragglers(block([15.9, *[40.0] * 20]))) == [0]


def test_a_low_picture_amid_the_flight_is_no_straggler():
    assert not find_stragglers(block([40.0] * 10 + [8.0] + [40.0] * 10))


def test_terrain_following_down_a_slope_is_no_straggler():
    assert not find_stragglers(block([60.0 - 4 * i for i in range(24)]))
    # Only the end lies low, but each step down is 10 m for 20 m ahead.
    assert not find_stragglers(block([50.0] * 20 + [40.0, 30.0, 18.0, 8.0]))


def test_pictures_that_no_camera_took_are_stragglers_among_photographs():
    captures = block([40.0] * 20, body="DJI Mini 4 Pro")
    bare = {"body": "", "time_utc": None, "longitude_deg": None, "height_m": None}
    captures += [capture(20 + i, takeoff_m=None, **bare) for i in range(3)]
    found = find_stragglers(captures)
    assert sorted(found) == [20, 21, 22]
    assert "screenshot" in found[20]


def test_a_survey_without_tags_has_no_foreign_pictures():
    bare = {"body": "", "time_utc": None, "longitude_deg": None, "height_m": None}
    assert not find_stragglers([capture(i, takeoff_m=None, **bare) for i in range(12)])


def test_a_photograph_without_position_alone_is_not_foreign():
    captures = block([40.0] * 20, body="DJI Mini 4 Pro")
    captures[5] = replace(captures[5], longitude_deg=None, height_m=None)
    assert not find_stragglers(captures)


def test_a_picture_on_the_ground_far_from_the_first_line_is_a_straggler():
    captures = block([0.5, *[40.0] * 23])
    captures[0] = replace(captures[0], latitude_deg=45.0009)
    assert list(find_stragglers(captures)) == [0]


def test_a_second_lower_flight_is_no_straggler():
    high, low = block([80.0] * 20), [capture(20 + i, takeoff_m=20.0, minute=30) for i in range(12)]
    assert not find_stragglers(high + low)


def test_each_flight_has_its_own_beginning():
    flights = block([40.0] * 20) + [
        capture(20 + i, takeoff_m=h, minute=30) for i, h in enumerate([3.0] + [40.0] * 20)
    ]
    assert list(find_stragglers(flights)) == [20]


def test_a_picture_far_from_the_block_is_a_straggler_with_its_distance():
    captures = block([40.0] * 24)
    captures.append(capture(30, longitude_deg=7.61, latitude_deg=45.0))
    found = find_stragglers(captures)
    assert list(found) == [24]
    assert "from the block" in found[24]


def test_two_sites_in_one_survey_are_left_alone():
    near = block([40.0] * 12)
    far = [replace(c, latitude_deg=c.latitude_deg + 0.02) for c in near]
    assert not find_stragglers(near + far)


def test_a_blurred_picture_is_flagged_but_used():
    captures = block([40.0] * 20)
    captures[7] = replace(captures[7], sharpness=150.0)
    judged = judge(captures)
    assert judged[7].flags == (Flag.BLURRED,)
    assert judged[7].used
    assert "sharpness 150" in judged[7].reason


def test_a_change_of_scene_is_no_blur():
    captures = [
        replace(c, sharpness=4000.0 if i < 12 else 500.0) for i, c in enumerate(block([40.0] * 24))
    ]
    assert not find_blurred(captures)


def test_sharpness_is_compared_within_a_camera():
    captures = [
        replace(c, camera_id="nir", sharpness=100.0) if i % 2 else c
        for i, c in enumerate(block([40.0] * 24))
    ]
    assert not find_blurred(captures)


def test_the_first_of_equal_files_stays_and_the_others_name_it():
    captures = block([40.0] * 6)
    captures[4] = replace(captures[4], sha256=captures[1].sha256)
    judged = judge(captures)
    assert not judged[1].flags
    assert judged[4].flags == (Flag.DUPLICATE,)
    assert judged[4].reason == "same file as DJI_0001.JPG"


def test_a_missing_position_is_flagged_with_its_reason_and_used():
    lost = capture(
        3,
        longitude_deg=None,
        latitude_deg=None,
        height_m=None,
        position_source="the recorded position is zero or not on Earth",
    )
    judged = judge([*block([40.0] * 3), lost])
    assert judged[3].flags == (Flag.NO_POSITION,)
    assert "zero" in judged[3].reason
    assert judged[3].used


def test_an_unreadable_photograph_keeps_its_verdict():
    broken = capture(0, flags=(Flag.UNREADABLE,), reason="the file is cut short", sharpness=None)
    assert judge([broken, *block([40.0] * 3)])[0] == broken


def test_judging_again_changes_nothing():
    once = judge(block([2.0, *[40.0] * 20]))
    assert judge(once) == once


def test_a_missing_height_is_filled_from_the_barometer():
    captures = block([40.0] * 5)
    captures[2] = replace(captures[2], height_m=None, height_takeoff_m=42.0)
    filled = fill_heights(captures)
    assert filled[2].height_m == pytest.approx(342.0)
    assert "barometer" in filled[2].position_source
    assert filled[:2] == captures[:2]


def test_without_any_gnss_height_they_count_from_the_take_off():
    captures = [replace(c, height_m=None) for c in block([40.0, 41.0])]
    filled = fill_heights(captures)
    assert [c.height_m for c in filled] == [40.0, 41.0]
    assert filled[0].height_datum is HeightDatum.BAROMETRIC
