"""The ground that a proof looks at: cells over the area, with height and slope."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from flightplan.footprints import height_below
from flightplan.terrain import Terrain
from tmp.errors import InputError
from tmp.grids import Grid

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

CELLS_PER_SPACING = 10.0
"""Cells of the proof between two neighbouring photographs."""
LEAST_CELLS_ACROSS = 8
"""Cells across the narrower side of the smallest area."""
MOST_CELLS = 8_000_000
BLOCK = 16
"""Cells on a side of the blocks whose lowest and highest ground bound a footprint."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The ground to be seen: cells over the area, with height and slope."""

    grid: Grid
    inside: NDArray[np.bool_]
    """Which cells have their centre in the area, (rows, cols)."""
    ground_m: Float32
    """Height of the terrain at cell centres, (rows, cols)."""
    terrain: Terrain

    @classmethod
    def over(
        cls, area: BaseGeometry, terrain: Terrain, cell_m: float, *, crs: str | None = None
    ) -> Sheet:
        """Cover an area.

        Parameters
        ----------
        area : shapely Polygon or MultiPolygon
            Plan metres.
        terrain : Terrain
        cell_m : float
            See `choose_cell`.
        crs : str, optional
            The plan's CRS (`flightplan.planframe.PlanFrame.crs`), for rasters.

        Raises
        ------
        InputError
            If the terrain does not cover the area, or no cell lies in the area.
        """
        if not terrain.covers(shapely.get_coordinates(area)).all():
            raise InputError(
                "the terrain does not cover the area; give an elevation model that reaches "
                "beyond it on all sides"
            )
        grid = Grid.from_bounds(area.bounds, cell_m, crs)
        if grid.rows < 2 or grid.cols < 2:
            raise InputError(f"cells of {cell_m:g} m are too coarse for this area; choose smaller")
        x, y = np.meshgrid(*grid.cell_centres())
        inside = _within(area, x, y)
        if not inside.any():
            raise InputError(f"no cell of {cell_m:g} m lies in the area; choose smaller cells")
        ground = height_below(terrain, np.stack([x, y], axis=-1))
        return cls(grid=grid, inside=inside, ground_m=ground.astype(np.float32), terrain=terrain)

    @cached_property
    def normals(self) -> Float32:
        """Unit vectors (3, rows, cols) that stand on the ground."""
        south, east = np.gradient(self.ground_m.astype(np.float64), self.grid.cell_m)
        length = np.sqrt(1 + east**2 + south**2)
        return np.stack([-east / length, south / length, 1 / length]).astype(np.float32)

    @cached_property
    def slope(self) -> Float32:
        """Steepest rise over run of the bilinear ground between four nodes of the terrain."""
        heights = self.terrain.heights
        if min(heights.shape) < 2:
            return np.zeros((1, 1), np.float32)
        east = np.abs(np.diff(heights, axis=1))
        south = np.abs(np.diff(heights, axis=0))
        rise = np.hypot(np.maximum(east[1:], east[:-1]), np.maximum(south[:, 1:], south[:, :-1]))
        return np.asarray(rise / np.float32(self.terrain.cell_m), np.float32)

    @cached_property
    def extremes(self) -> tuple[Float32, Float32]:
        """Lowest and highest ground in blocks of `BLOCK` cells."""
        rows, cols = self.grid.shape
        padding = ((0, -rows % BLOCK), (0, -cols % BLOCK))
        padded = np.pad(self.ground_m, padding, mode="edge")
        blocks = padded.reshape(padded.shape[0] // BLOCK, BLOCK, -1, BLOCK)
        return blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3))


def _within(area: BaseGeometry, x: Float, y: Float) -> NDArray[np.bool_]:
    shapely.prepare(area)
    return np.asarray(shapely.contains_xy(area, x, y))


def choose_cell(photo_spacing_m: float, area: BaseGeometry) -> float:
    """Return the side of the proof's cells: a tenth of the way between photographs.

    Narrow areas get smaller cells, and areas that would need more than `MOST_CELLS` larger ones.
    """
    x_min, y_min, x_max, y_max = area.bounds
    narrow_m = min(math.sqrt(area.area), x_max - x_min, y_max - y_min)
    wanted_m = min(photo_spacing_m / CELLS_PER_SPACING, narrow_m / LEAST_CELLS_ACROSS)
    return float(max(wanted_m, math.sqrt((x_max - x_min) * (y_max - y_min) / MOST_CELLS)))
