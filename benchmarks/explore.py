"""Time the tiles of a map in Jupyter over an orthomosaic of a gigapixel.

    python benchmarks/explore.py [--gigapixels 1.07] [FOLDER]

The orthomosaic is one noisy tile, repeated; FOLDER keeps it, and one that is there is taken again.
Timed is what the kernel does: reading through overviews, drawing and compressing.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from tmp.explore.map_widget import SurveyMap
from tmp.geo.grids import Grid
from tmp.geo.rasters import create_tiled, finish_cog
from tmp.survey import create_survey

FIRST_S, LATER_S = 1.0, 0.2
"""Promised for the first tile of a gigapixel, and for each later one."""
TILES = 200
SIDE = 1024


def main() -> None:
    """Print seconds for the first and for later tiles, and whether the promises are kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--gigapixels", type=float, default=1.07)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="tmp-explore-"))
    survey = create_survey(folder)
    path = survey.products_dir / "orthomosaic.tif"
    if not path.exists():
        write_orthomosaic(path, round((arguments.gigapixels * 1e9) ** 0.5 / SIDE))
    began_s = time.perf_counter()
    shown = survey.map("orthomosaic")
    opened_s = time.perf_counter() - began_s
    first_s = seconds(shown, 0, 0, 0)
    rng, later = random.Random(1), []
    for _ in range(TILES):
        level = rng.randint(0, shown._pyramid.levels)
        most = max(0, 2**level - 1)
        later.append(seconds(shown, level, rng.randint(0, most), rng.randint(0, most)))
    later.sort()
    print(f"{path.stat().st_size / 1e9:.1f} GB, {shown._pyramid.levels + 1} levels")
    print(f"map opened {opened_s:.2f} s, first tile {first_s:.3f} s")
    middle_s = statistics.median(later)
    print(f"{TILES} tiles anywhere: median {middle_s:.3f} s, slowest {later[-1]:.3f} s")
    kept = opened_s + first_s < FIRST_S and later[int(0.99 * TILES)] < LATER_S
    print(f"first in under {FIRST_S:g} s, 99 of 100 later ones in under {LATER_S:g} s: "
          f"{'kept' if kept else 'BROKEN'}")  # fmt: skip
    if arguments.folder is None:
        shutil.rmtree(folder)


def seconds(shown: SurveyMap, level: int, col: int, row: int) -> float:
    """Return how long one tile takes."""
    began_s = time.perf_counter()
    shown.tile("orthomosaic", level, col, row)
    return time.perf_counter() - began_s


def write_orthomosaic(path: Path, times: int) -> None:
    """Write a picture of so many tiles each way."""
    grid = Grid(crs="EPSG:32633", x_min=5e5, y_max=5e6, cell_m=0.02, rows=times * SIDE,
                cols=times * SIDE)  # fmt: skip
    tiles = create_tiled(path.parent / "tiles", grid, bands=4, dtype=np.uint8, tile_cells=SIDE)
    waves = np.add.outer(np.arange(SIDE), np.arange(SIDE)) // 8 % 200
    noise = np.random.default_rng(0).integers(0, 8, (4, SIDE, SIDE))
    picture = (waves + noise).astype(np.uint8)
    picture[3] = 255
    first, *others = tiles.tiles()
    tiles.write(first, picture)
    for tile in others:
        os.link(tiles.folder / f"{first.name}.tif", tiles.folder / f"{tile.name}.tif")
    finish_cog(
        tiles, path, descriptions=("red", "green", "blue", "alpha"), threads=os.cpu_count() or 1
    )
    shutil.rmtree(tiles.folder)


if __name__ == "__main__":
    main()
