import math

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import Polygon

from flightplan.coverage.routes import Airspace, obstacles_of
from flightplan.equipment.flight_model import Motion, path_seconds

MOTION = Motion()
BLOCK = shapely.box(40, -10, 60, 30)
places = st.tuples(st.floats(-100, 200), st.floats(-100, 200))


def test_the_way_round_a_block_bends_at_its_nearer_corners() -> None:
    way = Airspace(BLOCK).way([0, 0], [100, 0], MOTION)
    assert way is not None
    np.testing.assert_allclose(way, [[0, 0], [40, -10], [60, -10], [100, 0]])


def test_the_clearance_is_kept() -> None:
    way = Airspace(BLOCK, clearance_m=5).way([0, 0], [100, 0], MOTION)
    assert shapely.linestrings(way).distance(BLOCK) == pytest.approx(5.0)


def test_a_way_along_a_rim_is_open() -> None:
    assert not Airspace(BLOCK).blocked([40, -50], [40, 50])[0]


def test_the_time_is_that_of_the_way() -> None:
    air = Airspace(BLOCK, clearance_m=2)
    start, end = np.array([[0.0, 0.0]]), np.array([[100.0, 5.0]])
    way = air.way(start[0], end[0], MOTION)
    assert way is not None
    assert air.seconds(start, end, MOTION)[0, 0] == pytest.approx(path_seconds(way, MOTION))


@given(start=places, end=places, turn=st.floats(0, 90))
def test_no_way_enters_an_obstacle(
    start: tuple[float, float], end: tuple[float, float], turn: float
) -> None:
    hooked = shapely.union_all([BLOCK, shapely.box(0, 30, 60, 50), shapely.box(90, 0, 110, 90)])
    obstacles = shapely.affinity.rotate(hooked, turn, origin=(50, 20))
    air = Airspace(obstacles, clearance_m=1)
    way = air.way(start, end, MOTION)
    inside = shapely.contains_xy(air.solid.buffer(0.02), [start[0], end[0]], [start[1], end[1]])
    if not inside.any():
        assert way is not None
        assert shapely.linestrings(way).intersection(obstacles).length == 0


def test_there_is_no_way_out_of_a_ring() -> None:
    ring = shapely.Point(0, 0).buffer(50).difference(shapely.Point(0, 0).buffer(40))
    air = Airspace(ring)
    assert air.way([0, 0], [100, 0], MOTION) is None
    assert math.isinf(air.seconds(np.zeros((1, 2)), np.array([[100.0, 0]]), MOTION)[0, 0])


def test_ways_within_an_area_go_round_its_notch() -> None:
    bent = Polygon([(0, 0), (100, 0), (100, 100), (60, 100), (60, 40), (0, 40)])
    air = Airspace(Polygon(), within=bent)
    way = air.way([10, 35], [65, 95], MOTION)
    assert way is not None
    np.testing.assert_allclose(way[1:-1], [[60, 40]])


def test_a_line_is_parted_by_what_stands_in_it() -> None:
    parts = Airspace(BLOCK).open_parts([0, 0], [100, 0])
    np.testing.assert_allclose(parts, [[0, 40], [60, 100]])
    assert len(Airspace(BLOCK).open_parts([45, 0], [55, 0])) == 0


def test_an_island_in_a_hole_is_open() -> None:
    island = shapely.box(40, 40, 60, 60)
    lake = shapely.box(0, 0, 100, 100).difference(shapely.box(20, 20, 80, 80))
    solid = obstacles_of(shapely.union_all([lake, island]), None)
    assert solid.area == pytest.approx(60 * 60 - 20 * 20)
    assert obstacles_of(island, None).is_empty
