from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.metadata.bands import band_tags
from ingest.metadata.exif import read_tags
from ingest.radiometry.radiance import (
    Unit,
    find_saturated,
    full_scale,
    radiance_unit,
    to_radiance,
    vignetting_gain,
    why_relative,
)
from tmp.errors import InputError
from tmp.radiometry import Band, BandTags, Family, PlaneVignetting, RadialVignetting

RED = (Band(name="red", centre_nm=668.0, width_nm=10.0),)
MICASENSE = BandTags(
    family=Family.MICASENSE,
    bands=RED,
    exposure_s=0.001,
    gain=1.0,
    black_level=4800.0,
    bits=16,
    saturation_dn=65520.0,
    vignetting=RadialVignetting(
        centre_px=(0.0, 0.0), coefficients=(1e-3, 0.0, 0.0, 0.0, 0.0, 0.0), multiplies=False
    ),
    radiometric=(1e-4, 1e-7, 1e-6),
)
DJI = BandTags(
    family=Family.DJI,
    bands=RED,
    exposure_s=500e-6,
    gain=2.0,
    black_level=4096.0,
    bits=16,
    saturation_dn=65520.0,
    vignetting=RadialVignetting(centre_px=(0.0, 0.0), coefficients=(1e-3,), multiplies=True),
)
SEQUOIA = BandTags(
    family=Family.SEQUOIA,
    bands=RED,
    firmware="v1.4.1",
    f_number=2.2,
    exposure_s=0.002,
    gain=1.0,
    black_level=5100.0,
    bits=16,
    saturation_dn=65472.0,
    vignetting=PlaneVignetting(powers=((0, 0), (1, 0)), coefficients=(0.8, 0.2)),
    sensor_model=(300_000.0, 5000.0, 3000.0),
)


def picture(value: int, rows: int = 101, cols: int = 101) -> np.ndarray:
    return np.full((rows, cols), value, np.uint16)


def test_micasense_radiance_is_that_worked_by_hand():
    radiance = to_radiance(picture(37_568), MICASENSE)
    # (37568 - 4800) 1e-4 / (1 · 0.001 · 65536) in the corner where r and y are 0.
    assert radiance[0, 0] == pytest.approx(0.05, rel=1e-6)
    # r = 100: V = 1 / 1.1; y = 100: R = 1 / (1 + 1e-7·100/0.001 - 1e-6·100) = 1 / 1.0099.
    assert radiance[0, 100] == pytest.approx(0.05 / 1.1, rel=1e-6)
    assert radiance[100, 0] == pytest.approx(0.05 / 1.1 / 1.0099, rel=1e-6)
    assert radiance.dtype == np.float32
    assert radiance_unit(MICASENSE) is Unit.ABSOLUTE


def test_a_phantom_4_multispectral_multiplies_by_its_vignetting():
    radiance = to_radiance(picture(20_480), DJI)
    # (20480 - 4096) / 65535 / (2 · 500 / 1e6).
    assert radiance[0, 0] == pytest.approx(250.0038, rel=1e-6)
    assert radiance[0, 100] == pytest.approx(275.0042, rel=1e-6)
    assert radiance_unit(DJI) is Unit.RELATIVE


def test_a_file_of_a_mavic_3_multispectral_gives_the_value_of_djis_guide(make_tiff, m3m_xmp):
    xmp = m3m_xmp("R", "u", **{"drone-dji:CalibratedOpticalCenterX": "0.0"})
    xmp["drone-dji:CalibratedOpticalCenterY"] = "0.0"
    data = make_tiff(picture=picture(35_968), xmp=xmp)
    tags = band_tags(read_tags(data))
    # (35968 - 3200) / 65535 / (1.0 · 1000 / 1e6), times SensorGainAdjustment 1.5.
    assert to_radiance(picture(35_968), tags)[0, 0] == pytest.approx(750.0114, rel=1e-6)


def test_sequoia_takes_black_off_before_it_divides_by_the_vignetting():
    radiance = to_radiance(picture(25_000, 100, 100), SEQUOIA)
    # 2.2² (25000 - 5000) / 0.8 / (300000 · 0.002 · 100 + 3000) on the left rim.
    assert radiance[0, 0] == pytest.approx(1.920635, rel=1e-6)
    assert radiance[0, 50] == pytest.approx(1.920635 * 0.8 / 0.9, rel=1e-6)
    assert radiance_unit(SEQUOIA) is Unit.SEQUOIA
    assert not why_relative(SEQUOIA)


def test_a_sequoia_without_sensor_model_says_so():
    old = replace(SEQUOIA, sensor_model=None, firmware="v1.2.0")
    # 2.2² (25000 - 5100) / 0.8 / (0.002 · 100).
    assert to_radiance(picture(25_000), old)[0, 0] == pytest.approx(601_975.0, rel=1e-6)
    assert radiance_unit(old) is Unit.RELATIVE
    assert "SensorModel missing (firmware v1.2.0" in why_relative(old)


def test_a_mapir_picture_is_normalised_by_its_exposure():
    tags = BandTags(
        family=Family.MAPIR,
        bands=tuple(Band(name=n, channel=i) for i, n in enumerate(("red", "green", "nir"))),
        bits=16,
        saturation_dn=65_535.0,
        linear=True,
        exposure_s=0.01,
        gain=0.5,
        f_number=2.0,
    )
    stored = np.zeros((4, 5, 3), np.uint16) + np.array([13_107, 26_214, 65_535], np.uint16)
    # DN / 65535 · f² / (t · gain): 0.2, 0.4 and 1 times 4 / 0.005.
    assert to_radiance(stored, tags)[1, 1] == pytest.approx([160, 320, 800], rel=1e-6)


def test_bands_come_in_the_order_of_the_tags():
    tags = BandTags(
        family=Family.DECLARED,
        bands=(Band(name="nir", channel=2), Band(name="green", channel=1)),
        linear=True,
    )
    stored = np.zeros((2, 2, 3), np.uint8) + np.array([51, 102, 255], np.uint8)
    assert to_radiance(stored, tags)[0, 0] == pytest.approx([1.0, 0.4])


def test_channels_that_mix_bands_are_taken_apart():
    tags = BandTags(
        family=Family.SENTERA,
        bands=(Band(name="red", channel=0), Band(name="nir", channel=2)),
        linear=True,
        mixing=((1.0, 0.0, -0.5), (0.0, 0.0, 2.0)),
    )
    stored = np.zeros((2, 2, 3), np.uint8) + np.array([255, 0, 51], np.uint8)
    assert to_radiance(stored, tags)[0, 0] == pytest.approx([0.9, 0.4])


def test_a_display_curve_is_undone_and_named():
    tags = BandTags(family=Family.DECLARED, bands=RED)
    # sRGB 188 is 0.5029 of full light (IEC 61966-2-1).
    assert to_radiance(np.full((1, 1), 188, np.uint8), tags)[0, 0] == pytest.approx(0.5029, 1e-3)
    assert "display curve" in why_relative(tags)


def test_thermal_bands_are_temperatures():
    tags = replace(MICASENSE, bands=(Band(name="lwir"),), radiometric=None)
    assert to_radiance(picture(29_315), tags)[0, 0] == pytest.approx(20.0, abs=1e-3)
    assert radiance_unit(tags) is Unit.CELSIUS


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (replace(MICASENSE, exposure_s=None), "exposure s None"),
        (replace(DJI, black_level=None), "black level None"),
        (replace(SEQUOIA, f_number=None), "f number None"),
    ],
)
def test_a_missing_tag_is_named(tags, message):
    with pytest.raises(InputError, match=message):
        to_radiance(picture(20_000), tags)


def test_an_absurd_vignetting_is_refused():
    damaged = PlaneVignetting(powers=((0, 0),), coefficients=(0.0,))
    with pytest.raises(InputError, match="tags are damaged"):
        to_radiance(picture(20_000), replace(SEQUOIA, vignetting=damaged))


@given(
    st.sampled_from((MICASENSE, DJI, SEQUOIA)),
    st.floats(0.1, 10.0),
    st.integers(6_000, 60_000),
)
def test_radiance_is_inverse_to_exposure_time(tags, factor, value):
    # All makers' formulas but for MicaSense's read-out term and Sequoia's C.
    plain = replace(
        tags,
        radiometric=(1e-4, 0.0, 0.0) if tags.radiometric else None,
        sensor_model=(3e5, 5e3, 0.0) if tags.sensor_model else None,
    )
    longer = replace(plain, exposure_s=plain.exposure_s * factor)
    first, second = (to_radiance(picture(value, 3, 3), each) for each in (plain, longer))
    np.testing.assert_allclose(second * factor, first, rtol=1e-5)


def test_pixels_around_black_stay_below_zero():
    assert to_radiance(picture(4_000), MICASENSE).max() < 0


def test_saturation_in_any_channel_counts():
    stored = np.zeros((2, 2, 3), np.uint8)
    stored[0, 1, 2] = 255
    tags = BandTags(family=Family.DECLARED, bands=RED)
    assert find_saturated(stored, tags).tolist() == [[False, True], [False, False]]


def test_full_scale_is_the_radiance_of_a_saturated_pixel():
    assert full_scale(DJI) == pytest.approx((65_520 - 4096) / 65_535 / 0.001, rel=1e-6)


def test_the_vignetting_of_a_camera_is_computed_once():
    first = vignetting_gain(MICASENSE.vignetting, 960, 1280)
    assert vignetting_gain(replace(MICASENSE.vignetting), 960, 1280) is first
    assert not first.flags.writeable


def test_a_frame_takes_milliseconds():
    stored = picture(20_000, 960, 1280)
    to_radiance(stored, MICASENSE)
    begin = time.process_time()
    for _ in range(5):
        to_radiance(stored, MICASENSE)
    assert (time.process_time() - begin) / 5 < 0.05  # 2 ms; a slow machine may take 25 times that
