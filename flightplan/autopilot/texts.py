"""What an autopilot says to people, MAVLink's STATUSTEXT: whole, in words, and once."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

from pymavlink.dialects.v20 import ardupilotmega as mavlink

Message = Any
"""A message of pymavlink, which has no types: its fields are attributes."""
TEXT_CHARACTERS = 50
"""Of one STATUSTEXT."""
SAID_AGAIN_S = 60.0
"""A text that the autopilot repeats is shown again after so long without it: ArduPilot says every
half minute why it would not arm (`AP_Arming::update`)."""
CHUNK_S = 2.0
"""A text of several packets is shown with a gap if the others have not come by then."""


class StatusTexts:
    """What an autopilot says to people: packets joined to texts, each once.

    A STATUSTEXT holds 50 characters.  Longer texts come in several with one `id`, counted by
    `chunk_seq`; one that is not full is the last.

    References
    ----------
    MAVLink common message set, STATUSTEXT (253): https://mavlink.io/en/messages/common.html
    """

    def __init__(self) -> None:
        self._parts: dict[tuple[int, int], tuple[float, Message, dict[int, str]]] = {}
        self._done_s: dict[tuple[int, int], float] = {}
        self._said_s: dict[tuple[int, str], float] = {}

    def take(self, message: Message) -> Iterator[Message]:
        """Take in one packet; yield it if it makes a text complete, with the whole text."""
        if not message.id:  # whole in itself
            yield message
            return
        key, now_s = (message.get_srcComponent(), message.id), time.monotonic()
        if now_s - self._done_s.get(key, -math.inf) < CHUNK_S:
            return  # a packet that came twice
        _, _, parts = self._parts.setdefault(key, (now_s, message, {}))
        parts[message.chunk_seq] = message.text
        last = max(parts)
        if len(parts[last]) < TEXT_CHARACTERS and len(parts) == last + 1:
            yield self._joined(key)

    def late(self) -> Iterator[Message]:
        """Yield texts of which no more will come; what was lost of them shows as a gap."""
        now_s = time.monotonic()
        late = [key for key, (began_s, *_) in self._parts.items() if now_s - began_s > CHUNK_S]
        yield from map(self._joined, late)

    def new(self, message: Message) -> bool:
        """Whether a text was not said lately."""
        key, now_s = (message.severity, message.text), time.monotonic()
        before_s = self._said_s.get(key, -math.inf)
        self._said_s[key] = now_s
        return now_s - before_s > SAID_AGAIN_S

    def _joined(self, key: tuple[int, int]) -> Message:
        _, message, parts = self._parts.pop(key)
        self._done_s[key] = time.monotonic()
        whole = (parts.get(number, " … ") for number in range(max(parts) + 1))
        message.text = "".join(whole)
        return message


def severity_word(severity: int) -> str:
    """Return a MAV_SEVERITY in a word.

    Examples
    --------
    >>> severity_word(2), severity_word(6)
    ('critical', 'info')
    """
    entry = mavlink.enums["MAV_SEVERITY"].get(severity)
    return str(entry.name.removeprefix("MAV_SEVERITY_").lower()) if entry else str(severity)
