"""How long a square kilometre takes to plan and prove, and how true spacings are anywhere on Earth.

    python benchmarks/plan.py [--workers N]

`tmp plan` is run in a process of its own, over level ground and over hills of an elevation model
made up for the purpose, and with the files it writes.  Spacings are measured on the ellipsoid
between the photographs of the mission.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import rasterio
from measure import TMP, judge, run
from pyproj import Geod
from rasterio.transform import from_bounds
from shapely import MultiPolygon, box
from shapely.geometry import mapping

from flightplan.equipment.catalogue import read_catalogue
from flightplan.plan.missions import missions_of
from flightplan.plan.planning import make_plan
from flightplan.plan.request import PlanRequest
from tmp.geo.areas import SurveyArea
from tmp.geo.frames import PlanFrame

MOST_S = 10.0
MOST_ERROR = 1e-3
LATITUDES_DEG = (0.0, 47.0, 65.0, 78.0, 85.0)
HILLS_M, APART_M = 25.0, 400.0
MARGIN_M = 400.0
GEOD = Geod(ellps="WGS84")


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        time_plans(Path(folder), asked.workers)
    for lat_deg in LATITUDES_DEG:
        measure_spacings(lat_deg)


def field(frame: PlanFrame, side_m: float) -> SurveyArea:
    """Return a square about the middle of a frame."""
    square = frame.to_geodetic(box(-side_m / 2, -side_m / 2, side_m / 2, side_m / 2))
    return SurveyArea(polygons=MultiPolygon([square]), source="a square")


def time_plans(folder: Path, workers: int) -> None:
    """Plan a square kilometre over level ground and over hills."""
    frame = PlanFrame(lon_deg=-19.0, lat_deg=64.0)
    area, dem = folder / "area.geojson", folder / "hills.tif"
    area.write_text(json.dumps(mapping(field(frame, 1000.0).polygons)))
    write_hills(dem, frame)
    for name, options in (
        ("level ground", ()),
        (f"hills of {2 * HILLS_M:g} m", ("--dem", dem, "--dem-datum", "ellipsoid")),
    ):
        cost = run(
            [
                TMP, "plan", area, "-o", folder / name.split()[0], "--drone", "DJI Mini 4 Pro",
                "--gsd", "2.5cm", "--sight", "2000", "--workers", str(workers), *options,
            ]
        )  # fmt: skip
        plan = json.loads((folder / name.split()[0] / "plan" / "plan.json").read_text())
        photographs = sum(one["photographs"] for one in plan["sorties"])
        print(
            f"1 km² at 2.5 cm, {name:16s} {cost}: {photographs} photographs, "
            f"{len(plan['sorties'])} sorties, {'passed' if plan['passed'] else 'FAILED'}"
        )
        if not options:
            judge(cost.wall_s < MOST_S, f"planned, proved and written in less than {MOST_S:g} s")


def write_hills(path: Path, frame: PlanFrame) -> None:
    """Write an elevation model of rolling hills."""
    half, cell = 500.0 + MARGIN_M, 5.0
    count = int(2 * half / cell)
    x = np.linspace(-half, half, count)
    heights = HILLS_M * np.sin(2 * np.pi * x / APART_M) * np.cos(2 * np.pi * x[:, None] / APART_M)
    with rasterio.open(
        path, "w", driver="GTiff", width=count, height=count, count=1, dtype="float32",
        crs=frame.crs, transform=from_bounds(-half, -half, half, half, count, count),
    ) as file:  # fmt: skip
        file.write((200.0 + heights).astype(np.float32), 1)


def measure_spacings(lat_deg: float) -> None:
    """Measure the distances between photographs and between lines on the ellipsoid."""
    catalogue = read_catalogue()
    drone = catalogue.drone("DJI Mini 4 Pro")
    frame = PlanFrame(lon_deg=-19.0, lat_deg=lat_deg)
    plan = make_plan(
        PlanRequest(
            area=field(frame, 350.0),
            drone=drone,
            cameras=catalogue.cameras_of(drone),
            gsd_m=0.025,
            heading_deg=90.0,
            day=date(2026, 7, 1),
        )
    )
    errors = []
    for mission in missions_of(plan):
        places = np.array([(one.lon_deg, one.lat_deg) for one in mission.photos])
        lines = np.array([one.line for one in mission.photos])
        for number in np.unique(lines):
            ours = places[lines == number]
            apart = GEOD.inv(*ours[:-1].T, *ours[1:].T)[2]
            errors.append(np.abs(apart / plan.sorties.lines[number].spacing_m - 1).max())
        middles = [places[lines == number].mean(axis=0) for number in np.unique(lines)]
        flat = plan.layout.setting.frame.plan_from_geodetic(middles)
        true = GEOD.inv(*np.array(middles[:-1]).T, *np.array(middles[1:]).T)[2]
        errors.append(np.abs(true / np.hypot(*np.diff(flat, axis=0).T) - 1).max())
    worst = max(errors)
    print(f"spacings at {lat_deg:g}° N       off by {100 * worst:.1g} % at the most")
    judge(worst <= MOST_ERROR, f"spacings within {100 * MOST_ERROR:g} %")


if __name__ == "__main__":
    main()
