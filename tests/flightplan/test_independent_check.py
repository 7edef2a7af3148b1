"""Plans of `tmp plan`, checked by code of its own: see `independent.py`."""

import importlib.util
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from pyproj import Transformer

from tmp.cli import main

HELPER = Path(__file__).with_name("independent.py")
GSD_HAIR, HEIGHT_HAIR_M = 0.01, 0.05
"""By which another way of reading the ground between its cells may differ."""

Relief = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is planned: rings in metres about a place, drone, options and ground."""

    rings: list[list[list[tuple[float, float]]]]
    drone: str
    camera: str
    options: tuple[str, ...]
    at: tuple[float, float] = (-19.76, 64.143)
    relief: Relief | None = None
    crs: str = "EPSG:32627"
    reach_m: float = 250.0


def box(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]


def slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rise by 40 % to the north-east, with waves of a metre."""
    return 200 + 0.4 * (x + y) / math.sqrt(2) + np.sin(x / 15) * np.cos(y / 20)


def glacier(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Ice that falls by 8 % to the south round a nunatak 40 m high."""
    return 900 + 0.08 * y + 40 * np.exp(-((x - 8) ** 2 + y**2) / (2 * 20**2))


def svalbard(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A moraine of 12 m across a plain."""
    return 40 + 12 * np.exp(-((y - 10 - x / 4) ** 2) / (2 * 25**2))


U = [(-60, -45), (60, -45), (60, 45), (30, 45), (30, -15), (-30, -15), (-30, 45), (-60, 45)]
HOLED = [[box(-60, -50, 60, 50), box(-15, -20, 20, 10)]]
SEQUOIA = {"drone": "px4", "camera": "parrot-sequoia"}
MAVIC = {"drone": "mavic 3e", "camera": "dji-mavic-3e"}
MINI = {"drone": "mini 4 pro", "camera": "dji-mini-4-pro"}
CASES = {
    "rectangle": Case(rings=[[box(-70, -40, 70, 40)]], **SEQUOIA, options=("--gsd", "5cm")),
    "hole by timer": Case(rings=HOLED, **MINI, options=("--gsd", "2cm")),
    "hole by distance": Case(rings=HOLED, **SEQUOIA | {"drone": "arducopter"},
                             options=("--gsd", "6cm")),
    "U": Case(rings=[[[*U, U[0]]]], **MAVIC, options=("--gsd", "1.5cm")),
    "slope of 40 %": Case(rings=[[box(-70, -50, 70, 50)]], **MAVIC, options=("--gsd", "2cm"),
                          relief=slope),
    "glacier with nunatak": Case(rings=[[box(-75, -60, 75, 60), box(-30, -35, 45, 30)]], **MAVIC,
                                 options=("--gsd", "2cm"), relief=glacier),
    "several": Case(rings=[[box(-80, -30, -40, 40)], [box(-10, -60, 40, -20)],
                           [box(20, 20, 80, 50)]], **SEQUOIA, options=("--gsd", "6cm")),
    "78 N": Case(rings=[[box(-50, -40, 50, 40)]], drone="mavic 3m", camera="dji-mavic-3m-ms",
                 options=("--gsd", "3cm"), at=(15.6, 78.22), relief=svalbard, crs="EPSG:32633"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A plan's own words, and the same found anew."""

    summary: dict
    checks: dict[str, dict]
    """Of the certificate, by name."""
    views: list[np.ndarray]
    """Photographs that see each place of a grid, for each phase that a timer may have."""
    gsd_m: list[np.ndarray]
    beside: list[np.ndarray]
    """The most that see a place, or one beside it by up to the certificate's cells."""
    clearance_m: np.ndarray
    home_clearance_m: np.ndarray
    """Of the straight ways home at the return height."""


@pytest.fixture(scope="module")
def look() -> ModuleType:
    """The module ``independent``."""
    spec = importlib.util.spec_from_file_location("independent", HELPER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["independent"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def rings_of(case: Case) -> list[list[list[tuple[float, float]]]]:
    lon, lat = case.at
    east = 111_320.0 * math.cos(math.radians(lat))
    return [
        [[(lon + x / east, lat + y / 111_320.0) for x, y in ring] for ring in polygon]
        for polygon in case.rings
    ]


def write_ground(case: Case, path: Path) -> None:
    """Write the ground as an elevation model with cells of a metre."""
    assert case.relief is not None
    into = Transformer.from_crs("EPSG:4326", case.crs, always_xy=True)
    east, north = into.transform(*case.at)
    half = case.reach_m
    x = np.arange(-half, half) + 0.5
    heights = case.relief(*np.meshgrid(x, -x)).astype(np.float32)
    with rasterio.open(
        path, "w", driver="GTiff", width=len(x), height=len(x), count=1, dtype="float32",
        crs=case.crs, transform=Affine(1.0, 0.0, east - half, 0.0, -1.0, north + half),
    ) as file:  # fmt: skip
        file.write(heights, 1)


def plan(case: Case, folder: Path) -> tuple[Path, Path | None]:
    """Run ``tmp plan``; return the folder of the plan and the elevation model."""
    area = folder / "area.geojson"
    area.write_text(json.dumps({"type": "MultiPolygon", "coordinates": rings_of(case)}))
    words = ["plan", str(area), "-o", str(folder / "survey"), "--drone", case.drone, *case.options]
    dem = folder / "dem.tif" if case.relief else None
    if dem is not None:
        write_ground(case, dem)
        words += ["--dem", str(dem), "--dem-datum", "ellipsoid"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    return folder / "survey" / "plan", dem


@pytest.fixture(scope="module", params=CASES)
def planned(
    request: pytest.FixtureRequest, look: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Planned:
    case = CASES[request.param]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flightplan.outputs.plan_folder.write_map", write_no_map)
        folder, dem = plan(case, tmp_path_factory.mktemp("survey"))
    summary = json.loads((folder / "plan.json").read_text())
    certificate = json.loads((folder / "certificate.json").read_text())
    plane = look.Plane(lon_deg=case.at[0], lat_deg=case.at[1])
    ground = look.Ground(plane, dem, case.reach_m - 20)
    flown = [read_flown(look, folder, n, one) for n, one in enumerate(summary["sorties"], start=1)]
    homes = [float(ground.at(*plane.at([one.takeoff]).T)[0]) for one in flown]
    places = look.places_in([[plane.at(r) for r in polygon] for polygon in rings_of(case)], 2.5)
    timed = (folder / "dji-timer").is_dir()
    seen, beside = [], []
    camera, half_m = look.lens(case.camera), certificate["cell_m"] / 2
    for phase in np.arange(0.05, 1, 0.15) if timed else [0.0]:
        shots = []
        for one, home_m in zip(flown, homes, strict=True):
            where = one, plane, home_m
            shots += list(
                look.by_timer(*where, summary["timer_s"], phase)
                if timed
                else look.by_distance(*where)
            )
        seen.append(look.look(shots, camera, ground, places))
        few = seen[-1][0] < certificate["checks"][0]["worst"]
        most = seen[-1][0].copy()
        for step in ((half_m, 0), (-half_m, 0), (0, half_m), (0, -half_m)):
            most[few] = np.maximum(
                most[few], look.look(shots, camera, ground, places[few] + step)[0]
            )
        beside.append(most)
    pairs = list(zip(flown, homes, summary["sorties"], strict=True))
    return Planned(
        summary=summary,
        checks={one["name"]: one for one in certificate["checks"]},
        views=[one[0] for one in seen],
        gsd_m=[one[1] for one in seen],
        beside=beside,
        clearance_m=np.concatenate([look.clearance(a, plane, ground, b) for a, b, _ in pairs]),
        home_clearance_m=np.concatenate(
            [look.way_home(a, plane, ground, b, said["return_m"]) for a, b, said in pairs]
        ),
    )


def write_no_map(picture: Path, page: Path, _: object) -> None:
    picture.write_bytes(b"")
    page.write_bytes(b"")


def read_flown(look: ModuleType, folder: Path, number: int, said: dict) -> object:
    """Read the file that the drone of a plan flies."""
    if (path := folder / "dji-timer" / f"sortie-{number}.kmz").is_file():
        return look.read_wpml_file(path, tuple(said["takeoff"]))
    if (path := folder / f"sortie-{number}.kmz").is_file():
        return look.read_wpml_file(path, tuple(said["takeoff"]))
    return look.read_plan_file(folder / f"sortie-{number}.plan")


def test_every_place_is_seen_as_often_as_the_certificate_says(planned: Planned) -> None:
    claimed = planned.checks["photographs of each place"]
    assert claimed["passed"]
    assert claimed["worst"] >= claimed["asked"]
    for views, beside in zip(planned.views, planned.beside, strict=True):
        # It counts in the middle of cells: a strip narrower than those may be seen once less.
        assert views.min() >= claimed["worst"] - 1
        assert beside.min() >= claimed["worst"]


def test_no_place_is_coarser_than_the_certificate_says(planned: Planned) -> None:
    claimed = planned.checks["GSD"]
    for gsd_m in planned.gsd_m:
        assert 100 * gsd_m.max() <= claimed["worst"] * (1 + GSD_HAIR)


def test_the_way_is_as_high_above_the_ground_as_the_certificate_says(planned: Planned) -> None:
    claimed = planned.checks["clearance on the whole way"]
    assert planned.clearance_m.min() == pytest.approx(claimed["worst"], abs=HEIGHT_HAIR_M)
    assert planned.clearance_m.min() >= claimed["asked"] - HEIGHT_HAIR_M
    highest = planned.checks["highest above ground on lines"]["worst"]
    assert planned.clearance_m.max() >= highest - HEIGHT_HAIR_M


def test_the_way_home_is_clear_of_the_ground_from_every_waypoint(planned: Planned) -> None:
    """As the return height promises: 15 m above the highest ground, or at the way's own height."""
    assert planned.home_clearance_m.min() >= 14.0
