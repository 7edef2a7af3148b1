"""The stages that make the orthomosaic: how bright each photograph is, then the picture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows.engine.cost import SURFACE_CELLS, OfPhotographs, OfTiles, Quality, Raster
from flows.engine.stage import Figures, Stage, Workspace
from flows.products.ground import GROUND, Continued, inside_area, read_continued, read_water
from flows.products.table import GROUND_CLASSES, MOSAIC_TILE, ORTHOMOSAIC, GroundClass
from flows.stages.inputs import (
    PICTURES_PER_WORKER,
    drawn_bytes,
    drawn_on,
    product_tags,
    read_survey,
    read_surveying,
    ready_views,
    require_space,
)
from tmp.files import replacing
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import TiledRaster, create_tiled, finish_cog, open_tiled

GAINS_FILE = "gains.json"

CLASS_PIXELS = 4
"""Side in pixels of the cells that say what the picture stands on: about a cell of the surface."""
LEAST_TILE = 256
MOSAIC_BYTES_PER_CELL = 5 + 3


class Exposure(Stage):
    """Solve the gains with which photographs agree where they overlap."""

    name = "exposure"
    version = "1"
    after = ("orientation",)
    options = ("quality",)
    needs = OfPhotographs(cpus=1, base_gb=0.5, gb_per_thousand=0.2, cpu_s_per_photograph=0.01)

    def finish(self) -> Figures:
        """Write the gains as JSON."""
        from photogrammetry.ortho.gains import balance_exposures

        space = self.space
        reconstruction = read_surveying(space)
        views, store = ready_views(space, reconstruction)
        solved = balance_exposures(views, reconstruction.points, store, track=space.track)
        gains = {view.name: gain.tolist() for view, gain in zip(views, solved, strict=True)}
        with replacing(space.out / GAINS_FILE) as temporary:
            temporary.write_text(json.dumps(gains, indent=0), encoding="utf-8")
        return {"least_gain": float(solved.min()), "greatest_gain": float(solved.max())}


def read_gains(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Return the factors (3,) of each photograph's bands, by name, to the last bit as solved."""
    said = json.loads((folder / GAINS_FILE).read_text(encoding="utf-8"))
    return {name: np.array(gain) for name, gain in said.items()}


class Orthomosaic(Stage):
    """Render the true orthomosaic of a survey tile by tile."""

    name = "orthomosaic"
    version = "6"
    after = ("orientation", "exposure", "surface")
    options = ("quality", "area_wkt", "water_wkt", "ortho_gsd_m")
    label = "Making the orthomosaic"
    needs = OfTiles(
        cpus=2,
        raster=Raster.ORTHO,
        base_gb=0.8,
        gb_per_cpu=0.15,
        gb_per_megapixel=0.018,
        cpu_s_per_tile=0.6,
        end_s_per_tile=0.15,
        end_cpus=4,
        shared_side=MOSAIC_TILE,
    )

    def __init__(self, space: Workspace) -> None:
        """Lay the tiles over the ground."""
        super().__init__(space)
        self._ground = open_tiled(space.inputs["surface"] / GROUND)
        native_gsd_m = self._ground.grid.cell_m / SURFACE_CELLS[space.options["quality"]]
        self._gsd_m = space.options["ortho_gsd_m"] or native_gsd_m
        grid = Grid.from_bounds(self._ground.grid.bounds, self._gsd_m, self._ground.grid.crs)
        self._raster, self._classes = _rasters(space.scratch, grid, self._gsd_m / native_gsd_m)
        self._tiles = {tile.name: tile for tile in self._raster.tiles()}

    def items(self) -> Sequence[str]:
        """Name the tiles."""
        return list(self._tiles)

    def is_made(self, item: str) -> bool:
        """Tell whether a tile has been rendered."""
        return self._raster.has(self._tiles[item])

    @contextmanager
    def prepared(self, items: Sequence[str]) -> Iterator[None]:
        """Have the photographs and their gains at hand."""
        from photogrammetry.pictures import DecodedPictures

        del items
        space, grid = self.space, self._raster.grid
        survey, _, _ = read_survey(space)
        reconstruction = read_surveying(space)
        self._views, self._store = ready_views(space, reconstruction)
        needed_bytes = grid.rows * grid.cols * MOSAIC_BYTES_PER_CELL
        require_space(space.out, needed_bytes, "making the orthomosaic")
        self._water = read_water(self._ground, space.options["water_wkt"])
        self._frame = reconstruction.frame
        self._gains = read_gains(space.inputs[Exposure.name])
        quality = space.options["quality"]
        largest = max(
            drawn_bytes(quality, (camera.width_px, camera.height_px))
            for camera in reconstruction.cameras.values()
        )
        self._pictures = DecodedPictures(
            survey.photos_dir,
            budget_bytes=PICTURES_PER_WORKER * (space.workers + 1) * largest,
            load=self._store.colour if quality == Quality.FAST else None,
        )
        yield
        self._pictures.clear()  # the room they took is wanted for compression

    def make(self, item: str) -> None:
        """Render a tile, and say what ground it is drawn on."""
        from photogrammetry.ortho.mosaic import mosaic_tile
        from photogrammetry.ortho.seams import ground_window

        tile, ground, grid = self._tiles[item], self._ground, self._raster.grid
        window = grid.window(tile)
        part = ground_window(ground.grid, window)
        found = read_continued(ground, part, self._water)
        below = drawn_on(ground.grid.window(part), found)
        cells = mosaic_tile(
            window, below, self._views, self._gains, self._frame, self._store, self._pictures
        )
        cells[:, ~inside_area(grid, tile, self.space.options["area_wkt"])] = 0
        coarse = _coarse_tile(tile)
        drawn = cells[3, CLASS_PIXELS // 2 :: CLASS_PIXELS, CLASS_PIXELS // 2 :: CLASS_PIXELS] > 0
        # A last row or column narrower than half a cell has no pixel at its middle.
        short = coarse.rows - drawn.shape[0], coarse.cols - drawn.shape[1]
        drawn = np.pad(drawn, ((0, short[0]), (0, short[1])))
        of_cells = ground_classes(found, below.grid, self._classes.grid.window(coarse))
        self._classes.write(coarse, np.where(drawn, of_cells, GroundClass.NOTHING)[None])
        self._raster.write(tile, cells)

    def finish(self) -> Figures:
        """Write the picture and the classes of its ground."""
        _, settings, _ = read_survey(self.space)
        for made, product in ((self._raster, ORTHOMOSAIC), (self._classes, GROUND_CLASSES)):
            finish_cog(
                made,
                self.space.out / product.file,
                overviews="nearest" if product is GROUND_CLASSES else "average",
                descriptions=product.bands,
                tags=product_tags(settings.vertical_datum, made.grid.crs),
                threads=self.space.workers,
            )
        return {"cell_m": self._gsd_m}


def _rasters(scratch: Path, grid: Grid, coarseness: float) -> tuple[TiledRaster, TiledRaster]:
    """Start the picture, and the classes of the ground it is drawn on."""
    tile_cells = _tile_cells(coarseness)
    picture = create_tiled(scratch / "mosaic", grid, bands=4, dtype=np.uint8, tile_cells=tile_cells)
    rows, cols = (-(-side // CLASS_PIXELS) for side in grid.shape)
    classes = create_tiled(
        scratch / "classes",
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


def ground_classes(found: Continued, grid: Grid, window: Grid) -> NDArray[np.uint8]:
    """Return the class of the ground under every cell of a tile, see `GroundClass`.

    The grid is that of the ground that was found, the window that of the tile.
    """
    own = np.where(found.views > 0, GroundClass.MEASURED, GroundClass.BRIDGED)
    of_cells = np.where(found.measured, own, GroundClass.CONTINUED).astype(np.uint8)
    of_cells[found.water] = GroundClass.WATER
    x, y = window.cell_centres()
    row = np.floor((grid.y_max - y) / grid.cell_m).astype(int)
    col = np.floor((x - grid.x_min) / grid.cell_m).astype(int)
    return np.asarray(of_cells[np.ix_(row, col)], np.uint8)


def _tile_cells(coarseness: float) -> int:
    """Return the side of a tile whose ground, and so whose memory, does not grow with the cell."""
    return max(int(MOSAIC_TILE / max(coarseness, 1.0)) // 16 * 16, LEAST_TILE)
