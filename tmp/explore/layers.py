"""Layers of a map: rasters drawn tile by tile, at any scale, in the survey's own CRS.

Tiles lie on a pyramid of squares of `TILE` pixels about the north-west corner of all that is shown.
Each level halves the cells of the one above; the last has those of the finest raster.  A tile is
read through the raster's overviews, so that it costs the same at any scale and of any raster.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from tmp.errors import InputError
from tmp.explore.colours import Light, Style, lit, read_style, shade, stretched
from tmp.geo.grids import Grid
from tmp.geo.rasters import open_raster, read_grid, read_reduced

TILE = 256
"""Side of a tile in pixels."""
DEEPER = 4
"""Levels of magnification beyond the finest raster's own cells."""
SAMPLE_CELLS = 512
"""Longest side of what a stretch of colours is chosen by."""
WEBP_QUALITY = 88
NODATA = -9999.0
TITLES = {
    "orthomosaic": "Orthomosaic",
    "dtm": "Bare ground (DTM), coloured by height",
    "dsm": "Surface (DSM), coloured by height",
    "hillshade": "Surface, lit from the side",
    "hillshade_dtm": "Bare ground, lit from the side",
    "slope": "Slope of the bare ground",
    "height_above_ground": "Height above ground",
    "height_above_ground_sigma": "Doubt (σ) of the height above ground",
    "dsm_sigma": "Doubt (σ) of the surface",
    "dtm_sigma": "Doubt (σ) of the bare ground",
    "dsm_views": "Photographs that agree on a height",
    "dsm_confidence": "How alike the photographs look",
    "ground": "What the picture stands on",
    "relief/vat": "Relief, blended",
    "relief/local_relief": "Relief: height above the surroundings",
    "relief/sky_view_factor": "Relief: sky-view factor",
    "ndvi": "NDVI",
}
"""Layers in their order, the lowest first; all others, such as indices, follow by name."""
LIT = {"hillshade": "dsm", "hillshade_dtm": "dtm"}
"""Layers that are no files: a light on a raster of heights."""
HEIGHTS = ("dsm", "dtm")

log = logging.getLogger(__name__)
Pixels = NDArray[np.uint8]
Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A raster and how it is drawn."""

    key: str
    """Its product's name, or one of `LIT`."""
    title: str
    grid: Grid
    unit: str = ""
    path: Path | None = None
    """The raster's file; None of one that lies in memory."""
    values: NDArray[np.float32] | None = None
    """(rows, cols) of a raster in memory, NaN where there is none."""
    style: Style | None = None
    """Of values; None of a picture in colours, or of plain grey light."""
    lit: bool = False
    """Whether light falls on it: its values are heights."""
    warped: bool = False
    """Whether the file lies in another CRS than its grid, and is warped as it is read."""

    @property
    def is_picture(self) -> bool:
        """Whether it has colours of its own."""
        return self.style is None and not self.lit

    @cached_property
    def _file(self) -> Any:
        assert self.path is not None
        # Made absolute: what looks like an address is one to rasterio.  Only a GeoTIFF: a virtual
        # raster may fetch others.
        file = rasterio.open(self.path.resolve(), driver="GTiff")
        return _warped(file, str(self.grid.crs)) if self.warped else file

    @property
    def exact(self) -> bool:
        """Whether values between its cells mean nothing: counts and classes."""
        return self.style is not None and self.style.kind != "ramp"

    def read(self, window: Grid) -> NDArray[Any]:
        """Return its values in the cells of any grid of its CRS (bands, rows, cols).

        Pictures have four bands, alpha among them; all else is one band, NaN where nothing is.
        """
        bands = 4 if self.is_picture else 1
        out = np.zeros((bands, *window.shape), np.uint8 if self.is_picture else np.float32)
        if not self.is_picture:
            out[:] = np.nan
        west, south, east, north = self.grid.bounds
        # Whole cells of the window that lie on the raster, a hair of tolerance for common edges.
        col0 = max(0, math.ceil((west - window.x_min) / window.cell_m - 1e-3))
        row0 = max(0, math.ceil((window.y_max - north) / window.cell_m - 1e-3))
        col1 = min(window.cols, math.floor((east - window.x_min) / window.cell_m + 1e-3))
        row1 = min(window.rows, math.floor((window.y_max - south) / window.cell_m + 1e-3))
        if col1 <= col0 or row1 <= row0:
            return out
        part = Window(
            (window.x_min + col0 * window.cell_m - west) / self.grid.cell_m,
            (north - window.y_max + row0 * window.cell_m) / self.grid.cell_m,
            (col1 - col0) * window.cell_m / self.grid.cell_m,
            (row1 - row0) * window.cell_m / self.grid.cell_m,
        )
        out[:, row0:row1, col0:col1] = self._read_part(part, (row1 - row0, col1 - col0))
        return out

    def _read_part(self, part: Window, shape: tuple[int, int]) -> NDArray[Any]:
        if self.values is not None:
            rows = part.row_off + (np.arange(shape[0]) + 0.5) * part.height / shape[0]
            cols = part.col_off + (np.arange(shape[1]) + 0.5) * part.width / shape[1]
            at_row = np.clip(rows.astype(int), 0, self.grid.rows - 1)
            at_col = np.clip(cols.astype(int), 0, self.grid.cols - 1)
            return self.values[None, at_row[:, None], at_col]
        file = self._file
        finer = part.width < shape[1]
        if self.exact:
            resampling = Resampling.nearest
        else:
            resampling = Resampling.bilinear if finer and self.lit else Resampling.average
        if self.is_picture:
            return _four_bands(file, part, shape, resampling)
        values = file.read(1, window=part, out_shape=shape, resampling=resampling)
        empty = values == file.nodata if file.nodata is not None else np.zeros(shape, bool)
        values = values.astype(np.float32)
        values[empty] = np.nan
        return np.asarray(values[None])

    def draw(self, window: Grid, light: Light) -> Pixels:
        """Return it drawn in the cells of a grid: red, green, blue, alpha (rows, cols, 4)."""
        if self.is_picture:
            return np.ascontiguousarray(self.read(window).transpose(1, 2, 0))
        if not self.lit:
            assert self.style is not None
            return self.style.draw(self.read(window)[0])
        wider = Grid(
            crs=window.crs,
            x_min=window.x_min - window.cell_m,
            y_max=window.y_max + window.cell_m,
            cell_m=window.cell_m,
            rows=window.rows + 2,
            cols=window.cols + 2,
        )
        height = self.read(wider)[0]
        colours = self.style.draw(height[1:-1, 1:-1]) if self.style else None
        return lit(colours, shade(height, window.cell_m, light), light)

    def at(self, x: float, y: float) -> list[float]:
        """Return its values, band by band, in the cell at a place; empty where there is none."""
        cell = self.grid.cell_m
        col = math.floor((x - self.grid.x_min) / cell)
        row = math.floor((self.grid.y_max - y) / cell)
        if not (0 <= row < self.grid.rows and 0 <= col < self.grid.cols):
            return []
        values = self._read_part(Window(col, row, 1, 1), (1, 1))[:, 0, 0]
        return [float(value) for value in values if np.isfinite(value)]


def _warped(file: Any, crs: str) -> WarpedVRT:
    """Return a file in another CRS: north-up, square cells, nothing where it has nothing."""
    if file.count >= 3:
        return WarpedVRT(file, crs=crs, add_alpha=file.count == 3, resampling=Resampling.bilinear)
    nodata = NODATA if file.nodata is None else file.nodata
    return WarpedVRT(file, crs=crs, nodata=nodata, dtype="float32", resampling=Resampling.bilinear)


def _four_bands(file: Any, part: Window, shape: tuple[int, int], how: Resampling) -> Pixels:
    out = np.full((4, *shape), 255, np.uint8)
    count = min(4, file.count)
    out[:count] = file.read(list(range(1, count + 1)), window=part, out_shape=(count, *shape),
                            resampling=how)  # fmt: skip
    if count < 3:
        out[:3] = out[0]
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Pyramid:
    """Tiles over all layers of a map, from one of everything to the finest cells."""

    crs: str | None
    x_min: float
    y_max: float
    cell_m: float
    """Of the finest level."""
    levels: int
    """Number of the finest level; level 0 has one tile."""
    bounds: Bounds

    @classmethod
    def over(cls, grids: Sequence[Grid]) -> Pyramid:
        """Return the tiles over some grids of one CRS, on the cells of the finest one."""
        finest = min(grids, key=lambda grid: grid.cell_m)
        boxes = np.array([grid.bounds for grid in grids])
        west, south = boxes[:, :2].min(axis=0)
        east, north = boxes[:, 2:].max(axis=0)
        cell = finest.cell_m
        # On the finest grid's own cell edges, so that these are drawn as they are.
        x_min = finest.x_min - math.ceil((finest.x_min - west) / cell - 1e-6) * cell
        y_max = finest.y_max + math.ceil((north - finest.y_max) / cell - 1e-6) * cell
        side = max(east - x_min, y_max - south) / cell
        levels = max(0, math.ceil(math.log2(max(side, 1) / TILE) - 1e-9))
        return cls(
            crs=finest.crs,
            x_min=x_min,
            y_max=y_max,
            cell_m=cell,
            levels=levels,
            bounds=(float(west), float(south), float(east), float(north)),
        )

    def tile(self, level: int, col: int, row: int) -> Grid:
        """Return the cells of one tile, and one more row and column.

        Tiles overlap by these, so that no seam shows where a page scales them.  Raises `InputError`
        if there is no such level.
        """
        if not 0 <= level <= self.levels + DEEPER:
            raise InputError(f"level {level!r} of a map; give one from 0 to {self.levels}")
        cell = self.cell_m * 2.0 ** (self.levels - level)
        return Grid(
            crs=self.crs,
            x_min=self.x_min + col * TILE * cell,
            y_max=self.y_max - row * TILE * cell,
            cell_m=cell,
            rows=TILE + 1,
            cols=TILE + 1,
        )


def encoded(pixels: Pixels, *, exact: bool = False) -> tuple[bytes, str]:
    """Return a picture (rows, cols, 4) as a file and its media type; empty if all is clear."""
    if not pixels[..., 3].any():
        return b"", ""
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    if exact:
        image.save(file, "PNG", compress_level=1)
        return file.getvalue(), "image/png"
    image.save(file, "WEBP", quality=WEBP_QUALITY, method=0)
    return file.getvalue(), "image/webp"


def open_layers(products: dict[str, Path], wanted: Iterable[str] = ()) -> list[Layer]:
    """Return the layers of a survey's products that are there, the lowest first.

    Parameters
    ----------
    products : dict of str to Path
        Files by name, as `tmp.survey.Survey.products` has them.
    wanted : iterable of str, optional
        Names of layers; by default all.

    Raises
    ------
    InputError
        If a layer is not there, or none is.
    """
    rasters = {name: path for name, path in products.items() if path.suffix == ".tif"}
    there = [*(key for key in TITLES if LIT.get(key, key) in rasters)]
    there += [name for name in rasters if name not in TITLES and _is_shown(rasters[name])]
    for key in wanted:
        if key not in there:
            said = f"there are {', '.join(there)}" if there else "'tmp map' makes them"
            raise InputError(f"no layer {key!r}; {said}")
    if not there:
        raise InputError("no raster to show yet; 'tmp map' makes them")
    chosen = [key for key in there if key in set(wanted)] or there
    return [_open_layer(key, rasters[LIT.get(key, key)]) for key in chosen]


def _is_shown(path: Path) -> bool:
    with rasterio.open(path.resolve(), driver="GTiff") as file:
        return file.count == 1 or (file.count in (3, 4) and file.dtypes[0] == "uint8")


def _open_layer(key: str, path: Path) -> Layer:
    with rasterio.open(path.resolve(), driver="GTiff") as file:
        picture = file.count >= 3
        unit = (file.units[0] or "") if file.count else ""
        overviews = file.overviews(1)
    grid = read_grid(path)
    if not overviews and max(grid.shape) > 8 * TILE:
        log.warning("%s: has no overviews, so that a map of it is slow", path)
    style = None
    if not picture and key not in LIT:
        style = read_style(path) or stretched(_sample(path), unit)
    title = TITLES.get(key, _title_of(key))
    return Layer(
        key=key,
        title=title,
        grid=grid,
        unit=unit,
        path=path,
        style=style,
        lit=key in LIT or key in HEIGHTS,
    )


def open_file(path: Path, crs: str | None = None) -> Layer:
    """Return a layer of a GeoTIFF from elsewhere: a picture, or one band of values.

    It is shown in `crs`, by default its own.  Raises `InputError` if it cannot be read, has no
    place, or no CRS in metres is known.
    """
    with open_raster(path, ("GTiff",), "it is no GeoTIFF; save it as one") as file:
        if file.crs is None:
            raise InputError(f"{path}: has no place on Earth; georeference it first")
        target = crs or file.crs.to_string()
        if not CRS.from_user_input(target).is_projected:
            raise InputError(f"{path}: is in degrees; give a projected CRS, such as EPSG:32633")
        with _warped(file, target) as shown:
            picture = file.count >= 3
            grid = Grid(
                crs=target,
                x_min=shown.transform.c,
                y_max=shown.transform.f,
                cell_m=shown.transform.a,
                rows=shown.height,
                cols=shown.width,
            )
            longest = max(grid.shape)
            sample = np.full((1, 1), np.nan, np.float32)
            if not picture:
                times = max(1.0, longest / SAMPLE_CELLS)
                shape = (max(1, round(grid.rows / times)), max(1, round(grid.cols / times)))
                read = shown.read(1, out_shape=shape, masked=True)
                sample = np.ma.filled(read.astype(np.float32), np.nan)
    return Layer(
        key=path.stem,
        title=path.stem,
        grid=grid,
        path=path,
        style=None if picture else stretched(sample),
        warped=True,
    )


def _title_of(key: str) -> str:
    """Return a title for a product that has none.

    Examples
    --------
    >>> _title_of("relief/positive_openness"), _title_of("gndvi")
    ('Relief: positive openness', 'GNDVI')
    """
    folder, _, name = key.rpartition("/")
    if folder:
        return f"{folder.capitalize()}: {name.replace('_', ' ')}"
    return name.upper() if len(name) <= 5 else name.replace("_", " ").capitalize()


def _sample(path: Path) -> NDArray[np.floating[Any]]:
    values, _ = read_reduced(path, SAMPLE_CELLS)
    return np.ma.filled(values.astype(np.float32), np.nan)
