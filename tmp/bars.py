"""Progress for people: a bar with the remaining time, or sparse lines without a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO, TypeVar

from tmp.progress import Track

T = TypeVar("T")

LINES_EVERY_S = 30.0
"""Least time between two lines of one stage in a log file."""


@contextmanager
def bar(stream: TextIO | None = None) -> Iterator[Track]:
    """Yield a `Track` that shows progress on a stream, standard error by default.

    Examples
    --------
    ``with bar() as track: ingest_photographs(places, survey, track=track)``
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        yield _Lines(stream)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(file=stream),
    ) as progress:

        def track(items: Iterable[T], label: str, total: int) -> Iterator[T]:
            task = progress.add_task(label, total=total)
            for item in items:
                yield item
                progress.advance(task)

        yield track


class _Lines:
    """Write a line when a stage begins to take long, every so often, and when it ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, items: Iterable[T], label: str, total: int) -> Iterator[T]:
        start = last = time.monotonic()
        done = 0
        for item in items:
            yield item
            done += 1
            now = time.monotonic()
            if now - last >= LINES_EVERY_S and done < total:
                left_s = (now - start) / done * (total - done)
                self._write(f"{label}: {done} of {total}, about {_duration(left_s)} left")
                last = now
        self._write(f"{label}: {done} of {total} in {_duration(time.monotonic() - start)}")

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def _duration(seconds: float) -> str:
    """Write a duration as people say it.

    Examples
    --------
    >>> _duration(3.21), _duration(200), _duration(7500)
    ('3.2 s', '3 min', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
