"""How long work reports its progress: the caller wraps an iterable.

Library functions take ``track: Track = silent`` and loop over ``track(items, label, total)``.
The command passes a `Track` that draws a bar; tests and notebooks pass nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Wrap an iterable so that someone sees how far it is."""

    def __call__(self, items: Iterable[T], label: str, total: int) -> Iterable[T]:
        """Yield `items` unchanged, reporting `label` and progress towards `total`."""
        ...


def silent(items: Iterable[T], label: str, total: int) -> Iterator[T]:
    """Yield `items` and report nothing."""
    del label, total
    yield from items
