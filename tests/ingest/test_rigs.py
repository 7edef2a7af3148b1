from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.grouping import group_rigs, name_without_band, rigs_of
from tmp.captures import Capture, CaptureKind, Flag

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)


def photo(name, band, *, at_s=0.0, capture_id="", body="MicaSense RedEdge / 1", **more):
    return Capture(
        name=name,
        source="",
        sha256=more.pop("sha256", name),
        size_bytes=1,
        width_px=1,
        height_px=1,
        camera_id=f"{body}-{band}",
        band=band,
        body=body,
        capture_id=capture_id,
        time_utc=NOON + timedelta(seconds=at_s),
        **more,
    )


def groups(captures):
    """Return the names in each rig, as sets."""
    found = {}
    for capture in group_rigs(captures):
        if capture.rig_id:
            found.setdefault(capture.rig_id, set()).add(capture.name)
    return sorted(map(sorted, found.values()))


def test_files_of_one_capture_id_are_a_rig_wherever_they_lie():
    captures = [
        photo("one/a.tif", "red", capture_id="x"),
        photo("two/b.tif", "nir", capture_id="x", at_s=0.4),
        photo("two/c.tif", "nir", capture_id="y", at_s=2),
    ]
    assert groups(captures) == [["one/a.tif", "two/b.tif"], ["two/c.tif"]]
    assert group_rigs(captures)[0].rig_id == "x"


def test_the_colour_camera_beside_the_bands_belongs_to_the_rig():
    captures = [photo("a.jpg", "", capture_id="x"), photo("b.tif", "nir", capture_id="x")]
    assert groups(captures) == [["a.jpg", "b.tif"]]


def test_a_colour_camera_alone_is_no_rig_though_its_maker_writes_ids():
    assert groups([photo("a.jpg", "", capture_id="x")]) == []


@pytest.mark.parametrize(
    "second",
    [
        photo("IMG_0002_2.tif", "nir", capture_id="0", at_s=60),
        photo("IMG_0002_1.tif", "red", capture_id="0"),
    ],
)
def test_an_id_that_the_camera_gives_to_all_is_not_believed(second):
    captures = [
        photo("IMG_0001_1.tif", "red", capture_id="0"),
        photo("IMG_0001_2.tif", "nir", capture_id="0", at_s=0.2),
        second,
    ]
    assert groups(captures) == [["IMG_0001_1.tif", "IMG_0001_2.tif"]]


def test_a_copy_of_a_file_does_not_break_its_capture():
    captures = [
        photo("a.tif", "red", capture_id="x"),
        photo("copy.tif", "red", capture_id="x", sha256="a.tif"),
        photo("b.tif", "nir", capture_id="x"),
    ]
    assert groups(captures) == [["a.tif", "b.tif", "copy.tif"]]
    (members,) = rigs_of(group_rigs(captures)).values()
    assert [c.name for c in members] == ["a.tif", "b.tif"]


def test_without_ids_names_that_differ_in_the_band_alone_make_a_rig():
    captures = [
        photo(f"{folder}/IMG_0001_{k}.tif", band, at_s=minutes * 60)
        for folder, minutes in (("000", 0), ("001", 30))
        for k, band in enumerate(("blue", "green", "nir"))
    ]
    assert groups(captures) == [
        [f"{folder}/IMG_0001_{k}.tif" for k in range(3)] for folder in ("000", "001")
    ]


def test_without_ids_and_like_names_one_body_s_bands_of_one_moment_make_a_rig():
    captures = [
        photo("a/x17.jpg", "red+nir"),
        photo("b/y93.jpg", "", at_s=0.2),
        photo("b/y94.jpg", "", at_s=2.2),
    ]
    assert groups(captures) == [["a/x17.jpg", "b/y93.jpg"]]


def test_two_cameras_on_one_drone_are_no_rig():
    captures = [
        photo("a.jpg", "", body="DJI M3E / 7"),
        photo("b.jpg", "nir", body="MAPIR Survey3"),
    ]
    assert groups(captures) == []


def test_two_cameras_of_one_make_that_count_alike_are_no_rig():
    captures = [
        photo("one/2024_0601_120000_017.JPG", "red+green+nir", body="MAPIR Survey3W_RGN"),
        photo("two/2024_0601_120000_017.JPG", "orange+cyan+nir", body="MAPIR Survey3W_OCN"),
    ]
    assert groups(captures) == []


def test_an_rgb_camera_that_shoots_fast_is_no_rig():
    assert groups([photo(f"{k}.jpg", "", at_s=k / 10) for k in range(4)]) == []


def test_a_panel_mark_on_one_band_is_a_mark_on_all():
    captures = [
        photo("a.tif", "red", capture_id="x", kind=CaptureKind.PANEL),
        photo("b.tif", "nir", capture_id="x"),
        photo("c.tif", "nir", capture_id="y", at_s=9),
    ]
    assert [c.kind for c in group_rigs(captures)] == ["panel", "panel", "survey"]


def test_unreadable_and_empty_files_are_no_members():
    captures = [
        photo("a.tif", "red", capture_id="x", flags=(Flag.UNREADABLE,)),
        photo("b.tif", "nir", capture_id="x", brightness=-0.1),
        photo("c.tif", "green", capture_id="x", brightness=0.5),
    ]
    assert [c.name for c in rigs_of(group_rigs(captures))["x"]] == ["c.tif"]


@given(st.permutations(range(12)), st.booleans())
def test_grouping_hangs_neither_on_order_nor_on_having_been_done(order, again):
    captures = [
        photo(f"IMG_{i:04d}_{k}.tif", band, at_s=3 * i + 0.1 * k)
        for i in range(4)
        for k, band in enumerate(("red", "nir", "green"))
    ]
    shuffled = [captures[i] for i in order]
    found = group_rigs(group_rigs(shuffled)) if again else group_rigs(shuffled)
    expected = {c.name: c.rig_id for c in group_rigs(captures)}
    assert {c.name: c.rig_id for c in found} == expected
    assert len(set(expected.values())) == 4


@pytest.mark.parametrize(
    ("names", "stem"),
    [
        (("IMG_161122_163239_0001_NIR.TIF", "IMG_161122_163239_0001_RGB.JPG"), "0001"),
        (("DJI_20230601120000_0001_MS_RE.TIF", "DJI_20230601120000_0001_D.JPG"), "0001"),
        (("DJI_0010.JPG", "DJI_0015.TIF"), "dji_001"),
        (("NDVI/IMG_00042.jpg", "RGB/IMG_00042.jpg"), "img_00042"),
    ],
)
def test_makers_names_agree_but_for_the_band(names, stem):
    first, second = map(name_without_band, names)
    assert first == second
    assert first.endswith(stem)


def test_times_unknown_leave_photographs_alone():
    captures = [replace(photo("a_1.tif", "red"), time_utc=None), photo("a_2.tif", "nir")]
    assert groups(captures) == []
