"""Heights out of a user's elevation model, on a grid in the plan's plane."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS, Transformer
from rasterio.windows import Window
from scipy import ndimage

from flightplan.planframe import PlanFrame
from tmp.errors import InputError
from tmp.grids import Grid

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
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
        if not (datum or said):
            raise InputError(
                f"{path}: does not say what its heights are measured from; pass --dem-datum with "
                "it, such as EGM2008, EGM96, ellipsoid or local"
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
            If the point has no place in the model's CRS.
        """
        to_model = Transformer.from_crs(frame.crs, self.crs, always_xy=True)
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
        """Return heights at the cell centres of a grid in the plan.

        Parameters
        ----------
        frame : PlanFrame
        grid : Grid
            Its `crs` is not looked at.

        Returns
        -------
        heights : ndarray of shape (rows, cols)
            Metres above `datum`, bilinear in the model; NaN where the model knows none, also
            beside a gap.  If the grid is coarser than the model, bilinear in the highest of the
            model's cells that one of the grid's takes in.
        off : ndarray of shape (rows, cols)
            Which cells lie beside the model.
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

    def _lines(self, frame: PlanFrame, grid: Grid) -> Float:
        """Return column and row in the model on every `_STRIDE`-th row of a grid, (2, R, cols)."""
        counts = [-(-size // _STRIDE) + 1 for size in grid.shape]
        north, east = ((np.arange(count) * _STRIDE + 0.5) * grid.cell_m for count in counts)
        to_model = Transformer.from_crs(frame.crs, self.crs, always_xy=True)
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
    if crs.is_projected and crs.axis_info[0].unit_name != "metre":
        raise InputError(
            f"{path}: laid out in {crs.axis_info[0].unit_name}, and does not say the unit of its "
            "heights; save it again with the unit of its band"
        )
    return 1.0
