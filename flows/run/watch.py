"""Start a run for each card of photographs that has been copied completely.

The folder may lie on another machine, whose clock is wrong and which tells nobody of a change. So
it is listed again and again, and only this machine's clock says for how long nothing changed.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from flows.engine.result import digest_of
from tmp.errors import InputError, SpaceError, TmpError
from tmp.files import read_json, write_json
from tmp.survey import Survey

SIGNS = frozenset({".complete", "flight.json"})
"""Files that whoever copies may write last, at the top of the card: a certain end."""
LOOK_EVERY_S = 10.0
LOOKING_SHARE = 0.1
"""Of the time, at most, that is spent on listing the inbox: file servers are slow."""

log = logging.getLogger(__name__)
WATCHED = "watch.json"
"""File below a survey's ``work/``: what the card was like when its run was done."""
MORE_ROOM = 1.1
"""Times the free disk at which a card is tried again that found too little."""
RunCard = Callable[[Path, Path], str]
"""Takes a card into a survey, both folders, and runs it; returns what came of it, in words."""


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
    _links: set[str] = field(default_factory=set)
    """Links in the place of a card that were told of.  Whoever may write into the inbox need not be
    someone who may read what they lead to."""

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
            if folder.is_symlink():
                if folder.name not in self._links:
                    log.warning("%s: a link, and links are not followed; copy the card", folder)
                self._links.add(folder.name)
                continue
            card = list_card(folder)
            if card is not None and card.files:
                yield card


def list_card(folder: Path) -> Card | None:
    """Return a card as it is now; None if it changes while it is listed, or cannot be.

    Links in it are listed, and neither followed here nor when the card is taken in.
    """
    found = []
    try:
        for path in _files_below(folder):
            stat = path.lstat()
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How a card was when its run failed, so that it is not run over and over."""

    stamp: str
    free_bytes: int | None = None
    """Disk there was, where there was too little of it."""


@dataclass(slots=True, kw_only=True)
class Watch:
    """Runs the cards of an inbox, one after the other, and remembers what became of them."""

    surveys: Path
    """Gets a survey of each card, by the card's name."""
    run_card: RunCard
    tell: Callable[[str], None] = log.info
    now_s: Callable[[], float] = time.monotonic
    _failures: dict[str, Failure] = field(default_factory=dict)
    _copying: set[str] = field(default_factory=set)

    def attend(self, inbox: Inbox) -> bool:
        """Look into the inbox, and run the first card that is new or has changed, if any is."""
        finished, copying = inbox.look()
        self._tell_copying(copying)
        for card in finished:
            if self._is_due(card):
                self._attempt(card)
                return True
        return False

    def _attempt(self, card: Card) -> None:
        survey = Survey(folder=self.surveys / card.name)
        self._copying.discard(card.name)
        self.tell(f"{card.name}: copied, {len(card.files)} files; its run starts")
        began_s = self.now_s()
        try:
            self.surveys.mkdir(parents=True, exist_ok=True)
            said = self.run_card(card.folder, survey.folder)
        except Exception as error:  # one card does not end the watch over the others
            if not isinstance(error, TmpError):
                log.exception("%s: the run failed", card.name)
            free = shutil.disk_usage(self.surveys).free if isinstance(error, SpaceError) else None
            self._failures[card.name] = Failure(stamp=card.stamp, free_bytes=free)
            again = "there is more room" if free is not None else "the card changes"
            self.tell(f"{card.name}: failed: {error}; tried again when {again}, or at a new start")
            return
        self._failures.pop(card.name, None)
        survey.work_dir.mkdir(parents=True, exist_ok=True)
        write_json(survey.work_dir / WATCHED, {"card": card.stamp})
        self.tell(f"{card.name}: done in {(self.now_s() - began_s) / 60:.1f} min: {said}")

    def _is_due(self, card: Card) -> bool:
        failure = self._failures.get(card.name)
        if failure is not None and failure.stamp == card.stamp:
            if failure.free_bytes is None:
                return False
            return shutil.disk_usage(self.surveys).free > failure.free_bytes * MORE_ROOM
        return self._stamp_done(card.name) != card.stamp

    def _stamp_done(self, name: str) -> str:
        path = Survey(folder=self.surveys / name).work_dir / WATCHED
        try:
            return str(read_json(path)["card"])
        except (InputError, KeyError):
            return ""

    def _tell_copying(self, copying: list[Card]) -> None:
        """Say of each copy that it has begun, once."""
        due = {card.name: card for card in copying if self._is_due(card)}
        for name in sorted(due.keys() - self._copying):
            self.tell(f"{name}: being copied, {len(due[name].files)} files so far")
        self._copying = set(due)


def watch_inbox(
    inbox: Inbox,
    watch: Watch,
    *,
    once: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Ingest and run each folder of an inbox when its copy is finished; goes on until stopped.

    Each folder in it is a card; hidden ones are left alone, and nothing is written there.  If once,
    what has come to rest already is run, and no more.
    """
    if once:
        inbox.look()
        sleep(inbox.quiet_s)
        while watch.attend(inbox):
            pass
        return
    while True:
        if not watch.attend(inbox):
            sleep(inbox.pause_s)


def refuse_nested(inbox: Path, surveys: Path) -> None:
    """Raise `InputError` if surveys would be taken for cards, or written into one."""
    if surveys.resolve().is_relative_to(inbox.resolve()):
        raise InputError(
            f"{surveys}: the surveys would lie inside the inbox {inbox}, where each folder counts "
            "as a card; give another folder with --into"
        )
