import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tmp.cameras import Camera
from tmp.captures import HeightDatum
from tmp.errors import InputError, NotASurveyError, VersionError
from tmp.geo.grids import Tile
from tmp.geo.rasters import create_tiled, finish_cog, read_raster
from tmp.survey import (
    FORMAT,
    Settings,
    Survey,
    create_survey,
    is_unused,
    open_survey,
    read_settings,
    refuse_other_folder,
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


def test_a_folder_that_another_command_makes_a_survey_of_at_this_moment_is_one(
    tmp_path, monkeypatch
):
    made = create_survey(tmp_path / "made")
    (tmp_path / "farm").mkdir()

    def look_while_it_is_made(folder: Path) -> bool:
        made.toml_path.rename(folder / "survey.toml")
        return is_unused(folder)

    monkeypatch.setattr("tmp.survey.is_unused", look_while_it_is_made)
    refuse_other_folder(tmp_path / "farm")


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
        ("[cameras.c]\nwidth_px = 10\nheight_px = 10\nfx_px = -1\n", "fx_px = -1.0; give a number"),
        ("[cameras.c]\nwidth_px = 9\nheight_px = 9\nfx_px = 1e308\n", "fx_px = 1e+308; give"),
        ("[cameras.c]\nwidth_px = 0\nheight_px = 9\nfx_px = 9\n", "width_px = 0; give a number"),
        (
            "[cameras.c]\nwidth_px = 9\nheight_px = 9\nfx_px = 9\nfocal_sigma = -1\n",
            "camera 'c': focal_sigma = -1.0; give a number above 0",
        ),
        ("[cameras.c]\nwidth_px = 9\nwidth_px = 9\n", "Cannot overwrite a value"),
        ("[origin]\nlongitude_deg=1\nlatitude_deg=5\nheight_m=1e308\n", "height_m = 1e+308"),
        ("[origin]\nlongitude_deg=1\nlatitude_deg=5\nheight_m=1e6\n", "from -12000 to 100000"),
        (
            'crs = "EPSG:32627\\n+x"\n[origin]\nlongitude_deg=1\nlatitude_deg=2\nheight_m=3',
            "EPSG:32627",
        ),
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


def test_a_survey_stands_for_its_folder(tmp_path: Path) -> None:
    survey = create_survey(tmp_path / "farm")
    assert Path(survey) == survey.folder
    assert open_survey(survey) == create_survey(str(tmp_path / "farm")) == survey


@pytest.fixture
def farm(example_folder: Path) -> Survey:
    return open_survey(example_folder / "farm")


def test_captures_come_with_a_persons_choice(farm: Survey, tmp_path: Path) -> None:
    copy = open_survey(shutil.copytree(farm, tmp_path / "farm"))
    write_settings(copy, replace(read_settings(copy), drop=("DJI_0001.JPG",)))
    assert [capture.used for capture in copy.captures] == [False, True, True]
    assert all(capture.used for capture in farm.captures)


def test_a_window_on_the_ground_is_grown_to_whole_cells_and_cut_at_the_edge(farm: Survey) -> None:
    x_min, _, _, y_max = farm.read("dsm").grid.bounds
    read = farm.read("dsm", (x_min - 5.0, y_max - 1.2, x_min + 0.7, y_max + 5.0))
    assert read.grid.bounds == (x_min, y_max - 1.5, x_min + 1.0, y_max)
    assert read.values.shape == (1, 3, 2)
    assert read.tags["VERTICAL_DATUM"] == "ellipsoid"
    assert (read.bands, read.units) == (("height",), ("m",))


def test_a_window_in_cells_is_the_same_as_that_window_on_the_ground(farm: Survey) -> None:
    tile = Tile(row=3, col=7, rows=4, cols=9)
    read = farm.read("orthomosaic", tile)
    again = farm.read("orthomosaic", read.grid.bounds)
    assert read.grid == again.grid == farm.read("orthomosaic").grid.window(tile)
    assert read.bands == ("red", "green", "blue", "alpha")
    np.testing.assert_array_equal(read.values, again.values)


def test_cells_without_a_value_are_masked(farm: Survey, tmp_path: Path) -> None:
    grid = farm.read("dsm").grid
    tiles = create_tiled(tmp_path / "tiles", grid, bands=4, dtype=np.uint8)
    picture = np.full((4, *grid.shape), 200, np.uint8)
    picture[3, :, :5] = 0
    tiles.write(tiles.tiles()[0], picture)
    bands = ("red", "green", "blue", "alpha")
    finish_cog(tiles, tmp_path / "picture.tif", descriptions=bands)
    assert np.ma.getmaskarray(read_raster(tmp_path / "picture.tif").values)[0, :, :6].any(
        axis=0
    ).tolist() == [True] * 5 + [False]
    heights = create_tiled(tmp_path / "heights", grid, nodata=-9999.0)
    finish_cog(heights, tmp_path / "heights.tif")
    assert read_raster(tmp_path / "heights.tif").values.count() == 0


def test_a_window_beside_a_product_is_refused_with_what_it_covers(farm: Survey) -> None:
    with pytest.raises(InputError, match=r"lies beside the raster; it covers x 587700\.0 to"):
        farm.read("dsm", (0.0, 0.0, 10.0, 10.0))


def test_a_product_that_is_not_there_is_refused_with_those_that_are(farm: Survey) -> None:
    with pytest.raises(InputError, match="no product 'dtm'; there are dsm, ndvi, orthomosaic"):
        farm.read("dtm")


def test_a_survey_without_a_map_says_which_command_makes_one(tmp_path: Path) -> None:
    survey = create_survey(tmp_path / "new")
    assert survey.crs is None
    assert survey.products == {}
    with pytest.raises(InputError, match="'tmp map' makes them"):
        survey.read("dsm")
    for name in ("quality", "reconstruction"):
        with pytest.raises(InputError, match=r"not there; 'tmp map .*new' writes it"):
            getattr(survey, name)


def test_quality_where_earlier_versions_wrote_it_is_read_until_there_is_a_newer(
    tmp_path: Path,
) -> None:
    survey = create_survey(tmp_path / "old")
    (survey.folder / "quality.json").write_text('{"verdict": "partial"}')
    assert survey.quality["verdict"] == "partial"
    survey.products_dir.mkdir()
    survey.quality_path.write_text('{"verdict": "complete"}')
    assert survey.quality["verdict"] == "complete"


def test_the_reconstruction_is_that_of_the_map(farm: Survey) -> None:
    assert [photo.name for photo in farm.reconstruction.photos] == ["DJI_0001.JPG", "DJI_0002.JPG"]
    assert farm.quality["verdict"] == "complete"
