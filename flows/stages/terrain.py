"""The stages of the bare ground, and of what is told from it: heights above it, slope, contours."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.engine.cost import OfTiles, Raster
from flows.engine.stage import Figures, Stage, Workspace
from flows.products.ground import (
    GROUND,
    NODATA,
    Water,
    inside_area,
    read_closed,
    read_continued,
    read_water,
)
from flows.products.table import (
    CONTOURS,
    DSM,
    DSM_SIGMA,
    DTM,
    DTM_SIGMA,
    HEIGHT_ABOVE_GROUND,
    HEIGHT_ABOVE_GROUND_SIGMA,
    SLOPE,
    SURFACE_TILE,
    Kind,
    Product,
)
from flows.stages.inputs import product_tags, read_survey, require_space
from tmp.files import replacing
from tmp.geo.grids import Grid, Tile, means_of_squares
from tmp.geo.rasters import (
    TILE_CELLS,
    TiledRaster,
    create_tiled,
    finish_cog,
    open_tiled,
    read_grid,
    read_window,
)
from tmp.survey import Settings
from tmp.threads import map_threads

if TYPE_CHECKING:
    from photogrammetry.terrain.bare_ground import BareGround

MOST_CELLS = 2**23
"""Cells by which is decided what is ground; of a larger survey several are taken as one."""
BYTES_PER_CELL = 24


Layers = Mapping[str, NDArray[Any]]
"""Cells of a tile, (rows, cols), for each product's file."""


class Terrain(Stage):
    """Write the bare ground from the ground's tiles."""

    name = "terrain"
    version = "2"
    after = ("surface",)
    options = ("area_wkt", "water_wkt")
    label = "Taking away what stands on the ground"
    needs = OfTiles(cpus=1, raster=Raster.SURFACE, base_gb=1.2, cpu_s_per_tile=0.6)

    def finish(self) -> Figures:
        """Write heights and doubt."""
        space = self.space
        ground = open_tiled(space.inputs["surface"] / GROUND)
        grid = ground.grid
        _, settings, _ = read_survey(space)
        require_space(space.out, grid.rows * grid.cols * BYTES_PER_CELL, "writing the terrain")
        water = read_water(ground, space.options["water_wkt"])
        times, bare = _bare_ground(ground, water)
        measured = interpolated = 0

        def make(tile: Tile) -> Layers:
            nonlocal measured, interpolated
            height, sigma, own = _terrain_tile(ground, tile, water, bare, times)
            shown = read_closed(ground, tile) & inside_area(grid, tile, space.options["area_wkt"])
            shown &= ~water.over(grid, tile)[0]
            measured += int((shown & own).sum())
            interpolated += int((shown & ~own).sum())
            return {
                DTM.file: np.where(shown, np.round(height, 3), NODATA),
                DTM_SIGMA.file: np.where(shown, np.round(sigma, 4), NODATA),
            }

        write_rasters(space, grid, settings, (DTM, DTM_SIGMA), make, self.label)
        area_m2 = grid.cell_m**2
        return {
            "ground_m2": measured * area_m2,
            "interpolated_m2": interpolated * area_m2,
            "cell_m": grid.cell_m * times,
        }


class AboveGround(Stage):
    """Write how high the surface lies above the bare ground."""

    name = "above_ground"
    version = "1"
    after = ("elevation", "terrain")
    label = "Measuring heights above the ground"
    needs = OfTiles(cpus=2, raster=Raster.SURFACE, base_gb=0.5, gb_per_cpu=0.1, cpu_s_per_tile=0.4)

    def finish(self) -> Figures:
        """Write the difference of surface and ground, and its doubt."""
        space = self.space
        surface, terrain = space.inputs["elevation"], space.inputs["terrain"]
        sources = [surface / DSM.file, surface / DSM_SIGMA.file]
        sources += [terrain / DTM.file, terrain / DTM_SIGMA.file]
        grid = read_grid(sources[0])
        _, settings, _ = read_survey(space)
        require_space(space.out, grid.rows * grid.cols * BYTES_PER_CELL, "writing heights")

        def make(tile: Tile) -> Layers:
            dsm, dsm_sigma, dtm, dtm_sigma = (read_known(path, tile) for path in sources)
            above = dsm - dtm
            # Where the surface is the ground there is one measurement, and its doubt.
            sigma = np.where(above == 0, dsm_sigma, np.hypot(dsm_sigma, dtm_sigma))
            return {
                HEIGHT_ABOVE_GROUND.file: np.nan_to_num(np.round(above, 3), nan=NODATA),
                HEIGHT_ABOVE_GROUND_SIGMA.file: np.nan_to_num(np.round(sigma, 4), nan=NODATA),
            }

        write_rasters(
            space,
            grid,
            settings,
            (HEIGHT_ABOVE_GROUND, HEIGHT_ABOVE_GROUND_SIGMA),
            make,
            self.label,
            workers=space.workers,
        )
        return {}


class Slope(Stage):
    """Write the slope of the bare ground."""

    name = "slope"
    version = "1"
    after = ("terrain",)
    label = "Measuring slopes"
    needs = OfTiles(cpus=2, raster=Raster.SURFACE, base_gb=0.5, gb_per_cpu=0.1, cpu_s_per_tile=0.6)

    def finish(self) -> Figures:
        """Write it tile by tile."""
        from photogrammetry.surface.cloud import normals_of

        space = self.space
        source = space.inputs["terrain"] / DTM.file
        grid = read_grid(source)
        _, settings, _ = read_survey(space)
        require_space(space.out, grid.rows * grid.cols * BYTES_PER_CELL, "writing slopes")

        def make(tile: Tile) -> Layers:
            east, north, up = np.moveaxis(
                normals_of(read_known(source, tile.grown(1)), grid.cell_m)[1:-1, 1:-1], 2, 0
            )
            slope = np.degrees(np.arctan2(np.hypot(east, north), up))
            return {SLOPE.file: np.nan_to_num(np.round(slope, 2), nan=NODATA)}

        write_rasters(space, grid, settings, (SLOPE,), make, self.label, workers=space.workers)
        return {}


class ContourLines(Stage):
    """Draw contour lines of the bare ground."""

    name = "contours"
    version = "1"
    after = ("terrain",)
    options = ("interval_m",)
    label = "Drawing contours"
    needs = OfTiles(cpus=1, raster=Raster.SURFACE, base_gb=0.8, cpu_s_per_tile=1.0)

    def finish(self) -> Figures:
        """Draw them tile by tile, and join them."""
        from photogrammetry.terrain.contours import (
            HALO_CELLS,
            choose_interval,
            contour_heights,
            draw_contours,
            join_contours,
            smoothed,
        )

        space = self.space
        source = space.inputs["terrain"] / DTM.file
        grid = read_grid(source)
        low, high, relief_m, sigma_m = _relief(source, space.inputs["terrain"] / DTM_SIGMA.file)
        interval_m = space.options["interval_m"] or choose_interval(relief_m, sigma_m)
        heights = contour_heights(low, high, interval_m)

        def draw(tile: Tile) -> Mapping[float, Sequence[NDArray[np.float64]]]:
            wide = read_known(source, tile.grown(HALO_CELLS + 1)).astype(float)
            # One row and column of the next tiles, so that lines go on there.
            own = slice(HALO_CELLS + 1, -HALO_CELLS or None)
            return draw_contours(smoothed(wide)[own, own], heights, row=tile.row, col=tile.col)

        tiles = list(grid.tiles(TILE_CELLS))
        drawn = map_threads(draw, tiles, workers=space.workers)
        found = join_contours(
            (lines for _, lines in space.track(drawn, self.label, len(tiles))),
            x_min=grid.x_min,
            y_max=grid.y_max,
            cell_m=grid.cell_m,
            interval_m=interval_m,
        )
        _write_lines(space.out / CONTOURS.file, found.shapes, found.heights, found.index, grid.crs)
        return {"interval_m": interval_m, "lines": len(found.shapes)}


def read_known(path: Path, tile: Tile) -> NDArray[np.float32]:
    """Return a rectangle of a product of heights (rows, cols), NaN where it has no value."""
    values: NDArray[np.float32] = read_window(path, tile, fill=NODATA)[0].astype(np.float32)
    values[values == NODATA] = np.nan
    return values


def _relief(heights: Path, sigmas: Path) -> tuple[float, float, float, float]:
    """Return the lowest and highest height, the relief, and the median standard deviation.

    The relief is that of all but a hundredth of the ground at either end.
    """
    grid = read_grid(heights)
    low, high, doubts, some = np.inf, -np.inf, [], []
    for tile in grid.tiles(TILE_CELLS):
        values = read_known(heights, tile)
        known = np.isfinite(values)
        if known.any():
            low, high = min(low, float(values[known].min())), max(high, float(values[known].max()))
            doubts.append(read_known(sigmas, tile)[known][::16])
            some.append(values[known][::16])
    if not doubts:
        return 0.0, 0.0, 0.0, 0.0
    ends = np.percentile(np.concatenate(some), (1, 99))
    return low, high, float(np.ptp(ends)), float(np.nanmedian(np.concatenate(doubts)))


def _write_lines(
    path: Path,
    shapes: NDArray[Any],
    heights: NDArray[np.float64],
    index: NDArray[np.bool_],
    crs: str | None,
) -> None:
    """Write contours as a GeoPackage."""
    import pyogrio
    import shapely

    with replacing(path) as temporary, _undated(), warnings.catch_warnings():
        # A map without a place has no CRS, and is told so elsewhere.
        warnings.filterwarnings("ignore", "'crs' was not provided")
        pyogrio.raw.write(
            temporary,
            shapely.to_wkb(shapes),
            [heights, index.astype(np.int32)],
            ["height", "index"],
            layer="contours",
            driver="GPKG",
            geometry_type="LineString",
            crs=crs,
        )


@contextmanager
def _undated() -> Iterator[None]:
    """Have GeoPackages say a day of their own: results are known by their content alone."""
    import pyogrio

    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "1970-01-01T00:00:00.000Z"})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def write_rasters(
    space: Workspace,
    grid: Grid,
    settings: Settings,
    products: Sequence[Product],
    make: Callable[[Tile], Layers],
    label: str,
    *,
    workers: int = 1,
    tile_cells: int = SURFACE_TILE,
) -> None:
    """Write products of one grid tile by tile: measured values, and pictures (rows, cols, 4)."""
    rasters = {
        product.file: create_tiled(
            space.scratch / product.file,
            grid,
            bands=len(product.bands),
            dtype=np.uint8 if product.kind is Kind.PICTURE else np.float32,
            nodata=None if product.kind is Kind.PICTURE else NODATA,
            tile_cells=tile_cells,
        )
        for product in products
    }

    def write(tile: Tile) -> None:
        for file, layer in make(tile).items():
            rasters[file].write(tile, np.moveaxis(np.atleast_3d(layer), 2, 0))

    tiles = list(grid.tiles(tile_cells))
    for _ in space.track(map_threads(write, tiles, workers=workers), label, len(tiles)):
        pass
    for product in products:
        finish_cog(
            rasters[product.file],
            space.out / product.file,
            overviews="average",
            descriptions=product.bands,
            units=(product.unit_in(grid.crs),) * len(product.bands),
            tags=product_tags(settings.vertical_datum, grid.crs),
            threads=space.workers,
        )


def _bare_ground(ground: TiledRaster, water: Water) -> tuple[int, BareGround]:
    """Return the bare ground, and how many cells in a row were taken as one of its cells."""
    from photogrammetry.terrain.bare_ground import find_bare_ground

    grid = ground.grid
    times = 1
    while grid.rows * grid.cols > MOST_CELLS * times**2:
        times *= 2
    coarse = grid.coarser(times)
    height, sigma = np.zeros((2, *coarse.shape), np.float32)
    known = np.zeros(coarse.shape, np.bool_)
    for tile in ground.tiles():
        found = read_continued(ground, tile, water)
        # Water is as sure as ground that it is none of what stands on it.
        sure = found.measured | found.water
        share = means_of_squares(sure, times)
        own = means_of_squares(np.where(sure, found.height, 0), times) / np.maximum(share, 1e-6)
        at = np.s_[tile.row // times :, tile.col // times :]
        size = np.s_[: share.shape[0], : share.shape[1]]
        height[at][size] = np.where(share > 0, own, means_of_squares(found.height, times))
        sigma[at][size] = means_of_squares(np.where(found.measured, found.sigma, 0), times)
        known[at][size] = share > 0
    return times, find_bare_ground(height, known, sigma, coarse.cell_m)


def _terrain_tile(
    ground: TiledRaster, tile: Tile, water: Water, bare: BareGround, times: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Return height and sigma of a tile's terrain, and where they are those of the surface."""
    found = read_continued(ground, tile, water)
    own = found.measured & _spread(bare.ground, tile, times)
    height = np.where(own, found.height, _spread(bare.height, tile, times))
    sigma = np.where(own, found.sigma, _spread(bare.sigma, tile, times))
    return height, sigma, own


def _spread(values: NDArray[Any], tile: Tile, times: int) -> NDArray[Any]:
    """Return coarse values in a tile's cells: heights between their centres, others as they are."""
    if times == 1:
        return np.asarray(values[tile.row : tile.row + tile.rows, tile.col : tile.col + tile.cols])
    row, col = (
        (np.arange(start, start + size) + 0.5) / times - 0.5
        for start, size in ((tile.row, tile.rows), (tile.col, tile.cols))
    )
    if values.dtype == np.bool_:
        return np.asarray(values[np.rint(row).astype(int)[:, None], np.rint(col).astype(int)])
    from scipy.ndimage import map_coordinates

    places = np.meshgrid(row, col, indexing="ij")
    return np.asarray(map_coordinates(values, places, order=1, mode="nearest"), np.float32)
