"""What ground control is worth: check points of a rehearsed survey against exact truth.

    python benchmarks/control.py FOLDER [--data DIR] [--seeds N]

FOLDER is what ``tmp demo FOLDER`` leaves behind. Nine places of open ground become points, five of
them control, known to 1 cm and marked to half a pixel in every photograph that shows them; the
others check. The photographs are oriented without control and with it, with other errors N times.
With the folder ``sheffield_gcp`` in DIR (by default ../shared/data beside the checkout), a real
survey's five points hold and check each other too, some of them spoilt.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2  # before pycolmap, whose zlib breaks PNG writing in it
import numpy as np
from measure import judge
from numpy.typing import NDArray

from flows.report.findings import photograph_gsd_m
from ingest.control import ControlOptions, read_control_file
from ingest.photographs import ingest_photographs
from photogrammetry.orientation.control import GroundControl
from photogrammetry.orientation.orient import (
    Keypoints,
    OrientOptions,
    OrientTask,
    collect_keypoints,
    find_keypoints,
    group_pairs,
    match_all,
    matcher,
    propose,
    solve,
)
from photogrammetry.orientation.refine import RefineOptions
from tmp.cameras import Camera, Pose
from tmp.files import read_json
from tmp.geo.control import Control, ControlPoint, Mark, Role
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Tile
from tmp.geo.rasters import read_grid, read_window
from tmp.reconstruction import Reconstruction
from tmp.survey import Survey, open_survey, read_settings

Float = NDArray[np.float64]

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
SIGMA_M, MARK_PX = 0.01, 0.5
HELD = (0, 2, 4, 6, 8)
"""Corners and middle of the nine places hold the map."""
MARGIN = 0.2
"""Share of the ground's extent, at each side, that has no point."""


def main() -> None:
    """Print errors of check points."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tmp-control-") as scratch:
        measure_rehearsal(asked.folder, Path(scratch) / "rehearsal", asked.seeds)
        if (asked.data / "sheffield_gcp").is_dir():
            measure_sheffield(asked.data / "sheffield_gcp", Path(scratch) / "sheffield")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A survey whose photographs have been matched."""

    survey: Survey
    task: OrientTask
    keypoints: Keypoints
    pairs: Sequence[Any]

    def oriented(self, control: Control) -> Reconstruction:
        """Return the photographs oriented with some control."""
        chosen = replace(self.task.options, refinement=RefineOptions(control=control))
        task = replace(self.task, options=chosen)
        with tempfile.TemporaryDirectory(dir=task.work_dir) as scratch:
            return solve(task, self.keypoints, self.pairs, Path(scratch), workers=2)


def prepare(folder: Path, work: Path) -> Prepared:
    """Match the photographs of an ingested survey."""
    work.mkdir(parents=True, exist_ok=True)
    survey = open_survey(folder)
    settings = read_settings(survey)
    task = OrientTask(
        captures=survey.captures,
        cameras=settings.cameras,
        photos_dir=survey.photos_dir,
        frame=settings.frame,
        work_dir=work,
        options=OrientOptions(),
    )
    keypoints = collect_keypoints(task, find_keypoints(task, task.used, workers=2))
    groups = group_pairs(propose(task, keypoints))
    pairs = match_all(groups, matcher(task, keypoints), workers=2)
    return Prepared(survey=survey, task=task, keypoints=keypoints, pairs=pairs)


def measure_rehearsal(folder: Path, work: Path, seeds: int) -> None:
    """Print errors of check points of a rehearsed survey, without control and with it."""
    ready = prepare(folder / "survey", work)
    truth = folder / "card" / "truth"
    places = open_places(truth)
    began_s = time.process_time()
    alone = ready.oriented(Control())
    alone_s = time.process_time() - began_s
    gsd_m = photograph_gsd_m(alone)
    errors, believed = [], []
    for seed in range(seeds):
        control = rehearsed_control(ready, truth, places, np.random.default_rng(seed))
        if seed == 0:
            _print("without control", alone_errors(alone, control, places), gsd_m)
        began_s = time.process_time()
        found = ready.oriented(control).figures["control"]
        took_s = time.process_time() - began_s
        off = np.array([p["off_m"] for p in found["points"] if p["role"] == Role.CHECK])
        errors.append(off)
        believed += [
            abs(error) <= sigma
            for row in off
            for error, sigma in zip(row, np.take(found["sigma_m"], [0, 0, 1]), strict=True)
        ]
        left_out = found["rmse_left_out_m"]
        print(
            f"seed {seed}: {took_s:.1f} CPU-s with control, {alone_s:.1f} without; "
            f"left out: {left_out}"
        )
    level, up = _print("five control points", np.vstack(errors), gsd_m)
    judge(level <= 0.5, f"check points horizontally {level:.2f} GSD, 0.5 asked")
    judge(up <= 1.0, f"check points vertically {up:.2f} GSD, 1 asked")


def _print(name: str, off_m: Float, gsd_m: float) -> tuple[float, float]:
    level_m = float(np.sqrt((off_m[:, :2] ** 2).sum(axis=1).mean()))
    up_m = float(np.sqrt((off_m[:, 2] ** 2).mean()))
    print(
        f"{name}: check points off by {100 * level_m:.1f} cm horizontally "
        f"({level_m / gsd_m:.2f} GSD), {100 * up_m:.1f} cm in height ({up_m / gsd_m:.2f} GSD)"
    )
    return level_m / gsd_m, up_m / gsd_m


def open_places(truth: Path) -> Float:
    """Return nine places of open ground, easting, northing and true height, (9, 3)."""
    grid = read_grid(truth / "dsm.tif")
    whole = Tile(row=0, col=0, rows=grid.rows, cols=grid.cols)
    height = read_window(truth / "dsm.tif", whole)[0]
    known = np.isfinite(read_window(truth / "orthomosaic.tif", whole)[0]) & np.isfinite(height)
    x, y = grid.cell_centres()
    rough = cv2.dilate(height, np.ones((15, 15))) - cv2.erode(height, np.ones((15, 15)))
    found = []
    for v in np.linspace(MARGIN, 1 - MARGIN, 3):
        for u in np.linspace(MARGIN, 1 - MARGIN, 3):
            row, col = int(v * grid.rows), int(u * grid.cols)
            near = np.s_[row - 60 : row + 60, col - 60 : col + 60]
            even = np.where(known[near], rough[near], np.inf)
            i, j = np.unravel_index(int(np.argmin(even)), even.shape)
            i, j = i + row - 60, j + col - 60
            found.append((x[j], y[i], float(height[i, j])))
    return np.array(found)


def rehearsed_control(
    ready: Prepared, truth: Path, places: Float, random: np.random.Generator
) -> Control:
    """Return places as control, measured and marked with errors; check points are exact."""
    crs = ready.task.frame.crs
    assert crs is not None
    measured = places.copy()
    measured[list(HELD)] += random.normal(scale=SIGMA_M, size=(len(HELD), 3))
    points = [
        ControlPoint(
            name=f"p{i}",
            x=float(x),
            y=float(y),
            height_m=float(height),
            crs=crs,
            sigma_m=SIGMA_M,
            height_sigma_m=SIGMA_M,
            role=Role.CONTROL if i in HELD else Role.CHECK,
        )
        for i, (x, y, height) in enumerate(measured)
    ]
    marks = []
    for name, camera, pose, frame in true_photographs(truth):
        pixels = camera.pixel_from_cam(pose.cam_from_world(frame.world_from_map(places)))
        for i, (x_px, y_px) in enumerate(pixels):
            if 0 < x_px < camera.width_px and 0 < y_px < camera.height_px:
                u, v = np.add((x_px, y_px), random.normal(scale=MARK_PX, size=2))
                inside = 0 < u < camera.width_px and 0 < v < camera.height_px
                if inside:
                    marks.append(Mark(point=f"p{i}", photograph=name, x_px=u, y_px=v))
    used = {capture.name for capture in ready.task.used}
    return Control(points=tuple(points), marks=tuple(m for m in marks if m.photograph in used))


def true_photographs(truth: Path) -> Iterator[tuple[str, Camera, Pose, LocalFrame]]:
    """Yield name, camera, pose and frame of each photograph of a rehearsal, as they were."""
    said = read_json(truth / "poses.json")
    frame = LocalFrame(origin=tuple(said["frame"]["origin"]), crs=said["frame"]["crs"])
    cameras = {key: Camera(**camera) for key, camera in said["cameras"].items()}
    for photo in said["photos"]:
        pose = photo["cam_from_world"]
        yield (
            photo["name"],
            cameras[photo["camera_id"]],
            Pose(rotation=np.array(pose["rotation"]), translation=np.array(pose["translation"])),
            frame,
        )


def alone_errors(alone: Reconstruction, control: Control, places: Float) -> Float:
    """Return errors (P, 3) of the check points in photographs oriented without control."""
    ground = GroundControl.of(control, alone.frame)
    pose = {photo.name: photo.pose for photo in alone.photos}
    found = np.full((len(places), 3), np.nan)
    for i in np.flatnonzero(ground.check):
        rows, right = np.zeros((3, 3)), np.zeros(3)
        for k in np.flatnonzero(ground.point == i):
            name = ground.photographs[k]
            if name in pose:
                camera = next(iter(alone.cameras.values()))
                ray = pose[name].rotation.T @ camera.ray_from_pixel(ground.xy_px[k : k + 1])[0]
                across = np.eye(3) - np.outer(ray, ray) / (ray @ ray)
                rows += across
                right += across @ pose[name].centre
        found[i] = np.linalg.solve(rows, right) - alone.frame.world_from_map(places[i])[0]
    return found[np.isfinite(found).all(axis=1)]


def measure_sheffield(data: Path, work: Path) -> None:
    """Print what five points of a real survey say of each other, and of what is spoilt."""
    survey = Survey(folder=work / "survey")
    ingest_photographs([data / "photos"], survey, link=True, workers=2)
    given = read_control_file(data / "gcp_list.txt", ControlOptions(sigma_m=(0.1, 0.1)))
    ready = prepare(survey.folder, work / "block")

    def said(name: str, control: Control) -> dict[str, Any]:
        found: dict[str, Any] = ready.oriented(Control().joined(control)).figures["control"]
        print(
            f"sheffield, {name}: left out {found['rmse_left_out_m']} m (horizontal, height); "
            f"wrong points {found['blunders']}, wrong marks {found['wrong_marks']}"
        )
        return found

    said("as given", given)
    first = given.points[0]
    swapped = replace(first, x=first.x + 27.0, y=first.y - 27.0)
    others = tuple(point for point in given.points if point.name != first.name)
    found = said(f"{first.name} typed wrongly", replace(given, points=(swapped, *others)))
    judge(first.name in found["blunders"], "the coordinate typed wrongly is found and named")
    mark = given.marks[0]
    moved = replace(mark, x_px=mark.x_px - 40)
    found = said(f"a mark of {mark.point} moved by 40 px", given.joined(Control(marks=(moved,))))
    named = [(point, photograph) for point, photograph, _ in found["wrong_marks"]]
    judge((mark.point, mark.photograph) in named, "the mark moved by 40 px is found and named")


if __name__ == "__main__":
    main()
