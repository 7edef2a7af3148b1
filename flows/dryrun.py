"""What a run would do and what it would ask for, without running anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flows.execution.running import unit_count, unit_resources
from flows.map import MapPlan, plan_map
from flows.orders import Stage
from flows.request import RunOptions, SurveyRequest, Where
from flows.resources import SurveySize
from flows.stages import Step
from flows.steps import STEPS
from flows.store import Result, read_result
from flows.taking import INGEST, order_ingest
from tmp.survey import Survey

LEGEND = f"{'stage':<14}{'after':<26}{'units':>6}{'cpus':>6}{'GB':>7}{'gpus':>6}{'min':>6}"


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
    """Return the graph of a run and what it asks for, in lines."""
    steps: Sequence[tuple[Step, Result | None]]
    taking: list[tuple[Step, Result | None]] = []
    if request.cards:
        order, size = order_ingest(survey, request.cards, link=request.link, crs=request.crs)
        taking = [(Step(stage=INGEST), read_result(order.folder))]
    if survey.gpkg_path.exists():
        plan = plan_map(survey.root, request.map, retry_holes=run.tries_holes)
        steps, size = steps_done(plan), plan.size
    else:
        steps = [(step, None) for step in STEPS]
    table = _Table(size=size, run=run, workers=request.map.workers)
    rows = [table.row(step, result) for step, result in (*taking, *steps)]
    total_min, core_hours = (sum(column) for column in zip(*(r.time for r in rows), strict=True))
    return [
        f"{size.photographs} photographs of {size.megapixels:.1f} megapixels, about "
        f"{size.tiles} tiles; disk {size.disk_gb:.1f} GB",
        LEGEND,
        *(row.line for row in rows),
        f"about {math.ceil(total_min)} min once jobs start, {core_hours:.1f} core-hours",
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    line: str
    time: tuple[float, float]
    """Minutes if all units run at once, and core-hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Says what stages ask for."""

    size: SurveySize
    run: RunOptions
    workers: int

    def row(self, step: Step, result: Result | None) -> _Row:
        name, after = step.stage.name, ", ".join(step.needs) or INGEST.name
        if result is not None:
            return _Row(line=f"{name:<14}{after:<26}  nothing has changed", time=(0.0, 0.0))
        return self._asked(step.stage, f"{name:<14}{'' if step.stage is INGEST else after:<26}")

    def _asked(self, stage: Stage, start: str) -> _Row:
        profile, cost = self.run.used_profile, stage.needs(self.size)
        cpus = None if self.run.on is Where.SLURM else self.workers
        count = unit_count(stage, self.size, profile)
        asked = unit_resources(stage, self.size, profile, count, cpus)
        line = (
            f"{start}{count:>6}{asked.cpus:>6}{asked.memory_gb:>7.1f}{asked.gpus:>6}"
            f"{math.ceil(asked.minutes):>6}"
        )
        return _Row(line=line, time=(cost.cpu_s / asked.cpus / count / 60, cost.cpu_s / 3600))
