"""The stage that makes the reflectance stack: every band on one grid, relief taken out.

Pixel values are calibrated by what the survey itself gives for it, and levelled against each other
where no sun sensor recorded the light.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flows.engine.cost import Raster, of_tiles
from flows.engine.stage import Figures, Job, Stage, work_tiles
from flows.products.band_stack import REFLECTANCE_FILE, wavelength_tags
from flows.stages.inputs import (
    complete_pictures,
    picture_store,
    read_oriented,
    read_survey,
    require_space,
)
from flows.stages.orthomosaic import PICTURES_PER_WORKER, read_ground
from flows.stages.surface import GROUND, NODATA, inside_area, neat, product_tags
from ingest.metadata.bands import Declaration, read_band_tags, read_declarations
from ingest.radiometry.panel_table import FILE, PanelTable, read_panels
from ingest.radiometry.radiance import find_saturated, read_stored, to_radiance
from ingest.radiometry.reflectance import Leveller, calibrate_captures
from tmp.captures import Capture
from tmp.errors import InputError
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import TiledRaster, create_tiled, finish_cog, open_tiled
from tmp.radiometry import UNKNOWN_BAND, Band, BandTags, Calibration, Family, Provenance
from tmp.reconstruction import Reconstruction
from tmp.survey import Survey

if TYPE_CHECKING:
    from photogrammetry.ortho.bands import BandLayer
    from photogrammetry.ortho.gains import Levelling
    from photogrammetry.pictures import PictureStore
    from photogrammetry.views import View

RGB = tuple(Band(name=name, channel=i) for i, name in enumerate(("red", "green", "blue")))
"""Bands of a colour photograph that nobody has declared anything else."""

NO_CALIBRATION = Calibration(bands=())

Float32 = NDArray[np.float32]
SUN_READ = frozenset({Provenance.BOTH, Provenance.SUN_SENSOR})
"""Calibrations that know how the light changed from photograph to photograph."""
LEAST_PHOTOGRAPHS = 3
NOTE = (
    "photographs levelled against each other where they overlap, as no sun sensor tells how the "
    "light changed"
)
log = logging.getLogger(__name__)
REFLECTANCE_TILE = 1024
TYPICAL_NM = {"blue": 475.0, "green": 560.0, "red": 660.0, "rededge": 720.0, "nir": 840.0}
"""By which bands without a wavelength are put in order."""
BYTES_PER_CELL = 4 * 2
"""Of one band: the tile and the product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandValues:
    """Gives the values of photographs, each file read when it is asked for."""

    photos_dir: Path
    calibration: Calibration = NO_CALIBRATION
    """Of all photographs; an empty one leaves radiance as it is."""
    declarations: Sequence[Declaration] = ()
    _tags: dict[str, BandTags] = field(default_factory=dict, repr=False)

    def tags(self, name: str) -> BandTags:
        """Return what a photograph says of its bands."""
        if name not in self._tags:
            self._tags[name] = read_band_tags(self.photos_dir / name, self.declarations)
        return self._tags[name]

    def bands(self, name: str) -> tuple[Band, ...]:
        """Return the bands of a photograph, in the order of `load`'s last axis."""
        tags = self.tags(name)
        return RGB if tags.family is Family.RGB else tags.bands

    def load(
        self, name: str, *, factors: Float32 | None = None, calibrated: bool = True
    ) -> Float32:
        """Return a photograph's reflectance, or its radiance without calibration.

        Parameters
        ----------
        name : str
        factors : ndarray of shape (rows, cols, bands), optional
            Multiplied with the radiance before it is calibrated.
        calibrated : bool
            Whether a calibration is to be used.

        Returns
        -------
        ndarray of shape (rows, cols, bands), float32
            NaN where any band is saturated: what is brighter than that is not known.

        Raises
        ------
        PhotographError
            If the file cannot be decoded.
        """
        stored = read_stored(self.photos_dir / name)
        tags = self.tags(name)
        radiance = to_radiance(stored, tags)
        values = radiance if radiance.ndim == 3 else radiance[..., None]
        if factors is not None:
            values = values * factors
        if calibrated and self.calibration.bands:
            values = self.calibration.to_reflectance(name, values, out=values)
        values[find_saturated(stored, tags)] = np.nan
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelledValues:
    """Gives the values of photographs with their levels and fall-off made equal."""

    values: BandValues
    levellings: tuple[tuple[Levelling, dict[str, View]], ...] = ()
    _by_name: dict[str, tuple[Levelling, View]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_name = {
            name: (found, view) for found, views in self.levellings for name, view in views.items()
        }
        object.__setattr__(self, "_by_name", by_name)

    def told(self, calibration: Calibration) -> Calibration:
        """Return a calibration that says which of its photographs were levelled."""
        bands = [
            replace(band, reasons=(*band.reasons, NOTE))
            if self._by_name.keys() & band.factors.keys()
            else band
            for band in calibration.bands
        ]
        return Calibration(bands=tuple(bands))

    def factors_at(self, name: str, place_px: tuple[float, float]) -> Sequence[float]:
        """Return the factors of a photograph's bands at one place in it."""
        if name not in self._by_name:
            return [1.0] * len(self.values.bands(name))
        levelling, view = self._by_name[name]
        return [float(factor) for factor in levelling.factors_at(view, np.array([place_px]))[0]]

    def load(self, name: str) -> Float32:
        """Return a photograph's values (rows, cols, bands), float32, as `BandValues.load` does."""
        if name not in self._by_name:
            return self.values.load(name)
        levelling, view = self._by_name[name]
        return self.values.load(name, factors=levelling.factors(view))


def level_layers(
    layers: Sequence[BandLayer],
    points: NDArray[np.float64],
    values: BandValues,
    *,
    workers: int,
) -> LevelledValues:
    """Level the photographs of every band for which no sun sensor was read.

    Parameters
    ----------
    layers : sequence of BandLayer
    points : ndarray of shape (N, 3)
        Tie points, world.
    values : BandValues
    workers : int
    """
    from photogrammetry.ortho.gains import level_photographs

    found = []
    for layer in layers:
        for kind in layer.bands:
            views = [release[kind] for release in layer.releases if kind in release]
            if len(views) < LEAST_PHOTOGRAPHS or _sun_was_read(values, views):
                continue
            levelling = level_photographs(
                views, points, partial(values.load, calibrated=False), workers=workers
            )
            found.append((levelling, {view.name: view for view in views}))
    return LevelledValues(values=values, levellings=tuple(found))


def _sun_was_read(values: BandValues, views: Sequence[View]) -> bool:
    if not values.calibration.bands:
        return False
    return any(
        band.provenance in SUN_READ for view in views for band in values.calibration.of(view.name)
    )


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
    from flows.stages.reflectance import calibrate_survey
    from photogrammetry.ortho.bands import band_layers
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
    from photogrammetry.ortho.gains import balance_exposures

    balanced = []
    for layer in layers:
        solved = balance_exposures(layer.leaders, reconstruction.points, store)
        gains = {view.name: gain for view, gain in zip(layer.leaders, solved, strict=True)}
        balanced.append(replace(layer, gains=gains))
    return balanced


def _coarsest_gsd(layers: Sequence[BandLayer], reconstruction: Reconstruction) -> float:
    from photogrammetry.surface.extent import ground_sample_distance

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
    from photogrammetry.ortho.bands import mosaic_bands
    from photogrammetry.ortho.seams import ground_window
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


def calibrate_survey(
    survey: Survey, captures: Sequence[Capture], *, level: Leveller | None = None
) -> BandValues:
    """Return the values of a survey's photographs, calibrated as well as the survey allows.

    Parameters
    ----------
    captures : sequence of Capture
        All of them: panel pictures calibrate the others.
    level : callable, optional
        By what photographs will be multiplied before they are calibrated, at a place in them.
    """
    values = BandValues(photos_dir=survey.photos_dir, declarations=read_declarations(survey.folder))

    def tags_of(name: str) -> BandTags:
        return replace(values.tags(name), bands=values.bands(name))

    calibrated = calibrate_captures(
        captures,
        load=lambda name: read_stored(survey.photos_dir / name),
        tags_of=tags_of,
        table=_read_table(survey),
        level=level,
    )
    return replace(values, calibration=calibrated.calibration)


def _read_table(survey: Survey) -> PanelTable:
    path = survey.folder / FILE
    return read_panels(path) if path.exists() else PanelTable()
