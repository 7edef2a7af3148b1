import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from tmp.errors import InputError
from tmp.geo.frames import (
    DatumShift,
    LocalFrame,
    choose_utm_crs,
    describe_datum_shift,
    sun_position,
)

OSTN15 = "uk_os_OSTN15_NTv2_OSGBtoETRS.tif"
FRAME = LocalFrame(origin=(-19.1, 65.7, 160.0), crs="EPSG:32627")
OFFSETS = st.tuples(*[st.floats(-2000, 2000)] * 2, st.floats(-300, 300))


@pytest.mark.parametrize(
    ("longitude", "latitude", "crs"),
    [
        (-21.9, 64.1, "EPSG:32627"),
        (7.62, 45.03, "EPSG:32632"),
        (5.3, 60.4, "EPSG:32632"),  # south-west Norway belongs to zone 32
        (11.9, 78.9, "EPSG:32633"),  # Ny-Ålesund: Svalbard has no zone 32
        (20.0, 78.5, "EPSG:32633"),  # nor 34
        (-0.1, 78.5, "EPSG:32630"),  # and 31, 33, 35 and 37 begin where they do
        (0.1, 78.5, "EPSG:32631"),
        (8.9, 78.5, "EPSG:32631"),
        (9.1, 78.5, "EPSG:32633"),
        (21.1, 78.5, "EPSG:32635"),
        (33.1, 78.5, "EPSG:32637"),
        (42.1, 78.5, "EPSG:32638"),
        (-70.9, -33.4, "EPSG:32719"),
    ],
)
def test_the_utm_zone_is_that_of_the_place(longitude, latitude, crs):
    assert choose_utm_crs(longitude, latitude) == crs


def test_the_poles_have_no_utm_zone():
    with pytest.raises(InputError, match="--crs"):
        choose_utm_crs(0.0, 88.0)


def test_world_axes_are_east_north_up_in_metres():
    lon, lat, height = FRAME.origin
    geod = Geod(ellps="WGS84")
    east = geod.fwd(lon, lat, 90, 100)
    north = geod.fwd(lon, lat, 0, 100)
    world = FRAME.world_from_geodetic(
        [(east[0], east[1], height), (north[0], north[1], height), (lon, lat, height + 100)]
    )
    # Height falls by d²/2R = 0.8 mm and the arc differs from the chord at 160 m by 2.5 mm.
    np.testing.assert_allclose(world, 100 * np.eye(3), atol=4e-3)


@given(OFFSETS)
def test_geodetic_and_map_coordinates_come_back(offset):
    np.testing.assert_allclose(
        FRAME.world_from_geodetic(FRAME.geodetic_from_world(offset)), [offset], atol=1e-6
    )
    np.testing.assert_allclose(
        FRAME.world_from_map(FRAME.map_from_world(offset)), [offset], atol=1e-5
    )


def test_map_coordinates_are_projs_and_keep_the_height():
    lon, lat, height = FRAME.origin
    expected = Transformer.from_crs("EPSG:4326", "EPSG:32627", always_xy=True).transform(lon, lat)
    np.testing.assert_allclose(FRAME.map_from_world([0, 0, 0]), [[*expected, height]], atol=1e-6)


def test_the_linear_map_is_good_to_a_millimetre_over_a_tile():
    centre = FRAME.map_from_world([500.0, -300.0, 20.0])[0]
    matrix, offset = FRAME.world_from_map_affine(centre)
    points = centre + np.random.default_rng(0).uniform(-50, 50, (100, 3))
    linear = (points - centre) @ matrix.T + offset
    np.testing.assert_allclose(linear, FRAME.world_from_map(points), atol=1e-3)


def test_without_a_place_world_and_map_are_the_same():
    frame = LocalFrame(origin=None, crs=None)
    points = np.array([[1.0, 2.0, 3.0]])
    assert not frame.referenced
    np.testing.assert_array_equal(frame.map_from_world(points), points)
    np.testing.assert_array_equal(frame.world_from_map(points), points)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:2225"])  # degrees, US survey feet
def test_a_crs_that_is_not_metric_is_refused(crs):
    with pytest.raises(InputError, match="metres"):
        LocalFrame(origin=(0, 0, 0), crs=crs)


def test_half_a_frame_is_refused():
    with pytest.raises(InputError, match="both"):
        LocalFrame(origin=(0, 0, 0), crs=None)


def test_the_sun_stands_where_the_papers_example_has_it() -> None:
    """Reda and Andreas 2004, table A5.1: zenith 50.11162°, azimuth 194.34024°.

    The example's air, 820 mbar, bends light by 0.016°, that at sea level by 0.020°.
    """
    elevation, azimuth = np.degrees(sun_position(-105.1786, 39.742476, "2003-10-17T19:30:30"))
    assert elevation == pytest.approx(90 - 50.11162, abs=5e-3)
    assert azimuth == pytest.approx(194.34024, abs=1e-3)


@pytest.mark.parametrize(
    ("lat_deg", "lon_deg", "time", "elevation_deg", "azimuth_deg"),
    [
        (46.8, 8.2, "2026-06-21T09:00", 52.1887, 115.0990),
        (78.22, 15.6, "2026-06-21T23:00", 11.7322, 0.1130),
        (78.22, 15.6, "2026-11-21T11:00", -8.2164, 183.9285),
        (-77.85, 166.67, "2026-12-21T12:00", 11.6455, 192.0181),
        (64.1, -21.9, "2026-03-01T13:40", 18.4981, 180.0318),
        (89.9, 0.0, "2026-06-21T12:00", 23.5739, 179.5453),
        (-33.9, 151.2, "2026-01-15T02:00", 77.2109, 4.6864),
    ],
)
def test_the_sun_stands_where_pvlib_has_it_from_the_tropics_to_the_poles(
    lat_deg: float, lon_deg: float, time: str, elevation_deg: float, azimuth_deg: float
) -> None:
    """pvlib 0.16.1's NREL SPA with 12 °C, 1013.25 mbar; refraction differs with the air."""
    elevation, azimuth = np.degrees(sun_position(lon_deg, lat_deg, [time, time]))
    assert elevation == pytest.approx([elevation_deg] * 2, abs=0.01)
    assert azimuth == pytest.approx([azimuth_deg] * 2, abs=0.01)


def test_the_sun_stands_where_spencers_series_puts_it():
    # Spencer (1971) for day 292, 20.678 h UT: declination -9.82°, equation of time 15.25 min, hence
    # elevation 41.63° and azimuth 199.3°; the series is good to half a degree.
    elevation, azimuth = np.degrees(sun_position(-119.4466, 36.5761, "2017-10-19T20:40:39"))
    assert elevation == pytest.approx(41.63, abs=0.6)
    assert azimuth == pytest.approx(199.3, abs=0.6)


def test_a_utm_zone_has_no_shift_and_nothing_to_say() -> None:
    found = describe_datum_shift("EPSG:32627", -21.9, 64.1)
    assert found == DatumShift(crs="EPSG:32627", accuracy_m=0.0)
    assert found.in_words() == ""


def test_the_british_grid_without_its_grid_file_is_good_to_two_metres_and_says_so() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = describe_datum_shift("EPSG:27700", -1.5, 53.4)
    if found.accuracy_m != 2.0:
        pytest.skip("this machine has the grid file")
    assert (found.better_accuracy_m, found.better_grid) == (1.0, OSTN15)
    said = found.in_words()
    assert said.startswith("Map coordinates in EPSG:27700 are good to 2 m only")
    assert f"pyproj sync --file {OSTN15}" in said
    # What is described is what coordinates are computed by.
    transformer = Transformer.from_crs("EPSG:4326", "EPSG:27700", always_xy=True)
    transformer.transform(-1.5, 53.4)
    assert transformer.get_last_used_operation().accuracy == found.accuracy_m


def test_a_crs_of_another_part_of_the_world_has_no_known_place() -> None:
    found = describe_datum_shift("EPSG:27700", -92.0, 46.8)
    assert found.accuracy_m is None
    assert "not known here" in found.in_words()


def test_a_loose_shift_without_a_better_one_is_told_too() -> None:
    assert "good to 3 m only" in DatumShift(crs="EPSG:28355", accuracy_m=3.0).in_words()
    assert DatumShift(crs="EPSG:25832", accuracy_m=1.0).in_words() == ""
