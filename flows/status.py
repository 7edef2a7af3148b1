"""How a survey's run is, in a table of its stages; read from files, so that any machine can ask."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flows.execution.commands import Commands
from flows.execution.executor import State
from flows.execution.sbatch import Queue, Queued
from flows.execution.unitviews import UnitView, view_units
from flows.orders import WHOLE
from flows.results import MANIFEST
from flows.runs import UNITS, RunRecord, StageNote, read_run, seconds_between
from flows.store import Result, read_result
from tmp.bars import say_duration, say_time
from tmp.survey import Survey

REUSED = "nothing has changed"
SHOWN = 8
"""Units at work that are listed."""
HEAD = ("stage", "state", "units", "time", "processor", "peak GB", "where")
_ROW = "{:<14} {:<12} {:>7} {:>11} {:>11} {:>8}  {}"


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
    took = f" ({say_duration(run.took_s)})" if run.took_s is not None and _ended(run, alive) else ""
    who = f"{run.user} on {run.host}" if run.user else run.host
    return f"{survey.root}: on {run.on}, since {say_time(run.began_utc)}{took}, by {who}: {state}"


def _ended(run: RunRecord, alive: bool) -> bool:
    return bool(run.ended_utc) or alive


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
    return _ROW.format(
        "all",
        "",
        sum(len(result.units) or 1 for result in results),
        say_duration(sum(result.usage.wall_s for result in results)),
        say_duration(sum(result.usage.cpu_s for result in results)),
        f"{max(result.usage.peak_gb for result in results):.2f}",
        "time of all units",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A unit, and how the cluster says it is."""

    unit: UnitView
    state: State
    reason: str = ""
    """Why it waits."""
    node: str = ""
    """Where it is at work."""


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
    seen = [_see(unit, queue or {}, alive) for unit in units]
    done = sum(one.state is State.DONE for one in seen)
    state = note.state
    if state == "running" and not alive:
        state = "interrupted"
    elif state == "not done" and run.state == "failed":
        state = "failed"
    hosts = sorted({one.unit.host for one in seen if one.unit.host})
    count = f"{done}/{len(seen)}" if len(seen) > 1 else str(len(seen) or "")
    took = say_duration(note.took_s) if note.took_s is not None and state != "interrupted" else ""
    lines = [_ROW.format(stage, state, count, took, "", "", _few(hosts)).rstrip()]
    for one in [one for one in seen if one.state is State.FAILED][:SHOWN]:
        lines += _failure(survey, stage, one.unit)
    if len(seen) > 1 and alive:
        lines.append(f"    {_summary(seen, note)}")
    at_work = [one for one in seen if one.state is State.RUNNING]
    lines += [f"    {_at_work(one)}" for one in at_work[:SHOWN]]
    if len(at_work) > SHOWN:
        lines.append(f"    and {len(at_work) - SHOWN} more")
    if len(seen) == 1 and seen[0].state is State.WAITING and alive:
        lines.append(f"    {_waiting(seen)}")
    return lines


def _see(unit: UnitView, queue: Queue, alive: bool) -> _Seen:
    state, reason, *_ = queue.get(unit.submitted, Queued())
    if unit.outcome is None and state == "PENDING":
        return _Seen(unit=unit, state=State.WAITING, reason=reason)
    if unit.state is State.RUNNING and not alive and state != "RUNNING":
        return _Seen(unit=unit, state=State.LOST)
    return _Seen(unit=unit, state=unit.state)


def _summary(seen: Sequence[_Seen], note: StageNote) -> str:
    """Say how many units are at work and wait, what for, and how long it will take."""
    states = Counter(one.state for one in seen)
    told = [f"{states[State.RUNNING]} at work"]
    if states[State.WAITING]:
        told.append(_waiting(seen))
    shares = [one for one in seen if one.unit.part != WHOLE]
    parts = sum(one.state is State.DONE for one in shares) + sum(
        one.unit.progress.part
        for one in shares
        if one.state is State.RUNNING and one.unit.progress is not None
    )
    took_s = seconds_between(note.began_utc, note.ended_utc)
    if took_s is not None and 0 < parts < len(shares):
        told.append(f"about {say_duration(took_s / parts * (len(shares) - parts))} left")
    return ", ".join(told)


def _waiting(seen: Sequence[_Seen]) -> str:
    waiting = [one for one in seen if one.state is State.WAITING]
    reasons = Counter(one.reason for one in waiting if one.reason)
    told = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    said = f"{len(waiting)} waiting" if len(seen) > 1 else "waiting"
    return f"{said}: {told}" if told else said


def _at_work(seen: _Seen) -> str:
    """Say where a unit is at work, on what, and how far it is."""
    unit = seen.unit
    part = "" if unit.part == WHOLE else unit.part
    told = [part, unit.host or seen.node] + ([f"job {unit.job}"] if unit.job else [])
    if (phase := unit.phase) is not None:
        told.append(f"{phase.label}: {phase.done} of {phase.total}")
        if phase.left_s:
            told.append(f"about {say_duration(phase.left_s)} left")
    return ", ".join(filter(None, told))


def _failure(survey: Survey, stage: str, unit: UnitView) -> list[str]:
    """Say what a unit failed of, and where to read more."""
    said = unit.outcome.error.splitlines() if unit.outcome else []
    return [
        f"    {unit.part} on {unit.host}: {said[0] if said else 'no reason given'}",
        f"    more with: tmp logs {survey.root} {stage}",
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
