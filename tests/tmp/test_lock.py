import errno
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tmp import lock
from tmp.errors import InputError, SpaceError
from tmp.lock import living_holder, locked


def _held_elsewhere(path: Path, *, touched_s_ago: float = 0.0) -> None:
    """Write the lock of a process on another machine."""
    holder = {
        "host": "node7",
        "user": "gudrun",
        "pid": 4711,
        "started": 1.0,
        "since_utc": "2026-07-03T09:12:00+00:00",
        "purpose": "'tmp run'",
        "token": "a",
    }
    path.write_text(json.dumps(holder))
    touched_s = time.time() - touched_s_ago
    os.utime(path, (touched_s, touched_s))


def _wait_for(happened: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_second_command_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    path = tmp_path / "survey" / "work" / "lock"
    with (
        locked(path, "'tmp map'"),
        pytest.raises(InputError, match=r"'tmp map' is already at work.* since 20\d\d-"),
        locked(path, "'tmp map'"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_lock_of_a_killed_process_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "HALF_WRITTEN_S", 0.02)
    path = tmp_path / "lock"
    with locked(path, "x"):
        said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"started": psutil.Process().create_time() - 1000}))
    with locked(path, "'tmp map'"):
        assert json.loads(path.read_text())["purpose"] == "'tmp map'"
    path.write_text("half of a lo")
    with locked(path, "'tmp map'"):
        pass


def test_lock_of_an_earlier_version_is_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    started = psutil.Process().create_time()
    path.write_text(json.dumps({"pid": os.getpid(), "started": started, "purpose": "'tmp map'"}))
    with pytest.raises(InputError, match="already at work"), locked(path, "'tmp run'"):
        pass


def test_holder_on_another_machine_is_named_and_believed_while_it_touches_its_lock(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lock"
    _held_elsewhere(path, touched_s_ago=lock.STALE_S - 60)
    with (
        pytest.raises(InputError, match="by gudrun on node7 since 2026-07-03 09:12:00 UTC"),
        locked(path, "'tmp map'"),
    ):
        pass


def test_holder_on_another_machine_that_stopped_touching_its_lock_is_dead(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "lock"
    _held_elsewhere(path, touched_s_ago=lock.STALE_S + 60)
    with caplog.at_level(logging.WARNING), locked(path, "'tmp map'"):
        holder = living_holder(path)
    assert holder is not None
    assert holder.pid == os.getpid()
    assert "taken over; left behind by gudrun on node7" in caplog.text


def test_held_lock_is_touched_and_its_loss_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.02)
    path = tmp_path / "lock"
    with locked(path, "'tmp map'"):
        os.utime(path, (1.0, 1.0))
        _wait_for(lambda: path.stat().st_mtime > 1.0)
        _held_elsewhere(path)
        _wait_for(lambda: "lost, although this process" in caplog.text)
    assert "node7" in path.read_text()  # what is another's stays


def test_of_many_who_find_a_dead_holder_one_gets_the_lock(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lock"
    _held_elsewhere(path, touched_s_ago=lock.STALE_S + 60)
    together, held, most = threading.Barrier(8), [0], [0]
    refused: list[str] = []

    def contend() -> None:
        together.wait()
        try:
            with locked(path, "'tmp run'"):
                held[0] += 1
                most[0] = max(most[0], held[0])
                _wait_for(lambda: len(refused) == 7)
                held[0] -= 1
        except InputError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert len(refused) == 7
    assert not path.exists()


def test_lock_of_a_process_that_died_here_is_taken_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    work = f"with locked(Path({str(path)!r}), 'x'): print('held', flush=True); time.sleep(60)"
    program = f"import time; from pathlib import Path; from tmp.lock import locked\n{work}"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"process {other.pid}"), locked(path, "'tmp map'"):
            pass
        other.kill()
    began_s = time.monotonic()
    with locked(path, "'tmp map'"):
        assert time.monotonic() - began_s < 5  # and not the five minutes of another machine's


@pytest.mark.parametrize(
    ("number", "error", "said"),
    [
        (
            errno.EACCES,
            InputError,
            r"lock: may not be written: .* is your own, of mode",
        ),
        (errno.EROFS, InputError, r"lock: cannot be written \(Read-only file system\)"),
        (errno.ENOSPC, SpaceError, "the disk is full"),
    ],
)
@pytest.mark.parametrize("step", ["mkdir", "open"])
def test_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    number: int,
    error: type[Exception],
    said: str,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, step, refuse)
    with pytest.raises(error, match=said) as refusal, locked(tmp_path / "lock", "'tmp map'"):
        pass
    assert "\n" not in str(refusal.value)


def test_file_in_the_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "work").touch()
    with (
        pytest.raises(InputError, match="cannot be written"),
        locked(tmp_path / "work" / "lock", "'tmp map'"),
    ):
        pass


def test_right_to_clear_that_was_left_behind_is_cleared_too(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for name in ("lock", "lock.clearing"):
        _held_elsewhere(tmp_path / name, touched_s_ago=lock.STALE_S + 60)
    with locked(path, "'tmp run'"):
        pass
    assert list(tmp_path.iterdir()) == []
