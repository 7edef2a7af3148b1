"""The shape of the rehearsal's ground: terrain, turf walls, mounds, trenches, boulders.

Its noise is deterministic: the same place always looks the same.  The noise functions are scalar,
for use inside Numba kernels; coordinates are metres; values lie in -1 … 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from flightplan.rehearsal.features import (
    Boulder,
    Farm,
    FarmFeatures,
    Grass,
    LineFeature,
    Plate,
    RoundFeature,
    Trench,
)
from tmp.geo.grids import Grid

_K1 = np.uint64(0x9E3779B97F4A7C15)
_K2 = np.uint64(0xC2B2AE3D27D4EB4F)
_K3 = np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)
_KEEP = np.uint64(0xFFFFFF)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
BOULDER, TRENCH = 1, 2
ROUGHNESS_M = 0.035
"""Amplitude of the tussocky surface; its standard deviation is near 0.4 of it."""


@njit(cache=True, nogil=True, inline="always")
def lattice(i: int, j: int, seed: int) -> float:
    """Return a uniform pseudo-random number in 0 … 1 that belongs to an integer place.

    References
    ----------
    The mixing constants are those of Steele, Lea & Flood (2014), SplitMix, and of
    Evensen (2018), rrmxmx; any good 64-bit mixer would do.
    """
    h = np.uint64(i) * _K1 ^ np.uint64(j) * _K2 ^ np.uint64(seed) * _K3
    h = (h ^ (h >> _SHIFT)) * _K3
    h = (h ^ (h >> _SHIFT)) * _K3
    return float((h >> _SHIFT) & _KEEP) / 16777216.0


@njit(cache=True, nogil=True)
def value_noise(x: float, y: float, seed: int) -> float:
    """Return smooth noise of unit wavelength, -1 … 1, with a standard deviation near 0.4."""
    i, j = math.floor(x), math.floor(y)
    u, v = x - i, y - j
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    top = lattice(i, j, seed) * (1.0 - u) + lattice(i + 1, j, seed) * u
    bottom = lattice(i, j + 1, seed) * (1.0 - u) + lattice(i + 1, j + 1, seed) * u
    return 2.0 * (top * (1.0 - v) + bottom * v) - 1.0


@njit(cache=True, nogil=True)
def octaves(x: float, y: float, wavelength_m: float, count: int, seed: int) -> float:
    """Return the sum of `count` octaves of noise, each of half the wavelength of the last.

    Equal amplitudes per octave make a 1/f amplitude spectrum, as natural ground has.  Every
    octave is turned by 37° so that the lattices do not show.
    """
    total = 0.0
    u, v = x / wavelength_m, y / wavelength_m
    for octave in range(count):
        total += value_noise(u, v, seed + octave)
        u, v = 2.0 * (0.8 * u - 0.6 * v) + 17.3, 2.0 * (0.6 * u + 0.8 * v) + 5.1
    return total / math.sqrt(count)


@njit(cache=True, nogil=True)
def value_noise_3(x: float, y: float, z: float, seed: int) -> float:
    """Return smooth noise of unit wavelength in space, as `value_noise` does in the plane."""
    k = math.floor(z)
    w = z - k
    w = w * w * (3.0 - 2.0 * w)
    # Each level is a plane of its own; a prime keeps levels and octaves from sharing seeds.
    below, above = value_noise(x, y, seed + 7919 * k), value_noise(x, y, seed + 7919 * (k + 1))
    return below + w * (above - below)


@njit(cache=True, nogil=True)
def octaves_3(
    place: tuple[float, float, float], wavelength_m: float, count: int, seed: int
) -> float:
    """Return the sum of `count` octaves of noise at a place in space, as `octaves` does."""
    total = 0.0
    u, v, w = place[0] / wavelength_m, place[1] / wavelength_m, place[2] / wavelength_m
    for octave in range(count):
        total += value_noise_3(u, v, w, seed + octave)
        u, v, w = (
            1.6 * u - 1.2 * v + 17.3,
            0.72 * u + 0.96 * v - 1.6 * w + 5.1,
            0.96 * u + 1.28 * v + 1.2 * w + 3.7,
        )
    return total / math.sqrt(count)


@njit(cache=True, nogil=True)
def scattered(x: float, y: float, cell_m: float, seed: int) -> tuple[float, float]:
    """Return the distance to the nearest of randomly scattered points, and that point's number.

    There is one point in every square of `cell_m`; the distance is in squares.

    References
    ----------
    Worley, S. (1996). A cellular texture basis function. SIGGRAPH 96.
    """
    u, v = x / cell_m, y / cell_m
    i0, j0 = math.floor(u), math.floor(v)
    nearest, number = 9.0, 0.0
    for i in range(i0 - 1, i0 + 2):
        for j in range(j0 - 1, j0 + 2):
            du = i + lattice(i, j, seed) - u
            dv = j + lattice(i, j, seed + 1) - v
            distance = du * du + dv * dv
            if distance < nearest:
                nearest, number = distance, lattice(i, j, seed + 2)
    return math.sqrt(nearest), number


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The ground's shape and what lies where, on a lattice of cell centres, north row first."""

    height: F32
    """Height of the ground with all that stands on it but houses, (rows, cols)."""
    wall: F32
    """How much of that height is turf wall."""
    stream: F32
    """Distance from the stream's middle in half widths of its bed; large far away."""
    path: F32
    """Distance from a path's middle in half widths; large far away."""
    stone: NDArray[np.uint8]
    """0, `BOULDER` or `TRENCH`."""
    plate: F32
    """Reflectance of the plates that lie on the ground, 0 elsewhere."""
    grass: F32
    """How much of the height is tall grass."""


def shape_ground(farm: Farm, features: FarmFeatures, grid: Grid) -> Shape:
    """Build the ground on a grid: terrain by cubic spline, then features in map coordinates."""
    height = _bare_terrain(farm, grid)
    _roughen(height, grid.x_min, grid.y_max, grid.cell_m)
    wall, _ = _strips(features.walls, grid, wobble=0.25)
    depth, stream = _strips(features.streams, grid, wobble=0.15)
    _, path = _strips(features.paths, grid, wobble=0.1)
    height += wall - depth
    for mound in features.mounds:
        _add_mound(height, mound, grid)
    stone = np.zeros(grid.shape, np.uint8)
    for trench in features.trenches:
        _dig_trench(height, stone, trench, grid)
    for boulder in features.boulders:
        _put_boulder(height, stone, boulder, grid)
    plates = np.zeros(grid.shape, np.float32)
    for plate in features.plates:
        _lay_plate(height, plates, plate, grid)
    # Where none grows, one zero stands for all.
    grass: F32 = np.broadcast_to(np.float32(0), grid.shape)
    if features.grass:
        grass = np.zeros(grid.shape, np.float32)
        for patch in features.grass:
            _sow_grass(grass, patch, grid)
        height += grass
    return Shape(
        height=height,
        wall=wall,
        stream=stream,
        path=path,
        stone=stone,
        plate=plates,
        grass=grass,
    )


def _bare_terrain(farm: Farm, grid: Grid) -> F32:
    """Interpolate the terrain, mirrored at its edges, strip by strip to keep memory low."""
    x, y = grid.cell_centres()
    cols = (x - farm.corner[0]) / farm.cell_m - 0.5
    rows = farm.terrain.shape[0] - 0.5 - (y - farm.corner[1]) / farm.cell_m
    height = np.empty(grid.shape, np.float32)
    for start in range(0, grid.rows, 256):
        part = np.broadcast_arrays(rows[start : start + 256, None], cols[None, :])
        map_coordinates(
            farm.terrain, part, order=3, mode="reflect", output=height[start : start + 256]
        )
    return height


@njit(cache=True, nogil=True)
def _roughen(height: F32, x_min: float, y_max: float, cell_m: float) -> None:
    for row in range(height.shape[0]):
        for col in range(height.shape[1]):
            x, y = x_min % 10000.0 + col * cell_m, y_max % 10000.0 - row * cell_m
            height[row, col] += ROUGHNESS_M * octaves(x, y, 1.3, 4, 71)


def _strips(strips: Iterable[LineFeature], grid: Grid, *, wobble: float) -> tuple[F32, F32]:
    """Return the summit profile of strips and the distance to their middle in half widths."""
    profile = np.zeros(grid.shape, np.float32)
    distance = np.full(grid.shape, 9.0, np.float32)
    for strip in strips:
        line = np.column_stack([strip.line[:, 0] - grid.x_min, grid.y_max - strip.line[:, 1]])
        _draw_strip(profile, distance, line, grid.cell_m, strip.width_m, strip.height_m, wobble)
    return profile, distance


@njit(cache=True, nogil=True)
def _draw_strip(
    profile: F32,
    distance: F32,
    line: F64,
    cell_m: float,
    width: float,
    height: float,
    wobble: float,
) -> None:
    """Raise a rounded bank along a line: ``h exp(-(2 d / w)⁴)``.

    `line` is in metres from the lattice's north-west corner, y south; height and width waver by
    the share `wobble`.
    """
    reach = 1.6 * width
    for k in range(len(line) - 1):
        xa, ya, xb, yb = line[k, 0], line[k, 1], line[k + 1, 0], line[k + 1, 1]
        length2 = max((xb - xa) ** 2 + (yb - ya) ** 2, 1e-9)
        first_col = max(int((min(xa, xb) - reach) / cell_m), 0)
        last_col = min(int((max(xa, xb) + reach) / cell_m) + 1, profile.shape[1])
        first_row = max(int((min(ya, yb) - reach) / cell_m), 0)
        last_row = min(int((max(ya, yb) + reach) / cell_m) + 1, profile.shape[0])
        for row in range(first_row, last_row):
            for col in range(first_col, last_col):
                x, y = (col + 0.5) * cell_m, (row + 0.5) * cell_m
                t = min(max(((x - xa) * (xb - xa) + (y - ya) * (yb - ya)) / length2, 0.0), 1.0)
                d = math.hypot(x - xa - t * (xb - xa), y - ya - t * (yb - ya))
                waver = wobble * octaves(x, y, 3.1, 3, 72)
                relative = 2.0 * d / (width * (1.0 + 0.6 * waver))
                if relative < distance[row, col]:
                    distance[row, col] = relative
                bank = height * (1.0 - wobble + waver) * math.exp(-(relative**4))
                if bank > profile[row, col]:
                    profile[row, col] = bank


def _window(centre: F64, reach_m: float, grid: Grid) -> tuple[tuple[slice, slice], F64, F64] | None:
    """Return the cells within reach of a place and their offsets east and north of it, if any."""
    col, row = (centre[0] - grid.x_min) / grid.cell_m, (grid.y_max - centre[1]) / grid.cell_m
    reach = reach_m / grid.cell_m
    rows = slice(max(int(row - reach), 0), min(int(row + reach) + 2, grid.rows))
    cols = slice(max(int(col - reach), 0), min(int(col + reach) + 2, grid.cols))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        return None
    x, y = grid.cell_centres()
    east, north = np.meshgrid(x[cols] - centre[0], y[rows] - centre[1])
    return (rows, cols), east, north


def turned(east: F64, north: F64, heading_deg: float) -> tuple[F64, F64]:
    """Return offsets along and across a heading."""
    sin, cos = math.sin(math.radians(heading_deg)), math.cos(math.radians(heading_deg))
    return east * sin + north * cos, east * cos - north * sin


def _add_mound(height: F32, mound: RoundFeature, grid: Grid) -> None:
    if (found := _window(mound.centre, 1.2 * mound.radius_m, grid)) is None:
        return
    window, east, north = found
    relative = np.minimum(np.hypot(east, north * 1.15) / mound.radius_m, 1.0)
    height[window] += (mound.height_m * np.cos(relative * np.pi / 2) ** 2).astype(np.float32)


def _dig_trench(height: F32, stone: NDArray[np.uint8], trench: Trench, grid: Grid) -> None:
    if (found := _window(trench.centre, trench.length_m, grid)) is None:
        return
    window, east, north = found
    along, across = turned(east, north, trench.heading_deg)
    inside = (abs(along) < trench.length_m / 2) & (abs(across) < trench.width_m / 2)
    height[window][inside] -= trench.depth_m
    stone[window][inside] = TRENCH


def _put_boulder(height: F32, stone: NDArray[np.uint8], boulder: Boulder, grid: Grid) -> None:
    if (found := _window(boulder.centre, boulder.diameter_m, grid)) is None:
        return
    window, east, north = found
    along, across = turned(east, north, boulder.heading_deg)
    stretch = math.sqrt(boulder.elongation)
    radius2 = (along / stretch) ** 2 + (across * stretch) ** 2
    bulk = np.sqrt(np.maximum(1.0 - radius2 / (boulder.diameter_m / 2) ** 2, 0.0))
    foot = height[window][np.unravel_index(radius2.argmin(), radius2.shape)]
    top = (foot - 0.05 * boulder.diameter_m + boulder.height_m * bulk).astype(np.float32)
    higher = (bulk > 0) & (top > height[window])
    height[window][higher] = top[higher]
    stone[window][higher] = BOULDER


def _lay_plate(height: F32, plates: F32, plate: Plate, grid: Grid) -> None:
    """Lay a plate level on the highest of the ground below it."""
    if (found := _window(plate.centre, plate.side_m, grid)) is None:
        return
    window, east, north = found
    along, across = turned(east, north, plate.heading_deg)
    inside = np.maximum(abs(along), abs(across)) <= plate.side_m / 2
    if inside.any():
        height[window][inside] = height[window].max(where=inside, initial=-np.inf)
        plates[window][inside] = np.float32(plate.reflectance)


def _sow_grass(grass: F32, patch: Grass, grid: Grid) -> None:
    if (found := _window(patch.centre, 1.3 * patch.radius_m, grid)) is None:
        return
    window, east, north = found
    grown = np.empty(east.shape, np.float32)
    place = (patch.centre[0] % 10000.0, patch.centre[1] % 10000.0)
    _grow(grown, east, north, place, patch.radius_m)
    grass[window] = np.maximum(grass[window], patch.height_m * grown)


@njit(cache=True, nogil=True)
def _grow(grown: F32, east: F64, north: F64, place: tuple[float, float], radius_m: float) -> None:
    """Fill the height of grass, 0 … 1: round tufts of 0.3 m that thin out towards the edge."""
    for row in range(grown.shape[0]):
        for col in range(grown.shape[1]):
            x, y = east[row, col], north[row, col]
            there_x, there_y = place[0] + x, place[1] + y
            ragged = 0.3 * octaves(there_x, there_y, 2.3, 3, 73)
            edge = min(max(4.0 * (1.0 - math.hypot(x, y) / radius_m + ragged), 0.0), 1.0)
            distance, number = scattered(there_x, there_y, 0.3, 74)
            tuft = max(1.0 - (distance / 0.75) ** 2, 0.0)
            rough = 0.15 * octaves(there_x, there_y, 0.2, 2, 77)
            grown[row, col] = max(edge * (0.25 + 0.6 * tuft * (0.4 + 0.6 * number) + rough), 0.0)
