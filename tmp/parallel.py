"""Run a function over items on threads; the kernels release the interpreter lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


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
