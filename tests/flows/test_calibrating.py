from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flows.run.plan import calibration_digest
from flows.stages.reflectance import calibrate_survey
from ingest.photographs import ingest_photographs
from ingest.radiometry.panel_table import FILE, add_panels, parse_panel
from tmp.captures import Capture, CaptureKind
from tmp.radiometry import Provenance
from tmp.survey import Survey

PANEL = parse_panel("RP02-1603036-SC:blue=0.67,green=0.69,red=0.68,nir=0.61,rededge=0.67")


@pytest.mark.real
def test_the_panel_file_of_a_survey_makes_its_reflectance_absolute(real_data, tmp_path):
    survey = Survey(folder=tmp_path / "survey")
    captures = ingest_photographs([real_data / "rededge_panel"], survey, link=True).captures
    before = calibrate_survey(survey, captures)
    assert before.calibration.provenance is Provenance.SUN_SENSOR
    add_panels(survey.folder / FILE, dict([PANEL]))
    values = calibrate_survey(survey, captures)
    assert values.calibration.provenance is Provenance.BOTH
    nir = values.load("IMG_0001_4.tif")
    assert nir.shape == (960, 1280, 1)
    assert np.nanmedian(nir) == pytest.approx(0.34, abs=0.03)


def test_panels_and_what_people_say_of_them_change_the_digest(tmp_path):
    survey = Survey(folder=tmp_path)
    photo = Capture(
        name="1.tif", source="", sha256="1", size_bytes=1, width_px=1, height_px=1, camera_id="c"
    )
    digests = {calibration_digest(survey, [photo])}
    digests.add(calibration_digest(survey, [replace(photo, kind=CaptureKind.PANEL)]))
    add_panels(survey.folder / FILE, dict([PANEL]))
    digests.add(calibration_digest(survey, [photo]))
    assert len(digests) == 3
    assert calibration_digest(survey, [replace(photo, reason="blurred")]) in digests
