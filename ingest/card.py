"""Find photographs on cards and in folders, and put verified copies of them into a survey.

The source is only ever read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from tmp.captures import Capture
from tmp.errors import InputError, PhotographError, SpaceError
from tmp.files import replacing
from tmp.survey import Survey

SUFFIXES = frozenset({".jpg", ".jpeg", ".tif", ".tiff", ".png"})
"""Files taken for photographs, by lower-case suffix."""

_NO_PHOTO_FOLDERS = frozenset(
    {"thm", "thumb", "thumbs", "thumbnails", "@eadir", "$recycle.bin", "lost.dir"}
    | {"system volume information", "__macosx"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies in the places a person pointed at."""

    photographs: tuple[Path, ...]
    ignored: Counter[str]
    """Number of other files by lower-case suffix; hidden files and thumbnails not counted."""


def find_photographs(places: Sequence[Path]) -> Found:
    """List the photographs in files and folders, searched to their depth, each once.

    Raises `InputError` if a place does not exist, cannot be read, or there is no photograph in any.
    """
    photographs: dict[Path, Path] = {}
    ignored: Counter[str] = Counter()
    for place in places:
        if not place.exists():
            raise InputError(f"{place}: does not exist; is the card in?")
        for path in _files_below(place) if place.is_dir() else [place]:
            if path.suffix.casefold() in SUFFIXES:
                photographs.setdefault(path.resolve(), path)
            else:
                ignored[path.suffix.casefold() or "without suffix"] += 1
    if not photographs:
        where = ", ".join(map(str, places))
        others = ", ".join(f"{count} {suffix}" for suffix, count in ignored.most_common(5))
        raise InputError(
            f"{where}: no photographs ({f'only {others}' if others else 'nothing at all'}); "
            f"looking for {', '.join(sorted(SUFFIXES))}"
        )
    return Found(photographs=tuple(photographs.values()), ignored=ignored)


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield visible files in reading order; ``._*`` are macOS's shadows of real files."""
    try:
        entries = sorted(folder.iterdir(), key=lambda p: p.name)
    except PermissionError as error:
        raise InputError(f"{folder}: may not be read; check its permissions") from error
    for path in entries:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if path.name.casefold() not in _NO_PHOTO_FOLDERS:
                yield from _files_below(path)
        elif path.name.casefold() not in ("thumbs.db", "desktop.ini"):
            yield path


def refuse_overlap(places: Iterable[Path], root: Path) -> None:
    """Refuse a survey inside a source, which would write to the card, and the reverse."""
    target = root.resolve()
    for place in places:
        source = place.resolve()
        if source.is_dir() and target.is_relative_to(source):
            raise InputError(
                f"{root}: the survey would lie inside {place}, and sources are never written to; "
                "choose a folder elsewhere"
            )
        if source.is_relative_to(target):
            raise InputError(
                f"{place}: lies inside the survey {root}; give the folder that photographs come "
                "from"
            )


def propose_names(photographs: Sequence[Path]) -> list[str]:
    """Return for each file a name below ``photos/``, with just enough folders to be unique.

    Examples
    --------
    >>> propose_names([Path("/card/100MEDIA/DJI_0001.JPG"), Path("/card/101MEDIA/DJI_0002.JPG")])
    ['DJI_0001.JPG', 'DJI_0002.JPG']
    >>> propose_names([Path("/card/100MEDIA/DJI_0001.JPG"), Path("/card/101MEDIA/DJI_0001.JPG")])
    ['100MEDIA/DJI_0001.JPG', '101MEDIA/DJI_0001.JPG']
    """
    parts = [path.resolve().parts[1:] for path in photographs]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        # Cards are read on machines that do not tell upper from lower case.
        if len({name.casefold() for name in names}) == len(names):
            break
    return names


class Shelf:
    """The survey's ``photos/`` folder: which names and contents it holds; safe across threads."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._folder = folder
        self._taken = {name.casefold() for name in names}
        self._lock = Lock()

    def reserve(self, proposed: str, sha256: str) -> str:
        """Return a free name like `proposed` for a new photograph, and take it.

        A file left by an interrupted run keeps its place if its content is the same.
        """
        folder, _, base = proposed.rpartition("/")
        attempt = 1
        name = proposed
        while not self._take(name, sha256):
            attempt += 1
            name = f"{folder or 'card'}-{attempt}/{base}"
        return name

    def _take(self, name: str, sha256: str) -> bool:
        with self._lock:
            if name.casefold() in self._taken:
                return False
            self._taken.add(name.casefold())
        leftover = self._folder / name
        if not leftover.exists() or digest(leftover) == sha256:
            return True
        with self._lock:
            self._taken.discard(name.casefold())
        return False


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(survey: Survey, captures: Iterable[Capture]) -> None:
    """Write the digests of the photographs, for ``sha256sum --check photos.sha256`` to verify.

    A later look at them, on any machine, tells whether a disk has lost a bit since.
    """
    folder = survey.photos_dir.name
    lines = [f"{c.sha256}  {folder}/{c.name}\n" for c in captures if "\n" not in c.name]
    with replacing(survey.manifest_path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8", newline="\n")


def check_space(root: Path, needed_bytes: int) -> None:
    """Raise `SpaceError` unless the disk of `root` has room for so many bytes."""
    free_bytes = shutil.disk_usage(root).free
    if needed_bytes > free_bytes:
        raise SpaceError(
            f"{root}: the photographs need {needed_bytes / 1e9:.2f} GB and {free_bytes / 1e9:.2f} "
            "GB are free; make room, or use --link to leave them where they are"
        )


def read_source(path: Path) -> bytes:
    """Read a whole file from the card; raises `PhotographError` if the card does not give it up."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise PhotographError(
            f"{path}: cannot be read ({error.strerror}); clean the card's contacts and run again"
        ) from error


def copy_verified(data: bytes, sha256: str, source: Path, target: Path) -> None:
    """Write a photograph's bytes, read them back from the disk, and only then give them a name.

    Raises `PhotographError` if what comes back differs from what was read from the source;
    `SpaceError` if the disk fills up.
    """
    if target.exists():  # complete, by `Shelf.reserve`
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):  # so that the disk answers and not the memory
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if digest(temporary) != sha256:
            raise PhotographError(
                f"{target}: the copy differs from {source}; check the disk and run again"
            )
        modified_ns = source.stat().st_mtime_ns
        os.utime(temporary, ns=(modified_ns, modified_ns))


def link_photograph(source: Path, target: Path) -> None:
    """Put a symbolic link to a photograph in the survey.

    Raises `InputError` if the file system of the survey has no links.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.unlink(missing_ok=True)  # a link whose photograph has gone
        target.symlink_to(source.resolve())
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SpaceError(f"{target}: the disk is full; make room and run again") from error
        raise InputError(
            f"{target}: cannot be made a link ({error.strerror}); run without --link to copy"
        ) from error
