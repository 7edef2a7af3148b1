"""Errors of the terrain model of a rehearsed survey against its exact bare ground.

    python benchmarks/bare_ground.py FOLDER [--workers N]

The folder is that of ``tmp demo``, or a new one, in which the farm is rehearsed and mapped first.
Printed are the errors on open ground and below the house, the share of the turf walls' relief
that is kept, the mound's volume, and whether the doubt that is shown fits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2  # before pycolmap, whose zlib breaks PNG writing in it
import numpy as np
from measure import judge
from numpy.typing import NDArray

from flightplan.rehearsal.farm import read_farm
from flightplan.rehearsal.features import RoundFeature
from flightplan.rehearsal.ground import shape_ground
from flows.demo import (
    fit_to_truth,
    heights_on_truth,
    run_demo,
    spread,
    values_on_truth,
    wall_relief,
)
from flows.products.table import DTM, DTM_SIGMA
from flows.run.request import ORIENTED, MapOptions
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import read_grid, read_window
from tmp.progress import bar
from tmp.reconstruction import read_reconstruction

Array = NDArray[np.float32]

SCENE_CELL_M = 0.05
"""Cell in which the rehearsal shapes its ground."""
RING = (1.3, 1.9)
"""Radii of a mound between which the ground beside it is taken as known."""


def main() -> None:
    """Map the rehearsal, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    with bar() as track:
        made = run_demo(asked.folder, MapOptions(workers=asked.workers), track=track).map
    truth, products = asked.folder / "card" / "truth", made.survey.products_dir
    grid = read_grid(truth / "dsm.tif")
    whole = Tile(row=0, col=0, rows=grid.rows, cols=grid.cols)
    open_ground, _, house, boulder = read_window(truth / "masks.tif", whole) > 0
    wall_m = read_window(truth / "wall_height.tif", whole)[0]
    bare, mounds = true_ground(grid)
    fit = fit_to_truth(read_reconstruction(made.folder_of(ORIENTED)), truth)
    terrain = heights_on_truth(products / DTM.file, grid, bare, fit)
    sigma = values_on_truth(products / DTM_SIGMA.file, grid, bare, fit)
    error = terrain - bare

    std = spread(error[open_ground]).std / grid.cell_m
    print(f"open ground: standard deviation {std:.2f} GSD")
    judge(std <= 1.5, "at most 1.5 GSD")
    relief = wall_relief(terrain, bare, wall_m, open_ground, grid.cell_m)
    print(f"turf walls: {100 * relief:.1f} % of their relief")
    judge(relief >= 0.95, "at least 95 %")
    below = error[house & np.isfinite(error)]
    print(
        f"below the house: {100 * below.mean():+.1f} cm mean, {100 * below.std():.1f} cm standard "
        f"deviation, {100 * np.abs(below).max():.0f} cm at most; doubt shown "
        f"{100 * np.median(sigma[house]):.1f} cm (median)"
    )
    within = (np.abs(error) < 2 * sigma)[house].mean()
    print(f"  {100 * within:.0f} % of it within two standard deviations")
    judge(within >= 0.9, "at least 90 %")
    stones = error[boulder & np.isfinite(error)]
    print(f"boulders: {100 * stones.mean():+.1f} cm mean (they count as ground)")
    x_min, y_min, x_max, y_max = grid.bounds
    for mound in mounds:
        if not (x_min < mound.centre[0] < x_max and y_min < mound.centre[1] < y_max):
            continue
        share = volume_error(error, mound, grid)
        print(f"mound of {mound.radius_m:g} m radius: volume {100 * share:+.2f} %")
        judge(abs(share) <= 0.01, "within 1 %")


def true_ground(grid: Grid) -> tuple[Array, tuple[RoundFeature, ...]]:
    """Return the farm's ground without its house on a grid, and its mounds."""
    farm = read_farm()
    around = 2.0
    west, south, east, north = grid.bounds
    bounds = (west - around, south - around, east + around, north + around)
    features = farm.features_over(bounds)
    fine = Grid.from_bounds(bounds, SCENE_CELL_M, grid.crs)
    height = shape_ground(farm, features, fine).height
    x, y = grid.cell_centres()
    col = ((x - fine.x_min) / fine.cell_m - 0.5).astype(np.float32)
    row = ((fine.y_max - y) / fine.cell_m - 0.5).astype(np.float32)
    at = np.broadcast_arrays(col[None], row[:, None])
    return np.asarray(cv2.remap(height, *at, cv2.INTER_LINEAR), np.float32), features.mounds


def volume_error(error: Array, mound: RoundFeature, grid: Grid) -> float:
    """Return the error of a mound's volume as a share of it, against the ground beside it."""
    x, y = np.meshgrid(*grid.cell_centres())
    radii = np.hypot(x - mound.centre[0], y - mound.centre[1]) / mound.radius_m
    beside = (radii > RING[0]) & (radii < RING[1]) & np.isfinite(error)
    mine = (radii < RING[0]) & np.isfinite(error)
    excess = (error[mine] - np.median(error[beside])).sum() * grid.cell_m**2
    # A mound rises as the squared cosine, and is an ellipse: see flightplan.rehearsal.ground.
    volume = mound.height_m * mound.radius_m**2 * (np.pi / 2 - 2 / np.pi) / 1.15
    return float(excess / volume)


if __name__ == "__main__":
    main()
