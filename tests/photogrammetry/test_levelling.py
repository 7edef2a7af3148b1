from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.ortho.gains import level_photographs

LOSS = 0.25


@pytest.fixture(scope="module")
def uneven(small_world):
    """The small world through a lens that darkens its corners, at exposures nobody recorded."""
    world = small_world.SmallWorld()
    rng = np.random.default_rng(5)
    gains = np.exp(rng.normal(0, 0.08, len(world.views)))
    camera = small_world.CAMERA
    x, y = np.meshgrid(np.arange(camera.width_px) + 0.5, np.arange(camera.height_px) + 0.5)
    r2 = (
        ((x - camera.cx_px) ** 2 + (y - camera.cy_px) ** 2)
        / (camera.width_px**2 + camera.height_px**2)
        * 4
    )
    fall_off = 1 - LOSS * r2
    values = {
        view.name: (world.render(view)[..., :1] * gain * fall_off[..., None]).astype(np.float32)
        for view, gain in zip(world.views, gains, strict=True)
    }
    px, py = rng.uniform(-11, 11, 3000), rng.uniform(-9, 9, 3000)
    points = np.column_stack([px, py, small_world.surface_height(px, py)])
    return world, gains, fall_off, values, points


def test_exposures_are_found_within_one_per_cent(uneven):
    world, gains, _, values, points = uneven
    found = level_photographs(world.views, points, values.__getitem__)
    product = np.array([found.gains[v.name][0] for v in world.views]) * gains
    assert np.ptp(product) / product.mean() < 0.02


def test_darkened_corners_are_lifted(uneven):
    world, _, fall_off, values, points = uneven
    found = level_photographs(world.views, points, values.__getitem__)
    factors = found.factors(world.views[4])[..., 0] / found.gains[world.views[4].name][0]
    assert factors[238, 322] == pytest.approx(1.0, abs=0.01)
    assert np.abs(factors * fall_off - 1).max() < 0.03


def test_gains_have_a_geometric_mean_of_one(uneven):
    world, _, _, values, points = uneven
    found = level_photographs(world.views, points, values.__getitem__)
    logs = np.log([found.gains[view.name][0] for view in world.views])
    assert abs(logs.mean()) < 1e-9


def test_factors_at_places_are_those_of_the_whole_photograph(uneven):
    world, _, _, values, points = uneven
    found = level_photographs(world.views, points, values.__getitem__)
    for view in (world.views[2], world.views[5]):
        at = found.factors_at(view, np.array([(10.5, 20.5), (322.5, 238.5)]))
        everywhere = found.factors(view)
        assert at == pytest.approx(everywhere[[20, 238], [10, 322]], rel=1e-5)
