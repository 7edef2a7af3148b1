"""The book of a survey's run: which stage is how, who runs it; where its logs are; its end."""

from __future__ import annotations

import json
import os
import platform
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from flows.execution.slurm import Commands, cancel_recorded, recorded_jobs
from flows.execution.units import EXIT, LOG, UNIT, read_json, read_outcome
from tmp.errors import InputError
from tmp.files import replacing
from tmp.survey import Survey

RUN = "run.json"
UNITS = "units"
STOP_S = 30.0
"""Time that a controller gets to cancel its jobs and end."""


@dataclass(slots=True, kw_only=True)
class RunBook:
    """What a run writes down of itself, in ``work/run.json``."""

    path: Path
    said: dict[str, Any] = field(default_factory=dict)

    def begin(self, on: str, stages: Mapping[str, str]) -> None:
        """Note who runs what, and how each stage is."""
        self.said = {
            "on": on,
            "host": platform.node(),
            "pid": os.getpid(),
            "started": psutil.Process().create_time(),
            "began_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "state": "running",
            "error": "",
            "stages": dict(stages),
        }
        self._write()

    def note(self, stage: str, state: str) -> None:
        """Note how a stage is."""
        self.said["stages"][stage] = state
        self._write()

    def end(self, state: str, error: str = "") -> None:
        """Note how the run ended."""
        self.said |= {"state": state, "error": error}
        self._write()

    def _write(self) -> None:
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(self.said, indent=1), encoding="utf-8")


def describe_run(survey: Survey) -> list[str]:
    """Return how the last run of a survey is, in lines.

    Raises
    ------
    InputError
        If there was none.
    """
    said = _read(survey)
    state = said["state"]
    if state == "running" and not _alive(said):
        state = "interrupted; 'tmp run' goes on"
    lines = [f"on {said['on']}, since {said['began_utc']}, by {said['host']}: {state}"]
    if said["error"]:
        lines.append(said["error"])
    units = survey.work_dir / UNITS
    for stage, how in said["stages"].items():
        lines.append(f"  {stage:<14} {how}{_progress(units / stage) if how == 'running' else ''}")
    recorded = recorded_jobs(units)
    if recorded and said["on"] == "slurm":
        queue = Commands().queue() or {}
        for job in sorted(recorded):
            if job in queue:
                lines.append(f"  job {job}: {queue[job][0].lower()} {queue[job][1]}".rstrip())
    return lines


def find_log(survey: Survey, stage: str, tile: str) -> Path:
    """Return the log of a stage's last run, or of the unit that worked on a tile.

    Raises
    ------
    InputError
        If there is none.
    """
    logs = sorted(
        (survey.work_dir / UNITS / stage).glob(f"*/*/{LOG}"), key=lambda path: path.stat().st_mtime
    )
    if tile:
        logs = [path for path in logs if _worked_on(path, tile)]
    if not logs:
        asked = f"{stage}:{tile}" if tile else stage
        raise InputError(
            f"{survey.root}: no log of {asked!r}; 'tmp status' lists the stages, and stages that "
            "'tmp map' ran keep none"
        )
    return logs[-1]


def cancel_run(survey: Survey) -> str:
    """Stop the run of a survey and all its jobs; returns what was done.

    Raises
    ------
    InputError
        If there was none, or another machine runs it.
    """
    said = _read(survey)
    alive = _alive(said)
    if alive and said["host"] != platform.node():
        raise InputError(f"{survey.root}: run by {said['host']}; cancel it there")
    if alive:
        os.kill(said["pid"], signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_S
        while _alive(said) and time.monotonic() < deadline_s:
            time.sleep(0.1)
    jobs = cancel_recorded(survey.work_dir / UNITS) if said["on"] == "slurm" else 0
    if not alive and not jobs:
        return "nothing is running"
    return "stopped; 'tmp run' goes on where it was"


def _read(survey: Survey) -> dict[str, Any]:
    said = read_json(survey.work_dir / RUN)
    if said is None:
        raise InputError(f"{survey.root}: has not been run; start it with 'tmp run'")
    return said


def _alive(said: dict[str, Any]) -> bool:
    """Tell whether the controller is at work; of another machine's only it can tell."""
    if said["state"] != "running":
        return False
    if said["host"] != platform.node():
        return True
    try:
        process = psutil.Process(said["pid"])
        gone = process.status() == psutil.STATUS_ZOMBIE
        return not gone and abs(float(process.create_time()) - float(said["started"])) < 1.0
    except psutil.NoSuchProcess:
        return False


def _progress(stage: Path) -> str:
    units = [path.parent for path in stage.glob(f"*/*/{UNIT}")]
    if len(units) < 2:
        return ""
    outcomes = [read_outcome(unit) for unit in units if (unit / EXIT).exists()]
    done = sum(outcome is not None and outcome.done for outcome in outcomes)
    return f", {done} of {len(units)} units done"


def _worked_on(log: Path, tile: str) -> bool:
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if " tiles: " in line and tile in line.split():
            return True
    return False
