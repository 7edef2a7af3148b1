import base64
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from flows.report.charts import MapSheet, histogram, round_length
from flows.report.figures import (
    Figure,
    draw_cameras,
    draw_ground,
    draw_sigma,
    draw_surface,
    hillshade,
)
from flows.report.ground import Ground, LeftOut, choose_sheet
from flows.report.report import MapRecord
from photogrammetry.surface.trend import survey_trend
from tmp.geo.grids import Grid
from tmp.geo.rasters import read_grid
from tmp.reconstruction import Reconstruction


def test_residual_vectors_are_drawn_towards_their_side(reconstruction: Reconstruction) -> None:
    photos = tuple(
        replace(photo, gnss_residual_m=(0.5, 0.0, -1.0)) for photo in reconstruction.photos
    )
    moved = replace(reconstruction, photos=photos)
    sheet = choose_sheet(
        moved, (500_000.0, 7_110_000.0, 500_010.0, 7_110_010.0), survey_trend(moved)
    )
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


def flown(
    block: Reconstruction, measured: float, *, overlap: int = 3, sheet: Grid | None = None
) -> Ground:
    """Ground all of which was flown and measured to the same share."""
    sheet = sheet or choose_sheet(block, (5e5, 7.11e6, 5e5, 7.11e6), survey_trend(block))
    return Ground(
        sheet=sheet,
        overlap=np.full(sheet.shape, overlap),
        flown=np.ones(sheet.shape, bool),
        measured=np.full(sheet.shape, measured),
        drawn=np.zeros(sheet.shape),
        asked=np.ones(sheet.shape, bool),
    )


def picture_of(figure: Figure) -> np.ndarray:
    (data,) = re.findall(r'href="data:[^,]*,([^"]*)"', figure.svg)
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


def pink(figure: Figure) -> float:
    """Return the share of a picture that is hatched as flown and not mapped."""
    blue, green, red = np.moveaxis(picture_of(figure).astype(int), 2, 0)
    return float(((red - green > 100) & (red - blue > 50)).mean())


def test_ground_that_was_flown_and_not_mapped_is_hatched(reconstruction: Reconstruction) -> None:
    bare, mapped = (
        draw_ground(reconstruction, flown(reconstruction, share), None) for share in (0.0, 1.0)
    )
    assert 0.25 < pink(bare) < 0.5
    assert pink(mapped) == 0.0
    rim = draw_ground(reconstruction, flown(reconstruction, 0.0, overlap=1), None)
    assert pink(rim) == 0.0


def test_photographs_left_out_are_crosses(reconstruction: Reconstruction) -> None:
    ground = flown(reconstruction, 1.0)
    corners = np.add([(0, 0), (9, 0), (9, 9), (0, 9)], (5e5, 7.11e6))
    one = LeftOut(name="<lost>.jpg", place=(5e5, 7.11e6), footprint=corners)
    figure = draw_ground(reconstruction, replace(ground, left_out=(one,)), None)
    assert figure.svg.count('class="lost"') == 1
    assert "&lt;lost&gt;.jpg: left out" in figure.svg
    assert figure.svg.count('class="camera"') == len(reconstruction.photos)
    assert figure.legend is not None
    assert "left out" in figure.legend.entries[-1][1]
    assert draw_ground(reconstruction, ground, None).svg.count('class="lost"') == 0


def test_orthomosaic_lies_where_its_ground_is(record: MapRecord) -> None:
    path = record.survey.products_dir / "orthomosaic.tif"
    ground = flown(record.reconstruction, 1.0, sheet=read_grid(path))
    picture = picture_of(draw_ground(record.reconstruction, ground, path))
    # The hole lies 20 m west and 10 m north of the middle of 80 × 70 m.
    rows, cols, _ = picture.shape
    assert picture[round(rows * 25 / 70), round(cols * 20 / 80)].min() > 245
    assert picture[round(rows * 45 / 70), round(cols * 60 / 80)].min() < 200


def test_legends_of_heights_are_in_metres_only_where_there_is_a_scale(
    unscaled: MapRecord,
) -> None:
    folder = unscaled.survey.products_dir
    for draw, name in ((draw_surface, "dsm.tif"), (draw_sigma, "dsm_sigma.tif")):
        legend = draw(folder / name).legend
        assert legend is not None
        assert legend.title.endswith("in units")
