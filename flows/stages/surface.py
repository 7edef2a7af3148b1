"""The stages that measure the ground: the surface by tiles, its rasters, and the point cloud."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.engine.cost import SURFACE_CELLS
from flows.engine.result import DISTRIBUTION, environment_in_short
from flows.engine.stage import Figures, Job, work_tiles
from flows.products.table import CLOUD, DSM, DSM_CONFIDENCE, DSM_SIGMA, DSM_VIEWS, ORTHOMOSAIC
from flows.stages.inputs import (
    complete_pictures,
    picture_store,
    read_survey,
    read_surveying,
    require_space,
)
from tmp.errors import InputError
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import TILE_CELLS, TiledRaster, create_tiled, finish_cog, open_tiled, read_grid
from tmp.reconstruction import Reconstruction
from tmp.threads import map_threads

if TYPE_CHECKING:
    from photogrammetry.surface.measure import TileSurface
    from photogrammetry.surface.trend import Trend

Array = NDArray[Any]
Bounds = tuple[float, float, float, float]

SURFACE_TILE = 512
NODATA = -9999.0
NO_VIEWS = 255
ELEVATION_PRODUCTS = (DSM, DSM_SIGMA, DSM_CONFIDENCE, DSM_VIEWS)

GROUND = "ground"
"""Folder of the surface's tiles in the surface stage's results."""
HEIGHT, CONFIDENCE, VIEWS, SIGMA = range(4)
"""Bands of the ground: a height everywhere; the rest is nodata where not known.  A cell is
measured where it has a sigma, and seen by two photographs where it has a confidence."""
CONTINUED = "continued"
"""Folder below the ground's own of the sheet on which it goes on; see `read_sheet`."""
GROUND_BYTES_PER_CELL = 4 * 4 * 2


def measure_surface(job: Job) -> Figures:
    """Measure the surface of a survey tile by tile; writes the ground's tiles."""
    from photogrammetry.surface.measure import SurfaceOptions, measure_tile
    from photogrammetry.surface.search import seek_ground
    from photogrammetry.surface.trend import flying_heights, ground_sample_distance, survey_trend
    from photogrammetry.views import views_of

    reconstruction = read_surveying(job)
    _, _, captures = read_survey(job)
    complete_pictures(job, captures)
    gsd_m = ground_sample_distance(reconstruction)
    cell_m = neat(gsd_m * SURFACE_CELLS[job.options["quality"]], reconstruction)
    trend = survey_trend(reconstruction)
    bounds, twice = _bounds(reconstruction, trend, job.options["area_wkt"])
    grid = Grid.from_bounds(bounds, cell_m, reconstruction.frame.crs)
    require_space(job.out, grid.rows * grid.cols * GROUND_BYTES_PER_CELL, "measuring the surface")
    ground = create_tiled(job.out / GROUND, grid, bands=4, nodata=NODATA, tile_cells=SURFACE_TILE)
    views, store, options = views_of(reconstruction), picture_store(job), SurfaceOptions()
    points = reconstruction.frame.map_from_world(reconstruction.points)
    height_agl_m = float(np.median(flying_heights(reconstruction)))

    def measure(tile: Tile) -> None:
        guess = trend.over(*grid.window(tile).cell_centres())
        part = _within(grid, tile, twice)
        if part is None:
            ground.write(tile, _ground_bands(guess, tile, None, None))
            return
        found = measure_tile(
            grid,
            part,
            views,
            reconstruction.frame,
            store,
            seek_ground(points, trend, grid.window(part).bounds, height_agl_m),
            options=options,
        )
        ground.write(tile, _ground_bands(guess, tile, part, found))

    if not work_tiles(job, ground, measure, "Measuring the surface"):
        return {}
    continue_ground(ground, points, height_agl_m)
    return {
        "gsd_m": gsd_m,
        "cell_m": cell_m,
        "height_agl_m": height_agl_m,
        **_coverage(ground),
    }


def _ground_bands(guess: Array, tile: Tile, part: Tile | None, found: TileSurface | None) -> Array:
    """Return the ground's bands over a tile, of which a part was measured."""
    bands = np.full((4, tile.rows, tile.cols), NODATA, np.float32)
    bands[HEIGHT] = guess
    if part is not None and found is not None:
        sigma = np.where(found.measured, found.sigma, np.nan)
        row, col = part.row - tile.row, part.col - tile.col
        bands[:, row : row + part.rows, col : col + part.cols] = np.nan_to_num(
            np.stack((found.height, found.confidence, found.views, sigma)), nan=NODATA
        )
    return bands


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
    """Heights as measured, and continued over gaps and beyond the rim, everywhere."""
    confidence: Array
    views: Array
    """Agreeing photographs; 0 where a measured cell was bridged from its surroundings."""
    sigma: Array
    measured: NDArray[np.bool_]
    mapped: NDArray[np.bool_]
    """Cells whose height is known or continued well enough to draw a picture on."""


def read_continued(ground: TiledRaster, window: Tile) -> Continued:
    """Read the ground of a window, which may reach beyond the raster, with its gaps closed."""
    from photogrammetry.surface.continuation import NEAR_BOX, Standing, blend_into

    wide = window.grown(NEAR_BOX)  # twice half a box
    height, confidence, views, sigma = ground.read(wide)
    sheet, standing = read_sheet(ground, wide)
    asked = height != NODATA
    measured = (sigma != NODATA) & (standing == Standing.TRUSTED)
    height = blend_into(height, measured, sheet, ground.grid.cell_m)
    core = (slice(NEAR_BOX, -NEAR_BOX), slice(NEAR_BOX, -NEAR_BOX))
    return Continued(
        height=height[core],
        confidence=confidence[core],
        views=views[core],
        sigma=sigma[core],
        measured=measured[core],
        mapped=(asked & (standing != Standing.UNKNOWN))[core],
    )


def read_closed(ground: TiledRaster, window: Tile) -> NDArray[np.bool_]:
    """Return which cells of a window are measured or lie in a gap among measured ones."""
    from photogrammetry.surface.continuation import REACH_CELLS, Standing, closed_ground

    wide = window.grown(REACH_CELLS)
    height, confidence, _, sigma = ground.read(wide)
    _, standing = read_sheet(ground, wide)
    measured = (sigma != NODATA) & (standing == Standing.TRUSTED)
    closed = closed_ground(measured, confidence != NODATA, height != NODATA)
    return closed[REACH_CELLS:-REACH_CELLS, REACH_CELLS:-REACH_CELLS]


def read_sheet(ground: TiledRaster, window: Tile) -> tuple[Array, Array]:
    """Return the sheet on which the ground goes on, and what stands, in a window's cells.

    Returns
    -------
    height : ndarray of shape (rows, cols), float32
        Map heights, interpolated; beyond the raster its rim goes on.
    standing : ndarray of shape (rows, cols), float32
        See `photogrammetry.surface.continuation.Standing`.
    """
    from photogrammetry.surface.continuation import COARSE_CELLS
    from photogrammetry.surface.trend import Trend

    coarse = open_tiled(ground.folder / CONTINUED)
    grid = coarse.grid
    row0, col0 = window.row // COARSE_CELLS - 1, window.col // COARSE_CELLS - 1
    rows = (window.row + window.rows) // COARSE_CELLS + 2 - row0
    cols = (window.col + window.cols) // COARSE_CELLS + 2 - col0
    # What lies beyond the raster is as its nearest cell; windows far outside see one cell.
    row = np.clip(np.arange(row0, row0 + rows), 0, grid.rows - 1)
    col = np.clip(np.arange(col0, col0 + cols), 0, grid.cols - 1)
    part = Tile(
        row=int(row[0]), col=int(col[0]), rows=int(np.ptp(row)) + 1, cols=int(np.ptp(col)) + 1
    )
    height, standing = coarse.read(part)[:, (row - row[0])[:, None], col - col[0]]
    x, y = ground.grid.window(window).cell_centres()
    sheet = Trend(
        x_min=grid.x_min + col0 * grid.cell_m,
        y_max=grid.y_max - row0 * grid.cell_m,
        cell_m=grid.cell_m,
        height=height.astype(float),
    )
    i = np.arange(window.row, window.row + window.rows) // COARSE_CELLS - row0
    j = np.arange(window.col, window.col + window.cols) // COARSE_CELLS - col0
    return sheet.over(x, y).astype(np.float32), standing[i[:, None], j]


def _elevation_tile(
    ground: TiledRaster, tile: Tile, fill: bool, area_wkt: str | None
) -> dict[str, Array]:
    """Return the products' cells of one tile by file; heights rounded to the millimetre."""
    found = read_continued(ground, tile)
    asked = inside_area(ground.grid, tile, area_wkt)
    shown = (read_closed(ground, tile) if fill else found.measured) & asked
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
    reconstruction: Reconstruction, trend: Trend, area_wkt: str | None
) -> tuple[Bounds, Bounds]:
    """Return the bounds of what one photograph sees, and of what two see, within the area."""
    from photogrammetry.surface.trend import mapped_bounds

    twice = mapped_bounds(reconstruction, trend, least_views=2)
    block = mapped_bounds(reconstruction, trend)
    if area_wkt is None:
        return block, twice
    from shapely import from_wkt

    area = from_wkt(area_wkt).bounds
    low = np.maximum(block[:2], area[:2])
    high = np.minimum(block[2:], area[2:])
    if (np.maximum(twice[:2], low) >= np.minimum(twice[2:], high)).any():
        raise InputError("--area: no two photographs see any of it; draw it over the flight")
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1])), twice


def _within(grid: Grid, tile: Tile, bounds: Bounds) -> Tile | None:
    """Return the part of a tile within bounds, grown to whole coarse cells; None if there is none.

    Whole coarse cells, so that the pyramids of neighbouring tiles share their cells.
    """
    from photogrammetry.surface.continuation import COARSE_CELLS

    def snapped(distance_m: float, least: int, most: int, up: bool) -> int:
        cells = distance_m / (grid.cell_m * COARSE_CELLS)
        whole = math.ceil(cells - 1e-6) if up else math.floor(cells + 1e-6)
        return min(max(whole * COARSE_CELLS, least), most)

    rows, cols = (tile.row, tile.row + tile.rows), (tile.col, tile.col + tile.cols)
    row0 = snapped(grid.y_max - bounds[3], *rows, up=False)
    row1 = snapped(grid.y_max - bounds[1], *rows, up=True)
    col0 = snapped(bounds[0] - grid.x_min, *cols, up=False)
    col1 = snapped(bounds[2] - grid.x_min, *cols, up=True)
    if row1 <= row0 or col1 <= col0:
        return None
    return Tile(row=row0, col=col0, rows=row1 - row0, cols=col1 - col0, name=tile.name)


def continue_ground(ground: TiledRaster, points: Array, height_agl_m: float) -> None:
    """Decide which of the ground stands, and store beside its tiles how it goes on.

    Parameters
    ----------
    ground : TiledRaster
        With all its tiles.
    points : ndarray of shape (N, 3)
        Tie points, map.
    height_agl_m : float
        Flying height above the ground.
    """
    from photogrammetry.surface.continuation import Summary, continue_surface

    summary = Summary.empty(ground.grid)
    for tile in ground.tiles():
        height, _, views, sigma = ground.read(tile)
        summary.add(tile, height, sigma != NODATA, views)
    continued = continue_surface(summary, points, height_agl_m)
    coarse = create_tiled(
        ground.folder / CONTINUED, summary.grid, bands=2, nodata=NODATA, tile_cells=SURFACE_TILE
    )
    layers = np.stack([continued.height, continued.standing])
    for tile in coarse.tiles():
        coarse.write(
            tile, layers[:, tile.row : tile.row + tile.rows, tile.col : tile.col + tile.cols]
        )


def _coverage(ground: TiledRaster) -> dict[str, Any]:
    """Summarise the ground tile by tile."""
    from photogrammetry.surface.continuation import Standing

    measured = seen = 0
    sigmas: list[Array] = []
    for tile in ground.tiles():
        _, confidence, _, sigma = ground.read(tile)
        _, standing = read_sheet(ground, tile)
        known = (sigma != NODATA) & (standing == Standing.TRUSTED)
        measured += int(known.sum())
        seen += int((confidence != NODATA).sum())
        sigmas.append(sigma[::8, ::8][known[::8, ::8]])
    values = np.concatenate(sigmas) if sigmas else np.zeros(0)
    if measured == 0:
        raise InputError(
            "the photographs show no surface that two of them agree on; "
            "see the overlap in the photographs, and the cameras in survey.toml"
        )
    return {
        "measured_m2": measured * ground.grid.cell_m**2,
        "seen_twice_m2": seen * ground.grid.cell_m**2,
        "median_sigma_m": float(np.median(values)) if len(values) else None,
    }


def make_cloud(job: Job) -> Figures:
    """Write the surface model as coloured points."""
    from photogrammetry.surface.cloud import (
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
