"""Progress bars with the time remaining, for commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tmp.progress import Track

T = TypeVar("T")


@contextmanager
def bars(*, hidden: bool = False) -> Iterator[Track]:
    """Show a bar on stderr for every iterable wrapped by the `Track` it yields.

    Parameters
    ----------
    hidden : bool
        Show nothing.

    Notes
    -----
    Where stderr is not a terminal, each bar is printed once, when the block ends.
    """
    progress = Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=hidden,
        refresh_per_second=4,
    )

    def track(items: Iterable[T], label: str, total: int) -> Iterator[T]:
        task = progress.add_task(label, total=total)
        for item in items:
            yield item
            progress.advance(task)
        progress.stop_task(task)

    with progress:
        yield track
