"""Units as jobs of a Slurm cluster: arrays, one look at the queue for all, no orphan.

A job has done its work when its own record says so, never because it left the queue.  Accounting
(``sacct``) is not asked: many small clusters have none.

Which job does which unit is kept on disk, so that a dead controller's jobs are found again.  An
array of jobs has a folder ``batch-<token>`` beside its units, with the list of them, the script, a
log of each job, and, once Slurm has taken it, the array's number.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.engine.cost import Resources
from flows.engine.result import read_json
from flows.execution.cluster_profile import Profile
from flows.execution.progress import PROGRESS
from flows.execution.slurm_commands import (
    ACTIVE,
    FINAL,
    MAY_RETURN,
    MEMORY_SAID,
    NEVER,
    NOT_LAUNCHED,
    Commands,
    Queue,
    Queued,
    array_of,
    batch_script,
    explain,
    judge,
    options_of,
)
from flows.execution.unit import (
    EXIT,
    JOB,
    LOG,
    State,
    Status,
    Unit,
    last_lines,
    read_record,
    write_job,
)
from tmp.errors import InputError, TransientError
from tmp.files import replacing

LISTED = "units.txt"
SCRIPT = "job.sh"
NUMBER = "number.txt"
PREFIX = "batch-"

log = logging.getLogger(__name__)
FIRST_POLL_S = 0.5
"""Time between the first looks at the queue."""
PATIENCE = 0.1
"""Share of the time since jobs were submitted that passes until the next look."""
AWAY_POLL_S = 60.0
"""Longest time between two looks while Slurm is away."""
FAILED_GRACE_S = 10.0
"""Time that a shared disk gets to show the record of a job that has failed."""
MOST_LOSSES = 2
"""Units that a node may lose before no more are sent to it."""
ASKED_AT_START = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Units that one array of jobs does."""

    folder: Path
    stage: str
    key: str

    @property
    def name(self) -> str:
        """Of the jobs, and of no other jobs."""
        token = self.folder.name.removeprefix(PREFIX)
        return f"tmp-{self.stage}-{self.key[:8]}-{token}"

    @property
    def listed(self) -> Path:
        """File of the units' folders, in the order of the array."""
        return self.folder / LISTED

    @property
    def script(self) -> Path:
        """File of the script that the jobs run."""
        return self.folder / SCRIPT

    def units(self) -> list[Path]:
        """Return the folders of the units."""
        return [Path(line) for line in self.listed.read_text(encoding="utf-8").splitlines()]

    def record(self, number: str) -> None:
        """Write down which jobs do the units; empty if Slurm never took them."""
        for index, folder in enumerate(self.units() if number else ()):
            log = str(self.folder / f"{index}.log")
            write_job(folder, {"id": f"{number}_{index}", "name": self.name, "log": log})
        with replacing(self.folder / NUMBER) as temporary:
            temporary.write_text(number, encoding="utf-8")


def write_batch(units: Sequence[Unit], script: str) -> Batch:
    """Write down an array of jobs that is to be submitted."""
    first = units[0]
    folder = first.folder.resolve().parent / f"{PREFIX}{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    folder.chmod(folder.stat().st_mode & ~0o022)  # Slurm writes its logs through links
    batch = Batch(folder=folder, stage=first.stage, key=first.key)
    batch.script.write_text(script, encoding="utf-8")
    with replacing(batch.listed) as temporary:
        temporary.write_text("".join(f"{unit.folder.absolute()}\n" for unit in units), "utf-8")
    return batch


def unanswered(results: Path) -> list[Batch]:
    """Return one's own arrays of a stage's result of which no controller heard from Slurm."""
    return [
        Batch(folder=listed.parent, stage=results.parent.name, key=results.name)
        for listed in sorted(results.glob(f"{PREFIX}*/{LISTED}"))
        if not (listed.parent / NUMBER).exists() and os.access(listed.parent, os.W_OK)
    ]


def recorded_jobs(units: Path) -> dict[str, str]:
    """Return the jobs recorded below ``work/units`` and their names, which are those of its units.

    Whoever may write there could record any job.
    """
    found = {}
    for path in sorted(units.glob(f"*/*/*/{JOB}")):
        record, folder = read_json(path) or {}, path.parent.parent
        named = f"tmp-{folder.parent.name}-{folder.name[:8]}-"
        if str(record.get("name")).startswith(named):
            found[record["id"]] = record["name"]
    return found


@dataclass(slots=True, kw_only=True)
class SlurmExecutor:
    """Runs units as jobs of a cluster."""

    profile: Profile
    commands: Commands = field(default_factory=Commands)
    now_s: Callable[[], float] = time.monotonic
    _live: dict[Path, tuple[Unit, str]] = field(default_factory=dict)
    """Units and their jobs, by folder."""
    _started: set[Path] = field(default_factory=set)
    """Those seen at work: they may have a record."""
    _gone_s: dict[Path, float] = field(default_factory=dict)
    """When a job was first seen to have left the queue without a record."""
    _told: dict[str, Counter[str]] = field(default_factory=dict)
    """How many jobs of an array wait for what."""
    _lost_by: Counter[str] = field(default_factory=Counter)
    """Units lost by each node."""
    _submitted_s: float = 0.0
    _next_look_s: float = 0.0
    _unheard: int = 0
    """Looks at the queue since Slurm last answered."""

    def submit(self, units: Sequence[Unit]) -> None:
        """Submit units as arrays; those whose job an earlier controller left are taken up."""
        fresh: dict[tuple[str, Resources], list[Unit]] = {}
        queue = self._left_by_another(units)
        for unit in units:
            if (job := _job_at_work(unit, queue)) is not None:
                log.info("%s: job %s is still at work on it", unit.name, job)
                self._live[unit.folder] = (unit, job)
            else:
                fresh.setdefault((unit.stage, unit.resources), []).append(unit)
        for alike in fresh.values():
            most = self.profile.most_units
            if len(alike) > 1:
                most = min(most, self.commands.most_in_array())
            for start in range(0, len(alike), most):
                self._submit(alike[start : start + most])
        self._submitted_s = self.now_s()
        pause_s = min(FIRST_POLL_S, self.profile.poll_s) if fresh else 0.0
        self._next_look_s = self._submitted_s + pause_s

    def poll(self) -> Mapping[Path, Status]:
        """Return how each unit is, when it is time to look; an ended one is told once.

        Raises
        ------
        StoppedError
            If it has been asked to stop.
        """
        self.commands.refuse_if_stopping()
        if self.now_s() < self._next_look_s or not self._live:
            return {}
        queue = self.commands.queue([job for _, job in self._live.values()])
        self._choose_next_look(queue)
        found = {
            folder: self._status(unit, job, queue) for folder, (unit, job) in self._live.items()
        }
        self._tell_waits(found)
        ended = {folder: status for folder, status in found.items() if status.state.ended}
        stray = [self._end(folder, status, queue or {}) for folder, status in ended.items()]
        self.commands.cancel([job for job in stray if job])
        return found

    def cancel(self) -> None:
        """End all jobs that have not ended."""
        if self.commands.cancel([job for _, job in self._live.values()]):
            for folder in self._live:
                (folder / JOB).unlink(missing_ok=True)
        self._live.clear()

    def _left_by_another(self, units: Sequence[Unit]) -> Queue:
        """Return the jobs that an earlier controller may have left to these units."""
        results = {unit.folder.parent for unit in units}
        lost = [batch for folder in results for batch in unanswered(folder)]
        if not lost and not any((unit.folder / JOB).exists() for unit in units):
            return {}
        queue = self._queue_at_start()
        numbers = {entry.name: array_of(job) for job, entry in queue.items()}
        for batch in lost:
            batch.record(numbers.get(batch.name, ""))
        return queue

    def _queue_at_start(self) -> Queue:
        for _ in range(ASKED_AT_START):
            if (queue := self.commands.queue()) is not None:
                return queue
            self.commands.stopping.wait(self.profile.poll_s)
            self.commands.refuse_if_stopping()
        raise TransientError("squeue: Slurm does not answer; see 'sinfo', and run again")

    def _submit(self, units: Sequence[Unit]) -> None:
        """Submit units that ask for the same as one array."""
        first = units[0]
        batch = write_batch(
            units, batch_script(len(units), first.resources, self.profile, first.stage)
        )
        for unit in units:
            for earlier in (EXIT, PROGRESS):
                (unit.folder / earlier).unlink(missing_ok=True)
            self._started.discard(unit.folder)
        number = self._number(batch)
        for index, unit in enumerate(units):
            self._live[unit.folder] = (unit, f"{number}_{index}")
        batch.record(number)

    def _number(self, batch: Batch) -> str:
        """Submit an array and return its number; not to nodes that have lost units."""
        output = str(batch.folder).replace("%", "%%")
        what = (
            *options_of(batch.script.read_text(encoding="utf-8")),
            *(f"--chdir={batch.folder}", f"--output={output}/%a.log"),
            *(str(batch.script), self.profile.python, str(batch.listed), self.profile.scratch),
        )
        bad = sorted(node for node, losses in self._lost_by.items() if losses >= MOST_LOSSES)
        try:
            if bad:
                try:
                    return self.commands.submit(batch.name, f"--exclude={','.join(bad)}", *what)
                except InputError:  # no other node is left
                    self._lost_by.clear()
            return self.commands.submit(batch.name, *what)
        except InputError as error:
            there = self.commands.call("sinfo", "-h", "-o", "%P %G")
            offers = ", ".join(sorted(set(there.stdout.splitlines())))
            raise InputError(
                f"{batch.stage}: Slurm refuses the job: {error}; the cluster's partitions and "
                f"GPUs are {offers}: mend the profile"
            ) from error

    def _choose_next_look(self, queue: Queue | None) -> None:
        """Look often at first, so that short jobs end soon; seldom later, or if Slurm is away."""
        now = self.now_s()
        pause_s = max(min(FIRST_POLL_S, self.profile.poll_s), PATIENCE * (now - self._submitted_s))
        pause_s = min(pause_s, self.profile.poll_s)
        if queue is None:
            if not self._unheard:
                log.warning("squeue: Slurm does not answer; jobs go on, and it is asked again")
            self._unheard += 1
            pause_s = min(AWAY_POLL_S, pause_s * 2**self._unheard)
        else:
            self._unheard = 0
        self._next_look_s = now + pause_s

    def _status(self, unit: Unit, job: str, queue: Queue | None) -> Status:
        entry = Queued() if queue is None else queue.get(job, Queued())
        waits = ACTIVE.get(entry.state) is State.WAITING
        if queue is not None and not waits:
            self._started.add(unit.folder)
        if unit.folder in self._started:
            record = read_record(unit.folder)
            if record is not None and record.done:
                return Status(state=State.DONE)
        if queue is None:
            state = State.RUNNING if unit.folder in self._started else State.WAITING
            return Status(state=state, said="Slurm does not answer")
        if waits:
            self._gone_s.pop(unit.folder, None)
            return _waiting(job, entry)
        if entry.state in ACTIVE:
            self._gone_s.pop(unit.folder, None)
            asleep = entry.state in ("SUSPENDED", "STOPPED")
            return Status(state=State.RUNNING, said="suspended by the cluster" if asleep else "")
        return self._ended(unit, job, entry)

    def _ended(self, unit: Unit, job: str, entry: Queued) -> Status:
        """Return how a job ended that has not done its work."""
        record = read_record(unit.folder)
        if record is not None and not entry.state.startswith(FINAL):
            state = State.NO_MEMORY if record.kind == "MemoryError" else State.FAILED
            return Status(state=state, said=record.error)
        submitted = read_json(unit.folder / JOB) or {}
        lines = [last_lines(unit.folder / LOG), last_lines(Path(submitted.get("log", LOG)))]
        said = " | ".join(line for line in lines if line)
        if not entry.state.startswith(FINAL) and not MEMORY_SAID.search(said):
            grace_s = self.profile.grace_s
            if entry.state not in ("", "COMPLETED"):
                grace_s = min(grace_s, FAILED_GRACE_S)
            since_s = self._gone_s.setdefault(unit.folder, self.now_s())
            if self.now_s() - since_s < grace_s:
                return Status(state=State.RUNNING)
        on = f" on {entry.node}" if entry.node else ""
        return Status(
            state=judge(entry.state, said),
            said=f"job {job}{on} {entry.state or 'forgotten by Slurm'}: {said}",
        )

    def _end(self, folder: Path, status: Status, queue: Queue) -> str:
        """Forget a job that has ended; returns it if Slurm could still start it."""
        _, job = self._live.pop(folder)
        entry = queue.get(job, Queued())
        if status.state is State.LOST and entry.node:
            self._lost_by[entry.node] += 1
        self._gone_s.pop(folder, None)
        (folder / JOB).unlink(missing_ok=True)
        waits = ACTIVE.get(entry.state) is State.WAITING
        return job if waits or entry.state in MAY_RETURN else ""

    def _tell_waits(self, found: Mapping[Path, Status]) -> None:
        """Log what the jobs of each array wait for, where it has changed."""
        arrays: dict[str, Counter[str]] = {}
        for folder, status in found.items():
            unit, job = self._live[folder]
            reasons = arrays.setdefault(f"{unit.stage}: job {array_of(job)}", Counter())
            if status.state is State.WAITING:
                reasons[status.said] += 1
        for array, reasons in arrays.items():
            if reasons.keys() - self._told.get(array, Counter()).keys():
                waits = "; ".join(f"{count} wait {said}" for said, count in reasons.items())
                log.info("%s: %s", array, waits)
            self._told[array] = reasons


def _waiting(job: str, entry: Queued) -> Status:
    if entry.reason in NEVER:
        return Status(state=State.REFUSED, said=f"job {job} can never start: {entry.reason}")
    if entry.reason.startswith(NOT_LAUNCHED):
        return Status(state=State.LOST, said=f"job {job}: {entry.reason}")
    return Status(state=State.WAITING, said=explain(entry.reason))


def _job_at_work(unit: Unit, queue: Queue) -> str | None:
    """Return the job that is at work on a unit, if any; numbers are given out again."""
    record = read_json(unit.folder / JOB) or {}
    entry = queue.get(record.get("id", ""), Queued())
    at_work = entry.state in ACTIVE and entry.name == record.get("name")
    return str(record["id"]) if at_work else None


def cancel_recorded(units: Path) -> int:
    """End all jobs that a dead controller has left below ``work/units``; returns how many."""
    lost = [batch for folder in units.glob("*/*") for batch in unanswered(folder)]
    recorded = recorded_jobs(units)
    if not recorded and not lost:
        return 0
    commands = Commands()
    queue = commands.queue() or {}
    names = {batch.name for batch in lost} | set(recorded.values())
    left = [job for job, entry in queue.items() if entry.state in ACTIVE and entry.name in names]
    commands.cancel(left)
    return len(left)


def require_slurm() -> None:
    """Raise `InputError` if there is no Slurm here."""
    if shutil.which("sbatch") is None:
        raise InputError(
            "--on slurm: this machine has no sbatch; run it on the cluster's login node, or "
            "with --on local"
        )
