"""A result on disk: its files and the manifest that makes it count, whole or not at all.

A ledger beside it names the items (tiles, photographs) that a process is at work on: when it dies,
whoever started it reads there which of them may have killed it.  What each unit of work cost (wall
time, processor time and memory of the whole process tree) and with which software is kept too.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import platform
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import psutil

from tmp.files import ABSENT, Stamps, write_json
from tmp.threads import heartbeat

LEDGER = "ledger"
"""Folder of it below that of a stage at work; no part of the result."""
AT_WORK = "at-work"
FAILED = "failed.json"
HEARTBEAT_S = 60.0
"""Time between two signs of life of a process at work."""
DEAD_S = 600.0
"""Time without a sign of life after which a process counts as dead, whatever the clocks say."""

log = logging.getLogger(__name__)
MANIFEST = "manifest.json"
STAMPS = "stamps.json"
"""What the files of a result looked like when their content was last compared; see `Stamps`."""
SCRATCH = "scratch"
"""Folder of what a stage can resume from; no part of its result."""
TEMPORARY = "temporary"
"""Folder of the temporary folders of processes that have no other disk for them."""
DOOMED = ".old"
"""How the name of a folder ends that is being deleted."""
NO_RESULT = (SCRATCH, TEMPORARY, LEDGER, MANIFEST, STAMPS)
MEMORY_LOOK_S = 0.2
"""Time between two looks at memory; a peak shorter than this can be missed."""
CHILDREN_EVERY = 5
"""Looks between two searches for child processes."""
DISTRIBUTION = "terrestrial-mapping-platform"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Which items of a stage are being made, and which of them failed for good."""

    partial: Path
    """Folder of the result while it is made."""

    @property
    def folder(self) -> Path:
        """Where it is written down."""
        return self.partial / LEDGER

    def mark(self, part: str, item: str) -> Path:
        """Note that a unit is at work on an item; delete the file when it is done."""
        path = self.folder / AT_WORK / part / quote(item, safe="")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    def in_hand(self, part: str) -> list[str]:
        """Return the items that a unit was at work on when it ended."""
        folder = self.folder / AT_WORK / part
        with suppress(OSError):
            return sorted(unquote(path.name) for path in folder.iterdir())
        return []

    @contextmanager
    def at_work(self, part: str) -> Iterator[None]:
        """Show that a unit is at work while the block runs; marks of an earlier try are deleted.

        A process that is killed leaves its marks behind, and so does one that raises.
        """
        folder = self.folder / AT_WORK / part
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with heartbeat(lambda: os.utime(folder), every_s=HEARTBEAT_S):
            yield
        shutil.rmtree(folder, ignore_errors=True)

    def failed(self) -> dict[str, str]:
        """Return the items that failed even alone, and why; they are not tried again."""
        return read_json(self.folder / FAILED) or {}

    def add_failed(self, item: str, reason: str) -> None:
        """Note that an item failed even alone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / FAILED, self.failed() | {item: reason})

    def forget_failed(self) -> None:
        """Let all items be tried again."""
        (self.folder / FAILED).unlink(missing_ok=True)

    @property
    def alive(self) -> bool:
        """Whether a process has shown signs of life of late."""
        try:
            parts = (self.folder / AT_WORK).iterdir()
            latest_s = max((path.stat().st_mtime for path in parts), default=0.0)
        except OSError:
            return False
        return time.time() - latest_s < DEAD_S


def publish(
    partial: Path, folder: Path, manifest: Mapping[str, Any], *, keep_scratch: bool
) -> None:
    """Turn the folder `partial`, with all files of a result, into the result `folder`.

    What is there is replaced, unless another process has published the same result meanwhile: then
    that one stays.  The list of files is added to the manifest; a scratch folder is kept for a
    stage that is to go on from it one day.  The files of a result that nobody goes on with become
    read-only: what people edit are copies.
    """
    try:
        # A network disk keeps files that another process has open; they are no part of the result.
        for needless in (TEMPORARY, LEDGER, *(() if keep_scratch else (SCRATCH,))):
            shutil.rmtree(partial / needless, ignore_errors=True)
        for left in partial.rglob(".*.part*"):  # by processes that were killed while they wrote
            left.unlink(missing_ok=True)
        files = _listed(partial)
        if not keep_scratch:
            _protect(partial / name for name in files)
        stamps_of(partial).remember({name: entry["digest"] for name, entry in files.items()})
        write_json(partial / MANIFEST, {**manifest, "files": files}, indent=1)
        if read_manifest(folder) is None:
            delete(folder)  # a result that lost a file
        partial.replace(folder)
    except OSError:
        if read_manifest(folder) is None:
            raise
        log.info("%s: another process has published it", folder)
        shutil.rmtree(partial, ignore_errors=True)


def delete(folder: Path) -> None:
    """Delete a result, so that half of it is never met; does nothing where there is none."""
    doomed = folder
    if not folder.name.endswith(DOOMED):
        doomed = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{DOOMED}")
        try:
            folder.replace(doomed)
        except FileNotFoundError:
            return
    shutil.rmtree(doomed, ignore_errors=True)


def reopen(folder: Path, partial: Path) -> None:
    """Turn a result that kept its scratch folder into a stage at work again."""
    delete(partial)
    folder.replace(partial)
    (partial / MANIFEST).unlink()
    (partial / STAMPS).unlink(missing_ok=True)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a result; None unless it and every file it names are there.

    Sizes are compared and nothing is read; `damage` compares content.
    """
    manifest = read_json(folder / MANIFEST) or {}
    try:
        whole = all(
            (folder / name).stat().st_size == entry["size_bytes"]
            for name, entry in manifest["files"].items()
        )
    except (OSError, KeyError):
        return None
    return manifest if whole else None


def stamps_of(folder: Path) -> Stamps:
    """Return what is remembered of a result's files."""
    return Stamps(path=folder / STAMPS, folder=folder, digest=content_digest)


def damage(folder: Path) -> dict[str, str]:
    """Return the files of a result that are not as they were made, each with what is wrong.

    Content is read only of files whose size, times or inode are not those remembered.
    """
    made = result_digests(folder)
    if MANIFEST in made:
        return {MANIFEST: "cannot be read"}
    return {
        name: "not there" if digest == ABSENT else "changed since it was made"
        for name, digest in stamps_of(folder).differing(made).items()
    }


def result_digests(folder: Path) -> dict[str, str]:
    """Return the digest that each file of a result was made with.

    Of a result whose manifest cannot be read that is the manifest alone, which has none then; of
    one that is not there, nothing.
    """
    manifest = read_json(folder / MANIFEST)
    try:
        return {name: entry["digest"] for name, entry in (manifest or {})["files"].items()}
    except (KeyError, TypeError, AttributeError):
        return {MANIFEST: "none"} if (folder / MANIFEST).exists() else {}


def _protect(paths: Iterable[Path]) -> None:
    """Take the right to write from files; on Windows they could not be deleted then."""
    if os.name != "nt":
        for path in paths:
            with suppress(PermissionError):  # another's, in a group's folder
                path.chmod(path.stat().st_mode & ~0o222)


def _listed(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.relative_to(folder).as_posix(): {
            "size_bytes": path.stat().st_size,
            "digest": content_digest(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in NO_RESULT
    }


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object; None if there is none, or none that can be read."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def now_utc() -> str:
    """Return the time as records have it, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def content_digest(path: Path) -> str:
    """Return the digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()


def digest_of(value: Any) -> str:
    """Digest a JSON-able value; the order of a mapping's keys does not matter.

    Examples
    --------
    >>> digest_of({"a": 1, "b": 2.5}) == digest_of({"b": 2.5, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


@dataclass(slots=True, kw_only=True)
class Usage:
    """Cost of a piece of work, filled in when it ends."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    """User and system time of this process and its children."""
    peak_gb: float = 0.0
    """Largest sum of resident memory of this process and its children, in units of 1e9 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitRecord:
    """What became of one unit of a stage's work: where, when, at which cost, and how it ended."""

    part: str
    """ "whole", which part of the items ("3-of-12"), or which item alone ("alone-r3c7")."""
    usage: Usage = field(default_factory=Usage)
    host: str = field(default_factory=lambda: platform.node())
    job: str = ""
    """The cluster's, if any."""
    attempts: int = 1
    """Times it was started, those that failed included."""
    items: int = 0
    """Tiles or photographs made."""
    error: str = ""
    kind: str = ""
    """Class of the error; empty for a unit that is done."""
    started_utc: str = ""
    finished_utc: str = ""
    software: str = ""
    """Version of the platform."""
    python: str = ""

    @property
    def done(self) -> bool:
        """Whether its work is done."""
        return not self.kind

    @classmethod
    def from_values(cls, said: Mapping[str, Any]) -> UnitRecord:
        """Return the record that `dataclasses.asdict` made of one.

        Raises
        ------
        TypeError, KeyError
            If another version of the platform wrote it.
        """
        return cls(**{**said, "usage": Usage(**said["usage"])})


def summed(costs: Sequence[Usage]) -> Usage:
    """Return what units or stages have cost together: times of all, memory of the largest."""
    return Usage(
        wall_s=sum(one.wall_s for one in costs),
        cpu_s=sum(one.cpu_s for one in costs),
        peak_gb=max((one.peak_gb for one in costs), default=0.0),
    )


@contextmanager
def measured() -> Iterator[Usage]:
    """Measure what the block costs.

    Examples
    --------
    >>> with measured() as usage:
    ...     _ = sum(range(1000))
    >>> usage.peak_gb > 0
    True
    """
    usage = Usage()
    process = psutil.Process()
    stopped = threading.Event()

    def watch() -> None:
        for look in itertools.count():
            # To list them costs more than all the rest, as every process of the machine is read.
            if look % CHILDREN_EVERY == 0:
                children = process.children(recursive=True)
            held = resident_bytes(process, *children)
            usage.peak_gb = max(usage.peak_gb, held / 1e9)
            if stopped.wait(MEMORY_LOOK_S):
                return

    watcher = threading.Thread(target=watch, daemon=True)
    began_s, cpu_began_s = time.perf_counter(), _cpu_s(process)
    watcher.start()
    try:
        yield usage
    finally:
        stopped.set()
        watcher.join()
        held = resident_bytes(process, *process.children(recursive=True))
        usage.peak_gb = max(usage.peak_gb, held / 1e9)
        usage.wall_s = time.perf_counter() - began_s
        usage.cpu_s = _cpu_s(process) - cpu_began_s


def resident_bytes(*processes: psutil.Process) -> int:
    """Return the memory that processes hold together."""
    total = 0
    for member in processes:
        try:
            total += member.memory_info().rss
        except psutil.Error:  # ended between being listed and being asked
            continue
    return total


def _cpu_s(process: psutil.Process) -> float:
    """Processor time of the process, of children that ended, and of those still running."""
    times = process.cpu_times()
    total = times.user + times.system
    total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    for child in process.children(recursive=True):
        try:
            running = child.cpu_times()
        except psutil.Error:
            continue
        total += running.user + running.system
    return float(total)


@cache
def environment() -> dict[str, str]:
    """Return the versions of Python, the platform and what it requires, by name."""
    found = {"python": platform.python_version(), DISTRIBUTION: version(DISTRIBUTION)}
    for line in requires(DISTRIBUTION) or []:
        name = re.match(r"[\w.-]+", line)
        if name is None or "extra ==" in line:
            continue
        found[name.group()] = installed_version(name.group())
    return found


def installed_version(name: str) -> str:
    """Return the version of a package of this Python."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def environment_in_short() -> str:
    """Return what tells two environments apart, for a product's tags.

    The versions themselves are in the manifest of the stage that made the product.
    """
    return f"Python {platform.python_version()}, packages {digest_of(environment())[:12]}"
