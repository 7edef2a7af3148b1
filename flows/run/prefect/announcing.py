"""Telling Prefect's server of what happened to a survey, so that it can start what follows."""

from __future__ import annotations

import logging
import uuid
from pathlib import Path

from flows.run.prefect.server import find_server, using
from tmp.survey import Survey

log = logging.getLogger(__name__)

INGESTED = "tmp.card.ingested"
"""Event: a survey has photographs that it had not before."""
RESOURCE = "tmp.survey"
"""What the event is about, before the survey's name."""


def announce_ingest(root: Path) -> bool:
    """Tell Prefect's server, if there is one, that a survey has taken photographs in.

    Parameters
    ----------
    root : Path
        The survey's folder.

    Returns
    -------
    bool
        Whether it was told.  Nothing is from within a run: that goes on by itself.
    """
    server = find_server()
    if server is None or not server.answers:
        return False
    with using(server):
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
