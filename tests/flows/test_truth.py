"""A map made from the truth by a known similarity must come back as true."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from flows.demo import compare_with_truth
from tmp.cameras import Pose
from tmp.errors import InputError
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid
from tmp.reconstruction import Reconstruction

GSD_M = 0.05
SHIFT_M = np.array([1.5, -0.8, 2.0])
SCALE = 1.01
WALL_M = 0.6


def write(path: Path, bands: NDArray[np.generic], grid: Grid, nodata: float | None) -> None:
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(bands),
        height=grid.rows,
        width=grid.cols,
        dtype=bands.dtype.name,
        crs=grid.crs,
        transform=grid.transform,
        nodata=nodata,
    ) as file:
        file.write(bands)


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, reconstruction: Reconstruction
) -> tuple[Path, Path, Reconstruction]:
    """Folders of truth and products, and a reconstruction whose world is shifted and scaled."""
    folder = tmp_path_factory.mktemp("world")
    truth, products = folder / "truth", folder / "products"
    frame = reconstruction.frame
    middle = frame.map_from_world([[0.0, 0.0, 0.0]])[0]
    bounds = (middle[0] - 20, middle[1] - 16, middle[0] + 20, middle[1] + 16)
    grid = Grid.from_bounds(bounds, GSD_M, frame.crs)
    x, y = np.meshgrid(*grid.cell_centres())
    wall = np.where(np.abs(x - middle[0] + 8) < 0.5, WALL_M, 0.0)
    house = (np.abs(x - middle[0] - 6) < 4) & (np.abs(y - middle[1]) < 3)
    height = 30 + 0.03 * (x - middle[0]) + wall + 3.0 * house
    noise = np.random.default_rng(1).normal(0, 40, grid.shape).astype(np.float32)
    picture = np.clip(128 + 3 * cv2.GaussianBlur(noise, (0, 0), 2), 0, 255)
    ground = (wall == 0) & ~house & (np.abs(x - middle[0] + 8) > 1)
    masks = np.stack([ground, wall > 0, house, np.zeros_like(house)]).astype(np.uint8)
    write(truth / "dsm.tif", height[None].astype(np.float32), grid, np.nan)
    write(truth / "wall_height.tif", wall[None].astype(np.float32), grid, np.nan)
    write(truth / "masks.tif", masks, grid, None)
    write(truth / "orthomosaic.tif", np.stack([picture] * 3).astype(np.uint8), grid, None)
    corners = middle[:2] + np.array([[2, -3], [10, -3], [10, 3], [2, 3], [2, -3]], float)
    feature = {"geometry": {"type": "Polygon", "coordinates": [corners.tolist()]}}
    (truth / "houses.geojson").write_text(json.dumps({"features": [feature]}))
    centres = frame.map_from_world(np.array([p.pose.centre for p in reconstruction.photos]))
    poses = [
        {"name": photo.name, "centre_map": centre.tolist()}
        for photo, centre in zip(reconstruction.photos, centres, strict=True)
    ]
    (truth / "poses.json").write_text(json.dumps({"photos": poses}))
    # The map: everything scaled about the middle and shifted; the grid scales with its cell.
    mine = Grid(
        crs=grid.crs,
        x_min=middle[0] + SCALE * (grid.x_min - middle[0]) + SHIFT_M[0],
        y_max=middle[1] + SCALE * (grid.y_max - middle[1]) + SHIFT_M[1],
        cell_m=GSD_M * SCALE,
        rows=grid.rows,
        cols=grid.cols,
    )
    scaled = (middle[2] + SCALE * (height - middle[2]) + SHIFT_M[2]).astype(np.float32)
    rgba = np.stack([picture] * 3 + [np.full(grid.shape, 255)]).astype(np.uint8)
    write(products / "dsm.tif", scaled[None], mine, -9999.0)
    write(products / "orthomosaic.tif", rgba, mine, None)
    moved = frame.world_from_map(middle + SCALE * (centres - middle) + SHIFT_M)
    photos = tuple(
        replace(photo, pose=Pose.from_centre(photo.pose.rotation, centre))
        for photo, centre in zip(reconstruction.photos, moved, strict=True)
    )
    return truth, products, replace(reconstruction, photos=photos)


def test_map_that_differs_by_a_similarity_is_true_after_the_fit(
    world: tuple[Path, Path, Reconstruction],
) -> None:
    truth, products, reconstruction = world
    found = compare_with_truth(reconstruction, products, truth, fitted=True)
    assert found.camera_rms_m == pytest.approx((0, 0, 0), abs=1e-3)
    assert found.scale_error == pytest.approx(SCALE - 1, abs=1e-5)
    assert abs(found.ground.mean) < 0.002
    assert found.ground.std < 0.005
    assert found.walls == pytest.approx(1.0, abs=0.02)
    assert found.house_edge_m[1] < 0.2 * GSD_M
    assert found.ortho_m[1] < 0.2 * GSD_M
    assert found.ortho_believed == 1.0


def test_offset_of_the_map_is_told_with_and_without_the_fit(
    world: tuple[Path, Path, Reconstruction],
) -> None:
    truth, products, reconstruction = world
    found = compare_with_truth(reconstruction, products, truth, fitted=False)
    assert found.offset_m[:2] == pytest.approx(SHIFT_M[:2], abs=0.05)
    assert found.ground.mean == pytest.approx(SHIFT_M[2], abs=0.1)
    said = "\n".join(found.in_words())
    assert "place of the map   +1.5" in said
    assert "as georeferenced by the GNSS positions alone" in said


def test_truth_in_another_crs_is_refused(world: tuple[Path, Path, Reconstruction]) -> None:
    truth, products, reconstruction = world
    frame = LocalFrame(origin=reconstruction.frame.origin, crs="EPSG:3057")
    with pytest.raises(InputError, match="EPSG:3057; map it in that"):
        compare_with_truth(replace(reconstruction, frame=frame), products, truth, fitted=True)


def test_truth_of_other_photographs_is_refused(world: tuple[Path, Path, Reconstruction]) -> None:
    truth, products, reconstruction = world
    others = tuple(replace(photo, name=f"x/{photo.name}x") for photo in reconstruction.photos)
    with pytest.raises(InputError, match="knows 0 of the map's photographs"):
        compare_with_truth(replace(reconstruction, photos=others), products, truth, fitted=True)
