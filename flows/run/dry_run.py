"""What a run would do and what it would ask for, without running anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flows.engine.cost import SurveySize
from flows.engine.stage import Stage
from flows.engine.store import read_result
from flows.execution.runner import unit_count, unit_resources
from flows.run.plan import STAGES, plan_map
from flows.run.request import ORIENTED, Part, RunOptions, SurveyRequest, Where
from flows.stages.indices import Indices
from flows.stages.ingest import Ingest, ingest_recipe
from flows.stages.orthomosaic import Orthomosaic
from flows.stages.reflectance import Reflectance
from tmp.survey import Survey


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
