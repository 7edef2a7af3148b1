from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ingest.metadata.bands import band_tags
from ingest.metadata.exif import read_tags
from ingest.radiometry.panel_table import PanelTable
from ingest.radiometry.panels import PanelReading, measure_panels
from ingest.radiometry.radiance import to_radiance
from ingest.radiometry.reflectance import calibrate
from ingest.radiometry.sun_sensor import Shot
from tmp.radiometry import Band, BandTags, Family, Provenance, SunReading

START = datetime(2024, 6, 1, 10, 0, tzinfo=UTC)


def calibrated(flight, *, panels=True):
    readings = measure_panels(
        flight.shots,
        flight.load,
        PanelTable(),
    )
    return calibrate(flight.shots, readings if panels else ())


def reflectance(calibration, flight, name):
    frame = flight.frames[name]
    return calibration.to_reflectance(name, to_radiance(frame.stored, frame.shot.tags))


def ndvi(red, nir):
    return (nir - red) / (nir + red)


def ndvi_error(calibration, flight, red_name, nir_name):
    measured = ndvi(*(reflectance(calibration, flight, name) for name in (red_name, nir_name)))
    return measured - ndvi(*(flight.frames[name].truth for name in (red_name, nir_name)))


def test_a_panel_gives_ndvi_and_reflectance_to_a_hundredth(panel_scene):
    flight = panel_scene.Flight()
    flight.release(at_s=0, panel=True)
    names = flight.release(at_s=60, exposure_s=0.0003)
    calibration = calibrated(flight)
    error = ndvi_error(calibration, flight, *names)
    assert abs(error.mean()) <= 0.01
    assert np.sqrt((error**2).mean()) <= 0.03
    for name in names:
        difference = reflectance(calibration, flight, name) - flight.frames[name].truth
        assert abs(difference.mean()) < 0.005
    assert calibration.provenance is Provenance.BOTH
    assert calibration.absolute


def test_snow_and_glints_beyond_one_are_not_clipped(panel_scene):
    flight = panel_scene.Flight()
    flight.release(at_s=0, panel=True)
    names = flight.release(at_s=60, shade=1.3, exposure_s=0.0002)
    values = reflectance(calibrated(flight), flight, names[0])
    assert values.max() > 1.15


def test_the_disagreement_of_panel_and_sun_sensor_is_a_ratio_for_each_band(panel_scene):
    flight = panel_scene.Flight()
    flight.release(at_s=0, panel=True)
    flight.release(at_s=60)
    calibration = calibrated(flight)
    for band in calibration.bands:
        assert band.sun_over_panel == pytest.approx(panel_scene.SENSOR_BIAS[band.band], rel=0.01)
        assert band.panel_irradiance == pytest.approx(panel_scene.LIGHT[band.band], rel=0.005)
        assert any("sun sensor reads" in reason for reason in band.reasons)
    assert "sun sensor over panel 1.2" in calibration.raster_tags()["CALIBRATION_RED"]


def test_a_cloud_between_panel_and_flight_is_taken_out_by_the_sun_sensor(panel_scene):
    flight = panel_scene.Flight()
    flight.release(at_s=0, panel=True)
    names = flight.release(at_s=120, light=0.6)
    with_sun = reflectance(calibrated(flight), flight, names[0])
    assert with_sun.mean() == pytest.approx(flight.frames[names[0]].truth.mean(), rel=0.01)


def test_without_a_sun_sensor_panels_before_and_after_carry_the_light(panel_scene):
    flight = panel_scene.Flight()
    flight.release(at_s=0, panel=True, sun=False)
    names = flight.release(at_s=300, light=0.9, sun=False)
    flight.release(at_s=600, light=0.8, panel=True, sun=False)
    calibration = calibrated(flight)
    assert calibration.provenance is Provenance.PANEL
    values = reflectance(calibration, flight, names[1])
    assert values.mean() == pytest.approx(flight.frames[names[1]].truth.mean(), rel=0.01)
    assert calibration.bands[0].sigma > 0.1


def test_a_sun_sensor_alone_is_less_firm_and_biased_as_it_is(panel_scene):
    flight = panel_scene.Flight()
    names = flight.release(at_s=60)
    calibration = calibrated(flight)
    assert calibration.provenance is Provenance.SUN_SENSOR
    assert calibration.absolute
    values = reflectance(calibration, flight, names[0])
    truth = flight.frames[names[0]].truth
    assert values.mean() == pytest.approx(truth.mean() / panel_scene.SENSOR_BIAS["red"], rel=0.01)
    assert min(band.sigma for band in calibration.bands) >= 0.2


def test_a_panel_in_the_shadow_of_its_holder_is_not_used(panel_scene):
    flight = panel_scene.Flight()
    flight.release(at_s=0, panel=True, shade=0.3)
    flight.release(at_s=60)
    calibration = calibrated(flight)
    assert calibration.provenance is Provenance.SUN_SENSOR
    assert any("panel in shadow: it shows" in r for r in calibration.bands[0].reasons)


def test_of_two_panel_pictures_the_shaded_one_is_left_out(panel_scene):
    flight = panel_scene.Flight()
    flight.release(at_s=0, panel=True, shade=0.3, sun=False)
    flight.release(at_s=20, panel=True, sun=False)
    flight.release(at_s=60, sun=False)
    calibration = calibrated(flight)
    assert calibration.bands[0].panel_irradiance == pytest.approx(
        panel_scene.LIGHT["red"], rel=0.01
    )
    assert any("more than twice the light" in r for r in calibration.bands[0].reasons)


def test_exposure_alone_is_relative_and_says_so(panel_scene):
    flight = panel_scene.Flight()
    names = flight.release(at_s=0, sun=False) + flight.release(at_s=5, sun=False, exposure_s=0.0002)
    calibration = calibrated(flight)
    assert calibration.provenance is Provenance.RELATIVE
    assert not calibration.absolute
    assert "relative" in calibration.raster_tags()["CALIBRATION_NOTES"]
    assert calibration.raster_tags()["CALIBRATION_LEVEL"] == "proportional to reflectance"
    # Twice the exposure is the same scene.
    means = [
        reflectance(calibration, flight, n).mean() / flight.frames[n].truth.mean()
        for n in (names[0], names[2])
    ]
    assert means[0] == pytest.approx(means[1], rel=0.01)


def test_a_panel_of_another_flight_serves_for_two_hours(panel_scene):
    flight = panel_scene.Flight()
    flight.release(at_s=0, panel=True, sun=False)
    flight.release(at_s=600, sun=False)
    readings = measure_panels(
        flight.shots,
        flight.load,
        PanelTable(),
    )
    later = [
        s if r in ("000_red.tif", "001_nir.tif") else replace(s, flight="2")
        for r, s in ((s.name, s) for s in flight.shots)
    ]
    near = calibrate(later, readings)
    assert near.of("002_red.tif")[0].provenance is Provenance.PANEL
    assert any("panel pictured 10 min away" in r for r in near.of("002_red.tif")[0].reasons)
    day = [
        replace(s, time_utc=s.time_utc + timedelta(days=1)) if s.flight == "2" else s for s in later
    ]
    assert calibrate(day, readings).of("002_red.tif")[0].provenance is Provenance.RELATIVE


RGN = tuple(
    Band(name=name, centre_nm=nm, channel=i)
    for i, (name, nm) in enumerate((("red", 660.0), ("green", 550.0), ("nir", 850.0)))
)


def mapir(**more):
    tags = BandTags(
        family=Family.MAPIR,
        model="Survey3W_RGN",
        bands=RGN,
        bits=16,
        saturation_dn=65_535.0,
        linear=True,
        exposure_s=0.002,
        gain=0.5,
    )
    return Shot(
        name="a.tif", flight="1", camera_id="mapir", time_utc=START, tags=replace(tags, **more)
    )


def test_mapirs_factory_line_is_that_worked_by_hand():
    stored = np.zeros((2, 2, 3), np.uint16) + np.array([13_107, 13_107, 6_554], np.uint16)
    shot = mapir()
    calibration = calibrate([shot])
    values = calibration.to_reflectance("a.tif", to_radiance(stored, shot.tags))
    # 3.38 · 0.2 - 0.026, 2.02 · 0.2 - 0.020, 6.64 · 6554 / 65535 - 0.026.
    assert values[0, 0] == pytest.approx([0.65, 0.384, 0.638051], abs=1e-5)
    assert calibration.provenance is Provenance.RELATIVE
    assert any("factory line" in reason for reason in calibration.bands[0].reasons)


def target(panel, radiance, rho, band="red"):
    return PanelReading(
        photograph="a.tif",
        serial=panel,
        band=band,
        radiance=radiance,
        pixels=500,
        reflectance=rho,
    )


def test_several_targets_give_an_empirical_line():
    shot = mapir()
    readings = [
        target("dark", 30.0, 0.05),
        target("grey", 130.0, 0.25),
        target("white", 430.0, 0.85),
    ]
    red = calibrate([shot], readings).of("a.tif")[0]
    assert red.provenance is Provenance.EMPIRICAL_LINE
    assert (red.factors["a.tif"], red.offset) == pytest.approx((0.002, -0.01))
    assert any("above 1.27 it is far extrapolated" in reason for reason in red.reasons)
    assert red.absolute


def test_a_band_without_target_stays_relative_and_weakens_the_whole():
    calibration = calibrate([mapir()], [target("grey", 130.0, 0.25)])
    assert calibration.of("a.tif")[0].provenance is Provenance.PANEL
    assert calibration.provenance is Provenance.RELATIVE
    assert calibration.choose("red").provenance is Provenance.PANEL


def test_an_unknown_panel_is_named_once_with_what_to_do():
    calibration = calibrate([mapir()], [target("RP02-1603036-SC", 130.0, None)] * 2)
    said = [r for r in calibration.bands[0].reasons if "not what it reflects" in r]
    assert len(said) == 1
    assert said[0].startswith("panel RP02-1603036-SC found")


def test_no_exposure_time_leaves_nothing_to_stand_on():
    calibration = calibrate([mapir(exposure_s=None)])
    assert calibration.provenance is Provenance.NONE
    assert any("no exposure time" in reason for reason in calibration.bands[0].reasons)


def test_a_mavic_3_multispectral_follows_djis_formula(make_tiff, m3m_xmp):
    shots, stored = [], np.full((60, 80), 35_968, np.uint16)
    for letters, irradiance in (("R", 10_038.8), ("NIR", 5_019.4)):
        xmp = m3m_xmp(letters, "u", **{"drone-dji:Irradiance": irradiance})
        xmp |= {
            "drone-dji:CalibratedOpticalCenterX": "40",
            "drone-dji:VignettingData": "0,0,0,0,0,0",
        }
        tags = band_tags(read_tags(make_tiff(picture=stored, xmp=xmp)))
        shots.append(
            Shot(name=letters, flight="1", camera_id=letters, body="M3M", release="u", tags=tags)
        )
    calibration = calibrate(shots)
    assert calibration.provenance is Provenance.SUN_SENSOR
    assert not calibration.absolute
    red, nir = (
        calibration.to_reflectance(s.name, to_radiance(stored, s.tags))[30, 40] for s in shots
    )
    # X_cam · SensorGainAdjustment / Irradiance: 750.0114 / 10038.8 and / 5019.4, up to one factor.
    assert nir / red == pytest.approx(2.0, rel=1e-5)
    assert "one factor common to all bands" in calibration.raster_tags()["CALIBRATION_NOTES"]


def sequoia(name, band, nm, counts, *, exposure_s=0.001, at_s=0.0):
    tags = BandTags(
        family=Family.SEQUOIA,
        firmware="v1.2.0",
        bands=(Band(name=band, centre_nm=nm, width_nm=40.0),),
        f_number=2.2,
        exposure_s=exposure_s,
        gain=1.0,
        black_level=5100.0,
        bits=16,
        saturation_dn=65_472.0,
        sun=(SunReading(counts=(counts, 1), gain_index=1, integration_s=0.1),),
    )
    return Shot(
        name=name,
        flight="1",
        camera_id=band,
        body="Parrot Sequoia",
        release=f"{at_s}",
        time_utc=START + timedelta(seconds=at_s),
        tags=tags,
    )


def test_an_early_sequoia_is_levelled_by_its_sun_sensor_and_names_what_it_lacks():
    shots = [
        sequoia("r1", "red", 660.0, 800),
        sequoia("n1", "nir", 790.0, 600),
        sequoia("r2", "red", 660.0, 400, at_s=60),
        sequoia("n2", "nir", 790.0, 300, at_s=60),
    ]
    calibration = calibrate(shots)
    assert calibration.provenance is Provenance.SUN_SENSOR
    factor = {s.name: calibration.of(s.name)[0].factors[s.name] for s in shots}
    # Half the light: the same ground sends back half, so it counts double.
    assert factor["r2"] / factor["r1"] == pytest.approx(2.0)
    # The sun gives 0.773 as much at 790 nm as at 660 nm (Planck, 5778 K).
    assert factor["n1"] / factor["r1"] == pytest.approx(1 / 0.773, rel=2e-3)
    assert any("SensorModel missing (firmware v1.2.0" in r for r in calibration.bands[0].reasons)
    # The band that reaches furthest is 1 where it saturates.
    reach = {
        s.name: calibration.to_reflectance(
            s.name, to_radiance(np.full((1, 1), 65_472, np.uint16), s.tags)
        )[0, 0]
        for s in shots
    }
    assert np.median([reach["n1"], reach["n2"]]) == pytest.approx(1.0, rel=1e-3)


def test_thermal_bands_pass_as_temperatures(panel_scene):
    flight = panel_scene.Flight()
    name = flight.release(at_s=0)[0]
    shot = flight.frames[name].shot
    heat = replace(shot, tags=replace(shot.tags, bands=(Band(name="lwir", centre_nm=11_000.0),)))
    calibration = calibrate([heat])
    assert calibration.of(name)[0].factors[name] == 1.0
    assert "temperatures in °C" in calibration.bands[0].reasons[0]


def test_colour_photographs_are_passed_over():
    shot = Shot(name="a.jpg", flight="1", camera_id="c", tags=BandTags(family=Family.RGB))
    assert calibrate([shot]).bands == ()
