"""The stage that makes the orthomosaic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flows.exposure import EXPOSURE, read_gains
from flows.orders import Figures, Job
from flows.products import ORTHOMOSAIC
from flows.resources import SURFACE_CELLS
from flows.space import require_space
from flows.stages import complete_pictures, picture_store, read_survey, read_surveying
from flows.surfaces import (
    GROUND,
    NODATA,
    inside_area,
    product_tags,
    read_continued,
)
from flows.tiles import work_tiles
from tmp.cogs import finish_cog
from tmp.grids import Grid, Tile
from tmp.rasters import TiledRaster, create_tiled, open_tiled

if TYPE_CHECKING:
    from photogrammetry.labels import Ground

MOSAIC_TILE = 1024
PICTURES_PER_WORKER = 6
"""Decoded photographs kept in memory for each worker, and once more for all."""
MOSAIC_BYTES_PER_CELL = 4 + 3


def make_orthomosaic(job: Job) -> Figures:
    """Render the true orthomosaic of a survey tile by tile."""
    from photogrammetry.labels import ground_window
    from photogrammetry.mosaic import mosaic_tile
    from photogrammetry.pictures import DecodedPictures
    from photogrammetry.views import views_of

    reconstruction = read_surveying(job)
    survey, settings, captures = read_survey(job)
    complete_pictures(job, captures)
    ground = open_tiled(job.inputs["surface"] / GROUND)
    gsd_m = job.options["ortho_gsd_m"] or _native_gsd(ground.grid, job.options["quality"])
    grid = Grid.from_bounds(ground.grid.bounds, gsd_m, ground.grid.crs)
    require_space(job.out, grid.rows * grid.cols * MOSAIC_BYTES_PER_CELL, "making the orthomosaic")
    raster = create_tiled(
        job.scratch / "mosaic", grid, bands=4, dtype=np.uint8, tile_cells=MOSAIC_TILE
    )
    views, store = views_of(reconstruction), picture_store(job)
    gains = read_gains(job.inputs[EXPOSURE.name])
    largest = max(view.camera.width_px * view.camera.height_px * 3 for view in views)
    pictures = DecodedPictures(
        survey.photos_dir, budget_bytes=PICTURES_PER_WORKER * (job.workers + 1) * largest
    )

    def render(tile: Tile) -> None:
        window = grid.window(tile)
        below = read_ground(ground, ground_window(ground.grid, window))
        cells = mosaic_tile(window, below, views, gains, reconstruction.frame, store, pictures)
        cells[:, ~inside_area(grid, tile, job.options["area_wkt"])] = 0
        raster.write(tile, cells)

    if not work_tiles(job, raster, render, "Making the orthomosaic"):
        return {}
    pictures.clear()  # the room they took is wanted for compression
    finish_cog(
        raster,
        job.out / ORTHOMOSAIC.file,
        descriptions=ORTHOMOSAIC.bands,
        tags=product_tags(settings.vertical_datum),
        threads=job.workers,
    )
    return {"cell_m": gsd_m}


def _native_gsd(surface: Grid, quality: str) -> float:
    """Return the photographs' own ground sample distance, as the surface's cell has it."""
    return surface.cell_m / SURFACE_CELLS[quality]


def read_ground(ground: TiledRaster, window: Tile) -> Ground:
    """Return the ground over a window, which may reach beyond it.

    Gaps that belong to the map are drawn on a surface continued over them, so that the picture has
    no holes where the surface has.
    """
    from photogrammetry.labels import Ground

    found = read_continued(ground, window)
    height = found.height
    if found.mapped.any():
        # Beyond the raster there is no height; its neighbours must not feel that.
        height = np.where(height == NODATA, np.median(height[found.mapped]), height)
    return Ground(
        grid=ground.grid.window(window), height=height.astype(np.float32), mapped=found.mapped
    )
