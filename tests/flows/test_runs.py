"""The book of a run, and how a run is stopped."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from flows.engine.result import Usage
from flows.engine.store import Result
from flows.run import record
from flows.run.record import LOCK, RUN, STOP_S, UNITS, RunBook, cancel_run, read_run
from tmp.errors import InputError
from tmp.lock import Holder, locked
from tmp.survey import Survey

Sleeper = Callable[[str], int]


@pytest.fixture
def sleeper(tmp_path: Path, survey: Survey) -> Iterator[Sleeper]:
    """Start a program of a name that sleeps, and write the survey's lock as if it held it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> int:
        program = tmp_path / name
        program.write_text("import time; time.sleep(60)")
        process = subprocess.Popen([sys.executable, str(program)])
        started.append(process)
        while not psutil.Process(process.pid).cmdline():
            time.sleep(0.01)  # the kernel has not yet put its words in place
        began_s = psutil.Process(process.pid).create_time()
        holder = Holder(pid=process.pid, started=began_s, purpose="'tmp map'")
        (survey.work_dir / LOCK).write_text(json.dumps(asdict(holder)))
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.wait()


def _rewrite(survey: Survey, **said: object) -> None:
    path = survey.work_dir / RUN
    path.write_text(json.dumps(json.loads(path.read_text()) | said))


def test_survey_that_was_never_run_says_how_to_run_it(survey: Survey) -> None:
    for ask in (read_run, cancel_run):
        with pytest.raises(InputError, match="has not been run; start it with 'tmp run'"):
            ask(survey)


def test_book_says_who_runs_what_and_where(survey: Survey, book: RunBook) -> None:
    run = read_run(survey)
    assert (run.on, run.pid, run.state) == ("local", os.getpid(), "running")
    assert run.host
    assert run.user
    assert run.alive(survey)
    assert [note.state for note in run.stages.values()] == ["to do", "to do"]


def test_book_says_how_long_a_stage_took_and_where_its_result_is(
    survey: Survey, book: RunBook
) -> None:
    result = Result(
        stage="surface",
        folder=survey.work_dir / "stages" / "surface" / "key",
        files={},
        figures={},
        usage=Usage(),
        reused=False,
    )
    book.note("surface", "running")
    assert read_run(survey).stages["surface"].ended_utc == ""
    book.note("surface", "done", result)
    note = read_run(survey).stages["surface"]
    assert note.folder == "stages/surface/key"
    assert note.took_s is not None
    assert 0 <= note.took_s < 5
    book.note("orientation", "nothing has changed")
    assert read_run(survey).stages["orientation"].took_s is None


def test_book_of_an_earlier_version_can_be_read(survey: Survey) -> None:
    (survey.work_dir / RUN).write_text(
        json.dumps(
            {
                "on": "slurm",
                "host": "login1",
                "pid": 4711,
                "started": 1.0,
                "began_utc": "2026-07-03T09:12:00+00:00",
                "state": "done",
                "error": "",
                "stages": {"surface": "done"},
            }
        )
    )
    run = read_run(survey)
    assert run.stages["surface"].state == "done"
    assert run.user == ""
    assert not run.alive(survey)


def test_book_of_a_later_version_is_refused_in_one_line(survey: Survey, book: RunBook) -> None:
    _rewrite(survey, weather="rain")
    with pytest.raises(InputError, match="written by another version"):
        read_run(survey)


def test_controller_that_died_is_not_alive(survey: Survey, book: RunBook) -> None:
    _rewrite(survey, started=1.0)
    assert not read_run(survey).alive(survey)
    assert cancel_run(survey) == "nothing is running"


def test_controller_on_another_machine_is_alive_while_it_touches_the_lock(
    survey: Survey, book: RunBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = survey.work_dir / LOCK
    monkeypatch.setattr("platform.node", lambda: "node7")
    assert not read_run(survey).alive(survey)  # another machine, and no lock
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("platform.node", lambda: read_run(survey).host)
        with locked(path, "'tmp run'"):
            elsewhere.undo()
            elsewhere.setattr("platform.node", lambda: "node7")
            assert read_run(survey).alive(survey)
            with pytest.raises(InputError, match=r"cancel it there"):
                cancel_run(survey)
            os.utime(path, (1.0, 1.0))
            assert not read_run(survey).alive(survey)
            assert cancel_run(survey) == "nothing is running"


def test_cancel_ends_whatever_command_holds_the_survey(survey: Survey, sleeper: Sleeper) -> None:
    process = psutil.Process(sleeper("tmp"))
    assert cancel_run(survey) == "stopped; the same command goes on where it was"
    assert process.status() == psutil.STATUS_ZOMBIE


def test_cancel_of_a_command_that_does_not_end_says_so(
    survey: Survey, sleeper: Sleeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "STOP_S", 0.2)
    monkeypatch.setattr(psutil.Process, "terminate", lambda process: None)
    sleeper("tmp")
    assert "'tmp map' has been told to stop and is still at work" in cancel_run(survey)


def test_cancel_signals_no_program_of_ones_own_that_a_lock_was_made_to_name(
    survey: Survey, book: RunBook, sleeper: Sleeper
) -> None:
    process = psutil.Process(sleeper("thesis"))
    with pytest.raises(InputError, match=r"is no 'tmp' command; end it yourself"):
        cancel_run(survey)
    (survey.work_dir / LOCK).unlink()
    _rewrite(survey, pid=process.pid, started=process.create_time())
    assert cancel_run(survey) == "nothing is running"
    assert process.status() != psutil.STATUS_ZOMBIE


def test_cancel_of_anothers_command_says_whom_to_ask(
    survey: Survey, sleeper: Sleeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = sleeper("tmp")
    names = {pid: "gudrun"}
    monkeypatch.setattr(psutil.Process, "username", lambda one: names.get(one.pid, "me"))
    with pytest.raises(InputError, match=r"as gudrun, and you are me; ask gudrun to stop it"):
        cancel_run(survey)
    assert psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_cancel_of_a_cluster_run_needs_the_cluster(
    survey: Survey, book: RunBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    _rewrite(survey, on="slurm", started=1.0)
    monkeypatch.setenv("PATH", "/nowhere")
    assert cancel_run(survey) == "nothing is running"  # no job was left
    job = survey.work_dir / UNITS / "surface" / "key" / "whole" / "job.json"
    job.parent.mkdir(parents=True)
    job.write_text('{"id": "17_0", "name": "tmp-surface-key-1a2b"}')
    with pytest.raises(InputError, match="no scancel"):
        cancel_run(survey)


def test_cancel_waits_for_no_more_than_the_controller(survey: Survey, book: RunBook) -> None:
    book.end("done")
    began_s = time.monotonic()
    assert cancel_run(survey) == "nothing is running"
    assert time.monotonic() - began_s < STOP_S / 2
