"""The ground below a plan, as heights on a grid in the plan's plane."""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import ArrayLike, NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from flightplan.elevation import ElevationModel
from flightplan.planframe import PlanFrame
from tmp.errors import InputError
from tmp.grids import Grid

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
Bounds = tuple[float, float, float, float]
"""``(x_min, y_min, x_max, y_max)`` in plan metres."""

FINEST_M = 1.0
MOST_CELLS = 16_000_000
"""64 MB of heights; beyond this, cells are made coarser."""
PLAUSIBLE_M = (-500.0, 9000.0)
"""From below the shore of the Dead Sea to above the highest mountain, in any datum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terrain:
    """Ground heights on a north-up grid in the plane of a `flightplan.planframe.PlanFrame`.

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
        rows, cols = self.heights.shape
        return (
            self.x_min,
            self.y_max - rows * self.cell_m,
            self.x_min + cols * self.cell_m,
            self.y_max,
        )

    def covers(self, xy: ArrayLike) -> NDArray[np.bool_]:
        """Tell for plan points (N, 2) which lie on the grid, edges included, as (N,)."""
        x, y = np.atleast_2d(np.asarray(xy, float)).T
        x_min, y_min, x_max, y_max = self.bounds
        # A hair of tolerance: the edges are themselves the result of arithmetic.
        hair_m = 1e-6 * self.cell_m
        inside = (x >= x_min - hair_m) & (x <= x_max + hair_m)
        return np.asarray(inside & (y >= y_min - hair_m) & (y <= y_max + hair_m))

    def at(self, xy: ArrayLike) -> Float:
        """Return the ground's height below plan points.

        Parameters
        ----------
        xy : array-like of shape (N, 2)
            Plan metres.

        Returns
        -------
        ndarray of shape (N,)
            Metres above `datum`, bilinear between cell centres.

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
    within: BaseGeometry | None = None,
) -> Terrain:
    """Read the ground of a plan from a user's elevation model.

    Parameters
    ----------
    path : Path
        Any raster of heights that GDAL reads, in any CRS.  Only the part needed is read.
    frame : PlanFrame
    bounds : tuple of float
        What must be covered, in plan metres: the area with its margins, runs and turns.
    datum : str, optional
        What the heights are measured from, in words: ``"EGM2008"``, ``"ellipsoid"``,
        ``"local"``.  Needed if the file's CRS has no vertical part; overrules it if it has.
    within : shapely geometry, optional
        Plan polygon outside which heights need not be known, for models cut to a shape.  Beyond
        it they go on from the nearest that is known.

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
            source = rasterio.open(path)
        with source:
            model = ElevationModel.of(path, source, datum)
            grid = _grid(model, frame, bounds)
            heights, off = model.sample(frame, grid)
    except RasterioError as error:
        said = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as a raster; {said}") from error
    unknown = ~np.isfinite(heights)
    needed = unknown if within is None else unknown & _inside(within.buffer(grid.cell_m), grid)
    if needed.any():
        _refuse_gaps(path, frame, grid, needed, off)
    if unknown.any():
        nearest = ndimage.distance_transform_edt(
            unknown, return_distances=False, return_indices=True
        )
        heights = heights[tuple(nearest)]
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


def _inside(shape: BaseGeometry, grid: Grid) -> NDArray[np.bool_]:
    """Tell which cells of a grid have their centre in a shape, (rows, cols)."""
    shapely.prepare(shape)
    x, y = grid.cell_centres()
    return np.array([shapely.contains_xy(shape, x, np.full(len(x), row)) for row in y])


def _refuse_gaps(
    path: Path,
    frame: PlanFrame,
    grid: Grid,
    needed: NDArray[np.bool_],
    off: NDArray[np.bool_],
) -> None:
    """Say how much of the ground is unknown, and about where."""
    missing = needed & off if (needed & off).any() else needed
    rows, cols = np.nonzero(missing)
    x, y = grid.cell_centres()
    lon, lat = frame.geodetic_from_plan([[x[cols].mean(), y[rows].mean()]])[0]
    share = max(100 * missing.mean(), 0.1)
    place = f"{share:.1f} % of the ground needed, about longitude {lon:.5f}, latitude {lat:.5f}"
    if missing is needed:
        raise InputError(f"{path}: has gaps (nodata) in {place}; fill them first")
    raise InputError(
        f"{path}: does not cover {place}; give an elevation model that covers the area and its "
        "margin"
    )
