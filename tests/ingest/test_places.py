from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from flows.pipeline import open_run
from flows.run.plan import plan_map, survey_digest
from flows.run.request import MapOptions, RunOptions, SurveyRequest, Where
from ingest.checks import judge
from ingest.photographs import ingest_photographs
from ingest.places import (
    APART_M,
    describe_places,
    find_long_pauses,
    number_places,
    refuse_several_places,
    said_days,
    settle,
    span_km,
)
from tmp.captures import Capture, Flag, choose_captures, read_captures, write_captures
from tmp.cli import main
from tmp.errors import InputError
from tmp.survey import Settings, Survey, open_survey, read_settings, write_settings

START = datetime(2024, 6, 1, 12, tzinfo=UTC)
M_PER_DEG = 111_195.0
"""Along a meridian of a sphere of 6371 km."""


def flight(
    number: str,
    lon_deg: float,
    lat_deg: float,
    *,
    count: int = 6,
    days: float = 0.0,
) -> list[Capture]:
    """Return a line of photographs, 20 m apart, northwards from a place."""
    one = Capture(
        name="",
        source="",
        sha256="",
        size_bytes=1,
        width_px=4000,
        height_px=3000,
        camera_id="c",
        latitude_deg=lat_deg,
        longitude_deg=lon_deg,
        height_m=340.0,
        height_takeoff_m=40.0,
        flight=number,
    )
    return [
        replace(
            one,
            name=f"{number}/{i}.jpg",
            sha256=f"{number}{i}",
            latitude_deg=lat_deg + 20 * i / M_PER_DEG,
            time_utc=START + timedelta(days=days, seconds=2 * i),
        )
        for i in range(count)
    ]


ICELAND, ITALY = flight("1", -21.9, 64.1), flight("2", 7.6, 45.0, count=4, days=400)


def places(captures: list[Capture]) -> list[str]:
    return [capture.place for capture in number_places(captures)]


def test_flights_over_places_far_apart_are_told_apart_in_the_order_they_came():
    assert places([*ITALY, *ICELAND]) == ["1"] * 4 + ["2"] * 6
    both = number_places([*ICELAND, *ITALY])
    assert describe_places(both) == [
        "1: 6 photographs of 2024-06-01 at 64.1004° N 21.9000° W",
        "2: 4 photographs of 2025-07-06 at 45.0003° N 7.6000° E",
    ]
    # By GeographicLib's geodesic on a sphere of 6371 km.
    assert span_km(both) == pytest.approx(2800.9, abs=0.1)


def test_days_are_the_first_and_the_last_whatever_lies_between():
    days = [capture for day in (2, 0, 1) for capture in flight("1", 7.6, 45.0, count=1, days=day)]
    assert said_days(days) == "2024-06-01 to 2024-06-03"
    assert said_days(days[:1]) == "2024-06-03"
    assert said_days([replace(days[0], time_utc=None)]) == "an unknown day"


def test_one_place_has_no_number_however_large_it_is():
    far = flight("1", 7.6, 45.0, count=300)  # 6 km, without a gap
    assert set(places(far)) == {""}


@given(st.floats(0, 4 * APART_M), st.sampled_from([(0.0, 0.0), (179.9999, -17.0), (15.0, 78.2)]))
def test_a_gap_parts_places_when_it_is_wide_enough(gap_m, where):
    lon_deg, lat_deg = where
    one = flight("1", lon_deg, lat_deg, count=2)
    other = flight("2", lon_deg, lat_deg + (20 + gap_m) / M_PER_DEG, count=2)
    found = places([*one, *other])
    if gap_m < APART_M - 100:
        assert found == [""] * 4
    elif gap_m > APART_M + 100:
        assert found == ["1", "1", "2", "2"]


def test_the_date_line_parts_nothing():
    west, east = flight("1", 179.9999, -17.0), flight("2", -179.9999, -17.0)
    assert set(places([*west, *east])) == {""}


def test_a_place_keeps_its_number_when_others_come_in():
    before = number_places([*ICELAND, *ITALY])
    after = number_places([*before, *flight("3", -91.9, 46.8, days=-900)])
    assert [c.place for c in after[: len(before)]] == [c.place for c in before]
    assert {c.place for c in after[len(before) :]} == {"3"}


def test_photographs_without_position_are_of_the_place_of_their_flight():
    lost = replace(ITALY[0], longitude_deg=None, latitude_deg=None, sha256="x")
    nowhere = replace(lost, flight="")
    assert places([*ICELAND, *ITALY, lost, nowhere])[-2:] == ["2", ""]


def test_photographs_that_are_not_used_make_no_place():
    stray = replace(ITALY[0], flags=(Flag.STRAGGLER,))
    assert set(places([*ICELAND, stray])) == {""}


def test_a_wrong_fix_far_away_is_a_straggler_and_no_place():
    block = flight("1", 7.6, 45.0, count=20)
    block[7] = replace(block[7], longitude_deg=8.6)
    judged = judge(block)
    assert judged[7].flags == (Flag.STRAGGLER,)
    assert set(places(judged)) == {""}


def test_of_several_places_none_is_mapped_until_one_is_chosen():
    both = number_places([*ICELAND, *ITALY])
    with pytest.raises(InputError, match=r"valley: photographs of 2 places, up to 2801 km apart"):
        refuse_several_places(both, "valley")
    nothing = Settings(name="valley", cameras={})
    settings = settle(nothing, both)
    assert (settings.origin, settings.crs) == (None, None)
    settings = settle(nothing, both, place=2)
    assert settings.crs == "EPSG:32632"
    assert settings.origin == (7.6, 45.0002698, 300.0)
    chosen = choose_captures(both, keep=[], drop=[], place=2)
    refuse_several_places(chosen, "valley")
    assert [c.used for c in chosen] == [False] * 6 + [True] * 4
    assert chosen[0].flags == (Flag.ELSEWHERE,)
    assert chosen[0].reason == "of place 1, not 2"


def test_another_choice_moves_the_frame_and_its_zone_but_not_a_crs_a_person_gave():
    both = number_places([*ICELAND, *ITALY])
    first = settle(Settings(name="valley", cameras={}), both, place=1)
    assert first.crs == "EPSG:32627"
    second = settle(first, both, place=2)
    assert (second.crs, second.origin[0]) == ("EPSG:32632", 7.6)
    given_crs = settle(replace(first, crs="EPSG:3035"), both, place=2)
    assert (given_crs.crs, given_crs.origin[0]) == ("EPSG:3035", 7.6)
    assert settle(second, both) == second


def test_dropping_all_of_the_other_place_is_a_choice_too():
    both = number_places([*ICELAND, *ITALY])
    settings = settle(Settings(name="valley", cameras={}, drop=("1/*",)), both)
    assert settings.crs == "EPSG:32632"
    refuse_several_places(choose_captures(both, keep=[], drop=["1/*"]), "valley")


def test_a_place_that_is_not_there_is_refused_with_those_that_are():
    both = number_places([*ICELAND, *ITALY])
    with pytest.raises(InputError, match="no place 3 among the photographs: 1: 6 photographs of"):
        settle(Settings(name="valley", cameras={}), both, place=3)
    with pytest.raises(InputError, match=r"no place 2 among .*: all photographs are of one"):
        settle(Settings(name="valley", cameras={}), ICELAND, place=2)


def test_flights_weeks_apart_over_one_place_are_named_with_their_days():
    again = flight("2", -21.9, 64.1, count=5, days=300)
    assert find_long_pauses([*ICELAND, *flight("3", -21.9, 64.1, days=3)]) == []
    (line,) = find_long_pauses([*again, *ICELAND])
    assert "photographs of 2 times: 6 of 2024-06-01 and 5 of 2025-03-28" in line
    # At two places it is no wonder.
    assert find_long_pauses(number_places([*ICELAND, *ITALY])) == []


@pytest.fixture
def two_places(make_jpeg, tmp_path) -> Survey:
    """A card with the flights of two places, taken in."""
    (tmp_path / "card").mkdir()
    for i in range(8):
        lon_lat = (7.6 + 0.0003 * i, 45.0) if i < 5 else (-21.9 + 0.0003 * i, 64.1)
        time = f"202{4 if i < 5 else 6}:06:01 12:00:{2 * i:02d}"
        photograph = make_jpeg(seed=i, lon_lat=lon_lat, time=time)
        (tmp_path / f"card/DJI_{i:04d}.JPG").write_bytes(photograph)
    survey = Survey(folder=tmp_path / "survey")
    ingest_photographs(tmp_path / "card", survey)
    return survey


def test_ingest_says_the_places_loudly_and_a_map_wants_one_of_them(two_places, tmp_path):
    survey = two_places
    words = ["ingest", str(tmp_path / "card"), "--to", str(survey.folder)]
    said = CliRunner().invoke(main, words).output
    assert (
        "PLACES: the photographs are of 2 places, up to 2801 km apart, and a map is of one" in said
    )
    assert "    1: 5 photographs of 2024-06-01 at 45.0000° N 7.6006° E\n" in said
    assert "    2: 3 photographs of 2026-06-01 at 64.1000° N 21.8982° W\n" in said
    assert f"next: tmp map {survey.folder} --place 1, or another of the places above" in said
    with pytest.raises(InputError, match="name it, such as --place 1"):
        plan_map(survey.folder, MapOptions())
    done = CliRunner().invoke(main, ["map", str(survey.folder)])
    assert done.exit_code == 1
    assert "photographs of 2 places" in done.output
    plan = plan_map(survey.folder, MapOptions(place=2))
    assert [c.name for c in plan.captures if c.used] == [f"DJI_{i:04d}.JPG" for i in (5, 6, 7)]
    assert plan.settings.crs == "EPSG:32627"
    assert read_settings(survey).place is None  # a plan writes nothing


def test_a_choice_is_kept_with_the_survey_and_lasts(two_places, tmp_path):
    survey = two_places
    settings = settle(read_settings(survey), read_captures(survey.gpkg_path), place=1)
    write_settings(survey, settings)
    assert "place = 1" in survey.toml_path.read_text()
    assert read_settings(survey) == settings
    assert sum(c.used for c in open_survey(survey.folder).captures) == 5
    assert ingest_photographs(tmp_path / "card", survey).settings == settings
    assert plan_map(survey.folder, MapOptions()).settings == settings


def test_a_run_keeps_the_choice_it_is_given(two_places):
    how = RunOptions(on=Where.THREADS)
    with (
        pytest.raises(InputError, match="photographs of 2 places"),
        open_run(two_places.folder, SurveyRequest(), how),
    ):
        pass
    with open_run(two_places.folder, SurveyRequest(map=MapOptions(place=2)), how):
        settings = read_settings(two_places)
    assert (settings.place, settings.crs) == (2, "EPSG:32627")


def test_a_choice_written_by_hand_brings_the_frame_with_it(two_places):
    survey = two_places
    survey.toml_path.write_text(survey.toml_path.read_text() + "\n[photographs]\nplace = 2\n")
    assert plan_map(survey.folder, MapOptions()).settings.crs == "EPSG:32627"


def test_a_map_of_an_earlier_survey_is_not_made_again_for_the_new_column(two_places):
    survey = two_places
    settings = read_settings(survey)
    captures = [replace(c, place="") for c in read_captures(survey.gpkg_path)[:5]]
    write_captures(survey.gpkg_path, captures)
    numbered = [replace(c, place="1") for c in captures]
    assert survey_digest(settings, captures) == survey_digest(settings, numbered)
