"""Units as processes of this machine."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from flows.execution.executor import State, Status, Unit
from flows.execution.local import LocalExecutor
from flows.execution.profile import WITHOUT_SHARES
from flows.execution.running import UnitRunner
from flows.execution.units import read_outcome, write_unit
from flows.orders import Order, Share
from flows.resources import Resources, SurveySize
from flows.store import read_result
from tmp.errors import InputError
from tmp.progress import silent

Orders = Callable[..., Order]


def process_of(unit: Unit) -> psutil.Process:
    """Return the process that does a unit."""
    (found,) = [
        child
        for child in psutil.Process().children()
        if str(unit.folder) in " ".join(child.cmdline())
    ]
    return found


def ended(executor: LocalExecutor, unit: Unit) -> Status:
    """Return how a unit has ended, within ten seconds."""
    deadline_s = time.monotonic() + 10
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


def test_cancel_leaves_no_process(stages: Orders, asked: Resources, tmp_path: Path) -> None:
    order = stages("sleep", seconds=60)
    executor = LocalExecutor(cpus=1)
    unit = write_unit(tmp_path / "units", order, asked, share=None, lenient=False)
    executor.submit([unit])
    assert executor.poll()[unit.folder].state is State.RUNNING
    executor.cancel()
    assert not executor.poll()
    children = psutil.Process().children(recursive=True)
    assert not any("flows.worker" in " ".join(child.cmdline()) for child in children)


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
    monkeypatch.setattr("flows.execution.machine.VMSTAT", counts)
    executor = LocalExecutor(cpus=1)
    unit = write_unit(
        tmp_path / "units", stages("sleep", seconds=60), asked, share=None, lenient=False
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
