"""Take-off places, and what is flown from each."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flightplan.coverage.routes import Line
from flightplan.coverage.takeoffs import CUT, Seam, fewest_places, share_out, walked

SEAM = Seam(photos=2, run_m=10.0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), reach_m=st.floats(250.0, 700.0))
def test_no_fewer_places_see_all(seed: int, reach_m: float) -> None:
    """Against all sets of up to three of nine places."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 1000, (9, 2))
    ends = rng.uniform(0, 1000, (4, 2, 2)).tolist()
    lines = [Line(start=tuple(a), end=tuple(b), photos=20) for a, b in ends]
    found = fewest_places(lines, places, reach_m, 0.0)
    along = np.concatenate([line.stations for line in lines])
    sees = np.hypot(*np.moveaxis(along[:, None] - places[None], 2, 0)) <= reach_m
    if found is None:
        assert not sees.any(axis=1).all()
        return
    assert sees[:, found].any(axis=1).all()
    for few in range(1, min(len(found), 4)):
        for some in itertools.combinations(range(9), few):
            assert not sees[:, some].any(axis=1).all()


def test_of_as_few_places_the_nearest_is_taken() -> None:
    line = Line(start=(0.0, 0.0), end=(100.0, 0.0), photos=11)
    places = np.array([(50.0, 400.0), (50.0, 30.0), (400.0, 0.0)])
    assert fewest_places([line], places, 500.0, 50.0) == [1]


def test_a_line_is_cut_where_the_other_place_is_nearer_and_photographs_are_taken_twice() -> None:
    line = Line(start=(0.0, 0.0), end=(1000.0, 0.0), photos=101, run_in_m=5.0, run_out_m=6.0)
    west, east = share_out([line], [(250.0, 0.0), (750.0, 0.0)], 500.0, SEAM)
    assert (west[0].start, west[0].run_in_m, west[0].run_out_m) == (line.start, 5.0, 10.0)
    assert (east[0].end, east[0].run_in_m, east[0].run_out_m) == (line.end, 10.0, 6.0)
    assert west[0].photos + east[0].photos == line.photos + SEAM.photos
    assert 480.0 <= east[0].start[0] <= west[0].end[0] <= 520.0
    assert west[0].spacing_m == east[0].spacing_m == pytest.approx(10.0)


def test_a_line_that_one_place_sees_stays_whole() -> None:
    line = Line(start=(0.0, 0.0), end=(300.0, 0.0), photos=31)
    shared = share_out([line], [(0.0, 50.0), (300.0, 60.0)], 500.0, SEAM)
    assert shared == ((line,), ())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_no_other_way_to_share_a_line_costs_less(seed: int) -> None:
    """Against all ways to give seven photographs to three places."""
    rng = np.random.default_rng(seed)
    places = [(float(x), float(y)) for x, y in rng.uniform(0, 600, (3, 2))]
    line = Line(start=(0.0, 300.0), end=(600.0, 300.0), photos=7)
    reach_m, seam = 450.0, Seam(photos=0, run_m=0.0)
    away_m = np.hypot(*np.moveaxis(line.stations[:, None] - np.array(places)[None], 2, 0))
    price = np.where(away_m > reach_m, np.inf, (away_m / reach_m) ** 2)

    def cost(chain: tuple[int, ...]) -> float:
        cuts = sum(a != b for a, b in itertools.pairwise(chain))
        return float(price[range(7), chain].sum()) + cuts * CUT * math.sqrt(7)

    least = min(map(cost, itertools.product(range(3), repeat=7)))
    if not math.isfinite(least):
        return
    shared = share_out([line], places, reach_m, seam)
    owner = {
        tuple(np.round(at, 6)): place
        for place, lines in enumerate(shared)
        for one in lines
        for at in one.stations
    }
    chain = tuple(owner[tuple(np.round(at, 6))] for at in line.stations)
    assert cost(chain) == pytest.approx(least)


def test_places_are_walked_one_after_the_other() -> None:
    places = [(0.0, 0.0), (300.0, 0.0), (100.0, 0.0), (200.0, 0.0)]
    assert walked(places) in ([0, 2, 3, 1], [1, 3, 2, 0])


def test_a_large_area_is_covered_in_no_time() -> None:
    lines = [Line(start=(0.0, y), end=(1500.0, y), photos=150) for y in np.arange(0, 1500, 20.0)]
    at = np.arange(37.5, 1500, 75.0)
    places = np.array([(x, y) for x in at for y in at])
    began_s = time.process_time()
    found = fewest_places(lines, places, 500.0, 40.0)
    assert time.process_time() - began_s < 5.0
    # Each sees at most a circle of 460 m.
    assert found is not None
    assert 4 <= len(found) <= 9
