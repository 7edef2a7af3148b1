"""What the last map of a survey was made of, so that later commands can write its report anew."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from flows.report import MapRecord
from flows.steps import ORIENTED
from flows.store import Result, read_result
from tmp.captures import Capture
from tmp.files import replacing
from tmp.reconstruction import read_reconstruction
from tmp.survey import Settings, Survey

RECORD = "map.json"


def remember_map(record: MapRecord) -> None:
    """Write ``work/map.json``: which results the map is made of, and what was asked."""
    survey = record.survey
    work = survey.work_dir.resolve()
    folders = [result.folder.resolve() for result in record.results]
    document = {
        "asked": record.asked,
        "area_wkt": record.area_wkt,
        "results": [folder.relative_to(work).as_posix() for folder in folders],
    }
    with replacing(survey.work_dir / RECORD) as temporary:
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")


def recall_map(survey: Survey, settings: Settings, captures: Sequence[Capture]) -> MapRecord | None:
    """Return the record of a survey's last map; None if it has none, or its results are gone."""
    try:
        document = json.loads((survey.work_dir / RECORD).read_text(encoding="utf-8"))
        folders = [survey.work_dir / Path(name) for name in document["results"]]
    except (OSError, ValueError, KeyError):
        return None
    results = [read_result(folder) for folder in folders]
    whole: list[Result] = [result for result in results if result is not None]
    oriented = next((result for result in whole if result.stage == ORIENTED), None)
    if oriented is None or len(whole) < len(results):
        return None
    return MapRecord(
        survey=survey,
        settings=settings,
        captures=captures,
        reconstruction=read_reconstruction(oriented.folder),
        results=whole,
        asked=document["asked"],
        area_wkt=document.get("area_wkt"),
    )
