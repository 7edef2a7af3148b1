"""A model of a cluster: first come first served, by cores and memory, with the latency of Slurm."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A machine of a cluster."""

    cpus: int
    memory_gb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A unit of work: what it holds, and for how long."""

    seconds: float
    cpus: int = 1
    memory_gb: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """What it takes until a task starts, and until its end is seen."""

    job_s: float = 1.0
    """From sbatch to the start of its first task."""
    task_s: float = 0.15
    """Between the starts of two tasks of an array."""
    poll_s: float = 2.0
    """Between two looks of the controller at the queue."""


NONE = Latency(job_s=0.0, task_s=0.0, poll_s=0.0)


def run_array(
    tasks: Sequence[Task], nodes: Sequence[Node], latency: Latency, began_s: float = 0.0
) -> float:
    """Return when the controller sees that tasks submitted together have all ended, in seconds.

    A task starts on the first node that has room, and no task starts before one submitted earlier.

    Raises
    ------
    ValueError
        If a task fits on no node.

    Examples
    --------
    Four tasks of ten seconds on two cores take twenty; where memory is for one at a time, forty.

    >>> two_cores = [Node(cpus=2, memory_gb=8)]
    >>> run_array([Task(seconds=10)] * 4, two_cores, NONE)
    20.0
    >>> run_array([Task(seconds=10, memory_gb=5)] * 4, two_cores, NONE)
    40.0

    A large task waits until both cores are free, and holds up the small one behind it.

    >>> order = [Task(seconds=4), Task(seconds=10, cpus=2), Task(seconds=1)]
    >>> run_array(order, two_cores, NONE)
    15.0

    Starts at 1, 3 and 5 seconds; the last ends at 6 and is seen at the second look, at 8.

    >>> run_array([Task(seconds=1)] * 3, [Node(cpus=9, memory_gb=9)],
    ...     Latency(job_s=1.0, task_s=2.0, poll_s=4.0))
    8.0

    Only the large node takes it.

    >>> nodes = [Node(cpus=2, memory_gb=8), Node(cpus=2, memory_gb=64)]
    >>> run_array([Task(seconds=10, memory_gb=60)] * 2, nodes, NONE)
    20.0
    >>> run_array([Task(seconds=10, memory_gb=65)], nodes, NONE)
    Traceback (most recent call last):
    ...
    ValueError: no node has 1 cores and 65 GB
    """
    free = [[node.cpus, node.memory_gb] for node in nodes]
    running: list[tuple[float, int, int]] = []
    now_s = last_s = began_s
    for number, task in enumerate(tasks):
        if not any(n.cpus >= task.cpus and n.memory_gb >= task.memory_gb for n in nodes):
            raise ValueError(f"no node has {task.cpus} cores and {task.memory_gb:g} GB")
        now_s = max(now_s, began_s + latency.job_s + number * latency.task_s)
        place = None
        while place is None:
            while running and running[0][0] <= now_s:
                _, ended, where = heapq.heappop(running)
                free[where][0] += tasks[ended].cpus
                free[where][1] += tasks[ended].memory_gb
            place = _first_with_room(free, task)
            if place is None:
                now_s = running[0][0]
        free[place][0] -= task.cpus
        free[place][1] -= task.memory_gb
        heapq.heappush(running, (now_s + task.seconds, number, place))
        last_s = max(last_s, now_s + task.seconds)
    if not latency.poll_s:
        return last_s
    return began_s + math.ceil((last_s - began_s) / latency.poll_s - 1e-9) * latency.poll_s


def _first_with_room(free: Sequence[Sequence[float]], task: Task) -> int | None:
    for place, (cpus, memory_gb) in enumerate(free):
        if cpus >= task.cpus and memory_gb >= task.memory_gb - 1e-9:
            return place
    return None
