"""A survey whose heights, colours and walls are known: a plane with a wall on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from photogrammetry.model.glb import Model, Part, as_jpeg, write_glb
from tmp.captures import Capture, HeightDatum, write_captures
from tmp.geo.grids import Grid
from tmp.geo.rasters import create_tiled, finish_cog
from tmp.survey import Settings, Survey, create_survey, open_survey, write_settings

CRS = "EPSG:32627"
EAST, NORTH = 560_000.0, 7_113_000.0
"""South-west corner."""
FINE = Grid(crs=CRS, x_min=EAST, y_max=NORTH + 64.0, cell_m=0.05, rows=1280, cols=1600)
COARSE = Grid(crs=CRS, x_min=EAST, y_max=NORTH + 64.0, cell_m=0.1, rows=640, cols=800)
RISE_EAST, RISE_NORTH = 0.05, 0.02
WALL = (40.0, 40.6)
"""From and to, metres east of the corner; it runs south to north, 1 m high."""
SIGMA_M = 0.02
HOLE = (slice(0, 60), slice(0, 60))
"""Cells of the coarse grid without a height."""


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
WAIT_MS = 120_000
DRAWN = "[...document.querySelectorAll('img.leaflet-tile')].filter(one => one.naturalWidth).length"
"""How many tiles a page shows."""


def plane(x: Any, y: Any) -> Any:
    """Return the height of the ground."""
    return 100 + RISE_EAST * (x - EAST) + RISE_NORTH * (y - NORTH)


def write_raster(
    path: Path, grid: Grid, values: NDArray[Any], *, unit: str = "", nodata: float | None = -9999.0
) -> None:
    """Write bands (bands, rows, cols) as a product."""
    tiles = create_tiled(path.with_suffix(""), grid, bands=len(values), dtype=values.dtype,
                         nodata=nodata)  # fmt: skip
    for tile in tiles.tiles():
        rows, cols = slice(tile.row, tile.row + tile.rows), slice(tile.col, tile.col + tile.cols)
        tiles.write(tile, values[:, rows, cols])
    names = ("red", "green", "blue", "alpha") if len(values) == 4 else ("value",)
    finish_cog(tiles, path, descriptions=names, units=(unit,) * len(values))
    shutil.rmtree(tiles.folder)


def _write_survey(root: Path) -> None:
    survey = create_survey(root)
    write_settings(
        survey,
        Settings(
            name="Walled",
            crs=CRS,
            origin=(-19.76, 64.14, 100.0),
            cameras={},
            vertical_datum=HeightDatum.ELLIPSOID,
        ),
    )
    write_captures(
        survey.gpkg_path,
        [Capture(name="DJI_0001.JPG", source="", sha256="0" * 64, size_bytes=1, width_px=4,
                 height_px=3, camera_id="", flags=(), reason="")],
    )  # fmt: skip
    x, y = np.meshgrid(*COARSE.cell_centres())
    ground = plane(x, y).astype(np.float32)
    ground[HOLE] = -9999.0
    on_wall = (x - EAST > WALL[0]) & (x - EAST < WALL[1])
    surface = np.where(on_wall & (ground > 0), ground + 1, ground).astype(np.float32)
    sigma = np.where(ground > 0, SIGMA_M, -9999.0).astype(np.float32)
    ndvi = np.where(on_wall, 0.2, 0.6).astype(np.float32)
    folder = survey.products_dir
    for name, values, unit in (
        ("dsm", surface, "m"),
        ("dtm", ground, "m"),
        ("dsm_sigma", sigma, "m"),
        ("dtm_sigma", sigma, "m"),
        ("ndvi", ndvi, ""),
    ):
        write_raster(folder / f"{name}.tif", COARSE, values[None], unit=unit)
    picture = np.full((4, *FINE.shape), 255, np.uint8)
    picture[0] = np.arange(FINE.cols) % 256
    picture[1] = (np.arange(FINE.rows) % 256)[:, None]
    picture[2] = 90
    picture[3, :40] = 0
    write_raster(folder / "orthomosaic.tif", FINE, picture, nodata=None)
    (folder / "dsm_sigma.qml").write_text(
        '<qgis><pipe><rasterrenderer><rastershader><colorrampshader colorRampType="INTERPOLATED">'
        '<item value="0.01" color="#000000" label="0.01 m"/>'
        '<item value="0.03" color="#ffffff" label="0.03 m"/>'
        "</colorrampshader></rastershader></rasterrenderer></pipe></qgis>",
        encoding="utf-8",
    )
    _write_model(folder / "model.glb")
    (folder / "quality.json").write_text(json.dumps(_quality()), encoding="utf-8")


def _quality() -> dict[str, Any]:
    photographs = [
        {"name": f"{n}.JPG", "state": "oriented", "mean_residual_px": 0.4, "off_m": 1.0}
        for n in range(6)
    ]
    return {
        "verdict": "complete",
        "photographs_total": 6,
        "photographs_oriented": 6,
        "scale_sigma": 0.001,
        "warnings": ["Positions are good to about 3 m each."],
        "largest_gaps": [{"ha": 0.0036, "place": [EAST + 3, NORTH + 61]}],
        "photographs": photographs,
    }


def _write_model(path: Path) -> None:
    points = np.array([[0, 0, 0], [80, 0, 4], [80, 64, 5.28], [0, 64, 1.28]], np.float32)
    part = Part(
        name="ground",
        points=points,
        normals=np.tile(np.array([0, 0, 1], np.float32), (4, 1)),
        uv=np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32),
        faces=np.array([[0, 1, 2], [0, 2, 3]], np.uint32),
        picture=0,
    )
    grey = as_jpeg(np.full((8, 8, 3), 128, np.uint8))
    about = {"crs": CRS, "origin": {"easting": EAST, "northing": NORTH, "height": 100.0}}
    write_glb(path, Model(parts=(part,), pictures=(grey,)), about=about)


@pytest.fixture(scope="session")
def walled_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The survey's folder, not to be written to."""
    folder = tmp_path_factory.mktemp("explore") / "walled"
    _write_survey(folder)
    return folder


@pytest.fixture
def walled(walled_folder: Path, tmp_path: Path) -> Survey:
    """A copy of the survey."""
    return open_survey(shutil.copytree(walled_folder, tmp_path / "walled"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, which finds no host but this machine."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    flags = [
        "--no-sandbox",
        "--enable-unsafe-swiftshader",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()
