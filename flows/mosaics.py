"""The stage that makes the orthomosaic."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flows.exposure import EXPOSURE, read_gains
from flows.orders import Figures, Job
from flows.products import GROUND_CLASSES, ORTHOMOSAIC, GroundClass
from flows.resources import SURFACE_CELLS
from flows.space import require_space
from flows.stages import complete_pictures, picture_store, read_survey, read_surveying
from flows.surfaces import (
    GROUND,
    Continued,
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

MOSAIC_TILE = 1536
CLASS_PIXELS = 4
"""Side in pixels of the cells that say what the picture stands on: about a cell of the surface."""
PICTURES_PER_WORKER = 6
"""Decoded photographs kept in memory for each worker, and once more for all."""
LEAST_TILE = 256
MOSAIC_BYTES_PER_CELL = 5 + 3


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
    raster, classes = _rasters(job, grid, gsd_m / _native_gsd(ground.grid, job.options["quality"]))
    views, store = views_of(reconstruction), picture_store(job)
    gains = read_gains(job.inputs[EXPOSURE.name])
    largest = max(view.camera.width_px * view.camera.height_px * 3 for view in views)
    pictures = DecodedPictures(
        survey.photos_dir, budget_bytes=PICTURES_PER_WORKER * (job.workers + 1) * largest
    )

    def render(tile: Tile) -> None:
        window = grid.window(tile)
        part = ground_window(ground.grid, window)
        found = read_continued(ground, part)
        below = _drawn_on(ground.grid.window(part), found)
        cells = mosaic_tile(window, below, views, gains, reconstruction.frame, store, pictures)
        cells[:, ~inside_area(grid, tile, job.options["area_wkt"])] = 0
        coarse = _coarse_tile(tile)
        drawn = cells[3, CLASS_PIXELS // 2 :: CLASS_PIXELS, CLASS_PIXELS // 2 :: CLASS_PIXELS] > 0
        # A last row or column narrower than half a cell has no pixel at its middle.
        short = coarse.rows - drawn.shape[0], coarse.cols - drawn.shape[1]
        drawn = np.pad(drawn, ((0, short[0]), (0, short[1])))
        of_cells = ground_classes(found, below.grid, classes.grid.window(coarse))
        classes.write(coarse, np.where(drawn, of_cells, GroundClass.NOTHING)[None])
        raster.write(tile, cells)

    if not work_tiles(job, raster, render, "Making the orthomosaic"):
        return {}
    pictures.clear()  # the room they took is wanted for compression
    for made, product in ((raster, ORTHOMOSAIC), (classes, GROUND_CLASSES)):
        finish_cog(
            made,
            job.out / product.file,
            overviews="nearest" if product is GROUND_CLASSES else "average",
            descriptions=product.bands,
            tags=product_tags(settings.vertical_datum),
            threads=job.workers,
        )
    return {"cell_m": gsd_m}


def _rasters(job: Job, grid: Grid, coarseness: float) -> tuple[TiledRaster, TiledRaster]:
    """Start the picture, and the classes of the ground it is drawn on."""
    tile_cells = _tile_cells(coarseness)
    picture = create_tiled(
        job.scratch / "mosaic", grid, bands=4, dtype=np.uint8, tile_cells=tile_cells
    )
    rows, cols = (-(-side // CLASS_PIXELS) for side in grid.shape)
    classes = create_tiled(
        job.scratch / "classes",
        replace(grid, cell_m=CLASS_PIXELS * grid.cell_m, rows=rows, cols=cols),
        bands=1,
        dtype=np.uint8,
        nodata=int(GroundClass.NOTHING),
        tile_cells=tile_cells // CLASS_PIXELS,
    )
    return picture, classes


def _coarse_tile(tile: Tile) -> Tile:
    """Return the tile of the ground's classes under a tile of the picture."""
    return Tile(
        row=tile.row // CLASS_PIXELS,
        col=tile.col // CLASS_PIXELS,
        rows=-(-tile.rows // CLASS_PIXELS),
        cols=-(-tile.cols // CLASS_PIXELS),
        name=tile.name,
    )


def _native_gsd(surface: Grid, quality: str) -> float:
    """Return the photographs' own ground sample distance, as the surface's cell has it."""
    return surface.cell_m / SURFACE_CELLS[quality]


def read_ground(ground: TiledRaster, window: Tile) -> Ground:
    """Return the ground over a window, which may reach beyond it.

    Over gaps and beyond the rim it is a surface continued from what was measured, so that the
    picture has no holes where the surface has, and reaches as far as the photographs.
    """
    return _drawn_on(ground.grid.window(window), read_continued(ground, window))


def _drawn_on(grid: Grid, found: Continued) -> Ground:
    from photogrammetry.labels import Ground

    return Ground(grid=grid, height=found.height, mapped=found.mapped)


def ground_classes(found: Continued, grid: Grid, window: Grid) -> NDArray[np.uint8]:
    """Return the class of the ground under every cell of a tile, see `GroundClass`.

    Parameters
    ----------
    found : Continued
        The ground over the tile and more.
    grid, window : Grid
        Of the ground, and of the tile.
    """
    own = np.where(found.views > 0, GroundClass.MEASURED, GroundClass.BRIDGED)
    of_cells = np.where(found.measured, own, GroundClass.CONTINUED).astype(np.uint8)
    x, y = window.cell_centres()
    row = np.floor((grid.y_max - y) / grid.cell_m).astype(int)
    col = np.floor((x - grid.x_min) / grid.cell_m).astype(int)
    return np.asarray(of_cells[np.ix_(row, col)], np.uint8)


def _tile_cells(coarseness: float) -> int:
    """Return the side of a tile whose ground, and so whose memory, does not grow with the cell."""
    return max(int(MOSAIC_TILE / max(coarseness, 1.0)) // 16 * 16, LEAST_TILE)
