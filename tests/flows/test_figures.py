from dataclasses import replace

import numpy as np
import pytest

from flows.charts import MapSheet, histogram, round_length
from flows.figures import camera_positions, draw_cameras, hillshade, overlap_sheet
from tmp.grids import Grid
from tmp.reconstruction import Reconstruction


def test_cameras_lie_on_the_sheet(reconstruction: Reconstruction) -> None:
    sheet = overlap_sheet(reconstruction, (0.0, 0.0, 0.0, 0.0))
    inside = camera_positions(reconstruction)[:, :2]
    west, south, east, north = sheet.bounds
    assert ((inside > (west, south)) & (inside < (east, north))).all()


def test_residual_vectors_are_drawn_towards_their_side(reconstruction: Reconstruction) -> None:
    photos = tuple(
        replace(photo, gnss_residual_m=(0.5, 0.0, -1.0)) for photo in reconstruction.photos
    )
    moved = replace(reconstruction, photos=photos)
    sheet = overlap_sheet(moved, (500_000.0, 7_110_000.0, 500_010.0, 7_110_010.0))
    figure = draw_cameras(moved, np.ones(sheet.shape, int), sheet)
    assert figure.svg.count('class="residual down"') == len(photos)
    assert "drawn " in figure.note


def test_slope_towards_the_north_west_is_lit_and_the_other_is_in_shade() -> None:
    rows, cols = np.mgrid[:20, :20].astype(np.float32)
    towards = (rows + cols) * 0.5  # rises to the south-east, so it faces north-west
    assert hillshade(towards, 1.0)[10, 10] > 0.9
    assert hillshade(-towards, 1.0)[10, 10] < 0.4
    assert hillshade(np.zeros((20, 20), np.float32), 1.0)[10, 10] == pytest.approx(0.7071, abs=1e-4)


def test_sheet_puts_north_up() -> None:
    sheet = MapSheet(grid=Grid(crs=None, x_min=0, y_max=10, cell_m=1, rows=10, cols=20))
    (west_north, east_south) = sheet.place([[0, 10], [20, 0]])
    assert tuple(west_north) == (0, 0)
    assert tuple(east_south) == sheet.size


@pytest.mark.parametrize(("longest", "chosen"), [(1.0, 1.0), (1.99, 1.0), (2.0, 2.0), (730, 500)])
def test_lengths_are_round(longest: float, chosen: float) -> None:
    assert round_length(longest) == pytest.approx(chosen)


def test_histogram_puts_what_lies_beyond_into_its_last_column() -> None:
    chart = histogram([0.5, 99.0], np.array([0.0, 1.0, 2.0]), "x", "y")
    assert chart.count('class="column"') == 2
