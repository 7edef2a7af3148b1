"""Units as processes of this machine, as many at once as its cores and memory take."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from flows.execution.executor import State, Status, Unit
from flows.execution.progress import PROGRESS
from flows.execution.units import EXIT, LOG, last_lines, read_outcome

MEMORY_SHARE = 0.9
"""Of the machine's memory that units may ask for together."""
STOP_S = 5.0
"""Time a process gets to end by itself."""


def memory_gb() -> float:
    """Return the memory that units may use, in units of 1e9 bytes."""
    return float(psutil.virtual_memory().total) / 1e9 * MEMORY_SHARE


@dataclass(slots=True, kw_only=True)
class LocalExecutor:
    """Runs units as processes of this machine."""

    cpus: int
    memory_gb: float = field(default_factory=memory_gb)
    _waiting: list[Unit] = field(default_factory=list)
    _running: dict[Path, tuple[Unit, subprocess.Popen[bytes]]] = field(default_factory=dict)

    def submit(self, units: Sequence[Unit]) -> None:
        """Queue units."""
        for unit in units:
            for earlier in (EXIT, PROGRESS):
                (unit.folder / earlier).unlink(missing_ok=True)
            self._waiting.append(unit)
        self._admit()

    def poll(self) -> Mapping[Path, Status]:
        """Return how each unit is; an ended one is told once."""
        found = {}
        for folder, (_, process) in list(self._running.items()):
            if process.poll() is None:
                found[folder] = Status(state=State.RUNNING)
            else:
                del self._running[folder]
                found[folder] = _ended(folder, process.returncode)
        self._admit()
        return found | {unit.folder: Status(state=State.WAITING) for unit in self._waiting}

    def cancel(self) -> None:
        """End all processes; those that do not are killed."""
        self._waiting.clear()
        processes = [process for _, process in self._running.values()]
        self._running.clear()
        for process in processes:
            _signal(process, signal.SIGTERM)
        for process in processes:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)
                process.wait()

    def _admit(self) -> None:
        """Start what there is room for; a unit larger than the machine runs alone."""
        for unit in list(self._waiting):
            asked = [other.resources for other, _ in self._running.values()]
            cpus = sum(resources.cpus for resources in asked) + unit.resources.cpus
            memory = sum(resources.memory_gb for resources in asked) + unit.resources.memory_gb
            if asked and (cpus > self.cpus or memory > self.memory_gb):
                return
            self._waiting.remove(unit)
            self._running[unit.folder] = (unit, _start(unit.folder))


def _start(folder: Path) -> subprocess.Popen[bytes]:
    from flows.worker import PARENT

    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "flows.worker", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {PARENT: str(os.getpid())},
        )


def _ended(folder: Path, status: int) -> Status:
    outcome = read_outcome(folder)
    if outcome is not None and outcome.done:
        return Status(state=State.DONE)
    if outcome is not None:
        state = State.NO_MEMORY if outcome.kind == "MemoryError" else State.FAILED
        return Status(state=state, said=outcome.error)
    said = last_lines(folder / LOG)
    if status == -signal.SIGKILL:  # what the kernel does when memory runs out
        return Status(state=State.NO_MEMORY, said=said or "killed")
    return Status(state=State.LOST if status < 0 else State.FAILED, said=said)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
