"""Heights for measuring in a browser: tiles of numbers in scripts, which any page may load.

A page opened from a disk may neither fetch a file nor read the pixels of a picture beside it, but
it may run a script. Each holds a tile as base64 of zlib: in order the surface's heights, its
standard deviations, and how far the bare ground lies below.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.products.ground import NODATA
from flows.products.table import DSM, DSM_SIGMA, DTM
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import read_grid, read_window

TILE_CELLS = 256
STEP = 0.001
"""Of a height: a millimetre, or more where a tile's heights span more than 65 m."""
MOST_STEPS = 65_534
SIGMA_LEAST, SIGMA_RATIO = 0.0005, 1.04
"""Standard deviations are told to two parts in a hundred, from half a millimetre to 10 m."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeightSource:
    """The rasters of heights of a map; all on one grid."""

    products_dir: Path
    grid: Grid
    has_sigma: bool
    has_ground: bool

    def read(self, file: str, tile: Tile) -> NDArray[np.float64]:
        """Return cells of a raster, NaN where there is no value."""
        cells = read_window(self.products_dir / file, tile, fill=NODATA)[0].astype(float)
        return np.where(cells == NODATA, np.nan, cells)


def find_heights(products_dir: Path) -> HeightSource | None:
    """Return the heights of a map; None without a surface."""
    if not (products_dir / DSM.file).exists():
        return None
    grid = read_grid(products_dir / DSM.file)
    sigma, ground = (
        (products_dir / product.file).exists() and read_grid(products_dir / product.file) == grid
        for product in (DSM_SIGMA, DTM)
    )
    return HeightSource(products_dir=products_dir, grid=grid, has_sigma=sigma, has_ground=ground)


def write_heights(source: HeightSource, folder: Path, tile: Tile) -> bool:
    """Write a tile as a script ``r3c7.js``; tells whether there is any height in it."""
    surface = source.read(DSM.file, tile)
    none = np.full(surface.shape, np.nan)
    sigma = source.read(DSM_SIGMA.file, tile) if source.has_sigma else none
    ground = source.read(DTM.file, tile) if source.has_ground else none
    if np.isnan(surface).all() and np.isnan(ground).all():
        return False
    text = pack(surface, sigma, ground)
    name = tile.name
    script = f"TMP.take({name!r},{tile.rows},{tile.cols},{text});\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.js").write_text(script, encoding="ascii")
    return True


def pack(
    surface: NDArray[np.float64], sigma: NDArray[np.float64], ground: NDArray[np.float64]
) -> str:
    """Return three layers (rows, cols), NaN where unknown, as arguments of the page's reader.

    Heights are whole steps above a base, from 1 on, 0 being unknown. Each is stored as its
    difference to the cell before, its lower bytes before the higher ones; the ground as that to
    the surface. So that what changes little compresses well.
    """
    known = np.concatenate([part[np.isfinite(part)] for part in (surface, ground)])
    base = float(np.floor(known.min()))
    step = STEP
    while (known.max() - base) / step > MOST_STEPS:
        step *= 2
    codes = [
        np.where(np.isnan(part), 0, np.rint((np.nan_to_num(part) - base) / step) + 1)
        .astype(np.int64)
        .ravel()
        for part in (surface, ground)
    ]
    with np.errstate(divide="ignore"):
        ratio = np.log(np.nan_to_num(sigma, nan=1.0) / SIGMA_LEAST) / np.log(SIGMA_RATIO)
    doubt = np.where(np.isnan(sigma), 0, np.clip(np.rint(ratio), 0, 254) + 1)
    changes = np.diff(codes[0], prepend=0) % 65536
    below = (codes[0] - codes[1]) % 65536
    parts = [
        *(changes % 256, changes // 256),
        doubt.ravel(),
        *(below % 256, below // 256),
    ]
    packed = zlib.compress(np.concatenate(parts).astype(np.uint8).tobytes(), 6)
    return f'{base!r},{step!r},"{base64.b64encode(packed).decode()}"'


def height_facts(source: HeightSource, tiles: list[str]) -> dict[str, Any]:
    """Return what the page needs to know of the heights."""
    grid = source.grid
    return {
        "x": grid.x_min,
        "y": grid.y_max,
        "cell": grid.cell_m,
        "rows": grid.rows,
        "cols": grid.cols,
        "tile": TILE_CELLS,
        "sigma": [SIGMA_LEAST, SIGMA_RATIO] if source.has_sigma else None,
        "ground": source.has_ground,
        "tiles": tiles,
    }
