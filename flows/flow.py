"""From cards of photographs to products and report: the one flow, on this machine or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.crew import choose_crew
from flows.dryrun import steps_done
from flows.execution.slurm import require_slurm
from flows.indices import (
    IndexOptions,
    default_indices,
    make_indices,
    plan_indices,
    refuse_unknown,
)
from flows.lock import locked
from flows.making import Maker
from flows.map import MapOptions, MapPlan, plan_map
from flows.orders import Order
from flows.parts import Part, make_products, orient
from flows.prefecting import PLAIN, Recorder, choose_recorder
from flows.request import RunOptions, SurveyRequest, SurveyResult, Where
from flows.resources import SurveySize
from flows.runs import RUN, RunBook
from flows.space import require_space
from flows.stages import Step
from flows.steps import ORIENTED
from flows.store import StageStore
from flows.taking import forget_absent, order_ingest
from flows.verdict import End
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
            name = self.survey.root.resolve().name
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
            self.survey.root,
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
