"""Water that somebody drew: no height is measured in it, and it is drawn level with its shore."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from flows.products.ground import (
    HEIGHT,
    NODATA,
    RIM_CELLS,
    SIGMA,
    Water,
    continue_ground,
    inside_area,
    read_continued,
    read_water,
)
from flows.products.table import DSM, DSM_CONFIDENCE, DSM_SIGMA, DSM_VIEWS
from flows.report.ground import Ground
from flows.stages.surface import _elevation_tile
from tmp.errors import InputError
from tmp.geo.grids import Grid, Tile
from tmp.geo.rasters import TiledRaster, create_tiled

GRID = Grid(crs=None, x_min=100.0, y_max=300.0, cell_m=0.1, rows=480, cols=640)
WHOLE = Tile(row=0, col=0, rows=GRID.rows, cols=GRID.cols)
LAKE = shapely.box(120.0, 270.0, 140.0, 285.0)
ISLAND = shapely.box(128.0, 276.0, 131.0, 279.0)
POND = shapely.box(150.0, 260.0, 156.0, 266.0)


def write_ground(folder: Path, *, bed_m: float = -1.0, dry: bool = True) -> TiledRaster:
    """Write ground that rises 0.1 m per metre eastwards, with a bed of lake and pond below it."""
    raster = create_tiled(folder, GRID, bands=4, nodata=NODATA, tile_cells=160)
    x, _ = GRID.cell_centres()
    height = np.tile((50 + 0.1 * (x - 100)).astype(np.float32), (GRID.rows, 1))
    bed = inside_area(GRID, WHOLE, shapely.union(LAKE, POND).wkt)
    known = bed | dry
    bands = np.stack(
        [
            np.where(bed, height + bed_m, height),
            np.where(known, 0.8, NODATA),
            np.where(known, 4.0, 0.0),
            np.where(known, 0.02, NODATA),
        ]
    ).astype(np.float32)
    for tile in raster.tiles():
        part = np.s_[:, tile.row : tile.row + tile.rows, tile.col : tile.col + tile.cols]
        raster.write(tile, bands[part])
    continue_ground(raster, np.zeros((0, 3)), 30.0)
    return raster


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> TiledRaster:
    return write_ground(tmp_path_factory.mktemp("water") / "ground")


def test_water_lies_at_the_lower_quartile_of_the_dry_heights_along_its_own_shore(ground) -> None:
    water = read_water(ground, shapely.union(LAKE, POND).wkt)
    assert len(water.polygons) == 2
    for polygon, level_m in zip(water.polygons, water.levels_m, strict=True):
        rim = polygon.buffer(RIM_CELLS * GRID.cell_m).difference(polygon)
        x, _ = GRID.cell_centres()
        shore = np.tile(50 + 0.1 * (x - 100), (GRID.rows, 1))[inside_area(GRID, WHOLE, rim.wkt)]
        assert level_m == pytest.approx(np.quantile(shore, 0.25), abs=1e-4)


def test_what_was_measured_of_the_bed_does_not_move_the_water(ground, tmp_path: Path) -> None:
    deep = write_ground(tmp_path / "deep", bed_m=-1.4)
    assert read_water(deep, LAKE.wkt) == read_water(ground, LAKE.wkt)


def test_the_shore_of_an_island_counts_and_the_island_stays_ground(ground) -> None:
    lake = LAKE.difference(ISLAND)
    water = read_water(ground, lake.wkt)
    assert water.levels_m != read_water(ground, LAKE.wkt).levels_m
    found = read_continued(ground, WHOLE, water)
    island = inside_area(GRID, WHOLE, ISLAND.wkt)
    assert found.measured[island].all()
    assert not found.water[island].any()


def test_no_height_is_measured_in_water_and_all_others_stay_to_the_bit(ground) -> None:
    water = read_water(ground, LAKE.wkt)
    found, before = read_continued(ground, WHOLE, water), read_continued(ground, WHOLE)
    lake = inside_area(GRID, WHOLE, LAKE.wkt)
    np.testing.assert_array_equal(found.water, lake)
    assert not found.measured[lake].any()
    assert found.mapped[lake].all()
    assert (found.height[lake] == np.float32(water.levels_m[0])).all()
    np.testing.assert_array_equal(found.measured[~lake], before.measured[~lake])
    np.testing.assert_array_equal(found.height[~lake], before.height[~lake])


@pytest.mark.parametrize("fill", [False, True])
def test_surface_model_and_companions_are_empty_in_water_even_when_gaps_are_filled(
    ground, fill: bool
) -> None:
    tile = ground.tiles()[1]
    layers = _elevation_tile(ground, tile, fill, None, read_water(ground, LAKE.wkt))
    lake = inside_area(GRID, tile, LAKE.wkt)
    assert lake.any()
    assert not lake.all()
    for file, nodata in (
        (DSM.file, NODATA),
        (DSM_SIGMA.file, NODATA),
        (DSM_CONFIDENCE.file, NODATA),
        (DSM_VIEWS.file, 255),
    ):
        np.testing.assert_array_equal(layers[file] == nodata, lake)


@given(row=st.integers(-50, 400), col=st.integers(-50, 600), side=st.integers(1, 200))
def test_water_is_the_same_to_the_bit_whatever_tile_it_is_looked_at_from(
    row: int, col: int, side: int
) -> None:
    shore = LAKE.centroid.buffer(9.0).difference(ISLAND)
    water = Water(polygons=(shore, POND), levels_m=(51.5, 54.0))
    around = Tile(row=-100, col=-100, rows=800, cols=1000)
    wet, level = water.over(GRID, Tile(row=row, col=col, rows=side, cols=side))
    part = np.s_[row + 100 : row + 100 + side, col + 100 : col + 100 + side]
    whole = water.over(GRID, around)
    np.testing.assert_array_equal(wet, whole[0][part])
    np.testing.assert_array_equal(level, whole[1][part])


def test_a_gap_beside_water_is_closed_towards_its_level(tmp_path: Path) -> None:
    raster = write_ground(tmp_path / "gap")
    for tile in raster.tiles():
        bands = raster.read(tile)
        window = GRID.window(tile)
        about = inside_area(GRID, tile, LAKE.buffer(3.0).difference(LAKE.buffer(1.0)).wkt)
        assert window.shape == about.shape
        bands[SIGMA][about] = NODATA
        bands[HEIGHT][about] = 0.0
        raster.write(tile, bands)
    found = read_continued(raster, WHOLE, read_water(raster, LAKE.wkt))
    assert found.height.min() > 49.9


def test_where_no_shore_was_measured_the_ground_as_it_goes_on_tells_the_level(
    tmp_path: Path,
) -> None:
    raster = write_ground(tmp_path / "bed", dry=False)
    water = read_water(raster, LAKE.wkt)
    assert water.levels_m[0] == pytest.approx(51.5, abs=1.5)
    assert read_continued(raster, WHOLE, water).mapped[160:280, 210:390].all()


def test_water_beside_the_photographed_ground_is_passed_over_and_alone_it_is_refused(
    ground,
) -> None:
    beside = shapely.box(300.0, 270.0, 320.0, 285.0)
    (found,) = read_water(ground, shapely.union(LAKE, beside).wkt).polygons
    assert found.equals(LAKE)
    with pytest.raises(InputError, match="--water: none of its polygons lies on the ground"):
        read_water(ground, beside.wkt)
    with pytest.raises(InputError, match="leaves no ground that was photographed"):
        read_water(ground, shapely.box(0.0, 0.0, 500.0, 500.0).wkt)


def test_water_is_no_gap_and_lowers_no_share() -> None:
    shape, cells = (20, 20), np.zeros((20, 20))
    dry = np.ones(shape)
    dry[5:15, 5:15] = 0.0
    lake = Ground(
        sheet=Grid(crs=None, x_min=0, y_max=0, cell_m=10.0, rows=20, cols=20),
        overlap=np.full(shape, 4),
        framed=np.full(shape, 4),
        flown=np.ones(shape, bool),
        measured=dry,
        drawn=np.ones(shape),
        asked=np.ones(shape, bool),
        water=1.0 - dry,
    )
    found = lake.coverage()
    assert (found.water_ha, found.flown_ha, found.mapped_ha) == pytest.approx((1.0, 3.0, 3.0))
    assert (found.measured_of_three, found.gaps) == (1.0, 0)
    assert not lake.unmapped.any()
    unsaid = replace(lake, water=cells).coverage()
    assert (unsaid.gaps, unsaid.measured_of_three, unsaid.water_ha) == (1, 0.75, 0.0)
