"""Roofs, plants by their height, ground and false heights are told apart."""

import numpy as np
import pytest

from photogrammetry.terrain.classes import (
    HALO_M,
    PointClass,
    classify,
    excess_green,
    roughness,
)

CELL_M = 0.1
SIDE = 500
GREEN, GREY, RED = (90, 130, 70), (120, 120, 118), (170, 90, 80)


class Village:
    """A slope of grass with two houses, a car, a bush, a tree, a hedge, a pit and a bird."""

    def __init__(self) -> None:
        y, x = np.mgrid[:SIDE, :SIDE] * CELL_M
        rng = np.random.default_rng(2)
        self.terrain = (50 + 0.1 * x + 0.05 * y).astype(np.float32)
        rough = rng.normal(0, 1, x.shape)
        self.gable = (np.abs(x - 10) < 5) & (np.abs(y - 10) < 3)
        self.flat = (np.abs(x - 30) < 4) & (np.abs(y - 10) < 4)
        self.car = (np.abs(x - 10) < 2.2) & (np.abs(y - 25) < 0.9)
        self.bush = np.hypot(x - 25, y - 28) < 1.5
        self.tree = np.hypot(x - 40, y - 35) < 4
        self.hedge = (np.abs(x - 12) < 6) & (np.abs(y - 40) < 0.4)
        self.pit = np.hypot(x - 45, y - 8) < 0.3
        above = np.zeros_like(x)
        above[self.gable] = (5 - 0.6 * np.abs(y - 10))[self.gable]
        above[self.flat] = 3 + (54 - self.terrain)[self.flat]
        above[self.car] = 1.5
        above[self.bush] = (1.2 + 0.1 * rough)[self.bush]
        above[self.tree] = (7 - 0.2 * (x - 40) ** 2 - 0.2 * (y - 35) ** 2 + 0.3 * rough)[self.tree]
        above[self.hedge] = (0.4 + 0.05 * rough)[self.hedge]
        above[self.pit] = -2
        self.bird = (480, 20)
        above[self.bird] = 8.0
        stands = above != 0
        above[stands] += 0.01 * rng.normal(0, 1, x.shape)[stands]
        self.surface = (self.terrain + above).astype(np.float32)
        self.sigma = np.full(x.shape, 0.012, np.float32)
        self.rgb = np.full((*x.shape, 3), GREEN, np.uint8)
        self.rgb[self.gable], self.rgb[self.flat], self.rgb[self.car] = RED, GREY, GREY
        self.ground = ~stands

    def classes(self, part: tuple[slice, slice] = np.s_[:, :]) -> np.ndarray:
        layers = (self.surface, self.terrain, self.sigma, self.rgb)
        return classify(*(layer[part] for layer in layers), CELL_M)


@pytest.fixture(scope="module")
def village() -> Village:
    return Village()


def test_houses_are_buildings_to_their_eaves(village: Village) -> None:
    found = village.classes()
    for house in (village.gable, village.flat):
        assert (found[house] == PointClass.BUILDING).mean() > 0.95
    assert (found[~village.gable & ~village.flat] != PointClass.BUILDING).all()


def test_plants_are_told_by_their_height_and_a_car_is_none(village: Village) -> None:
    found = village.classes()
    assert (found[village.bush] == PointClass.MEDIUM_PLANTS).mean() > 0.95
    assert (found[village.tree] == PointClass.HIGH_PLANTS).mean() > 0.9
    assert (found[village.hedge] == PointClass.LOW_PLANTS).mean() > 0.9
    inner = village.car & np.roll(village.car, 5, 0) & np.roll(village.car, -5, 0)
    assert (found[inner] == PointClass.UNCLASSIFIED).mean() > 0.9


def test_ground_is_what_the_terrain_took_and_false_heights_are_noise(village: Village) -> None:
    found = village.classes()
    assert (found[village.ground] == PointClass.GROUND).all()
    assert (found[village.pit] == PointClass.LOW_NOISE).all()
    assert found[village.bird] == PointClass.HIGH_NOISE


def test_a_bare_tree_is_a_plant_for_its_roughness(village: Village) -> None:
    rgb = np.where(village.tree[..., None], np.array(GREY, np.uint8), village.rgb)
    found = classify(village.surface, village.terrain, village.sigma, rgb, CELL_M)
    high = village.tree & (village.surface - village.terrain > 2.5)
    assert (found[high] == PointClass.HIGH_PLANTS).mean() > 0.9


def test_what_has_no_height_has_no_class(village: Village) -> None:
    surface = village.surface.copy()
    surface[:50] = np.nan
    found = classify(surface, village.terrain, village.sigma, village.rgb, CELL_M)
    assert (found[:50] == 0).all()
    assert (found[50:] > 0).all()


def test_a_tile_with_its_halo_has_the_classes_of_the_whole(village: Village) -> None:
    halo = round(HALO_M / CELL_M)
    whole = village.classes()
    part = village.classes(np.s_[: 250 + halo, 150 - halo :])
    assert (part[:250, halo:] == whole[:250, 150:]).all()


def test_a_plane_is_smooth_however_steep_and_noise_is_as_rough_as_it_is() -> None:
    row, col = np.mgrid[:60, :60]
    plane = (1000 + 0.9 * CELL_M * col - 0.4 * CELL_M * row).astype(np.float32)
    assert roughness(plane, CELL_M)[10:-10, 10:-10].max() < 1e-3
    noise = np.random.default_rng(1).normal(0, 0.2, plane.shape).astype(np.float32)
    assert np.median(roughness(plane + noise, CELL_M)) == pytest.approx(0.2, rel=0.1)


def test_grey_has_no_excess_of_green_at_any_brightness() -> None:
    for grey in (10, 120, 250):
        assert np.abs(excess_green(np.full((9, 9, 3), grey, np.uint8), CELL_M)).max() < 1e-6
    green = excess_green(np.full((9, 9, 3), GREEN, np.uint8), CELL_M)
    assert green[4, 4] == pytest.approx((260 - 160) / 290)
