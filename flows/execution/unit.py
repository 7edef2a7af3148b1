"""A unit of work on disk: order, log and outcome, so that any machine can take it up.

``work/units/<stage>/<key>/<part>/`` holds ``unit.json`` (what to do), ``starts.txt`` (a line for
each time it was begun), ``log.txt`` (what was said), ``exit.json`` (how it ended; written last,
whole or not at all) and, on a cluster, ``job.json``.

An executor takes units of work, says how they are, and can stop them.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from flows.engine.cost import Resources
from flows.engine.result import DISTRIBUTION, UnitUsage, Usage
from flows.engine.stage import Attempt, Order, Share, Stage, part_of
from tmp.errors import InputError
from tmp.files import replacing

UNIT = "unit.json"
EXIT = "exit.json"
JOB = "job.json"
LOG = "log.txt"
STARTS = "starts.txt"
LOG_LINES = 6
KEYS_KEPT = 2
"""Orders of a stage whose units stay on disk, for their logs: the latest, and one before it."""
ORPHAN_S = 7 * 86400.0
"""Time for which a job that no controller has seen the end of may still be at work."""


class State(StrEnum):
    """How a unit of work is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    """By its own fault: again it would fail again."""
    NO_MEMORY = "out of memory"
    NO_TIME = "out of time"
    LOST = "lost"
    """Killed, or its node failed: again it may well succeed."""
    DISPLACED = "displaced"
    """By jobs that go first: again as often as it happens."""
    CANCELLED = "cancelled"
    REFUSED = "refused"
    """The cluster will never start it."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self not in (State.WAITING, State.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A stage of a survey, or a share of its tiles, as a process of its own."""

    folder: Path
    """Its order, log and outcome; see `flows.execution.unit`."""
    stage: str
    key: str
    part: str
    """ "whole", or which share: "3-of-12"."""
    resources: Resources

    @property
    def name(self) -> str:
        """What people call it."""
        return self.stage if self.part == "whole" else f"{self.stage} {self.part}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a unit is, and what was said about it."""

    state: State
    said: str = ""


class Executor(Protocol):
    """Runs units of work somewhere."""

    def submit(self, units: Sequence[Unit]) -> None:
        """Take units, or take up those that an earlier controller left at work."""
        ...

    def poll(self) -> Mapping[Path, Status]:
        """Return how each unit is, by its folder; an ended one is told once."""
        ...

    def cancel(self) -> None:
        """Stop all units that have not ended; none is left behind."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a unit ended, where and when."""

    done: bool
    error: str = ""
    kind: str = ""
    """Class of the error."""
    usage: Usage
    items: int = 0
    """Tiles or photographs made."""
    attempt: Attempt
    host: str
    software: str
    """Version of the platform."""
    python: str
    started_utc: str
    finished_utc: str


def write_unit(
    root: Path,
    order: Order,
    resources: Resources,
    *,
    share: Share | None,
    lenient: bool,
    scratch: str = "",
) -> Unit:
    """Write down a unit of work; returns it.

    Parameters
    ----------
    root : Path
        ``work/units`` of the survey.
    order : Order
    resources : Resources
    share : Share, optional
    lenient : bool
        Whether tiles that cannot be made leave holes.
    scratch : str
        Folder for temporary files on the machine that does the unit; may name its variables.

    Raises
    ------
    InputError
        If no other process could find the stage's function.
    """
    function = order.stage.function
    name = getattr(function, "__qualname__", "?")
    if not name.isidentifier():
        raise InputError(
            f"stage {order.stage.name!r}: {name} is no function of a module, so that no other "
            "process can find it; write it as one"
        )
    unit = Unit(
        folder=root / order.stage.name / order.key / part_of(share),
        stage=order.stage.name,
        key=order.key,
        part=part_of(share),
        resources=resources,
    )
    unit.folder.mkdir(parents=True, exist_ok=True)
    document = {
        "function": f"{function.__module__}:{name}",
        "stage": order.stage.name,
        "version": order.stage.version,
        "inputs": {key: str(path.resolve()) for key, path in order.inputs.items()},
        "digests": dict(order.digests),
        "options": dict(order.options),
        "folder": str(order.folder.resolve()),
        "share": None if share is None else asdict(share),
        "lenient": lenient,
        "scratch": scratch,
        "resources": asdict(resources),
    }
    _write(unit.folder / UNIT, document)
    return unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a unit is to do."""

    order: Order
    share: Share | None
    lenient: bool
    cpus: int
    scratch: str = ""


def read_work(folder: Path) -> Work:
    """Return what the unit in a folder is to do.

    Raises
    ------
    InputError
        If there is no unit, or this installation does not have its stage.
    """
    try:
        said = json.loads((folder / UNIT).read_text(encoding="utf-8"))
        module, _, name = said["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: no unit of work here; start it with 'tmp run'") from error
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{folder}: this installation has no {said['function']}; use the version of the "
            "platform that started the run"
        ) from error
    order = Order(
        stage=Stage(name=said["stage"], version=said["version"], function=function),
        inputs={key: Path(path) for key, path in said["inputs"].items()},
        digests=said["digests"],
        options=said["options"],
        folder=Path(said["folder"]),
    )
    share = said["share"]
    return Work(
        order=order,
        share=None if share is None else Share(**share),
        lenient=said["lenient"],
        cpus=said["resources"]["cpus"],
        scratch=said["scratch"],
    )


def begin(folder: Path) -> tuple[Attempt, str]:
    """Note that a unit is begun; returns which start of it this is, and the time."""
    started_utc, job = datetime.now(UTC).isoformat(timespec="seconds"), cluster_job()
    with (folder / STARTS).open("a+", encoding="utf-8") as file:
        file.write(f"{started_utc} {platform.node()} {job}\n")
        file.seek(0)
        number = sum(1 for _ in file)
    return Attempt(number=number, job=job), started_utc


def cluster_job() -> str:
    """Return the number of the cluster's job that this process is; empty outside of one."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "")


def write_outcome(
    folder: Path,
    cost: UnitUsage,
    *,
    started_utc: str,
    error: BaseException | None = None,
) -> None:
    """Write down how a unit ended: with its work done, or with an error."""
    notes = [] if error is None else [str(error), *getattr(error, "__notes__", [])]
    outcome = Outcome(
        done=error is None,
        error=", ".join(filter(None, notes)) or type(error).__name__ if error else "",
        kind=type(error).__name__ if error else "",
        usage=cost.usage,
        items=cost.items,
        attempt=Attempt(number=cost.attempts, job=cost.job),
        host=cost.host,
        software=version(DISTRIBUTION),
        python=platform.python_version(),
        started_utc=started_utc,
        finished_utc=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    _write(folder / EXIT, asdict(outcome))


def read_outcome(folder: Path) -> Outcome | None:
    """Return how a unit ended; None if it has not."""
    said = read_json(folder / EXIT)
    if said is None:
        return None
    try:
        told = {"usage": Usage(**said["usage"]), "attempt": Attempt(**said["attempt"])}
        return Outcome(**{**said, **told})
    except (KeyError, TypeError):  # of another version
        return None


def costs_before(folder: Path) -> list[UnitUsage]:
    """Return what the other units of a unit's stage have cost."""
    costs = []
    for other in sorted(folder.parent.glob(f"*/{EXIT}")):
        outcome = read_outcome(other.parent)
        if outcome is not None and other.parent != folder:
            costs.append(
                UnitUsage(
                    part=other.parent.name,
                    usage=outcome.usage,
                    host=outcome.host,
                    job=outcome.attempt.job,
                    attempts=outcome.attempt.number,
                    items=outcome.items,
                )
            )
    return costs


def forget_old(stage: Path, key: str) -> None:
    """Delete the units of a stage's earlier orders, but not those that a job may be at work on.

    Parameters
    ----------
    stage : Path
        ``work/units/<stage>``.
    key : str
        Of the order at hand.
    """
    if not stage.is_dir():
        return
    others = [path for path in stage.iterdir() if path.is_dir() and path.name != key]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in others[KEYS_KEPT - 1 :]:
        if not any(map(_may_be_at_work, folder.glob(f"*/{JOB}"))):
            shutil.rmtree(folder, ignore_errors=True)


def _may_be_at_work(job: Path) -> bool:
    ended = job.with_name(EXIT).exists()
    return not ended and time.time() - job.stat().st_mtime < ORPHAN_S


def last_lines(path: Path) -> str:
    """Return the end of a log in one line; empty if there is none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return " | ".join(line.strip() for line in lines[-LOG_LINES:])


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object; None if there is none, or none that can be read."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def write_job(folder: Path, job: Mapping[str, str]) -> None:
    """Write down which job of a cluster does a unit."""
    _write(folder / JOB, job)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
