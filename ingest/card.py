"""Find photographs on cards and in folders, and put verified copies of them into a survey.

The source is only ever read.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from threading import Lock

from tmp.captures import Capture
from tmp.errors import InputError, PhotographError, SpaceError
from tmp.files import disk_full, flush_to_disk, is_disk_full, replacing, say_bytes
from tmp.survey import Survey

SUFFIXES = frozenset({".jpg", ".jpeg", ".tif", ".tiff", ".png"})
"""Files taken for photographs, by lower-case suffix."""

_NO_PHOTO_FOLDERS = frozenset(
    {"thm", "thumb", "thumbs", "thumbnails", "@eadir", "$recycle.bin", "lost.dir", "lost+found"}
    | {"system volume information", "__macosx"}
)
LARGEST_BYTES = 4_000_000_000
"""A file that is larger is no photograph, and would not fit into memory."""
LONGEST_NAME_BYTES = 120
"""Of a file or folder in ``photos/``: leaves room for what is put around it while it is written,
and on encrypted disks, which take 143 instead of 255."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UNSAFE = re.compile(_UNPRINTABLE.pattern[:-1] + r'\\:*?"<>|]')


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies in the places a person pointed at."""

    photographs: tuple[Path, ...]
    """Where they really are: absolute, and by no link."""
    ignored: Counter[str]
    """Number of other files by lower-case suffix; hidden files and thumbnails not counted."""
    left_out: dict[str, str]
    """Links that lead out of the places, and what is no file, with the reason."""
    unlisted: dict[str, str]
    """Folders that do not say what is in them, with the reason."""


def find_photographs(places: Sequence[Path]) -> Found:
    """List the photographs in files and folders, searched to their depth, each once.

    A place may be a link; links within it are not followed, wherever they lead.  Those in a
    survey's own ``photos/`` are, if whoever asks made them, as ``tmp ingest --link`` does.

    Raises `InputError` if a place does not exist, cannot be read, or there is no photograph in any.
    """
    search = _Search()
    for place in places:
        try:
            is_folder = stat.S_ISDIR(place.stat().st_mode)
        except FileNotFoundError as error:
            raise InputError(f"{place}: does not exist; is the card in?") from error
        except OSError as error:
            raise InputError(f"{place}: cannot be read ({error.strerror}); give another") from error
        real = place.resolve()
        if is_folder:
            search.walk(real)
        else:
            search.add(real)
    if not search.photographs:
        where = ", ".join(map(str, places))
        counts = search.ignored.most_common(5)
        others = [*search.unlisted.values(), *(f"only {n} {suffix}" for suffix, n in counts[:1])]
        others += [f"{n} {suffix}" for suffix, n in counts[1:]]
        raise InputError(
            f"{where}: no photographs ({', '.join(others) or 'nothing at all'}); "
            f"looking for {', '.join(sorted(SUFFIXES))}"
        )
    return Found(
        photographs=tuple(search.photographs),
        ignored=search.ignored,
        left_out=search.left_out(),
        unlisted=search.unlisted,
    )


@dataclass(slots=True)
class _Search:
    """A walk through places, and what it came across."""

    photographs: dict[Path, None] = field(default_factory=dict)
    """In reading order."""
    ignored: Counter[str] = field(default_factory=Counter)
    unlisted: dict[str, str] = field(default_factory=dict)
    folders: set[Path] = field(default_factory=set)
    links: dict[Path, Path] = field(default_factory=dict)
    """Where links lead to."""
    special: list[Path] = field(default_factory=list)
    """Pipes and devices with a photograph's name, from which reading may never end."""

    def add(self, path: Path) -> None:
        if path.suffix.casefold() in SUFFIXES:
            self.photographs.setdefault(path)
        else:
            self.ignored[path.suffix.casefold() or "without suffix"] += 1

    def walk(self, place: Path) -> None:
        """Look through a folder; ``._*`` are macOS's shadows of real files."""
        linked = place.name == "photos" and (place.parent / "survey.toml").is_file()
        waiting = [(place, True)]
        while waiting:
            path, is_folder = waiting.pop()
            if not is_folder:
                self.add(path)
                continue
            self.folders.add(path)
            try:
                with os.scandir(path) as entries:
                    found = sorted(entries, key=lambda entry: entry.name, reverse=True)
            except OSError as error:
                if path == place and isinstance(error, PermissionError):
                    raise InputError(f"{path}: may not be read; check its permissions") from error
                self.unlisted[printable(path)] = f"{printable(path)}: {_unreadable(error)}"
                continue
            waiting += [one for entry in found if (one := self._look(entry, linked=linked))]

    def _look(self, entry: os.DirEntry[str], *, linked: bool) -> tuple[Path, bool] | None:
        """Return a file or folder to go on with, and whether it is a folder; None for others."""
        path, name = Path(entry.path), entry.name.casefold()
        if name.startswith("."):
            return None
        if entry.is_symlink():
            target = Path(os.path.realpath(path))
            if linked and target.is_file() and _is_ours(entry):
                return target, False
            self.links[path] = target
        elif entry.is_dir(follow_symlinks=False):
            return None if name in _NO_PHOTO_FOLDERS else (path, True)
        elif entry.is_file(follow_symlinks=False):
            return None if name in ("thumbs.db", "desktop.ini") else (path, False)
        elif path.suffix.casefold() in SUFFIXES:
            self.special.append(path)
        return None

    def left_out(self) -> dict[str, str]:
        """Return what is passed over, but for links to what is found where it is."""
        there = self.folders | self.photographs.keys()
        beyond = {path: to for path, to in self.links.items() if to not in there}
        return {
            printable(path): f"a link to {printable(to)}, and links are not followed; give that as "
            "well if it belongs to the survey"
            for path, to in beyond.items()
        } | {printable(path): "not a file but a pipe or device" for path in self.special}


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """Tell whether a link was made by the user who asks."""
    return not hasattr(os, "geteuid") or entry.stat(follow_symlinks=False).st_uid == os.geteuid()


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({error.strerror}); clean the card's contacts and run again"


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

    Names are ones that every file system takes and tells apart: whatever is no text, controls a
    terminal or has a meaning for Windows is written in hexadecimal, and what is too long cut.

    Examples
    --------
    >>> propose_names([Path("/card/100MEDIA/DJI_0001.JPG"), Path("/card/101MEDIA/DJI_0002.JPG")])
    ['DJI_0001.JPG', 'DJI_0002.JPG']
    >>> propose_names([Path("/card/100MEDIA/DJI_0001.JPG"), Path("/card/101MEDIA/DJI_0001.JPG")])
    ['100MEDIA/DJI_0001.JPG', '101MEDIA/DJI_0001.JPG']
    >>> propose_names([Path("/card/IMG.jpg"), Path("/card/img.JPG"), Path("/card/a?.jpg")])
    ['IMG.jpg', 'img-2.JPG', 'a%3F.jpg']
    """
    parts = [[_safe(part) for part in path.parts[1:]] for path in photographs]
    keys = [tuple(map(_key, part)) for part in parts]
    apart = len(set(keys))
    depth = 1
    while len({key[-depth:] for key in keys}) < apart:
        depth += 1
    taken: set[str] = set()
    names = []
    for part in parts:
        folder, base = "/".join(part[-depth:-1]), part[-1]
        names.append(_unused(folder, base, taken))
        taken.add(_key(names[-1]))
    return names


def _unused(folder: str, base: str, taken: set[str]) -> str:
    """Return a file's name with its folder, and a number where it would be another's."""
    stem, dot, suffix = base.rpartition(".")
    numbers = (f"{stem}-{number}{dot}{suffix}" for number in count(2))
    bases = chain([base], numbers)
    return next(n for one in bases if _key(n := f"{folder}/{one}".lstrip("/")) not in taken)


def _key(name: str) -> str:
    """Return what is equal for names that some file system does not tell apart.

    Cards are read on machines that do not tell upper from lower case, nor ``é`` in one character
    from ``é`` in two.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _safe(part: str) -> str:
    """Return a file's or folder's name as every file system takes it."""
    name = _UNSAFE.sub(_hexadecimal, part)
    if len(name.encode()) <= LONGEST_NAME_BYTES:
        return name
    digest = hashlib.blake2b(os.fsencode(part), digest_size=4).hexdigest()
    ending = f"-{digest}{Path(name).suffix[:10]}"
    room = LONGEST_NAME_BYTES - len(ending.encode())
    return name.encode()[:room].decode(errors="ignore") + ending


def printable(path: Path) -> str:
    """Return a path as text that can be written anywhere; bytes that are no text as ``%E9``."""
    return _UNPRINTABLE.sub(_hexadecimal, str(path))


def _hexadecimal(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape"))


class Shelf:
    """The survey's ``photos/`` folder: which names and contents it holds; safe across threads."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._folder = folder
        self._taken = {_key(name) for name in names}
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
            if _key(name) in self._taken:
                return False
            self._taken.add(_key(name))
        leftover = self._folder / name
        if not leftover.exists() or digest(leftover) == sha256:
            return True
        with self._lock:
            self._taken.discard(_key(name))
        return False


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(survey: Survey, captures: Iterable[Capture]) -> None:
    """Write the digests of the photographs, for ``sha256sum --check photos.sha256`` to verify.

    A later look at them, on any machine, tells whether a disk has lost a bit since.
    """
    lines = [_manifest_line(c.sha256, f"{survey.photos_dir.name}/{c.name}") for c in captures]
    with replacing(survey.manifest_path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8", newline="\n")
        flush_to_disk(temporary)


def _manifest_line(sha256: str, name: str) -> str:
    """Return a line as ``sha256sum`` writes it: a name of several lines is escaped, and says so."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{sha256}  {escaped}\n"


def check_space(root: Path, needed_bytes: int) -> None:
    """Raise `SpaceError` unless the disk of `root` has room for so many bytes."""
    free_bytes = shutil.disk_usage(root).free
    if needed_bytes > free_bytes:
        raise SpaceError(
            f"{root}: the photographs need {say_bytes(needed_bytes)} and {say_bytes(free_bytes)} "
            f"are free, {say_bytes(needed_bytes - free_bytes)} too little; make room, or use "
            "--link to leave them where they are"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file of a card, read once and whole."""

    data: bytes
    modified_ns: int
    """Time of its last change, since 1970."""


def read_source(path: Path) -> Source:
    """Read a whole file from the card; raises `PhotographError` if the card does not give it up."""
    try:
        with open(path, "rb", opener=_open_file) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise PhotographError(f"{printable(path)}: is not a file")
            if about.st_size > LARGEST_BYTES:
                raise PhotographError(
                    f"{printable(path)}: {say_bytes(about.st_size)} is too much for a photograph"
                )
            return Source(data=file.read(), modified_ns=about.st_mtime_ns)
    except OSError as error:
        raise PhotographError(f"{printable(path)}: {_unreadable(error)}") from error


def _open_file(path: str, flags: int) -> int:
    """Open a file, no link that took its place, and no pipe that would keep us waiting."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def copy_verified(source: Source, sha256: str, target: Path) -> None:
    """Write a photograph's bytes, read them back from the disk, and only then give them a name.

    Raises `PhotographError` if what comes back differs from what was read from the source, or the
    disk does not take it; `SpaceError` if the disk fills up.
    """
    try:
        if target.exists():  # complete, by `Shelf.reserve`
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            with temporary.open("wb") as file:
                file.write(source.data)
                file.flush()
                os.fsync(file.fileno())
                if hasattr(os, "posix_fadvise"):  # so that the disk answers and not the memory
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            if digest(temporary) != sha256:
                raise PhotographError(
                    f"{target}: the copy differs from what was read; check the disk and run again"
                )
            with suppress(OSError):  # some disks keep no such times
                os.utime(temporary, ns=(source.modified_ns, source.modified_ns))
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(target) from error
        raise PhotographError(
            f"{target}: cannot be written ({error.strerror}); check the disk and run again"
        ) from error


def link_photograph(source: Path, target: Path) -> None:
    """Put a symbolic link to a photograph in the survey.

    Raises `InputError` if the file system of the survey has no links.
    """
    if target.exists():
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # a link whose photograph has gone
        target.symlink_to(source)
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(target) from error
        raise InputError(
            f"{target}: cannot be made a link ({error.strerror}); run without --link to copy"
        ) from error
