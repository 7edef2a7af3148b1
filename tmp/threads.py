"""Threads, memory and signals of this process, its heartbeat, and whether another one still runs.

Kernels release the interpreter lock, so that threads share the work; they share one heap, so that
memory does not grow with them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import psutil

from tmp.errors import InputError

T = TypeVar("T")
R = TypeVar("R")

LEAST_ADDRESS_BYTES = 2_000_000_000
"""Address space below which COLMAP's library crashes when it is loaded, instead of saying so."""
SERVICE = "TMP_SERVICE"
"""Environment variable that tells the processes of runs what service they belong to."""
M_ARENA_MAX = -8
"""Parameter of glibc's `mallopt`: most heaps that threads spread over."""
OFFLINE = {
    "PROJ_NETWORK": "OFF",
    # Names no file there can be, so that GDAL's file systems on the web open none.
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
}
"""What keeps GDAL and PROJ from the network, whatever a file refers to: even the overviews of an
honest GeoTIFF may lie at an address.  GDAL reads it when it is first used.  Services are no files:
no reader opens anything by their drivers, as each names those that it means."""


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let OpenCV use one thread where several photographs share the cores."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def map_threads(
    function: Callable[[T], R], items: Iterable[T], *, workers: int
) -> Iterator[tuple[T, R]]:
    """Yield ``(item, function(item))`` as they finish, at most ``workers + 1`` in flight.

    The first exception, a keyboard interrupt included, cancels what has not started and
    is raised once the running calls have ended.

    Examples
    --------
    >>> sorted(map_threads(abs, [-2, 1], workers=2))
    [(-2, 2), (1, 1)]
    """
    queue = iter(items)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        running: dict[Future[R], T] = {
            pool.submit(function, item): item for item in islice(queue, workers + 1)
        }
        try:
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    item = running.pop(future)
                    result = future.result()
                    for following in islice(queue, 1):
                        running[pool.submit(function, following)] = following
                    yield item, result
        except BaseException:
            for future in running:
                future.cancel()
            raise


@contextmanager
def heartbeat(beat: Callable[[], object], *, every_s: float) -> Iterator[None]:
    """Call `beat` every so often on a thread of its own while the block runs.

    An `OSError` of it, as of a disk that is away for a moment, is let pass; where it returns False
    it is not called again.
    """
    ended = threading.Event()

    def keep_beating() -> None:
        while not ended.wait(every_s):
            with suppress(OSError):
                if beat() is False:
                    return

    thread = threading.Thread(target=keep_beating, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def process_began_s() -> float:
    """Return when this process began, in seconds since 1970.

    With its number it tells a process from all others: numbers are given out again.
    """
    return float(psutil.Process().create_time())


def runs_here(pid: int, began_s: float) -> bool:
    """Tell whether the process of a number that began when `process_began_s` told runs here."""
    try:
        process = psutil.Process(pid)
        gone = process.status() == psutil.STATUS_ZOMBIE
        return not gone and abs(process.create_time() - began_s) < 1.0
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's, which some systems say nothing about
        return True


def is_command(process: psutil.Process) -> bool:
    """Tell whether a process of one's own is the ``tmp`` command, or a run that a service started.

    Raises
    ------
    psutil.Error
        If it is gone, or another user's.
    """
    words = [Path(word) for word in process.cmdline()[:2]]
    return any(word.stem == "tmp" or word.parent.name == "tmp.exe" for word in words) or (
        SERVICE in process.environ()
    )


ENDING = tuple(
    number for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if (number := getattr(signal, name, None))
)
"""What a system sends to a program that is to end, beside Ctrl-C's SIGINT."""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Have the signals that end a program raise `KeyboardInterrupt` in the block, as Ctrl-C does.

    One that is ignored already stays ignored, as ``nohup`` wants it.  Does nothing outside of the
    main thread, which alone gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught = [number for number in ENDING if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, signal.default_int_handler) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


SIGACTION_BYTES = 512
"""More than any system's ``struct sigaction`` takes."""


@contextmanager
def keeping_signals() -> Iterator[None]:
    """Leave what SIGTERM does as it is while the block imports a library that changes it.

    COLMAP's makes every SIGTERM end the process with a dump of its stack.  Python may set signals
    in its main thread alone, and libraries are imported in others too; hence the C function.
    """
    sigaction = _of_this_process("sigaction")
    saved = ctypes.create_string_buffer(SIGACTION_BYTES)
    kept = sigaction is not None and sigaction(int(signal.SIGTERM), None, saved) == 0
    try:
        yield
    finally:
        if kept:
            sigaction(int(signal.SIGTERM), saved, None)


def stay_offline() -> None:
    """Keep this process and those it starts from the network; call before GDAL is loaded."""
    os.environ.update(OFFLINE)


def share_one_heap() -> None:
    """Let all threads of this process take memory from one heap; call before any starts.

    glibc gives threads heaps of their own, each of which keeps what was freed in it for its own
    thread.  Tiles need large arrays for a short while, so what one thread frees should serve the
    next.  Does nothing where there is no `mallopt`.

    Measured on `tmp map` after orientation: 0.52 instead of 0.64 GB at the peak, and 5 instead of
    20 % more in four times the area, at the same processor time.
    """
    if (mallopt := _of_this_process("mallopt")) is not None:
        mallopt(M_ARENA_MAX, 1)


def give_back_heap() -> None:
    """Return to the system what this process has freed, where it can be."""
    if (malloc_trim := _of_this_process("malloc_trim")) is not None:
        malloc_trim(0)


def _of_this_process(function: str) -> Any:
    """Return a C function that is loaded already; None where there is none, as on Windows."""
    return None if sys.platform == "win32" else getattr(ctypes.CDLL(None), function, None)


def require_address_space() -> None:
    """Raise `InputError` where a limit on this shell leaves no room to load what a map needs."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < LEAST_ADDRESS_BYTES:
        raise InputError(
            f"this shell limits programs to {limit / 1e9:.1f} GB of addresses, and a map takes at "
            f"least {LEAST_ADDRESS_BYTES / 1e9:.0f} GB; say 'ulimit -v unlimited' and run again"
        )


def available_cores() -> int:
    """Return the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
