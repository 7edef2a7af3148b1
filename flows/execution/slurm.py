"""Units as jobs of a Slurm cluster: arrays, one look at the queue for all, no orphan.

A job has done its work when its own outcome says so, never because it left the queue.  Accounting
(``sacct``) is not asked: many small clusters have none.
"""

from __future__ import annotations

import getpass
import logging
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.execution.executor import State, Status, Unit
from flows.execution.profile import Profile
from flows.execution.progress import PROGRESS
from flows.execution.sbatch import ACTIVE, NEVER, batch_script, judge, read_queue
from flows.execution.units import EXIT, JOB, LOG, last_lines, read_json, read_outcome, write_job
from flows.resources import Resources
from tmp.errors import ExecutionError, InputError

log = logging.getLogger(__name__)

CALL_EVERY_S = 1 / 3
"""Least time between two calls of Slurm's commands."""
AT_A_TIME = 200
"""Jobs named in one ``scancel``."""
COMMAND_S = 60.0
Queue = Mapping[str, tuple[str, str, str]]


@dataclass(slots=True, kw_only=True)
class Commands:
    """Slurm's commands, called no more often than a login node bears."""

    count: int = 0
    """Calls made."""
    _last_s: float = 0.0

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command; its failure is in the status that comes back."""
        time.sleep(max(0.0, self._last_s + CALL_EVERY_S - time.monotonic()))
        try:
            return subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=COMMAND_S
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, "", "no answer")
        finally:
            self._last_s = time.monotonic()
            self.count += 1

    def queue(self) -> Queue | None:
        """Return all jobs of this user, those just ended too; None while Slurm is away."""
        said = self.call(
            *("squeue", "-h", "-r", "-t", "all", "-u", getpass.getuser(), "-o", "%i|%T|%r|%j")
        )
        if said.returncode:
            log.warning("squeue: %s; asked again later", said.stderr.strip())
            return None
        return read_queue(said.stdout)

    def cancel(self, jobs: Sequence[str]) -> None:
        """End jobs, whether they wait or run."""
        for start in range(0, len(jobs), AT_A_TIME):
            self.call("scancel", *jobs[start : start + AT_A_TIME])


@dataclass(slots=True, kw_only=True)
class SlurmExecutor:
    """Runs units as jobs of a cluster."""

    profile: Profile
    commands: Commands = field(default_factory=Commands)
    now_s: Callable[[], float] = time.monotonic
    _live: dict[Path, tuple[Unit, str]] = field(default_factory=dict)
    """Units and their jobs, by folder."""
    _gone_s: dict[Path, float] = field(default_factory=dict)
    """When a job was first seen to have left the queue without an outcome."""
    _waits: dict[Path, str] = field(default_factory=dict)
    _looked_s: float | None = None

    def submit(self, units: Sequence[Unit]) -> None:
        """Submit units as arrays; those whose job an earlier controller left are taken up."""
        fresh: dict[tuple[str, Resources], list[Unit]] = {}
        queue = self._queue_at_start() if any((u.folder / JOB).exists() for u in units) else {}
        for unit in units:
            if (job := _job_at_work(unit, queue)) is not None:
                log.info("%s: job %s is still at work on it", unit.name, job)
                self._live[unit.folder] = (unit, job)
            else:
                fresh.setdefault((unit.stage, unit.resources), []).append(unit)
        for alike in fresh.values():
            for start in range(0, len(alike), self.profile.most_units):
                self._submit(alike[start : start + self.profile.most_units])

    def poll(self) -> Mapping[Path, Status]:
        """Return how each unit is; an ended one is told once."""
        now = self.now_s()
        if self._looked_s is not None and now - self._looked_s < self.profile.poll_s:
            return {}
        self._looked_s = now
        queue = self.commands.queue() if self._live else {}
        found = {}
        for folder, (unit, job) in list(self._live.items()):
            status = self._status(unit, job, queue)
            if status.state.ended:
                del self._live[folder]
                self._gone_s.pop(folder, None)
                (folder / JOB).unlink(missing_ok=True)
            elif status.said and self._waits.get(folder) != status.said:
                self._waits[folder] = status.said
                log.info("%s: job %s waits: %s", unit.name, job, status.said)
            found[folder] = status
        return found

    def cancel(self) -> None:
        """End all jobs that have not ended."""
        self.commands.cancel([job for _, job in self._live.values()])
        for folder in self._live:
            (folder / JOB).unlink(missing_ok=True)
        self._live.clear()

    def _queue_at_start(self) -> Queue:
        for _ in range(20):
            if (queue := self.commands.queue()) is not None:
                return queue
            time.sleep(self.profile.poll_s)
        raise ExecutionError("squeue: Slurm does not answer; see 'sinfo', and run again")

    def _submit(self, units: Sequence[Unit]) -> None:
        """Submit units that ask for the same as one array."""
        first = units[0]
        folder = first.folder.parent / f"batch-{secrets.token_hex(4)}"
        folder.mkdir(parents=True)
        listed = folder / "units.txt"
        listed.write_text("".join(f"{unit.folder.resolve()}\n" for unit in units), "utf-8")
        name = job_name(first)
        script = folder / "job.sh"
        script.write_text(
            batch_script(name, len(units), first.resources, self.profile, first.stage), "utf-8"
        )
        for unit in units:
            for earlier in (EXIT, PROGRESS):
                (unit.folder / earlier).unlink(missing_ok=True)
        output = str(folder.resolve()).replace("%", "%%")
        said = self.commands.call(
            *("sbatch", "--parsable", f"--chdir={folder.resolve()}", f"--output={output}/%a.log"),
            *(str(script), self.profile.python, str(listed.resolve())),
        )
        if said.returncode:
            raise InputError(self._refusal(first.stage, said.stderr))
        job = said.stdout.strip().split(";")[0]
        for index, unit in enumerate(units):
            record = {"id": f"{job}_{index}", "name": name, "log": str(folder / f"{index}.log")}
            write_job(unit.folder, record)
            self._live[unit.folder] = (unit, f"{job}_{index}")

    def _refusal(self, stage: str, said: str) -> str:
        """Say why sbatch refused, and what there is."""
        reason = " ".join(said.split()).removeprefix("sbatch: error: ")
        there = self.commands.call("sinfo", "-h", "-o", "%P %G")
        offers = ", ".join(sorted(set(there.stdout.splitlines())))
        return (
            f"{stage}: Slurm refuses the job: {reason}; the cluster's partitions and GPUs are "
            f"{offers}: mend the profile"
        )

    def _status(self, unit: Unit, job: str, queue: Queue | None) -> Status:
        outcome = read_outcome(unit.folder)
        if outcome is not None and outcome.done:
            return Status(state=State.DONE)
        if queue is None:
            return Status(state=State.RUNNING)
        state, reason, _ = queue.get(job, ("", "", ""))
        if state in ACTIVE:
            self._gone_s.pop(unit.folder, None)
            if state == "PENDING" and reason in NEVER:
                self.commands.cancel([job])
                return Status(state=State.REFUSED, said=f"job {job} can never start: {reason}")
            return Status(state=ACTIVE[state], said=reason if state == "PENDING" else "")
        if outcome is not None:
            state_here = State.NO_MEMORY if outcome.kind == "MemoryError" else State.FAILED
            return Status(state=state_here, said=outcome.error)
        gone_s = self.now_s() - self._gone_s.setdefault(unit.folder, self.now_s())
        if state in ("", "COMPLETED") and gone_s < self.profile.grace_s:
            return Status(state=State.RUNNING)
        record = read_json(unit.folder / JOB) or {}
        lines = [last_lines(unit.folder / LOG), last_lines(Path(record.get("log", LOG)))]
        said = " | ".join(line for line in lines if line)
        return Status(state=judge(state, said), said=f"job {job} {state or 'forgotten'}: {said}")


def job_name(unit: Unit) -> str:
    """Return the name of a unit's job, by which it is known again."""
    return f"tmp-{unit.stage}-{unit.key[:12]}"


def _job_at_work(unit: Unit, queue: Queue) -> str | None:
    """Return the job that is at work on a unit, if any; numbers are given out again."""
    job = (read_json(unit.folder / JOB) or {}).get("id", "")
    state, _, name = queue.get(job, ("", "", ""))
    return str(job) if state in ACTIVE and name == job_name(unit) else None


def recorded_jobs(units: Path) -> dict[str, str]:
    """Return the jobs recorded below ``work/units`` and their names."""
    found = {}
    for path in sorted(units.glob(f"*/*/*/{JOB}")):
        record = read_json(path)
        if record is not None:
            found[record["id"]] = record["name"]
    return found


def cancel_recorded(units: Path) -> int:
    """End all jobs that a dead controller has left; returns how many."""
    recorded = recorded_jobs(units)
    if not recorded:
        return 0
    commands = Commands()
    queue = commands.queue() or {}
    left = [
        job
        for job, name in recorded.items()
        if queue.get(job, ("", "", ""))[0] in ACTIVE and queue[job][2] == name
    ]
    commands.cancel(left)
    return len(left)


def require_slurm() -> None:
    """Raise `InputError` if there is no Slurm here."""
    if shutil.which("sbatch") is None:
        raise InputError(
            "--on slurm: this machine has no sbatch; run it on the cluster's login node, or "
            "with --on local"
        )
