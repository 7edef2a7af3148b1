"""Volumes of shapes whose volume is known, and whether their doubt is true."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photogrammetry.terrain.volumes import (
    RANGES,
    Base,
    Rim,
    correlation,
    lowest_of,
    measure_volume,
    plane_through,
    sigma_of_sum,
)
from tmp.errors import InputError

CELL_M = 0.1
SIDE = 201


def places() -> tuple[np.ndarray, np.ndarray]:
    """Return how far cells lie east and north of the middle of a window."""
    at = (np.arange(SIDE) - SIDE // 2) * CELL_M
    return np.meshgrid(at, -at)


X, Y = places()
RADII = np.hypot(X, Y)
PLANE = 100 + 0.08 * X - 0.05 * Y
CONE = np.clip(1 - RADII / 4, 0, None) * 2.0
"""4 m wide at the foot and 2 m high: 33.51 m³."""
CONE_M3 = np.pi * 16 * 2 / 3
INSIDE = (np.maximum(np.abs(X), np.abs(Y)) <= 5).astype(float)
NO_DOUBT = np.zeros_like(X)


def level(height: float, sigma: float = 0.0) -> Base:
    return Base(height=np.full(X.shape, height), covariance=np.diag([sigma**2, 0, 0]))


def rim_of(surface: np.ndarray, sigma: float = 0.01, half_m: float = 5.0) -> Rim:
    """Return the heights along the square of 10 m."""
    along = np.arange(-half_m, half_m, CELL_M)
    edge = np.full(len(along), half_m)
    x = np.concatenate([along, edge, -along, -edge])
    y = np.concatenate([edge, -along, -edge, along])
    col, row = np.rint(x / CELL_M).astype(int), np.rint(-y / CELL_M).astype(int)
    height = surface[row + SIDE // 2, col + SIDE // 2]
    return Rim(x=x, y=y, height=height, sigma=np.full(len(x), sigma))


class Noise:
    """Errors of a surface that go together as its own do."""

    def __init__(self) -> None:
        size = 2 * SIDE
        step = np.minimum(np.arange(size), size - np.arange(size)).astype(float)
        spectrum = np.fft.fft2(correlation(np.hypot(step[:, None], step))).real
        self._root = np.sqrt(np.clip(spectrum, 0, None))

    def drawn(self, rng: np.random.Generator, sigma: float) -> np.ndarray:
        white = np.fft.fft2(rng.normal(size=self._root.shape))
        return sigma * np.fft.ifft2(white * self._root).real[:SIDE, :SIDE]


def test_a_cone_on_a_tilted_plane_has_its_volume() -> None:
    surface = PLANE + CONE
    base = plane_through(rim_of(surface), X.shape, CELL_M)
    found = measure_volume(surface, NO_DOUBT, INSIDE, base, cell_m=CELL_M)
    assert found.cut_m3 == pytest.approx(CONE_M3, rel=0.001)
    assert found.fill_m3 == pytest.approx(0, abs=0.01)
    assert found.area_m2 == pytest.approx(INSIDE.sum() * CELL_M**2)
    assert (found.outside, found.filled) == (0, 0)


def test_a_pit_is_fill() -> None:
    surface = PLANE - CONE
    base = plane_through(rim_of(surface), X.shape, CELL_M)
    found = measure_volume(surface, NO_DOUBT, INSIDE, base, cell_m=CELL_M)
    assert found.fill_m3 == pytest.approx(CONE_M3, rel=0.001)
    assert found.net_m3 == pytest.approx(-CONE_M3, rel=0.001)


def test_cells_on_the_edge_count_by_their_share() -> None:
    surface = np.full(X.shape, 3.0)
    share = np.zeros_like(X)
    share[50:60, 50:60] = 0.25
    found = measure_volume(surface, NO_DOUBT, share, level(1.0), cell_m=CELL_M)
    assert found.cut_m3 == pytest.approx(2 * 100 * 0.25 * CELL_M**2)


def test_a_wall_or_a_bush_on_the_edge_does_not_lift_the_plane() -> None:
    surface = PLANE + CONE
    bush = np.abs(X - 5) + np.abs(Y - 1) < 1.2
    base = plane_through(rim_of(surface + 1.5 * bush), X.shape, CELL_M)
    assert np.abs(base.height - PLANE)[INSIDE > 0].max() < 0.03


@given(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))
def test_turning_a_base_about_the_middle_moves_earth_but_makes_none(
    east: float, north: float
) -> None:
    surface = 5 + CONE
    tilted = Base(height=5 + east * X + north * Y, covariance=np.zeros((3, 3)))
    found = measure_volume(surface, NO_DOUBT, INSIDE, tilted, cell_m=CELL_M)
    assert found.net_m3 == pytest.approx(CONE_M3, rel=0.001)


def test_the_lowest_place_of_an_edge_is_a_base() -> None:
    surface = PLANE + CONE
    rim = rim_of(surface, sigma=0.0)
    base = lowest_of(rim, X.shape, cell_m=CELL_M)
    assert base.height[0, 0] == pytest.approx(rim.height.min(), abs=0.03)
    doubtful = lowest_of(rim_of(surface, sigma=0.02), X.shape, cell_m=CELL_M)
    assert np.sqrt(doubtful.covariance[0, 0]) > 0.015


def test_holes_are_closed_and_told_and_make_a_volume_less_sure() -> None:
    surface, sigma = PLANE + CONE, np.full(X.shape, 0.01)
    base = plane_through(rim_of(surface), X.shape, CELL_M)
    whole = measure_volume(surface, sigma, INSIDE, base, cell_m=CELL_M)
    hole = np.hypot(X - 2.5, Y) < 0.8
    found = measure_volume(np.where(hole, np.nan, surface), sigma, INSIDE, base, cell_m=CELL_M)
    assert found.filled == pytest.approx(hole.sum() / INSIDE.sum())
    assert found.cut_m3 == pytest.approx(CONE_M3, rel=0.01)
    assert found.net_sigma_m3 > 1.02 * whole.net_sigma_m3
    assert abs(found.net_m3 - whole.net_m3) < found.net_sigma_m3


def test_what_lies_beyond_the_map_is_left_out_and_told() -> None:
    surface = np.where(X > 2.5, np.nan, PLANE + 1.0)
    base = Base(height=PLANE, covariance=np.zeros((3, 3)))
    found = measure_volume(surface, NO_DOUBT, INSIDE, base, cell_m=CELL_M)
    assert found.outside == pytest.approx(0.25, abs=0.01)
    assert found.filled == 0
    assert found.net_m3 == pytest.approx(found.area_m2)


def test_a_polygon_beside_the_surface_has_no_volume() -> None:
    empty = np.full(X.shape, np.nan)
    with pytest.raises(InputError, match="lies beside the surface"):
        measure_volume(empty, NO_DOUBT, INSIDE, level(0.0), cell_m=CELL_M)


def test_an_edge_without_heights_carries_no_base() -> None:
    with pytest.raises(InputError, match=r"only 4.* % of its edge has a height"):
        plane_through(rim_of(np.where(X + Y > -1, np.nan, PLANE)), X.shape, CELL_M)


def test_the_doubt_of_a_sum_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(5)
    sigma = rng.uniform(0, 2, (9, 7))
    row, col = np.mgrid[:9, :7].reshape(2, -1)
    together = correlation(np.hypot(row[:, None] - row, col[:, None] - col))
    expected = np.sqrt(sigma.ravel() @ together @ sigma.ravel())
    assert sigma_of_sum(sigma) == pytest.approx(expected)


def test_a_sum_over_wide_ground_is_as_sure_as_its_independent_pieces() -> None:
    """Rolstad et al. (2009), eq. 8: an area pi a² / 5 goes together."""
    side = 1500
    pieces = sum(part * np.pi * reach**2 / 5 for part, reach in RANGES)
    expected = 0.02 * side * np.sqrt(pieces)
    assert sigma_of_sum(np.full((side, side), 0.02)) == pytest.approx(expected, rel=0.02)


def test_cells_taken_as_one_have_the_doubt_of_all_of_them() -> None:
    fine = sigma_of_sum(np.full((400, 400), 0.02)) / 16
    assert sigma_of_sum(np.full((100, 100), 0.02), times=4) == pytest.approx(fine, rel=0.05)


@pytest.mark.parametrize("rough_m", [0.0, 0.05])
def test_two_thirds_of_errors_lie_within_the_stated_doubt(rough_m: float) -> None:
    """Correlated noise on a cone; with roughness also true waves of the ground about it."""
    rng, noise, sigma = np.random.default_rng(7), Noise(), 0.015
    doubt = np.full(X.shape, sigma)
    off, cut_off = [], []
    for _ in range(100):
        phase = rng.uniform(0, 2 * np.pi, 2)
        waves = rough_m * np.sin(2 * np.pi * X / 4 + phase[0]) * np.sin(Y * 1.3 + phase[1])
        surface = PLANE + waves * (CONE == 0) + CONE + noise.drawn(rng, sigma)
        base = plane_through(rim_of(surface, sigma), X.shape, CELL_M)
        found = measure_volume(surface, doubt, INSIDE, base, cell_m=CELL_M)
        true = CONE_M3 + float((waves * (CONE == 0) * INSIDE).sum()) * CELL_M**2
        off.append((found.net_m3 - true) / found.net_sigma_m3)
        positive = np.clip(waves * (CONE == 0) + CONE, 0, None)
        cut_off.append((found.cut_m3 - (positive * INSIDE).sum() * CELL_M**2) / found.cut_sigma_m3)
    for errors in (np.array(off), np.array(cut_off)):
        assert 0.62 < (np.abs(errors) < 1).mean()
        assert (np.abs(errors) < 2).mean() > 0.93
    assert abs(np.mean(off)) < 0.3
    assert np.std(off) > 0.4  # nor is it put much larger than it is
