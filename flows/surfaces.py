"""The stages that measure the ground: the surface by tiles, and the rasters made from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.environment import DISTRIBUTION, environment_in_short
from flows.orders import Figures, Job
from flows.products import DSM, DSM_CONFIDENCE, DSM_SIGMA, DSM_VIEWS
from flows.resources import SURFACE_CELLS
from flows.space import require_space
from flows.stages import complete_pictures, picture_store, read_survey, read_surveying
from flows.tiles import work_tiles
from tmp.cogs import finish_cog
from tmp.errors import InputError
from tmp.grids import Grid, Tile
from tmp.parallel import map_threads
from tmp.rasters import TiledRaster, create_tiled, open_tiled
from tmp.reconstruction import Reconstruction

Array = NDArray[Any]

SURFACE_TILE = 512
NODATA = -9999.0
NO_VIEWS = 255
ELEVATION_PRODUCTS = (DSM, DSM_SIGMA, DSM_CONFIDENCE, DSM_VIEWS)

GROUND = "ground"
"""Folder of the surface's tiles in the surface stage's results."""
HEIGHT, CONFIDENCE, VIEWS, SIGMA = range(4)
"""Bands of the ground: a height everywhere; the rest is nodata where not known.  A cell is
measured where it has a sigma, and seen by two photographs where it has a confidence."""
GROUND_BYTES_PER_CELL = 4 * 4 * 2


def measure_surface(job: Job) -> Figures:
    """Measure the surface of a survey tile by tile; writes the ground's tiles."""
    from photogrammetry.extent import flying_heights, ground_sample_distance, height_range
    from photogrammetry.surface import SurfaceOptions, measure_tile
    from photogrammetry.views import views_of

    reconstruction = read_surveying(job)
    _, _, captures = read_survey(job)
    complete_pictures(job, captures)
    gsd_m = ground_sample_distance(reconstruction)
    cell_m = neat(gsd_m * SURFACE_CELLS[job.options["quality"]], reconstruction)
    grid = Grid.from_bounds(
        _bounds(reconstruction, job.options["area_wkt"]), cell_m, reconstruction.frame.crs
    )
    require_space(job.out, grid.rows * grid.cols * GROUND_BYTES_PER_CELL, "measuring the surface")
    ground = create_tiled(job.out / GROUND, grid, bands=4, nodata=NODATA, tile_cells=SURFACE_TILE)
    views, store, options = views_of(reconstruction), picture_store(job), SurfaceOptions()
    points = reconstruction.frame.map_from_world(reconstruction.points)
    height_agl_m = float(np.median(flying_heights(reconstruction)))

    def measure(tile: Tile) -> None:
        z_range_m = height_range(points, grid.window(tile).bounds, height_agl_m)
        found = measure_tile(
            grid, tile, views, reconstruction.frame, store, z_range_m, options=options
        )
        bands = (
            found.height,
            found.confidence,
            found.views,
            np.where(found.measured, found.sigma, np.nan),
        )
        ground.write(tile, np.nan_to_num(np.stack(bands), nan=NODATA))

    if not work_tiles(job, ground, measure, "Measuring the surface"):
        return {}
    return {
        "gsd_m": gsd_m,
        "cell_m": cell_m,
        "height_agl_m": height_agl_m,
        **_coverage(ground),
    }


def write_elevation(job: Job) -> Figures:
    """Write the surface model and its companions from the ground's tiles."""
    ground = open_tiled(job.inputs["surface"] / GROUND)
    _, settings, _ = read_survey(job)
    cells = ground.grid.rows * ground.grid.cols
    require_space(job.out, cells * 30, "writing the surface model")
    rasters = {
        product.file: create_tiled(
            job.scratch / product.file,
            ground.grid,
            dtype=np.uint8 if product is DSM_VIEWS else np.float32,
            nodata=NO_VIEWS if product is DSM_VIEWS else NODATA,
            tile_cells=ground.tile_cells,
        )
        for product in ELEVATION_PRODUCTS
    }

    def write(tile: Tile) -> None:
        layers = _elevation_tile(ground, tile, job.options["fill"], job.options["area_wkt"])
        for file, layer in layers.items():
            rasters[file].write(tile, layer[None])

    tiles = ground.tiles()
    for _ in job.track(
        map_threads(write, tiles, workers=job.workers), "Writing the surface model", len(tiles)
    ):
        pass
    tags = product_tags(settings.vertical_datum)
    for product in ELEVATION_PRODUCTS:
        finish_cog(
            rasters[product.file],
            job.out / product.file,
            overviews="nearest" if product is DSM_VIEWS else "average",
            descriptions=product.bands,
            units=(product.unit,),
            tags=tags,
            threads=job.workers,
        )
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued:
    """The ground of a window; all arrays (rows, cols)."""

    height: Array
    """Heights as measured, and continued over the gaps; nodata beyond the raster."""
    confidence: Array
    views: Array
    sigma: Array
    measured: NDArray[np.bool_]
    mapped: NDArray[np.bool_]
    """Cells that belong to the map: measured ones, and the gaps among them."""


def read_continued(ground: TiledRaster, window: Tile) -> Continued:
    """Read the ground of a window, which may reach beyond the raster, with its gaps closed."""
    from photogrammetry.coverage import REACH_CELLS, continued_heights, mapped_ground

    wide = ground.read(window.grown(REACH_CELLS))
    measured, asked = wide[SIGMA] != NODATA, wide[HEIGHT] != NODATA
    mapped = mapped_ground(measured, asked, asked)
    wide[HEIGHT] = continued_heights(wide[HEIGHT], measured)
    core = (slice(REACH_CELLS, -REACH_CELLS), slice(REACH_CELLS, -REACH_CELLS))
    height, confidence, views, sigma = wide[:, core[0], core[1]]
    return Continued(
        height=height,
        confidence=confidence,
        views=views,
        sigma=sigma,
        measured=measured[core],
        mapped=mapped[core],
    )


def _elevation_tile(
    ground: TiledRaster, tile: Tile, fill: bool, area_wkt: str | None
) -> dict[str, Array]:
    """Return the products' cells of one tile by file; heights rounded to the millimetre."""
    found = read_continued(ground, tile)
    asked = inside_area(ground.grid, tile, area_wkt)
    shown = (found.mapped if fill else found.measured) & asked
    measured = found.measured & asked
    return {
        DSM.file: np.where(shown, np.round(found.height, 3), NODATA),
        DSM_SIGMA.file: np.where(measured, np.round(found.sigma, 4), NODATA),
        DSM_CONFIDENCE.file: np.where(measured, np.round(found.confidence, 2), NODATA),
        DSM_VIEWS.file: np.where(measured, found.views, NO_VIEWS),
    }


def inside_area(grid: Grid, tile: Tile, area_wkt: str | None) -> NDArray[np.bool_]:
    """Return which cells of a tile have their centre inside the asked area, (rows, cols)."""
    if area_wkt is None:
        return np.ones((tile.rows, tile.cols), np.bool_)
    from rasterio.features import geometry_mask
    from shapely import from_wkt

    return np.asarray(
        geometry_mask(
            [from_wkt(area_wkt)],
            (tile.rows, tile.cols),
            grid.window(tile).transform,
            invert=True,
        ),
        np.bool_,
    )


def product_tags(vertical_datum: str) -> dict[str, str]:
    """Return the tags that every raster carries."""
    return {
        "SOFTWARE": f"Terrestrial Mapping Platform {version(DISTRIBUTION)}",
        "ENVIRONMENT": environment_in_short(),
        "VERTICAL_DATUM": str(vertical_datum),
    }


def neat(cell_m: float, reconstruction: Reconstruction) -> float:
    """Round a cell down to whole millimetres, where metres mean anything."""
    if not reconstruction.frame.referenced:
        return cell_m
    return max(math.floor(cell_m * 1000) / 1000, 0.001)


def _bounds(
    reconstruction: Reconstruction, area_wkt: str | None
) -> tuple[float, float, float, float]:
    from photogrammetry.extent import mapped_bounds

    block = mapped_bounds(reconstruction)
    if area_wkt is None:
        return block
    from shapely import from_wkt

    area = from_wkt(area_wkt).bounds
    low = np.maximum(block[:2], area[:2])
    high = np.minimum(block[2:], area[2:])
    if (low >= high).any():
        raise InputError("--area: no two photographs see any of it; draw it over the flight")
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _coverage(ground: TiledRaster) -> dict[str, Any]:
    """Summarise the ground tile by tile."""
    measured = seen = 0
    sigmas: list[Array] = []
    for height, confidence, _, sigma in _tiles_of(ground):
        del height
        measured += int((sigma != NODATA).sum())
        seen += int((confidence != NODATA).sum())
        sigmas.append(sigma[::8, ::8][sigma[::8, ::8] != NODATA])
    known = np.concatenate(sigmas) if sigmas else np.zeros(0)
    if measured == 0:
        raise InputError(
            "the photographs show no surface that two of them agree on; "
            "see the overlap in the photographs, and the cameras in survey.toml"
        )
    return {
        "measured_m2": measured * ground.grid.cell_m**2,
        "seen_twice_m2": seen * ground.grid.cell_m**2,
        "median_sigma_m": float(np.median(known)) if len(known) else None,
    }


def _tiles_of(ground: TiledRaster) -> Iterator[Array]:
    for tile in ground.tiles():
        yield ground.read(tile)
