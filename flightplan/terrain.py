"""The ground below a plan, as heights on a grid in the plan's plane."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tmp.errors import InputError

Float = NDArray[np.float64]
Bounds = tuple[float, float, float, float]
"""``(x_min, y_min, x_max, y_max)`` in plan metres."""


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
