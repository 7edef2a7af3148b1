"""The book of a run, and how a run is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from flows.engine.result import Usage
from flows.engine.store import Result
from flows.run.record import LOCK, RUN, STOP_S, UNITS, RunBook, cancel_run, read_run
from tmp.errors import InputError
from tmp.lock import locked
from tmp.survey import Survey


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
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


def test_cancel_ends_the_controller(
    survey: Survey, book: RunBook, sleeper: subprocess.Popen[bytes]
) -> None:
    _rewrite(survey, pid=sleeper.pid, started=psutil.Process(sleeper.pid).create_time())
    assert cancel_run(survey) == "stopped; 'tmp run' goes on where it was"
    assert sleeper.wait(5) == -signal.SIGTERM


def test_cancel_of_a_cluster_run_needs_the_cluster(
    survey: Survey, book: RunBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    _rewrite(survey, on="slurm", started=1.0)
    monkeypatch.setenv("PATH", "/nowhere")
    assert cancel_run(survey) == "nothing is running"  # no job was left
    job = survey.work_dir / UNITS / "surface" / "key" / "whole" / "job.json"
    job.parent.mkdir(parents=True)
    job.write_text('{"id": "17_0", "name": "tmp-surface-key"}')
    with pytest.raises(InputError, match="no scancel"):
        cancel_run(survey)


def test_cancel_waits_for_no_more_than_the_controller(survey: Survey, book: RunBook) -> None:
    book.end("done")
    began_s = time.monotonic()
    assert cancel_run(survey) == "nothing is running"
    assert time.monotonic() - began_s < STOP_S / 2
