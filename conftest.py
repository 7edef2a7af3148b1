"""What the examples in docstrings and in ``docs/python.md`` find in their folder.

``farm`` is a survey with a map, ``card`` holds two photographs, ``field.geojson`` is a polygon of
half a hectare.  All of it is made up.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tmp.cameras import Camera, Pose
from tmp.captures import Capture, Flag, HeightDatum, write_captures
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid
from tmp.geo.rasters import create_tiled, finish_cog
from tmp.reconstruction import OrientedPhoto, Reconstruction, write_reconstruction
from tmp.survey import Settings, create_survey, write_settings

FRAME = LocalFrame(origin=(-19.2, 64.1, 30.0), crs="EPSG:32627")
GRID = Grid(crs=FRAME.crs, x_min=587700.0, y_max=7109430.0, cell_m=0.5, rows=30, cols=60)
PICTURE = np.repeat(np.array([90, 90, 90, 255], np.uint8), GRID.rows * GRID.cols)
RASTERS: dict[str, tuple[NDArray[Any], tuple[str, ...], tuple[str, ...]]] = {
    "dsm": (np.full((1, *GRID.shape), 12.0, np.float32), ("height",), ("m",)),
    "ndvi": (np.full((1, *GRID.shape), 0.5, np.float32), ("NDVI",), ("",)),
    "orthomosaic": (PICTURE.reshape(4, *GRID.shape), ("red", "green", "blue", "alpha"), ()),
}
CAMERA = Camera(
    camera_id="Testcam_800x600",
    width_px=800,
    height_px=600,
    fx_px=700.0,
    fy_px=700.0,
    cx_px=400.0,
    cy_px=300.0,
    source="made up",
)


@pytest.fixture(scope="session")
def example_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with all that the examples use."""
    folder = tmp_path_factory.mktemp("examples")
    _make_farm(folder / "farm")
    _make_card(folder / "card")
    ring = [[-19.2, 64.1], [-19.198, 64.1], [-19.198, 64.1005], [-19.2, 64.1005], [-19.2, 64.1]]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    (folder / "field.geojson").write_text(json.dumps(polygon))
    return folder


@pytest.fixture(autouse=True)
def _examples_run_in_a_folder_of_their_own(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        made = request.getfixturevalue("example_folder")
        monkeypatch.chdir(shutil.copytree(made, tmp_path / "examples"))


def _make_farm(root: Path) -> None:
    survey = create_survey(root)
    write_settings(
        survey,
        Settings(
            name="Farm",
            crs=FRAME.crs,
            origin=FRAME.origin,
            cameras={CAMERA.camera_id: CAMERA},
            vertical_datum=HeightDatum.ELLIPSOID,
        ),
    )
    captures = [
        Capture(
            name=f"DJI_000{number}.JPG",
            source="",
            sha256=f"{number:064d}",
            size_bytes=1,
            width_px=CAMERA.width_px,
            height_px=CAMERA.height_px,
            camera_id=CAMERA.camera_id,
            flags=(Flag.BLURRED,) if number == 3 else (),
            reason="sharpness 12 where the others have 80" if number == 3 else "",
        )
        for number in (1, 2, 3)
    ]
    write_captures(survey.gpkg_path, captures)
    for name, (values, bands, units) in RASTERS.items():
        tiles = create_tiled(
            survey.work_dir / name,
            GRID,
            bands=len(values),
            dtype=values.dtype,
            nodata=-9999.0 if len(values) == 1 else None,
        )
        for tile in tiles.tiles():
            tiles.write(tile, values)
        tags = {"VERTICAL_DATUM": "ellipsoid"} if name == "dsm" else {}
        path = survey.products_dir / f"{name}.tif"
        finish_cog(tiles, path, descriptions=bands, units=units, tags=tags)
        shutil.rmtree(tiles.folder)
    result = Path("stages/orientation/0123")
    write_reconstruction(_reconstruction(captures[:2]), survey.work_dir / result)
    survey.map_path.write_text(json.dumps({"results": [result.as_posix()]}))
    quality = {"verdict": "complete", "photographs_total": 3, "photographs_oriented": 2}
    survey.quality_path.write_text(json.dumps(quality))


def _reconstruction(captures: list[Capture]) -> Reconstruction:
    photos = tuple(
        OrientedPhoto(
            name=capture.name,
            camera_id=capture.camera_id,
            pose=Pose.from_gimbal(90.0, -90.0, 0.0, (8.0 * number, 0.0, 40.0)),
        )
        for number, capture in enumerate(captures)
    )
    return Reconstruction(
        frame=FRAME,
        cameras={CAMERA.camera_id: CAMERA},
        priors={CAMERA.camera_id: CAMERA},
        photos=photos,
        left_out={},
        points=np.zeros((4, 3)),
        point_views=np.full(4, 2, np.int32),
        point_residuals_px=np.full(4, 0.5, np.float32),
    )


def _make_card(folder: Path) -> None:
    from PIL import Image

    folder.mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    for number in (1, 2):
        image = Image.fromarray(np.roll(pixels, number, axis=1))
        exif = image.getexif()
        exif[0x0110] = "Testcam"
        exif[0x8825] = {1: "N", 2: (64, 6, 0.3 * number), 3: "W", 4: (19, 12, 0), 5: b"\0", 6: 70}
        image.save(folder / f"IMG_000{number}.JPG", exif=exif)
