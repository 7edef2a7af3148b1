"""How stages find their photographs and pyramids."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

from flows.engine.cost import Quality
from flows.engine.stage import Workspace
from flows.products.ground import GROUND, NODATA, continue_ground
from flows.products.table import DSM, DSM_SIGMA, DSM_VIEWS
from flows.report.quality import MapRecord
from flows.stages.inputs import (
    DECODED_SIZES,
    SURVEY,
    complete_pictures,
    drawn_bytes,
    drawn_halvings,
    picture_store,
    read_survey,
    searched_halvings,
)
from flows.stages.surface import Elevation
from tmp.captures import Flag, write_captures
from tmp.geo.grids import Grid
from tmp.geo.rasters import create_tiled
from tmp.progress import silent
from tmp.survey import read_settings, write_settings


@pytest.fixture
def space(record: MapRecord, tmp_path: Path) -> Workspace:
    """A workspace on a survey whose photographs are small and real files."""
    survey = record.survey
    write_captures(survey.gpkg_path, record.captures)
    survey.photos_dir.mkdir()
    rng = np.random.default_rng(2)
    for capture in record.captures:
        picture = rng.integers(0, 255, (600, 800, 3), np.uint8)
        assert cv2.imwrite(str(survey.photos_dir / capture.name), picture)
    return Workspace(
        inputs={SURVEY: survey.folder},
        options={"quality": "normal"},
        out=tmp_path,
        scratch=tmp_path,
        temporary=tmp_path,
        workers=2,
        track=silent,
    )


def test_deleted_pyramids_are_made_again_and_others_left(space: Workspace) -> None:
    _, _, captures = read_survey(space)
    complete_pictures(space, captures)
    store = picture_store(space)
    names = [capture.name for capture in captures]
    assert all(store.has(name, finest_level=0) for name in names)
    before = {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    lost = sorted(before)[0]
    for path in store.folder.glob(f"{lost.name.split('.')[0]}.*"):
        path.unlink()
    complete_pictures(space, captures)
    after = {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    assert set(after) == set(before)
    assert sum(after[path] != before[path] for path in before) == 3


def test_undecodable_photograph_does_not_stop_the_others(space: Workspace) -> None:
    survey, _, captures = read_survey(space)
    (survey.photos_dir / captures[3].name).write_bytes(b"half a JPEG")
    complete_pictures(space, captures)
    store = picture_store(space)
    assert not store.has(captures[3].name, finest_level=1)
    assert store.has(captures[4].name, finest_level=1)


def test_each_quality_has_pyramids_of_its_own(space: Workspace) -> None:
    fast = replace(space, options={"quality": "fast"})
    assert picture_store(fast).folder != picture_store(space).folder


def test_a_preview_is_drawn_of_what_its_keypoints_were_sought_in(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DECODED_SIZES, Quality.FAST, (190, 3))  # of 800 px, halved twice
    fast = replace(space, options={"quality": "fast"})
    _, _, captures = read_survey(fast)
    complete_pictures(fast, captures)
    store = picture_store(fast)
    for capture in captures:
        assert store.colour(capture.name).shape == (150, 200, 3)
        assert store.colour(capture.name).nbytes == drawn_bytes(Quality.FAST, (800, 600))
        assert store.has(capture.name, finest_level=2)
        assert not store.has(capture.name, finest_level=1)


def test_only_a_preview_is_drawn_of_reduced_photographs() -> None:
    sizes = [(4000, 2250), (5472, 3648), (1800, 1350), (800, 600)]
    assert [drawn_halvings(Quality.FAST, size) for size in sizes] == [2, 2, 1, 0]
    assert [drawn_halvings(Quality.NORMAL, size) for size in sizes] == [0, 0, 0, 0]
    assert [searched_halvings(Quality.NORMAL, size) for size in sizes] == [1, 1, 0, 0]
    assert [drawn_bytes(Quality.NORMAL, size) for size in sizes[::2]] == [27_000_000, 7_290_000]
    assert drawn_bytes(Quality.FAST, sizes[0]) == 27_000_000 // 16


def test_photographs_dropped_by_hand_are_not_used(space: Workspace, record: MapRecord) -> None:
    settings = read_settings(record.survey)
    write_settings(record.survey, replace(settings, drop=("*0003.JPG",)))
    _, _, captures = read_survey(space)
    (dropped,) = [capture for capture in captures if Flag.DROPPED in capture.flags]
    assert dropped.name == "DJI_0003.JPG"
    assert not dropped.used


@pytest.mark.parametrize(("crs", "unit"), [("EPSG:32627", "m"), (None, "units")])
def test_heights_without_a_place_are_in_units_and_a_closed_gap_has_no_views(
    space: Workspace, tmp_path: Path, crs: str | None, unit: str
) -> None:
    grid = Grid(crs=crs, x_min=0.0, y_max=16.0, cell_m=0.25, rows=64, cols=64)
    ground = create_tiled(tmp_path / GROUND, grid, bands=4, nodata=NODATA, tile_cells=512)
    (tile,) = ground.tiles()
    bands = np.stack([np.full(grid.shape, value, np.float32) for value in (30.0, 0.8, 3.0, 0.02)])
    bands[2, 20:24, 20:24] = 0  # closed
    bands[3, :8] = NODATA  # not measured
    ground.write(tile, bands)
    continue_ground(ground, np.array([[8.0, 8.0, 30.0]]), 20.0)
    made = replace(
        space,
        inputs={**space.inputs, "surface": tmp_path},
        options={"fill": False, "area_wkt": None, "water_wkt": None},
        scratch=tmp_path / "scratch",
    )
    Elevation(made).finish()
    for product in (DSM, DSM_SIGMA):
        with rasterio.open(tmp_path / product.file) as file:
            assert file.units == (unit,)
            assert ("SCALE" in file.tags()) is (crs is None)
    with rasterio.open(tmp_path / DSM_VIEWS.file) as file:
        views = file.read(1)
        assert file.nodata == 255
    assert (views[20:24, 20:24] == 0).all()
    assert (views[:8] == 255).all()
    assert (views[30:] == 3).all()
