"""Compare the overlap that a map finds with the one that its plan promised.

    python benchmarks/closed_loop.py [--gsd 2.5cm] [--workers N] [--keep FOLDER]

Plans the sample farm over its terrain, renders the photographs of the mission file as a drone with
RTK takes them on a calm day, maps them, and compares the photographs that the proof counts in each
place with the oriented photographs whose frame holds it on the mapped surface.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from measure import TMP, add_run_options, judge, kernels, reconstruction_of, run, workplace

from flightplan.equipment.catalogue import read_catalogue
from flightplan.rehearsal.planned import prove_flown, read_plan
from flows.report.overlap import count_overlap, heights_of
from flows.stages.surface import GROUND
from tmp.geo.grids import Grid
from tmp.geo.rasters import open_tiled
from tmp.survey import Survey

SAMPLE = Path(__file__).parents[1] / "sample_data"
WITHIN = 1
"""Photographs by which both may differ."""
SHARE = 0.95
UNKNOWN_M = 1.0
"""Ground higher than in the plan's elevation model by more is an object that it does not have."""
CELL_M = 0.2
"""The edges of all photographs of a line fall together: coarser cells would shift them."""


def main() -> None:
    """Close the loop and print how well both ends meet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gsd", default="2.5cm")
    add_run_options(parser)
    asked = parser.parse_args()
    with workplace(asked.keep) as folder:
        planned, mapped = folder / "planned", folder / "mapped"
        workers = ("--workers", str(asked.workers))
        environment = kernels(folder, warm=asked.warm)
        run(
            [
                TMP, "plan", SAMPLE / "farm_area.geojson", "-o", planned, "--drone", "rehearsal",
                "--gsd", asked.gsd, "--dem", SAMPLE / "farm_terrain.tif", "--dem-datum",
                "ellipsoid", *workers,
            ]
        )  # fmt: skip
        run(
            [TMP, "rehearse", planned, "--photos", "--gnss", "rtk", *workers],
            environment=environment,
        )
        photos = planned / "rehearsal" / "photos"
        run([TMP, "ingest", photos, "--to", mapped, "--link", *workers])
        run([TMP, "map", mapped, *workers], environment=environment)
        compare(planned, mapped)


def compare(planned: Path, mapped: Path) -> None:
    """Print predicted and mapped overlap over the area of the plan."""
    plan = read_plan(Survey(folder=planned), read_catalogue())
    certificate, coverage = prove_flown(plan, cell_m=CELL_M)
    print(f"proof                    {certificate.sentence}")
    (ground_path,) = (mapped / "work" / "stages" / "surface").glob(f"*/{GROUND}")
    ground = open_tiled(ground_path)
    sheet = Grid.from_bounds(ground.grid.bounds, CELL_M, ground.grid.crs)
    reconstruction = reconstruction_of(mapped)
    heights = heights_of(ground, sheet)
    # What walls hide the plan could not know: its elevation model is that of the bare ground.
    found = count_overlap(reconstruction, sheet, heights, hidden=True)
    x, y = np.meshgrid(*sheet.cell_centres())
    level = np.full(x.size, float(np.median(reconstruction.points[:, 2])))
    world = reconstruction.frame.world_from_map(np.column_stack([x.ravel(), y.ravel(), level]))
    lon_lat = reconstruction.frame.geodetic_from_world(world)[:, :2]
    place = plan.frame.plan_from_geodetic(lon_lat)
    grid = coverage.grid
    col = np.floor((place[:, 0] - grid.x_min) / grid.cell_m).astype(int)
    row = np.floor((grid.y_max - place[:, 1]) / grid.cell_m).astype(int)
    on = (row >= 0) & (col >= 0) & (row < grid.rows) & (col < grid.cols)
    on[on] = coverage.inside[row[on], col[on]]
    predicted = coverage.count[row[on], col[on]].astype(int)
    differ = np.abs(found.ravel()[on] - predicted)
    # Houses are not in the elevation model that the plan was made with.
    known = np.abs(heights.ravel()[on] - plan.terrain.at(place[on])) < UNKNOWN_M
    print(
        f"overlap                  {predicted.mean():.1f} photographs predicted, "
        f"{found.ravel()[on].mean():.1f} mapped"
    )
    for what, part in (("the area", np.ones(on.sum(), bool)), ("the ground it knew", known)):
        print(
            f"within {WITHIN} of the plan     on {100 * (differ[part] <= WITHIN).mean():.1f} % of "
            f"{what}, {part.sum() * CELL_M**2:.0f} m²; within 2 on "
            f"{100 * (differ[part] <= 2).mean():.1f} %"
        )
    judge(
        (differ[known] <= WITHIN).mean() >= SHARE,
        f"within one photograph on {100 * SHARE:g} % of the ground that the plan knew",
    )


if __name__ == "__main__":
    main()
