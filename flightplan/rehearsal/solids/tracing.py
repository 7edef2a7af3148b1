"""Photographs of bodies on the rehearsal's ground: where rays meet them, and what they see there.

The counterpart of `flightplan.rehearsal.ray_tracing` for scenes with `Solids`.  What no body can
be in front of is traced by that module's kernels; before the rays of a square of pixels are
followed, the bodies whose bounding sphere its cone meets are found, so that only these cost time.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from flightplan.rehearsal.ray_tracing import (
    BLOCK,
    HEADROOM_M,
    MISS,
    Colour,
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
    TURN,
    Solids,
)
from flightplan.rehearsal.solids.textures import albedo, turned

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Numbers = NDArray[np.int64]

TILE = 8
"""Pixels on a side of the squares whose candidates are found together."""
FINE = 1.0
"""Cells of the ground's rasters up to which a pixel of open ground takes one ray, beyond two."""
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

    `lowest_m` is the height of the lowest ground.  Squares of `TILE` pixels are cut into smaller
    ones until the ground of each is smaller than a block, so that photographs may look aslant.
    """
    corners, part_corners = np.empty((4, 3)), np.empty((4, 3))
    candidates = np.empty(solids.table.shape[0], np.int64)
    m = lattice_from_cam
    limit_m = BLOCK * ground.cell_m / 1.5
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
            count = find_candidates(solids, centre, corners, candidates)
            size, wide_m = TILE, widest_m(corners, centre[2] - lowest_m)
            while size > 1 and wide_m > limit_m:
                size, wide_m = size // 2, wide_m / 2
            samples = 1 if wide_m < FINE * size * ground.cell_m else 2
            for place in range((TILE // size) ** 2):
                down_px, right_px = place // (TILE // size) * size, place % (TILE // size) * size
                part = out[
                    row + down_px : min(row + down_px + size, row + TILE),
                    col + right_px : min(col + right_px + size, col + TILE),
                ]
                for i in range(4):
                    ray = ray_between(
                        corners,
                        (right_px + size * (i % 2)) / TILE,
                        (down_px + size * (i // 2)) / TILE,
                    )
                    part_corners[i, 0], part_corners[i, 1], part_corners[i, 2] = ray
                near = candidates[:count]
                misses += _fill(ground, solids, centre, part_corners, size, samples, near, part)
    return misses


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(
    ground: Ground,
    solids: Solids,
    centre: Triple,
    corners: F64,
    size: int,
    samples: int,
    candidates: Numbers,
    out: F32,
) -> int:
    """Fill a square of a picture between its corner rays (4, 3); return the misses.

    Where no body is, a pixel is the mean of one or two rays, else of four.
    """
    start = np.inf
    for i in range(4):
        begin = skip_ahead(ground, centre, (corners[i, 0], corners[i, 1], corners[i, 2]))
        if begin < 0:
            return 4 * size * size
        start = min(start, begin)
    scale = 1.0 / ground.cell_m
    height, layers, light = ground.height, ground.layers, ground.light
    table, faces, casters = solids.table, solids.faces, solids.casters
    rays = (centre, corners, start)
    if candidates.shape[0] == 0:
        return int(_fill_open(height, layers, scale, rays, size, samples, out))
    misses = 0
    for row in range(out.shape[0]):
        for col in range(out.shape[1]):
            place = (row, col)
            if not _any_hit(table, faces, candidates, rays, size, place):
                misses += _open_pixel(height, layers, scale, rays, size, samples, place, out)
                continue
            for sample in range(4):
                ray = _sample_ray(corners, size, place, sample)
                t, k, face = first_hit(
                    height, scale, table, faces, candidates, (centre, ray, start)
                )
                misses += t < 0
                point = (centre[0] + t * ray[0], centre[1] + t * ray[1], centre[2] + t * ray[2])
                if k >= 0:
                    seen = see_solid(table, faces, casters, light, (k, face), point)
                    add_sample(out, row, col, seen)
                elif t >= 0:
                    add_sample(out, row, col, see_ground(layers, scale, point[0], point[1]))
    return misses


@njit(cache=True, nogil=True, error_model="numpy")
def _sample_ray(corners: F64, size: int, place: tuple[int, int], sample: int) -> Triple:
    """Return one of the four rays of a pixel (row, column) of a square."""
    u = (place[1] + 0.25 + 0.5 * (sample % 2)) / size
    v = (place[0] + 0.25 + 0.5 * (sample // 2)) / size
    return ray_between(corners, u, v)


@njit(cache=True, nogil=True, error_model="numpy")
def _any_hit(
    table: F64,
    faces: F64,
    candidates: Numbers,
    rays: tuple[Triple, F64, float],
    size: int,
    place: tuple[int, int],
) -> bool:
    """Tell whether any of the four rays of a pixel meets a body."""
    for sample in range(4):
        ray = _sample_ray(rays[1], size, place, sample)
        for number in range(candidates.shape[0]):
            enter, leave, _ = hit_solid(table, faces, candidates[number], rays[0], ray)
            if 0 < enter < leave:
                return True
    return False


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_open(
    height: F32,
    layers: NDArray[np.uint16],
    scale: float,
    rays: tuple[Triple, F64, float],
    size: int,
    samples: int,
    out: F32,
) -> int:
    """Fill a square in which no body can be, with one or two rays a pixel."""
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
    rays: tuple[Triple, F64, float],
    size: int,
    samples: int,
    place: tuple[int, int],
    out: F32,
) -> int:
    """Fill a pixel of open ground with one or two rays, without detail of 2 cm.

    `rays` are the projection centre, the corner rays (4, 3), and where they may meet the ground.
    """
    (centre, corners, start), (row, col) = rays, place
    misses = 0
    for sample in range(samples):
        # Two lie on a diagonal, which changes from pixel to pixel.
        aside = (0.5 * sample - 0.25) * (samples - 1)
        u = (col + 0.5 + aside) / size
        v = (row + 0.5 + (aside if (row + col) % 2 else -aside)) / size
        ray = ray_between(corners, u, v)
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
