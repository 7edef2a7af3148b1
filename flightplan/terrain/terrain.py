"""The ground below a plan, as heights on a grid in the plan's plane.

The heights come out of a user's elevation model.
"""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window
from scipy import ndimage

from tmp.captures import HeightDatum
from tmp.errors import InputError
from tmp.geo.frames import PlanFrame, position_in_words
from tmp.geo.grids import Grid
from tmp.geo.rasters import open_elevation

Heights = NDArray[np.float32]

UNITS_M = {
    **dict.fromkeys(("m", "metre", "meter", "metres", "meters"), 1.0),
    **dict.fromkeys(("ft", "foot", "feet", "international foot"), 0.3048),
    **dict.fromkeys(("us survey foot", "foot_us", "ftus", "us-ft"), 1200 / 3937),
}

_STRIDE = 32
"""Plan cells between those whose place in the model is computed exactly.  Between them places are
interpolated; maps are straight to a hundredth of a cell over so short a way."""
_STRIP_ROWS = 1024

log = logging.getLogger(__name__)
Float = NDArray[np.float64]
Bounds = tuple[float, float, float, float]
"""``(x_min, y_min, x_max, y_max)`` in plan metres."""
FINEST_M = 1.0
MOST_CELLS = 16_000_000
"""64 MB of heights; beyond this, cells are made coarser."""
KNOWN_DATUMS = "EGM2008 for Copernicus GLO-30, ellipsoid for ArcticDEM and REMA"
"""What heights of models are measured from whose files do not say it."""
PLAUSIBLE_M = (-500.0, 9000.0)
"""From below the shore of the Dead Sea to above the highest mountain, in any datum."""


def bounds_about(places: ArrayLike, margin_m: float) -> Bounds:
    """Return the rectangle about plan points (N, 2), with a margin on all sides."""
    low, high = np.min(places, axis=0) - margin_m, np.max(places, axis=0) + margin_m
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class ElevationModel:
    """An open raster of heights, and what its heights mean."""

    path: Path
    source: rasterio.DatasetReader
    crs: CRS
    """Horizontal."""
    datum: str
    """What heights are measured from, in words."""
    unit_m: float
    """Metres in one unit of height."""

    @classmethod
    def of(cls, path: Path, source: rasterio.DatasetReader, datum: str | None) -> ElevationModel:
        """Return the model in a raster; `datum` overrules what its CRS says.

        Raises
        ------
        InputError
            If it has several bands, or does not say its CRS, datum or unit.
        """
        if source.count != 1:
            raise InputError(f"{path}: has {source.count} bands; an elevation model has one")
        if source.crs is None:
            raise InputError(f"{path}: does not say its CRS; save it again with one")
        crs = CRS.from_wkt(source.crs.to_wkt(version="WKT2_2019"))
        said = crs.sub_crs_list[1].name if crs.is_compound else ""
        if not said and len(crs.axis_info) == 3:
            said = f"height above the ellipsoid of {crs.name}"
        said = said or source.tags().get("VERTICAL_DATUM", "").replace(HeightDatum.UNKNOWN, "")
        if not (datum or said):
            raise InputError(
                f"{path}: does not say what its heights are measured from; pass --dem-datum with "
                f"it: {KNOWN_DATUMS}, else what its provider says, such as EGM96 or local"
            )
        if datum and said and datum.lower() not in said.lower():
            log.warning("%s: heights taken as %s, though the file says %s", path, datum, said)
        return cls(
            path=path,
            source=source,
            crs=crs.sub_crs_list[0] if crs.is_compound else crs,
            datum=datum or said,
            unit_m=_unit_m(path, source, crs),
        )

    def cell_sides_m(self, frame: PlanFrame, middle: tuple[float, float]) -> tuple[float, float]:
        """Return the sides of the model's cells, across and down, about a point of the plan.

        Raises
        ------
        InputError
            If the point has no place in the model's CRS, or that is not one of the Earth.
        """
        to_model = self._to_model(frame)
        affine = self.source.transform
        steps = np.array([(0.0, 0.0), (affine.a, affine.d), (affine.b, affine.e)])
        x, y = (np.array(to_model.transform(*middle)) + steps).T
        plan = np.column_stack(to_model.transform(x, y, direction="INVERSE"))
        across_m, down_m = np.hypot(*(plan[1:] - plan[0]).T)
        if not (np.isfinite([across_m, down_m]).all() and min(across_m, down_m) > 0):
            raise InputError(
                f"{self.path}: the area has no place in its CRS {self.crs.name!r}; "
                "give an elevation model of this place"
            )
        return float(across_m), float(down_m)

    def sample(self, frame: PlanFrame, grid: Grid) -> tuple[Heights, NDArray[np.bool_]]:
        """Return heights at a grid's cell centres, and which lie beside the model, (rows, cols).

        Heights are metres above `datum`, bilinear in the model; NaN where it knows none, also
        beside a gap.  If the grid is coarser than the model, they are bilinear in the highest of
        the model's cells that one of the grid's takes in.
        """
        sides_m = self.cell_sides_m(frame, _middle(grid))
        # A hair more, so that a model of 0.5 m is taken two by two at 1 m.
        across, down = (max(1, math.floor(grid.cell_m / side * (1 + 1e-3))) for side in sides_m)
        lines = self._lines(frame, grid)
        heights = np.full(grid.shape, np.nan, np.float32)
        off = np.ones(grid.shape, bool)
        window = self._window(lines, (across, down))
        if window is None:
            return heights, off
        found = self._highest(window, (across, down))
        width, height = self.source.width, self.source.height
        for row in range(grid.rows):
            first, share = divmod(row, _STRIDE)
            above, below = lines[:, first], lines[:, first + 1]
            x, y = above + share / _STRIDE * (below - above)
            off[row] = (x < 0) | (x > width) | (y < 0) | (y > height)
            places = [(y - window.row_off) / down - 0.5, (x - window.col_off) / across - 0.5]
            heights[row] = ndimage.map_coordinates(found, places, order=1, mode="nearest")
        heights[off] = np.nan
        return heights, off

    def _to_model(self, frame: PlanFrame) -> Transformer:
        """Return the way from a plan to the model's CRS, if that is one of the Earth."""
        try:
            return Transformer.from_crs(frame.crs, self.crs, always_xy=True)
        except ProjError as error:
            raise InputError(
                f"{self.path}: no way leads from the Earth to its CRS {self.crs.name!r}; "
                "save it again in one such as UTM"
            ) from error

    def _lines(self, frame: PlanFrame, grid: Grid) -> Float:
        """Return column and row in the model on every `_STRIDE`-th row of a grid, (2, R, cols)."""
        counts = [-(-size // _STRIDE) + 1 for size in grid.shape]
        north, east = ((np.arange(count) * _STRIDE + 0.5) * grid.cell_m for count in counts)
        to_model = self._to_model(frame)
        x, y = to_model.transform(*np.meshgrid(grid.x_min + east, grid.y_max - north))
        affine = self.source.transform
        if self.crs.is_geographic and self.crs.axis_info[0].unit_name == "degree":
            home, _ = _apply(affine, self.source.width / 2, self.source.height / 2)
            x = home + (x - home + 180.0) % 360.0 - 180.0
        # What has no place in the model's CRS lies beside it.
        nodes = np.nan_to_num(np.array(_apply(~affine, x, y)), nan=-1e9, posinf=-1e9, neginf=-1e9)
        place = np.arange(grid.cols) / _STRIDE
        left = np.minimum(place.astype(int), counts[1] - 2)
        return np.asarray(
            nodes[:, :, left] + (place - left) * (nodes[:, :, left + 1] - nodes[:, :, left])
        )

    def _window(self, lines: Float, pixels: tuple[int, int]) -> Window | None:
        """Return the part of the model that places in it lie in, with its neighbours."""
        size = (self.source.width, self.source.height)
        left, top = np.clip(np.floor(lines.min(axis=(1, 2))) - pixels, 0, size).astype(int)
        right, bottom = np.clip(np.ceil(lines.max(axis=(1, 2))) + pixels, 0, size).astype(int)
        if left >= right or top >= bottom:
            return None
        return Window(int(left), int(top), int(right - left), int(bottom - top))

    def _highest(self, window: Window, pixels: tuple[int, int]) -> Heights:
        """Read a window in metres: the highest of each `pixels` (across, down), NaN if none is."""
        across, down = pixels
        scale, offset = (
            self.unit_m * part for part in (self.source.scales[0], self.source.offsets[0])
        )
        strips = []
        step = max(1, _STRIP_ROWS // down) * down
        for top in range(0, window.height, step):
            rows = min(step, window.height - top)
            part = Window(window.col_off, window.row_off + top, window.width, rows)
            read = self.source.read(1, window=part, masked=True)
            strip = (read.astype(np.float64).filled(np.nan) * scale + offset).astype(np.float32)
            if down > 1:
                strip = np.fmax.reduceat(strip, np.arange(0, strip.shape[0], down), axis=0)
            if across > 1:
                strip = np.fmax.reduceat(strip, np.arange(0, strip.shape[1], across), axis=1)
            strips.append(strip)
        return np.vstack(strips)


def _apply(affine: Affine, x: ArrayLike, y: ArrayLike) -> tuple[Float, Float]:
    x, y = np.asarray(x, float), np.asarray(y, float)
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def _middle(grid: Grid) -> tuple[float, float]:
    x_min, y_min, x_max, y_max = grid.bounds
    return (x_min + x_max) / 2, (y_min + y_max) / 2


def _unit_m(path: Path, source: rasterio.DatasetReader, crs: CRS) -> float:
    """Return how many metres one unit of a raster's heights is."""
    unit = (source.units[0] or "").lower()
    if unit in UNITS_M:
        return UNITS_M[unit]
    if unit:
        raise InputError(f"{path}: heights in {unit!r}; save it again with heights in metres")
    if len(crs.axis_info) == 3:
        return float(crs.axis_info[2].unit_conversion_factor)
    if crs.is_projected and crs.axis_info[0].unit_conversion_factor != 1.0:  # some write "meters"
        raise InputError(
            f"{path}: laid out in {crs.axis_info[0].unit_name}, and does not say the unit of its "
            "heights; save it again with the unit of its band"
        )
    return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terrain:
    """Ground heights on a north-up grid in the plane of a `tmp.geo.frames.PlanFrame`.

    Heights are those of cell centres, at column + 0.5 and row + 0.5; between centres the ground is
    bilinear, and in the outermost half cell it goes on as at the outermost centres.
    """

    heights: NDArray[np.float32]
    """(rows, cols), metres above `datum`; finite."""
    x_min: float
    """Plan x of the left edge of the first column."""
    y_max: float
    """Plan y of the upper edge of the first row."""
    cell_m: float
    datum: str
    """What heights are measured from, in words: ``"EGM2008 height"``, ``"flat"``."""

    def __post_init__(self) -> None:
        if self.heights.ndim != 2 or 0 in self.heights.shape or self.cell_m <= 0:
            raise InputError(
                f"terrain of shape {self.heights.shape} with cells of {self.cell_m!r} m is empty"
            )
        if not np.isfinite(self.heights).all():
            raise InputError("terrain holds heights that are not finite; fill or crop them first")

    @classmethod
    def flat(cls, bounds: Bounds, height_m: float = 0.0, cell_m: float = 10.0) -> Terrain:
        """Return level ground over at least `bounds`, for a plan without an elevation model.

        Examples
        --------
        >>> ground = Terrain.flat((0.0, 0.0, 95.0, 40.0), height_m=120.0)
        >>> ground.heights.shape, ground.bounds
        ((4, 10), (0.0, 0.0, 100.0, 40.0))
        """
        x_min, y_min, x_max, y_max = bounds
        cols = max(1, math.ceil((x_max - x_min) / cell_m - 1e-9))
        rows = max(1, math.ceil((y_max - y_min) / cell_m - 1e-9))
        return cls(
            heights=np.full((rows, cols), height_m, np.float32),
            x_min=x_min,
            y_max=y_min + rows * cell_m,
            cell_m=cell_m,
            datum="flat",
        )

    @property
    def bounds(self) -> Bounds:
        """Outer edges of the cells."""
        tall_m, wide_m = (cells * self.cell_m for cells in self.heights.shape)
        return self.x_min, self.y_max - tall_m, self.x_min + wide_m, self.y_max

    def covers(self, xy: ArrayLike) -> NDArray[np.bool_]:
        """Tell for plan points (N, 2) which lie on the grid, edges included, as (N,)."""
        x, y = np.atleast_2d(np.asarray(xy, float)).T
        x_min, y_min, x_max, y_max = self.bounds
        # A hair of tolerance: the edges are themselves the result of arithmetic.
        hair_m = 1e-6 * self.cell_m
        inside = (x >= x_min - hair_m) & (x <= x_max + hair_m)
        return np.asarray(inside & (y >= y_min - hair_m) & (y <= y_max + hair_m))

    def at(self, xy: ArrayLike) -> Float:
        """Return the ground's height (N,) below plan points (N, 2), bilinear between cell centres.

        Raises
        ------
        InputError
            If a point lies off the grid: a guessed height could fly a drone into a hill.

        Examples
        --------
        >>> heights = np.array([[0.0, 10.0], [0.0, 10.0]], np.float32)
        >>> Terrain(heights=heights, x_min=0, y_max=2, cell_m=1, datum="flat").at([[1.25, 1.0]])
        array([7.5])
        """
        points = np.atleast_2d(np.asarray(xy, float))
        known = self.covers(points)
        if not known.all():
            x, y = points[~known][0]
            raise InputError(
                f"no ground height at plan x {x:.1f} m, y {y:.1f} m; the terrain covers "
                f"{', '.join(f'{edge:.1f}' for edge in self.bounds)}"
            )
        rows, cols = self.heights.shape
        col = np.clip((points[:, 0] - self.x_min) / self.cell_m - 0.5, 0, cols - 1)
        row = np.clip((self.y_max - points[:, 1]) / self.cell_m - 0.5, 0, rows - 1)
        left = np.minimum(col.astype(np.intp), max(cols - 2, 0))
        above = np.minimum(row.astype(np.intp), max(rows - 2, 0))
        right, below = np.minimum(left + 1, cols - 1), np.minimum(above + 1, rows - 1)
        east, south = col - left, row - above
        upper = self.heights[above, left] * (1 - east) + self.heights[above, right] * east
        lower = self.heights[below, left] * (1 - east) + self.heights[below, right] * east
        return np.asarray(upper * (1 - south) + lower * south)


def read_terrain(
    path: Path,
    frame: PlanFrame,
    bounds: Bounds,
    *,
    datum: str | None = None,
    spare_m: float = 0.0,
    needed: str = "the area and its margin",
) -> Terrain:
    """Read the ground of a plan from a user's elevation model, of any of the `ELEVATION_DRIVERS`.

    Parameters
    ----------
    bounds : tuple of float
        What must be covered, in plan metres: the area with its margins, runs and turns.
    datum : str, optional
        What the heights are measured from, in words: ``"EGM2008"``, ``"ellipsoid"``,
        ``"local"``.  Needed if neither the file's CRS has a vertical part nor its tag
        VERTICAL_DATUM says so, as those of the platform's own surfaces do; overrules both.
    spare_m : float
        How far beyond the bounds ground is read as well, as far as the model knows it.
    needed : str
        What the bounds hold, in a user's words.

    Returns
    -------
    Terrain
        Bilinear in the model, with cells of half its own resolution, so that ridges between the
        centres of plan cells lose little height, but of 1 m at the finest.  Where the model is
        finer than the cells, or the plan so large that cells are made coarser to fit in memory,
        the highest of the model's cells counts: treetops and walls stay, hollows are filled.

    Raises
    ------
    InputError
        If the file cannot be read, is not one band of heights, does not say its CRS, datum or
        unit, does not cover the bounds, has gaps in them, or heights that no ground has.

    Notes
    -----
    No geoid model is applied.  Missions are flown by heights above the take-off point, and the
    difference between two heights of one model is the same from any datum, but for the slope of
    the geoid: centimetres in a kilometre.  The datum is recorded all the same, for the formats
    that want absolute heights.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; give an elevation model")
    try:
        with warnings.catch_warnings():
            # A raster without a place also lacks a CRS, which is said in our own words.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            source = open_elevation(path)
        with source:
            model = ElevationModel.of(path, source, datum)
            x_min, y_min, x_max, y_max = bounds
            wider = (x_min - spare_m, y_min - spare_m, x_max + spare_m, y_max + spare_m)
            grid = _grid(model, frame, wider)
            heights, off = model.sample(frame, grid)
    except RasterioError as error:
        said = " ".join(str(error.__cause__ or error).split())
        raise InputError(f"{path}: cannot be read as a raster; {said}") from error
    known = _known(~np.isfinite(heights), math.floor(spare_m / grid.cell_m))
    grid, heights, off = _cropped(grid, known), heights[known], off[known]
    unknown = ~np.isfinite(heights)
    if unknown.any():
        _refuse_gaps(path, frame, grid, unknown, off, needed)
    low_m, high_m = float(heights.min()), float(heights.max())
    if low_m < PLAUSIBLE_M[0] or high_m > PLAUSIBLE_M[1]:
        raise InputError(
            f"{path}: heights from {low_m:.0f} to {high_m:.0f} m are not those of ground; "
            "check its unit and nodata value"
        )
    log.info("ground from %.1f to %.1f m, %s", low_m, high_m, model.datum)
    return Terrain(
        heights=heights, x_min=grid.x_min, y_max=grid.y_max, cell_m=grid.cell_m, datum=model.datum
    )


def _grid(model: ElevationModel, frame: PlanFrame, bounds: Bounds) -> Grid:
    """Return the grid that a model is brought to."""
    x_min, y_min, x_max, y_max = bounds
    sides_m = model.cell_sides_m(frame, ((x_min + x_max) / 2, (y_min + y_max) / 2))
    cell_m = max(FINEST_M, min(sides_m) / 2)
    fits_m = math.sqrt((x_max - x_min) * (y_max - y_min) / MOST_CELLS)
    if fits_m > cell_m:
        log.warning("%s: heights taken every %.1f m to fit in memory", model.path, fits_m)
        cell_m = fits_m
    rows = max(1, math.ceil((y_max - y_min) / cell_m - 1e-9))
    cols = max(1, math.ceil((x_max - x_min) / cell_m - 1e-9))
    return Grid(
        crs=frame.crs, x_min=x_min, y_max=y_min + rows * cell_m, cell_m=cell_m, rows=rows, cols=cols
    )


def _known(unknown: NDArray[np.bool_], spare: int) -> tuple[slice, slice]:
    """Return the rows and columns that are left where a rim of `spare` cells is cut to known ones.

    What is unknown farther in stays.
    """
    inner = slice(spare, unknown.shape[0] - spare)
    left, right = _rim(np.any(unknown[inner], axis=0), spare)
    top, bottom = _rim(np.any(unknown[:, left:right], axis=1), spare)
    return slice(top, bottom), slice(left, right)


def _rim(unknown: NDArray[np.bool_], spare: int) -> tuple[int, int]:
    """Return first and last plus one of lines without unknown ones in a rim at either end."""
    before, after = np.flatnonzero(unknown[:spare]), np.flatnonzero(unknown[::-1][:spare])
    first = int(before[-1]) + 1 if before.size else 0
    return first, len(unknown) - (int(after[-1]) + 1 if after.size else 0)


def _cropped(grid: Grid, known: tuple[slice, slice]) -> Grid:
    rows, cols = known
    return replace(
        grid,
        x_min=grid.x_min + cols.start * grid.cell_m,
        y_max=grid.y_max - rows.start * grid.cell_m,
        rows=rows.stop - rows.start,
        cols=cols.stop - cols.start,
    )


def _short_of(grid: Grid, off: NDArray[np.bool_]) -> str:
    """Return on which sides, and by how much, a model ends within a grid, in words."""
    height, width = grid.shape
    rows, cols = np.flatnonzero(~off.all(axis=1)), np.flatnonzero(~off.all(axis=0))
    if not rows.size:
        return "it lies elsewhere"
    ends = {
        "north": rows[0], "south": height - 1 - rows[-1],
        "west": cols[0], "east": width - 1 - cols[-1],
    }  # fmt: skip
    short = [f"{math.ceil(n * grid.cell_m)} m in the {side}" for side, n in ends.items() if n]
    return f"it ends too early by {' and '.join(short)}" if short else "it lies askew"


def _refuse_gaps(
    path: Path,
    frame: PlanFrame,
    grid: Grid,
    unknown: NDArray[np.bool_],
    off: NDArray[np.bool_],
    needed: str,
) -> None:
    """Say how much of the ground is unknown, and about where."""
    missing = unknown & off if (unknown & off).any() else unknown
    rows, cols = np.nonzero(missing)
    x, y = grid.cell_centres()
    lon, lat = frame.geodetic_from_plan([[x[cols].mean(), y[rows].mean()]])[0]
    share = max(100 * missing.mean(), 0.1)
    place = f"{share:.1f} % of the ground needed, about {position_in_words(lon, lat, decimals=5)}"
    if missing is unknown:
        raise InputError(f"{path}: has gaps (nodata) in {place}; fill them first")
    raise InputError(
        f"{path}: does not cover {place}: {_short_of(grid, off)}; give an elevation model that "
        f"covers {needed}"
    )
