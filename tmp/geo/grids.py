"""The ground grid that every product lies on, and its tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from tmp.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A rectangle of cells of a `Grid`; ``row`` and ``col`` may be negative inside a halo."""

    row: int
    col: int
    rows: int
    cols: int
    name: str = ""
    """``r3c7``: its place in the tiling, for logs and file names."""

    def grown(self, cells: int) -> Tile:
        """Return the tile with a halo of `cells` on every side."""
        rows, cols = self.rows + 2 * cells, self.cols + 2 * cells
        return replace(self, row=self.row - cells, col=self.col - cells, rows=rows, cols=cols)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A north-up raster grid in map coordinates."""

    crs: str | None
    """Projected CRS, or None for a survey without positions."""
    x_min: float
    y_max: float
    cell_m: float
    rows: int
    cols: int

    def __post_init__(self) -> None:
        if self.cell_m <= 0 or self.rows <= 0 or self.cols <= 0:
            raise InputError(
                f"grid of {self.rows} × {self.cols} cells of {self.cell_m!r} m is empty"
            )

    @classmethod
    def from_bounds(
        cls, bounds: tuple[float, float, float, float], cell_m: float, crs: str | None
    ) -> Grid:
        """Cover ``(x_min, y_min, x_max, y_max)``, edges snapped outward to multiples of the cell.

        Examples
        --------
        >>> Grid.from_bounds((0.2, 0.2, 9.9, 4.9), 0.5, None).shape
        (10, 20)
        """
        # A hair of tolerance keeps an edge that is a multiple of the cell where it is.
        x0 = math.floor(bounds[0] / cell_m + 1e-6)
        x1 = math.ceil(bounds[2] / cell_m - 1e-6)
        y0 = math.floor(bounds[1] / cell_m + 1e-6)
        y1 = math.ceil(bounds[3] / cell_m - 1e-6)
        return cls(
            crs=crs, x_min=x0 * cell_m, y_max=y1 * cell_m, cell_m=cell_m, rows=y1 - y0, cols=x1 - x0
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.cols

    @property
    def whole(self) -> Tile:
        """All its cells."""
        return Tile(row=0, col=0, rows=self.rows, cols=self.cols)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """``(x_min, y_min, x_max, y_max)`` in metres."""
        x_max, y_min = self.x_min + self.cols * self.cell_m, self.y_max - self.rows * self.cell_m
        return self.x_min, y_min, x_max, self.y_max

    @property
    def transform(self) -> Affine:
        """Map coordinates from (column, row), corner origin, as GDAL has it."""
        return Affine(self.cell_m, 0.0, self.x_min, 0.0, -self.cell_m, self.y_max)

    def tiles(self, size: int) -> Iterator[Tile]:
        """Yield square tiles of `size` cells in boustrophedon order, cut at the grid's edge.

        Neighbours in the order are neighbours on the ground, so that photographs decoded for
        one tile serve the next.
        """
        for i in range(math.ceil(self.rows / size)):
            columns = range(math.ceil(self.cols / size))
            for j in columns if i % 2 == 0 else reversed(columns):
                yield self.tile(i, j, size)

    def tile(self, i: int, j: int, size: int) -> Tile:
        """Return the square tile of `size` cells in a row and column of tiles, from 0."""
        row, col = i * size, j * size
        rows, cols = min(size, self.rows - row), min(size, self.cols - col)
        return Tile(row=row, col=col, rows=rows, cols=cols, name=f"r{i}c{j}")

    def tile_over(self, bounds: tuple[float, float, float, float]) -> Tile:
        """Return the cells, also beyond the grid, that ``(x_min, y_min, x_max, y_max)`` touches.

        Examples
        --------
        >>> Grid.from_bounds((0, 0, 10, 5), 0.5, None).tile_over((1.2, 3.0, 2.0, 6.0)).row
        -2
        """
        x0, y0, x1, y1 = bounds
        within = (x0 - self.x_min, y0 - self.y_max, x1 - self.x_min, y1 - self.y_max)
        over = Grid.from_bounds(within, self.cell_m, self.crs)
        row, col = -round(over.y_max / self.cell_m), round(over.x_min / self.cell_m)
        return Tile(row=row, col=col, rows=over.rows, cols=over.cols)

    def clip(self, tile: Tile) -> Tile | None:
        """Return the part of a tile that lies on the grid; None if there is none."""
        row, col = max(tile.row, 0), max(tile.col, 0)
        rows = min(tile.row + tile.rows, self.rows) - row
        cols = min(tile.col + tile.cols, self.cols) - col
        if rows <= 0 or cols <= 0:
            return None
        return Tile(row=row, col=col, rows=rows, cols=cols, name=tile.name)

    def window(self, tile: Tile) -> Grid:
        """Return the grid of one tile, halo included."""
        x_min = self.x_min + tile.col * self.cell_m
        y_max = self.y_max - tile.row * self.cell_m
        return replace(self, x_min=x_min, y_max=y_max, rows=tile.rows, cols=tile.cols)

    def coarser(self, times: int) -> Grid:
        """Return the grid whose cells are squares of so many cells, the last ones reaching beyond.

        Examples
        --------
        >>> Grid.from_bounds((0, 0, 10, 5), 0.5, None).coarser(4).shape
        (3, 5)
        """
        rows, cols = -(-self.rows // times), -(-self.cols // times)
        return replace(self, cell_m=self.cell_m * times, rows=rows, cols=cols)

    def cell_centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return x of each column (cols,) and y of each row (rows,), at cell centres."""
        return (
            self.x_min + (np.arange(self.cols, dtype=np.float64) + 0.5) * self.cell_m,
            self.y_max - (np.arange(self.rows, dtype=np.float64) + 0.5) * self.cell_m,
        )


def means_of_squares(values: NDArray[Any], times: int) -> NDArray[np.float32]:
    """Return the means of squares of `times` cells; those at the far edges are of what is there.

    Examples
    --------
    >>> means_of_squares(np.array([[1, 3, 5], [1, 3, 5]]), 2)
    array([[2., 5.]], dtype=float32)
    """
    rows, cols = (-(-side // times) for side in values.shape)
    pad = ((0, rows * times - values.shape[0]), (0, cols * times - values.shape[1]))
    wide = np.pad(values.astype(np.float32), pad, constant_values=np.nan)
    squares = wide.reshape(rows, times, cols, times)
    return np.asarray(np.nanmean(squares, axis=(1, 3)) if times > 1 else values, np.float32)
