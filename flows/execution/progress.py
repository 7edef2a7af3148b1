"""How far a unit of work is: written by its worker, shown by the controller as bars.

``progress.json`` in a unit's folder holds the host and job that are at work on it, and each phase
with label, items done, all items, and seconds since it began.

How the units of a stage are is read from their folders; no executor is asked.
"""

from __future__ import annotations

import math
import platform
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, TypeVar

from flows.engine.result import UnitRecord, now_utc, read_json
from flows.engine.stage import WHOLE
from flows.execution.unit import (
    EXIT,
    JOB,
    LOG,
    STARTS,
    UNIT,
    State,
    Status,
    Unit,
    cluster_job,
    read_record,
)
from tmp.errors import InputError
from tmp.files import write_json
from tmp.progress import Track, silent, tell

T = TypeVar("T")

PROGRESS = "progress.json"
WRITE_EVERY_S = 0.5
LOOK_EVERY_S = 1.0
LOOKED_AT = 32
"""Units of many whose progress is read at each look."""
WAIT_TOLD_S = 5.0
"""Time without work after which people are told what is waited for."""
PHASES_KEPT = 40
"""Of one unit; the earliest are forgotten."""

UNITS_LIST = "units.txt"
"""In the folder of an array's jobs: the folders of its units, a line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One loop of a unit's work."""

    label: str
    done: int
    total: int
    took_s: float
    """Since it began; of a phase that has ended, until it ended."""

    @property
    def left_s(self) -> float | None:
        """Return the time it still needs if it goes on as before; None if nobody can tell."""
        return self.took_s / self.done * (self.total - self.done) if self.done else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a unit is, and who is at work on it."""

    host: str
    job: str
    """Number in the cluster's queue; empty for a process of this machine."""
    began_utc: str
    """When this attempt began."""
    first: int
    """Number of the first of `phases`, counted from the unit's beginning."""
    phases: tuple[Phase, ...]

    @property
    def part(self) -> float:
        """Return the done share of the phase at work, 0 to 1."""
        if not self.phases or not self.phases[-1].total:
            return 0.0
        return min(1.0, self.phases[-1].done / self.phases[-1].total)


def read_progress(folder: Path) -> Progress | None:
    """Return how far the unit in a folder is; None if it has not begun."""
    said = read_json(folder / PROGRESS)
    if said is None:
        return None
    try:
        return Progress(**said | {"phases": tuple(Phase(**phase) for phase in said["phases"])})
    except (TypeError, KeyError):  # of another version
        return None


class ProgressFile:
    """A `Track` that keeps ``progress.json`` of a unit's folder up to date while it is open.

    A thread of its own writes, twice a second at most and only what is new, so that the work
    itself merely counts.

    Examples
    --------
    ``with ProgressFile(folder) as track: execute(recipe, track, workers=2)``
    """

    def __init__(self, folder: Path, also: Track = silent) -> None:
        self._path = folder / PROGRESS
        self._also = also
        self._phases: list[Phase] = []
        self._began_utc = now_utc()
        self._new = threading.Event()
        self._closed = threading.Event()
        self._writer = threading.Thread(target=self._keep_writing, daemon=True)

    def __enter__(self) -> Self:
        """Say that the work has begun."""
        self._write()
        self._writer.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Write down where the work ended."""
        self._closed.set()
        self._writer.join()
        self._write()

    def __call__(self, items: Iterable[T], label: str, total: int) -> Iterator[T]:
        """Yield `items`, counting them."""
        number, began_s = len(self._phases), time.monotonic()
        self._phases.append(Phase(label=label, done=0, total=total, took_s=0.0))
        self._new.set()
        for done, item in enumerate(self._also(items, label, total), start=1):
            yield item
            self._phases[number] = Phase(
                label=label, done=done, total=total, took_s=time.monotonic() - began_s
            )
            self._new.set()

    def _keep_writing(self) -> None:
        while not self._closed.wait(WRITE_EVERY_S):
            if self._new.is_set():
                self._new.clear()
                self._write()

    def _write(self) -> None:
        first = max(0, len(self._phases) - PHASES_KEPT)
        document = Progress(
            host=platform.node(),
            job=cluster_job(),
            began_utc=self._began_utc,
            first=first,
            phases=tuple(self._phases[first:]),
        )
        # A full disk must not end the work; the work itself will say so.
        with suppress(OSError, InputError):
            write_json(self._path, asdict(document))


def follow(units: Sequence[Unit], track: Track, label: str) -> _FollowOne | _FollowMany:
    """Return what shows the phases of one unit as bars, and several units as one bar of a label."""
    return _FollowOne(units[0], track) if len(units) == 1 else _FollowMany(units, track, label)


class _Bar:
    """A bar that is moved from outside."""

    def __init__(self, track: Track, label: str, total: int) -> None:
        self._steps = iter(track(range(total), label, total))
        next(self._steps, None)  # the bar shows, with its first item in hand
        self._done = 0

    def reach(self, done: int) -> None:
        """Show that so many items are done."""
        while self._done < done:
            next(self._steps, None)
            self._done += 1


class _FollowOne:
    """Shows the phases of a unit as if they ran here."""

    def __init__(self, unit: Unit, track: Track) -> None:
        self._unit = unit
        self._track = track
        self._bars: dict[int, _Bar] = {}
        self._attempt = ("", "", "")
        self._seen_s = -math.inf
        self._began_s = time.monotonic()
        self._told = ""

    def see(self, statuses: Mapping[Path, Status]) -> None:
        """Take note of how the unit is; costs something once a second, however often called."""
        now_s = time.monotonic()
        status = statuses.get(self._unit.folder)
        if status is not None and now_s - self._began_s >= WAIT_TOLD_S:
            self._tell_wait(status)
        if now_s - self._seen_s >= LOOK_EVERY_S:
            self._seen_s = now_s
            self._show()

    def end(self, folder: Path) -> None:
        """Show that the unit is done."""
        self._show()
        self._tell("")
        if not self._bars:
            _Bar(self._track, self._unit.name, 1).reach(1)

    def _tell_wait(self, status: Status) -> None:
        waits = status.state is State.WAITING
        reason = f": {status.said}" if status.said else ""
        self._tell(f"{self._unit.name} waits{reason}" if waits else "")

    def _tell(self, note: str) -> None:
        if note or self._told:
            tell(self._track, note)
        self._told = note

    def _show(self) -> None:
        progress = read_progress(self._unit.folder)
        if progress is None:
            return
        attempt = (progress.host, progress.job, progress.began_utc)
        if attempt != self._attempt:
            self._bars.clear()  # those of an attempt that was lost stay as they were
            self._attempt = attempt
        for number, phase in enumerate(progress.phases, start=progress.first):
            if number not in self._bars:
                self._bars[number] = _Bar(self._track, phase.label, phase.total)
            self._bars[number].reach(phase.done)


class _FollowMany:
    """Shows units as one bar, in which those at work count by their done part."""

    def __init__(self, units: Sequence[Unit], track: Track, label: str) -> None:
        self._stage = units[0].stage
        self._track = track
        self._bar = _Bar(track, label, len(units))
        self._statuses = {unit.folder: Status(state=State.WAITING) for unit in units}
        self._parts: dict[Path, float] = {}
        self._next = 0
        self._ended = 0
        self._seen_s = self._began_s = time.monotonic()

    def see(self, statuses: Mapping[Path, Status]) -> None:
        """Take note of how units are; costs something once a second, however often called."""
        for folder in self._statuses.keys() & statuses.keys():
            self._statuses[folder] = statuses[folder]
        if time.monotonic() - self._seen_s < LOOK_EVERY_S:
            return
        self._seen_s = time.monotonic()
        running = [f for f, status in self._statuses.items() if status.state is State.RUNNING]
        self._look_at(running)
        tell(
            self._track,
            self._note(len(running)),
            sum(self._parts.get(folder, 0.0) for folder in running),
        )

    def end(self, folder: Path) -> None:
        """Show that a unit is done."""
        self._statuses.pop(folder, None)
        self._parts.pop(folder, None)
        self._ended += 1
        self._bar.reach(self._ended)

    def _look_at(self, running: Sequence[Path]) -> None:
        """Read how far some of the units at work are, each in its turn."""
        start = self._next if self._next < len(running) else 0
        self._next = start + LOOKED_AT
        for folder in running[start : self._next]:
            progress = read_progress(folder)
            self._parts[folder] = progress.part if progress else 0.0

    def _note(self, running: int) -> str:
        """Say how many are at work, and what the others wait for."""
        waiting = [s for s in self._statuses.values() if s.state is State.WAITING]
        note = f"{self._stage}: {running} at work"
        if not waiting:
            return note
        reasons = Counter(status.said for status in waiting if status.said)
        told = time.monotonic() - self._began_s >= WAIT_TOLD_S and reasons
        reason = f": {reasons.most_common(1)[0][0]}" if told else ""
        return f"{note}, {len(waiting)} waiting{reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitView:
    """A unit of work as its folder shows it."""

    folder: Path
    record: UnitRecord | None
    progress: Progress | None
    """None unless it is at work, or was when it was lost."""
    submitted: str
    """The cluster's job that waits or is at work on it; empty if there is none."""
    told: State | None = None
    """How the cluster says it is, where its folder cannot know."""
    reason: str = ""
    """Why it waits, in the cluster's words."""

    @property
    def part(self) -> str:
        """What the unit is called among those of its stage."""
        return self.folder.name

    @property
    def state(self) -> State:
        """How it is, as far as its own folder and the cluster know."""
        if self.told is not None:
            return self.told
        if self.record is not None:
            return State.DONE if self.record.done else State.FAILED
        return State.WAITING if self.progress is None else State.RUNNING

    @property
    def host(self) -> str:
        """Where it is at work or was; empty if it has not begun."""
        told = self.record or self.progress
        return told.host if told else ""

    @property
    def job(self) -> str:
        """The cluster's job; empty for a process of the controller's machine."""
        if self.record is not None:
            return self.record.job
        return self.submitted or (self.progress.job if self.progress else "")

    @property
    def phase(self) -> Phase | None:
        """What it is at now."""
        return self.progress.phases[-1] if self.progress and self.progress.phases else None

    @property
    def log(self) -> Path:
        """What it said; the file may be absent."""
        return self.folder / LOG

    def starts(self) -> list[str]:
        """Return when, where and as which job it was started, a line for each time."""
        return _lines(self.folder / STARTS)


def view_unit(folder: Path) -> UnitView:
    """Return how the unit in a folder is."""
    record = read_record(folder) if (folder / EXIT).exists() else None
    job = read_json(folder / JOB) if record is None else None
    return UnitView(
        folder=folder,
        record=record,
        progress=None if record is not None else read_progress(folder),
        submitted=(job or {}).get("id", ""),
    )


def view_units(stage: Path, key: str = "") -> list[UnitView]:
    """Return the units of a stage's last result: parts by number, then the one that ends it.

    The stage is ``work/units/<stage>``, the key that of another result than the last.
    """
    folders = [path.parent for path in stage.glob(f"{key or '*'}/*/{UNIT}")]
    if folders and not key:
        latest = max(folders, key=lambda folder: (folder / UNIT).stat().st_mtime)
        folders = [folder for folder in folders if folder.parent == latest.parent]
    return [view_unit(folder) for folder in sorted(folders, key=_place)]


def cluster_logs(result: Path) -> Mapping[Path, list[Path]]:
    """Return what the cluster said of the units of ``work/units/<stage>/<key>``, by folder."""
    found: dict[Path, list[Path]] = {}
    listed = sorted(result.glob(f"*/{UNITS_LIST}"), key=lambda path: path.stat().st_mtime)
    for path in listed:
        for index, line in enumerate(_lines(path)):
            said = path.with_name(f"{index}.log")
            if said.exists() and said.stat().st_size:
                found.setdefault(result / Path(line).name, []).append(said)
    return found


def _place(folder: Path) -> tuple[int, int, str]:
    number, _, count = folder.name.partition("-of-")
    if count:
        return 0, int(number), ""
    return (2 if folder.name == WHOLE else 1), 0, folder.name


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
