import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flightplan.terrain.min_link_path import fewest_links

FREE = {"climb": 1e3, "descent": 1e3}


def tube(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    if seed % 4 == 0:
        # Where many lines touch many corners at once, and leave the tube right at some.
        x = np.cumsum(rng.integers(1, 3, count)).astype(float)
        lower = np.cumsum(rng.integers(-1, 2, count)).astype(float)
        return x, lower, lower + rng.choice([0.5, 1.0, 2.0])
    x = np.cumsum(rng.uniform(0.5, 3.0, count))
    lower = np.cumsum(rng.normal(0, 1.0, count))
    if seed % 3 == 0:
        lower = np.round(lower)
    return x, lower, lower + rng.choice([0.2, 1.0, 4.0]) * rng.uniform(0.5, 1.5, count)


def links_between_samples(x: np.ndarray, lower: np.ndarray, upper: np.ndarray, levels: int) -> int:
    """The fewest links with vertices at the samples and at a few heights, by trying all."""
    count = len(x)
    share = np.linspace(0, 1, levels)
    z = lower[:, None] + share * (upper - lower)[:, None]
    fewest = np.full((count, levels), count)
    fewest[0] = 0
    for i in range(count - 1):
        for level in range(levels):
            least, most = -np.inf, np.inf
            for j in range(i + 1, count):
                run = x[j] - x[i]
                least = max(least, (lower[j] - z[i, level]) / run)
                most = min(most, (upper[j] - z[i, level]) / run)
                if least > most + 1e-12:
                    break
                slope = (z[j] - z[i, level]) / run
                seen = (slope >= least - 1e-12) & (slope <= most + 1e-12)
                fewest[j, seen] = np.minimum(fewest[j, seen], fewest[i, level] + 1)
    return int(fewest[-1].min())


@given(seed=st.integers(0, 10_000), count=st.integers(2, 60))
def test_the_way_stays_in_the_tube(seed: int, count: int) -> None:
    x, lower, upper = tube(seed, count)
    way, height = fewest_links(x, lower, upper, **FREE)
    assert (way[0], way[-1]) == (x[0], x[-1])
    assert (np.diff(way) > 0).all()
    places = np.union1d(x, way)
    at = np.interp(places, way, height)
    assert (at >= np.interp(places, x, lower) - 1e-9).all()
    assert (at <= np.interp(places, x, upper) + 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 25))
def test_no_way_found_by_trial_has_fewer_links(seed: int, count: int) -> None:
    x, lower, upper = tube(seed, count)
    way, _ = fewest_links(x, lower, upper, **FREE)
    assert len(way) - 1 <= links_between_samples(x, lower, upper, 9)


def test_a_straight_tube_takes_one_link_through_its_middle() -> None:
    x = np.arange(5.0)
    way, height = fewest_links(x, 2 * x, 2 * x + 1, **FREE)
    assert way.tolist() == [0, 4]
    assert height == pytest.approx([0.5, 8.5])


def test_a_saw_takes_a_vertex_for_each_tooth() -> None:
    """Teeth of height 1 at 0, 1, 2 … in a tube half as high: no line passes three of them."""
    x = np.arange(8.0)
    teeth = x % 2
    way, _ = fewest_links(x, teeth, teeth + 0.5, **FREE)
    assert len(way) == 5 + 1 + 2


def test_a_vertex_may_lie_between_samples() -> None:
    """Two slopes that meet where neither chain has a corner."""
    x = np.array([0.0, 10.0, 11.0, 21.0])
    lower = np.array([0.0, 10.0, 10.0, 0.0])
    way, height = fewest_links(x, lower, lower + 0.6, **FREE)
    assert len(way) == 3
    assert way[1] == pytest.approx(10.5, abs=0.5)
    assert height[1] >= 10


def test_the_last_link_keeps_slope_limits() -> None:
    x = np.array([0.0, 1.0])
    chain = np.array([0.0, 0.5])
    _, height = fewest_links(x, chain, chain + 10, climb=0.5, descent=1e-6)
    assert -1e-6 <= height[1] - height[0] <= 0.5


def test_a_tube_that_ends_where_a_link_runs_into_it_is_passed() -> None:
    """One line touches all three samples; by rounding it misses the last."""
    x = np.array([50000.003, 50000.006, 50000.008])
    lower, upper = np.array([3.0, 3.0, 0.0]), np.array([6.0, 5.0, 1.0])
    way, height = fewest_links(x, lower, upper, climb=2e3, descent=2e3)
    assert way.tolist() == [x[0], x[-1]]
    assert height == pytest.approx([6, 1], abs=1e-6)
