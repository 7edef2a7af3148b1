"""Errors of the terrain model of a rehearsed survey against its exact bare ground.

    python benchmarks/bare_ground.py FOLDER [--workers N]

The folder is that of ``tmp demo``, or a new one, in which the farm is rehearsed and mapped first.
Printed are the errors on open ground and below the house, the share of the turf walls' relief
that is kept, the mound's volume as ``tmp volume`` tells it, whether the doubts that are shown fit,
and which classes the cloud gives to what.  The same is asked of cloth simulation (CSF) and of the
simple morphological filter (SMRF) where they are installed:

    pip install cloth-simulation-filter pysmrf
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2  # before pycolmap, whose zlib breaks PNG writing in it
import numpy as np
import rasterio
import shapely
from measure import judge
from numpy.typing import NDArray
from pyproj import CRS

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
from flows.products.table import DSM, DSM_SIGMA, DTM, DTM_SIGMA, ORTHOMOSAIC
from flows.products.volumes import measure_volumes
from flows.products.zones import Zones
from flows.run.request import ORIENTED, MapOptions
from flows.stages.terrain import read_known
from photogrammetry.orientation.block import Similarity
from photogrammetry.terrain.bare_ground import fill_gaps, find_ground
from photogrammetry.terrain.classes import PointClass, classify
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import read_grid, read_over, read_window
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
        judge_volume(products, mound, bare, grid, fit)
    masks = {"open ground": open_ground, "house": house, "boulders": boulder & ~open_ground}
    print_classes(products, masks, grid, bare, fit)
    compare_filters(products, grid, bare, fit, open_ground, house, wall_m)


def judge_volume(
    products: Path, mound: RoundFeature, bare: Array, grid: Grid, fit: Similarity
) -> None:
    """Measure a mound as ``tmp volume`` does, and the truth by the same rule."""
    turn = np.linspace(0, 2 * np.pi, 97)[:-1]
    ring = np.array(mound.centre) + 1.25 * mound.radius_m * np.column_stack(
        [np.cos(turn), np.sin(turn)]
    )
    col = ((ring[:, 0] - grid.x_min) / grid.cell_m).astype(int).clip(0, grid.cols - 1)
    row = ((grid.y_max - ring[:, 1]) / grid.cell_m).astype(int).clip(0, grid.rows - 1)
    on_map = (np.column_stack([ring, bare[row, col]]) - fit.translation) / fit.scale @ fit.rotation

    def measured(folder: Path, corners: NDArray[np.float64]) -> tuple[float, float, float]:
        zones = Zones(
            source=Path("mound"),
            shapes=np.array([shapely.Polygon(corners)], object),
            crs=CRS(grid.crs),
            columns={},
        )
        (found,) = measure_volumes(zones, folder).rows
        assert found.volume is not None
        return found.volume.net_m3, found.volume.net_sigma_m3, found.sigma_m3()

    with TemporaryDirectory() as folder:
        write_raster(Path(folder) / DSM.file, bare, grid)
        write_raster(Path(folder) / DSM_SIGMA.file, np.full_like(bare, 1e-4), grid)
        true, _, _ = measured(Path(folder), ring)
    net, shape_sigma, sigma = measured(products, on_map[:, :2])
    of_map = true / fit.scale**3
    print(
        f"  net {net:.2f} m³ ± {sigma:.2f} (± {shape_sigma:.2f} but for the map's scale), truth "
        f"{true:.2f} m³, in the map's scale {of_map:.2f} m³: {100 * (net / of_map - 1):+.2f} %"
    )
    judge(abs(net / of_map - 1) <= 0.01, "within 1 % in the map's scale")
    judge(abs(net - true) <= sigma, "and within its doubt of the truth")


def print_classes(
    products: Path, masks: dict[str, NDArray[np.bool_]], grid: Grid, bare: Array, fit: Similarity
) -> None:
    """Print which classes the cells of the map have on what is known to be there."""
    own = read_grid(products / DSM.file)
    whole = Tile(row=0, col=0, rows=own.rows, cols=own.cols)
    surface, terrain, sigma = (
        read_known(products / product.file, whole) for product in (DSM, DTM, DSM_SIGMA)
    )
    rgb = np.moveaxis(read_over(products / ORTHOMOSAIC.file, own)[:3], 0, 2)
    found = classify(surface, terrain, sigma, rgb, own.cell_m)
    shares: dict[str, dict[str, float]] = {name: {} for name in masks}
    with TemporaryDirectory() as folder:
        for code in PointClass:
            path = Path(folder) / "class.tif"
            write_raster(path, np.where(found > 0, found == code, np.nan), own)
            there = values_on_truth(path, grid, bare, fit)
            for name, mask in masks.items():
                inner = cv2.erode(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
                inner = inner if inner.any() else mask
                known = inner & np.isfinite(there)
                shares[name][code.name.lower()] = float((there[known] > 0.5).mean())
    print("classes of cells, less a rim of 10 cm")
    for name, told in shares.items():
        said = ", ".join(f"{100 * share:.1f} % {code}" for code, share in told.items() if share)
        print(f"  {name}: {said}")
    judge(shares["open ground"]["ground"] >= 0.99, "99 % of open ground is ground")
    judge(shares["house"]["building"] >= 0.95, "95 % of the house is a building")


def compare_filters(
    products: Path,
    grid: Grid,
    bare: Array,
    fit: Similarity,
    open_ground: NDArray[np.bool_],
    house: NDArray[np.bool_],
    wall_m: Array,
) -> None:
    """Print what each filter keeps and takes, on the same surface, gaps closed alike."""
    own = read_grid(products / DSM.file)
    whole = Tile(row=0, col=0, rows=own.rows, cols=own.cols)
    surface, sigma = (read_known(products / one.file, whole) for one in (DSM, DSM_SIGMA))
    known = np.isfinite(surface)
    closed = fill_gaps(np.nan_to_num(surface), known)
    filters: dict[str, Callable[[], NDArray[np.bool_]]] = {
        "walkable patches": lambda: find_ground(closed, known, np.nan_to_num(sigma), own.cell_m)
    }
    row, col = np.nonzero(known)
    xyz = np.column_stack([col * own.cell_m, -row * own.cell_m, surface[known]]).astype(float)
    if importlib.util.find_spec("CSF"):
        filters["CSF, flat"] = lambda: cloth(xyz, known, rigidness=3)
        filters["CSF, relief"] = lambda: cloth(xyz, known, rigidness=2)
        filters["CSF, steep"] = lambda: cloth(xyz, known, rigidness=1)
    if importlib.util.find_spec("pysmrf"):
        filters["SMRF, slope 0.15"] = lambda: morphology(xyz, known, slope=0.15)
        filters["SMRF, slope 0.5"] = lambda: morphology(xyz, known, slope=0.5)
    print("filter              open ground   walls   house mean, std   interpolated   CPU-seconds")
    for name, judge_ground in filters.items():
        began_s = time.process_time()
        ground = judge_ground()
        took_s = time.process_time() - began_s
        with TemporaryDirectory() as folder:
            path = Path(folder) / DTM.file
            write_raster(path, np.where(known, fill_gaps(closed, ground), np.nan), own)
            terrain = heights_on_truth(path, grid, bare, fit)
        error = terrain - bare
        below = error[house & np.isfinite(error)]
        print(
            f"{name:<19} {spread(error[open_ground]).std / grid.cell_m:7.2f} GSD "
            f"{100 * wall_relief(terrain, bare, wall_m, open_ground, grid.cell_m):7.1f} % "
            f"{100 * below.mean():+8.1f}, {100 * below.std():.1f} cm "
            f"{100 * (known & ~ground).sum() / known.sum():10.1f} % {took_s:13.2f}"
        )


def cloth(xyz: NDArray[np.float64], known: NDArray[np.bool_], rigidness: int) -> NDArray[np.bool_]:
    """Return the ground by cloth simulation (Zhang et al. 2016), with a cloth of half a metre."""
    import CSF

    csf = CSF.CSF()
    csf.params.bSloopSmooth = False
    csf.params.cloth_resolution = 0.5
    csf.params.rigidness = rigidness
    csf.params.class_threshold = 0.3
    csf.setPointCloud(xyz)
    ground, rest = CSF.VecInt(), CSF.VecInt()
    csf.do_filtering(ground, rest, False)
    found = np.zeros(known.shape, bool)
    row, col = np.nonzero(known)
    of = np.array(ground, int)
    found[row[of], col[of]] = True
    return found


def morphology(
    xyz: NDArray[np.float64], known: NDArray[np.bool_], slope: float
) -> NDArray[np.bool_]:
    """Return the ground by SMRF (Pingel et al. 2013), with cells of 1 m and windows up to 9 m."""
    import pysmrf

    found = np.zeros(known.shape, bool)
    found[known] = pysmrf.classify(
        *xyz.T, cellsize=1.0, windows=9, slope_threshold=slope, elevation_threshold=0.3
    ).is_ground
    return found


def write_raster(path: Path, values: NDArray[np.floating], grid: Grid) -> None:
    """Write values, NaN where there are none."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=grid.cols,
        height=grid.rows,
        count=1,
        dtype="float32",
        crs=grid.crs,
        transform=grid.transform,
        nodata=-9999.0,
    ) as file:
        file.write(np.nan_to_num(values, nan=-9999.0).astype(np.float32), 1)


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
