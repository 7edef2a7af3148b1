"""What 'tmp status' and 'tmp logs' tell of a run, and of each of its units."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.engine.result import UnitUsage, Usage
from flows.engine.stage import Job, Stage
from flows.engine.store import StageStore
from flows.execution.progress import Phase, Progress
from flows.execution.slurm_commands import Queued
from flows.execution.unit import begin, write_outcome
from flows.run import status
from flows.run.record import UNITS, RunBook
from flows.run.status import describe_run, follow_log, list_logs, stage_log
from tmp.errors import InputError
from tmp.survey import Survey

Part = Callable[..., Path]


@pytest.fixture
def part(survey: Survey, monkeypatch: pytest.MonkeyPatch) -> Part:
    """Return what writes a unit of the surface, as far as it got."""

    def write(
        name: str,
        *,
        said: str = "",
        host: str = "n1",
        done: int | None = None,
        error: str = "",
        ended: bool = False,
        job: str = "",
    ) -> Path:
        folder = survey.work_dir / UNITS / "surface" / "key" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "unit.json").write_text("{}")
        if said:
            (folder / "log.txt").write_text(said)
        if job:
            (folder / "job.json").write_text(json.dumps({"id": job, "name": "tmp-surface-key"}))
        if done is not None:
            phase = Phase(label="Measuring the surface", done=done, total=10, took_s=60.0)
            at_work = Progress(host=host, job=job, began_utc="", first=0, phases=(phase,))
            (folder / "progress.json").write_text(json.dumps(asdict(at_work)))
        if ended or error:
            with monkeypatch.context() as there:
                there.setattr("platform.node", lambda: host)
                attempt, started_utc = begin(folder)
                cost = UnitUsage(
                    part=name, usage=Usage(), host=host, job=attempt.job, attempts=attempt.number
                )
                failure = ValueError(error) if error else None
                write_outcome(folder, cost, started_utc=started_utc, error=failure)
        return folder

    return write


def _minutes_ago(minutes: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat(timespec="seconds")


def test_status_tells_who_runs_what_since_when(survey: Survey, book: RunBook) -> None:
    lines = describe_run(survey)
    assert "on local, since 20" in lines[0]
    assert lines[0].endswith(": running")
    assert [line.split() for line in lines[2:]] == [
        ["orientation", "to", "do"],
        ["surface", "to", "do"],
    ]


def test_status_of_a_dead_controller_says_how_to_go_on(survey: Survey, book: RunBook) -> None:
    book.note("surface", "running")
    book.said["started"] -= 1000.0
    book.note("surface", "running")
    lines = describe_run(survey)
    assert lines[0].endswith("interrupted; 'tmp run' goes on")
    assert lines[-1].split() == ["surface", "interrupted"]


def test_status_of_a_failed_run_says_why_and_where_to_read_more(
    survey: Survey, book: RunBook, part: Part
) -> None:
    book.note("surface", "running")
    part("1-of-2", host="n2", error="tile r0c1: no light\nand so on")
    part("2-of-2", host="n1", ended=True)
    book.note("surface", "not done")
    book.end("failed", "tile r0c1: no light\nand so on")
    lines = describe_run(survey)
    assert lines[1] == "tile r0c1: no light"
    row = next(line for line in lines if line.startswith("surface"))
    assert row.split()[:3] == ["surface", "failed", "1/2"]
    assert "    1-of-2 on n2: tile r0c1: no light" in lines
    assert f"    more with: tmp logs {survey.folder} surface" in lines


def test_status_shows_units_at_work_and_the_time_left(
    survey: Survey, book: RunBook, part: Part
) -> None:
    book.note("surface", "running")
    book.said["stages"]["surface"]["began_utc"] = _minutes_ago(10)
    book.note("orientation", "nothing has changed")
    part("1-of-4", ended=True)
    part("2-of-4", done=5, host="n2", job="17_1")
    part("3-of-4", done=5, host="n3")
    part("4-of-4")
    lines = describe_run(survey)
    row = next(line for line in lines if line.startswith("surface"))
    assert row.split()[:3] == ["surface", "running", "1/4"]
    assert "    2 at work, 1 waiting, about 10 min left" in lines
    assert "    2-of-4, n2, job 17_1, Measuring the surface: 5 of 10, about 1 min left" in lines


def test_status_of_a_stage_in_one_piece_says_what_it_is_at(
    survey: Survey, book: RunBook, part: Part
) -> None:
    book.note("surface", "running")
    part("whole", done=5)
    assert describe_run(survey)[-1] == ("    n1, Measuring the surface: 5 of 10, about 1 min left")


def test_status_of_a_large_array_is_short(survey: Survey, book: RunBook, part: Part) -> None:
    book.note("surface", "running")
    for index in range(1, 31):
        part(f"{index}-of-30", done=1)
    lines = describe_run(survey)
    assert "    and 22 more" in lines
    assert len(lines) < 20
    assert "1-of-30" in lines[-9]  # by number, not by letters
    assert "8-of-30" in lines[-2]


def test_status_says_what_jobs_wait_for(
    survey: Survey, book: RunBook, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.said["on"] = "slurm"
    book.note("surface", "running")
    for index in range(3):
        part(f"{index + 1}-of-3", job=f"17_{index}")
    reasons = {"17_0": "Priority", "17_1": "Priority", "17_2": "Resources"}
    queue = {job: Queued("PENDING", reason) for job, reason in reasons.items()}
    monkeypatch.setattr("flows.run.status.Commands.queue", lambda commands, user: queue)
    monkeypatch.setattr("shutil.which", lambda name: name)
    assert "    0 at work, 3 waiting: Priority (2), Resources (1)" in describe_run(survey)


def test_status_without_squeue_says_so_and_nothing_fails(
    survey: Survey, book: RunBook, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    book.said["on"] = "slurm"
    book.note("surface", "running")
    part("whole", job="17_0")
    lines = describe_run(survey)
    assert "    waiting" in lines
    assert "squeue is absent" in lines[-1]


def test_status_of_a_map_made_on_threads_shows_no_units_of_an_earlier_run(
    survey: Survey, book: RunBook, part: Part
) -> None:
    part("whole", done=5)
    book.said["on"] = "threads"
    book.note("surface", "running")
    assert describe_run(survey)[-1].split()[:2] == ["surface", "running"]


def paint(job: Job) -> dict[str, object]:
    (job.out / "tile.txt").write_text("x")
    return {"tiles": 1}


def test_status_of_a_finished_run_is_what_it_cost(survey: Survey, book: RunBook) -> None:
    store = StageStore(root=survey.work_dir / "stages")
    for name in ("orientation", "surface"):
        book.note(name, "running")
        result = store.run(Stage(name=name, version="1", function=paint), {}, {})
        book.note(name, "done", result)
    book.end("done")
    lines = describe_run(survey)
    assert lines[0].endswith(": done")
    assert [line.split()[:2] for line in lines[2:4]] == [
        ["orientation", "done"],
        ["surface", "done"],
    ]
    assert lines[-1].startswith("all ")
    book.note("surface", "nothing has changed", result)
    assert "surface        reused" in "\n".join(describe_run(survey))


def test_status_is_quick_with_two_thousand_units(survey: Survey, book: RunBook, part: Part) -> None:
    book.note("surface", "running")
    for index in range(1, 2001):
        part(f"{index}-of-2000", done=1 if index > 1950 else None)
    began_s = time.process_time()  # others may be at work on this machine
    describe_run(survey)
    assert time.process_time() - began_s < 2.0


def test_log_of_a_stage_is_that_of_all_its_units_in_order(survey: Survey, part: Part) -> None:
    for index in (10, 2, 1):
        part(f"{index}-of-10", said=f"tile {index}\n", host=f"n{index}", ended=True)
    part("whole", said="the end\n", ended=True)
    part("whole", said="the end\n", ended=True)
    lines = list(stage_log(survey, "surface"))
    assert [line for line in lines if not line.startswith("==")] == [
        "tile 1",
        "tile 2",
        "tile 10",
        "the end",
    ]
    assert lines[0].startswith("== surface 1-of-10; n1; 20")
    assert lines[0].endswith("; done")
    assert "started 2 times" in lines[-2]


def test_log_of_a_tile_is_that_of_the_unit_that_made_it(survey: Survey, part: Part) -> None:
    part("1-of-2", said="2026-07-03 INFO tiles: r0c0 r9c9\n", ended=True)
    part("2-of-2", said="2026-07-03 INFO tiles: r0c1\nwarm\n", ended=True)
    lines = list(stage_log(survey, "surface", "r0c1"))
    assert lines[0].startswith("== surface 2-of-2")
    assert lines[-1] == "warm"
    with pytest.raises(InputError, match=r"no log of surface:r5c5"):
        list(stage_log(survey, "surface", "r5c5"))


def test_log_of_a_tile_tried_alone_is_that_of_its_own_unit(survey: Survey, part: Part) -> None:
    part("1-of-2", said="2026-07-03 INFO tiles: r0c0\n", error="killed")
    part("alone-r0c0", said="by itself\n", ended=True)
    assert list(stage_log(survey, "surface", "r0c0"))[-1] == "by itself"


def test_log_of_a_stage_has_what_the_cluster_said_of_its_jobs(survey: Survey, part: Part) -> None:
    folder = part("1-of-2", said="tile 1\n", error="killed")
    batch = folder.parent / "batch-1"
    batch.mkdir()
    (batch / "units.txt").write_text(f"{folder.parent / '2-of-2'}\n{folder}\n")
    (batch / "0.log").write_text("")
    (batch / "1.log").write_text("slurmstepd: error: exceeded memory limit\n")
    assert list(stage_log(survey, "surface"))[-1] == "slurmstepd: error: exceeded memory limit"


def test_list_of_logs_names_stages_and_how_many_units_failed(survey: Survey, part: Part) -> None:
    with pytest.raises(InputError, match="no log of any stage"):
        list_logs(survey)
    part("1-of-2", said="tile 1\n", error="killed")
    part("2-of-2", said="tile 2\n", ended=True)
    assert list_logs(survey)[1].split()[:3] == ["surface", "2", "1"]


def test_log_is_followed_until_its_stage_ends(
    survey: Survey, book: RunBook, part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "LOOK_EVERY_S", 0.02)
    book.note("surface", "running")

    def work() -> None:
        time.sleep(0.1)
        folder = part("1-of-2", said="first\nhal")
        time.sleep(0.1)
        with (folder / "log.txt").open("a") as log:
            log.write("f\nlast\n")
        book.note("surface", "done")

    worker = threading.Thread(target=work)
    worker.start()
    lines = list(follow_log(survey, "surface"))
    worker.join()
    assert lines[1:] == ["first", "half", "last"]
    assert lines[0].startswith("== surface 1-of-2")


def test_names_of_many_are_cut_short() -> None:
    assert status._few([f"n{i}" for i in range(10)]) == "n0, n1, n2, n3, n4, n5, n6, n7 and 2 more"
