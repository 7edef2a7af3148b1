"""Put a mission and its fence on an autopilot, and prove that it holds them to the centimetre."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from flightplan.autopilot.link import Link, RefusedError
from flightplan.autopilot.logbook import Logbook
from flightplan.autopilot.protocol import (
    UNITS_PER_DEG,
    ItemKind,
    WireItem,
    download,
    has_home,
    same_angle,
    upload,
    wire_fence,
    wire_mission,
)
from flightplan.formats.mavlink_items import Autopilot, Command, Frame
from flightplan.formats.mission import AtEnd, Mission, Place
from tmp.progress import Track, silent

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

log = logging.getLogger(__name__)
_SHOWN = 3
"""Differences listed in a message; the others are counted."""


def differences(
    sent: Sequence[WireItem], held: Sequence[WireItem], kind: ItemKind, autopilot: Autopilot
) -> list[str]:
    """Say where the items that an autopilot holds are not those that were sent, a line for each.

    ArduPilot keeps some values of each command and drops the others without a word, such as the
    acceptance radius and the heading of a waypoint; only what it keeps is compared, and nothing
    that matters is sent in the others.  Its home is its own.  PX4 keeps all.
    """
    found = []
    if len(sent) != len(held):
        found.append(f"the {kind.word} has {len(sent)} items and it holds {len(held)}")
    for seq, (mine, theirs) in enumerate(zip(sent, held, strict=False)):
        if seq == 0 and kind is ItemKind.MISSION and has_home(autopilot):
            continue
        found += [
            f"item {seq} of the {kind.word} ({mine}): {what}"
            for what in _differing(mine, theirs, autopilot)
        ]
    return found


def fingerprint(items: Sequence[WireItem], kind: ItemKind, autopilot: Autopilot) -> str:
    """Return a short name for what an autopilot holds, its home left out."""
    own = items[1:] if kind is ItemKind.MISSION and has_home(autopilot) else items
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A mission that the autopilot was seen to hold, item for item.

    Made by `load` alone; `flightplan.autopilot.flight.start` takes nothing else.
    """

    name: str
    items: tuple[WireItem, ...]
    fence: tuple[WireItem, ...]
    """Empty where the plan has none."""
    lands: bool
    """Whether the mission ends on the ground."""
    waypoints: int
    """Number of the mission's waypoints."""


def load(
    link: Link,
    mission: Mission,
    logbook: Logbook,
    *,
    home: Place,
    replace: bool = False,
    track: Track = silent,
    say: Callable[[str], None] = log.info,
) -> Loaded:
    """Bring a mission and its fence to the autopilot, read both back and compare.

    What it holds already is not sent again.  What did not come from this plan is kept and the new
    mission refused, unless `replace`; it is then first written beside the plan.  A fence on the
    autopilot stays where the plan has none.  `home` is where the vehicle stands.

    Raises
    ------
    RefusedError
        If it holds another mission or fence, is in the air with another mission, refuses an item,
        or holds anything else than what was sent.
    LinkError
        If it goes silent.
    """
    wanted: dict[ItemKind, tuple[WireItem, ...]] = {
        ItemKind.MISSION: wire_mission(mission, link.autopilot, home)
    }
    if fence := wire_fence(mission):
        wanted[ItemKind.FENCE] = fence
    due = {}
    for kind, items in wanted.items():
        held = download(link, kind, track=track)
        if not differences(items, held, kind, link.autopilot):
            say(f"the autopilot holds the {kind.word} already")
            logbook.sent(kind.word)
            continue
        _may_replace(link, held, kind, logbook, replace=replace, say=say)
        due[kind] = held
    for kind, replaced in due.items():
        logbook.sending(kind.word, wanted[kind], replaced)
        upload(link, wanted[kind], kind, track=track)
        held = download(link, kind, track=track)
        _refuse_differences(link, differences(wanted[kind], held, kind, link.autopilot), kind)
        logbook.remember(fingerprint(held, kind, link.autopilot))
        logbook.sent(kind.word)
        say(f"{len(held)} items of the {kind.word} sent, read back and equal")
    return Loaded(
        name=mission.name,
        items=wanted[ItemKind.MISSION],
        fence=fence,
        lands=mission.at_end is not AtEnd.HOVER,
        waypoints=len(mission.waypoints),
    )


def _may_replace(
    link: Link,
    held: Sequence[WireItem],
    kind: ItemKind,
    logbook: Logbook,
    *,
    replace: bool,
    say: Callable[[str], None],
) -> None:
    if link.armed:
        raise RefusedError(
            f"{link.address}: the vehicle is armed and holds another {kind.word}; it is left as "
            "it is; run again when it has landed"
        )
    own_home = kind is ItemKind.MISSION and has_home(link.autopilot)
    count = len(held) - 1 if own_home and held else len(held)
    if count == 0 or logbook.knows(fingerprint(held, kind, link.autopilot)):
        return
    if _is_half_sent(held, kind, logbook, link.autopilot):
        say(f"the {kind.word} that it holds was half sent from this plan, and is sent anew")
        return
    if not replace:
        raise RefusedError(
            f"{link.address}: the autopilot holds another {kind.word} of {count} items, which is "
            "kept; give --replace to put this one in its place"
        )
    say(f"the {kind.word} that it held is kept in {logbook.keep(held, kind.word)}")


def _is_half_sent(
    held: Sequence[WireItem], kind: ItemKind, logbook: Logbook, autopilot: Autopilot
) -> bool:
    """Whether an upload of ours that ended early explains all that is held.

    ArduPilot cuts what it holds to the new number of items, and takes each item as it comes: an
    upload that ends early leaves new items before old ones (`MissionItemProtocol::truncate`,
    `replace_item` and `append_item`).  The old ones gave way already when it began.  PX4 changes
    over when all have come, and holds what it held.
    """
    wanted, before = logbook.half_sent(kind.word)
    if not wanted or len(held) > max(len(wanted), len(before)):
        return False
    for seq, item in enumerate(held):
        if seq == 0 and kind is ItemKind.MISSION and has_home(autopilot):
            continue
        ours = seq < len(wanted) and not any(_differing(wanted[seq], item, autopilot))
        old = seq < len(before) and not any(_differing(before[seq], item, autopilot))
        if not (ours or old):
            return False
    return True


def _refuse_differences(link: Link, found: Sequence[str], kind: ItemKind) -> None:
    if not found:
        return
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise RefusedError(
        f"{link.address}: the autopilot does not hold the {kind.word} that was sent: "
        f"{'; '.join(found[:_SHOWN])}{more}; nothing is armed, do not fly what it holds"
    )
