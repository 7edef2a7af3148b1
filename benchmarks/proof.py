"""Time and truth of a plan's proof, without the network and without real data.

    python benchmarks/proof.py [--workers N]

Prints how long it takes to prove, judge and mend the photographs over a square kilometre at 2.5 cm
on level, hilly and broken ground, in a new process with kernels not yet compiled; and what a plan
over a slope and over ridges covers when it is flown at one height and when it follows the ground.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import shapely
from measure import judge
from numpy.typing import NDArray

from flightplan.coverage.routes import Line
from flightplan.proof.certificate import Asked, certify
from flightplan.proof.footprints import GroundCells, Photos, choose_cell, measure_laps
from flightplan.proof.prove import prove
from flightplan.proof.repair import AdditionPattern, repair
from flightplan.terrain.terrain import Terrain
from tmp.cameras import Camera

Float = NDArray[np.float64]

CAMERA = Camera(
    camera_id="mini", width_px=4032, height_px=3024, fx_px=2795.5, fy_px=2795.5, cx_px=2016,
    cy_px=1512,
)  # fmt: skip
"""12 megapixels, 24 mm equivalent: 86.5 by 64.9 m from 60 m."""
MOST_SECONDS = 5.0
"""Promised for the proof of a square kilometre, half of what plan and proof may take."""


def terrain(height: Callable[[Float, Float], Float], size_m: float, cell_m: float) -> Terrain:
    """Return ground given as a function of x and y, over a square with a margin of 200 m."""
    count = int((size_m + 400) / cell_m)
    x = -200 + (np.arange(count) + 0.5) * cell_m
    y = size_m + 200 - (np.arange(count) + 0.5) * cell_m
    heights = np.broadcast_to(height(x[None, :], y[:, None]), (count, count)).astype(np.float32)
    return Terrain(heights=heights, x_min=-200, y_max=size_m + 200, cell_m=cell_m, datum="made up")


def to_and_fro(
    size: tuple[float, float], spacing: tuple[float, float], beyond: float
) -> list[Line]:
    """Return lines along x over a rectangle and `beyond` it; spacing is along and across."""
    photos = round((size[0] + 2 * beyond) / spacing[0]) + 1
    number = round((size[1] + 2 * beyond) / spacing[1]) + 1
    lines = []
    for count, y in enumerate(np.linspace(-beyond, size[1] + beyond, number)):
        line = Line(start=(-beyond, float(y)), end=(size[0] + beyond, float(y)), photos=photos)
        lines.append(line if count % 2 == 0 else line.reversed())
    return lines


GROUNDS: dict[str, Callable[[Float, Float], Float]] = {
    "level": lambda x, y: 0 * x + 0 * y,
    "hilly": lambda x, y: 20 * np.sin(x / 60) * np.cos(y / 80),
    "broken": lambda x, y: (
        60 * np.sin(x / 60) * np.cos(y / 80) + np.where((x > 400) & (x < 420), 25, 0)
    ),
}
"""20 m hills; 60 m hills with slopes of 45° and a wall 25 m high."""


def time_square_kilometre(name: str, workers: int) -> None:
    """Print what the proof of a square kilometre takes, step by step."""
    height_m = 0.025 * CAMERA.fx_px
    spacing = (0.2 * CAMERA.height_px * 0.025, 0.3 * CAMERA.width_px * 0.025)
    ground = terrain(GROUNDS[name], 1000.0, 2.0)
    area = shapely.box(0, 0, 1000, 1000)
    lines = to_and_fro((1000, 1000), spacing, 20)
    pattern = AdditionPattern(
        photo_spacing_m=spacing[0],
        line_spacing_m=spacing[1],
        reach_m=0.025 * float(np.hypot(CAMERA.width_px, CAMERA.height_px)) / 2,
        height_at=lambda xy: ground.at(xy) + height_m,
    )
    began = time.perf_counter()
    photos = Photos.on_lines(lines, pattern.height_at)
    sheet = GroundCells.over(area, ground, choose_cell(spacing[0], area))
    coverage = prove(photos, CAMERA, sheet, workers=workers)
    proven = time.perf_counter()
    mended = repair(lines, coverage, sheet, CAMERA, photographs=9, pattern=pattern)
    repaired = time.perf_counter()
    photos = Photos.on_lines(mended.lines, pattern.height_at)
    certificate = certify(
        Asked(photographs=9, gsd_m=0.025, frontlap=0.75, sidelap=0.65),
        mended.coverage,
        laps=measure_laps(photos, CAMERA, ground),
        photographs=len(photos),
        repairs=mended.words,
    )
    done = time.perf_counter()
    count = coverage.count[coverage.inside]
    print(
        f"{name:7} {len(photos) - mended.added:5} photographs, {count.size} cells of "
        f"{sheet.grid.cell_m:.2f} m, fewest {count.min()}: proof {proven - began:.2f} s, "
        f"{mended.added} added in {repaired - proven:.2f} s, judged in {done - repaired:.2f} s; "
        f"{certificate.checks[0].sentence}"
    )
    judge(
        done - began < MOST_SECONDS,
        f"{name}: 1 km² at 2.5 cm proven, mended and judged in {done - began:.2f} s, under "
        f"{MOST_SECONDS:g} s",
    )


def time_anew(name: str, workers: int) -> None:
    """Run `time_square_kilometre` as a new user's first time: nothing compiled."""
    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, __file__, "--only", name, "--workers", str(workers)],
            check=True,
            env={**os.environ, "NUMBA_CACHE_DIR": cache},
        )
        print(f"        {time.perf_counter() - began:.2f} s with the start of Python")


def compare_policies() -> None:
    """Print what one height and following the ground cover, on 300 × 200 m at 60 m."""
    slope = np.tan(np.radians(15))
    grounds: dict[str, Callable[[Float, Float], Float]] = {
        "level": lambda x, y: 0 * x + 0 * y,
        "15° across lines": lambda x, y: slope * y + 0 * x,
        "15° along lines": lambda x, y: slope * x + 0 * y,
        "±25 m ridges along": lambda x, y: 25 * np.sin(2 * np.pi * x / 200) + 0 * y,
    }
    area = shapely.box(0, 0, 300, 200)
    print("\nground               height    fewest  5 %  unseen   best GSD cm  lowest camera m")
    for name, height in grounds.items():
        ground = terrain(height, 300.0, 1.0)
        sheet = GroundCells.over(area, ground, 1.0)
        start = float(ground.at([(0.0, 0.0)])[0])
        policies: dict[str, Callable[[Float], Float]] = {
            "fixed": lambda xy, start=start: np.full(len(xy), start + 60.0),
            "follows": lambda xy, ground=ground: ground.at(xy) + 60.0,
        }
        lines = to_and_fro((300, 200), (300 / 19, 25.0), 0)
        for policy, height_at in policies.items():
            photos = Photos.on_lines(lines, height_at)
            coverage = prove(photos, CAMERA, sheet)
            count = coverage.count[coverage.inside]
            gsd = coverage.gsd_m[np.isfinite(coverage.gsd_m)]
            above = (photos.position[:, 2] - ground.at(photos.position[:, :2])).min()
            print(
                f"{name:20} {policy:8} {count.min():6} {np.percentile(count, 5):5.0f} "
                f"{coverage.share_below(1):7.1%}  {gsd.min() * 100:5.2f} to {gsd.max() * 100:.2f}"
                f"  {above:8.1f}"
            )
            pattern = AdditionPattern(photo_spacing_m=300 / 19, line_spacing_m=25.0, reach_m=55.0,
                              height_at=height_at)  # fmt: skip
            if policy == "follows":
                mended = repair(lines, coverage, sheet, CAMERA, photographs=9, pattern=pattern)
                after = mended.coverage.count[coverage.inside]
                judge(
                    after.min() >= 9,
                    f"{name}: at least 9 photographs everywhere ({after.min()}) after adding "
                    f"{mended.added} to {len(photos)}",
                )


def main() -> None:
    """Run the benchmark."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--only", choices=GROUNDS, help="time one kind of ground, in this process")
    options = made.parse_args()
    if options.only:
        time_square_kilometre(options.only, options.workers)
        return
    for name in GROUNDS:
        time_anew(name, options.workers)
    compare_policies()


if __name__ == "__main__":
    main()
