"""Items of a stage (tiles, photographs) that are in hand, are tried alone, or are given up.

All of it is files beside what the stage makes: when a process dies, whoever started it reads there
which items it was at work on, and any process that goes on knows which to leave alone.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from tmp.files import replacing

LEDGER = "ledger"
"""Folder of it below that of a stage at work; no part of the result."""
AT_WORK = "at-work"
APART = "apart.json"
RETRIED = "retried.json"
BEAT_S = 60.0
"""Time between two signs of life of a process at work."""
DEAD_S = 600.0
"""Time without a sign of life after which a process counts as dead, whatever the clocks say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What is known of a stage's items while it is at work."""

    partial: Path
    """Folder of the stage at work."""

    @property
    def folder(self) -> Path:
        """Where it is written down."""
        return self.partial / LEDGER

    def mark(self, part: str, item: str) -> Path:
        """Note that a part of the stage is at work on an item; delete the file when it is done."""
        path = self.folder / AT_WORK / part / quote(item, safe="")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    def in_hand(self, part: str) -> list[str]:
        """Return the items that a part was at work on when it ended."""
        folder = self.folder / AT_WORK / part
        with suppress(OSError):
            return sorted(unquote(path.name) for path in folder.iterdir())
        return []

    @contextmanager
    def at_work(self, part: str) -> Iterator[None]:
        """Show that a part is at work while the block runs; marks of an earlier try are deleted.

        A process that is killed leaves its marks behind, and so does one that raises.
        """
        folder = self.folder / AT_WORK / part
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT_S):
                with suppress(OSError):
                    os.utime(folder)

        beating = threading.Thread(target=beat, daemon=True)
        beating.start()
        try:
            yield
        finally:
            ended.set()
            beating.join()
        shutil.rmtree(folder, ignore_errors=True)

    def apart(self) -> dict[str, str]:
        """Return the items set apart and why they were given up: "" while they are tried alone."""
        found: dict[str, str] = self._read_json(APART, {})
        return found

    def given_up(self) -> dict[str, str]:
        """Return the items that are not tried again, and why."""
        return {item: reason for item, reason in self.apart().items() if reason}

    def set_apart(self, items: Iterable[str]) -> None:
        """Let other processes leave items alone."""
        self._write_json(APART, dict.fromkeys(items, "") | self.apart())

    def give_up(self, item: str, reason: str) -> None:
        """Let nobody try an item again."""
        self._write_json(APART, self.apart() | {item: reason})

    def forget(self, *, all_items: bool) -> None:
        """Let items be tried again: all of them, or those that have not been given up."""
        if (self.folder / APART).exists():
            self._write_json(APART, {} if all_items else self.given_up())

    def retry(self, items: Iterable[str]) -> None:
        """Note that of a stage which was at its end nothing but these items is to be made."""
        self._write_json(RETRIED, list(items))

    def retried(self) -> list[str]:
        """Return the items that alone are to be made; empty for a stage that is made anew."""
        found: list[str] = self._read_json(RETRIED, [])
        return found

    def _write_json(self, name: str, value: object) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / name) as temporary:
            temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")

    def _read_json(self, name: str, absent: Any) -> Any:
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return absent

    @property
    def alive(self) -> bool:
        """Whether a process has shown signs of life of late."""
        try:
            parts = (self.folder / AT_WORK).iterdir()
            latest_s = max((path.stat().st_mtime for path in parts), default=0.0)
        except OSError:
            return False
        return time.time() - latest_s < DEAD_S
