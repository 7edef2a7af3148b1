"""What the orthomosaic is drawn on, and what its mask says of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from flows.products.ground import (
    CONTINUED,
    HEIGHT,
    NODATA,
    SIGMA,
    VIEWS,
    Continued,
    continue_ground,
    read_continued,
    read_sheet,
)
from flows.products.table import GROUND_CLASSES, MOSAIC_TILE, GroundClass
from flows.stages.inputs import read_ground
from flows.stages.orthomosaic import _coarse_tile, _rasters, _tile_cells, ground_classes
from flows.stages.surface import Surface, _coverage, _ground_bands, _within
from photogrammetry.surface import measure, search
from photogrammetry.surface.measure import TileSurface
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import TiledRaster, create_tiled, open_tiled

GRID = Grid(crs=None, x_min=100.0, y_max=300.0, cell_m=0.1, rows=640, cols=960)
MEASURED_COLS = 480
FLYING_M = 30.0


@pytest.fixture
def ground(tmp_path: Path) -> TiledRaster:
    """Ground that rises 0.1 m per metre eastwards, measured in its western half."""
    raster = create_tiled(tmp_path / "ground", GRID, bands=4, nodata=NODATA, tile_cells=320)
    x, _ = GRID.cell_centres()
    height = np.tile((50 + 0.1 * (x - 100)).astype(np.float32), (GRID.rows, 1))
    west = np.broadcast_to(np.arange(GRID.cols) < MEASURED_COLS, GRID.shape)
    bands = np.stack(
        [
            np.where(west, height, 20.0),
            np.where(west, 0.8, NODATA),
            np.where(west, 4.0, 0.0),
            np.where(west, 0.02, NODATA),
        ]
    )
    for tile in raster.tiles():
        rows, cols = slice(tile.row, tile.row + tile.rows), slice(tile.col, tile.col + tile.cols)
        raster.write(tile, bands[:, rows, cols])
    continue_ground(raster, np.zeros((0, 3)), FLYING_M)
    return raster


def test_the_ground_goes_on_beyond_what_was_measured_whatever_the_guess_there(ground) -> None:
    found = read_continued(ground, Tile(row=200, col=600, rows=100, cols=100))
    assert not found.measured.any()
    assert found.mapped.all()
    x, _ = GRID.cell_centres()
    assert found.height == pytest.approx(np.tile(50 + 0.1 * (x[600:700] - 100), (100, 1)), abs=1.0)


def test_windows_that_overlap_read_the_same_ground(ground) -> None:
    one = read_continued(ground, Tile(row=100, col=400, rows=200, cols=200))
    other = read_continued(ground, Tile(row=150, col=460, rows=200, cols=200))
    np.testing.assert_allclose(one.height[50:, 60:], other.height[:150, :140], atol=1e-4)
    np.testing.assert_array_equal(one.measured[50:, 60:], other.measured[:150, :140])


def test_beyond_the_raster_there_is_a_height_and_nothing_is_drawn(ground) -> None:
    found = read_ground(ground, Tile(row=-200, col=-300, rows=150, cols=150))
    assert np.isfinite(found.height).all()
    assert found.height == pytest.approx(50.0, abs=1.0)
    assert not found.mapped.any()


def test_the_sheet_is_kept_beside_the_ground_in_coarse_cells(ground) -> None:
    coarse = open_tiled(ground.folder / CONTINUED)
    assert coarse.grid.shape == (40, 60)
    sheet, standing = read_sheet(ground, Tile(row=0, col=0, rows=640, cols=960))
    assert sheet.shape == standing.shape == GRID.shape
    assert sheet[300, 100] == pytest.approx(51.0, abs=0.1)


def test_an_island_below_the_ground_is_not_read_as_measured(ground) -> None:
    tile = Tile(row=320, col=640, rows=320, cols=320, name="r1c2")
    bands = ground.read(tile)
    bands[HEIGHT, 160:200, 160:200], bands[SIGMA, 160:200, 160:200] = 40.0, 0.01
    ground.write(tile, bands)
    continue_ground(ground, np.zeros((0, 3)), FLYING_M)
    assert not read_continued(ground, tile).measured.any()


def test_what_was_measured_is_summed_up_in_square_metres(ground) -> None:
    """480 of 960 columns of a raster of 96 × 64 m."""
    found = _coverage(ground)
    assert found["measured_m2"] == pytest.approx(48 * 64)
    assert found["seen_twice_m2"] == pytest.approx(48 * 64)
    assert found["median_sigma_m"] == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("bounds", "part"),
    [
        ((100.0, 236.0, 196.0, 300.0), (320, 320, 320, 320)),  # all of the raster
        ((100.0, 250.0, 140.0, 300.0), (320, 320, 192, 80)),  # to 18 and 8 m beyond its corner
        ((100.0, 268.0, 196.0, 300.0), None),  # down to its northern edge
        ((100.0, 280.0, 196.0, 300.0), None),
        ((100.0, 236.0, 132.0, 300.0), None),  # up to its western edge
    ],
)
def test_a_tile_is_measured_where_two_photographs_see_it_and_nowhere_else(bounds, part) -> None:
    tile = Tile(row=320, col=320, rows=320, cols=320, name="r1c1")
    found = _within(GRID, tile, bounds)
    place = None if found is None else (found.row, found.col, found.rows, found.cols)
    assert place == part


def test_what_was_measured_of_a_part_lies_where_the_part_does_and_the_guess_elsewhere() -> None:
    tile = Tile(row=320, col=320, rows=320, cols=320, name="r1c1")
    part = Tile(row=384, col=320, rows=64, cols=128, name="r1c1")
    shape = part.rows, part.cols
    measured = np.zeros(shape, bool)
    measured[:, 64:] = True
    found = TileSurface(
        height=np.full(shape, 7, np.float32),
        measured=measured,
        confidence=np.full(shape, 0.5, np.float32),
        views=np.full(shape, 3, np.uint8),
        sigma=np.full(shape, 0.02, np.float32),
    )
    bands = _ground_bands(np.full((320, 320), 5, np.float32), tile, part, found)
    inside = np.zeros((320, 320), bool)
    inside[64:128, :128] = True
    assert (bands[HEIGHT][inside] == 7).all()
    assert (bands[HEIGHT][~inside] == 5).all()
    assert (bands[1:, ~inside] == NODATA).all()
    assert (bands[SIGMA] == np.float32(0.02)).sum() == 64 * 64
    nothing = _ground_bands(np.full((320, 320), 5, np.float32), tile, None, None)
    assert (nothing[1:] == NODATA).all()


def test_only_tiles_that_two_photographs_see_are_measured(tmp_path: Path, monkeypatch) -> None:
    found = {}

    def measure_tile(grid: Grid, part: Tile, *_: object, options: object) -> TileSurface:
        found[part.name] = (part.row, part.col, part.rows, part.cols)
        values = np.full((part.rows, part.cols), 7, np.float32)
        every = np.ones(values.shape, bool)
        return TileSurface(
            height=values, measured=every, confidence=values, views=every, sigma=values
        )

    monkeypatch.setattr(measure, "measure_tile", measure_tile)
    monkeypatch.setattr(search, "seek_ground", lambda *_: None)
    raster = create_tiled(tmp_path / "ground", GRID, bands=4, nodata=NODATA, tile_cells=320)
    stage = object.__new__(Surface)
    stage._ground, stage._tiles = raster, {tile.name: tile for tile in raster.tiles()}
    stage._trend = SimpleNamespace(over=lambda x, y: np.full((len(y), len(x)), 5.0))
    stage._twice = (GRID.x_min, GRID.y_max - 32.0, GRID.x_min + 40.0, GRID.y_max)
    stage._views = stage._store = stage._points = stage._height_agl_m = stage._options = None
    stage._reconstruction = SimpleNamespace(frame=None)
    for name in stage.items():
        stage.make(name)
    assert found == {"r0c0": (0, 0, 320, 320), "r0c1": (0, 320, 320, 80)}
    height, counts = raster.read(Tile(row=0, col=0, rows=GRID.rows, cols=GRID.cols))[
        [HEIGHT, VIEWS]
    ]
    measured = np.zeros(GRID.shape, bool)
    measured[:320, :400] = True
    np.testing.assert_array_equal(height, np.where(measured, 7, 5))
    np.testing.assert_array_equal(counts, np.where(measured, 1, NODATA))


def test_classes_tell_measured_bridged_continued_and_water_at_every_pixel() -> None:
    grid = Grid(crs=None, x_min=0.0, y_max=2.0, cell_m=1.0, rows=2, cols=3)
    zeros = np.zeros(grid.shape, np.float32)
    found = Continued(
        height=zeros,
        confidence=zeros,
        views=np.array([[3, 0, 5], [0, 0, 2]]),
        sigma=zeros,
        measured=np.array([[True, True, False], [False, True, True]]),
        mapped=zeros == 0,
        water=np.array([[False, False, False], [True, False, False]]),
    )
    window = Grid(crs=None, x_min=0.5, y_max=2.0, cell_m=0.5, rows=4, cols=5)
    classes = ground_classes(found, grid, window)
    one, two, three = GroundClass.MEASURED, GroundClass.BRIDGED, GroundClass.CONTINUED
    four = GroundClass.WATER
    assert classes.tolist() == 2 * [[one, two, two, three, three]] + 2 * [
        [four, two, two, one, one]
    ]


def test_every_class_has_a_name_and_a_colour_of_its_own() -> None:
    shown = GROUND_CLASSES.classes
    assert {one.value for one in shown} == set(GroundClass) - {GroundClass.NOTHING}
    assert len({one.colour for one in shown}) == len({one.name for one in shown}) == 4


def test_tiles_of_a_coarser_picture_cover_no_more_ground() -> None:
    assert _tile_cells(1.0) == _tile_cells(0.5) == MOSAIC_TILE
    assert _tile_cells(2.0) == MOSAIC_TILE // 2
    assert _tile_cells(100.0) % 16 == 0


@pytest.mark.parametrize("coarseness", [1.0, 2.0])
def test_under_each_tile_of_the_picture_lies_one_of_the_grounds_classes(
    tmp_path: Path, coarseness: float
) -> None:
    grid = Grid(crs=None, x_min=0.0, y_max=0.0, cell_m=0.1, rows=1211, cols=2507)
    picture, classes = _rasters(tmp_path, grid, coarseness)
    under = [_coarse_tile(tile) for tile in picture.tiles()]
    assert under == list(classes.tiles())
    for tile, coarse in zip(picture.tiles(), under, strict=True):
        west, south, east, north = picture.grid.window(tile).bounds
        covered = classes.grid.window(coarse).bounds
        assert (covered[0], covered[3]) == pytest.approx((west, north))
        assert covered[1] <= south + 1e-9
        assert covered[2] >= east - 1e-9
