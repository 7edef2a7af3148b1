from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flows.engine.cost import Quality
from flows.run.plan import BAND_STAGES, MODEL_STAGES, STAGES, stages_for
from flows.stages.reflectance import BandValues, has_bands, stack_bands, useful_layers
from flows.stages.surface import Cloud, CloudLevels
from flows.stages.terrain import AboveGround, Terrain
from photogrammetry.ortho.mosaic import BandLayer
from photogrammetry.views import View
from tmp.cameras import Camera, Pose
from tmp.captures import Capture, Flag
from tmp.errors import InputError
from tmp.radiometry import Band, BandTags, Family

GARFIELD = Path(__file__).parents[3] / "shared" / "data" / "garfield_sequoia"
CAMERA = Camera(camera_id="c", width_px=8, height_px=6, fx_px=8, fy_px=8, cx_px=4, cy_px=3)


def view(name: str) -> View:
    return View(name=name, camera=CAMERA, pose=Pose(rotation=np.eye(3), translation=np.zeros(3)))


def layer(*bands: str) -> BandLayer:
    return BandLayer(leader=bands[0], releases=({band: view(band or "rgb") for band in bands},))


def values(**bands: tuple[Band, ...]) -> BandValues:
    tags = {name: BandTags(family=Family.DECLARED, bands=found) for name, found in bands.items()}
    tags["rgb"] = BandTags(family=Family.RGB)
    return BandValues(photos_dir=Path(), _tags=tags)


def capture(band: str, **changed: object) -> Capture:
    return Capture(
        name="a", source="", sha256="", size_bytes=1, width_px=8, height_px=6, camera_id="c",
        band=band, **changed,
    )  # fmt: skip


def test_colour_photographs_give_what_a_near_infrared_camera_lacks():
    layers = useful_layers([layer(""), layer("nir")])
    found = stack_bands(layers, values(nir=(Band(name="nir", centre_nm=840.0),)))
    assert [entry.band.name for entry in found] == ["blue", "green", "red", "nir"]
    assert [layers[entry.layer].leader for entry in found] == ["", "", "", "nir"]


def test_a_camera_with_a_red_band_needs_no_colour_photographs():
    layers = useful_layers([layer(""), layer("red", "nir")])
    assert [one.leader for one in layers] == ["red"]


def test_bands_are_in_the_order_of_their_wavelengths():
    bands = {"rededge": 717.0, "nir": 842.0, "blue": 475.0}
    tags = {name: (Band(name=name, centre_nm=nm),) for name, nm in bands.items()}
    found = stack_bands([layer("nir", "blue", "rededge")], values(**tags))
    assert [entry.band.name for entry in found] == ["blue", "rededge", "nir"]


def test_channels_of_a_container_become_bands():
    kind = "red+green+nir"
    channels = tuple(Band(name=name, channel=i) for i, name in enumerate(kind.split("+")))
    found = stack_bands([layer(kind)], values(**{kind: channels}))
    assert [(entry.band.name, entry.channel) for entry in found] == [
        ("green", 1),
        ("red", 0),
        ("nir", 2),
    ]


def test_colour_photographs_alone_are_refused():
    with pytest.raises(InputError, match="no oriented photographs of known bands"):
        useful_layers([layer("")])


def test_a_map_of_colour_photographs_has_no_reflectance_stage():
    assert stages_for([capture("")]) == STAGES
    assert stages_for([capture(""), capture("nir")]) == STAGES + BAND_STAGES


def test_a_preview_is_of_surface_and_picture_alone():
    assert set(STAGES) - set(stages_for([capture("")], Quality.FAST)) == {
        *(Terrain, AboveGround, Cloud, CloudLevels, *MODEL_STAGES),
    }


def test_a_map_has_no_model_if_none_is_asked_for():
    assert set(STAGES) - set(stages_for([capture("")], model=False)) == set(MODEL_STAGES)


def test_a_band_photograph_that_is_not_used_counts_for_nothing():
    assert not has_bands([capture("nir", flags=(Flag.DROPPED,))])


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(not GARFIELD.exists(), reason="../shared/data/garfield_sequoia is not there")
def test_a_sequoia_flight_becomes_a_stack_whose_bands_lie_on_each_other(tmp_path):
    import cv2
    import rasterio

    from flows.pipeline import map_survey
    from flows.run.request import MapOptions
    from ingest.photographs import ingest_photographs
    from tmp.reconstruction import read_reconstruction
    from tmp.survey import Survey

    survey = Survey(folder=tmp_path / "survey")
    ingest_photographs([GARFIELD], survey, link=True, crs=None, workers=2)
    result = map_survey(survey.folder, MapOptions(quality=Quality.FAST, workers=2))
    block = read_reconstruction(result.folder_of("orientation"))
    assert len(block.photos) == 22
    assert block.figures["mean_residual_px"] < 0.5  # a preview seeks keypoints at half the size
    with rasterio.open(survey.products_dir / "reflectance.tif") as file:
        assert file.descriptions == ("red", "nir")
        red, nir = file.read(masked=True).filled(np.nan)
    ndvi = (nir - red) / (nir + red)
    assert np.nanpercentile(ndvi, 95) > 0.5  # lawn
    assert np.nanpercentile(ndvi, 5) < 0.15  # asphalt
    window = cv2.createHanningWindow((512, 512), cv2.CV_32F)
    row, col = (side // 2 - 512 for side in red.shape)
    shifts = []
    for top, left in ((row, col), (row, col + 512), (row + 512, col), (row + 512, col + 512)):
        part = np.s_[top : top + 512, left : left + 512]
        edges = [
            np.nan_to_num(cv2.Laplacian(np.log(band[part]), cv2.CV_32F)) for band in (red, nir)
        ]
        shift, _ = cv2.phaseCorrelate(*[np.abs(edge) for edge in edges], window)
        shifts.append(np.hypot(*shift))
    assert np.median(shifts) < 0.5
