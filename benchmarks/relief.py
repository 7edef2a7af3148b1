"""Pictures of relief: agreement and time beside another program, and memory as the map grows.

    python benchmarks/relief.py [--largest 20000] [--keep FOLDER] [--workers N]

The rival is the Relief Visualization Toolbox, ``pip install --no-deps rvt-py``; without it only our
own figures are printed.  Heights are made up: rolling ground with walls and noise, 10 cm a cell.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from measure import judge, workplace

from flows.stages.relief import TileRelief
from photogrammetry.relief.views import find_horizons
from tmp.geo.grids import Grid
from tmp.geo.rasters import create_tiled, finish_cog
from tmp.survey import Settings, create_survey, write_settings

CELL_M, RADIUS_CELLS = 0.1, 100
SIDE = 1500
LEAST_FASTER, MOST_GB, MOST_GROWTH = 4.0, 2.0, 0.25
LAYERS = ("vat", "hillshade", "multi_hillshade", "slope", "sky_view_factor", "positive_openness")
LAYERS += ("negative_openness", "local_dominance", "local_relief")
ONE = """
import resource, sys, time
from pathlib import Path
import numpy as np
from flows.products.volumes import Surface
from flows.run.relief import ReliefOptions, make_relief
options = ReliefOptions(
    layers=("sky_view_factor",), radius_m=10.0, surface=Surface.DSM, workers=int(sys.argv[2])
)
began_s = time.process_time()
make_relief(Path(sys.argv[1]), options)
print(time.process_time() - began_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


def main() -> None:
    """Print time and agreement beside the rival, then cost and memory by size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--largest", type=int, default=20_000, help="cells a side")
    parser.add_argument("--keep", type=Path, help="folder to leave the surveys in")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    compare(ground(SIDE, SIDE))
    with workplace(asked.keep) as folder:
        costs = []
        side = 2500
        while side <= asked.largest:
            costs.append(grow(folder / f"side-{side}", side, asked.workers))
            side *= 2
    growth = costs[-1][0] / costs[0][0] - 1
    judge(
        growth < MOST_GROWTH,
        f"time a cell grows by {100 * growth:+.0f} % at most {side // 2} a side",
    )
    judge(costs[-1][1] < MOST_GB, f"memory stays below {MOST_GB:g} GB")


def ground(rows: int, cols: int, row: int = 0, col: int = 0) -> np.ndarray:
    """Return rolling ground with a grid of turf walls and 1 cm of noise, float32."""
    rng = np.random.default_rng((row, col))
    y, x = np.ogrid[row : row + rows, col : col + cols]
    height = 120 + 3 * np.sin(x / 400) * np.cos(y / 300) + 0.01 * rng.normal(size=(rows, cols))
    wall = (x % 250 < 12) | (y % 310 < 12)
    return (height + 0.6 * wall).astype(np.float32)


def timed(work: object) -> tuple[float, object]:
    """Return the processor time of a call, and what it returned."""
    began_s = time.process_time()
    found = work()  # type: ignore[operator]
    return time.process_time() - began_s, found


def compare(height: np.ndarray) -> None:
    """Print time and agreement of a sky-view factor with a radius of 10 m."""

    def ours() -> object:
        wide = np.pad(height, RADIUS_CELLS, constant_values=np.nan)
        return find_horizons(wide, CELL_M, RADIUS_CELLS)

    find_horizons(height[:210, :210].copy(), CELL_M, RADIUS_CELLS)  # compiles
    own_s, found = timed(ours)
    print(f"sky-view factor and openness, {SIDE}² cells, 10 m: {own_s:.2f} CPU-seconds")
    wide = np.pad(height, 2 * 50, constant_values=np.nan)
    TileRelief(wide[:300, :300], CELL_M, 50).layer("relief/local_dominance")
    TileRelief(wide[:300, :300], CELL_M, 50).layer("relief/local_relief")
    drawn = TileRelief(wide, CELL_M, 50)
    for layer in LAYERS:
        took_s, _ = timed(lambda layer=layer: drawn.layer(f"relief/{layer}"))
        print(f"  {layer:20s} of 5 m {took_s:6.2f} CPU-seconds")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            vis = importlib.import_module("rvt.vis")
    except ImportError:
        print("no rvt-py here; nothing to compare with")
        return
    their_s, theirs = timed(
        lambda: vis.sky_view_factor(height.copy(), CELL_M, svf_r_max=RADIUS_CELLS)
    )
    inner = np.s_[RADIUS_CELLS:-RADIUS_CELLS, RADIUS_CELLS:-RADIUS_CELLS]
    off = np.abs(found.sky_view_factor - theirs["svf"])[inner]  # type: ignore[attr-defined, index]
    print(
        f"rvt-py, the sky-view factor alone: {their_s:.2f} CPU-seconds, {their_s / own_s:.1f} times"
    )
    # It divides heights of 120 m in float32 by the cell: 6e-5 cells, over one cell.
    print(f"largest difference {off.max():.1e}, mean {off.mean():.1e}")
    judge(their_s / own_s >= LEAST_FASTER, f"at least {LEAST_FASTER:g} times faster")
    judge(off.max() < 2e-4, "agrees to its rounding")


def grow(folder: Path, side: int, workers: int) -> tuple[float, float]:
    """Draw the sky-view factor of a survey of a size; returns microseconds a cell and GB."""
    survey = create_survey(folder, name=f"side {side}")
    write_settings(survey, Settings(name=f"side {side}", cameras={}, crs="EPSG:32627"))
    grid = Grid(crs="EPSG:32627", x_min=5e5, y_max=7.1e6, cell_m=CELL_M, rows=side, cols=side)
    raster = create_tiled(folder / "tiles", grid, nodata=-9999.0)
    for tile in raster.tiles():
        raster.write(tile, ground(tile.rows, tile.cols, tile.row, tile.col)[None])
    finish_cog(raster, survey.products_dir / "dsm.tif", descriptions=("height",), units=("m",))
    shutil.rmtree(folder / "tiles")
    began_s = time.monotonic()
    command = [sys.executable, "-c", ONE, str(folder), str(workers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    wall_s = time.monotonic() - began_s
    cpu_s, peak_gb = map(float, done.stdout.split())
    micros = 1e6 * cpu_s / side**2
    print(
        f"{side:6d}² cells: {cpu_s:7.1f} CPU-seconds, {micros:.2f} µs a cell, "
        f"{wall_s:.0f} s on the clock, {peak_gb:.2f} GB",
        flush=True,
    )
    shutil.rmtree(folder)
    return micros, peak_gb


if __name__ == "__main__":
    main()
