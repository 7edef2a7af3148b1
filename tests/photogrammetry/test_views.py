"""Views of a tile: chosen, placed and packed."""

from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.projection import load_view, project, sample
from photogrammetry.search import Ground
from photogrammetry.viewchoice import choose_views
from photogrammetry.views import View, pack_grey, place_views
from tmp.cameras import Pose
from tmp.grids import Grid


@pytest.fixture(scope="module")
def world(small_world):
    return small_world.SmallWorld()


@pytest.fixture(scope="module")
def centre(small_world):
    return small_world.FRAME.map_from_world([[0.0, 0.0, 0.0]])[0]


@pytest.fixture(scope="module")
def placed(small_world, world, centre):
    return place_views(world.views, small_world.FRAME, centre, (4.0, 4.0), (98.0, 104.0))


def test_a_placed_view_projects_map_points_as_its_camera_does(small_world, world, centre, placed):
    offsets = np.array([[3.0, -2.0, 1.0], [-4.0, 4.0, -1.0]])
    world_points = small_world.FRAME.world_from_map(centre + offsets)
    for i, view in enumerate(placed.views):
        expected = view.camera.pixel_from_cam(view.pose.cam_from_world(world_points))
        # The frame is linearised over the tile: well below 0.01 px over a few metres.
        np.testing.assert_allclose(placed.pixel_from_tile(i, offsets), expected, atol=0.01)


def test_views_that_do_not_see_a_tile_are_passed_over(small_world, world, centre):
    far = centre + np.array([200.0, 0.0, 0.0])
    assert len(place_views(world.views, small_world.FRAME, far, (4.0, 4.0), (98.0, 104.0))) == 0
    assert len(place_views(world.views, small_world.FRAME, centre, (4.0, 4.0), (98.0, 104.0))) == 9


def test_a_packed_crop_holds_the_pixels_a_tile_point_projects_to(world, placed, tmp_path):
    store = world.store(tmp_path)
    lattice = np.array([(x, y, z) for x in (-4, 0, 4) for y in (-4, 0, 4) for z in (-2, 4)], float)
    packed = pack_grey(placed, store, 0.05, lattice)
    point = np.array([[1.5, -2.5, 0.5]])
    for i, view in enumerate(placed.views):
        px, py = project(load_view(packed.geometry, i), *point[0].astype(np.float32))
        found = sample(packed.pixels, packed.layout[i, 0], packed.layout[i, 2], px, py)
        whole, level = store.grey(view.name, 0)
        assert level == 0
        x, y = placed.pixel_from_tile(i, point)[0]
        flat = np.ascontiguousarray(whole).ravel()
        expected = sample(flat, 0, whole.shape[1], np.float32(x), np.float32(y))
        assert found == pytest.approx(expected, abs=0.5)  # 0.01 px on strong texture


def block_ground(centre) -> Ground:
    window = Grid(crs=None, x_min=centre[0] - 2, y_max=centre[1] + 2, cell_m=0.25, rows=16, cols=16)
    return Ground.of(window, 0, halo=0, radius=1, block=16)


def test_the_view_nearest_to_the_vertical_comes_first(placed, centre):
    ground = block_ground(centre)
    sheet = np.zeros((len(ground.y), len(ground.x)), np.float32)
    chosen = choose_views(placed, ground, sheet, count=5, max_off_nadir=0.9)
    assert chosen.shape == (1, 1, 5)
    names = [placed.views[i].name for i in chosen[0, 0]]
    assert names[0] == "4.jpg"  # the station above the middle
    assert set(names[1:3]) == {"3.jpg", "5.jpg"}  # 6 m beside it; the others are farther


def test_photographs_from_one_spot_count_once(small_world, world, centre):
    middle = world.views[4]
    again = [View(name=f"again{i}", camera=middle.camera, pose=middle.pose) for i in range(4)]
    placed = place_views(
        [middle, *again, world.views[0]], small_world.FRAME, centre, (3.0, 3.0), (98.0, 104.0)
    )
    ground = block_ground(centre)
    sheet = np.zeros((len(ground.y), len(ground.x)), np.float32)
    chosen = choose_views(placed, ground, sheet, count=5, max_off_nadir=0.9)[0, 0]
    assert sorted(chosen[chosen >= 0]) == [0, 5]


def test_a_view_too_far_off_the_vertical_is_not_chosen(small_world, centre):
    slant = View(
        name="slant",
        camera=small_world.CAMERA,
        pose=Pose.from_gimbal(90.0, -45.0, 0.0, (-30.0, 0.0, 30.0)),
    )
    placed = place_views([slant], small_world.FRAME, centre, (3.0, 3.0), (98.0, 104.0))
    assert len(placed) == 1
    ground = block_ground(centre)
    sheet = np.zeros((len(ground.y), len(ground.x)), np.float32)
    assert (choose_views(placed, ground, sheet, count=5, max_off_nadir=0.9) == -1).all()
