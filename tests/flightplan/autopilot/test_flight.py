import csv
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot import flight
from flightplan.autopilot.flight import follow, start
from flightplan.autopilot.link import Patience, RefusedError
from flightplan.autopilot.logbook import Logbook, PhotographList
from flightplan.autopilot.upload import Loaded, load
from flightplan.formats.mission import AtEnd, Mission, Place

HOME = Place(lon_deg=-21.98, lat_deg=64.12, ground_m=30.0)
Meet = Callable[..., tuple[Any, Any]]


@pytest.fixture
def photographs(tmp_path: Path) -> Any:
    with PhotographList(tmp_path / "flown-sortie-1.csv") as opened:
        yield opened


@pytest.fixture
def loaded_on(mission: Mission, tmp_path: Path) -> Callable[..., Loaded]:
    def make(link: Any, **changes: Any) -> Loaded:
        return load(link, replace(mission, **changes), Logbook(folder=tmp_path), home=HOME)

    return make


def rows(photographs: PhotographList) -> list[dict[str, str]]:
    with photographs.path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("px4", [False, True])
def test_a_flight_is_followed_to_its_end_with_every_photograph(
    meet: Meet,
    loaded_on: Callable[..., Loaded],
    photographs: PhotographList,
    px4: bool,
    tcp: bool,
) -> None:
    vehicle, link = meet(px4=px4, tcp=tcp, photos_per_item=5)
    loaded = loaded_on(link)
    start(link, loaded)
    passed: list[int] = []
    assert list(follow(link, loaded, photographs, passed=passed.append)) == list(range(12))
    assert passed[-1] == 11
    assert vehicle.photos == photographs.count == 15
    taken = rows(photographs)
    assert [row["index"] for row in taken] == [str(i) for i in range(1, 16)]
    assert {row["pitch_deg"] for row in taken} == {"-90.000"}
    assert sorted({row["waypoint"] for row in taken}, key=int) == ["1", "5", "9"]


def test_ardupilot_is_armed_in_guided_with_its_fence_on(
    meet: Meet, loaded_on: Callable[..., Loaded]
) -> None:
    vehicle, link = meet()
    loaded = loaded_on(link)
    assert not vehicle.was_armed
    assert vehicle.commands == []
    start(link, loaded)
    assert vehicle.commands == [
        mavlink.MAV_CMD_DO_FENCE_ENABLE,
        mavlink.MAV_CMD_DO_SET_MODE,
        mavlink.MAV_CMD_COMPONENT_ARM_DISARM,
        mavlink.MAV_CMD_DO_SET_MODE,
        mavlink.MAV_CMD_MISSION_START,
    ]
    assert vehicle.was_armed


def test_a_mission_left_half_way_begins_at_its_beginning(
    meet: Meet, loaded_on: Callable[..., Loaded]
) -> None:
    vehicle, link = meet()
    loaded = loaded_on(link)
    vehicle.current, vehicle.habits.loss = 20, 0.2
    link.patience = Patience(reply_s=0.1, silence_s=60.0)
    start(link, loaded)
    assert vehicle.current < 20


def test_an_autopilot_that_will_not_arm_says_why(
    meet: Meet, loaded_on: Callable[..., Loaded]
) -> None:
    arm = mavlink.MAV_CMD_COMPONENT_ARM_DISARM
    vehicle, link = meet(refuse_commands={arm: "PreArm: GPS 1: Bad fix"})
    with pytest.raises(RefusedError, match="will not arm: PreArm: GPS 1: Bad fix"):
        start(link, loaded_on(link))
    assert not vehicle.was_armed


def test_an_autopilot_that_arms_but_will_not_start_is_disarmed(
    meet: Meet, loaded_on: Callable[..., Loaded]
) -> None:
    begin = mavlink.MAV_CMD_MISSION_START
    vehicle, link = meet(refuse_commands={begin: "Missing Takeoff Cmd"})
    with pytest.raises(RefusedError, match="will not start the mission: Missing Takeoff Cmd"):
        start(link, loaded_on(link))
    until_s = time.monotonic() + 60.0
    while vehicle.armed and time.monotonic() < until_s:
        time.sleep(0.01)
    assert not vehicle.armed


def test_photographs_whose_message_was_lost_are_counted_and_doubles_are_not(
    meet: Meet, loaded_on: Callable[..., Loaded], photographs: PhotographList
) -> None:
    vehicle, link = meet(photos_per_item=20)
    loaded = loaded_on(link)
    vehicle.habits.loss, vehicle.habits.twice = 0.15, 0.15
    link.patience = Patience(reply_s=0.1, silence_s=60.0)
    start(link, loaded)
    said: list[str] = []
    list(follow(link, loaded, photographs, passed=lambda _: None, say=said.append))
    indices = [int(row["index"]) for row in rows(photographs)]
    assert len(indices) == len(set(indices)) < 60
    missing = max(indices) - min(indices) + 1 - len(indices)
    assert said[-1].startswith(f"{missing} photographs of camera 0 were taken while nobody heard")


def test_a_lost_link_is_said_with_the_time_and_ends_nothing(
    meet: Meet,
    loaded_on: Callable[..., Loaded],
    photographs: PhotographList,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flight, "LOST_S", 0.25)
    _, link = meet(pause_at=9, pause_s=0.7)
    loaded = loaded_on(link)
    start(link, loaded)
    said: list[str] = []
    passed = list(follow(link, loaded, photographs, passed=lambda _: None, say=said.append))
    assert passed == list(range(12))
    about_link = [text for text in said if text.startswith("link")]
    assert len(about_link) == 2
    assert about_link[0].startswith("link lost at ")
    assert about_link[1].startswith("link back at ")


def test_a_closed_connection_is_opened_again_and_the_flight_followed_on(
    meet: Meet,
    loaded_on: Callable[..., Loaded],
    photographs: PhotographList,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flight, "AGAIN_S", 0.05)
    vehicle, link = meet(tcp=True)
    vehicle.step_s = 0.1
    loaded = loaded_on(link)
    start(link, loaded)
    said: list[str] = []
    following = follow(link, loaded, photographs, passed=lambda _: None, say=said.append)
    seen = [next(following) for _ in range(4)]
    vehicle.drop()
    seen += list(following)
    assert seen == list(range(12))
    assert [text.partition(" at ")[0] for text in said if "link" in text] == [
        "link lost",
        "link back",
    ]
    assert "the connection was closed; the vehicle flies its mission on" in said[0]


def test_a_mission_that_ends_in_the_air_is_followed_to_its_last_waypoint(
    meet: Meet, loaded_on: Callable[..., Loaded], photographs: PhotographList
) -> None:
    vehicle, link = meet()
    loaded = loaded_on(link, at_end=AtEnd.HOVER)
    vehicle.habits.hovers = True
    start(link, loaded)
    following = follow(link, loaded, photographs, passed=lambda _: None)
    assert list(following) == list(range(12))
    assert vehicle.armed


def test_there_is_nothing_to_follow_on_the_ground(
    meet: Meet, loaded_on: Callable[..., Loaded], photographs: PhotographList
) -> None:
    _, link = meet()
    loaded = loaded_on(link)
    said: list[str] = []
    link.patience = Patience(hello_s=0.3)
    assert not list(follow(link, loaded, photographs, passed=lambda _: None, say=said.append))
    assert said == ["the vehicle is not armed; there is nothing to follow"]


def test_a_pilot_who_takes_over_is_seen(
    meet: Meet, loaded_on: Callable[..., Loaded], photographs: PhotographList
) -> None:
    vehicle, link = meet()
    loaded = loaded_on(link)
    start(link, loaded)
    said: list[str] = []
    following = follow(link, loaded, photographs, passed=lambda _: None, say=said.append)
    for waypoint in following:
        if waypoint == 2:
            vehicle.mode = 5
            vehicle.step_s = 0.02
    assert any(text.startswith("flight mode is LOITER since") for text in said)


def test_photographs_taken_while_nobody_followed_are_counted_and_named(
    meet: Meet, loaded_on: Callable[..., Loaded], photographs: PhotographList
) -> None:
    vehicle, link = meet(photos_per_item=20)
    vehicle.hovers_after = 40
    loaded = loaded_on(link)
    start(link, loaded)
    following = follow(link, loaded, photographs, passed=lambda _: None)
    for _ in following:
        if photographs.count >= 20:
            break
    following.close()  # the program is ended; its list stays
    until_s = time.monotonic() + 60.0
    while vehicle.photos < 40 and time.monotonic() < until_s:
        time.sleep(0.01)
    time.sleep(0.2)  # for what is on its way
    said: list[str] = []
    following = follow(
        *(link, loaded, photographs), passed=lambda _: None, say=said.append, before={0: 20}
    )
    next(following)
    vehicle.hovers_after = 1000
    list(following)
    assert [int(row["index"]) for row in rows(photographs)] == [*range(1, 21), *range(41, 61)]
    assert said == [
        "20 photographs of camera 0 were taken while nobody heard, and are not in the list: 21 to "
        "40; the autopilot's own log has them"
    ]


def test_a_camera_that_counts_anew_has_missed_nothing(
    meet: Meet, loaded_on: Callable[..., Loaded], photographs: PhotographList
) -> None:
    _, link = meet()
    loaded = loaded_on(link)
    start(link, loaded)
    said: list[str] = []
    whole = follow(
        link, loaded, photographs, passed=lambda _: None, say=said.append, before={0: 100}
    )
    assert list(whole) == list(range(12))
    assert said == []


def test_a_circle_fence_too_near_turns_the_vehicle_home_and_its_words_are_shown(
    meet: Meet, loaded_on: Callable[..., Loaded], photographs: PhotographList
) -> None:
    said: list[str] = []
    vehicle, link = meet(parameters={"FENCE_RADIUS": 150}, say=said.append)
    vehicle.step_s = 0.05
    loaded = loaded_on(link)
    start(link, loaded)
    passed = list(follow(link, loaded, photographs, passed=lambda _: None, say=said.append))
    assert passed[-1] < 11
    assert "autopilot, warning: Circle fence breached" in said
    assert any(text.startswith("flight mode is RTL since") for text in said)
