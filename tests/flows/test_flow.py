"""A run of a survey: what it asks for, what it tells, and that it maps as 'tmp map' does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.dryrun import describe_run_plan
from flows.flow import run_survey
from flows.lock import locked
from flows.map import MapOptions
from flows.report import MapRecord
from flows.request import RunOptions, SurveyRequest, Where
from flows.resources import SurveySize
from flows.runs import RUN, UNITS, RunBook, cancel_run, describe_run, find_log
from flows.steps import STEPS
from tmp.captures import write_captures
from tmp.errors import InputError

SMALL = SurveySize(photographs=100, megapixels=12)
LARGE = SurveySize(photographs=1000, megapixels=12)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: str(step.stage.name))
def test_a_larger_survey_asks_for_more_time_and_never_for_less_memory(step: object) -> None:
    needs = step.stage.needs  # type: ignore[attr-defined]
    assert needs(LARGE).cpu_s > needs(SMALL).cpu_s
    assert needs(LARGE).memory_gb >= needs(SMALL).memory_gb


def test_size_of_a_survey_is_known_before_its_tiles_are() -> None:
    assert SMALL.tiles == 115
    assert SMALL.disk_gb == pytest.approx(4.2)


def test_dry_run_lists_every_stage_and_runs_none(record: MapRecord) -> None:
    write_captures(record.survey.gpkg_path, record.captures)
    request = SurveyRequest(map=MapOptions(workers=2))
    lines = describe_run_plan(record.survey, request, RunOptions(on=Where.SLURM))
    assert [line.split()[0] for line in lines[2:-1]] == [
        "orientation",
        "surface",
        "elevation",
        "orthomosaic",
        "cloud",
    ]
    assert not (record.survey.work_dir / "stages").exists()


def test_run_on_a_machine_without_slurm_is_refused(
    record: MapRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="has no sbatch"):
        run_survey(record.survey.root, SurveyRequest(), RunOptions(on=Where.SLURM))


def test_second_run_is_refused_and_leaves_the_book_of_the_first(record: MapRecord) -> None:
    survey = record.survey
    write_captures(survey.gpkg_path, record.captures)
    with (
        locked(survey.work_dir / "lock", "'tmp map'"),
        pytest.raises(InputError, match="already at work"),
    ):
        run_survey(survey.root, SurveyRequest(), RunOptions())
    assert not (survey.work_dir / RUN).exists()


def test_status_tells_what_the_book_says(record: MapRecord) -> None:
    survey = record.survey
    with pytest.raises(InputError, match="has not been run"):
        describe_run(survey)
    book = RunBook(path=survey.work_dir / RUN)
    book.begin("local", {"orientation": "to do", "surface": "to do"})
    book.note("orientation", "running")
    lines = describe_run(survey)
    assert "on local" in lines[0]
    assert lines[0].endswith("running")
    assert lines[1].split() == ["orientation", "running"]
    book.said["started"] -= 1000.0
    book.note("orientation", "running")
    assert "interrupted; 'tmp run' goes on" in describe_run(survey)[0]
    assert cancel_run(survey) == "nothing is running"
    book.end("failed", "the card is empty")
    assert describe_run(survey)[1] == "the card is empty"


def test_log_of_a_tile_is_that_of_the_unit_that_made_it(record: MapRecord) -> None:
    survey = record.survey
    for part, tile in (("1-of-2", "r0c0"), ("2-of-2", "r0c1")):
        folder = survey.work_dir / UNITS / "orthomosaic" / "key" / part
        folder.mkdir(parents=True)
        (folder / "log.txt").write_text(f"2026-07-03 INFO tiles: {tile} r9c9\n")
    assert find_log(survey, "orthomosaic", "r0c0").parent.name == "1-of-2"
    with pytest.raises(InputError, match="no log of 'orthomosaic:r5c5'"):
        find_log(survey, "orthomosaic", "r5c5")


@pytest.mark.slow
def test_prefect_keeps_its_files_in_our_cache_and_needs_no_server(tmp_path: Path) -> None:
    code = (
        "from flows.prefecting import as_flow\n"
        "done = []\n"
        "def work(call):\n"
        "    call('orientation', lambda: done.append(1))\n"
        "    return len(done)\n"
        "print(as_flow('Test farm', work))\n"
    )
    environment = {key: value for key, value in os.environ.items() if "PREFECT" not in key}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path / "home")}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == ["1"]
    assert (tmp_path / "cache" / "terrestrial-mapping-platform" / "prefect").is_dir()
    assert not (tmp_path / "home" / ".prefect").exists()
