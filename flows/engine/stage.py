"""What a stage is, an order for one of its results, and how an order is executed.

An order can be executed here, in a process of its own, or on a node of a cluster: all it needs is
in it.  Its tiles may be shared among several of these; the one that has no share ends the stage. A
job works on its share of the items, and only on what is not yet there.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import psutil

from flows.engine.cost import Needs, modest
from flows.engine.result import (
    DISTRIBUTION,
    SCRATCH,
    TEMPORARY,
    Ledger,
    UnitUsage,
    Usage,
    environment,
    measured,
    publish,
    read_manifest,
    summed,
)
from tmp.errors import ExecutionError, TmpError
from tmp.files import disk_full, is_disk_full
from tmp.progress import Track, silent
from tmp.threads import map_threads

if TYPE_CHECKING:
    from tmp.geo.grids import Tile
    from tmp.geo.rasters import TiledRaster

FULL_BYTES = 2**20
"""Free on a disk that is as good as full."""

T = TypeVar("T")

WHOLE = "whole"
Figures = Mapping[str, Any]
"""Numbers for the report, JSON-able."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The part of a stage's tiles that one of several units of work does.

    Neighbours stay together, so that a photograph is decoded by as few units as possible.

    Examples
    --------
    >>> Share(index=1, count=3).of(["r0c0", "r0c1", "r0c2", "r0c3", "r0c4"])
    ['r0c1', 'r0c2']
    """

    index: int
    count: int
    only: str | None = None
    """The one item of it to do, by name, and no other."""

    def of(self, items: Sequence[T], name: Callable[[T], str] = str) -> list[T]:
        """Return this share; all shares together are all items, each once."""
        start, end = (len(items) * edge // self.count for edge in (self.index, self.index + 1))
        share = items[start:end]
        return [item for item in share if self.only in (None, name(item))]


def part_of(share: Share | None) -> str:
    """Name the part of a stage that a unit does; fit for a folder's name.

    Examples
    --------
    >>> part_of(Share(index=2, count=12)), part_of(None)
    ('3-of-12', 'whole')
    >>> part_of(Share(index=0, count=1, only="DCIM/1.JPG"))
    'alone-DCIM%2F1.JPG'
    """
    if share is None:
        return WHOLE
    if share.only is not None:
        return f"alone-{quote(share.only, safe='')}"
    return f"{share.index + 1}-of-{share.count}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a stage's function is given: paths and plain values, so that it can run anywhere."""

    inputs: Mapping[str, Path]
    options: Mapping[str, Any]
    """JSON-able."""
    out: Path
    """Folder for the results."""
    scratch: Path
    """Folder for what the stage can resume from; kept when it is stopped, deleted at its end."""
    temporary: Path
    """Folder of this process alone, on a disk of its own machine; deleted when it ends."""
    workers: int
    """Threads or processes the stage may use; never changes its result."""
    track: Track = silent
    share: Share | None = None
    """None: the whole stage, which also ends it."""
    holes: dict[str, str] | None = None
    """Gets the tiles that cannot be made and why; None: the first one stops the stage."""
    made: list[str] = field(default_factory=list)
    """Gets the names of the tiles that this job has made."""

    @property
    def part(self) -> str:
        """What the job is called among those of its stage."""
        return part_of(self.share)

    def shared(self, items: Sequence[T], name: Callable[[T], str] = str) -> list[T]:
        """Return the items that are this job's, which know them by name."""
        return list(items) if self.share is None else self.share.of(items, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A step of the work: a function from files and options to files."""

    name: str
    version: str
    """Raised when the same inputs and options give another result."""
    function: Callable[[Job], Figures | None]
    needs: Needs = modest


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A stage with its inputs and options: all that is needed to run it, anywhere."""

    stage: Stage
    inputs: Mapping[str, Path]
    digests: Mapping[str, str]
    """Content of each input."""
    options: Mapping[str, Any]
    folder: Path
    """Where the results will be."""

    @property
    def partial(self) -> Path:
        """Folder of the results while they are made."""
        return self.folder.with_name(f"{self.folder.name}.part")

    @property
    def key(self) -> str:
        """What the result is known by."""
        return self.folder.name


RunOrder = Callable[[Order, Track], None]
"""Makes the result of an order that is not there yet."""


def here(workers: int) -> RunOrder:
    """Return how orders are run on threads of this process."""

    def run(order: Order, track: Track) -> None:
        execute(order, workers=workers, track=track)

    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A start of a unit of work."""

    number: int = 1
    """How often it has been started, this time included."""
    job: str = ""
    """The cluster's, if any."""


FIRST = Attempt()


def execute(
    order: Order,
    *,
    workers: int,
    track: Track = silent,
    share: Share | None = None,
    lenient: bool = False,
    before: Sequence[UnitUsage] = (),
    scratch_disk: Path | None = None,
    attempt: Attempt = FIRST,
) -> UnitUsage:
    """Run an order, or a share of its tiles; the whole order publishes the result.

    Does nothing if the result is there, as when a cluster starts a job once more.

    Parameters
    ----------
    order : Order
    workers : int
        Threads or processes; never changes the result.
    track : Track
    share : Share, optional
    lenient : bool
        Whether tiles that cannot be made leave holes, named in the result's figures.
    before : sequence of UnitUsage
        What the units done before have cost.
    scratch_disk : Path, optional
        Folder on a fast disk of this machine for temporary files; by default the survey's own.
    attempt : Attempt

    Raises
    ------
    SpaceError, OSError
        If a disk is full.
    """
    cost = UnitUsage(
        part=part_of(share),
        usage=Usage(),
        host=platform.node(),
        job=attempt.job,
        attempts=attempt.number,
    )
    if read_manifest(order.folder) is not None:
        return cost
    partial = order.partial
    scratch = partial / SCRATCH
    scratch.mkdir(parents=True, exist_ok=True)
    with (
        Ledger(partial=partial).at_work(cost.part),
        _temporary_folder(scratch_disk or partial / TEMPORARY) as temporary,
        measured() as usage,
    ):
        job = Job(
            inputs=order.inputs,
            options=order.options,
            out=partial,
            scratch=scratch,
            temporary=temporary,
            workers=workers,
            track=track,
            share=share,
            holes={} if lenient else None,
        )
        figures = dict(order.stage.function(job) or {})
    cost = replace(cost, usage=usage, items=len(job.made))
    if share is None:
        manifest = _manifest(order, figures, job.holes or {}, [*before, cost])
        publish(partial, order.folder, manifest, keep_scratch=bool(job.holes))
    return cost


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
    order: Order, figures: Figures, holes: Mapping[str, str], units: Sequence[UnitUsage]
) -> dict[str, Any]:
    """Return what is to be known of a result."""
    named = {"holes": sorted(holes), "hole_reasons": dict(sorted(holes.items()))} if holes else {}
    return {
        "stage": order.stage.name,
        "version": order.stage.version,
        "software": version(DISTRIBUTION),
        "environment": environment(),
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": dict(order.digests),
        "options": dict(order.options),
        "figures": {**figures, **named},
        "usage": asdict(summed(units)),
        "units": [asdict(unit) for unit in units],
    }


def work_tiles(job: Job, raster: TiledRaster, work: Callable[[Tile], None], label: str) -> bool:
    """Work on the tiles of a job's share that are missing; see `work_items`.

    Parameters
    ----------
    job : Job
    raster : TiledRaster
        Where `work` writes the tile it is given.
    work : callable
    label : str
        For the progress bar.

    Returns
    -------
    bool
        Whether the stage may go on to its end: False where others have tiles of it too.
    """
    return work_items(
        job, raster.tiles(), work, label, made=raster.has, name=lambda tile: tile.name
    )


def work_items(
    job: Job,
    items: Sequence[T],
    work: Callable[[T], object],
    label: str,
    *,
    made: Callable[[T], bool],
    name: Callable[[T], str] = str,
) -> bool:
    """Work on the items of a job's share that have not been made.

    An item whose work raises leaves a hole where the job allows it, and the others go on.  An item
    that ends the whole process leaves a mark, so that it is tried alone; see `flows.engine.result`.

    Parameters
    ----------
    job : Job
    items : sequence
        All items of the stage, the same in each of its jobs.
    work : callable
        Makes an item, whole or not at all.
    label : str
        For the progress bar.
    made : callable
        Tells whether an item is there.
    name : callable
        What people know an item by; no two have the same.

    Returns
    -------
    bool
        Whether the stage may go on to its end: False where others have items of it too.

    Raises
    ------
    SpaceError
        If the disk is full.
    ExecutionError
        If no item at all could be made.
    """
    ledger = Ledger(partial=job.out)
    left_alone = _left_alone(job, ledger)
    missing = [
        item for item in job.shared(items, name) if name(item) not in left_alone and not made(item)
    ]
    if job.share is not None:
        log.info("tiles: %s", " ".join(map(name, missing)))

    def attempt(item: T) -> None:
        mark = ledger.mark(job.part, name(item))
        try:
            work(item)
            job.made.append(name(item))
        except (TmpError, MemoryError):
            raise  # what a person has to change, for every item; or a larger machine
        except Exception as error:
            if is_disk_full(error):
                raise disk_full(job.out) from error
            if job.holes is None:
                error.add_note(f"at {name(item)}")
                raise
            log.exception("%s cannot be made", name(item))
            job.holes[name(item)] = ": ".join(filter(None, [type(error).__name__, str(error)]))
        mark.unlink(missing_ok=True)

    done = map_threads(attempt, missing, workers=job.workers)
    for _ in job.track(done, label, len(missing)):
        pass
    if job.share is not None:
        return False
    _note_holes(job, [name(item) for item in items if not made(item)], left_alone, len(items))
    return True


def _left_alone(job: Job, ledger: Ledger) -> Mapping[str, str]:
    """Return the items that a job leaves alone, and why if they are given up."""
    if job.share is None:  # nobody comes after it
        return ledger.given_up() if job.holes is not None else {}
    return {} if job.share.only else ledger.apart()


def _note_holes(job: Job, missing: Sequence[str], given_up: Mapping[str, str], count: int) -> None:
    """Name the items given up as holes; refuse a stage that is nothing but holes."""
    if job.holes is None:
        return
    job.holes.update({item: given_up[item] for item in missing if item in given_up})
    reasons = [job.holes[item] for item in missing if item in job.holes]
    if reasons and len(reasons) == count:
        raise ExecutionError(f"none of {count} could be made; the first: {reasons[0]}")
