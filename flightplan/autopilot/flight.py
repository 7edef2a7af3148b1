"""Start a vehicle's loaded mission, and follow it to its end."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot.link import Link, LinkError, MessageQueue, RefusedError
from flightplan.autopilot.logbook import MESSAGES, PhotographList, read_trigger
from flightplan.autopilot.protocol import waypoints_passed
from flightplan.autopilot.texts import Message
from flightplan.autopilot.upload import Loaded
from flightplan.formats.mavlink_items import Autopilot

log = logging.getLogger(__name__)

LOST_S = 5.0
"""Without a heartbeat for so long, the link counts as lost."""

AGAIN_S = 2.0
"""How often a closed connection is tried again."""
MOST_RUNS = 20
"""Missed photographs are listed in so many runs of numbers."""
_DISARMED_S = 0.02
_LOOK_S = 0.25
"""How often the link is looked at."""

_CUSTOM = float(mavlink.MAV_MODE_FLAG_CUSTOM_MODE_ENABLED)

_COPTER_AUTO, _COPTER_GUIDED = 3.0, 4.0
_PX4_AUTO, _PX4_AUTO_MISSION = 4.0, 4.0

_HEARD = ("HEARTBEAT", "MISSION_CURRENT", "MISSION_ITEM_REACHED", *MESSAGES)


def start(link: Link, loaded: Loaded) -> None:
    """Arm the vehicle and begin the mission from its first item.

    The caller has asked a person.  The fence is switched on first where there is one.

    Raises
    ------
    RefusedError
        If the autopilot refuses a command, with what it says; it is told to disarm then.
    LinkError
        If it does not answer.
    """
    _rewind(link)
    command = link.command
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
        until_s = time.monotonic() + link.patience.reply_s
        while link.armed and time.monotonic() < until_s:
            time.sleep(_DISARMED_S)
        raise


def follow(
    link: Link,
    loaded: Loaded,
    photographs: PhotographList,
    *,
    passed: Callable[[int], None],
    say: Callable[[str], None] = log.info,
    before: Mapping[int, int] | None = None,
) -> Iterator[int]:
    """Follow a mission until it has ended, yielding once for each waypoint passed.

    `passed` is told the index of the furthest waypoint passed, `say` what a person should know: a
    lost link, a changed mode, photographs that were not heard of.  A lost link ends nothing here,
    nor does a closed connection, which is opened again: the vehicle flies its mission, and
    following goes on when it is heard again.

    `before` has the number of each camera's latest photograph in the list when the flight was
    followed earlier; what was taken since counts as missed.
    """
    watch = _Watch(link=link, loaded=loaded, photographs=photographs, say=say, before=before or {})
    began_s = time.monotonic()
    try:
        with link.listening(*_HEARD) as inbox:
            for _ in watch.events(inbox):
                if watch.waypoint > watch.told:
                    passed(watch.waypoint)
                    yield from range(watch.told + 1, watch.waypoint + 1)
                    watch.told = watch.waypoint
                if watch.ended or (not loaded.lands and watch.told == loaded.waypoints - 1):
                    break
                if not watch.flown and time.monotonic() - began_s > link.patience.hello_s:
                    say("the vehicle is not armed; there is nothing to follow")
                    break
    finally:
        watch.count_missed()


def _rewind(link: Link) -> None:
    """Set the mission to its beginning and wait until the autopilot confirms."""
    until_s = time.monotonic() + link.patience.silence_s
    with link.listening("MISSION_CURRENT") as inbox:
        while link.open and time.monotonic() < until_s:
            link.send(link.make.mission_set_current_encode(*link.target, 0))
            again_s = time.monotonic() + link.patience.reply_s
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
    before: Mapping[int, int]
    item: int = 0
    waypoint: int = -1
    told: int = -1
    flown: bool = False
    ended: bool = False
    _lost_heard_s: float | None = None
    """When it was last heard, once the link counts as lost."""
    _tried_s: float = -math.inf
    _mode: str = ""
    _told_by: str = ""
    _seen: dict[int, set[int]] = field(default_factory=dict)

    def events(self, inbox: MessageQueue) -> Iterator[None]:
        """Yield after each message, and at least every quarter of a second."""
        while True:
            message = inbox.take(_LOOK_S)
            self._look_at_link()
            if message is not None:
                self._take(message)
            yield

    def count_missed(self) -> None:
        """Say how many photographs were taken without being heard of, and which."""
        for camera, indices in self._seen.items():
            missed = sorted(set(range(min(indices), max(indices))) - indices)
            if missed:
                self.say(
                    f"{len(missed)} photographs of camera {camera} were taken while nobody heard, "
                    f"and are not in the list: {_ranges(missed)}; the autopilot's own log has them"
                )

    def _look_at_link(self) -> None:
        link, now_s = self.link, time.monotonic()
        lost = not link.open or now_s - link.heard_s > LOST_S
        if lost and self._lost_heard_s is None:
            self._lost_heard_s = link.heard_s
            closed = "" if link.open else ": the connection was closed"
            self.say(f"link lost at {_clock()}{closed}; the vehicle flies its mission on")
        if not link.open and now_s - self._tried_s > AGAIN_S:
            self._tried_s = now_s
            link.reconnect()
        elif self._lost_heard_s is not None and not lost and link.heard_s > self._lost_heard_s:
            away_s = link.heard_s - self._lost_heard_s
            self._lost_heard_s = None
            self.say(f"link back at {_clock()} after {away_s:.0f} s")

    def _take(self, message: Message) -> None:
        kind = message.get_type()
        if kind == "HEARTBEAT":
            self._take_heartbeat(message)
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
        if trigger.message != self._told_by:
            return
        seen = self._seen.setdefault(trigger.camera, set())
        before = self.before.get(trigger.camera, trigger.index)
        if not seen and before < trigger.index:  # else it was switched off, and counts anew
            seen.add(before)
        if trigger.index in seen:
            return
        seen.add(trigger.index)
        self.photographs.add(trigger, item=self.item, waypoint=self.waypoint)


def _ranges(numbers: Sequence[int]) -> str:
    """Return numbers in order in few words.

    Examples
    --------
    >>> _ranges([3, 101, 102, 103, 118])
    '3, 101 to 103, 118'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    more = f" and {len(shown) - MOST_RUNS} more" if len(shown) > MOST_RUNS else ""
    return ", ".join(shown[:MOST_RUNS]) + more


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
