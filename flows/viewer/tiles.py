"""A pyramid of picture tiles for a layer, of whatever size it is: tile by tile, in flat memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from flows.viewer.layers import Layer
from tmp.geo.grids import Grid
from tmp.plotting import Pixels

TILE_PX = 512
JPEG_QUALITY, WEBP_QUALITY = 82, 85
NOTHING, JPEG, WEBP = "0", "1", "2"
"""What a tile is: none, a picture without holes, one that is transparent in parts."""
SUFFIXES = {JPEG: "jpg", WEBP: "webp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """The squares that all layers are cut into, level by level, each twice as fine as the last."""

    x_min: float
    y_max: float
    width_m: float
    height_m: float
    finest_m: float
    """Pixel of the finest level, in metres."""

    @property
    def levels(self) -> int:
        """Number of the finest level; the whole map is one tile at level 0."""
        longest_px = max(self.width_m, self.height_m) / self.finest_m
        return max(0, math.ceil(math.log2(longest_px / TILE_PX)))

    def pixel_m(self, level: int) -> float:
        """Return the pixel of a level in metres."""
        return self.finest_m * 2.0 ** (self.levels - level)

    def level_of(self, cell_m: float) -> int:
        """Return the level whose pixels are nearest to a cell."""
        level = self.levels - round(math.log2(cell_m / self.finest_m))
        return min(max(level, 0), self.levels)

    def shape(self, level: int) -> tuple[int, int]:
        """Return rows and columns of tiles."""
        side_m = self.pixel_m(level) * TILE_PX
        rows, cols = self.height_m / side_m, self.width_m / side_m
        return max(1, math.ceil(rows - 1e-9)), max(1, math.ceil(cols - 1e-9))

    def tile(self, level: int, row: int, col: int, crs: str | None) -> Grid:
        """Return the grid of a tile's pixels."""
        cell_m = self.pixel_m(level)
        return Grid(
            crs=crs,
            x_min=self.x_min + col * TILE_PX * cell_m,
            y_max=self.y_max - row * TILE_PX * cell_m,
            cell_m=cell_m,
            rows=TILE_PX,
            cols=TILE_PX,
        )


def scheme_of(layers: Sequence[Layer]) -> Scheme:
    """Return the squares that cover all layers, the finest of which sets the finest level."""
    bounds = np.array([layer.grid.bounds for layer in layers])
    x_min, y_min = bounds[:, :2].min(axis=0)
    x_max, y_max = bounds[:, 2:].max(axis=0)
    return Scheme(
        x_min=float(x_min),
        y_max=float(y_max),
        width_m=float(x_max - x_min),
        height_m=float(y_max - y_min),
        finest_m=min(layer.grid.cell_m for layer in layers),
    )


def places(scheme: Scheme, layer: Layer) -> Iterator[tuple[int, int, int]]:
    """Yield level, row and column of each tile that a layer may have, the coarsest first."""
    for level in range(scheme.level_of(layer.grid.cell_m) + 1):
        rows, cols = scheme.shape(level)
        for row in range(rows):
            for col in range(cols):
                yield level, row, col


def write_tile(scheme: Scheme, layer: Layer, folder: Path, place: tuple[int, int, int]) -> str:
    """Write a tile as ``level/row-col.jpg`` or ``.webp`` below a folder; returns what it is."""
    level, row, col = place
    pixels = layer.draw(scheme.tile(level, row, col, layer.grid.crs))
    if pixels is None:
        return NOTHING
    kind = JPEG if (pixels[..., 3] == 255).all() else WEBP
    path = folder / str(level) / f"{row}-{col}.{SUFFIXES[kind]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_encoded(pixels, kind))
    return kind


def _encoded(pixels: Pixels, kind: str) -> bytes:
    file = BytesIO()
    if kind == JPEG:
        Image.fromarray(pixels[..., :3]).save(file, "JPEG", quality=JPEG_QUALITY)
    else:
        # Method 1: an eighth of the default's time for one part in a hundred more bytes.
        Image.fromarray(pixels).save(file, "WEBP", quality=WEBP_QUALITY, method=1)
    return file.getvalue()
