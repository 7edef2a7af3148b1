"""How far neighbouring tiles of an orthomosaic differ where they meet.

Strips about the borders of tiles in the middle of a mapped survey are rendered from the tile on
either side, and compared pixel by pixel: what differs would show as a step.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows.products.ground import GROUND
from flows.products.table import MOSAIC_TILE
from flows.stages.inputs import PICTURES, read_ground
from flows.stages.orthomosaic import read_gains
from photogrammetry.ortho.mosaic import mosaic_tile
from photogrammetry.ortho.seams import ground_window
from photogrammetry.pictures import DecodedPictures, PictureStore
from photogrammetry.views import views_of
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import open_tiled, read_grid
from tmp.reconstruction import read_reconstruction
from tmp.survey import Survey, open_survey

HALF_PX = 8
CACHE_BYTES = 400_000_000
RUN_PX = 200


def main() -> None:
    """Print how many border pixels differ, and by how much on average along a border."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("survey", type=Path, help="a survey that `tmp map` has mapped")
    parser.add_argument("--borders", type=int, default=14, help="how many (default 14)")
    asked = parser.parse_args()
    survey = open_survey(asked.survey)
    grid = read_grid(survey.products_dir / "orthomosaic.tif")
    differs, steps = [], []
    for left, right in borders(grid)[: asked.borders]:
        one, other = strips(survey, grid, left, right)
        both = (one[3] > 0) & (other[3] > 0)
        difference = (one[:3].astype(float) - other[:3]) * both
        middle = difference[:, :, HALF_PX - 1 : HALF_PX + 1]
        differs.append(np.abs(middle).max(axis=0)[both[:, HALF_PX - 1 : HALF_PX + 1]])
        along = middle.mean(axis=(0, 2))
        steps += [abs(along[i : i + RUN_PX].mean()) for i in range(0, len(along), RUN_PX)]
    levels = np.concatenate(differs)
    print(f"border pixels compared   {levels.size}")
    print(f"differ by more than 3    {100 * (levels > 3).mean():.2f} %")
    print(f"differ by more than 8    {100 * (levels > 8).mean():.2f} %")
    print(f"step over {RUN_PX} px         {np.median(steps):.2f} median, {max(steps):.1f} greatest")


def borders(grid: Grid) -> list[tuple[Tile, Tile]]:
    """Return pairs of tiles beside each other, those in the middle first."""
    tiles = {(tile.row, tile.col): tile for tile in grid.tiles(MOSAIC_TILE)}
    pairs = [
        (tile, tiles[row, col + MOSAIC_TILE])
        for (row, col), tile in tiles.items()
        if (row, col + MOSAIC_TILE) in tiles
    ]
    return sorted(
        pairs,
        key=lambda pair: np.hypot(
            pair[0].row + MOSAIC_TILE / 2 - grid.rows / 2, pair[1].col - grid.cols / 2
        ),
    )


def strips(
    survey: Survey, grid: Grid, left: Tile, right: Tile
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Render the strip about the border of two tiles as either of them would."""
    stages = survey.work_dir / "stages"

    def latest(stage: str, name: str) -> Path:
        found = (stages / stage).glob(f"*/{name}")
        return max(found, key=lambda path: path.stat().st_mtime)

    reconstruction = read_reconstruction(latest("orientation", "reconstruction.json").parent)
    ground = open_tiled(latest("surface", GROUND))
    gains = read_gains(latest("exposure", "manifest.json").parent)
    store = PictureStore(folder=survey.work_dir / PICTURES / "normal")
    pictures = DecodedPictures(survey.photos_dir, budget_bytes=CACHE_BYTES)
    strip = grid.window(
        Tile(row=left.row, col=right.col - HALF_PX, rows=left.rows, cols=2 * HALF_PX)
    )
    one, other = (
        mosaic_tile(
            strip,
            read_ground(ground, ground_window(ground.grid, grid.window(tile))),
            views_of(reconstruction),
            gains,
            reconstruction.frame,
            store,
            pictures,
        )
        for tile in (left, right)
    )
    return one, other


if __name__ == "__main__":
    main()
