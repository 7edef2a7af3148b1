"""Houses, cars and bushes go; turf walls, banks and ditches stay, on a slope as on the level."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from photogrammetry.terrain.bare_ground import fill_gaps, find_bare_ground, steepness

CELL_M = 0.1
SIDE = 600


def across(centre: float, at: np.ndarray, half_m: float, flank_m: float) -> np.ndarray:
    """Return 1 within half a width of a line, falling to 0 over a flank."""
    return np.clip((half_m + flank_m - np.abs(at - centre)) / flank_m, 0, 1)


class Site:
    """A hillside of turf walls, a ditch and a bank, and what stands on it."""

    def __init__(self, slope: float) -> None:
        y, x = np.mgrid[:SIDE, :SIDE] * CELL_M
        rng = np.random.default_rng(3)
        bare = slope * x + 0.4 * np.sin(x / 9) * np.cos(y / 7)
        self.wall = 0.8 * across(12, x, 0.4, 0.9) * (y < 40)
        self.ditch = -0.9 * across(50, y, 0.5, 1.0)
        self.bank = 1.5 * np.clip((y - 25) / 1.6, 0, 1) * (x > 40)
        self.bare = bare + self.wall + self.ditch + self.bank
        self.house = (np.abs(x - 27) < 6) & (np.abs(y - 12) < 3.5)
        self.car = (np.abs(x - 25) < 2.2) & (np.abs(y - 32) < 0.9)
        self.bush = np.hypot(x - 30, y - 40) < 1.2
        self.tree = np.hypot(x - 48, y - 10) < 3
        height = self.bare.copy()
        for thing, rise in ((self.house, 3.0), (self.car, 1.5), (self.bush, 1.0), (self.tree, 9.0)):
            rough = rng.normal(0, 0.05 if thing is self.house else 0.25, height.shape)
            top = self.bare[thing].max() if thing is self.house else self.bare
            height = np.where(thing, top + rise + rough, height)
        self.height = (height + rng.normal(0, 0.01, height.shape)).astype(np.float32)
        self.known = np.ones(height.shape, bool)
        self.sigma = np.full(height.shape, 0.01, np.float32)


@pytest.mark.parametrize("slope", [0.0, 0.2, 0.4])
def test_what_stands_on_the_ground_goes_and_what_is_ground_stays(slope: float) -> None:
    site = Site(slope)
    found = find_bare_ground(site.height, site.known, site.sigma, CELL_M)
    off = np.abs(found.height - site.bare)
    for thing in (site.house, site.car, site.bush, site.tree):
        assert not found.ground[thing].any()
        assert np.percentile(off[thing], 95) < 0.35
    wall = site.wall > 0.3
    assert (found.height - site.bare + site.wall)[wall].sum() > 0.97 * site.wall[wall].sum()
    assert found.ground[wall].mean() > 0.97
    ditch = site.ditch < -0.3
    assert found.ground[ditch].mean() > 0.97
    assert off[ditch].mean() < 0.05
    bank = (site.bank > 0.1) & (site.bank < 1.4) & ~site.tree
    assert found.ground[bank].mean() > 0.9
    stood = site.house | site.car | site.bush | site.tree
    assert found.ground[~stood].mean() > 0.96


def test_doubt_of_interpolated_ground_grows_with_the_way_to_the_nearest() -> None:
    site = Site(0.1)
    found = find_bare_ground(site.height, site.known, site.sigma, CELL_M)
    middle = found.sigma[120, 270]  # of the house, 3.5 m from its sides
    assert 0.07 * 3.4 < middle < 0.07 * 4.5
    assert found.sigma[300, 100] == np.float32(0.01)


def test_unknown_cells_are_never_ground_nor_keep_ground_from_hanging_together() -> None:
    site = Site(0.1)
    site.known[:, 300:304] = False
    site.height[:, 300:304] = 500
    found = find_bare_ground(site.height, site.known, site.sigma, CELL_M)
    assert not found.ground[:, 300:304].any()
    assert found.ground[400:480, :290].mean() > 0.95
    assert found.ground[400:480, 310:].mean() > 0.95
    assert np.abs(found.height - site.bare)[420:480, 300:304].max() < 0.2


def test_a_surface_of_nothing_but_roughness_is_left_as_it_is() -> None:
    rough = np.random.default_rng(1).normal(0, 2, (80, 80)).astype(np.float32)
    found = find_bare_ground(rough, np.ones(rough.shape, bool), 0 * rough, CELL_M)
    assert found.ground.any()
    assert np.isfinite(found.height).all()


@given(
    arrays(np.bool_, (13, 22)).filter(np.any),
    st.floats(-0.5, 0.5),
    st.floats(-0.5, 0.5),
)
def test_known_heights_stay_and_gaps_lie_between_them(
    known: np.ndarray, east: float, south: float
) -> None:
    row, col = np.mgrid[:13, :22]
    height = (east * col + south * row).astype(np.float32)
    filled = fill_gaps(np.where(known, height, 99).astype(np.float32), known)
    assert (filled[known] == height[known]).all()
    assert filled.min() >= height[known].min() - 1e-4
    assert filled.max() <= height[known].max() + 1e-4


def test_a_slope_is_as_steep_as_it_is_in_every_direction() -> None:
    row, col = np.mgrid[:20, :20] * CELL_M
    for east, south in ((0.5, 0.0), (0.0, 0.5), (0.35, 0.35), (0.35, -0.35)):
        found = steepness((east * col + south * row).astype(np.float32), CELL_M)[3:-3, 3:-3]
        assert found == pytest.approx(np.hypot(east, south), rel=1e-3)
