from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flightplan.autopilot.link import LinkError, Patience, RefusedError
from flightplan.autopilot.logbook import Logbook
from flightplan.autopilot.protocol import WireItem, wire_mission
from flightplan.autopilot.upload import load
from flightplan.formats.mission import Mission, Place

HOME = Place(lon_deg=-21.98, lat_deg=64.12, ground_m=30.0)
STRANGER = [
    WireItem(command=16, frame=0),
    WireItem(command=16, frame=3, x=500000000, y=100000000, z=40.0),
]
Meet = Callable[..., tuple[Any, Any]]


@pytest.fixture
def logbook(tmp_path: Path) -> Logbook:
    return Logbook(folder=tmp_path)


@pytest.mark.parametrize("px4", [False, True])
def test_an_empty_autopilot_takes_mission_and_fence_once(
    meet: Meet, mission: Mission, logbook: Logbook, px4: bool
) -> None:
    _, link = meet(px4=px4)
    said: list[str] = []
    loaded = load(link, mission, logbook, home=HOME, say=said.append)
    assert (loaded.name, loaded.waypoints, loaded.lands) == ("sortie-1", 12, True)
    count = len(loaded.items)
    assert said == [
        f"{count} items of the mission sent, read back and equal",
        "7 items of the fence sent, read back and equal",
    ]
    said.clear()
    assert load(link, mission, logbook, home=HOME, say=said.append) == loaded
    assert said == [f"the autopilot holds the {what} already" for what in ("mission", "fence")]


def test_another_mission_is_kept_unless_it_may_be_replaced(
    meet: Meet, mission: Mission, logbook: Logbook
) -> None:
    vehicle, link = meet()
    vehicle.mission = STRANGER
    with pytest.raises(RefusedError, match="holds another mission of 1 items, which is kept; give"):
        load(link, mission, logbook, home=HOME)
    assert vehicle.mission == STRANGER
    load(link, mission, logbook, home=HOME, replace=True)
    assert len(vehicle.mission) > 2
    (kept,) = logbook.folder.glob("replaced-mission-*.waypoints")
    assert "50.000000000\t10.000000000\t40.000" in kept.read_text(encoding="utf-8")


def test_another_fence_is_kept_before_the_mission_is_touched(
    meet: Meet, mission: Mission, logbook: Logbook
) -> None:
    vehicle, link = meet(px4=True)
    vehicle.fence = [WireItem(command=5001, frame=0, p1=3.0, x=i, y=i * i) for i in range(3)]
    with pytest.raises(RefusedError, match="holds another fence of 3 items"):
        load(link, mission, logbook, home=HOME)
    assert vehicle.mission == []


def test_a_fence_stays_where_the_plan_has_none(
    meet: Meet, mission: Mission, logbook: Logbook
) -> None:
    vehicle, link = meet()
    fence = [WireItem(command=5001, frame=0, p1=3.0, x=i, y=i * i) for i in range(3)]
    vehicle.fence = fence
    open_ended = replace(mission, fence=None, exclusions=())
    assert load(link, open_ended, logbook, home=HOME).fence == ()
    assert vehicle.fence is fence


def test_the_plans_own_sorties_replace_one_another(
    meet: Meet, mission: Mission, logbook: Logbook
) -> None:
    _, link = meet()
    load(link, mission, logbook, home=HOME)
    second = replace(mission, waypoints=mission.waypoints[4:])
    assert load(link, second, logbook, home=HOME).waypoints == 8
    assert list(logbook.folder.glob("replaced-*")) == []


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        ({3: {"x": 641239999}}, r"item 3 .*latitude 64\.\d+ is held as 64\.1239999"),
        ({6: {"z": 60.3}}, r"item 6 .*height 60\.25 is held as 60\.3"),
        ({7: {"p1": 30.0}}, r"item 7 of the mission \(DO_SET_CAM_TRIGG_DIST\): parameter 1 15"),
    ],
)
def test_any_difference_read_back_is_refused_with_item_and_value(
    meet: Meet, mission: Mission, logbook: Logbook, spoil: dict[int, Any], what: str
) -> None:
    vehicle, link = meet(spoil=spoil)
    with pytest.raises(RefusedError, match=f"does not hold the mission that was sent: {what}"):
        load(link, mission, logbook, home=HOME)
    assert not vehicle.was_armed


def test_many_differences_are_counted(meet: Meet, mission: Mission, logbook: Logbook) -> None:
    _, link = meet(spoil={number: {"z": 9.0} for number in range(30)})
    with pytest.raises(RefusedError, match=r"and 10 more; nothing is armed, do not fly"):
        load(link, mission, logbook, home=HOME)


def test_a_vehicle_in_the_air_with_another_mission_is_left_alone(
    meet: Meet, mission: Mission, logbook: Logbook
) -> None:
    vehicle, link = meet()
    load(link, mission, logbook, home=HOME)
    link.heartbeat.base_mode |= 128
    vehicle.armed = True
    assert load(link, mission, logbook, home=HOME).waypoints == 12
    higher = replace(mission, takeoff_height_m=35.0)
    with pytest.raises(RefusedError, match="is armed and holds another mission"):
        load(link, higher, logbook, home=HOME, replace=True)


@pytest.mark.parametrize("replacing", [False, True])
def test_our_own_half_of_a_mission_is_replaced_without_being_asked(
    meet: Meet, mission: Mission, logbook: Logbook, patience: Patience, replacing: bool
) -> None:
    vehicle, link = meet()
    link.patience = replace(patience, silence_s=1.0)
    if replacing:  # a longer mission: the rest of it stays behind the new half
        vehicle.mission = [STRANGER[0], *STRANGER[1:] * 60]
    vehicle.habits.silent_after = 11
    with pytest.raises(LinkError, match="went silent after item 11"):
        load(link, mission, logbook, home=HOME, replace=replacing)
    vehicle.revive()
    whole = len(wire_mission(mission, link.autopilot, HOME))
    assert len(vehicle.mission) == (whole if replacing else 12)
    said: list[str] = []
    link.patience = Patience()
    assert load(link, mission, logbook, home=HOME, say=said.append).waypoints == 12
    assert said[0] == ("the mission that it holds was half sent from this plan, and is sent anew")
    assert logbook.half_sent("mission") == ((), ())


def test_half_a_mission_makes_way_for_another_sortie_of_the_plan(
    meet: Meet, mission: Mission, logbook: Logbook, patience: Patience
) -> None:
    vehicle, link = meet()
    link.patience, vehicle.habits.silent_after = replace(patience, silence_s=1.0), 7
    with pytest.raises(LinkError):
        load(link, mission, logbook, home=HOME)
    vehicle.revive()
    link.patience = Patience()
    other = replace(mission, waypoints=mission.waypoints[4:])
    assert load(link, other, logbook, home=HOME).waypoints == 8


def test_what_somebody_put_in_after_a_broken_upload_is_kept(
    meet: Meet, mission: Mission, logbook: Logbook, patience: Patience
) -> None:
    vehicle, link = meet()
    link.patience, vehicle.habits.silent_after = replace(patience, silence_s=1.0), 7
    with pytest.raises(LinkError):
        load(link, mission, logbook, home=HOME)
    vehicle.revive()
    vehicle.mission = STRANGER
    link.patience = Patience()
    with pytest.raises(RefusedError, match="holds another mission of 1 items, which is kept"):
        load(link, mission, logbook, home=HOME)


def test_an_autopilot_that_still_waits_for_a_broken_upload_is_asked_again(
    meet: Meet, mission: Mission, logbook: Logbook, patience: Patience
) -> None:
    vehicle, link = meet(timeout_s=1.5)
    link.patience, vehicle.habits.silent_after = replace(patience, silence_s=0.5), 7
    with pytest.raises(LinkError):
        load(link, mission, logbook, home=HOME)
    vehicle.habits.silent_after, vehicle.deaf = None, False  # the link is back at once
    link.patience = replace(patience, silence_s=10.0)
    assert load(link, mission, logbook, home=HOME).waypoints == 12
