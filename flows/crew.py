"""Who runs the stages of a survey: threads of this process, processes, or jobs of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from flows.execution.executor import Executor
from flows.execution.local import LocalExecutor
from flows.execution.probe import prepare_cluster
from flows.execution.running import UnitRunner
from flows.execution.slurm import SlurmExecutor
from flows.indexstage import INDICES
from flows.orders import Order, RunOrder, here
from flows.request import RunOptions, Where
from flows.resources import SurveySize
from flows.runs import UNITS
from flows.steps import BAND_STEPS, STEPS
from flows.taking import INGEST
from tmp.progress import Track
from tmp.survey import Survey

STAGES = (INGEST.name, *(step.stage.name for step in (*STEPS, *BAND_STEPS)), INDICES.name)
"""Names that a cluster's profile may give places and amounts to."""
Crew = Callable[[SurveySize], RunOrder]
"""Gives the way in which stages of a survey of a size are run."""


def choose_crew(survey: Survey, run: RunOptions, workers: int) -> Crew:
    """Return who runs the stages of a survey; a cluster is looked at before its first job.

    Parameters
    ----------
    survey : Survey
    run : RunOptions
    workers : int
        Cores of this machine to use.
    """
    if run.on is Where.THREADS:
        return lambda size: here(workers)
    if run.on is Where.LOCAL:
        local = LocalExecutor(cpus=workers)
        return lambda size: _runner(survey, run, size, local, workers)
    run.used_profile.require_stages(STAGES)
    slurm = SlurmExecutor(profile=run.used_profile)
    prepare = cache(lambda: prepare_cluster(run.used_profile, survey.root))

    def of_size(size: SurveySize) -> RunOrder:
        runner = _runner(survey, run, size, slurm, None)

        def run_order(order: Order, track: Track) -> None:
            prepare()
            runner(order, track)

        return run_order

    return of_size


def _runner(
    survey: Survey, run: RunOptions, size: SurveySize, executor: Executor, cpus: int | None
) -> UnitRunner:
    return UnitRunner(
        executor=executor,
        profile=run.used_profile,
        size=size,
        folder=survey.work_dir / UNITS,
        lenient=not run.strict,
        cpus=cpus,
    )
