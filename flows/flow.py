"""From an ingested survey to its report, on this machine or a cluster."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from flows.execution.executor import Executor
from flows.execution.local import LocalExecutor
from flows.execution.profile import WITHOUT_SHARES, Profile
from flows.execution.running import UnitRunner, unit_count, unit_resources
from flows.execution.slurm import SlurmExecutor, require_slurm
from flows.lock import refuse_if_running
from flows.map import MapOptions, MapPlan, MapResult, map_survey, plan_map
from flows.orders import Order
from flows.prefecting import TaskCaller, as_flow
from flows.resources import survey_size
from flows.runs import RUN, UNITS, RunBook
from flows.space import require_space
from flows.stages import Step
from flows.store import Result, read_result
from tmp.errors import TmpError
from tmp.progress import Track, silent


class Where(StrEnum):
    """Where the stages run."""

    LOCAL = "local"
    SLURM = "slurm"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a survey is run; none of it changes a result."""

    on: Where = Where.LOCAL
    profile: Profile | None = None
    """Of the cluster; None for its defaults."""
    strict: bool = False
    """Whether a tile that cannot be made stops the run, rather than leaving a named hole."""
    prefect: bool = True
    """Whether Prefect keeps a record of the run."""

    @property
    def used_profile(self) -> Profile:
        """The profile, or what serves where none was given."""
        if self.profile is not None:
            return self.profile
        return WITHOUT_SHARES if self.on is Where.LOCAL else Profile()


def run_survey(
    root: Path,
    options: MapOptions,
    run: RunOptions,
    *,
    steps: Sequence[Step] | None = None,
    track: Track = silent,
) -> MapResult:
    """Make the products and the report of a survey by units of work; what is done is kept.

    Parameters
    ----------
    root : Path
        A survey folder.
    options : MapOptions
    run : RunOptions
    steps : sequence of Step, optional
        As for `map_survey`.
    track : Track

    Raises
    ------
    TmpError
        As `map_survey`; `ExecutionError` if a process or job failed.
    """
    if run.on is Where.SLURM:
        require_slurm()
    plan = plan_map(root, options, steps=steps)
    book = RunBook(path=plan.survey.work_dir / RUN)
    done = steps_done(plan)
    if all(result is not None for _, result in done):
        return map_survey(root, options, steps=steps, track=track)
    refuse_if_running(plan.survey.work_dir / "lock")
    plan.survey.work_dir.mkdir(exist_ok=True)
    runner = _unit_runner(plan, options, run)

    def work(call: TaskCaller) -> MapResult:
        def run_order(order: Order, track: Track) -> None:
            name = order.stage.name
            book.note(name, "running")
            try:
                call(name, lambda: runner(order, track))
            except BaseException:
                book.note(name, "not done")
                raise
            book.note(name, "done")

        return map_survey(root, options, steps=steps, run_order=run_order, track=track)

    book.begin(
        run.on,
        {step.stage.name: "nothing has changed" if result else "to do" for step, result in done},
    )
    return _noted(book, lambda: _called(run, plan.settings.name or plan.survey.root.name, work))


def _called(run: RunOptions, name: str, work: Callable[[TaskCaller], MapResult]) -> MapResult:
    if run.prefect:
        return as_flow(name.replace("{", "(").replace("}", ")"), work)
    return work(lambda _, function: function())


def _noted(book: RunBook, work: Callable[[], MapResult]) -> MapResult:
    """Run, and write down how it ended."""
    try:
        result = work()
    except TmpError as error:
        book.end("failed", str(error))
        raise
    except BaseException as error:
        book.end("stopped", "" if isinstance(error, KeyboardInterrupt) else repr(error))
        raise
    book.end("done")
    return result


def _unit_runner(plan: MapPlan, options: MapOptions, run: RunOptions) -> UnitRunner:
    size, local = survey_size(plan.captures), run.on is Where.LOCAL
    require_space(plan.survey.work_dir, size.disk_gb * 1e9, "the run")
    executor: Executor = (
        LocalExecutor(cpus=options.workers) if local else SlurmExecutor(profile=run.used_profile)
    )
    return UnitRunner(
        executor=executor,
        profile=run.used_profile,
        size=size,
        folder=plan.survey.work_dir / UNITS,
        lenient=not run.strict,
        cpus=options.workers if local else None,
    )


def steps_done(plan: MapPlan) -> list[tuple[Step, Result | None]]:
    """Return the steps of a plan and the results that are there already.

    What follows a stage whose result is not there is not there either: its inputs are unknown.
    """
    results: dict[str, Result] = {}
    found: list[tuple[Step, Result | None]] = []
    for step in plan.steps:
        result = None
        if all(name in results for name in step.needs):
            result = read_result(plan.order(step, results).folder)
        if result is not None:
            results[step.stage.name] = replace(result, reused=True)
        found.append((step, result))
    return found


def describe_plan(plan: MapPlan, run: RunOptions, options: MapOptions) -> list[str]:
    """Return the graph of a run and what it asks for, in lines; runs nothing."""
    size, profile = survey_size(plan.captures), run.used_profile
    cpus = options.workers if run.on is Where.LOCAL else None
    lines = [
        f"{size.photographs} photographs of {size.megapixels:.1f} megapixels, about "
        f"{size.tiles} tiles; disk {size.disk_gb:.1f} GB",
        f"{'stage':<14}{'after':<26}{'units':>6}{'cpus':>6}{'GB':>7}{'gpus':>6}{'min':>6}",
    ]
    minutes = core_hours = 0.0
    for step, result in steps_done(plan):
        stage, after = step.stage, ", ".join(step.needs) or "ingest"
        if result is not None:
            lines.append(f"{stage.name:<14}{after:<26}  nothing has changed")
            continue
        count, cost = unit_count(stage, size, profile), stage.needs(size)
        asked = unit_resources(stage, size, profile, count, cpus)
        lines.append(
            f"{stage.name:<14}{after:<26}{count:>6}{asked.cpus:>6}{asked.memory_gb:>7.1f}"
            f"{asked.gpus:>6}{math.ceil(asked.minutes):>6}"
        )
        minutes += cost.cpu_s / asked.cpus / count / 60
        core_hours += cost.cpu_s / 3600
    lines.append(f"about {math.ceil(minutes)} min once jobs start, {core_hours:.1f} core-hours")
    return lines
