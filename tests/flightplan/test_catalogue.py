"""The catalogue of cameras and drones, and what users lay over it."""

import math
from pathlib import Path

import pytest

from flightplan.equipment.catalogue import App, Confidence, Shutter, read_catalogue, user_files
from tmp.errors import InputError

CATALOGUE = read_catalogue()


def written(folder: Path, text: str, name: str = "equipment.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("dji mini 4 pro", "dji-mini-4-pro"),
        ("Mini 4 Pro", "dji-mini-4-pro"),
        ("mini4pro", "dji-mini-4-pro"),
        ("Mavic 3M", "dji-mavic-3m"),
        ("P4 RTK", "dji-phantom-4-rtk"),
        ("phantom 4 multispectral", "dji-p4-multispectral"),
        ("ANAFI", "parrot-anafi"),
    ],
)
def test_drones_are_found_in_loose_spelling(name: str, key: str) -> None:
    assert CATALOGUE.drone(name).key == key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("FC6310", "dji-phantom-4-pro"),
        ("Sequoia", "parrot-sequoia"),
        ("RedEdge-MX", "micasense-rededge-m"),
        ("Survey3W_RGN", "mapir-survey3w"),
    ],
)
def test_cameras_are_found_by_the_model_in_their_photographs(name: str, key: str) -> None:
    assert CATALOGUE.camera(name).key == key


def test_an_unknown_name_is_one_line_with_those_nearest() -> None:
    with pytest.raises(InputError, match=r"'Mavik 3' is not in the catalogue; .*'dji-mavic-3'"):
        CATALOGUE.drone("Mavik 3")
    with pytest.raises(InputError) as refusal:
        CATALOGUE.camera("")
    assert "\n" not in str(refusal.value)


def test_a_name_that_fits_several_is_refused() -> None:
    with pytest.raises(InputError, match="'micasense-altum-pt-pan' or 'micasense-rededge-p-pan'"):
        CATALOGUE.camera("pan")


def test_every_entry_says_source_and_where_its_focal_length_comes_from() -> None:
    for camera in CATALOGUE.cameras.values():
        assert camera.source
        assert camera.derivation, camera.key
        assert 20 < camera.fov_deg[0] < 110, camera.key
        assert camera.photo_mb > 0
    for drone in CATALOGUE.drones.values():
        assert drone.source, drone.key
        assert drone.hover_min <= drone.cruise_min or math.isnan(drone.cruise_min), drone.key


def test_consumer_controllers_are_told_apart_from_those_of_the_specification() -> None:
    for drone in CATALOGUE.drones.values():
        if drone.app is App.DJI_FLY:
            assert drone.wpml is not None
            assert drone.wpml.consumer, drone.key
            assert drone.mission_speed_m_s <= 11.5
    enterprise = CATALOGUE.drone("Mavic 3M").wpml
    assert enterprise is not None
    assert (enterprise.drone, enterprise.drone_sub, enterprise.payload) == (77, 2, 68)
    assert not enterprise.consumer


def test_cameras_released_together_lead_with_the_first() -> None:
    together = CATALOGUE.cameras_of(CATALOGUE.drone("Mavic 3M"))
    assert [camera.key for camera in together] == ["dji-mavic-3m-ms", "dji-mavic-3m-rgb"]


def test_the_interior_orientation_has_its_principal_point_in_the_middle() -> None:
    camera = CATALOGUE.camera("Phantom 4 Pro").camera()
    assert (camera.cx_px, camera.cy_px) == (2736.0, 1824.0)
    assert camera.ray_from_pixel([[2736, 1824]]).tolist() == [[0, 0, 1]]
    # 8.8 mm on 13.13 mm: DJI gives 73.7° across.
    assert CATALOGUE.camera("Phantom 4 Pro").fov_deg[0] == pytest.approx(73.5, abs=0.3)


def test_a_user_changes_one_field_and_keeps_the_rest(tmp_path: Path) -> None:
    path = written(tmp_path, "[camera.dji-mini-4-pro]\nf_px = 2850\nconfidence = 'A'\n")
    changed = read_catalogue([path]).cameras["dji-mini-4-pro"]
    assert (changed.f_px, changed.confidence) == (2850.0, Confidence.A)
    assert changed.width_px == 4032
    assert changed.source.startswith(str(path))
    assert read_catalogue().cameras["dji-mini-4-pro"].f_px == 2800.0


def test_a_user_adds_a_camera_and_a_drone_and_the_last_file_counts(tmp_path: Path) -> None:
    first = written(
        tmp_path,
        "[camera.kite]\nname='Kite'\nwidth_px=4000\nheight_px=3000\nf_px=3000\n"
        "least_interval_s=1\nshutter='global'\n"
        "[drone.arducopter]\ncameras=['kite']\n[drone.dji-mini-4-pro.wpml]\ndrone=99\n",
    )
    second = written(tmp_path, "[camera.kite]\nf_px=3100\n", "second.toml")
    catalogue = read_catalogue([first, second])
    assert catalogue.camera("kite").f_px == 3100.0
    assert catalogue.camera("kite").shutter is Shutter.GLOBAL
    assert catalogue.drone("arducopter").cameras == ("kite",)
    wpml = catalogue.drone("Mini 4 Pro").wpml
    assert wpml is not None
    assert (wpml.drone, wpml.consumer) == (99, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[camera.dji-mini-4-pro]\nfocal = 3", r"\[camera.dji-mini-4-pro\]: 'focal' is not known"),
        ("[camera.dji-mini-4-pro]\nwidht_px = 3", "did you mean 'width_px'"),
        ("[cameras.x]\nf_px = 3", "'cameras' is not known; did you mean 'camera'"),
        ("[camera.new]\nname = 'x'", "width_px is missing"),
        ("[camera.dji-mini-4-pro]\nf_px = 'long'", "f_px = 'long'; give a number"),
        ("[camera.dji-mini-4-pro]\nf_px = -1", "f_px = -1.0; give a number above 0"),
        ("[drone.px4]\nmax_speed_m_s = inf", "max_speed_m_s = inf; give a number of ordinary size"),
        ("[drone.px4]\nbattery_wh = 1e11", "battery_wh = 1.*; give a number above 0 and at most"),
        ("[drone.px4]\nhover_min = nan", "hover_min = nan"),
        ("[drone.px4]\ngimbal_deg = [30, -90]", "give lowest and highest pitch"),
        (f"[drone.px4]\nrotors = {'9' * 5000}", "not valid TOML"),
        (f"[drone.px4]\nrotors = 0x{'9' * 5000}", "rotors = a int too long to show"),
        ("[camera.dji-mini-4-pro]\nf_px = true", "f_px = True; give a number"),
        ("[drone.px4]\napp = 'qgc'", "app = 'qgc'; give one of dji-fly, pilot-2"),
        ("[drone.px4]\ncameras = ['sequoja']", "carries camera 'sequoja', which is not in"),
        ("[drone.px4]\ngimbal_deg = [1.0]", "gimbal_deg = .*; give a list of 2, each a number"),
        ("[drone.px4.wpml]\ndrone = 1\ndron = 2", "'dron' is not known; did you mean 'drone'"),
        ("camera = 3", "camera = 3; write it as a table"),
        ("not toml", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=said) as refusal:
        read_catalogue([path])
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        read_catalogue([tmp_path / "none.toml"])


def test_the_file_beside_the_survey_counts_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "tmp").mkdir()
    home = written(tmp_path / "tmp", "")
    survey = tmp_path / "survey"
    survey.mkdir()
    assert user_files(survey) == (home,)
    beside = written(survey, "")
    assert user_files(survey) == (home, beside)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("EVO Max 4T", "Autel EVO Max: it flies Autel's own WPML"),
        ("autel evo ii pro", "Autel EVO II: its app takes missions in no published format"),
        ("Skydio X10", "Skydio X10: the X10D speaks a MAVLink dialect"),
    ],
)
def test_a_drone_whose_missions_are_not_written_is_refused_with_the_reason(
    name: str, why: str
) -> None:
    with pytest.raises(InputError, match=f"no missions are written for the {why}"):
        CATALOGUE.drone(name)


def test_a_users_own_entry_counts_more_than_that_a_drone_is_not_planned(tmp_path: Path) -> None:
    entry = "\n".join(
        (
            '[drone.my-x10]\nname = "Skydio X10"\ncameras = ["rehearsal"]\nmass_kg = 2.1',
            "rotor_m = 0.3\nmax_speed_m_s = 10.0\nclimb_m_s = 3.0\ndescent_m_s = 2.0",
            "top_speed_m_s = 16.0\nwind_m_s = 10.0\nbattery_wh = 150.0\nhover_min = 30.0\n",
        )
    )
    assert read_catalogue([written(tmp_path, entry)]).drone("skydio x10").key == "my-x10"


def test_read_outs_are_of_rolling_shutters_and_say_who_measured_them() -> None:
    known = [one for one in CATALOGUE.cameras.values() if one.readout_s > 0]
    assert len(known) >= 12
    for camera in known:
        assert camera.shutter is Shutter.ROLLING, camera.key
        assert 0.005 < camera.readout_s < 0.1, camera.key
        assert "OpenDroneMap" in camera.source, camera.key
