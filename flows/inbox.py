"""Cards that are copied into a folder: which of them have come to rest.

The folder may lie on another machine, whose clock is wrong and which tells nobody of a change.
So it is listed again and again, and only this machine's clock says for how long nothing changed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from flows.results import digest_of

log = logging.getLogger(__name__)

SIGNS = frozenset({".complete", "flight.json"})
"""Files that whoever copies may write last, at the top of the card: a certain end."""
LOOK_EVERY_S = 10.0
LOOKING_SHARE = 0.1
"""Of the time, at most, that is spent on listing the inbox: file servers are slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A folder of the inbox as it was listed."""

    folder: Path
    files: tuple[tuple[str, int, int], ...]
    """Path below the folder, size in bytes, time of change in ns by whatever clock; sorted.
    Hidden files are among them: copying programs use such while a file is not whole."""

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def signs(self) -> tuple[tuple[str, int, int], ...]:
        """The files that say that the copy is finished."""
        return tuple(file for file in self.files if file[0] in SIGNS)

    @property
    def stamp(self) -> str:
        """What tells this content of the card from another."""
        return digest_of([list(file) for file in self.files])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """How a card was seen, and since when it is so."""

    card: Card
    since_s: float
    at_rest: bool = False


@dataclass(slots=True, kw_only=True)
class Inbox:
    """A folder into which cards are copied."""

    folder: Path
    quiet_s: float
    """A copy counts as finished when nothing in it has changed for so long."""
    now_s: Callable[[], float] = time.monotonic
    pause_s: float = LOOK_EVERY_S
    """Time to let pass before the next look: longer where the folder is slow to list."""
    _sights: dict[str, Sight] = field(default_factory=dict)
    _believed: dict[str, object] = field(default_factory=dict)
    """Signs that have served, by card: what is copied after them needs its own time of rest."""

    def look(self) -> tuple[list[Card], list[Card]]:
        """Return the cards whose copy is finished, and those that are still being copied.

        A card that is signed is finished when it looks the same twice; any other when it has
        looked the same for `quiet_s`.
        """
        now = self.now_s()
        before, self._sights = self._sights, {}
        for card in self._listed():
            former = before.get(card.name)
            if former is None or former.card != card:
                sight = Sight(card=card, since_s=now, at_rest=self.quiet_s <= 0)
            else:
                believed = card.signs and card.signs != self._believed.get(card.name)
                rests = former.at_rest or bool(believed) or now - former.since_s >= self.quiet_s
                sight = replace(former, at_rest=rests)
            if sight.at_rest:
                self._believed[card.name] = card.signs
            self._sights[card.name] = sight
        self.pause_s = max(LOOK_EVERY_S, (self.now_s() - now) / LOOKING_SHARE)
        seen = self._sights.values()
        return [s.card for s in seen if s.at_rest], [s.card for s in seen if not s.at_rest]

    def _listed(self) -> Iterator[Card]:
        try:
            folders = sorted(self.folder.iterdir())
        except OSError as error:
            log.warning("%s: cannot be listed (%s); looked at again later", self.folder, error)
            return
        for folder in folders:
            if folder.name.startswith(".") or not folder.is_dir():
                continue
            card = list_card(folder)
            if card is not None and card.files:
                yield card


def list_card(folder: Path) -> Card | None:
    """Return a card as it is now; None if it changes while it is listed, or cannot be."""
    found = []
    try:
        for path in _files_below(folder):
            stat = path.stat()
            found.append((path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns))
    except OSError as error:  # renamed when it was whole, or a server that is away
        log.debug("%s: cannot be listed (%s)", folder, error)
        return None
    return Card(folder=folder, files=tuple(sorted(found)))


def _files_below(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise error

    for parent, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(parent, name) for name in names)
