"""What the rehearsal's ground reflects: materials, sunlight, cast shadows, in four bands."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from flightplan.rehearsal.features import Farm, FarmFeatures
from flightplan.rehearsal.ground import BOULDER, TRENCH, Shape, octaves, scattered
from flightplan.rehearsal.ray_tracing import BLOCK, FULL_SCALE
from tmp.geo.grids import Grid
from tmp.threads import map_threads

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# Reflectance in red, green, blue and near infrared, then contrast of the finest detail.
# Orders of magnitude after the USGS spectral library; grass and soil as Icelandic summers show.
LUSH = np.array([0.075, 0.104, 0.033, 0.46, 0.40])
HEATH = np.array([0.135, 0.130, 0.066, 0.30, 0.42])
SOIL = np.array([0.135, 0.098, 0.066, 0.19, 0.30])
STONE = np.array([0.165, 0.160, 0.150, 0.19, 0.28])
GRAVEL = np.array([0.145, 0.140, 0.130, 0.17, 0.45])
WATER = np.array([0.030, 0.042, 0.045, 0.015, 0.08])
STRAW = np.array([0.230, 0.200, 0.110, 0.33, 0.42])
LICHEN = np.array([0.300, 0.300, 0.250, 0.36, 0.25])

SUNLIGHT = np.array([1.02, 0.98, 0.92, 1.00])
SKYLIGHT = np.array([0.20, 0.23, 0.29, 0.14])


def sun_and_sky(farm: Farm) -> F64:
    """Return the direction to the sun in lattice axes and the light of sun and sky, (11,).

    A flat sheet of reflectance 1 in the sun has a radiance of 1 in the green.
    """
    azimuth, elevation = np.radians([farm.sun_azimuth_deg, farm.sun_elevation_deg])
    # Lattice y runs south.
    direction = [
        np.sin(azimuth) * np.cos(elevation),
        -np.cos(azimuth) * np.cos(elevation),
        np.sin(elevation),
    ]
    strength = (1.0 - SKYLIGHT[1]) / (SUNLIGHT[1] * np.sin(elevation))
    return np.concatenate([direction, strength * SUNLIGHT, SKYLIGHT])


def upper_bounds(height: F32, block: int = BLOCK) -> F32:
    """Return the highest ground in each block of so many cells and its eight neighbours."""
    rows, cols = height.shape
    padded = np.pad(height, ((0, -rows % block), (0, -cols % block)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // block, block, -1, block).max(axis=(1, 3))
    # A cell's surface reaches to the next node, so neighbours count; 1 mm covers rounding.
    return np.asarray(cv2.dilate(blocks, np.ones((3, 3), np.uint8)) + np.float32(1e-3))


def paint_ground(
    shape: Shape, features: FarmFeatures, grid: Grid, *, workers: int
) -> NDArray[np.uint16]:
    """Return reflectance of the ground in four bands and contrast of its detail, (rows, cols, 5).

    Counts per unit reflectance are `flightplan.rehearsal.ray_tracing.FULL_SCALE`.
    """
    green = np.zeros(grid.shape, np.float32)
    for outline in features.homefields:
        corners = np.column_stack([outline[:, 0] - grid.x_min, grid.y_max - outline[:, 1]])
        cv2.fillPoly(green, [np.round(corners / grid.cell_m).astype(np.int32)], 1.0)
    green = np.asarray(cv2.GaussianBlur(green, (0, 0), 0.7 / grid.cell_m), np.float32)
    layers = np.empty((*grid.shape, 5), np.uint16)
    covered = shape.plate > 0
    spots = np.array(
        [(s.centre[0] - grid.x_min, grid.y_max - s.centre[1], s.radius_m) for s in features.bare]
    ).reshape(-1, 3)
    place = np.array([grid.x_min % 10000.0, grid.y_max % 10000.0, grid.cell_m])
    cover = np.stack([green, shape.wall, shape.stream, shape.path])

    def finish(rows: tuple[int, int]) -> None:
        _paint(layers, cover, shape.stone, spots, place, rows)
        part, there = layers[slice(*rows)], covered[slice(*rows)]
        part[there, :4] = np.round(FULL_SCALE * shape.plate[slice(*rows)][there])[:, None]
        part[there, 4] = 0

    for _ in map_threads(finish, _strips(grid), workers=workers):
        pass
    return layers


def illuminate_ground(
    layers: NDArray[np.uint16],
    height: F32,
    top: F32,
    light: F64,
    grid: Grid,
    *,
    shaded: NDArray[np.uint8] | None = None,
    workers: int,
) -> None:
    """Turn reflectance (rows, cols, 5) into radiance in place: sunlight, shadows, open sky.

    `height` is the ground's, `top` that of the highest surface, which casts the shadows, both
    (rows, cols); `light` is from `sun_and_sky`.  What else is shaded, `shaded` says by four bits,
    one for each quarter of a cell.
    """
    upper = upper_bounds(top)
    bits = np.broadcast_to(np.uint8(0), height.shape) if shaded is None else shaded

    def finish(rows: tuple[int, int]) -> None:
        _illuminate(layers, height, top, upper, bits, light, grid.cell_m, rows)

    for _ in map_threads(finish, _strips(grid), workers=workers):
        pass


def _strips(grid: Grid) -> list[tuple[int, int]]:
    return [(row, min(row + 128, grid.rows)) for row in range(0, grid.rows, 128)]


@njit(cache=True, nogil=True, inline="always")
def _ramp(value: float, low: float, high: float) -> float:
    """Return 0 below `low`, 1 above `high` (or the reverse), smooth between."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


@njit(cache=True, nogil=True)
def _blend(colour: F64, other: F64, weight: float) -> None:
    for k in range(5):
        colour[k] += weight * (other[k] - colour[k])


@njit(cache=True, nogil=True)
def _vegetation(colour: F64, x: float, y: float, green: float, wall: float) -> None:
    """Mix lush grass, heath and straw: patches, tufts and the drier crest of walls."""
    patch = octaves(x, y, 9.0, 5, 1)
    lush = _ramp(green + 0.35 * patch + 0.12 * octaves(x, y, 0.7, 3, 2), 0.2, 0.8)
    colour[:] = HEATH
    _blend(colour, LUSH, lush * (1.0 - 0.45 * _ramp(wall, 0.15, 0.5)))
    straw = _ramp(octaves(x, y, 2.6, 5, 3), 0.05, 0.9)
    _blend(colour, STRAW, 0.55 * straw)
    distance, number = scattered(x, y, 0.42, 4)
    tuft = (number - 0.45) * _ramp(distance, 0.55, 0.1)
    tone = 1.0 + 0.35 * tuft + 0.28 * octaves(x, y, 0.8, 4, 5) + 0.12 * octaves(x, y, 5.0, 2, 6)
    for k in range(4):
        colour[k] *= max(tone, 0.25)


@njit(cache=True, nogil=True)
def _paint(
    layers: NDArray[np.uint16],
    cover: F32,
    stone: NDArray[np.uint8],
    spots: F64,
    place: F64,
    rows: tuple[int, int],
) -> None:
    """Write the reflectance of some rows; `place` is x west, y north and the cell's size."""
    colour = np.zeros(5)
    cell_m = place[2]
    for row in range(rows[0], rows[1]):
        for col in range(layers.shape[1]):
            east, south = (col + 0.5) * cell_m, (row + 0.5) * cell_m
            x, y = place[0] + east, place[1] - south
            green, wall = cover[0, row, col], cover[1, row, col]
            stream, path = cover[2, row, col], cover[3, row, col]
            _vegetation(colour, x, y, green, wall)
            rough = octaves(x, y, 0.9, 4, 7)
            bare = 1.1 * _ramp(octaves(x, y, 7.0, 5, 8), 0.75, 1.15)
            for k in range(spots.shape[0]):
                away = math.hypot(east - spots[k, 0], south - spots[k, 1]) / spots[k, 2]
                bare = max(bare, _ramp(away + 0.35 * rough, 1.15, 0.6))
            bare = max(bare, 0.9 * _ramp(path + 0.5 * rough, 1.15, 0.55))
            if stone[row, col] == TRENCH:
                bare = 1.0
            tone = 1.0 + 0.25 * octaves(x, y, 1.6, 5, 9)
            _blend(colour, SOIL * tone, min(bare, 1.0))
            _blend(colour, GRAVEL * tone, _ramp(stream + 0.3 * rough, 1.25, 0.85))
            _blend(colour, WATER, _ramp(stream + 0.25 * rough, 0.52, 0.40))
            distance, number = scattered(x, y, 0.55, 20)
            rare = 0.93 - 0.25 * _ramp(wall, 0.2, 0.5) - 0.4 * _ramp(stream, 1.4, 0.8)
            size = 0.08 + 0.14 * (number - rare) / (1.0 - rare)
            if number > rare and distance < size:
                _blend(colour, STONE * (0.75 + 0.5 * number * tone), 0.9)
            if stone[row, col] == BOULDER:
                colour[:] = STONE * tone
                _blend(colour, LICHEN, 0.8 * _ramp(octaves(x, y, 0.5, 4, 10), 0.15, 0.5))
            for k in range(5):
                layers[row, col, k] = int(min(max(colour[k], 0.004), 1.6) * FULL_SCALE)


@njit(cache=True, nogil=True)
def _in_sun(top: F32, upper: F32, row: int, col: int, light: F64, cell_m: float) -> bool:
    """Tell whether nothing stands between a cell and the sun."""
    run = math.hypot(light[0], light[1])
    step_x, step_y, rise = light[0] / run, light[1] / run, cell_m * light[2] / run
    distance = 1.5
    while True:
        x, y = col + distance * step_x, row + distance * step_y
        if x < 0 or y < 0 or x >= top.shape[1] - 1 or y >= top.shape[0] - 1:
            return True
        z = top[row, col] + distance * rise
        if z < top[int(y + 0.5), int(x + 0.5)]:
            return False
        distance += BLOCK if z > upper[int(y) // BLOCK, int(x) // BLOCK] else 1.0
        if distance * rise > 12.0:
            return True


@njit(cache=True, nogil=True)
def _illuminate(
    layers: NDArray[np.uint16],
    height: F32,
    top: F32,
    upper: F32,
    shaded: NDArray[np.uint8],
    light: F64,
    cell_m: float,
    rows: tuple[int, int],
) -> None:
    """Turn reflectance into radiance: Lambert's cosine for the sun, open sky for the rest."""
    last, cols = height.shape[0] - 1, height.shape[1]
    for row in range(rows[0], rows[1]):
        above, below = max(row - 1, 0), min(row + 1, last)
        for col in range(cols):
            left, right = max(col - 1, 0), min(col + 1, cols - 1)
            nx = (height[row, left] - height[row, right]) / ((right - left) * cell_m)
            ny = (height[above, col] - height[below, col]) / ((below - above) * cell_m)
            steep = math.sqrt(nx * nx + ny * ny + 1.0)
            lit = max((nx * light[0] + ny * light[1] + light[2]) / steep, 0.0)
            if lit > 0 and not _in_sun(top, upper, row, col, light, cell_m):
                lit = 0.0
            full = lit
            for quarter in range(4):
                if shaded[row, col] >> quarter & 1:
                    lit -= 0.25 * full
            sky = 0.5 + 0.5 / steep
            for band in range(4):
                radiance = layers[row, col, band] * (light[3 + band] * lit + light[7 + band] * sky)
                layers[row, col, band] = int(min(radiance, 65535.0))
