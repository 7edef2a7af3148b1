"""A MAVLink connection to one autopilot by cable, radio or network, on dronekit's threads.

Dronekit 2.9.2 was written for an older Python; it is imported here so that it works on this one.
"""

from __future__ import annotations

import collections
import collections.abc
import io
import logging
import os
import re
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from queue import Empty, SimpleQueue
from types import ModuleType
from typing import Any

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot.texts import Message, StatusTexts, severity_word
from flightplan.formats.mavlink_items import Autopilot
from tmp.errors import InputError, TmpError

log = logging.getLogger(__name__)
STREAM_HZ = 4
"""How often position, attitude and state are asked for."""
_REASON_S = 0.4
"""How long to listen for the text that says why a command was refused."""
_FAMILIES = {
    mavlink.MAV_AUTOPILOT_ARDUPILOTMEGA: Autopilot.ARDUPILOT,
    mavlink.MAV_AUTOPILOT_PX4: Autopilot.PX4,
}
_NAMES = {Autopilot.ARDUPILOT: "ArduPilot", Autopilot.PX4: "PX4"}
USUAL_BAUD = 57600
"""Rate of telemetry radios as they come."""
PACKET_BYTES = 65535
"""Of the largest packet of UDP."""
MOST_STRANGERS = 5
"""Addresses that are named when packets come from them; a flood would fill the log."""
_NETWORK = re.compile(r"(udp|udpin|udpout|tcp|tcpin):[^:\s]+:\d{1,5}")


def import_dronekit() -> ModuleType:
    """Return the module dronekit, speaking MAVLink 2.

    Two things in it no longer import: ``collections.MutableMapping``, which moved to
    ``collections.abc`` in Python 3.10, and ``past.builtins.basestring`` from the package future,
    which dronekit does not declare.  Both are lent to it while it is imported and taken back.

    pymavlink chooses the protocol's version by an environment variable at import, and without it
    changes over in the middle of the first message from the vehicle, behind dronekit's back.
    Fences need version 2.
    """
    os.environ["MAVLINK20"] = "1"
    os.environ.setdefault("MAVLINK_DIALECT", "ardupilotmega")
    # It logs a trace of every heartbeat whose flight mode it does not know, and flies on.
    logging.getLogger("dronekit").setLevel(logging.CRITICAL)
    with _old_names():
        dronekit = import_module("dronekit")
    # Whoever imported pymavlink first may have left it at version 1.
    import_module("pymavlink.mavutil").set_dialect("ardupilotmega")
    return dronekit


@contextmanager
def _old_names() -> Iterator[None]:
    """Lend dronekit the names it looks for, and keep its deprecation warnings to itself."""
    past, builtins = ModuleType("past"), ModuleType("past.builtins")
    vars(builtins)["basestring"] = str
    lent = {"past": past, "past.builtins": builtins}
    had = {name: sys.modules.get(name) for name in lent}
    has_mapping = hasattr(collections, "MutableMapping")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sys.modules.update(lent)
        if not has_mapping:
            vars(collections)["MutableMapping"] = collections.abc.MutableMapping
        try:
            yield
        finally:
            if not has_mapping:
                del vars(collections)["MutableMapping"]
            for name, module in had.items():
                if module is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = module


class LinkError(TmpError, ConnectionError):
    """The autopilot does not answer, or no longer."""


class RefusedError(TmpError, RuntimeError):
    """The autopilot answered no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for an autopilot."""

    hello_s: float = 10.0
    """For the first sign of life."""
    reply_s: float = 1.5
    """For an answer, before the question is asked again."""
    again_s: float = 0.25
    """Least time before an item is asked for again on a quick link, as the guide to the mission
    protocol has it."""
    silence_s: float = 8.0
    """Without any answer, before it counts as gone; longer than the second after which
    ArduPilot asks again for an item that it missed."""


class MessageQueue:
    """Messages of some types, in the order they arrived."""

    def __init__(self, types: tuple[str, ...]) -> None:
        self.types = frozenset(types)
        self._queue: SimpleQueue[Message] = SimpleQueue()

    def put(self, message: Message) -> None:
        """Add a message; called on the link's thread."""
        self._queue.put(message)

    def take(self, timeout_s: float) -> Message | None:
        """Return the oldest message, or None if none comes in time."""
        try:
            return self._queue.get(timeout=max(timeout_s, 0.0))
        except Empty:
            return None


class Peer:
    """The other end of a UDP connection of pymavlink: who it is, and that nobody else is heard.

    MAVLink does not say who speaks, so without this one packet from anywhere, under the number of
    the vehicle, would be believed, and orders would go to whoever sent it.
    """

    def __init__(self, connection: Any) -> None:
        """Take over what `connection` receives."""
        self._connection = connection
        self._known: tuple[str, int] | None = None
        self._latest: tuple[str, int] | None = None
        self._strangers: set[tuple[str, int]] = set()
        if not connection.udp_server:
            host, port = connection.destination_addr
            self._known = (socket.gethostbyname(host), port)
        connection.recv = self._received

    def pin(self) -> None:
        """Hear only whoever was heard last, from now on, and speak to nobody else."""
        if self._known is None:
            self._known = self._latest

    def _received(self, size: int | None = None) -> bytes:
        """Return a packet of the peer, or of anyone until the peer is known; empty for none."""
        del size
        try:
            packet, sender = self._connection.port.recvfrom(PACKET_BYTES)
        except (BlockingIOError, ConnectionError):  # the latter where nobody listens yet
            return b""
        if self._known not in (None, sender):
            if sender not in self._strangers and len(self._strangers) < MOST_STRANGERS:
                log.warning("packets from %s:%d are not heard: not the autopilot's", *sender)
                self._strangers.add(sender)
            return b""
        self._latest = sender
        self._connection.clients = {sender}  # whom it answers
        self._connection.clients_last_alive = {sender: time.time()}
        return bytes(packet)


class Link:
    """What is said to, and heard from, one autopilot.

    Made by `flightplan.autopilot.link.open_link`.  Only messages of the vehicle met first are
    heard, over UDP from its address alone; heartbeats of its gimbal and camera, and of other
    ground stations, are passed over.
    """

    def __init__(
        self, vehicle: Any, address: str, patience: Patience, say: Callable[[str], None] = log.info
    ) -> None:
        self.address = address
        self.say = say
        """Shows a person what the autopilot says; called on the link's thread."""
        self.patience = patience
        """How long answers are waited for."""
        self.vehicle: Any
        """dronekit's vehicle; its parameters are not loaded."""
        self.autopilot = Autopilot.ARDUPILOT
        self.heartbeat: Message = None
        """The autopilot's latest."""
        self.heard_s = 0.0
        """When the latest heartbeat arrived, by the monotonic clock."""
        self._texts = StatusTexts()
        self._system = 0
        self._component = 0
        self._latest: dict[str, Message] = {}
        self._inboxes: list[MessageQueue] = []
        self._lock = threading.Lock()
        self._attach(vehicle)

    def _attach(self, vehicle: Any) -> None:
        self.vehicle = vehicle
        master = vehicle._handler.master
        self._peer = Peer(master) if hasattr(master, "udp_server") else None
        self._pass_on = vehicle.notify_message_listeners
        vehicle.notify_message_listeners = self._hear

    @property
    def open(self) -> bool:
        """Whether the connection still stands; UDP cannot tell, and always does."""
        handler = self.vehicle._handler
        return bool(handler._alive) and not getattr(handler.master, "portdead", False)

    @property
    def armed(self) -> bool:
        """Whether the latest heartbeat says that the motors may turn."""
        return bool(self.heartbeat.base_mode & mavlink.MAV_MODE_FLAG_SAFETY_ARMED)

    @property
    def firmware(self) -> str:
        """The autopilot's name for people."""
        return _NAMES[self.autopilot]

    @property
    def mode(self) -> str:
        """The flight mode in the firmware's words."""
        from pymavlink import mavutil

        return str(mavutil.mode_string_v10(self.heartbeat))

    @property
    def make(self) -> Any:
        """The factory of messages: ``make.mission_count_encode(...)``."""
        return self.vehicle.message_factory

    @property
    def target(self) -> tuple[int, int]:
        """System and component to address messages to."""
        return self._system, self._component

    def send(self, message: Message) -> None:
        """Send one message."""
        self.vehicle.send_mavlink(message)

    @contextmanager
    def listening(self, *types: str) -> Iterator[MessageQueue]:
        """Yield an inbox of all messages of some types that arrive in the block."""
        inbox = MessageQueue(types)
        with self._lock:
            self._inboxes.append(inbox)
        try:
            yield inbox
        finally:
            with self._lock:
                self._inboxes.remove(inbox)

    def latest(self, kind: str, timeout_s: float) -> Message | None:
        """Return the latest message of a type, waiting for the first; None if none comes."""
        with self.listening(kind) as inbox:
            return self._latest.get(kind) or inbox.take(timeout_s)

    def command(self, number: int, *params: float, what: str) -> None:
        """Give a command (MAV_CMD; parameters left out are 0) and wait until it is accepted.

        Raises
        ------
        RefusedError
            If the autopilot refuses, with what it says about it.
        LinkError
            If it does not answer.
        """
        values = (*params, *[0.0] * (7 - len(params)))
        until_s = time.monotonic() + self.patience.silence_s
        confirmation = 0
        with self.listening("COMMAND_ACK", "STATUSTEXT") as inbox:
            while self.open and time.monotonic() < until_s:
                self.send(
                    self.make.command_long_encode(*self.target, number, confirmation, *values)
                )
                confirmation += 1
                result, said = _answer(inbox, number, self.patience.reply_s)
                if result == mavlink.MAV_RESULT_ACCEPTED:
                    return
                if result == mavlink.MAV_RESULT_IN_PROGRESS:
                    continue
                if result is not None:
                    reason = "; ".join(said) or _result_words(result)
                    raise RefusedError(f"{self.address}: the autopilot will not {what}: {reason}")
        raise LinkError(f"{self.address}: no answer to the command to {what}; look at the link")

    def close(self) -> None:
        """End the connection and its threads."""
        self.vehicle.close()

    def reconnect(self) -> bool:
        """Open a closed connection anew, to hear the same vehicle on; tell whether that worked."""
        with suppress(OSError):
            self.vehicle.close()
        device, baud = _parted(self.address)
        try:
            vehicle = _connected(import_dronekit(), device, baud, self.patience.reply_s)
        except LinkError as error:
            log.info("%s", error)
            return False
        self._attach(vehicle)
        self._start()
        vehicle._handler.target_system = self._system
        self._ask_for_state()
        return True

    def _start(self) -> None:
        """Start dronekit's threads."""
        handler = self.vehicle._handler
        if hasattr(handler.master, "handle_eof"):
            # pymavlink's would print a line for ever; an error ends dronekit's threads in order.
            handler.master.handle_eof = handler.master.handle_disconnect = _closed
        # Not `vehicle.initialize`: it waits for ever for the first of a thousand parameters, and
        # starts a watchdog that kills the connection when the link is lost for half a minute.
        handler.start()

    def _ask_for_state(self) -> None:
        self.send(
            self.make.request_data_stream_encode(
                *self.target, mavlink.MAV_DATA_STREAM_ALL, STREAM_HZ, 1
            )
        )

    def meet(self) -> None:
        """Wait for the autopilot's first heartbeat, and ask it for its position and state."""
        timeout_s = self.patience.hello_s
        self._start()
        until_s = time.monotonic() + timeout_s
        while self.heartbeat is None and self.open and time.monotonic() < until_s:
            time.sleep(0.01)
        if self.heartbeat is None:
            raise LinkError(
                f"{self.address}: no autopilot heard in {timeout_s:g} s; look at the cable or "
                "radio, the address, and whether another program holds the port"
            )
        family = self.heartbeat.autopilot
        if family not in _FAMILIES:
            name = mavlink.enums["MAV_AUTOPILOT"].get(family)
            raise RefusedError(
                f"{self.address}: the autopilot is {name.name if name else family!r}; missions "
                "are written for ArduPilot and PX4"
            )
        self.autopilot = _FAMILIES[family]
        self.vehicle._handler.target_system = self._system
        self._ask_for_state()
        log.info("%s on %s, system %d", self.firmware, self.address, self._system)

    def _hear(self, name: str, message: Message) -> None:
        """Take in one message, on dronekit's thread."""
        heartbeat = name == "HEARTBEAT"
        if heartbeat and (
            message.autopilot == mavlink.MAV_AUTOPILOT_INVALID
            or message.type == mavlink.MAV_TYPE_GCS
        ):
            return
        system, component = message.get_srcSystem(), message.get_srcComponent()
        if heartbeat and self._system in (0, system):
            self._system, self._component = system, component
            if self._peer is not None:
                self._peer.pin()
            self.heartbeat, self.heard_s = message, time.monotonic()
        if system != self._system:
            return
        self._latest[name] = message
        if name == "STATUSTEXT":
            texts = self._texts.take(message)
        else:
            self._put(name, message)
            texts = self._texts.late() if heartbeat else iter(())
        for text in texts:
            self._put("STATUSTEXT", text)
            if self._texts.new(text):
                self.say(f"autopilot, {severity_word(text.severity)}: {text.text.strip()}")
        if name != "STATUSTEXT":  # dronekit would show it once more
            self._pass_on(name, message)

    def _put(self, name: str, message: Message) -> None:
        with self._lock:
            for inbox in self._inboxes:
                if name in inbox.types:
                    inbox.put(message)


def _closed() -> None:
    raise ConnectionResetError("the other end closed the connection")


def _answer(inbox: MessageQueue, number: int, timeout_s: float) -> tuple[int | None, list[str]]:
    """Return the result of a command, None for no answer, and what was said meanwhile."""
    said: list[str] = []
    result: int | None = None
    until_s = time.monotonic() + timeout_s
    while (message := inbox.take(until_s - time.monotonic())) is not None:
        if message.get_type() == "STATUSTEXT":
            said.append(message.text.strip())
        elif message.command == number:
            result = int(message.result)
            if result in (mavlink.MAV_RESULT_ACCEPTED, mavlink.MAV_RESULT_IN_PROGRESS):
                break
            until_s = min(until_s, time.monotonic() + _REASON_S)
    return result, said


def _result_words(result: int) -> str:
    entry = mavlink.enums["MAV_RESULT"].get(result)
    name = entry.name.removeprefix("MAV_RESULT_") if entry else str(result)
    return str(name.lower().replace("_", " "))


@contextmanager
def open_link(
    address: str, *, patience: Patience | None = None, say: Callable[[str], None] = log.info
) -> Iterator[Link]:
    """Yield the link to the autopilot at an address, and close it.

    `say` shows a person what the autopilot says, as it comes, each text once.

    That is ``udp:HOST:PORT`` to listen on a port, ``udpout:HOST:PORT`` to speak first,
    ``tcp:HOST:PORT``, or a serial device with its rate: ``/dev/ttyUSB0,57600``, ``COM5,57600``.

    Raises
    ------
    InputError
        If that is no address.
    LinkError
        If it cannot be opened, or nothing answers.
    RefusedError
        If what answers is neither ArduPilot nor PX4.
    """
    patience = patience or Patience()
    device, baud = _checked(address)
    dronekit = import_dronekit()
    link = Link(_connected(dronekit, device, baud, patience.hello_s), address, patience, say)
    try:
        link.meet()
        yield link
    finally:
        link.close()


def _checked(address: str) -> tuple[str, int]:
    """Return the device and baud rate of an address."""
    if _NETWORK.fullmatch(address):
        return _parted(address)
    device, _, rate = address.partition(",")
    known = re.fullmatch(r"COM\d+", device) or Path(device).exists()
    if not known or not re.fullmatch(r"\d*", rate):
        raise InputError(
            f"{address!r} is no address of an autopilot; give udp:127.0.0.1:14550, "
            "tcp:HOST:PORT or a serial device such as /dev/ttyUSB0,57600"
        )
    return _parted(address)


def _parted(address: str) -> tuple[str, int]:
    device, _, rate = address.partition(",")
    return device, int(rate or USUAL_BAUD)


def _connected(dronekit: Any, address: str, baud: int, timeout_s: float) -> Any:
    before_s = socket.getdefaulttimeout()
    socket.setdefaulttimeout(timeout_s)
    try:
        # pymavlink prints its attempts.
        with redirect_stdout(io.StringIO()):
            return dronekit.connect(address, _initialize=False, baud=baud)
    except OSError as error:
        raise LinkError(
            f"{address}: cannot be opened ({error.strerror or error}); is the autopilot on, and "
            "the address right?"
        ) from error
    finally:
        socket.setdefaulttimeout(before_s)
