import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flightplan.rehearsal.farm import PLATES
from flightplan.rehearsal.features import Farm
from flightplan.rehearsal.ground import shape_ground
from flightplan.rehearsal.photographs import write_truth
from flightplan.rehearsal.ray_tracing import hit_ground, hit_houses, skip_ahead
from flightplan.rehearsal.scene import Scene
from tmp.errors import InputError
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid


@pytest.fixture(scope="module")
def grid(house_scene: Scene) -> Grid:
    x_min, y_min, x_max, y_max = house_scene.grid.bounds
    return Grid.from_bounds(
        (x_min + 2, y_min + 2, x_max - 2, y_max - 2), 0.05, house_scene.grid.crs
    )


def test_the_true_surface_is_what_a_vertical_ray_hits(house_scene: Scene, grid: Grid) -> None:
    height, _ = house_scene.seen_from_above(grid)
    x, y = grid.cell_centres()
    ground, down = house_scene.ground, (0.0, 0.0, -1.0)
    rng = np.random.default_rng(0)
    for row, col in rng.integers(0, grid.rows, (200, 2)):
        px, py, pz = house_scene.lattice_from_map([[x[col], y[row], 400.0]])[0].tolist()
        origin = (px, py, pz)
        start = skip_ahead(ground, origin, down)
        t = hit_ground(ground.height, 1 / ground.cell_m, origin, down, start)
        roof, _, _ = hit_houses(ground.houses, origin, down)
        first = min(t, roof) if roof >= 0 else t
        assert height[row, col] == pytest.approx(400.0 - first, abs=1e-4)


def test_the_house_stands_on_its_footprint_with_vertical_walls(
    house_scene: Scene, grid: Grid
) -> None:
    height, _ = house_scene.seen_from_above(grid, samples=1)
    inside = house_scene.masks(grid)["house"]
    house = house_scene.houses[0]
    assert inside.sum() * grid.cell_m**2 == pytest.approx(house.length_m * house.width_m, rel=0.01)
    near = np.hypot(
        *np.meshgrid(*(c - m for c, m in zip(grid.cell_centres(), house.centre, strict=True)))
    )
    around = (near < 8) & ~inside
    assert height[inside].min() > np.median(height[around]) + house.eaves_m - 0.5
    assert np.ptp(height[inside]) == pytest.approx(house.ridge_m - house.eaves_m, abs=0.05)


def test_turf_walls_are_low_and_kept_apart_from_open_ground(house_scene: Scene, grid: Grid) -> None:
    masks, wall = house_scene.masks(grid), house_scene.wall_height(grid)
    assert 0.5 < wall.max() < 1.3
    assert not (masks["open_ground"] & (masks["turf_wall"] | masks["house"])).any()
    assert 0.3 < masks["open_ground"].mean() < 0.9
    assert wall[masks["open_ground"]].max() < 0.01


def test_ndvi_tells_grass_from_roof(house_scene: Scene, grid: Grid) -> None:
    _, radiance = house_scene.seen_from_above(grid)
    ndvi = house_scene.ndvi(radiance)
    masks = house_scene.masks(grid)
    assert np.median(ndvi[masks["open_ground"]]) > 0.5
    assert np.median(ndvi[masks["house"]]) < 0.2


def test_level_ground_in_the_sun_has_the_radiance_of_its_reflectance(grid: Grid) -> None:
    reflectance = np.full((*grid.shape, 5), 8000, np.uint16)
    light = np.array([0.6, 0.0, 0.8, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2, 0.2, 0.2])
    scene = Scene.lit(grid, np.full(grid.shape, 3.0, np.float32), reflectance, light)
    height, radiance = scene.seen_from_above(
        Grid.from_bounds(
            (grid.x_min + 1, grid.y_max - 2, grid.x_min + 2, grid.y_max - 1), 0.1, grid.crs
        )
    )
    assert height == pytest.approx(3.0)
    # Detail below the raster's cell varies about the mean.
    assert radiance.mean() == pytest.approx(0.2, abs=0.01)
    assert not scene.houses
    assert not scene.water.any()


def test_the_ground_goes_on_without_a_step_into_its_mirror_image(farm: Farm) -> None:
    edge = farm.corner[0] + farm.size_m[0]
    north = farm.corner[1] + 60
    bounds = (edge - 20, north, edge + 20, north + 30)
    grid = Grid.from_bounds(bounds, 0.1, farm.crs)
    features = farm.features_over(bounds)
    height = shape_ground(farm, features, grid).height
    steps = abs(np.diff(height, axis=1))
    assert steps[:, 195:205].max() < 0.1
    assert {len(boulder.centre) for boulder in features.boulders} == {2}
    inside = [b.centre[0] for b in farm.features.boulders]
    assert len(features.boulders) == 2 * len(inside)


def test_truth_in_another_crs_is_refused(house_scene: Scene) -> None:
    grid = Grid(crs="EPSG:32628", x_min=0, y_max=1, cell_m=0.5, rows=2, cols=2)
    with pytest.raises(InputError, match="use the scene's CRS"):
        house_scene.seen_from_above(grid)


def test_a_plate_lies_level_and_reflects_what_it_says_in_all_bands(farm: Farm) -> None:
    plated = replace(farm, features=replace(farm.features, plates=PLATES[:1]))
    x, y = farm.corner[0] + PLATES[0].centre[0], farm.corner[1] + PLATES[0].centre[1]
    bounds = (x - 3, y - 3, x + 3, y + 3)
    scene, bare = Scene.build(plated, bounds), Scene.build(farm, bounds)
    grid = Grid.from_bounds((x - 0.4, y - 0.4, x + 0.4, y + 0.4), 0.05, farm.crs)
    (height, radiance), (below, _) = (s.seen_from_above(grid) for s in (scene, bare))
    assert np.ptp(height) == 0
    assert height[0, 0] == pytest.approx(scene.plate_height(scene.plates[0]))
    assert (height >= below).all()
    assert radiance[..., 1] == pytest.approx(PLATES[0].reflectance, rel=0.01)
    assert scene.ndvi(radiance) == pytest.approx(0, abs=0.001)
    assert bare.plates == ()
    outside = np.s_[:30, :30]
    assert (scene.ground.layers[outside] == bare.ground.layers[outside]).all()


def test_a_scene_holds_what_stands_in_it_and_nothing_beside_or_beyond(farm: Farm) -> None:
    here = PLATES[0]
    east, north = (
        replace(here, centre=(here.centre[0] + dx, here.centre[1] + dy))
        for dx, dy in ((20.0, 0.0), (0.0, 20.0))
    )
    plated = replace(farm, features=replace(farm.features, plates=(east, here, north)))
    x, y = farm.corner[0] + here.centre[0], farm.corner[1] + here.centre[1]
    (found,) = Scene.build(plated, (x - 3, y - 3, x + 3, y + 3)).plates
    assert found.centre == pytest.approx((x, y))


def test_targets_of_known_reflectance_are_part_of_the_truth(
    farm: Farm, frame: LocalFrame, tmp_path: Path
) -> None:
    plated = replace(farm, features=replace(farm.features, plates=PLATES))
    x, y = farm.corner[0] + PLATES[1].centre[0], farm.corner[1] + PLATES[1].centre[1]
    scene = Scene.build(plated, (x - 6, y - 6, x + 6, y + 6))
    grid = Grid.from_bounds((x - 1, y - 1, x + 1, y + 1), 0.1, farm.crs)
    write_truth(tmp_path, scene, frame, [], [], grid)
    given = json.loads((tmp_path / "targets.geojson").read_text())["features"]
    assert [entry["properties"]["reflectance"] for entry in given] == [0.05, 0.18, 0.36]
    ring = np.array(given[1]["geometry"]["coordinates"][0])
    assert ring.shape == (5, 3)
    assert np.linalg.norm(np.diff(ring[:, :2], axis=0), axis=1) == pytest.approx(1.2)
    assert ring[:, :2].min(axis=0) == pytest.approx([x - 0.65, y - 0.65], abs=0.02)
