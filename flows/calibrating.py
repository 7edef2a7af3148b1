"""How the photographs of a survey become reflectance: what the survey itself gives for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from flows.bandvalues import BandValues
from ingest.declared import read_declarations
from ingest.radiance import Unit, radiance_unit, why_relative
from tmp.bands import UNKNOWN_BAND
from tmp.calibration import BandCalibration, Calibration, Provenance
from tmp.captures import Capture
from tmp.survey import Survey

RELATIVE_SIGMA = 0.2
"""Doubt of one band's level against another's where only exposures are known."""


def calibrate_survey(survey: Survey, captures: Sequence[Capture]) -> BandValues:
    """Return the values of a survey's photographs, calibrated as well as the survey allows."""
    values = BandValues(photos_dir=survey.photos_dir, declarations=read_declarations(survey.root))
    used = [c for c in captures if c.used and c.band != UNKNOWN_BAND]
    return BandValues(
        photos_dir=values.photos_dir,
        declarations=values.declarations,
        calibration=Calibration(bands=tuple(_by_exposure(used, values))),
    )


def _by_exposure(captures: Sequence[Capture], values: BandValues) -> list[BandCalibration]:
    groups: defaultdict[tuple[str, str], list[Capture]] = defaultdict(list)
    for capture in captures:
        groups[capture.flight, capture.camera_id].append(capture)
    found = []
    for (flight, camera_id), members in groups.items():
        tags = values.tags(members[0].name)
        reason = why_relative(tags) or f"radiance in {Unit(radiance_unit(tags))}, no panel or sun"
        found += [
            BandCalibration(
                flight=flight,
                camera_id=camera_id,
                band=band.name,
                provenance=Provenance.RELATIVE,
                factors={member.name: 1.0 for member in members},
                sigma=RELATIVE_SIGMA,
                reasons=(reason,),
            )
            for band in values.bands(members[0].name)
        ]
    return found
