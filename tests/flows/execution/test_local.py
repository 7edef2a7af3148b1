"""Units as processes of this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from flows.engine.cost import Resources, SurveySize
from flows.engine.stage import Order, Share
from flows.engine.store import read_result
from flows.execution.cluster_profile import WITHOUT_SHARES
from flows.execution.local import LocalExecutor, gpus
from flows.execution.runner import UnitRunner
from flows.execution.unit import State, Status, Unit, read_outcome, write_unit
from tmp.errors import InputError
from tmp.progress import silent

Orders = Callable[..., Order]
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


def test_order_is_done_by_a_process_of_its_own(
    stages: Orders, size: SurveySize, tmp_path: Path
) -> None:
    order = stages("paint", tiles=3, count=str(tmp_path / "count"))
    executor = LocalExecutor(cpus=2)
    runner = UnitRunner(
        executor=executor, profile=WITHOUT_SHARES, size=size, folder=tmp_path / "units"
    )
    runner(order, silent)
    result = read_result(order.folder)
    assert result is not None
    assert sorted(result.files) == ["r0c0.txt", "r0c1.txt", "r0c2.txt"]
    assert result.usage.peak_gb > 0


def test_process_that_did_well_does_the_next_unit_and_one_that_failed_does_not(
    stages: Orders, asked: Resources, tmp_path: Path
) -> None:
    def done_by(executor: LocalExecutor, times: int) -> tuple[State, int]:
        order = stages("tell_process", times=times)
        order = replace(order, folder=order.folder.with_name(f"key\n{times}"))
        unit = write_unit(tmp_path / "units", order, asked, share=None, lenient=False)
        executor.submit([unit])
        return ended(executor, unit).state, int((unit.folder / "log.txt").read_text().split()[-1])

    executor = LocalExecutor(cpus=1)
    first, again = done_by(executor, 1), done_by(executor, 2)
    assert first == again
    assert first[0] is State.DONE
    assert psutil.pid_exists(first[1])
    other = write_unit(tmp_path / "units", stages("fail"), asked, share=None, lenient=False)
    executor.submit([other])
    assert ended(executor, other).state is State.FAILED
    assert done_by(executor, 3)[1] != first[1]
    processes = psutil.Process().children()
    del executor
    assert all_end(processes)


def test_units_wait_for_cores_and_memory(stages: Orders, asked: Resources, tmp_path: Path) -> None:
    order = stages("paint", tiles=3, count=str(tmp_path / "count"))
    executor = LocalExecutor(cpus=8, memory_gb=1.2)
    executor.submit(
        [
            write_unit(
                tmp_path / "units", order, asked, share=Share(index=i, count=3), lenient=False
            )
            for i in range(3)
        ]
    )
    states = [status.state for status in executor.poll().values()]
    assert states.count(State.WAITING) == 1
    executor.cancel()


def several(order: Order, resources: Sequence[Resources], root: Path) -> list[Unit]:
    count = len(resources)
    return [
        write_unit(root, order, asked, share=Share(index=i, count=count), lenient=False)
        for i, asked in enumerate(resources)
    ]


def states(executor: LocalExecutor) -> list[State]:
    return [status.state for status in executor.poll().values()]


def test_unit_waits_while_others_outside_use_the_memory_and_runs_alone_else(
    stages: Orders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.execution.local.free_memory_gb", lambda: 3.0)
    order = stages("sleep", seconds=LONG_S)
    asked = Resources(cpus=1, memory_gb=2.0)
    executor = LocalExecutor(cpus=8, memory_gb=32.0)
    executor.submit(several(order, [asked] * 3, tmp_path / "units"))
    try:
        assert states(executor).count(State.RUNNING) == 1
        monkeypatch.setattr("flows.execution.local.free_memory_gb", lambda: 30.0)
        executor.submit([])
        assert states(executor).count(State.RUNNING) == 3
    finally:
        executor.cancel()
    executor.submit(several(order, [replace(asked, memory_gb=500.0)], tmp_path / "units"))
    try:
        assert states(executor) == [State.RUNNING]
    finally:
        executor.cancel()


def test_smaller_unit_goes_before_one_that_has_to_wait(stages: Orders, tmp_path: Path) -> None:
    order = stages("sleep", seconds=LONG_S)
    asked = [Resources(cpus=cpus, memory_gb=0.1) for cpus in (2, 3, 1)]
    executor = LocalExecutor(cpus=4)
    units = several(order, asked, tmp_path / "units")
    executor.submit(units)
    found = executor.poll()
    executor.cancel()
    assert [found[unit.folder].state for unit in units] == [
        State.RUNNING,
        State.WAITING,
        State.RUNNING,
    ]


def test_each_unit_sees_its_own_gpus_and_none_it_did_not_ask_for(
    stages: Orders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-5")
    order = stages("sleep", seconds=LONG_S)
    asked = [Resources(cpus=1, memory_gb=0.1, gpus=gpus) for gpus in (1, 1, 1, 0)]
    executor = LocalExecutor(cpus=8)
    units = several(order, asked, tmp_path / "units")
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


def all_end(processes: Sequence[psutil.Process]) -> bool:
    """Tell whether processes end; the dead that nobody buries count as ended."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        if not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
            return True
        time.sleep(0.02)
    return False


def test_what_a_killed_worker_has_started_ends_with_it(
    stages: Orders, asked: Resources, tmp_path: Path
) -> None:
    executor = LocalExecutor(cpus=1)
    unit = write_unit(tmp_path / "units", stages("start_child"), asked, share=None, lenient=False)
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
    stages: Orders, asked: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = LocalExecutor(cpus=3)
    order = stages("sleep", seconds=LONG_S)
    units = several(order, [asked] * 3, tmp_path / "units")
    executor.submit(units)
    clock_s, waits_s = [1000.0], []

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
from flows.engine.stage import Order, Stage
from flows.engine.cost import SurveySize
from tmp.progress import silent
import small_stages, signal
# A shell that runs the tests in the background has its children ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.default_int_handler)
root = Path(sys.argv[1])
order = Order(stage=Stage(name="sleep", version="1", function=small_stages.sleep), inputs={},
    digests={}, options={"seconds": 3600}, folder=root / "stages" / "sleep" / "key")
UnitRunner(executor=LocalExecutor(cpus=1), profile=WITHOUT_SHARES,
    size=SurveySize(photographs=1, megapixels=1), folder=root / "units")(order, silent)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_controller_that_is_stopped_leaves_no_process(
    number: signal.Signals, stages: Orders, tmp_path: Path
) -> None:
    stages("sleep", seconds=0)  # puts their module where other processes find it
    controller = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER, str(tmp_path)], stderr=subprocess.DEVNULL
    )
    try:
        processes = family(psutil.Process(controller.pid), 2)
        begun = tmp_path / "units" / "sleep" / "key" / "whole" / "progress.json"
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


def test_cancel_leaves_no_process(stages: Orders, asked: Resources, tmp_path: Path) -> None:
    order = stages("sleep", seconds=LONG_S)
    executor = LocalExecutor(cpus=1)
    unit = write_unit(tmp_path / "units", order, asked, share=None, lenient=False)
    executor.submit([unit])
    assert executor.poll()[unit.folder].state is State.RUNNING
    executor.cancel()
    assert not executor.poll()
    children = psutil.Process().children(recursive=True)
    assert not any("flows.execution.worker" in " ".join(child.cmdline()) for child in children)


@pytest.mark.parametrize("by_kernel", [True, False])
def test_process_killed_by_the_kernel_was_out_of_memory_and_by_anyone_else_is_lost(
    by_kernel: bool,
    stages: Orders,
    asked: Resources,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = tmp_path / "vmstat"
    counts.write_text("nr_free_pages 7\noom_kill 4\n")
    monkeypatch.setattr("flows.execution.local.VMSTAT", counts)
    executor = LocalExecutor(cpus=1)
    unit = write_unit(
        tmp_path / "units", stages("sleep", seconds=LONG_S), asked, share=None, lenient=False
    )
    executor.submit([unit])
    os.kill(process_of(unit).pid, 9)
    if by_kernel:
        counts.write_text("nr_free_pages 7\noom_kill 5\n")
    assert ended(executor, unit).state is (State.NO_MEMORY if by_kernel else State.LOST)
    assert read_outcome(unit.folder) is None


def test_function_inside_another_is_refused(
    stages: Orders, asked: Resources, tmp_path: Path
) -> None:
    order = stages("sleep", seconds=0)
    order = replace(order, stage=replace(order.stage, function=lambda job: {}))
    with pytest.raises(InputError, match="no function of a module"):
        write_unit(tmp_path, order, asked, share=None, lenient=False)
