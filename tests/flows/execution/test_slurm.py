"""Units as jobs of a Slurm that is three scripts on PATH."""

import json
import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from threading import Timer

import pytest

from flows.engine.cost import Resources, SurveySize
from flows.engine.stage import Recipe
from flows.engine.store import read_result
from flows.execution.cluster_profile import Place, Profile
from flows.execution.runner import UnitRunner
from flows.execution.slurm import SlurmExecutor, cancel_recorded, require_slurm
from flows.execution.slurm_commands import batch_script, judge
from flows.execution.unit import EXIT, JOB, State, Unit
from flows.execution.worker import listed
from tmp.errors import ExecutionError, InputError, StoppedError, TransientError
from tmp.progress import silent

QUICK = Profile(poll_s=0.01, grace_s=0.05, unit_minutes=1)
Recipes = Callable[..., Recipe]
Whole = Callable[[Recipe], Unit]
Parts = Callable[..., list[Unit]]


def run(recipe: Recipe, size: SurveySize, folder: Path, profile: Profile = QUICK) -> None:
    runner = UnitRunner(
        executor=SlurmExecutor(profile=profile), profile=profile, size=size, folder=folder
    )
    runner(recipe, silent)


def plan(slurm: Path, *states: str) -> None:
    (slurm / "plan.json").write_text(json.dumps(states))


def calls(slurm: Path, command: str) -> list[str]:
    lines = (slurm / "calls.txt").read_text().splitlines()
    return [line for line in lines if Path(line.split()[1]).name == command]


def commands(slurm: Path) -> list[str]:
    lines = (slurm / "calls.txt").read_text().splitlines()
    return [Path(line.split()[1]).name for line in lines]


def job_name(slurm: Path) -> str:
    (line,) = calls(slurm, "sbatch")
    return next(word for word in line.split() if word.startswith("--job-name=")).split("=")[1]


def test_tiles_are_shared_among_the_jobs_of_one_array_and_each_is_made_once(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    recipe = recipes("paint", tiles=10, count=str(tmp_path / "count"))
    run(recipe, size, tmp_path / "work" / "units")
    counted = (tmp_path / "count").read_text().split()
    assert sorted(counted) == sorted(f"r0c{i}" for i in range(10))
    result = read_result(recipe.folder)
    assert result is not None
    assert result.figures == {"tiles": 10}
    assert not recipe.partial.exists()
    assert (slurm / "calls.txt").read_text().count("sbatch --parsable") == 2
    assert "--array=0-3\n" in (slurm / "100.sh").read_text()


def test_job_out_of_memory_gets_twice_and_then_no_more(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    recipe = recipes("sleep", seconds=0)
    plan(slurm, "OOM")
    run(recipe, size, tmp_path / "work" / "units")
    assert "--mem=954M" in (slurm / "100.sh").read_text()
    assert "--mem=1908M" in (slurm / "101.sh").read_text()
    assert read_result(recipe.folder)
    plan(slurm, "OUT_OF_MEMORY", "OUT_OF_MEMORY")
    with pytest.raises(ExecutionError, match=r"twice the memory \(2 GB\) was too little"):
        run(recipe, size, tmp_path / "work" / "units")


def test_job_out_of_time_gets_twice(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    plan(slurm, "TIMEOUT")
    run(recipes("sleep", seconds=0), size, tmp_path / "work" / "units")
    assert "--time=11\n" in (slurm / "100.sh").read_text()
    assert "--time=22\n" in (slurm / "101.sh").read_text()


def test_lost_job_is_submitted_again_with_the_same_request(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    plan(slurm, "NODE_FAIL", "PREEMPTED")
    run(recipes("sleep", seconds=0), size, tmp_path / "work" / "units")
    assert (slurm / "102.sh").read_text() == (slurm / "100.sh").read_text()
    plan(slurm, *["NODE_FAIL"] * 3)
    with pytest.raises(TransientError, match="lost"):
        run(recipes("sleep", seconds=1), size, tmp_path / "work" / "units")


def test_job_that_others_displace_is_submitted_again_however_often(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    plan(slurm, *["PREEMPTED"] * 5)
    run(recipes("sleep", seconds=0), size, tmp_path / "work" / "units")
    assert (slurm / "105.sh").exists()


def test_job_that_slurm_may_start_again_by_itself_is_cancelled_before_it_is_submitted_again(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    plan(slurm, "NODE_FAIL")
    run(recipes("sleep", seconds=0), size, tmp_path / "work" / "units")
    assert commands(slurm) == ["sbatch", "squeue", "scancel", "sbatch", "squeue"]


def test_node_that_loses_two_units_gets_no_more(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    plan(slurm, "NODE_FAIL@n7", "NODE_FAIL@n7")
    run(recipes("sleep", seconds=0), size, tmp_path / "work" / "units")
    excluded = ["--exclude=n7" in line for line in calls(slurm, "sbatch")]
    assert excluded == [False, False, True]


def test_nodes_are_asked_again_where_no_other_is_left(
    slurm: Path, recipes: Recipes, whole: Whole
) -> None:
    executor = SlurmExecutor(profile=QUICK)
    executor._lost_by.update({"n7": 2, "n8": 2})
    recipe = recipes("sleep", seconds=0)
    executor.submit([whole(recipe)])
    excluded = ["--exclude=n7,n8" in line for line in calls(slurm, "sbatch")]
    assert excluded == [True, False]


def test_error_of_a_job_whose_node_failed_is_not_believed(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    plan(slurm, "NODE_FAIL:after", "NODE_FAIL:after")
    with pytest.raises(InputError, match="the card is empty"):
        run(recipes("fail"), size, tmp_path / "work" / "units")
    assert commands(slurm).count("sbatch") == 3


@pytest.mark.parametrize(
    "said",
    [
        "Batch job submission failed: Socket timed out on send/recv operation",
        "Slurm temporarily unable to accept job, sleeping and retrying",
        "Batch job submission failed: Unable to contact slurm controller (connect failure)",
    ],
)
def test_slurm_that_cannot_take_a_job_now_is_asked_again(
    said: str,
    slurm: Path,
    recipes: Recipes,
    size: SurveySize,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flows.execution.slurm_commands.RETRY_S", (0.0, 0.0))
    (slurm / "refusals.json").write_text(json.dumps([said, said]))
    recipe = recipes("sleep", seconds=0)
    run(recipe, size, tmp_path / "work" / "units")
    assert read_result(recipe.folder)
    assert commands(slurm).count("sbatch") == 3
    (slurm / "refusals.json").write_text(json.dumps([said] * 3))
    with pytest.raises(TransientError, match=r"sbatch: .*see whether 'sinfo' answers"):
        run(recipes("sleep", seconds=1), size, tmp_path / "work" / "units")


def test_job_that_was_taken_though_no_answer_came_is_not_submitted_twice(
    slurm: Path,
    recipes: Recipes,
    size: SurveySize,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flows.execution.slurm_commands.RETRY_S", (0.0,))
    (slurm / "refusals.json").write_text(json.dumps(["taken:Socket timed out"]))
    recipe = recipes("sleep", seconds=0)
    run(recipe, size, tmp_path / "work" / "units")
    assert read_result(recipe.folder)
    assert commands(slurm).count("sbatch") == 1


def test_job_whose_controller_died_before_the_answer_is_taken_up(
    slurm: Path, recipes: Recipes, whole: Whole, tmp_path: Path
) -> None:
    plan(slurm, "RUNNING")
    recipe = recipes("sleep", seconds=0)
    unit = whole(recipe)
    SlurmExecutor(profile=QUICK).submit([unit])
    (unit.folder / JOB).unlink()
    (number,) = unit.folder.parent.glob("batch-*/number.txt")
    number.unlink()
    again = SlurmExecutor(profile=QUICK)
    again.submit([unit])
    assert commands(slurm).count("sbatch") == 1
    number.unlink()
    assert cancel_recorded(tmp_path / "work" / "units") == 1


def test_array_is_no_larger_than_the_cluster_allows(
    slurm: Path, recipes: Recipes, parts: Parts, asked: Resources, tmp_path: Path
) -> None:
    (slurm / "array_size.txt").write_text("3")
    recipe = recipes("paint", tiles=8, count=str(tmp_path / "count"))
    executor = SlurmExecutor(profile=QUICK)
    units = parts(recipe, *[asked] * 8)
    executor.submit(units)
    executor.submit(units)
    assert commands(slurm).count("sbatch") == 6
    assert "--array=0-1\n" in (slurm / "102.sh").read_text()
    assert commands(slurm).count("scontrol") == 1


def test_only_the_jobs_at_work_are_asked_for(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    run(
        recipes("paint", tiles=10, count=str(tmp_path / "count")), size, tmp_path / "work" / "units"
    )
    asked = [line.split(" -j ")[1].split()[0] for line in calls(slurm, "squeue")]
    assert set(asked) == {"100", "101"}


def test_looks_at_the_queue_become_seldom_and_more_so_while_slurm_is_away(
    slurm: Path, recipes: Recipes, whole: Whole
) -> None:
    plan(slurm, "RUNNING")
    now_s = 0.0
    executor = SlurmExecutor(profile=Profile(poll_s=8.0), now_s=lambda: now_s)
    recipe = recipes("sleep", seconds=0)
    executor.submit([whole(recipe)])
    looks = []
    for tenth in range(2000):
        now_s = tenth / 10
        if now_s == 150:
            (slurm / "away").touch()
        if executor.poll():
            looks.append(now_s)
    pauses = [later - sooner for sooner, later in pairwise(looks)]
    assert pauses[0] == pytest.approx(0.5, abs=0.11)
    assert pauses[looks.index(next(look for look in looks if look > 20))] < 3
    assert max(pauses) == pytest.approx(16, abs=0.11)
    assert sorted(pauses)[-2] == pytest.approx(8, abs=0.11)


def test_what_jobs_wait_for_is_told_once_for_an_array(
    slurm: Path,
    recipes: Recipes,
    parts: Parts,
    asked: Resources,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    plan(slurm, "RUNNING", "PENDING:Resources", "PENDING:Resources")
    recipe = recipes("paint", tiles=3, count=str(tmp_path / "count"))
    units = parts(recipe, *[asked] * 3)
    executor = SlurmExecutor(profile=Profile(poll_s=0.001))
    executor.submit(units)
    for _ in range(3):
        time.sleep(0.002)
        said = executor.poll()
    assert said[units[1].folder].said == "for a node with room (Resources)"
    assert said[units[0].folder].state is State.RUNNING
    told = [record.message for record in caplog.records if "wait" in record.message]
    assert told == ["paint: job 100: 2 wait for a node with room (Resources)"]


def test_suspended_and_requeued_jobs_are_at_work_and_those_that_cannot_start_are_lost(
    slurm: Path, recipes: Recipes, whole: Whole
) -> None:
    plan(slurm, "SUSPENDED")
    unit = whole(recipes("sleep", seconds=0))
    executor = SlurmExecutor(profile=Profile(poll_s=0.001))
    executor.submit([unit])
    for state, reason, expected in (
        ("SUSPENDED", "None", State.RUNNING),
        ("REQUEUED", "None", State.WAITING),
        ("PENDING", "BeginTime", State.WAITING),
        ("COMPLETING", "None", State.RUNNING),
        ("PENDING", "launch failed requeued held", State.LOST),
    ):
        (slurm / "jobs.json").write_text(
            json.dumps({"100_0": [state, reason, "", job_name(slurm)]})
        )
        time.sleep(0.002)
        assert executor.poll()[unit.folder].state is expected
    assert commands(slurm)[-1] == "scancel"


def test_record_that_a_shared_disk_shows_late_is_waited_for(
    slurm: Path, recipes: Recipes, whole: Whole, tmp_path: Path
) -> None:
    recipe = recipes("fail")
    unit = whole(recipe)
    executor = SlurmExecutor(profile=Profile(poll_s=0.001, grace_s=60))
    executor.submit([unit])
    hidden = (unit.folder / EXIT).rename(tmp_path / "hidden.json")
    time.sleep(0.002)
    assert executor.poll()[unit.folder].state is State.RUNNING
    hidden.rename(unit.folder / EXIT)
    time.sleep(0.002)
    status = executor.poll()[unit.folder]
    assert (status.state, status.said) == (State.FAILED, "the card is empty; copy it again")


def test_job_that_someone_cancelled_stops_the_run(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    plan(slurm, "CANCELLED")
    with pytest.raises(TransientError, match=r"cancelled.*run again to go on"):
        run(recipes("sleep", seconds=0), size, tmp_path / "work" / "units")


def test_error_of_a_stage_comes_back_as_it_was_raised(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="the card is empty; copy it again"):
        run(recipes("fail"), size, tmp_path / "work" / "units")
    with pytest.raises(ExecutionError, match=r"failed: no photographs; see .*log.txt"):
        run(recipes("crash"), size, tmp_path / "work" / "units")


def test_job_that_can_never_start_says_why_and_is_cancelled(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    plan(slurm, "PENDING:PartitionTimeLimit")
    with pytest.raises(ExecutionError, match="can never start: PartitionTimeLimit"):
        run(recipes("sleep", seconds=0), size, tmp_path / "work" / "units")
    assert json.loads((slurm / "jobs.json").read_text())["100_0"][0] == "CANCELLED"


def test_unknown_partition_is_refused_with_those_there_are(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    profile = Profile(place=Place(partition="nowhere"), poll_s=0.01)
    with pytest.raises(InputError, match=r"invalid partition .*cpu\* \(null\), gpu gpu:1"):
        run(recipes("sleep", seconds=0), size, tmp_path / "work" / "units", profile)


def test_slurm_that_is_away_for_a_moment_costs_nothing(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    (slurm / "away").touch()
    plan(slurm, "TIMEOUT")
    run(recipes("sleep", seconds=0), size, tmp_path / "work" / "units")


def test_interrupted_run_cancels_its_jobs(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    plan(slurm, "RUNNING", "PENDING:Resources")
    executor = SlurmExecutor(profile=QUICK)
    runner = UnitRunner(
        executor=executor, profile=QUICK, size=size, folder=tmp_path / "work" / "units"
    )

    def interrupt(*_: object) -> object:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner(recipes("paint", tiles=2, count=str(tmp_path / "count")), interrupt)  # type: ignore[arg-type]
    jobs = json.loads((slurm / "jobs.json").read_text())
    assert jobs.keys() == {"100_0", "100_1"}
    assert {state for state, *_ in jobs.values()} == {"CANCELLED"}


def test_jobs_that_slurm_was_not_there_to_cancel_are_found_later(
    slurm: Path,
    recipes: Recipes,
    whole: Whole,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("flows.execution.slurm_commands.RETRY_CANCEL_S", (0.0,))
    plan(slurm, "RUNNING")
    unit = whole(recipes("sleep", seconds=0))
    executor = SlurmExecutor(profile=QUICK)
    executor.submit([unit])
    working = (slurm / "scancel").rename(slurm / "scancel.there")
    (slurm / "scancel").write_text(
        "#!/bin/sh\necho 'Unable to contact slurm controller' >&2; exit 1\n"
    )
    (slurm / "scancel").chmod(0o755)
    executor.cancel()
    assert "jobs left: 1; 'tmp cancel' ends them" in caplog.text
    working.rename(slurm / "scancel")
    assert cancel_recorded(tmp_path / "work" / "units") == 1


def test_job_of_a_killed_controller_is_taken_up_and_not_submitted_twice(
    slurm: Path, recipes: Recipes, whole: Whole, tmp_path: Path
) -> None:
    plan(slurm, "RUNNING")
    recipe = recipes("sleep", seconds=0)
    unit = whole(recipe)
    SlurmExecutor(profile=QUICK).submit([unit])  # and no more is heard of it
    again = SlurmExecutor(profile=QUICK)
    again.submit([unit])
    assert set(json.loads((slurm / "jobs.json").read_text())) == {"100_0"}
    (status,) = again.poll().values()
    assert status.state is State.RUNNING
    assert cancel_recorded(tmp_path / "work" / "units") == 1
    assert json.loads((slurm / "jobs.json").read_text())["100_0"][0] == "CANCELLED"


def test_only_jobs_of_the_surveys_own_units_are_cancelled(
    slurm: Path, recipes: Recipes, whole: Whole, tmp_path: Path
) -> None:
    """Whoever may write below ``work/`` could record another job of whoever cancels."""
    plan(slurm, "RUNNING")
    unit = whole(recipes("sleep", seconds=0))
    SlurmExecutor(profile=QUICK).submit([unit])
    jobs = json.loads((slurm / "jobs.json").read_text())
    jobs["100_0"][-1] = "thesis"
    (slurm / "jobs.json").write_text(json.dumps(jobs))
    (unit.folder / JOB).write_text(json.dumps({"id": "100_0", "name": "thesis"}))
    assert cancel_recorded(tmp_path / "work" / "units") == 0


def test_folder_into_which_slurm_writes_logs_is_ones_own(
    slurm: Path, recipes: Recipes, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = whole(recipes("sleep", seconds=0))
    before = os.umask(0o002)
    try:
        SlurmExecutor(profile=QUICK).submit([unit])
    finally:
        os.umask(before)
    (batch,) = unit.folder.parent.glob("batch-*")
    assert batch.stat().st_mode & 0o022 == 0


def test_array_does_only_units_beside_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "key" / "batch-1").mkdir(parents=True)
    said = tmp_path / "key" / "batch-1" / "units.txt"
    said.write_text(f"{tmp_path}/key/whole\n{tmp_path}/other/whole\n")
    assert listed(said, 0) == tmp_path / "key" / "whole"
    with pytest.raises(InputError, match=r"units\.txt: altered: .*/other/whole is no unit of"):
        listed(said, 1)


def test_job_number_given_out_to_another_is_not_taken_up(
    slurm: Path, recipes: Recipes, whole: Whole, tmp_path: Path
) -> None:
    plan(slurm, "RUNNING")
    unit = whole(recipes("sleep", seconds=0))
    SlurmExecutor(profile=QUICK).submit([unit])
    jobs = json.loads((slurm / "jobs.json").read_text())
    jobs["100_0"][-1] = "someone-else"
    (slurm / "jobs.json").write_text(json.dumps(jobs))
    assert cancel_recorded(tmp_path / "work" / "units") == 0
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
    said = batch_script(5, asked, profile, "surface").splitlines()
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
    command = 'exec "$1" -P -m flows.execution.worker --list "$2" "$3"'
    assert said[-2:] == ["module load gcc", command]


def test_what_the_script_asks_for_counts_more_than_a_persons_variables(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    profile = Profile(place=Place(partition="cpu"), poll_s=0.01)
    run(recipes("sleep", seconds=0), size, tmp_path / "work" / "units", profile)
    (line,) = calls(slurm, "sbatch")
    assert {"--partition=cpu", "--array=0-0", "--requeue"} <= set(line.split())


def test_end_of_a_job_is_judged_by_state_and_log() -> None:
    assert judge("FAILED", "error: exceeded memory limit (3 > 2)") is State.NO_MEMORY
    assert judge("TIMEOUT", "") is State.NO_TIME
    assert judge("CANCELLED by 7", "") is State.CANCELLED
    assert judge("NODE_FAIL", "") is State.LOST
    assert judge("OUT_OF_MEMORY", "") is State.NO_MEMORY
    assert judge("", "") is State.LOST


def test_machine_without_slurm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="has no sbatch"):
        require_slurm()


def test_executor_that_is_asked_to_stop_cancels_its_jobs(
    slurm: Path, recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    plan(slurm, "RUNNING")
    executor = SlurmExecutor(profile=QUICK)
    runner = UnitRunner(
        executor=executor, profile=QUICK, size=size, folder=tmp_path / "work" / "units"
    )
    Timer(0.5, executor.commands.stopping.set).start()
    with pytest.raises(StoppedError, match="stopped; run again"):
        runner(recipes("sleep", seconds=0), silent)
    assert json.loads((slurm / "jobs.json").read_text())["100_0"][0] == "CANCELLED"
