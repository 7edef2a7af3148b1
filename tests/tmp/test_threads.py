import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tmp.errors import InputError
from tmp.threads import (
    heartbeat,
    map_threads,
    process_began_s,
    require_address_space,
    runs_here,
)

# Four threads that take memory at the same time, and what the C library says of its heaps.
PROGRAM = """
import ctypes, re, sys, threading
sys.path.insert(0, {root!r})
from tmp.threads import share_one_heap
if {shared}:
    share_one_heap()
barrier = threading.Barrier(4)
def work():
    barrier.wait()
    [bytearray(1000) for _ in range(1000)]
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fdopen.restype = ctypes.c_void_p
libc.fflush.argtypes = [ctypes.c_void_p]
stream = libc.fdopen(1, b"w")
libc.malloc_info(0, stream)
libc.fflush(stream)
"""


def test_too_few_addresses_for_a_map_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    limits = {"now": resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limits["now"], limits["now"]))
    require_address_space()
    limits["now"] = 2_500_000_000
    require_address_space()
    limits["now"] = 1_500_000_000
    with pytest.raises(InputError, match=r"1\.5 GB of addresses.*'ulimit -v unlimited'"):
        require_address_space()


def test_every_item_is_done_once() -> None:
    assert sorted(map_threads(lambda x: x * x, range(50), workers=3)) == [
        (x, x * x) for x in range(50)
    ]


def test_no_more_than_the_workers_run_at_once() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1

    list(map_threads(work, range(20), workers=2))
    assert most == 2


def test_items_are_taken_only_as_they_are_needed() -> None:
    taken: list[int] = []

    def items() -> object:
        for item in range(100):
            taken.append(item)
            yield item

    results = map_threads(lambda x: x, items(), workers=2)  # type: ignore[arg-type, type-var]
    next(results)
    assert len(taken) <= 5
    results.close()  # type: ignore[attr-defined]


def test_first_failure_stops_the_rest() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise ValueError("tile 3 cannot be made")
        done.append(item)

    with pytest.raises(ValueError, match="tile 3"):
        list(map_threads(work, range(1000), workers=1))
    assert len(done) < 10


def test_a_heart_beats_while_the_block_runs_whatever_the_disk_says() -> None:
    beats = threading.Semaphore(0)

    def beat() -> None:
        beats.release()
        raise OSError("away")

    with heartbeat(beat, every_s=0.001):
        for _ in range(3):
            assert beats.acquire(timeout=60)
    while beats.acquire(blocking=False):
        pass
    assert not beats.acquire(timeout=0.05)


def test_a_heart_that_has_nothing_to_beat_for_stops() -> None:
    beats: list[bool] = []
    with heartbeat(lambda: beats.append(True) or False, every_s=0.001):
        time.sleep(0.05)
    assert len(beats) == 1


def test_a_process_is_known_by_its_number_and_its_beginning() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert runs_here(other.pid, psutil.Process(other.pid).create_time())
        assert not runs_here(other.pid, process_began_s() - 1000)
    assert not runs_here(other.pid, process_began_s())
    assert runs_here(os.getpid(), process_began_s())


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc_info is on Linux only")
@pytest.mark.parametrize("shared", [True, False])
def test_threads_share_one_heap_once_told_to(shared: bool) -> None:
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(root=root, shared=shared)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "malloc_info" in done.stderr:
        pytest.skip("this libc has no malloc_info")
    heaps = done.stdout.count("<heap nr=")
    assert (heaps == 1) if shared else (heaps > 1)


ENDED = """
import signal, sys
from importlib import import_module
from tmp.threads import ended_by_signals, map_threads
kinds = ["matching", "sfm", "adjust"]
try:
    with ended_by_signals():
        load = lambda kind: import_module(f"photogrammetry.orientation.{kind}")
        for _ in map_threads(load, kinds, workers=1):
            pass
        signal.raise_signal(signal.SIGTERM)
except KeyboardInterrupt:
    sys.exit("in good order")
"""


def test_colmap_leaves_it_to_the_command_how_it_ends() -> None:
    """Its library makes SIGTERM dump a stack, in whichever thread it is loaded."""
    ended = subprocess.run(
        [sys.executable, "-c", ENDED], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, "in good order\n")
