"""Units as processes of this machine, as many at once as its cores, memory and GPUs take.

A process that has done its unit well is given the next one: what it has loaded need not be loaded
again for each stage.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from flows.engine.result import resident_bytes
from flows.execution.progress import PROGRESS
from flows.execution.unit import EXIT, LOG, State, Status, Unit, last_lines, read_record
from tmp.files import open_to_add

MEMORY_SHARE = 0.9
"""Of the machine's memory that units may ask for together."""
VMSTAT = Path("/proc/vmstat")
LIST_GPUS_S = 10.0
"""Time that ``nvidia-smi`` gets to answer."""

KILLED = 9
"""Signal by which the kernel kills for memory; Windows has none."""
STOP_S = 0.5
"""Time processes get to end by themselves; what they leave unfinished never counts."""
LOOK_EVERY_S = 0.5
"""Time between two looks at the memory that is free."""
WAITING, RUNNING = Status(state=State.WAITING), Status(state=State.RUNNING)


def memory_gb() -> float:
    """Return the memory that units may use, in units of 1e9 bytes."""
    return float(psutil.virtual_memory().total) / 1e9 * MEMORY_SHARE


def free_memory_gb() -> float:
    """Return the memory that nobody uses now, in units of 1e9 bytes."""
    return float(psutil.virtual_memory().available) / 1e9


def resident_gb(pid: int) -> float:
    """Return what a process and its children hold of the memory, in units of 1e9 bytes."""
    try:
        process = psutil.Process(pid)
        return resident_bytes(process, *process.children(recursive=True)) / 1e9
    except psutil.Error:  # ended meanwhile
        return 0.0


def gpus() -> tuple[str, ...]:
    """Return the GPUs that programs started here may use, as CUDA names them.

    Examples
    --------
    >>> import os
    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, CUDA_VISIBLE_DEVICES="0,2"):
    ...     gpus()
    ('0', '2')
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))
    if shutil.which("nvidia-smi") is None:
        return ()
    try:
        said = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=LIST_GPUS_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    count = sum(line.startswith("GPU ") for line in said.stdout.splitlines())
    return tuple(str(index) for index in range(count))


def out_of_memory_kills() -> int | None:
    """Return how many processes the kernel has killed for memory; None where it does not count."""
    try:
        for line in VMSTAT.read_text(encoding="utf-8").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process that does units, one after the other."""

    process: subprocess.Popen[bytes]
    gpus: tuple[str, ...]
    """Which it has to itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A unit at work."""

    unit: Unit
    worker: Worker
    kills: int | None
    """Processes that the kernel had killed for memory when it started."""


@dataclass(slots=True, weakref_slot=True, kw_only=True)
class LocalExecutor:
    """Runs units as processes of this machine."""

    cpus: int
    memory_gb: float = field(default_factory=memory_gb)
    gpus: tuple[str, ...] = field(default_factory=gpus)
    scratch: str = ""
    """Folder for temporary files; empty for the survey's own disk."""
    _waiting: dict[Path, Unit] = field(default_factory=dict)
    _running: dict[Path, Running] = field(default_factory=dict)
    _idle: list[Worker] = field(default_factory=list)
    _looked_s: float = 0.0

    def __post_init__(self) -> None:
        weakref.finalize(self, _end, self._idle)

    def submit(self, units: Sequence[Unit]) -> None:
        """Queue units."""
        for unit in units:
            for earlier in (EXIT, PROGRESS):
                (unit.folder / earlier).unlink(missing_ok=True)
            self._waiting[unit.folder] = unit
        self._looked_s = 0.0
        self._admit()

    def get_ready(self, module: str) -> None:
        """Start the process of the first unit ahead, with the module of its stage loaded."""
        from flows.execution.worker import READY

        process = self._new_process(READY, module, Path(os.devnull), ())
        self._idle.append(Worker(process=process, gpus=()))

    def poll(self) -> Mapping[Path, Status]:
        """Return how each unit is; an ended one is told once."""
        found: dict[Path, Status] = {}
        for folder, running in list(self._running.items()):
            process = running.worker.process
            if process.poll() is not None:
                _clear_away(process)
                found[folder] = _ended(running)
            elif _is_done(folder):
                self._idle.append(running.worker)
                found[folder] = Status(state=State.DONE)
            else:
                found[folder] = RUNNING
                continue
            del self._running[folder]
            self._looked_s = 0.0
        self._admit()
        return found | dict.fromkeys(self._waiting, WAITING)

    def cancel(self) -> None:
        """End all processes; those that do not end at once are killed."""
        self._waiting.clear()
        self._idle += [running.worker for running in self._running.values()]
        self._running.clear()
        _end(self._idle)

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
            self._running[folder] = self._start(unit, room.free_gpus[: unit.resources.gpus])
            room = self._room()

    def _start(self, unit: Unit, taken: tuple[str, ...]) -> Running:
        """Give a unit to a process that has nothing to do, or to a new one."""
        from flows.execution.worker import NEXT

        kills = out_of_memory_kills()
        for worker in self._idle:
            if worker.gpus == taken and _hand_over(worker, unit):
                self._idle.remove(worker)
                return Running(unit=unit, worker=worker, kills=kills)
        process = self._new_process(NEXT, str(unit.folder), unit.folder / LOG, taken)
        worker = Worker(process=process, gpus=taken)
        return Running(unit=unit, worker=worker, kills=kills)

    def _new_process(
        self, what: str, given: str, said: Path, taken: Sequence[str]
    ) -> subprocess.Popen[bytes]:
        """Start a worker that does what is said of one thing; it logs to a file."""
        from flows.execution.worker import PARENT, SCRATCH

        surroundings = {
            PARENT: str(os.getpid()),
            SCRATCH: self.scratch,
            "CUDA_VISIBLE_DEVICES": ",".join(taken),
        }
        with open_to_add(said) as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "flows.execution.worker", what, given],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | surroundings,
            )

    def _room(self) -> Room:
        asked = [running.unit.resources for running in self._running.values()]
        to_come_gb = sum(
            max(0.0, running.unit.resources.memory_gb - resident_gb(running.worker.process.pid))
            for running in self._running.values()
        )
        used = {gpu for running in self._running.values() for gpu in running.worker.gpus}
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


def _hand_over(worker: Worker, unit: Unit) -> bool:
    """Give an idle process its next unit; False if it has gone."""
    assert worker.process.stdin is not None
    if worker.process.poll() is not None:
        return False
    try:
        worker.process.stdin.write(json.dumps(str(unit.folder)).encode() + b"\n")
        worker.process.stdin.flush()
    except BrokenPipeError:
        return False
    return True


def _end(workers: list[Worker]) -> None:
    """End processes; those that do not end at once are killed."""
    for worker in workers:
        _signal(worker.process, psutil.Process.terminate)
    deadline_s = time.monotonic() + STOP_S
    for worker in workers:
        process = worker.process
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline_s - time.monotonic()))
        _clear_away(process)
    workers.clear()


def _clear_away(process: subprocess.Popen[bytes]) -> None:
    """End a process if need be, and all that it may have left behind."""
    _signal(process, psutil.Process.kill)
    process.wait()
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            process.stdin.close()


def _is_done(folder: Path) -> bool:
    record = read_record(folder) if (folder / EXIT).exists() else None
    return record is not None and record.done


def _ended(running: Running) -> Status:
    folder, status = running.unit.folder, running.worker.process.returncode
    record = read_record(folder)
    if record is not None and record.done:
        return Status(state=State.DONE)
    if record is not None:
        state = State.NO_MEMORY if record.kind == "MemoryError" else State.FAILED
        return Status(state=state, said=record.error)
    said = last_lines(folder / LOG)
    if status == -KILLED and _for_memory(running.kills):
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


def _signal(process: subprocess.Popen[bytes], how: Callable[[psutil.Process], None]) -> None:
    """End a process and all that it has started."""
    if hasattr(os, "killpg"):  # reaches what outlives it too
        number = signal.SIGKILL if how is psutil.Process.kill else signal.SIGTERM
        with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of the dead
            os.killpg(process.pid, number)
        return
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        for one in (*parent.children(recursive=True), parent):
            with suppress(psutil.NoSuchProcess):
                how(one)
