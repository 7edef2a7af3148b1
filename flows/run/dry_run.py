"""What a run would do and what it would ask for, without running anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flows.engine.cost import SurveySize
from flows.engine.store import Result, read_result
from flows.execution.runner import unit_count, unit_resources
from flows.run.parts import Part
from flows.run.plan import ORIENTED, ORTHOMOSAIC, STEPS, MapPlan, plan_map
from flows.run.request import RunOptions, SurveyRequest, Where
from flows.stages.indices import INDICES
from flows.stages.ingest import INGEST, order_ingest
from flows.stages.inputs import Step
from flows.stages.reflectance import REFLECTANCE
from tmp.survey import Survey


def steps_done(plan: MapPlan) -> list[tuple[Step, Result | None]]:
    """Return the steps of a plan and the results that are there already.

    What follows a stage whose result is not there is not there either: its inputs are unknown.
    """
    results: dict[str, Result] = {}
    found: list[tuple[Step, Result | None]] = []
    for step in plan.steps:
        result = None
        if all(name in results for name in step.needs):
            result = plan.store.find(plan.order(step, results))
        if result is not None:
            results[step.stage.name] = replace(result, reused=True)
        found.append((step, result))
    return found


def describe_run_plan(survey: Survey, request: SurveyRequest, run: RunOptions) -> list[str]:
    """Return the graph of a run, what its units should take and what they ask for, in lines."""
    known: dict[str, Result | None] = {}
    steps: list[Step] = []
    if request.cards:
        order, size = order_ingest(survey, request.cards, link=request.link, crs=request.crs)
        steps, known = [Step(stage=INGEST)], {INGEST.name: read_result(order.folder)}
    if survey.gpkg_path.exists() or not request.cards:
        plan = plan_map(survey.folder, request.map, retry_holes=run.tries_holes)
        size = plan.size
        known |= {step.stage.name: result for step, result in steps_done(plan)}
        steps += plan.steps
    else:
        steps += STEPS
    steps = _asked_for(steps, request)
    rows = [_row(step, known.get(step.stage.name), size, request, run) for step in steps]
    return [
        f"{size.photographs} photographs of {size.megapixels:.1f} megapixels, about "
        f"{size.tiles} tiles; disk {size.disk_gb:.1f} GB",
        *_as_table(rows),
        _in_all(steps, rows, run),
    ]


def _asked_for(steps: Sequence[Step], request: SurveyRequest) -> list[Step]:
    """Return the steps that are run, indices included, as far as is asked."""
    names = [step.stage.name for step in steps]
    if request.until is Part.INGEST:
        return [step for step in steps if step.stage is INGEST]
    if request.until is Part.ORIENT:
        return list(steps[: names.index(ORIENTED) + 1])
    source = REFLECTANCE.name if REFLECTANCE.name in names else ORTHOMOSAIC.name
    wanted = request.indices is not None or source == REFLECTANCE.name
    computed = [Step(stage=INDICES, needs=(source,))] if wanted else []
    return [*steps, *(computed if request.reaches(Part.INDICES) else ())]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """What a stage takes and asks for."""

    words: tuple[str, ...]
    minutes: float = 0.0
    """If all its units run at once."""
    core_hours: float = 0.0


def _row(
    step: Step, result: Result | None, size: SurveySize, request: SurveyRequest, run: RunOptions
) -> _Row:
    stage, after = step.stage, ", ".join(step.needs)
    if result is not None:
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


def _in_all(steps: Sequence[Step], rows: Sequence[_Row], run: RunOptions) -> str:
    """Say what all takes: on a cluster, what does not need each other is made side by side."""
    ends: dict[str, float] = {}
    latest = 0.0
    for step, row in zip(steps, rows, strict=True):
        began = latest
        if run.on is Where.SLURM and step.needs:
            began = max(ends.get(name, 0.0) for name in step.needs)
        ends[step.stage.name] = began + row.minutes
        latest = max(latest, ends[step.stage.name])
    core_hours = sum(row.core_hours for row in rows)
    said = f"about {math.ceil(latest)} min once jobs start, {core_hours:.1f} core-hours"
    cores = run.used_profile.most_cpus
    if run.on is Where.SLURM and cores:
        said += f", {core_hours / cores:.2f} node-hours of {cores} cores"
    return said
