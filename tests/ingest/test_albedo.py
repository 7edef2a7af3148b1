from __future__ import annotations

import pytest

from ingest.radiometry.panel_table import (
    PanelAlbedo,
    PanelTable,
    add_panels,
    albedo_from_serial,
    panel_version,
    parse_panel,
    read_panels,
)
from tmp.errors import InputError
from tmp.radiometry import Band

BLUE, NIR = Band(name="blue", centre_nm=475.0), Band(name="nir", centre_nm=840.0)
PANELS = """
[panels."RP02-1603036-SC"]
Blue = 0.67
nir = 0.61

[panels."grey card"]
wavelengths_nm = [400, 900]
reflectance = [0.18, 0.28]

[panels.paper]
reflectance = 0.8

[[targets]]
photograph = "a/1.tif"
panel = "grey card"
corners_px = [[10, 20], [30, 20], [30, 40], [10, 40]]
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "panels.toml"
    path.write_text(PANELS)
    return read_panels(path)


def test_reflectance_comes_by_band_by_wavelength_or_for_all(table):
    assert table.at("RP02-1603036-SC", BLUE) == 0.67
    assert table.at("grey card", NIR) == pytest.approx(0.18 + 0.1 * 440 / 500)
    assert table.at("paper", Band(name="odd")) == 0.8
    assert table.at("RP02-1603036-SC", Band(name="green", centre_nm=560.0)) is None
    assert table.at("unknown", BLUE) is None
    assert table.targets[0].corners_px[1] == (30.0, 20.0)


def test_a_serial_number_from_version_4_on_tells_reflectance_along_a_line():
    serial = "RP06-2051037-OB-04000490" + "0800" + "530"
    # 0.490 at 400 nm and 0.530 at 800 nm: 0.4975 at 475 nm, 0.534 at 840 nm.
    assert albedo_from_serial(serial[:16] + "04004900800530", BLUE) == pytest.approx(0.4975)
    assert albedo_from_serial(serial[:16] + "04004900800530", NIR) == pytest.approx(0.534)


def test_an_older_serial_number_tells_nothing():
    assert panel_version("RP02-1603036-SC") == 2
    assert albedo_from_serial("RP02-1603036-SC", BLUE) is None
    assert panel_version("WIFI:S=guest;;") is None


def test_the_users_word_counts_before_the_serial_number():
    serial = "RP06-2051037-OB04004900800530"
    table = PanelTable(panels={serial: PanelAlbedo(by_band={"blue": 0.5})})
    assert table.at(serial, BLUE) == 0.5
    assert table.at(serial, NIR) == pytest.approx(0.534)


def test_a_panel_on_the_command_line():
    serial, albedo = parse_panel("RP02-1603036-SC:blue=0.67,NIR=0.61")
    assert serial == "RP02-1603036-SC"
    assert albedo.by_band == {"blue": 0.67, "nir": 0.61}
    assert parse_panel("grey:0.18")[1].at(BLUE) == 0.18


@pytest.mark.parametrize("text", ["", "RP02", "RP02:blue=x", "RP02:blue=0.5,green"])
def test_a_panel_written_otherwise_is_refused(text):
    with pytest.raises(InputError, match="write 'SERIAL:blue="):
        parse_panel(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[panels.a]\nred = 67", "give a fraction between 0 and 1"),
        ("[panels.a]\nwavelengths_nm = [400]\nreflectance = [0.1, 0.2]", "as many of both"),
        ("[panels.a]\nwavelengths_nm = [500, 400]\nreflectance = [0.1, 0.2]", "must increase"),
        (
            '[[targets]]\nphotograph = "a"\npanel = "b"\ncorners_px = [[0,0],[1,1],[0,1]]',
            "not list",
        ),
        ('[[targets]]\nphotograph = "a"\npanel = "b"\ncorners_px = [[0,0]]', "outline nothing"),
        ("panels = 3", r"panels = 3; write it as a table, \[panels"),
        ("targets = 3", r"targets = 3; write \[\[targets"),
        ("[panel.a]\nred = 0.7", "'panel' is not known; did you mean 'panels'"),
        ("[panels.a]\nred = 'x'", r'\[panels."a"\]: by_band.red = .x.; give a number'),
        ('[[targets]]\nphotograph = "a"\ncorners_px = [[0,0]]', "target 1: panel is missing"),
        ("[panels", "not valid TOML"),
    ],
)
def test_a_panel_file_that_makes_no_sense_is_refused(tmp_path, text, message):
    path = tmp_path / "panels.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_panels(path)


def test_a_missing_panel_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no\.toml"):
        read_panels(tmp_path / "no.toml")


def test_panels_are_added_beside_what_a_person_wrote(tmp_path):
    path = tmp_path / "panels.toml"
    add_panels(path, {"grey": PanelAlbedo(wavelengths_nm=(550.0,), reflectance=(0.18,))})
    path.write_text("# ours, measured in May\n" + path.read_text())
    add_panels(path, dict([parse_panel("RP02-1603036-SC:blue=0.67")]))
    table = read_panels(path)
    assert table.at("RP02-1603036-SC", BLUE) == 0.67
    assert table.at("grey", NIR) == 0.18
    assert path.read_text().startswith("# ours, measured in May")


def test_a_damaged_panel_file_is_not_overwritten(tmp_path):
    path = tmp_path / "panels.toml"
    path.write_text("[panels")
    with pytest.raises(InputError, match="not valid TOML"):
        add_panels(path, {})
    assert path.read_text() == "[panels"
