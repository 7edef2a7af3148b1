"""Runs that Prefect starts: by a click, through its API, or when a survey's card is taken in.

``tmp serve`` registers the deployment ``survey/after-flight`` and starts its runs, each in a
process of its own.  Whoever reaches the server may change the deployment there, to the point of
having it run a shell; so a run takes nothing from it but its parameters, and `Service` says which.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil

from flows.prefect.records import INGESTED, RESOURCE
from flows.prefect.server import configure, configured_server
from flows.run.record import STOP_S
from flows.run.request import Service
from tmp.errors import InputError
from tmp.threads import ENDING, SERVICE

configure()  # before Prefect is imported

import prefect.runner.runner  # noqa: E402
from prefect.runner import Runner  # noqa: E402

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.deployments.runner import RunnerDeployment

DEPLOYMENT = "after-flight"
ENTRYPOINT = "PREFECT__FLOW_ENTRYPOINT"
"""Environment variable: the flow of a run, in place of what its deployment says."""
POLL_S = 0.1
"""Time between two looks at runs that are to end."""


def deployment(flow: Flow[..., Any], at_once: int) -> RunnerDeployment:
    """Return the deployment of a flow; more runs than so many at once wait."""
    from prefect.deployments.runner import RunnerDeployment
    from prefect.events import DeploymentEventTrigger
    from prefect.types.entrypoint import EntrypointType

    return RunnerDeployment.from_flow(
        flow,
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


def serve_runs(
    flow: Flow[..., Any], service: Service, at_once: int, *, without_password: bool = False
) -> None:
    """Start the runs of a flow that a server asks for, until stopped; stopping cancels them first.

    Raises
    ------
    InputError
        If no server is configured, it does not answer, or it answers without a password and that is
        not asked for.
    KeyboardInterrupt
        When it is stopped, by Ctrl-C or SIGTERM.
    """
    from flows.prefect.records import mark_dead_runs

    server = configured_server()
    if server is None or not server.answers():
        where = "none is configured" if server is None else f"{server.url} does not answer"
        raise InputError(
            f"a service needs a Prefect server: {where}; start one with 'prefect server start' "
            "and set PREFECT_API_URL"
        )
    if server.answers_anyone() and not without_password:
        raise InputError(
            f"{server.url} lets in whoever reaches it, and they could have surveys run as you: "
            "give it a password (PREFECT_SERVER_API_AUTH_STRING where it is started, "
            "PREFECT_API_AUTH_STRING here); where nobody else reaches it, pass --without-password"
        )
    os.environ[SERVICE] = service.to_text()
    _bind_to(flow)
    with server.used():
        mark_dead_runs()
        runner = _Runner(limit=at_once)
        runner.add_deployment(deployment(flow, at_once))
        try:
            asyncio.run(runner.serve())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


def _bind_to(flow: Flow[..., Any]) -> None:
    """Have runs and their hooks take the flow from here, never from what the server says it is."""
    os.environ[ENTRYPOINT] = f"{flow.fn.__module__}.{flow.fn.__name__}"

    async def ours(*_: object, **__: object) -> Flow[..., Any]:
        return flow

    prefect.runner.runner.load_flow_from_flow_run = ours  # type: ignore[attr-defined]


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
        for number in (signal.SIGINT, *ENDING):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self.handle_sigterm)
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
