"""The stage that makes the point cloud."""

from __future__ import annotations

from flows.orders import Figures, Job
from flows.products import CLOUD, DSM, DSM_SIGMA, DSM_VIEWS, ORTHOMOSAIC
from flows.space import require_space
from flows.stages import read_survey
from tmp.rasters import TILE_CELLS, read_grid


def make_cloud(job: Job) -> Figures:
    """Write the surface model as coloured points."""
    from photogrammetry.cloud import (
        BYTES_PER_POINT,
        CloudSources,
        read_cloud_tiles,
        write_cloud,
    )

    _, settings, _ = read_survey(job)
    elevation = job.inputs["elevation"]
    sources = CloudSources(
        dsm=elevation / DSM.file,
        sigma=elevation / DSM_SIGMA.file,
        views=elevation / DSM_VIEWS.file,
        orthomosaic=job.inputs["orthomosaic"] / ORTHOMOSAIC.file,
    )
    grid = read_grid(sources.dsm)
    require_space(job.out, grid.rows * grid.cols * BYTES_PER_POINT, "writing the point cloud")
    tiles = -(-grid.rows // TILE_CELLS) * -(-grid.cols // TILE_CELLS)
    count = write_cloud(
        job.out / CLOUD.file,
        job.track(read_cloud_tiles(sources), "Writing the point cloud", tiles),
        crs=grid.crs,
        offset=(round(grid.x_min), round(grid.y_max), 0.0),
        vertical_datum=settings.vertical_datum,
        workers=job.workers,
    )
    return {"points": count}
