"""Tiles and other items of a stage: a job works on its share, and only on what is not yet there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from flows.apart import Ledger
from flows.orders import Job
from tmp.errors import ExecutionError, TmpError
from tmp.files import disk_full, is_disk_full
from tmp.parallel import map_threads

if TYPE_CHECKING:
    from tmp.grids import Tile
    from tmp.rasters import TiledRaster

log = logging.getLogger(__name__)

T = TypeVar("T")


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
    that ends the whole process leaves a mark, so that it is tried alone; see `flows.apart`.

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
