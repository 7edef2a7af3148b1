"""How long work reports its progress: the caller wraps an iterable.

Library functions take ``track: Track = silent`` and loop over ``track(items, label, total)``.
The command passes a `Track` that draws a bar; tests and notebooks pass nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


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


def tell(track: Track, note: str, part: float = 0.0) -> None:
    """Say what happens between two items, to those who want to know.

    Parameters
    ----------
    track : Track
    note : str
        Shown beside the bar that began last; replaces the note before.
    part : float
        How much of the items that are in hand is done, in items.
    """
    if isinstance(track, TellingTrack):
        track.tell(note, part)


def silent(items: Iterable[T], label: str, total: int) -> Iterator[T]:
    """Yield `items` and report nothing."""
    del label, total
    yield from items
