"""The stage that makes the 3D model of the ground and the picture on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from flows.engine.cost import OfTiles, Raster
from flows.engine.stage import Figures, Stage
from flows.products.ground import GROUND, Water, read_continued, read_water
from flows.products.table import GROUND_CLASSES, MODEL, MODEL_SIDES, ORTHOMOSAIC, GroundClass
from flows.stages.inputs import read_survey, read_surveying, require_space
from flows.stages.orthomosaic import Exposure, read_gains
from flows.stages.solids import read_sites, read_solids
from tmp.files import replacing
from tmp.geo.grids import Grid, Tile, means_of_squares
from tmp.geo.rasters import TiledRaster, open_tiled, read_grid, read_over, read_window
from tmp.survey import Settings

if TYPE_CHECKING:
    from photogrammetry.model.mesh import HeightField
    from photogrammetry.model.relief_model import ReliefModel, Sources
    from photogrammetry.solid.sites import Site

SIDE_PX = 900
"""Width of each."""
MOST_CELLS = 2**24
"""Cells of the ground that a model is made of; of a larger survey several are taken as one."""
SPECKS = 5
"""Side in cells of the squares within which single cells of another kind are passed over."""


class Model(Stage):
    """Make the textured mesh of a survey."""

    name = "model"
    version = "2"
    after = ("orientation", "exposure", "surface", "orthomosaic", "standing", "solids")
    options = ("water_wkt", "model_detail")
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

        space = self.space
        _, settings, _ = read_survey(space)
        budget = BUDGETS[Detail(space.options["model_detail"])]
        require_space(space.out, budget.megabytes * 1e6, "writing the model")
        ground = open_tiled(space.inputs["surface"] / GROUND)
        water = read_water(ground, space.options["water_wkt"])
        field = read_field(ground, space.inputs["orthomosaic"] / GROUND_CLASSES.file, water)
        most_corners = int(SOLID_SHARE * budget.corners)
        solids = read_solids(space.inputs["solids"], most_corners)
        if solids:
            sites = read_sites(space.inputs["standing"])
            field = replace(field, replaced=_replaced(sites, ground.grid, field.grid))
        found = build_relief_model(field, self._sources(), budget, solids=solids, track=space.track)
        write_glb(space.out / MODEL.file, found.model, about=_about(found, settings))
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

    def _sources(self) -> Sources:
        """Return the pictures that the model is drawn from."""
        from photogrammetry.model.relief_model import Sources
        from photogrammetry.pictures import read_photograph
        from photogrammetry.views import views_of

        space = self.space
        survey, _, _ = read_survey(space)
        reconstruction = read_surveying(space)
        orthomosaic = space.inputs["orthomosaic"] / ORTHOMOSAIC.file
        return Sources(
            orthomosaic=lambda window: np.moveaxis(read_over(orthomosaic, window)[:3], 0, 2),
            gsd_m=read_grid(orthomosaic).cell_m,
            views=views_of(reconstruction),
            frame=reconstruction.frame,
            gains=read_gains(space.inputs[Exposure.name]),
            photograph=lambda name: read_photograph(survey.photos_dir / name),
        )


def read_field(ground: TiledRaster, classes: Path, water: Water) -> HeightField:
    """Return the ground under the orthomosaic, of whose `classes` a raster tells.

    Of a large survey several cells are taken as one: the mean height of those in the picture.
    """
    from photogrammetry.model.mesh import CONTINUED, MEASURED, NOTHING, HeightField

    grid = ground.grid
    times = 1
    while grid.rows * grid.cols > MOST_CELLS * times**2:
        times *= 2
    coarse = grid.coarser(times)
    height, sigma = np.zeros((2, *coarse.shape), np.float32)
    kind = np.full(coarse.shape, NOTHING, np.uint8)
    for tile in ground.tiles():
        found = read_continued(ground, tile, water)
        of_tile = _classes_over(classes, grid.window(tile))
        known = of_tile != GroundClass.NOTHING
        share = means_of_squares(known, times)
        total = means_of_squares(np.where(known, found.height, 0), times)
        own = total / np.maximum(share, 1e-6)
        # Where nothing is drawn the height still blocks the sight.
        heights = np.where(share > 0, own, means_of_squares(found.height, times))
        continued = means_of_squares(of_tile == GroundClass.CONTINUED, times) > share / 2
        kinds = np.where(continued, CONTINUED, MEASURED)
        at = np.s_[tile.row // times :, tile.col // times :]
        size = np.s_[: share.shape[0], : share.shape[1]]
        height[at][size] = heights
        sigma[at][size] = means_of_squares(np.where(found.measured, found.sigma, 0), times)
        kind[at][size] = np.where(share > 0, kinds, NOTHING)
    # Single cells of another kind would cost the mesh more corners than a person can see.
    smooth = cv2.medianBlur(kind, SPECKS)
    kind = np.where((kind != NOTHING) & (smooth != NOTHING), smooth, kind)
    return HeightField(grid=coarse, height=height, sigma=sigma, kind=np.asarray(kind, np.uint8))


def _replaced(sites: Sequence[Site], grid: Grid, coarse: Grid) -> NDArray[np.bool_]:
    """Tell which squares between a coarser grid's cell centres lie whole within sites."""
    from photogrammetry.solid.sites import replaced_squares

    fine = replaced_squares(sites, grid)
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


def _about(found: ReliefModel, settings: Settings) -> dict[str, Any]:
    """Return what a model says of its place and its heights, JSON-able."""
    frame = settings.frame
    east_m, north_m, up_m = found.origin
    said: dict[str, Any] = {
        "axes": "x east, y up, z south",
        "unit": "metre" if frame.referenced else "arbitrary",
        "crs": frame.crs,
        "origin": {"easting": east_m, "northing": north_m, "height": up_m},
        "vertical_datum": str(settings.vertical_datum),
    }
    if frame.referenced:
        world = frame.world_from_map(np.array([found.origin]))
        longitude_deg, latitude_deg, _ = frame.geodetic_from_world(world)[0]
        said["longitude"], said["latitude"] = round(longitude_deg, 8), round(latitude_deg, 8)
    return said
