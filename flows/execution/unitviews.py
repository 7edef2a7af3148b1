"""How the units of a stage are, read from their folders; no executor is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.execution.executor import State
from flows.execution.progress import Phase, Progress, read_progress
from flows.execution.units import EXIT, JOB, LOG, STARTS, UNIT, Outcome, read_json, read_outcome

UNITS_LIST = "units.txt"
"""In the folder of an array's jobs: the folders of its units, a line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitView:
    """A unit of work as its folder shows it."""

    folder: Path
    outcome: Outcome | None
    progress: Progress | None
    """None unless it is at work, or was when it was lost."""
    submitted: str
    """The cluster's job that waits or is at work on it; empty if there is none."""

    @property
    def part(self) -> str:
        """What the unit is called among those of its stage."""
        return self.folder.name

    @property
    def state(self) -> State:
        """How it is, as far as its own folder knows."""
        if self.outcome is not None:
            return State.DONE if self.outcome.done else State.FAILED
        return State.WAITING if self.progress is None else State.RUNNING

    @property
    def host(self) -> str:
        """Where it is at work or was; empty if it has not begun."""
        told = self.outcome or self.progress
        return told.host if told else ""

    @property
    def job(self) -> str:
        """The cluster's job; empty for a process of the controller's machine."""
        if self.outcome is not None:
            return self.outcome.attempt.job
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
    outcome = read_outcome(folder) if (folder / EXIT).exists() else None
    job = read_json(folder / JOB) if outcome is None else None
    return UnitView(
        folder=folder,
        outcome=outcome,
        progress=None if outcome is not None else read_progress(folder),
        submitted=(job or {}).get("id", ""),
    )


def view_units(stage: Path, key: str = "") -> list[UnitView]:
    """Return the units of a stage's last order: shares by number, then the one that ends it.

    Parameters
    ----------
    stage : Path
        ``work/units/<stage>``.
    key : str
        Of another order than the last.
    """
    folders = [path.parent for path in stage.glob(f"{key or '*'}/*/{UNIT}")]
    if folders and not key:
        latest = max(folders, key=lambda folder: (folder / UNIT).stat().st_mtime)
        folders = [folder for folder in folders if folder.parent == latest.parent]
    return [view_unit(folder) for folder in sorted(folders, key=_place)]


def cluster_logs(order: Path) -> Mapping[Path, list[Path]]:
    """Return what the cluster itself said of units of an order, by their folders.

    Parameters
    ----------
    order : Path
        ``work/units/<stage>/<key>``.
    """
    found: dict[Path, list[Path]] = {}
    listed = sorted(order.glob(f"*/{UNITS_LIST}"), key=lambda path: path.stat().st_mtime)
    for path in listed:
        for index, line in enumerate(_lines(path)):
            said = path.with_name(f"{index}.log")
            if said.exists() and said.stat().st_size:
                found.setdefault(order / Path(line).name, []).append(said)
    return found


def _place(folder: Path) -> tuple[int, int, str]:
    number, _, count = folder.name.partition("-of-")
    if count:
        return 0, int(number), ""
    return (2 if folder.name == "whole" else 1), 0, folder.name


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
