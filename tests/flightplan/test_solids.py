"""Bodies on level ground: rays, distances, shadows, samples and who sees what, by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from flightplan.rehearsal.features import Block, Bush, FarmFeatures, House, Pole, Tree, read_farm
from flightplan.rehearsal.hamlet import CAMERA, HamletOptions, plan_hamlet
from flightplan.rehearsal.photographs import Station, render
from flightplan.rehearsal.scene import Scene
from flightplan.rehearsal.solids.bodies import SLAB_M, Kind, stand
from flightplan.rehearsal.solids.pictures import find_candidates
from flightplan.rehearsal.solids.tracing import hit_solids
from flightplan.rehearsal.truth import (
    crowns,
    distance_to_truth,
    roof_edges,
    sample_truth,
    seen_by,
    true_depth,
    wall_planes,
)
from tmp.errors import InputError
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid

GROUND_M = 100.0
FRAME = LocalFrame(origin=(-21.0, 64.0, GROUND_M), crs="EPSG:32627")
MIDDLE = FRAME.map_from_world([[0.0, 0.0, 0.0]])[0]
LIGHT = np.array([0.6, 0.0, 0.8, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2, 0.2, 0.2])
"""The sun stands in the east, lattice x, at 53°."""
HOUSE = House(
    centre=np.array([0.0, 0.0]),
    length_m=8.0,
    width_m=6.0,
    eaves_m=3.0,
    ridge_m=5.25,
    heading_deg=0.0,
    overhang_m=0.4,
)
"""Its roof falls by 3 in 4 and its length runs north."""
TREE = Tree(centre=np.array([10.0, 0.0]), trunk_m=0.3, crown_m=(4.0, 3.0), bottom_m=1.0, top_m=6.0)
POLE = Pole(centre=np.array([0.0, 10.0]), diameter_m=0.08, height_m=5.0)
BUSH = Bush(centre=np.array([-8.0, -8.0]), length_m=1.6, width_m=1.2, height_m=0.7)
SLAB = Block(
    centre=np.array([-10.0, 3.0]),
    length_m=2.0,
    width_m=1.0,
    heading_deg=90.0,
    bottom_m=2.0,
    top_m=2.25,
    foot=np.array([-10.0, 3.0]),
    kind="overhang",
    material="concrete",
)


def moved(thing):
    place = {name: getattr(thing, name) + MIDDLE[:2] for name in ("centre", "foot")
             if hasattr(thing, name)}  # fmt: skip
    return replace(thing, **place)


def scene_of(**features: tuple) -> Scene:
    """Return level ground, 40 m square, with features about its middle."""
    x, y = MIDDLE[:2]
    grid = Grid.from_bounds((x - 20, y - 20, x + 20, y + 20), 0.1, FRAME.crs)
    given = FarmFeatures(**{name: tuple(map(moved, each)) for name, each in features.items()})
    height = np.full(grid.shape, GROUND_M, np.float32)
    return Scene.lit(
        grid,
        height,
        np.full((*grid.shape, 5), 8000, np.uint16),
        LIGHT,
        houses=given.houses,
        solids=stand(given, height, grid, LIGHT),
    )


@pytest.fixture(scope="module")
def scene() -> Scene:
    return scene_of(houses=(HOUSE,), trees=(TREE,), poles=(POLE,), bushes=(BUSH,), blocks=(SLAB,))


def at(east: float, north: float, up: float) -> np.ndarray:
    return MIDDLE + np.array([east, north, up])


def first_hit(scene: Scene, start: np.ndarray, way: tuple[float, float, float]):
    """Return where a ray meets a body, in metres from the middle, and the kind of its face."""
    assert scene.solids is not None
    origin = tuple(scene.lattice_from_map(start[None])[0].tolist())
    east, north, up = way
    table, faces = scene.solids.table, scene.solids.faces
    t, k, face = hit_solids(table, faces, np.arange(len(table)), origin, (east, -north, up))
    if k < 0:
        return None, None
    kind = faces[face, 4] if face >= 0 else table[k, 16]
    return start - MIDDLE + t * np.array(way), Kind(int(kind))


def test_a_ray_from_below_meets_the_underside_of_an_eave(scene: Scene) -> None:
    # 0.2 m outside the wall the roof is 0.15 m below the wall's top; the slab hangs below it.
    place, kind = first_hit(scene, at(3.2, 0.0, 0.5), (0.0, 0.0, 1.0))
    assert kind is Kind.EAVE_UNDERSIDE
    assert place == pytest.approx([3.2, 0.0, 3.0 - 0.15 - SLAB_M * 1.25])


def test_rays_meet_roof_wall_gable_and_ridge_where_they_stand(scene: Scene) -> None:
    for start, way, expected, kind in (
        (at(1.5, 1.0, 9.0), (0, 0, -1), [1.5, 1.0, 5.25 - 1.125], Kind.ROOF),
        (at(-3.3999, 2.0, 9.0), (0, 0, -1), [-3.3999, 2.0, 5.25 - 0.75 * 3.3999], Kind.ROOF),
        (at(9.0, 1.0, 1.0), (-1, 0, 0), [3.0, 1.0, 1.0], Kind.WALL),
        (at(0.5, 9.0, 4.0), (0, -1, 0), [0.5, 4.0, 4.0], Kind.WALL),
    ):
        place, found = first_hit(scene, start, way)
        assert found is kind
        assert place == pytest.approx(expected, abs=1e-9)
    assert first_hit(scene, at(3.4001, 0.0, 9.0), (0, 0, -1)) == (None, None)


def test_rays_meet_crown_trunk_pole_bush_and_slab(scene: Scene) -> None:
    for start, way, expected, kind in (
        (at(10.0, 0.0, 9.0), (0, 0, -1), [10.0, 0.0, 6.0], Kind.CROWN),
        # The crown's length runs north.
        (at(10.0, 9.0, 3.5), (0, -1, 0), [10.0, 2.0, 3.5], Kind.CROWN),
        (at(19.0, 0.0, 3.5), (-1, 0, 0), [11.5, 0.0, 3.5], Kind.CROWN),
        (at(19.0, 0.0, 0.5), (-1, 0, 0), [10.15, 0.0, 0.5], Kind.TRUNK),
        (at(0.03, 15.0, 2.0), (0, -1, 0), [0.03, 10 + math.sqrt(0.04**2 - 0.03**2), 2.0],
         Kind.POLE),
        (at(0.0, 10.0, 9.0), (0, 0, -1), [0.0, 10.0, 5.0], Kind.POLE),
        (at(-8.0, -8.0, 9.0), (0, 0, -1), [-8.0, -8.0, 0.7], Kind.BUSH),
        (at(-10.0, 3.0, 0.1), (0, 0, 1), [-10.0, 3.0, 2.0], Kind.OVERHANG),
    ):  # fmt: skip
        place, found = first_hit(scene, start, way)
        assert found is kind
        assert place == pytest.approx(expected, abs=1e-9)


def test_distances_of_known_places(scene: Scene) -> None:
    cases = [
        (at(-15.0, -15.0, 0.37), 0.37),
        (at(-15.0, -15.0, -0.25), 0.25),
        (at(5.0, 0.0, 1.5), 1.5),  # as far from the wall as 2 m, from the ground 1.5
        (at(4.0, 0.0, 1.5), 1.0),
        (at(0.0, 0.0, 6.05), 0.8),  # above the ridge
        (at(1.5, 0.0, 5.25 - 1.125 + 0.5), 0.5 / 1.25),  # above the slope
        (at(1.5, 0.0, 5.25 - 1.125 - 0.1), 0.1 / 1.25),  # within the slab
        (at(0.0, 0.0, 2.0), 3.25 / 1.25),  # in the house, below its slopes
        (at(10.0, 0.0, 6.5), 0.5),
        (at(12.0, 0.0, 3.5), 0.5),
        (at(0.0, 10.5, 4.0), 0.46),
        (at(0.0, 10.0, 5.3), 0.3),
        (at(-10.0, 3.0, 2.35), 0.1),
        (at(-8.7, 3.0, 2.1), 0.3),
        (at(-8.6, 3.9, 2.1), math.hypot(0.4, 0.4)),  # beside an upright edge
    ]
    found = distance_to_truth(scene, [place for place, _ in cases])
    assert found == pytest.approx([expected for _, expected in cases], abs=1e-6)


def test_distances_over_rough_ground_are_those_to_the_nearest_of_many_places() -> None:
    rng = np.random.default_rng(4)
    bare = scene_of()
    height = rng.normal(GROUND_M, 0.02, bare.grid.shape).astype(np.float32)
    rough = Scene.lit(bare.grid, height, np.zeros((*height.shape, 5), np.uint16), LIGHT)
    x, y = MIDDLE[:2]
    dense = sample_truth(rough, 0.004, bounds=(x - 1.5, y - 1.5, x + 1.5, y + 1.5)).points
    places = MIDDLE + rng.uniform([-0.8, -0.8, -0.6], [0.8, 0.8, 0.6], (40, 3))
    nearest = np.array([np.linalg.norm(dense - place, axis=1).min() for place in places])
    found = distance_to_truth(rough, places)
    assert (found <= nearest + 1e-6).all()
    assert found == pytest.approx(nearest, abs=0.002)


def test_samples_lie_on_the_surface_and_none_is_hidden(scene: Scene) -> None:
    truth = sample_truth(scene, 0.1)
    assert distance_to_truth(scene, truth.points).max() < 1e-5
    assert np.linalg.norm(truth.normals, axis=1) == pytest.approx(1.0)
    assert set(truth.kind) == {
        *(Kind.GROUND, Kind.WALL, Kind.ROOF, Kind.EAVE_UNDERSIDE, Kind.OVERHANG),
        *(Kind.CROWN, Kind.TRUNK, Kind.POLE, Kind.BUSH),
    }
    out = distance_to_truth(scene, truth.points + 0.01 * truth.normals)
    assert np.median(out) == pytest.approx(0.01)
    there = truth.points - MIDDLE
    inside = (abs(there[:, 0]) < 2.9) & (abs(there[:, 1]) < 3.9) & (there[:, 2] < 3.0)
    assert not inside.any()


def test_samples_are_as_many_as_the_surface_is_large(scene: Scene) -> None:
    truth = sample_truth(scene, 0.05)
    area = {kind: (truth.kind == kind).sum() * 0.05**2 for kind in Kind}
    # Both slopes, and the edges of the slabs at the eaves and over the gables.
    assert area[Kind.ROOF] == pytest.approx(
        2 * 4.25 * 8.8 + 2 * 8.8 * SLAB_M * 1.25 + 4 * 4.25 * SLAB_M, rel=0.02
    )
    assert area[Kind.WALL] == pytest.approx(2 * 8 * 2.8 + 2 * 6 * 3.9, rel=0.03)
    assert area[Kind.OVERHANG] == pytest.approx(2 * 2.0 + 6 * 0.25, rel=0.03)
    # Thomsen's approximation of half an ellipsoid, within 1 %.
    assert area[Kind.BUSH] == pytest.approx(3.06, rel=0.02)


def test_crowns_have_the_volume_of_their_ellipsoid(scene: Scene) -> None:
    (crown,) = crowns(scene)
    assert crown.volume_m3 == pytest.approx(4 / 3 * math.pi * 2.0 * 1.5 * 2.5)
    assert crown.centre == pytest.approx(at(10.0, 0.0, 3.5))
    assert crown.heading_deg == pytest.approx(0.0)
    rng = np.random.default_rng(0)
    box = rng.uniform(-1, 1, (20000, 3)) * [1.5, 2.0, 2.5]
    share = ((box / [1.5, 2.0, 2.5]) ** 2).sum(axis=1) < 1
    assert share.mean() * 60.0 == pytest.approx(crown.volume_m3, rel=0.02)


def test_roof_edges_and_walls_are_those_of_the_house(scene: Scene) -> None:
    edges = {(edge.name, n): edge.ends - MIDDLE for n, edge in enumerate(roof_edges(scene))}
    eaves = [ends for (name, _), ends in edges.items() if name == "eave"]
    assert len(edges) == 7
    assert {round(float(abs(ends[0, 0])), 6) for ends in eaves} == {3.4}
    assert all(ends[:, 2] == pytest.approx(3.0 - 0.3) for ends in eaves)
    (ridge,) = [ends for (name, _), ends in edges.items() if name == "ridge"]
    assert sorted(ridge[:, 1]) == pytest.approx([-4.4, 4.4])
    for edge in roof_edges(scene):
        along = np.linspace(0.01, 0.99, 20)[:, None]
        assert distance_to_truth(
            scene, edge.ends[0] + along * (edge.ends[1] - edge.ends[0])
        ) == pytest.approx(0, abs=1e-6)
    walls = wall_planes(scene)
    assert [len(wall.corners) for wall in walls] == [5, 4, 5, 4]
    for wall in walls:
        middle = wall.corners.mean(axis=0) - [0, 0, 1]
        assert distance_to_truth(scene, [middle + 0.05 * wall.normal])[0] == pytest.approx(0.05)


def over(east: float, north: float, pitch_deg: float = -90.0, yaw_deg: float = 0.0) -> Station:
    return Station(position=(east, north, 15.0), yaw_deg=yaw_deg, pitch_deg=pitch_deg)


def test_a_place_behind_the_house_is_seen_by_those_who_look_past_it(scene: Scene) -> None:
    camera = CAMERA.scaled(408, 306)
    places = [at(-3.0, 0.0, 1.5), at(-3.2, 0.0, 0.0), at(1.5, 0.0, 5.25 - 1.125), at(9.0, 0.0, 0.0)]
    normals = [(-1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.6, 0.0, 0.8), (0.0, 0.0, 1.0)]
    above, west = over(0.0, 0.0), over(-15.0, 0.0, -45.0, 90.0)
    east = over(15.0, 0.0, -45.0, 270.0)

    def seen(*stations: Station) -> list[int]:
        views = [(camera, station.pose) for station in stations]
        return seen_by(scene, FRAME, places, normals, views).tolist()

    # From above the eave hides the ground below it, and the wall is seen edge on.
    assert seen(above) == [0, 0, 1, 0]
    assert seen(west) == [1, 1, 0, 1]
    # The tree hides the ground behind it.
    assert seen(east) == [0, 0, 1, 0]
    assert seen(above, west, east, west) == [2, 2, 2, 2]
    views = [(camera, west.pose)] * 5
    assert seen_by(scene, FRAME, places, normals, views, enough=3).tolist() == [3, 3, 0, 3]


def test_a_photograph_shows_each_thing_where_the_camera_projects_it(scene: Scene) -> None:
    camera = replace(CAMERA, k1=-0.02)
    station = over(0.0, 6.0, -75.0)
    radiance = render(scene, FRAME, camera, station)[..., 1]
    foot, top = FRAME.world_from_map([at(0.0, 10.0, 0.0), at(0.0, 10.0, 5.0)])
    (u0, v0), (u1, v1) = camera.pixel_from_cam(station.pose.cam_from_world([foot, top]))
    for share in (0.2, 0.5, 0.8):
        row = round(v0 + share * (v1 - v0))
        middle = u0 + (row + 0.5 - v0) / (v1 - v0) * (u1 - u0)
        cols = np.arange(round(middle) - 12, round(middle) + 12)
        apart = abs(radiance[row, cols] / np.median(radiance[row, cols]) - 1) > 0.25
        # Half the pole is in the sun, the other half in its own shadow.
        edges = cols[apart][[0, -1]] + [0, 1]
        assert np.ptp(edges) == pytest.approx(10, abs=2)
        assert edges.mean() == pytest.approx(middle, abs=1.0)


def test_true_depth_leads_back_to_the_surface(scene: Scene) -> None:
    camera = CAMERA.scaled(136, 102)
    for station in (over(2.0, 1.0), over(-10.0, 0.0, -55.0, 80.0)):
        depth = true_depth(scene, FRAME, camera, station.pose)
        rows, cols = np.indices(depth.shape)
        pixels = np.column_stack([cols.ravel() + 0.5, rows.ravel() + 0.5])
        rays = camera.ray_from_pixel(pixels) * depth.ravel()[:, None]
        places = FRAME.map_from_world(rays @ station.pose.rotation + station.pose.centre)
        seen = np.isfinite(depth.ravel())
        assert seen.mean() > 0.8
        # Depths are of single precision, and the camera's affine map is good to 0.2 mm.
        assert distance_to_truth(scene, places[seen]).max() < 1e-3
        assert np.ptp(depth[np.isfinite(depth)]) > 5


def test_no_body_is_missing_among_those_that_a_square_may_show(scene: Scene) -> None:
    assert scene.solids is not None
    rng, table = np.random.default_rng(1), scene.solids.table
    every, found = np.arange(len(table)), np.empty(len(table), np.int64)
    hits = 0
    for _ in range(400):
        centre = (*rng.uniform(5, 35, 2).tolist(), GROUND_M + 15.0)
        axis = np.array([*rng.normal(0, 0.6, 2), -1.0])
        across = np.cross(axis, rng.normal(size=3))
        across *= 0.02 / np.linalg.norm(across)
        down = np.cross(axis, across) / np.linalg.norm(axis)
        corners = np.array([axis, axis + across, axis + down, axis + across + down])
        count = find_candidates(scene.solids, centre, corners, found)
        for u, v in rng.uniform(0, 1, (5, 2)):
            ray = tuple((axis + u * across + v * down).tolist())
            expected = hit_solids(table, scene.solids.faces, every, centre, ray)
            assert hit_solids(table, scene.solids.faces, found[:count], centre, ray) == expected
            hits += expected[1] >= 0
    assert hits > 150


def test_bodies_cast_shadows_on_the_ground_and_on_one_another() -> None:
    low = replace(SLAB, centre=np.array([-10.0, 3.0]), bottom_m=0.5, top_m=0.6, kind="wall")
    lonely = scene_of(blocks=(low,))
    shaded = scene_of(blocks=(low, replace(SLAB, length_m=6.0, width_m=6.0)))
    grid = Grid.from_bounds(
        tuple(np.concatenate([at(-10.4, 2.8, 0)[:2], at(-9.8, 3.2, 0)[:2]])), 0.2, FRAME.crs
    )
    # Seen from above is the slab; what lies below it is asked for by a ray from aside.
    _, bright = lonely.seen_from_above(grid)
    assert bright.mean() > 0
    ground = shaded.ground.layers[..., 1]
    row, col = ground.shape[0] // 2 - 30, ground.shape[1] // 2 - 100 - 15
    # The shadow of a slab at 2 m falls 1.5 m to the west of it.
    assert ground[row, col] == pytest.approx(8000 * 0.2, rel=0.02)
    assert ground[10, 10] == pytest.approx(8000 * 1.0, rel=0.02)


def test_the_ground_below_grass_is_known() -> None:
    hamlet = read_farm("hamlet")
    patch = hamlet.features.grass[1]
    x, y = np.array(hamlet.corner) + patch.centre
    bounds = (x - 6.0, y - 6.0, x + 6.0, y + 6.0)
    grown = Scene.build(hamlet, bounds)
    mown = Scene.build(replace(hamlet, features=replace(hamlet.features, grass=())), bounds)
    assert grown.bare == pytest.approx(mown.ground.height, abs=1e-4)
    assert mown.bare is mown.ground.height
    assert grown.grass is not None
    assert 0.7 * patch.height_m < grown.grass.max() <= 1.1 * patch.height_m
    assert 0.05 < grown.grass[100:140, 100:140].mean() < patch.height_m
    assert grown.grass[0].max() == 0
    kinds = sample_truth(grown, 0.1).kind
    assert 25 < (kinds == Kind.GRASS).sum() * 0.1**2 < 60
    open_ground = grown.masks(grown.grid)["open_ground"]
    assert not (open_ground & (grown.grass > 0.01)).any()


def test_two_trees_of_the_hamlet_touch_and_two_grow_into_each_other() -> None:
    hamlet = read_farm("hamlet")
    trees, corner = hamlet.features.trees, np.array(hamlet.corner)
    assert len(trees) == 6
    low = corner + np.min([tree.centre for tree in trees], axis=0) - 5
    high = corner + np.max([tree.centre for tree in trees], axis=0) + 5
    scene = Scene.build(hamlet, (*low, *high), cell_m=0.25)
    found = crowns(scene)
    assert len(found) == 6
    apart = np.linalg.norm(found[2].centre[:2] - found[3].centre[:2])
    assert apart == pytest.approx(found[2].half_axes_m[0] + found[3].half_axes_m[0], abs=0.01)
    apart = np.linalg.norm(found[4].centre[:2] - found[5].centre[:2])
    assert apart < found[4].half_axes_m[0] + found[5].half_axes_m[0] - 0.5
    assert len(scene.houses) == 3
    assert {edge.house for edge in roof_edges(scene)} == {0, 1, 2}


def test_a_country_of_no_known_name_is_refused() -> None:
    with pytest.raises(InputError, match="give 'farm' or 'hamlet'"):
        read_farm("city")


def test_the_hamlet_is_looked_at_from_four_sides() -> None:
    stations = plan_hamlet(HamletOptions())
    assert 80 <= len(stations) <= 100
    aslant = [s for s in stations if s.pitch_deg == -45.0]
    assert {s.yaw_deg for s in aslant} == {0.0, 90.0, 180.0, 270.0}
    assert {s.pitch_deg for s in plan_hamlet(HamletOptions(tilts_deg=()))} == {-90.0}
    for station in aslant:
        forward = station.pose.rotation[2]
        target = station.pose.centre - forward * station.pose.centre[2] / forward[2]
        assert np.abs(target[:2]).max() < 30.0


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (replace(SLAB, material="jelly"), "material 'jelly' is unknown; choose one of"),
        (replace(SLAB, kind="roof"), "block of kind 'roof'; choose one of"),
    ],
)
def test_blocks_of_no_known_kind_are_refused(thing: Block, message: str) -> None:
    with pytest.raises(InputError, match=message):
        scene_of(blocks=(thing,))


def test_a_spacing_of_nothing_is_refused(scene: Scene) -> None:
    with pytest.raises(InputError, match="spacing 0 m is not positive"):
        sample_truth(scene, 0)
