from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from ingest.metadata.bands import read_band_tags
from ingest.photographs import ingest_photographs
from ingest.radiometry.panel_table import PanelAlbedo, PanelTable, Target, parse_panel
from ingest.radiometry.radiance import read_stored, to_radiance
from ingest.radiometry.reflectance import calibrate_captures
from tmp.captures import Capture
from tmp.errors import InputError
from tmp.radiometry import Band, BandTags, Family, Provenance
from tmp.survey import Survey

RP02 = parse_panel("RP02-1603036-SC:blue=0.67,green=0.69,red=0.68,nir=0.61,rededge=0.67")
RATIOS = {"blue": 1.27, "green": 1.12, "red": 1.15, "nir": 0.83, "rededge": 1.17}
"""Sun sensor, tilt undone, over panel; measured independently but for the red edge."""


def calibrated(folder, root, table=None):
    result = ingest_photographs([folder], Survey(folder=root / "survey"), link=True)
    photos = result.survey.photos_dir

    def at(read, name):
        return read(photos / name)

    return calibrate_captures(
        result.captures,
        load=partial(at, read_stored),
        tags_of=partial(at, read_band_tags),
        table=table,
    ).calibration


def reflectance(calibration, path):
    radiance = to_radiance(read_stored(path), read_band_tags(path))
    return calibration.to_reflectance(path.name, radiance)


@pytest.mark.real
def test_the_rededge_flight_rests_on_its_panel_and_sun_sensor(real_data, tmp_path):
    folder = real_data / "rededge_panel"
    calibration = calibrated(folder, tmp_path, PanelTable(panels=dict([RP02])))
    assert calibration.provenance is Provenance.BOTH
    assert calibration.absolute
    for band in calibration.bands:
        assert band.panel_serials == ("RP02-1603036-SC",)
        assert band.sun_over_panel == pytest.approx(RATIOS[band.band], abs=0.02)
    # The panel itself comes out as its data sheet says.
    assert reflectance(calibration, folder / "IMG_0000_3.tif")[540:620, 660:735].mean() == (
        pytest.approx(0.68, rel=0.03)
    )
    red, nir = (np.median(reflectance(calibration, folder / f"IMG_0001_{k}.tif")) for k in (3, 4))
    # 0.594 by the panel in an independent computation.
    assert (nir - red) / (nir + red) == pytest.approx(0.594, abs=0.04)


@pytest.mark.real
def test_without_its_reflectance_the_panel_is_named_and_the_sun_sensor_serves(real_data, tmp_path):
    calibration = calibrated(real_data / "rededge_panel", tmp_path)
    assert calibration.provenance is Provenance.SUN_SENSOR
    assert "RP02-1603036-SC found, but not what" in calibration.raster_tags()["CALIBRATION_NOTES"]


@pytest.mark.real
def test_the_garfield_flight_names_the_missing_sensor_model(real_data, tmp_path):
    calibration = calibrated(real_data / "garfield_sequoia", tmp_path)
    assert calibration.provenance is Provenance.SUN_SENSOR
    assert not calibration.absolute
    assert "SensorModel missing" in calibration.raster_tags()["CALIBRATION_NOTES"]


@pytest.mark.real
def test_the_sun_sensor_levels_the_parking_ground_of_garfield(real_data, tmp_path):
    folder = real_data / "garfield_sequoia"
    calibration = calibrated(folder, tmp_path)
    # The middle of the same asphalt, x and y by eye, in photographs 23 minutes apart.
    asphalt = {"164145_0090": (588, 196), "164605_0126": (999, 735), "163239_0001": (672, 411)}
    raw, levelled = [], []
    for name, (x, y) in asphalt.items():
        path = folder / f"IMG_161122_{name}_RED.TIF"
        window = (slice(y - 25, y + 25), slice(x - 25, x + 25))
        raw.append(np.median(to_radiance(read_stored(path), read_band_tags(path))[window]))
        levelled.append(np.median(reflectance(calibration, path)[window]))
    assert np.std(levelled) / np.mean(levelled) < 0.6 * np.std(raw) / np.mean(raw)


@pytest.mark.real
def test_the_indoor_sequoia_has_radiance_in_the_scale_of_all_sequoias(real_data, tmp_path):
    folder = real_data / "sequoia_indoor"
    calibration = calibrated(folder, tmp_path)
    assert "SensorModel" not in calibration.raster_tags()["CALIBRATION_NOTES"]
    for path in sorted(folder.glob("*.TIF")):
        values = reflectance(calibration, path)
        assert values.dtype == np.float32
        assert 0.01 < np.median(values) < 1


def test_a_target_outlined_in_no_photograph_is_refused():
    table = PanelTable(
        panels={"grey": PanelAlbedo(by_band={"red": 0.2})},
        targets=(Target(photograph="lost.tif", panel="grey", corners_px=((0, 0), (9, 0), (9, 9))),),
    )
    with pytest.raises(InputError, match=r"lost\.tif.*survey\.gpkg"):
        calibrate_captures((), load=read_stored, tags_of=read_band_tags, table=table)


def test_targets_in_photographs_of_unequal_exposure_count_as_levelled():
    exposures = {"1.tif": 1.0, "2.tif": 1.3}
    reflectances = {"dark": 0.05, "bright": 0.4}
    outlines = {
        "dark": ((2.0, 2.0), (18.0, 2.0), (18.0, 18.0), (2.0, 18.0)),
        "bright": ((22.0, 2.0), (38.0, 2.0), (38.0, 18.0), (22.0, 18.0)),
    }
    table = PanelTable(
        panels={name: PanelAlbedo(by_band={"nir": r}) for name, r in reflectances.items()},
        targets=tuple(
            Target(photograph=photo, panel=name, corners_px=corners)
            for photo in exposures
            for name, corners in outlines.items()
        ),
    )

    def load(name):
        dn = np.zeros((20, 40), np.uint16)
        dn[:, :20], dn[:, 20:] = (
            round(60_000 * exposures[name] * r) for r in reflectances.values()
        )
        return dn

    tags = BandTags(
        family=Family.DECLARED, linear=True, bands=(Band(name="nir"),), bits=16, saturation_dn=65535
    )
    captures = [
        Capture(
            name=name, source="", sha256="", size_bytes=1, width_px=40, height_px=20,
            camera_id="c", band="nir",
        )
        for name in exposures
    ]  # fmt: skip
    asked = []

    def level(name, place_px):
        asked.append(place_px)
        return [1 / exposures[name]]

    plain, levelled = (
        calibrate_captures(captures, load=load, tags_of=lambda _: tags, table=table, level=given)
        for given in (None, level)
    )
    line = levelled.calibration.of("1.tif")[0]
    assert line.provenance is Provenance.EMPIRICAL_LINE
    assert line.offset == pytest.approx(0, abs=1e-4)
    assert plain.calibration.of("1.tif")[0].offset > 0.005
    assert set(asked) == {(10.0, 10.0), (30.0, 10.0)}
    radiance = to_radiance(load("2.tif"), tags) / exposures["2.tif"]
    values = levelled.calibration.to_reflectance("2.tif", radiance[..., None])
    assert values[10, [10, 30], 0] == pytest.approx(list(reflectances.values()), abs=2e-4)
