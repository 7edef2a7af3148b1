"""A run in a table of its stages: what it would ask for, how it is, what it has cost; its logs.

How it is is read from files, so that any machine can ask.
"""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from flows.engine.cost import SurveySize
from flows.engine.result import MANIFEST, summed
from flows.engine.stage import WHOLE, Stage
from flows.engine.store import Result, read_result
from flows.execution.progress import UnitView, cluster_logs, view_units
from flows.execution.runner import unit_count, unit_resources
from flows.execution.slurm_commands import Commands, Queue, Queued
from flows.execution.unit import State
from flows.run.plan import STAGES, plan_map
from flows.run.record import UNITS, RunRecord, StageNote, read_run, seconds_between
from flows.run.request import ORIENTED, Part, RunOptions, SurveyRequest, Where
from flows.stages.indices import Indices
from flows.stages.ingest import Ingest, ingest_recipe
from flows.stages.orthomosaic import Orthomosaic
from flows.stages.reflectance import Reflectance
from tmp.errors import InputError
from tmp.progress import say_duration, say_time
from tmp.survey import Survey

REUSED = "nothing has changed"
SHOWN = 8
"""Units at work that are listed."""
HEAD = ("stage", "state", "units", "time", "processor", "peak GB", "where")
_ROW = "{:<14} {:<12} {:>7} {:>11} {:>11} {:>8}  {}"

LOOK_EVERY_S = 1.0
TILES = " tiles: "
"""What a unit's log says before the names of its tiles."""


def describe_run(survey: Survey) -> list[str]:
    """Return how the last run of a survey is, in lines.

    Raises
    ------
    InputError
        If there was none.
    """
    run = read_run(survey)
    alive = run.alive(survey)
    queue = _queue(run, alive)
    lines = [_headline(survey, run, alive)]
    lines += [run.error.splitlines()[0]] if run.error else []
    lines.append(_ROW.format(*HEAD).rstrip())
    results: list[Result] = []
    for stage, note in run.stages.items():
        if (result := _result(survey, stage, note)) is not None:
            results.append(result)
            lines += _made(note, result)
        elif note.state in ("running", "not done"):
            lines += _under_way(survey, stage, note, run, queue, alive)
        else:
            lines.append(_ROW.format(stage, note.state, *[""] * 5).rstrip())
    if len(results) > 1 and len(results) == len(run.stages):
        lines.append(_total(results))
    if queue is None:
        lines.append("what jobs wait for is not known here: squeue is absent or does not answer")
    return lines


def _headline(survey: Survey, run: RunRecord, alive: bool) -> str:
    state = run.state if alive or run.state != "running" else "interrupted; 'tmp run' goes on"
    took_s = run.took_s if run.ended_utc or alive else None
    took = "" if took_s is None else f" ({say_duration(took_s)})"
    who = f"{run.user} on {run.host}" if run.user else run.host
    return f"{survey.folder}: on {run.on}, since {say_time(run.began_utc)}{took}, by {who}: {state}"


def _result(survey: Survey, stage: str, note: StageNote) -> Result | None:
    """Return the result of a stage; where the book does not say which, the latest."""
    if note.state not in ("done", REUSED):
        return None
    if note.folder:
        return read_result(survey.work_dir / note.folder)
    made = list((survey.work_dir / "stages" / stage).glob(f"*/{MANIFEST}"))
    return read_result(max(made, key=lambda path: path.stat().st_mtime).parent) if made else None


def _made(note: StageNote, result: Result) -> list[str]:
    """Return the lines of a stage whose result is there."""
    usage = result.usage
    reused = note.state == REUSED
    took_s = None if reused else note.took_s
    hosts = sorted({unit.host for unit in result.units if unit.host})
    lines = [
        _ROW.format(
            result.stage,
            "reused" if reused else "done",
            len(result.units) or 1,
            say_duration(usage.wall_s if took_s is None else took_s),
            say_duration(usage.cpu_s),
            f"{usage.peak_gb:.2f}",
            _few(hosts),
        ).rstrip()
    ]
    again = sum(unit.attempts - 1 for unit in result.units)
    lines += [f"    units were started {again} times more than once"] if again else []
    if result.holes:
        lines.append(f"    {len(result.holes)} holes: {_few(sorted(result.holes))}")
    return lines


def _total(results: Sequence[Result]) -> str:
    """Return the line of all stages: what the products have cost, whenever they were made."""
    usage = summed([result.usage for result in results])
    return _ROW.format(
        "all",
        "",
        sum(len(result.units) or 1 for result in results),
        say_duration(usage.wall_s),
        say_duration(usage.cpu_s),
        f"{usage.peak_gb:.2f}",
        "time of all units",
    )


def _under_way(
    survey: Survey,
    stage: str,
    note: StageNote,
    run: RunRecord,
    queue: Queue | None,
    alive: bool,
) -> list[str]:
    """Return the lines of a stage that runs, or that ended without a result."""
    units = view_units(survey.work_dir / UNITS / stage) if run.by_units else []
    seen = [_seen(unit, queue or {}, alive) for unit in units]
    done = sum(one.state is State.DONE for one in seen)
    state = note.state
    if state == "running" and not alive:
        state = "interrupted"
    elif state == "not done" and run.state == "failed":
        state = "failed"
    hosts = sorted({one.host for one in seen if one.host})
    count = f"{done}/{len(seen)}" if len(seen) > 1 else str(len(seen) or "")
    took = say_duration(note.took_s) if note.took_s is not None and state != "interrupted" else ""
    lines = [_ROW.format(stage, state, count, took, "", "", _few(hosts)).rstrip()]
    for one in [one for one in seen if one.state is State.FAILED][:SHOWN]:
        lines += _failure(survey, stage, one)
    if len(seen) > 1 and alive:
        lines.append(f"    {_summary(seen, note)}")
    at_work = [one for one in seen if one.state is State.RUNNING]
    lines += [f"    {_at_work(one)}" for one in at_work[:SHOWN]]
    if len(at_work) > SHOWN:
        lines.append(f"    and {len(at_work) - SHOWN} more")
    if len(seen) == 1 and seen[0].state is State.WAITING and alive:
        lines.append(f"    {_waiting(seen)}")
    return lines


def _seen(unit: UnitView, queue: Queue, alive: bool) -> UnitView:
    """Return a unit as the cluster sees it."""
    state, reason, *_ = queue.get(unit.submitted, Queued())
    if unit.record is None and state == "PENDING":
        return replace(unit, told=State.WAITING, reason=reason)
    if unit.state is State.RUNNING and not alive and state != "RUNNING":
        return replace(unit, told=State.LOST)
    return unit


def _summary(seen: Sequence[UnitView], note: StageNote) -> str:
    """Say how many units are at work and wait, what for, and how long it will take."""
    states = Counter(one.state for one in seen)
    told = [f"{states[State.RUNNING]} at work"]
    if states[State.WAITING]:
        told.append(_waiting(seen))
    shares = [one for one in seen if one.part != WHOLE]
    parts = sum(one.state is State.DONE for one in shares) + sum(
        one.progress.part
        for one in shares
        if one.state is State.RUNNING and one.progress is not None
    )
    took_s = seconds_between(note.began_utc, note.ended_utc)
    if took_s is not None and 0 < parts < len(shares):
        told.append(f"about {say_duration(took_s / parts * (len(shares) - parts))} left")
    return ", ".join(told)


def _waiting(seen: Sequence[UnitView]) -> str:
    waiting = [one for one in seen if one.state is State.WAITING]
    reasons = Counter(one.reason for one in waiting if one.reason)
    told = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    said = f"{len(waiting)} waiting" if len(seen) > 1 else "waiting"
    return f"{said}: {told}" if told else said


def _at_work(unit: UnitView) -> str:
    """Say where a unit is at work, on what, and how far it is."""
    part = "" if unit.part == WHOLE else unit.part
    told = [part, unit.host] + ([f"job {unit.job}"] if unit.job else [])
    if (phase := unit.phase) is not None:
        told.append(f"{phase.label}: {phase.done} of {phase.total}")
        if phase.left_s:
            told.append(f"about {say_duration(phase.left_s)} left")
    return ", ".join(filter(None, told))


def _failure(survey: Survey, stage: str, unit: UnitView) -> list[str]:
    """Say what a unit failed of, and where to read more."""
    said = unit.record.error.splitlines() if unit.record else []
    return [
        f"    {unit.part} on {unit.host}: {said[0] if said else 'no reason given'}",
        f"    more with: tmp logs {survey.folder} {stage}",
    ]


def _queue(run: RunRecord, alive: bool) -> Queue | None:
    """Return the cluster's queue, empty for a run elsewhere; None if it cannot be asked."""
    if run.on != "slurm" or not (alive or run.state == "running"):
        return {}
    return Commands().queue(user=run.user) if shutil.which("squeue") else None


def _few(names: Sequence[str]) -> str:
    """Join the first of many names."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


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

    Of a tile, only what the unit said that worked on it last.

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
        at_work = _unit_at_work(survey, stage)
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
    starts, record = unit.starts(), unit.record
    told = [stage if unit.part == "whole" else f"{stage} {unit.part}"]
    told += [unit.host] if unit.host else []
    told += [f"job {unit.job}"] if unit.job else []
    if record is not None:
        told.append(f"{say_time(record.started_utc)} to {say_time(record.finished_utc)}")
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
        if unit.part == f"alone-{quote(tile, safe='')}"
        or any(tile in line.partition(TILES)[2].split() for line in _lines(unit.log))
    ]
    found = found or ([units[0]] if len(units) == 1 and units[0].part == "whole" else [])
    return [max(found, key=lambda unit: unit.log.stat().st_mtime)] if found else []


def _unit_at_work(survey: Survey, stage: str) -> bool:
    run = read_run(survey)
    note = run.stages.get(stage)
    return note is not None and note.state in ("to do", "running") and run.alive(survey)


def _no_log(survey: Survey, asked: str) -> InputError:
    return InputError(
        f"{survey.folder}: no log of {asked}; 'tmp logs' without it lists those there are"
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


def describe_run_plan(survey: Survey, request: SurveyRequest, run: RunOptions) -> list[str]:
    """Return the graph of a run, what its units should take and what they ask for, in lines."""
    known: set[str] = set()
    stages: list[type[Stage]] = []
    if request.cards:
        recipe, size = ingest_recipe(survey, request.cards, link=request.link, crs=request.crs)
        stages.append(Ingest)
        known |= {Ingest.name} if read_result(recipe.folder) is not None else set()
    if survey.gpkg_path.exists() or not request.cards:
        plan = plan_map(survey.folder, request.map, retry_holes=run.tries_holes)
        size = plan.size
        known |= plan.find_results().keys()
        stages += plan.stages
    else:
        stages += STAGES
    stages = _asked_for(stages, request)
    rows = [
        _row(stage, _needed_by(stage, stages), stage.name in known, size, request, run)
        for stage in stages
    ]
    return [
        f"{size.photographs} photographs of {size.megapixels:.1f} megapixels, about "
        f"{size.tiles} tiles; disk {size.disk_gb:.1f} GB",
        *_as_table(rows),
        _in_all(stages, rows, run),
    ]


def _asked_for(stages: Sequence[type[Stage]], request: SurveyRequest) -> list[type[Stage]]:
    """Return the stages that are run, indices included, as far as is asked."""
    names = [stage.name for stage in stages]
    if request.until is Part.INGEST:
        return [stage for stage in stages if stage is Ingest]
    if request.until is Part.ORIENT:
        return list(stages[: names.index(ORIENTED) + 1])
    wanted = request.indices is not None or Reflectance in stages
    return [*stages, *([Indices] if wanted and request.reaches(Part.INDICES) else [])]


def _needed_by(stage: type[Stage], stages: Sequence[type[Stage]]) -> tuple[str, ...]:
    """Return the stages that one comes after; indices are computed of the best raster there is."""
    if stage is not Indices:
        return stage.after
    return (Reflectance.name if Reflectance in stages else Orthomosaic.name,)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """What a stage takes and asks for."""

    words: tuple[str, ...]
    minutes: float = 0.0
    """If all its units run at once."""
    core_hours: float = 0.0


def _row(
    stage: type[Stage],
    needed: Sequence[str],
    done: bool,
    size: SurveySize,
    request: SurveyRequest,
    run: RunOptions,
) -> _Row:
    after = ", ".join(needed)
    if done:
        return _Row(words=(stage.name, after, "nothing has changed"))
    cost, profile = stage.needs(size), run.used_profile
    cpus = None if run.on is Where.SLURM else request.map.workers
    count = unit_count(stage, size, profile)
    asked = unit_resources(stage, size, profile, count, cpus)
    minutes = cost.cpu_s / min(cost.cpus, asked.cpus) / count / 60
    numbers = (
        f"{count}",
        f"{asked.cpus}",
        f"{asked.memory_gb:.1f}",
        f"{asked.gpus}",
        f"{minutes:.1f}",
        f"{math.ceil(asked.minutes)}",
    )
    return _Row(words=(stage.name, after, *numbers), minutes=minutes, core_hours=cost.cpu_s / 3600)


def _as_table(rows: Sequence[_Row]) -> list[str]:
    """Return rows below a legend, numbers to the right."""
    legend = ("stage", "after", "units", "cpus", "GB", "gpus", "takes min", "asks min")
    lines = [legend, *(row.words for row in rows)]
    whole = [line for line in lines if len(line) == len(legend)]
    names, afters = (max(len(line[column]) for line in lines) for column in (0, 1))
    widths = [max(len(line[column]) for line in whole) for column in range(2, len(legend))]
    table = []
    for name, after, *others in lines:
        if len(others) == len(widths):
            others = [f"{word:>{width}}" for word, width in zip(others, widths, strict=True)]
        table.append("  ".join([f"{name:<{names}}", f"{after:<{afters}}", *others]).rstrip())
    return table


def _in_all(stages: Sequence[type[Stage]], rows: Sequence[_Row], run: RunOptions) -> str:
    """Say what all takes: on a cluster, what does not need each other is made side by side."""
    ends: dict[str, float] = {}
    latest = 0.0
    for stage, row in zip(stages, rows, strict=True):
        began = latest
        if run.on is Where.SLURM and (needed := _needed_by(stage, stages)):
            began = max(ends.get(name, 0.0) for name in needed)
        ends[stage.name] = began + row.minutes
        latest = max(latest, ends[stage.name])
    core_hours = sum(row.core_hours for row in rows)
    said = f"about {math.ceil(latest)} min once jobs start, {core_hours:.1f} core-hours"
    cores = run.used_profile.most_cpus
    if run.on is Where.SLURM and cores:
        said += f", {core_hours / cores:.2f} node-hours of {cores} cores"
    return said
