import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from tmp.errors import InputError, SpaceError, VersionError
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import (
    HEAD,
    TiledRaster,
    create_tiled,
    finish_cog,
    open_tiled,
    read_grid,
    read_reduced,
    read_window,
)

NODATA = -9999.0
GRID = Grid(crs="EPSG:32627", x_min=500_000.0, y_max=7_100_000.0, cell_m=0.05, rows=230, cols=310)


def ramp(grid: Grid) -> np.ndarray:
    """Heights (1, rows, cols) that differ in every cell."""
    return np.arange(grid.rows * grid.cols, dtype=np.float32).reshape(1, *grid.shape)


def filled(folder: Path, grid: Grid = GRID, *, tile_cells: int = 64) -> TiledRaster:
    raster = create_tiled(folder, grid, nodata=NODATA, tile_cells=tile_cells)
    values = ramp(grid)
    for tile in raster.tiles():
        raster.write(tile, values[:, tile.row : tile.row + tile.rows, tile.col :][..., : tile.cols])
    return raster


@settings(max_examples=20, deadline=None)
@given(
    row=st.integers(-40, 240),
    col=st.integers(-40, 320),
    rows=st.integers(1, 150),
    cols=st.integers(1, 150),
)
def test_any_window_reads_the_same_from_tiles_and_from_the_finished_file(
    row: int, col: int, rows: int, cols: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "windows"
    if not (folder / "dsm.tif").exists():
        finish_cog(filled(folder / "tiles"), folder / "dsm.tif")
    window = Tile(row=row, col=col, rows=rows, cols=cols)
    expected = np.full((1, rows, cols), NODATA, np.float32)
    padded = np.pad(ramp(GRID)[0], 200, constant_values=NODATA)
    expected[0] = padded[row + 200 : row + 200 + rows, col + 200 : col + 200 + cols]
    np.testing.assert_array_equal(open_tiled(folder / "tiles").read(window), expected)
    np.testing.assert_array_equal(read_window(folder / "dsm.tif", window), expected)


def test_finished_file_is_cloud_optimised_and_says_what_it_holds(tmp_path: Path) -> None:
    grid = Grid(crs=GRID.crs, x_min=0.0, y_max=60.0, cell_m=0.05, rows=1200, cols=1100)
    target = tmp_path / "products" / "dsm.tif"
    finish_cog(
        filled(tmp_path / "tiles", grid, tile_cells=512),
        target,
        descriptions=["height"],
        units=["m"],
        tags={"SOFTWARE": "tmp 1 & <2>", "VERTICAL_DATUM": "ellipsoid"},
    )
    with rasterio.open(target) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == [2, 4]
        assert file.descriptions == ("height",)
        assert file.units == ("m",)
        assert file.nodata == NODATA
        assert file.tags()["SOFTWARE"] == "tmp 1 & <2>"
        assert file.tags()["VERTICAL_DATUM"] == "ellipsoid"
        np.testing.assert_array_equal(file.read(), ramp(grid))
    assert read_grid(target) == grid
    assert [path.name for path in target.parent.iterdir()] == ["dsm.tif"]


def test_raster_without_crs_is_written_and_read_without_a_warning(tmp_path: Path) -> None:
    grid = Grid(crs=None, x_min=-3.0, y_max=8.0, cell_m=0.5, rows=40, cols=50)
    finish_cog(filled(tmp_path / "tiles", grid), tmp_path / "dsm.tif")
    assert read_grid(tmp_path / "dsm.tif") == grid


def test_picture_has_colours_and_a_mask(tmp_path: Path) -> None:
    raster = create_tiled(tmp_path / "tiles", GRID, bands=4, dtype=np.uint8, tile_cells=128)
    for tile in raster.tiles():
        raster.write(tile, np.full((4, tile.rows, tile.cols), 200, np.uint8))
    target = tmp_path / "orthomosaic.tif"
    finish_cog(raster, target, descriptions=["red", "green", "blue", "alpha"])
    with rasterio.open(target) as file:
        assert [colour.name for colour in file.colorinterp] == ["red", "green", "blue", "alpha"]


def test_tiles_never_written_are_nodata(tmp_path: Path) -> None:
    raster = create_tiled(tmp_path / "tiles", GRID, nodata=NODATA, tile_cells=64)
    first = raster.tiles()[0]
    raster.write(first, np.ones((1, first.rows, first.cols)))
    finish_cog(raster, tmp_path / "dsm.tif")
    values = read_window(tmp_path / "dsm.tif", Tile(row=0, col=0, rows=230, cols=310))
    assert (values[:, :64, :64] == 1).all()
    assert (values[:, 64:] == NODATA).all()


def test_work_goes_on_at_the_first_missing_tile(tmp_path: Path) -> None:
    raster = filled(tmp_path / "tiles")
    (tmp_path / "tiles" / "r1c2.tif").unlink()
    again = create_tiled(tmp_path / "tiles", GRID, nodata=NODATA, tile_cells=64)
    assert again == raster
    assert [tile.name for tile in again.missing()] == ["r1c2"]


def test_tiles_of_another_grid_are_discarded(tmp_path: Path) -> None:
    filled(tmp_path / "tiles")
    other = create_tiled(tmp_path / "tiles", GRID, nodata=NODATA, tile_cells=100)
    assert len(other.missing()) == len(other.tiles())


def test_threads_write_side_by_side(tmp_path: Path) -> None:
    raster = create_tiled(tmp_path / "tiles", GRID, tile_cells=32)
    values = ramp(GRID)

    def write(tile: Tile) -> None:
        rows, cols = slice(tile.row, tile.row + tile.rows), slice(tile.col, tile.col + tile.cols)
        raster.write(tile, values[:, rows, cols])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, raster.tiles()))
    whole = Tile(row=0, col=0, rows=GRID.rows, cols=GRID.cols)
    np.testing.assert_array_equal(raster.read(whole), values)


def test_reduced_picture_covers_the_same_ground_and_keeps_holes(tmp_path: Path) -> None:
    raster = create_tiled(tmp_path / "tiles", GRID, nodata=NODATA)
    values = np.full((1, *GRID.shape), 7.0)
    values[:, :100, :100] = NODATA
    raster.write(raster.tiles()[0], values)
    finish_cog(raster, tmp_path / "dsm.tif")
    reduced, grid = read_reduced(tmp_path / "dsm.tif", 62)
    assert grid.shape == (46, 62)
    np.testing.assert_allclose(grid.bounds, GRID.bounds, atol=1e-6)
    assert reduced.mask[0, :18, :18].all()
    assert (reduced[0, 25:, 25:] == 7.0).all()


def test_tile_of_the_wrong_shape_is_refused(tmp_path: Path) -> None:
    raster = create_tiled(tmp_path / "tiles", GRID, tile_cells=64)
    with pytest.raises(InputError, match=r"tile r0c0: array of shape \(2, 64, 64\)"):
        raster.write(raster.tiles()[0], np.zeros((2, 64, 64)))


def test_what_is_no_raster_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.tif").write_text("not a raster")
    with pytest.raises(InputError, match="cannot be read as a raster"):
        read_grid(tmp_path / "notes.tif")
    with pytest.raises(InputError, match="no raster of tiles"):
        open_tiled(tmp_path)


def test_tiles_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    filled(tmp_path / "tiles")
    head = json.loads((tmp_path / "tiles" / HEAD).read_text())
    (tmp_path / "tiles" / HEAD).write_text(json.dumps(head | {"version": 99}))
    with pytest.raises(VersionError, match="newer version"):
        open_tiled(tmp_path / "tiles")


def test_full_disk_is_said_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raster = filled(tmp_path / "tiles")

    def fail(*_: object, **__: object) -> None:
        raise rasterio.errors.RasterioIOError("write failed")

    monkeypatch.setattr("rasterio.shutil.copy", fail)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 0})())
    with pytest.raises(SpaceError, match="disk is full"):
        finish_cog(raster, tmp_path / "out" / "dsm.tif")
    assert not list((tmp_path / "out").iterdir())
