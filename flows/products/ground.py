"""The measured ground: tiles of the surface stage, how it goes on where nothing is known; water."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from flows.products.table import SURFACE_TILE
from tmp.errors import InputError
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import TiledRaster, create_tiled, open_tiled

Array = NDArray[Any]

NODATA = -9999.0
NO_VIEWS = 255
GROUND = "ground"
"""Folder of the surface's tiles in the surface stage's results."""
HEIGHT, CONFIDENCE, VIEWS, SIGMA = range(4)
"""Bands of the ground: a height everywhere; the rest is nodata where not known.  A cell is
measured where it has a sigma, and seen by two photographs where it has a confidence."""
CONTINUED = "continued"
"""Folder below the ground's own of the sheet on which it goes on; see `read_sheet`."""
RIM_CELLS = 8
"""Width in cells of the strip along a shore whose heights tell how high the water lies."""
SHORE_SHARE = 0.25
"""Share of those heights that lie below the water's: ground rises from a shore, so the lowest lie
at the waterline, but the very lowest are errors, or bed where the shore was drawn too narrow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Water:
    """Water as it was drawn, each piece level at the height of its shore."""

    polygons: tuple[shapely.Polygon, ...] = ()
    """Map coordinates; none overlaps another."""
    levels_m: tuple[float, ...] = ()
    """Map height of each."""

    def over(self, grid: Grid, tile: Tile) -> tuple[NDArray[np.bool_], Array]:
        """Return which cells of a tile have their centre in water, and its height there (NaN else).

        Both are (rows, cols), the heights float32.
        """
        window = grid.window(tile)
        box = shapely.box(*window.bounds)
        near = [n for n, polygon in enumerate(self.polygons) if polygon.intersects(box)]
        number = np.zeros((tile.rows, tile.cols), np.int32)
        if near:
            from rasterio.features import rasterize

            shapes = [(self.polygons[n], n + 1) for n in near]
            rasterize(shapes, out=number, transform=window.transform)
        return number > 0, np.array([np.nan, *self.levels_m], np.float32)[number]


NO_WATER = Water()


def continue_ground(ground: TiledRaster, points: Array, height_agl_m: float) -> None:
    """Decide which of the ground stands, and store beside its tiles how it goes on.

    The tie points (N, 3) are in map coordinates; the height is that of flying, above the ground.
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
    water: NDArray[np.bool_]
    """Cells in water, level at its shore's height; none of them is measured."""


def read_continued(ground: TiledRaster, window: Tile, water: Water = NO_WATER) -> Continued:
    """Read the ground of a window, which may reach beyond the raster, with its gaps closed.

    What was measured within water is passed over; gaps beside it are closed from its level too.
    """
    from photogrammetry.surface.continuation import NEAR_BOX, Standing, blend_into

    wide = window.grown(NEAR_BOX)  # twice half a box
    height, confidence, views, sigma = ground.read(wide)
    sheet, standing = read_sheet(ground, wide)
    asked = height != NODATA
    wet, level = water.over(ground.grid, wide)
    measured = (sigma != NODATA) & (standing == Standing.TRUSTED) & ~wet
    height = np.where(wet, level, height)
    height = blend_into(height, measured | wet, sheet, ground.grid.cell_m)
    core = (slice(NEAR_BOX, -NEAR_BOX), slice(NEAR_BOX, -NEAR_BOX))
    return Continued(
        height=height[core],
        confidence=confidence[core],
        views=views[core],
        sigma=sigma[core],
        measured=measured[core],
        mapped=(asked & ((standing != Standing.UNKNOWN) | wet))[core],
        water=wet[core],
    )


def read_water(ground: TiledRaster, water_wkt: str | None) -> Water:
    """Return the water that was drawn on a ground, level at the lower quartile of its shore.

    The shore is the measured ground within `RIM_CELLS` of a piece's outline, islands' too; where
    none of it was measured, the sheet on which the ground goes on tells its height.

    Raises
    ------
    InputError
        If no polygon lies on the ground, or one leaves none of it.
    """
    if water_wkt is None:
        return NO_WATER
    drawn = shapely.from_wkt(water_wkt)
    box = shapely.box(*ground.grid.bounds)
    polygons = tuple(part for part in shapely.get_parts(drawn) if part.intersects(box))
    if not polygons:
        raise InputError(
            "--water: none of its polygons lies on the ground that was photographed; "
            "check their CRS, or leave it away"
        )
    wide = shapely.buffer(polygons, RIM_CELLS * ground.grid.cell_m)
    levels_m = tuple(_shore_height(ground, rim) for rim in shapely.difference(wide, drawn))
    return Water(polygons=polygons, levels_m=levels_m)


def _shore_height(ground: TiledRaster, rim: shapely.Geometry) -> float:
    """Return the lower quartile of the heights in a rim, map."""
    from photogrammetry.surface.continuation import Standing

    known, guessed = [], []
    for tile in ground.tiles():
        if not rim.intersects(shapely.box(*ground.grid.window(tile).bounds)):
            continue
        height, _, _, sigma = ground.read(tile)
        sheet, standing = read_sheet(ground, tile)
        asked = inside_area(ground.grid, tile, rim.wkt)
        measured = asked & (sigma != NODATA) & (standing == Standing.TRUSTED)
        known.append(height[measured])
        guessed.append(sheet[asked])
    for heights in (known, guessed):
        if sum(map(len, heights)):
            return float(np.quantile(np.concatenate(heights), SHORE_SHARE))
    raise InputError(
        "--water: a polygon leaves no ground that was photographed; draw it along the shore"
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
