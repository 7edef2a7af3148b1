"""A small survey with a reconstruction and products, made without photographs."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType

import httpx
import numpy as np
import pytest

from flows.engine.result import Usage
from flows.engine.store import Result
from flows.prefect.server import QUIET
from flows.products.ground import GROUND, NODATA, continue_ground
from flows.report.quality import MapRecord
from flows.run.record import RUN, RunBook
from tmp.cameras import Camera, Pose
from tmp.captures import Capture, Flag, HeightDatum, write_captures
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import create_tiled, finish_cog, read_grid, read_window
from tmp.reconstruction import OrientedPhoto, Reconstruction, VerticalScale
from tmp.survey import Settings, Survey, create_survey, write_settings

CAMERA = Camera(
    camera_id="Testcam_800x600",
    width_px=800,
    height_px=600,
    fx_px=700.0,
    fy_px=700.0,
    cx_px=400.0,
    cy_px=300.0,
    source="sensor table",
)
ADJUSTED = Camera(
    camera_id=CAMERA.camera_id,
    width_px=800,
    height_px=600,
    fx_px=705.0,
    fy_px=705.0,
    cx_px=402.0,
    cy_px=299.0,
    k1=-0.02,
    k2=0.01,
)
FRAME = LocalFrame(origin=(-21.9, 64.1, 30.0), crs="EPSG:32627")
GNSS_SIGMA_M = 2.0
PREFECT_START_S = 90.0


@pytest.fixture(scope="session")
def reconstruction() -> Reconstruction:
    """Sixteen photographs from 40 m over gently rolling ground."""
    rng = np.random.default_rng(7)
    photos = []
    for i, (x, y) in enumerate(
        (x, y) for y in np.linspace(-20, 20, 4) for x in np.linspace(-24, 24, 4)
    ):
        photos.append(
            OrientedPhoto(
                name=f"DJI_{i:04d}.JPG",
                camera_id=CAMERA.camera_id,
                pose=Pose.from_gimbal(90.0, -90.0, 0.0, (x, y, 40.0)),
                gnss_residual_m=tuple(rng.normal(0, GNSS_SIGMA_M, 3)),
                observations=900,
                mean_residual_px=0.6,
            )
        )
    points = np.column_stack([rng.uniform(-40, 40, (3000, 2)), rng.normal(0, 0.5, 3000)])
    return Reconstruction(
        frame=FRAME,
        cameras={CAMERA.camera_id: ADJUSTED},
        priors={CAMERA.camera_id: CAMERA},
        photos=tuple(photos),
        left_out={"DJI_0016.JPG": "only 6 matches with its neighbours"},
        points=points,
        point_views=rng.integers(2, 9, 3000).astype(np.int32),
        point_residuals_px=rng.gamma(4, 0.15, 3000).astype(np.float32),
        vertical_scale=VerticalScale(
            focal_factors=(0.95, 1.0, 1.05),
            mean_residual_px=(0.601, 0.600, 0.602),
            height_agl_m=(38.0, 40.0, 42.0),
            sigma_scale=0.019,
            weak=True,
        ),
        figures={"pairs_matched": 60, "pairs_verified": 57},
    )


@pytest.fixture(scope="session")
def captures(reconstruction: Reconstruction) -> tuple[Capture, ...]:
    """The photographs of `reconstruction`, one that was left out, and a blurred one."""
    began = datetime(2026, 7, 3, 9, 12, tzinfo=UTC)
    names = [photo.name for photo in reconstruction.photos] + ["DJI_0016.JPG", "DJI_0017.JPG"]
    return tuple(
        Capture(
            name=name,
            source=f"/card/DCIM/{name}",
            sha256=f"{i:064d}",
            size_bytes=1000 + i,
            width_px=800,
            height_px=600,
            camera_id=CAMERA.camera_id,
            time_utc=began + timedelta(seconds=3 * i),
            longitude_deg=-21.9,
            latitude_deg=64.1,
            height_m=70.0,
            height_datum=HeightDatum.ELLIPSOID,
            sigma_horizontal_m=GNSS_SIGMA_M,
            sigma_vertical_m=2 * GNSS_SIGMA_M,
            flags=(Flag.BLURRED,) if i == 17 else (),
            reason="sharpness 12 where the others have 80" if i == 17 else "",
        )
        for i, name in enumerate(names)
    )


@pytest.fixture
def record(tmp_path: Path, new_record: Callable[[Path], MapRecord]) -> MapRecord:
    """A survey folder with an orthomosaic, a surface with a hole, and its doubt."""
    return new_record(tmp_path)


@pytest.fixture(scope="session")
def new_record(
    reconstruction: Reconstruction, captures: tuple[Capture, ...]
) -> Callable[[Path], MapRecord]:
    """Makes what `record` is in a folder."""
    return partial(_new_record, reconstruction, captures)


def _new_record(
    reconstruction: Reconstruction, captures: tuple[Capture, ...], folder: Path
) -> MapRecord:
    survey = create_survey(folder / "survey", name="Test farm")
    settings = Settings(
        name="Test farm",
        crs=FRAME.crs,
        origin=FRAME.origin,
        cameras={CAMERA.camera_id: CAMERA},
        vertical_datum=HeightDatum.ELLIPSOID,
    )
    write_settings(survey, settings)
    write_products(survey.products_dir, FRAME)
    write_ground(folder / GROUND, survey.products_dir / "dsm.tif")
    usage = Usage(wall_s=12.0, cpu_s=20.0, peak_gb=0.9)
    results = tuple(
        Result(stage=name, folder=folder, files={}, figures={"tiles": 4}, usage=usage, reused=False)
        for name in ("orientation", "surface")
    )
    return MapRecord(
        survey=survey,
        settings=settings,
        captures=captures,
        reconstruction=reconstruction,
        results=results,
        asked={"quality": "normal"},
    )


@pytest.fixture
def unscaled(record: MapRecord) -> MapRecord:
    """The same survey of photographs without positions: no place, and no scale."""
    nowhere = LocalFrame(origin=None, crs=None)
    shutil.rmtree(record.survey.products_dir)
    write_products(record.survey.products_dir, nowhere)
    return replace(
        record,
        settings=Settings(name="nowhere", cameras={}),
        captures=tuple(
            replace(capture, longitude_deg=None, latitude_deg=None, height_m=None)
            for capture in record.captures
        ),
        reconstruction=replace(
            record.reconstruction,
            frame=nowhere,
            photos=tuple(
                replace(photo, gnss_residual_m=None) for photo in record.reconstruction.photos
            ),
        ),
        results=(),
    )


@pytest.fixture
def survey(tmp_path: Path) -> Survey:
    """An empty survey."""
    found = create_survey(tmp_path / "farm", name="Farm")
    found.work_dir.mkdir(exist_ok=True)
    return found


@pytest.fixture
def book(survey: Survey) -> RunBook:
    """The book of its run, just begun."""
    book = RunBook(path=survey.work_dir / RUN)
    book.begin("local", ["orientation", "surface"])
    return book


@pytest.fixture(scope="session")
def flown() -> ModuleType:
    """The module ``flown_block`` of the tests of photogrammetry: a survey of points."""
    path = Path(__file__).parents[1] / "photogrammetry" / "flown_block.py"
    spec = importlib.util.spec_from_file_location("flown_block", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def flight(tmp_path_factory: pytest.TempPathFactory, flown: ModuleType) -> Survey:
    """Two lines of a rehearsed survey, ingested."""
    survey = create_survey(tmp_path_factory.mktemp("flight") / "survey", name="Test farm")
    poses = flown.stations()[:8]
    flown.photograph_ground(survey.photos_dir, poses)
    camera = replace(flown.CAMERA, focal_sigma=0.005)
    settings = Settings(
        name="Test farm",
        crs=flown.FRAME.crs,
        origin=flown.FRAME.origin,
        cameras={camera.camera_id: camera},
    )
    write_settings(survey, settings)
    taken = [
        replace(
            capture,
            sha256=hashlib.sha256((survey.photos_dir / capture.name).read_bytes()).hexdigest(),
        )
        for capture in flown.captures_of(poses)
    ]
    write_captures(survey.gpkg_path, taken)
    return survey


def write_ground(folder: Path, dsm: Path) -> None:
    """Write the tiles of the surface stage that a surface model could have come from."""
    grid = read_grid(dsm)
    height = read_window(dsm, Tile(row=0, col=0, rows=grid.rows, cols=grid.cols))
    ground = create_tiled(folder, grid, bands=4, nodata=NODATA)
    for tile in ground.tiles():
        rows, cols = slice(tile.row, tile.row + tile.rows), slice(tile.col, tile.col + tile.cols)
        cells = height[0, rows, cols]
        known = np.where(cells == NODATA, NODATA, 0.02)
        guess = np.where(cells == NODATA, 30.0, cells)
        ground.write(tile, np.stack([guess, np.ones_like(guess), np.full_like(guess, 3), known]))
    continue_ground(ground, np.zeros((0, 3)), 40.0)


def write_products(folder: Path, frame: LocalFrame) -> None:
    """Write small products: a mound with a wall, 80 × 70 m, cells of 0.25 m."""
    centre = frame.map_from_world([[0.0, 0.0, 0.0]])[0]
    bounds = (centre[0] - 40, centre[1] - 35, centre[0] + 40, centre[1] + 35)
    grid = Grid.from_bounds(bounds, 0.25, frame.crs)
    x, y = np.meshgrid(*grid.cell_centres())
    x, y = x - centre[0], y - centre[1]
    height = 30 + 0.02 * x + 3 * np.exp(-(x**2 + y**2) / 200) + (np.abs(x - 15) < 1)
    hole = np.hypot(x + 20, y - 10) < 5
    checks = (np.floor(x / 4) + np.floor(y / 4)) % 2 * 40
    rgba = np.stack([90 + checks, 120 + checks, 60 + checks, np.where(hole, 0, 255)])
    nodata = -9999.0
    for name, bands, dtype, fill, unit in (
        ("dsm", np.where(hole, nodata, height)[None], "float32", nodata, ("m",)),
        ("dsm_sigma", np.where(hole, nodata, 0.02 + 0.001 * abs(x))[None], "float32", nodata, "m"),
        ("orthomosaic", rgba, "uint8", None, ()),
    ):
        raster = create_tiled(
            folder.parent / "work" / name, grid, bands=len(bands), dtype=dtype, nodata=fill
        )
        for tile in raster.tiles():
            rows = slice(tile.row, tile.row + tile.rows)
            raster.write(tile, bands[:, rows, tile.col : tile.col + tile.cols])
        finish_cog(
            raster,
            folder / f"{name}.tif",
            descriptions=("red", "green", "blue", "alpha") if len(bands) == 4 else ("height",),
            units=tuple(unit),
        )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """A port of this machine at which nothing answers."""
    return _free_port()


@pytest.fixture(scope="module")  # it costs a tenth of a core for as long as it runs
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A private server of Prefect; the address of its API."""
    home, port = tmp_path_factory.mktemp("prefect"), _free_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    environment = kept | QUIET | {"PREFECT_HOME": str(home), "PREFECT_SERVER_UI_ENABLED": "false"}
    prefect = Path(sys.executable).with_name("prefect")
    command = [str(prefect), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/api"
    until_s = time.monotonic() + PREFECT_START_S
    with (
        (home / "log.txt").open("w") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            while not _answers(url) and process.poll() is None and time.monotonic() < until_s:
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False
