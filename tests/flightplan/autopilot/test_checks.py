from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot.flight import Limits, check_vehicle
from flightplan.autopilot.link import RefusedError
from flightplan.formats.mission import Mission

Meet = Callable[..., tuple[Any, Any]]


@pytest.mark.parametrize(("px4", "name"), [(False, "ArduPilot 4.6.3"), (True, "PX4 1.15.0")])
def test_a_fit_vehicle_tells_firmware_place_and_charge(
    meet: Meet, mission: Mission, px4: bool, name: str
) -> None:
    _, link = meet(px4=px4)
    state = check_vehicle(link, mission)
    assert str(state) == f"{name} at 64.123457° N, 21.987654° W, 14 satellites, battery 90 %"
    assert state.place.ground_m == 31.25


def test_without_a_fix_nothing_is_loaded(meet: Meet, mission: Mission) -> None:
    _, link = meet(fix_type=2)
    with pytest.raises(RefusedError, match=r"no position yet \(14 satellites\); wait for"):
        check_vehicle(link, mission)


def test_a_vehicle_away_from_the_take_off_point_is_refused_with_the_distance(
    meet: Meet, mission: Mission
) -> None:
    # 0.001 degrees of latitude at 64 degrees north are 111.4 m (WGS 84).
    _, link = meet(at=(641244567, -219876543))
    with pytest.raises(RefusedError, match=r"stands 111 m from the planned take-off .* than 50 m"):
        check_vehicle(link, mission)
    assert check_vehicle(link, mission, limits=Limits(takeoff_m=120.0)).satellites == 14


def test_without_a_take_off_point_the_first_waypoint_must_be_near(
    meet: Meet, mission: Mission
) -> None:
    _, link = meet(at=(471234567, 85000000))
    with pytest.raises(RefusedError, match=r"stands \d{7} m from the first waypoint"):
        check_vehicle(link, replace(mission, takeoff=None))


def test_an_empty_battery_is_refused_and_an_unknown_one_is_not(
    meet: Meet, mission: Mission
) -> None:
    _, link = meet(battery=49)
    with pytest.raises(RefusedError, match="the battery holds 49 %, less than 50 %"):
        check_vehicle(link, mission)
    _, silent = meet(battery=-1)
    assert str(check_vehicle(silent, mission)).endswith("battery unknown")


def test_an_autopilot_that_keeps_its_version_to_itself_is_accepted(
    meet: Meet, mission: Mission
) -> None:
    _, link = meet(refuse_commands={mavlink.MAV_CMD_REQUEST_MESSAGE: ""})
    assert check_vehicle(link, mission).firmware == "ArduPilot"


def test_an_aeroplane_is_refused(meet: Meet, mission: Mission) -> None:
    _, link = meet(kind=mavlink.MAV_TYPE_FIXED_WING)
    with pytest.raises(RefusedError, match="of type 'fixed wing'; the plan is for a multirotor"):
        check_vehicle(link, mission)
