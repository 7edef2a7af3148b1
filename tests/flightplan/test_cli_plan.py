"""The commands of a plan, as a person calls them."""

import json
import re
import time
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from shapely import box

from flightplan.autopilot.checks import read_planned
from flightplan.formats.mission_files import read_mission
from tmp.cli import main

SAMPLE = Path(__file__).parents[2] / "sample_data"
OPTIONS = ["--drone", "rehearsal", "--dem", str(SAMPLE / "farm_dem.tif")]


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
        "map.png", "briefing.html", "certificate.json", "plan.json", "proof",
        "notes.txt",
    } <= names  # fmt: skip
    assert (survey / "survey.toml").is_file()
    assert json.loads((survey / "plan" / "certificate.json").read_text())["passed"]


def test_a_plan_tells_what_is_compared_before_it_is_flown(survey: Path) -> None:
    mission = read_mission(survey / "plan" / "sortie-1.plan")
    planned = read_planned(survey / "plan", mission.name)
    assert planned is not None
    assert mission.takeoff is not None
    assert planned.ground_at(0.0, 0.0) == pytest.approx(mission.takeoff.ground_m, abs=0.5)
    assert abs(planned.ground_at(40.0, 0.0) - planned.ground_at(0.0, 0.0)) < 20.0
    assert planned.return_m >= max(waypoint.height_m for waypoint in mission.waypoints) - 0.1
    assert (planned.reserve, 0 < planned.share < 0.65, bool(planned.datum)) == (0.25, True, True)


@pytest.mark.parametrize(
    "options", [("DJI Mini 4 Pro", "2.5cm"), ("Mavic 3E", "2cm", "--oblique", "25")]
)
@pytest.mark.usefixtures("undrawn")
def test_the_sample_terrain_serves_as_it_is(options: tuple[str, ...], tmp_path: Path) -> None:
    drone, gsd, *more = options
    area, dem = SAMPLE / "farm_area.geojson", SAMPLE / "farm_dem.tif"
    words = ("--drone", drone, "--gsd", gsd, "--dem", dem, *more)
    result = tmp("plan", area, "-o", tmp_path / "farm", *words)
    assert result.exit_code == 0, result.output
    assert "proved   Every place is seen" in result.output


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pictures, which take most of the time of a plan."""

    def write_map(picture: Path, page: Path, _: object) -> None:
        picture.write_bytes(b"")
        page.write_bytes(b"")

    monkeypatch.setattr("flightplan.outputs.plan_folder.write_map", write_map)


@pytest.mark.usefixtures("undrawn")
def test_planning_again_loses_nothing_that_was_there(tmp_path: Path) -> None:
    plan = tmp_path / "farm" / "plan"
    area = SAMPLE / "farm_area.geojson"
    first = tmp("plan", area, "-o", plan.parent, "--drone", "mini 4 pro")
    assert first.exit_code == 0
    assert "former plan" not in first.output
    sums = (plan / "plan.sha256").read_text()
    (plan / "flown-sortie-1.csv").write_text("time\n")
    (plan / "dji-timer" / "sortie-1.kmz").write_bytes(b"edited")
    (plan / "pilot notes.txt").write_text("mine")
    (plan / "sortie-7.plan").write_text("mine too")
    before = {file: file.read_bytes() for file in plan.rglob("*") if file.is_file()}
    second = tmp("plan", area, "-o", plan.parent, "--drone", "rehearsal")
    assert second.exit_code == 0, second.output
    (former,) = plan.glob("previous-*")
    assert {plan / file.relative_to(former): file.read_bytes()
            for file in former.rglob("*") if file.is_file()} == before  # fmt: skip
    assert (plan / "pilot notes.txt").read_text() == "mine"
    assert (plan / "flown-sortie-1.csv").is_file()
    assert not (plan / "sortie-7.plan").exists()  # it would be flown with the new ones
    assert not (plan / "dji-timer").exists()
    (said,) = (line for line in second.output.splitlines() if "former plan" in line)
    assert said.endswith(
        f"{former}; yours or edited by you, only there: dji-timer/sortie-1.kmz, sortie-7.plan; "
        "yours, there and in the new one: pilot notes.txt"
    )
    assert sums != (plan / "plan.sha256").read_text()
    third = tmp("plan", area, "-o", plan.parent, "--drone", "rehearsal")
    assert third.exit_code == 0, third.output
    assert len(list(plan.glob("previous-*"))) == 2
    assert "the former plan is kept in" in third.output
    assert "only there" not in third.output
    assert not list(plan.glob("previous-*/previous-*"))
    assert (plan / "pilot notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("undrawn")
def test_a_plan_that_cannot_be_written_leaves_the_former_one(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    copy = tmp_path / "farm"
    shutil.copytree(survey, copy)
    shutil.rmtree(copy / "work" / "logs", ignore_errors=True)
    before = {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()}
    rename = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if target == copy / "plan" and "previous-" not in self.name:
            raise PermissionError(13, "no")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    result = tmp("plan", SAMPLE / "farm_area.geojson", "-o", copy, *OPTIONS)
    assert result.exit_code == 1
    shutil.rmtree(copy / "work" / "logs")  # of this command
    assert {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()} == before


@pytest.mark.usefixtures("undrawn")
def test_another_place_is_not_planned_into_a_survey_unless_it_is_meant(
    survey: Path, tmp_path: Path
) -> None:
    import shutil

    copy = tmp_path / "farm"
    shutil.copytree(survey, copy)
    there = "POLYGON ((8 47, 8.001 47, 8.001 47.0005, 8 47.0005, 8 47))"
    words = ["plan", there, "--crs", "EPSG:4326", "-o", copy, "--drone", "rehearsal"]
    result = tmp(*words)
    assert result.exit_code == 1
    # 64.143° N 19.760° W to 47.000° N 8.000° E on the ellipsoid, by Vincenty: 2 565 km.
    assert "former plan, 64.1430° N, 19.7600° W, is 25" in result.output
    assert "--elsewhere" in result.output
    result = tmp(*words, "--elsewhere")
    assert result.exit_code == 0, result.output
    (copy / "plan" / "plan.json").unlink()
    (copy / "survey.toml").write_text(
        (copy / "survey.toml").read_text()
        + "crs = 'EPSG:32627'\n[origin]\nlongitude_deg = -19.76\nlatitude_deg = 64.14\n"
        + "height_m = 0.0\n"
    )
    assert "the place of its photographs, 64.1400° N" in tmp(*words).output


def test_without_an_elevation_model_nothing_is_called_proved(tmp_path: Path) -> None:
    result = tmp(
        "plan", SAMPLE / "farm_area.geojson", "-o", tmp_path / "farm", "--drone", "mini 4 pro"
    )
    assert result.exit_code == 0
    assert "proved" not in result.output.replace("not as proved", "")
    assert "if level Every place is seen" in result.output
    assert "take-off                   assumed" in result.output
    assert "64.1430° N, 19.7600° W, in or near Iceland" in result.output
    page = (tmp_path / "farm" / "plan" / "map.html").read_text()
    said = "Passes all 7 checks on level ground; the terrain is unknown."
    assert f'<span class="verdict doubtful">{said}</span>' in page
    assert '<td class="pass">' not in page
    # The rehearsal proves it over the same unknown ground.
    assert "proved" not in tmp("rehearse", tmp_path / "farm").output


def test_map_briefing_and_terminal_say_the_same_times_and_places(survey: Path) -> None:
    import re

    plan = survey / "plan"
    times = {
        name: set(re.findall(r"\d+ min \d\d s", (plan / name).read_text()))
        for name in ("map.html", "briefing.html")
    }
    assert times["map.html"] == times["briefing.html"] != set()
    assert "UTC-01:00, from the longitude" in (plan / "briefing.html").read_text()


@pytest.mark.parametrize(
    ("size_deg", "said"),
    [
        (0.4, "the area is 19.6 km by 44.6 km, which takes about 2,000,000 photographs"),
        (0.04, "which takes about 17 take-off places: a drone is flown up to 500 m from its pilot"),
    ],
)
def test_an_area_too_large_is_refused_before_lines_are_laid(
    size_deg: float, said: str, tmp_path: Path
) -> None:
    far = box(8, 64, 8 + size_deg, 64 + size_deg).wkt
    began_s = time.process_time()
    result = tmp("plan", far, "--crs", "EPSG:4326", "-o", tmp_path / "s", "--drone", "mini 4 pro")
    assert time.process_time() - began_s < 2.0
    assert result.exit_code == 1
    assert said in result.output
    assert "in parts" in result.output
    assert not (tmp_path / "s").exists()


@pytest.mark.usefixtures("undrawn")
def test_an_area_with_latitude_and_longitude_swapped_is_recognised(tmp_path: Path) -> None:
    swapped = (
        "POLYGON ((64.143 -19.76, 64.144 -19.76, 64.144 -19.759, 64.143 -19.759, 64.143 -19.76))"
    )
    result = tmp(
        "plan", swapped, "--crs", "EPSG:4326", "-o", tmp_path / "s", "--drone", "mini 4 pro"
    )
    assert "19.76° S, 64.14° E lies in no country known here" in result.output
    assert "swapped it would lie in or near Iceland" in result.output


@pytest.mark.usefixtures("undrawn")
def test_a_plan_flies_no_faster_than_asked_and_says_the_shutter(tmp_path: Path) -> None:
    words = ("--drone", "mini 4 pro", "--gsd", "2.5cm", "--speed", "3m/s", "--shutter", "1/1000")
    result = tmp("plan", SAMPLE / "farm_area.geojson", "-o", tmp_path / "s", *words)
    assert result.exit_code == 0, result.output
    assert "3.0 m/s, limited by --speed" in result.output
    mission = read_mission(tmp_path / "s" / "plan" / "sortie-1.plan")
    assert max(one.speed_m_s for one in mission.waypoints if one.photo_spacing_m > 0) <= 3.0
    assert "shutter 1/1000 s or faster" in (tmp_path / "s/plan/briefing.html").read_text()


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
    assert result.exit_code == 1
    assert "FAILS" in result.output
    assert "edited since the plan was made: sortie-1.plan" in result.output


@pytest.mark.usefixtures("undrawn")
def test_every_mission_file_is_read_and_one_that_was_edited_is_told(tmp_path: Path) -> None:
    area = "POLYGON ((8 47, 8.002 47, 8.002 47.001, 8 47.001, 8 47))"
    words = ("--crs", "EPSG:4326", "--drone", "mini 4 pro", "--gsd", "3cm")
    assert tmp("plan", area, "-o", tmp_path / "s", *words).exit_code == 0
    folder = tmp_path / "s" / "plan"
    result = tmp("rehearse", tmp_path / "s")
    assert result.exit_code == 0, result.output
    assert re.search(r"read     (.*)", result.output)[1].startswith("DJI Fly, the camera's own")
    files = [one.relative_to(folder).as_posix() for one in folder.rglob("sortie-*")]
    assert len(files) >= 7
    assert all(file in result.output for file in files)
    assert "all files fly the same way" in result.output
    path = folder / "dji-timer" / "sortie-1.kmz"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name).decode() for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            higher = re.sub(r"(?<=executeHeight>)[0-9.]+", lambda m: f"{float(m[0]) + 25}", text)
            archive.writestr(name, higher)
    result = tmp("rehearse", tmp_path / "s")
    assert result.exit_code == 1
    assert "FAILS    The best view of each place" in result.output
    assert "DIFFERS  sortie-1.kml goes up to 25.0 m beside, above or below" in result.output
    assert "edited since the plan was made: dji-timer/sortie-1.kmz\n" in result.output


@pytest.mark.usefixtures("undrawn")
def test_files_that_the_app_would_not_open_are_not_written(tmp_path: Path) -> None:
    area = "POLYGON ((8 47, 8.004 47, 8.004 47.002, 8 47.002, 8 47))"
    words = ("--crs", "EPSG:4326", "--drone", "mini 4 pro", "--gsd", "2cm")
    result = tmp("plan", area, "-o", tmp_path / "s", *words)
    assert result.exit_code == 0, result.output
    assert "dji-photo/sortie-N.kmz not written: a sortie takes" in result.output
    folder = tmp_path / "s" / "plan"
    assert len(json.loads((folder / "plan.json").read_text())["left_out"]) == 1
    assert (folder / "dji-timer" / "sortie-1.kmz").is_file()
    assert not (folder / "dji-photo").exists()
    notes = (folder / "notes.txt").read_text()
    assert "DJI Fly opens 90 without trouble; use DJI Fly, the camera's own timer" in notes
    assert "dji-photo/sortie-N.kmz" not in notes


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
        (["--speed", "25m/s"], "leaves; ask for less, or leave it out"),
        (["--shutter", "1/100", "--speed", "5m/s"], "or expose shorter, --shutter 1/"),
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


def test_the_help_lists_every_option_once_by_what_it_is_about() -> None:
    from flightplan.cli import GROUPS, plan

    said = tmp("plan", "--help").output
    names = [name for group in GROUPS.values() for name in group]
    assert len(names) == len(set(names))
    assert all(f"\n{title}:\n" in said for title in GROUPS)
    for option in plan.params:
        if option.param_type_name == "option":
            assert len(re.findall(rf"^ .*{option.opts[-1]}\b(?!-)", said, re.MULTILINE)) >= 1
    page = (Path(__file__).parents[2] / "docs" / "planning.md").read_text()
    for option in plan.params:
        if option.param_type_name == "option":
            assert f"`{option.opts[-1]}" in page, option.opts
