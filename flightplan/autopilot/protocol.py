"""The MAVLink mission protocol: bring items to an autopilot, and fetch what it holds.

References
----------
MAVLink developer guide, Mission Protocol: https://mavlink.io/en/services/mission.html
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from enum import Enum

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot.items import WireItem
from flightplan.autopilot.link import Inbox, Link, LinkError, Message, Patience, RefusedError
from tmp.progress import Track, silent

log = logging.getLogger(__name__)

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


class Kind(Enum):
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


def upload(
    link: Link,
    items: Sequence[WireItem],
    kind: Kind,
    *,
    patience: Patience | None = None,
    track: Track = silent,
) -> None:
    """Bring items to the autopilot, in place of what it holds of that kind.

    Parameters
    ----------
    items : sequence of WireItem
        At least one.

    Raises
    ------
    RefusedError
        If the autopilot refuses an item; says which, and why.
    LinkError
        If it goes silent.

    Notes
    -----
    The autopilot asks for each item, and again for those it missed; all it asks for is sent, in
    whatever order.  If only its last word is lost, the items count as delivered: `download` must
    follow anyway, and is the judge.
    """
    patience = patience or Patience()
    for attempt in range(1, UPLOADS + 1):
        try:
            delivered = _deliver(link, items, kind, patience)
            for _ in track(delivered, f"sending the {kind.word}", len(items)):
                pass
        except _ItemRefusedError as error:
            if not error.passing or attempt == UPLOADS:
                raise
            log.warning("%s; beginning again", error)
        else:
            log.info("%d items of the %s delivered", len(items), kind.word)
            return


def download(
    link: Link, kind: Kind, *, patience: Patience | None = None, track: Track = silent
) -> tuple[WireItem, ...]:
    """Fetch the items of one kind that the autopilot holds.

    Raises
    ------
    RefusedError
        If the autopilot will not say.
    LinkError
        If it goes silent.
    """
    asking = _Asking(link, kind, patience or Patience())
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


def _deliver(
    link: Link, items: Sequence[WireItem], kind: Kind, patience: Patience
) -> Iterator[int]:
    """Send what is asked for until the autopilot has it all, yielding each item's number once."""
    furthest = latest = -1
    last = len(items) - 1
    heard_s = time.monotonic()
    with link.listening("MISSION_REQUEST", "MISSION_REQUEST_INT", "MISSION_ACK") as inbox:
        _announce(link, items, kind)
        while True:
            message = _next(inbox, kind, patience.reply_s)
            if message is None:
                if link.open and time.monotonic() - heard_s < patience.silence_s:
                    if furthest < 0:
                        _announce(link, items, kind)
                    continue
                if furthest < last:
                    raise _silent(link, furthest, items, kind, patience)
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


def _next(inbox: Inbox, kind: Kind, timeout_s: float) -> Message | None:
    """Return the next message about one kind of items; None if none comes in time."""
    until_s = time.monotonic() + timeout_s
    while (message := inbox.take(until_s - time.monotonic())) is not None:
        if message.mission_type == kind.value:
            return message
    return None


def _announce(link: Link, items: Sequence[WireItem], kind: Kind) -> None:
    link.send(link.make.mission_count_encode(*link.target, len(items), kind.value))


def _silent(
    link: Link, furthest: int, items: Sequence[WireItem], kind: Kind, patience: Patience
) -> LinkError:
    if furthest < 0:
        return LinkError(
            f"{link.address}: the autopilot does not ask for the {kind.word} in "
            f"{patience.silence_s:g} s; look at the link (nothing was changed or armed)"
        )
    return LinkError(
        f"{link.address}: the autopilot went silent after item {furthest} of the {kind.word}'s "
        f"0 to {len(items) - 1}; nothing is armed, but what it holds may be half: mend the link "
        "and run again before anyone flies it"
    )


def _refusal(
    link: Link, result: int, latest: int, items: Sequence[WireItem], kind: Kind
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

    def __init__(self, link: Link, kind: Kind, patience: Patience) -> None:
        self._link, self._kind, self._patience = link, kind, patience
        self._wait_s = patience.reply_s

    def ask(
        self, inbox: Inbox, question: Message, answers: Callable[[Message], bool], what: str
    ) -> Message:
        """Return the first message that answers a question."""
        began_s = time.monotonic()
        times = 0
        while self._link.open and time.monotonic() - began_s < self._patience.silence_s:
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
                    raise RefusedError(
                        f"{self._link.address}: asked {what}, the autopilot refuses: "
                        f"{_REASONS[reply.type]}"
                    )
        raise LinkError(
            f"{self._link.address}: asked {what}, the autopilot is silent for "
            f"{self._patience.silence_s:g} s; look at the link (nothing is armed)"
        )
