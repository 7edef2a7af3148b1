"""The run of a survey as a Prefect flow: a sub-flow for each part, a task for each stage.

All are thin over `flows.pipeline.SurveyRun`, which knows no Prefect.  Results are known to the
stage store by their content, so Prefect keeps none of them: what was there already is *Cached*.
Each sub-flow can be deployed alone; within a run of the survey it joins that run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.engine.cost import Quality
from flows.engine.stage import Stage
from flows.engine.store import Result
from flows.pipeline import SurveyRun, open_run
from flows.prefect.server import PACKAGES, Server, configure
from flows.run.request import (
    IndexOptions,
    MapOptions,
    Part,
    SurveyRequest,
    SurveyResult,
    service_of_process,
)
from tmp.captures import HeightUse
from tmp.errors import StoppedError, TransientError

configure()  # before Prefect is imported
for _package in PACKAGES:
    logging.getLogger(_package).setLevel(logging.INFO)  # to the run's page; less to a terminal

from prefect import flow, get_client, task  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.exceptions import PrefectSignal, TerminationSignal  # noqa: E402
from prefect.futures import as_completed  # noqa: E402
from prefect.runtime import deployment, flow_run, task_run  # noqa: E402
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings  # noqa: E402
from prefect.states import Cancelled, Completed, Failed  # noqa: E402
from prefect.task_runners import ThreadPoolTaskRunner  # noqa: E402

from flows.prefect.records import FLOW, mark_dead_runs, note_run, note_stage, sign_run  # noqa: E402  # noqa: E402

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State
    from prefect.futures import PrefectFuture

log = logging.getLogger(__name__)

STOPPED = "stopped; run again to go on"
LOOK_EVERY_S = 2.0
"""Time between two looks at whether somebody has cancelled the run."""
RETRY_AFTER_S = 10.0
"""Time after which a stage is tried again that failed for a passing reason."""


def _is_transient(_task: object, _run: object, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, TransientError)


STAGE: dict[str, Any] = {
    "task_run_name": lambda: task_run.task_name,
    "cache_policy": NO_CACHE,
    "persist_result": False,
    "retries": 1,
    "retry_delay_seconds": RETRY_AFTER_S,
    "retry_condition_fn": _is_transient,
}
"""How each stage is a task."""
PART: dict[str, Any] = {
    "flow_run_name": lambda: Path(str(flow_run.parameters["survey"])).name,
    "persist_result": False,
    "task_runner": ThreadPoolTaskRunner(max_workers=16),
}
"""How each part is a flow."""


@task(name="ingest", **STAGE)
def take_photographs(run: SurveyRun) -> State[Any]:
    """Copy the photographs of the cards, verify the copies, and judge what was taken."""
    return _ended(run.ingest)


@task(**STAGE)
def make_stage(run: SurveyRun, stage: type[Stage]) -> State[Any]:
    """Make a stage of a run's map; shown by the name of the stage."""
    return _ended(lambda: run.make(stage))


@task(**STAGE)
def report(run: SurveyRun) -> State[Any]:
    """Put the products where people look for them, and write catalogue and report."""
    verdict = run.publish()
    with suppress(Exception):
        note_run(list(run.results.values()), run.survey.report_path)
    return Completed(message=verdict.summary)


@task(name="indices", **STAGE)
def compute_indices(run: SurveyRun) -> State[Any]:
    """Compute the indices that are asked for, or the first that the bands allow."""
    return _ended(lambda: run.results["indices"] if run.compute_indices() else None)


@flow(name="ingest", **PART)
def ingest(survey: str, cards: tuple[str, ...]) -> State[Any]:
    """Take the photographs of cards into a survey.

    Parameters
    ----------
    survey : str
        Its folder, or its name in the service's folder of surveys.
    cards : tuple of str
        Folders of photographs.
    """
    with _opened(survey, cards=cards, until=Part.INGEST) as run:
        return _joined(run, [take_photographs.submit(run)])


@flow(name="orient", **PART)
def orient(survey: str, quality: Quality = Quality.NORMAL) -> State[Any]:
    """Orient the photographs of a survey."""
    with _opened(survey, quality=quality, until=Part.ORIENT) as run:
        return _make_all(run, run.plan.until_oriented)


@flow(name="products", **PART)
def products(
    survey: str,
    quality: Quality = Quality.NORMAL,
    area: str = "",
    ortho_gsd_m: float | None = None,
    water: str = "",
) -> State[Any]:
    """Make the products of a survey and its report; what they build on is made if need be."""
    with _opened(
        survey,
        quality=quality,
        area=area,
        water=water,
        ortho_gsd_m=ortho_gsd_m,
        until=Part.PRODUCTS,
    ) as run:
        state = _make_all(run, run.plan.stages)
        return _joined(run, [report.submit(run)]) if state.is_completed() else state


@flow(name="indices", **PART)
def indices(survey: str, indices: tuple[str, ...] = ()) -> State[Any]:
    """Compute indices of a survey that has its products.

    Parameters
    ----------
    indices : tuple of str
        Their names; empty for the one that the bands are first looked at by.
    """
    with _opened(survey, indices=indices) as run:
        return _joined(run, [compute_indices.submit(run)])


@flow(name=FLOW, **PART)
def survey(  # noqa: PLR0913 - what whoever starts a deployment may choose
    survey: str,
    cards: tuple[str, ...] = (),
    quality: Quality = Quality.NORMAL,
    until: Part = Part.INDICES,
    area: str = "",
    ortho_gsd_m: float | None = None,
    indices: tuple[str, ...] = (),
    heights: HeightUse = HeightUse.AUTO,
    water: str = "",
) -> State[Any]:
    """Make everything of a survey, from card to report.

    Parameters
    ----------
    survey : str
        Its folder, or its name in the service's folder of surveys.
    cards : tuple of str
        Folders of photographs that are taken in first.
    quality, until : str
        How much work is spent on detail, and the last part that is run.
    area : str
        File of the polygons to crop to; empty for all.
    ortho_gsd_m : float, optional
        Cell of the orthomosaic; by default the photographs' own.
    indices : tuple of str
        Names of indices; empty for the one that the bands are first looked at by.
    heights : str
        Whether recorded heights give the map its tilt.
    water : str
        File of the polygons of water; empty for none.
    """
    with _opened(
        survey,
        cards=cards,
        quality=quality,
        until=until,
        area=area,
        water=water,
        ortho_gsd_m=ortho_gsd_m,
        indices=indices,
        heights=heights,
    ) as run:
        state: State[Any] = Completed()
        if run.request.cards:
            state = ingest(survey, cards, return_state=True)
        if state.is_completed() and run.request.reaches(Part.ORIENT):
            state = orient(survey, quality, return_state=True)
        if state.is_completed() and run.request.reaches(Part.PRODUCTS):
            state = products(survey, quality, area, ortho_gsd_m, water, return_state=True)
        if state.is_completed() and run.index_options is not None:
            state = INDICES(survey, indices, return_state=True)
        return Completed(message=_summary(run.result)) if state.is_completed() else _as(state)


INDICES = indices
"""The flow, which a parameter of `survey` hides by its name."""


def run_flow(run: SurveyRun, server: Server) -> SurveyResult:
    """Run the flow for a run that is open; should its server go away, the pipeline goes on.

    Raises
    ------
    TmpError
        As a stage raised it.
    KeyboardInterrupt
        If somebody stopped the run, here or on Prefect's pages.
    """
    asked = run.request
    if not asked.cards:
        run.get_ready()  # while the server is still starting
    try:
        with server.used():
            state: State[Any] = survey(
                str(run.survey.folder.resolve()),
                tuple(map(str, asked.cards)),
                asked.map.quality,
                asked.until,
                str(asked.map.area_file or ""),
                asked.map.ortho_gsd_m,
                asked.indices.indices if asked.indices else (),
                asked.map.heights,
                str(asked.map.water_file or ""),
                return_state=True,
            )
    except (Exception, PrefectSignal) as error:
        if not run.errors:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            log.warning("Prefect's record of the run ends here, the run does not: %s", said)
        state = Failed()
    if run.failure is not None:
        raise run.failure
    if run.stopping.is_set():
        raise KeyboardInterrupt
    return run.result if state.is_completed() else run.go()


def _ended(work: Callable[[], Result | None]) -> State[Any]:
    """Do the work of a stage; returns how it ended, in Prefect's words."""
    try:
        result = work()
    except StoppedError:
        return Cancelled(message=STOPPED)
    if result is None:
        return Completed(message="nothing is asked for")
    with suppress(Exception):  # a record that fails does not fail the work
        note_stage(result)
    if result.reused:
        return Completed(name="Cached", message="nothing has changed")
    return Completed()


def _make_all(run: SurveyRun, stages: Sequence[type[Stage]]) -> State[Any]:
    """Make stages as tasks, each after those that it needs; returns how that ended."""
    made: dict[str, PrefectFuture[Any]] = {}
    with _interruptible(run, made.values()):
        for stage in stages:
            if stage.name in run.results:
                continue
            needed = [made[name] for name in stage.after if name in made]
            named = make_stage.with_options(name=stage.name, description=getdoc(stage))
            made[stage.name] = future = named.submit(
                run, stage, wait_for=needed, return_state=False
            )
            if not run.side_by_side:
                future.wait()
                if not future.state.is_completed():
                    break
    return _joined(run, list(made.values()))


def _joined(run: SurveyRun, tasks: Sequence[PrefectFuture[Any]]) -> State[Any]:
    """Wait for tasks; returns how the flow that they are of ends."""
    with _interruptible(run, tasks):
        for each in as_completed(list(tasks)):
            each.wait()  # knows its state then
            if each.state.is_failed():
                run.stopping.set()  # or the others would do all their work first
    failed = [each.state.message or "" for each in tasks if each.state.is_failed()]
    if failed:
        return Failed(message="; ".join(failed))
    return Cancelled(message=STOPPED) if run.stopping.is_set() else Completed()


@contextmanager
def _interruptible(run: SurveyRun, tasks: Collection[PrefectFuture[Any]]) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM within the block stop the tasks, in good order."""
    try:
        yield
    except (KeyboardInterrupt, TerminationSignal):
        run.stopping.set()
        for each in tasks:
            each.wait()
        if deployment.id and _is_cancelling():  # its runner has the last word
            raise


def _is_cancelling() -> bool:
    """Tell whether somebody has cancelled this flow run on Prefect's pages."""
    with suppress(Exception), get_client(sync_client=True) as client:
        state = client.read_flow_run(flow_run.id).state
        return state is not None and state.is_cancelling()
    return False


def _as(state: State[Any]) -> State[Any]:
    """Return a state for a flow that ends as a flow within it did."""
    if state.is_cancelled():
        return Cancelled(message=state.message)
    return Failed(message=state.message)


def _summary(result: SurveyResult) -> str:
    ended = "" if result.verdict is None else f"{result.verdict.summary}; "
    return f"{ended}report: {result.report_path}" if result.report_path else ""


@contextmanager
def _opened(  # noqa: PLR0913 - as many as the flow has
    survey: str,
    *,
    cards: Sequence[str] = (),
    quality: Quality = Quality.NORMAL,
    until: Part = Part.INDICES,
    area: str = "",
    ortho_gsd_m: float | None = None,
    indices: Sequence[str] = (),
    heights: HeightUse = HeightUse.AUTO,
    water: str = "",
) -> Iterator[SurveyRun]:
    """Open a run of a survey for the flow that this is called in, or join the one under way."""
    service = service_of_process()
    names = tuple(indices)
    request = SurveyRequest(
        map=MapOptions(
            quality=quality,
            area_file=service.readable(area) if area else None,
            water_file=service.readable(water) if water else None,
            ortho_gsd_m=ortho_gsd_m,
            heights=heights,
            workers=service.workers,
        ),
        cards=tuple(map(service.readable, cards)),
        indices=IndexOptions(indices=names, workers=service.workers) if names else None,
        until=until,
    )
    with open_run(service.survey(survey), request, service.options()) as run:
        if flow_run.parent_flow_run_id is not None:
            yield run
            return
        sign_run()  # first, or a run that is retried would be taken for its dead first try
        mark_dead_runs()
        with _cancelled_from_outside(run):
            yield run


@contextmanager
def _cancelled_from_outside(run: SurveyRun) -> Iterator[None]:
    """Stop a run within the block once somebody cancels its flow run on Prefect's pages."""
    over, run_id = threading.Event(), flow_run.id

    def watch() -> None:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True) as client,
        ):
            while not over.wait(LOOK_EVERY_S):
                with suppress(Exception):  # a server that is away decides nothing
                    state = client.read_flow_run(run_id).state
                    if state is not None and state.is_cancelling():
                        run.stopping.set()
                        return

    threading.Thread(target=copy_context().run, args=(watch,), daemon=True).start()
    try:
        yield
    finally:
        over.set()
