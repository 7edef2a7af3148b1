"""Poses as other programs read them, against the collinearity equations and COLMAP itself."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from flows.products.cameras import omega_phi_kappa_deg, pose_rows, write_cameras, write_colmap
from tmp.cameras import Camera, Pose
from tmp.captures import Capture
from tmp.geo.frames import LocalFrame
from tmp.reconstruction import Observations, OrientedPhoto, Reconstruction

CAMERA = Camera(
    camera_id="lens",
    width_px=800,
    height_px=600,
    fx_px=700.0,
    fy_px=702.0,
    cx_px=405.0,
    cy_px=298.0,
    k1=-0.03,
    k2=0.01,
    p1=4e-4,
    p2=-3e-4,
    k3=0.002,
)
PINHOLE = replace(CAMERA, k1=0, k2=0, p1=0, p2=0, k3=0, fy_px=700.0)
ON_MERIDIAN = LocalFrame(origin=(9.0, 50.0, 100.0), crs="EPSG:32632")
WEST_OF_IT = LocalFrame(origin=(6.5, 50.0, 100.0), crs="EPSG:32632")
NOWHERE = LocalFrame(origin=None, crs=None)


def block(frame: LocalFrame = ON_MERIDIAN, *angles: tuple[float, float, float]) -> Reconstruction:
    """Photographs from 40 m at gimbal angles, of 200 points, with exact observations."""
    random = np.random.default_rng(2)
    points = np.column_stack([random.uniform(-15, 15, (200, 2)), random.normal(0, 1, 200)])
    photos, photo, point, xy = [], [], [], []
    for i, turned in enumerate(angles or ((10.0, -88.0, 1.0), (95.0, -75.0, -2.0))):
        pose = Pose.from_gimbal(*turned, (3.0 * i, -2.0, 40.0))
        seen = CAMERA.pixel_from_cam(pose.cam_from_world(points))
        inside = np.flatnonzero(((seen > 0) & (seen < (800, 600))).all(axis=1))
        photo += [i] * len(inside)
        point += inside.tolist()
        xy += seen[inside].tolist()
        photos.append(
            OrientedPhoto(
                name=f"day {i}/þ {i}.JPG",
                camera_id="lens",
                pose=pose,
                gnss_residual_m=(0.1, -0.2, 0.3),
                observations=len(inside),
                mean_residual_px=0.25,
                sigma_m=(0.01, 0.02, 0.03),
                sigma_deg=(0.1, 0.2, 0.05),
            )
        )
    return Reconstruction(
        frame=frame,
        cameras={"lens": CAMERA},
        priors={"lens": CAMERA},
        photos=tuple(photos),
        left_out={},
        points=points,
        point_views=np.full(200, 2, np.int32),
        point_residuals_px=np.full(200, 0.25, np.float32),
        observations=Observations(
            photo=np.array(photo, np.int32),
            point=np.array(point, np.int32),
            xy_px=np.array(xy, np.float32).reshape(-1, 2),
        ),
    )


def collinear(
    angles_deg: NDArray[np.float64], centre: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Project map points by the collinearity equations, element by element as textbooks print them.

    Kraus (2007), equations 4.1-4 and B 2.1-13; image coordinates y up, then counted downwards.
    """
    o, p, k = (math.radians(angle) for angle in angles_deg)
    r11, r12, r13 = math.cos(p) * math.cos(k), -math.cos(p) * math.sin(k), math.sin(p)
    r21 = math.cos(o) * math.sin(k) + math.sin(o) * math.sin(p) * math.cos(k)
    r22 = math.cos(o) * math.cos(k) - math.sin(o) * math.sin(p) * math.sin(k)
    r23 = -math.sin(o) * math.cos(p)
    r31 = math.sin(o) * math.sin(k) - math.cos(o) * math.sin(p) * math.cos(k)
    r32 = math.sin(o) * math.cos(k) + math.cos(o) * math.sin(p) * math.sin(k)
    r33 = math.cos(o) * math.cos(p)
    dx, dy, dz = (points - centre).T
    depth = r13 * dx + r23 * dy + r33 * dz
    x = -PINHOLE.fx_px * (r11 * dx + r21 * dy + r31 * dz) / depth
    y = -PINHOLE.fx_px * (r12 * dx + r22 * dy + r32 * dz) / depth
    return np.column_stack([PINHOLE.cx_px + x, PINHOLE.cy_px - y])


@pytest.mark.parametrize(
    ("gimbal", "wanted"),
    [
        ((0.0, -90.0, 0.0), (0.0, 0.0, 0.0)),
        ((90.0, -90.0, 0.0), (0.0, 0.0, -90.0)),
        ((-90.0, -90.0, 0.0), (0.0, 0.0, 90.0)),
        ((0.0, -60.0, 0.0), (30.0, 0.0, 0.0)),
        ((90.0, -60.0, 0.0), (0.0, -30.0, -90.0)),
    ],
)
def test_known_views_have_known_angles(
    gimbal: tuple[float, float, float], wanted: tuple[float, float, float]
) -> None:
    """Top to the north is zero; kappa counts against the clock; omega looks up to the north."""
    found = block(NOWHERE, gimbal)
    assert omega_phi_kappa_deg(found.frame, found.photos[0]) == pytest.approx(wanted, abs=1e-9)


@settings(max_examples=25)
@given(
    yaw=st.floats(-180, 180),
    pitch=st.floats(-100, -40),
    roll=st.floats(-20, 20),
    frame=st.sampled_from([ON_MERIDIAN, WEST_OF_IT]),
)
def test_angles_project_as_the_collinearity_equations_say(
    yaw: float, pitch: float, roll: float, frame: LocalFrame
) -> None:
    pose = Pose.from_gimbal(yaw, pitch, roll, (3.0, -2.0, 40.0))
    photo = OrientedPhoto(name="a.jpg", camera_id="lens", pose=pose)
    in_cam = np.array([[8.0, 6.0, 30.0], [-8.0, 5.0, 30.0], [1.0, -6.0, 30.0]])
    seen = PINHOLE.pixel_from_cam(in_cam)
    centre, *places = frame.map_from_world(
        np.vstack([pose.centre, in_cam @ pose.rotation + pose.centre])
    )
    projected = collinear(omega_phi_kappa_deg(frame, photo), centre, np.array(places))
    # The grid's scale, 0.9996 on its meridian, is in eastings and northings and not in heights.
    assert projected == pytest.approx(seen, abs=0.2)


def test_kappa_counts_from_the_grids_north() -> None:
    """2.5° west of the meridian at 50° N grid north lies 1.92° west of true north."""
    found = block(WEST_OF_IT, (0.0, -90.0, 0.0))
    kappa_deg = omega_phi_kappa_deg(found.frame, found.photos[0])[2]
    convergence_deg = -2.5 * math.sin(math.radians(50.0))
    assert kappa_deg == pytest.approx(convergence_deg, abs=0.01)


def test_colmap_reads_the_model_and_projects_every_point_where_it_was_seen(tmp_path: Path) -> None:
    found = block()
    write_colmap(found, tmp_path)
    model = pycolmap.Reconstruction(str(tmp_path))
    assert (model.num_reg_images(), len(model.points3D)) == (2, len(found.points))
    assert {image.name for image in model.images.values()} == {
        "day%200/þ%200.JPG",
        "day%201/þ%201.JPG",
    }
    checked = 0
    for image in model.images.values():
        assert image.projection_center() == pytest.approx(
            found.photos[image.image_id - 1].pose.centre, abs=1e-6
        )
        for place in image.points2D:
            point = model.points3D[place.point3D_id]
            assert image.project_point(point.xyz) == pytest.approx(place.xy, abs=0.01)
            checked += 1
    assert checked == len(found.observations.photo) > 100
    track = model.points3D[1].track.elements
    for element in track:
        assert model.images[element.image_id].points2D[element.point2D_idx].point3D_id == 1


def test_poses_are_written_as_geojson_and_csv(
    tmp_path: Path, captures: tuple[Capture, ...]
) -> None:
    found = block()
    written = write_cameras(found, captures, tmp_path)
    assert all(path.exists() for path in written)
    document = json.loads((tmp_path / "cameras.geojson").read_text(encoding="utf-8"))
    first = document["features"][0]
    lon, lat, height = first["geometry"]["coordinates"]
    world = found.frame.world_from_geodetic([(lon, lat, height)])[0]
    assert world == pytest.approx(found.photos[0].pose.centre, abs=1e-3)
    with (tmp_path / "cameras.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["photograph"] == "day 1/þ 1.JPG"
    assert float(rows[1]["omega_deg"]) == first_omega(document, 1)
    assert float(rows[1]["sigma_up_m"]) == 0.03
    assert float(rows[1]["gnss_residual_north_m"]) == -0.2
    easting = found.frame.map_from_world(found.photos[1].pose.centre[None])[0, 0]
    assert float(rows[1]["easting_m"]) == pytest.approx(easting, abs=1e-3)


def first_omega(document: dict, feature: int) -> float:
    return float(document["features"][feature]["properties"]["omega_deg"])


def test_without_scale_no_length_is_in_metres_and_nothing_has_a_place(tmp_path: Path) -> None:
    found = block(NOWHERE)
    write_cameras(found, (), tmp_path)
    (row, _) = pose_rows(found, ())
    assert not [key for key in row if key.endswith("_m")]
    assert (row["x"], row["z"]) == pytest.approx((0.0, 40.0))
    document = json.loads((tmp_path / "cameras.geojson").read_text(encoding="utf-8"))
    assert [one["geometry"] for one in document["features"]] == [None, None]
    assert "no scale" in (tmp_path / "colmap" / "points3D.txt").read_text(encoding="utf-8")


def test_a_block_that_kept_no_observations_still_gives_its_poses_to_colmap(tmp_path: Path) -> None:
    write_colmap(replace(block(), observations=Observations()), tmp_path)
    model = pycolmap.Reconstruction(str(tmp_path))
    assert (model.num_reg_images(), len(model.points3D)) == (2, 0)
