"""A small survey made for the tests of orientation: exact poses, tie points, and pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from photogrammetry.orientation.block import Block
from photogrammetry.orientation.matching import VerifiedPair, ideal_keypoints
from photogrammetry.orientation.priors import Priors
from photogrammetry.orientation.sfm import Photographs
from tmp.cameras import Camera, Pose
from tmp.captures import Capture
from tmp.geo.frames import LocalFrame

FRAME = LocalFrame(origin=(-19.76, 64.143, 200.0), crs="EPSG:32627")
CAMERA = Camera(
    camera_id="test",
    width_px=800,
    height_px=600,
    fx_px=700.0,
    fy_px=700.0,
    cx_px=405.0,
    cy_px=298.0,
    k1=-0.03,
    k2=0.01,
    p1=0.0004,
    p2=-0.0003,
    focal_sigma=0.02,
    source="test bench",
)
HEIGHT_M = 40.0


def stations(seed: int = 3, heights_m: tuple[float, ...] = (HEIGHT_M,)) -> list[Pose]:
    """Three lines of five photographs looking down, a little unsteady, at each height."""
    random = np.random.default_rng(seed)
    poses = []
    for height_m in heights_m:
        for line in range(3):
            for step in range(5):
                x = (step if line % 2 == 0 else 4 - step) * 9.0
                yaw = 90.0 if line % 2 == 0 else -90.0
                wobble = random.normal(scale=1.0, size=3)
                centre = np.array([x, line * 12.0, height_m]) + random.normal(scale=0.3, size=3)
                poses.append(Pose.from_gimbal(yaw + wobble[0], -90 + wobble[1], wobble[2], centre))
    return poses


def flown_block(
    *, noise_px: float = 0.3, seed: int = 1, heights_m: tuple[float, ...] = (HEIGHT_M,)
) -> tuple[Block, list[Pose]]:
    """Return the exact block of the stations with noisy observations, and the true poses."""
    random = np.random.default_rng(seed)
    poses = stations(heights_m=heights_m)
    points = np.column_stack(
        [
            random.uniform(-15, 51, 900),
            random.uniform(-15, 39, 900),
            random.normal(scale=1.0, size=900),
        ]
    )
    photo, point, xy = [], [], []
    for i, pose in enumerate(poses):
        pixels = CAMERA.pixel_from_cam(pose.cam_from_world(points))
        seen = np.all((pixels > 0) & (pixels < [CAMERA.width_px, CAMERA.height_px]), axis=1)
        for j in np.flatnonzero(seen):
            photo.append(i)
            point.append(j)
            xy.append(pixels[j] + random.normal(scale=noise_px, size=2))
    block = Block(
        names=tuple(f"{i:03d}.jpg" for i in range(len(poses))),
        cameras=(CAMERA,),
        camera_of=np.zeros(len(poses), int),
        poses=np.array(
            [[*Rotation.from_matrix(p.rotation).as_quat(), *p.translation] for p in poses]
        ),
        points=points,
        photo=np.array(photo),
        point=np.array(point),
        xy_px=np.array(xy),
    )
    return block.kept(np.ones(len(photo), bool)), poses


def known_of(block: Block, *, sigma_m: float, camera: Camera = CAMERA, seed: int = 5) -> Priors:
    """Return positions of the block's photographs with errors of `sigma_m`."""
    random = np.random.default_rng(seed)
    count = len(block.names)
    return Priors(
        positions=block.centres + random.normal(scale=sigma_m, size=(count, 3)),
        position_sigmas=np.full((count, 3), sigma_m),
        cameras=(camera,),
        rotations=np.full((count, 3, 3), np.nan),
        tilt_sigmas_deg=np.full(count, 2.0),
    )


def captures_of(poses: list[Pose], *, sigma_m: float = 0.02, seed: int = 7) -> list[Capture]:
    """Return what a drone would have recorded at the stations."""
    random = np.random.default_rng(seed)
    captures = []
    for i, pose in enumerate(poses):
        recorded = pose.centre + random.normal(scale=sigma_m, size=3)
        longitude, latitude, height = FRAME.geodetic_from_world(recorded)[0]
        forward = pose.rotation[2]
        top = -pose.rotation[1]
        captures.append(
            Capture(
                name=f"{i:03d}.jpg",
                source=f"card/{i:03d}.jpg",
                sha256=f"{i:064x}",
                size_bytes=1,
                width_px=CAMERA.width_px,
                height_px=CAMERA.height_px,
                camera_id=CAMERA.camera_id,
                longitude_deg=float(longitude),
                latitude_deg=float(latitude),
                height_m=float(height),
                sigma_horizontal_m=sigma_m,
                sigma_vertical_m=sigma_m,
                height_takeoff_m=float(recorded[2]),
                gimbal_yaw_deg=float(np.degrees(np.arctan2(top[0], top[1]))),
                gimbal_pitch_deg=float(np.degrees(np.arcsin(np.clip(forward[2], -1, 1)))),
                gimbal_roll_deg=0.0,
            )
        )
    return captures


def matched_photographs(block: Block) -> tuple[Photographs, list[VerifiedPair]]:
    """Return the photographs of a block and the pairs that perfect matching would verify."""
    count = len(block.names)
    keypoints = [block.xy_px[block.photo == i].astype(np.float32) for i in range(count)]
    points = [block.point[block.photo == i] for i in range(count)]
    pairs = []
    for i in range(count):
        for j in range(i + 1, count):
            _, a, b = np.intersect1d(points[i], points[j], return_indices=True)
            if len(a) >= 60:
                pairs.append(
                    VerifiedPair(
                        first=i,
                        second=j,
                        configuration=2,
                        matrices=np.zeros((3, 3, 3)),
                        inliers=np.column_stack([a, b]).astype(np.uint32),
                    )
                )
    photographs = Photographs(
        names=block.names,
        camera_ids=("test",) * count,
        cameras={"test": CAMERA},
        xy_px=keypoints,
        ideal_px=[ideal_keypoints(CAMERA, xy) for xy in keypoints],
    )
    return photographs, pairs


def photograph_ground(folder: Path, poses: list[Pose], *, seed: int = 11) -> None:
    """Write the photographs of level, mottled ground that the stations would take."""
    random = np.random.default_rng(seed)
    ground = np.zeros((1400, 1600), np.float32)
    for size_px in (3, 6, 12, 30, 80):  # mottles of many sizes, as turf and stones have
        small = random.random((1400 // size_px + 2, 1600 // size_px + 2), np.float32)
        ground += cv2.resize(small, (1600, 1400), interpolation=cv2.INTER_CUBIC)
    ground = cv2.normalize(ground, None, 20, 235, cv2.NORM_MINMAX)
    cell_m, west, north = 0.05, -22.0, 47.0
    columns, rows = np.meshgrid(np.arange(CAMERA.width_px), np.arange(CAMERA.height_px))
    rays = CAMERA.ray_from_pixel(np.column_stack([columns.ravel(), rows.ravel()]) + 0.5)
    folder.mkdir(parents=True, exist_ok=True)
    for i, pose in enumerate(poses):
        directions = rays @ pose.rotation
        hit = pose.centre - directions * (pose.centre[2] / directions[:, 2])[:, None]
        x = ((hit[:, 0] - west) / cell_m - 0.5).reshape(rows.shape).astype(np.float32)
        y = ((north - hit[:, 1]) / cell_m - 0.5).reshape(rows.shape).astype(np.float32)
        grey: NDArray[np.float32] = cv2.remap(ground, x, y, cv2.INTER_CUBIC)
        grey = grey + random.normal(scale=2.0, size=grey.shape)
        picture = cv2.merge([np.clip(grey, 0, 255).astype(np.uint8)] * 3)
        cv2.imwrite(str(folder / f"{i:03d}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
