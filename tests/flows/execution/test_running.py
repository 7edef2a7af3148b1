"""Units run to their end, and what is tried when they end badly, on an executor that is a list."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from flows.engine.cost import Cost, Resources, SurveySize
from flows.engine.result import Ledger
from flows.engine.stage import Order, Stage
from flows.execution.cluster_profile import Amounts, Profile
from flows.execution.runner import UnitRunner, unit_resources
from flows.execution.unit import JOB, State, Status, Unit, write_unit
from tmp.errors import ExecutionError, InputError
from tmp.progress import silent

SIZE = SurveySize(photographs=2000, megapixels=1.0)


def work(job: object) -> None:
    """Do nothing; the executor only says it was done."""


def two_thousand(size: SurveySize) -> Cost:
    return Cost(cpus=4, memory_gb=1.0, cpu_s=1e7, parts=2000)


@dataclass(slots=True, kw_only=True)
class ListExecutor:
    """Ends some units at each look, as a function says."""

    ends: Callable[[Unit], Status]
    at_once: int = 50
    submitted: list[Unit] = field(default_factory=list)
    looks: int = 0
    _left: list[Unit] = field(default_factory=list)

    def submit(self, units: Sequence[Unit]) -> None:
        self.submitted += units
        self._left += units

    def poll(self) -> Mapping[Path, Status]:
        self.looks += 1
        ended, self._left = self._left[: self.at_once], self._left[self.at_once :]
        waiting = {unit.folder: Status(state=State.WAITING) for unit in self._left}
        return waiting | {unit.folder: self.ends(unit) for unit in ended}

    def cancel(self) -> None:
        self._left.clear()


def order(root: Path) -> Order:
    stage = Stage(name="work", version="1", function=work, needs=two_thousand)
    return Order(stage=stage, inputs={}, digests={}, options={}, folder=root / "work" / "key")


def runner(executor: ListExecutor, root: Path, **options: object) -> UnitRunner:
    profile = Profile(most_units=3)
    chosen = {"profile": profile, "size": SIZE, "folder": root / "units"} | options
    return UnitRunner(executor=executor, **chosen)  # type: ignore[arg-type]


def done(unit: Unit) -> Status:
    return Status(state=State.DONE)


def test_two_thousand_units_cost_the_controller_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.execution.runner.PAUSE_S", 0.0)
    executor = ListExecutor(ends=done)
    began_s = time.process_time()
    runner(executor, tmp_path, profile=Profile(most_units=2000))(order(tmp_path), silent)
    took_s = time.process_time() - began_s
    assert len(executor.submitted) == 2001
    assert took_s < 10  # 0.8 s where nothing else runs


def test_time_that_was_too_short_is_doubled_then_the_tiles_in_hand_are_tried_alone(
    tmp_path: Path,
) -> None:
    ledger = Ledger(partial=order(tmp_path).partial)

    def ends(unit: Unit) -> Status:
        if unit.part == "2-of-3" and not ledger.apart():
            ledger.mark(unit.part, "r1c1")
            return Status(state=State.NO_TIME)
        return done(unit)

    executor = ListExecutor(ends=ends)
    runner(executor, tmp_path)(order(tmp_path), silent)
    tried = [unit for unit in executor.submitted if unit.part not in ("1-of-3", "3-of-3", "whole")]
    assert [unit.part for unit in tried] == ["2-of-3", "2-of-3", "alone-r1c1", "2-of-3"]
    first, second, alone, _ = (unit.resources for unit in tried)
    assert second == replace(first, minutes=2 * first.minutes)
    assert alone == replace(second, cpus=1)
    assert executor.submitted[-1].part == "whole"


def test_unit_that_dies_again_and_again_with_ever_other_tiles_stops_the_run(
    tmp_path: Path,
) -> None:
    ledger = Ledger(partial=order(tmp_path).partial)

    def ends(unit: Unit) -> Status:
        if unit.part != "1-of-3":
            return done(unit)
        ledger.mark(unit.part, f"r0c{len(ledger.apart())}")
        return Status(state=State.NO_MEMORY, said="killed")

    executor = ListExecutor(ends=ends)
    with pytest.raises(ExecutionError, match=r"memory_gb below \[stage.work\] of the profile"):
        runner(executor, tmp_path)(order(tmp_path), silent)


def test_stage_without_tiles_gets_twice_the_memory_once(tmp_path: Path) -> None:
    executor = ListExecutor(ends=lambda unit: Status(state=State.NO_MEMORY, said="killed"))
    with pytest.raises(ExecutionError, match=r"twice the memory \(2 GB\) was too little"):
        runner(executor, tmp_path, profile=Profile(most_units=1))(order(tmp_path), silent)
    assert [unit.resources.memory_gb for unit in executor.submitted] == [1.0, 2.0]


def test_raised_request_that_the_cluster_refuses_leaves_the_tiles_to_be_tried_alone(
    tmp_path: Path,
) -> None:
    ledger = Ledger(partial=order(tmp_path).partial)

    class Small(ListExecutor):
        def submit(self, units: Sequence[Unit]) -> None:
            if any(unit.resources.memory_gb > 1.5 for unit in units):
                raise InputError("no node has so much memory")
            ListExecutor.submit(self, units)

    def ends(unit: Unit) -> Status:
        if unit.part == "1-of-3" and not ledger.apart():
            ledger.mark(unit.part, "r0c0")
            return Status(state=State.NO_MEMORY)
        return done(unit)

    executor = Small(ends=ends)
    runner(executor, tmp_path)(order(tmp_path), silent)
    parts = [unit.part for unit in executor.submitted]
    assert parts[3:] == ["alone-r0c0", "1-of-3", "whole"]


def test_profile_says_what_a_stage_asks_for() -> None:
    stage = Stage(name="work", version="1", function=work, needs=two_thousand)
    profile = Profile(amounts={"work": Amounts(gpus=1, memory_gb=7.0)})
    asked = unit_resources(stage, SIZE, profile, 10, None)
    assert (asked.cpus, asked.gpus, asked.memory_gb) == (4, 1, 7.0)


def test_folders_of_earlier_units_are_deleted_but_not_where_a_job_may_be_at_work(
    tmp_path: Path,
) -> None:
    executor = ListExecutor(ends=done)
    for index in range(4):
        made = replace(order(tmp_path), folder=tmp_path / "work" / f"key{index}")
        if index == 0:
            unit = write_unit(tmp_path / "units", made, Resources(), share=None, lenient=True)
            (unit.folder / JOB).write_text("{}")
        else:
            runner(executor, tmp_path, profile=Profile(most_units=1))(made, silent)
    kept = sorted(path.name for path in (tmp_path / "units" / "work").iterdir())
    assert kept == ["key0", "key2", "key3"]
