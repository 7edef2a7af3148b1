"""The commands of a plan, as a person calls them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flightplan.formats import read_mission
from tmp.cli import main

SAMPLE = Path(__file__).parents[2] / "sample_data"
OPTIONS = [
    "--drone",
    "rehearsal",
    "--dem",
    str(SAMPLE / "farm_terrain.tif"),
    "--dem-datum",
    "ellipsoid",
]


def tmp(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan") / "farm"
    result = tmp("plan", SAMPLE / "farm_area.geojson", "-o", folder, *OPTIONS)
    assert result.exit_code == 0, result.output
    assert "proved   Every place is seen by at least" in result.output
    return folder


def test_a_plan_leaves_missions_proof_map_and_briefing(survey: Path) -> None:
    names = {path.name for path in (survey / "plan").iterdir()}
    assert {
        "sortie-1.plan", "sortie-1.waypoints", "sortie-1.kml", "sortie-1.geojson", "map.html",
        "map.png", "briefing.html", "certificate.json", "lines.json", "plan.json", "proof",
        "notes.txt",
    } <= names  # fmt: skip
    assert (survey / "survey.toml").is_file()
    assert json.loads((survey / "plan" / "certificate.json").read_text())["passed"]


def test_a_second_plan_takes_the_place_of_the_first_and_keeps_records_of_flights(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "farm"
    area = SAMPLE / "farm_area.geojson"
    assert tmp("plan", area, "-o", folder, "--drone", "mini 4 pro").exit_code == 0
    (folder / "plan" / "flown-sortie-1.csv").write_text("time\n")
    assert (folder / "plan" / "dji-timer" / "sortie-1.kmz").is_file()
    result = tmp("plan", area, "-o", folder, "--drone", "rehearsal")
    assert result.exit_code == 0, result.output
    assert not (folder / "plan" / "dji-timer").exists()
    assert (folder / "plan" / "flown-sortie-1.csv").is_file()


def test_the_rehearsal_proves_what_the_mission_file_says(survey: Path) -> None:
    result = tmp("rehearse", survey)
    assert result.exit_code == 0, result.output
    assert "proved   Every place is seen by at least" in result.output
    assert "of the area is seen by" in result.output


def test_the_rehearsal_of_a_mission_cut_short_fails_its_proof(survey: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "cut"
    shutil.copytree(survey, copy)
    path = copy / "plan" / "sortie-1.plan"
    plan = json.loads(path.read_text())
    for item in plan["mission"]["items"]:
        if item["type"] == "ComplexItem":
            items = item["TransectStyleComplexItem"]["Items"]
            del items[len(items) // 2 :]
    path.write_text(json.dumps(plan))
    result = tmp("rehearse", copy)
    assert "FAILS" in result.output


def test_photographs_of_a_plan_are_rendered_where_it_takes_them(
    survey: Path, tmp_path: Path
) -> None:
    from flightplan.equipment.catalogue import read_catalogue
    from flightplan.rehearsal.farm import _stations, farm_frame
    from flightplan.rehearsal.features import read_farm
    from flightplan.rehearsal.planned import read_plan
    from tmp.survey import Survey

    plan = read_plan(Survey(folder=survey), read_catalogue())
    farm = read_farm()
    frame = farm_frame(farm)
    stations = _stations(plan, farm, frame)
    assert len(stations) == sum(map(len, plan.photos))
    lon, lat, height = frame.geodetic_from_world([stations[0].position])[0]
    first = plan.photos[0][0]
    assert (lon, lat) == pytest.approx((first.lon_deg, first.lat_deg), abs=1e-9)
    ground = plan.terrain.at(plan.frame.plan_from_geodetic([(lon, lat)]))[0]
    # The plan's terrain has cells of 1 m, the farm's own of half a metre.
    assert height - ground == pytest.approx(plan.summary["height_agl_m"], abs=3.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gsd", "2.5cm", "--height", "60m"], "--gsd and --height"),
        (["--gsd", "2.5"], "needs a number and a unit"),
        (["--frontlap", "100"], "less than 100 %"),
        (["--wind", "6@"], "--wind '6@'"),
        (["--takeoff", "64.1"], "--takeoff '64.1' is no place"),
        (["--gsd", "0.2cm"], "ask for"),
        (["--allow", "gravity"], "gravity"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(
    words: list[str], said: str, tmp_path: Path
) -> None:
    result = tmp(
        "plan", SAMPLE / "farm_area.geojson", "-o", tmp_path / "x", "--drone", "rehearsal", *words
    )
    assert result.exit_code == 1
    assert said in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_an_elevation_model_elsewhere_is_refused(tmp_path: Path) -> None:
    result = tmp(
        "plan",
        "SRID=4326;POLYGON((8 50, 8.002 50, 8.002 50.001, 8 50.001, 8 50))",
        "-o",
        tmp_path / "x",
        *OPTIONS,
    )
    assert result.exit_code == 1
    assert "does not cover" in result.output


def test_a_folder_without_a_plan_says_so_when_flown(tmp_path: Path) -> None:
    result = tmp("fly", tmp_path, "--connect", "udp:127.0.0.1:14550")
    assert result.exit_code == 1
    assert "make a plan with 'tmp plan'" in result.output


def test_the_mission_reads_back_with_its_take_off(survey: Path) -> None:
    mission = read_mission(survey / "plan" / "sortie-1.plan")
    assert mission.takeoff is not None
    assert sum(p.photo_spacing_m > 0 for p in mission.waypoints) > 0
