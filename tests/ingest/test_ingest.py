import os
import shutil
from pathlib import Path

import pytest

from ingest.photographs import ingest_photographs
from ingest.places import choose_origin
from ingest.summary import summarise
from tmp.captures import Flag, HeightDatum, read_captures
from tmp.errors import InputError, NotASurveyError, VersionError
from tmp.geo.frames import describe_datum_shift
from tmp.survey import Survey, read_settings, write_settings


@pytest.fixture
def survey(tmp_path) -> Survey:
    return Survey(folder=tmp_path / "survey")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_card_becomes_a_survey_with_frame_cameras_and_rows(card, survey):
    place = card()
    result = ingest_photographs([place], survey)
    assert len(result.added) == 10
    assert not result.flagged
    assert contents(survey.photos_dir) == contents(place)
    settings = read_settings(survey)
    assert settings.crs == "EPSG:32632"
    assert settings.origin == pytest.approx((7.6005, 45.00009, 300.0), abs=1e-6)
    assert list(settings.cameras) == ["dji-fc300s-80x60-3.61mm"]
    rows = read_captures(survey.gpkg_path)
    assert [c.name for c in rows] == sorted(result.added)
    assert rows[0].gimbal_pitch_deg == -90
    assert rows[0].height_takeoff_m == 40


def test_a_crs_whose_grid_file_is_missing_is_told_of_once(make_jpeg, survey, tmp_path):
    place = tmp_path / "sheffield"
    place.mkdir()
    for i in range(2):
        photograph = make_jpeg(seed=i, lon_lat=(-1.5, 53.4 + 0.0002 * i))
        (place / f"DJI_{i:04d}.JPG").write_bytes(photograph)
    result = ingest_photographs([place], survey, crs="EPSG:27700")
    shift = describe_datum_shift("EPSG:27700", -1.5, 53.4)
    assert list(result.notes) == [shift.in_words()] * bool(shift.in_words())
    assert sum("EPSG:27700" in line for line in summarise(result) if "MIND" in line) <= 1


def test_a_utm_zone_needs_no_note(card, survey):
    assert ingest_photographs([card()], survey).notes == ()


def test_the_card_is_left_exactly_as_it_was(card, survey, tmp_path):
    place = card()
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in place.rglob("*") if p.is_file()}
    ingest_photographs([tmp_path / "card"], survey)
    after = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in place.rglob("*") if p.is_file()}
    assert after == before


def test_running_again_adds_only_what_is_new(card, survey, make_jpeg):
    place = card()
    ingest_photographs([place], survey)
    (place / "DJI_0099.JPG").write_bytes(make_jpeg(seed=99))
    result = ingest_photographs([place], survey)
    assert result.added == ("DJI_0099.JPG",)
    assert result.already == 10
    assert len(read_captures(survey.gpkg_path)) == 11


def test_a_backup_of_a_known_card_adds_nothing(card, survey, tmp_path):
    place = card()
    ingest_photographs([place], survey)
    shutil.copytree(place, tmp_path / "backup")
    assert not ingest_photographs([tmp_path / "backup"], survey).added


def test_a_second_card_with_the_same_names_overwrites_nothing(card, survey):
    first, second = card("one/DCIM"), card("two/DCIM", first_seed=50)
    ingest_photographs([first], survey)
    result = ingest_photographs([second], survey)
    assert len(result.added) == 10
    kept = contents(survey.photos_dir)
    assert sorted(kept.values()) == sorted([*contents(first).values(), *contents(second).values()])
    assert {c.name for c in result.captures} == set(kept)


def test_an_interrupted_run_is_taken_up_where_it_stopped(card, survey, monkeypatch):
    place = card()
    with monkeypatch.context() as patch:
        patch.setattr("ingest.photographs.write_captures", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest_photographs([place], survey)
    stamps = {p: p.stat().st_ino for p in survey.photos_dir.iterdir()}
    result = ingest_photographs([place], survey)
    assert len(result.added) == 10
    assert {p: p.stat().st_ino for p in survey.photos_dir.iterdir()} == stamps


def _interrupt(*_):
    raise KeyboardInterrupt


def test_links_leave_the_photographs_where_they_are(card, survey):
    place = card()
    ingest_photographs([place], survey, link=True)
    link = survey.photos_dir / "DJI_0001.JPG"
    assert link.is_symlink()
    assert link.resolve() == place / "DJI_0001.JPG"


def test_a_truncated_photograph_is_flagged_and_the_rest_goes_on(card, survey):
    place = card()
    spoilt = place / "DJI_0003.JPG"
    spoilt.write_bytes(spoilt.read_bytes()[:-300])
    (place / "empty.jpg").write_bytes(b"")
    result = ingest_photographs([place], survey)
    flags = {c.name: c.flags for c in result.flagged}
    assert flags == {"DJI_0003.JPG": (Flag.UNREADABLE,), "empty.jpg": (Flag.UNREADABLE,)}
    assert sum(c.used for c in result.captures) == 9


def test_without_any_position_the_survey_is_unreferenced(survey, tmp_path, make_jpeg):
    (tmp_path / "card").mkdir()
    for i in range(3):
        (tmp_path / "card" / f"{i}.jpg").write_bytes(make_jpeg(seed=i, lon_lat=(0.0, 0.0)))
    result = ingest_photographs([tmp_path / "card"], survey)
    assert not result.settings.frame.referenced
    assert all(c.flags == (Flag.NO_POSITION,) and c.used for c in result.captures)


def test_a_users_camera_crs_and_choice_survive_another_ingest(card, survey):
    place = card()
    ingest_photographs([place], survey, crs="EPSG:3035")
    text = survey.toml_path.read_text()
    text = text.replace("fx_px = 46.883", "fx_px = 47.0  # from the field calibration")
    survey.toml_path.write_text(
        text.replace("[origin]", '[photographs]\ndrop = ["DJI_0002.JPG"]\n\n[origin]')
    )
    result = ingest_photographs([place], survey)
    assert result.settings.crs == "EPSG:3035"
    assert next(iter(result.settings.cameras.values())).fx_px == 47.0
    assert "# from the field calibration" in survey.toml_path.read_text()
    assert [c.name for c in result.captures if not c.used] == ["DJI_0002.JPG"]


def test_the_datum_is_that_of_most_photographs_unless_a_person_set_it(card, survey):
    place = card()
    result = ingest_photographs([place], survey)
    assert result.settings.vertical_datum is HeightDatum.UNKNOWN
    from dataclasses import replace

    write_settings(survey, replace(result.settings, vertical_datum=HeightDatum.EGM96))
    assert ingest_photographs([place], survey).settings.vertical_datum is HeightDatum.EGM96


def test_a_refusal_leaves_nothing_behind(card, survey, tmp_path):
    place = card()
    (tmp_path / "empty").mkdir()
    for places, options in [
        ([tmp_path / "empty"], {}),
        ([tmp_path / "nowhere"], {}),
        ([place], {"crs": "EPSG:4326"}),
        ([place], {"crs": "EPSG:banana"}),
        ([place, tmp_path], {}),
    ]:
        with pytest.raises(InputError):
            ingest_photographs(places, survey, **options)
        assert not survey.folder.exists()


def test_a_folder_that_is_not_a_survey_is_refused_untouched(card, tmp_path):
    place = card()
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter1.odt").write_text("...")
    with pytest.raises(NotASurveyError, match="not a survey"):
        ingest_photographs([place], Survey(folder=other))
    assert [p.name for p in other.iterdir()] == ["chapter1.odt"]


def test_a_newer_survey_is_refused(card, survey):
    place = card()
    ingest_photographs([place], survey)
    survey.toml_path.write_text(survey.toml_path.read_text().replace("format = 1", "format = 99"))
    with pytest.raises(VersionError, match="newer version"):
        ingest_photographs([place], survey)


def test_a_file_the_card_does_not_give_up_is_reported_and_the_rest_taken(card, survey, monkeypatch):
    place = card()
    fstat = os.fstat
    bad = (place / "DJI_0005.JPG").stat().st_ino

    def fail(opened: int) -> os.stat_result:
        if fstat(opened).st_ino == bad:
            raise OSError(5, "Input/output error")
        return fstat(opened)

    monkeypatch.setattr(os, "fstat", fail)
    result = ingest_photographs([place], survey)
    assert len(result.added) == 9
    assert ["Input/output error" in reason for reason in result.failed.values()] == [True]


def test_progress_counts_every_photograph(card, survey):
    seen = []

    def track(items, label, total):
        for item in items:
            seen.append((label, total))
            yield item

    ingest_photographs([card()], survey, track=track, workers=2)
    assert len(seen) == 10
    assert seen[0][1] == 10


def test_the_origin_is_the_middle_near_the_ground(card, survey):
    result = ingest_photographs([card()], survey)
    longitude, latitude, height_m = choose_origin(result.captures)
    assert (longitude, latitude) == pytest.approx((7.6005, 45.00009), abs=1e-7)
    assert height_m == 300.0


@pytest.mark.real
def test_real_surveys_are_taken_in_whole_and_unflagged(real_data, tmp_path):
    expected = {
        "brighton": (18, "EPSG:32615", HeightDatum.UNKNOWN, 159),
        "mirafiori": (33, "EPSG:32632", HeightDatum.ELLIPSOID, 305),
        "sheffield_gcp": (33, "EPSG:32617", HeightDatum.UNKNOWN, -6),
        "garfield_sequoia": (22, "EPSG:32617", HeightDatum.UNKNOWN, 353),
    }
    for name, (count, crs, datum, height_m) in expected.items():
        result = ingest_photographs([real_data / name], Survey(folder=tmp_path / name), link=True)
        assert len(result.captures) == count
        assert not result.flagged
        assert result.settings.crs == crs
        assert result.settings.vertical_datum is datum
        assert result.settings.origin[2] == height_m
