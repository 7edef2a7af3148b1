"""Runs that Prefect starts: by a click, through its API, or when a survey's card is taken in.

``tmp serve`` registers the deployment ``survey/after-flight`` and starts its runs, each in a
process of its own.  Who may reach the server may ask for runs, so what could make a run do
anything else is not theirs to choose: the folder of surveys, the cluster and its profile are
settled by who starts the service.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil

from flows.engine.cost import Quality
from flows.run.prefect.announcing import INGESTED, RESOURCE
from flows.run.prefect.recorder import FLOW
from flows.run.prefect.server import configure, find_server, using
from flows.run.record import STOP_S
from tmp.errors import InputError, TmpError

configure()  # before Prefect is imported, which a flow that others can find must be

from prefect import flow  # noqa: E402
from prefect.exceptions import TerminationSignal  # noqa: E402
from prefect.runner import Runner  # noqa: E402
from prefect.states import Completed, Failed  # noqa: E402

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State
    from prefect.deployments.runner import RunnerDeployment

    from flows.run.request import RunOptions, SurveyRequest, SurveyResult

DEPLOYMENT = "after-flight"
SERVICE = "TMP_SERVICE"
"""Environment variable that tells the processes of runs what service they belong to."""

POLL_S = 0.1
"""Time between two looks at runs that are to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is settled for all runs of a service."""

    surveys: Path
    """Folder of the surveys; no run works outside it."""
    on: Literal["local", "slurm"] = "local"
    profile_path: Path | None = None
    """The cluster's ``cluster.toml``."""
    workers: int = 1
    """Threads and cores of a run on this machine."""

    def to_text(self) -> str:
        """Return the service as JSON."""
        profile = None if self.profile_path is None else str(self.profile_path.resolve())
        said = {"surveys": str(self.surveys.resolve()), "on": self.on}
        return json.dumps(said | {"profile_path": profile, "workers": self.workers})

    @classmethod
    def from_text(cls, text: str) -> Service:
        """Return the service that `to_text` wrote."""
        said = json.loads(text)
        profile = said["profile_path"]
        return cls(
            surveys=Path(said["surveys"]),
            on=said["on"],
            profile_path=None if profile is None else Path(profile),
            workers=said["workers"],
        )

    def survey(self, name: str) -> Path:
        """Return the folder of a survey, given by its name or path.

        Raises
        ------
        InputError
            If it is not below the folder of surveys.
        """
        root = self.surveys.resolve()
        folder = (root / name).resolve()
        if folder == root or not folder.is_relative_to(root):
            raise InputError(f"{name}: not a survey below {root}, which is all this service runs")
        return folder


def _run_name() -> str:
    from prefect.runtime import flow_run

    return Path(str(flow_run.parameters["survey"])).name


@flow(name=FLOW, flow_run_name=_run_name, persist_result=False)
def after_flight(
    survey: str,
    cards: tuple[str, ...] = (),
    quality: Quality = Quality.NORMAL,
    until: Literal["ingest", "orient", "products", "indices"] = "indices",
    area: str = "",
    ortho_gsd_m: float | None = None,
    indices: tuple[str, ...] = (),
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
    """
    asked = {
        "cards": cards,
        "quality": quality,
        "until": until,
        "area": area,
        "ortho_gsd_m": ortho_gsd_m,
        "indices": indices,
    }
    try:
        service = Service.from_text(os.environ[SERVICE])
        result = run_asked(service, service.survey(survey), asked)
    except TmpError as error:
        return Failed(message=str(error))
    except KeyboardInterrupt:  # as which runs end that are stopped; Prefect knows its own
        raise TerminationSignal(signal.SIGTERM) from None
    if result.report_path is None:
        return Completed(message=None)
    ended = "" if result.verdict is None else f"{result.verdict.summary}; "
    return Completed(message=f"{ended}report: {result.report_path}")


def run_asked(service: Service, survey: Path, asked: dict[str, Any]) -> SurveyResult:
    """Run a survey as a service was asked to."""
    from flows.run.survey_flow import run_survey

    return run_survey(survey, _request(asked, service.workers), _options(service))


def _request(asked: dict[str, Any], workers: int) -> SurveyRequest:
    from flows.run.indices import IndexOptions
    from flows.run.parts import Part
    from flows.run.plan import MapOptions
    from flows.run.request import SurveyRequest

    names = tuple(asked["indices"])
    return SurveyRequest(
        map=MapOptions(
            quality=Quality(asked["quality"]),
            area_file=Path(asked["area"]) if asked["area"] else None,
            ortho_gsd_m=asked["ortho_gsd_m"],
            workers=workers,
        ),
        cards=tuple(Path(card) for card in asked["cards"]),
        indices=IndexOptions(indices=names, workers=workers) if names else None,
        until=Part(asked["until"]),
    )


def _options(service: Service) -> RunOptions:
    from flows.execution.cluster_profile import read_profile
    from flows.run.request import RunOptions, Where

    path = service.profile_path
    return RunOptions(on=Where(service.on), profile=None if path is None else read_profile(path))


def deployment(at_once: int) -> RunnerDeployment:
    """Return the deployment of `after_flight`; more runs than so many at once wait."""
    from prefect.deployments.runner import RunnerDeployment
    from prefect.events import DeploymentEventTrigger
    from prefect.types.entrypoint import EntrypointType

    return RunnerDeployment.from_flow(
        after_flight,
        name=DEPLOYMENT,
        description="From card to report; started by hand, by the API, or by an ingest.",
        # By its file Prefect would load the module under another name, unknown to workers.
        entrypoint_type=EntrypointType.MODULE_PATH,
        concurrency_limit=at_once,
        triggers=[
            DeploymentEventTrigger(
                name="a card has been ingested",
                expect={INGESTED},
                match={"prefect.resource.id": f"{RESOURCE}.*"},
                parameters={"survey": "{{ event.payload.survey }}"},
            )
        ],
    )


def serve_runs(service: Service, at_once: int) -> None:
    """Start the runs that a server asks for, until stopped; stopping cancels them first.

    Raises
    ------
    InputError
        If no server is configured, or it does not answer.
    KeyboardInterrupt
        When it is stopped, by Ctrl-C or SIGTERM.
    """
    from flows.run.prefect.janitor import mark_dead_runs

    server = find_server()
    if server is None or not server.answers:
        where = "none is configured" if server is None else f"{server.url} does not answer"
        raise InputError(
            f"a service needs a Prefect server: {where}; start one with 'prefect server start' "
            "and set PREFECT_API_URL"
        )
    os.environ[SERVICE] = service.to_text()
    with using(server):
        mark_dead_runs()
        runner = _Runner(limit=at_once)
        runner.add_deployment(deployment(at_once))
        try:
            asyncio.run(runner.serve())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


class _Runner(Runner):
    """Ends its runs in good order before it ends itself: Prefect's own kills them at once."""

    _end: Callable[[], object]

    async def serve(self) -> None:
        """Start runs until a signal comes."""
        loop, serving = asyncio.get_running_loop(), asyncio.current_task()

        async def end() -> None:
            await asyncio.to_thread(_end_runs)
            if serving is not None:
                serving.cancel()

        self._end = lambda: asyncio.run_coroutine_threadsafe(end(), loop)
        signal.signal(signal.SIGINT, self.handle_sigterm)
        await self.start()

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        """Do what `start` has a signal do."""
        del args, kwargs
        self._end()


def _end_runs() -> None:
    """Ask the processes of runs to stop, and wait until they have cancelled their jobs."""
    runs = [child for child in psutil.Process().children() if _is_run(child)]
    for run in runs:
        with suppress(psutil.NoSuchProcess):
            run.terminate()
    deadline_s = time.monotonic() + STOP_S
    # Not waited for by `wait`, which would take their exit status away from Prefect's runner.
    while any(run.is_running() for run in runs) and time.monotonic() < deadline_s:
        time.sleep(POLL_S)


def _is_run(process: psutil.Process) -> bool:
    try:
        return "PREFECT__FLOW_RUN_ID" in process.environ()
    except psutil.Error:
        return False
