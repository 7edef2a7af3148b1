import math

import pytest

from ingest.metadata.exif import read_position, read_tags
from ingest.reading import read_attitude
from tmp.captures import HeightDatum
from tmp.errors import SMALLEST


def position(make_jpeg, **options):
    return read_position(read_tags(make_jpeg(**options)))


@pytest.mark.parametrize("lon_lat", [(7.62, 45.03), (-91.99, 46.84), (-70.5, -33.2)])
def test_hemispheres_follow_the_reference_letters(make_jpeg, lon_lat):
    found = position(make_jpeg, lon_lat=lon_lat)
    assert found.longitude_deg == pytest.approx(lon_lat[0], abs=1e-8)
    assert found.latitude_deg == pytest.approx(lon_lat[1], abs=1e-8)
    assert (found.sigma_horizontal_m, found.sigma_vertical_m) == (3.0, 6.0)


def test_zero_zero_is_no_position(make_jpeg):
    found = position(make_jpeg, lon_lat=(0.0, 0.0))
    assert found.longitude_deg is None
    assert "zero" in found.position_source


def test_no_tags_and_no_fix_are_told_apart(make_jpeg):
    assert position(make_jpeg, lon_lat=None, height_m=None).position_source == "no GPS tags"
    void = position(make_jpeg, gps={9: "V"})
    assert void.longitude_deg is None
    assert "no fix" in void.position_source


def test_rtk_fixed_takes_the_digits_of_xmp_and_its_sigmas(make_jpeg):
    found = position(
        make_jpeg,
        lon_lat=(7.6204658, 45.0315957),
        height_m=349.583,
        xmp={
            "drone-dji:GpsLongitude": "7.62046587",
            "drone-dji:GpsLatitude": "45.03159568",
            "drone-dji:RtkFlag": "50",
            "drone-dji:RtkStdLon": "0.01053",
            "drone-dji:RtkStdLat": "0.01380",
            "drone-dji:RtkStdHgt": "0.02050",
            "drone-dji:RelativeAltitude": "+44.47",
        },
    )
    assert found.longitude_deg == 7.62046587
    assert found.sigma_horizontal_m == pytest.approx(math.hypot(0.01053, 0.0138) / math.sqrt(2))
    assert found.sigma_vertical_m == 0.0205
    assert found.height_datum is HeightDatum.ELLIPSOID
    assert found.height_takeoff_m == 44.47
    assert found.position_source == "XMP RTK fixed"


def test_a_position_rewritten_in_exif_beats_the_stale_one_in_xmp(make_jpeg):
    found = position(
        make_jpeg,
        lon_lat=(7.6001, 45.0),
        xmp={
            "drone-dji:GpsLongitude": "7.6",
            "drone-dji:GpsLatitude": "45.0",
            "drone-dji:RtkFlag": "50",
        },
    )
    assert found.longitude_deg == pytest.approx(7.6001)
    assert found.sigma_horizontal_m == 3.0
    assert "differs from XMP" in found.position_source


def test_the_misspelt_longitude_is_understood(make_jpeg):
    found = position(
        make_jpeg,
        lon_lat=None,
        xmp={"drone-dji:GpsLongtitude": "7.5", "drone-dji:GpsLatitude": "45"},
    )
    assert (found.longitude_deg, found.latitude_deg) == (7.5, 45.0)


def test_an_empty_rtk_flag_gives_no_false_accuracy(make_jpeg):
    found = position(
        make_jpeg,
        xmp={
            "drone-dji:RtkFlag": "0",
            "drone-dji:RtkStdLon": "0.01",
            "drone-dji:RtkStdLat": "0.01",
            "drone-dji:RtkStdHgt": "0.01",
        },
    )
    assert found.sigma_horizontal_m == 3.0
    assert found.height_datum is HeightDatum.UNKNOWN


@pytest.mark.parametrize(
    ("options", "datum"),
    [
        ({"gps": {18: "EGM-96"}}, HeightDatum.EGM96),
        ({"xmp": {"drone-dji:AltitudeType": "RtkAlt"}}, HeightDatum.ELLIPSOID),
        ({"xmp": {"drone-dji:AltitudeType": "PressureAlt"}}, HeightDatum.BAROMETRIC),
        (
            {"xmp": {"drone-dji:AltitudeType": "GpsFusionAlt", "drone-dji:RtkFlag": "16"}},
            HeightDatum.UNKNOWN,
        ),
        ({"gps": {18: "WGS-84"}}, HeightDatum.UNKNOWN),
    ],
)
def test_the_height_datum_comes_from_what_the_maker_says(make_jpeg, options, datum):
    assert position(make_jpeg, **options).height_datum is datum


def test_a_height_below_the_sea_keeps_its_sign_but_not_below_all_land(make_jpeg):
    assert position(make_jpeg, height_m=-5.677).height_m == pytest.approx(-5.677)
    assert position(make_jpeg, height_m=-1200.0).height_m == 1200.0


@pytest.mark.parametrize(
    ("reference", "height_m"), [(b"\x00", 5.5), (b"\x01", -5.5), (b"\x02", 5.5), (b"\x03", -5.5)]
)
def test_references_1_and_3_put_a_height_below_their_zero(make_jpeg, reference, height_m):
    # EXIF 3.0, table 12: 0 and 1 count from the ellipsoid, 2 and 3 from sea level.
    found = position(make_jpeg, height_m=5.5, gps={5: reference})
    assert found.height_m == pytest.approx(height_m)


def test_a_wrong_altitude_reference_is_mended_by_xmp(make_jpeg):
    found = position(make_jpeg, height_m=-120.0, xmp={"drone-dji:AbsoluteAltitude": "+120.00"})
    assert found.height_m == 120.0


def test_a_missing_or_zero_height_is_none(make_jpeg):
    assert position(make_jpeg, height_m=None).height_m is None
    assert position(make_jpeg, height_m=0.0).height_m is None


@pytest.mark.parametrize(
    ("options", "sigmas"),
    [
        (
            {"xmp": {"Camera:GPSXYAccuracy": "2.289", "Camera:GPSZAccuracy": "3.344"}},
            (2.289, 3.344),
        ),
        ({"xmp": {"Camera:GPSXYAccuracy": "1.5"}}, (1.5, 3.0)),
        ({"gps": {31: 1.5}}, (1.5, 3.0)),
        ({"gps": {11: 1.25}}, (2.5, 5.0)),
        # Weak, yet a fix; from 50 on there was none.
        ({"gps": {11: 12.0}}, (24.0, 48.0)),
        ({"gps": {11: 49.5}}, (99.0, 198.0)),
        ({"gps": {11: 50.0}}, (3.0, 6.0)),
        ({"gps": {11: 0.1}}, (1.0, 2.0)),
        # What a receiver writes that has none.
        ({"gps": {11: 0.0}}, (3.0, 6.0)),
    ],
)
def test_stated_accuracies_become_sigmas(make_jpeg, options, sigmas):
    found = position(make_jpeg, **options)
    assert (found.sigma_horizontal_m, found.sigma_vertical_m) == pytest.approx(sigmas)


@pytest.mark.parametrize("sigma_m", [SMALLEST, 1000.0])
def test_the_least_and_the_greatest_accuracy_that_can_be_are_believed(make_jpeg, sigma_m):
    found = position(make_jpeg, xmp={"Camera:GPSXYAccuracy": repr(sigma_m)})
    assert (found.sigma_horizontal_m, found.problems) == (sigma_m, "")


@pytest.mark.parametrize("nonsense", ["-1", "1e308", "-1e308", "1001"])
@pytest.mark.parametrize("tag", ["Camera:GPSXYAccuracy", "Camera:GPSZAccuracy"])
def test_accuracies_that_cannot_be_are_named_and_not_believed(make_jpeg, tag, nonsense):
    said = {"Camera:GPSXYAccuracy": "1.5", "Camera:GPSZAccuracy": "2.5"} | {tag: nonsense}
    found = position(make_jpeg, xmp=said)
    usual = tag == "Camera:GPSXYAccuracy"
    assert found.sigma_horizontal_m == (3.0 if usual else 1.5)
    assert found.sigma_vertical_m == (6.0 if usual else 3.0)
    assert found.problems == f"{tag[7:]} {float(nonsense):g} m, not believed"


def test_an_accuracy_of_zero_stands_for_unknown(make_jpeg):
    found = position(make_jpeg, xmp={"Camera:GPSXYAccuracy": "0"}, gps={31: 1.5})
    assert (found.sigma_horizontal_m, found.problems) == (1.5, "")


def test_rtk_accuracies_that_cannot_be_leave_those_typical_of_the_fix(make_jpeg):
    said = {"RtkFlag": "50", "RtkStdLon": "-1", "RtkStdLat": "0.01", "RtkStdHgt": "1e308"}
    found = position(make_jpeg, xmp={f"drone-dji:{tag}": value for tag, value in said.items()})
    assert (found.sigma_horizontal_m, found.sigma_vertical_m) == (0.03, 0.05)
    assert found.problems.count("not believed") == 2


def test_heights_beyond_the_air_are_no_heights(make_jpeg):
    said = {"drone-dji:RelativeAltitude": "1e308", "drone-dji:AbsoluteAltitude": "-9e99"}
    found = position(make_jpeg, height_m=None, xmp=said)
    assert (found.height_m, found.height_takeoff_m) == (None, None)
    assert "RelativeAltitude 1e+308 m, not believed; height -9e+99 m" in found.problems


@pytest.mark.parametrize(
    ("said", "attitude"),
    [
        # Pix4D counts its pitch from nadir, we count from the horizon.
        ({"Camera:Yaw": 30, "Camera:Pitch": 0, "Camera:Roll": 1}, (30, -90, 1)),
        ({"Camera:Yaw": 30, "Camera:Pitch": 12.5, "Camera:Roll": 0}, (30, -77.5, 0)),
        ({"Camera:Yaw": 30, "Camera:Pitch": -90, "Camera:Roll": 0}, (None, None, None)),
        ({"Camera:Yaw": 30, "Camera:Pitch": 0}, (None, None, None)),
        (
            {"drone-dji:GimbalYawDegree": -5, "drone-dji:GimbalPitchDegree": -89.9,
             "drone-dji:GimbalRollDegree": 0, "Camera:Yaw": 1, "Camera:Pitch": 2,
             "Camera:Roll": 3},
            (-5, -89.9, 0),
        ),
    ],
)  # fmt: skip
def test_a_camera_that_looks_straight_down_has_a_pitch_of_minus_90(make_jpeg, said, attitude):
    assert read_attitude(read_tags(make_jpeg(xmp=said))) == attitude
