"""How the photographs of a survey become reflectance: what the survey itself gives for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flows.bandvalues import BandValues
from ingest.albedo import FILE, PanelTable, read_panels
from ingest.calibrating import Level, calibrate_captures
from ingest.declared import read_declarations
from ingest.pixels import read_stored
from tmp.bands import BandTags
from tmp.captures import Capture
from tmp.survey import Survey


def calibrate_survey(
    survey: Survey, captures: Sequence[Capture], *, level: Level | None = None
) -> BandValues:
    """Return the values of a survey's photographs, calibrated as well as the survey allows.

    Parameters
    ----------
    captures : sequence of Capture
        All of them: panel pictures calibrate the others.
    level : callable, optional
        By what photographs will be multiplied before they are calibrated, at a place in them.
    """
    values = BandValues(photos_dir=survey.photos_dir, declarations=read_declarations(survey.root))

    def tags_of(name: str) -> BandTags:
        return replace(values.tags(name), bands=values.bands(name))

    calibrated = calibrate_captures(
        captures,
        load=lambda name: read_stored(survey.photos_dir / name),
        tags_of=tags_of,
        table=_read_table(survey),
        level=level,
    )
    return replace(values, calibration=calibrated.calibration)


def _read_table(survey: Survey) -> PanelTable:
    path = survey.root / FILE
    return read_panels(path) if path.exists() else PanelTable()
