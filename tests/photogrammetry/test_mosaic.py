from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from photogrammetry.ortho.mosaic import mosaic_tile
from photogrammetry.ortho.seams import (
    BLOCK_LABELS,
    HALO_LABELS,
    LABEL_CELLS,
    LabelGround,
    SurfaceWindow,
    _beyond_lens,
    _layers,
    _rank,
    _Sight,
    ground_window,
    views_near,
)
from photogrammetry.pictures import DecodedPictures, read_photograph
from photogrammetry.views import trusted_radius2
from tmp.cameras import Camera
from tmp.geo.grids import Grid, Tile

CELL_M, GSD_M = 0.15, 0.05


@pytest.fixture(scope="module")
def flown_world(small_world, tmp_path_factory):
    """The small world with its photographs as files, its true surface, and a grid over it."""
    folder = tmp_path_factory.mktemp("world")
    world = small_world.SmallWorld()
    for view in world.views:
        # PNG under the photograph's name: OpenCV goes by content, and nothing is lost.
        ok, coded = cv2.imencode(".png", world.render(view))
        assert ok
        (folder / view.name).write_bytes(coded.tobytes())
    store = world.store(folder / "pictures")
    frame = small_world.FRAME
    middle = frame.map_from_world([[0, 0, 0]])[0]
    bounds = (middle[0] - 6, middle[1] - 5, middle[0] + 6, middle[1] + 5)
    surface = Grid.from_bounds(bounds, CELL_M, frame.crs)
    return world, small_world, folder, store, surface


def ground_of(small_world, surface: Grid, tile: Tile) -> SurfaceWindow:
    grid = surface.window(tile)
    x, y = np.meshgrid(*grid.cell_centres())
    points = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, 100.0)])
    world = small_world.FRAME.world_from_map(points)
    height = 100.0 + small_world.surface_height(world[:, 0], world[:, 1]).reshape(x.shape)
    return SurfaceWindow(
        grid=grid, height=height.astype(np.float32), mapped=np.ones(x.shape, np.bool_)
    )


def true_colours(world, small_world, window: Grid) -> np.ndarray:
    x, y = np.meshgrid(*window.cell_centres())
    points = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, 100.0)])
    at = small_world.FRAME.world_from_map(points)
    return world.colour(at[:, 0].reshape(x.shape), at[:, 1].reshape(x.shape))


def render(flown_world, window: Grid, gains=None, halvings: int = 0) -> np.ndarray:
    world, small_world, folder, store, surface = flown_world
    tile = ground_window(surface, window)
    return mosaic_tile(
        window,
        ground_of(small_world, surface, tile),
        world.views,
        gains or {view.name: np.ones(3) for view in world.views},
        small_world.FRAME,
        store,
        DecodedPictures(
            folder,
            budget_bytes=10**8,
            load=lambda name: read_photograph(folder / name, halvings=halvings),
        ),
    )


def window_over(surface: Grid) -> Grid:
    return Grid.from_bounds(surface.bounds, GSD_M, surface.crs)


def test_the_orthomosaic_lies_within_a_fifth_of_a_pixel_of_the_truth(flown_world) -> None:
    world, small_world, *_, surface = flown_world
    window = window_over(surface)
    made = render(flown_world, window)
    assert (made[3] == 255).all()
    truth = true_colours(world, small_world, window)
    # Away from the box, whose walls hide some ground.
    part = np.s_[10:190, 10:70]
    shift, response = cv2.phaseCorrelate(
        made[1][part].astype(np.float64), truth[part].astype(np.float64)
    )
    assert response > 0.5
    assert np.hypot(*shift) < 0.2


def test_halved_photographs_are_drawn_in_the_same_place(flown_world) -> None:
    window = window_over(flown_world[-1])
    whole, halved = render(flown_world, window), render(flown_world, window, halvings=1)
    part = np.s_[10:190, 10:70]
    shift, response = cv2.phaseCorrelate(
        whole[1][part].astype(np.float64), halved[1][part].astype(np.float64)
    )
    assert response > 0.5
    assert np.hypot(*shift) < 0.1
    assert halved[1][part].std() < whole[1][part].std()


def test_colours_are_those_of_the_ground_within_the_blur_of_sampling(flown_world) -> None:
    world, small_world, *_, surface = flown_world
    window = window_over(surface)
    made = render(flown_world, window)
    truth = cv2.GaussianBlur(true_colours(world, small_world, window), (0, 0), 0.7)
    error = (made[0].astype(float) - truth)[10:190, 10:70]
    assert abs(error.mean()) < 1.0
    assert error.std() < 6.0  # the texture's own is 28


def test_the_roof_is_where_it_is_and_not_where_it_leans_to(flown_world) -> None:
    world, small_world, *_, surface = flown_world
    window = window_over(surface)
    made = render(flown_world, window).astype(float)
    truth = true_colours(world, small_world, window)
    roof = np.s_[80:120, 85:155]
    shift, _ = cv2.phaseCorrelate(made[1][roof].copy(), truth[roof].astype(np.float64))
    assert np.hypot(*shift) < 0.5


def test_neighbouring_tiles_meet_without_a_seam(flown_world) -> None:
    *_, surface = flown_world
    window = window_over(surface)
    whole = render(flown_world, window)
    half = Tile(row=0, col=0, rows=window.rows, cols=120)
    part = render(flown_world, window.window(half))
    differs = np.abs(whole[:3, :, :120].astype(int) - part[:3].astype(int)).max(axis=0)
    assert (differs[:, -40:] > 3).mean() < 0.01


def test_a_darker_photograph_with_its_gain_changes_nothing_visible(flown_world) -> None:
    world, *_, surface = flown_world
    window = window_over(surface)
    even = render(flown_world, window)
    name = world.views[4].name
    gains = {view.name: np.ones(3) for view in world.views} | {name: np.full(3, 1.02)}
    uneven = render(flown_world, window, gains)
    assert np.abs(even[:3].astype(int) - uneven[:3].astype(int)).mean() < 3.0


def test_ground_outside_the_map_is_transparent_and_black(flown_world) -> None:
    world, small_world, folder, store, surface = flown_world
    window = window_over(surface)
    ground = ground_of(small_world, surface, ground_window(surface, window))
    mapped = ground.mapped.copy()
    x, _ = ground.grid.cell_centres()
    mapped[:, x < surface.x_min + 3] = False
    cut = SurfaceWindow(grid=ground.grid, height=ground.height, mapped=mapped)
    made = mosaic_tile(
        window,
        cut,
        world.views,
        {view.name: np.ones(3) for view in world.views},
        small_world.FRAME,
        store,
        DecodedPictures(folder, budget_bytes=10**8),
    )
    assert not made[:, :, :55].any()
    assert (made[3, :, 65:] == 255).all()


def test_nothing_mapped_gives_an_empty_tile(flown_world) -> None:
    world, small_world, folder, store, surface = flown_world
    window = window_over(surface)
    ground = ground_of(small_world, surface, ground_window(surface, window))
    nothing = SurfaceWindow(
        grid=ground.grid, height=ground.height, mapped=np.zeros_like(ground.mapped)
    )
    made = mosaic_tile(
        window, nothing, world.views, {}, small_world.FRAME, store,
        DecodedPictures(folder, budget_bytes=1),
    )  # fmt: skip
    assert not made.any()


def test_ground_windows_keep_to_squares_of_labels_and_leave_room() -> None:
    surface = Grid(crs=None, x_min=0.0, y_max=100.0, cell_m=0.5, rows=200, cols=200)
    window = Grid.from_bounds((20.3, 30.1, 27.9, 39.9), 0.1, None)
    tile = ground_window(surface, window)
    assert tile.row % (LABEL_CELLS * BLOCK_LABELS) == 0
    assert tile.col % (LABEL_CELLS * BLOCK_LABELS) == 0
    covered = surface.window(tile).bounds
    room = HALO_LABELS * LABEL_CELLS * surface.cell_m
    assert covered[0] <= 20.3 - room
    assert covered[3] >= 39.9 + room


def test_a_place_is_offered_the_same_views_from_every_tile(flown_world) -> None:
    world, small_world, *_, surface = flown_world
    window = window_over(surface)
    places = []
    for part in (
        Tile(row=0, col=0, rows=window.rows, cols=120),
        Tile(row=0, col=120, rows=window.rows, cols=120),
    ):
        own = window.window(part)
        tile = ground_window(surface, own)
        ground = ground_of(small_world, surface, tile)
        labels = LabelGround.of(own, ground)
        near = views_near(world.views, small_world.FRAME, labels, ground)
        by_name = {view.name: near.offered(i) for i, view in enumerate(near.placed.views)}
        places.append((tile, by_name))
    (one, left), (other, right) = places
    shift = (other.col - one.col) // LABEL_CELLS
    assert shift > 0
    assert set(left) == set(right)
    for name, mask in left.items():
        width = mask.shape[1] - shift
        np.testing.assert_array_equal(mask[:, shift:], right[name][:, :width])


def test_a_wall_hides_as_much_ground_as_it_is_high_from_a_view_at_45_degrees() -> None:
    """A wall of 8 m from x = 0 to 1 m, seen from the east; what is hidden lies to its west."""
    x = np.arange(-19.75, 20, 0.5, dtype=np.float32)
    height = np.tile(np.where((x > 0) & (x < 1), 8, 0).astype(np.float32), (20, 1))
    ones = np.ones(height.shape, bool)
    labels = LabelGround(
        centre=np.zeros(3), x=x, y=np.arange(20, 10, -0.5, dtype=np.float32), height=height,
        cell_m=0.5, mapped=ones, x_pixel=x, y_pixel=x,
    )  # fmt: skip
    placed = SimpleNamespace(centres=np.array([[1000.0, 15.0, 1000.0]]))
    seen = _Sight(placed=placed, labels=labels, packed=()).open(0, ones)  # type: ignore[arg-type]
    assert not seen[:, (x > -6.5) & (x < 0)].any()
    assert seen[:, (x < -8) | (x > 0)].all()


@pytest.mark.parametrize("course", [(1.0, 0.0), (0.0, 1.0), (-0.6, 0.8)])
def test_beyond_the_corner_of_a_picture_a_lens_is_followed_straight_on(small_world, course) -> None:
    camera = small_world.CAMERA
    placed = SimpleNamespace(views=[SimpleNamespace(camera=camera)], cam_from_tile=[np.eye(3, 4)])
    rim = float(np.sqrt(trusted_radius2(camera)))
    radii = rim * np.array([0.0, 0.5, 1.0, 1.001, 1.5, 3.0])
    rays = np.column_stack([radii[:, None] * course, np.ones(len(radii))])
    pixels = _beyond_lens(placed, 0, 20.0 * rays)  # type: ignore[arg-type]
    assert pixels[:3] == pytest.approx(camera.pixel_from_cam(rays[:3]), abs=1e-6)
    steps = (radii[3:] - rim)[:, None] * course * np.array([camera.fx_px, camera.fy_px])
    assert pixels[3:] == pytest.approx(pixels[2] + steps, abs=1e-6)


def test_views_that_frame_a_place_come_first_and_among_them_the_steepest() -> None:
    """A camera 40 m above (0, 0) that frames 20 m to either side; squares of labels of 0.1 m."""
    camera = Camera(
        camera_id="c", width_px=1000, height_px=1000, fx_px=1000, fy_px=1000, cx_px=500, cy_px=500
    )  # fmt: skip
    down = np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 40]])
    placed = SimpleNamespace(
        views=[SimpleNamespace(camera=camera)],
        cam_from_tile=[down],
        centres=np.array([[0.0, 0.0, 40.0]]),
    )
    square_m = 0.1 * BLOCK_LABELS
    east = [0.0, 10.0, 19.9, 20.0 + 0.5 * square_m, 20.0 + 1.5 * square_m]
    points = np.array([*((x, 0.0, 0.0) for x in east), (0.0, 0.0, 41.0)])
    rank = _rank(placed, 0, points, 0.1)  # type: ignore[arg-type]
    assert rank[:3] == pytest.approx([0.0, 10 / 40, 19.9 / 40])
    assert max(rank[:3]) < rank[3] < np.inf
    assert np.isinf(rank[4:]).all()


def test_views_that_meet_nowhere_share_a_layer_and_others_never() -> None:
    rng = np.random.default_rng(3)
    squares = np.zeros((80, 20, 20), np.bool_)
    for one, (row, col) in zip(squares, rng.integers(0, 17, (80, 2)), strict=True):
        one[row : row + 4, col : col + 4] = True
    layer = _layers(squares)
    for number in range(layer.max() + 1):
        near = [
            cv2.dilate(one.astype(np.uint8), np.ones((3, 3))) for one in squares[layer == number]
        ]
        own = squares[layer == number].sum(axis=0)
        assert all(((one > 0) * own).max() == 1 for one in near)
    # Not one layer for each view, nor many more than views of one place.
    assert squares.sum(axis=0).max() <= layer.max() + 1 < 40


def test_the_picture_ends_where_the_photographs_do(flown_world) -> None:
    """One photograph of 640 × 480 pixels of 5 cm: 32 m by 24 m, less what the lens bends."""
    world, small_world, folder, store, surface = flown_world
    wide = Grid.from_bounds(
        (
            surface.x_min - 14,
            surface.bounds[1] - 14,
            surface.bounds[2] + 14,
            surface.y_max + 14,
        ),
        0.15,
        surface.crs,
    )
    window = Grid.from_bounds(wide.bounds, 0.1, surface.crs)
    one = world.views[4]
    made = mosaic_tile(
        window,
        ground_of(small_world, wide, ground_window(wide, window)),
        [one],
        {one.name: np.ones(3)},
        small_world.FRAME,
        store,
        DecodedPictures(folder, budget_bytes=10**8),
    )
    drawn = made[3] > 0
    x, y = np.meshgrid(*window.cell_centres())
    points = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, 100.0)])
    at = small_world.FRAME.world_from_map(points)
    at[:, 2] = small_world.surface_height(at[:, 0], at[:, 1])
    pixels = one.camera.pixel_from_cam(one.pose.cam_from_world(at))
    framed = ((pixels > 0) & (pixels < (640, 480))).all(axis=1).reshape(drawn.shape)
    # No staircase: only pixels on the outline may differ.
    assert (drawn != framed).mean() < 0.01
    core = cv2.erode(framed.astype(np.uint8), np.ones((7, 7))) > 0
    assert drawn[core].all()
