"""Where a ray meets the ground or a house, and what it sees there: photographs, views from above.

Numba kernels that release the interpreter lock.

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

from flightplan.rehearsal.ground import octaves, value_noise

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

Triple = tuple[float, float, float]

BLOCK = 8
"""Cells on a side of the blocks whose highest point lets a ray skip ahead."""
MISS = -1.0

Colour = tuple[float, float, float, float]
Lens = tuple[float, float, float, float, float, float, float, float, float]
HEADROOM_M = 50.0
"""No house is higher than this above the highest ground."""
FULL_SCALE = 40000.0
"""Counts per unit radiance in `Ground.layers`; a sunlit white sheet has radiance 1."""
SOUTH_ROOF, FIRST_WALL = 2, 3
"""Faces of a house: 1 and 2 are the roof, 3 and 4 the long walls, 5 and 6 the gables."""


class Ground(NamedTuple):
    """The scene as the kernels take it."""

    height: F32
    """Node heights, (rows, cols)."""
    upper: F32
    """Upper bound of the heights in each block of `BLOCK` cells and its eight neighbours."""
    upper_far: F32
    """The same for blocks of `BLOCK` × `BLOCK` cells."""
    layers: NDArray[np.uint16]
    """Radiance in red, green, blue, near infrared; contrast of the detail; (rows, cols, 5)."""
    houses: F64
    """Each: x, y, cos, sin of the ridge, half length and width, eaves, ridge, floor; (N, 9)."""
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
def skip_ahead(ground: Ground, origin: Triple, direction: Triple) -> float:
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
def hit_ground(height: F32, scale: float, origin: Triple, direction: Triple, start: float) -> float:
    """Return the ray parameter where a descending ray first meets the bilinear surface, or MISS.

    `scale` is nodes per metre.  Nothing may be met before `start`, the result of `skip_ahead`.

    References
    ----------
    Amanatides & Woo (1987), A fast voxel traversal algorithm, for the walk from cell to cell; in
    each the bilinear patch and the ray make a quadratic, solved exactly.
    """
    t0 = start
    sx, sy, sz = direction[0] * scale, direction[1] * scale, direction[2]
    ox, oy, oz = origin[0] * scale - 0.5, origin[1] * scale - 0.5, origin[2]
    x, y = ox + t0 * sx, oy + t0 * sy
    i, j = int(x), int(y)
    last_i, last_j = height.shape[1] - 2, height.shape[0] - 2
    if x < 0 or y < 0 or i > last_i or j > last_j:
        return MISS
    f0 = max(oz + t0 * sz - bilinear(height, x, y), 0.0)
    if sx == 0.0 and sy == 0.0:
        return t0 - f0 / sz
    step_x, step_y = (1 if sx > 0 else -1), (1 if sy > 0 else -1)
    per_x, per_y = 1.0 / sx, 1.0 / sy
    each_x, each_y = abs(per_x), abs(per_y)
    next_x = t0 + (i + (sx > 0) - x) * per_x if sx != 0 else np.inf
    next_y = t0 + (j + (sy > 0) - y) * per_y if sy != 0 else np.inf
    while 0 <= i <= last_i and 0 <= j <= last_j:
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
def hit_house(house: F64, origin: Triple, direction: Triple) -> tuple[float, int]:
    """Return the ray parameter and face where a ray enters a gabled house, or (MISS, 0).

    The house is the convex body of six half-spaces: two roof planes and four walls.
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
        side = -1.0 if k % 2 == 0 else 1.0
        if k < 2:
            value, rate = z + side * pitch * y, dz + side * pitch * dy
        elif k < 4:
            value, rate = side * y - house[5], side * dy
        else:
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
def near_houses(houses: F64, origin: Triple, direction: Triple, margin_m: float) -> bool:
    """Tell whether a descending ray comes within a margin of the room above any house's floor."""
    for k in range(houses.shape[0]):
        house = houses[k]
        start = (house[7] - origin[2]) / direction[2]
        end = (house[8] - origin[2]) / direction[2]
        middle, half = 0.5 * (start + end), 0.5 * (end - start)
        x, y = origin[0] + middle * direction[0], origin[1] + middle * direction[1]
        reach = house[4] + house[5] + half * math.hypot(direction[0], direction[1]) + margin_m
        if math.hypot(x - house[0], y - house[1]) <= reach:
            return True
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def hit_houses(houses: F64, origin: Triple, direction: Triple) -> tuple[float, int, int]:
    """Return ray parameter, face and number of the house a ray meets first, or MISS."""
    nearest, face, which = MISS, 0, -1
    for k in range(houses.shape[0]):
        t, f = hit_house(houses[k], origin, direction)
        if t >= 0 and (nearest < 0 or t < nearest):
            nearest, face, which = t, f, k
    return nearest, face, which


@njit(cache=True, nogil=True, error_model="numpy")
def see_ground(
    layers: NDArray[np.uint16], scale: float, x: float, y: float, count: int = 3
) -> Colour:
    """Return the radiance of the ground at (x, y) in four bands; `scale` is nodes per metre.

    The finest detail has `count` octaves from 9 cm down.
    """
    gx, gy = x * scale - 0.5, y * scale - 0.5
    i = min(max(int(gx), 0), layers.shape[1] - 2)
    j = min(max(int(gy), 0), layers.shape[0] - 2)
    u, v = gx - i, gy - j
    a, b, c, d = (1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v
    p, q, r, s = layers[j, i], layers[j, i + 1], layers[j + 1, i], layers[j + 1, i + 1]
    contrast = (a * p[4] + b * q[4] + c * r[4] + d * s[4]) / FULL_SCALE
    # The rasters end at two cells; below that the detail is made where the ray lands.
    tone = max(1.0 + contrast * octaves(x, y, 0.09, count, 11), 0.1) / FULL_SCALE
    return (
        tone * (a * p[0] + b * q[0] + c * r[0] + d * s[0]),
        tone * (a * p[1] + b * q[1] + c * r[1] + d * s[1]),
        tone * (a * p[2] + b * q[2] + c * r[2] + d * s[2]),
        tone * (a * p[3] + b * q[3] + c * r[3] + d * s[3]),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def house_albedo(house: F64, face: int, along: float, across: float, up: float) -> Colour:
    """Return the reflectance of a house at a place on it, in house coordinates."""
    if face <= SOUTH_ROOF:
        sheet = math.floor(along / 0.9)
        tone = 0.85 + 0.15 * value_noise(sheet * 7.3, face * 3.1, 41)
        rust = max(0.0, min(1.0, 1.8 * octaves(along, across, 2.4, 5, 42) - 0.2))
        if along / 0.9 - sheet < 0.05:
            tone *= 0.6
        tone *= 1.0 + 0.16 * octaves(along, across, 0.16, 4, 43)
        return (
            tone * (0.27 + 0.02 * rust),
            tone * (0.065 + 0.055 * rust),
            tone * (0.05 + 0.02 * rust),
            tone * 0.32,
        )
    sideways = along if face < FIRST_WALL + 2 else across
    bay = sideways / 1.9 - math.floor(sideways / 1.9)
    level = up - (house[6] - 1.7)
    tone = 0.40 * (1.0 + 0.10 * octaves(sideways, up, 0.8, 6, 44))
    if 0.3 < bay < 0.7 and 0.0 < level < 1.0:
        tone = 0.05 + 0.02 * value_noise(sideways * 3, up * 3, 45)
    return tone, 0.97 * tone, 0.9 * tone, 0.9 * tone


@njit(cache=True, nogil=True, error_model="numpy")
def see_house(ground: Ground, which: int, face: int, point: Triple) -> Colour:
    """Return the radiance of a house's face at a point in four bands."""
    house, light = ground.houses[which], ground.light
    cos, sin = house[2], house[3]
    px, py = point[0] - house[0], point[1] - house[1]
    along, across = cos * px + sin * py, cos * py - sin * px
    red, green, blue, nir = house_albedo(house, face, along, across, point[2])
    side = -1.0 if face % 2 == 1 else 1.0
    if face <= SOUTH_ROOF:
        nx, ny, nz = 0.0, side * (house[7] - house[6]) / house[5], 1.0
    elif face < FIRST_WALL + 2:
        nx, ny, nz = 0.0, side, 0.0
    else:
        nx, ny, nz = side, 0.0, 0.0
    toward = (cos * nx - sin * ny) * light[0] + (sin * nx + cos * ny) * light[1] + nz * light[2]
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    lit, sky = max(toward / length, 0.0), 0.5 + 0.5 * nz / length
    return (
        red * (light[3] * lit + light[7] * sky),
        green * (light[4] * lit + light[8] * sky),
        blue * (light[5] * lit + light[9] * sky),
        nir * (light[6] * lit + light[10] * sky),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def look(
    ground: Ground, origin: Triple, direction: Triple, start: float, houses: bool
) -> tuple[float, Colour]:
    """Follow one ray: return its parameter (MISS if it ends nowhere) and its radiance.

    `start` is from `skip_ahead`; `houses` says whether any may stand in the way.
    """
    scale = 1.0 / ground.cell_m
    nearest = hit_ground(ground.height, scale, origin, direction, start)
    if houses:
        t, face, which = hit_houses(ground.houses, origin, direction)
        if t >= 0 and (nearest < 0 or t < nearest):
            point = (
                origin[0] + t * direction[0],
                origin[1] + t * direction[1],
                origin[2] + t * direction[2],
            )
            return t, see_house(ground, which, face, point)
    if nearest < 0:
        return MISS, (0.0, 0.0, 0.0, 0.0)
    x, y = origin[0] + nearest * direction[0], origin[1] + nearest * direction[1]
    return nearest, see_ground(ground.layers, scale, x, y)


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
    ground: Ground, lens: Lens, lattice_from_cam: F64, centre: Triple, patch: int, out: F32
) -> int:
    """Fill a picture (rows, cols, 3 or 1) with radiance, four rays a pixel; return the misses.

    Three bands are red, green and blue; a single band is near infrared.  The lens is fx, fy, cx,
    cy in pixels (corner origin), k1, k2, p1, p2, k3 of Brown's model; `lattice_from_cam` (3, 3)
    turns a ray from camera to lattice metres, `centre` is the projection centre there.

    The picture is worked through in squares of `patch` pixels, whose ground must be smaller than
    a block of `flightplan.rehearsal.ray_tracing.BLOCK` cells.  The rays through a square's
    corners are exact and give the rays between them by bilinear interpolation, which is within
    0.001 pixels for lenses of a few per cent distortion; they also tell how far all may skip.
    """
    corners = np.empty((4, 3))
    m = lattice_from_cam
    misses = 0
    for row in range(0, out.shape[0], patch):
        for col in range(0, out.shape[1], patch):
            start, houses = np.inf, False
            for k in range(4):
                u, v = undistorted(lens, col + patch * (k % 2), row + patch * (k // 2))
                ray = (
                    m[0, 0] * u + m[0, 1] * v + m[0, 2],
                    m[1, 0] * u + m[1, 1] * v + m[1, 2],
                    m[2, 0] * u + m[2, 1] * v + m[2, 2],
                )
                corners[k, 0], corners[k, 1], corners[k, 2] = ray
                if ray[2] >= 0:
                    start = MISS
                    break
                start = min(start, skip_ahead(ground, centre, ray))
                houses = houses or near_houses(ground.houses, centre, ray, 1.0)
            if start < 0:
                misses += 4 * patch * patch
                continue
            part = out[row : row + patch, col : col + patch]
            if houses:
                misses += fill_patch(ground, centre, corners, start, patch, part)
            else:
                misses += fill_open_patch(
                    ground.height,
                    ground.layers,
                    1.0 / ground.cell_m,
                    centre,
                    corners,
                    start,
                    patch,
                    part,
                )
    return misses


@njit(cache=True, nogil=True, error_model="numpy")
def ray_between(corners: F64, u: float, v: float) -> Triple:
    """Return the ray at fractions u across and v down a square with corner rays (4, 3)."""
    a, b, c, d = (1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v
    return (
        a * corners[0, 0] + b * corners[1, 0] + c * corners[2, 0] + d * corners[3, 0],
        a * corners[0, 1] + b * corners[1, 1] + c * corners[2, 1] + d * corners[3, 1],
        a * corners[0, 2] + b * corners[1, 2] + c * corners[2, 2] + d * corners[3, 2],
    )


@njit(cache=True, nogil=True, error_model="numpy")
def add_sample(out: F32, row: int, col: int, seen: Colour) -> None:
    """Add a quarter of a radiance to a pixel."""
    if out.shape[2] == 1:
        out[row, col, 0] += 0.25 * seen[3]
        return
    out[row, col, 0] += 0.25 * seen[0]
    out[row, col, 1] += 0.25 * seen[1]
    out[row, col, 2] += 0.25 * seen[2]


@njit(cache=True, nogil=True, error_model="numpy")
def fill_patch(
    ground: Ground, centre: Triple, corners: F64, start: float, patch: int, out: F32
) -> int:
    """Fill a square of a picture with four rays a pixel between its corner rays (4, 3)."""
    misses = 0
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            for sample in range(4):
                u = (col + 0.25 + 0.5 * (sample % 2)) / patch
                v = (row + 0.25 + 0.5 * (sample // 2)) / patch
                ray = ray_between(corners, u, v)
                t, seen = look(ground, centre, ray, start, True)
                misses += t < 0
                add_sample(out, row, col, seen)
    return misses


@njit(cache=True, nogil=True, error_model="numpy")
def fill_open_patch(
    height: F32,
    layers: NDArray[np.uint16],
    scale: float,
    centre: Triple,
    corners: F64,
    start: float,
    patch: int,
    out: F32,
) -> int:
    """Do what `fill_patch` does where no house can be in the picture.

    Handing a whole `Ground` from function to function costs Numba half its time; nearly all
    squares come here.
    """
    misses = 0
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            for sample in range(4):
                u = (col + 0.25 + 0.5 * (sample % 2)) / patch
                v = (row + 0.25 + 0.5 * (sample // 2)) / patch
                ray = ray_between(corners, u, v)
                t = hit_ground(height, scale, centre, ray, start)
                if t < 0:
                    misses += 1
                    continue
                x, y = centre[0] + t * ray[0], centre[1] + t * ray[1]
                add_sample(out, row, col, see_ground(layers, scale, x, y))
    return misses


@njit(cache=True, nogil=True, error_model="numpy")
def look_down(
    ground: Ground, x0: float, y0: float, cell_m: float, samples: int, height: F32, radiance: F32
) -> None:
    """Fill height (rows, cols) and radiance (rows, cols, 4) as seen from straight above.

    (x0, y0) is the corner of the first cell in lattice metres.  The height is that of the highest
    surface at the cell's centre; the radiance is the mean of samples² rays.
    """
    down, share = (0.0, 0.0, -1.0), 1.0 / (samples * samples)
    top = ground.upper_far.max() + HEADROOM_M
    for row in range(height.shape[0]):
        for col in range(height.shape[1]):
            centre = (x0 + (col + 0.5) * cell_m, y0 + (row + 0.5) * cell_m, top)
            houses = near_houses(ground.houses, centre, down, cell_m)
            t, _ = look(ground, centre, down, 0.0, houses)
            height[row, col] = top - t if t >= 0 else np.nan
            for sample in range(samples * samples):
                origin = (
                    x0 + (col + (sample % samples + 0.5) / samples) * cell_m,
                    y0 + (row + (sample // samples + 0.5) / samples) * cell_m,
                    top,
                )
                _, seen = look(ground, origin, down, 0.0, houses)
                for band in range(4):
                    radiance[row, col, band] += seen[band] * share
