"""Flow runs whose process is dead: nobody but the next run can say so to Prefect's server."""

from __future__ import annotations

import logging
import os
import platform
from typing import TYPE_CHECKING, Any

from tmp.threads import process_began_s, runs_here

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

log = logging.getLogger(__name__)

FLOW = "survey"
"""Name of the flow from card to report; a run of it has the survey's name."""

HOST, PROCESS, STARTED = "tmp.host", "tmp.process", "tmp.started"
"""Labels of a flow run: whose it is."""
DEAD = "the process was killed; run again to go on"


def sign_run() -> str:
    """Label the flow run that this process is in with who it is; returns the run's id."""
    from prefect.client.orchestration import get_client
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("no flow run to sign; call it within one")
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(context.flow_run.id, _signature())
    return str(context.flow_run.id)


def mark_dead_runs() -> int:
    """Mark this machine's flow runs whose process is no more as crashed; returns how many."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter

    ours = FlowFilter.model_validate({"name": {"any_": [FLOW]}})
    running = FlowRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING", "CANCELLING"]}}})
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_filter=ours, flow_run_filter=running)
        dead = [run for run in found if _is_dead(run)]
        for run in dead:
            _mark(client, run)
    if dead:
        log.info("marked %d flow runs of killed processes as crashed", len(dead))
    return len(dead)


def _signature() -> dict[str, Any]:
    return {
        HOST: platform.node(),
        PROCESS: os.getpid(),
        STARTED: process_began_s(),
    }


def _is_dead(run: FlowRun) -> bool:
    """Tell whether a flow run was one of this machine and its process has ended."""
    signed = run.labels
    if signed.get(HOST) != platform.node() or STARTED not in signed:
        return False
    return not runs_here(int(signed[PROCESS]), float(signed[STARTED]))


def _mark(client: SyncPrefectClient, run: FlowRun) -> None:
    """Mark a run, the flows in it, and their tasks, as crashed."""
    from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
    from prefect.states import Crashed

    inner = FlowRunFilter.model_validate({"parent_flow_run_id": {"any_": [run.id]}})
    runs = [run, *client.read_flow_runs(flow_run_filter=inner)]
    tasks = client.read_task_runs(
        flow_run_filter=FlowRunFilter.model_validate({"id": {"any_": [each.id for each in runs]}}),
        task_run_filter=TaskRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING"]}}}),
    )
    for task in tasks:
        client.set_task_run_state(task.id, Crashed(message=DEAD), force=True)
    for each in reversed(runs):
        if each.state is None or not each.state.is_final():
            client.set_flow_run_state(each.id, Crashed(message=DEAD), force=True)
