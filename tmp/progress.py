"""How long work reports its progress: the caller wraps an iterable.

Library functions take ``track: Track = silent`` and loop over ``track(items, label, total)``. The
command passes a `Track` that draws a bar; tests and notebooks pass nothing.

People see bars with the remaining time, or sparse lines without a terminal.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from rich.console import Group
    from rich.progress import TaskID

T = TypeVar("T")

LINES_EVERY_S = 30.0
"""Least time between two lines of one stage in a log file."""
BESIDE_BAR = 59
"""Columns of a terminal that are beside the bar: label, numbers and times."""
REFRESHED_HZ = 8
SPEED_OVER_S = 600.0
"""The remaining time is judged by what was done in this time: items may take minutes."""


class Track(Protocol):
    """Wrap an iterable so that someone sees how far it is."""

    def __call__(self, items: Iterable[T], label: str, total: int) -> Iterable[T]:
        """Yield `items` unchanged, reporting `label` and progress towards `total`."""
        ...


@runtime_checkable
class TellingTrack(Track, Protocol):
    """A `Track` that also shows what happens between two items; see `tell`."""

    def tell(self, note: str, part: float) -> None:
        """Show a note beside the newest bar, and how much of the items in hand is done."""
        ...


@runtime_checkable
class ForeseeingTrack(Track, Protocol):
    """A `Track` that also shows the time left of the whole; see `foresee`."""

    def foresee(self, left_s: Callable[[], float]) -> None:
        """Show what this gives, in seconds, whenever something is shown."""
        ...


def tell(track: Track, note: str, part: float = 0.0) -> None:
    """Say what happens between two items, to those who want to know.

    The note is shown beside the bar that began last, in place of the one before; `part` is how much
    of the items in hand is done, in items.
    """
    if isinstance(track, TellingTrack):
        track.tell(note, part)


def foresee(track: Track, left_s: Callable[[], float]) -> None:
    """Have a track show, beside the stage's own, the time left of the whole, where it can."""
    if isinstance(track, ForeseeingTrack):
        track.foresee(left_s)


def silent(items: Iterable[T], label: str, total: int) -> Iterator[T]:
    """Yield `items` and report nothing."""
    del label, total
    yield from items


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
    from rich.live import Live

    console = Console(file=stream)
    bars = _Bars(console.width)
    with Live(get_renderable=bars.drawn, console=console, refresh_per_second=REFRESHED_HZ):
        yield bars


class _Bars:
    """Draw a bar for each stage of the work, and below them what was said last."""

    def __init__(self, columns: int) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(bar_width=max(10, min(40, columns - BESIDE_BAR))),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            speed_estimate_period=SPEED_OVER_S,
        )
        self._newest: TaskID | None = None
        self._done = 0
        self._note = ""
        self._left_s: Callable[[], float] | None = None

    def foresee(self, left_s: Callable[[], float]) -> None:
        """Show the time left of the whole below the bars."""
        self._left_s = left_s

    def __call__(self, items: Iterable[T], label: str, total: int) -> Iterator[T]:
        task = self._newest = self._progress.add_task(label, total=total)
        self._done = 0
        for done, item in enumerate(items, start=1):
            yield item
            self._progress.update(task, completed=done)
            if task == self._newest:
                self._done = done
        self._note = ""

    def tell(self, note: str, part: float) -> None:
        """Show a note below the bars, and a part of the items in hand in the newest one."""
        self._note = note
        if self._newest is not None:
            self._progress.update(self._newest, completed=self._done + part)

    def drawn(self) -> Group:
        """Return what the terminal shows now."""
        from rich.console import Group
        from rich.text import Text

        lines = [f"  {self._note}"] if self._note else []
        if self._left_s is not None:
            lines.append(f"  {say_left(self._left_s())}")
        notes = (Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in lines)
        return Group(self._progress, *notes)


class _Lines:
    """Write a line when a stage begins to take long, every so often, and when it ends."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._left_s: Callable[[], float] | None = None
        self._noted = ""
        self._last_s = -math.inf

    def foresee(self, left_s: Callable[[], float]) -> None:
        """Say the time left of the whole in each line about a stage that takes long."""
        self._left_s = left_s

    def __call__(self, items: Iterable[T], label: str, total: int) -> Iterator[T]:
        start = self._last_s = time.monotonic()
        self._noted = ""
        done = 0
        for item in items:
            yield item
            done += 1
            now = time.monotonic()
            if now - self._last_s >= LINES_EVERY_S and done < total:
                left_s = (now - start) / done * (total - done)
                whole = f"; {say_left(self._left_s())}" if self._left_s is not None else ""
                said = f"{label}: {done} of {total}, about {say_duration(left_s)} left"
                self._write(said + whole)
        self._write(f"{label}: {done} of {total} in {say_duration(time.monotonic() - start)}")

    def tell(self, note: str, part: float) -> None:
        """Write a note that is new, if there has been no line for some time."""
        del part
        if note not in ("", self._noted) and time.monotonic() - self._last_s >= LINES_EVERY_S:
            self._noted = note
            self._write(note)

    def _write(self, line: str) -> None:
        self._last_s = time.monotonic()
        self._stream.write(line + "\n")
        self._stream.flush()


def say_left(seconds: float) -> str:
    """Say how long the whole will go on, no more precisely than it can be known.

    Examples
    --------
    >>> say_left(9.9), say_left(10), say_left(47), say_left(7500)  # doctest: +NORMALIZE_WHITESPACE
    ('all done in some seconds', 'all done in about 10 s', 'all done in about 50 s',
     'all done in about 2 h 5 min')
    """
    if seconds < 10:
        return "all done in some seconds"
    if seconds < 60:
        return f"all done in about {10 * round(seconds / 10):.0f} s"
    return f"all done in about {say_duration(seconds)}"


def say_duration(seconds: float) -> str:
    """Write a duration as people say it.

    Examples
    --------
    >>> say_duration(3.21), say_duration(200), say_duration(7500)
    ('3.2 s', '3 min', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def say_time(utc: str) -> str:
    """Write a moment, given in ISO 8601 and UTC, as people read it.

    Examples
    --------
    >>> say_time("2026-07-03T09:12:00+00:00")
    '2026-07-03 09:12:00 UTC'
    """
    return utc.replace("T", " ").removesuffix("+00:00") + " UTC"
