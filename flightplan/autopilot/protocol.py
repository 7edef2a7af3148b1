"""The MAVLink mission protocol: bring items to an autopilot, and fetch what it holds.

A mission and its fence travel as MISSION_ITEM_INT, in whole 1e-7 degrees.  What an autopilot is
told is decided in `flightplan.formats.mavlink_items`, for files and for the link.

References
----------
MAVLink developer guide, Mission Protocol: https://mavlink.io/en/services/mission.html
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot.link import Link, LinkError, MessageQueue, RefusedError
from flightplan.autopilot.texts import Message
from flightplan.formats.geometry import corners, fence_of
from flightplan.formats.mavlink_items import (
    Autopilot,
    Command,
    Frame,
    Item,
    home_item,
    mission_items,
)
from flightplan.formats.mission import HeightReference, Mission, Place
from tmp.errors import InputError
from tmp.progress import Track, silent

UNITS_PER_DEG = 1e7
"""Steps of an item's latitude and longitude, of 1.1 cm."""

_PLACED = (
    Command.WAYPOINT,
    Command.TAKEOFF,
    Command.LAND,
    mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_INCLUSION,
    mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_EXCLUSION,
)

log = logging.getLogger(__name__)
BUSY_S = 8.0
"""After an upload that broke off ArduPilot tells nothing of its mission for so long
(`MissionItemProtocol::upload_timeout_ms`)."""
UPLOADS = 3
"""How often an upload that the autopilot broke off is begun again."""
_REASONS = {
    mavlink.MAV_MISSION_ERROR: "no reason given",
    mavlink.MAV_MISSION_UNSUPPORTED_FRAME: "it does not know how the height is measured",
    mavlink.MAV_MISSION_UNSUPPORTED: "it does not know the command",
    mavlink.MAV_MISSION_NO_SPACE: "its memory is full, plan shorter sorties",
    mavlink.MAV_MISSION_INVALID: "a value is not possible",
    mavlink.MAV_MISSION_INVALID_PARAM1: "parameter 1 is not possible",
    mavlink.MAV_MISSION_INVALID_PARAM2: "parameter 2 is not possible",
    mavlink.MAV_MISSION_INVALID_PARAM3: "parameter 3 is not possible",
    mavlink.MAV_MISSION_INVALID_PARAM4: "parameter 4 is not possible",
    mavlink.MAV_MISSION_INVALID_PARAM5_X: "the latitude is not possible",
    mavlink.MAV_MISSION_INVALID_PARAM6_Y: "the longitude is not possible",
    mavlink.MAV_MISSION_INVALID_PARAM7: "the height is not possible",
    mavlink.MAV_MISSION_INVALID_SEQUENCE: "an item came out of order",
    mavlink.MAV_MISSION_DENIED: "it takes no missions now, or not from here",
    mavlink.MAV_MISSION_OPERATION_CANCELLED: "it broke off",
}
_PASSING = (
    mavlink.MAV_MISSION_ERROR,
    mavlink.MAV_MISSION_INVALID_SEQUENCE,
    mavlink.MAV_MISSION_OPERATION_CANCELLED,
)
"""Refusals that a bad link can cause, after which the upload is begun again."""


_BUSY = (mavlink.MAV_MISSION_DENIED, mavlink.MAV_MISSION_OPERATION_CANCELLED)
"""What it answers before, and when, it gives up an upload that broke off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireItem:
    """One MISSION_ITEM_INT, without its number in the list."""

    command: int
    """MAV_CMD."""
    frame: int
    """MAV_FRAME: what `z` is measured from; MISSION where there is no place."""
    p1: float = 0.0
    p2: float = 0.0
    p3: float = 0.0
    p4: float = 0.0
    x: int = 0
    """Latitude in 1e-7 degrees, or parameter 5 of a command without a place."""
    y: int = 0
    """Longitude in 1e-7 degrees, or parameter 6."""
    z: float = 0.0
    """Height in metres, or parameter 7."""
    waypoint: int = field(default=-1, compare=False)
    """Index of the mission's waypoint flown to; -1 for other items, and when read back."""

    @classmethod
    def from_item(cls, item: Item) -> WireItem:
        """Round an item's place to what travels.

        Commands without a place go in the frame MISSION: PX4 refuses to return home in another.
        """
        p1, p2, p3, p4, p5, p6, z = item.params
        placed = item.command in _PLACED
        scale, frame = (UNITS_PER_DEG, item.frame) if placed else (1.0, Frame.MISSION)
        x, y = round(p5 * scale), round(p6 * scale)
        return cls(
            command=int(item.command), frame=int(frame), p1=p1, p2=p2, p3=p3, p4=p4, x=x, y=y, z=z
        )

    @classmethod
    def from_message(cls, message: Any) -> WireItem:
        """Take an item out of a MISSION_ITEM_INT."""
        same = {name: getattr(message, name) for name in ("command", "frame", "x", "y", "z")}
        return cls(**same, **{f"p{n}": getattr(message, f"param{n}") for n in range(1, 5)})

    def to_message(self, make: Any, target: tuple[int, int], seq: int, mission_type: int) -> Any:
        """Return the item as a MISSION_ITEM_INT, from pymavlink's factory of messages."""
        params = (self.p1, self.p2, self.p3, self.p4, self.x, self.y, self.z)
        current, go_on = int(seq == 0), 1
        return make.mission_item_int_encode(
            *target, seq, self.frame, self.command, current, go_on, *params, mission_type
        )

    def __str__(self) -> str:
        entry = mavlink.enums["MAV_CMD"].get(self.command)
        name = entry.name.removeprefix("MAV_CMD_") if entry else f"command {self.command}"
        if self.command not in _PLACED:
            return str(name)
        lat, lon = self.x / UNITS_PER_DEG, self.y / UNITS_PER_DEG
        return f"{name} at {lat:.7f}, {lon:.7f}, {self.z:g} m"


def wire_mission(mission: Mission, autopilot: Autopilot, home: Place) -> tuple[WireItem, ...]:
    """Return the items of a mission, in flying order.

    It takes off from `home`, where the vehicle stands, if it does not say where.  For ArduPilot
    the first item is its home, which it overwrites with its own; see `has_home`.

    Raises
    ------
    InputError
        If the autopilot cannot fly heights above what the mission's are measured from.
    """
    if autopilot is Autopilot.PX4 and mission.height_reference is HeightReference.TERRAIN:
        raise InputError(
            f"mission {mission.name!r}: PX4 takes no heights above the terrain in a mission; "
            "plan with heights above the take-off point"
        )
    if mission.takeoff is None:
        mission = replace(mission, takeoff=home)
    first = [home_item(mission)] if has_home(autopilot) else []
    waypoint = -len(first)
    wired = []
    for item in (*first, *mission_items(mission, autopilot)):
        number = -1
        if item.command == Command.WAYPOINT:
            number = waypoint if waypoint < len(mission.waypoints) else -1
            waypoint += 1
        wired.append(replace(WireItem.from_item(item), waypoint=number))
    return tuple(wired)


def has_home(autopilot: Autopilot) -> bool:
    """Whether the autopilot keeps its home as the first item of a mission."""
    return autopilot is Autopilot.ARDUPILOT


def wire_fence(mission: Mission) -> tuple[WireItem, ...]:
    """Return the items of a mission's fence and exclusions; none where it has neither.

    Raises
    ------
    InputError
        If the fence has more corners than an autopilot holds, and cannot be simplified safely.
    """
    fence = fence_of(mission)
    return tuple(
        WireItem.from_item(
            Item(
                command=command,
                frame=Frame.AMSL,
                params=(float(len(vertices)), 0.0, 0.0, 0.0, lat, lon, 0.0),
            )
        )
        for command, polygons in (
            (mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_INCLUSION, fence.inside),
            (mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_EXCLUSION, fence.outside),
        )
        for vertices in (corners(polygon.exterior) for polygon in polygons)
        for lon, lat in vertices
    )


def waypoints_passed(items: Sequence[WireItem], seq: int) -> int:
    """Return the greatest index of a waypoint among the items up to `seq`; -1 for none."""
    return max((item.waypoint for item in items[: seq + 1]), default=-1)


def same_angle(a_deg: float, b_deg: float, tolerance_deg: float) -> bool:
    """Whether two angles agree, full turns aside.

    Examples
    --------
    >>> same_angle(359.999, 0.0, 0.01)
    True
    """
    return math.fabs((a_deg - b_deg + 180.0) % 360.0 - 180.0) <= tolerance_deg


class ItemKind(Enum):
    """What the items are for."""

    MISSION = mavlink.MAV_MISSION_TYPE_MISSION
    FENCE = mavlink.MAV_MISSION_TYPE_FENCE

    @property
    def word(self) -> str:
        """The kind in lower case."""
        return self.name.lower()


class _ItemRefusedError(RefusedError):
    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


def upload(link: Link, items: Sequence[WireItem], kind: ItemKind, *, track: Track = silent) -> None:
    """Bring items to the autopilot, in place of what it holds of that kind.

    The autopilot asks for each item, and again for those it missed; all it asks for is sent, in
    whatever order.  If only its last word is lost, the items count as delivered: `download` must
    follow anyway, and is the judge.

    Raises
    ------
    RefusedError
        If the autopilot refuses an item; says which, and why.
    LinkError
        If it goes silent.
    """
    for attempt in range(1, UPLOADS + 1):
        try:
            delivered = _deliver(link, items, kind)
            for _ in track(delivered, f"sending the {kind.word}", len(items)):
                pass
        except _ItemRefusedError as error:
            if not error.passing or attempt == UPLOADS:
                raise
            log.warning("%s; beginning again", error)
        else:
            log.info("%d items of the %s delivered", len(items), kind.word)
            return


def download(link: Link, kind: ItemKind, *, track: Track = silent) -> tuple[WireItem, ...]:
    """Fetch the items of one kind that the autopilot holds.

    Raises
    ------
    RefusedError
        If the autopilot will not say.
    LinkError
        If it goes silent.
    """
    asking = _Asking(link, kind)
    make, to = link.make, link.target
    with link.listening("MISSION_COUNT", "MISSION_ITEM_INT", "MISSION_ACK") as inbox:
        count = asking.ask(
            inbox,
            make.mission_request_list_encode(*to, kind.value),
            lambda reply: reply.get_type() == "MISSION_COUNT",
            f"how long its {kind.word} is",
        ).count
        items = []
        for seq in track(range(count), f"reading the {kind.word}", count):
            reply = asking.ask(
                inbox,
                make.mission_request_int_encode(*to, seq, kind.value),
                lambda reply, seq=seq: (  # type: ignore[misc]
                    reply.get_type() == "MISSION_ITEM_INT" and reply.seq == seq
                ),
                f"for item {seq} of {count} of its {kind.word}",
            )
            items.append(WireItem.from_message(reply))
        link.send(make.mission_ack_encode(*to, mavlink.MAV_MISSION_ACCEPTED, kind.value))
    return tuple(items)


def _deliver(link: Link, items: Sequence[WireItem], kind: ItemKind) -> Iterator[int]:
    """Send what is asked for until the autopilot has it all, yielding each item's number once."""
    furthest = latest = -1
    last = len(items) - 1
    heard_s = time.monotonic()
    with link.listening("MISSION_REQUEST", "MISSION_REQUEST_INT", "MISSION_ACK") as inbox:
        _announce(link, items, kind)
        while True:
            message = _next(inbox, kind, link.patience.reply_s)
            if message is None:
                if link.open and time.monotonic() - heard_s < link.patience.silence_s:
                    if furthest < 0:
                        _announce(link, items, kind)
                    continue
                if furthest < last:
                    raise _silent(link, furthest, items, kind)
                log.warning("the autopilot's word that it has all was lost")
                return
            heard_s = time.monotonic()
            if message.get_type() == "MISSION_ACK":
                if message.type != mavlink.MAV_MISSION_ACCEPTED:
                    raise _refusal(link, message.type, latest, items, kind)
                if furthest == last:
                    return
                # Otherwise it is the late answer to an earlier upload.
            elif message.seq <= last:
                latest = int(message.seq)
                link.send(items[latest].to_message(link.make, link.target, latest, kind.value))
                yield from range(furthest + 1, latest + 1)
                furthest = max(furthest, latest)


def _next(inbox: MessageQueue, kind: ItemKind, timeout_s: float) -> Message | None:
    """Return the next message about one kind of items; None if none comes in time."""
    until_s = time.monotonic() + timeout_s
    while (message := inbox.take(until_s - time.monotonic())) is not None:
        if message.mission_type == kind.value:
            return message
    return None


def _announce(link: Link, items: Sequence[WireItem], kind: ItemKind) -> None:
    link.send(link.make.mission_count_encode(*link.target, len(items), kind.value))


def _silent(link: Link, furthest: int, items: Sequence[WireItem], kind: ItemKind) -> LinkError:
    if furthest < 0:
        return LinkError(
            f"{link.address}: the autopilot does not ask for the {kind.word} in "
            f"{link.patience.silence_s:g} s; look at the link (nothing was changed or armed)"
        )
    return LinkError(
        f"{link.address}: the autopilot went silent after item {furthest} of the {kind.word}'s "
        f"0 to {len(items) - 1}; nothing is armed, but what it holds may be half: mend the link "
        "and run again before anyone flies it"
    )


def _refusal(
    link: Link, result: int, latest: int, items: Sequence[WireItem], kind: ItemKind
) -> _ItemRefusedError:
    why = _REASONS.get(result, f"result {result}")
    which = f"the {kind.word}" if latest < 0 else f"item {latest} of the {kind.word}"
    what = "" if latest < 0 else f" ({items[latest]})"
    return _ItemRefusedError(
        f"{link.address}: the autopilot refuses {which}{what}: {why}; nothing is armed",
        passing=result in _PASSING,
    )


class _Asking:
    """Asks until answered, as often as the link's round trip allows."""

    def __init__(self, link: Link, kind: ItemKind) -> None:
        self._link, self._kind, self._patience = link, kind, link.patience
        self._wait_s = link.patience.reply_s
        self._waits_s = link.patience.silence_s

    def ask(
        self, inbox: MessageQueue, question: Message, answers: Callable[[Message], bool], what: str
    ) -> Message:
        """Return the first message that answers a question."""
        began_s = time.monotonic()
        times = 0
        while self._link.open and time.monotonic() - began_s < self._waits_s:
            self._link.send(question)
            times += 1
            asked_s = time.monotonic()
            until_s = asked_s + self._wait_s
            while (reply := _next(inbox, self._kind, until_s - time.monotonic())) is not None:
                if answers(reply):
                    if times == 1:  # a reply to a repeated question does not tell the time
                        took_s = time.monotonic() - asked_s
                        usual_s = max(4 * took_s, self._patience.again_s)
                        self._wait_s = min(usual_s, self._patience.reply_s)
                    return reply
                if reply.get_type() == "MISSION_ACK" and reply.type in _REASONS:
                    busy = time.monotonic() - began_s < BUSY_S + self._patience.reply_s
                    if reply.type in _BUSY and busy:
                        self._waits_s = BUSY_S + self._patience.silence_s
                        continue  # asks again when the time for an answer is over
                    raise RefusedError(
                        f"{self._link.address}: asked {what}, the autopilot refuses: "
                        f"{_REASONS[reply.type]}"
                    )
        raise LinkError(
            f"{self._link.address}: asked {what}, the autopilot is silent for "
            f"{self._patience.silence_s:g} s; look at the link (nothing is armed)"
        )
