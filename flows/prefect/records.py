"""What Prefect's server is told: cards taken in, what stages made, which runs are dead."""

from __future__ import annotations

import logging
import os
import platform
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.prefect.server import configured_server
from tmp.survey import Survey
from tmp.threads import process_began_s, runs_here

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

    from flows.engine.store import Result

log = logging.getLogger(__name__)

INGESTED = "tmp.card.ingested"
"""Event: a survey has photographs that it had not before."""
RESOURCE = "tmp.survey"
"""What the event is about, before the survey's name."""
SHOWN_UNITS = 20
"""Most units of a stage that are listed; of more, the longest."""
FLOW = "survey"
"""Name of the flow from card to report; a run of it has the survey's name."""

HOST, PROCESS, STARTED = "tmp.host", "tmp.process", "tmp.started"
"""Labels of a flow run: whose it is."""
DEAD = "the process was killed; run again to go on"


def announce_ingest(root: Path) -> bool:
    """Tell Prefect's server, if there is one, that a survey has taken photographs in.

    Returns whether it was told.  Nothing is from within a run: that goes on by itself.
    """
    server = configured_server()
    if server is None or not server.answers():
        return False
    with server.used():
        return _announce(Survey(folder=root.resolve()))


def _announce(survey: Survey) -> bool:
    from prefect.context import FlowRunContext
    from prefect.events import emit_event
    from prefect.events.worker import EventsWorker

    if FlowRunContext.get() is not None:
        return False
    told = emit_event(
        INGESTED,
        resource={
            "prefect.resource.id": f"{RESOURCE}.{survey.folder.name}",
            "prefect.resource.name": survey.folder.name,
        },
        payload={"survey": str(survey.folder)},
        id=_event_id(survey),
    )
    EventsWorker.instance().wait_until_empty()  # the process may end next
    return told is not None


def _event_id(survey: Survey) -> uuid.UUID:
    """Return an id that is the same for the same photographs: what is told twice counts once."""
    manifest = survey.manifest_path
    said = manifest.read_text(encoding="utf-8") if manifest.exists() else ""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{survey.folder.as_uri()}\n{said}")


def note_stage(result: Result) -> None:
    """Record a stage's page as an artifact of the Prefect task that this runs in."""
    from prefect.artifacts import create_markdown_artifact

    create_markdown_artifact(
        key=_key(result.stage), markdown=stage_page(result), description=f"{result.stage}: result"
    )


def note_run(results: Sequence[Result], report: Path | None) -> None:
    """Record the table of a run's stages, and where its report is, as artifacts of its flow."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    if results:
        create_table_artifact(
            key="stages", table=[stage_row(result) for result in results], description="Stages"
        )
    if report is not None:
        # A browser does not follow a link from a server's page to a file, so its path is text.
        create_markdown_artifact(
            key="report",
            markdown=f"On {platform.node()}: `{report.resolve()}`",
            description="The report of the survey",
        )


def stage_row(result: Result) -> dict[str, Any]:
    """Return a stage's row in the table of a run."""
    usage = result.usage
    return {
        "stage": result.stage,
        "state": "nothing has changed" if result.reused else "done",
        "wall s": round(usage.wall_s, 1),
        "cpu s": round(usage.cpu_s, 1),
        "peak GB": round(usage.peak_gb, 2),
        "units": max(len(result.units), 1),
        "holes": len(result.figures.get("holes", ())),
    }


def stage_page(result: Result) -> str:
    """Return a stage's page in Markdown: picture, cost, figures, holes, units, folder.

    A stage of which nothing was made anew says what it cost then.
    """
    usage = result.usage
    cost = {
        "wall time": f"{usage.wall_s:.1f} s",
        "processor time": f"{usage.cpu_s:.1f} s",
        "peak memory": f"{usage.peak_gb:.2f} GB",
        "units": str(max(len(result.units), 1)),
    }
    said = "Taken from an earlier run: nothing has changed." if result.reused else ""
    figures = {
        key.replace("_", " "): _said(value)
        for key, value in result.figures.items()
        if key != "holes" and isinstance(value, str | int | float)
    }
    holes = result.figures.get("holes", ())
    parts = [
        f"# {result.stage}",
        said,
        _picture(result),
        _table("cost", cost),
        _table("figure", figures),
        f"**Holes** at tiles {', '.join(holes)}." if holes else "",
        _units(result),
        f"Files: `{result.folder}`",
    ]
    return "\n\n".join(part for part in parts if part)


def _table(title: str, rows: Mapping[str, str]) -> str:
    if not rows:
        return ""
    lines = [f"| {title} | |", "| --- | --- |"]
    lines += [f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items()]
    return "\n".join(lines)


def _units(result: Result) -> str:
    if len(result.units) < 2:
        return ""
    longest = sorted(result.units, key=lambda unit: unit.usage.wall_s, reverse=True)[:SHOWN_UNITS]
    lines = ["| unit | where | wall s | peak GB | tries |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {_cell(unit.part)} | {_cell(f'{unit.host} {unit.job}'.strip())} "
        f"| {unit.usage.wall_s:.1f} | {unit.usage.peak_gb:.2f} | {unit.attempts} |"
        for unit in longest
    ]
    left = len(result.units) - len(longest)
    return "\n".join(lines) + (f"\n\n{left} shorter ones are not listed." if left else "")


def _cell(text: str) -> str:
    """Write text so that it stays within its cell of a table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _said(value: str | int | float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _key(stage: str) -> str:
    """Name an artifact as Prefect wants it: small letters, digits and dashes."""
    return re.sub("[^a-z0-9]+", "-", stage.lower()).strip("-") or "stage"


def _picture(result: Result) -> str:
    """Return the picture of a stage's product in Markdown; empty where it has none."""
    from flows.report.figures import thumbnail

    name, address = thumbnail(result.folder)
    return f"![{name}]({address})" if address else ""


def sign_run() -> str:
    """Label the flow run that this process is in with who it is; returns the run's id."""
    from prefect.client.orchestration import get_client
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("no flow run to sign; call it within one")
    signature: dict[str, Any] = {
        HOST: platform.node(),
        PROCESS: os.getpid(),
        STARTED: process_began_s(),
    }
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(context.flow_run.id, signature)
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
