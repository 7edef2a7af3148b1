"""The stage that makes the 3D model of a large survey as a tree of tiles."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.engine.cost import OfTiles, Raster
from flows.engine.stage import Figures, Stage, Workspace
from flows.products.ground import GROUND, NODATA, read_water
from flows.products.table import GROUND_CLASSES, ORTHOMOSAIC, SURFACE_TILE
from flows.stages.inputs import read_survey, read_surveying, require_space
from flows.stages.model import Relief, about_place, area_window, read_sources
from flows.stages.solids import list_solids, read_sites
from tmp.captures import HeightDatum
from tmp.errors import InputError
from tmp.files import replacing, write_json
from tmp.geo.frames import LocalFrame, egm96_height
from tmp.geo.grids import Tile
from tmp.geo.rasters import TiledRaster, create_tiled, open_tiled, read_grid

if TYPE_CHECKING:
    from photogrammetry.model.mesh import HeightField, Solid
    from photogrammetry.model.tiles import Node

TILESET = "tileset.json"
TILES = "tiles"
"""Folder beside it, with one of each level."""
LEVELS, MARKS = "levels", "marks"
"""Folders in the scratch: the ground of each level, and what is known of each tile that is made."""
PICTURES_BYTES = 600 * 2**20
"""Decoded photographs that are kept."""
BYTES_PER_PIXEL = 0.6
"""Of the tiles' pictures, at most about so much."""
BYTES_PER_CELL = 20
PIXELS = {"low": 2.0, "normal": 1.0, "high": 1.0}
"""Side of the finest pictures' pixels, in those of the orthomosaic, by detail."""
SOLID_CORNERS = {"low": 4_000, "normal": 16_000, "high": 64_000}
"""Corners of each piece of what stands, about as large as a tile, on the finest level."""


class Tiles3d(Stage):
    """Make the model tile by tile, level by level."""

    name = "tiles3d"
    version = "1"
    after = ("orientation", "exposure", "surface", "orthomosaic", "standing", "solids")
    options = ("water_wkt", "model_detail", "model_area_wkt")
    label = "Making the tiles"
    needs = OfTiles(cpus=2, raster=Raster.SURFACE, base_gb=1.5, gb_per_cpu=0.3, cpu_s_per_tile=20.0)

    def __init__(self, space: Workspace) -> None:
        """Lay the tree over the ground."""
        from photogrammetry.model.tiles import TileTree

        super().__init__(space)
        self._ground = open_tiled(space.inputs["surface"] / GROUND)
        self._area_wkt = space.options["model_area_wkt"]
        self._part = area_window(self._ground.grid, self._area_wkt)
        self._tree = TileTree(grid=self._ground.grid.window(self._part))
        finest_first = reversed(range(self._tree.depth + 1))
        self._nodes = {
            f"{level}-{row}-{col}": (level, row, col)
            for one in finest_first
            for level, row, col in self._tree.nodes(one)
        }

    def items(self) -> Sequence[str]:
        """Name the tiles of all levels."""
        return list(self._nodes)

    def is_made(self, item: str) -> bool:
        """Tell whether a tile has been made, or found to be empty."""
        return self._mark(item).exists()

    @contextmanager
    def prepared(self, items: Sequence[str]) -> Iterator[None]:
        """Have the ground of all levels, what stands, and the photographs at hand."""
        from photogrammetry.pictures import DecodedPictures

        if items:
            survey, _, _ = read_survey(self.space)
            self._require_space()
            self._lay_levels()
            pictures = DecodedPictures(survey.photos_dir, budget_bytes=PICTURES_BYTES)
            self._sources = read_sources(self.space, pictures.get)
            self._frame = read_surveying(self.space).frame
            self._sites = read_sites(self.space.inputs["standing"])
            self._solids = list_solids(self.space.inputs["solids"])
        yield

    def make(self, item: str) -> None:
        """Make a tile; writes its GLB, and where it lies."""
        from photogrammetry.model.glb import write_glb
        from photogrammetry.model.relief_model import BUDGETS, Detail
        from photogrammetry.model.tiles import SOLID_TIMES, build_tile, has_ground, in_world

        node = self._nodes[item]
        times = self._tree.times(node[0])
        solid = times <= SOLID_TIMES
        field = self._field(node, with_sites=solid)
        made = None
        if has_ground(field):
            made = build_tile(
                field,
                self._standing(field, times) if solid else [],
                self._sources,
                error_cells=BUDGETS[Detail(self.space.options["model_detail"])].error_cells,
                pixel_m=self._pixels_m[node[0]],
                aside=solid,
            )
        bounds = None
        if made is not None:
            model, at, ends = in_world(*made, self._frame)
            _, settings, _ = read_survey(self.space)
            target = self.space.out / self._uri(node)
            write_glb(target, model, about={"crs": settings.frame.crs}, at=at)
            bounds = ends.tolist()
        self._mark(item).parent.mkdir(parents=True, exist_ok=True)
        write_json(self._mark(item), bounds)

    def finish(self) -> Figures:
        """Write the tileset."""
        from photogrammetry.model.tiles import tileset_document

        _, settings, _ = read_survey(self.space)
        bounds = {}
        for item, node in self._nodes.items():
            if self.is_made(item):
                said = json.loads(self._mark(item).read_text(encoding="utf-8"))
                if said is not None:
                    bounds[node] = np.array(said)
        if not bounds:
            raise InputError("model: the map has no ground in it; give an area that was mapped")
        frame = settings.frame
        origin = frame.map_from_world([[0.0, 0.0, 0.0]])[0]
        about = about_place((float(origin[0]), float(origin[1]), float(origin[2])), settings)
        shift_m = raised_by(settings.vertical_datum, frame)
        about["raised_m"] = shift_m
        document = tileset_document(
            bounds, self._pixels_m, earth_from_world(frame, shift_m or 0.0), self._uri, about
        )
        with replacing(self.space.out / TILESET) as partial:
            partial.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
        return {
            "tiles": len(bounds),
            "levels": self._tree.depth + 1,
            "pixel_m": self._pixels_m[-1],
            "raised_m": shift_m,
        }

    @cached_property
    def _pixels_m(self) -> list[float]:
        """Side on the ground of the pictures' pixels, of each level."""
        gsd_m = read_grid(self.space.inputs["orthomosaic"] / ORTHOMOSAIC.file).cell_m
        finest_m = PIXELS[self.space.options["model_detail"]] * gsd_m
        return [self._tree.times(level) * finest_m for level in range(self._tree.depth + 1)]

    def _mark(self, item: str) -> Path:
        return self.space.scratch / MARKS / f"{item}.json"

    def _uri(self, node: Node) -> str:
        level, row, col = node
        return f"{TILES}/{level}/{row}-{col}.glb"

    def _require_space(self) -> None:
        grid = self._tree.grid
        area_m2 = grid.rows * grid.cols * grid.cell_m**2
        pixels = 4 / 3 * area_m2 / self._pixels_m[-1] ** 2
        cells = grid.rows * grid.cols
        needed_bytes = BYTES_PER_PIXEL * pixels + BYTES_PER_CELL * cells
        require_space(self.space.out, needed_bytes, "making the tiles")

    def _level(self, level: int) -> TiledRaster:
        return create_tiled(
            self.space.scratch / LEVELS / str(level),
            self._tree.level_grid(level),
            bands=3,
            nodata=NODATA,
            tile_cells=SURFACE_TILE,
        )

    def _lay_levels(self) -> None:
        """Write the ground of each level: heights, standard deviations and kinds."""
        from photogrammetry.model.tiles import halved

        finest = self._level(self._tree.depth)
        relief = Relief(
            ground=self._ground,
            classes=self.space.inputs["orthomosaic"] / GROUND_CLASSES.file,
            water=read_water(self._ground, self.space.options["water_wkt"]),
            area_wkt=self._area_wkt,
        )
        row, col = self._part.row, self._part.col
        missing = finest.missing()
        for tile in self.space.track(missing, "Reading the ground", len(missing)):
            on_ground = Tile(row=row + tile.row, col=col + tile.col, rows=tile.rows, cols=tile.cols)
            finest.write(tile, np.stack(relief.read(on_ground)))
        for level in reversed(range(self._tree.depth)):
            finer, coarser = self._level(level + 1), self._level(level)
            for tile in coarser.missing():
                around = Tile(
                    row=2 * tile.row - 1,
                    col=2 * tile.col - 1,
                    rows=2 * tile.rows + 1,
                    cols=2 * tile.cols + 1,
                )
                coarser.write(tile, halved(finer.read(around)))

    def _field(self, node: Node, *, with_sites: bool) -> HeightField:
        """Return the ground of a tile and about it, without that of what stands if asked for."""
        from photogrammetry.model.tiles import HALO_CELLS, ground_field

        window = self._tree.core(node).grown(HALO_CELLS)
        raster = self._level(node[0])
        replaced = self._replaced(window, self._tree.times(node[0])) if with_sites else None
        return ground_field(raster.grid.window(window), raster.read(window), replaced)

    def _replaced(self, window: Tile, times: int) -> NDArray[np.bool_]:
        """Tell which squares of a level's window (rows - 1, cols - 1) lie whole within sites."""
        from photogrammetry.solid.sites import replaced_squares

        rows, cols = window.rows - 1, window.cols - 1
        fine = replaced_squares(
            self._sites,
            Tile(
                row=self._part.row + times * window.row,
                col=self._part.col + times * window.col,
                rows=times * rows + 1,
                cols=times * cols + 1,
            ),
        )
        return np.asarray(fine.reshape(rows, times, cols, times).all(axis=(1, 3)))

    def _standing(self, field: HeightField, times: int) -> list[Solid]:
        """Return what stands in a tile and about it, as fine as its level."""
        from photogrammetry.model.mesh import thinned

        # By its own size, not by the tile's: neighbours have to have the same of it.
        most = SOLID_CORNERS[self.space.options["model_detail"]] // times**2
        near = [one for one in self._solids if one.touches(field.grid.bounds)]
        return [thinned(one.read(), most) for one in near]


def raised_by(datum: HeightDatum, frame: LocalFrame) -> float | None:
    """Return how far above its heights a model stands on the ellipsoid; None where unknown.

    Globes count from the ellipsoid.  How far sea level lies above it is known only where PROJ has
    the geoid's grid; heights of an unknown level stay as they are.
    """
    if datum is HeightDatum.ELLIPSOID:
        return 0.0
    if datum is HeightDatum.EGM96 and frame.origin is not None:
        return egm96_height(*frame.origin[:2])
    return None


def earth_from_world(frame: LocalFrame, raised_m: float) -> NDArray[np.float64]:
    """Return Earth-centred coordinates from world (4, 4), for a world raised by so much."""
    rotation, origin = frame.ecef_from_world
    matrix: NDArray[Any] = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = origin + raised_m * rotation[:, 2]
    return matrix
