"""From cards of photographs to products and report: the one flow, on this machine or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from flows.dryrun import steps_done
from flows.execution.executor import Executor
from flows.execution.local import LocalExecutor
from flows.execution.running import UnitRunner
from flows.execution.slurm import SlurmExecutor, require_slurm
from flows.indices import default_indices, make_indices, plan_indices, refuse_unknown
from flows.lock import locked
from flows.making import Maker
from flows.map import MapOptions, plan_map
from flows.orders import RunOrder, here
from flows.parts import Part, make_products, orient
from flows.prefecting import PLAIN, Recorder, choose_recorder
from flows.request import RunOptions, SurveyRequest, SurveyResult, Where
from flows.resources import SurveySize, survey_size
from flows.runs import RUN, UNITS, RunBook
from flows.space import require_space
from flows.stages import Step
from flows.steps import ORIENTED
from flows.store import StageStore, read_result
from flows.taking import forget_absent, order_ingest
from tmp.errors import TmpError
from tmp.progress import Track, silent
from tmp.survey import Survey, create_survey


def map_survey(
    root: Path, options: MapOptions, *, steps: Sequence[Step] | None = None, track: Track = silent
) -> SurveyResult:
    """Make products and report of a survey on threads of this process, as `run_survey` does."""
    request = SurveyRequest(map=options, until=Part.PRODUCTS)
    run = RunOptions(on=Where.THREADS, strict=True, prefect=False)
    return run_survey(root, request, run, steps=steps, track=track)


def run_survey(
    root: Path,
    request: SurveyRequest,
    run: RunOptions,
    *,
    steps: Sequence[Step] | None = None,
    track: Track = silent,
) -> SurveyResult:
    """Run a survey from its cards to its report, as far as asked; what is done is kept.

    Parameters
    ----------
    root : Path
        A survey folder; with cards it may be new.
    request : SurveyRequest
    run : RunOptions
    steps : sequence of Step, optional
        Stages of the map in order; by default those that the photographs call for.
    track : Track

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
    survey = Survey(root=root)
    if request.cards:
        order_ingest(survey, request.cards, link=request.link, crs=request.crs)
        create_survey(survey.root)
    else:
        plan_map(root, request.map, steps=steps)
    with locked(survey.work_dir / "lock", run.command):
        book = RunBook(path=survey.work_dir / RUN)
        book.begin(run.on, {})
        recorder = PLAIN if _all_done(survey, request, steps) else choose_recorder(run.prefect)
        makers = _makers(survey, request, run, recorder, book, track)

        def work() -> SurveyResult:
            return _run_parts(survey, request, steps, makers, recorder)

        return _noted(book, lambda: recorder.flow(survey.root.resolve().name, work))


Makers = Callable[[SurveySize], Maker]
"""Returns what makes the stages of a survey of a size."""


def _run_parts(
    survey: Survey,
    request: SurveyRequest,
    steps: Sequence[Step] | None,
    makers: Makers,
    recorder: Recorder,
) -> SurveyResult:
    if request.cards:
        forget_absent(survey)
        order, size = order_ingest(survey, request.cards, link=request.link, crs=request.crs)
        store = StageStore(root=survey.work_dir / "stages")
        taken = recorder.flow(Part.INGEST, lambda: makers(size)(store, order))
        if request.until is Part.INGEST:
            return SurveyResult(survey=survey, results=(taken,))
    plan = plan_map(survey.root, request.map, steps=steps)
    make = makers(survey_size(plan.captures))
    if not (plan.store.root / ORIENTED).exists():
        require_space(survey.work_dir, survey_size(plan.captures).disk_gb * 1e9, "the run")
    make.announce(step.stage.name for step in plan.steps)
    oriented = recorder.flow(Part.ORIENT, lambda: orient(plan, make))
    if not request.reaches(Part.PRODUCTS):
        return SurveyResult(survey=survey, results=tuple(oriented.values()))
    asked = request.map.in_words()
    made = recorder.flow(Part.PRODUCTS, lambda: make_products(plan, oriented, make, asked))
    result = SurveyResult(survey=survey, results=made.results, report_path=made.report_path)
    options = request.indices or default_indices(survey, request.map.workers)
    if not request.reaches(Part.INDICES) or options is None:
        return result
    indices = recorder.flow(Part.INDICES, lambda: make_indices(survey, options, make))
    return replace(result, indices=indices)


def _makers(
    survey: Survey,
    request: SurveyRequest,
    run: RunOptions,
    recorder: Recorder,
    book: RunBook,
    track: Track,
) -> Makers:
    runners = _order_runners(survey, run, request.map.workers)

    def of_size(size: SurveySize) -> Maker:
        return Maker(run_order=runners(size), recorder=recorder, book=book, track=track)

    return of_size


def _order_runners(
    survey: Survey, run: RunOptions, workers: int
) -> Callable[[SurveySize], RunOrder]:
    """Return what gives the way in which stages of a survey of a size are run."""
    if run.on is Where.THREADS:
        return lambda size: here(workers)
    on_slurm, profile = run.on is Where.SLURM, run.used_profile
    executor: Executor = SlurmExecutor(profile=profile) if on_slurm else LocalExecutor(cpus=workers)

    def of_size(size: SurveySize) -> RunOrder:
        runner = UnitRunner(
            executor=executor,
            profile=profile,
            size=size,
            folder=survey.work_dir / UNITS,
            lenient=not run.strict,
            cpus=None if on_slurm else workers,
        )

        return runner

    return of_size


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
    book.end("done")
    return result


def _all_done(survey: Survey, request: SurveyRequest, steps: Sequence[Step] | None) -> bool:
    """Tell whether there is nothing to run."""
    if request.cards:
        order, _ = order_ingest(survey, request.cards, link=request.link, crs=request.crs)
        if not survey.gpkg_path.exists() or read_result(order.folder) is None:
            return False
        if request.until is Part.INGEST:
            return True
    plan = plan_map(survey.root, request.map, steps=steps)
    if any(result is None for step, result in steps_done(plan)):
        return False
    options = request.indices or default_indices(survey, request.map.workers)
    if not request.reaches(Part.INDICES) or options is None:
        return True
    return plan_indices(survey, options).done
