"""Units on a real Slurm that runs on this host."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.engine.cost import Resources, SurveySize
from flows.engine.stage import Recipe
from flows.engine.store import read_result
from flows.execution.cluster_check import prepare_cluster
from flows.execution.cluster_profile import Amounts, Place, Profile
from flows.execution.runner import UnitRunner
from flows.execution.slurm import SlurmExecutor
from flows.execution.slurm_commands import Commands
from flows.execution.unit import JOB, State, Unit, read_json, write_unit
from tmp.errors import ExecutionError, InputError
from tmp.progress import silent

CLUSTER = runpy.run_path(str(Path(__file__).with_name("slurm_cluster.py")))
Recipes = Callable[..., Recipe]
Parts = Callable[..., list[Unit]]
PROFILE = Profile(poll_s=0.5, grace_s=5, unit_minutes=1)
PATIENCE_S = 60.0
"""For a machine that is busy with other things; a job here takes a second or two."""
SIZE = SurveySize(photographs=100, megapixels=1.6)
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.skipif(bool(CLUSTER["why_not"]()), reason=CLUSTER["why_not"]()),
]
CONTROLLER = """
import sys
from pathlib import Path
from flows.execution.unit import State
from flows.execution.cluster_check import prepare_cluster
from flows.execution.cluster_profile import Amounts, Place, Profile
from flows.execution.runner import UnitRunner
from flows.execution.slurm import SlurmExecutor
from flows.engine.store import StageStore
from flows.engine.cost import SurveySize
from tmp.progress import silent
import small_stages
root = Path(sys.argv[1])
store = StageStore(root=root / "work" / "stages")
recipe = store.recipe(small_stages.Sleep, {}, {"seconds": 8})
profile = Profile(poll_s=0.5)
UnitRunner(executor=SlurmExecutor(profile=profile), profile=profile,
    size=SurveySize(photographs=1, megapixels=1), folder=root / "work" / "units")(recipe, silent)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with CLUSTER["cluster"](tmp_path_factory.mktemp("cluster") / "slurm", cpus=4) as running:
        yield running


@pytest.fixture(autouse=True)
def on_cluster(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))


def runner(tmp_path: Path, profile: Profile = PROFILE) -> UnitRunner:
    return UnitRunner(
        executor=SlurmExecutor(profile=profile),
        profile=profile,
        size=SIZE,
        folder=tmp_path / "work" / "units",
    )


def at_work() -> list[str]:
    queue = Commands().queue()
    assert queue is not None
    return [job for job, (state, *_) in queue.items() if state in ("PENDING", "RUNNING")]


def left() -> list[str]:
    """Return the jobs still there once those that have done their work had time to end."""
    deadline_s = time.monotonic() + PATIENCE_S
    while (found := at_work()) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    return found


def test_array_makes_each_tile_once(recipes: Recipes, tmp_path: Path) -> None:
    recipe = recipes("paint", tiles=10, count=str(tmp_path / "count"))
    runner(tmp_path)(recipe, silent)
    assert len((tmp_path / "count").read_text().split()) == 10
    assert read_result(recipe.folder)
    assert left() == []


def test_job_cancelled_by_someone_stops_the_run(recipes: Recipes, tmp_path: Path) -> None:
    recipe = recipes("sleep", seconds=60)
    canceller = threading.Timer(2, subprocess.run, args=(["scancel", "-u", "root"],))
    canceller.start()
    with pytest.raises(ExecutionError, match="cancelled"):
        runner(tmp_path)(recipe, silent)
    canceller.join()
    assert left() == []


def test_job_of_a_killed_controller_goes_on_and_is_taken_up(
    recipes: Recipes, tmp_path: Path
) -> None:
    recipe = recipes("sleep", seconds=8)
    command = [sys.executable, "-c", CONTROLLER, str(tmp_path)]
    controller = subprocess.Popen(command, env=os.environ)
    record = tmp_path / "work" / "units" / "sleep" / recipe.key / "whole" / JOB
    deadline_s = time.monotonic() + PATIENCE_S
    while not record.exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    os.kill(controller.pid, signal.SIGKILL)
    controller.wait()
    assert len(at_work()) == 1
    again = runner(tmp_path)
    again(recipe, silent)
    assert read_result(recipe.folder)
    assert len(list(record.parent.parent.glob("batch-*"))) == 1
    assert left() == []


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    folder = tmp_path / "survey 100%j é"
    (folder / "work").mkdir(parents=True)
    return folder


def test_cluster_that_can_do_the_work_passes_in_about_a_job(survey: Path, tmp_path: Path) -> None:
    profile = replace(
        PROFILE,
        place=Place(partition="cpu"),
        stages={"surface": Place(partition="gpu")},
        amounts={"surface": Amounts(gpus=1)},
        scratch=str(tmp_path / "disk" / "$SLURM_JOB_ID"),
    )
    began_s = time.monotonic()
    prepare_cluster(profile, survey)
    assert time.monotonic() - began_s < PATIENCE_S
    assert len(list((tmp_path / "disk").iterdir())) == 2
    assert left() == []


def test_what_the_cluster_lacks_is_refused(survey: Path) -> None:
    for place, said in (
        (Place(partition="cpus"), "partition = 'cpus'.*all, cpu, gpu, himem, urgent"),
        (Place(partition="cpu", gres="gpu:a100"), "gres = 'gpu:a100'.*it has none"),
        (Place(constraint="avx512"), "constraint = 'avx512'.*it has none"),
    ):
        with pytest.raises(InputError, match=said):
            prepare_cluster(replace(PROFILE, place=place), survey)
    assert left() == []


def test_python_that_the_nodes_lack_is_refused(survey: Path) -> None:
    with pytest.raises(InputError, match=r"node n\d cannot start /no/such/python"):
        prepare_cluster(replace(PROFILE, python="/no/such/python"), survey)
    with pytest.raises(InputError, match=r"/usr/bin/python3 on node n\d does not have version"):
        prepare_cluster(replace(PROFILE, python="/usr/bin/python3"), survey)
    assert left() == []


def test_survey_that_a_node_does_not_see_is_refused(cluster: Any, survey: Path) -> None:
    cluster.stop_node("n1")
    cluster.start_node("n1", hiding=survey.parent)
    began_s = time.monotonic()
    try:
        with pytest.raises(InputError, match=r"survey 100%j é: node n1 does not see this folder"):
            prepare_cluster(replace(PROFILE, place=Place(partition="cpu")), survey)
        assert time.monotonic() - began_s < PATIENCE_S
        prepare_cluster(replace(PROFILE, place=Place(partition="himem")), survey)
    finally:
        cluster.stop_node("n1")
        cluster.start_node("n1")


def test_preempted_job_starts_again_by_itself_and_is_done_once(
    recipes: Recipes, tmp_path: Path
) -> None:
    recipe = recipes("sleep", seconds=4)
    on_n1 = replace(PROFILE, place=Place(partition="cpu"), amounts={"sleep": Amounts(cpus=4)})
    seen: list[str] = []

    def preempt() -> None:
        command = ["sbatch", "-p", "urgent", "-c4", "--chdir=/", "--output=/dev/null"]
        subprocess.run([*command, "--wrap=sleep 2"], check=True)
        while not seen:
            command = ["squeue", "-h", "-r", "-p", "cpu", "-o", "%T %r"]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            if "BeginTime" in said:
                seen.append(said)
                number = ["squeue", "-h", "-p", "cpu", "-o", "%A"]
                job = subprocess.run(number, capture_output=True, text=True, check=True).stdout
                change = ["scontrol", "update", f"job={job.strip()}", "starttime=now"]
                subprocess.run(change, check=True)
            time.sleep(0.2)

    preemption = threading.Timer(3, preempt)
    preemption.start()
    runner(tmp_path, on_n1)(recipe, silent)
    preemption.join()
    assert seen
    assert read_result(recipe.folder)
    assert len(list((tmp_path / "work" / "units" / "sleep").glob("*/batch-*"))) == 1
    assert left() == []


def test_job_of_a_node_that_dies_is_done_by_another(
    cluster: Any, recipes: Recipes, tmp_path: Path
) -> None:
    recipe = recipes("sleep", seconds=8)
    died: list[str] = []

    def kill() -> None:
        command = ["squeue", "-h", "-t", "running", "-o", "%N"]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        died.extend(said.stdout.split())
        cluster.kill_node(died[0])
        while not released():
            time.sleep(0.5)

    def released() -> bool:
        """Let the job go, which Slurm holds for two minutes."""
        command = ["squeue", "-h", "-o", "%A %r"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        number, _, reason = said.strip().partition(" ")
        if reason != "BeginTime":
            return False
        subprocess.run(["scontrol", "update", f"job={number}", "starttime=now"], check=True)
        return True

    death = threading.Timer(3, kill)
    death.start()
    try:
        runner(tmp_path)(recipe, silent)
    finally:
        death.join()
        cluster.start_node(died[0])
    assert read_result(recipe.folder)
    assert left() == []


def test_slurm_that_restarts_meanwhile_loses_nothing(
    cluster: Any, recipes: Recipes, tmp_path: Path
) -> None:
    recipe = recipes("sleep", seconds=6)

    def restart() -> None:
        cluster.kill_controller()
        time.sleep(4)
        cluster.start_controller()

    restarting = threading.Timer(2, restart)
    restarting.start()
    runner(tmp_path)(recipe, silent)
    restarting.join()
    assert read_result(recipe.folder)
    assert len(list((tmp_path / "work" / "units" / "sleep").glob("*/batch-*"))) == 1
    assert left() == []


def test_cancelled_task_of_an_array_stops_the_run_and_the_others(
    recipes: Recipes, parts: Parts
) -> None:
    recipe = recipes("sleep", seconds=30)
    executor = SlurmExecutor(profile=PROFILE)
    written = parts(recipe, *[Resources(memory_gb=0.2, minutes=5)] * 3)
    units = [replace(unit, items=None) for unit in written]  # the stage has none
    for unit in units:
        write_unit(unit, recipe, failed={}, lenient=False)
    executor.submit(units)
    time.sleep(2)
    job = read_json(units[1].folder / JOB)
    assert job is not None
    subprocess.run(["scancel", job["id"]], check=True)
    states: dict[Path, State] = {}
    deadline_s = time.monotonic() + PATIENCE_S
    while states.get(units[1].folder) is not State.CANCELLED:
        assert time.monotonic() < deadline_s
        states |= {folder: status.state for folder, status in executor.poll().items()}
        time.sleep(0.1)
    assert states[units[0].folder] is State.RUNNING
    executor.cancel()
    time.sleep(1)
    assert left() == []
