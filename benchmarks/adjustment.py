"""Time and memory of the adjustment as a block grows: the serial part of every map.

    python benchmarks/adjustment.py [PHOTOGRAPHS ...] [--threads N]

The blocks are made of numbers, not of pictures: a level field flown in lines at 60 m with 75 and
65 % overlap, about a thousand tie points in each photograph of which each is seen by about six,
half a pixel of noise, positions to 3 m.  What is timed is what follows matching in every map:
tracks, relative orientation (one after the other, or at once above `SfmOptions.global_above`
photographs), and the weighted adjustment.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from flows.engine.result import Usage, measured
from photogrammetry.orientation.matching import VerifiedPair, ideal_keypoints
from photogrammetry.orientation.refine import RefineOptions, refine
from photogrammetry.orientation.sfm import (
    Photographs,
    SfmOptions,
    TrackOptions,
    build_tracks,
    choose_tracks,
    reconstruct,
)
from tmp.cameras import Camera, Pose
from tmp.captures import Capture
from tmp.geo.frames import LocalFrame

FRAME = LocalFrame(origin=(-19.76, 64.143, 200.0), crs="EPSG:32627")
CAMERA = Camera(
    camera_id="field",
    width_px=5472,
    height_px=3648,
    fx_px=3650.0,
    fy_px=3650.0,
    cx_px=2736.0,
    cy_px=1824.0,
    k1=-0.01,
    focal_sigma=0.02,
    source="benchmark",
)
HEIGHT_M = 60.0
BASE_M, LINES_M = 15.0, 31.5
"""75 % along and 65 % across."""
POINTS_PER_M2 = 0.4
SEEN = 0.45
"""Share of the photographs that show a point in which it is found."""
NOISE_PX = 0.5
POSITION_SIGMA_M = 3.0
NEIGHBOURS = 10
FEWEST_COMMON = 30

Float = NDArray[np.float64]
Int = NDArray[np.int64]


def stations(count: int, random: np.random.Generator) -> list[Pose]:
    """Return photographs in lines, a little unsteady, looking down; about a square."""
    per_line = max(round(math.sqrt(count * LINES_M / BASE_M)), 2)
    poses = []
    for index in range(count):
        line, step = divmod(index, per_line)
        x = (step if line % 2 == 0 else per_line - 1 - step) * BASE_M
        wobble = random.normal(scale=1.0, size=3)
        centre = np.array([x, line * LINES_M, HEIGHT_M]) + random.normal(scale=0.5, size=3)
        yaw = 0.0 if line % 2 == 0 else 180.0
        poses.append(Pose.from_gimbal(yaw + 90 + wobble[0], -90 + wobble[1], wobble[2], centre))
    return poses


def observe(poses: Sequence[Pose], random: np.random.Generator) -> list[tuple[Int, Float]]:
    """Return the points, by index, that each photograph shows, and where."""
    centres = np.array([pose.centre for pose in poses])
    low, high = centres[:, :2].min(axis=0) - 50, centres[:, :2].max(axis=0) + 50
    count = int(np.prod(high - low) * POINTS_PER_M2)
    points = np.column_stack(
        [random.uniform(low, high, (count, 2)), random.normal(scale=1.5, size=count)]
    )
    tree = cKDTree(points[:, :2])
    found = []
    for pose in poses:
        near = np.sort(tree.query_ball_point(pose.centre[:2], 60.0, return_sorted=False))
        near = near[random.random(len(near)) < SEEN]
        pixels = CAMERA.pixel_from_cam(pose.cam_from_world(points[near]))
        inside = np.all((pixels > 0) & (pixels < [CAMERA.width_px, CAMERA.height_px]), axis=1)
        noisy = pixels[inside] + random.normal(scale=NOISE_PX, size=(int(inside.sum()), 2))
        found.append((near[inside], noisy))
    return found


def match(poses: Sequence[Pose], seen: Sequence[tuple[Int, Float]]) -> list[VerifiedPair]:
    """Return what matching would have found between neighbours."""
    centres = np.array([pose.centre for pose in poses])
    _, near = cKDTree(centres[:, :2]).query(centres[:, :2], k=min(NEIGHBOURS + 1, len(poses)))
    wanted = {(min(i, j), max(i, j)) for i, row in enumerate(near) for j in row if i != j}
    pairs = []
    for i, j in sorted(wanted):
        _, a, b = np.intersect1d(seen[i][0], seen[j][0], return_indices=True)
        if len(a) >= FEWEST_COMMON:
            pairs.append(
                VerifiedPair(
                    first=int(i),
                    second=int(j),
                    configuration=2,
                    matrices=np.zeros((3, 3, 3)),
                    inliers=np.column_stack([a, b]).astype(np.uint32),
                )
            )
    return pairs


def captures_of(poses: Sequence[Pose], random: np.random.Generator) -> list[Capture]:
    """Return what a drone with a plain receiver records."""
    captures = []
    for index, pose in enumerate(poses):
        recorded = pose.centre + random.normal(scale=POSITION_SIGMA_M, size=3)
        longitude, latitude, height = FRAME.geodetic_from_world(recorded)[0]
        captures.append(
            Capture(
                name=f"{index:05d}.jpg",
                source="",
                sha256=f"{index:064x}",
                size_bytes=1,
                width_px=CAMERA.width_px,
                height_px=CAMERA.height_px,
                camera_id=CAMERA.camera_id,
                longitude_deg=float(longitude),
                latitude_deg=float(latitude),
                height_m=float(height),
            )
        )
    return captures


def adjust_block(count: int, threads: int) -> tuple[int, dict[str, Usage]]:
    """Solve a block of so many photographs; returns its observations and what each part cost."""
    random = np.random.default_rng(count)
    poses = stations(count, random)
    seen, captures = observe(poses, random), captures_of(poses, random)
    pairs = match(poses, seen)
    xy_px = [xy.astype(np.float32) for _, xy in seen]
    photographs = Photographs(
        names=tuple(capture.name for capture in captures),
        camera_ids=(CAMERA.camera_id,) * count,
        cameras={CAMERA.camera_id: CAMERA},
        xy_px=xy_px,
        ideal_px=[ideal_keypoints(CAMERA, xy) for xy in xy_px],
    )
    with tempfile.TemporaryDirectory() as folder, measured() as relative:
        joined = build_tracks(
            [len(xy) for xy in xy_px], [(p.first, p.second, p.inliers) for p in pairs]
        )
        chosen = choose_tracks(joined, xy_px, [CAMERA.width_px] * count, TrackOptions())
        blocks = reconstruct(
            photographs, pairs, chosen, Path(folder) / "sfm", options=SfmOptions(), threads=threads
        )
    by_name = {capture.name: capture for capture in captures}
    mine = [by_name[name] for name in blocks[0].names]
    with measured() as weighted:
        refine(
            blocks[:1],
            mine,
            {CAMERA.camera_id: CAMERA},
            FRAME,
            options=RefineOptions(),
            threads=threads,
        )
    return len(blocks[0].photo), {"relative": relative, "weighted": weighted}


def main() -> None:
    """Solve blocks of growing size and print their cost and by which power it grows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photographs", type=int, nargs="*", default=[50, 100, 200, 400, 800])
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    print("photographs  observations   relative, CPU-s (s)   weighted, CPU-s (s)   peak, GB")
    sizes, costs = [], []
    for count in sorted(asked.photographs):
        observations, parts = adjust_block(count, asked.threads)
        relative, weighted = parts["relative"], parts["weighted"]
        print(
            f"{count:11d} {observations:13d} {relative.cpu_s:12.1f} ({relative.wall_s:.1f})"
            f" {weighted.cpu_s:15.1f} ({weighted.wall_s:.1f})"
            f" {max(relative.peak_gb, weighted.peak_gb):13.2f}",
            flush=True,
        )
        sizes.append(count)
        costs.append(relative.cpu_s + weighted.cpu_s)
    if len(sizes) > 1:
        power, _ = np.polyfit(np.log(sizes), np.log(costs), 1)
        print(f"CPU-seconds grow as photographs to the power of {power:.2f}")


if __name__ == "__main__":
    main()
