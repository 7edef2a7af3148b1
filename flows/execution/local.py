"""Units as processes of this machine, as many at once as its cores, memory and GPUs take."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.execution.executor import State, Status, Unit
from flows.execution.machine import (
    free_memory_gb,
    gpus,
    memory_gb,
    out_of_memory_kills,
    resident_gb,
)
from flows.execution.progress import PROGRESS
from flows.execution.units import EXIT, LOG, last_lines, read_outcome

STOP_S = 0.5
"""Time processes get to end by themselves; what they leave unfinished never counts."""
LOOK_EVERY_S = 0.5
"""Time between two looks at the memory that is free."""
WAITING, RUNNING = Status(state=State.WAITING), Status(state=State.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A unit at work."""

    unit: Unit
    process: subprocess.Popen[bytes]
    gpus: tuple[str, ...]
    """Which it has to itself."""
    kills: int | None
    """Processes that the kernel had killed for memory when it started."""


@dataclass(slots=True, kw_only=True)
class LocalExecutor:
    """Runs units as processes of this machine."""

    cpus: int
    memory_gb: float = field(default_factory=memory_gb)
    gpus: tuple[str, ...] = field(default_factory=gpus)
    _waiting: dict[Path, Unit] = field(default_factory=dict)
    _running: dict[Path, Running] = field(default_factory=dict)
    _looked_s: float = 0.0

    def submit(self, units: Sequence[Unit]) -> None:
        """Queue units."""
        for unit in units:
            for earlier in (EXIT, PROGRESS):
                (unit.folder / earlier).unlink(missing_ok=True)
            self._waiting[unit.folder] = unit
        self._looked_s = 0.0
        self._admit()

    def poll(self) -> Mapping[Path, Status]:
        """Return how each unit is; an ended one is told once."""
        found: dict[Path, Status] = {}
        for folder, running in list(self._running.items()):
            if running.process.poll() is None:
                found[folder] = RUNNING
            else:
                del self._running[folder]
                _signal(running.process, signal.SIGKILL)  # what it may have left behind
                found[folder] = _ended(running)
                self._looked_s = 0.0
        self._admit()
        return found | dict.fromkeys(self._waiting, WAITING)

    def cancel(self) -> None:
        """End all processes; those that do not end at once are killed."""
        self._waiting.clear()
        processes = [running.process for running in self._running.values()]
        self._running.clear()
        for process in processes:
            _signal(process, signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_S
        for process in processes:
            try:
                process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            _signal(process, signal.SIGKILL)
            process.wait()

    def _admit(self) -> None:
        """Start what there is room for; a unit larger than the machine runs alone."""
        now_s = time.monotonic()
        if not self._waiting or now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        room = self._room()
        for folder, unit in list(self._waiting.items()):
            if room.cpus < 1 and self._running:
                return
            if self._running and not room.takes(unit):
                continue
            del self._waiting[folder]
            self._running[folder] = _start(unit, room.free_gpus)
            room = self._room()

    def _room(self) -> Room:
        asked = [running.unit.resources for running in self._running.values()]
        to_come_gb = sum(
            max(0.0, running.unit.resources.memory_gb - resident_gb(running.process.pid))
            for running in self._running.values()
        )
        used = {gpu for running in self._running.values() for gpu in running.gpus}
        return Room(
            cpus=self.cpus - sum(resources.cpus for resources in asked),
            memory_gb=min(
                self.memory_gb - sum(resources.memory_gb for resources in asked),
                free_memory_gb() - to_come_gb,
            ),
            free_gpus=tuple(gpu for gpu in self.gpus if gpu not in used),
            gpus=len(self.gpus),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What is left of a machine beside the units at work."""

    cpus: int
    memory_gb: float
    """Neither asked for by a unit nor used by anybody else."""
    free_gpus: tuple[str, ...]
    gpus: int
    """Of the whole machine."""

    def takes(self, unit: Unit) -> bool:
        """Tell whether there is room for a unit."""
        asked = unit.resources
        return (
            asked.cpus <= self.cpus
            and asked.memory_gb <= self.memory_gb
            and min(asked.gpus, self.gpus) <= len(self.free_gpus)
        )


def _start(unit: Unit, free_gpus: Iterable[str]) -> Running:
    from flows.worker import PARENT

    taken = tuple(free_gpus)[: unit.resources.gpus]
    surroundings = {PARENT: str(os.getpid()), "CUDA_VISIBLE_DEVICES": ",".join(taken)}
    kills = out_of_memory_kills()
    with (unit.folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "flows.worker", str(unit.folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | surroundings,
        )
    return Running(unit=unit, process=process, gpus=taken, kills=kills)


def _ended(running: Running) -> Status:
    folder, status = running.unit.folder, running.process.returncode
    outcome = read_outcome(folder)
    if outcome is not None and outcome.done:
        return Status(state=State.DONE)
    if outcome is not None:
        state = State.NO_MEMORY if outcome.kind == "MemoryError" else State.FAILED
        return Status(state=state, said=outcome.error)
    said = last_lines(folder / LOG)
    if status == -signal.SIGKILL and _for_memory(running.kills):
        return Status(state=State.NO_MEMORY, said=said or "killed by the kernel")
    if status < 0:
        killed = f"killed by {signal.Signals(-status).name}"
        return Status(state=State.LOST, said=" | ".join(filter(None, [said, killed])))
    return Status(state=State.FAILED, said=said)


def _for_memory(kills_before: int | None) -> bool:
    """Tell whether the kernel kills for memory since a process started; if it does not count, yes.

    What somebody else kills is run again as it is.
    """
    kills = out_of_memory_kills()
    return kills_before is None or kills is None or kills > kills_before


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a process and all that it has started."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of the dead
        return
