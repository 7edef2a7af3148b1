"""The stage that takes away what stands on the ground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.engine.cost import OfTiles, Raster
from flows.engine.stage import Figures, Stage
from flows.products.ground import (
    GROUND,
    NODATA,
    Water,
    inside_area,
    read_closed,
    read_continued,
    read_water,
)
from flows.products.table import DTM, DTM_SIGMA
from flows.stages.inputs import product_tags, read_survey, require_space
from tmp.geo.grids import Tile, means_of_squares
from tmp.geo.rasters import TiledRaster, create_tiled, finish_cog, open_tiled

if TYPE_CHECKING:
    from photogrammetry.terrain.bare_ground import BareGround

MOST_CELLS = 2**23
"""Cells by which is decided what is ground; of a larger survey several are taken as one."""
BYTES_PER_CELL = 24


class Terrain(Stage):
    """Write the bare ground from the ground's tiles."""

    name = "terrain"
    version = "1"
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
        rasters = {
            product.file: create_tiled(
                space.scratch / product.file, grid, nodata=NODATA, tile_cells=ground.tile_cells
            )
            for product in (DTM, DTM_SIGMA)
        }
        measured = interpolated = 0
        tiles = ground.tiles()
        for tile in space.track(tiles, self.label, len(tiles)):
            height, sigma, own = _terrain_tile(ground, tile, water, bare, times)
            shown = read_closed(ground, tile) & inside_area(grid, tile, space.options["area_wkt"])
            shown &= ~water.over(grid, tile)[0]
            rasters[DTM.file].write(tile, np.where(shown, np.round(height, 3), NODATA)[None])
            rasters[DTM_SIGMA.file].write(tile, np.where(shown, np.round(sigma, 4), NODATA)[None])
            measured += int((shown & own).sum())
            interpolated += int((shown & ~own).sum())
        for product in (DTM, DTM_SIGMA):
            finish_cog(
                rasters[product.file],
                space.out / product.file,
                overviews="average",
                descriptions=product.bands,
                units=(product.unit_in(grid.crs),),
                tags=product_tags(settings.vertical_datum, grid.crs),
                threads=space.workers,
            )
        area_m2 = grid.cell_m**2
        return {
            "ground_m2": measured * area_m2,
            "interpolated_m2": interpolated * area_m2,
            "cell_m": grid.cell_m * times,
        }


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
