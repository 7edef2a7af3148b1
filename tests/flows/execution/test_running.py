"""Units run to their end, and what is tried when they end badly, on an executor that is a list."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import pytest

from flows.engine.cost import Cost, Resources, SurveySize
from flows.engine.result import AT_WORK, Ledger
from flows.engine.stage import WHOLE, Recipe, Stage
from flows.engine.store import Known, StageStore
from flows.execution.cluster_profile import Amounts, Profile
from flows.execution.runner import MOST_ISOLATED, UnitRunner, unit_resources
from flows.execution.unit import (
    JOB,
    State,
    Status,
    Unit,
    read_task,
    unit_alone,
    unit_of,
    units_of,
    write_unit,
)
from tmp.errors import ExecutionError, InputError, StoppedError, TransientError
from tmp.progress import silent

SIZE = SurveySize(photographs=2000, megapixels=1.0)
ITEMS = [f"r{row}c{col}" for row in range(40) for col in range(50)]


def two_thousand(size: SurveySize) -> Cost:
    return Cost(cpus=4, memory_gb=1.0, cpu_s=1e7, parts=2000)


class Work(Stage):
    """Two thousand tiles that are never made; the executor only says they were."""

    name = "work"
    version = "1"
    needs = two_thousand

    def items(self) -> Sequence[str]:
        return ITEMS

    def is_made(self, item: str) -> bool:
        return item in self.space.options["made"]


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


def recipe(root: Path, made: Sequence[str] = ()) -> Recipe:
    store = StageStore(root=root / "work" / "stages")
    return store.recipe(Work, {}, {"made": list(made)})


def runner(executor: ListExecutor, root: Path, **options: object) -> UnitRunner:
    profile = Profile(most_units=3)
    chosen = {"profile": profile, "size": SIZE, "folder": root / "work" / "units"} | options
    return UnitRunner(executor=executor, **chosen)  # type: ignore[arg-type]


def done(unit: Unit) -> Status:
    return Status(state=State.DONE)


def dies(ledger: Ledger, unit: Unit, item: str, state: State) -> Status:
    """Let a unit end while it is at work on an item."""
    shutil.rmtree(ledger.folder / AT_WORK / unit.part, ignore_errors=True)
    ledger.mark(unit.part, item)
    return Status(state=state, said="killed")


def parts_of(units: Sequence[Unit]) -> list[str]:
    return [unit.part for unit in units]


@pytest.mark.parametrize("count", [1, 3, 7, 2000])
def test_parts_are_the_same_in_every_run_and_neighbours_stay_together(
    count: int, tmp_path: Path
) -> None:
    first = recipe(tmp_path)
    again = replace(recipe(tmp_path, made=ITEMS[::2]), folder=first.folder)
    units = units_of(tmp_path, first, ITEMS, count, Resources())
    assert units == units_of(tmp_path, again, ITEMS, count, Resources())
    assert parts_of(units) == [f"{index + 1}-of-{count}" for index in range(count)]
    assert list(chain.from_iterable(unit.items or () for unit in units)) == ITEMS
    sizes = {len(unit.items or ()) for unit in units}
    assert max(sizes) - min(sizes) <= 1


def test_unit_of_one_item_has_one_core_and_a_name_fit_for_a_folder(tmp_path: Path) -> None:
    asked = Resources(cpus=4, memory_gb=7.0)
    unit = unit_alone(tmp_path / "work" / "units", recipe(tmp_path), "DCIM/1.JPG", asked)
    assert unit.folder == tmp_path / "work" / "units" / "work" / unit.key / "alone-DCIM%2F1.JPG"
    assert unit.items == ("DCIM/1.JPG",)
    assert unit.alone
    assert unit.resources == replace(asked, cpus=1)


def test_parts_whose_items_are_all_there_get_no_unit(tmp_path: Path) -> None:
    executor = ListExecutor(ends=done)
    profile = Profile(most_units=4)
    runner(executor, tmp_path, profile=profile)(recipe(tmp_path), silent)
    assert parts_of(executor.submitted) == ["1-of-4", "2-of-4", "3-of-4", "4-of-4", "whole"]
    again = ListExecutor(ends=done)
    made = [*ITEMS[:999], *ITEMS[1000:1500]]
    runner(again, tmp_path, profile=profile)(recipe(tmp_path, made), silent)
    assert parts_of(again.submitted) == ["2-of-4", "4-of-4", "whole"]
    assert again.submitted[0].items == executor.submitted[1].items
    end = ListExecutor(ends=done)
    runner(end, tmp_path, profile=profile)(recipe(tmp_path, ITEMS), silent)
    assert parts_of(end.submitted) == ["whole"]
    assert end.submitted[0].items is None


def test_no_more_units_than_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Work, "items", lambda _: ITEMS[:5])
    executor = ListExecutor(ends=done)
    runner(executor, tmp_path, profile=Profile(most_units=9))(recipe(tmp_path), silent)
    assert [unit.items for unit in executor.submitted[:-1]] == [(item,) for item in ITEMS[:5]]


def test_item_given_up_before_is_left_alone_unless_the_run_is_strict(tmp_path: Path) -> None:
    for lenient, failed in ((True, {"r0c3": "out of memory"}), (False, {})):
        Ledger(partial=recipe(tmp_path).partial).add_failed("r0c3", "out of memory")
        executor = ListExecutor(ends=done)
        runner(executor, tmp_path, lenient=lenient)(recipe(tmp_path), silent)
        tasks = [read_task(unit.folder) for unit in executor.submitted]
        assert [task.portion.failed for task in tasks] == [failed] * 4
        assert {task.portion.lenient for task in tasks} == {lenient}


def test_unit_on_disk_says_all_that_its_process_has_to_know(tmp_path: Path) -> None:
    executor = ListExecutor(ends=done)
    survey = Known(path=tmp_path, digest="12ab")
    made = StageStore(root=tmp_path / "work" / "stages").recipe(
        Work, {"survey": survey}, {"made": []}
    )
    runner(executor, tmp_path)(made, silent)
    for unit in executor.submitted:
        task = read_task(unit.folder)
        assert task.recipe == made
        assert (task.portion.part, task.portion.items) == (unit.part, unit.items)
        assert task.portion.finishes == (unit.part == WHOLE)
        assert task.cpus == unit.resources.cpus


def test_run_that_is_asked_to_stop_cancels_its_units(tmp_path: Path) -> None:
    executor = ListExecutor(ends=done, at_once=0)
    chosen = runner(executor, tmp_path)
    chosen.stopping.set()
    with pytest.raises(StoppedError, match="run again to go on"):
        chosen(recipe(tmp_path), silent)
    assert len(executor.submitted) == 3
    assert not executor.poll()


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (State.LOST, TransientError),
        (State.CANCELLED, TransientError),
        (State.FAILED, ExecutionError),
        (State.NO_TIME, ExecutionError),
    ],
)
def test_what_another_run_may_well_do_is_told_apart(
    state: State, kind: type[ExecutionError], tmp_path: Path
) -> None:
    executor = ListExecutor(ends=lambda unit: Status(state=state, said="node n7"))
    with pytest.raises(ExecutionError, match=rf"^work 1-of-3: {state}: node n7; ") as raised:
        runner(executor, tmp_path)(recipe(tmp_path), silent)
    assert type(raised.value) is kind


def test_two_thousand_units_cost_the_controller_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.execution.runner.PAUSE_S", 0.0)
    executor = ListExecutor(ends=done)
    began_s = time.process_time()
    runner(executor, tmp_path, profile=Profile(most_units=2000))(recipe(tmp_path), silent)
    took_s = time.process_time() - began_s
    assert len(executor.submitted) == 2001
    assert took_s < 10  # 0.8 s where nothing else runs


def test_time_that_was_too_short_is_doubled_then_the_tiles_in_hand_are_tried_alone(
    tmp_path: Path,
) -> None:
    ledger = Ledger(partial=recipe(tmp_path).partial)

    def ends(unit: Unit) -> Status:
        if unit.part == "2-of-3" and unit.items and "r20c7" in unit.items:
            return dies(ledger, unit, "r20c7", State.NO_TIME)
        return done(unit)

    executor = ListExecutor(ends=ends)
    runner(executor, tmp_path)(recipe(tmp_path), silent)
    tried = [unit for unit in executor.submitted if unit.part not in ("1-of-3", "3-of-3", "whole")]
    assert [unit.part for unit in tried] == ["2-of-3", "2-of-3", "alone-r20c7", "2-of-3"]
    assert tried[2].items == ("r20c7",)
    assert tried[3].items == tuple(item for item in tried[0].items or () if item != "r20c7")
    first, second, alone, _ = (unit.resources for unit in tried)
    assert second == replace(first, minutes=2 * first.minutes)
    assert alone == replace(second, cpus=1)
    assert executor.submitted[-1].part == "whole"


def test_unit_that_dies_again_and_again_with_ever_other_tiles_stops_the_run(
    tmp_path: Path,
) -> None:
    ledger = Ledger(partial=recipe(tmp_path).partial)

    def ends(unit: Unit) -> Status:
        if unit.part != "1-of-3" or not unit.items:
            return done(unit)
        return dies(ledger, unit, unit.items[0], State.NO_MEMORY)

    executor = ListExecutor(ends=ends)
    with pytest.raises(ExecutionError, match=r"memory_gb below \[stage.work\] of the profile"):
        runner(executor, tmp_path)(recipe(tmp_path), silent)
    alone = [unit.items for unit in executor.submitted if unit.alone]
    assert alone == [(item,) for item in ITEMS[:MOST_ISOLATED]]


def test_stage_without_tiles_gets_twice_the_memory_once(tmp_path: Path) -> None:
    executor = ListExecutor(ends=lambda unit: Status(state=State.NO_MEMORY, said="killed"))
    with pytest.raises(ExecutionError, match=r"twice the memory \(2 GB\) was too little"):
        runner(executor, tmp_path, profile=Profile(most_units=1))(recipe(tmp_path), silent)
    assert [unit.resources.memory_gb for unit in executor.submitted] == [1.0, 2.0]


def test_raised_request_that_the_cluster_refuses_leaves_the_tiles_to_be_tried_alone(
    tmp_path: Path,
) -> None:
    ledger = Ledger(partial=recipe(tmp_path).partial)

    class Small(ListExecutor):
        def submit(self, units: Sequence[Unit]) -> None:
            if any(unit.resources.memory_gb > 1.5 for unit in units):
                raise InputError("no node has so much memory")
            ListExecutor.submit(self, units)

    def ends(unit: Unit) -> Status:
        if unit.part == "1-of-3" and unit.items and "r0c0" in unit.items:
            return dies(ledger, unit, "r0c0", State.NO_MEMORY)
        return done(unit)

    executor = Small(ends=ends)
    runner(executor, tmp_path)(recipe(tmp_path), silent)
    assert parts_of(executor.submitted)[3:] == ["alone-r0c0", "1-of-3", "whole"]
    again = executor.submitted[4]
    assert again.resources == executor.submitted[0].resources


def test_profile_says_what_a_stage_asks_for() -> None:
    profile = Profile(amounts={"work": Amounts(gpus=1, memory_gb=7.0)})
    asked = unit_resources(Work, SIZE, profile, 10, None)
    assert (asked.cpus, asked.gpus, asked.memory_gb) == (4, 1, 7.0)


def test_folders_of_earlier_units_are_deleted_but_not_where_a_job_may_be_at_work(
    tmp_path: Path,
) -> None:
    executor = ListExecutor(ends=done)
    for index in range(4):
        made = replace(recipe(tmp_path), folder=tmp_path / "work" / f"key{index}")
        if index == 0:
            unit = unit_of(tmp_path / "work" / "units", made, WHOLE, Resources())
            write_unit(unit, made, failed={}, lenient=True)
            (unit.folder / JOB).write_text("{}")
        else:
            runner(executor, tmp_path, profile=Profile(most_units=1))(made, silent)
    kept = sorted(path.name for path in (tmp_path / "work" / "units" / "work").iterdir())
    assert kept == ["key0", "key2", "key3"]
