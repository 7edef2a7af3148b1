"""Units as processes of this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import psutil
import pytest

from flows.engine.cost import Resources, SurveySize
from flows.engine.stage import WHOLE, Recipe, Stage
from flows.engine.store import read_result
from flows.execution.cluster_profile import WITHOUT_SHARES
from flows.execution.local import LocalExecutor, gpus
from flows.execution.runner import LOSSES, UnitRunner
from flows.execution.unit import (
    LOG,
    STARTS,
    UNIT,
    State,
    Status,
    Unit,
    read_json,
    read_record,
    unit_of,
    units_of,
    write_unit,
)
from flows.execution.worker import do
from tmp.errors import InputError, StoppedError, TransientError
from tmp.progress import silent

Recipes = Callable[..., Recipe]
Whole = Callable[[Recipe], Unit]
Parts = Callable[..., list[Unit]]
PATIENCE_S = 60.0
"""For a machine that is busy with other things."""
LONG_S = 3600.0
"""Work that no test waits for: within `PATIENCE_S` it ends only because something ends it."""


def process_of(unit: Unit) -> psutil.Process:
    """Return the process that does a unit, once it has become what it was started as."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        found = [
            child
            for child in psutil.Process().children()
            if str(unit.folder) in " ".join(child.cmdline())
        ]
        if found:
            return found[0]
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def ended(executor: LocalExecutor, unit: Unit) -> Status:
    """Return how a unit has ended."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not (status := executor.poll()[unit.folder]).state.ended:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return status


def test_recipe_is_made_by_a_process_of_its_own(
    recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    recipe = recipes("paint", tiles=3, count=str(tmp_path / "count"))
    executor = LocalExecutor(cpus=2)
    runner = UnitRunner(
        executor=executor, profile=WITHOUT_SHARES, size=size, folder=tmp_path / "work" / "units"
    )
    runner(recipe, silent)
    result = read_result(recipe.folder)
    assert result is not None
    assert sorted(result.files) == ["r0c0.txt", "r0c1.txt", "r0c2.txt"]
    assert result.usage.peak_gb > 0


def test_unit_of_some_items_makes_just_these_and_does_not_finish(
    recipes: Recipes, asked: Resources, tmp_path: Path
) -> None:
    recipe = recipes("paint", tiles=5, count=str(tmp_path / "count"))
    items = recipe.opened().items()
    executor = LocalExecutor(cpus=2)
    for unit in units_of(tmp_path / "work" / "units", recipe, items, 2, asked):
        assert unit.items
        write_unit(unit, recipe, failed={}, lenient=True)
        executor.submit([unit])
        assert ended(executor, unit).state is State.DONE
        record = read_record(unit.folder)
        assert record is not None
        assert record.items == len(unit.items)
        assert read_result(recipe.folder) is None
        assert sorted((tmp_path / "count").read_text().split()) == sorted(unit.items)
        (tmp_path / "count").unlink()
    executor.cancel()
    assert sorted(path.stem for path in recipe.partial.glob("*.txt")) == sorted(items)


def test_item_that_failed_is_left_alone_by_every_unit(
    recipes: Recipes, asked: Resources, tmp_path: Path
) -> None:
    recipe = recipes("paint", tiles=4, count=str(tmp_path / "count"))
    units = units_of(tmp_path / "work" / "units", recipe, recipe.opened().items(), 2, asked)
    executor = LocalExecutor(cpus=1)
    for unit in (*units, unit_of(tmp_path / "work" / "units", recipe, WHOLE, asked)):
        write_unit(unit, recipe, failed={"r0c1": "out of memory"}, lenient=True)
        executor.submit([unit])
        assert ended(executor, unit).state is State.DONE
    executor.cancel()
    result = read_result(recipe.folder)
    assert result is not None
    assert result.holes == {"r0c1": "out of memory"}
    assert (tmp_path / "count").read_text().split() == ["r0c0", "r0c2", "r0c3"]
    assert [unit.part for unit in result.units] == ["1-of-2", "2-of-2", "whole"]


def test_process_that_did_well_does_the_next_unit_and_one_that_failed_does_not(
    recipes: Recipes, whole: Whole
) -> None:
    def done_by(executor: LocalExecutor, times: int) -> tuple[State, int]:
        unit = whole(recipes("tell_process", times=times))
        unit = replace(unit, folder=unit.folder.rename(unit.folder.with_name(f"part\n{times}")))
        executor.submit([unit])
        return ended(executor, unit).state, int((unit.folder / "log.txt").read_text().split()[-1])

    others = set(psutil.Process().children())  # of tests before this one
    executor = LocalExecutor(cpus=1)
    first, again = done_by(executor, 1), done_by(executor, 2)
    assert first == again
    assert first[0] is State.DONE
    assert psutil.pid_exists(first[1])
    other = whole(recipes("fail"))
    executor.submit([other])
    assert ended(executor, other).state is State.FAILED
    assert done_by(executor, 3)[1] != first[1]
    processes = set(psutil.Process().children()) - others
    assert processes
    del executor
    assert all_end(processes)


def test_process_that_was_started_ahead_does_the_first_unit(
    whole: Callable[[Recipe], Unit], recipes: Callable[..., Recipe]
) -> None:
    executor = LocalExecutor(cpus=1)
    executor.get_ready("json")
    ready = executor._idle[0].process.pid
    unit = whole(recipes("tell_process"))
    executor.submit([unit])
    assert ended(executor, unit).state is State.DONE
    assert int((unit.folder / "log.txt").read_text().split()[-1]) == ready
    executor.cancel()
    assert not psutil.pid_exists(ready)


def test_units_wait_for_cores_and_memory(
    recipes: Recipes, parts: Parts, asked: Resources, tmp_path: Path
) -> None:
    recipe = recipes("paint", tiles=3, count=str(tmp_path / "count"))
    executor = LocalExecutor(cpus=8, memory_gb=1.2)
    executor.submit(parts(recipe, *[asked] * 3))
    states = [status.state for status in executor.poll().values()]
    assert states.count(State.WAITING) == 1
    executor.cancel()


def states(executor: LocalExecutor) -> list[State]:
    return [status.state for status in executor.poll().values()]


def test_unit_waits_while_others_outside_use_the_memory_and_runs_alone_else(
    recipes: Recipes, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.execution.local.free_memory_gb", lambda: 3.0)
    recipe = recipes("sleep", seconds=LONG_S)
    asked = Resources(cpus=1, memory_gb=2.0)
    executor = LocalExecutor(cpus=8, memory_gb=32.0)
    executor.submit(parts(recipe, *[asked] * 3))
    try:
        assert states(executor).count(State.RUNNING) == 1
        monkeypatch.setattr("flows.execution.local.free_memory_gb", lambda: 30.0)
        executor.submit([])
        assert states(executor).count(State.RUNNING) == 3
    finally:
        executor.cancel()
    executor.submit(parts(recipe, replace(asked, memory_gb=500.0)))
    try:
        assert states(executor) == [State.RUNNING]
    finally:
        executor.cancel()


def test_smaller_unit_goes_before_one_that_has_to_wait(recipes: Recipes, parts: Parts) -> None:
    recipe = recipes("sleep", seconds=LONG_S)
    asked = [Resources(cpus=cpus, memory_gb=0.1) for cpus in (2, 3, 1)]
    executor = LocalExecutor(cpus=4)
    units = parts(recipe, *asked)
    executor.submit(units)
    found = executor.poll()
    executor.cancel()
    assert [found[unit.folder].state for unit in units] == [
        State.RUNNING,
        State.WAITING,
        State.RUNNING,
    ]


def test_each_unit_sees_its_own_gpus_and_none_it_did_not_ask_for(
    recipes: Recipes, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-5")
    recipe = recipes("sleep", seconds=LONG_S)
    asked = [Resources(cpus=1, memory_gb=0.1, gpus=gpus) for gpus in (1, 1, 1, 0)]
    executor = LocalExecutor(cpus=8)
    units = parts(recipe, *asked)
    executor.submit(units)
    try:
        assert states(executor).count(State.WAITING) == 1
        seen = {
            unit.part: process_of(unit).environ()["CUDA_VISIBLE_DEVICES"]
            for unit in (units[0], units[1], units[3])
        }
        assert seen == {"1-of-4": "0", "2-of-4": "GPU-5", "4-of-4": ""}
        os.kill(process_of(units[0]).pid, 9)
        assert ended(executor, units[0]).state is State.LOST
        assert process_of(units[2]).environ()["CUDA_VISIBLE_DEVICES"] == "0"
    finally:
        executor.cancel()


def test_gpus_are_counted_where_nothing_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'\necho 'GPU 1: A (UUID: y)'\n")
    program.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert gpus() == ("0", "1")
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpus() == ()


def family(parent: psutil.Process, count: int) -> list[psutil.Process]:
    """Return a process and all it has started, once there are so many."""
    deadline_s = time.monotonic() + PATIENCE_S
    while len(found := [parent, *parent.children(recursive=True)]) < count:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    return found


def all_end(processes: Collection[psutil.Process]) -> bool:
    """Tell whether processes end; the dead that nobody buries count as ended."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        if not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
            return True
        time.sleep(0.02)
    return False


def test_what_a_killed_worker_has_started_ends_with_it(recipes: Recipes, whole: Whole) -> None:
    executor = LocalExecutor(cpus=1)
    unit = whole(recipes("start_child"))
    executor.submit([unit])
    try:
        worker, child = family(process_of(unit), 2)
        worker.kill()
        assert ended(executor, unit).state is State.LOST
        assert all_end([worker, child])
        executor.submit([unit])
        processes = family(process_of(unit), 2)
    finally:
        executor.cancel()
    assert all_end(processes)


def test_processes_together_get_half_a_second_to_end_by_themselves(
    recipes: Recipes, parts: Parts, asked: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = LocalExecutor(cpus=3)
    recipe = recipes("sleep", seconds=LONG_S)
    units = parts(recipe, *[asked] * 3)
    executor.submit(units)
    clock_s = [1000.0]
    waits_s: list[float] = []

    def deaf(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        """Wait in vain, on a clock of its own; once killed, whatever it takes."""
        if timeout is None:
            return real_wait(process)
        waits_s.append(timeout)
        clock_s[0] += timeout
        raise subprocess.TimeoutExpired("worker", timeout)

    real_wait = subprocess.Popen.wait
    processes = [process_of(unit) for unit in units]
    monkeypatch.setattr("flows.execution.local.time.monotonic", lambda: clock_s[0])
    monkeypatch.setattr(subprocess.Popen, "wait", deaf)
    executor.cancel()
    monkeypatch.undo()
    assert waits_s == [0.5, 0.0, 0.0]
    assert all_end(processes)


CONTROLLER = """
import sys
from pathlib import Path
from flows.execution.local import LocalExecutor
from flows.execution.runner import UnitRunner
from flows.execution.cluster_profile import WITHOUT_SHARES
from flows.engine.store import StageStore
from flows.engine.cost import SurveySize
from tmp.progress import silent
import small_stages, signal
# A shell that runs the tests in the background has its children ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.default_int_handler)
root = Path(sys.argv[1])
store = StageStore(root=root / "work" / "stages")
recipe = store.recipe(small_stages.Sleep, {}, {"seconds": 3600})
UnitRunner(executor=LocalExecutor(cpus=1), profile=WITHOUT_SHARES,
    size=SurveySize(photographs=1, megapixels=1), folder=root / "work" / "units")(recipe, silent)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_controller_that_is_stopped_leaves_no_process(
    number: signal.Signals, recipes: Recipes, tmp_path: Path
) -> None:
    recipes("sleep", seconds=0)  # puts their module where other processes find it
    controller = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER, str(tmp_path)], stderr=subprocess.DEVNULL
    )
    try:
        processes = family(psutil.Process(controller.pid), 2)
        key = recipes("sleep", seconds=3600).key
        begun = tmp_path / "work" / "units" / "sleep" / key / "whole" / "progress.json"
        deadline_s = time.monotonic() + PATIENCE_S
        while not begun.exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        controller.send_signal(number)
        controller.wait(PATIENCE_S)
        assert all_end(processes[1:])
    finally:
        controller.kill()
        controller.wait()


def test_run_that_another_thread_stops_leaves_no_process(
    recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    runner = UnitRunner(
        executor=LocalExecutor(cpus=1),
        profile=WITHOUT_SHARES,
        size=size,
        folder=tmp_path / "work" / "units",
    )
    recipe = recipes("sleep", seconds=LONG_S)
    at_work: list[psutil.Process] = []

    def stop() -> None:
        unit = unit_of(runner.folder, recipe, WHOLE, Resources())
        while not (unit.folder / UNIT).exists():
            time.sleep(0.01)
        at_work.append(process_of(unit))
        runner.stopping.set()

    stopping = Thread(target=stop)
    stopping.start()
    with pytest.raises(StoppedError, match="stopped; run again to go on"):
        runner(recipe, silent)
    stopping.join()
    assert len(at_work) == 1
    assert all_end(at_work)
    assert read_result(recipe.folder) is None


def test_unit_that_is_lost_again_and_again_may_do_well_another_time(
    recipes: Recipes, size: SurveySize, tmp_path: Path
) -> None:
    runner = UnitRunner(
        executor=LocalExecutor(cpus=1),
        profile=WITHOUT_SHARES,
        size=size,
        folder=tmp_path / "work" / "units",
    )
    with pytest.raises(TransientError, match=r"^die: lost: .*killed by SIGTERM; see .*log\.txt$"):
        runner(recipes("die"), silent)
    (starts,) = (tmp_path / "work" / "units" / "die").glob("*/whole/starts.txt")
    assert len(starts.read_text().splitlines()) == LOSSES


def test_cancel_leaves_no_process(recipes: Recipes, whole: Whole) -> None:
    recipe = recipes("sleep", seconds=LONG_S)
    executor = LocalExecutor(cpus=1)
    unit = whole(recipe)
    executor.submit([unit])
    assert executor.poll()[unit.folder].state is State.RUNNING
    executor.cancel()
    assert not executor.poll()
    children = psutil.Process().children(recursive=True)
    assert not any("flows.execution.worker" in " ".join(child.cmdline()) for child in children)


@pytest.mark.parametrize("by_kernel", [True, False])
def test_process_killed_by_the_kernel_was_out_of_memory_and_by_anyone_else_is_lost(
    by_kernel: bool,
    recipes: Recipes,
    whole: Whole,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = tmp_path / "vmstat"
    counts.write_text("nr_free_pages 7\noom_kill 4\n")
    monkeypatch.setattr("flows.execution.local.VMSTAT", counts)
    executor = LocalExecutor(cpus=1)
    unit = whole(recipes("sleep", seconds=LONG_S))
    executor.submit([unit])
    os.kill(process_of(unit).pid, 9)
    if by_kernel:
        counts.write_text("nr_free_pages 7\noom_kill 5\n")
    assert ended(executor, unit).state is (State.NO_MEMORY if by_kernel else State.LOST)
    assert read_record(unit.folder) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "0"}, "no version 0 of paint"),
        ({"stage": "small_stages:Engrave"}, "no small_stages:Engrave"),
        ({"stage": "flows.stages.no:Paint"}, "no flows.stages.no:Paint"),
    ],
)
def test_unit_of_another_version_is_refused_in_one_line(
    change: dict[str, str], said: str, recipes: Recipes, whole: Whole, tmp_path: Path
) -> None:
    unit = whole(recipes("paint", tiles=1, count=str(tmp_path / "count")))
    task = read_json(unit.folder / UNIT)
    assert task is not None
    (unit.folder / UNIT).write_text(json.dumps(task | change))
    executor = LocalExecutor(cpus=1)
    executor.submit([unit])
    status = ended(executor, unit)
    assert status.state is State.FAILED
    assert status.said == (
        f"{unit.folder}: this installation has {said}; use the version of the platform that "
        "started the run"
    )
    record = read_record(unit.folder)
    assert record is not None
    assert record.kind == "InputError"
    assert "Traceback" not in (unit.folder / "log.txt").read_text()
    assert not (tmp_path / "count").exists()


@pytest.mark.usefixtures("_own_output")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stage": "builtins:print"}, "'builtins:print' is no stage"),
        ({"stage": "small_stages:subprocess"}, "'small_stages:subprocess' is no stage"),
        ({"stage": "small_stages:Sleep"}, "it names the stage 'sleep'"),
        ({"options": {"tiles": 1, "count": "/etc/passwd"}}, "options are not those of its result"),
        ({"inputs": {"survey": "/etc"}}, "it reads /etc, which is not in the survey"),
        ({"items": ["../../../victim"]}, "there is no ../../../victim to make"),
    ],
)
def test_unit_that_someone_has_altered_is_refused_and_does_nothing(
    change: dict[str, object], said: str, recipes: Recipes, whole: Whole, tmp_path: Path
) -> None:
    unit = whole(recipes("paint", tiles=1, count=str(tmp_path / "count")))
    task = read_json(unit.folder / UNIT)
    assert task is not None
    (unit.folder / UNIT).write_text(json.dumps(task | change))
    assert do(unit.folder) == 1
    record = read_record(unit.folder)
    assert record is not None
    assert said in record.error
    assert not (tmp_path / "count").exists()


@pytest.fixture
def _own_output() -> Iterator[None]:
    """Give a test's process its output back, which a worker sends to its log."""
    kept = os.dup(1), os.dup(2)
    yield
    for number, copy in enumerate(kept, 1):
        os.dup2(copy, number)
        os.close(copy)


@pytest.mark.usefixtures("_own_output")
def test_folder_that_a_unit_names_as_its_result_is_left_alone(
    recipes: Recipes, whole: Whole, tmp_path: Path
) -> None:
    thesis = tmp_path / "precious" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    recipe = recipes("paint", tiles=1, count=str(tmp_path / "count"))
    unit = whole(recipe)
    task = read_json(unit.folder / UNIT)
    assert task is not None
    (unit.folder / UNIT).write_text(json.dumps(task | {"folder": str(thesis.parent)}))
    assert do(unit.folder) == 0
    assert thesis.read_text() == "years of work"
    assert read_result(recipe.folder) is not None


@pytest.mark.usefixtures("_own_output")
@pytest.mark.parametrize("name", [LOG, STARTS])
def test_what_a_unit_says_goes_through_no_link(
    name: str, recipes: Recipes, whole: Whole, tmp_path: Path
) -> None:
    victim = tmp_path / "bashrc"
    victim.write_text("alias ll='ls -l'\n")
    unit = whole(recipes("sleep", seconds=0))
    (unit.folder / name).symlink_to(victim)
    with pytest.raises(InputError, match=f"{name}: a link, which is not written through"):
        do(unit.folder)
    assert victim.read_text() == "alias ll='ls -l'\n"


@pytest.mark.usefixtures("_own_output")
@pytest.mark.parametrize("link", ["stages", "stages/paint", "units/paint"])
def test_nothing_is_made_behind_a_link(
    link: str, recipes: Recipes, whole: Whole, tmp_path: Path
) -> None:
    recipe = recipes("paint", tiles=1, count=str(tmp_path / "count"))
    unit = whole(recipe)
    path = tmp_path / "work" / link
    elsewhere = tmp_path / "elsewhere"
    if path.exists():
        path.rename(elsewhere)
    else:
        elsewhere.mkdir()
        path.parent.mkdir(exist_ok=True)
    path.symlink_to(elsewhere)
    assert do(unit.folder) == 1
    record = read_record(unit.folder)
    assert record is not None
    assert "a link, and the platform writes through none" in record.error
    assert not (tmp_path / "count").exists()


def test_class_inside_a_function_is_refused(recipes: Recipes, whole: Whole) -> None:
    class Inner(Stage):
        name, version = "inner", "1"

    recipe = replace(recipes("sleep", seconds=0), stage=Inner)
    with pytest.raises(InputError, match=r"Inner is no class of a module of flows\.stages"):
        whole(recipe)
