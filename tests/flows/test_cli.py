from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from flows.cli import run as cli
from flows.engine.result import Usage
from flows.engine.store import Result
from flows.report.findings import Coverage
from flows.report.verdict import Verdict
from flows.run.request import SurveyResult
from tmp.cli import main
from tmp.errors import InputError
from tmp.lock import locked
from tmp.survey import Survey


def test_interrupt_ends_in_one_line_and_status_130(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.pipeline.map_survey", stop)
    result = CliRunner().invoke(main, ["map", str(tmp_path)])
    assert result.exit_code == 130
    assert result.output == "interrupted; run the same command again to go on\n"


def test_folder_that_is_no_survey_is_refused_in_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["map", str(tmp_path)])
    assert result.exit_code == 1
    assert "is not a survey" in result.output
    assert result.output.count("\n") == 1


def ended(survey: Survey, mapped_ha: float) -> SurveyResult:
    """Return the result of a map of a share of one hectare."""
    covered = Coverage(
        flown_ha=1.0,
        mapped_ha=mapped_ha,
        drawn_ha=mapped_ha,
        seen_by_two_ha=0.9,
        seen_by_three_ha=0.6,
        measured_of_two=mapped_ha,
        measured_of_three=mapped_ha,
    )
    verdict = Verdict(photographs_total=9, photographs_oriented=9, covered=covered, scaled=True)
    return SurveyResult(survey=survey, report_path=survey.report_path, verdict=verdict)


@pytest.mark.parametrize(("mapped_ha", "status"), [(0.8, 0), (0.3, cli.PARTIAL)])
@pytest.mark.parametrize("command", ["map", "run"])
def test_status_and_last_lines_say_how_the_map_came_out(
    monkeypatch: pytest.MonkeyPatch, survey: Survey, command: str, mapped_ha: float, status: int
) -> None:
    survey.products_dir.mkdir()
    for name in ("dsm.tif", "cloud.laz", "model.glb"):
        (survey.products_dir / name).touch()
    for function in ("flows.pipeline.map_survey", "flows.pipeline.run_survey"):
        monkeypatch.setattr(function, lambda *_, **__: ended(survey, mapped_ha))
    result = CliRunner().invoke(main, [command, str(survey.folder)])
    assert result.exit_code == status == (0 if mapped_ha >= 0.5 else 3)
    paragraph, *_, products = result.output.splitlines()
    assert paragraph.startswith("The map is complete" if status == 0 else "This is a partial map")
    assert f"9 of 9 photographs give heights of {mapped_ha:.2f} ha" in paragraph
    assert f"Open {survey.report_path}" in paragraph
    assert products == f"products: {survey.products_dir}: dsm.tif, cloud.laz, model.glb"


def test_run_that_ends_before_the_products_has_no_verdict(
    monkeypatch: pytest.MonkeyPatch, survey: Survey
) -> None:
    done = Result(
        stage="orientation",
        folder=survey.folder,
        files={},
        figures={},
        usage=Usage(),
        reused=False,
    )
    result = SurveyResult(survey=survey, results=(done,))
    monkeypatch.setattr("flows.pipeline.run_survey", lambda *_, **__: result)
    said = CliRunner().invoke(main, ["run", str(survey.folder), "--until", "orient"])
    assert said.exit_code == 0
    assert said.output == f"{survey.folder}: orientation is done\n"


@pytest.mark.parametrize("command", ["map", "run", "demo"])
def test_help_tells_the_exit_status(command: str) -> None:
    said = " ".join(CliRunner().invoke(main, [command, "--help"]).output.split())
    assert "3 if it holds less (a partial map: the products are written all the same)" in said


def test_lines_are_broken_for_people_and_left_whole_for_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = "warning: " + "word " * 40 + "--fill"
    assert cli._wrapped(line) == line
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    broken = cli._wrapped(line).splitlines()
    assert max(map(len, broken)) <= 60
    assert all(part.startswith("  ") for part in broken[1:])
    assert broken[-1].endswith("--fill")


def test_the_log_of_the_last_map_is_kept_and_shown(
    monkeypatch: pytest.MonkeyPatch, survey: Survey
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise InputError("the photographs show nothing")

    monkeypatch.setattr("flows.pipeline.map_survey", fail)
    words = ["map", str(survey.folder)]
    assert CliRunner().invoke(main, words).exit_code == 1
    listed = CliRunner().invoke(main, ["logs", str(survey.folder)])
    assert listed.exit_code == 0, listed.output
    assert listed.output.startswith("map ")
    shown = CliRunner().invoke(main, ["logs", str(survey.folder), "map"]).output
    assert "InputError: the photographs show nothing" in shown
    assert "Traceback" in shown
    other = CliRunner().invoke(main, ["logs", str(survey.folder), "surface"])
    assert other.exit_code == 1
    assert "no log of surface" in other.output


def test_a_report_is_opened_only_where_it_can_be_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    cli.open_page(tmp_path / "report.html")
    assert opened == []
    assert "open it in a browser" in capsys.readouterr().err
    monkeypatch.setenv("DISPLAY", ":0")
    cli.open_page(tmp_path / "report.html")
    assert opened == [(tmp_path / "report.html").as_uri()]


def test_options_reach_the_map(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def remember(root: Path, options: Any, **_: Any) -> None:
        asked.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.pipeline.map_survey", remember)
    words = ["map", str(tmp_path), "--quality", "fast", "--workers", "3", "--ortho-gsd", "0.05"]
    CliRunner().invoke(main, [*words, "--area", "farm.geojson", "--water", "lake.kml", "--fill"])
    (options,) = asked
    assert (options.quality, options.workers, options.ortho_gsd_m) == ("fast", 3, 0.05)
    assert (options.area_file, options.fill) == (Path("farm.geojson"), True)
    assert options.water_file == Path("lake.kml")


@pytest.mark.parametrize("said", ["3", "3,x", "1,2,3"])
def test_a_position_sigma_that_is_not_two_numbers_is_refused(tmp_path: Path, said: str) -> None:
    result = CliRunner().invoke(main, ["map", str(tmp_path), "--position-sigma", said])
    assert result.exit_code == 2
    assert "give two numbers of metres" in result.output


def test_demo_refuses_a_folder_that_holds_other_things(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("years of work")
    result = CliRunner().invoke(cli.demo, [str(tmp_path)])
    assert result.exit_code == 1
    assert (tmp_path / "thesis.docx").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_ingest_waits_its_turn_like_every_other_command(tmp_path: Path) -> None:
    survey, card = tmp_path / "survey", tmp_path / "card"
    card.mkdir()
    cv2.imwrite(str(card / "DJI_0001.JPG"), np.full((60, 80, 3), 90, np.uint8))
    words = ["ingest", str(card), "--to", str(survey)]
    assert CliRunner().invoke(main, words).exit_code == 0
    with locked(survey / "work" / "lock", "'tmp map'"):
        refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 1
    assert "'tmp map' is already at work on it" in refused.output
