"""Watch which tiles are finished while a survey is run, and which are made again."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PERIOD_S = 0.2
TILE = re.compile(r"r\d+c\d+\.tif")
BY_PHOTOGRAPH = ("block/keypoints-*",)
"""Folders below ``work/`` of what is made once of each photograph.  Its pyramid is written before
its keypoints, of the same decode: until these are there, the photograph is not finished."""


class Finished:
    """Files that appear whole, under their own names; made again, they are other files."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._seen: dict[str, set[tuple[int, int]]] = defaultdict(set)
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Finished:
        """Begin to watch."""
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Look once more, and end."""
        self._stopped.set()
        self._watcher.join()

    def __len__(self) -> int:
        """Return how many files were finished."""
        return len(self._seen)

    def made_again(self) -> list[str]:
        """Return the files that were made more than once."""
        return sorted(name for name, versions in self._seen.items() if len(versions) > 1)

    def _watch(self) -> None:
        while not self._stopped.wait(PERIOD_S):
            self._look()
        self._look()

    def _look(self) -> None:
        for path in self._files():
            try:
                stat = path.stat()
            except OSError:  # its folder got its final name meanwhile
                continue
            name = path.relative_to(self._work).as_posix().replace(".part/", "/")
            self._seen[name].add((stat.st_ino, stat.st_mtime_ns))

    def _files(self) -> Iterator[Path]:
        for path in _below(self._work / "stages"):
            if TILE.fullmatch(path.name):
                yield path
        for pattern in BY_PHOTOGRAPH:
            for folder in self._work.glob(pattern):
                yield from _below(folder)


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, while others change it."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return
    for path in entries:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _below(path)
        else:
            yield path
