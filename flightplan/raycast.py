"""Where a ray meets the ground or a house, and what it sees there (Numba, without the lock).

Coordinates here are *lattice metres*: x east of the lattice's west edge, y **south** of its north
edge, z height in metres.  Node (row, col) of a raster lies at ((col + 0.5), (row + 0.5)) cells,
and between nodes the surface is bilinear: that surface, not a mesh of it, is the exact truth.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from flightplan.noise import octaves, value_noise

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

Triple = tuple[float, float, float]
Lens = tuple[float, float, float, float, float, float, float, float, float]

BLOCK = 16
"""Cells on a side of the blocks whose highest point lets a ray skip ahead."""
PATCH = 8
"""Pixels on a side of the squares whose rays share their corners' work; smaller than a block."""
HEADROOM_M = 50.0
"""No house is higher than this above the highest ground."""
FULL_SCALE = 40000.0
"""Counts per unit radiance in `Ground.layers`; a sunlit white sheet has radiance 1."""
MISS = -1.0
GROUND_FACE, NORTH_ROOF, SOUTH_ROOF, FIRST_WALL = 0, 1, 2, 3


class Ground(NamedTuple):
    """The scene as the kernels take it."""

    height: F32
    """Node heights, (rows, cols)."""
    upper: F32
    """Upper bound of the heights in each block of `BLOCK` cells and its eight neighbours."""
    upper_far: F32
    """The same for blocks of `BLOCK`² cells."""
    layers: NDArray[np.uint16]
    """Radiance of red, green, blue and near infrared, and contrast of the detail; (rows, cols, 5)."""
    houses: F64
    """Per house: x, y, cos, sin of the ridge, half length, half width, eaves, ridge, floor; (N, 9)."""
    light: F64
    """Direction to the sun (x, y, z), then sunlight and skylight in four bands; (11,)."""
    cell_m: float


@njit(cache=True, nogil=True, error_model="numpy")
def bilinear(height: F32, gx: float, gy: float) -> float:
    """Return the height at fractional node coordinates (column, row)."""
    i = min(max(int(gx), 0), height.shape[1] - 2)
    j = min(max(int(gy), 0), height.shape[0] - 2)
    u, v = gx - i, gy - j
    top = height[j, i] + u * (height[j, i + 1] - height[j, i])
    bottom = height[j + 1, i] + u * (height[j + 1, i + 1] - height[j + 1, i])
    return float(top + v * (bottom - top))


@njit(cache=True, nogil=True, error_model="numpy")
def skip_ahead(ground: Ground, origin: F64, direction: F64) -> float:
    """Return how far along a descending ray nothing is met for certain; MISS outside the lattice.

    Nor does any ray that keeps within one block of it at the same height.  Far from the ground
    the walk strides over large blocks, near it over small ones.
    """
    scale = 1.0 / ground.cell_m
    sx, sy, sz = direction[0] * scale, direction[1] * scale, direction[2]
    ox, oy, oz = origin[0] * scale - 0.5, origin[1] * scale - 0.5, origin[2]
    cols, rows = ground.height.shape[1] - 1, ground.height.shape[0] - 1
    speed = max(abs(sx), abs(sy), 1e-9)
    t, block, upper = 0.0, BLOCK * BLOCK, ground.upper_far
    while True:
        x, y, z = ox + t * sx, oy + t * sy, oz + t * sz
        if x < 0 or y < 0 or x >= cols or y >= rows:
            return MISS
        ceiling = upper[int(y) // block, int(x) // block]
        if z > ceiling:
            t += min((ceiling - z) / sz, block / speed) - 1e-6 / sz
        elif block == BLOCK:
            return t
        else:
            block, upper = BLOCK, ground.upper


@njit(cache=True, nogil=True, error_model="numpy")
def crossing(f0: float, f1: float, bend: float, span: float) -> float:
    """Return the first root within `span` of ``f0 + b t + bend t²`` that ends at f1; MISS if none.

    `f0` is the ray's height above the surface where it enters a cell, `f1` where it leaves.
    """
    if f1 > 0 and 4 * min(f0, f1) > bend * span * span:
        return MISS
    slope = (f1 - f0) / span - bend * span
    if f1 > 0 and not -2 * bend * span < slope < 0:
        return MISS
    under_root = slope * slope - 4 * bend * f0
    if under_root < 0:
        return MISS
    return 2 * f0 / (math.sqrt(under_root) - slope)


@njit(cache=True, nogil=True, error_model="numpy")
def hit_ground(ground: Ground, origin: F64, direction: F64, start: float) -> float:
    """Return the ray parameter where a descending ray first meets the bilinear surface, or MISS.

    Nothing may be met before `start`, the result of `skip_ahead`.

    References
    ----------
    Amanatides & Woo (1987), A fast voxel traversal algorithm, for the walk from cell to cell; in
    each the bilinear patch and the ray make a quadratic, solved exactly.
    """
    height, scale, t0 = ground.height, 1.0 / ground.cell_m, start
    sx, sy, sz = direction[0] * scale, direction[1] * scale, direction[2]
    ox, oy, oz = origin[0] * scale - 0.5, origin[1] * scale - 0.5, origin[2]
    x, y = ox + t0 * sx, oy + t0 * sy
    i, j = int(x), int(y)
    if not (0 <= i < height.shape[1] - 1 and 0 <= j < height.shape[0] - 1):
        return MISS
    f0 = max(oz + t0 * sz - bilinear(height, x, y), 0.0)
    if sx == 0.0 and sy == 0.0:
        return t0 - f0 / sz
    step_x, step_y = (1 if sx > 0 else -1), (1 if sy > 0 else -1)
    each_x, each_y = abs(1.0 / sx), abs(1.0 / sy)
    next_x = t0 + (i + (sx > 0) - x) / sx if sx != 0 else np.inf
    next_y = t0 + (j + (sy > 0) - y) / sy if sy != 0 else np.inf
    while 0 <= i < height.shape[1] - 1 and 0 <= j < height.shape[0] - 1:
        t1 = min(next_x, next_y)
        a, b = height[j, i], height[j, i + 1] - height[j, i]
        c, d = height[j + 1, i] - a, height[j + 1, i + 1] - height[j + 1, i] - b
        u, v = ox + t1 * sx - i, oy + t1 * sy - j
        f1 = oz + t1 * sz - (a + u * b + v * (c + u * d))
        root = crossing(f0, f1, -d * sx * sy, t1 - t0)
        if root >= 0:
            return t0 + root
        t0, f0 = t1, max(f1, 0.0)
        if next_x < next_y:
            i, next_x = i + step_x, next_x + each_x
        else:
            j, next_y = j + step_y, next_y + each_y
    return MISS


@njit(cache=True, nogil=True, error_model="numpy")
def hit_house(house: F64, origin: F64, direction: F64) -> tuple[float, int]:
    """Return the ray parameter and face where a ray enters a gabled house; (MISS, 0) if it does not.

    The house is the convex body of six half-spaces: four walls and two roof planes.
    """
    cos, sin = house[2], house[3]
    px, py = origin[0] - house[0], origin[1] - house[1]
    x, y, z = cos * px + sin * py, cos * py - sin * px, origin[2] - house[7]
    dx, dy = cos * direction[0] + sin * direction[1], cos * direction[1] - sin * direction[0]
    dz = direction[2]
    pitch = (house[7] - house[6]) / house[5]
    enter, leave, face = 0.0, np.inf, 0
    for k in range(6):
        # Inside the half-space where value + t * rate <= 0.
        if k < 2:
            side = -1.0 if k == 0 else 1.0
            value, rate = z + side * pitch * y, dz + side * pitch * dy
        elif k < 4:
            side = -1.0 if k == 2 else 1.0
            value, rate = side * y - house[5], side * dy
        else:
            side = -1.0 if k == 4 else 1.0
            value, rate = side * x - house[4], side * dx
        if rate == 0.0:
            if value > 0:
                return MISS, 0
            continue
        t = -value / rate
        if rate < 0:
            if t > enter:
                enter, face = t, k + 1
        else:
            leave = min(leave, t)
    return (enter, face) if face > 0 and enter <= leave else (MISS, 0)


@njit(cache=True, nogil=True, error_model="numpy")
def near_houses(ground: Ground, origin: F64, direction: F64, margin_m: float) -> bool:
    """Tell whether a descending ray comes within a margin of the room above any house's floor."""
    for k in range(ground.houses.shape[0]):
        house = ground.houses[k]
        start = (house[7] - origin[2]) / direction[2]
        end = (house[8] - origin[2]) / direction[2]
        middle, half = 0.5 * (start + end), 0.5 * (end - start)
        x, y = origin[0] + middle * direction[0], origin[1] + middle * direction[1]
        reach = house[4] + house[5] + half * math.hypot(direction[0], direction[1]) + margin_m
        if math.hypot(x - house[0], y - house[1]) <= reach:
            return True
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def first_hit(
    ground: Ground, origin: F64, direction: F64, start: float, houses: bool
) -> tuple[float, int, int]:
    """Return ray parameter, face (0 is ground) and house (-1 is none) of what a ray meets first.

    `start` is from `skip_ahead`; houses are left out on request.
    """
    nearest, face, which = hit_ground(ground, origin, direction, start), GROUND_FACE, -1
    if houses:
        for k in range(ground.houses.shape[0]):
            t, f = hit_house(ground.houses[k], origin, direction)
            if t >= 0 and (nearest < 0 or t < nearest):
                nearest, face, which = t, f, k
    return nearest, face, which


@njit(cache=True, nogil=True, error_model="numpy")
def see_ground(ground: Ground, x: float, y: float, out: F64) -> None:
    """Write the radiance of the ground at (x, y) in four bands to `out`."""
    layers, scale = ground.layers, 1.0 / ground.cell_m
    gx, gy = x * scale - 0.5, y * scale - 0.5
    i = min(max(int(gx), 0), layers.shape[1] - 2)
    j = min(max(int(gy), 0), layers.shape[0] - 2)
    u, v = gx - i, gy - j
    w00, w10, w01, w11 = (1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v
    contrast = (
        w00 * layers[j, i, 4]
        + w10 * layers[j, i + 1, 4]
        + w01 * layers[j + 1, i, 4]
        + w11 * layers[j + 1, i + 1, 4]
    ) / FULL_SCALE
    # The rasters end at two cells; below that the detail is made where the ray lands.
    detail = max(1.0 + contrast * octaves(x, y, 0.09, 3, 11), 0.1) / FULL_SCALE
    for band in range(4):
        out[band] = detail * (
            w00 * layers[j, i, band]
            + w10 * layers[j, i + 1, band]
            + w01 * layers[j + 1, i, band]
            + w11 * layers[j + 1, i + 1, band]
        )


@njit(cache=True, nogil=True, error_model="numpy")
def house_albedo(house: F64, face: int, along: float, across: float, up: float, out: F64) -> None:
    """Write the reflectance of a house at a place on it, in house coordinates, to `out`."""
    if face <= SOUTH_ROOF:
        sheet = math.floor(along / 0.9)
        tone = 0.85 + 0.15 * value_noise(sheet * 7.3, face * 3.1, 41)
        rust = max(0.0, min(1.0, 1.8 * octaves(along, across, 2.4, 5, 42) - 0.2))
        if along / 0.9 - sheet < 0.05:
            tone *= 0.6
        tone *= 1.0 + 0.16 * octaves(along, across, 0.16, 4, 43)
        out[0] = tone * (0.27 + 0.02 * rust)
        out[1] = tone * (0.065 + 0.055 * rust)
        out[2] = tone * (0.05 + 0.02 * rust)
        out[3] = tone * 0.32
        return
    sideways = along if face < FIRST_WALL + 2 else across
    bay = sideways / 1.9 - math.floor(sideways / 1.9)
    level = up - (house[6] - 1.7)
    tone = 0.40 * (1.0 + 0.10 * octaves(sideways, up, 0.8, 6, 44))
    if 0.3 < bay < 0.7 and 0.0 < level < 1.0:
        tone = 0.05 + 0.02 * value_noise(sideways * 3, up * 3, 45)
    out[0], out[1], out[2], out[3] = tone, 0.97 * tone, 0.9 * tone, 0.9 * tone


@njit(cache=True, nogil=True, error_model="numpy")
def see_house(ground: Ground, which: int, face: int, point: Triple, out: F64) -> None:
    """Write the radiance of a house's face at a point in four bands to `out`."""
    house, light = ground.houses[which], ground.light
    cos, sin = house[2], house[3]
    px, py = point[0] - house[0], point[1] - house[1]
    along, across = cos * px + sin * py, cos * py - sin * px
    house_albedo(house, face, along, across, point[2], out)
    side = -1.0 if face % 2 == 1 else 1.0
    if face <= SOUTH_ROOF:
        pitch = (house[7] - house[6]) / house[5]
        nx, ny, nz = 0.0, side * pitch, 1.0
    elif face < FIRST_WALL + 2:
        nx, ny, nz = 0.0, side, 0.0
    else:
        nx, ny, nz = side, 0.0, 0.0
    toward = (cos * nx - sin * ny) * light[0] + (sin * nx + cos * ny) * light[1] + nz * light[2]
    lit = max(toward / math.sqrt(nx * nx + ny * ny + nz * nz), 0.0)
    open_sky = 0.5 + 0.5 * nz / math.sqrt(nx * nx + ny * ny + nz * nz)
    for band in range(4):
        out[band] *= light[3 + band] * lit + light[7 + band] * open_sky


@njit(cache=True, nogil=True, error_model="numpy")
def look(
    ground: Ground, origin: F64, direction: F64, start: float, houses: bool, out: F64
) -> bool:
    """Follow one ray and write its radiance in four bands to `out`; False on a miss."""
    t, face, which = first_hit(ground, origin, direction, start, houses)
    x, y, z = (
        origin[0] + t * direction[0],
        origin[1] + t * direction[1],
        origin[2] + t * direction[2],
    )
    if which >= 0:
        see_house(ground, which, face, (x, y, z), out)
    elif t >= 0:
        see_ground(ground, x, y, out)
    return t >= 0


@njit(cache=True, nogil=True, error_model="numpy")
def undistorted(lens: Lens, x_px: float, y_px: float) -> tuple[float, float]:
    """Return normalised coordinates of a pixel by fixed-point iteration on Brown's model."""
    fx, fy, cx, cy, k1, k2, p1, p2, k3 = lens
    u0, v0 = (x_px - cx) / fx, (y_px - cy) / fy
    u, v = u0, v0
    for _ in range(20):
        r2 = u * u + v * v
        radial = r2 * (k1 + r2 * (k2 + r2 * k3))
        du = u * radial + 2 * p1 * u * v + p2 * (r2 + 2 * u * u)
        dv = v * radial + p1 * (r2 + 2 * v * v) + 2 * p2 * u * v
        u, v = u0 - du, v0 - dv
    return u, v


@njit(cache=True, nogil=True, error_model="numpy")
def photograph(
    ground: Ground, lens: Lens, lattice_from_cam: F64, centre: F64, bands: NDArray[np.int64], out: F32
) -> int:
    """Fill a picture (rows, cols, bands) with radiance, four rays a pixel; return the misses.

    Parameters
    ----------
    lens : tuple of 9 floats
        fx, fy, cx, cy in pixels (corner origin), k1, k2, p1, p2, k3 of Brown's model.
    lattice_from_cam : ndarray of shape (3, 3)
        Turns a ray from camera to lattice metres.
    centre : ndarray of shape (3,)
        Projection centre in lattice metres.
    bands : ndarray of int
        Which of red, green, blue and near infrared go to which band of `out`.

    Notes
    -----
    The picture is worked through in squares of `PATCH` pixels.  The rays through a square's
    corners are exact and give the rays between them by bilinear interpolation, which is within
    0.001 pixels for lenses of a few per cent distortion; they also tell how far all may skip.
    """
    corners = np.empty((4, 3))
    misses = 0
    for row in range(0, out.shape[0], PATCH):
        for col in range(0, out.shape[1], PATCH):
            start, houses = np.inf, False
            for k in range(4):
                u, v = undistorted(lens, col + PATCH * (k % 2), row + PATCH * (k // 2))
                for axis in range(3):
                    m = lattice_from_cam[axis]
                    corners[k, axis] = m[0] * u + m[1] * v + m[2]
                start = min(start, skip_ahead(ground, centre, corners[k]))
                houses = houses or near_houses(ground, centre, corners[k], 1.0)
            if start < 0:
                misses += PATCH * PATCH
                continue
            part = out[row : row + PATCH, col : col + PATCH]
            misses += fill_patch(ground, centre, corners, start, houses, bands, part)
    return misses


@njit(cache=True, nogil=True, error_model="numpy")
def fill_patch(
    ground: Ground,
    centre: F64,
    corners: F64,
    start: float,
    houses: bool,
    bands: NDArray[np.int64],
    out: F32,
) -> int:
    """Fill a square of a picture with four rays a pixel between its corner rays (4, 3)."""
    ray, seen = np.empty(3), np.empty(4)
    misses = 0
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            for sample in range(4):
                u = (col + 0.25 + 0.5 * (sample % 2)) / PATCH
                v = (row + 0.25 + 0.5 * (sample // 2)) / PATCH
                for axis in range(3):
                    ray[axis] = (1 - v) * (
                        (1 - u) * corners[0, axis] + u * corners[1, axis]
                    ) + v * ((1 - u) * corners[2, axis] + u * corners[3, axis])
                if look(ground, centre, ray, start, houses, seen):
                    for b in range(out.shape[2]):
                        out[row, col, b] += 0.25 * seen[bands[b]]
                else:
                    misses += 1
    return misses


@njit(cache=True, nogil=True, error_model="numpy")
def look_down(
    ground: Ground, x0: float, y0: float, cell_m: float, samples: int, height: F32, radiance: F32
) -> None:
    """Fill height (rows, cols) and radiance (rows, cols, 4) as seen from straight above.

    (x0, y0) is the corner of the first cell in lattice metres.  The height is that of the highest
    surface at the cell's centre; the radiance is the mean of samples² rays.
    """
    origin, down, seen = np.zeros(3), np.array([0.0, 0.0, -1.0]), np.zeros(4)
    origin[2] = ground.upper_far.max() + HEADROOM_M
    for row in range(height.shape[0]):
        for col in range(height.shape[1]):
            origin[0], origin[1] = x0 + (col + 0.5) * cell_m, y0 + (row + 0.5) * cell_m
            houses = near_houses(ground, origin, down, cell_m)
            t, _, _ = first_hit(ground, origin, down, 0.0, houses)
            height[row, col] = origin[2] - t if t >= 0 else np.nan
            for sample in range(samples * samples):
                origin[0] = x0 + (col + (sample % samples + 0.5) / samples) * cell_m
                origin[1] = y0 + (row + (sample // samples + 0.5) / samples) * cell_m
                if not look(ground, origin, down, 0.0, houses, seen):
                    seen[:] = 0.0
                for band in range(4):
                    radiance[row, col, band] += seen[band] / (samples * samples)
