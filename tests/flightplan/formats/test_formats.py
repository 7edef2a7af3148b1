"""All formats: what is written reads back, the same bytes every time, and nothing lost unsaid."""

import contextlib
import math
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flightplan.formats.geometry import way_speed
from flightplan.formats.mission import AtEnd, Content, HeightReference, said_by
from flightplan.formats.mission_files import (
    FORMATS,
    Format,
    decode_mission,
    encode_mission,
    read_mission,
    write_mission,
)
from tmp.errors import InputError

CONSUMER = [f for f in Format if f.value.startswith("dji-") and f is not Format.DJI_ENTERPRISE]
POINT_FOR_POINT = [f for f in Format if f not in CONSUMER]
WHOLE = (Format.KML, Format.GEOJSON)
ROUNDS = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("format_", POINT_FOR_POINT)
@ROUNDS
@given(data=st.data())
def test_every_waypoint_comes_back_to_the_centimetre(flown, format_, data):
    mission = data.draw(flown.missions())
    back = decode_mission(encode_mission(mission, format_).content, "again")
    flown.assert_same_way(mission, back)
    assert back.height_reference is HeightReference.TAKEOFF


@pytest.mark.parametrize("format_", CONSUMER)
@ROUNDS
@given(data=st.data())
def test_consumer_variants_keep_all_waypoints_in_order(flown, format_, data):
    mission = data.draw(flown.missions())
    back = decode_mission(encode_mission(mission, format_).content, "again")
    places = iter((w.lon_deg, w.lat_deg, w.height_m) for w in back.waypoints)
    for waypoint in mission.waypoints:
        assert any(
            abs((lon - waypoint.lon_deg + 180) % 360 - 180) <= 1e-7
            and abs(lat - waypoint.lat_deg) <= 1e-7
            and abs(height - waypoint.height_m) <= 0.01
            for lon, lat, height in places
        )


@pytest.mark.parametrize("format_", POINT_FOR_POINT)
@ROUNDS
@given(data=st.data())
def test_speeds_and_gimbal_come_back_where_the_format_carries_them(flown, format_, data):
    mission = data.draw(flown.missions(fewest=2, anywhere=False))
    back = decode_mission(encode_mission(mission, format_).content, "again")
    for index in range(len(mission.waypoints) - 1):
        asked = way_speed(mission, index)
        assert way_speed(back, index) == pytest.approx(asked, abs=0.006, nan_ok=True)
        pitches = [m.waypoints[index].gimbal_pitch_deg for m in (mission, back)]
        assert pitches[0] == pitches[1]


@pytest.mark.parametrize("format_", POINT_FOR_POINT)
def test_photo_spacing_comes_back_on_lines(mission, format_):
    back = decode_mission(encode_mission(mission, format_).content, "again")
    for ours, theirs in zip(mission.waypoints, back.waypoints, strict=True):
        if ours.photo_spacing_m > 0:
            assert theirs.photo_spacing_m == pytest.approx(ours.photo_spacing_m, abs=0.001)


@pytest.mark.parametrize("format_", [Format.KML, Format.GEOJSON])
def test_kml_and_geojson_carry_the_whole_mission(mission, format_):
    mission = replace(
        mission, waypoints=(replace(mission.waypoints[0], stop=True), *mission.waypoints[1:])
    )
    back = decode_mission(encode_mission(mission, format_).content, "again")
    for name in (
        *("name", "drone", "camera", "at_end", "notes", "vertical_datum", "photo_interval_s"),
        *("takeoff_height_m", "return_height_m", "speed_m_s", "transit_speed_m_s"),
        *("fence_height_m", "duration_s"),
    ):
        assert getattr(back, name) == getattr(mission, name), name
    assert [w.role for w in back.waypoints] == [w.role for w in mission.waypoints]
    assert [w.stop for w in back.waypoints] == [w.stop for w in mission.waypoints]
    assert [p.line for p in back.photos] == [p.line for p in mission.photos]
    assert back.area.equals_exact(mission.area, 1e-8, normalize=True)
    assert back.fence.equals_exact(mission.fence, 1e-8, normalize=True)
    assert back.exclusions[0].equals_exact(mission.exclusions[0], 1e-8, normalize=True)


@pytest.mark.parametrize("format_", Format)
def test_the_same_mission_gives_the_same_bytes(mission, format_):
    first, second = (encode_mission(mission, format_).content for _ in range(2))
    assert first == second


@pytest.mark.parametrize("format_", Format)
def test_what_a_format_cannot_carry_is_said(mission, format_, tmp_path):
    notes = write_mission(tmp_path / "a", mission, format_)
    for content in said_by(mission) - FORMATS[format_].carries:
        assert any(f"not in the file: {content.value}" in note for note in notes), content


def test_no_format_hides_a_fence_it_cannot_carry(mission):
    silent = [
        format_
        for format_ in Format
        if Content.FENCE not in FORMATS[format_].carries
        and not any("fence" in note for note in encode_mission(mission, format_).notes)
    ]
    assert not silent


@pytest.mark.parametrize("format_", POINT_FOR_POINT)
def test_a_mission_over_the_antimeridian_stays_in_one_piece(flown, format_):
    mission = flown.lawnmower(lon_deg=179.9999, lat_deg=-16.8)
    assert max(w.lon_deg for w in mission.waypoints) > 180
    content = encode_mission(mission, format_).content
    back = decode_mission(content, "again")
    lons = [w.lon_deg for w in back.waypoints]
    assert max(lons) - min(lons) < 0.01
    flown.assert_same_way(mission, back)


@pytest.mark.parametrize("at_end", AtEnd)
@pytest.mark.parametrize("format_", [Format.PLAN_PX4, Format.WPL, Format.DJI_ENTERPRISE])
def test_what_happens_at_the_end_comes_back(mission, format_, at_end):
    back = decode_mission(encode_mission(replace(mission, at_end=at_end), format_).content, "a")
    assert back.at_end is at_end


@pytest.mark.parametrize("format_", Format)
def test_a_waypoint_without_height_is_refused(mission, format_):
    holed = (replace(mission.waypoints[0], height_m=math.nan), *mission.waypoints[1:])
    with pytest.raises(InputError, match=r"waypoint 0 of mission .* no height"):
        encode_mission(replace(mission, waypoints=holed), format_)


@pytest.mark.parametrize("format_", [Format.PLAN_ARDUPILOT, Format.PLAN_PX4, Format.WPL])
def test_autopilots_need_a_takeoff_place(mission, format_):
    with pytest.raises(InputError, match="no take-off place"):
        encode_mission(replace(mission, takeoff=None), format_)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.plan", "  \n", "empty"),
        ("a.txt", "hello", "not a mission in a format known"),
        ("a.json", '{"a": 1}', "neither a QGroundControl plan nor GeoJSON"),
        ("a.json", '{"a": ', "not well-formed JSON"),
        ("a.json", "{" * 5 + '"a":' + "[" * 100_000, "not well-formed JSON"),
        ("a.xml", "<a/>", "neither KML nor GPX"),
        ("a.kml", "<kml>", "not well-formed XML"),
        ("a.kml", '<!DOCTYPE k [<!ENTITY a "b">]><kml>&a;</kml>', "declares entities"),
        ("a.kmz", b"PK\x03\x04 broken", "zip archive"),
    ],
)
def test_what_is_no_mission_is_refused_in_one_line(save, name, content, words):
    path = save(name, content)
    with pytest.raises(InputError, match=words) as refusal:
        read_mission(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_mission(tmp_path / "none.plan")


@pytest.mark.parametrize("format_", Format)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_files_are_read_or_refused_but_never_break(flown, format_, data):
    content = bytearray(encode_mission(flown.lawnmower(), format_).content)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content) - 1))
        width = data.draw(st.sampled_from([1, 1, 2, 8, 60]))
        filling = data.draw(st.sampled_from([b"", b"0", b"-", b"1e999", b"null", b"\xff", b"NaN"]))
        content[start : start + width] = filling
        if not content:
            break
    with contextlib.suppress(InputError):
        decode_mission(bytes(content), "damaged")


@pytest.mark.real
def test_every_mission_file_of_others_is_read_or_refused_with_a_reason(real_data):
    expected = {
        "copter_mission.txt": 8,
        "copter_terrain_mission.txt": 2,
        "dji_waypoint_v3_test_file.kmz": 14,
        "MAVLINK_waypoints.txt": 58,
        "flightarea.kml": 4,
        "flighttrack.gpx": 579,
        "tutdata_qgc_survey.plan": 42,
        "tutdata_qgc_survey30m.plan": 443,
        "MissionPlanner.waypoints": 5,
        "qgroundcontrol_sample.plan": 3,
        "waylines.wpml": 58,
        "ap-terrain.txt": "takeoff and terrain by turns",
        "template.kml": "route is in waylines.wpml",
        "aoi.geojson": "area",
        "freetown_aoi.geojson": "area",
        "PolygonAreaTest.kml": "area",
        "image_metadata.csv": "not a mission",
        "issue_image_metadata.csv": "not a mission",
        "mrbiko.tif": "not a mission",
    }
    files = [path for path in (real_data / "formats").rglob("*") if path.is_file()]
    assert {path.name for path in files} == set(expected)
    for path in files:
        want = expected[path.name]
        if isinstance(want, int):
            assert len(read_mission(path).waypoints) == want
        else:
            with pytest.raises(InputError, match=want):
                read_mission(path)
