"""Files written whole or not at all, files whose content is known, JSON, and TOML.

What a file looked like when its content was last known is kept in a small JSON file, as git keeps
it of a checkout: it is read again only when size, times or inode are not what they were.

A TOML table is checked and made into a dataclass.  A message says file, table and key, the value
that cannot be, and what to write instead.
"""

from __future__ import annotations

import difflib
import errno
import json
import logging
import os
import platform
import re
import shutil
import stat
import sys
import time
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TextIO, TypeVar, get_args, get_origin, get_type_hints

from tmp.errors import LARGEST, InputError, SpaceError, TmpError, shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FICLONE = 0x40049409
"""Linux's request to share the blocks of a file (linux/fs.h)."""
Built = TypeVar("Built")
MAKERS = frozenset({"dji", "parrot", "micasense", "mapir", "sentera", "hasselblad"})
MOST_TOML_BYTES = 4 * 2**20
"""Far more than anybody writes."""
_DEEP_KEY = re.compile(r"""(?:(?:(?<![\w-])[\w-]++|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){32}""")
"""A dotted key with so many parts that to parse it takes all memory."""
_KINDS = {float: "a number", int: "a whole number", str: 'text in "quotes"', bool: "true or false"}

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says of a full disk, and of a person's full share of it."""

Digest = Callable[[Path], str]
"""Returns the digest of a file's content."""
ReadAll = Callable[[Callable[[str], str], Sequence[str]], Iterable[tuple[str, str]]]
"""Calls a function on each of several names and yields both, as `tmp.threads.map_threads` does."""
Stamp = tuple[int, int, int, int]
"""Size, times of change of content and of the file's entry (ns), and inode."""

UNTRUSTED: Stamp = (0, 0, 0, 0)
"""Of a file that is not there, or whose content has to be read."""
ABSENT = ""
"""Digest of a file that is not there."""
UNREAD = "cannot be read"
"""Digest of a file that the disk does not give up."""
FINE_NS, COARSE_NS = 20_000_000, 2_000_000_000
"""How far apart two changes of a file may be and still have one time: on most disks, and on FAT."""

BUSY_S = 2.0
"""How long to wait for a program that has a file open."""

log = logging.getLogger(__name__)


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error says that a disk, or a person's share of it, is full."""
    return isinstance(error, SpaceError) or (isinstance(error, OSError) and error.errno in FULL)


def disk_full(path: Path) -> SpaceError:
    """Return the error for a file or folder that could not be written to its full disk."""
    folder = next(folder for folder in (path, *path.resolve().parents) if folder.is_dir())
    free = say_bytes(shutil.disk_usage(folder).free)
    return SpaceError(
        f"{path}: the disk is full ({free} free); make room there and run again, which goes on "
        "where it was"
    )


def _unwritable(path: Path, error: OSError) -> OSError | InputError:
    """Return the error for a file or folder that could not be written, or the one there was."""
    if error.errno in FULL and not isinstance(error, SpaceError):
        return disk_full(path)
    if error.errno == errno.EROFS:
        return InputError(f"{path}: the disk is read-only; copy the survey to one that is not")
    if isinstance(error, PermissionError):
        return InputError(f"{path}: may not be written: {say_owner(path)}")
    return error


def say_owner(path: Path) -> str:
    """Say whose a file or folder is that one may not use, and what to do about it.

    Of what is not there, or cannot be seen, it is the nearest folder above.
    """
    if sys.platform == "win32":
        return "look at its permissions, or work on a copy"
    there = path.absolute()
    while not os.path.lexists(there):
        there = there.parent
    said = there.lstat()
    try:
        owner = there.owner()
    except KeyError:  # a number without a name
        owner = f"user {said.st_uid}"
    mode = stat.filemode(said.st_mode)
    if said.st_uid == os.getuid():
        return f"{there} is your own, of mode {mode}; let yourself write with 'chmod -R u+rwX'"
    return (
        f"{there} is {owner}'s, of mode {mode}; have {owner} let your group write with "
        "'chmod -R g+rwXs' on the survey, or work on a copy"
    )


@contextmanager
def shared_with_group(folder: Path) -> Iterator[None]:
    """Let the group write to what is made in the block, if the folder is the group's.

    That is one whose set-group-id bit is set, as administrators do, or that will be made in one.
    What else is made there is then the group's by itself, but writable only if the umask says so,
    which nobody thinks of.
    """
    there = next(one for one in (folder, *folder.absolute().parents) if one.is_dir())
    if not there.stat().st_mode & stat.S_ISGID:
        yield
        return
    before = os.umask(0)
    os.umask(before & ~0o070)
    try:
        yield
    finally:
        os.umask(before)


def _share(path: Path) -> None:
    """Let the group write to a file of its folder, whatever made it: SQLite knows no umask."""
    mode = path.stat().st_mode
    if path.parent.stat().st_mode & stat.S_ISGID and mode & 0o060 != 0o060:
        path.chmod(mode & 0o777 | 0o060)


def say_bytes(number: int) -> str:
    """Return a size in the unit that suits it.

    Examples
    --------
    >>> say_bytes(12_300_000_000), say_bytes(9_870_000), say_bytes(1_500)
    ('12.30 GB', '9.87 MB', '1.50 kB')
    """
    unit, factor = next(
        ((unit, factor) for unit, factor in (("GB", 1e9), ("MB", 1e6)) if number >= factor),
        ("kB", 1e3),
    )
    return f"{number / factor:.2f} {unit}"


def flush_to_disk(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, would outlast a loss of power."""
    windows = os.name == "nt"
    if windows and path.is_dir():  # there is no such thing there
        return
    opened = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` that takes its place when the block ends well.

    On an exception the temporary file is removed and `path` stays as it was. Raises `SpaceError` if
    the disk fills up while writing; `InputError` if the folder cannot be written to.
    """
    # Machines that share a disk give out the same process numbers.  See `_PARTIAL`.
    temporary = path.with_name(f".{path.stem}.{platform.node()}.{os.getpid()}.part{path.suffix}")
    try:
        temporary.unlink(missing_ok=True)  # a link of this name would be written through
        yield temporary
        _share(temporary)
        move(temporary, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def move(source: Path, target: Path) -> None:
    """Give a file or folder the name, and the place, of another.

    Windows refuses while a program has the other open, such as a scanner for viruses for a moment.
    """
    until_s = time.monotonic() + (BUSY_S if sys.platform == "win32" else 0.0)
    while True:
        try:
            source.replace(target)
            return
        except PermissionError:
            if time.monotonic() >= until_s:
                raise
            time.sleep(0.05)


def clone(source: Path, target: Path) -> None:
    """Make a copy of a file that shares its blocks until one of them is changed.

    Raises `OSError` where the disk has no such copies (it takes Btrfs, XFS or the like), or the two
    lie on different disks.
    """
    if fcntl is None:
        raise OSError(errno.ENOTSUP, "no copies that share blocks on this system")
    with source.open("rb") as there, target.open("wb") as here:
        fcntl.ioctl(here.fileno(), FICLONE, there.fileno())


_PARTIAL = re.compile(r"\..+\.\d+\.part(\.[^.]*)?")


def remove_partial(folder: Path, *, stem: str = "") -> None:
    """Remove what killed processes left of `replacing` in a folder and below, links not followed.

    Only for whoever holds the lock under which all writing there is done; with a stem, only of
    files of that name directly in the folder.
    """
    for parent, folders, names in os.walk(folder):
        if stem:
            folders.clear()
        for name in names:
            if _PARTIAL.fullmatch(name) and name.startswith(f".{stem}"):
                Path(parent, name).unlink(missing_ok=True)


def write_json(
    path: Path, value: object, *, indent: int | None = None, for_people: bool = False
) -> None:
    """Write a JSON file, whole or not at all; raises as `replacing` does.

    For people, letters of all languages stay as they are, and a line ends the file; a number that
    is not finite is then a `ValueError`, since other programs cannot read it.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=not for_people, allow_nan=not for_people)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n" * for_people, encoding="utf-8", newline="\n")


def read_json(path: Path, *, remedy: str = "delete it and run again") -> Any:
    """Read a JSON file; raises `InputError`, with the remedy, if it is absent or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); {remedy}") from error


def refuse_links(path: Path, root: Path) -> None:
    """Raise `InputError` if `path`, or a folder between it and `root` above it, is a link.

    In a folder that others may write to, a link leads what is written to wherever they like.
    """
    for part in (path, *path.parents):
        if part == root:
            return
        if part.is_symlink():
            raise InputError(
                f"{part}: a link, and the platform writes through none below {root}; delete it"
            )


def open_to_add(path: Path) -> TextIO:
    """Open a text file to read it and to write at its end, but never what a link leads to."""

    def unlinked(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)

    try:
        return open(path, "a+", encoding="utf-8", opener=unlinked)
    except OSError as error:
        if path.is_symlink():
            raise InputError(f"{path}: a link, which is not written through; delete it") from error
        raise


@contextmanager
def replacing_folder(folder: Path, *, keep: Sequence[str] = (), former: str = "") -> Iterator[Path]:
    """Yield a new empty sibling of `folder` that takes its place when the block ends well.

    On an exception it is removed, and `folder` stays as it was. The folder need not exist; files
    directly in it that match a pattern to keep go on into the new one. The old one is deleted, or
    kept whole within the new one by the name `former`.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    old = temporary / former if former else beside
    try:
        temporary.mkdir()
        yield temporary
        if folder.exists():
            for pattern in keep:
                for file in folder.glob(pattern):
                    shutil.copy2(file, temporary)
            folder.replace(old)
        temporary.replace(folder)
    except OSError as error:
        if old.exists() and not folder.exists():
            old.replace(folder)
        raise _unwritable(folder, error) from error
    finally:
        if folder.exists() or not old.exists():  # else the old one's only copy may lie there
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(beside, ignore_errors=True)


def stamp_of(path: Path) -> Stamp:
    """Return what a file looks like without reading it; raises `OSError` if it is not there."""
    said = path.stat()
    return said.st_size, said.st_mtime_ns, said.st_ctime_ns, said.st_ino


def _one_by_one(function: Callable[[str], str], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        yield name, function(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamps:
    """The files of a folder that were seen to have a content, kept in one JSON file."""

    path: Path
    """The JSON file, in a folder that is there; one that is damaged or absent remembers nothing."""
    folder: Path
    """Where the files lie."""
    digest: Digest
    """By which content is known."""

    def remembered(self) -> dict[str, tuple[str, Stamp]]:
        """Return digest and stamp of each file that is remembered, by its path below the folder."""
        found = {}
        with suppress(OSError, ValueError, TypeError, AttributeError):
            said = json.loads(self.path.read_text(encoding="utf-8"))
            for name, (digest, *stamp) in said.items():
                size, changed_ns, entered_ns, inode = map(int, stamp)
                found[name] = (str(digest), (size, changed_ns, entered_ns, inode))
        return found

    def differing(
        self, expected: Mapping[str, str], *, read: ReadAll = _one_by_one
    ) -> dict[str, str]:
        """Return which files do not have the digest expected of them, and the one they have.

        Content is read where a file is not as it is remembered.  What is as expected is remembered,
        and what is not will be read each time, as far as the disk lets itself be written to; a
        file that is not there is `ABSENT`.  Many files are read by `read`.
        """
        trusted = self._trusted()
        stamps = {name: _stamp(self.folder / name) for name in expected}
        doubtful = [
            name for name in expected if trusted.get(name) != (expected[name], stamps[name])
        ]
        if not doubtful:
            return {}
        found = dict(read(self.content, doubtful))
        wrong = {name: digest for name, digest in found.items() if digest != expected[name]}
        right = {name: (found[name], stamps[name]) for name in doubtful if name not in wrong}
        self._note(right, doubted=wrong)
        return wrong

    def content(self, name: str) -> str:
        """Read a file and return its digest, `ABSENT` or `UNREAD`."""
        path = self.folder / name
        try:
            return self.digest(path) if path.exists() else ABSENT
        except FileNotFoundError:
            return ABSENT
        except OSError as error:
            log.info("%s: %s", path, error)
            return UNREAD

    def remember(self, digests: Mapping[str, str]) -> None:
        """Remember files whose content was just seen to have these digests, as they are now."""
        self._note({name: (digest, _stamp(self.folder / name)) for name, digest in digests.items()})

    def doubt(self, names: Collection[str]) -> None:
        """Have files read when they are next asked for, whatever they look like."""
        self._note({}, doubted=names)

    def _trusted(self) -> dict[str, tuple[str, Stamp]]:
        """Return what is remembered but for files that may have changed since without a trace.

        A file that changed as it was remembered, or so soon after that it has the same time still,
        looks the same before and after.
        """
        try:
            noted_ns = self.path.stat().st_mtime_ns
        except OSError:
            return {}
        return {
            name: (digest, stamp)
            for name, (digest, stamp) in self.remembered().items()
            if stamp != UNTRUSTED and abs(noted_ns - max(stamp[1:3])) > _granule_ns(stamp)
        }

    def _note(
        self, entries: Mapping[str, tuple[str, Stamp]], *, doubted: Collection[str] = ()
    ) -> None:
        """Add entries to what is remembered, and have doubted files read when next asked for."""
        trusted = self._trusted()
        entries = {
            name: (digest, UNTRUSTED) if name in doubted else trusted.get(name, (digest, UNTRUSTED))
            for name, (digest, _) in self.remembered().items()
        } | dict(entries)
        with suppress(OSError, TmpError):  # no such folder, not to be written to, or a full disk
            write_json(self.path, {n: [digest, *stamp] for n, (digest, stamp) in entries.items()})


def _stamp(path: Path) -> Stamp:
    try:
        return stamp_of(path)
    except OSError:
        return UNTRUSTED


def _granule_ns(stamp: Stamp) -> int:
    """Return within which time two changes of a file may have the same one."""
    return COARSE_NS if stamp[2] % 10_000_000 == 0 else FINE_NS


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises `InputError` if it cannot be read, is not TOML, or not by people."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_TOML_BYTES + 1)
        if len(content) > MOST_TOML_BYTES:
            raise InputError(f"{path}: larger than {MOST_TOML_BYTES >> 20} MB; give another file")
        text = content.decode("utf-8").replace("\r\n", "\n")
        if _DEEP_KEY.search(text):
            raise InputError(f"{path}: a key of more than 32 parts; correct it")
        return tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give another file") from error
    except RecursionError as error:
        raise InputError(f"{path}: not valid TOML (nested too deep); correct it") from error
    except (ValueError, AttributeError) as error:  # of numbers and keys that Python cannot hold
        if isinstance(error, InputError):
            raise
        said = " ".join(str(error).split())
        raise InputError(f"{path}: not valid TOML ({said}); correct it") from error


def table(document: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """Return the table ``[NAME]`` of a document; an empty one where there is none.

    Raises `InputError`, beginning with `where`, if something else has its name.
    """
    found = document.get(name, {})
    if not isinstance(found, dict):
        raise InputError(f"{where}: {name} = {shown(found)}; write it as a table, [{name}]")
    return found


def subtables(document: Mapping[str, Any], name: str, where: str) -> dict[str, dict[str, Any]]:
    """Return the tables ``[NAME.KEY]`` of a document by key, as `table` does; none without any."""
    found = table(document, name, where)
    for key, entry in found.items():
        if not isinstance(entry, dict):
            raise InputError(
                f'{where}: {name}.{key} = {shown(entry)}; write it as a table, [{name}."{key}"]'
            )
    return found


def build(
    cls: type[Built], entry: Mapping[str, Any], where: str, *, strict: bool = True, **given: Any
) -> Built:
    """Return the dataclass that a table is written for, its inner tables and lists alike.

    Fields are str, int, float, bool, `StrEnum`, tuples, mappings from str and dataclasses of these,
    each with or without None; those `given` do not come from the table. Unless `strict`, a key that
    is no field is left alone.

    Raises `InputError`, beginning with `where` (the file and the table), if a field is missing or
    not known, or its value is of the wrong kind, or the dataclass itself refuses it.
    """
    assert is_dataclass(cls)
    hints = get_type_hints(cls)
    own = [field for field in fields(cls) if field.name not in given]
    if strict:
        refuse_unknown(entry, (field.name for field in own), where)
    values: dict[str, Any] = {}
    for field in own:
        if field.name in entry:
            said = entry[field.name]
            values[field.name] = _typed(said, hints[field.name], f"{where}: {field.name}", strict)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{where}: {field.name} is missing; add it")
    try:
        return cls(**values, **given)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _typed(value: Any, hint: Any, where: str, strict: bool) -> Any:
    """Return a TOML value as the type that a field is annotated with."""
    if get_origin(hint) is UnionType:  # of one kind and None, which TOML cannot say
        (hint,) = (kind for kind in get_args(hint) if kind is not NoneType)
    kinds = get_args(hint)
    if is_dataclass(hint) and isinstance(value, dict):
        return build(hint, value, where, strict=strict)  # type: ignore[arg-type]
    if get_origin(hint) is Mapping and isinstance(value, dict):
        return {key: _typed(v, kinds[1], f"{where}.{key}", strict) for key, v in value.items()}
    if get_origin(hint) is tuple and isinstance(value, list):
        each = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        if len(value) == len(each):
            return tuple(_typed(v, k, where, strict) for v, k in zip(value, each, strict=True))
    return _scalar(value, hint, where)


def _scalar(value: Any, hint: Any, where: str) -> Any:
    """Return a TOML value as a number, a text, a choice or whatever else stands alone."""
    if type(value) in (int, float) and not abs(value) <= LARGEST:
        raise InputError(f"{where} = {shown(value)}; give a number of ordinary size")
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint is int and type(value) is float and value.is_integer():
        return int(value)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if value in list(hint):
            return hint(value)
    elif type(value) is hint:
        return value
    raise InputError(f"{where} = {shown(value)}; give {_kind(hint)}")


def _kind(hint: Any) -> str:
    """Say what a field wants."""
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return f"one of {', '.join(hint)}"
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        many = "a list" if kinds[-1] is Ellipsis else f"a list of {len(kinds)}"
        return f"{many}, each {_kind(kinds[0])}"
    return _KINDS.get(hint, "a table")


def refuse_unknown(said: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise `InputError` if something is said that is not known, with what is near."""
    known = list(known)
    for name in said:
        if name not in known:
            near = nearest(name, known) or f"; known are {', '.join(sorted(known))}"
            raise InputError(f"{where}: {name!r} is not known{near}")


def words(name: str) -> tuple[str, ...]:
    """Return a name's words and numbers, without maker and punctuation.

    Examples
    --------
    >>> words("DJI Mini-4 Pro"), words("mini4pro")
    (('mini', '4', 'pro'), ('mini', '4', 'pro'))
    """
    found = re.findall(r"[a-z]+|[0-9]+", name.casefold())
    return tuple(word for word in found if word not in MAKERS) or tuple(found)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean …"`` for a misspelt name, or nothing where nothing is near.

    Examples
    --------
    >>> nearest("widht_px", ["width_px", "shutter"])
    "; did you mean 'width_px'"
    """
    spellings = {"".join(words(key)): key for key in known}
    near = difflib.get_close_matches("".join(words(name)), spellings, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(spellings[key]) for key in near)}" if near else ""
