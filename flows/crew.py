"""Who runs the stages of a survey: threads of this process, processes, or jobs of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from threading import Event

from flows.execution.commands import Commands
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Those who run the stages of a survey."""

    of_size: Callable[[SurveySize], RunOrder]
    """Gives the way in which stages of a survey of a size are run."""
    side_by_side: bool = False
    """Whether there is room for several stages at the same time."""
    stopping: Event = field(default_factory=Event)
    """Set to have all stages at work stop."""


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
        return Crew(of_size=lambda size: here(workers))
    if run.on is Where.LOCAL:
        local = LocalExecutor(cpus=workers)
        return Crew(of_size=lambda size: _runner(survey, run, size, local, workers))
    return _cluster_crew(survey, run)


def _cluster_crew(survey: Survey, run: RunOptions) -> Crew:
    profile, commands = run.used_profile, Commands()
    profile.require_stages(STAGES)
    prepare = cache(lambda: prepare_cluster(profile, survey.root))

    def of_size(size: SurveySize) -> RunOrder:
        def run_order(order: Order, track: Track) -> None:
            prepare()
            # Each stage looks after its own jobs, as it may not be the only one at work.
            executor = SlurmExecutor(profile=profile, commands=commands)
            _runner(survey, run, size, executor, None)(order, track)

        return run_order

    return Crew(of_size=of_size, side_by_side=True, stopping=commands.stopping)


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
