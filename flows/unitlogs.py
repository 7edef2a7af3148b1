"""What the units of a survey's stages said: one readable log per stage."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from flows.execution.executor import State
from flows.execution.unitviews import UnitView, cluster_logs, view_units
from flows.runs import UNITS, read_run
from tmp.bars import say_time
from tmp.errors import InputError
from tmp.survey import Survey

LOOK_EVERY_S = 1.0
TILES = " tiles: "
"""What a unit's log says before the names of its tiles."""


def list_logs(survey: Survey) -> list[str]:
    """Return the logs there are, a line for each stage.

    Raises
    ------
    InputError
        If there are none.
    """
    lines = [f"{'stage':<14}{'units':>7}{'failed':>8}{'kB':>9}  last line at"]
    for stage in sorted((survey.work_dir / UNITS).glob("*")):
        units = view_units(stage)
        sizes = [unit.log.stat() for unit in units if unit.log.exists()]
        if sizes:
            failed = sum(unit.state is State.FAILED for unit in units)
            size_kb = sum(size.st_size for size in sizes) / 1000
            latest = datetime.fromtimestamp(max(size.st_mtime for size in sizes), UTC)
            lines.append(
                f"{stage.name:<14}{len(units):>7}{failed:>8}{size_kb:>9.1f}"
                f"  {latest:%Y-%m-%d %H:%M:%S} UTC"
            )
    if len(lines) == 1:
        raise _no_log(survey, "any stage")
    return lines


def stage_log(survey: Survey, stage: str, tile: str = "") -> Iterator[str]:
    """Yield what all units of a stage's last run said, in their order, each below a header.

    Parameters
    ----------
    survey : Survey
    stage : str
    tile : str
        Only of the unit that worked on it last.

    Raises
    ------
    InputError
        If there is no such log.
    """
    units = _logged(survey, stage, tile)
    of_cluster = cluster_logs(units[0].folder.parent)
    for unit in units:
        yield header(stage, unit)
        yield from _lines(unit.log)
        for said in of_cluster.get(unit.folder, []):
            yield f"-- the cluster, in {said}"
            yield from _lines(said)


def follow_log(survey: Survey, stage: str, tile: str = "") -> Iterator[str]:
    """Yield what the units of a stage say while it runs, from the beginning to its end.

    Raises
    ------
    InputError
        If there is no such log, and none can be expected: the stage does not run.
    """
    read: dict[Path, int] = {}
    shown: Path | None = None
    while True:
        at_work = _at_work(survey, stage)
        units = _logged(survey, stage, tile, expected=at_work)
        for unit in units:
            lines, read[unit.folder] = _lines_from(unit.log, read.get(unit.folder, 0))
            if lines and shown != unit.folder:
                shown = unit.folder
                yield header(stage, unit)
            yield from lines
        if not at_work:
            return
        time.sleep(LOOK_EVERY_S)


def header(stage: str, unit: UnitView) -> str:
    """Return the line above what a unit said: where, as which job, when, how it ended."""
    starts, outcome = unit.starts(), unit.outcome
    told = [stage if unit.part == "whole" else f"{stage} {unit.part}"]
    told += [unit.host] if unit.host else []
    told += [f"job {unit.job}"] if unit.job else []
    if outcome is not None:
        told.append(f"{say_time(outcome.started_utc)} to {say_time(outcome.finished_utc)}")
    elif starts:
        told.append(f"since {say_time(starts[-1].split()[0])}")
    told += [f"started {len(starts)} times"] if len(starts) > 1 else []
    return f"== {'; '.join(told)}; {unit.state}"


def _logged(survey: Survey, stage: str, tile: str, *, expected: bool = False) -> list[UnitView]:
    """Return the units of a stage that said something, or the one that worked on a tile."""
    units = [unit for unit in view_units(survey.work_dir / UNITS / stage) if unit.log.exists()]
    if tile:
        units = _of_tile(units, tile)
    if not units and not expected:
        raise _no_log(survey, f"{stage}:{tile}" if tile else stage)
    return units


def _of_tile(units: Sequence[UnitView], tile: str) -> list[UnitView]:
    """Return the unit that worked on a tile last; one that had the whole stage did so, too."""
    found = [
        unit
        for unit in units
        if unit.part == f"alone-{quote(tile, safe='')}" or _lists(unit.log, tile)
    ]
    found = found or ([units[0]] if len(units) == 1 and units[0].part == "whole" else [])
    return [max(found, key=lambda unit: unit.log.stat().st_mtime)] if found else []


def _lists(log: Path, tile: str) -> bool:
    return any(tile in line.partition(TILES)[2].split() for line in _lines(log))


def _at_work(survey: Survey, stage: str) -> bool:
    run = read_run(survey)
    note = run.stages.get(stage)
    return note is not None and note.state in ("to do", "running") and run.alive(survey)


def _no_log(survey: Survey, asked: str) -> InputError:
    return InputError(
        f"{survey.root}: no log of {asked}; 'tmp status' lists the stages, and stages that "
        "'tmp map' ran keep none"
    )


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            yield line.rstrip("\n")


def _lines_from(path: Path, start: int) -> tuple[list[str], int]:
    """Return the whole lines of a file from a byte on, and where they end."""
    with path.open("rb") as file:
        file.seek(start)
        said = file.read()
    whole = said.rpartition(b"\n")[0]
    if not whole:
        return [], start
    return whole.decode("utf-8", errors="replace").split("\n"), start + len(whole) + 1
