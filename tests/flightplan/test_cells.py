import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry

from flightplan.coverage.sweep import (
    SAME_LINE_M,
    Division,
    _same_line,
    divisions,
    edge_headings,
)

L_FIELD = shapely.box(0, 0, 400, 100).union(shapely.box(0, 0, 100, 300))


def rows_cost(ground: BaseGeometry, heading_deg: float) -> float:
    """Time of rows 25 m apart: one second a metre, and 50 s a row."""
    turned = shapely.affinity.rotate(ground, heading_deg, origin=(0, 0))
    rows = np.ceil((turned.bounds[2] - turned.bounds[0]) / 25)
    return float(ground.area / 25 + 50 * rows)


def cut(area: BaseGeometry) -> list[Division]:
    return divisions(area, rows_cost, step_deg=15, tolerance_m=5, least_m2=500)


def test_a_rectangle_is_flown_in_one_piece_along_its_longer_side() -> None:
    (cell,) = cut(shapely.box(0, 0, 300, 100))[0]
    assert cell.heading_deg == pytest.approx(90.0)


def test_an_l_is_cut_in_two_along_its_inner_corner() -> None:
    best = cut(L_FIELD)[0]
    assert sorted(cell.ground.area for cell in best) in ([20000, 40000], [30000, 30000])
    assert {round(cell.heading_deg) for cell in best} == {0, 90}


def test_a_hole_offers_cuts_along_its_sides() -> None:
    holed = shapely.box(0, 0, 400, 300).difference(shapely.box(140, 100, 260, 200))
    assert {len(division) for division in cut(holed)} >= {1, 2, 3}


@given(st.floats(0, 180), st.floats(40, 300), st.floats(40, 300))
def test_cells_make_up_the_field(turn: float, arm: float, width: float) -> None:
    field = shapely.box(0, 0, 300 + arm, 100).union(shapely.box(0, 0, width, 100 + arm))
    field = shapely.affinity.rotate(field, turn, origin=(0, 0))
    for division in cut(field):
        assert sum(cell.ground.area for cell in division) == pytest.approx(field.area)
        assert all(0 <= cell.heading_deg < 180 for cell in division)


def test_edges_of_one_direction_count_together() -> None:
    # Two edges of 60 m run north, one of 100 m east and its two parts west.
    field = shapely.Polygon([(0, 0), (100, 0), (100, 60), (50, 70), (0, 60)])
    assert edge_headings(field)[0] == pytest.approx(0.0)


@given(st.floats(0, 2 * np.pi), st.floats(-300, 300), st.sampled_from([1, -1]))
def test_cuts_in_one_line_are_one_cut_whichever_way_they_run(turn, away_m, way) -> None:
    course, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    point = np.array([40.0, 70.0])
    along = point + away_m * course
    assert _same_line(point, course, along + 0.9 * SAME_LINE_M * across, way * course)
    assert not _same_line(point, course, along + 1.1 * SAME_LINE_M * across, way * course)
    crossing = np.cos(0.03) * course + np.sin(0.03) * across
    assert not _same_line(point, course, along, way * crossing)
