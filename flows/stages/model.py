"""The stages that make the 3D model of the ground and the picture on it, and write it anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from shapely import from_wkt

from flows.engine.cost import OfTiles, Raster
from flows.engine.stage import Figures, Stage, Workspace
from flows.products.ground import GROUND, Water, inside_area, read_continued, read_water
from flows.products.table import GROUND_CLASSES, MODEL, MODEL_SIDES, ORTHOMOSAIC, GroundClass
from flows.stages.inputs import read_survey, read_surveying, require_space
from flows.stages.orthomosaic import Exposure, read_gains
from flows.stages.solids import list_solids, read_sites, read_solids
from tmp.errors import InputError
from tmp.files import replacing
from tmp.geo.grids import Grid, Tile, means_of_squares
from tmp.geo.rasters import TiledRaster, open_tiled, read_grid, read_over, read_window
from tmp.survey import Settings

if TYPE_CHECKING:
    from photogrammetry.model.mesh import HeightField
    from photogrammetry.model.relief_model import Sources
    from photogrammetry.pictures import Picture
    from photogrammetry.solid.sites import Site

Float32 = NDArray[np.float32]

SIDE_PX = 900
"""Width of each."""
MOST_CELLS = 2**24
"""Cells of the ground that a model is made of; of a larger survey several are taken as one."""


class Model(Stage):
    """Make the textured mesh of a survey."""

    name = "model"
    version = "3"
    after = ("orientation", "exposure", "surface", "orthomosaic", "standing", "solids")
    options: ClassVar[tuple[str, ...]] = ("water_wkt", "model_detail")
    label = "Making the model"
    needs = OfTiles(cpus=1, raster=Raster.SURFACE, base_gb=1.5, cpu_s_per_tile=6.0)

    def finish(self) -> Figures:
        """Write the model as GLB."""
        from photogrammetry.model.glb import as_jpeg, glb_bytes, write_glb
        from photogrammetry.model.portrait import portray
        from photogrammetry.model.relief_model import (
            BUDGETS,
            SOLID_SHARE,
            Detail,
            build_relief_model,
        )
        from photogrammetry.pictures import read_photograph

        space = self.space
        survey, settings, _ = read_survey(space)
        budget = BUDGETS[Detail(space.options["model_detail"])]
        require_space(space.out, budget.megabytes * 1e6, "writing the model")
        ground = open_tiled(space.inputs["surface"] / GROUND)
        water = read_water(ground, space.options["water_wkt"])
        area_wkt = space.options.get("model_area_wkt")
        part = area_window(ground.grid, area_wkt)
        classes = space.inputs["orthomosaic"] / GROUND_CLASSES.file
        field = read_field(
            Relief(ground=ground, classes=classes, water=water, area_wkt=area_wkt), part
        )
        if not field.kind.any():
            raise InputError(
                "model: the map has no ground in it; give an area that was photographed"
            )
        bounds = ground.grid.window(part).bounds
        listed = [one for one in list_solids(space.inputs["solids"]) if one.touches(bounds)]
        solids = read_solids(listed, int(SOLID_SHARE * budget.corners))
        if solids:
            sites = read_sites(space.inputs["standing"])
            field = replace(field, replaced=_replaced(sites, part, ground.grid, field.grid))

        def photograph(name: str) -> Picture:
            return read_photograph(survey.photos_dir / name)

        sources = read_sources(space, photograph)
        found = build_relief_model(field, sources, budget, solids=solids, track=space.track)
        write_glb(space.out / MODEL.file, found.model, about=about_place(found.origin, settings))
        with replacing(space.out / MODEL_SIDES) as temporary:
            temporary.write_bytes(as_jpeg(np.concatenate(portray(found.model, SIDE_PX))))
        return {
            "corners": found.model.corners,
            "faces": found.model.faces,
            "allowed": found.allowed,
            "pixel_m": found.pixel_m,
            "charts": found.charts,
            "bytes": glb_bytes(found.model),
        }


class RequestedModel(Model):
    """Make a model beside that of the map, of another detail or of an area."""

    name = "requested_model"
    options = (*Model.options, "model_area_wkt")


class ModelAsObj(Stage):
    """Write a model anew as OBJ."""

    name = "model_obj"
    version = "1"
    after = ("model",)
    needs = OfTiles(cpus=1, raster=Raster.SURFACE, base_gb=1.0, cpu_s_per_tile=0.5)

    def finish(self) -> Figures:
        """Write mesh, materials, pictures and offset."""
        from photogrammetry.model.glb import read_glb
        from photogrammetry.model.obj import obj_bytes, write_obj

        space = self.space
        model, about = read_glb(space.inputs["model"] / MODEL.file)
        require_space(space.out, obj_bytes(model), "writing the model as OBJ")
        origin = about["origin"]
        offset = origin["easting"], origin["northing"], origin["height"]
        write_obj(space.out, model, offset=offset, crs=about["crs"])
        return {"corners": model.corners, "faces": model.faces}


def read_sources(space: Workspace, photograph: Callable[[str], Picture]) -> Sources:
    """Return the pictures that a model is drawn from."""
    from photogrammetry.model.relief_model import Sources
    from photogrammetry.views import views_of

    reconstruction = read_surveying(space)
    orthomosaic = space.inputs["orthomosaic"] / ORTHOMOSAIC.file
    return Sources(
        orthomosaic=lambda window: np.moveaxis(read_over(orthomosaic, window)[:3], 0, 2),
        gsd_m=read_grid(orthomosaic).cell_m,
        views=views_of(reconstruction),
        frame=reconstruction.frame,
        gains=read_gains(space.inputs[Exposure.name]),
        photograph=photograph,
    )


def area_window(grid: Grid, area_wkt: str | None) -> Tile:
    """Return the cells of a ground about an area, from the corner of a site's block on."""
    from photogrammetry.solid.sites import BLOCK

    if area_wkt is None:
        return grid.whole
    found = grid.clip(grid.tile_over(from_wkt(area_wkt).bounds))
    if found is None:
        raise InputError("model: the area lies beside the map; give one on it")
    row, col = found.row // BLOCK * BLOCK, found.col // BLOCK * BLOCK
    rows, cols = found.row + found.rows - row, found.col + found.cols - col
    return replace(found, row=row, col=col, rows=rows, cols=cols)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relief:
    """The ground under the orthomosaic."""

    ground: TiledRaster
    classes: Path
    """Raster of what each of its pixels stands on."""
    water: Water
    area_wkt: str | None
    """All that is shown of it, map; None for all."""

    def read(self, tile: Tile) -> tuple[Float32, Float32, NDArray[np.uint8]]:
        """Return map heights, their standard deviations (0 where not known) and kinds of cells.

        Where nothing is drawn there is a height all the same: it still blocks the sight.
        """
        from photogrammetry.model.mesh import CONTINUED, MEASURED, NOTHING

        grid = self.ground.grid
        found = read_continued(self.ground, tile, self.water)
        of_tile = _classes_over(self.classes, grid.window(tile))
        drawn = (of_tile != GroundClass.NOTHING) & inside_area(grid, tile, self.area_wkt)
        kind = np.where(of_tile == GroundClass.CONTINUED, CONTINUED, MEASURED)
        return (
            found.height.astype(np.float32),
            np.where(found.measured, found.sigma, 0).astype(np.float32),
            np.where(drawn, kind, NOTHING).astype(np.uint8),
        )


def read_field(relief: Relief, part: Tile) -> HeightField:
    """Return a part of the ground under the orthomosaic.

    If that is large, several cells are taken as one: the mean height of those in the picture.
    """
    from photogrammetry.model.mesh import CONTINUED, MEASURED, NOTHING, HeightField
    from photogrammetry.model.tiles import smooth_kinds

    grid = relief.ground.grid.window(part)
    times = 1
    while grid.rows * grid.cols > MOST_CELLS * times**2:
        times *= 2
    coarse = grid.coarser(times)
    height, sigma = np.zeros((2, *coarse.shape), np.float32)
    kind = np.full(coarse.shape, NOTHING, np.uint8)
    for tile in grid.tiles(relief.ground.tile_cells):
        z, doubt, kind_of = relief.read(
            replace(tile, row=part.row + tile.row, col=part.col + tile.col)
        )
        known = kind_of != NOTHING
        share = means_of_squares(known, times)
        total = means_of_squares(np.where(known, z, 0), times)
        own = total / np.maximum(share, 1e-6)
        heights = np.where(share > 0, own, means_of_squares(z, times))
        continued = means_of_squares(kind_of == CONTINUED, times) > share / 2
        kinds = np.where(continued, CONTINUED, MEASURED)
        at = np.s_[tile.row // times :, tile.col // times :]
        size = np.s_[: share.shape[0], : share.shape[1]]
        height[at][size] = heights
        sigma[at][size] = means_of_squares(doubt, times)
        kind[at][size] = np.where(share > 0, kinds, NOTHING)
    return HeightField(grid=coarse, height=height, sigma=sigma, kind=smooth_kinds(kind))


def _replaced(sites: Sequence[Site], part: Tile, grid: Grid, coarse: Grid) -> NDArray[np.bool_]:
    """Tell which squares between a coarser grid's cell centres lie whole within sites.

    The coarser grid is of a part of the ground.
    """
    from photogrammetry.solid.sites import replaced_squares

    fine = replaced_squares(sites, part)
    times = round(coarse.cell_m / grid.cell_m)
    if times == 1:
        return fine
    whole = means_of_squares(fine, times) == 1
    return np.asarray(
        (whole[:-1, :-1] & whole[1:, :-1] & whole[:-1, 1:] & whole[1:, 1:])[
            : coarse.rows - 1, : coarse.cols - 1
        ]
    )


def _classes_over(classes: Path, window: Grid) -> NDArray[np.uint8]:
    """Return the class of the orthomosaic's ground at the cells of a window (rows, cols)."""
    grid = read_grid(classes)
    x, y = window.cell_centres()
    row = np.floor((grid.y_max - y) / grid.cell_m).astype(int)
    col = np.floor((x - grid.x_min) / grid.cell_m).astype(int)
    part = Tile(
        row=int(row[0]), col=int(col[0]), rows=int(np.ptp(row)) + 1, cols=int(np.ptp(col)) + 1
    )
    values = read_window(classes, part)[0]
    return np.asarray(values[np.ix_(row - row[0], col - col[0])], np.uint8)


def about_place(origin: tuple[float, float, float], settings: Settings) -> dict[str, Any]:
    """Return what a model says of its place and its heights, JSON-able."""
    frame = settings.frame
    east_m, north_m, up_m = origin
    said: dict[str, Any] = {
        "axes": "x east, y up, z south",
        "unit": "metre" if frame.referenced else "arbitrary",
        "crs": frame.crs,
        "origin": {"easting": east_m, "northing": north_m, "height": up_m},
        "vertical_datum": str(settings.vertical_datum),
    }
    if frame.referenced:
        world = frame.world_from_map(np.array([origin]))
        longitude_deg, latitude_deg, _ = frame.geodetic_from_world(world)[0]
        said["longitude"], said["latitude"] = round(longitude_deg, 8), round(latitude_deg, 8)
    return said
