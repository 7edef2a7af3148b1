"""How well bands lie on each other and how right NDVI is, on a rehearsal whose truth is known.

Run with::

    tmp rehearse REHEARSAL --nir
    tmp ingest REHEARSAL/photos --to SURVEY --link && tmp map SURVEY
    python benchmarks/nir.py SURVEY REHEARSAL/truth

Registration is the shift of near infrared against red, by phase correlation of edges in windows of
3 m.  For NDVI the truth is carried to where the survey's positions have put the block: by the
camera centres, then by an affine transform of what shift is left, as a tilt moves the ground but
not the cameras.  One square metre of open ground stands for a panel: its true NDVI sets the level
of near infrared against red; everything else is compared.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray

from tmp.reconstruction import read_reconstruction

Float = NDArray[np.float64]

WINDOW_M = 3.0
LEAST_RESPONSE = 0.2
STANDARD_M = 1.0


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("survey", type=Path)
    parser.add_argument("truth", type=Path)
    arguments = parser.parse_args()
    with rasterio.open(arguments.survey / "products" / "reflectance.tif") as file:
        names = list(file.descriptions)
        red, nir = (
            file.read(names.index(name) + 1, masked=True).filled(np.nan) for name in ("red", "nir")
        )
        transform, cell_m = file.transform, file.res[0]
        provenance = file.tags().get("CALIBRATION", "")
    matrix = truth_from_map(arguments.survey, arguments.truth)
    x, y = np.meshgrid(np.arange(red.shape[1]) + 0.5, np.arange(red.shape[0]) + 0.5)
    places = np.column_stack([transform.c + x.ravel() * cell_m, transform.f - y.ravel() * cell_m])
    places = places @ matrix[:, :2].T + matrix[:, 2]
    truth = sample(arguments.truth / "ndvi.tif", 1, places).reshape(red.shape)
    places = places + shift_left(truth, (nir - red) / (nir + red)) @ np.diag([-cell_m, cell_m])
    truth = sample(arguments.truth / "ndvi.tif", 1, places).reshape(red.shape)
    with rasterio.open(arguments.truth / "masks.tif") as file:
        kinds = list(file.descriptions)
    masks = {
        kind: sample(arguments.truth / "masks.tif", i + 1, places).reshape(red.shape) > 0.5
        for i, kind in enumerate(kinds)
    }
    print(f"cell {100 * cell_m:.1f} cm, calibration: {provenance}")
    relief = masks["turf_wall"] | masks["boulder"] | masks["house"]
    report_registration("everywhere", red, nir, np.isfinite(truth), cell_m)
    report_registration("over walls, boulders and houses", red, nir, relief, cell_m)
    report_ndvi(red, nir, truth, masks, cell_m)


def truth_from_map(survey: Path, truth: Path) -> Float:
    """Return the similarity (2, 3) from map coordinates as oriented to true ones."""
    newest = max((survey / "work/stages/orientation").glob("*/reconstruction.json"))
    block = read_reconstruction(newest.parent)
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


def shift_left(truth: NDArray[np.float32], made: NDArray[np.float32]) -> Float:
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


def sample(path: Path, band: int, places: Float) -> NDArray[np.float32]:
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


def edges(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the strength of edges of the logarithm."""
    smooth = cv2.GaussianBlur(np.log(np.maximum(values, 1e-6)).astype(np.float32), (0, 0), 0.8)
    return np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))


def report_registration(
    where: str,
    red: NDArray[np.float32],
    nir: NDArray[np.float32],
    wanted: NDArray[np.bool_],
    cell_m: float,
) -> None:
    """Print the shift of near infrared against red in cells, from windows that hold the place."""
    side = round(WINDOW_M / cell_m / 2) * 2
    window = cv2.createHanningWindow((side, side), cv2.CV_32F)
    shifts = []
    for row in range(0, red.shape[0] - side, side // 2):
        for col in range(0, red.shape[1] - side, side // 2):
            part = np.s_[row : row + side, col : col + side]
            middle = np.s_[
                row + side // 4 : row + 3 * side // 4, col + side // 4 : col + 3 * side // 4
            ]
            whole = np.isfinite(red[part]).all() and np.isfinite(nir[part]).all()
            if not whole or wanted[middle].mean() < 0.1:
                continue
            first, second = edges(red[part]), edges(nir[part])
            shift, response = cv2.phaseCorrelate(
                first - first.mean(), second - second.mean(), window
            )
            if response > LEAST_RESPONSE:
                shifts.append(shift)
    found = np.array(shifts)
    length = np.linalg.norm(found, axis=1)
    print(
        f"red to NIR {where}: {len(found)} windows, mean ({found[:, 0].mean():+.3f}, "
        f"{found[:, 1].mean():+.3f}), median {np.median(length):.2f}, "
        f"RMS {np.sqrt((length**2).mean()):.2f}, 90 % within {np.percentile(length, 90):.2f} cells"
    )


def report_ndvi(
    red: NDArray[np.float32],
    nir: NDArray[np.float32],
    truth: NDArray[np.float32],
    masks: dict[str, NDArray[np.bool_]],
    cell_m: float,
) -> None:
    """Print the error of NDVI, its level set on one square metre of even, open ground."""
    known = np.isfinite(truth) & np.isfinite(red) & np.isfinite(nir) & (red > 0) & (nir > 0)
    side = max(3, round(STANDARD_M / cell_m) | 1)
    even = known & masks["open_ground"]
    share = cv2.blur(even.astype(np.float32), (side, side))
    filled = np.where(known, truth, 0)
    mean = cv2.blur(filled, (side, side))
    spread = cv2.blur(filled**2, (side, side)) - mean**2
    spread[share < 0.999] = np.inf
    row, col = np.unravel_index(np.argmin(spread), spread.shape)
    part = np.s_[row - side // 2 : row + side // 2 + 1, col - side // 2 : col + side // 2 + 1]
    wanted = (1 + truth[part]) / (1 - truth[part])
    factor = float(np.median(wanted) / (np.median(nir[part]) / np.median(red[part])))
    ndvi = (factor * nir - red) / (factor * nir + red)
    print(f"standard: 1 m² of NDVI {np.median(truth[part]):.3f}; near infrared × {factor:.3f}")
    for name, where in (("everywhere", known), *((k, known & m) for k, m in masks.items())):
        error = (ndvi - truth)[where]
        low, middle, high = np.percentile(error, [5, 50, 95])
        print(
            f"NDVI {name}: mean {error.mean():+.4f}, RMS {np.sqrt((error**2).mean()):.4f}, "
            f"median {middle:+.4f}, 90 % from {low:+.3f} to {high:+.3f}"
        )


if __name__ == "__main__":
    main()
