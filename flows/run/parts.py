"""The parts of a flow that stand alone: ingest, orient, products, indices.

Each is a sub-flow of Prefect where one keeps a record, and each can be run without those after it.
All that a part needs of those before it lies in the survey's folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from flows.engine.store import Result
from flows.products.catalog import write_catalog
from flows.products.styles import write_styles
from flows.report.report import MapRecord, assess_map, write_report
from flows.report.verdict import Verdict
from flows.run.plan import ORIENTED, MapPlan, publish
from flows.run.record import Maker, remember_map
from flows.stages.inputs import Step
from tmp.errors import InputError
from tmp.reconstruction import read_reconstruction


class Part(StrEnum):
    """A part of a flow."""

    INGEST = "ingest"
    ORIENT = "orient"
    PRODUCTS = "products"
    INDICES = "indices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """What the parts up to the products made."""

    results: tuple[Result, ...]
    report_path: Path
    verdict: Verdict
    """How the map came out."""


def orient(plan: MapPlan, make: Maker) -> dict[str, Result]:
    """Orient the photographs of a survey; returns the results by stage."""
    return _make_steps(plan, _steps_until_oriented(plan.steps), {}, make)


def make_products(
    plan: MapPlan, oriented: Mapping[str, Result], make: Maker, asked: Mapping[str, str]
) -> Products:
    """Make the products of an oriented survey, its catalogue and its report.

    Parameters
    ----------
    plan : MapPlan
    oriented : mapping of Result
        What `orient` returned.
    make : Maker
    asked : mapping of str
        The options in words, for the report.
    """
    left = plan.steps[len(oriented) :]
    results = tuple(_make_steps(plan, left, oriented, make).values())
    survey = plan.survey
    publish(results, survey.products_dir)
    write_styles(survey.products_dir)
    write_catalog(survey, plan.settings, plan.captures)
    record = MapRecord(
        survey=survey,
        settings=plan.settings,
        captures=plan.captures,
        reconstruction=read_reconstruction(oriented[ORIENTED].folder),
        results=results,
        asked=dict(asked),
        area_wkt=plan.values.get("area_wkt"),
    )
    assessed = assess_map(record)
    report_path = write_report(record, assessed)
    remember_map(record)
    return Products(results=results, report_path=report_path, verdict=assessed.verdict)


def _make_steps(
    plan: MapPlan, steps: Sequence[Step], before: Mapping[str, Result], make: Maker
) -> dict[str, Result]:
    if make.side_by_side:
        return _make_side_by_side(plan, steps, before, make)
    results = dict(before)
    for step in steps:
        results[step.stage.name] = make(plan.store, plan.order(step, results))
    return results


def _make_side_by_side(
    plan: MapPlan, steps: Sequence[Step], before: Mapping[str, Result], make: Maker
) -> dict[str, Result]:
    """Make each step as soon as what it needs is there."""
    results, left = dict(before), list(steps)
    at_work: dict[Future[Result], Step] = {}
    with ThreadPoolExecutor(max_workers=max(1, len(steps))) as pool:
        try:
            while left or at_work:
                ready = [step for step in left if set(step.needs) <= results.keys()]
                for step in ready or ([] if at_work else left[:1]):
                    left.remove(step)
                    order = plan.order(step, results)
                    # Prefect knows by the context which flow a task belongs to.
                    made = pool.submit(copy_context().run, make, plan.store, order)
                    at_work[made] = step
                for made in wait(at_work, return_when=FIRST_COMPLETED).done:
                    results[at_work.pop(made).stage.name] = made.result()
        except BaseException:
            make.stop()  # or the pool would wait for the others to do all their work
            raise
    return {name: results[name] for name in (*before, *(step.stage.name for step in steps))}


def _steps_until_oriented(steps: Sequence[Step]) -> Sequence[Step]:
    names = [step.stage.name for step in steps]
    if ORIENTED not in names:
        raise InputError(f"no step is called {ORIENTED!r}, and all others build on it")
    return steps[: names.index(ORIENTED) + 1]
