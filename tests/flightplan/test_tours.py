import itertools
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flightplan.coverage.annealing import _beside, _remedies
from flightplan.coverage.routes import Airspace, Axes, Pattern, Strip
from flightplan.coverage.tours import Pricing, Tour, best_tour
from flightplan.equipment.flight_model import Motion


def seconds(
    tour: NDArray[np.intp], between: NDArray[np.float64], line: NDArray[np.float64]
) -> float:
    return float(line[tour].sum() + between[tour[:-1], tour[1:]].sum())


def parallel_lines(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lines from x = 0 to 100, 10 apart; time is distance."""
    ends = np.array([[[0, 10 * n], [100, 10 * n]] for n in range(count)], float)
    enter = np.concatenate([[line[0], line[1]] for line in ends])
    leave = np.concatenate([[line[1], line[0]] for line in ends])
    apart = enter.reshape(-1, 2)[None] - leave.reshape(-1, 2)[:, None]
    return np.hypot(apart[..., 0], apart[..., 1]), np.full(2 * count, 100.0)


def test_parallel_lines_are_flown_to_and_fro() -> None:
    between, line = parallel_lines(9)
    tour = best_tour(between, line)
    assert seconds(tour, between, line) == pytest.approx(9 * 100 + 8 * 10)
    assert set(np.abs(np.diff(tour // 2))) == {1}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_four_lines_in_any_wind_are_flown_in_the_best_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    between, line = rng.random((8, 8)) * 10, rng.random(8)
    best = min(
        seconds(np.array([2 * n + way for n, way in zip(order, ways, strict=True)]), between, line)
        for order in itertools.permutations(range(4))
        for ways in itertools.product((0, 1), repeat=4)
    )
    # A local search: it may end above the best, but not by much on four lines.
    assert seconds(best_tour(between, line), between, line) <= 1.25 * best


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 100))
def test_every_line_is_flown_once(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tour = best_tour(rng.random((2 * count, 2 * count)), rng.random(2 * count), seed=seed)
    assert sorted(tour // 2) == list(range(count))


def test_the_tour_starts_and_ends_where_that_is_quick() -> None:
    between, line = parallel_lines(3)
    away = np.array([500, 0, 500, 500, 500, 500.0])
    tour = best_tour(between, line, start_s=away)
    assert tour[0] == 1


def test_no_lines_make_no_tour() -> None:
    assert len(best_tour(np.empty((0, 0)), np.empty(0))) == 0


def test_two_strips_in_one_line_take_as_long_as_the_line() -> None:
    """The drone flies on from one into the next: it neither brakes nor turns between them."""
    pattern = Pattern(across_m=80, along_m=60, line_spacing_m=24, photo_spacing_m=10)
    motion = Motion(cruise_m_s=8, acceleration_m_s2=2, corner_s=1)
    pricing = Pricing([Axes(heading_deg=30)], Airspace(shapely.Point()), motion, pattern)

    def strip(start_m: float, photos: int) -> Strip:
        return Strip(sweep=0, across_m=5, start_m=start_m, photos=photos, spacing_m=10)

    parts = Tour(strips=(strip(0, 11), strip(130, 8)), turned=(False, False))
    # 200 m at 8 m/s, and 8 / 2 s to speed up and to brake.
    assert pricing.seconds(parts) == pytest.approx(200 / 8 + 8 / 2)
    apart = Tour(strips=parts.strips, turned=(False, True))
    assert pricing.seconds(apart) > 200 / 8 + 8 / 2 + 8 / 2 + 2


def test_a_strip_may_move_to_either_side_and_either_end_alike() -> None:
    pattern = Pattern(across_m=80, along_m=60, line_spacing_m=24, photo_spacing_m=10)
    pricing = Pricing([Axes(heading_deg=0)], Airspace(shapely.Point()), Motion(), pattern)
    strip = Strip(sweep=0, across_m=5, start_m=100, photos=8, spacing_m=10)
    changed = [change[0] for change in _remedies([strip], 0, pricing)]
    for moved_m in (
        {one.across_m - 5 for one in changed},
        {one.start_m - 100 for one in changed if one.photos == 8 and one.spacing_m == 10},
    ):
        assert len(moved_m) == 7
        assert moved_m == {-away_m for away_m in moved_m}


def test_a_new_strip_needs_room_among_those_abreast_of_its_own_sweep_only() -> None:
    pattern = Pattern(across_m=80, along_m=60, line_spacing_m=24, photo_spacing_m=10)
    axes = [Axes(heading_deg=0), Axes(heading_deg=90)]
    pricing = Pricing(axes, Airspace(shapely.Point()), Motion(), pattern)
    strip = Strip(sweep=0, across_m=0, start_m=0, photos=11, spacing_m=10)
    beside = replace(strip, across_m=24)
    crossing, beyond = replace(beside, sweep=1), replace(beside, start_m=200)
    assert _beside([strip, crossing, beyond], 0, 1.0, pricing) == {3: beside}
    assert _beside([strip, replace(beside, start_m=90)], 0, 1.0, pricing) is None
