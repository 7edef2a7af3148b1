import numpy as np
import pytest

from flightplan.rehearsal.lighting import upper_bounds
from flightplan.rehearsal.ray_tracing import (
    BLOCK,
    MISS,
    Ground,
    bilinear,
    hit_ground,
    hit_house,
    skip_ahead,
)

CELL_M = 0.05


def rough_ground(seed: int) -> Ground:
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 0.6, (12, 12))
    height = np.kron(coarse, np.ones((16, 16))) + rng.normal(0, 0.03, (192, 192))
    height = height.astype(np.float32)
    return Ground(
        height=height,
        upper=upper_bounds(height),
        upper_far=upper_bounds(height, BLOCK * BLOCK),
        layers=np.zeros((192, 192, 5), np.uint16),
        houses=np.empty((0, 9)),
        light=np.zeros(11),
        cell_m=CELL_M,
    )


def march(height: np.ndarray, origin: tuple[float, ...], direction: tuple[float, ...]) -> float:
    """Walk the ray in steps of 0.2 mm: slow, and hard to get wrong."""
    t = np.arange(0.0, 12.0, 2e-4)
    x, y = origin[0] + t * direction[0], origin[1] + t * direction[1]
    gx, gy = x / CELL_M - 0.5, y / CELL_M - 0.5
    inside = (gx >= 0) & (gy >= 0) & (gx < 191) & (gy < 191)
    i, j = gx.astype(int).clip(0, 190), gy.astype(int).clip(0, 190)
    u, v = gx - i, gy - j
    surface = (1 - v) * ((1 - u) * height[j, i] + u * height[j, i + 1]) + v * (
        (1 - u) * height[j + 1, i] + u * height[j + 1, i + 1]
    )
    below = inside & (origin[2] + t * direction[2] <= surface)
    return float(t[below.argmax()]) if below.any() else MISS


@pytest.mark.parametrize("seed", range(3))
def test_a_ray_ends_where_marching_in_tiny_steps_ends(seed: int) -> None:
    ground = rough_ground(seed)
    rng = np.random.default_rng(100 + seed)
    hits = 0
    for _ in range(60):
        origin = (*rng.uniform(3, 6.5, 2), 6.0)
        direction = (*rng.normal(0, 0.7, 2), -1.0)
        start = skip_ahead(ground, origin, direction)
        found = hit_ground(ground.height, 1 / CELL_M, origin, direction, max(start, 0.0))
        truth = march(ground.height, origin, direction)
        if start < 0 or truth < 0:
            assert truth < 0
            continue
        hits += 1
        # One step of the march; a corner grazed by less than that may be stepped over.
        assert found == pytest.approx(truth, abs=3e-4)
    assert hits > 20


def test_a_vertical_ray_meets_the_bilinear_height() -> None:
    ground = rough_ground(7)
    for x, y in ((2.0, 3.0), (4.321, 5.678)):
        t = hit_ground(ground.height, 1 / CELL_M, (x, y, 10.0), (0.0, 0.0, -1.0), 0.0)
        expected = bilinear(ground.height, x / CELL_M - 0.5, y / CELL_M - 0.5)
        assert 10.0 - t == pytest.approx(expected, abs=1e-9)


def test_a_ray_that_leaves_the_lattice_misses() -> None:
    ground = rough_ground(1)
    assert skip_ahead(ground, (5.0, 5.0, 50.0), (3.0, 0.0, -1.0)) == MISS


HOUSE = np.array([10.0, 20.0, 1.0, 0.0, 4.0, 3.0, 2.5, 4.0, 0.0])


def test_a_house_is_met_at_its_ridge_its_eaves_and_its_walls() -> None:
    down = (0.0, 0.0, -1.0)
    assert hit_house(HOUSE, (10.0, 20.0, 10.0), down)[0] == pytest.approx(6.0)
    assert hit_house(HOUSE, (10.0, 22.9999, 10.0), down)[0] == pytest.approx(7.5, abs=1e-3)
    assert hit_house(HOUSE, (10.0, 23.0001, 10.0), down) == (MISS, 0)
    level = hit_house(HOUSE, (0.0, 20.0, 1.0), (1.0, 0.0, 0.0))
    assert level == (pytest.approx(6.0), 5)
