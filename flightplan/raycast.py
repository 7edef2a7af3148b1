"""Where a ray meets the ground or a house (Numba kernels that release the interpreter lock).

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

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

Triple = tuple[float, float, float]

BLOCK = 8
"""Cells on a side of the blocks whose highest point lets a ray skip ahead."""
MISS = -1.0


class Ground(NamedTuple):
    """The scene as the kernels take it."""

    height: F32
    """Node heights, (rows, cols)."""
    upper: F32
    """Upper bound of the heights in each block of `BLOCK` cells and its eight neighbours."""
    upper_far: F32
    """The same for blocks of `BLOCK`² cells."""
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
