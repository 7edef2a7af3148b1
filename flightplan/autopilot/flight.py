"""Start a loaded mission, and follow it to its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot.items import waypoints_passed
from flightplan.autopilot.link import Inbox, Link, LinkError, Message, Patience, RefusedError
from flightplan.autopilot.loading import Loaded
from flightplan.autopilot.logbook import PhotographList
from flightplan.autopilot.triggers import MESSAGES, read_trigger
from flightplan.formats.items import Autopilot

log = logging.getLogger(__name__)

LOST_S = 5.0
"""Without a heartbeat for so long, the link counts as lost."""

_LOOK_S = 0.25
"""How often the link is looked at."""

_CUSTOM = float(mavlink.MAV_MODE_FLAG_CUSTOM_MODE_ENABLED)

_COPTER_AUTO, _COPTER_GUIDED = 3.0, 4.0
_PX4_AUTO, _PX4_AUTO_MISSION = 4.0, 4.0

_HEARD = ("HEARTBEAT", "MISSION_CURRENT", "MISSION_ITEM_REACHED", "STATUSTEXT", *MESSAGES)


def start(link: Link, loaded: Loaded, *, patience: Patience | None = None) -> None:
    """Arm the vehicle and begin the mission from its first item.

    The caller has asked a person.  The fence is switched on first where there is one.

    Parameters
    ----------
    loaded : Loaded
        Proof that the autopilot holds the mission.

    Raises
    ------
    RefusedError
        If the autopilot refuses a command, with what it says; it is told to disarm then.
    LinkError
        If it does not answer.
    """
    _rewind(link, patience or Patience())

    def command(number: int, *params: float, what: str) -> None:
        link.command(number, *params, what=what, patience=patience)

    set_mode, arm = mavlink.MAV_CMD_DO_SET_MODE, mavlink.MAV_CMD_COMPONENT_ARM_DISARM
    if link.autopilot is Autopilot.PX4:
        mission_mode = (_CUSTOM, _PX4_AUTO, _PX4_AUTO_MISSION)
        command(set_mode, *mission_mode, what="change to its mission mode")
        command(arm, 1.0, what="arm")
        return
    if loaded.fence:
        command(mavlink.MAV_CMD_DO_FENCE_ENABLE, 1.0, what="switch its fence on")
    command(set_mode, _CUSTOM, _COPTER_GUIDED, what="change to mode GUIDED, to arm in")
    command(arm, 1.0, what="arm")
    try:
        command(set_mode, _CUSTOM, _COPTER_AUTO, what="change to mode AUTO")
        command(mavlink.MAV_CMD_MISSION_START, what="start the mission")
    except (RefusedError, LinkError):
        disarm = link.make.command_long_encode(*link.target, arm, 0, *[0.0] * 7)
        link.send(disarm)  # on the ground it obeys; in the air it refuses, and should
        raise


def follow(
    link: Link,
    loaded: Loaded,
    photographs: PhotographList,
    *,
    passed: Callable[[int], None],
    say: Callable[[str], None] = log.info,
    patience: Patience | None = None,
) -> Iterator[int]:
    """Follow a mission until it has ended, yielding once for each waypoint passed.

    Parameters
    ----------
    photographs : PhotographList
        Gets a row for each photograph.
    passed : callable
        Told the index of the furthest waypoint passed.
    say : callable
        Told what a person should know: warnings of the autopilot, a lost link, a changed mode,
        photographs whose message was lost.

    Raises
    ------
    LinkError
        If the connection is closed.  The vehicle flies on; follow it again.

    Notes
    -----
    A lost link ends nothing here: the vehicle flies its mission, and following goes on when it is
    heard again.
    """
    watch = _Watch(link=link, loaded=loaded, photographs=photographs, say=say)
    patience = patience or Patience()
    began_s = time.monotonic()
    with link.listening(*_HEARD) as inbox:
        for _ in watch.events(inbox):
            if watch.waypoint > watch.told:
                passed(watch.waypoint)
                yield from range(watch.told + 1, watch.waypoint + 1)
                watch.told = watch.waypoint
            if watch.ended or (not loaded.lands and watch.told == loaded.waypoints - 1):
                break
            if not watch.flown and time.monotonic() - began_s > patience.hello_s:
                say("the vehicle is not armed; there is nothing to follow")
                break
    watch.count_lost()


def _rewind(link: Link, patience: Patience) -> None:
    """Set the mission to its beginning and wait until the autopilot confirms."""
    until_s = time.monotonic() + patience.silence_s
    with link.listening("MISSION_CURRENT") as inbox:
        while link.open and time.monotonic() < until_s:
            link.send(link.make.mission_set_current_encode(*link.target, 0))
            again_s = time.monotonic() + patience.reply_s
            while (message := inbox.take(again_s - time.monotonic())) is not None:
                if message.seq <= 1:
                    return
    raise LinkError(
        f"{link.address}: the autopilot does not confirm that its mission begins at the first "
        "item; nothing is armed"
    )


@dataclass(slots=True, kw_only=True)
class _Watch:
    """What has been seen of a flight so far."""

    link: Link
    loaded: Loaded
    photographs: PhotographList
    say: Callable[[str], None]
    item: int = 0
    waypoint: int = -1
    told: int = -1
    flown: bool = False
    ended: bool = False
    _lost_since: datetime | None = None
    _mode: str = ""
    _told_by: str = ""
    _seen: dict[int, set[int]] = field(default_factory=dict)

    def events(self, inbox: Inbox) -> Iterator[None]:
        """Yield after each message, and at least every quarter of a second."""
        while True:
            message = inbox.take(_LOOK_S)
            self._look_at_link()
            if message is not None:
                self._take(message)
            yield

    def count_lost(self) -> None:
        """Say how many photographs were triggered without their message arriving."""
        for camera, indices in self._seen.items():
            missing = sorted(set(range(min(indices), max(indices))) - indices)
            if missing:
                shown = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
                self.say(
                    f"{len(missing)} photographs of camera {camera} were taken while their "
                    f"message was lost: {shown}"
                )

    def _look_at_link(self) -> None:
        if not self.link.open:
            raise LinkError(
                f"{self.link.address}: the connection was closed at {_clock()}; the vehicle flies "
                "its mission on; run again to follow it"
            )
        silent_s = time.monotonic() - self.link.heard_s
        if silent_s > LOST_S and self._lost_since is None:
            self._lost_since = datetime.now(UTC)
            self.say(f"link lost at {_clock()}; the vehicle flies its mission on")
        elif silent_s <= LOST_S and self._lost_since is not None:
            away_s = (datetime.now(UTC) - self._lost_since).total_seconds() + LOST_S
            self._lost_since = None
            self.say(f"link back at {_clock()} after {away_s:.0f} s")

    def _take(self, message: Message) -> None:
        kind = message.get_type()
        if kind == "HEARTBEAT":
            self._take_heartbeat(message)
        elif kind == "STATUSTEXT":
            if message.severity <= mavlink.MAV_SEVERITY_WARNING:
                self.say(f"autopilot: {message.text.strip()}")
        elif kind in MESSAGES:
            self._take_photograph(message)
        elif kind == "MISSION_ITEM_REACHED":
            self._reach(message.seq)
        elif self.flown:
            self._reach(message.seq - 1)  # makes good a lost word about an item reached

    def _take_heartbeat(self, message: Message) -> None:
        armed = bool(message.base_mode & mavlink.MAV_MODE_FLAG_SAFETY_ARMED)
        self.ended = self.flown and not armed
        self.flown = self.flown or armed
        mode = self.link.mode
        if armed and self._mode and mode != self._mode:
            self.say(f"flight mode is {mode} since {_clock()}")
        self._mode = mode if armed else self._mode

    def _reach(self, item: int) -> None:
        if 0 <= item < len(self.loaded.items):
            self.item = max(self.item, item)
            self.waypoint = waypoints_passed(self.loaded.items, self.item)

    def _take_photograph(self, message: Message) -> None:
        trigger = read_trigger(message, datetime.now(UTC))
        if trigger is None:
            self.say(f"the camera failed to take photograph {message.image_index}")
            return
        # An autopilot and its camera may both tell of the same photographs.
        self._told_by = self._told_by or trigger.message
        seen = self._seen.setdefault(trigger.camera, set())
        if trigger.message != self._told_by or trigger.index in seen:
            return
        seen.add(trigger.index)
        self.photographs.add(trigger, item=self.item, waypoint=self.waypoint)


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
