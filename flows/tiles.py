"""Tiles of a stage: a job works on its share of them, and only on those not yet there."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flows.orders import Job
from tmp.errors import TmpError
from tmp.grids import Tile
from tmp.parallel import map_threads
from tmp.rasters import TiledRaster

log = logging.getLogger(__name__)


def work_tiles(job: Job, raster: TiledRaster, work: Callable[[Tile], None], label: str) -> bool:
    """Work on the tiles of a job's share that are missing.

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
    missing = [tile for tile in job.shared(raster.tiles()) if not raster.has(tile)]
    if job.share is not None:
        log.info("tiles: %s", " ".join(tile.name for tile in missing))

    def attempt(tile: Tile) -> None:
        try:
            work(tile)
        except TmpError:
            raise  # says what a person has to change, for every tile
        except Exception:
            if job.holes is None:
                raise
            log.exception("tile %s cannot be made", tile.name)
            job.holes.append(tile.name)

    done = map_threads(attempt, missing, workers=job.workers)
    for _ in job.track(done, label, len(missing)):
        pass
    return job.share is None
