from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.products.ground import GROUND
from flows.report.figures import camera_positions
from flows.report.ground import count_overlap, heights_of
from flows.report.quality import MapRecord
from tmp.geo.grids import Grid
from tmp.geo.rasters import open_tiled
from tmp.reconstruction import Reconstruction


def under_one_camera(reconstruction: Reconstruction) -> tuple[Reconstruction, Grid]:
    one = replace(reconstruction, photos=reconstruction.photos[:1])
    (centre,) = camera_positions(one)
    bounds = (centre[0] - 40, centre[1] - 40, centre[0] + 40, centre[1] + 40)
    return one, Grid.from_bounds(bounds, 0.25, one.frame.crs)


def test_overlap_under_one_camera_is_its_footprint(reconstruction: Reconstruction) -> None:
    one, sheet = under_one_camera(reconstruction)
    count = count_overlap(one, sheet, np.full(sheet.shape, 30.0))
    # 40 m above ground with 705 px: 800 × 600 px see 45.4 × 34.0 m, but for some distortion.
    assert set(np.unique(count)) == {0, 1}
    assert count.sum() * 0.25**2 == pytest.approx(45.4 * 34.0, rel=0.03)


def test_a_wall_hides_the_ground_behind_it(reconstruction: Reconstruction) -> None:
    one, sheet = under_one_camera(reconstruction)
    height = np.full(sheet.shape, 30.0)
    x, _ = np.meshgrid(*sheet.cell_centres())
    (centre,) = camera_positions(one)
    wall = np.abs(x - centre[0] - 10) < 0.5
    height[wall] = 35.0
    east = slice(sheet.cols // 2, None)
    middle = count_overlap(one, sheet, height)[sheet.rows // 2, east]
    framed = count_overlap(one, sheet, height, hidden=True)[sheet.rows // 2, east]
    # From 40 m up, 5 m of wall at 10.5 m hide what lies up to 12 m away: 10.5 × 40 / 35.
    hidden = np.flatnonzero(framed != middle) * 0.25
    assert hidden.min() == pytest.approx(10.5, abs=0.5)
    assert hidden.max() == pytest.approx(12.0, abs=0.5)


def test_gaps_in_the_surface_lie_as_high_as_what_is_drawn_there(record: MapRecord) -> None:
    ground = open_tiled(Path(record.results[-1].folder) / GROUND)
    sheet = Grid.from_bounds(ground.grid.bounds, 1.0, ground.grid.crs)
    height = heights_of(ground, sheet)
    assert np.isfinite(height).all()
    # The hole lies 20 m west and 10 m north of the middle, on ground 0.4 m below its level.
    assert height[25, 20] == pytest.approx(29.7, abs=0.5)


def test_beyond_the_map_the_ground_goes_on_as_its_nearest_part(record: MapRecord) -> None:
    ground = open_tiled(Path(record.results[-1].folder) / GROUND)
    west, south, east, north = ground.grid.bounds
    wide = Grid.from_bounds((west - 20, south, east, north), 1.0, ground.grid.crs)
    height = heights_of(ground, wide)
    assert np.abs(height[:, :19] - height[:, 21:22]).max() < 0.3
