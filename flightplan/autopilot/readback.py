"""Whether the autopilot holds what was sent, to the centimetre."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot.items import UNITS_PER_DEG, WireItem, has_home, same_angle
from flightplan.autopilot.protocol import Kind
from flightplan.formats.items import Autopilot, Command, Frame

PLACE_UNITS = 1
"""Greatest difference of latitude and longitude, in 1e-7 degrees (1.1 cm)."""

HEIGHT_M = 0.01
"""Greatest difference of heights; ArduPilot keeps centimetres."""

PARAMETER = 0.01
"""Greatest difference of the other values: metres, seconds, degrees, m/s."""

_PLAIN_FRAME = {
    Frame.AMSL_INT: Frame.AMSL,
    Frame.TAKEOFF_INT: Frame.TAKEOFF,
    Frame.TERRAIN_INT: Frame.TERRAIN,
}
"""Frames that differ by name alone in a MISSION_ITEM_INT; PX4 answers with the long ones."""

_KEPT = {
    Command.WAYPOINT: ("p1", "x", "y", "z"),
    Command.TAKEOFF: ("x", "y", "z"),
    Command.LAND: ("x", "y", "z"),
    Command.RETURN: (),
    Command.YAW: ("p1", "p3", "p4"),
    Command.SPEED: ("p1", "p2"),
    Command.ONE_PHOTO: ("x",),
    Command.MOUNT: ("p1", "p2", "p3"),
    Command.TRIGGER_DISTANCE: ("p1", "p3"),
    mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_INCLUSION: ("p1", "x", "y"),
    mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_EXCLUSION: ("p1", "x", "y"),
}
"""What ArduPilot keeps of each command that is sent; it drops the rest and does not say so."""

_ALL = ("p1", "p2", "p3", "p4", "x", "y", "z")

_YAWED = (Command.WAYPOINT, Command.TAKEOFF, Command.LAND)
"""Commands whose parameter 4 is a heading, which PX4 brings into 0 up to 360."""

_PLACE_WORDS = {"x": "latitude", "y": "longitude", "z": "height"}


def differences(
    sent: Sequence[WireItem], held: Sequence[WireItem], kind: Kind, autopilot: Autopilot
) -> list[str]:
    """Say where the items that an autopilot holds are not those that were sent.

    Parameters
    ----------
    sent, held : sequence of WireItem
        As brought to the autopilot, and as read back.

    Returns
    -------
    list of str
        One line for each difference: which item, which value, what was sent and what is held.
        Empty where they agree.

    Notes
    -----
    ArduPilot keeps some values of each command and drops the others without a word, such as the
    acceptance radius and the heading of a waypoint; only what it keeps is compared, and nothing
    that matters is sent in the others.  Its home is its own.  PX4 keeps all.
    """
    found = []
    if len(sent) != len(held):
        found.append(f"the {kind.word} has {len(sent)} items and it holds {len(held)}")
    for seq, (mine, theirs) in enumerate(zip(sent, held, strict=False)):
        if seq == 0 and kind is Kind.MISSION and has_home(autopilot):
            continue
        found += [
            f"item {seq} of the {kind.word} ({mine}): {what}"
            for what in _differing(mine, theirs, autopilot)
        ]
    return found


def fingerprint(items: Sequence[WireItem], kind: Kind, autopilot: Autopilot) -> str:
    """Return a short name for what an autopilot holds, its home left out."""
    own = items[1:] if kind is Kind.MISSION and has_home(autopilot) else items
    lines = [
        f"{i.command} {_plain(i.frame)} {i.p1:.5g} {i.p2:.5g} {i.p3:.5g} {i.p4:.5g} "
        f"{i.x} {i.y} {i.z:.2f}"
        for i in own
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _differing(mine: WireItem, theirs: WireItem, autopilot: Autopilot) -> Iterator[str]:
    if mine.command != theirs.command:
        yield f"it holds {theirs}"
        return
    placed = mine.frame != Frame.MISSION
    if placed and _plain(mine.frame) != _plain(theirs.frame):
        yield f"frame {mine.frame} is held as {theirs.frame}"
    for name in _KEPT.get(mine.command, _ALL) if autopilot is Autopilot.ARDUPILOT else _ALL:
        if not _same(mine, theirs, name, placed=placed):
            word = _PLACE_WORDS.get(name) if placed else None
            word = word or f"parameter {_ALL.index(name) + 1}"
            yield f"{word} {_shown(mine, name)} is held as {_shown(theirs, name)}"


def _plain(frame: int) -> int:
    return _PLAIN_FRAME.get(Frame(frame), frame) if frame in set(Frame) else frame


def _same(mine: WireItem, theirs: WireItem, name: str, *, placed: bool) -> bool:
    a, b = float(getattr(mine, name)), float(getattr(theirs, name))
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    if name == "p4" and mine.command in _YAWED:
        return same_angle(a, b, PARAMETER)
    if name in ("x", "y"):
        return abs(a - b) <= (PLACE_UNITS if placed else 0)
    # Values travel as 32 bit floats, good to 6e-8 of themselves.
    return abs(a - b) <= (HEIGHT_M if name == "z" else PARAMETER) + 1e-6 * abs(a) + 1e-9


def _shown(item: WireItem, name: str) -> str:
    value = getattr(item, name)
    if name in ("x", "y") and item.frame != Frame.MISSION:
        return f"{value / UNITS_PER_DEG:.7f}"
    return f"{value:.7g}"
