from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmp.errors import InputError
from tmp.geo.grids import Grid

COORDINATE = st.floats(-1e6, 1e6)
LENGTH = st.floats(0.5, 300)


def grid(rows: int, cols: int) -> Grid:
    return Grid(crs="EPSG:32627", x_min=100.0, y_max=50.0, cell_m=0.5, rows=rows, cols=cols)


@given(COORDINATE, COORDINATE, LENGTH, LENGTH, st.sampled_from([0.05, 0.063, 0.5, 1.0]))
def test_a_grid_covers_its_bounds_with_less_than_a_cell_to_spare(x, y, width, height, cell_m):
    found = Grid.from_bounds((x, y, x + width, y + height), cell_m, None).bounds
    slack = 1e-5 * cell_m + 1e-9 * max(abs(x), abs(y))
    for inner, outer in zip(
        (x, y, -x - width, -y - height), (*found[:2], -found[2], -found[3]), strict=True
    ):
        assert -slack <= inner - outer <= cell_m + slack


def test_equal_cells_of_two_grids_lie_on_each_other():
    a = Grid.from_bounds((0.13, 0.2, 9.9, 4.9), 0.063, None)
    b = Grid.from_bounds((3.33, 1.7, 20.0, 8.0), 0.063, None)
    assert ((a.x_min - b.x_min) / 0.063) == pytest.approx(round((a.x_min - b.x_min) / 0.063))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 25))
def test_tiles_cover_every_cell_once(rows, cols, size):
    seen = np.zeros((rows, cols), int)
    for tile in grid(rows, cols).tiles(size):
        seen[tile.row : tile.row + tile.rows, tile.col : tile.col + tile.cols] += 1
    assert (seen == 1).all()


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 25))
def test_tiles_that_follow_each_other_are_neighbours(rows, cols, size):
    tiles = list(grid(rows, cols).tiles(size))
    for one, next_ in pairwise(tiles):
        assert abs(one.row - next_.row) + abs(one.col - next_.col) == size
    assert len({tile.name for tile in tiles}) == len(tiles)


def test_a_window_has_the_cells_of_its_tile_halo_included():
    whole = grid(40, 60)
    tile = next(iter(whole.tiles(16))).grown(3)
    window = whole.window(tile)
    assert window.shape == (22, 22)
    assert window.bounds == (98.5, 50.0 - 19 * 0.5, 100.0 + 19 * 0.5, 51.5)
    x, y = window.cell_centres()
    np.testing.assert_allclose(x[3:6], whole.cell_centres()[0][:3])
    np.testing.assert_allclose(y[3:6], whole.cell_centres()[1][:3])


def test_the_transform_maps_cell_corners_and_centres():
    whole = grid(40, 60)
    assert whole.transform @ (0, 0) == (100.0, 50.0)
    x, y = whole.cell_centres()
    assert whole.transform @ (7.5, 3.5) == (x[7], y[3])


@pytest.mark.parametrize("change", [{"cell_m": 0.0}, {"rows": 0}, {"cols": -1}])
def test_an_empty_grid_is_refused(change):
    values = {"crs": None, "x_min": 0.0, "y_max": 0.0, "cell_m": 1.0, "rows": 1, "cols": 1}
    with pytest.raises(InputError, match="empty"):
        Grid(**(values | change))
