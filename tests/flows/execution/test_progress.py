"""How far units are, as workers write it and people see it."""

import io
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from flows.engine.cost import Resources
from flows.execution import progress
from flows.execution.progress import PROGRESS, ProgressFile, follow, read_progress
from flows.execution.unit import State, Status, Unit
from tmp.progress import bar

T = TypeVar("T")


class Recorded:
    """A track that remembers how far each bar came, and what was told."""

    def __init__(self) -> None:
        self.done: list[tuple[str, int, int]] = []
        self.told: list[tuple[str, float]] = []

    def __call__(self, items: Iterable[T], label: str, total: int) -> Iterator[T]:
        number = len(self.done)
        self.done.append((label, 0, total))
        for done, item in enumerate(items, start=1):
            yield item
            self.done[number] = (label, done, total)

    def tell(self, note: str, part: float) -> None:
        self.told.append((note, part))


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "WAIT_TOLD_S", 0.0)


def _unit(folder: Path, part: str = "whole") -> Unit:
    folder = folder / part
    folder.mkdir(exist_ok=True)
    return Unit(folder=folder, stage="surface", key="key", part=part, resources=Resources())


def test_worker_writes_each_phase_with_what_is_done_of_it(tmp_path: Path) -> None:
    with ProgressFile(tmp_path) as track:
        assert list(track("abc", "Finding keypoints", 3)) == ["a", "b", "c"]
        for _ in track(range(4), "Matching photographs", 8):
            pass
    found = read_progress(tmp_path)
    assert found is not None
    assert [(p.label, p.done, p.total) for p in found.phases] == [
        ("Finding keypoints", 3, 3),
        ("Matching photographs", 4, 8),
    ]
    assert found.part == 0.5
    assert found.host


def test_worker_in_an_array_says_which_job_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "19")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "17")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    with ProgressFile(tmp_path):
        pass
    found = read_progress(tmp_path)
    assert found is not None
    assert found.job == "17_2"


def test_progress_is_written_twice_a_second_at_most_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "WRITE_EVERY_S", 0.05)
    written, began_s = set(), time.monotonic()
    with ProgressFile(tmp_path) as track:
        for _ in track(range(400), "Measuring the surface", 400):
            time.sleep(0.001)
            found = read_progress(tmp_path)
            assert found is not None
            written.add(found.phases[0].done if found.phases else 0)
    assert 2 < len(written) < (time.monotonic() - began_s) / 0.05 + 3


def test_a_disk_that_is_full_does_not_end_the_work(tmp_path: Path) -> None:
    folder = tmp_path / "absent"
    with ProgressFile(folder) as track:
        assert sum(track(range(4), "Matching photographs", 4)) == 6
    assert read_progress(folder) is None


def test_counting_costs_next_to_nothing(tmp_path: Path) -> None:
    with ProgressFile(tmp_path) as track:
        began_s = time.process_time()
        for _ in track(range(10_000), "Matching photographs", 10_000):
            pass
        took_s = time.process_time() - began_s
    assert took_s / 10_000 < 50e-6


def test_remaining_time_is_judged_by_what_was_done() -> None:
    assert progress.Phase(label="x", done=2, total=10, took_s=5.0).left_s == 20.0
    assert progress.Phase(label="x", done=0, total=10, took_s=5.0).left_s is None


def test_one_unit_shows_the_bars_that_it_would_show_here(tmp_path: Path) -> None:
    unit, seen = _unit(tmp_path), Recorded()
    follower = follow([unit], seen, "surface")
    follower.see({unit.folder: Status(state=State.RUNNING)})
    assert seen.done == []
    with ProgressFile(unit.folder) as track:
        list(track(range(3), "Finding keypoints", 3))
        list(track(range(4), "Matching photographs", 8))
    follower.see({})
    assert seen.done == [("Finding keypoints", 3, 3), ("Matching photographs", 4, 8)]
    follower.end(unit.folder)
    assert seen.told == []


def test_attempt_after_a_lost_one_begins_its_bars_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit, seen = _unit(tmp_path), Recorded()
    follower = follow([unit], seen, "surface")
    for host, done in (("n1", 3), ("n2", 8)):
        monkeypatch.setattr("platform.node", lambda host=host: host)
        with ProgressFile(unit.folder) as track:
            list(track(range(done), "Measuring the surface", 8))
        follower.see({})
    assert seen.done == [("Measuring the surface", 3, 8), ("Measuring the surface", 8, 8)]


def test_a_unit_without_phases_is_one_bar_at_its_end(tmp_path: Path) -> None:
    unit, seen = _unit(tmp_path), Recorded()
    follower = follow([unit], seen, "surface")
    follower.see({unit.folder: Status(state=State.WAITING, said="Priority")})
    follower.see({unit.folder: Status(state=State.RUNNING)})
    follower.end(unit.folder)
    assert seen.done == [("surface", 1, 1)]
    assert seen.told == [("surface waits: Priority", 0.0), ("", 0.0)]


def test_array_is_one_bar_that_knows_the_parts_of_jobs_at_work(tmp_path: Path) -> None:
    units, seen = [_unit(tmp_path, f"{i}-of-4") for i in range(1, 5)], Recorded()
    follower = follow(units, seen, "surface in 4 jobs")
    for unit, done in zip(units[:2], (2, 6), strict=True):
        with ProgressFile(unit.folder) as track:
            list(track(range(done), "Measuring the surface", 8))
    states = [Status(state=State.RUNNING)] * 2 + [Status(state=State.WAITING, said="Priority")] * 2
    follower.see({unit.folder: state for unit, state in zip(units, states, strict=True)})
    assert seen.told[-1] == ("surface: 2 at work, 2 waiting: Priority", 1.0)
    follower.end(units[1].folder)
    follower.see({})
    assert seen.done == [("surface in 4 jobs", 1, 4)]
    assert seen.told[-1] == ("surface: 1 at work, 2 waiting: Priority", 0.25)


def test_of_a_large_array_few_files_are_read_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = [_unit(tmp_path, f"{i}-of-100") for i in range(1, 101)]
    read: list[Path] = []
    monkeypatch.setattr(progress, "read_progress", lambda folder: read.append(folder))
    follower = follow(units, Recorded(), "surface in 100 jobs")
    running = {unit.folder: Status(state=State.RUNNING) for unit in units}
    follower.see(running)
    assert len(read) == progress.LOOKED_AT
    for _ in range(3):
        follower.see({})
    assert set(read) == set(running)  # each in its turn


def test_a_log_gets_few_lines_and_the_reason_of_a_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmp.progress.LINES_EVERY_S", 0.0)
    unit, log = _unit(tmp_path), io.StringIO()
    with bar(log) as track:
        follower = follow([unit], track, "surface")
        for _ in range(5):
            follower.see({unit.folder: Status(state=State.WAITING, said="Resources")})
        with ProgressFile(unit.folder) as at_work:
            list(at_work(range(3), "Finding keypoints", 3))
        follower.end(unit.folder)
    lines = log.getvalue().splitlines()
    assert lines[0] == "surface waits: Resources"
    assert lines[-1].startswith("Finding keypoints: 3 of 3 in ")
    assert len(lines) == 4


def test_file_of_another_version_is_no_progress(tmp_path: Path) -> None:
    (tmp_path / PROGRESS).write_text('{"label": "x"}')
    assert read_progress(tmp_path) is None


def test_writer_ends_with_its_worker(tmp_path: Path) -> None:
    before = threading.active_count()
    with ProgressFile(tmp_path):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
