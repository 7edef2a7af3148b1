"""The stage that makes the reflectance stack: every band on one grid, relief taken out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flows.bandstack import REFLECTANCE_FILE, wavelength_tags
from flows.levels import LevelledValues, level_layers
from flows.mosaics import PICTURES_PER_WORKER, read_ground
from flows.orders import Figures, Job, Stage
from flows.resources import Raster, of_tiles
from flows.space import require_space
from flows.stages import complete_pictures, picture_store, read_oriented, read_survey
from flows.surfaces import GROUND, NODATA, inside_area, neat, product_tags
from flows.tiles import work_tiles
from tmp.bands import UNKNOWN_BAND, Band
from tmp.captures import Capture
from tmp.cogs import finish_cog
from tmp.errors import InputError
from tmp.grids import Grid, Tile
from tmp.rasters import TiledRaster, create_tiled, open_tiled
from tmp.reconstruction import Reconstruction

if TYPE_CHECKING:
    from flows.bandvalues import BandValues
    from photogrammetry.bandmosaic import BandLayer
    from photogrammetry.pictures import PictureStore

log = logging.getLogger(__name__)

REFLECTANCE_TILE = 1024
TYPICAL_NM = {"blue": 475.0, "green": 560.0, "red": 660.0, "rededge": 720.0, "nir": 840.0}
"""By which bands without a wavelength are put in order."""
BYTES_PER_CELL = 4 * 2
"""Of one band: the tile and the product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackBand:
    """A band of the stack and where it comes from."""

    band: Band
    layer: int
    """Index of the layer of photographs that it is taken from."""
    kind: str
    """`Capture.band` of those photographs."""
    channel: int
    """Place among the bands of such a photograph."""


def has_bands(captures: Sequence[Capture]) -> bool:
    """Tell whether a survey has photographs of known bands besides colour ones."""
    return any(c.used and c.band not in ("", UNKNOWN_BAND) for c in captures)


def make_reflectance(job: Job) -> Figures:
    """Render the reflectance stack of a survey tile by tile."""
    from flows.calibrating import calibrate_survey
    from photogrammetry.bandmosaic import band_layers
    from photogrammetry.views import views_of

    reconstruction = read_oriented(job)
    survey, settings, captures = read_survey(job)
    complete_pictures(job, captures)
    values = calibrate_survey(survey, captures)
    layers = _with_gains(
        useful_layers(band_layers(views_of(reconstruction), captures)),
        reconstruction,
        picture_store(job),
    )
    stack = stack_bands(layers, values)
    ground = open_tiled(job.inputs["surface"] / GROUND)
    gsd_m = neat(_coarsest_gsd(layers, reconstruction), reconstruction)
    grid = Grid.from_bounds(ground.grid.bounds, gsd_m, ground.grid.crs)
    cells = grid.rows * grid.cols * len(stack)
    require_space(job.out, cells * BYTES_PER_CELL, "making the reflectance stack")
    raster = create_tiled(
        job.scratch / "reflectance",
        grid,
        bands=len(stack),
        nodata=NODATA,
        tile_cells=REFLECTANCE_TILE,
    )
    levelled = level_layers(layers, reconstruction.points, values, workers=job.workers)
    if levelled.levellings:
        # Targets in photographs of unequal exposure agree only once these are levelled.
        calibrated = calibrate_survey(survey, captures, level=levelled.factors_at)
        levelled = replace(levelled, values=calibrated)
    if not _render(job, raster, ground, layers, stack, reconstruction, levelled):
        return {}
    used = levelled.told(levelled.values.calibration.choose(*(entry.band.name for entry in stack)))
    finish_cog(
        raster,
        job.out / REFLECTANCE_FILE,
        descriptions=[entry.band.name for entry in stack],
        tags=product_tags(settings.vertical_datum)
        | wavelength_tags([entry.band for entry in stack])
        | used.raster_tags(),
        threads=job.workers,
    )
    return {
        "cell_m": gsd_m,
        "bands": [entry.band.name for entry in stack],
        "provenance": str(used.provenance),
        "notes": list(dict.fromkeys(reason for band in used.bands for reason in band.reasons)),
    }


def useful_layers(layers: Sequence[BandLayer]) -> list[BandLayer]:
    """Return the layers that a stack is made of.

    Colour photographs serve only where no calibrated camera has a red band.

    Raises
    ------
    InputError
        If there are colour photographs alone, or none whose bands are known.
    """
    known = [layer for layer in layers if UNKNOWN_BAND not in layer.bands]
    banded = [layer for layer in known if layer.leader]
    if not banded:
        raise InputError(
            "the survey has no oriented photographs of known bands besides colour; for a "
            "converted camera say in cameras.toml which channel is which band"
        )
    names = {name for layer in banded for kind in layer.bands for name in kind.split("+")}
    return banded if "red" in names else known


def stack_bands(layers: Sequence[BandLayer], values: BandValues) -> list[StackBand]:
    """Return the bands of the stack by wavelength; a band that two layers have is the first's."""
    found: dict[str, StackBand] = {}
    # Cameras made for single bands come before containers, whose channels share some light.
    for index in sorted(range(len(layers)), key=lambda i: (layers[i].leader == "", i)):
        for release in layers[index].releases:
            for kind, view in release.items():
                if any(entry.kind == kind for entry in found.values()):
                    continue
                for channel, band in enumerate(values.bands(view.name)):
                    entry = StackBand(band=band, layer=index, kind=kind, channel=channel)
                    found.setdefault(band.name, entry)
    return sorted(found.values(), key=lambda entry: (_order(entry.band), entry.band.name))


def _order(band: Band) -> float:
    return band.centre_nm or TYPICAL_NM.get(band.name, 1e4)


def _with_gains(
    layers: Sequence[BandLayer], reconstruction: Reconstruction, store: PictureStore
) -> list[BandLayer]:
    """Give layers the gains with which their pictures are compared."""
    from photogrammetry.exposure import balance_exposures

    balanced = []
    for layer in layers:
        solved = balance_exposures(layer.leaders, reconstruction.points, store)
        gains = {view.name: gain for view, gain in zip(layer.leaders, solved, strict=True)}
        balanced.append(replace(layer, gains=gains))
    return balanced


def _coarsest_gsd(layers: Sequence[BandLayer], reconstruction: Reconstruction) -> float:
    from photogrammetry.extent import ground_sample_distance

    sizes = []
    for layer in layers:
        names = {view.name for view in layer.leaders}
        photos = tuple(photo for photo in reconstruction.photos if photo.name in names)
        sizes.append(ground_sample_distance(replace(reconstruction, photos=photos)))
    return max(sizes)


def _render(
    job: Job,
    raster: TiledRaster,
    ground: TiledRaster,
    layers: Sequence[BandLayer],
    stack: Sequence[StackBand],
    reconstruction: Reconstruction,
    levelled: LevelledValues,
) -> bool:
    from photogrammetry.bandmosaic import mosaic_bands
    from photogrammetry.labels import ground_window
    from photogrammetry.pictures import DecodedPictures

    values = levelled.values
    kinds = {kind: view for layer in layers for r in layer.releases for kind, view in r.items()}
    channels = {kind: len(values.bands(view.name)) for kind, view in kinds.items()}
    largest = max(
        4 * channels[kind] * view.camera.width_px * view.camera.height_px
        for kind, view in kinds.items()
    )
    pictures = DecodedPictures(
        values.photos_dir,
        budget_bytes=PICTURES_PER_WORKER * len(kinds) * (job.workers + 1) * largest,
        load=levelled.load,
    )
    store, frame = picture_store(job), reconstruction.frame

    def render(tile: Tile) -> None:
        window = raster.grid.window(tile)
        below = read_ground(ground, ground_window(ground.grid, window))
        by_layer = [
            mosaic_bands(window, below, layer, channels, frame, store, pictures) for layer in layers
        ]
        cells: NDArray[np.float32] = np.stack(
            [by_layer[entry.layer][entry.kind][entry.channel] for entry in stack]
        )
        cells[:, ~inside_area(raster.grid, tile, job.options["area_wkt"])] = np.nan
        raster.write(tile, np.nan_to_num(cells, nan=NODATA))

    whole = work_tiles(job, raster, render, "Making the reflectance stack")
    pictures.clear()
    return whole


REFLECTANCE = Stage(
    name="reflectance",
    version="6",
    function=make_reflectance,
    needs=of_tiles(
        cpus=2,
        raster=Raster.ORTHO,
        base_gb=1.0,
        gb_per_cpu=0.2,
        gb_per_megapixel=0.2,
        cpu_s_per_tile=3.0,
        end_s_per_tile=0.5,
        shared_side=REFLECTANCE_TILE,
    ),
)
