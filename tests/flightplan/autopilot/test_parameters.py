import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flightplan.autopilot.link import LinkError, Patience, RefusedError
from flightplan.autopilot.needs import Needs, misfits, needs_of, remarks
from flightplan.autopilot.parameters import (
    CHANGED_FILE,
    READ,
    check_parameters,
    read_parameters,
    set_back,
    set_for_flight,
)
from flightplan.formats.mavlink_items import Autopilot
from flightplan.formats.mission import HeightReference, Mission, Place

Meet = Callable[..., tuple[Any, Any]]
HOME = Place(lon_deg=-21.9876543, lat_deg=64.1234567, ground_m=31.0)
NEEDS = Needs(farthest_m=400.0, highest_m=62.0, lowest_m=60.0, speed_m_s=9.0, fence=True)
COPTER = {
    "FENCE_ENABLE": 0,
    "FENCE_TYPE": 7,
    "FENCE_ACTION": 1,
    "FENCE_RADIUS": 1000,
    "FENCE_ALT_MAX": 100,
    "FENCE_ALT_MIN": -10,
    "RTL_ALT": 1500,
    "WPNAV_SPEED": 1000,
    "FS_GCS_ENABLE": 0,
    "FS_THR_ENABLE": 1,
    "FS_OPTIONS": 16,
    "TERRAIN_ENABLE": 1,
    "BATT_FS_LOW_ACT": 0,
    "BATT_LOW_VOLT": 10.5,
    "BATT_LOW_MAH": 0,
    "BATT_CAPACITY": 3300,
    "RTL_SPEED": 0,
    "RTL_LOIT_TIME": 5000,
    "LAND_SPEED": 50,
    "LAND_ALT_LOW": 1000,
    "WPNAV_SPEED_UP": 250,
    "WPNAV_SPEED_DN": 150,
    "WPNAV_ACCEL": 250,
    "WPNAV_JERK": 1,
}
PX4 = {
    "GF_ACTION": 2,
    "GF_MAX_HOR_DIST": 0,
    "GF_MAX_VER_DIST": 0,
    "RTL_RETURN_ALT": 60,
    "MPC_XY_CRUISE": 10,
    "MPC_XY_VEL_MAX": 12,
    "COM_LOW_BAT_ACT": 3,
    "BAT_CRIT_THR": 0.07,
    "NAV_DLL_ACT": 0,
    "NAV_RCL_ACT": 2,
    "COM_DLL_EXCEPT": 0,
    "COM_RCL_EXCEPT": 0,
    "MPC_ACC_HOR": 3,
    "MPC_JERK_AUTO": 4,
    "MPC_Z_V_AUTO_UP": 3,
    "MPC_Z_V_AUTO_DN": 1.5,
    "MPC_LAND_SPEED": 0.7,
    "RTL_LAND_DELAY": 0,
    "MIS_DIST_1WP": 10_000,
}


def unfit(values: dict[str, float], needs: Needs = NEEDS, *, px4: bool = False) -> dict[str, float]:
    """Return the parameters that do not fit, and what would."""
    firmware = Autopilot.PX4 if px4 else Autopilot.ARDUPILOT
    known = PX4 if px4 else COPTER
    return {one.name: one.fit for one in misfits({**known, **values}, needs, firmware)}


def test_needs_are_measured_from_where_the_vehicle_stands(mission: Mission) -> None:
    needs = needs_of(mission, HOME)
    # By hand: 0.001985 degrees of latitude at 64.12 N are 221.2 m, 0.0008 of longitude 39.0 m.
    assert needs.farthest_m == pytest.approx(224.6, abs=0.3)
    assert (needs.highest_m, needs.lowest_m, needs.speed_m_s) == (62.25, 60.25, 9.0)
    assert needs.fence
    assert math.isnan(needs.return_m)
    away = replace(HOME, lat_deg=HOME.lat_deg - 0.001)
    assert needs_of(mission, away).farthest_m > needs.farthest_m + 100


def test_heights_above_the_sea_are_brought_to_the_take_off(mission: Mission) -> None:
    amsl = replace(mission, height_reference=HeightReference.AMSL, takeoff_height_m=math.nan)
    assert needs_of(amsl, HOME).highest_m == pytest.approx(31.25)


def test_heights_that_follow_the_ground_need_a_way_home_as_high(mission: Mission) -> None:
    low, *others = mission.waypoints
    relief = replace(mission, waypoints=(replace(low, height_m=30.0), *others))
    assert needs_of(relief, HOME).return_m == 62.25
    assert needs_of(relief, HOME, return_m=80.0).return_m == 80.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {}),
        ({"FENCE_RADIUS": 300}, {"FENCE_RADIUS": 410}),
        ({"FENCE_RADIUS": 300, "FENCE_TYPE": 5}, {}),  # without the circle
        ({"FENCE_RADIUS": 300, "FENCE_ACTION": 0}, {}),  # it only reports
        ({"FENCE_ALT_MAX": 60}, {"FENCE_ALT_MAX": 67}),
        ({"FENCE_ALT_MAX": 60, "FENCE_TYPE": 6}, {}),
        ({"RTL_ALT": 12000}, {"FENCE_ALT_MAX": 125}),  # the way home goes through the ceiling
        ({"FENCE_TYPE": 15, "FENCE_ALT_MIN": 70}, {"FENCE_ALT_MIN": -5}),
        ({"BATT_FS_LOW_ACT": 2, "BATT_LOW_VOLT": 13.0}, {}),
    ],
)
def test_ardupilots_fence_must_hold_the_sortie(
    values: dict[str, float], expected: dict[str, float]
) -> None:
    assert unfit(values) == expected


def test_a_fence_that_is_off_and_stays_off_does_not_matter() -> None:
    bare = replace(NEEDS, fence=False)
    assert unfit({"FENCE_RADIUS": 150}, bare) == {}
    assert unfit({"FENCE_RADIUS": 150, "FENCE_ENABLE": 1}, bare) == {"FENCE_RADIUS": 410}


@pytest.mark.parametrize(
    ("values", "fits"),
    [({}, {"RTL_ALT": 8000}), ({"RTL_ALT": 8000}, {}), ({"RTL_ALT_M": 15}, {"RTL_ALT_M": 80})],
)
def test_the_way_home_clears_the_ground_in_centimetres_or_metres(
    values: dict[str, float], fits: dict[str, float]
) -> None:
    assert unfit(values, replace(NEEDS, return_m=80.0)) == fits


def test_what_a_program_must_not_set_is_refused_without_a_value() -> None:
    needs = replace(NEEDS, terrain=True, left=0.1, battery_v=14.0)
    values = {"TERRAIN_ENABLE": 0, "BATT_FS_LOW_ACT": 2, "BATT_LOW_VOLT": 14.2, "BATT_LOW_MAH": 660}
    found = unfit(values, needs)
    assert list(found) == ["TERRAIN_ENABLE", "BATT_LOW_VOLT", "BATT_LOW_MAH"]
    assert all(map(math.isnan, found.values()))
    assert unfit({**values, "BATT_FS_LOW_ACT": 0, "TERRAIN_ENABLE": 1}, needs) == {}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {}),
        ({"GF_MAX_HOR_DIST": 300}, {"GF_MAX_HOR_DIST": 410}),
        ({"GF_MAX_HOR_DIST": 300, "GF_ACTION": 1}, {}),  # it only warns
        ({"GF_MAX_VER_DIST": 50}, {"GF_MAX_VER_DIST": 67}),
        ({"MPC_XY_VEL_MAX": 5}, {"MPC_XY_VEL_MAX": 9}),
    ],
)
def test_px4s_fence_and_speed_must_hold_the_sortie(
    values: dict[str, float], expected: dict[str, float]
) -> None:
    assert unfit(values, px4=True) == expected


def test_px4_comes_home_as_high_as_needed_and_before_it_is_empty() -> None:
    assert unfit({}, replace(NEEDS, return_m=75.2), px4=True) == {"RTL_RETURN_ALT": 76}
    assert list(unfit({}, replace(NEEDS, left=0.05), px4=True)) == ["BAT_CRIT_THR"]
    assert unfit({"COM_LOW_BAT_ACT": 0}, replace(NEEDS, left=0.05), px4=True) == {}


def test_parameters_that_a_version_does_not_have_are_no_fault() -> None:
    for firmware in Autopilot:
        assert misfits({}, replace(NEEDS, left=0.0, battery_v=1.0), firmware) == []
        assert remarks({}, NEEDS, firmware) == [
            "the autopilot tells none of its parameters: look yourself at fences and failsafes"
        ]


def test_what_ends_the_sortie_by_the_owners_choice_is_told() -> None:
    def told(values: dict[str, float], needs: Needs = NEEDS) -> str:
        return "\n".join(remarks({**COPTER, **values}, needs, Autopilot.ARDUPILOT))

    assert "ends the sortie by itself when the RC is lost (FS_THR_ENABLE 1)\n" in told({})
    assert "ground station is lost (FS_GCS_ENABLE 1), or the RC" in told({"FS_GCS_ENABLE": 1})
    assert "by itself" not in told({"FS_GCS_ENABLE": 1, "FS_OPTIONS": 3})
    assert "nothing happens when the battery runs low: BATT_FS_LOW_ACT is 0" in told({})
    assert "RC and ground station are lost" in told({"FS_THR_ENABLE": 0})
    assert "FENCE_TYPE 3 leaves polygons out" in told({"FENCE_TYPE": 3})
    assert "FENCE_ACTION is 0" in told({"FENCE_ACTION": 0})
    assert "WPNAV_SPEED is 2 m/s: it comes home slower than the 9 m/s" in told({"WPNAV_SPEED": 200})
    assert "flown at WP_SPD, 7 m/s" in told({"WP_SPD": 7}, replace(NEEDS, speed_m_s=math.nan))
    px4 = "\n".join(remarks({**PX4, "GF_ACTION": 4, "NAV_DLL_ACT": 2}, NEEDS, Autopilot.PX4))
    assert "GF_ACTION is 4: leaving the fence stops the motors in the air" in px4
    assert "the ground station is lost (NAV_DLL_ACT 2), or the RC is lost (NAV_RCL_ACT 2)" in px4


@pytest.mark.parametrize("px4", [False, True])
def test_parameters_are_read_over_a_bad_link_and_missing_ones_passed_over(
    meet: Meet, px4: bool
) -> None:
    _, link = meet(px4=px4, loss=0.1, seed=3, parameters={"COM_DLL_EXCEPT": None})
    link.patience = Patience(reply_s=0.5)
    held = read_parameters(link, READ[link.autopilot])
    known = PX4 if px4 else COPTER
    assert set(held) == set(known) - {"COM_DLL_EXCEPT"}
    name, value = ("NAV_RCL_ACT", 2) if px4 else ("RTL_ALT", 1500)
    assert held[name].value == value


def test_a_closed_link_is_not_taken_for_parameters_that_are_missing(meet: Meet) -> None:
    vehicle, link = meet(tcp=True)
    vehicle.hang_up()
    until_s = time.monotonic() + 60.0
    while link.open and time.monotonic() < until_s:
        time.sleep(0.01)
    link.patience = Patience(reply_s=0.1)
    with pytest.raises(LinkError, match="closed while reading parameters"):
        read_parameters(link, ["FENCE_RADIUS"])


@pytest.mark.parametrize(
    ("px4", "changes", "name"),
    [
        (False, {"FENCE_RADIUS": 150}, "FENCE_RADIUS"),
        (True, {"GF_MAX_HOR_DIST": 150}, "GF_MAX_HOR_DIST"),
    ],
)
def test_a_fence_too_near_is_refused_with_name_value_and_need(
    meet: Meet, mission: Mission, px4: bool, changes: dict[str, float], name: str
) -> None:
    _, link = meet(px4=px4, parameters=changes)
    with pytest.raises(
        RefusedError,
        match=rf"{name} is 150 m and must be 235 m or more: the sortie reaches 225 m .*"
        r"give --set-parameters to set it for this flight; nothing is armed$",
    ):
        check_parameters(link, needs_of(mission, HOME), may_set=False)


@pytest.mark.parametrize("px4", [False, True])
def test_what_is_set_for_a_flight_is_set_back(
    meet: Meet, mission: Mission, tmp_path: Path, px4: bool
) -> None:
    name = "GF_MAX_HOR_DIST" if px4 else "FENCE_RADIUS"
    vehicle, link = meet(px4=px4, parameters={name: 150})
    said: list[str] = []
    changes = check_parameters(link, needs_of(mission, HOME), may_set=True)
    set_for_flight(link, changes, tmp_path, say=said.append)
    assert vehicle.parameters[name][0] == 235
    noted = json.loads((tmp_path / CHANGED_FILE).read_text(encoding="utf-8"))
    assert [(one["name"], one["was"], one["set"]) for one in noted] == [(name, 150, 235)]
    set_back(link, tmp_path, say=said.append)
    assert vehicle.parameters[name][0] == 150
    assert not (tmp_path / CHANGED_FILE).exists()
    assert said == [
        f"{name} is set to 235 for this flight (it was 150)",
        f"{name} is set back to 150",
    ]
    set_back(link, tmp_path, say=said.append)
    assert len(said) == 2


def test_whole_numbers_reach_px4_byte_by_byte(meet: Meet, tmp_path: Path) -> None:
    vehicle, link = meet(px4=True)
    (held,) = read_parameters(link, ["GF_ACTION"]).values()
    assert held.value == 2
    set_for_flight(link, {held: 1.0}, tmp_path)
    assert vehicle.parameters["GF_ACTION"][0] == 1


def test_nothing_is_set_back_in_the_air(meet: Meet, mission: Mission, tmp_path: Path) -> None:
    vehicle, link = meet(parameters={"FENCE_RADIUS": 150})
    set_for_flight(link, check_parameters(link, needs_of(mission, HOME), may_set=True), tmp_path)
    vehicle.armed = True  # the latest heartbeat does not know yet
    said: list[str] = []
    set_back(link, tmp_path, say=said.append)
    assert vehicle.parameters["FENCE_RADIUS"][0] == 235
    assert said == [
        "FENCE_RADIUS will be set back after the landing; run the same command again then, if this "
        "one has ended"
    ]
    assert (tmp_path / CHANGED_FILE).exists()


def test_what_somebody_changed_since_stays(meet: Meet, mission: Mission, tmp_path: Path) -> None:
    vehicle, link = meet(parameters={"FENCE_RADIUS": 150})
    set_for_flight(link, check_parameters(link, needs_of(mission, HOME), may_set=True), tmp_path)
    vehicle.parameters["FENCE_RADIUS"] = (500, 9)
    said: list[str] = []
    set_back(link, tmp_path, say=said.append)
    assert vehicle.parameters["FENCE_RADIUS"][0] == 500
    assert said == ["FENCE_RADIUS was changed to 500 since, and stays so"]
    assert not (tmp_path / CHANGED_FILE).exists()


def test_an_autopilot_that_keeps_its_value_is_told_of(
    meet: Meet, mission: Mission, tmp_path: Path
) -> None:
    _, link = meet(parameters={"FENCE_RADIUS": 150}, keeps_parameters=True)
    changes = check_parameters(link, needs_of(mission, HOME), may_set=True)
    link.patience = Patience(reply_s=0.3)
    with pytest.raises(RefusedError, match="FENCE_RADIUS stays at 150; the autopilot refuses 235"):
        set_for_flight(link, changes, tmp_path)


def test_another_vehicle_is_not_set_back_to_what_the_first_one_was(
    meet: Meet, mission: Mission, tmp_path: Path
) -> None:
    needs = needs_of(mission, HOME)
    first, link = meet(parameters={"FENCE_RADIUS": 150}, board=7)
    set_for_flight(link, check_parameters(link, needs, may_set=True), tmp_path)
    second, other = meet(parameters={"FENCE_RADIUS": 100}, board=8)
    set_back(other, tmp_path)
    set_for_flight(other, check_parameters(other, needs, may_set=True), tmp_path)
    set_back(other, tmp_path)
    assert second.parameters["FENCE_RADIUS"][0] == 100
    assert first.parameters["FENCE_RADIUS"][0] == 235
    set_back(link, tmp_path)
    assert first.parameters["FENCE_RADIUS"][0] == 150
    assert not (tmp_path / CHANGED_FILE).exists()
