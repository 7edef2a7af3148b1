import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import Polygon

from flightplan.coverage.routes import Airspace, Axes, Pattern, Strip
from flightplan.coverage.sweep import (
    CLOSEST,
    OUTERMOST,
    Edges,
    edge_choices,
    in_axes,
    lay_strips,
    offsets,
    sweep_extent,
    views_per_line,
)

PATTERN = Pattern(across_m=80, along_m=60, line_spacing_m=24, photo_spacing_m=15)
EAST = Axes(heading_deg=90.0)
OPEN = Airspace(Polygon())


def lay(cell: Polygon, airspace: Airspace = OPEN, lines: int = 2) -> list[Strip]:
    return lay_strips(0, cell, EAST, PATTERN, airspace, edges=Edges(lines=lines), photos_at_ends=2)


@given(st.floats(0, 800), st.integers(1, 3))
def test_rows_keep_to_the_spacing_and_the_edges_see_enough_of_them(
    width: float, lines: int
) -> None:
    rows = offsets(width, PATTERN, lines)
    gaps = np.diff(rows)
    assert np.all(gaps <= PATTERN.line_spacing_m + 1e-6)
    assert np.all(gaps >= CLOSEST * PATTERN.line_spacing_m - 1e-6)
    assert rows[0] <= OUTERMOST * PATTERN.line_spacing_m + 1e-6
    for edge in (0, width):
        assert np.count_nonzero(abs(rows - edge) <= PATTERN.across_m / 2) >= lines


def test_a_line_sees_a_place_as_often_as_spacings_go_into_the_footprint() -> None:
    assert views_per_line(PATTERN, 15) == 4
    assert views_per_line(PATTERN, 16) == 3


def test_nine_views_need_three_lines_or_two_of_which_one_is_denser() -> None:
    assert edge_choices(9, PATTERN) == (
        Edges(lines=3),
        Edges(lines=2, dense=True),
        Edges(lines=1),
    )


def test_a_row_ends_where_an_obstacle_begins() -> None:
    pond = shapely.box(100, -50, 150, 150)
    strips = lay(shapely.box(0, 0, 300, 100), Airspace(pond))
    assert max(strip.end_m for strip in strips if strip.start_m < 100) <= 100
    assert min(strip.start_m for strip in strips if strip.end_m > 150) >= 150


@pytest.mark.parametrize(("inside_m", "photos"), [(0.1, 19), (6.5, 19), (7.5, 20), (12.0, 19)])
def test_a_row_stays_out_of_an_obstacle_at_its_end(inside_m: float, photos: int) -> None:
    """The row, from 14.5 to 285.5 m, needs 20 photographs; 7 m late at both ends if it may."""
    field = shapely.box(0, 0, 300, 0.1)
    (free,) = lay(field, lines=1)
    assert (free.start_m, free.end_m, free.photos) == pytest.approx((7.5, 292.5, 20))
    ahead, behind = free.end_m - inside_m, free.start_m + inside_m
    (row,) = lay(field, Airspace(shapely.box(ahead, -50, 400, 50)), lines=1)
    (turned,) = lay(field, Airspace(shapely.box(-100, -50, behind, 50)), lines=1)
    assert row.photos == turned.photos == photos
    assert row.end_m <= ahead + 1e-6
    assert turned.start_m >= behind - 1e-6
    assert turned.start_m == pytest.approx(300 - row.end_m)
    if inside_m > 7.0:  # it stands in the row, which then begins at it
        assert row.end_m == pytest.approx(ahead)


def test_a_notch_parts_the_rows_it_crosses() -> None:
    comb = shapely.box(0, 0, 300, 200).difference(shapely.box(120, 60, 180, 200))
    rows = {strip.across_m for strip in lay(comb)}
    assert len(lay(comb)) > len(rows)


def test_a_cell_without_width_gets_one_row_when_one_line_suffices() -> None:
    assert len(lay(shapely.box(0, 0, 100, 0.1), lines=1)) == 1


def test_the_extent_of_a_rectangle_is_its_rows() -> None:
    length, strips = sweep_extent(shapely.box(0, 0, 300, 90), EAST, PATTERN)
    assert (length, strips) == (pytest.approx(1200.0), 4)


def test_a_cell_cut_at_a_hole_stays_proper_however_it_is_turned() -> None:
    """A corner of this hole lies on the cut; turned by 15° it lay a hair beyond."""
    cell = shapely.from_wkt(
        "POLYGON ((218.96142050145156 -40.16182396991355, 197.0931573248085 -76.49879689029936, "
        "-5.1383515092652114 -131.28729608842332, 26.562795429410688 142.2786442638697, "
        "138.5783835798343 59.97556507138966, 169.26591176310762 31.567192947373268, "
        "218.96142050145156 -40.16182396991355), (4.432356476713775 -48.69660196980543, "
        "-1.1592799919099803 -96.94978636109309, 46.00251950595906 -102.41495184760909, "
        "51.59415597513768 -54.16176745915389, 4.432356476713775 -48.69660196980543))"
    )
    for heading_deg in range(180):
        turned = in_axes(cell, Axes(heading_deg=heading_deg))
        assert turned.is_valid
        assert turned.area == pytest.approx(cell.area, abs=0.2)
