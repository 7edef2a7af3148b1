"""How stages find their photographs and pyramids."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from flows.engine.stage import Job
from flows.report.report import MapRecord
from flows.stages.inputs import SURVEY, complete_pictures, picture_store, read_survey
from tmp.captures import Flag, write_captures
from tmp.progress import silent
from tmp.survey import read_settings, write_settings


@pytest.fixture
def job(record: MapRecord, tmp_path: Path) -> Job:
    """A job on a survey whose photographs are small and real files."""
    survey = record.survey
    write_captures(survey.gpkg_path, record.captures)
    survey.photos_dir.mkdir()
    rng = np.random.default_rng(2)
    for capture in record.captures:
        picture = rng.integers(0, 255, (600, 800, 3), np.uint8)
        assert cv2.imwrite(str(survey.photos_dir / capture.name), picture)
    return Job(
        inputs={SURVEY: survey.folder},
        options={"quality": "normal"},
        out=tmp_path,
        scratch=tmp_path,
        temporary=tmp_path,
        workers=2,
        track=silent,
    )


def test_deleted_pyramids_are_made_again_and_others_left(job: Job) -> None:
    _, _, captures = read_survey(job)
    complete_pictures(job, captures)
    store = picture_store(job)
    names = [capture.name for capture in captures]
    assert all(store.has(name, finest_level=0) for name in names)
    before = {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    lost = sorted(before)[0]
    for path in store.folder.glob(f"{lost.name.split('.')[0]}.*"):
        path.unlink()
    complete_pictures(job, captures)
    after = {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    assert set(after) == set(before)
    assert sum(after[path] != before[path] for path in before) == 3


def test_undecodable_photograph_does_not_stop_the_others(job: Job) -> None:
    survey, _, captures = read_survey(job)
    (survey.photos_dir / captures[3].name).write_bytes(b"half a JPEG")
    complete_pictures(job, captures)
    store = picture_store(job)
    assert not store.has(captures[3].name, finest_level=1)
    assert store.has(captures[4].name, finest_level=1)


def test_each_quality_has_pyramids_of_its_own(job: Job) -> None:
    fast = replace(job, options={"quality": "fast"})
    assert picture_store(fast).folder != picture_store(job).folder


def test_photographs_dropped_by_hand_are_not_used(job: Job, record: MapRecord) -> None:
    settings = read_settings(record.survey)
    write_settings(record.survey, replace(settings, drop=("*0003.JPG",)))
    _, _, captures = read_survey(job)
    (dropped,) = [capture for capture in captures if Flag.DROPPED in capture.flags]
    assert dropped.name == "DJI_0003.JPG"
    assert not dropped.used
