"""The stages that measure the ground: the surface by tiles, its rasters, and the point cloud."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.engine.cost import SURFACE_CELLS, OfTiles, Quality, Raster
from flows.engine.stage import Figures, Stage, Workspace
from flows.products.ground import (
    GROUND,
    HEIGHT,
    NO_VIEWS,
    NODATA,
    Water,
    continue_ground,
    inside_area,
    read_closed,
    read_continued,
    read_sheet,
    read_water,
)
from flows.products.table import (
    CLOUD,
    CLOUD_COPC,
    DSM,
    DSM_CONFIDENCE,
    DSM_SIGMA,
    DSM_VIEWS,
    DTM,
    ORTHOMOSAIC,
    SURFACE_TILE,
)
from flows.stages.inputs import (
    drawn_halvings,
    neat,
    product_tags,
    read_survey,
    read_surveying,
    ready_views,
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

ELEVATION_PRODUCTS = (DSM, DSM_SIGMA, DSM_CONFIDENCE, DSM_VIEWS)

GROUND_BYTES_PER_CELL = 4 * 4 * 2


class Surface(Stage):
    """Measure the surface of a survey tile by tile."""

    name = "surface"
    version = "4"
    after = ("orientation",)
    options = ("quality", "area_wkt")
    label = "Measuring the surface"
    needs = OfTiles(
        cpus=2,
        raster=Raster.SURFACE,
        base_gb=0.8,
        gb_per_cpu=0.2,
        cpu_s_per_tile=9.0,
        end_s_per_tile=0.3,
        shared_side=SURFACE_TILE,
    )

    def __init__(self, space: Workspace) -> None:
        """Lay the tiles over the ground that two photographs see."""
        from photogrammetry.surface.measure import SurfaceOptions
        from photogrammetry.surface.trend import ground_sample_distance, survey_trend

        super().__init__(space)
        reconstruction = self._reconstruction = read_surveying(space)
        self._gsd_m = ground_sample_distance(reconstruction)
        quality = space.options["quality"]
        drawn_m = self._gsd_m * _drawn_pixels(quality, reconstruction)
        cell_m = neat(drawn_m * SURFACE_CELLS[quality], reconstruction)
        self._options = (
            SurfaceOptions(views=3, levels=3) if quality == Quality.FAST else SurfaceOptions()
        )
        self._trend = survey_trend(reconstruction)
        bounds, self._twice = _bounds(reconstruction, self._trend, space.options["area_wkt"])
        grid = Grid.from_bounds(bounds, cell_m, reconstruction.frame.crs)
        self._ground = create_tiled(
            space.out / GROUND, grid, bands=4, nodata=NODATA, tile_cells=SURFACE_TILE
        )
        self._tiles = {tile.name: tile for tile in self._ground.tiles()}

    def items(self) -> Sequence[str]:
        """Name the tiles."""
        return list(self._tiles)

    def is_made(self, item: str) -> bool:
        """Tell whether a tile has been measured."""
        return self._ground.has(self._tiles[item])

    @contextmanager
    def prepared(self, items: Sequence[str]) -> Iterator[None]:
        """Have the pictures at hand, and the points from which heights are sought."""
        from photogrammetry.surface.trend import flying_heights

        del items
        grid, reconstruction = self._ground.grid, self._reconstruction
        self._views, self._store = ready_views(self.space, reconstruction)
        require_space(
            self.space.out, grid.rows * grid.cols * GROUND_BYTES_PER_CELL, "measuring the surface"
        )
        self._points = reconstruction.frame.map_from_world(reconstruction.points)
        self._height_agl_m = float(np.median(flying_heights(reconstruction)))
        yield

    def make(self, item: str) -> None:
        """Measure a tile; writes its ground."""
        from photogrammetry.surface.measure import measure_tile
        from photogrammetry.surface.search import seek_ground

        tile, grid = self._tiles[item], self._ground.grid
        guess = self._trend.over(*grid.window(tile).cell_centres())
        part = _within(grid, tile, self._twice)
        found = None
        if part is not None:
            bounds = grid.window(part).bounds
            found = measure_tile(
                grid,
                part,
                self._views,
                self._reconstruction.frame,
                self._store,
                seek_ground(self._points, self._trend, bounds, self._height_agl_m),
                options=self._options,
            )
        self._ground.write(tile, _ground_bands(guess, tile, part, found))

    def finish(self) -> Figures:
        """Decide how the ground goes on where it was not measured."""
        continue_ground(self._ground, self._points, self._height_agl_m)
        return {
            "gsd_m": self._gsd_m,
            "cell_m": self._ground.grid.cell_m,
            "height_agl_m": self._height_agl_m,
            **_coverage(self._ground),
        }


def _drawn_pixels(quality: Quality, reconstruction: Reconstruction) -> float:
    """Return the side of a pixel that is drawn, in pixels of the photographs (median)."""
    cameras = (reconstruction.cameras[photo.camera_id] for photo in reconstruction.photos)
    halvings = [drawn_halvings(quality, (one.width_px, one.height_px)) for one in cameras]
    return float(2.0 ** np.median(halvings))


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


class Elevation(Stage):
    """Write the surface model and its companions from the ground's tiles."""

    name = "elevation"
    version = "4"
    after = ("surface",)
    options = ("fill", "area_wkt", "water_wkt")
    needs = OfTiles(cpus=2, raster=Raster.SURFACE, base_gb=0.5, gb_per_cpu=0.1, cpu_s_per_tile=1.0)

    def finish(self) -> Figures:
        """Write one raster of each."""
        space = self.space
        ground = open_tiled(space.inputs["surface"] / GROUND)
        _, settings, _ = read_survey(space)
        cells = ground.grid.rows * ground.grid.cols
        require_space(space.out, cells * 30, "writing the surface model")
        water = read_water(ground, space.options["water_wkt"])
        rasters = {
            product.file: create_tiled(
                space.scratch / product.file,
                ground.grid,
                dtype=np.uint8 if product is DSM_VIEWS else np.float32,
                nodata=NO_VIEWS if product is DSM_VIEWS else NODATA,
                tile_cells=ground.tile_cells,
            )
            for product in ELEVATION_PRODUCTS
        }

        def write(tile: Tile) -> None:
            layers = _elevation_tile(
                ground, tile, space.options["fill"], space.options["area_wkt"], water
            )
            for file, layer in layers.items():
                rasters[file].write(tile, layer[None])

        tiles = ground.tiles()
        for _ in space.track(
            map_threads(write, tiles, workers=space.workers),
            "Writing the surface model",
            len(tiles),
        ):
            pass
        tags = product_tags(settings.vertical_datum, ground.grid.crs)
        for product in ELEVATION_PRODUCTS:
            finish_cog(
                rasters[product.file],
                space.out / product.file,
                overviews="nearest" if product is DSM_VIEWS else "average",
                descriptions=product.bands,
                units=(product.unit_in(ground.grid.crs),),
                tags=tags,
                threads=space.workers,
            )
        return {}


def _elevation_tile(
    ground: TiledRaster, tile: Tile, fill: bool, area_wkt: str | None, water: Water
) -> dict[str, Array]:
    """Return the products' cells of one tile by file; heights rounded to the millimetre."""
    found = read_continued(ground, tile, water)
    asked = inside_area(ground.grid, tile, area_wkt) & ~found.water
    shown = (read_closed(ground, tile) if fill else found.measured) & asked
    measured = found.measured & asked
    return {
        DSM.file: np.where(shown, np.round(found.height, 3), NODATA),
        DSM_SIGMA.file: np.where(measured, np.round(found.sigma, 4), NODATA),
        DSM_CONFIDENCE.file: np.where(measured, np.round(found.confidence, 2), NODATA),
        DSM_VIEWS.file: np.where(measured, found.views, NO_VIEWS),
    }


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


class Cloud(Stage):
    """Write the surface model as coloured points."""

    name = "cloud"
    version = "2"
    after = ("elevation", "terrain", "orthomosaic")
    needs = OfTiles(cpus=2, raster=Raster.SURFACE, base_gb=0.8, gb_per_cpu=0.1, cpu_s_per_tile=1.5)

    def finish(self) -> Figures:
        """Write the points tile by tile."""
        from photogrammetry.surface.cloud import (
            BYTES_PER_POINT,
            CloudSources,
            read_cloud_tiles,
            write_cloud,
        )

        space = self.space
        _, settings, _ = read_survey(space)
        elevation = space.inputs["elevation"]
        sources = CloudSources(
            dsm=elevation / DSM.file,
            sigma=elevation / DSM_SIGMA.file,
            views=elevation / DSM_VIEWS.file,
            orthomosaic=space.inputs["orthomosaic"] / ORTHOMOSAIC.file,
            terrain=space.inputs["terrain"] / DTM.file,
        )
        grid = read_grid(sources.dsm)
        require_space(space.out, grid.rows * grid.cols * BYTES_PER_POINT, "writing the point cloud")
        tiles = -(-grid.rows // TILE_CELLS) * -(-grid.cols // TILE_CELLS)
        count = write_cloud(
            space.out / CLOUD.file,
            space.track(read_cloud_tiles(sources), "Writing the point cloud", tiles),
            crs=grid.crs,
            offset=(round(grid.x_min), round(grid.y_max), 0.0),
            vertical_datum=settings.vertical_datum,
            workers=space.workers,
        )
        return {"points": count}


class CloudLevels(Stage):
    """Write the point cloud anew in levels, so that viewers read what they show."""

    name = "cloud_levels"
    version = "1"
    after = ("cloud",)
    needs = OfTiles(cpus=1, raster=Raster.SURFACE, base_gb=1.2, cpu_s_per_tile=2.5)

    def finish(self) -> Figures:
        """Write the points node by node."""
        from photogrammetry.surface.copc import write_copc

        space = self.space
        source = space.inputs["cloud"] / CLOUD.file
        # Beside the file itself, its points as they are while they are sorted.
        require_space(space.out, 10 * source.stat().st_size, "writing the point cloud in levels")
        return {"nodes": write_copc(source, space.out / CLOUD_COPC.file, scratch=space.temporary)}
