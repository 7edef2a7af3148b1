"""The stages that measure what stands on the ground from its sides, and join them to solids."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flows.engine.cost import OfTiles, Raster
from flows.engine.stage import Figures, Stage, Workspace
from flows.products.ground import GROUND, NODATA, Water, read_continued, read_water
from flows.stages.inputs import read_surveying, ready_views
from tmp.files import replacing
from tmp.geo.grids import Tile
from tmp.geo.rasters import TiledRaster, create_tiled, open_tiled

if TYPE_CHECKING:
    from photogrammetry.model.mesh import Solid
    from photogrammetry.solid.sides import Side, SiteFrame
    from photogrammetry.solid.sites import Site

Float32 = NDArray[np.float32]

SITES, INDEX = "sites.json", "solids.json"
HEIGHTS = "heights_m"
"""What a site's entry has beside the site: least, median and greatest height."""
SIDES = "sides"
"""Folder of the sides' tiles in the results of the stage that measures them."""
GROUP_BLOCKS = 8
"""Side in blocks of the squares whose surface is triangulated at a time."""
MARGIN_CELLS = 16
"""Cells about a tile within which jumps tell of what stands in it."""
SIMPLIFIED_CELLS = 0.4
"""Cells by which a simplified surface may lie off what was measured."""


class Standing(Stage):
    """Find where something stands on the ground."""

    name = "standing"
    version = "2"
    after = ("orientation", "surface")
    options = ("water_wkt", "model_sides")
    label = "Finding what stands on the ground"
    needs = OfTiles(cpus=1, raster=Raster.SURFACE, base_gb=1.0, cpu_s_per_tile=0.8)

    def finish(self) -> Figures:
        """Write the sites, and what each is expected to look like from its sides."""
        from photogrammetry.solid.sides import SiteFrame, heights_of, lay_sides
        from photogrammetry.solid.sites import BLOCK, sites_of
        from photogrammetry.solid.sites import Standing as Found

        space = self.space
        ground = open_tiled(space.inputs["surface"] / GROUND)
        grid = ground.grid
        found = Found.empty(*grid.shape)
        frame = read_surveying(space).frame
        # What stands is told by metres, which photographs without positions do not give.
        if space.options["model_sides"] and frame.referenced:
            water = read_water(ground, space.options["water_wkt"])
            tiles = ground.tiles()
            for tile in space.track(tiles, self.label, len(tiles)):
                wide = read_continued(ground, tile.grown(MARGIN_CELLS), water)
                found.add(
                    tile,
                    wide.height,
                    np.where(wide.measured, wide.sigma, np.nan),
                    wide.mapped & ~wide.water,
                    margin=MARGIN_CELLS,
                    cell_m=grid.cell_m,
                )
        sites = sites_of(found, grid)
        said = []
        for site in sites:
            height, _ = _read_ground(ground, water, site.tile)
            heights_m = heights_of(site, height)
            about = SiteFrame.of(site, grid.window(site.tile), heights_m, frame)
            _write_sides(space.out / f"{site.name}.npz", lay_sides(about, height))
            said.append({**site.as_json(), HEIGHTS: heights_m})
        with replacing(space.out / SITES) as partial:
            partial.write_text(json.dumps(said), encoding="utf-8")
        area_m2 = (BLOCK * grid.cell_m) ** 2
        return {
            "sites": len(sites),
            "area_m2": area_m2 * sum(int(site.blocks.sum()) for site in sites),
        }


class _OfSites(Stage):
    """A stage whose items are parts of sites."""

    def __init__(self, space: Workspace) -> None:
        """Read the sites."""
        super().__init__(space)
        self._sites = {site.name: site for site in read_sites(space.inputs["standing"])}
        self._ground = open_tiled(space.inputs["surface"] / GROUND)

    def _sides_of(self, name: str) -> list[Side]:
        return _read_sides(self.space.inputs["standing"] / f"{name}.npz")

    @cached_property
    def _frames(self) -> Mapping[str, SiteFrame]:
        """The frames of the sites."""
        from photogrammetry.solid.sides import SiteFrame

        frame, grid = read_surveying(self.space).frame, self._ground.grid
        return {
            one["name"]: SiteFrame.of(site, grid.window(site.tile), tuple(one[HEIGHTS]), frame)
            for one in _read_index(self.space.inputs["standing"] / SITES)
            for site in (self._sites[one["name"]],)
        }

    @cached_property
    def _water(self) -> Water:
        return read_water(self._ground, self.space.options["water_wkt"])


class Sides(_OfSites):
    """Measure what stands on the ground from its sides, tile by tile."""

    name = "sides"
    version = "1"
    after = ("orientation", "surface", "standing")
    options = ("quality", "water_wkt")
    label = "Measuring from the sides"
    needs = OfTiles(
        cpus=2,
        raster=Raster.SURFACE,
        base_gb=0.8,
        gb_per_cpu=0.2,
        cpu_s_per_tile=12.0,
        end_s_per_tile=0.1,
        shared_side=256,
    )

    def __init__(self, space: Workspace) -> None:
        """Lay the tiles of all sides."""
        from photogrammetry.solid.sides import SIDE_TILE

        super().__init__(space)
        self._tiles: dict[str, tuple[str, Side, Tile, TiledRaster]] = {}
        for name in self._sites:
            for side in self._sides_of(name):
                raster = create_tiled(
                    space.out / SIDES / f"{name}{side.name}",
                    side.grid,
                    bands=3,
                    nodata=NODATA,
                    tile_cells=SIDE_TILE,
                )
                for tile in side.tiles():
                    self._tiles[f"{name}{side.name}-{tile.name}"] = name, side, tile, raster

    def items(self) -> Sequence[str]:
        """Name the tiles that show any of a site."""
        return list(self._tiles)

    def is_made(self, item: str) -> bool:
        """Tell whether a tile has been measured."""
        _, _, tile, raster = self._tiles[item]
        return raster.has(tile)

    @contextmanager
    def prepared(self, items: Sequence[str]) -> Iterator[None]:
        """Have the pictures at hand."""
        if items:
            self._views, self._store = ready_views(self.space, read_surveying(self.space))
            _ = self._frames
        yield

    def make(self, item: str) -> None:
        """Measure a tile of a side."""
        from photogrammetry.solid.measure import measure_side, turned_views
        from photogrammetry.surface.measure import SurfaceOptions

        name, side, tile, raster = self._tiles[item]
        views = turned_views(self._views, self._frames[name], side)
        found = measure_side(side, tile, views, self._store, options=SurfaceOptions())
        raster.write(tile, np.nan_to_num(found, nan=NODATA))

    def finish(self) -> Figures:
        """Tell how much of the sides was measured."""
        looked_at = measured = 0
        for _, _, tile, raster in self._tiles.values():
            _, sigma, _ = raster.read(tile)
            looked_at += sigma.size
            measured += int((sigma != NODATA).sum())
        return {"measured": measured / looked_at if looked_at else None}


class Solids(_OfSites):
    """Join the sides of what stands to one surface, and triangulate it."""

    name = "solids"
    version = "2"
    after = ("orientation", "surface", "standing", "sides")
    options = ("water_wkt",)
    label = "Joining the sides"
    needs = OfTiles(
        cpus=2,
        raster=Raster.SURFACE,
        base_gb=0.8,
        gb_per_cpu=0.3,
        cpu_s_per_tile=7.0,
        end_s_per_tile=0.1,
        shared_side=256,
    )

    def __init__(self, space: Workspace) -> None:
        """Lay the groups of blocks of all sites."""
        from photogrammetry.solid.sites import groups_of

        super().__init__(space)
        self._groups = {
            f"{name}-g{i}.{j}": (name, (i, j))
            for name, site in self._sites.items()
            for i, j in groups_of(site, GROUP_BLOCKS)
        }

    def items(self) -> Sequence[str]:
        """Name the groups of blocks."""
        return list(self._groups)

    def _path(self, item: str) -> Path:
        return self.space.out / f"{item}.npz"

    def is_made(self, item: str) -> bool:
        """Tell whether a group has been triangulated."""
        return self._path(item).exists()

    @contextmanager
    def prepared(self, items: Sequence[str]) -> Iterator[None]:
        """Have the sites' sides and outlines at hand."""
        from photogrammetry.solid.fusion import fade_of

        if items:
            self._sides = {name: self._sides_of(name) for name in self._sites}
            self._fades = {name: fade_of(site) for name, site in self._sites.items()}
            _ = self._frames
        yield

    def make(self, item: str) -> None:
        """Triangulate a group of blocks."""
        from photogrammetry.solid.fusion import (
            fuse_group,
            group_box,
            group_outline,
            without_specks,
        )
        from photogrammetry.solid.simplification import simplified

        name, group = self._groups[item]
        frame = self._frames[name]
        box = group_box(frame.site, group, GROUP_BLOCKS)
        sheets = self._sheets(name, box)
        mesh = fuse_group(frame, group, GROUP_BLOCKS, sheets, self._fades[name])
        mesh = without_specks(mesh, frame.grid.cell_m, group_outline(mesh, box))
        nodes, faces, seen = simplified(
            mesh.points, mesh.faces, mesh.seen, tolerance=SIMPLIFIED_CELLS
        )
        points = np.column_stack([nodes, np.ones(len(nodes))]) @ frame.node_axes.T
        with replacing(self._path(item)) as partial, partial.open("wb") as file:
            np.savez(file, points=points + frame.centre, faces=faces, seen=seen)

    def _sheets(self, name: str, box: tuple[int, int, int, int]) -> list[Any]:
        """Return the ground and the sides about a box of a site's nodes."""
        from photogrammetry.kernels.fusion import AROUND
        from photogrammetry.solid.fusion import ground_sheet, side_sheet, side_window

        frame = self._frames[name]
        row, col = frame.site.first_cell
        margin = 2 * AROUND
        first = box[1] - margin, box[0] - margin
        tile = Tile(
            row=row + first[0],
            col=col + first[1],
            rows=box[3] - box[1] + 1 + 2 * margin,
            cols=box[2] - box[0] + 1 + 2 * margin,
        )
        height, sigma = _read_ground(self._ground, self._water, tile)
        sheets = [ground_sheet(frame, first, height, sigma)]
        for side in self._sides[name]:
            window = side_window(side, frame, box)
            raster = open_tiled(self.space.inputs["sides"] / SIDES / f"{name}{side.name}")
            bands = raster.read(window)
            bands = np.where(bands == NODATA, np.nan, bands).astype(np.float32)
            sheets.append(side_sheet(side, frame, (window.row, window.col), bands))
        return sheets

    def finish(self) -> Figures:
        """Write where each lies and how large it is, so that only what is needed is read."""
        said = []
        faces = 0
        for path in sorted(self.space.out.glob("*.npz")):
            solid = _read_solid(path)
            faces += len(solid.faces)
            if len(solid.faces):
                (x_min, y_min), (x_max, y_max) = (
                    end(solid.points[:, :2], axis=0).tolist() for end in (np.min, np.max)
                )
                said.append(
                    {
                        "file": path.name,
                        "corners": len(solid.points),
                        "bounds": (x_min, y_min, x_max, y_max),
                    }
                )
        with replacing(self.space.out / INDEX) as partial:
            partial.write_text(json.dumps(said), encoding="utf-8")
        return {"solids": len(said), "faces": faces}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSolid:
    """A piece of what stands, in a file."""

    path: Path
    corners: int
    bounds: tuple[float, float, float, float]
    """Map coordinates ``(x_min, y_min, x_max, y_max)``."""

    def touches(self, bounds: tuple[float, float, float, float]) -> bool:
        """Tell whether it reaches into bounds."""
        (x0, y0, x1, y1), (left, low, right, high) = self.bounds, bounds
        return x0 <= right and x1 >= left and y0 <= high and y1 >= low

    def read(self) -> Solid:
        """Read it."""
        return _read_solid(self.path)


def list_solids(folder: Path) -> list[StoredSolid]:
    """Return what stands, of the stage's results in a folder, without reading it."""
    return [
        StoredSolid(path=folder / one["file"], corners=one["corners"], bounds=tuple(one["bounds"]))
        for one in _read_index(folder / INDEX)
    ]


def read_solids(solids: Sequence[StoredSolid], most_corners: int) -> list[Solid]:
    """Read what stands, with about so many corners at most.

    One is read after the other, so that memory does not grow with the survey.
    """
    from photogrammetry.model.mesh import fair_share, thinned

    most = fair_share([solid.corners for solid in solids], most_corners)
    return [thinned(solid.read(), most) for solid in solids]


def _read_solid(path: Path) -> Solid:
    from photogrammetry.model.mesh import Solid

    with np.load(path) as file:
        return Solid(points=file["points"], faces=file["faces"], seen=file["seen"])


def read_sites(folder: Path) -> list[Site]:
    """Return the sites, of the results in a folder of the stage that finds them."""
    from photogrammetry.solid.sites import Site

    return [Site.from_json(one) for one in _read_index(folder / SITES)]


def _read_index(path: Path) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return said


def _read_ground(ground: TiledRaster, water: Water, tile: Tile) -> tuple[Float32, Float32]:
    """Return heights of the ground and their standard deviations, NaN where not measured."""
    found = read_continued(ground, tile, water)
    sigma = np.where(found.measured, found.sigma, np.nan)
    return found.height.astype(np.float32), sigma.astype(np.float32)


def _write_sides(path: Path, sides: Sequence[Side]) -> None:
    """Write what is known of a site's sides."""
    stored: dict[str, Any] = {}
    for side in sides:
        stored |= {f"{side.name}.{key}": value for key, value in side.as_arrays().items()}
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **stored)


def _read_sides(path: Path) -> list[Side]:
    from photogrammetry.solid.sides import TURNS_DEG, Side

    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    return [
        Side.from_arrays(
            name,
            {key[len(name) + 1 :]: value for key, value in arrays.items() if key[0] == name},
        )
        for name in TURNS_DEG
    ]
