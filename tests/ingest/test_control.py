"""Ground control taken into a survey."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli.control import control as command
from ingest.control import ControlOptions, add_control, clear_control, read_control_file
from tmp.captures import HeightDatum
from tmp.errors import InputError
from tmp.geo.control import Control, Role, read_control
from tmp.survey import open_survey, read_settings

LIST = """EPSG:32627
587710.1 7109420.2 12.3 10.5 20.25 DJI_0001.JPG north
587710.1 7109420.2 12.3 11 21 dji_0002.jpg north
587730 7109420 12 30 20 DJI_0001.JPG east
587720 7109390 11 30 40 DJI_0001.JPG
"""
TABLE = """Name;Easting;Northing;Elevation;Accuracy;Type
n;587710.1;7109420.2;12.3;0.05;
e;587730;7109420;12;0.01;Check
s;587720;7109390;11;0.01;
w;587700;7109390;11;0.01;
"""
OPTIONS = ControlOptions(crs="EPSG:32627")


@pytest.fixture
def farm(example_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(example_folder / "farm", tmp_path / "farm")


@pytest.fixture
def given(tmp_path: Path):
    def write(text: str, name: str = "gcp_list.txt") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_list_of_opendronemap_is_taken_in(farm: Path, given) -> None:
    found = add_control(farm, given(LIST), ControlOptions())
    assert [point.name for point in found.points] == ["P3", "east", "north"]
    assert found == read_control(farm)
    north = found.points[2]
    assert (north.x, north.y, north.height_m, north.crs) == (
        587710.1,
        7109420.2,
        12.3,
        "EPSG:32627",
    )
    assert [(m.photograph, m.x_px) for m in found.marks if m.point == "north"] == [
        ("DJI_0001.JPG", 10.5),
        ("DJI_0002.JPG", 11.0),
    ]
    assert read_settings(open_survey(farm)).vertical_datum is HeightDatum.ELLIPSOID  # so far
    again = LIST.replace(" DJI_0001.JPG", " DJI_0002.JPG").replace("20.25", "21")
    add_control(farm, given(again), ControlOptions())
    assert read_settings(open_survey(farm)).vertical_datum is HeightDatum.CONTROL
    clear_control(farm)
    assert read_control(farm) == Control()
    assert read_settings(open_survey(farm)).vertical_datum is not HeightDatum.CONTROL


def test_table_of_a_receiver_is_taken_in_with_its_doubts_and_roles(farm: Path, given) -> None:
    found = add_control(farm, given(TABLE, "rover.csv"), OPTIONS)
    by_name = {point.name: point for point in found.points}
    assert by_name["n"].sigma_m == 0.05
    assert by_name["n"].height_sigma_m == pytest.approx(0.075)
    assert by_name["e"].role is Role.CHECK
    assert by_name["w"].role is Role.CONTROL


@pytest.mark.parametrize(
    ("head", "crs"),
    [
        ("WGS84 UTM 27N", "EPSG:32627"),
        ("+proj=utm +zone=27 +datum=WGS84 +units=m +no_defs", None),
        ("EPSG:3057", "EPSG:3057"),
    ],
)
def test_crs_of_a_list_is_understood(given, head: str, crs: str | None) -> None:
    found = read_control_file(given(LIST.replace("EPSG:32627", head)), ControlOptions())
    assert found.points[0].crs == (crs or head)


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        (TABLE, ControlOptions(), r"line 2: what CRS are its coordinates in\? Give it with --crs"),
        (TABLE, ControlOptions(crs="EPSG:1"), r"line 2: CRS 'EPSG:1' is not known"),
        (TABLE.replace("Northing", "Up"), OPTIONS, r"line 2: no y; its columns are called name, "),
        (
            TABLE.replace("7109390;11;0.01;\nw", "south;11;0.01;\nw"),
            OPTIONS,
            "line 4: y is 'south'",
        ),
        (TABLE.split("\n")[0], OPTIONS, r"holds no point"),
        (TABLE.replace("s;", "e;"), OPTIONS, r"line 4: point e has other coordinates than above"),
        ("\n".join(TABLE.split("\n")[:4]), OPTIONS, r"2 control points; at least 3 are needed"),
        (TABLE.replace("7109420.2", "7109390"), OPTIONS, r"all control points lie on one line"),
        (
            TABLE.replace("710", "720"),
            OPTIONS,
            r"point . lies 100 km from every photograph; .*axes",
        ),
        (
            LIST.replace("DJI_0001.JPG north", "DJI_0009.JPG north"),
            OPTIONS,
            r"1 photograph that th",
        ),
        (
            LIST.replace("10.5 20.25", "900 20"),
            OPTIONS,
            r"marked at 900, 20 in .* 800 x 600 pixels",
        ),
        (LIST.replace(" DJI_0001.JPG east", ""), OPTIONS, r"line 4: 5 words; easting, northing"),
        (TABLE, ControlOptions(crs="EPSG:32627", check=("q",)), r"no point 'q' to check with"),
        ("\0\1\2", OPTIONS, r"is no text"),
        (LIST.replace("30 20", "30 inf"), OPTIONS, r"line 4: mark of east in .*inf is no place"),
        (TABLE.replace("0.05", "0"), OPTIONS, r"line 2: point n: sigma_m is 0; .* lies between"),
    ],
)
def test_control_that_is_none_is_refused_and_nothing_changes(
    farm: Path, given, text: str, options: ControlOptions, match: str
) -> None:
    before = (farm / "survey.toml").read_bytes()
    with pytest.raises(InputError, match=match):
        add_control(farm, given(text), options)
    assert read_control(farm) == Control()
    assert (farm / "survey.toml").read_bytes() == before


def test_command_adds_shows_and_clears(farm: Path, given) -> None:
    def run(*words: object):
        return CliRunner().invoke(command, [str(word) for word in (farm, *words)])

    added = run(given(LIST), "--check", "")
    assert added.exit_code == 0, added.output
    assert "north  control  587710.100 7109420.200 12.300  ± 0.02, 0.03 m  in 2 photographs" in (
        added.output
    )
    assert "P3  control" in run().output
    assert run("--clear").exit_code == 0
    assert isinstance(run().exception, InputError)
    assert run(given(LIST), "--sigma", "2").exit_code == 2
