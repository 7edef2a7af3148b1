"""The run of a survey: its stages in their order, from cards to report, without Prefect.

`flows.survey_flow` makes the same pieces as tasks of Prefect.  What has been made is known to the
stage store by its content, so that either way goes on where the other one was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property, partial
from pathlib import Path
from threading import Event, Lock

from flows.engine.cost import Forecast, SurveySize
from flows.engine.result import delete
from flows.engine.stage import Recipe, RunRecipe, Stage, execute
from flows.engine.store import Result, StageStore
from flows.execution.cluster_check import prepare_cluster
from flows.execution.local import LocalExecutor
from flows.execution.runner import UnitRunner
from flows.execution.slurm import SlurmExecutor, require_slurm
from flows.execution.slurm_commands import Commands
from flows.execution.unit import Executor
from flows.report.verdict import End, Verdict
from flows.run.indices import (
    default_indices,
    make_indices,
    plan_indices,
    refuse_unknown,
)
from flows.run.plan import BAND_STAGES, STAGES, MapPlan, plan_map
from flows.run.publish import publish_map
from flows.run.record import RUN, UNITS, RunBook
from flows.run.request import (
    ORIENTED,
    IndexOptions,
    IndicesResult,
    MapOptions,
    Part,
    RunOptions,
    SurveyRequest,
    SurveyResult,
    Where,
)
from flows.run.verify import find_changed, forget_work, refusal
from flows.stages.indices import Indices
from flows.stages.ingest import Ingest, forget_absent, ingest_recipe
from flows.stages.inputs import require_space
from tmp.captures import Capture
from tmp.errors import StoppedError, TmpError
from tmp.lock import locked_survey
from tmp.progress import Track, foresee, say_duration, silent
from tmp.survey import (
    StrPath,
    Survey,
    create_survey,
    open_survey,
    read_settings,
    refuse_other_folder,
    write_settings,
)
from tmp.threads import require_address_space

log = logging.getLogger(__name__)


class SurveyRun:
    """A run whose survey is locked: what is asked of it, what is made, and how each stage is.

    Not a dataclass, as Prefect takes those apart that are handed to its tasks.
    """

    def __init__(
        self,
        survey: Survey,
        request: SurveyRequest,
        how: RunOptions,
        *,
        stages: Sequence[type[Stage]] | None = None,
        track: Track = silent,
    ) -> None:
        self.survey, self.request, self.how = survey, request, how
        self.book = RunBook(path=survey.work_dir / RUN)
        self.stopping = Event()
        """Set to have all stages at work stop, from any thread."""
        self.results: dict[str, Result] = {}
        """Of the stages that are made, by name."""
        self.verdict: Verdict | None = None
        """How the map came out, once its products and its report are there."""
        self.indices: IndicesResult | None = None
        self.errors: dict[str, BaseException] = {}
        """What kept stages from being made, by name."""
        self._stages, self._track = stages, track
        self._found: dict[str, Result] = {}
        self._commands: Commands | None = None
        self._turn = Lock()

    def go(self) -> SurveyResult:
        """Make what is asked, stage by stage."""
        asked = self.request
        if asked.cards and Ingest.name not in self.results:
            self.ingest()
        left = [stage for stage in self._asked_stages if stage.name not in self.results]
        if self.side_by_side:
            self._make_side_by_side(left)
        else:
            for stage in left:
                self.make(stage)
        if asked.reaches(Part.PRODUCTS):
            self.publish()
        if asked.reaches(Part.INDICES):
            self.compute_indices()
        return self.result

    @property
    def result(self) -> SurveyResult:
        """What has been made so far."""
        planned = [] if "plan" not in self.__dict__ else self.plan.stages
        names = [Ingest.name, *(stage.name for stage in planned)]
        return SurveyResult(
            survey=self.survey,
            results=tuple(self.results[name] for name in names if name in self.results),
            report_path=self.survey.report_path if self.verdict else None,
            indices=self.indices,
            verdict=self.verdict,
        )

    @property
    def failure(self) -> BaseException | None:
        """What kept a stage from being made, unless it was merely stopped."""
        errors = self.errors.values()
        return next((error for error in errors if not isinstance(error, StoppedError)), None)

    @property
    def outcome(self) -> tuple[str, str]:
        """How the run ended that did not raise: a state for its book, and why."""
        if self.failure is not None:
            return "failed", str(self.failure)
        if self.stopping.is_set():
            return "stopped", ""
        if self.verdict is not None and self.verdict.end is End.PARTIAL:
            return str(End.PARTIAL), self.verdict.summary
        return "done", ""

    @cached_property
    def plan(self) -> MapPlan:
        """What the map will be made of; the photographs have been taken in.

        Photographs that have changed since are refused.  The place that is mapped is kept with
        the survey.
        """
        plan = plan_map(
            self.survey.folder,
            self.request.map,
            stages=self._stages,
            retry_holes=self.how.tries_holes,
        )
        self._refuse_changed(plan.captures)
        if plan.settings != read_settings(self.survey):
            write_settings(self.survey, plan.settings)
        return plan

    def _refuse_changed(self, captures: Sequence[Capture], made: Result | None = None) -> None:
        """Refuse photographs that have changed, and what was just made of them."""
        workers = self.request.map.workers
        changed = find_changed(self.survey, captures, workers=workers, track=self._track)
        if changed:
            if made is not None:
                delete(made.folder)
                forget_work(self.survey, changed)
            raise refusal(self.survey, changed)

    @property
    def side_by_side(self) -> bool:
        """Whether there is room for several stages at the same time."""
        return self.how.on is Where.SLURM

    def is_done(self) -> bool:
        """Tell whether there is nothing to make; what is found is not looked for again."""
        if self.request.cards:
            taken = self._store.find(self._ingest[0]) if self.survey.gpkg_path.exists() else None
            if taken is None:
                return False
            self._found[Ingest.name] = taken
        if self.request.reaches(Part.ORIENT):
            self._found |= self.plan.find_results()
        if any(stage.name not in self._found for stage in self._asked_stages):
            return False
        options = self.index_options
        return options is None or plan_indices(self.survey, options).done

    def get_ready(self) -> None:
        """Start the process that will make the first stage, if one will."""
        left = [stage for stage in self._asked_stages if stage.name not in self._found]
        if self.how.on is Where.LOCAL and left:
            self._local.get_ready(left[0].__module__)

    def refuse_cards(self) -> None:
        """Raise `InputError` for cards that cannot be taken in; writes nothing."""
        self._ingest  # noqa: B018  lists them

    def ingest(self) -> Result:
        """Take the photographs of the cards in."""
        forget_absent(self.survey)
        recipe, size = self._ingest
        result = self._make(self._store, recipe, size)
        if self.request.reaches(Part.ORIENT):
            self.book.expect(stage.name for stage in self.plan.stages)
        return result

    def make(self, stage: type[Stage]) -> Result:
        """Return the result of a stage of the map, made if it is not there.

        Raises
        ------
        TmpError
            As the stage raised it.
        """
        plan = self.plan
        return self._make(plan.store, plan.recipe(stage, self.results), plan.size)

    def publish(self) -> Verdict:
        """Put the products where people look for them, and write catalogue and report."""
        made = [self.results[stage.name] for stage in self.plan.stages]
        self.verdict = publish_map(self.plan, made, self.request.map.in_words())
        return self.verdict

    def compute_indices(self) -> IndicesResult | None:
        """Compute the indices that are asked for, or the first that the bands allow."""
        options = self.index_options
        if options is not None:
            make = partial(self._make, size=self.plan.size)
            self.indices = make_indices(self.survey, options, make)
        return self.indices

    def _make(self, store: StageStore, recipe: Recipe, size: SurveySize) -> Result:
        name = recipe.stage.name
        result = self._found.get(name) or store.find(recipe)
        if result is None:
            if recipe.stage is not Ingest and not (store.root / ORIENTED).exists():
                require_space(self.survey.work_dir, size.disk_gb * 1e9, "the run")
            self.book.note(name, "running")
            track = self._track
            if name in self.forecast_names:
                self.forecast.begin(name)
                track = self.forecast.watch(track, recipe.stage.label)
            try:
                result = store.make(recipe, run=self._runner(size), track=track)
                if recipe.stage is not Ingest:
                    self._refuse_changed(self.plan.captures, result)
            except BaseException as error:
                self.errors[name] = error
                self.book.note(name, "not done")
                raise
            log.info("%s: %s", name, _in_words(result))
        self.book.note(name, "nothing has changed" if result.reused else "done", result)
        self.results[name] = result
        self.errors.pop(name, None)
        if name in self.forecast_names:
            self.forecast.end(name)
        return result

    @property
    def forecast_names(self) -> frozenset[str]:
        """Stages whose time is foreseen: of the map, once the photographs are in, and in turn.

        How long jobs wait in a cluster's queue nobody knows.
        """
        if self.side_by_side or not self.survey.gpkg_path.exists():
            return frozenset()
        return frozenset(stage.name for stage in self._asked_stages)

    @cached_property
    def forecast(self) -> Forecast:
        """How long the map will take, for those who look at its progress."""
        plan, workers = self.plan, self.request.map.workers
        expected_s = {}
        for stage in self._asked_stages:
            if stage.name not in self.results and stage.name not in self._found:
                cost = stage.needs(plan.size)
                expected_s[stage.name] = cost.cpu_s / min(cost.cpus, workers)
        forecast = Forecast(expected_s)
        foresee(self._track, forecast.left_s)
        return forecast

    def _make_side_by_side(self, left: list[type[Stage]]) -> None:
        """Make each stage as soon as what it needs is there."""
        at_work: set[Future[Result]] = set()
        with ThreadPoolExecutor(max_workers=max(1, len(left))) as pool:
            try:
                while left or at_work:
                    ready = [stage for stage in left if set(stage.after) <= self.results.keys()]
                    for stage in ready or ([] if at_work else left[:1]):
                        left.remove(stage)
                        at_work.add(pool.submit(self.make, stage))
                    done, at_work = wait(at_work, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
            except BaseException:
                self.stopping.set()  # or the pool would wait for the others to do all their work
                raise

    @property
    def _asked_stages(self) -> Sequence[type[Stage]]:
        """The stages of the map that are asked for."""
        if not self.request.reaches(Part.ORIENT):
            return ()
        whole = self.request.reaches(Part.PRODUCTS)
        return self.plan.stages if whole else self.plan.until_oriented

    @property
    def _store(self) -> StageStore:
        return StageStore(root=self.survey.work_dir / "stages")

    @cached_property
    def _ingest(self) -> tuple[Recipe, SurveySize]:
        asked = self.request
        return ingest_recipe(self.survey, asked.cards, link=asked.link, crs=asked.crs)

    @property
    def index_options(self) -> IndexOptions | None:
        """The indices to compute of the products; None for none."""
        asked = self.request
        if not asked.reaches(Part.INDICES):
            return None
        return asked.indices or default_indices(self.survey, asked.map.workers)

    def _runner(self, size: SurveySize) -> RunRecipe:
        """Return how recipes are run: on threads, in processes, or as jobs of a cluster."""
        cores = self.request.map.workers
        if self.how.on is Where.THREADS:
            return partial(execute, workers=cores)
        if self.how.on is Where.LOCAL:
            return self._unit_runner(self._local, size, cores)
        # Each stage looks after its own jobs, as it may not be the only one at work.
        executor = SlurmExecutor(profile=self.how.used_profile, commands=self._cluster())
        return self._unit_runner(executor, size, None)

    def _unit_runner(self, executor: Executor, size: SurveySize, cpus: int | None) -> UnitRunner:
        return UnitRunner(
            executor=executor,
            profile=self.how.used_profile,
            size=size,
            folder=self.survey.work_dir / UNITS,
            lenient=not self.how.strict,
            cpus=cpus,
            stopping=self.stopping,
        )

    @cached_property
    def _local(self) -> LocalExecutor:
        return LocalExecutor(cpus=self.request.map.workers, scratch=self.how.used_profile.scratch)

    def _cluster(self) -> Commands:
        """Return the commands of a cluster, which is looked at before its first job."""
        with self._turn:
            if self._commands is None:
                prepare_cluster(self.how.used_profile, self.survey.folder)
                self._commands = Commands(stopping=self.stopping)
            return self._commands

    def close(self) -> None:
        """End the processes that wait for more to do."""
        if "_local" in self.__dict__:
            self._local.cancel()


def _in_words(result: Result) -> str:
    """Say what a result took."""
    usage, units = result.usage, max(len(result.units), 1)
    said = f"made by {units} unit{'s'[: units > 1]} in {say_duration(usage.wall_s)}, "
    said += f"{say_duration(usage.cpu_s)} of processor time, at most {usage.peak_gb:.2f} GB"
    return f"{said}; holes: {', '.join(sorted(result.holes))}" if result.holes else said


def map_survey(
    root: StrPath,
    options: MapOptions | None = None,
    *,
    stages: Sequence[type[Stage]] | None = None,
    track: Track = silent,
) -> SurveyResult:
    """Make products and report of a survey on threads of this process, as `run_survey` does."""
    request = SurveyRequest(map=options or MapOptions(), until=Part.PRODUCTS)
    how = RunOptions(on=Where.THREADS, strict=True)
    with open_run(root, request, how, stages=stages, track=track) as run:
        return run.go()


def run_survey(
    root: StrPath,
    request: SurveyRequest,
    how: RunOptions,
    *,
    go: Callable[[SurveyRun], SurveyResult] = SurveyRun.go,
    stages: Sequence[type[Stage]] | None = None,
    track: Track = silent,
) -> SurveyResult:
    """Run a survey from its cards to its report, as far as asked; what is done is kept.

    Parameters
    ----------
    root : path or Survey
        A survey folder; with cards it may be new.
    go : callable
        Runs what is to be made, by default stage by stage; not asked where nothing is.
    stages : sequence of Stage, optional
        Of the map, in order; by default those that the photographs call for.

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
    with open_run(root, request, how, stages=stages, track=track) as run:
        return run.go() if run.is_done() else go(run)


_UNDER_WAY: ContextVar[SurveyRun | None] = ContextVar("run under way", default=None)


@contextmanager
def open_run(
    root: StrPath,
    request: SurveyRequest,
    how: RunOptions,
    *,
    stages: Sequence[type[Stage]] | None = None,
    track: Track = silent,
) -> Iterator[SurveyRun]:
    """Lock a survey for a run, and write down how that ends; within a run of it, join that one."""
    root = Path(root)
    under_way = _UNDER_WAY.get()
    if under_way is not None and under_way.survey.folder.resolve() == root.resolve():
        yield under_way
        return
    if how.on is Where.SLURM:
        require_slurm()
        how.used_profile.require_stages(STAGE_NAMES)
    else:
        require_address_space()
    if request.indices is not None:
        refuse_unknown(request.indices)
    run = SurveyRun(Survey(folder=root), request, how, stages=stages, track=track)
    if request.cards:
        run.refuse_cards()
        refuse_other_folder(root)
    else:
        open_survey(root)
    with locked_survey(run.survey, how.command):
        create_survey(root)
        names = [] if request.cards else [stage.name for stage in run.plan.stages]
        token = _UNDER_WAY.set(run)
        run.book.begin(how.on, names)
        try:
            yield run
        except TmpError as error:
            run.book.end("failed", str(error))
            raise
        except BaseException as error:
            run.book.end("stopped", "" if isinstance(error, KeyboardInterrupt) else repr(error))
            raise
        finally:
            run.close()
            _UNDER_WAY.reset(token)
        run.book.end(*run.outcome)


STAGE_NAMES = (Ingest.name, *(stage.name for stage in (*STAGES, *BAND_STAGES)), Indices.name)
"""Names that a cluster's profile may give places and amounts to."""
