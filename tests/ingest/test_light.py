from __future__ import annotations

from dataclasses import replace

import pytest

from ingest.radiometry.sun_sensor import SunUnit, read_light


def test_each_photograph_gets_the_change_that_all_bands_saw(panel_scene):
    flight = panel_scene.Flight()
    for second, light in ((0, 1.0), (60, 1.0), (120, 0.5)):
        flight.release(at_s=second, light=light)
    light = read_light(flight.shots)
    assert light.changes["000_red.tif"] == pytest.approx(1.0)
    assert light.changes["005_nir.tif"] == pytest.approx(0.5)
    assert light.units == {"rededge-red": SunUnit.ABSOLUTE, "rededge-nir": SunUnit.ABSOLUTE}
    assert light.levels["rededge-red"] == pytest.approx(1.3 * 1.2)
    assert light.disagreement["rededge-red"] == pytest.approx(0, abs=1e-9)


def test_photographs_without_times_are_taken_in_their_order(panel_scene):
    flight = panel_scene.Flight()
    flight.release(at_s=0)
    flight.release(at_s=60)
    light = read_light([replace(shot, time_utc=None) for shot in flight.shots])
    assert all(change == pytest.approx(1.0) for change in light.changes.values())


def test_a_photograph_without_reading_is_left_out(panel_scene):
    flight = panel_scene.Flight()
    flight.release(at_s=0)
    flight.release(at_s=60, sun=False)
    assert set(read_light(flight.shots).changes) == {"000_red.tif", "001_nir.tif"}


def test_no_sensor_no_light():
    assert read_light([]).changes == {}
