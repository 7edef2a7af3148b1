"""The surface of a small world with exact truth: sloping ground with a box 2 m high on it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from photogrammetry.kernels.correlation import COST_SCALE
from photogrammetry.pictures import PictureStore
from photogrammetry.surface.measure import SurfaceOptions, _plain, _rivalry, measure_tile
from photogrammetry.surface.search import Sought
from photogrammetry.surface.trend import Trend
from photogrammetry.views import View
from tmp.cameras import Pose
from tmp.errors import InputError
from tmp.geo.grids import Grid

CELL_M = 0.15
"""Three pixels of 5 cm at 30 m."""
OPTIONS = SurfaceOptions(levels=3)


@pytest.fixture(scope="module")
def world(small_world):
    return small_world.SmallWorld()


@pytest.fixture(scope="module")
def store(world, tmp_path_factory):
    return world.store(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def grid(small_world):
    x, y, _ = small_world.FRAME.map_from_world([[0.0, 0.0, 0.0]])[0]
    return Grid.from_bounds((x - 8, y - 6, x + 8, y + 6), CELL_M, small_world.FRAME.crs)


@pytest.fixture(scope="module")
def truth(small_world, grid):
    x, y = np.meshgrid(*grid.cell_centres())
    points = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, 100.0)])
    world = small_world.FRAME.world_from_map(points)
    return small_world.surface_height(world[:, 0], world[:, 1]).reshape(grid.shape) + 100


def level(grid, height_m):
    return Trend(
        x_min=grid.x_min, y_max=grid.y_max, cell_m=5.0, height=np.full((4, 4), float(height_m))
    )


def measure(small_world, grid, views, store, low_m=97.0, high_m=105.0, options=OPTIONS):
    half = (high_m - low_m) / 2
    tile = next(grid.tiles(512))
    sought = Sought(trend=level(grid, (low_m + high_m) / 2), low_m=-half, high_m=half)
    return measure_tile(grid, tile, views, small_world.FRAME, store, sought, options=options)


@pytest.fixture(scope="module")
def surface(small_world, grid, world, store):
    return measure(small_world, grid, world.views, store)


def on_open_ground(truth):
    """Cells more than half a metre from the box."""
    relief = cv2.dilate(truth, np.ones((9, 9))) - cv2.erode(truth, np.ones((9, 9)))
    return relief < 0.5


def test_open_ground_is_measured_to_a_fraction_of_a_pixel(surface, truth):
    open_ground = on_open_ground(truth)
    error = (surface.height - truth)[open_ground & surface.measured]
    assert surface.measured[open_ground].mean() > 0.98
    # One pixel is 5 cm on the ground; a correlation finds a third of it, and 5 views with a
    # spread of ±0.3 of the height turn that into a few centimetres.
    assert abs(np.median(error)) < 0.01
    assert error.std() < 0.05


def test_the_boxs_edges_stand_within_a_cell(surface, truth):
    high = surface.height > 101.2
    wrong = high != (truth > 101.2)
    edge = cv2.morphologyEx((truth > 101.2).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3)))
    # The gradient is two cells wide: one on either side of the edge.
    assert wrong.sum() < 0.5 * edge.sum()
    assert not wrong[cv2.dilate(edge, np.ones((5, 5))) == 0].any()


def test_beside_an_edge_cells_are_of_the_roof_or_of_the_ground(surface, truth):
    edge = cv2.morphologyEx((truth > 101.2).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3)))
    beside = cv2.dilate(edge, np.ones((3, 3))) > 0
    smeared = np.abs(surface.height - truth)[beside] > 2 * CELL_M
    # Of the four cells across an edge one is cut by it, and half of those go to the wrong side.
    assert smeared.mean() < 1 / 5


@pytest.mark.parametrize(("rows", "cols", "plain"), [(7, 7, True), (6, 7, False), (7, 6, False)])
def test_a_roof_is_plain_from_seven_cells_either_way_and_a_crown_is_not(rows, cols, plain):
    crown = np.random.default_rng(1).uniform(0, 20 * CELL_M, (40, 40)).astype(np.float32)
    crown[10 : 10 + rows, 20 : 20 + cols] = 10 * CELL_M
    found = _plain(crown, CELL_M)
    assert found[11:16, 21:26].all() == plain
    assert found.sum() == (25 if plain else 0)


def test_the_standard_deviation_holds_on_open_ground(surface, truth):
    cells = on_open_ground(truth) & surface.measured
    ratio = (surface.height - truth)[cells] / surface.sigma[cells]
    # Texture is better here than in a meadow, so the errors may be smaller than stated.
    assert 0.3 < 1.4826 * np.median(np.abs(ratio)) < 1.3


def test_unmeasured_cells_have_no_standard_deviation(surface):
    np.testing.assert_array_equal(np.isfinite(surface.sigma), surface.measured)
    assert np.isfinite(surface.height).all()


def test_raising_cameras_and_search_raises_the_surface(small_world, grid, world, store, surface):
    lift = 12.0
    views = [
        View(
            name=view.name,
            camera=view.camera,
            pose=Pose.from_centre(view.pose.rotation, view.pose.centre + np.array([0, 0, lift])),
        )
        for view in world.views
    ]
    raised = measure(small_world, grid, views, store, 97.0 + lift, 105.0 + lift)
    both = raised.measured & surface.measured
    assert both.mean() > 0.9
    # Verticals converge by 12 m / earth radius over the tile: micrometres.
    difference = (raised.height - surface.height)[both] - lift
    assert np.percentile(np.abs(difference), 99) < 0.01


@pytest.mark.slow
def test_a_steep_slope_is_measured_from_end_to_end(small_world, store, grid, tmp_path, monkeypatch):
    """A slope of 41°, which no level sheet follows."""
    monkeypatch.setattr(small_world, "SLOPE", 0.87)
    monkeypatch.setattr(small_world, "BOX", (90.0, 91.0, 90.0, 91.0))
    steep = small_world.SmallWorld()
    x, y = np.meshgrid(*grid.cell_centres())
    at = small_world.FRAME.world_from_map(
        np.column_stack([x.ravel(), y.ravel(), np.full(x.size, 100.0)])
    )
    true = 100 + 0.87 * at[:, 0].reshape(x.shape)
    trend = Trend(x_min=grid.x_min, y_max=grid.y_max, cell_m=CELL_M, height=true)
    found = measure_tile(
        grid,
        next(grid.tiles(512)),
        steep.views,
        small_world.FRAME,
        steep.store(tmp_path),
        Sought(trend=trend, low_m=-3.0, high_m=3.0),
        options=OPTIONS,
    )
    inner = np.s_[8:-8, 8:-8]
    assert found.measured[inner].mean() > 0.97
    error = (found.height - true)[inner][found.measured[inner]]
    assert abs(np.median(error)) < 0.03
    assert error.std() < 0.15


def test_a_rival_at_the_same_cost_is_as_probable_and_a_worse_one_soon_is_not():
    # Paths along eight directions; half, and a hundredth of a half, of the distance squared.
    difference = np.array([[0.0, 0.2 * np.sqrt(np.log(100)), np.inf]], np.float32)
    found = _rivalry(8 * COST_SCALE * difference, np.array([[2.0, 2.0, 0.0]], np.float32))
    np.testing.assert_allclose(found, [[2 * np.sqrt(0.5), 0.2 * np.sqrt(0.5), 0.0]], rtol=1e-4)


def test_brightness_of_one_picture_changes_nothing(
    small_world, grid, world, store, surface, tmp_path
):
    changed = PictureStore(folder=tmp_path)
    for view in world.views:
        picture = cv2.cvtColor(
            np.ascontiguousarray(store.grey(view.name, 0)[0]), cv2.COLOR_GRAY2BGR
        )
        brighter = np.clip(picture.astype(int) + 12 * (view.name == "4.jpg"), 0, 255)
        changed.save(view.name, brighter.astype(np.uint8), halvings=0)
    found = measure(small_world, grid, world.views, changed)
    both = found.measured & surface.measured
    assert np.mean(found.measured == surface.measured) > 0.99
    # A few texels are already white and cannot become brighter.
    assert np.percentile(np.abs(found.height - surface.height)[both], 95) < 0.01


def test_heights_searched_where_nothing_is_are_not_called_measured(small_world, grid, world, store):
    found = measure(small_world, grid, world.views, store, 85.0, 93.0)
    # The texture here is broad, a metre, so that wide windows agree by chance more easily than
    # they do on grass; yet five in six cells are refused.
    assert found.measured.mean() < 0.17


def test_ground_that_one_photograph_sees_is_not_measured(small_world, grid, world, store):
    found = measure(small_world, grid, world.views[:1], store)
    assert not found.measured.any()
    assert np.isnan(found.confidence).all()


def test_ground_that_no_photograph_sees_is_not_measured(small_world, grid, world, store):
    far = replace(grid, x_min=grid.x_min + 300)
    found = measure(small_world, far, world.views, store)
    assert found.height.shape == far.shape
    assert not found.measured.any()


def test_a_number_of_views_beyond_the_kernels_is_refused():
    with pytest.raises(InputError, match="choose 2 to 8"):
        SurfaceOptions(views=9)
