import time
from collections.abc import Callable
from typing import Any

import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot.link import LinkError, Patience, RefusedError
from flightplan.formats.mavlink_items import Autopilot

Meet = Callable[..., tuple[Any, Any]]


@pytest.mark.parametrize(("px4", "name"), [(False, "ArduPilot"), (True, "PX4")])
def test_the_autopilot_is_known_by_its_heartbeat_among_other_voices(
    meet: Meet, px4: bool, name: str
) -> None:
    _, link = meet(px4=px4)
    assert link.autopilot is (Autopilot.PX4 if px4 else Autopilot.ARDUPILOT)
    assert (link.firmware, link.target) == (name, (7, 1))
    assert not link.armed


def test_an_unknown_autopilot_is_refused_by_name(meet: Meet) -> None:
    with pytest.raises(RefusedError, match="'MAV_AUTOPILOT_OPENPILOT'; missions are written for"):
        meet(firmware=mavlink.MAV_AUTOPILOT_OPENPILOT)


def test_a_refused_command_comes_with_what_the_autopilot_said(meet: Meet) -> None:
    arm = mavlink.MAV_CMD_COMPONENT_ARM_DISARM
    _, link = meet(refuse_commands={arm: "PreArm: Compass not calibrated"})
    with pytest.raises(RefusedError, match="will not arm: PreArm: Compass not calibrated"):
        link.command(arm, 1.0, what="arm")


def test_a_command_is_given_until_it_is_answered(meet: Meet) -> None:
    vehicle, link = meet(loss=0.3, seed=4)
    link.patience = Patience(reply_s=0.1, silence_s=60.0)
    for _ in range(2):
        link.command(mavlink.MAV_CMD_DO_FENCE_ENABLE, 1.0, what="fence")
    assert len(vehicle.commands) >= 2


def test_no_answer_to_a_command_is_an_error(meet: Meet, patience: Patience) -> None:
    vehicle, link = meet()
    vehicle.deaf, link.patience = True, patience
    with pytest.raises(LinkError, match="no answer to the command to arm"):
        link.command(mavlink.MAV_CMD_COMPONENT_ARM_DISARM, 1.0, what="arm")


def test_a_closed_connection_is_seen(meet: Meet, capfd: pytest.CaptureFixture[str]) -> None:
    vehicle, link = meet(tcp=True)
    vehicle.hang_up()
    until_s = time.monotonic() + 60.0
    while link.open and time.monotonic() < until_s:
        time.sleep(0.01)
    assert not link.open
    assert capfd.readouterr().out == ""
