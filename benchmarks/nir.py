"""How well bands lie on each other and how right NDVI is, on a rehearsal whose truth is known.

    python benchmarks/nir.py [--seed N] [--workers N] [--keep FOLDER] [--warm]

Rehearses the farm with a colour and a near infrared camera and three grey targets on the ground,
outlines the targets in a few photographs as a person would, in ``panels.toml``, and lets
``tmp ingest``, ``tmp map`` and ``tmp indices`` do the rest.

Registration is the shift of near infrared against red, by phase correlation of edges in windows of
3 m.  For NDVI the truth is carried to where the survey's positions have put the block: by the
camera centres, then by an affine transform of what shift is left, as a tilt moves the ground but
not the cameras.  Values are compared as the product has them.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from measure import (
    TMP,
    add_run_options,
    judge,
    kernels,
    reconstruction_of,
    run,
    workplace,
)
from numpy.typing import NDArray

from tmp.cameras import Camera
from tmp.captures import read_captures
from tmp.geo.frames import LocalFrame
from tmp.survey import Survey

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

WINDOW_M = 3.0
LEAST_RESPONSE = 0.2
OUTLINED = 0.75
"""Share of a target's side that a careful person outlines."""
PHOTOGRAPHS = 3
"""Of each camera, in which targets are outlined."""
STEEP = 0.25
"""Rise over run of ground that counts as a slope."""
MOST_SHIFT_CELLS = 0.5
MOST_MEAN, MOST_RMS = 0.01, 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Products and truth on the products' grid."""

    red: Float32
    nir: Float32
    ndvi: Float32
    truth: Float32
    masks: dict[str, Mask]
    cell_m: float


def main() -> None:
    """Rehearse, map and compare; print figures and verdicts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    add_run_options(parser)
    asked = parser.parse_args()
    with workplace(asked.keep) as folder:
        flown, survey = folder / "flown", folder / "survey"
        workers = ("--workers", str(asked.workers))
        environment = kernels(folder, warm=asked.warm)
        seed = ("--seed", str(asked.seed))
        run([TMP, "rehearse", flown, "--farm", "--nir", *seed, *workers], environment=environment)
        run([TMP, "ingest", flown / "photos", "--to", survey, "--link", *workers])
        outline_targets(survey, flown / "truth")
        cost = run([TMP, "map", survey, *workers], environment=environment)
        cost += run([TMP, "indices", survey, "--index", "NDVI", *workers], environment=environment)
        print(f"map and NDVI             {cost}")
        report(survey, flown / "truth")


def report(survey: Path, truth: Path) -> None:
    """Print how a survey's reflectance and NDVI compare with the truth."""
    with rasterio.open(survey / "products" / "reflectance.tif") as file:
        for key, said in sorted(file.tags().items()):
            if key.startswith("CALIBRATION"):
                print(f"{key}: {said}")
    found = compare(survey, truth)
    print(f"cell {100 * found.cell_m:.1f} cm")
    relief = found.masks["turf_wall"] | found.masks["boulder"] | found.masks["house"]
    everywhere = np.isfinite(found.truth)
    report_registration("everywhere", found, everywhere)
    walls = report_registration("over walls, boulders and houses", found, relief)
    slopes = report_registration("over slopes", found, found.masks["slope"])
    mean, rms = report_ndvi(found)
    judge(
        max(walls, slopes) <= MOST_SHIFT_CELLS,
        f"near infrared on red within {MOST_SHIFT_CELLS} GSD (RMS) over walls and slopes",
    )
    judge(abs(mean) <= MOST_MEAN, f"mean error of NDVI within {MOST_MEAN}")
    judge(rms <= MOST_RMS, f"error of NDVI within {MOST_RMS} (RMS)")


def outline_targets(survey: Path, truth: Path) -> None:
    """Write ``panels.toml``: targets outlined where the true cameras see them."""
    poses = json.loads((truth / "poses.json").read_text())
    targets = json.loads((truth / "targets.geojson").read_text())["features"]
    frame = LocalFrame(**poses["frame"])
    cameras = {name: Camera(**entry) for name, entry in poses["cameras"].items()}
    names = {Path(c.name).name: c.name for c in read_captures(Survey(folder=survey).gpkg_path)}
    corners = np.array([t["geometry"]["coordinates"][0][:4] for t in targets])
    corners = corners.mean(axis=1, keepdims=True) * (1 - OUTLINED) + corners * OUTLINED
    world = frame.world_from_map(corners.reshape(-1, 3))
    lines = []
    for i, target in enumerate(targets):
        reflectance = target["properties"]["reflectance"]
        lines.append(f'[panels."grey {i}"]\nreflectance = {reflectance}\n')
    for camera in cameras.values():
        photos = [p for p in poses["photos"] if p["camera_id"] == camera.camera_id]
        seen = [(photo, corners_px(photo, camera, world)) for photo in photos]
        middle = np.array([camera.width_px, camera.height_px]) / 2
        seen.sort(key=lambda pair: float(abs(pair[1] / middle - 1).max()))
        for photo, pixels in seen[:PHOTOGRAPHS]:
            for i, outline in enumerate(pixels.reshape(-1, 4, 2).round(1).tolist()):
                lines.append(
                    f'[[targets]]\nphotograph = "{names[photo["name"]]}"\n'
                    f'panel = "grey {i}"\ncorners_px = {outline}\n'
                )
    (survey / "panels.toml").write_text("\n".join(lines), encoding="utf-8")


def corners_px(photo: dict[str, Any], camera: Camera, world: Float) -> Float:
    """Return where a photograph of known pose shows places of the world (N, 3)."""
    pose = photo["cam_from_world"]
    cam = world @ np.array(pose["rotation"]).T + np.array(pose["translation"])
    return camera.pixel_from_cam(cam)


def compare(survey: Path, truth: Path) -> Compared:
    """Read the products, and the truth laid where the survey's positions have put the block."""
    with rasterio.open(survey / "products" / "reflectance.tif") as file:
        names = list(file.descriptions)
        red, nir = (
            file.read(names.index(name) + 1, masked=True).filled(np.nan) for name in ("red", "nir")
        )
        transform, cell_m = file.transform, file.res[0]
    with rasterio.open(survey / "products" / "ndvi.tif") as file:
        if file.transform != transform:
            raise SystemExit("ndvi.tif has another grid than reflectance.tif")
        ndvi = file.read(1, masked=True).filled(np.nan)
    matrix = truth_from_map(survey, truth)
    x, y = np.meshgrid(np.arange(red.shape[1]) + 0.5, np.arange(red.shape[0]) + 0.5)
    places = np.column_stack([transform.c + x.ravel() * cell_m, transform.f - y.ravel() * cell_m])
    places = places @ matrix[:, :2].T + matrix[:, 2]
    true = sample(truth / "ndvi.tif", 1, places).reshape(red.shape)
    places = places + shift_left(true, ndvi) @ np.diag([-cell_m, cell_m])
    true = sample(truth / "ndvi.tif", 1, places).reshape(red.shape)
    with rasterio.open(truth / "masks.tif") as file:
        kinds = list(file.descriptions)
    masks = {
        kind: sample(truth / "masks.tif", i + 1, places).reshape(red.shape) > 0.5
        for i, kind in enumerate(kinds)
    }
    heights = sample(truth / "dsm.tif", 1, places).reshape(red.shape)
    masks["slope"] = steep(heights, cell_m) & masks["open_ground"]
    return Compared(red=red, nir=nir, ndvi=ndvi, truth=true, masks=masks, cell_m=cell_m)


def steep(heights: Float32, cell_m: float) -> Mask:
    """Tell where the ground, smoothed over half a metre, is a slope."""
    smooth = cv2.GaussianBlur(np.nan_to_num(heights), (0, 0), 0.5 / cell_m)
    return np.hypot(*np.gradient(smooth, cell_m)) > STEEP


def truth_from_map(survey: Path, truth: Path) -> Float:
    """Return the similarity (2, 3) from map coordinates as oriented to true ones."""
    block = reconstruction_of(survey)
    true = {
        p["name"]: p["centre_map"] for p in json.loads((truth / "poses.json").read_text())["photos"]
    }
    photos = [photo for photo in block.photos if Path(photo.name).name in true]
    here = block.frame.map_from_world(np.array([photo.pose.centre for photo in photos]))[:, :2]
    there = np.array([true[Path(photo.name).name] for photo in photos])[:, :2]
    a, b = here.mean(axis=0), there.mean(axis=0)
    u, v = (here - a) @ [1, 1j], (there - b) @ [1, 1j]
    turn = (np.conj(u) @ v) / (np.conj(u) @ u)
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([linear, b - linear @ a])


def shift_left(truth: Float32, made: Float32) -> Float:
    """Return the shift of `made` against the truth at every cell, (N, 2), affine in the place."""
    side = 256
    window = cv2.createHanningWindow((side, side), cv2.CV_32F)
    found = []
    for row in range(0, truth.shape[0] - side, side):
        for col in range(0, truth.shape[1] - side, side):
            first, second = (a[row : row + side, col : col + side] for a in (truth, made))
            if np.isfinite(first).all() and np.isfinite(second).all():
                shift, response = cv2.phaseCorrelate(
                    first - first.mean(), second - second.mean(), window
                )
                found.append((col + side / 2, row + side / 2, *shift, response))
    windows = np.array(found)
    windows = windows[windows[:, 4] > LEAST_RESPONSE]
    design = np.column_stack([windows[:, :2], np.ones(len(windows))])
    affine, *_ = np.linalg.lstsq(design, windows[:, 2:4], rcond=None)
    col, row = np.meshgrid(np.arange(truth.shape[1]), np.arange(truth.shape[0]))
    return np.column_stack([col.ravel(), row.ravel(), np.ones(col.size)]) @ affine


def sample(path: Path, band: int, places: Float) -> Float32:
    """Return a raster's values at map coordinates (N, 2), bilinear; NaN outside."""
    with rasterio.open(path) as file:
        values = file.read(band).astype(np.float32)
        to_cell = ~file.transform
    col = ((places[:, 0] - to_cell_origin(to_cell)[0]) * to_cell.a).astype(np.float32) - 0.5
    row = ((places[:, 1] - to_cell_origin(to_cell)[1]) * to_cell.e).astype(np.float32) - 0.5
    rows = -(-len(col) // 4096)
    pad = rows * 4096 - len(col)
    shape = (rows, 4096)
    found = cv2.remap(
        values,
        np.pad(col, (0, pad)).reshape(shape),
        np.pad(row, (0, pad)).reshape(shape),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(float("nan"),),
    )
    return found.ravel()[: len(col)]


def to_cell_origin(to_cell: rasterio.Affine) -> tuple[float, float]:
    """Return the map coordinates of a raster's upper left corner."""
    return (~to_cell).c, (~to_cell).f


def edges(values: Float32) -> Float32:
    """Return the strength of edges of the logarithm."""
    smooth = cv2.GaussianBlur(np.log(np.maximum(values, 1e-6)).astype(np.float32), (0, 0), 0.8)
    return np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))


def report_registration(where: str, found: Compared, wanted: Mask) -> float:
    """Print the shift of near infrared against red, from windows that hold the place.

    Returns its root mean square in cells.
    """
    side = round(WINDOW_M / found.cell_m / 2) * 2
    window = cv2.createHanningWindow((side, side), cv2.CV_32F)
    shifts = []
    for row in range(0, found.red.shape[0] - side, side // 2):
        for col in range(0, found.red.shape[1] - side, side // 2):
            part = np.s_[row : row + side, col : col + side]
            middle = np.s_[
                row + side // 4 : row + 3 * side // 4, col + side // 4 : col + 3 * side // 4
            ]
            red, nir = found.red[part], found.nir[part]
            if not (np.isfinite(red).all() and np.isfinite(nir).all()):
                continue
            if wanted[middle].mean() < 0.1:
                continue
            first, second = edges(red), edges(nir)
            shift, response = cv2.phaseCorrelate(
                first - first.mean(), second - second.mean(), window
            )
            if response > LEAST_RESPONSE:
                shifts.append(shift)
    moved = np.array(shifts).reshape(-1, 2)
    length = np.linalg.norm(moved, axis=1)
    rms = float(np.sqrt((length**2).mean()))
    print(
        f"red to NIR {where}: {len(moved)} windows, mean ({moved[:, 0].mean():+.3f}, "
        f"{moved[:, 1].mean():+.3f}), median {np.median(length):.2f}, "
        f"RMS {rms:.2f}, 90 % within {np.percentile(length, 90):.2f} cells"
    )
    return rms


def report_ndvi(found: Compared) -> tuple[float, float]:
    """Print the error of NDVI; returns its mean and root mean square over all that is known."""
    known = np.isfinite(found.truth) & np.isfinite(found.ndvi)
    difference = found.ndvi - found.truth
    for name, where in (
        ("everywhere", known),
        *((kind, known & mask) for kind, mask in found.masks.items()),
    ):
        error = difference[where]
        low, middle, high = np.percentile(error, [5, 50, 95])
        print(
            f"NDVI {name}: {error.size} cells, mean {error.mean():+.4f}, "
            f"RMS {np.sqrt((error**2).mean()):.4f}, median {middle:+.4f}, "
            f"90 % from {low:+.3f} to {high:+.3f}"
        )
    error = difference[known]
    return float(error.mean()), float(np.sqrt((error**2).mean()))


if __name__ == "__main__":
    main()
