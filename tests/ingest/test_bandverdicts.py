from dataclasses import replace

from ingest.checks import (
    find_changed_exposures,
    find_empty,
    find_implausible,
    find_missing_bands,
    find_overexposed,
    find_underexposed,
    find_unknown_bands,
    judge,
    shutter,
)
from tmp.captures import Capture, CaptureKind, Flag

BARE = Capture(
    name="a.tif",
    source="",
    sha256="a",
    size_bytes=1,
    width_px=1,
    height_px=1,
    camera_id="c",
    longitude_deg=7.0,
    latitude_deg=45.0,
    height_m=100.0,
)


def rigs(count, bands=("red", "nir"), **more):
    return [
        replace(BARE, name=f"{i}{band}", sha256=f"{i}{band}", rig_id=f"r{i}", band=band, **more)
        for i in range(count)
        for band in bands
    ]


def test_a_capture_that_lacks_a_band_is_named_with_what_others_have():
    captures = rigs(4, ("", "red", "nir"))
    del captures[5]
    found = find_missing_bands(captures)
    assert set(found) == {3, 4}
    assert found[3] == "its capture lacks nir, which 3 of 4 captures of this camera have"


def test_a_colour_picture_may_be_lacking_too():
    captures = rigs(3, ("", "red"))
    del captures[2]
    assert "lacks RGB" in find_missing_bands(captures)[2]


def test_an_empty_or_unreadable_band_is_a_missing_one():
    for spoilt in ({"flags": (Flag.UNREADABLE,)}, {"brightness": 0.0}):
        captures = rigs(3)
        captures[1] = replace(captures[1], **spoilt)
        assert "lacks nir" in find_missing_bands(captures)[0]


def test_a_band_that_few_captures_have_is_not_missed():
    captures = rigs(5)
    captures.append(replace(captures[0], name="x", sha256="x", band="lwir"))
    assert find_missing_bands(captures) == {}


def test_two_cameras_need_not_have_the_same_bands():
    ones, others = rigs(3, body="a"), rigs(3, ("green", "nir"), body="b")
    others = [replace(c, rig_id=f"b{c.rig_id}") for c in others]
    assert find_missing_bands([*ones, *others]) == {}


def test_a_changed_exposure_is_told_where_bands_share_theirs():
    captures = rigs(4, exposure_s=0.001, gain=1.0)
    captures[3] = replace(captures[3], exposure_s=0.002)
    found = find_changed_exposures(captures)
    assert set(found) == {2, 3}
    assert "red 1/1000 s at gain 1, nir 1/500 s at gain 1" in found[2]


def test_gain_makes_up_for_time():
    captures = rigs(4, exposure_s=0.001, gain=2.0)
    captures[3] = replace(captures[3], exposure_s=0.002, gain=1.0)
    assert find_changed_exposures(captures) == {}


def test_a_camera_that_exposes_each_band_by_itself_is_left_alone():
    captures = rigs(4, exposure_s=0.001)
    captures = [replace(c, exposure_s=0.001 * (k + 1)) for k, c in enumerate(captures)]
    assert find_changed_exposures(captures) == {}


def test_a_colour_picture_beside_bands_that_share_an_exposure_has_its_own():
    captures = rigs(4, ("", "red", "nir"), exposure_s=0.001)
    captures[9] = replace(captures[9], exposure_s=0.004)
    assert find_changed_exposures(captures) == {}


def test_a_band_that_says_no_exposure_is_no_change():
    captures = rigs(4, exposure_s=0.001)
    captures[6] = replace(captures[6], exposure_s=None)
    assert find_changed_exposures(captures) == {}


def test_exposure_is_judged_with_its_numbers():
    burnt = replace(BARE, clipped_share=0.32, brightness=1.0, exposure_s=0.01)
    dim = replace(BARE, clipped_share=0.0, brightness=0.012)
    black = replace(BARE, brightness=-0.05)
    assert find_overexposed([burnt, dim, black]) == {
        0: "32% of the picture is saturated, exposed 1/100 s"
    }
    assert find_underexposed([burnt, dim, black]) == {
        1: "99 % of the picture is below 1.2% of the range"
    }
    assert list(find_empty([burnt, dim, black])) == [2]


def test_twelve_bits_in_sixteen_are_not_taken_for_darkness():
    photos = [replace(BARE, brightness=b) for b in (0.012, 0.03, 0.06)]
    assert find_underexposed(photos) == {}


def test_snow_and_raking_light_are_no_reason_for_a_flag():
    snow = replace(BARE, clipped_share=0.04, brightness=1.0)
    raking = replace(BARE, clipped_share=0.001, brightness=0.35)
    assert all(not c.flags for c in judge([snow, replace(raking, sha256="b")]))


def test_only_the_empty_picture_is_left_out():
    burnt = replace(BARE, clipped_share=0.32)
    odd = replace(BARE, sha256="b", problems="gain -1")
    black = replace(BARE, sha256="c", brightness=0.0)
    judged = judge([burnt, odd, black])
    assert [c.flags for c in judged] == [(Flag.OVEREXPOSED,), (Flag.IMPLAUSIBLE,), (Flag.EMPTY,)]
    assert [c.used for c in judged] == [True, True, False]
    assert find_implausible([odd]) == {0: "gain -1"}


def test_an_unknown_camera_is_told_what_to_write():
    (said,) = find_unknown_bands([replace(BARE, band="unknown")]).values()
    assert '[cameras."c"] channels = ["nir"]' in said
    assert "\n" not in said


def test_a_panel_is_neither_straggler_nor_blurred_nor_lost():
    place = {"height_takeoff_m": 40.0, "sharpness": 500.0}
    block = [replace(BARE, name=f"{i}", sha256=f"{i}", **place) for i in range(10)]
    panel = replace(
        BARE,
        name="panel",
        sha256="p",
        kind=CaptureKind.PANEL,
        height_takeoff_m=0.0,
        sharpness=1.0,
        longitude_deg=None,
    )
    assert judge([panel, *block])[0].flags == ()
    unmarked = judge([replace(panel, kind=CaptureKind.SURVEY), *block])[0]
    assert {Flag.NO_POSITION, Flag.BLURRED} <= set(unmarked.flags)


def test_a_shutter_is_written_as_people_do():
    assert shutter(None) == "an unknown time"
    assert shutter(1.5) == "1.5 s"
