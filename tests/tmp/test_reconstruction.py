from __future__ import annotations

import json

import numpy as np
import pytest

from tmp.cameras import Camera, Pose
from tmp.errors import InputError, VersionError
from tmp.geo.frames import LocalFrame
from tmp.reconstruction import (
    JSON_NAME,
    POINTS_NAME,
    InteriorPrecision,
    Observations,
    OrientedPhoto,
    Reconstruction,
    VerticalScale,
    read_reconstruction,
    write_reconstruction,
)

CAMERA = Camera(
    camera_id="c", width_px=400, height_px=300, fx_px=300, fy_px=300, cx_px=200, cy_px=150, k1=-0.1
)


def example(points: int = 4) -> Reconstruction:
    pose = Pose.from_gimbal(10.0, -85.0, 1.0, [1.0, 2.0, 30.0])
    return Reconstruction(
        frame=LocalFrame(origin=(-19.7, 64.1, 200.0), crs="EPSG:32627"),
        cameras={"c": CAMERA},
        priors={"c": CAMERA},
        photos=(
            OrientedPhoto(name="day 1/þ.jpg", camera_id="c", pose=pose, observations=0),
            OrientedPhoto(
                name="b.jpg",
                camera_id="c",
                pose=pose,
                gnss_residual_m=(0.1, -0.2, 0.3),
                observations=7,
                mean_residual_px=0.4,
                sigma_m=(0.01, 0.02, 0.05),
                sigma_deg=(0.1, 0.2, 0.05),
            ),
        ),
        left_out={"c.jpg": "blurred"},
        points=np.arange(3.0 * points).reshape(-1, 3),
        point_views=np.full(points, 2, np.int32),
        point_residuals_px=np.full(points, 0.5, np.float32),
        observations=Observations(
            photo=np.array([0, 1], np.int32),
            point=np.array([3, 3], np.int32),
            xy_px=np.array([[1.5, 2.5], [100.0, 200.0]], np.float32),
        ),
        interior={
            "c": InteriorPrecision(
                names=("fx_px", "k1"), sigmas=(1.5, 1e-4), correlation=((1.0, -0.5), (-0.5, 1.0))
            )
        },
        vertical_scale=VerticalScale(
            focal_factors=(0.95, 1.0, 1.05),
            mean_residual_px=(0.7, 0.6, 0.7),
            height_agl_m=(38.0, 40.0, 42.0),
            sigma_scale=0.01,
            weak=True,
        ),
        warnings=("mind the gap",),
        figures={"pairs_verified": 3, "gnss_rms_m": [0.1, 0.2, 0.3]},
    )


def test_a_reconstruction_comes_back_as_it_was_written(tmp_path):
    write_reconstruction(example(), tmp_path / "out")
    again = read_reconstruction(tmp_path / "out")
    before = example()
    assert again.frame == before.frame
    assert again.cameras == before.cameras
    assert again.vertical_scale == before.vertical_scale
    assert again.warnings == before.warnings
    assert again.figures == before.figures
    assert again.left_out == before.left_out
    assert [p.name for p in again.photos] == ["day 1/þ.jpg", "b.jpg"]
    assert np.isnan(again.photos[0].mean_residual_px)
    assert again.photos[1].gnss_residual_m == (0.1, -0.2, 0.3)
    assert np.array_equal(again.photos[0].pose.rotation, before.photos[0].pose.rotation)
    assert np.array_equal(again.points, before.points)
    assert again.point_views.dtype == np.int32
    assert again.point_residuals_px.dtype == np.float32
    assert (again.photos[0].sigma_m, again.photos[1].sigma_m) == (None, (0.01, 0.02, 0.05))
    assert again.photos[1].sigma_deg == (0.1, 0.2, 0.05)
    assert again.interior == before.interior
    for name in ("photo", "point", "xy_px"):
        found, wanted = getattr(again.observations, name), getattr(before.observations, name)
        assert np.array_equal(found, wanted)
        assert found.dtype == wanted.dtype


def test_a_reconstruction_without_observations_as_earlier_versions_wrote_is_read(tmp_path):
    write_reconstruction(example(), tmp_path)
    path = tmp_path / JSON_NAME
    document = json.loads(path.read_text(encoding="utf-8"))
    del document["interior"]
    for photo in document["photos"]:
        del photo["sigma_m"], photo["sigma_deg"]
    path.write_text(json.dumps(document | {"format_version": 1}), encoding="utf-8")
    with np.load(tmp_path / POINTS_NAME) as stored:
        kept = {key: stored[key] for key in stored.files if not key.startswith("observed_")}
    np.savez_compressed(tmp_path / POINTS_NAME, **kept)
    again = read_reconstruction(tmp_path)
    assert len(again.observations.photo) == 0
    assert again.interior == {}
    assert again.photos[1].sigma_m is None


def test_an_unreferenced_reconstruction_comes_back(tmp_path):
    from dataclasses import replace

    bare = replace(example(), frame=LocalFrame(origin=None, crs=None), vertical_scale=None)
    write_reconstruction(bare, tmp_path)
    again = read_reconstruction(tmp_path)
    assert not again.frame.referenced
    assert again.vertical_scale is None


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a complete reconstruction"):
        read_reconstruction(tmp_path)


def test_tie_points_of_another_run_are_refused(tmp_path):
    write_reconstruction(example(5), tmp_path)
    points = (tmp_path / "tie_points.npz").read_bytes()
    write_reconstruction(example(4), tmp_path)
    (tmp_path / "tie_points.npz").write_bytes(points)
    with pytest.raises(InputError, match="belongs to another run"):
        read_reconstruction(tmp_path)


def test_a_newer_format_is_refused(tmp_path):
    write_reconstruction(example(), tmp_path)
    path = tmp_path / JSON_NAME
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | {"format_version": 99}), encoding="utf-8")
    with pytest.raises(VersionError, match="format 99 is newer"):
        read_reconstruction(tmp_path)
