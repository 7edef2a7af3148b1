"""Map a park from 18 photographs, and let a rival do the same: cost, completeness, true scale.

    python benchmarks/brighton.py [--data DIR] [--rival PATH] [--workers N]

A first run compiles the kernels, once for each installation (``tmp demo`` does it too); it is
printed beside a later one, which is compared with the rival.

The rival is ``orthomosaic-3d`` of pyOrthomosaic 0.9.3 (``pip install pyOrthomosaic==0.9.3`` into an
environment of its own; give the path of its executable).  Both get the same photographs and the
same number of workers, one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from ground import open_ground, read_heights
from measure import (
    Cost,
    ingest_and_map,
    judge,
    kernels,
    parser,
    photos_of,
    print_stages,
    reconstruction_of,
    run,
    workplace,
)
from numpy.typing import NDArray

from flows.products.ground import GROUND
from flows.products.table import DSM
from flows.report.findings import GOOD_VIEWS, mean_residual_px
from flows.report.ground import count_overlap, heights_of, measured_share
from tmp.captures import read_captures
from tmp.geo.grids import Grid
from tmp.geo.rasters import open_tiled, read_grid
from tmp.reconstruction import Reconstruction

BEST_RESIDUAL_PX = 0.8
HEIGHT_WITHIN_M = 1.5
BEST_CELL_M = 0.063
LEAST_MEASURED = 0.9
MOST_OF_RIVAL = 1 / 3
MOST_MEMORY_GB = 3.0
FOOT_M = 10.0
"""Half the side of the square below a camera whose open ground speaks for its height."""
LEAST_OPEN = 0.25
"""Share of that square that must be open ground."""
RIM_M = 30.0
"""Ground looked at beyond the map's edges: half the width that a photograph shows."""
SHEET_CELL_M = 0.5
"""Cell of the raster on which overlap and measured share are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How many photographs see each place, by our own orientation."""

    sheet: Grid
    seen: NDArray[np.int_]
    framed: NDArray[np.int_]
    """Hidden places count as well."""


def main() -> None:
    """Map with both programs and print their figures."""
    made = parser(__doc__)
    made.add_argument("--rival", type=Path, help="path of the executable orthomosaic-3d")
    asked = made.parse_args()
    photos = photos_of(asked.data, "brighton")
    with workplace(asked.keep) as folder:
        survey = folder / "survey"
        environment = kernels(folder, warm=asked.warm)
        first: Cost | None = None
        if not asked.warm:
            first = ingest_and_map(
                [photos], folder / "first", workers=asked.workers, environment=environment
            )
            print(f"first run, compiling     {first}")
        cost = ingest_and_map([photos], survey, workers=asked.workers, environment=environment)
        print(f"tmp ingest and tmp map   {cost}")
        print_stages(survey)
        judge(cost.peak_gb <= MOST_MEMORY_GB, f"at most {MOST_MEMORY_GB:g} GB of memory")
        overlap = describe(survey)
        if asked.rival is None:
            print("no rival: give the path of orthomosaic-3d with --rival to compare the cost")
            return
        out = folder / "rival"
        its = run(
            [asked.rival, photos, "-o", out, "--backend", "cpu", "--workers", str(asked.workers)]
        )
        print(f"orthomosaic-3d           {its}")
        print_measured(out / "dsm.tif", overlap)
        ratio = cost.cpu_s / its.cpu_s
        print(f"CPU-seconds              {ratio:.2f} of the rival's")
        if first is not None:
            print(
                f"                         {first.cpu_s / its.cpu_s:.2f} in the first run after "
                "installation, which compiles the kernels"
            )
        judge(ratio <= MOST_OF_RIVAL, "at most one third of the rival's CPU-seconds")


def describe(survey: Path) -> Overlap:
    """Print what the map is worth; returns how many photographs see each place."""
    reconstruction = reconstruction_of(survey)
    oriented, lost = len(reconstruction.photos), len(reconstruction.left_out)
    print(f"oriented                 {oriented} of {oriented + lost}")
    judge(lost == 0, "all photographs oriented")
    residual_px = mean_residual_px(reconstruction)
    print(f"reprojection residual    {residual_px:.3f} px (mean)")
    judge(residual_px < BEST_RESIDUAL_PX, "mean reprojection residual below 0.8 px")
    dsm = survey / "products" / DSM.file
    recorded_m = float(
        np.mean(
            [
                capture.height_takeoff_m
                for capture in read_captures(survey / "survey.gpkg")
                if capture.used and capture.height_takeoff_m is not None
            ]
        )
    )
    above_m = height_above_ground(reconstruction, dsm)
    print(
        f"cameras above the ground {above_m:.2f} m by the map, {recorded_m:.2f} m above take-off "
        "recorded (means)"
    )
    judge(
        abs(above_m - recorded_m) <= HEIGHT_WITHIN_M,
        f"mean height above the mapped ground within {HEIGHT_WITHIN_M:g} m of the recorded",
    )
    cell_m = read_grid(dsm).cell_m
    overlap = overlap_of(reconstruction, survey)
    share = print_measured(dsm, overlap)
    judge(cell_m <= BEST_CELL_M, "cell of 6.3 cm or finer")
    judge(
        share >= LEAST_MEASURED,
        f"{100 * LEAST_MEASURED:g} % measured of what {GOOD_VIEWS} photographs see",
    )
    for warning in reconstruction.warnings:
        print(f"warning in the report: {warning}")
    return overlap


def height_above_ground(reconstruction: Reconstruction, dsm: Path) -> float:
    """Return the mean height of the cameras above the open ground below them, in metres.

    Cameras over trees are passed over.
    """
    height, grid = read_heights(dsm)
    height[~open_ground(height, grid.cell_m)] = np.nan
    x, y = grid.cell_centres()
    centres = reconstruction.frame.map_from_world(
        np.array([photo.pose.centre for photo in reconstruction.photos])
    )
    above = []
    for east, north, up in centres:
        near = np.ix_(np.abs(y - north) < FOOT_M, np.abs(x - east) < FOOT_M)
        if np.isfinite(height[near]).mean() >= LEAST_OPEN:
            above.append(up - np.nanmedian(height[near]))
    return float(np.mean(above))


def overlap_of(reconstruction: Reconstruction, survey: Path) -> Overlap:
    """Count the photographs that see each place in and about a map, on the surface it found.

    The sheet reaches beyond the map, or a map could do better by leaving its rim out.
    """
    (*_, latest) = sorted(
        (survey / "work" / "stages" / "surface").glob(f"*/{GROUND}"),
        key=lambda folder: folder.stat().st_mtime,
    )
    ground = open_tiled(latest)
    west, south, east, north = ground.grid.bounds
    around = (west - RIM_M, south - RIM_M, east + RIM_M, north + RIM_M)
    sheet = Grid.from_bounds(around, SHEET_CELL_M, ground.grid.crs)
    heights = heights_of(ground, sheet)
    return Overlap(
        sheet=sheet,
        seen=count_overlap(reconstruction, sheet, heights),
        framed=count_overlap(reconstruction, sheet, heights, hidden=True),
    )


def print_measured(dsm: Path, overlap: Overlap) -> float:
    """Print a surface model's cell and completeness; returns the share measured, 0 to 1."""
    share = measured_share(dsm, overlap.sheet)
    cell_m2 = overlap.sheet.cell_m**2
    seen, framed = (
        # Cells at the rim are seen only in part; they would count as holes.
        cv2.erode((views >= GOOD_VIEWS).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        for views in (overlap.seen, overlap.framed)
    )
    print(
        f"surface                  cells of {100 * read_grid(dsm).cell_m:.1f} cm, "
        f"{share.sum() * cell_m2:.0f} m² measured, {100 * share[seen].mean():.1f} % of what "
        f"{GOOD_VIEWS} photographs see ({seen.sum() * cell_m2:.0f} m²); with what is hidden from "
        f"them {100 * share[framed].mean():.1f} % ({framed.sum() * cell_m2:.0f} m²)"
    )
    return float(share[seen].mean())


if __name__ == "__main__":
    main()
