from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.radiometry.sun_sensor import (
    SunUnit,
    fresnel,
    level_irradiance,
    light_changes,
    sun_sensor_angle,
    sun_unit,
    undo_tilt,
)
from tmp.geo.frames import sun_position
from tmp.radiometry import BandTags, Family, SunReading

FRESNO = (-119.4466, 36.5761)
"""Where and when the panel of the RedEdge data was pictured."""
NOON = datetime(2017, 10, 19, 20, 40, 39, tzinfo=UTC)


def micasense(**reading: float) -> BandTags:
    return BandTags(family=Family.MICASENSE, sun=(SunReading(**reading),))


def test_the_angle_to_the_sun_is_that_of_micasenses_own_library():
    # Published with the data as 0.6754 rad.
    elevation, azimuth = sun_position(*FRESNO, "2017-10-19T20:40:39")
    angle = sun_sensor_angle(elevation, azimuth, -3.070223, -0.188128, -0.013388)
    assert angle == pytest.approx(0.6754, abs=5e-4)


def test_a_level_sensor_sees_the_sun_at_its_zenith_distance():
    assert sun_sensor_angle(0.5, 1.0, 2.0, 0.0, 0.0) == pytest.approx(np.pi / 2 - 0.5)


@given(st.floats(-3, 3), st.floats(0.1, 1.4))
def test_a_sensor_pitched_up_at_the_sun_faces_it(azimuth, elevation):
    # Nose away from the sun and lifted: the top of the body then points at the sun.
    yaw, pitch = azimuth + np.pi, np.pi / 2 - elevation
    assert sun_sensor_angle(elevation, azimuth, yaw, pitch, 0.0) == pytest.approx(0, abs=1e-6)


def test_fresnel_lets_less_light_in_at_a_slant():
    shares = [fresnel(angle) for angle in np.radians([0, 30, 60, 80])]
    assert shares[0] == pytest.approx(
        (4 * 1.000277 * 1.6 / 2.600277**2) * (4 * 1.6 * 1.38 / 2.98**2), rel=1e-6
    )
    assert shares == sorted(shares, reverse=True)


def test_tilt_is_undone_by_the_formula():
    # Sensor level, sun at 30°: only the window's loss is added; E / fresnel(60°).
    assert undo_tilt(1.0, np.radians(60), np.radians(30)) == pytest.approx(
        1 / fresnel(np.radians(60))
    )


@given(st.floats(0.05, 1.2), st.floats(0.3, 1.4), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))
def test_a_tilted_sensor_gives_the_light_on_level_ground_back(direct, elevation, pitch, roll):
    angle = sun_sensor_angle(elevation, 0.7, 0.2, pitch, roll)
    if np.cos(angle) < 0.1:
        assert undo_tilt(1.0, angle, elevation) is None
        return
    read = fresnel(angle) * direct * (np.cos(angle) + 1 / 6)
    truth = direct * (np.sin(elevation) + 1 / 6)
    assert undo_tilt(read, angle, elevation) == pytest.approx(truth, rel=1e-9)


def test_the_second_sensors_own_sum_is_taken_as_it_is():
    tags = micasense(horizontal=1.2, direct=9.0, scattered=9.0, irradiance=5.0)
    assert level_irradiance(tags, NOON, FRESNO) == 1.2


def test_direct_and_scattered_light_are_added_on_level_ground():
    tags = micasense(direct=1.0, scattered=0.2, irradiance=5.0, solar_elevation_rad=np.pi / 6)
    assert level_irradiance(tags, None, None) == pytest.approx(0.7)


def test_a_level_sensor_that_points_north_loses_only_what_its_window_keeps_out():
    # Angles of exactly zero are known angles. The sun stands 60° from the sensor's normal.
    level = {"yaw_rad": 0.0, "pitch_rad": 0.0, "roll_rad": 0.0}
    sun = {"solar_elevation_rad": np.pi / 6, "solar_azimuth_rad": 2.0}
    tags = micasense(irradiance=0.9, **level, **sun)
    assert level_irradiance(tags, None, None) == pytest.approx(0.9 / fresnel(np.pi / 3))


def test_without_time_or_place_the_reading_stands():
    tags = micasense(irradiance=0.9, yaw_rad=0.0, pitch_rad=0.3, roll_rad=0.0)
    assert level_irradiance(tags, None, FRESNO) == 0.9


def test_a_sensor_without_light_says_nothing():
    assert level_irradiance(micasense(horizontal=0.0), NOON, FRESNO) is None
    assert level_irradiance(BandTags(family=Family.DJI), NOON, FRESNO) is None
    assert sun_unit(BandTags(family=Family.DJI)) is None


def sequoia(*readings: tuple[float, int, int, float]) -> BandTags:
    return BandTags(
        family=Family.SEQUOIA,
        boot_time_s=100.0,
        sun=tuple(
            SunReading(boot_time_s=at, counts=(count, 1), gain_index=gain, integration_s=span)
            for at, count, gain, span in readings
        ),
        sun_gains=(
            (0, 600, 35, 17),
            (1, 600, 875, 437),
            (2, 600, 14_000, 7_152),
            (3, 600, 65_535, 0),
        ),
    )


def test_a_sequoia_takes_the_records_around_the_exposure():
    tags = sequoia(
        (90.0, 900, 1, 0.1), (99.6, 500, 1, 0.1), (100.3, 510, 1, 0.1), (109.0, 9, 1, 0.1)
    )
    # Gain 1 amplifies 25 times (875 / 35): the median of 500 and 510 per 25 · 0.1 s.
    assert level_irradiance(tags, None, None) == pytest.approx(505 / 2.5)
    assert sun_unit(tags) is SunUnit.CHANGES


def test_the_gain_is_an_index_and_not_a_factor():
    # The same light at the next gain gives 16 times the counts (14000 / 875).
    low, high = sequoia((100.0, 500, 1, 0.1)), sequoia((100.0, 8000, 2, 0.1))
    assert level_irradiance(low, None, None) == pytest.approx(level_irradiance(high, None, None))


def test_a_cloud_is_seen_by_all_bands_alike():
    times = np.arange(40.0) * 2
    cloud = np.where((times > 30) & (times < 60), 0.5, 1.0)
    noise = np.random.default_rng(1).normal(1, 0.03, (4, 40))
    bands = [level * cloud * row for level, row in zip((1.2, 1.0, 0.9, 0.5), noise, strict=True)]
    change, disagreement = light_changes(times, bands)
    clear = (np.abs(times - 30) > 8) & (np.abs(times - 60) > 8)
    np.testing.assert_allclose(change[clear], cloud[clear], rtol=0.05)
    assert max(disagreement) < 0.03


def test_one_band_that_errs_does_not_move_the_others():
    times = np.arange(10.0)
    steady = np.ones(10)
    broken = steady.copy()
    broken[5:] = 3.0
    change, disagreement = light_changes(times, [steady, steady, broken])
    np.testing.assert_allclose(change, 1.0)
    assert disagreement[0] == 0
    assert disagreement[2] > 0.2


def test_readings_out_of_reach_are_faults():
    change, _ = light_changes([0.0, 1.0, 2.0], [[1.0, 1.0, 40.0]], window=1)
    assert np.isnan(change[2])
    assert change[0] == pytest.approx(1.0)


def test_nothing_known_gives_nothing_and_no_warning():
    change, _ = light_changes([0.0, 1.0], [[np.nan, np.nan]])
    assert np.isnan(change).all()
