"""Gains are solved once for a survey and read by every tile as they were solved."""

from pathlib import Path

import cv2
import numpy as np

from flows.engine.stage import Workspace
from flows.report.quality import MapRecord
from flows.stages.inputs import SURVEY, picture_store, read_surveying
from flows.stages.orthomosaic import Exposure, read_gains
from photogrammetry.ortho.gains import balance_exposures
from photogrammetry.views import views_of
from tmp.captures import write_captures
from tmp.reconstruction import write_reconstruction


def test_darker_photograph_gets_the_larger_gain_and_none_loses_a_bit(
    record: MapRecord, tmp_path: Path
) -> None:
    survey = record.survey
    write_captures(survey.gpkg_path, record.captures)
    survey.photos_dir.mkdir()
    dark = record.reconstruction.photos[5].name
    for capture in record.captures:
        picture = np.full((600, 800, 3), 126 if capture.name == dark else 140, np.uint8)
        assert cv2.imwrite(str(survey.photos_dir / capture.name), picture)
    write_reconstruction(record.reconstruction, tmp_path / "oriented")
    space = Workspace(
        inputs={SURVEY: survey.folder, "orientation": tmp_path / "oriented"},
        options={"quality": "normal"},
        out=tmp_path,
        scratch=tmp_path,
        temporary=tmp_path,
        workers=1,
    )
    figures = Exposure(space).finish()
    gains = read_gains(tmp_path)
    assert gains.keys() == {photo.name for photo in record.reconstruction.photos}
    others = np.mean([gain for name, gain in gains.items() if name != dark])
    assert 1.05 < gains[dark].mean() / others < 140 / 126  # restrained: not all of what was lost
    assert figures["greatest_gain"] == gains[dark].max()
    block = read_surveying(space)
    again = balance_exposures(views_of(block), block.points, picture_store(space))
    assert (again == np.array([gains[view.name] for view in views_of(block)])).all()
