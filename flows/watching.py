"""Start a run for each card of photographs that has been copied completely."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from flows.inbox import Card, Inbox
from tmp.errors import InputError, SpaceError, TmpError
from tmp.files import replacing
from tmp.survey import Survey

log = logging.getLogger(__name__)

WATCHED = "watch.json"
"""File below a survey's ``work/``: what the card was like when its run was done."""
MORE_ROOM = 1.1
"""Times the free disk at which a card is tried again that found too little."""

RunCard = Callable[[Path, Path], str]
"""Takes a card into a survey, both folders, and runs it; returns what came of it, in words."""


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
        survey = Survey(root=self.surveys / card.name)
        self._copying.discard(card.name)
        self.tell(f"{card.name}: copied, {len(card.files)} files; its run starts")
        began_s = self.now_s()
        try:
            self.surveys.mkdir(parents=True, exist_ok=True)
            said = self.run_card(card.folder, survey.root)
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
        with replacing(survey.work_dir / WATCHED) as temporary:
            temporary.write_text(json.dumps({"card": card.stamp}), encoding="utf-8")
        self.tell(f"{card.name}: done in {(self.now_s() - began_s) / 60:.1f} min: {said}")

    def _is_due(self, card: Card) -> bool:
        failure = self._failures.get(card.name)
        if failure is not None and failure.stamp == card.stamp:
            if failure.free_bytes is None:
                return False
            return shutil.disk_usage(self.surveys).free > failure.free_bytes * MORE_ROOM
        return self._stamp_done(card.name) != card.stamp

    def _stamp_done(self, name: str) -> str:
        path = Survey(root=self.surveys / name).work_dir / WATCHED
        try:
            return str(json.loads(path.read_text(encoding="utf-8"))["card"])
        except (OSError, ValueError, KeyError):
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

    Parameters
    ----------
    inbox : Inbox
        Each folder in it is a card; hidden ones are left alone, and nothing is written there.
    watch : Watch
    once : bool
        Whether to run what has come to rest already, and end.
    sleep : callable
        Waits for a number of seconds.
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
