"""The vehicle of these tests acts as the autopilots that it stands for, and what `tmp fly` sees."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pyproj import Geod

from flightplan.autopilot.cli import fly
from flightplan.formats.mission import Mission
from flightplan.formats.mission_files import Format, write_mission
from tmp.cli import PluginGroup

Vehicles = Callable[..., Any]
PX4_LAND, PX4_LOITER, PX4_RTL = (4 << 16) | (6 << 24), (4 << 16) | (3 << 24), (4 << 16) | (5 << 24)


@pytest.fixture
def survey(tmp_path: Path, mission: Mission) -> Path:
    """A survey with one planned sortie, 62 m high and 225 m far."""
    (tmp_path / "plan").mkdir()
    write_mission(tmp_path / "plan/sortie-1.plan", mission, Format.PLAN_ARDUPILOT)
    return tmp_path


@pytest.fixture
def vehicle(vehicles: ModuleType) -> Iterator[Vehicles]:
    with ExitStack() as stack:
        yield lambda **habits: stack.enter_context(vehicles.Vehicle(vehicles.Habits(**habits)))


def run(survey: Path, drone: Any, *options: str) -> Result:
    group = PluginGroup("tmp", commands={"fly": fly})
    args = ["fly", str(survey), "--connect", drone.address, "--start", "sortie-1", *options]
    return CliRunner().invoke(group, args)


@pytest.mark.parametrize(
    ("habits", "said", "mode"),
    [
        ({"parameters": {"BATT_FS_LOW_ACT": 2, "BATT_LOW_MAH": 2600}, "uses": 3},
         "Battery 1 is low 16.01V used 726 mAh", 6),
        ({"parameters": {"BATT_FS_LOW_ACT": 1, "BATT_LOW_MAH": 2600}, "uses": 3},
         "Battery 1 is low", 9),
        ({"parameters": {"FS_GCS_ENABLE": 1, "FS_OPTIONS": 0}, "station_lost_s": -1.0},
         "GCS Failsafe", 6),
        ({"px4": True, "parameters": {"COM_LOW_BAT_ACT": 3, "BAT_CRIT_THR": 0.8}, "uses": 3},
         "Critical battery level", PX4_RTL),
        ({"px4": True, "parameters": {"NAV_DLL_ACT": 2}, "station_lost_s": -1.0},
         "Connection to ground control lost", PX4_RTL),
    ],
)  # fmt: skip
def test_a_failsafe_ends_the_mission_and_what_it_says_is_shown(
    survey: Path, vehicle: Vehicles, habits: dict[str, Any], said: str, mode: int
) -> None:
    drone = vehicle(**habits)
    done = run(survey, drone)
    assert f"autopilot, warning: {said}" in done.output
    assert drone.mode == mode
    assert "--resume flies the rest" in done.output


def test_a_station_may_be_lost_where_options_say_so(survey: Path, vehicle: Vehicles) -> None:
    goes_on = {"FS_GCS_ENABLE": 1, "FS_OPTIONS": 2}
    drone = vehicle(parameters=goes_on, station_lost_s=-1.0)
    assert run(survey, drone).exit_code == 0
    assert drone.photos == 3


@pytest.mark.parametrize(
    ("values", "said", "mode"),
    [
        ({"FENCE_TYPE": 1, "FENCE_ALT_MAX": 61}, "Max Alt fence breached", 6),
        ({"FENCE_TYPE": 8, "FENCE_ALT_MIN": 61}, "Min Alt fence breached", 6),
        ({"FENCE_TYPE": 2, "FENCE_RADIUS": 200, "FENCE_ACTION": 2}, "Circle fence breached", 9),
        ({"FENCE_TYPE": 4, "FENCE_RADIUS": 1, "FENCE_ALT_MAX": 1}, "", None),
        ({"FENCE_TYPE": 7, "FENCE_RADIUS": 1, "FENCE_ACTION": 0}, "", None),
    ],
)
def test_ardupilots_fence_is_of_the_kinds_that_its_parameter_has(
    survey: Path,
    vehicle: Vehicles,
    monkeypatch: pytest.MonkeyPatch,
    values: dict[str, float],
    said: str,
    mode: int | None,
) -> None:
    monkeypatch.setattr("flightplan.autopilot.parameters.misfits", lambda *_: [])
    drone = vehicle(parameters=values)
    done = run(survey, drone)
    assert said in done.output
    assert bool(said) == ("fence breached" in done.output)
    assert drone.photos < 3 if said else drone.photos == 3
    assert mode is None or drone.mode == mode


@pytest.mark.parametrize(
    ("action", "mode"), [(1, None), (2, PX4_LOITER), (3, PX4_RTL), (5, PX4_LAND)]
)
def test_px4s_fence_holds_comes_home_or_lands(
    survey: Path, vehicle: Vehicles, monkeypatch: pytest.MonkeyPatch, action: int, mode: int | None
) -> None:
    monkeypatch.setattr("flightplan.autopilot.parameters.misfits", lambda *_: [])
    drone = vehicle(px4=True, parameters={"GF_ACTION": action, "GF_MAX_HOR_DIST": 200})
    done = run(survey, drone)
    assert ("Geofence violation" in done.output) == (mode is not None)
    assert mode is None or drone.mode == mode
    # As delivered RTL_RETURN_ALT is 60 m, and the first line that far away is 62.25 m high.
    assert mode != PX4_RTL or drone.home_at_m >= 60.0


def test_it_comes_home_at_the_height_of_its_parameter_or_higher(
    survey: Path, vehicle: Vehicles
) -> None:
    for value, height_m in ((1500, 60.25), (9000, 90.0)):
        drone = vehicle(
            parameters={"BATT_FS_LOW_ACT": 2, "BATT_LOW_MAH": 2900, "RTL_ALT": value}, uses=3
        )
        run(survey, drone)
        assert drone.home_at_m == height_m


def test_it_flies_as_fast_as_the_mission_asks_and_px4_no_faster_than_its_limit(
    survey: Path, vehicle: Vehicles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flightplan.autopilot.parameters.misfits", lambda *_: [])
    copter, px4 = vehicle(), vehicle(px4=True, parameters={"MPC_XY_VEL_MAX": 7.0})
    assert run(survey, copter).exit_code == 0
    (survey / "plan/flights.json").unlink()
    assert run(survey, px4, "--replace").exit_code == 0
    assert max(copter.speeds) == pytest.approx(9.0)
    assert max(px4.speeds) == pytest.approx(7.0)


def test_photographs_by_distance_come_late_and_none_after_the_line(
    survey: Path, vehicle: Vehicles
) -> None:
    assert run(survey, vehicle(by_distance=True)).exit_code == 0
    with (survey / "plan/flown-sortie-1.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    where = [(float(row["lon_deg"]), float(row["lat_deg"])) for row in rows]
    earth = Geod(ellps="sphere")
    apart = [earth.inv(*a, *b)[2] for a, b in pairwise(where)]
    # 15 m in the file, 7 cm late each; lines of 150 m and their run-outs of 15 m hold eleven.
    assert [one for one in apart if one < 16] == pytest.approx([15.07] * 30, abs=0.05)
    assert len(rows) == 33


def test_a_way_home_too_low_is_refused_with_what_to_do_and_set_when_asked(
    survey: Path, vehicle: Vehicles
) -> None:
    plan = {"sorties": [{"battery": 0.3, "return_m": 75.0}], "dem": "dem.tif", "reserve": 0.25}
    (survey / "plan/plan.json").write_text(json.dumps(plan), encoding="utf-8")
    drone = vehicle()
    refused = run(survey, drone)
    assert refused.exit_code == 1
    assert "RTL_ALT is 15 m and must be 75 m or more (7500 in its own unit)" in refused.output
    assert "or give --set-parameters to set it for this flight" in refused.output
    assert not drone.was_armed
    done = run(survey, drone, "--set-parameters")
    assert done.exit_code == 0, done.output
    assert drone.sets == [("RTL_ALT", 7500), ("RTL_ALT", 1500)]


def test_a_flight_that_its_settings_make_longer_is_told_and_refused_where_too_long(
    survey: Path, vehicle: Vehicles
) -> None:
    sortie = {"battery": 0.5, "seconds": 150}
    plan = {"sorties": [sortie], "dem": None, "reserve": 0.25}
    (survey / "plan/plan.json").write_text(json.dumps(plan), encoding="utf-8")
    done = run(survey, vehicle(battery=100))
    assert done.exit_code == 0, done.output
    slow = {"WPNAV_ACCEL": 20, "WPNAV_JERK": 0.1}
    refused = run(survey, vehicle(battery=100, parameters=slow), "--replace")
    assert "2 min 30 s were planned" in refused.output
    assert "by the autopilot's own speeds and accelerations" in refused.output
    assert refused.exit_code == 1
    assert "of a battery that holds 100 %, with 25 % to be left" in refused.output
