"""From cards of photographs to products and report: the one flow, on this machine or a cluster.

Stages are run by threads of this process, by processes, or by jobs of a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from threading import Event

from flows.engine.cost import SurveySize
from flows.engine.stage import Order, RunOrder, here
from flows.engine.store import StageStore
from flows.execution.cluster_check import prepare_cluster
from flows.execution.local import LocalExecutor
from flows.execution.runner import UnitRunner
from flows.execution.slurm import SlurmExecutor, require_slurm
from flows.execution.slurm_commands import Commands
from flows.execution.unit import Executor
from flows.report.verdict import End
from flows.run.dry_run import steps_done
from flows.run.indices import (
    IndexOptions,
    default_indices,
    make_indices,
    plan_indices,
    refuse_unknown,
)
from flows.run.lock import locked
from flows.run.parts import Part, make_products, orient
from flows.run.plan import BAND_STEPS, ORIENTED, STEPS, MapOptions, MapPlan, plan_map
from flows.run.prefect.recorder import PLAIN, Recorder, choose_recorder
from flows.run.record import RUN, UNITS, Maker, RunBook
from flows.run.request import RunOptions, SurveyRequest, SurveyResult, Where
from flows.stages.indices import INDICES
from flows.stages.ingest import INGEST, forget_absent, order_ingest
from flows.stages.inputs import Step, require_space
from tmp.errors import TmpError
from tmp.progress import Track, silent
from tmp.survey import StrPath, Survey, create_survey

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
    prepare = cache(lambda: prepare_cluster(profile, survey.folder))

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


def map_survey(
    root: StrPath,
    options: MapOptions | None = None,
    *,
    steps: Sequence[Step] | None = None,
    track: Track = silent,
) -> SurveyResult:
    """Make products and report of a survey on threads of this process, as `run_survey` does."""
    request = SurveyRequest(map=options or MapOptions(), until=Part.PRODUCTS)
    run = RunOptions(on=Where.THREADS, strict=True, prefect=False)
    return run_survey(root, request, run, steps=steps, track=track)


def run_survey(
    root: StrPath,
    request: SurveyRequest,
    run: RunOptions,
    *,
    steps: Sequence[Step] | None = None,
    track: Track = silent,
) -> SurveyResult:
    """Run a survey from its cards to its report, as far as asked; what is done is kept.

    Parameters
    ----------
    root : path or Survey
        A survey folder; with cards it may be new.
    steps : sequence of Step, optional
        Stages of the map in order; by default those that the photographs call for.

    Raises
    ------
    NotASurveyError, VersionError, InputError
        Before anything is computed, if the survey or an option cannot be used, another command is
        at work on it, or the cluster cannot serve.
    OrientationError
        If the photographs cannot be oriented.
    SpaceError
        If the disk has too little room.
    ExecutionError
        If a process or job failed.
    """
    if run.on is Where.SLURM:
        require_slurm()
    if request.indices is not None:
        refuse_unknown(request.indices)
    survey = Survey(folder=Path(root))
    if request.cards:
        order_ingest(survey, request.cards, link=request.link, crs=request.crs)
        create_survey(survey.folder)
    else:
        plan_map(survey.folder, request.map, steps=steps)
    with locked(survey.work_dir / "lock", run.command):
        return _Run(survey=survey, request=request, how=run, steps=steps, track=track).go()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One run, whose survey is locked."""

    survey: Survey
    request: SurveyRequest
    how: RunOptions
    steps: Sequence[Step] | None
    track: Track

    def go(self) -> SurveyResult:
        """Run, and write down how it went."""
        book = RunBook(path=self.survey.work_dir / RUN)
        book.begin(self.how.on, {})

        def work() -> SurveyResult:
            recorder = PLAIN if self._all_done() else choose_recorder(self.how.prefect)
            name = self.survey.folder.resolve().name
            return recorder.flow(name, lambda: self._parts(book, recorder))

        return _noted(book, work)

    def _parts(self, book: RunBook, recorder: Recorder) -> SurveyResult:
        crew = choose_crew(self.survey, self.how, self.request.map.workers)

        def maker(size: SurveySize) -> Maker:
            return Maker(
                run_order=crew.of_size(size),
                recorder=recorder,
                book=book,
                track=self.track,
                side_by_side=crew.side_by_side,
                stop=crew.stopping.set,
            )

        if self.request.cards:
            forget_absent(self.survey)
            order, size = self._ingest()
            taken = recorder.flow(Part.INGEST, lambda: maker(size)(self._store, order))
            if self.request.until is Part.INGEST:
                return SurveyResult(survey=self.survey, results=(taken,))
        plan = self._plan()
        size = plan.size
        if not (plan.store.root / ORIENTED).exists():
            require_space(self.survey.work_dir, size.disk_gb * 1e9, "the run")
        return self._map(plan, maker(size), recorder)

    def _map(self, plan: MapPlan, make: Maker, recorder: Recorder) -> SurveyResult:
        survey, asked = self.survey, self.request.map.in_words()
        make.announce(step.stage.name for step in plan.steps)
        oriented = recorder.flow(Part.ORIENT, lambda: orient(plan, make))
        if not self.request.reaches(Part.PRODUCTS):
            return SurveyResult(survey=survey, results=tuple(oriented.values()))
        made = recorder.flow(Part.PRODUCTS, lambda: make_products(plan, oriented, make, asked))
        recorder.note_report(made.report_path)
        result = SurveyResult(
            survey=survey,
            results=made.results,
            report_path=made.report_path,
            verdict=made.verdict,
        )
        options = self._indices()
        if options is None:
            return result
        indices = recorder.flow(Part.INDICES, lambda: make_indices(survey, options, make))
        return replace(result, indices=indices)

    def _all_done(self) -> bool:
        """Tell whether there is nothing to run."""
        if self.request.cards:
            order, _ = self._ingest()
            if not self.survey.gpkg_path.exists() or self._store.find(order) is None:
                return False
            if self.request.until is Part.INGEST:
                return True
        if any(result is None for _, result in steps_done(self._plan())):
            return False
        options = self._indices()
        return options is None or plan_indices(self.survey, options).done

    @property
    def _store(self) -> StageStore:
        return StageStore(root=self.survey.work_dir / "stages")

    def _plan(self) -> MapPlan:
        return plan_map(
            self.survey.folder,
            self.request.map,
            steps=self.steps,
            retry_holes=self.how.tries_holes,
        )

    def _ingest(self) -> tuple[Order, SurveySize]:
        request = self.request
        return order_ingest(self.survey, request.cards, link=request.link, crs=request.crs)

    def _indices(self) -> IndexOptions | None:
        """Return the indices to compute of the products; None for none."""
        if not self.request.reaches(Part.INDICES):
            return None
        return self.request.indices or default_indices(self.survey, self.request.map.workers)


def _noted(book: RunBook, work: Callable[[], SurveyResult]) -> SurveyResult:
    """Run, and write down how it ended."""
    try:
        result = work()
    except TmpError as error:
        book.end("failed", str(error))
        raise
    except BaseException as error:
        book.end("stopped", "" if isinstance(error, KeyboardInterrupt) else repr(error))
        raise
    if result.verdict is not None and result.verdict.end is End.PARTIAL:
        book.end(str(End.PARTIAL), result.verdict.summary)
    else:
        book.end("done")
    return result
