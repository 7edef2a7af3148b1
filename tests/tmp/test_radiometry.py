from __future__ import annotations

import time

import numpy as np
import pytest

from tmp.errors import InputError
from tmp.radiometry import BandCalibration, Calibration, Provenance


def band(name="red", provenance=Provenance.PANEL, factors=None, **more):
    return BandCalibration(
        flight="1",
        camera_id=name,
        band=name,
        provenance=provenance,
        factors=factors or {f"{name}.tif": 2.0},
        sigma=0.03,
        **more,
    )


def test_reflectance_is_a_line_of_radiance_without_clipping():
    calibration = Calibration(bands=(band(offset=-0.1),))
    radiance = np.array([[0.0, 0.25, 0.8]], np.float32)
    values = calibration.to_reflectance("red.tif", radiance)
    np.testing.assert_allclose(values, [[-0.1, 0.4, 1.5]], rtol=1e-6)
    assert values.dtype == np.float32


def test_reflectance_may_take_the_place_of_radiance():
    radiance = np.ones((2, 3), np.float32)
    values = Calibration(bands=(band(),)).to_reflectance("red.tif", radiance, out=radiance)
    assert values is radiance
    assert radiance.max() == 2.0


def test_each_channel_has_its_own_factor():
    bands = tuple(
        band(name, factors={"a.tif": factor})
        for name, factor in (("red", 1.0), ("green", 2.0), ("nir", 4.0))
    )
    values = Calibration(bands=bands).to_reflectance("a.tif", np.ones((2, 2, 3), np.float32))
    assert values[0, 0].tolist() == [1.0, 2.0, 4.0]


def test_the_weakest_band_speaks_for_all():
    calibration = Calibration(bands=(band(absolute=True), band("nir", Provenance.RELATIVE)))
    assert calibration.provenance is Provenance.RELATIVE
    assert not calibration.absolute
    assert calibration.choose("red").absolute
    assert Calibration(bands=()).provenance is Provenance.NONE


def test_tags_of_a_raster_tell_provenance_doubt_and_ratio():
    one = band(absolute=True, sun_over_panel=1.2645, reasons=("as seen",))
    assert Calibration(bands=(one,)).raster_tags() == {
        "CALIBRATION": "panel",
        "CALIBRATION_LEVEL": "reflectance",
        "CALIBRATION_NOTES": "as seen",
        "CALIBRATION_RED": "panel, sigma 3.0 %, sun sensor over panel 1.26",
    }


def test_a_photograph_that_is_not_calibrated_is_refused():
    with pytest.raises(InputError, match=r"b\.tif: not calibrated"):
        Calibration(bands=(band(),)).of("b.tif")


def test_channels_must_fit_the_bands():
    with pytest.raises(InputError, match="3 channels, but 1 calibrated bands"):
        Calibration(bands=(band(),)).to_reflectance("red.tif", np.ones((2, 2, 3), np.float32))


@pytest.mark.parametrize("factor", [0.0, -1.0, float("inf"), float("nan")])
def test_an_absurd_factor_is_refused(factor):
    with pytest.raises(InputError, match="absurd"):
        band(factors={"a.tif": factor})


def test_a_frame_takes_milliseconds():
    calibration, radiance = Calibration(bands=(band(),)), np.ones((960, 1280), np.float32)
    begin = time.process_time()
    for _ in range(5):
        calibration.to_reflectance("red.tif", radiance)
    assert (time.process_time() - begin) / 5 < 0.03  # 0.4 ms; a slow machine may take far longer
