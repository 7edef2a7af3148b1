"""What a stage is, the recipe for one of its results, and how a recipe is executed.

A stage names its items (tiles, photographs), makes one of them, and writes the result from all.
Everything it needs is in the recipe, so that a recipe can be executed here, in a process of its
own, or on a node of a cluster: all of it, or some of its items.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Protocol

import psutil

from flows.engine.cost import Needs, modest
from flows.engine.result import (
    DISTRIBUTION,
    SCRATCH,
    TEMPORARY,
    Ledger,
    UnitRecord,
    digest_of,
    environment,
    measured,
    now_utc,
    publish,
    read_manifest,
    summed,
)
from tmp.errors import ExecutionError, InputError, TmpError
from tmp.files import disk_full, is_disk_full, refuse_links
from tmp.progress import Track, silent
from tmp.threads import map_threads

FULL_BYTES = 2**20
"""Free on a disk that is as good as full."""
WHOLE = "whole"

Figures = Mapping[str, Any]
"""Numbers for the report, JSON-able."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Where a stage works: paths and plain values, so that it can run anywhere."""

    inputs: Mapping[str, Path]
    options: Mapping[str, Any]
    """JSON-able."""
    out: Path
    """Folder for the results."""
    scratch: Path
    """Folder for what the stage can resume from; kept when it is stopped, deleted at its end."""
    temporary: Path
    """Folder of this process alone, on a disk of its own machine; deleted when it ends."""
    workers: int = 1
    """Threads or processes the stage may use; never changes its result."""
    track: Track = silent


class Stage:
    """A step of the work, from files and options to files; each kind is a class derived from this.

    A stage with items overrides `items`, `is_made` and `make`; every stage overrides `finish`.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    """Raised when the same inputs and options give another result."""
    after: ClassVar[tuple[str, ...]] = ()
    """Names of the stages whose results it needs; each is an input of that name."""
    options: ClassVar[tuple[str, ...]] = ()
    """Names of the options that change its result."""
    needs: ClassVar[Needs] = modest
    """What it costs for a survey of a size."""
    label: ClassVar[str] = ""
    """Of the progress bar while its items are made."""

    def __init__(self, space: Workspace) -> None:
        """Bind the stage to its inputs and folders; cheap."""
        self.space = space
        self.holes: dict[str, str] = {}
        """Items that could not be made, and why; filled before `finish` is called."""

    def items(self) -> Sequence[str]:
        """Name the items: the same names in every process, no two alike; cheap."""
        return ()

    def is_made(self, item: str) -> bool:
        """Tell whether an item is there already."""
        raise NotImplementedError

    @contextmanager
    def prepared(self, items: Sequence[str]) -> Iterator[None]:
        """Get ready to make some items, maybe none, and to finish; each process does so once."""
        del items
        yield

    def make(self, item: str) -> None:
        """Make an item, whole or not at all; called by several threads at a time."""
        raise NotImplementedError

    def finish(self) -> Figures | None:
        """Write the result from the items."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A stage with its inputs and options: all that is needed to make one result, anywhere."""

    stage: type[Stage]
    inputs: Mapping[str, Path]
    digests: Mapping[str, str]
    """Content of each input."""
    options: Mapping[str, Any]
    folder: Path
    """Where the result will be."""

    @property
    def partial(self) -> Path:
        """Folder of the result while it is made."""
        return self.folder.with_name(f"{self.folder.name}.part")

    @property
    def key(self) -> str:
        """What the result is known by."""
        return self.folder.name

    def opened(
        self, temporary: Path | None = None, *, workers: int = 1, track: Track = silent
    ) -> Stage:
        """Return the stage, bound to the recipe's inputs and to the folder of its result."""
        scratch = self.partial / SCRATCH
        scratch.mkdir(parents=True, exist_ok=True)
        return self.stage(
            Workspace(
                inputs=self.inputs,
                options=self.options,
                out=self.partial,
                scratch=scratch,
                temporary=temporary or self.partial / TEMPORARY,
                workers=workers,
                track=track,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """What one unit of work does of a stage: some of its items, or what is left and the end."""

    part: str = WHOLE
    """What the unit is called among those of its stage."""
    items: tuple[str, ...] | None = None
    """None: all that are missing, after which the stage is finished."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Items that are left alone, and why."""
    lenient: bool = False
    """Whether items that cannot be made leave holes; else the first one stops the unit."""

    @property
    def finishes(self) -> bool:
        """Whether the unit ends the stage."""
        return self.items is None


def stage_key(stage: type[Stage], digests: Mapping[str, str], options: Mapping[str, Any]) -> str:
    """Return the key of a result: what it is made from, and by what, as one digest."""
    return digest_of(
        {
            "stage": stage.name,
            "version": stage.version,
            "inputs": dict(digests),
            "options": dict(options),
        }
    )[:24]


class RunRecipe(Protocol):
    """Makes the result of a recipe that is not there yet; `execute` does so on threads."""

    def __call__(self, recipe: Recipe, track: Track) -> object:
        """Make it; raises what kept it from being made."""
        ...


ALL = Portion()


def execute(
    recipe: Recipe,
    track: Track = silent,
    portion: Portion = ALL,
    *,
    workers: int = 1,
    before: Sequence[UnitRecord] = (),
    scratch_disk: Path | None = None,
    record: UnitRecord | None = None,
) -> UnitRecord:
    """Make a portion of a recipe's result; the unit that ends the stage publishes it.

    Does nothing if the result is there, as when a cluster starts a job once more.

    Parameters
    ----------
    before : sequence of UnitRecord
        What the units done before have cost.
    scratch_disk : Path, optional
        Folder on a fast disk of this machine for temporary files; by default the survey's own.
    record : UnitRecord, optional
        What is known of this unit already, such as the cluster's job.

    Raises
    ------
    SpaceError, OSError
        If a disk is full.
    """
    record = record or UnitRecord(part=portion.part)
    if read_manifest(recipe.folder) is not None:
        return record
    partial = recipe.partial
    refuse_links(partial, partial.parents[2])
    ledger = Ledger(partial=partial)
    figures: Figures = {}
    with (
        ledger.at_work(portion.part),
        _temporary_folder(scratch_disk or partial / TEMPORARY) as temporary,
        measured() as usage,
    ):
        stage = recipe.opened(temporary, workers=workers, track=track)
        made = _make_items(stage, portion, ledger)
        if portion.finishes:
            figures = dict(stage.finish() or {})
    record = replace(record, usage=usage, items=made)
    if portion.finishes:
        manifest = _manifest(recipe, figures, stage.holes, [*before, record])
        publish(partial, recipe.folder, manifest, keep_scratch=bool(stage.holes))
    return record


def _make_items(stage: Stage, portion: Portion, ledger: Ledger) -> int:
    """Make the items of a portion that are missing; returns how many.

    An item whose work raises leaves a hole where that is allowed, and the others go on.  An item
    that ends the whole process leaves a mark in the ledger.

    Raises
    ------
    SpaceError
        If the disk is full.
    ExecutionError
        If no item at all could be made.
    """
    items = stage.items() if portion.items is None else portion.items
    if unknown := set(items).difference(stage.items()):  # their names become names of files
        raise InputError(f"{stage.name}: there is no {min(unknown)} to make; run again")
    missing = [item for item in items if item not in portion.failed and not stage.is_made(item)]
    made: list[str] = []
    if not portion.finishes:
        log.info("tiles: %s", " ".join(missing))

    def attempt(item: str) -> None:
        mark = ledger.mark(portion.part, item)
        try:
            stage.make(item)
            made.append(item)
        except (TmpError, MemoryError):
            raise  # what a person has to change, for every item; or a larger machine
        except Exception as error:
            if is_disk_full(error):
                raise disk_full(stage.space.out) from error
            if not portion.lenient:
                error.add_note(f"at {item}")
                raise
            log.exception("%s cannot be made", item)
            stage.holes[item] = ": ".join(filter(None, [type(error).__name__, str(error)]))
        mark.unlink(missing_ok=True)

    with stage.prepared(missing):
        done = map_threads(attempt, missing, workers=stage.space.workers)
        for _ in stage.space.track(done, stage.label, len(missing)) if items else ():
            pass
    if portion.finishes and portion.lenient:
        _name_holes(stage, items, portion.failed)
    return len(made)


def _name_holes(stage: Stage, items: Sequence[str], failed: Mapping[str, str]) -> None:
    """Name the items that failed for good as holes; refuse a stage that is nothing but holes."""
    stage.holes |= {
        item: failed[item] for item in items if item in failed and not stage.is_made(item)
    }
    if items and len(stage.holes) == len(items):
        raise ExecutionError(
            f"none of {len(items)} could be made; the first: {stage.holes[items[0]]}"
        )


@contextmanager
def _temporary_folder(disk: Path) -> Iterator[Path]:
    """Yield a new folder; those that killed processes of this machine have left are deleted."""
    disk.mkdir(parents=True, exist_ok=True)
    prefix = f"tmp-{platform.node()}-"
    for path in disk.glob(f"{prefix}*-*"):
        pid = path.name.removeprefix(prefix).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(path, ignore_errors=True)
    with TemporaryDirectory(
        prefix=f"{prefix}{os.getpid()}-", dir=disk, ignore_cleanup_errors=True
    ) as temporary:
        try:
            yield Path(temporary)
        except Exception as error:
            # Libraries in C do not say why a file could not be written.
            if not isinstance(error, OSError) and shutil.disk_usage(disk).free < FULL_BYTES:
                raise disk_full(disk) from error
            raise


def _manifest(
    recipe: Recipe, figures: Figures, holes: Mapping[str, str], units: Sequence[UnitRecord]
) -> dict[str, Any]:
    """Return what is to be known of a result."""
    named = {"holes": sorted(holes), "hole_reasons": dict(sorted(holes.items()))} if holes else {}
    return {
        "stage": recipe.stage.name,
        "version": recipe.stage.version,
        "software": version(DISTRIBUTION),
        "environment": environment(),
        "finished_utc": now_utc(),
        "inputs": dict(recipe.digests),
        "options": dict(recipe.options),
        "figures": {**figures, **named},
        "usage": asdict(summed([unit.usage for unit in units])),
        "units": [asdict(unit) for unit in units],
    }
