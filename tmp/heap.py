"""How a process keeps its memory."""

from __future__ import annotations

import ctypes

M_ARENA_MAX = -8
"""Parameter of glibc's `mallopt`: most heaps that threads spread over."""


def share_one_heap() -> None:
    """Let all threads of this process take memory from one heap; call before any starts.

    glibc gives threads heaps of their own, each of which keeps what was freed in it for its own
    thread.  Tiles need large arrays for a short while, so what one thread frees should serve the
    next.  Does nothing where there is no `mallopt`.

    Notes
    -----
    Measured on `tmp map` after orientation: 0.52 instead of 0.64 GB at the peak, and 5 instead of
    20 % more in four times the area, at the same processor time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)


def give_back_heap() -> None:
    """Return to the system what this process has freed, where it can be."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
