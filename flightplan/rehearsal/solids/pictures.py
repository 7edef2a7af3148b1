"""Photographs of bodies on the rehearsal's ground, and views of them from above.

The counterpart of `flightplan.rehearsal.ray_tracing` for scenes with `Solids`.  Before the rays of
a square of pixels are followed, the bodies that may show in it are found: only these cost time.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from flightplan.rehearsal.ray_tracing import (
    BLOCK,
    HEADROOM_M,
    Ground,
    Lens,
    Triple,
    add_sample,
    hit_ground,
    ray_between,
    see_ground,
    skip_ahead,
    undistorted,
)
from flightplan.rehearsal.solids.bodies import (
    CONVEX,
    ELLIPSOID,
    FIRST,
    ORIGIN,
    SIZE,
    SPHERE,
    Solids,
)
from flightplan.rehearsal.solids.textures import turned
from flightplan.rehearsal.solids.tracing import Numbers, first_hit, hit_solids, see_solid

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Rays = tuple[Triple, F64, float]
"""Of a square of pixels: projection centre, corner rays (4, 3), and where they may meet the ground
at the earliest."""

TILE = 8
"""Pixels on a side of the squares whose bodies are found together."""
FINE = 1.0
"""Cells of the ground's rasters up to which a pixel of open ground takes one ray, beyond two."""
NONE, ONE, SEVERAL = 0, 1, 2
"""What the four rays of a pixel meet: no body, one face, or more than one thing."""


@njit(cache=True, nogil=True, error_model="numpy")
def photograph_solids(
    ground: Ground,
    solids: Solids,
    lens: Lens,
    lattice_from_cam: F64,
    centre: Triple,
    lowest_m: float,
    out: F32,
) -> int:
    """Do what `flightplan.rehearsal.ray_tracing.photograph` does, with bodies on the ground.

    `lowest_m` is the height of the lowest ground.
    """
    corners, m = np.empty((4, 3)), lattice_from_cam
    candidates = np.empty(solids.table.shape[0], np.int64)
    misses = 0
    for row in range(0, out.shape[0], TILE):
        for col in range(0, out.shape[1], TILE):
            down = True
            for i in range(4):
                u, v = undistorted(lens, col + TILE * (i % 2), row + TILE * (i // 2))
                for j in range(3):
                    corners[i, j] = m[j, 0] * u + m[j, 1] * v + m[j, 2]
                down = down and corners[i, 2] < 0
            if not down:
                misses += 4 * TILE * TILE
                continue
            near = candidates[: find_candidates(solids, centre, corners, candidates)]
            part = out[row : row + TILE, col : col + TILE]
            misses += _fill_tile(ground, solids, centre, corners, lowest_m, near, part)
    return misses


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_tile(
    ground: Ground,
    solids: Solids,
    centre: Triple,
    corners: F64,
    lowest_m: float,
    candidates: Numbers,
    out: F32,
) -> int:
    """Fill `TILE` × `TILE` pixels between their corner rays (4, 3); return the misses.

    They are cut into smaller squares until the ground of each is smaller than a block, as
    photographs that look aslant need.
    """
    size, wide_m = TILE, widest_m(corners, centre[2] - lowest_m)
    while size > 1 and wide_m > BLOCK * ground.cell_m / 1.5:
        size, wide_m = size // 2, wide_m / 2
    samples = 1 if wide_m < FINE * size * ground.cell_m else 2
    count = TILE // size
    begins, part_corners = np.empty((count + 1, count + 1)), np.empty((4, 3))
    for i in range(count + 1):
        for j in range(count + 1):
            begins[i, j] = skip_ahead(ground, centre, ray_between(corners, j / count, i / count))
    misses = 0
    for i in range(count):
        for j in range(count):
            part = out[i * size : (i + 1) * size, j * size : (j + 1) * size]
            start = begins[i : i + 2, j : j + 2].min()
            if start < 0:
                misses += 4 * size * size
                continue
            for k in range(4):
                ray = ray_between(corners, (j + k % 2) / count, (i + k // 2) / count)
                part_corners[k, 0], part_corners[k, 1], part_corners[k, 2] = ray
            rays = (centre, part_corners, start)
            misses += _fill(ground, solids, rays, size, samples, candidates, part)
    return misses


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(
    ground: Ground,
    solids: Solids,
    rays: Rays,
    size: int,
    samples: int,
    candidates: Numbers,
    out: F32,
) -> int:
    """Fill a square of a picture; return the misses.

    Open ground takes one or two rays a pixel, the face of a body two, and edges four.
    """
    height, layers, scale = ground.height, ground.layers, 1.0 / ground.cell_m
    if candidates.shape[0] == 0:
        return int(_fill_open(height, layers, scale, rays, size, samples, out))
    misses = 0
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            place = (row, col)
            met = _met(solids.table, solids.faces, candidates, rays, size, place)
            if met == NONE:
                misses += _open_pixel(height, layers, scale, rays, size, samples, place, out)
            else:
                every = 1 if met == SEVERAL else 2
                misses += _body_pixel(ground, solids, candidates, rays, size, place, every, out)
    return misses


@njit(cache=True, nogil=True, error_model="numpy")
def _sample_ray(corners: F64, size: int, place: tuple[int, int], sample: int) -> Triple:
    """Return one of the four rays of a pixel (row, column) of a square.

    The first two lie on a diagonal, which changes from pixel to pixel.
    """
    right = (sample + sample // 2) % 2
    down = (right + sample // 2 + place[0] + place[1]) % 2
    u = (place[1] + 0.25 + 0.5 * right) / size
    v = (place[0] + 0.25 + 0.5 * down) / size
    return ray_between(corners, u, v)


@njit(cache=True, nogil=True, error_model="numpy")
def _met(
    table: F64,
    faces: F64,
    candidates: Numbers,
    rays: Rays,
    size: int,
    place: tuple[int, int],
) -> int:
    """Return what the four rays of a pixel meet, as far as bodies go."""
    body, face = -2, -1
    for sample in range(4):
        ray = _sample_ray(rays[1], size, place, sample)
        _, k, f = hit_solids(table, faces, candidates, rays[0], ray)
        if body == -2:
            body, face = k, f
        elif k != body or f != face:
            return SEVERAL
    return NONE if body == -1 else ONE


@njit(cache=True, nogil=True, error_model="numpy")
def _body_pixel(
    ground: Ground,
    solids: Solids,
    candidates: Numbers,
    rays: Rays,
    size: int,
    place: tuple[int, int],
    every: int,
    out: F32,
) -> int:
    """Fill a pixel in which bodies are, with four rays or, each counted twice, with two."""
    table, faces, casters = solids.table, solids.faces, solids.casters
    scale, centre = 1.0 / ground.cell_m, rays[0]
    misses = 0
    for sample in range(4 // every):
        ray = _sample_ray(rays[1], size, place, sample)
        trace = (centre, ray, rays[2])
        t, k, face = first_hit(ground.height, scale, table, faces, candidates, trace)
        if t < 0:
            misses += every
            continue
        point = (centre[0] + t * ray[0], centre[1] + t * ray[1], centre[2] + t * ray[2])
        if k >= 0:
            seen = see_solid(table, faces, casters, ground.light, (k, face), point)
        else:
            seen = see_ground(ground.layers, scale, point[0], point[1])
        for _ in range(every):
            add_sample(out, place[0], place[1], seen)
    return misses


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_open(
    height: F32,
    layers: NDArray[np.uint16],
    scale: float,
    rays: Rays,
    size: int,
    samples: int,
    out: F32,
) -> int:
    """Fill a square in which no body can be."""
    misses = 0
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            place = (row, col)
            misses += _open_pixel(height, layers, scale, rays, size, samples, place, out)
    return misses


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _open_pixel(
    height: F32,
    layers: NDArray[np.uint16],
    scale: float,
    rays: Rays,
    size: int,
    samples: int,
    place: tuple[int, int],
    out: F32,
) -> int:
    """Fill a pixel of open ground with one or two rays, without detail of 2 cm."""
    (centre, corners, start), (row, col) = rays, place
    misses = 0
    for sample in range(samples):
        if samples == 1:
            ray = ray_between(corners, (col + 0.5) / size, (row + 0.5) / size)
        else:
            ray = _sample_ray(corners, size, place, sample)
        t = hit_ground(height, scale, centre, ray, start)
        if t < 0:
            misses += 4 // samples
            continue
        x, y = centre[0] + t * ray[0], centre[1] + t * ray[1]
        seen = see_ground(layers, scale, x, y, 2)
        for _ in range(4 // samples):
            add_sample(out, row, col, seen)
    return misses


@njit(cache=True, nogil=True, error_model="numpy")
def find_candidates(solids: Solids, centre: Triple, corners: F64, out: Numbers) -> int:
    """List the bodies that rays between corner rays (4, 3) may meet; return how many they are."""
    table = solids.table
    ax, ay, az = corners[:, 0].sum(), corners[:, 1].sum(), corners[:, 2].sum()
    length = math.sqrt(ax * ax + ay * ay + az * az)
    ax, ay, az = ax / length, ay / length, az / length
    cosine = 1.0
    for i in range(4):
        x, y, z = corners[i, 0], corners[i, 1], corners[i, 2]
        cosine = min(cosine, (ax * x + ay * y + az * z) / math.sqrt(x * x + y * y + z * z))
    cosine -= 1e-9
    tangent = math.sqrt(1.0 - cosine * cosine) / cosine
    count = 0
    for k in range(table.shape[0]):
        x, y = table[k, SPHERE] - centre[0], table[k, SPHERE + 1] - centre[1]
        z, radius = table[k, SPHERE + 2] - centre[2], table[k, SPHERE + 3]
        along = ax * x + ay * y + az * z
        aside2 = x * x + y * y + z * z - along * along
        reach = max(along, 0.0) * tangent + radius / cosine
        if along > -radius and aside2 <= reach * reach and _between(solids, k, centre, corners):
            out[count] = k
            count += 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _between(solids: Solids, k: int, centre: Triple, corners: F64) -> bool:
    """Tell whether body k lies on the inner side of each plane through two corner rays, in part."""
    for i in range(4):
        j, other = (1, 3, 0, 2)[i], (2, 0, 3, 1)[i]
        ax, ay, az = corners[i, 0], corners[i, 1], corners[i, 2]
        bx, by, bz = corners[j, 0], corners[j, 1], corners[j, 2]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        inward = nx * corners[other, 0] + ny * corners[other, 1] + nz * corners[other, 2]
        sign = 1.0 if inward > 0 else -1.0
        if _farthest(solids, k, centre, (sign * nx, sign * ny, sign * nz)) < 0:
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _farthest(solids: Solids, k: int, centre: Triple, way: Triple) -> float:
    """Return how far body k reaches from a place along a direction, in lengths of that."""
    table = solids.table
    if table[k, 0] == CONVEX:
        corners, most = solids.corners, -np.inf
        first = int(solids.faces[int(table[k, FIRST]), 6])
        end = int(solids.faces[int(table[k, FIRST + 1]) - 1, 7])
        for c in range(first, end):
            reach = (
                way[0] * (corners[c, 0] - centre[0])
                + way[1] * (corners[c, 1] - centre[1])
                + way[2] * (corners[c, 2] - centre[2])
            )
            most = max(most, reach)
        return most
    middle = (
        way[0] * (table[k, ORIGIN] - centre[0])
        + way[1] * (table[k, ORIGIN + 1] - centre[1])
        + way[2] * (table[k, ORIGIN + 2] - centre[2])
    )
    along, across = turned(table, k, way[0], way[1])
    a, b, c = table[k, SIZE], table[k, SIZE + 1], table[k, SIZE + 2]
    if table[k, 0] == ELLIPSOID:
        return float(middle + math.sqrt((a * along) ** 2 + (b * across) ** 2 + (c * way[2]) ** 2))
    return float(middle + a * math.hypot(along, across) + b * max(way[2], 0.0))


@njit(cache=True, nogil=True, error_model="numpy")
def widest_m(corners: F64, drop_m: float) -> float:
    """Return the longest side of what four corner rays (4, 3) enclose so far below, in metres."""
    most = 0.0
    for i in range(4):
        # The corners lie in reading order.
        j = (1, 3, 0, 2)[i]
        dx = corners[i, 0] / corners[i, 2] - corners[j, 0] / corners[j, 2]
        dy = corners[i, 1] / corners[i, 2] - corners[j, 1] / corners[j, 2]
        most = max(most, drop_m * math.hypot(dx, dy))
    return most


@njit(cache=True, nogil=True, error_model="numpy")
def look_down_solids(
    ground: Ground,
    solids: Solids,
    corner: tuple[float, float],
    cell_m: float,
    samples: int,
    height: F32,
    radiance: F32,
) -> None:
    """Do what `flightplan.rehearsal.ray_tracing.look_down` does, with bodies on the ground."""
    table, faces, casters = solids.table, solids.faces, solids.casters
    scale = 1.0 / ground.cell_m
    down, share = (0.0, 0.0, -1.0), 1.0 / (samples * samples)
    top = ground.upper_far.max() + HEADROOM_M
    candidates = np.empty(table.shape[0], np.int64)
    for row in range(height.shape[0]):
        for col in range(height.shape[1]):
            x, y = corner[0] + (col + 0.5) * cell_m, corner[1] + (row + 0.5) * cell_m
            count = 0
            for k in range(table.shape[0]):
                away = math.hypot(x - table[k, SPHERE], y - table[k, SPHERE + 1])
                if away <= table[k, SPHERE + 3] + cell_m:
                    candidates[count] = k
                    count += 1
            near = candidates[:count]
            t, _, _ = first_hit(ground.height, scale, table, faces, near, ((x, y, top), down, 0.0))
            height[row, col] = top - t if t >= 0 else np.nan
            for sample in range(samples * samples):
                east = x + ((sample % samples + 0.5) / samples - 0.5) * cell_m
                south = y + ((sample // samples + 0.5) / samples - 0.5) * cell_m
                ray = ((east, south, top), down, 0.0)
                t, k, face = first_hit(ground.height, scale, table, faces, near, ray)
                if t < 0:
                    continue
                seen = see_ground(ground.layers, scale, east, south)
                if k >= 0:
                    point = (east, south, top - t)
                    seen = see_solid(table, faces, casters, ground.light, (k, face), point)
                for band in range(4):
                    radiance[row, col, band] += seen[band] * share
