from dataclasses import replace

import pytest

from tmp.cameras import Camera
from tmp.captures import HeightDatum
from tmp.errors import InputError, NotASurveyError, VersionError
from tmp.survey import (
    FORMAT,
    Settings,
    Survey,
    create_survey,
    open_survey,
    read_settings,
    write_settings,
)

CAMERA = Camera(
    camera_id="dji-fc300s-4000x2250-3.61mm",
    width_px=4000,
    height_px=2250,
    fx_px=2344.2,
    fy_px=2344.2,
    cx_px=2001.0,
    cy_px=1125.0,
    k1=-0.01,
    focal_sigma=0.02,
    source="sensor table",
)
SETTINGS = Settings(
    name="Hólar",
    crs="EPSG:32627",
    origin=(-19.1, 65.7, 160.0),
    cameras={CAMERA.camera_id: CAMERA},
    vertical_datum=HeightDatum.ELLIPSOID,
    keep=("low/*",),
    drop=("DJI_0001.JPG",),
)


def with_toml(tmp_path, text: str) -> Survey:
    (tmp_path / "survey.toml").write_text(text, encoding="utf-8")
    return Survey(folder=tmp_path)


def test_settings_come_back_as_they_were_written(tmp_path):
    survey = create_survey(tmp_path / "s")
    write_settings(survey, SETTINGS)
    assert read_settings(survey) == SETTINGS


def test_a_new_survey_is_named_after_its_folder_and_has_no_place(tmp_path):
    settings = read_settings(create_survey(tmp_path / "valley" / "north"))
    assert settings == Settings(name="north", cameras={})
    assert not settings.frame.referenced


def test_creating_an_existing_survey_opens_it(tmp_path):
    survey = create_survey(tmp_path / "s", name="mine")
    write_settings(survey, SETTINGS)
    create_survey(tmp_path / "s", name="other")
    assert read_settings(survey).name == "Hólar"


def test_hidden_files_do_not_make_a_folder_full(tmp_path):
    (tmp_path / ".DS_Store").touch()
    create_survey(tmp_path)
    assert open_survey(tmp_path).toml_path.is_file()


def test_writing_keeps_comments_order_and_unknown_keys(tmp_path):
    text = f"""# Ours
format = {FORMAT}
name = "x"   # the field name
favourite = 7

[cameras.c]
fx_px = 900.0  # by Ann, 2024
width_px = 1000
height_px = 800
lens = "no. 3"

[notes]
weather = "fog"
"""
    survey = with_toml(tmp_path, text)
    settings = read_settings(survey)
    write_settings(survey, replace(settings, name="y"))
    after = survey.toml_path.read_text(encoding="utf-8")
    for kept in ("# Ours", "favourite = 7", "900.0  # by Ann, 2024", 'lens = "no. 3"', "fog"):
        assert kept in after
    assert 'name = "y"   # the field name' in after


def test_writing_what_was_read_changes_nothing(tmp_path):
    survey = create_survey(tmp_path / "s")
    write_settings(survey, SETTINGS)
    before = survey.toml_path.read_bytes()
    write_settings(survey, read_settings(survey))
    assert survey.toml_path.read_bytes() == before


def test_a_camera_may_be_given_by_size_and_focal_length_alone(tmp_path):
    survey = with_toml(
        tmp_path, "format = 1\n[cameras.c]\nwidth_px = 1000\nheight_px = 800\nfx_px = 900\n"
    )
    camera = read_settings(survey).cameras["c"]
    assert (camera.fy_px, camera.cx_px, camera.cy_px) == (900, 500, 400)
    assert camera.source == "given"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('crs = "EPSG:4326"\n[origin]\nlongitude_deg=1\nlatitude_deg=2\nheight_m=3', "metres"),
        ('crs = "nonsense"\n[origin]\nlongitude_deg=1\nlatitude_deg=2\nheight_m=3', "nonsense"),
        ("[origin]\nlongitude_deg=1\nlatitude_deg=95\nheight_m=3\n", "not on Earth"),
        (
            "[origin]\nlongitude_deg=1\nlatitude_deg='x'\nheight_m=3\n",
            "origin: latitude_deg = 'x'; give a number",
        ),
        ('vertical_datum = "sea"', "sea"),
        ("[cameras.c]\nwidth_px = 10\nheight_px = 10\n", "cameras.c: fx_px is missing"),
        ("[cameras.c]\nwidth_px = 10\nheight_px = 10\nfx_px = -1\n", "not positive"),
        ("[cameras.c]\nwidth_px = 9\nheight_px = 9\nfx_px = 9\ncx_px = nan\n", "cx_px = nan"),
        ("[origin]\nlongitude_deg=1\nlatitude_deg=5\nheight_m=inf\n", "height_m = inf"),
        ("cameras = 3", "cameras = 3; write it as a table"),
        ('[photographs]\nkeep = "all"', "keep = 'all'; give a list"),
    ],
)
def test_a_wrong_value_is_refused_with_file_and_key(tmp_path, lines, words):
    survey = with_toml(tmp_path, f"format = 1\n{lines}\n")
    with pytest.raises(InputError, match=r"survey\.toml") as refusal:
        read_settings(survey)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_broken_toml_is_refused_with_its_line(tmp_path):
    with pytest.raises(InputError, match="line 2"):
        open_survey(with_toml(tmp_path, "format = 1\nname = \n").folder)


def test_a_newer_survey_is_refused(tmp_path):
    survey = with_toml(tmp_path, f"format = {FORMAT + 1}\n")
    for act in (open_survey, create_survey):
        with pytest.raises(VersionError, match="newer version"):
            act(survey.folder)


def test_other_folders_and_files_are_refused(tmp_path):
    (tmp_path / "letter.txt").touch()
    with pytest.raises(NotASurveyError, match="not a survey"):
        create_survey(tmp_path)
    with pytest.raises(NotASurveyError, match="is a file"):
        create_survey(tmp_path / "letter.txt")
    with pytest.raises(NotASurveyError, match=r"no survey\.toml"):
        open_survey(tmp_path)
    with pytest.raises(NotASurveyError, match="does not exist"):
        open_survey(tmp_path / "nowhere")
    with pytest.raises(NotASurveyError, match="format"):
        open_survey(with_toml(tmp_path, "name = 'a python project'\n").folder)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    survey = create_survey(tmp_path / "s", name="old")
    monkeypatch.setattr("tomlkit.dumps", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_settings(survey, SETTINGS)
    monkeypatch.undo()
    assert read_settings(survey).name == "old"
    assert [p.name for p in survey.folder.iterdir()] == ["survey.toml"]
