"""What a stage costs: wall time, processor time and memory of the whole process tree."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

PERIOD_S = 0.2
"""Time between two looks at memory; a peak shorter than this can be missed."""


@dataclass(slots=True, kw_only=True)
class Usage:
    """Cost of a piece of work, filled in when it ends."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    """User and system time of this process and its children."""
    peak_gb: float = 0.0
    """Largest sum of resident memory of this process and its children, in units of 1e9 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitUsage:
    """What one unit of a stage's work has cost, and where it was done."""

    part: str
    """ "whole", which share ("3-of-12"), or which item alone ("alone-r3c7")."""
    usage: Usage
    host: str
    job: str = ""
    """The cluster's, if any."""
    attempts: int = 1
    """Times it was started, those that failed included."""
    items: int = 0
    """Tiles or photographs made."""


def summed(units: Sequence[UnitUsage]) -> Usage:
    """Return what units have cost together: the times of all, the memory of the largest."""
    return Usage(
        wall_s=sum(unit.usage.wall_s for unit in units),
        cpu_s=sum(unit.usage.cpu_s for unit in units),
        peak_gb=max((unit.usage.peak_gb for unit in units), default=0.0),
    )


@contextmanager
def measured() -> Iterator[Usage]:
    """Measure what the block costs.

    Examples
    --------
    >>> with measured() as usage:
    ...     _ = sum(range(1000))
    >>> usage.peak_gb > 0
    True
    """
    usage = Usage()
    process = psutil.Process()
    stopped = threading.Event()

    def watch() -> None:
        while True:
            usage.peak_gb = max(usage.peak_gb, _resident_bytes(process) / 1e9)
            if stopped.wait(PERIOD_S):
                return

    watcher = threading.Thread(target=watch, daemon=True)
    began_s, cpu_began_s = time.perf_counter(), _cpu_s(process)
    watcher.start()
    try:
        yield usage
    finally:
        stopped.set()
        watcher.join()
        usage.peak_gb = max(usage.peak_gb, _resident_bytes(process) / 1e9)
        usage.wall_s = time.perf_counter() - began_s
        usage.cpu_s = _cpu_s(process) - cpu_began_s


def _resident_bytes(process: psutil.Process) -> int:
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_info().rss
        except psutil.Error:  # ended between being listed and being asked
            continue
    return total


def _cpu_s(process: psutil.Process) -> float:
    """Processor time of the process, of children that ended, and of those still running."""
    times = process.cpu_times()
    total = times.user + times.system
    total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    for child in process.children(recursive=True):
        try:
            running = child.cpu_times()
        except psutil.Error:
            continue
        total += running.user + running.system
    return float(total)
