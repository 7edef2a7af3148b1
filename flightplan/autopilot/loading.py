"""Put a mission and its fence on an autopilot, and prove that they are what it holds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flightplan.autopilot.items import WireItem, has_home, wire_fence, wire_mission
from flightplan.autopilot.link import Link, Patience, RefusedError
from flightplan.autopilot.logbook import Logbook
from flightplan.autopilot.protocol import Kind, download, upload
from flightplan.autopilot.readback import differences, fingerprint
from flightplan.missions import AtEnd, Mission, Place
from tmp.progress import Track, silent

log = logging.getLogger(__name__)

_SHOWN = 3
"""Differences listed in a message; the others are counted."""


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
    patience: Patience | None = None,
    track: Track = silent,
    say: Callable[[str], None] = log.info,
) -> Loaded:
    """Bring a mission and its fence to the autopilot, read both back and compare.

    What it holds already is not sent again.  What did not come from this plan is kept and the new
    mission refused, unless `replace`; it is then first written beside the plan.  A fence on the
    autopilot stays where the plan has none.

    Parameters
    ----------
    home : Place
        Where the vehicle stands.

    Raises
    ------
    RefusedError
        If it holds another mission or fence, is in the air with another mission, refuses an item,
        or holds anything else than what was sent.
    LinkError
        If it goes silent.
    """
    wanted: dict[Kind, tuple[WireItem, ...]] = {
        Kind.MISSION: wire_mission(mission, link.autopilot, home)
    }
    if fence := wire_fence(mission):
        wanted[Kind.FENCE] = fence
    due = []
    for kind, items in wanted.items():
        held = download(link, kind, patience=patience, track=track)
        if not differences(items, held, kind, link.autopilot):
            say(f"the autopilot holds the {kind.word} already")
            continue
        _may_replace(link, held, kind, logbook, replace=replace, say=say)
        due.append(kind)
    for kind in due:
        upload(link, wanted[kind], kind, patience=patience, track=track)
        held = download(link, kind, patience=patience, track=track)
        _refuse_differences(link, differences(wanted[kind], held, kind, link.autopilot), kind)
        logbook.remember(fingerprint(held, kind, link.autopilot))
        say(f"{len(held)} items of the {kind.word} sent, read back and equal")
    return Loaded(
        name=mission.name,
        items=wanted[Kind.MISSION],
        fence=fence,
        lands=mission.at_end is not AtEnd.HOVER,
        waypoints=len(mission.waypoints),
    )


def _may_replace(
    link: Link,
    held: Sequence[WireItem],
    kind: Kind,
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
    own_home = kind is Kind.MISSION and has_home(link.autopilot)
    count = len(held) - 1 if own_home and held else len(held)
    if count == 0 or logbook.knows(fingerprint(held, kind, link.autopilot)):
        return
    if not replace:
        raise RefusedError(
            f"{link.address}: the autopilot holds another {kind.word} of {count} items, which is "
            "kept; give --replace to put this one in its place"
        )
    say(f"the {kind.word} that it held is kept in {logbook.keep(held, kind.word)}")


def _refuse_differences(link: Link, found: Sequence[str], kind: Kind) -> None:
    if not found:
        return
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise RefusedError(
        f"{link.address}: the autopilot does not hold the {kind.word} that was sent: "
        f"{'; '.join(found[:_SHOWN])}{more}; nothing is armed, do not fly what it holds"
    )
