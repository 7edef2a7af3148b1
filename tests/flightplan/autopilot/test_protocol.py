import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot.link import LinkError, Patience, RefusedError
from flightplan.autopilot.protocol import (
    ItemKind,
    WireItem,
    download,
    upload,
    wire_fence,
    wire_mission,
)
from flightplan.autopilot.upload import differences
from flightplan.formats.mission import Mission, Place

HOME = Place(lon_deg=-21.98, lat_deg=64.12, ground_m=30.0)
Meet = Callable[..., tuple[Any, Any]]


def waypoints(count: int, *, px4: bool) -> list[WireItem]:
    """Places of odd ten-millionths of a degree, which 32 bit floats cannot hold."""
    yaw = math.nan if px4 else 0.0
    return [
        WireItem(command=16, frame=3, p4=yaw, x=641234567 + 137 * i, y=-219876543 + 211 * i, z=60.0)
        for i in range(count)
    ]


@pytest.mark.parametrize("px4", [False, True])
@pytest.mark.parametrize("wire", [{}, {"tcp": True}, {"cable": True}], ids=["udp", "tcp", "serial"])
def test_a_mission_and_its_fence_arrive_to_the_last_digit(
    meet: Meet, mission: Mission, px4: bool, wire: dict[str, bool]
) -> None:
    vehicle, link = meet(px4=px4, **wire)
    items, fence = wire_mission(mission, link.autopilot, HOME), wire_fence(mission)
    upload(link, items, ItemKind.MISSION)
    upload(link, fence, ItemKind.FENCE)
    assert [(item.x, item.y) for item in vehicle.fence] == [(item.x, item.y) for item in fence]
    held = download(link, ItemKind.MISSION)
    assert differences(items, held, ItemKind.MISSION, link.autopilot) == []
    assert differences(fence, download(link, ItemKind.FENCE), ItemKind.FENCE, link.autopilot) == []
    placed = [(a.x, a.y) for a, b in zip(items, held, strict=True) if b.waypoint < 0][1:]
    assert placed == [(item.x, item.y) for item in held][1:]


@pytest.mark.parametrize("px4", [False, True])
def test_a_link_that_loses_doubles_and_delays_packets_only_takes_longer(
    meet: Meet, px4: bool
) -> None:
    vehicle, link = meet(px4=px4, loss=0.1, twice=0.1, late=0.1)
    items = waypoints(30, px4=px4)
    link.patience = Patience(reply_s=0.1, again_s=0.04, silence_s=10.0)
    upload(link, items, ItemKind.MISSION)
    held = download(link, ItemKind.MISSION)
    assert differences(items, held, ItemKind.MISSION, link.autopilot) == []
    assert len(vehicle.mission) == 30


def test_what_is_under_way_is_told_item_by_item(meet: Meet) -> None:
    _, link = meet(px4=True)
    told: list[tuple[str, int, int]] = []

    def track(items: Any, label: str, total: int) -> Any:
        told.append((label, total, len(list(items))))
        return ()

    upload(link, waypoints(7, px4=True), ItemKind.MISSION, track=track)
    assert told == [("sending the mission", 7, 7)]


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (mavlink.MAV_MISSION_UNSUPPORTED, "it does not know the command"),
        (mavlink.MAV_MISSION_INVALID_PARAM7, "the height is not possible"),
        (mavlink.MAV_MISSION_NO_SPACE, "its memory is full, plan shorter sorties"),
    ],
)
def test_a_refused_item_is_named_with_the_reason(meet: Meet, result: int, why: str) -> None:
    _, link = meet(refuse={4: result})
    with pytest.raises(
        RefusedError,
        match=rf"refuses item 4 of the mission \(NAV_WAYPOINT at 64\.1\d+, .*\): {why}; nothing is",
    ):
        upload(link, waypoints(9, px4=False), ItemKind.MISSION)


def test_a_mission_too_long_for_the_autopilot_is_refused_at_once(meet: Meet) -> None:
    _, link = meet(holds=10)
    with pytest.raises(RefusedError, match="refuses the mission: its memory is full, plan shorter"):
        upload(link, waypoints(11, px4=False), ItemKind.MISSION)


def test_a_refusal_that_stays_is_given_up_after_three_uploads(
    meet: Meet, caplog: pytest.LogCaptureFixture
) -> None:
    _, link = meet(refuse={2: mavlink.MAV_MISSION_ERROR})
    with pytest.raises(RefusedError, match=r"refuses item 2 .*: no reason given"):
        upload(link, waypoints(4, px4=False), ItemKind.MISSION)
    assert caplog.text.count("beginning again") == 2


def test_an_autopilot_that_goes_silent_half_way_is_reported(meet: Meet, patience: Patience) -> None:
    vehicle, link = meet(silent_after=5)
    link.patience = patience
    with pytest.raises(
        LinkError, match=r"silent after item 5 of the mission's 0 to 19; nothing is"
    ):
        upload(link, waypoints(20, px4=False), ItemKind.MISSION)
    assert not vehicle.was_armed
    with pytest.raises(LinkError, match="asked how long its mission is, the autopilot is silent"):
        download(link, ItemKind.MISSION)


def test_an_autopilot_that_never_asks_is_reported(meet: Meet, patience: Patience) -> None:
    vehicle, link = meet()
    vehicle.deaf, link.patience = True, patience
    with pytest.raises(LinkError, match=r"does not ask for the fence in 0\.3 s"):
        upload(link, waypoints(3, px4=False), ItemKind.FENCE)


def test_a_lost_last_word_leaves_the_verdict_to_reading_back(
    meet: Meet, patience: Patience, caplog: pytest.LogCaptureFixture
) -> None:
    _, link = meet(px4=True, keep_last_ack=False)
    items = waypoints(5, px4=True)
    link.patience = replace(patience, silence_s=3.0)  # a busy machine can be silent for a while
    upload(link, items, ItemKind.MISSION)
    assert "word that it has all was lost" in caplog.text
    held = download(link, ItemKind.MISSION)
    assert differences(items, held, ItemKind.MISSION, link.autopilot) == []
