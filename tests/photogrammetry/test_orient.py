from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ingest.photographs import ingest_photographs
from photogrammetry.orientation.block import fit_similarity
from photogrammetry.orientation.features import FeatureOptions
from photogrammetry.orientation.orient import OrientOptions, orient
from photogrammetry.orientation.refine import SettleOptions
from photogrammetry.orientation.sfm import TrackOptions
from tmp.captures import Flag
from tmp.errors import OrientationError
from tmp.geo.frames import LocalFrame
from tmp.survey import Survey

NOWHERE = LocalFrame(origin=None, crs=None)
SMALL = OrientOptions(
    features=FeatureOptions(keypoints=1500),
    tracks=TrackOptions(per_cell=1),
    settling=SettleOptions(assess_scale=False),
)


@pytest.fixture(scope="module")
def survey(tmp_path_factory, flown):
    """Photographs of the rehearsed stations on disk, their poses and what was recorded."""
    folder = tmp_path_factory.mktemp("survey")
    poses = flown.stations()
    flown.photograph_ground(folder / "photos", poses)
    return folder, poses, flown.captures_of(poses, sigma_m=0.02)


def run(survey, flown, *, captures=None, frame=None, options=None, **changes):
    folder, _, recorded = survey
    metadata = replace(
        flown.CAMERA, cx_px=400.0, cy_px=300.0, k1=0.0, k2=0.0, p1=0.0, p2=0.0, focal_sigma=0.005
    )
    return orient(
        recorded if captures is None else captures,
        {"test": metadata},
        folder / "photos",
        flown.FRAME if frame is None else frame,
        folder / "work",
        options=SMALL if options is None else options,
        workers=2,
        **changes,
    )


def test_photographs_are_oriented_in_the_world_to_centimetres(survey, flown):
    labels = []

    def watch(items, label, total):
        labels.append(label)
        return items

    assessed = replace(SMALL, settling=SettleOptions())
    result = run(survey, flown, track=watch, options=assessed)
    truth = np.array([p.centre for p in survey[1]])
    off = np.array([p.pose.centre for p in result.photos]) - truth
    assert len(result.photos) == 15
    assert np.sqrt((off**2).mean(axis=0))[:2].max() < 0.03
    fit = fit_similarity(truth + off, truth)
    assert np.sqrt(((fit(truth + off) - truth) ** 2).mean(axis=0)).max() < 0.02
    assert result.figures["mean_residual_px"] < 0.5
    assert result.left_out == {}
    assert np.abs(np.median(result.points[:, 2])) < 0.5
    assert len(labels) == 4
    assert result.vertical_scale is not None
    assert result.vertical_scale.sigma_scale < 0.006  # no more than the metadata's


def test_what_was_found_is_kept_for_the_next_run(survey, flown):
    run(survey, flown)

    def never(name, picture):
        raise AssertionError("decoded again")

    run(survey, flown, on_picture=never)


def test_photographs_without_positions_are_oriented_and_it_is_said(survey, flown):
    captures = [replace(c, longitude_deg=None, latitude_deg=None) for c in survey[2]]
    result = run(survey, flown, captures=captures, frame=NOWHERE)
    assert len(result.photos) == 15
    assert not result.frame.referenced
    assert result.photos[0].gnss_residual_m is None
    assert any("no place on Earth" in warning for warning in result.warnings)


def test_flagged_photographs_are_left_out_with_their_reason(survey, flown):
    captures = list(survey[2])
    captures[3] = replace(captures[3], flags=(Flag.STRAGGLER,), reason="taken on the ground")
    result = run(survey, flown, captures=captures)
    assert result.left_out == {"003.jpg": "taken on the ground"}


def test_a_piece_apart_is_named(survey, flown, tmp_path):
    # Two photographs of other ground, far away, match only one another.
    folder, _, recorded = survey
    far = flown.stations(seed=4)[:2]
    flown.photograph_ground(tmp_path / "photos", far, seed=99)
    others = []
    for capture in flown.captures_of(far)[:2]:
        name = f"far/{capture.name}"
        (folder / "photos" / "far").mkdir(exist_ok=True)
        source = tmp_path / "photos" / capture.name
        (folder / "photos" / name).write_bytes(source.read_bytes())
        others.append(replace(capture, name=name, latitude_deg=capture.latitude_deg + 0.01))
    result = run(survey, flown, captures=[*recorded, *others])
    assert len(result.photos) == 15
    assert sorted(result.left_out) == ["far/000.jpg", "far/001.jpg"]
    assert any("2 of 17 photographs were left out" in warning for warning in result.warnings)


def test_one_photograph_is_refused(survey, flown):
    with pytest.raises(OrientationError, match="1 usable photograph; at least two"):
        run(survey, flown, captures=survey[2][:1])


def test_photographs_that_do_not_overlap_are_refused(survey, flown):
    apart = [survey[2][0], survey[2][14]]
    with pytest.raises(OrientationError, match="nothing matches between 2 photographs"):
        run(survey, flown, captures=apart)


@pytest.mark.real
@pytest.mark.slow
def test_brighton_is_oriented_whole_and_stays_near_its_recorded_height(real_data, tmp_path):
    survey = Survey(folder=tmp_path / "survey")
    taken = ingest_photographs([real_data / "brighton" / "photos"], survey, link=True)
    result = orient(
        taken.captures,
        taken.settings.cameras,
        survey.photos_dir,
        taken.settings.frame,
        survey.work_dir,
        options=OrientOptions(),
        workers=2,
    )
    assert len(result.photos) == 18
    assert result.figures["mean_residual_px"] < 0.8
    assert result.figures["height_agl_m"] == pytest.approx(40.0, abs=1.5)
    assert result.vertical_scale is not None
    assert result.vertical_scale.weak
