"""Where rays meet bodies on the rehearsal's ground, what keeps the sun off, and what is seen.

Kernels in lattice metres, as those of `flightplan.rehearsal.ray_tracing`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from flightplan.rehearsal.ray_tracing import (
    MISS,
    Colour,
    Triple,
    hit_ground,
)
from flightplan.rehearsal.solids.bodies import (
    CONVEX,
    ELLIPSOID,
    FIRST,
    ORIGIN,
    SIZE,
    SPHERE,
    TURN,
)
from flightplan.rehearsal.solids.textures import albedo, turned

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Numbers = NDArray[np.int64]

SAME_M = 1e-6
"""Bodies that touch at no more than this along a ray do not hide one another."""
BOUNCE = 0.16
"""Light from the ground below, as a share of sunlight on it."""


@njit(cache=True, nogil=True, error_model="numpy")
def hit_convex(
    faces: F64, which: tuple[int, int], origin: Triple, direction: Triple
) -> tuple[float, float, int]:
    """Return where a ray enters and leaves a convex body, and the face; MISS if it does not."""
    enter, leave, face = -np.inf, np.inf, -1
    for f in range(which[0], which[1]):
        nx, ny, nz = faces[f, 0], faces[f, 1], faces[f, 2]
        rate = nx * direction[0] + ny * direction[1] + nz * direction[2]
        value = nx * origin[0] + ny * origin[1] + nz * origin[2] - faces[f, 3]
        if rate == 0.0:
            if value > 0:
                return MISS, MISS, -1
            continue
        t = -value / rate
        if rate < 0:
            if t > enter:
                enter, face = t, f
        else:
            leave = min(leave, t)
        if enter > leave:
            return MISS, MISS, -1
    return enter, leave, face


@njit(cache=True, nogil=True, error_model="numpy")
def hit_round(table: F64, k: int, origin: Triple, direction: Triple) -> tuple[float, float]:
    """Return where a ray enters and leaves an ellipsoid or an upright cylinder, or MISS."""
    px, py = turned(table, k, origin[0] - table[k, ORIGIN], origin[1] - table[k, ORIGIN + 1])
    pz = origin[2] - table[k, ORIGIN + 2]
    dx, dy = turned(table, k, direction[0], direction[1])
    dz = direction[2]
    enter, leave = -np.inf, np.inf
    if table[k, 0] == ELLIPSOID:
        a, b, c = table[k, SIZE], table[k, SIZE + 1], table[k, SIZE + 2]
        px, py, pz, dx, dy, dz = px / a, py / b, pz / c, dx / a, dy / b, dz / c
    else:
        radius, height = table[k, SIZE], table[k, SIZE + 1]
        low, high = -pz / dz, (height - pz) / dz
        enter, leave = min(low, high), max(low, high)
        if dz == 0.0:
            if pz < 0 or pz > height:
                return MISS, MISS
            enter, leave = -np.inf, np.inf
        px, py, dx, dy, pz, dz = px / radius, py / radius, dx / radius, dy / radius, 0.0, 0.0
    square = dx * dx + dy * dy + dz * dz
    half = px * dx + py * dy + pz * dz
    rest = px * px + py * py + pz * pz - 1.0
    if square == 0.0:
        return (enter, leave) if rest <= 0 else (MISS, MISS)
    under_root = half * half - square * rest
    if under_root <= 0:
        return MISS, MISS
    root = math.sqrt(under_root)
    enter, leave = max(enter, (-half - root) / square), min(leave, (root - half) / square)
    return (enter, leave) if enter <= leave else (MISS, MISS)


@njit(cache=True, nogil=True, error_model="numpy")
def hit_solid(
    table: F64, faces: F64, k: int, origin: Triple, direction: Triple
) -> tuple[float, float, int]:
    """Return where a ray enters and leaves body k, and the face it enters; MISS if it does not.

    From within, the ray enters behind its origin.
    """
    if table[k, 0] == CONVEX:
        which = int(table[k, FIRST]), int(table[k, FIRST + 1])
        return hit_convex(faces, which, origin, direction)
    enter, leave = hit_round(table, k, origin, direction)
    return enter, leave, -1


@njit(cache=True, nogil=True, error_model="numpy")
def hit_solids(
    table: F64, faces: F64, candidates: Numbers, origin: Triple, direction: Triple
) -> tuple[float, int, int]:
    """Return ray parameter, number and face of the candidate that a ray meets first, or MISS.

    Of two in one plane it is the earlier in the table.
    """
    nearest, which, face = np.inf, -1, -1
    for place in range(candidates.shape[0]):
        k = candidates[place]
        enter, leave, f = hit_solid(table, faces, k, origin, direction)
        if leave > 0 and 0 < enter < nearest * (1.0 - 1e-12):
            nearest, which, face = enter, k, f
    return (nearest, which, face) if which >= 0 else (MISS, -1, -1)


@njit(cache=True, nogil=True, error_model="numpy")
def meets_sphere(table: F64, k: int, origin: Triple, direction: Triple) -> bool:
    """Tell whether a ray's line meets the bounding sphere of body k ahead of its origin."""
    x, y = table[k, SPHERE] - origin[0], table[k, SPHERE + 1] - origin[1]
    z, radius = table[k, SPHERE + 2] - origin[2], table[k, SPHERE + 3]
    square = direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2
    along = x * direction[0] + y * direction[1] + z * direction[2]
    away2 = x * x + y * y + z * z
    ahead = max(along, 0.0)
    return bool(away2 - ahead * ahead / square <= radius * radius)


@njit(cache=True, nogil=True, error_model="numpy")
def blocked(table: F64, faces: F64, candidates: Numbers, point: Triple, toward: Triple) -> bool:
    """Tell whether a candidate lies between a point and a direction; they end at -1."""
    for place in range(candidates.shape[0]):
        k = candidates[place]
        if k < 0:
            return False
        if not meets_sphere(table, k, point, toward):
            continue
        enter, leave, _ = hit_solid(table, faces, k, point, toward)
        if leave > SAME_M and enter < leave:
            return True
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def cast_shadows(
    table: F64, faces: F64, height: F32, light: F64, cell_m: float, out: NDArray[np.uint8]
) -> None:
    """Set in each cell (rows, cols) a bit for each of four places in it that a body shades."""
    sun = (light[0], light[1], light[2])
    lowest, highest = height.min(), height.max()
    for k in range(table.shape[0]):
        x, y, radius = table[k, SPHERE], table[k, SPHERE + 1], table[k, SPHERE + 3]
        # The shadow's middle moves with the height of the ground it falls on.
        first = max(table[k, SPHERE + 2] - highest, -radius) / sun[2]
        last = (table[k, SPHERE + 2] - lowest) / sun[2]
        reach = radius / sun[2]
        xs, ys = (x - first * sun[0], x - last * sun[0]), (y - first * sun[1], y - last * sun[1])
        low_col = max(int((min(xs[0], xs[1]) - reach) / cell_m), 0)
        end_col = min(int((max(xs[0], xs[1]) + reach) / cell_m) + 2, height.shape[1])
        low_row = max(int((min(ys[0], ys[1]) - reach) / cell_m), 0)
        end_row = min(int((max(ys[0], ys[1]) + reach) / cell_m) + 2, height.shape[0])
        for row in range(low_row, end_row):
            for col in range(low_col, end_col):
                at = ((col + 0.5) * cell_m, (row + 0.5) * cell_m, float(height[row, col]))
                if meets_sphere(table, k, at, sun):
                    out[row, col] |= _shaded(table, faces, k, at, sun, cell_m)


@njit(cache=True, nogil=True, error_model="numpy")
def _shaded(table: F64, faces: F64, k: int, at: Triple, sun: Triple, cell_m: float) -> np.uint8:
    bits = 0
    for sample in range(4):
        x = at[0] + (sample % 2 - 0.5) * 0.5 * cell_m
        y = at[1] + (sample // 2 - 0.5) * 0.5 * cell_m
        enter, leave, _ = hit_solid(table, faces, k, (x, y, at[2]), sun)
        if leave > SAME_M and enter < leave:
            bits |= 1 << sample
    return np.uint8(bits)


@njit(cache=True, nogil=True, error_model="numpy")
def normal_at(table: F64, faces: F64, k: int, face: int, point: Triple) -> Triple:
    """Return the outward unit normal of body k at a lattice place on it."""
    if face >= 0:
        return faces[face, 0], faces[face, 1], faces[face, 2]
    px, py = turned(table, k, point[0] - table[k, ORIGIN], point[1] - table[k, ORIGIN + 1])
    pz = point[2] - table[k, ORIGIN + 2]
    if table[k, 0] == ELLIPSOID:
        nx, ny = px / table[k, SIZE] ** 2, py / table[k, SIZE + 1] ** 2
        nz = pz / table[k, SIZE + 2] ** 2
    elif pz > table[k, SIZE + 1] - SAME_M:
        nx, ny, nz = 0.0, 0.0, 1.0
    else:
        nx, ny, nz = px, py, 0.0
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    cos, sin = table[k, TURN], table[k, TURN + 1]
    return (cos * nx - sin * ny) / length, (sin * nx + cos * ny) / length, nz / length


@njit(cache=True, nogil=True, error_model="numpy")
def see_solid(
    table: F64, faces: F64, casters: Numbers, light: F64, hit: tuple[int, int], point: Triple
) -> Colour:
    """Return the radiance of a body at a lattice place; `hit` is its number and face.

    Sun with cast shadows, open sky above and lit ground below, all matt.
    """
    k, face = hit
    nx, ny, nz = normal_at(table, faces, k, face, point)
    sun = (light[0], light[1], light[2])
    lit = max(nx * sun[0] + ny * sun[1] + nz * sun[2], 0.0)
    if lit > 0 and blocked(table, faces, casters[k], point, sun):
        lit = 0.0
    red, green, blue, nir = albedo(table, faces, k, face, point)
    sky, below = 0.5 + 0.5 * nz, BOUNCE * (0.5 - 0.5 * nz) * sun[2]
    return (
        red * (light[3] * (lit + below) + light[7] * sky),
        green * (light[4] * (lit + below) + light[8] * sky),
        blue * (light[5] * (lit + below) + light[9] * sky),
        nir * (light[6] * (lit + below) + light[10] * sky),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def first_hit(
    height: F32,
    scale: float,
    table: F64,
    faces: F64,
    candidates: Numbers,
    ray: tuple[Triple, Triple, float],
) -> tuple[float, int, int]:
    """Return the parameter where a ray ends, MISS if nowhere, and the number and face of a body.

    The number is -1 on the ground.  `ray` is its origin, its direction, and where it may meet the
    ground at the earliest.
    """
    origin, direction, start = ray
    nearest, k, face = hit_solids(table, faces, candidates, origin, direction)
    if k < 0 or nearest > start:
        t = hit_ground(height, scale, origin, direction, start)
        if t >= 0 and (k < 0 or t < nearest):
            return t, -1, -1
    return nearest, k, face
