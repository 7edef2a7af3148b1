"""A run of a survey: what it asks for, what it tells, and that it maps as 'tmp map' does."""

import pytest

from flows.engine.cost import Quality
from flows.execution.cluster_profile import Profile
from flows.pipeline import run_survey
from flows.report.quality import MapRecord
from flows.run.record import RUN
from flows.run.request import IndexOptions, MapOptions, Part, RunOptions, SurveyRequest, Where
from flows.run.status import describe_run_plan
from tmp.captures import write_captures
from tmp.errors import InputError
from tmp.lock import locked


def test_dry_run_lists_every_stage_and_runs_none(record: MapRecord) -> None:
    write_captures(record.survey.gpkg_path, record.captures)
    request = SurveyRequest(map=MapOptions(workers=2))
    lines = describe_run_plan(record.survey, request, RunOptions(on=Where.SLURM))
    assert [line.split()[0] for line in lines[2:-1]] == [
        "features",
        "matches",
        "orientation",
        "exposure",
        "surface",
        "elevation",
        "terrain",
        "above_ground",
        "orthomosaic",
        "cloud",
        "cloud_levels",
        "standing",
        "sides",
        "solids",
        "model",
    ]
    assert not (record.survey.work_dir / "stages").exists()


def test_dry_run_goes_as_far_as_is_asked_and_counts_what_runs_side_by_side_once(
    record: MapRecord,
) -> None:
    write_captures(record.survey.gpkg_path, record.captures)

    def last(on: Where = Where.LOCAL, **asked: object) -> list[str]:
        request = SurveyRequest(map=MapOptions(quality=Quality.HIGH), **asked)  # type: ignore[arg-type]
        run = RunOptions(on=on, profile=Profile(most_cpus=4))
        return describe_run_plan(record.survey, request, run)[-2:]

    assert last(until=Part.ORIENT)[0].split()[0] == "orientation"
    assert last(until=Part.PRODUCTS)[0].split()[0] == "model"
    assert last(indices=IndexOptions(indices=("VARI",)))[0].split()[:2] == [
        "indices",
        "orthomosaic",
    ]
    assert last(Where.SLURM)[1].endswith("node-hours of 4 cores")


def test_run_on_a_machine_without_slurm_is_refused(
    record: MapRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="has no sbatch"):
        run_survey(record.survey.folder, SurveyRequest(), RunOptions(on=Where.SLURM))


def test_second_run_is_refused_and_leaves_the_book_of_the_first(record: MapRecord) -> None:
    survey = record.survey
    write_captures(survey.gpkg_path, record.captures)
    with (
        locked(survey.work_dir / "lock", "'tmp map'"),
        pytest.raises(InputError, match="already at work"),
    ):
        run_survey(survey.folder, SurveyRequest(), RunOptions())
    assert not (survey.work_dir / RUN).exists()
