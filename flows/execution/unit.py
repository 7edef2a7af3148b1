"""A unit of work on disk: task, log and record, so that any machine can take it up.

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
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from flows.engine.cost import Resources
from flows.engine.result import DISTRIBUTION, UnitRecord, now_utc, read_json
from flows.engine.stage import WHOLE, Portion, Recipe, Stage, stage_key
from tmp.errors import InputError
from tmp.files import open_to_add, refuse_links, write_json

UNIT = "unit.json"
EXIT = "exit.json"
JOB = "job.json"
LOG = "log.txt"
STARTS = "starts.txt"
LOG_LINES = 6
ALONE = "alone-"
"""How the name of a unit begins that makes one item."""
KEYS_KEPT = 2
"""Results of a stage whose units stay on disk, for their logs: the latest, and one before it."""
ORPHAN_S = 7 * 86400.0
"""Time for which a job that no controller has seen the end of may still be at work."""
STAGES = "flows.stages"
"""Package of the stages that a unit may be of."""
MORE_STAGES = "TMP_STAGE_MODULES"
"""Environment variable: further modules of stages, joined as those of ``PATH`` are."""


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
    """Some items of a stage, or what is left of it and its end, as a process of its own."""

    folder: Path
    """Its task, log and record; see `flows.execution.unit`."""
    stage: str
    key: str
    part: str
    """ "whole", which part of the items ("3-of-12"), or one item alone ("alone-r3c7")."""
    resources: Resources
    items: tuple[str, ...] | None = None
    """What it makes; None: all that is missing, after which it ends the stage."""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.stage if self.part == WHOLE else f"{self.stage} {self.part}"

    @property
    def alone(self) -> bool:
        """Whether it makes one item that is suspected of having killed a process."""
        return self.part.startswith(ALONE)


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


def units_of(
    root: Path, recipe: Recipe, items: Sequence[str], count: int, resources: Resources
) -> list[Unit]:
    """Return the units that make the items of a stage, so many of about the same size.

    Neighbours stay together, so that a photograph is decoded by as few units as possible.
    """
    edges = [len(items) * index // count for index in range(count + 1)]
    return [
        unit_of(root, recipe, f"{index + 1}-of-{count}", resources, tuple(items[start:end]))
        for index, (start, end) in enumerate(pairwise(edges))
    ]


def unit_alone(root: Path, recipe: Recipe, item: str, resources: Resources) -> Unit:
    """Return the unit that makes one item, with nothing beside it."""
    part = f"{ALONE}{quote(item, safe='')}"
    return unit_of(root, recipe, part, replace(resources, cpus=1), (item,))


def unit_of(
    root: Path,
    recipe: Recipe,
    part: str,
    resources: Resources,
    items: tuple[str, ...] | None = None,
) -> Unit:
    """Return a unit of a recipe; `root` is ``work/units`` of the survey."""
    return Unit(
        folder=root / recipe.stage.name / recipe.key / part,
        stage=recipe.stage.name,
        key=recipe.key,
        part=part,
        resources=resources,
        items=items,
    )


def write_unit(unit: Unit, recipe: Recipe, *, failed: Mapping[str, str], lenient: bool) -> None:
    """Write down a unit of work, so that any machine can do it.

    Items that have failed are left alone; where it is lenient, what cannot be made leaves holes.

    Raises
    ------
    InputError
        If no other process could find the stage's class.
    """
    module, name = recipe.stage.__module__, recipe.stage.__qualname__
    if not name.isidentifier() or not _is_offered(module):
        raise InputError(
            f"stage {recipe.stage.name!r}: {name} is no class of a module of {STAGES}, so that no "
            f"other process runs it; write it as one, or name its module in {MORE_STAGES}"
        )
    unit.folder.mkdir(parents=True, exist_ok=True)
    document = {
        "stage": f"{module}:{name}",
        "version": recipe.stage.version,
        "inputs": {key: str(path.resolve()) for key, path in recipe.inputs.items()},
        "digests": dict(recipe.digests),
        "options": dict(recipe.options),
        "items": unit.items,
        "failed": dict(failed),
        "lenient": lenient,
        "resources": asdict(unit.resources),
    }
    write_json(unit.folder / UNIT, document, indent=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a unit is to do."""

    recipe: Recipe
    portion: Portion
    cpus: int


def read_task(folder: Path) -> Task:
    """Return what the unit in a folder, ``work/units/<stage>/<key>/<part>``, is to do.

    Whoever may write into the survey may write the file, and it is done with the rights of whoever
    runs it.  So its place says which stage makes which result, the key of that vouches for the
    options, the stage is one of those that are offered, and what it reads lies in the survey.

    Raises
    ------
    InputError
        If there is no unit, this installation does not have its stage, or it has been altered.
    """
    folder = folder.absolute()
    try:
        said = json.loads((folder / UNIT).read_text(encoding="utf-8"))
        stage = _stage_of(folder, said["stage"])
        if stage.version != said["version"]:
            raise _other_version(folder, f"version {said['version']} of {stage.name}")
        recipe = _recipe_of(folder, stage, said)
        portion = Portion(
            part=folder.name,
            items=None if said["items"] is None else tuple(said["items"]),
            failed=said["failed"],
            lenient=said["lenient"],
        )
        return Task(recipe=recipe, portion=portion, cpus=said["resources"]["cpus"])
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{folder}: no unit of work here; start it with 'tmp run'") from error


def _stage_of(folder: Path, named: str) -> type[Stage]:
    """Return the stage that a unit names as ``module:class``."""
    module, _, name = named.partition(":")
    if not _is_offered(module):
        raise _altered(folder, f"{named!r} is no stage")
    try:
        stage = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise _other_version(folder, named) from error
    if not (isinstance(stage, type) and issubclass(stage, Stage) and stage.__module__ == module):
        raise _altered(folder, f"{named!r} is no stage")
    return stage


def _is_offered(module: str) -> bool:
    """Tell whether a module's stages may be done by units."""
    more = os.environ.get(MORE_STAGES, "").split(os.pathsep)
    return module.startswith(f"{STAGES}.") or module in filter(None, more)


def _recipe_of(folder: Path, stage: type[Stage], said: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a unit, once its place vouches for it."""
    key, work = folder.parents[0].name, folder.parents[3]
    if stage.name != folder.parents[1].name:
        raise _altered(folder, f"it names the stage {stage.name!r}")
    if stage_key(stage, said["digests"], said["options"]) != key:
        raise _altered(folder, "its options are not those of its result")
    refuse_links(folder, work)
    inputs = {name: Path(path) for name, path in said["inputs"].items()}
    survey = (work.resolve(), work.parent.resolve())
    for path in inputs.values():
        if not any(path.resolve().is_relative_to(root) for root in survey):
            raise _altered(folder, f"it reads {path}, which is not in the survey")
    return Recipe(
        stage=stage,
        inputs=inputs,
        digests=said["digests"],
        options=said["options"],
        folder=work / "stages" / stage.name / key,
    )


def _altered(folder: Path, what: str) -> InputError:
    return InputError(
        f"{folder / UNIT}: altered since 'tmp run' wrote it: {what}; run again, and ask who else "
        "may write there"
    )


def _other_version(folder: Path, what: str) -> InputError:
    return InputError(
        f"{folder}: this installation has no {what}; use the version of the platform that "
        "started the run"
    )


def begin(folder: Path) -> UnitRecord:
    """Note that a unit is begun; returns its record so far."""
    record = UnitRecord(
        part=folder.name,
        job=cluster_job(),
        started_utc=now_utc(),
        software=version(DISTRIBUTION),
        python=platform.python_version(),
    )
    with open_to_add(folder / STARTS) as file:
        file.write(f"{record.started_utc} {record.host} {record.job}\n")
        file.seek(0)
        number = sum(1 for _ in file)
    return replace(record, attempts=number)


def cluster_job() -> str:
    """Return the number of the cluster's job that this process is; empty outside of one."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "")


def write_record(folder: Path, record: UnitRecord, error: BaseException | None = None) -> None:
    """Write down how a unit ended: with its work done, or with an error."""
    notes = [] if error is None else [str(error), *getattr(error, "__notes__", [])]
    kind = "" if error is None else type(error).__name__
    ended = replace(
        record,
        error=", ".join(filter(None, notes)) or kind,
        kind=kind,
        finished_utc=now_utc(),
    )
    write_json(folder / EXIT, asdict(ended), indent=1)


def read_record(folder: Path) -> UnitRecord | None:
    """Return how a unit ended; None if it has not."""
    said = read_json(folder / EXIT)
    if said is None:
        return None
    try:
        return UnitRecord.from_values(said)
    except (KeyError, TypeError):  # of another version
        return None


def records_beside(folder: Path) -> list[UnitRecord]:
    """Return how the other units of a unit's stage ended."""
    found = (read_record(path.parent) for path in sorted(folder.parent.glob(f"*/{EXIT}")))
    return [record for record in found if record is not None and record.part != folder.name]


def forget_old(stage: Path, key: str) -> None:
    """Delete the units of a stage's earlier results, but not those that a job may be at work on.

    The stage is ``work/units/<stage>``, the key that of the result at hand.
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


def write_job(folder: Path, job: Mapping[str, str]) -> None:
    """Write down which job of a cluster does a unit."""
    write_json(folder / JOB, job, indent=1)
