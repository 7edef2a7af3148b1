"""The demonstration: rehearse a survey, map it, and compare the map with the truth."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from flightplan.rehearsal.farm import farm_rehearsal
from flows.demo.accuracy import Accuracy, compare_with_truth
from flows.run.plan import ORIENTED, MapOptions
from flows.run.request import SurveyResult
from flows.run.survey_flow import map_survey
from ingest.photographs import ingest_photographs
from tmp.errors import InputError
from tmp.progress import Track, silent
from tmp.reconstruction import read_reconstruction
from tmp.survey import Survey

CARD = "card"
SURVEY = "survey"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What the demonstration made, and how true it is."""

    map: SurveyResult
    accuracy: Accuracy


def run_demo(folder: Path, options: MapOptions, *, track: Track = silent) -> DemoResult:
    """Rehearse the survey of a ruined farm, map it, and compare the map with the truth.

    ``card/`` gets the photographs and the truth, ``survey/`` the survey.  Run again, it goes on
    with what is there.

    Parameters
    ----------
    folder : Path
        New, empty, or of an earlier demonstration.
    options : MapOptions
    track : Track

    Raises
    ------
    InputError
        If the folder holds something else.
    """
    card = folder / CARD
    if not card.is_dir():
        _refuse_foreign(folder)
        partial = folder / f".{CARD}.part"
        shutil.rmtree(partial, ignore_errors=True)
        farm_rehearsal(partial, workers=options.workers, track=track)
        partial.replace(card)
    survey = Survey(folder=folder / SURVEY)
    ingest_photographs([card / "photos"], survey, workers=options.workers, track=track)
    made = map_survey(survey.folder, options, track=track)
    accuracy = compare_with_truth(
        read_reconstruction(made.folder_of(ORIENTED)),
        survey.products_dir,
        card / "truth",
        fitted=True,
    )
    return DemoResult(map=made, accuracy=accuracy)


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder for the demonstration")
    if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise InputError(f"{folder}: holds other files; give a new or empty folder")
