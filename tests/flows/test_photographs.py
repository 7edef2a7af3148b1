from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.report import report
from flows.report.block_figures import draw_frame_residuals, draw_ties, frame_residuals
from flows.report.photographs import State, count_ties, photo_rows, picture_address
from flows.report.quality import MapRecord, assess_map
from tmp.reconstruction import Observations, Reconstruction


def render_report(record: MapRecord) -> str:
    """Return the page of a map."""
    return report.render_report(record, assess_map(record))


def seen(block: Reconstruction, *pairs: tuple[int, int]) -> Reconstruction:
    """Return the block with observations (photograph, tie point) and nothing else."""
    photo, point = np.array(pairs, np.int32).T
    xy = np.zeros((len(pairs), 2), np.float32)
    return replace(block, observations=Observations(photo=photo, point=point, xy_px=xy))


def test_ties_count_the_points_that_two_photographs_share(reconstruction: Reconstruction) -> None:
    block = seen(reconstruction, (0, 5), (0, 6), (1, 5), (1, 6), (2, 6), (3, 9))
    ties = count_ties(block)
    found = {
        tuple(pair): count
        for pair, count in zip(ties.pairs.tolist(), ties.points.tolist(), strict=True)
    }
    assert found == {(0, 1): 2, (0, 2): 1, (1, 2): 1}


def test_a_block_that_kept_no_observations_has_no_ties(reconstruction: Reconstruction) -> None:
    assert len(count_ties(reconstruction).points) == 0


def test_rows_begin_with_what_went_wrong_then_with_the_least_tied(record: MapRecord) -> None:
    block = record.reconstruction
    photos = [replace(photo, observations=900 - 20 * i) for i, photo in enumerate(block.photos)]
    photos[3] = replace(photos[3], gnss_residual_m=(60.0, 0.0, 0.0))
    block = replace(block, photos=tuple(photos))
    assessed = assess_map(replace(record, reconstruction=block))
    rows = assessed.photographs
    assert [row.state for row in rows[:3]] == [State.LEFT_OUT, State.LEFT_OUT, State.ORIENTED]
    assert "only 6 matches" in rows[0].remark
    assert rows[2].name == photos[3].name
    assert "60.0 m from where" in rows[2].remark
    assert rows[3].name == photos[15].name
    assert [row.tie_points for row in rows[3:]] == sorted(row.tie_points for row in rows[3:])


def test_a_photograph_tied_to_one_other_only_is_named(record: MapRecord) -> None:
    shared = [(i, i) for i in range(1, 16)] + [(i, i + 1) for i in range(16)] + [(0, 400), (1, 400)]
    block = seen(record.reconstruction, *shared)
    verdict = assess_map(record).verdict
    rows = photo_rows(block, record.captures, verdict, count_ties(block))
    named = {row.name for row in rows if "one other photograph only" in row.remark}
    assert named == {block.photos[0].name, block.photos[15].name}


def test_residuals_in_the_frame_are_projected_minus_observed(
    reconstruction: Reconstruction,
) -> None:
    photo = reconstruction.photos[0]
    camera = reconstruction.cameras[photo.camera_id]
    place = camera.pixel_from_cam(photo.pose.cam_from_world(reconstruction.points[:1]))
    observations = Observations(
        photo=np.zeros(1, np.int32),
        point=np.zeros(1, np.int32),
        xy_px=(place - (1.0, -2.0)).astype(np.float32),
    )
    block = replace(reconstruction, observations=observations)
    _, residual = frame_residuals(block, photo.camera_id)
    assert residual[0] == pytest.approx((1.0, -2.0), abs=1e-3)
    assert draw_frame_residuals(block, photo.camera_id) is None  # one is too few for a mean


def test_drawings_show_each_photograph_and_the_scale_of_residuals(
    reconstruction: Reconstruction,
) -> None:
    random = np.random.default_rng(1)
    photo = np.repeat(np.arange(16), 300).astype(np.int32)
    point = np.tile(np.arange(300), 16).astype(np.int32)
    camera_id = reconstruction.photos[0].camera_id
    xy = random.uniform((0, 0), (800, 600), (len(photo), 2)).astype(np.float32)
    block = replace(reconstruction, observations=Observations(photo=photo, point=point, xy_px=xy))
    ties = draw_ties(block, count_ties(block)).svg
    assert ties.count("tied to 15 photographs") == 16
    assert "tie points that two photographs share" in ties
    drawn = draw_frame_residuals(block, camera_id)
    assert drawn is not None
    assert " px</text>" in drawn.svg
    assert "times too long" in drawn.note


@pytest.mark.parametrize("kind", ["rgb", "16 bit"])
def test_a_photograph_is_shown_small(tmp_path: Path, kind: str) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (600, 800, 3)).astype(np.uint8)
    path = tmp_path / ("a.jpg" if kind == "rgb" else "a.tif")
    if kind == "rgb":
        Image.fromarray(pixels).save(path)
    else:
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 4).save(path)
    address = picture_address(path)
    assert address.startswith("data:image/jpeg;base64,")
    assert len(address) < 12_000


def test_a_photograph_that_is_no_picture_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    assert picture_address(tmp_path / "a.jpg") == ""
    assert picture_address(tmp_path / "gone.jpg") == ""


def test_of_many_photographs_the_worst_have_pictures_and_the_rest_one_line(
    record: MapRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.report.report.PICTURED", 4)
    monkeypatch.setattr("flows.report.report.LISTED", 10)
    page = render_report(record)
    assert "6 more of 18" in page
    assert "8 more are in" in page
