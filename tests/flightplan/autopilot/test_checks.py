import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot.checks import (
    Limits,
    PlannedSortie,
    check_vehicle,
    read_planned,
    share_from,
)
from flightplan.autopilot.link import LinkError, RefusedError
from flightplan.formats.mission import Mission
from tmp.errors import InputError

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
    said: list[str] = []
    with pytest.raises(
        RefusedError, match=r"no position after 0 s \(the GNSS fix, 14 satellites\)"
    ):
        check_vehicle(link, mission, limits=Limits(wait_s=0.3), say=said.append)
    assert said == ["waiting for the GNSS fix, 14 satellites; 0 s at most, Ctrl-C gives up"]


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
    with pytest.raises(
        RefusedError, match=r"battery holds 49 %; usual where no plan says .*: 50 %"
    ):
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


@pytest.mark.parametrize("px4", [False, True])
def test_fix_and_estimate_are_waited_for_and_each_is_said_once(
    meet: Meet, mission: Mission, px4: bool
) -> None:
    said: list[str] = []
    vehicle, link = meet(px4=px4, fix_after_s=1e9, estimates_after_s=1e9)

    def say(text: str) -> None:
        said.append(text)  # what is waited for comes once it is said
        awaited = "fix_after_s" if "the GNSS fix" in text else "estimates_after_s"
        setattr(vehicle.habits, awaited, 0.0)

    assert check_vehicle(link, mission, say=say).satellites == 14
    assert [text.partition(";")[0] for text in said] == [
        "waiting for the GNSS fix, 14 satellites",
        "waiting for the autopilot's own position, which it estimates after the fix",
    ]


def test_an_estimate_that_does_not_come_is_refused_in_time(meet: Meet, mission: Mission) -> None:
    _, link = meet(estimates_after_s=1e9)
    with pytest.raises(RefusedError, match=r"no position after 0 s \(the autopilot's own position"):
        check_vehicle(link, mission, limits=Limits(wait_s=0.3))


def test_an_autopilot_that_tells_nothing_of_its_estimate_is_accepted(
    meet: Meet, mission: Mission
) -> None:
    _, link = meet(estimates_after_s=None)
    link.patience = replace(link.patience, reply_s=0.2)
    assert check_vehicle(link, mission).satellites == 14


def test_a_link_lost_while_waiting_is_said(meet: Meet, mission: Mission) -> None:
    vehicle, link = meet(fix_type=1)
    link.patience = replace(link.patience, silence_s=0.3)
    with pytest.raises(LinkError, match="link was lost while waiting for the GNSS fix"):
        check_vehicle(link, mission, say=lambda _: setattr(vehicle, "deaf", True))


def test_a_take_off_much_lower_than_planned_is_refused(meet: Meet, mission: Mission) -> None:
    # The plan has 31.0 m, HOME is 31.25 m.
    _, link = meet(above_home_m=-18.0)
    with pytest.raises(
        RefusedError,
        match=r"stands 18 m lower than the planned take-off \(its GNSS says 13 m above the sea, "
        r"the plan 31 m\), and all of it would be flown 18 m lower: carry it there, .*--height-wit",
    ):
        check_vehicle(link, mission)
    said: list[str] = []
    check_vehicle(link, mission, limits=Limits(height_m=20.0), say=said.append)
    assert said == [
        "the vehicle stands 18 m lower than the planned take-off (its GNSS says 13 m above the "
        "sea, the plan 31 m), and all of it would be flown so"
    ]


def test_heights_above_the_ellipsoid_are_compared_with_those_of_the_receiver(
    meet: Meet, mission: Mission
) -> None:
    planned = PlannedSortie(datum="height above the ellipsoid of WGS 84")
    high = replace(mission, takeoff=replace(mission.takeoff, ground_m=96.0))
    _, link = meet(ellipsoid_m=97.0)
    said: list[str] = []
    check_vehicle(link, high, planned=planned, say=said.append)
    assert said == []
    _, low = meet(ellipsoid_m=75.0)
    with pytest.raises(RefusedError, match=r"21 m lower .* 75 m above the ellipsoid, the plan 96"):
        check_vehicle(low, high, planned=planned)


@pytest.mark.parametrize("datum", ["local", "height above the ellipsoid of WGS 84"])
def test_heights_that_cannot_be_compared_are_left_to_the_person(
    meet: Meet, mission: Mission, datum: str
) -> None:
    _, link = meet(above_home_m=-18.0)
    said: list[str] = []
    check_vehicle(link, mission, planned=PlannedSortie(datum=datum), say=said.append)
    assert said == [
        f"the plan's heights are measured from '{datum}', the vehicle's are not: look yourself "
        "that it stands as high as the planned take-off"
    ]


def test_a_plan_on_assumed_level_ground_compares_no_heights(meet: Meet, mission: Mission) -> None:
    level = replace(mission, takeoff=replace(mission.takeoff, ground_m=0.0))
    _, link = meet()
    said: list[str] = []
    check_vehicle(link, level, planned=PlannedSortie(), say=said.append)
    assert said == []


def slope(percent: float) -> PlannedSortie:
    """Return a plan whose ground rises to the north; its heights are from a local zero."""
    north = np.linspace(-50.0, 50.0, 5)
    ground = np.repeat(500.0 + north[:, None] * percent / 100, 5, axis=1)
    return PlannedSortie(datum="local", step_m=25.0, ground_m=ground)


def test_on_a_slope_the_plans_own_ground_tells_how_much_lower_the_vehicle_stands(
    meet: Meet, mission: Mission
) -> None:
    _, link = meet(at=(641234567 - 4000, -219876543))  # 44.6 m to the south
    with pytest.raises(
        RefusedError, match=r"stands 19 m lower than .* \(by the plan's elevation model\)"
    ):
        check_vehicle(link, mission, planned=slope(42.0))
    said: list[str] = []
    check_vehicle(link, mission, planned=slope(10.0), say=said.append)
    assert any("4 m lower" in text for text in said)


def test_the_ground_is_known_only_where_the_plan_tells_it() -> None:
    planned = slope(10.0)
    assert planned.ground_at(0.0, 12.5) == pytest.approx(501.25)
    assert planned.ground_at(50.0, -50.0) == pytest.approx(495.0)
    assert np.isnan(planned.ground_at(0.0, 51.0))
    assert np.isnan(PlannedSortie().ground_at(0.0, 0.0))


@pytest.mark.parametrize(("charge", "fits"), [(84, False), (85, True)])
def test_the_battery_must_hold_what_the_sortie_takes_and_the_reserve(
    meet: Meet, mission: Mission, charge: int, fits: bool
) -> None:
    planned = PlannedSortie(share=0.6, reserve=0.25)
    _, link = meet(battery=charge)
    if fits:
        check_vehicle(link, mission, planned=planned)
        return
    with pytest.raises(
        RefusedError,
        match="84 %; sortie-1 takes 60 % and leaves 25 % in reserve, together 85 %; put in a full",
    ):
        check_vehicle(link, mission, planned=planned)
    check_vehicle(link, mission, planned=planned, limits=Limits(battery_percent=80.0))


def test_the_rest_of_a_sortie_takes_less(meet: Meet, mission: Mission) -> None:
    assert share_from(mission, 0) == 1.0
    assert 0.3 < share_from(mission, 8) < 0.8
    _, link = meet(battery=70)
    check_vehicle(link, mission, planned=PlannedSortie(share=0.6), first=8)


def test_what_the_plan_says_of_a_sortie_is_read(tmp_path: Path) -> None:
    assert read_planned(tmp_path, "sortie-1") is None
    sorties = [{"battery": 0.3}, {"battery": 0.6, "return_m": 71.5}]
    ground = {"step_m": 25.0, "m": [[1.0, 2.0, None]] * 3}
    sorties[1] |= {"ground": ground}  # type: ignore[dict-item]
    plan: dict[str, Any] = {"sorties": sorties, "dem": "dem.tif", "dem_datum": "EGM2008 height"}
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**plan, "reserve": 0.3}), encoding="utf-8")
    planned = read_planned(tmp_path, "sortie-2")
    assert planned is not None
    assert (planned.share, planned.reserve, planned.return_m) == (0.6, 0.3, 71.5)
    assert (planned.datum, planned.ground_at(-25.0, 0.0)) == ("EGM2008 height", 1.0)
    assert np.isnan(planned.ground_at(1.0, 0.0))
    assert read_planned(tmp_path, "sortie-3") is None
    path.write_text(json.dumps({**plan, "dem": None}), encoding="utf-8")  # an older one, level
    level = read_planned(tmp_path, "sortie-1")
    assert level is not None
    assert (level.datum, level.reserve, np.isnan(level.return_m)) == ("", 0.25, True)
    path.write_text(json.dumps({"sorties": [{}]}), encoding="utf-8")
    with pytest.raises(InputError, match=r"plan\.json: damaged .*; plan again"):
        read_planned(tmp_path, "sortie-1")
