"""The stage that makes the reflectance stack: every band on one grid, relief taken out.

Pixel values are calibrated by what the survey itself gives for it, and levelled against each other
where no sun sensor recorded the light.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flows.engine.cost import OfTiles, Raster
from flows.engine.stage import Figures, Stage, Workspace
from flows.products.band_stack import REFLECTANCE_FILE, wavelength_tags
from flows.products.ground import GROUND, NODATA, inside_area, read_water
from flows.products.table import REFLECTANCE_TILE
from flows.stages.inputs import (
    PICTURES_PER_WORKER,
    complete_pictures,
    neat,
    picture_store,
    product_tags,
    read_ground,
    read_oriented,
    read_survey,
    require_space,
)
from ingest.metadata.bands import Declaration, read_band_tags, read_declarations
from ingest.radiometry.panel_table import FILE, PanelTable, read_panels
from ingest.radiometry.radiance import find_saturated, read_stored, to_radiance
from ingest.radiometry.reflectance import Leveller, calibrate_captures
from tmp.captures import Capture
from tmp.errors import InputError
from tmp.geo.grids import Grid
from tmp.geo.rasters import create_tiled, finish_cog, open_tiled
from tmp.radiometry import UNKNOWN_BAND, Band, BandTags, Calibration, Family, Provenance
from tmp.reconstruction import Reconstruction
from tmp.survey import Survey

if TYPE_CHECKING:
    from photogrammetry.ortho.gains import Levelling
    from photogrammetry.ortho.mosaic import BandLayer
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

    @classmethod
    def of_survey(cls, survey: Survey) -> BandValues:
        """Return the values of a survey's photographs, not calibrated yet."""
        return cls(photos_dir=survey.photos_dir, declarations=read_declarations(survey.folder))

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

    Tie points (N, 3) are in world coordinates.
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


class Reflectance(Stage):
    """Render the reflectance stack of a survey tile by tile."""

    name = "reflectance"
    version = "6"
    after = ("orientation", "surface")
    options = ("quality", "area_wkt", "water_wkt", "calibration")
    label = "Making the reflectance stack"
    needs = OfTiles(
        cpus=2,
        raster=Raster.ORTHO,
        base_gb=1.0,
        gb_per_cpu=0.2,
        gb_per_megapixel=0.2,
        cpu_s_per_tile=3.0,
        end_s_per_tile=0.5,
        shared_side=REFLECTANCE_TILE,
    )

    def __init__(self, space: Workspace) -> None:
        """Choose layers and bands, and lay the tiles over the ground."""
        from photogrammetry.ortho.mosaic import band_layers
        from photogrammetry.views import views_of

        super().__init__(space)
        reconstruction = self._reconstruction = read_oriented(space)
        self._survey, self._settings, self._captures = read_survey(space)
        self._values = BandValues.of_survey(self._survey)
        self._layers = useful_layers(band_layers(views_of(reconstruction), self._captures))
        self._stack = stack_bands(self._layers, self._values)
        self._ground = open_tiled(space.inputs["surface"] / GROUND)
        self._gsd_m = neat(_coarsest_gsd(self._layers, reconstruction), reconstruction)
        grid = Grid.from_bounds(self._ground.grid.bounds, self._gsd_m, self._ground.grid.crs)
        self._raster = create_tiled(
            space.scratch / "reflectance",
            grid,
            bands=len(self._stack),
            nodata=NODATA,
            tile_cells=REFLECTANCE_TILE,
        )
        self._tiles = {tile.name: tile for tile in self._raster.tiles()}

    def items(self) -> Sequence[str]:
        """Name the tiles."""
        return list(self._tiles)

    def is_made(self, item: str) -> bool:
        """Tell whether a tile has been rendered."""
        return self._raster.has(self._tiles[item])

    @contextmanager
    def prepared(self, items: Sequence[str]) -> Iterator[None]:
        """Calibrate the photographs, level them against each other, and have them at hand."""
        from photogrammetry.pictures import DecodedPictures

        del items
        space, survey, captures = self.space, self._survey, self._captures
        self._water = read_water(self._ground, space.options["water_wkt"])
        complete_pictures(space, captures)
        values = calibrate_survey(survey, captures, self._values)
        self._store = picture_store(space)
        self._layers = _with_gains(self._layers, self._reconstruction, self._store)
        cells = self._raster.grid.rows * self._raster.grid.cols * len(self._stack)
        require_space(space.out, cells * BYTES_PER_CELL, "making the reflectance stack")
        points = self._reconstruction.points
        self._levelled = level_layers(self._layers, points, values, workers=space.workers)
        if self._levelled.levellings:
            # Targets in photographs of unequal exposure agree only once these are levelled.
            values = calibrate_survey(survey, captures, values, level=self._levelled.factors_at)
            self._levelled = replace(self._levelled, values=values)
        views = {
            kind: view
            for layer in self._layers
            for release in layer.releases
            for kind, view in release.items()
        }
        self._channels = {kind: len(values.bands(view.name)) for kind, view in views.items()}
        largest = max(
            4 * self._channels[kind] * view.camera.width_px * view.camera.height_px
            for kind, view in views.items()
        )
        self._pictures = DecodedPictures(
            values.photos_dir,
            budget_bytes=PICTURES_PER_WORKER * len(views) * (space.workers + 1) * largest,
            load=self._levelled.load,
        )
        yield
        self._pictures.clear()

    def make(self, item: str) -> None:
        """Render all bands of a tile."""
        from photogrammetry.ortho.mosaic import mosaic_bands
        from photogrammetry.ortho.seams import ground_window

        tile, raster = self._tiles[item], self._raster
        window = raster.grid.window(tile)
        part = ground_window(self._ground.grid, window)
        below = read_ground(self._ground, part, self._water)
        frame = self._reconstruction.frame
        by_layer = [
            mosaic_bands(window, below, layer, self._channels, frame, self._store, self._pictures)
            for layer in self._layers
        ]
        cells: NDArray[np.float32] = np.stack(
            [by_layer[entry.layer][entry.kind][entry.channel] for entry in self._stack]
        )
        cells[:, ~inside_area(raster.grid, tile, self.space.options["area_wkt"])] = np.nan
        raster.write(tile, np.nan_to_num(cells, nan=NODATA))

    def finish(self) -> Figures:
        """Write the stack, with what its values rest on."""
        bands = [entry.band for entry in self._stack]
        names = [band.name for band in bands]
        used = self._levelled.told(self._levelled.values.calibration.choose(*names))
        finish_cog(
            self._raster,
            self.space.out / REFLECTANCE_FILE,
            descriptions=names,
            tags=product_tags(self._settings.vertical_datum, self._raster.grid.crs)
            | wavelength_tags(bands)
            | used.raster_tags(),
            threads=self.space.workers,
        )
        return {
            "cell_m": self._gsd_m,
            "bands": names,
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
    wavelengths = {
        name: entry.band.centre_nm or TYPICAL_NM.get(name, 1e4) for name, entry in found.items()
    }
    return [found[name] for name in sorted(found, key=lambda name: (wavelengths[name], name))]


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
    from photogrammetry.surface.trend import ground_sample_distance

    sizes = []
    for layer in layers:
        names = {view.name for view in layer.leaders}
        photos = tuple(photo for photo in reconstruction.photos if photo.name in names)
        sizes.append(ground_sample_distance(replace(reconstruction, photos=photos)))
    return max(sizes)


def calibrate_survey(
    survey: Survey,
    captures: Sequence[Capture],
    values: BandValues,
    *,
    level: Leveller | None = None,
) -> BandValues:
    """Return the values of a survey's photographs, calibrated as well as the survey allows.

    Of all captures, as panel pictures calibrate the others.  The level says by what photographs
    will be multiplied before they are calibrated, at a place in them.
    """

    def tags_of(name: str) -> BandTags:
        return replace(values.tags(name), bands=values.bands(name))

    path = survey.folder / FILE
    calibration = calibrate_captures(
        captures,
        load=lambda name: read_stored(survey.photos_dir / name),
        tags_of=tags_of,
        table=read_panels(path) if path.exists() else PanelTable(),
        level=level,
    )
    return replace(values, calibration=calibration)
