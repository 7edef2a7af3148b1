import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot import texts
from flightplan.autopilot.link import LinkError, Patience, RefusedError, open_link
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


def forged(armed: bool, system: int = 7) -> bytes:
    """Return a heartbeat under the number of the vehicle."""
    make = mavlink.MAVLink(None, srcSystem=system, srcComponent=1)
    base = mavlink.MAV_MODE_FLAG_SAFETY_ARMED if armed else 0
    kind, firmware = mavlink.MAV_TYPE_QUADROTOR, mavlink.MAV_AUTOPILOT_ARDUPILOTMEGA
    return bytes(make.heartbeat_encode(kind, firmware, base, 0, 4).pack(make))


@pytest.mark.parametrize("speaks_first", [False, True], ids=["udpout", "udp"])
def test_nobody_but_the_autopilots_own_address_is_heard_or_spoken_to(
    vehicles: ModuleType, patience: Patience, speaks_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        stranger = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        stranger.bind(("127.0.0.1", 0))
        stranger.setblocking(False)
        to = ("127.0.0.1", 14557) if speaks_first else None
        vehicle = stack.enter_context(vehicles.Vehicle(vehicles.Habits(), to=to))
        link = stack.enter_context(open_link(vehicle.address, patience=patience))
        port = link.vehicle._handler.master.port.getsockname()[1]
        heard: list[bool] = []
        with link.listening("HEARTBEAT") as inbox:
            for _ in range(20):
                stranger.sendto(forged(armed=True), ("127.0.0.1", port))
                link.command(mavlink.MAV_CMD_DO_FENCE_ENABLE, 1.0, what="fence")
                heard.append(link.armed)
            while (beat := inbox.take(0.0)) is not None:
                heard.append(bool(beat.base_mode & mavlink.MAV_MODE_FLAG_SAFETY_ARMED))
        assert not any(heard)
        with pytest.raises(BlockingIOError):
            stranger.recv(4096)
    (said,) = [record.message for record in caplog.records if "not heard" in record.message]
    assert "not the autopilot's" in said


def heard(said: list[str], count: int) -> list[str]:
    """Return what was said, once there is so much of it."""
    until_s = time.monotonic() + 60.0
    while len(said) < count and time.monotonic() < until_s:
        time.sleep(0.01)
    return said


def test_texts_of_the_autopilot_are_shown_whole_once_and_with_their_severity(meet: Meet) -> None:
    said: list[str] = []
    vehicle, _ = meet(say=said.append, twice=0.5, late=0.3)
    long = "Arm: Battery 1 is below the minimum arming voltage, and below the capacity of 2310 mAh"
    exact = "x" * 100  # its last packet is empty
    for severity, text in ((2, long), (6, "EKF3 IMU0 is using GPS"), (4, exact), (4, exact)):
        vehicle.tell(severity, text)
    assert sorted(heard(said, 3)) == [
        f"autopilot, critical: {long}",
        "autopilot, info: EKF3 IMU0 is using GPS",
        f"autopilot, warning: {exact}",
    ]
    vehicle.tell(6, "EKF3 IMU1 is using GPS")
    assert heard(said, 4)[3:] == ["autopilot, info: EKF3 IMU1 is using GPS"]


def test_a_text_that_lost_a_packet_is_shown_with_a_gap(
    meet: Meet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "CHUNK_S", 0.1)
    said: list[str] = []
    vehicle, _ = meet(say=said.append)
    make = mavlink.MAVLink(None)
    vehicle._say(make.statustext_encode(3, b"a" * 50, 9, 0))
    vehicle._say(make.statustext_encode(3, b"end", 9, 2))
    assert heard(said, 1) == [f"autopilot, error: {'a' * 50} … end"]


def test_a_repeated_text_is_shown_again_after_a_while(
    meet: Meet, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    vehicle, _ = meet(say=said.append)
    for _ in range(2):
        vehicle.tell(2, "PreArm: RC not found")
    heard(said, 1)
    monkeypatch.setattr(texts, "SAID_AGAIN_S", -1.0)
    vehicle.tell(2, "PreArm: RC not found")
    assert heard(said, 2) == ["autopilot, critical: PreArm: RC not found"] * 2


def test_a_connection_is_opened_again_to_the_same_vehicle(meet: Meet) -> None:
    vehicle, link = meet(tcp=True)
    vehicle.drop()
    until_s = time.monotonic() + 60.0
    while link.open and time.monotonic() < until_s:
        time.sleep(0.01)
    before_s = link.heard_s
    assert link.reconnect()
    while link.heard_s == before_s and time.monotonic() < until_s:
        time.sleep(0.01)
    link.command(mavlink.MAV_CMD_DO_FENCE_ENABLE, 1.0, what="fence")
    assert (link.open, link.target) == (True, (7, 1))


def test_a_connection_that_cannot_be_opened_again_is_told(
    meet: Meet, monkeypatch: pytest.MonkeyPatch
) -> None:
    vehicle, link = meet(tcp=True)
    vehicle.__exit__()
    monkeypatch.setattr("pymavlink.mavutil.time.sleep", lambda _: None)
    assert not link.reconnect()
    assert not link.open


def test_a_cable_that_was_pulled_out_is_a_closed_connection(meet: Meet) -> None:
    vehicle, link = meet(cable=True)
    vehicle.unplug()
    until_s = time.monotonic() + 60.0
    while link.open and time.monotonic() < until_s:
        time.sleep(0.01)
    assert not link.open
    assert not link.reconnect()
