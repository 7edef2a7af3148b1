"""Units as jobs of a Slurm that is three scripts on PATH."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.execution.executor import State
from flows.execution.profile import Place, Profile
from flows.execution.running import UnitRunner, run_units
from flows.execution.sbatch import batch_script, judge
from flows.execution.slurm import SlurmExecutor, cancel_recorded, require_slurm
from flows.execution.units import JOB, write_unit
from flows.orders import Order, Share
from flows.resources import Resources, SurveySize
from flows.store import read_result
from tmp.errors import ExecutionError, InputError
from tmp.progress import silent

QUICK = Profile(poll_s=0.01, grace_s=0.05, unit_minutes=1)
Orders = Callable[..., Order]


def run(order: Order, size: SurveySize, folder: Path, profile: Profile = QUICK) -> None:
    runner = UnitRunner(
        executor=SlurmExecutor(profile=profile), profile=profile, size=size, folder=folder
    )
    runner(order, silent)


def plan(slurm: Path, *states: str) -> None:
    (slurm / "plan.json").write_text(json.dumps(states))


def test_tiles_are_shared_among_the_jobs_of_one_array_and_each_is_made_once(
    slurm: Path, stages: Orders, size: SurveySize, tmp_path: Path
) -> None:
    order = stages("paint", tiles=10, count=str(tmp_path / "count"))
    run(order, size, tmp_path / "units")
    counted = (tmp_path / "count").read_text().split()
    assert sorted(counted) == sorted(f"r0c{i}" for i in range(10))
    result = read_result(order.folder)
    assert result is not None
    assert result.figures == {"tiles": 10}
    assert not order.partial.exists()
    assert (slurm / "calls.txt").read_text().count("sbatch --parsable") == 2
    assert "--array=0-3\n" in (slurm / "100.sh").read_text()


def test_job_out_of_memory_gets_twice_and_then_no_more(
    slurm: Path, stages: Orders, size: SurveySize, tmp_path: Path
) -> None:
    order = stages("sleep", seconds=0)
    plan(slurm, "OOM")
    run(order, size, tmp_path / "units")
    assert "--mem=954M" in (slurm / "100.sh").read_text()
    assert "--mem=1908M" in (slurm / "101.sh").read_text()
    assert read_result(order.folder)
    plan(slurm, "OUT_OF_MEMORY", "OUT_OF_MEMORY")
    with pytest.raises(ExecutionError, match=r"twice the memory \(2 GB\) was too little"):
        run(order, size, tmp_path / "units")


def test_job_out_of_time_gets_twice(
    slurm: Path, stages: Orders, size: SurveySize, tmp_path: Path
) -> None:
    plan(slurm, "TIMEOUT")
    run(stages("sleep", seconds=0), size, tmp_path / "units")
    assert "--time=11\n" in (slurm / "100.sh").read_text()
    assert "--time=22\n" in (slurm / "101.sh").read_text()


def test_lost_job_is_submitted_again_with_the_same_request(
    slurm: Path, stages: Orders, size: SurveySize, tmp_path: Path
) -> None:
    plan(slurm, "NODE_FAIL", "PREEMPTED")
    run(stages("sleep", seconds=0), size, tmp_path / "units")
    assert (slurm / "102.sh").read_text() == (slurm / "100.sh").read_text()
    plan(slurm, *["NODE_FAIL"] * 3)
    with pytest.raises(ExecutionError, match="lost"):
        run(stages("sleep", seconds=0), size, tmp_path / "units")


def test_job_that_someone_cancelled_stops_the_run(
    slurm: Path, stages: Orders, size: SurveySize, tmp_path: Path
) -> None:
    plan(slurm, "CANCELLED")
    with pytest.raises(ExecutionError, match=r"cancelled.*run again to go on"):
        run(stages("sleep", seconds=0), size, tmp_path / "units")


def test_error_of_a_stage_comes_back_as_it_was_raised(
    slurm: Path, stages: Orders, size: SurveySize, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="the card is empty; copy it again"):
        run(stages("fail"), size, tmp_path / "units")
    with pytest.raises(ExecutionError, match=r"failed: no photographs; see .*log.txt"):
        run(stages("crash"), size, tmp_path / "units")


def test_job_that_can_never_start_says_why_and_is_cancelled(
    slurm: Path, stages: Orders, size: SurveySize, tmp_path: Path
) -> None:
    plan(slurm, "PENDING:PartitionTimeLimit")
    with pytest.raises(ExecutionError, match="can never start: PartitionTimeLimit"):
        run(stages("sleep", seconds=0), size, tmp_path / "units")
    assert json.loads((slurm / "jobs.json").read_text())["100_0"][0] == "CANCELLED"


def test_unknown_partition_is_refused_with_those_there_are(
    slurm: Path, stages: Orders, size: SurveySize, tmp_path: Path
) -> None:
    profile = Profile(place=Place(partition="nowhere"), poll_s=0.01)
    with pytest.raises(InputError, match=r"invalid partition .*cpu\* \(null\), gpu gpu:1"):
        run(stages("sleep", seconds=0), size, tmp_path / "units", profile)


def test_slurm_that_is_away_for_a_moment_costs_nothing(
    slurm: Path, stages: Orders, size: SurveySize, tmp_path: Path
) -> None:
    (slurm / "away").touch()
    plan(slurm, "TIMEOUT")
    run(stages("sleep", seconds=0), size, tmp_path / "units")


def test_interrupted_run_cancels_its_jobs(
    slurm: Path, stages: Orders, asked: Resources, tmp_path: Path
) -> None:
    plan(slurm, "RUNNING", "PENDING:Resources")
    executor = SlurmExecutor(profile=QUICK)
    order = stages("paint", tiles=2, count=str(tmp_path / "count"))
    units = [
        write_unit(tmp_path / "units", order, asked, share=Share(index=i, count=2), lenient=False)
        for i in range(2)
    ]

    def interrupt(*_: object) -> object:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_units(executor, units, interrupt, "painting")  # type: ignore[arg-type]
    jobs = json.loads((slurm / "jobs.json").read_text())
    assert {state for state, _, _ in jobs.values()} == {"CANCELLED"}


def test_job_of_a_killed_controller_is_taken_up_and_not_submitted_twice(
    slurm: Path, stages: Orders, asked: Resources, tmp_path: Path
) -> None:
    plan(slurm, "RUNNING")
    order = stages("sleep", seconds=0)
    unit = write_unit(tmp_path / "units", order, asked, share=None, lenient=False)
    SlurmExecutor(profile=QUICK).submit([unit])  # and no more is heard of it
    again = SlurmExecutor(profile=QUICK)
    again.submit([unit])
    assert set(json.loads((slurm / "jobs.json").read_text())) == {"100_0"}
    (status,) = again.poll().values()
    assert status.state is State.RUNNING
    assert cancel_recorded(tmp_path / "units") == 1
    assert json.loads((slurm / "jobs.json").read_text())["100_0"][0] == "CANCELLED"


def test_job_number_given_out_to_another_is_not_taken_up(
    slurm: Path, stages: Orders, asked: Resources, tmp_path: Path
) -> None:
    plan(slurm, "RUNNING")
    unit = write_unit(
        tmp_path / "units", stages("sleep", seconds=0), asked, share=None, lenient=False
    )
    SlurmExecutor(profile=QUICK).submit([unit])
    jobs = json.loads((slurm / "jobs.json").read_text())
    jobs["100_0"][2] = "someone-else"
    (slurm / "jobs.json").write_text(json.dumps(jobs))
    assert cancel_recorded(tmp_path / "units") == 0
    SlurmExecutor(profile=QUICK).submit([unit])
    assert set(json.loads((slurm / "jobs.json").read_text())) == {"100_0", "101_0"}
    assert json.loads((unit.folder / JOB).read_text())["id"] == "101_0"


def test_script_has_what_the_stage_and_the_site_ask_for() -> None:
    profile = Profile(
        place=Place(partition="cpu", account="geo"),
        stages={"surface": Place(partition="gpu", gres="gpu:a100", qos="long")},
        prologue=("module load gcc",),
        at_once=3,
    )
    asked = Resources(cpus=4, memory_gb=8.0, gpus=2, minutes=30.5)
    said = batch_script("tmp-surface-1", 5, asked, profile, "surface").splitlines()
    for line in (
        "#SBATCH --array=0-4%3",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=7630M",
        "#SBATCH --time=31",
        "#SBATCH --partition=gpu",
        "#SBATCH --gres=gpu:a100:2",
        "#SBATCH --qos=long",
        "#SBATCH --requeue",
    ):
        assert line in said
    assert not any("account" in line for line in said)
    assert said[-2:] == ["module load gcc", 'exec "$1" -P -m flows.worker --list "$2"']


def test_end_of_a_job_is_judged_by_state_and_log() -> None:
    assert judge("FAILED", "error: exceeded memory limit (3 > 2)") is State.NO_MEMORY
    assert judge("TIMEOUT", "") is State.NO_TIME
    assert judge("CANCELLED by 7", "") is State.CANCELLED
    assert judge("NODE_FAIL", "") is State.LOST
    assert judge("", "") is State.LOST


def test_machine_without_slurm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="has no sbatch"):
        require_slurm()
