"""The book of a survey's run: who runs what, how each stage is, how the run ended."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from flows.engine.result import now_utc, read_json
from flows.engine.store import Result
from flows.execution.slurm import cancel_recorded, recorded_jobs
from tmp.errors import InputError
from tmp.files import write_json
from tmp.lock import LOCK, Holder, living_holder, user_name
from tmp.survey import Survey
from tmp.threads import is_command, process_began_s, runs_here

RUN = "run.json"
UNITS = "units"
STOP_S = 30.0
"""Time that a controller gets to cancel its jobs and end."""
STOPPED = "stopped; the same command goes on where it was"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageNote:
    """How a stage of a run is."""

    state: str
    """"to do", "running", "done", "not done", or "nothing has changed"."""
    began_utc: str = ""
    """Empty if it has not run."""
    ended_utc: str = ""
    folder: str = ""
    """Of its result, below the survey's ``work/``."""

    @property
    def took_s(self) -> float | None:
        """Time from its beginning to its end, or until now; None if it did not run."""
        return seconds_between(self.began_utc, self.ended_utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What a run wrote down of itself."""

    on: str
    host: str
    user: str = ""
    pid: int
    started: float
    """When its process began, in seconds since 1970."""
    began_utc: str
    ended_utc: str = ""
    state: str
    """"running", "done", "partial", "failed" or "stopped"."""
    error: str
    stages: Mapping[str, StageNote]

    @property
    def took_s(self) -> float | None:
        """Time from its beginning to its end, or until now."""
        return seconds_between(self.began_utc, self.ended_utc)

    @property
    def by_units(self) -> bool:
        """Whether its stages are done by processes or jobs, which leave logs."""
        return self.on != "threads"

    def alive(self, survey: Survey) -> bool:
        """Tell whether its controller is at work, on whichever machine."""
        if self.state != "running":
            return False
        if self.host == platform.node():
            return runs_here(self.pid, self.started)
        holder = living_holder(survey.work_dir / LOCK)
        return holder is not None and (holder.host, holder.pid) == (self.host, self.pid)


@dataclass(slots=True, kw_only=True)
class RunBook:
    """Writes down how a run goes, in ``work/run.json``."""

    path: Path
    said: dict[str, Any] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    """Stages may be made side by side."""

    def begin(self, on: str, stages: Iterable[str]) -> None:
        """Note who runs what, and the stages that are to come."""
        record = RunRecord(
            on=on,
            host=platform.node(),
            user=user_name(),
            pid=os.getpid(),
            started=process_began_s(),
            began_utc=now_utc(),
            state="running",
            error="",
            stages={name: StageNote(state="to do") for name in stages},
        )
        self.said = asdict(record)
        self._write()

    def expect(self, stages: Iterable[str]) -> None:
        """Note further stages that are to come."""
        for name in stages:
            self.note(name, "to do")

    def note(self, stage: str, state: str, result: Result | None = None) -> None:
        """Note how a stage is, and its result once there is one."""
        with self._turn:
            before = self.said["stages"].get(stage, {})
            entry = before | {"state": state}
            if state == "running":
                entry |= {"began_utc": now_utc(), "ended_utc": ""}
            elif before.get("state") == "running":
                entry |= {"ended_utc": now_utc()}
            if result is not None:
                entry |= {"folder": os.path.relpath(result.folder, self.path.parent)}
            self.said["stages"][stage] = entry
            self._write()

    def end(self, state: str, error: str = "") -> None:
        """Note how the run ended."""
        self.said |= {"state": state, "error": error, "ended_utc": now_utc()}
        self._write()

    def _write(self) -> None:
        write_json(self.path, self.said, indent=1)


def read_run(survey: Survey) -> RunRecord:
    """Return what the last run of a survey wrote down.

    Raises
    ------
    InputError
        If there was none, or a newer version of the platform wrote it.
    """
    path = survey.work_dir / RUN
    said = read_json(path)
    if said is None:
        raise InputError(f"{survey.folder}: has not been run; start it with 'tmp run'")
    try:
        stages = {  # earlier versions wrote the state alone
            name: StageNote(state=entry) if isinstance(entry, str) else StageNote(**entry)
            for name, entry in said["stages"].items()
        }
        return RunRecord(**said | {"stages": stages})
    except (TypeError, KeyError) as error:
        raise InputError(
            f"{path}: written by another version of the platform; use that one, or run again"
        ) from error


def cancel_run(survey: Survey) -> str:
    """Stop the command that is at work on a survey, and all its jobs; returns what was done.

    Raises
    ------
    InputError
        If it was never run, another machine or another person runs it, what holds the survey's
        lock is no command of the platform, or there is no Slurm where it left jobs.
    """
    lock = survey.work_dir / LOCK
    holder = living_holder(lock)
    on = read_run(survey).on if (survey.work_dir / RUN).exists() or holder is None else ""
    said = "" if holder is None else _end(holder, lock)
    jobs = _cancel_jobs(survey) if on == "slurm" else 0
    return said or (STOPPED if jobs else "nothing is running")


def _end(holder: Holder, lock: Path) -> str:
    """End the process that holds a lock, in good order; returns what became of it."""
    if holder.host != platform.node():
        raise InputError(
            f"{lock.parent.parent}: run by {holder.user} on {holder.host}; cancel it there"
        )
    with suppress(psutil.NoSuchProcess):
        process = _process_of(holder, lock)
        # Windows ends it at once, and leaves its children.
        children = process.children(recursive=True) if sys.platform == "win32" else []
        for each in (process, *children):
            each.terminate()
    deadline_s = time.monotonic() + STOP_S
    while runs_here(holder.pid, holder.started):
        if time.monotonic() > deadline_s:
            return f"{holder.purpose} has been told to stop and is still at work, {holder}"
        time.sleep(0.1)
    return STOPPED


def _process_of(holder: Holder, path: Path) -> psutil.Process:
    """Return the process of this machine that holds a lock file, before it is signalled.

    Whoever may write the file may write any number into it.

    Raises
    ------
    InputError
        If the process is another person's, or no command of the platform.
    """
    process = psutil.Process(holder.pid)
    owner, me = process.username(), psutil.Process().username()
    if owner != me:
        raise InputError(
            f"{path.parent.parent}: {holder.purpose} is at work on it, {holder}, as {owner}, and "
            f"you are {me}; ask {owner} to stop it"
        )
    if not is_command(process):
        raise InputError(
            f"{path}: process {holder.pid} ({process.name()}) is no 'tmp' command; end it yourself "
            "if it is at work on the survey, else delete the file"
        )
    return process


def _cancel_jobs(survey: Survey) -> int:
    """End the jobs that a controller left behind; returns how many."""
    units = survey.work_dir / UNITS
    if shutil.which("scancel") is None and recorded_jobs(units):
        raise InputError(
            f"{survey.folder}: its jobs are in a cluster's queue, and this machine has no scancel; "
            "cancel it on the cluster's login node"
        )
    return cancel_recorded(units)


def seconds_between(began_utc: str, ended_utc: str) -> float | None:
    """Return the time between two moments, or from one until now; None if it has not begun.

    Examples
    --------
    >>> seconds_between("2026-07-03T09:12:00+00:00", "2026-07-03T09:13:30+00:00")
    90.0
    """
    if not began_utc:
        return None
    ended = datetime.fromisoformat(ended_utc or now_utc())
    return (ended - datetime.fromisoformat(began_utc)).total_seconds()
