import math

import pytest

from ingest.metadata.cameras import SENSORS, camera_id, find_sensor, focal_px, propose_camera
from ingest.metadata.exif import read_tags

DEWARP = "2022-03-02;1973.09,1955.65,-19.04,-11.42,-0.42275,0.3691,0.0041,0.0042,-0.2643"


def camera(make_jpeg, **options):
    return propose_camera(read_tags(make_jpeg(**options)))


def test_a_phantom_3_in_16_to_9_spans_the_full_sensor_width(make_jpeg):
    found = camera(make_jpeg, size=(400, 225))
    # 3.61 mm on 6.16 mm over 4000 px are 2344 px; here a tenth of that.
    assert found.fx_px == pytest.approx(234.4, abs=0.1)
    assert found.camera_id == "dji-fc300s-400x225-3.61mm"
    assert found.source.startswith("sensor table")
    assert (found.cx_px, found.cy_px) == (200, 112.5)
    assert not found.distortion_known


def test_dewarp_data_is_a_calibration_about_the_centre(make_jpeg):
    found = camera(
        make_jpeg,
        size=(1600, 1300),
        model="FC6360",
        focal_mm=5.74,
        xmp={"drone-dji:DewarpData": DEWARP, "drone-dji:DewarpFlag": 0},
    )
    assert (found.fx_px, found.fy_px) == (1973.09, 1955.65)
    assert (found.cx_px, found.cy_px) == pytest.approx((800 - 19.04, 650 - 11.42))
    assert tuple(found.distortion) == (-0.42275, 0.3691, 0.0041, 0.0042, -0.2643)
    assert found.distortion_known
    assert found.focal_sigma == 0.005


def test_a_dewarped_picture_has_no_distortion_left(make_jpeg):
    found = camera(
        make_jpeg,
        size=(1600, 1300),
        xmp={"drone-dji:DewarpData": DEWARP, "drone-dji:DewarpFlag": 1},
    )
    assert not found.distortion.any()
    assert found.distortion_known


@pytest.mark.parametrize(
    "data", ["", "2022;1,2,3", "2022;0,0,0,0,0,0,0,0,0", "2022;nan,1,1,1,1,1,1,1,1"]
)
def test_nonsense_in_dewarp_data_falls_through_to_the_sensor(make_jpeg, data):
    found = camera(make_jpeg, xmp={"drone-dji:DewarpData": data, "drone-dji:RtkFlag": 0})
    assert found.source.startswith("sensor table")


def test_a_designed_focal_length_is_no_firmer_than_a_sensor_table(make_jpeg):
    found = camera(
        make_jpeg, size=(528, 396), model="M3E", xmp={"drone-dji:CalibratedFocalLength": "372.5"}
    )
    assert found.fx_px == 372.5
    assert found.focal_sigma == 0.02


def test_a_calibration_follows_a_picture_that_was_made_smaller(make_jpeg):
    found = camera(
        make_jpeg,
        size=(800, 650),
        exif={0xA002: 1600},
        xmp={"drone-dji:DewarpData": DEWARP},
    )
    assert found.fx_px == pytest.approx(1973.09 / 2)
    assert found.cx_px == pytest.approx(400 - 19.04 / 2)


def test_focal_plane_resolution_serves_unknown_cameras(make_jpeg):
    found = camera(
        make_jpeg,
        size=(1280, 960),
        model="Mystery",
        focal_mm=5.5,
        exif={0xA20E: 266.666667, 0xA210: 4},
    )
    assert found.fx_px == pytest.approx(5.5 * 266.666667, rel=1e-5)
    assert found.focal_sigma == 0.02


def test_digital_zoom_lengthens_a_focal_length_by_the_focal_plane_too(make_jpeg):
    plane = {0xA20E: 266.666667, 0xA210: 4}
    plain, zoomed = (
        camera(
            make_jpeg,
            size=(1280, 960),
            model="Mystery",
            focal_mm=5.5,
            exif={**plane, 0xA404: zoom},
        )
        for zoom in (1.0, 2.5)
    )
    assert "focal plane" in zoomed.source
    assert zoomed.fx_px == pytest.approx(2.5 * plain.fx_px)


def test_the_35_mm_equivalent_goes_by_the_diagonal_of_the_whole_sensor(make_jpeg):
    options = {"model": "Mystery", "focal_mm": None, "exif": {0xA405: 24}}
    four_by_three = camera(make_jpeg, size=(400, 300), **options)
    wide = camera(make_jpeg, size=(400, 225), **options)
    assert four_by_three.fx_px == pytest.approx(24 / math.hypot(36, 24) * 500, abs=1e-3)
    assert wide.fx_px == four_by_three.fx_px
    assert wide.focal_sigma == 0.04


def test_without_evidence_the_guess_is_wide_and_said(make_jpeg):
    found = camera(make_jpeg, size=(400, 300), model="", make="", focal_mm=None)
    assert found.fx_px == 340
    assert found.focal_sigma == 0.15
    assert "guess" in found.source
    assert found.camera_id == "camera-400x300"


def test_bands_are_cameras_of_their_own(make_jpeg):
    tags = read_tags(
        make_jpeg(make="Parrot", model="Sequoia", focal_mm=3.98, xmp={"Camera:BandName": "NIR"})
    )
    assert camera_id(tags) == "parrot-sequoia-nir-80x60-3.98mm"


def test_a_maker_repeated_in_the_model_is_written_once(make_jpeg):
    tags = read_tags(make_jpeg(make="Canon", model="Canon PowerShot S110", focal_mm=None))
    assert camera_id(tags) == "canon-powershot-s110-80x60"


def test_two_drones_of_one_model_are_two_cameras(make_jpeg):
    one, other = (camera(make_jpeg, exif={0xA431: serial}) for serial in ("A17F0042", "A17F0077"))
    assert one.camera_id == "dji-fc300s-80x60-3.61mm-0042"
    assert other.camera_id.endswith("-0077")


def test_digital_zoom_lengthens_the_focal_length_and_is_another_camera(make_jpeg):
    plain, zoomed = (camera(make_jpeg, exif={0xA404: zoom}) for zoom in (1.0, 2.0))
    assert zoomed.fx_px == pytest.approx(2 * plain.fx_px)
    assert zoomed.camera_id == "dji-fc300s-80x60-3.61mm-zoom2"


def test_a_narrower_picture_spans_the_sensors_height():
    sensor = find_sensor("FC6310", 8.8)
    full = focal_px(sensor, 8.8, 5472, 3648)
    assert focal_px(sensor, 8.8, 4864, 3648) == pytest.approx(full, rel=2e-3)
    # DJI's designed focal length of this lens.
    assert full == pytest.approx(3666.67, rel=2e-3)


def test_one_model_with_two_lenses_finds_both_sensors():
    assert find_sensor("M3M", 12.29).width_mm > find_sensor("M3M", 4.34).width_mm
    assert find_sensor("M3M", 30.0) is None


def test_sensors_have_the_shape_of_pictures():
    assert all(1.2 < s.width_mm / s.height_mm < 1.6 for s in SENSORS)


@pytest.mark.real
def test_real_cameras_get_the_priors_worked_out_by_hand(real_data):
    brighton = read_tags((real_data / "brighton/photos/DJI_0018.JPG").read_bytes())
    assert propose_camera(brighton).fx_px == pytest.approx(2344, abs=1)
    mirafiori = read_tags((real_data / "mirafiori/photos/DJI_0010.JPG").read_bytes())
    assert propose_camera(mirafiori).source == "DJI dewarp data (calibrated 2022-03-02)"
