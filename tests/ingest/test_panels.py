from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from ingest.metadata.bands import read_band_tags
from ingest.radiometry.panel_table import PanelAlbedo, PanelTable, Target, parse_panel
from ingest.radiometry.panels import find_panel, measure_panel, measure_panels
from ingest.radiometry.radiance import read_stored
from ingest.radiometry.sun_sensor import Shot
from tmp.radiometry import Band, BandTags, Family, PanelMark

PUBLISHED = {"blue": 0.798, "green": 0.817, "red": 0.749, "nir": 0.548, "rededge": 0.613}
"""W/m²/nm, MicaSense's library on the same files."""
RP02 = parse_panel("RP02-1603036-SC:blue=0.67,green=0.69,red=0.68,nir=0.61,rededge=0.67")


@pytest.fixture(scope="module")
def flight(panel_scene):
    flight = panel_scene.Flight()
    flight.release(at_s=0, panel=True)
    flight.release(at_s=60)
    return flight


def candidates(flight, *names):
    return [flight.frames[name].shot for name in names]


def test_the_panel_is_found_and_its_light_is_the_truth(panel_scene, flight):
    readings = measure_panels(
        candidates(flight, "000_red.tif", "001_nir.tif"), flight.load, PanelTable()
    )
    assert [reading.serial for reading in readings] == [panel_scene.SERIAL, panel_scene.SERIAL]
    for reading in readings:
        assert reading.usable
        assert reading.reflectance == pytest.approx(panel_scene.panel_reflectance(reading.band))
        assert reading.irradiance == pytest.approx(panel_scene.LIGHT[reading.band], rel=0.005)
        assert reading.pixels > 2000


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_the_panel_is_found_whichever_way_it_lies(panel_scene, flight, turns):
    stored = np.rot90(flight.load("000_red.tif"), turns).copy()
    sighting = find_panel(stored)
    assert sighting.serial == panel_scene.SERIAL
    assert sighting.source == "QR code"
    mask = np.zeros(stored.shape, np.uint8)
    cv2.fillPoly(mask, [np.rint(sighting.outline_px).astype(np.int32)], 1)
    truth = np.rot90(flight.frames["000_red.tif"].truth, turns)[mask > 0]
    assert np.median(np.abs(truth - panel_scene.panel_reflectance("red"))) < 1e-3


def test_a_field_holds_no_panel(flight):
    assert find_panel(flight.load("002_red.tif")) is None
    assert measure_panels(candidates(flight, "002_red.tif"), flight.load, PanelTable()) == []


def test_a_panel_picture_without_a_code_is_reported(flight):
    (shot,) = candidates(flight, "002_red.tif")
    (reading,) = measure_panels([shot], flight.load, PanelTable(), expected={shot.name})
    assert not reading.usable
    assert "outline the panel in panels.toml" in reading.problem


def test_another_code_is_no_panel():
    code = cv2.QRCodeEncoder.create().encode("https://example.org/geocache")
    stored = cv2.copyMakeBorder(
        cv2.resize(code, None, fx=6, fy=6, interpolation=cv2.INTER_NEAREST),
        *(60,) * 4,
        cv2.BORDER_CONSTANT,
        value=200,
    )
    assert find_panel(stored.astype(np.uint16) * 200) is None


def test_a_saturated_panel_is_not_used(panel_scene, flight):
    name = panel_scene.Flight().release(at_s=0, panel=True)[0]
    tags = replace(flight.frames[name].shot.tags, saturation_dn=20_000.0)
    sighting = find_panel(flight.load(name))
    (reading,) = measure_panel(name, flight.load(name), tags, sighting, PanelTable())
    assert not reading.usable
    assert reading.problem.startswith("panel saturated in 100.0 % of its pixels")


def test_a_shadow_across_the_panel_is_named(panel_scene):
    shade = np.ones(panel_scene.SHAPE)
    shade[:, 285:] = 0.4
    flight = panel_scene.Flight()
    (name, _) = flight.release(at_s=0, panel=True, shade=shade)
    (reading,) = measure_panels(candidates(flight, name), flight.load, PanelTable())
    assert not reading.usable
    assert "a shadow or a glint lies on it" in reading.problem


@pytest.mark.parametrize(("dimmer", "usable"), [(0.08, True), (0.12, False)])
def test_halves_may_differ_by_twice_the_spread_that_is_allowed(panel_scene, dimmer, usable):
    # A step between two equal halves has a standard deviation of half the step.
    shade = np.ones(panel_scene.SHAPE)
    shade[:, 283:] = 1 - dimmer
    flight = panel_scene.Flight()
    (name, _) = flight.release(at_s=0, panel=True, shade=shade)
    (reading,) = measure_panels(candidates(flight, name), flight.load, PanelTable())
    assert reading.usable is usable


def test_a_panel_of_unknown_reflectance_is_reported_and_not_used(flight):
    short = "RP02-1603036-SC"
    name = "000_red.tif"
    sighting = replace(find_panel(flight.load(name)), serial=short)
    tags = flight.frames[name].shot.tags
    (reading,) = measure_panel(name, flight.load(name), tags, sighting, PanelTable())
    assert reading.reflectance is None
    assert reading.irradiance is None
    assert not reading.usable


def test_a_mark_in_the_metadata_spares_the_search(panel_scene, flight):
    corners = ((250.0, 185.0), (310.0, 185.0), (310.0, 240.0), (250.0, 240.0))
    tags = replace(
        flight.frames["000_red.tif"].shot.tags,
        panel=PanelMark(albedo=0.42, corners_px=corners, serial="RP04-1234567-OB"),
    )
    sighting = find_panel(np.zeros(panel_scene.SHAPE, np.uint16), tags)
    assert (sighting.source, sighting.outline_px) == ("metadata", corners)
    (reading,) = measure_panel("a", flight.load("000_red.tif"), tags, sighting, PanelTable())
    assert reading.reflectance == 0.42


def test_an_outlined_target_is_measured_in_every_channel():
    tags = BandTags(
        family=Family.MAPIR,
        bands=tuple(Band(name=n, channel=i) for i, n in enumerate(("red", "green", "nir"))),
        linear=True,
        exposure_s=1.0,
    )
    stored = np.full((50, 60, 3), 10, np.uint8)
    stored[10:30, 20:40] = (51, 102, 204)
    table = PanelTable(
        panels={"grey": PanelAlbedo(wavelengths_nm=(550.0,), reflectance=(0.5,))},
        targets=(
            Target(
                photograph="a.tif",
                panel="grey",
                corners_px=((21.0, 11.0), (39.0, 11.0), (39.0, 29.0), (21.0, 29.0)),
            ),
        ),
    )
    shot = Shot(name="a.tif", flight="", camera_id="", tags=tags)
    readings = measure_panels([shot], lambda _: stored, table)
    assert [r.band for r in readings] == ["red", "green", "nir"]
    assert [r.radiance for r in readings] == pytest.approx([0.2, 0.4, 0.8])
    assert all(r.usable for r in readings)


@pytest.mark.real
def test_the_rededge_panel_gives_the_published_irradiance(real_data):
    table = PanelTable(panels=dict([RP02]))
    for path in sorted((real_data / "rededge_panel").glob("IMG_0000_*.tif")):
        tags, stored = read_band_tags(path), read_stored(path)
        sighting = find_panel(stored, tags)
        assert sighting.serial == "RP02-1603036-SC"
        (reading,) = measure_panel(path.name, stored, tags, sighting, table)
        assert reading.usable
        assert reading.irradiance == pytest.approx(PUBLISHED[reading.band], rel=0.005)


@pytest.mark.real
def test_an_orchard_holds_no_panel(real_data):
    for path in sorted((real_data / "rededge_panel").glob("IMG_0001_*.tif")):
        assert find_panel(read_stored(path)) is None
