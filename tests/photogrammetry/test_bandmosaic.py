from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from photogrammetry.ortho.mosaic import band_layers, mosaic_bands
from photogrammetry.ortho.seams import SurfaceWindow, ground_window
from photogrammetry.pictures import DecodedPictures, PictureStore
from photogrammetry.views import View, surface_part
from tmp.cameras import Pose
from tmp.captures import Capture
from tmp.geo.grids import Grid
from tmp.reconstruction import OrientedPhoto, Reconstruction

BESIDE_M = np.array([0.25, 0.1, 0.0])
"""Of the second lens from the first, in the camera's frame: wider than any real rig."""
NIR_SHARE = 2.0


def capture(name: str, band: str, rig: str = "") -> Capture:
    return Capture(
        name=name, source="", sha256="", size_bytes=1, width_px=640, height_px=480,
        camera_id="small", band=band, rig_id=rig,
    )  # fmt: skip


@pytest.fixture(scope="module")
def rig_world(small_world, tmp_path_factory):
    """The small world seen in red and, from beside it, in near infrared twice as bright."""
    world = small_world.SmallWorld()
    beside = [
        View(
            name=view.name.replace(".jpg", "_nir.tif"),
            camera=view.camera,
            pose=Pose(rotation=view.pose.rotation, translation=view.pose.translation - BESIDE_M),
        )
        for view in world.views
    ]
    store = PictureStore(folder=tmp_path_factory.mktemp("rig"))
    values = {}
    for views, share in ((world.views, 1.0), (beside, NIR_SHARE)):
        for view in views:
            picture = world.render(view, oversample=1)
            store.save(view.name, picture, halvings=0)
            values[view.name] = np.float32(share / 255) * picture[..., :1]
    captures = [capture(v.name, "red", v.name) for v in world.views]
    captures += [
        capture(nir.name, "nir", red.name) for red, nir in zip(world.views, beside, strict=True)
    ]
    return world, [*world.views, *beside], captures, values, store


def render(rig_world, small_world, values=None):
    _, views, captures, true_values, store = rig_world
    values = true_values if values is None else values
    frame = small_world.FRAME
    middle = frame.map_from_world([[0, 0, 0]])[0]
    bounds = (middle[0] - 6, middle[1] - 5, middle[0] + 6, middle[1] + 5)
    surface = Grid.from_bounds(bounds, 0.15, frame.crs)
    window = Grid.from_bounds(surface.bounds, 0.05, frame.crs)
    tile = ground_window(surface, window)
    grid = surface.window(tile)
    x, y = np.meshgrid(*grid.cell_centres())
    world = frame.world_from_map(np.column_stack([x.ravel(), y.ravel(), np.full(x.size, 100.0)]))
    height = 100.0 + small_world.surface_height(world[:, 0], world[:, 1]).reshape(x.shape)
    ground = SurfaceWindow(
        grid=grid, height=height.astype(np.float32), mapped=np.ones(x.shape, np.bool_)
    )
    (layer,) = band_layers(views, captures)
    pictures = DecodedPictures(store.folder, budget_bytes=10**9, load=values.__getitem__)
    return mosaic_bands(window, ground, layer, {"red": 1, "nir": 1}, frame, store, pictures)


def test_bands_from_two_lenses_lie_on_each_other_on_slope_and_box(rig_world, small_world):
    made = render(rig_world, small_world)
    ratio = made["nir"][0] / made["red"][0]
    assert np.isfinite(ratio).mean() > 0.99
    # What is left are the walls, which the lenses see from two sides.
    assert (np.abs(ratio / NIR_SHARE - 1) < 0.1).mean() > 0.97


def test_values_are_those_of_the_photographs_and_not_evened_out(rig_world, small_world):
    made = render(rig_world, small_world)
    brighter = {
        name: value * np.float32(3.0 if name.startswith("4") else 1.0)
        for name, value in rig_world[3].items()
    }
    raised = render(rig_world, small_world, brighter)
    factor = raised["red"][0] / made["red"][0]
    # Away from its seams photograph 4 is as bright as it is; nothing of it is in the others.
    assert factor.min() > 1 - 1e-3
    assert factor.max() < 3 + 1e-3
    assert ((factor > 2.9) | (factor < 1.1)).mean() > 0.55
    np.testing.assert_allclose(
        raised["nir"][0] / made["nir"][0], factor, atol=0.35
    )  # same seams in both bands


def test_a_value_that_is_not_known_is_taken_from_no_other_moment(rig_world, small_world):
    gone = {
        name: np.where(value > 0.6 * (NIR_SHARE if "nir" in name else 1), np.nan, value)
        for name, value in rig_world[3].items()
    }
    made = render(rig_world, small_world, {k: v.astype(np.float32) for k, v in gone.items()})
    assert np.isnan(made["red"][0]).any()
    assert np.nanmax(made["red"][0]) <= 0.6 + 1e-4


def test_bands_of_a_rig_share_a_layer_and_its_colour_camera_has_its_own(small_world):
    views = small_world.SmallWorld().views[:3]
    named = [replace(view, name=name) for view, name in zip(views, "abc", strict=True)]
    captures = [capture("a", "red", "1"), capture("b", "nir", "1"), capture("c", "", "1")]
    layers = band_layers(named, captures)
    assert [layer.bands for layer in layers] == [("",), ("nir", "red")]


def test_a_separate_camera_is_a_layer_of_its_own(small_world):
    views = small_world.SmallWorld().views[:2]
    named = [replace(view, name=name) for view, name in zip(views, "ab", strict=True)]
    layers = band_layers(named, [capture("a", ""), capture("b", "nir")])
    assert [layer.leader for layer in layers] == ["", "nir"]


def block_of(small_world, observations: dict[str, int]) -> Reconstruction:
    pose = small_world.SmallWorld().views[0].pose
    return Reconstruction(
        frame=small_world.FRAME,
        cameras={"small": small_world.CAMERA},
        priors={},
        photos=tuple(
            OrientedPhoto(name=name, camera_id="small", pose=pose, observations=count)
            for name, count in observations.items()
        ),
        left_out={},
        points=np.zeros((0, 3)),
        point_views=np.zeros(0, np.int32),
        point_residuals_px=np.zeros(0, np.float32),
    )


def test_the_surface_is_measured_in_the_band_with_most_tie_points(small_world):
    block = block_of(small_world, {"a": 900, "b": 500})
    part = surface_part(block, [capture("a", "red"), capture("b", "nir")])
    assert [photo.name for photo in part.photos] == ["a"]


def test_the_surface_is_measured_in_colour_where_there_is_any(small_world):
    block = block_of(small_world, {"a": 900, "b": 500})
    part = surface_part(block, [capture("a", "red"), capture("b", "")])
    assert [photo.name for photo in part.photos] == ["b"]


def test_a_survey_in_colour_alone_stays_whole(small_world):
    block = block_of(small_world, {"a": 900, "b": 500})
    assert surface_part(block, [capture("a", ""), capture("b", "")]) is block
