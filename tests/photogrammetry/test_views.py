"""Views of a tile: chosen, placed and packed."""

from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.kernels.projection import load_view, project, sample
from photogrammetry.surface.search import LevelGrid, choose_views
from photogrammetry.views import View, pack_grey, place_views
from tmp.cameras import Pose
from tmp.geo.grids import Grid


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


def block_ground(centre) -> LevelGrid:
    window = Grid(crs=None, x_min=centre[0] - 2, y_max=centre[1] + 2, cell_m=0.25, rows=16, cols=16)
    return LevelGrid.of(window, 0, halo=0, radius=1, block=16)


def test_the_view_nearest_to_the_vertical_comes_first(placed, centre):
    ground = block_ground(centre)
    sheet = np.zeros((len(ground.y), len(ground.x)), np.float32)
    chosen = choose_views(placed, ground, sheet, count=5)
    assert (chosen >= 0).sum() == 5
    names = [placed.views[i].name for i in chosen[0, 0, :5]]
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
    chosen = choose_views(placed, ground, sheet, count=5)[0, 0]
    assert sorted(chosen[chosen >= 0]) == [0, 5]


def seen_from(small_world, centre, *east_m: float):
    """Place cameras 30 m up, so far west of the middle, that look at it."""
    views = [
        View(
            name=f"{away:g}",
            camera=small_world.CAMERA,
            pose=Pose.from_gimbal(
                90.0, -np.degrees(np.arctan2(30.0, away)), 0.0, (-away, 0.0, 30.0)
            ),
        )
        for away in east_m
    ]
    return place_views(views, small_world.FRAME, centre, (3.0, 3.0), (98.0, 104.0))


def choose(placed, centre, count=5):
    ground = block_ground(centre)
    sheet = np.zeros((len(ground.y), len(ground.x)), np.float32)
    chosen = choose_views(placed, ground, sheet, count=count)[0, 0]
    return [placed.views[i].name for i in chosen if i >= 0]


def test_a_view_too_far_off_the_vertical_is_not_chosen(small_world, centre):
    placed = seen_from(small_world, centre, 60.0)
    assert len(placed) == 1
    assert choose(placed, centre) == []


def test_slanted_views_are_taken_where_better_ones_lack_and_only_there(small_world, centre):
    few = seen_from(small_world, centre, 10.0, 35.0, 40.0, 45.0, 20.0)
    assert choose(few, centre) == ["10", "20", "35", "40"]
    enough = seen_from(small_world, centre, 5.0, 10.0, 15.0, 20.0, 35.0)
    assert choose(enough, centre) == ["5", "10", "15", "20"]


def test_views_of_a_part_of_a_block_are_taken_for_the_corners_that_lack_views(
    small_world, world, centre
):
    """Cameras whose picture ends in the middle of the block, on either side of it."""
    views = [
        View(
            name=f"{side}{number}",
            camera=small_world.CAMERA,
            pose=Pose.from_gimbal(
                0.0, -90.0, 0.0, (away + 2.5 * number * np.sign(away), 0.0, 30.0)
            ),
        )
        for side, away in (("west", -16.2), ("east", 15.9))
        for number in (0, -1)
    ]
    placed = place_views(views, small_world.FRAME, centre, (3.0, 3.0), (98.0, 104.0))
    assert sorted(choose(placed, centre, 4)) == ["east-1", "east0", "west-1", "west0"]


def test_a_slanted_views_level_goes_by_its_distance_along_the_ray(
    small_world, world, centre, tmp_path
):
    store = world.store(tmp_path)
    lattice = np.array([(x, y, z) for x in (-2, 0, 2) for y in (-2, 0, 2) for z in (-1, 1)], float)
    slanted = seen_from(small_world, centre, 45.0)
    view = View(name="4.jpg", camera=slanted.views[0].camera, pose=slanted.views[0].pose)
    slanted = place_views([view], small_world.FRAME, centre, (3.0, 3.0), (98.0, 104.0))
    # 54 m away a pixel is 9 cm, from 30 m above 5 cm: 7 cm lie between the first two levels.
    fx = pack_grey(slanted, store, 0.07 * np.sqrt(2), lattice).geometry[0, 12]
    assert fx == pytest.approx(small_world.CAMERA.fx_px)
    above = place_views([world.views[4]], small_world.FRAME, centre, (3.0, 3.0), (98.0, 104.0))
    assert pack_grey(above, store, 0.07 * np.sqrt(2), lattice).geometry[0, 12] == pytest.approx(
        small_world.CAMERA.fx_px / 2
    )
