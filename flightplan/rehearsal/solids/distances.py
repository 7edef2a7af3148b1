"""How far places are from the ground and from bodies: exact, by kernels.

Coordinates are lattice metres, as in `flightplan.rehearsal.ray_tracing`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from flightplan.rehearsal.ray_tracing import BLOCK, Triple, bilinear
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

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def block_bounds(height: F32) -> tuple[F32, F32]:
    """Return the lowest and highest node of each block of cells, the next nodes included."""
    rows, cols = height.shape
    padded = np.pad(height, ((0, -rows % BLOCK + BLOCK), (0, -cols % BLOCK + BLOCK)), mode="edge")
    shape = (-(-rows // BLOCK), -(-cols // BLOCK))
    lower, upper = np.full(shape, np.inf, np.float32), np.full(shape, -np.inf, np.float32)
    for down in (0, BLOCK):
        for right in (0, BLOCK):
            nodes = padded[down : down + shape[0] * BLOCK, right : right + shape[1] * BLOCK]
            # Of the next blocks only the first row and column are nodes of this one's cells.
            blocks = nodes.reshape(shape[0], BLOCK, shape[1], BLOCK)
            if down:
                blocks = blocks[:, :1]
            if right:
                blocks = blocks[:, :, :, :1]
            lower = np.minimum(lower, blocks.min(axis=(1, 3)))
            upper = np.maximum(upper, blocks.max(axis=(1, 3)))
    return lower, upper


@njit(cache=True, nogil=True, error_model="numpy")
def measure_distances(
    solids: Solids,
    height: F32,
    cell_m: float,
    bounds: tuple[F32, F32],
    places: F64,
    out: F64,
) -> None:
    """Fill the distances (N,) of lattice places (N, 3) from the surface of ground and bodies.

    `bounds` are from `block_bounds`.
    """
    table, faces, corners = solids.table, solids.faces, solids.corners
    lower, upper = bounds
    for n in range(places.shape[0]):
        at = (places[n, 0], places[n, 1], places[n, 2])
        nearest, deepest, inside = np.inf, 0.0, False
        for k in range(table.shape[0]):
            dx, dy = at[0] - table[k, SPHERE], at[1] - table[k, SPHERE + 1]
            dz = at[2] - table[k, SPHERE + 2]
            if math.sqrt(dx * dx + dy * dy + dz * dz) - table[k, SPHERE + 3] >= nearest:
                continue
            signed = _signed_m(table, faces, corners, k, at)
            if signed <= 0:
                inside, deepest = True, max(deepest, -signed)
            else:
                nearest = min(nearest, signed)
        gap = at[2] - bilinear(height, at[0] / cell_m - 0.5, at[1] / cell_m - 0.5)
        if gap > 0 and not inside:
            bound = min(nearest, gap)
            out[n] = _ground_m(height, cell_m, lower, upper, at, bound)
        elif gap <= 0:
            out[n] = max(deepest, _ground_m(height, cell_m, lower, upper, at, -gap))
        else:
            out[n] = deepest


@njit(cache=True, nogil=True, error_model="numpy")
def _signed_m(table: F64, faces: F64, corners: F64, k: int, at: Triple) -> float:
    """Return the distance of a place from the surface of body k, negative within it."""
    if table[k, 0] == CONVEX:
        which = int(table[k, FIRST]), int(table[k, FIRST + 1])
        return float(_from_convex(faces, corners, which, at))
    cos, sin = table[k, TURN], table[k, TURN + 1]
    px, py = at[0] - table[k, ORIGIN], at[1] - table[k, ORIGIN + 1]
    z = at[2] - table[k, ORIGIN + 2]
    x, y = abs(cos * px + sin * py), abs(cos * py - sin * px)
    if table[k, 0] == ELLIPSOID:
        half = (table[k, SIZE], table[k, SIZE + 1], table[k, SIZE + 2])
        return float(_from_ellipsoid(half, (x, y, abs(z))))
    aside, above = math.hypot(x, y) - table[k, SIZE], max(z - table[k, SIZE + 1], -z)
    if aside <= 0 and above <= 0:
        return float(max(aside, above))
    return math.hypot(max(aside, 0.0), max(above, 0.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _from_convex(faces: F64, corners: F64, which: tuple[int, int], at: Triple) -> float:
    """Return the signed distance of a place from a convex body."""
    depth, nearest = -np.inf, np.inf
    for f in range(which[0], which[1]):
        value = faces[f, 0] * at[0] + faces[f, 1] * at[1] + faces[f, 2] * at[2] - faces[f, 3]
        depth = max(depth, value)
        if value > 0:
            nearest = min(nearest, _from_polygon(faces, corners, f, at, value))
    return nearest if depth > 0 else depth


@njit(cache=True, nogil=True, error_model="numpy")
def _from_polygon(faces: F64, corners: F64, f: int, at: Triple, above_m: float) -> float:
    """Return the distance of a place from face f, given that from its plane."""
    first, end = int(faces[f, 6]), int(faces[f, 7])
    nearest2, beside = np.inf, False
    for i in range(first, end):
        j = i + 1 if i + 1 < end else first
        ex, ey = corners[j, 0] - corners[i, 0], corners[j, 1] - corners[i, 1]
        ez = corners[j, 2] - corners[i, 2]
        wx, wy, wz = at[0] - corners[i, 0], at[1] - corners[i, 1], at[2] - corners[i, 2]
        cross = (
            faces[f, 0] * (ey * wz - ez * wy)
            + faces[f, 1] * (ez * wx - ex * wz)
            + faces[f, 2] * (ex * wy - ey * wx)
        )
        beside = beside or cross < 0
        t = (wx * ex + wy * ey + wz * ez) / (ex * ex + ey * ey + ez * ez)
        t = min(max(t, 0.0), 1.0)
        wx, wy, wz = wx - t * ex, wy - t * ey, wz - t * ez
        nearest2 = min(nearest2, wx * wx + wy * wy + wz * wz)
    return math.sqrt(nearest2) if beside else above_m


@njit(cache=True, nogil=True, error_model="numpy")
def _from_ellipsoid(half: Triple, at: Triple) -> float:
    """Return the signed distance of a place in the first octant from an ellipsoid about zero.

    References
    ----------
    Eberly, D. (2013). Distance from a point to an ellipse, an ellipsoid, or a hyperellipsoid:
    the root of a convex, falling function, here by Newton's method from its left.
    """
    # On a plane of symmetry the nearest place may lie beside it.
    x, y, z = max(at[0], 1e-7), max(at[1], 1e-7), max(at[2], 1e-7)
    a, b, c = half
    outside = (x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 > 1.0
    t = max(a * x - a * a, b * y - b * b, c * z - c * c)
    for _ in range(200):
        p, q, r = a * x / (t + a * a), b * y / (t + b * b), c * z / (t + c * c)
        value = p * p + q * q + r * r - 1.0
        slope = 2.0 * (p * p / (t + a * a) + q * q / (t + b * b) + r * r / (t + c * c))
        step = value / slope
        t += step
        if step < 1e-10 * (t + max(a, b, c) ** 2):
            break
    dx, dy, dz = x * t / (t + a * a), y * t / (t + b * b), z * t / (t + c * c)
    distance = math.sqrt(dx * dx + dy * dy + dz * dz)
    return distance if outside else -distance


@njit(cache=True, nogil=True, error_model="numpy")
def _ground_m(
    height: F32, cell_m: float, lower: F32, upper: F32, at: Triple, most_m: float
) -> float:
    """Return the distance of a place from the bilinear surface, or `most_m` if it is less.

    Blocks are looked at in rings about the place, as far as they may be nearer than the best.
    """
    nearest, block_m = most_m, BLOCK * cell_m
    col = min(max(int((at[0] / cell_m - 0.5) / BLOCK), 0), lower.shape[1] - 1)
    row = min(max(int((at[1] / cell_m - 0.5) / BLOCK), 0), lower.shape[0] - 1)
    ring = 0
    while ring < max(lower.shape[0], lower.shape[1]) and (ring - 1) * block_m < nearest:
        for j in range(row - ring, row + ring + 1):
            # Within the ring's inner rows only its two ends.
            step = 1 if abs(j - row) == ring else max(2 * ring, 1)
            for i in range(col - ring, col + ring + 1, step):
                if not (0 <= i < lower.shape[1] and 0 <= j < lower.shape[0]):
                    continue
                dx = _beyond(at[0], (i * BLOCK + 0.5) * cell_m, block_m)
                dy = _beyond(at[1], (j * BLOCK + 0.5) * cell_m, block_m)
                dz = max(lower[j, i] - at[2], at[2] - upper[j, i], 0.0)
                if dx * dx + dy * dy + dz * dz < nearest * nearest:
                    nearest = _block_m(height, cell_m, (i, j), at, nearest)
        ring += 1
    return nearest


@njit(cache=True, nogil=True, error_model="numpy")
def _beyond(value: float, low: float, length: float) -> float:
    """Return how far a value lies beyond an interval."""
    return max(low - value, value - low - length, 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _block_m(
    height: F32, cell_m: float, block: tuple[int, int], at: Triple, nearest: float
) -> float:
    """Return the distance of a place from the cells of a block, or `nearest` if that is less."""
    for j in range(block[1] * BLOCK, min((block[1] + 1) * BLOCK, height.shape[0] - 1)):
        dy = _beyond(at[1], (j + 0.5) * cell_m, cell_m)
        if dy >= nearest:
            continue
        for i in range(block[0] * BLOCK, min((block[0] + 1) * BLOCK, height.shape[1] - 1)):
            dx = _beyond(at[0], (i + 0.5) * cell_m, cell_m)
            p, q, r, s = height[j, i], height[j, i + 1], height[j + 1, i], height[j + 1, i + 1]
            low, high = min(p, q, r, s), max(p, q, r, s)
            dz = max(low - at[2], at[2] - high, 0.0)
            if dx * dx + dy * dy + dz * dz < nearest * nearest:
                nearest = min(nearest, _cell_m(height, cell_m, (i, j), at))
    return nearest


@njit(cache=True, nogil=True, error_model="numpy")
def _cell_m(height: F32, cell_m: float, cell: tuple[int, int], at: Triple) -> float:
    """Return the distance of a place from the bilinear patch of one cell.

    Along either of its two families the patch is made of straight lines; the nearest place on a
    line is known, and going over from one to the other in turn converges.
    """
    i, j = cell
    a, b = height[j, i], height[j, i + 1] - height[j, i]
    c, d = height[j + 1, i] - a, height[j + 1, i + 1] - height[j + 1, i] - b
    x, y, z = at[0] - (i + 0.5) * cell_m, at[1] - (j + 0.5) * cell_m, at[2] - a
    u, v = min(max(x / cell_m, 0.0), 1.0), min(max(y / cell_m, 0.0), 1.0)
    for _ in range(50):
        rise = b + v * d
        new_u = (x * cell_m + (z - v * c) * rise) / (cell_m * cell_m + rise * rise)
        new_u = min(max(new_u, 0.0), 1.0)
        rise = c + new_u * d
        new_v = (y * cell_m + (z - new_u * b) * rise) / (cell_m * cell_m + rise * rise)
        new_v = min(max(new_v, 0.0), 1.0)
        moved = abs(new_u - u) + abs(new_v - v)
        u, v = new_u, new_v
        if moved < 1e-6:
            break
    dx, dy, dz = x - u * cell_m, y - v * cell_m, z - (u * b + v * (c + u * d))
    return math.sqrt(dx * dx + dy * dy + dz * dz)
