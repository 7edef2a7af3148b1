"""The stages that make the orthomosaic: how bright each photograph is, then the picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flows.engine.cost import SURFACE_CELLS, of_photographs
from flows.engine.stage import Figures, Job, Stage, work_tiles
from flows.products.table import GROUND_CLASSES, MOSAIC_TILE, ORTHOMOSAIC, GroundClass
from flows.stages.inputs import (
    complete_pictures,
    picture_store,
    read_survey,
    read_surveying,
    require_space,
)
from flows.stages.surface import GROUND, Continued, inside_area, product_tags, read_continued
from tmp.files import replacing
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import TiledRaster, create_tiled, finish_cog, open_tiled

if TYPE_CHECKING:
    from photogrammetry.ortho.seams import SurfaceWindow

GAINS_FILE = "gains.json"

CLASS_PIXELS = 4
"""Side in pixels of the cells that say what the picture stands on: about a cell of the surface."""
PICTURES_PER_WORKER = 6
"""Decoded photographs kept in memory for each worker, and once more for all."""
LEAST_TILE = 256
MOSAIC_BYTES_PER_CELL = 5 + 3


def solve_exposures(job: Job) -> Figures:
    """Solve the gains with which photographs agree where they overlap; writes them as JSON."""
    from photogrammetry.ortho.gains import balance_exposures
    from photogrammetry.views import views_of

    reconstruction = read_surveying(job)
    _, _, captures = read_survey(job)
    complete_pictures(job, captures)
    views = views_of(reconstruction)
    solved = balance_exposures(views, reconstruction.points, picture_store(job), track=job.track)
    gains = {view.name: gain.tolist() for view, gain in zip(views, solved, strict=True)}
    with replacing(job.out / GAINS_FILE) as temporary:
        temporary.write_text(json.dumps(gains, indent=0), encoding="utf-8")
    return {"least_gain": float(solved.min()), "greatest_gain": float(solved.max())}


def read_gains(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Return the factors (3,) of each photograph's bands, by its name, to the last bit as solved.

    Parameters
    ----------
    folder : Path
        Of the stage's result.
    """
    said = json.loads((folder / GAINS_FILE).read_text(encoding="utf-8"))
    return {name: np.array(gain) for name, gain in said.items()}


EXPOSURE = Stage(
    name="exposure",
    version="1",
    function=solve_exposures,
    needs=of_photographs(cpus=1, base_gb=0.5, gb_per_thousand=0.2, cpu_s_per_photograph=0.01),
)


def make_orthomosaic(job: Job) -> Figures:
    """Render the true orthomosaic of a survey tile by tile."""
    from photogrammetry.ortho.mosaic import mosaic_tile
    from photogrammetry.ortho.seams import ground_window
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


def read_ground(ground: TiledRaster, window: Tile) -> SurfaceWindow:
    """Return the ground over a window, which may reach beyond it.

    Over gaps and beyond the rim it is a surface continued from what was measured, so that the
    picture has no holes where the surface has, and reaches as far as the photographs.
    """
    return _drawn_on(ground.grid.window(window), read_continued(ground, window))


def _drawn_on(grid: Grid, found: Continued) -> SurfaceWindow:
    from photogrammetry.ortho.seams import SurfaceWindow

    return SurfaceWindow(grid=grid, height=found.height, mapped=found.mapped)


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
