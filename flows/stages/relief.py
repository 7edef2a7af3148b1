"""The stage of the pictures of relief: light, sky, openness, what rises from its surroundings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.engine.cost import OfTiles, Raster
from flows.engine.stage import Figures, Stage
from flows.products.ground import NODATA
from flows.products.table import (
    HILLSHADE,
    LOCAL_DOMINANCE,
    LOCAL_RELIEF,
    MULTI_HILLSHADE,
    NEGATIVE_OPENNESS,
    POSITIVE_OPENNESS,
    RELIEF,
    RELIEF_SLOPE,
    SKY_VIEW_FACTOR,
    VAT,
)
from flows.stages.inputs import SURVEY, require_space
from flows.stages.terrain import Layers, read_known, write_rasters
from photogrammetry.relief.blend import blend
from photogrammetry.relief.light import Slopes, find_slopes, shade, shade_from_three_sides
from photogrammetry.relief.local import find_local_relief
from photogrammetry.relief.views import Horizons, find_dominance, find_horizons
from tmp.geo.grids import Tile
from tmp.geo.rasters import TILE_CELLS, read_grid
from tmp.survey import open_survey, read_settings

HEIGHTS = "heights"
"""Name of the raster of heights among the inputs."""
LEAST_CELLS, MOST_CELLS = 2, 1000
"""How far a cell may look about, in cells."""
DIGITS = 3
"""Of a picture's values; heights keep millimetres."""
BYTES_PER_CELL = 16.0
"""Of one picture: its tiles, and the product."""

Float32 = NDArray[np.float32]


class Relief(Stage):
    """Write pictures of relief of a raster of heights."""

    name = "relief"
    version = "1"
    options = ("layers", "radius_cells")
    label = "Drawing the relief"
    needs = OfTiles(cpus=2, raster=Raster.SURFACE, base_gb=0.5, gb_per_cpu=0.2, cpu_s_per_tile=3.0)

    def finish(self) -> Figures:
        """Write them tile by tile."""
        space = self.space
        source = space.inputs[HEIGHTS]
        grid = read_grid(source)
        radius: int = space.options["radius_cells"]
        products = [product for product in RELIEF if product.name in space.options["layers"]]
        settings = read_settings(open_survey(space.inputs[SURVEY]))
        needed = grid.rows * grid.cols * BYTES_PER_CELL * len(products)
        require_space(space.out, needed, "drawing the relief")

        def make(tile: Tile) -> Layers:
            heights = read_known(source, tile.grown(2 * radius))
            drawn = TileRelief(heights, grid.cell_m, radius)
            return {product.file: drawn.layer(product.name) for product in products}

        write_rasters(
            space,
            grid,
            settings,
            products,
            make,
            self.label,
            workers=space.workers,
            tile_cells=TILE_CELLS,
        )
        return {"radius_m": radius * grid.cell_m}


class TileRelief:
    """The pictures of relief of a tile, from heights with a halo of twice the radius."""

    def __init__(self, heights: Float32, cell_m: float, radius: int) -> None:
        """Take heights (rows + 4 radius, cols + 4 radius), NaN where unknown; draws nothing yet."""
        self._heights, self._cell_m, self._radius = heights, cell_m, radius

    def layer(self, name: str) -> NDArray[Any]:
        """Return a picture by its product's name, as it is written: nodata and all."""
        if name == MULTI_HILLSHADE.name:
            return self._coloured()
        values = self._values(name)
        return np.nan_to_num(np.round(values, DIGITS), nan=NODATA)

    def _values(self, name: str) -> Float32:
        own: Mapping[str, Any] = {
            VAT.name: self._blended,
            HILLSHADE.name: lambda: self._lit,
            RELIEF_SLOPE.name: lambda: self._slopes.degrees,
            SKY_VIEW_FACTOR.name: lambda: self._horizons.sky_view_factor,
            POSITIVE_OPENNESS.name: lambda: self._horizons.positive_openness,
            NEGATIVE_OPENNESS.name: lambda: self._horizons.negative_openness,
            LOCAL_DOMINANCE.name: lambda: find_dominance(
                self._heights, self._cell_m, 2 * self._radius
            ),
            LOCAL_RELIEF.name: lambda: find_local_relief(self._within(self._radius), self._radius),
        }
        return np.asarray(own[name](), np.float32)

    def _coloured(self) -> NDArray[np.uint8]:
        """Return light from three sides (rows, cols, 4) as bytes, the last band its alpha."""
        light = shade_from_three_sides(self._slopes)
        known = np.isfinite(light[..., :1])
        rgba = np.concatenate([np.where(known, light, 0), known], axis=2)
        return np.round(255 * rgba).astype(np.uint8)

    def _blended(self) -> Float32:
        seen = self._horizons
        return blend(self._lit, self._slopes.degrees, seen.positive_openness, seen.sky_view_factor)

    @cached_property
    def _lit(self) -> Float32:
        return shade(self._slopes)

    @cached_property
    def _slopes(self) -> Slopes:
        return find_slopes(self._within(1), self._cell_m)

    @cached_property
    def _horizons(self) -> Horizons:
        return find_horizons(self._within(self._radius), self._cell_m, self._radius)

    def _within(self, halo: int) -> Float32:
        """Return the heights with a smaller halo."""
        off = 2 * self._radius - halo
        rows, cols = self._heights.shape
        return self._heights[off : rows - off, off : cols - off]
