"""Layers: what a tile shows is what the raster holds there, at every scale."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.tmp.explore.conftest import COARSE, CRS, EAST, FINE, HOLE, NORTH, plane, write_raster
from tmp.errors import InputError
from tmp.explore.colours import Light, Style, lit, read_style, shade, stretched
from tmp.explore.layers import TILE, Layer, Pyramid, encoded, open_file, open_layers
from tmp.geo.grids import Grid, Tile
from tmp.survey import Survey


def layer(survey: Survey, key: str) -> Layer:
    (found,) = open_layers(dict(survey.products), (key,))
    return found


def test_a_window_at_the_rasters_own_cells_is_what_the_file_holds(walled: Survey) -> None:
    tile = Tile(row=30, col=40, rows=50, cols=70)
    read = layer(walled, "dsm").read(COARSE.window(tile))[0]
    with rasterio.open(walled.products["dsm"]) as file:
        whole = file.read(1)
    held = whole[30:80, 40:110]
    assert read[held != -9999.0] == pytest.approx(held[held != -9999.0])
    assert np.isnan(read[held == -9999.0]).all()


def test_an_array_reads_windows_equal_to_the_whole(walled: Survey) -> None:
    array = walled.array("dtm")
    whole = walled.read("dtm").values[0]
    part = array.isel(x=slice(100, 180), y=slice(200, 260)).values[0]
    assert part == pytest.approx(np.ma.filled(whole[200:260, 100:180]))
    assert np.isnan(array.values[0][HOLE]).all()
    assert array.rio.crs.to_string() == CRS
    assert array.name == "dtm"


def test_a_coarser_array_is_an_overview_that_is_not_coarser_than_asked(walled: Survey) -> None:
    assert walled.array("orthomosaic", 0.1).rio.resolution() == pytest.approx((0.1, -0.1))
    assert walled.array("orthomosaic", 0.19).rio.resolution() == pytest.approx((0.1, -0.1))
    assert walled.array("orthomosaic", 0.01).rio.resolution() == pytest.approx((0.05, -0.05))
    with pytest.raises(InputError, match="cell_m = 0; give a length above 0"):
        walled.array("orthomosaic", 0)
    with pytest.raises(InputError, match="no product 'dem'; there are dsm, dsm_sigma"):
        walled.array("dem")


def test_a_tile_reaches_beyond_the_raster_and_is_clear_there(walled: Survey) -> None:
    window = replace(COARSE, x_min=EAST - 5, y_max=NORTH + 5, rows=100, cols=100)
    read = layer(walled, "dtm").read(window)[0]
    inside = np.zeros((100, 100), bool)
    inside[:50, 50:] = True
    assert (np.isfinite(read) == inside).all()
    x, y = np.meshgrid(*window.cell_centres())
    assert read[inside] == pytest.approx(plane(x, y)[inside], abs=1e-3)


def test_a_coarse_tile_of_a_plane_is_the_plane(walled: Survey) -> None:
    window = Grid(crs=CRS, x_min=EAST + 16, y_max=NORTH + 48, cell_m=0.8, rows=20, cols=30)
    read = layer(walled, "dtm").read(window)[0]
    x, y = np.meshgrid(*window.cell_centres())
    assert read == pytest.approx(plane(x, y), abs=2e-3)


def test_a_picture_keeps_its_colours_and_what_is_clear(walled: Survey) -> None:
    drawn = layer(walled, "orthomosaic").draw(FINE.window(Tile(row=30, col=7, rows=20, cols=9)),
                                              Light())  # fmt: skip
    assert drawn[15, :, 0].tolist() == list(range(7, 16))
    assert (drawn[:10, :, 3] == 0).all()
    assert (drawn[10:, :, 3] == 255).all()


@given(level=st.integers(0, 6), col=st.integers(0, 5), row=st.integers(0, 5))
def test_tiles_of_a_level_meet_and_halve_those_above(level: int, col: int, row: int) -> None:
    pyramid = Pyramid.over([FINE, COARSE])
    tile, right = pyramid.tile(level, col, row), pyramid.tile(level, col + 1, row)
    assert right.x_min == pytest.approx(tile.x_min + TILE * tile.cell_m)
    below = pyramid.tile(level + 1, 2 * col, 2 * row)
    assert below.cell_m == pytest.approx(tile.cell_m / 2)
    assert (below.x_min, below.y_max) == pytest.approx((tile.x_min, tile.y_max))


def test_the_first_tile_has_all_and_the_finest_level_the_finest_cells() -> None:
    pyramid = Pyramid.over([COARSE, FINE])
    x_min, y_min, x_max, y_max = pyramid.tile(0, 0, 0).bounds
    assert (x_min, y_max) == (EAST, NORTH + 64)
    assert x_max >= EAST + 80
    assert y_min <= NORTH
    assert pyramid.tile(pyramid.levels, 0, 0).cell_m == FINE.cell_m
    with pytest.raises(InputError, match="level -1 of a map"):
        pyramid.tile(-1, 0, 0)


def test_what_is_clear_is_no_file(walled: Survey) -> None:
    assert encoded(np.zeros((4, 4, 4), np.uint8)) == (b"", "")
    file, media_type = encoded(np.full((4, 4, 4), 255, np.uint8), exact=True)
    assert media_type == "image/png"
    assert Image.open(io.BytesIO(file)).size == (4, 4)


def test_layers_are_those_that_are_there_in_their_order(walled: Survey) -> None:
    keys = [one.key for one in open_layers(dict(walled.products))]
    assert keys == [
        *("orthomosaic", "dtm", "dsm", "hillshade", "hillshade_dtm", "dsm_sigma", "dtm_sigma"),
        "ndvi",
    ]
    with pytest.raises(InputError, match="no layer 'slope'; there are orthomosaic"):
        open_layers(dict(walled.products), ["slope"])
    with pytest.raises(InputError, match="no raster to show yet; 'tmp map' makes them"):
        open_layers({})


def test_pictures_of_relief_are_layers_with_plain_titles(walled: Survey) -> None:
    path = walled.products["dtm"]
    found = open_layers(
        {"relief/vat": path, "relief/positive_openness": path, "cloud": Path("c.laz")}
    )
    assert [one.title for one in found] == ["Relief, blended", "Relief: positive openness"]


def test_a_layer_has_its_own_style_or_one_of_its_values(walled: Survey) -> None:
    style = layer(walled, "dsm_sigma").style
    assert style is not None
    assert style.labels == ("0.01 m", "0.03 m")
    assert style.draw(np.array([[0.02, np.nan]], np.float32)).tolist() == [
        [[127, 127, 127, 255], [0, 0, 0, 0]]
    ]
    plain = layer(walled, "ndvi").style
    assert plain is not None
    assert plain.values[0] <= np.float32(0.6) < plain.values[-1]


@pytest.mark.parametrize("text", ["", "<qgis", "<qgis/>", '<a><paletteEntry value="x"/></a>'])
def test_a_broken_style_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.qml").write_text(text)
    assert read_style(tmp_path / "a.tif") is None


def test_classes_and_steps_are_not_mixed() -> None:
    style = Style(values=(1.0, 3.0), colours=("#ff0000", "#0000ff"), labels=("a", "b"),
                  kind="classes")  # fmt: skip
    drawn = style.draw(np.array([[1, 2, 3]], np.float32))
    assert drawn[0].tolist() == [[255, 0, 0, 255], [0, 0, 255, 0], [0, 0, 255, 255]]
    steps = replace(style, kind="steps", values=(1.0, float("inf")))
    drawn = steps.draw(np.array([[0.5, 1.0, 99.0]], np.float32))
    assert drawn[0, :, 0].tolist() == [255, 255, 0]


def test_low_light_leaves_level_ground_bright_and_a_slope_to_it_brighter() -> None:
    flat, to_west = np.zeros((5, 5), np.float32), np.tile(np.arange(5, dtype=np.float32), (5, 1))
    for elevation_deg, least in ((5.0, 0.55), (25.0, 0.55), (60.0, np.sin(np.radians(60)))):
        light = Light(azimuth_deg=270, elevation_deg=elevation_deg)
        level = lit(None, shade(flat, 1.0, light), light)[0, 0, 0]
        assert level == pytest.approx(least * 255, abs=1)
        assert lit(None, shade(to_west, 1.0, light), light)[0, 0, 0] > level
    # Horn's formula by hand: a slope of 45° that faces a light at 45° has all of it.
    light = Light(azimuth_deg=270, elevation_deg=45)
    assert shade(to_west, 1.0, light) == pytest.approx(1.0)


def test_a_stretch_of_nothing_and_of_one_value_has_colours_all_the_same() -> None:
    assert stretched(np.array([np.nan])).values[0] == 0.0
    one = stretched(np.full(9, 7.0))
    assert one.values[0] == 7.0
    assert one.values[-1] > 7.0


def test_a_picture_in_another_crs_is_where_it_belongs(tmp_path: Path) -> None:
    path = tmp_path / "own.tif"
    grid = Grid(crs="EPSG:32628", x_min=270_000.0, y_max=7_120_000.0, cell_m=10, rows=200, cols=200)
    picture = np.full((4, 200, 200), 255, np.uint8)
    picture[:3, :100, :100] = 0
    write_raster(path, grid, picture, nodata=None)
    own = open_file(path, "EPSG:32627")
    from pyproj import Transformer

    to_own = Transformer.from_crs("EPSG:32628", "EPSG:32627", always_xy=True)
    for x, y, value in ((270_500, 7_119_500, 0), (271_500, 7_118_500, 255)):
        assert own.at(*to_own.transform(x, y))[0] == value
    west, _, _, north = own.grid.bounds
    assert own.draw(replace(own.grid, rows=3, cols=3), Light())[0, 0, 3] == 0  # beside it
    assert (west, north) != grid.bounds[::3]


def test_files_without_a_place_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_raster(path, replace(COARSE, crs=None), np.ones((1, *COARSE.shape), np.float32))
    with pytest.raises(InputError, match=r"a\.tif: has no place on Earth"):
        open_file(path)
    write_raster(path, replace(COARSE, crs="EPSG:4326"), np.ones((1, *COARSE.shape), np.float32))
    with pytest.raises(InputError, match="is in degrees; give a projected CRS"):
        open_file(path)
    (tmp_path / "b.tif").write_text("no")
    with pytest.raises(InputError, match="cannot be read as a raster"):
        open_file(tmp_path / "b.tif")
