"""The page to mark a survey's control points in: made from its last map, into ``control/``."""

from __future__ import annotations

from pathlib import Path

from flows.viewer.marking import PAGE, write_marking_page
from tmp.errors import InputError
from tmp.files import replacing_folder
from tmp.geo.control import FOLDER, MARKING, read_control
from tmp.lock import locked_survey
from tmp.progress import Track, silent
from tmp.survey import StrPath, open_survey


def make_marking_page(root: StrPath, *, track: Track = silent, workers: int = 1) -> Path:
    """Write ``control/marking/`` and return the page to open in a browser.

    Raises
    ------
    NotASurveyError, InputError
        If the survey has no control points, or no map to tell where they are.
    """
    survey = open_survey(root)
    control = read_control(survey.folder)
    if not control:
        raise InputError(
            f"{survey.folder}: no control yet; add its points with 'tmp control {survey.folder} "
            "FILE'"
        )
    if not survey.map_path.exists():
        raise InputError(
            f"{survey.folder}: no map yet, which tells where points are; make one with 'tmp map "
            f"{survey.folder}', a preview will do"
        )
    folder = survey.folder / FOLDER / MARKING
    with locked_survey(survey, "'tmp control'"), replacing_folder(folder) as new:
        write_marking_page(
            survey, control, survey.reconstruction, new, track=track, workers=workers
        )
    return folder / PAGE
