"""The kernels that tell how well photographs show the triangles of a model."""

import numpy as np
from numba import njit

from photogrammetry.kernels.projection import load_view, project

FARTHEST = np.float32(np.inf)
MARGIN_PX = 2.0
"""Pixels about a triangle that a photograph must have, for what is copied about a chart."""


@njit(nogil=True, cache=True, error_model="numpy")
def draw_depths(geometry, layout, corners, faces, depths):
    """Draw how far each view sees, in metres along its axis.

    Views and their pictures are those of `photogrammetry.kernels.projection`, corners float32
    (N, 3) in tile coordinates. Written is `depths`, float32, a picture for each view end to end;
    infinite where a view sees no triangle.
    """
    px = np.empty(len(corners), np.float32)
    py = np.empty(len(corners), np.float32)
    away = np.empty(len(corners), np.float32)
    for i in range(len(geometry)):
        numbers = load_view(geometry, i)
        offset, rows, cols = layout[i, 0], layout[i, 1], layout[i, 2]
        depths[offset : offset + rows * cols] = FARTHEST
        for n in range(len(corners)):
            x, y, z = corners[n, 0], corners[n, 1], corners[n, 2]
            px[n], py[n] = project(numbers, x, y, z)
            away[n] = numbers[8] * x + numbers[9] * y + numbers[10] * z + numbers[11]
        for n in range(len(faces)):
            a, b, c = faces[n, 0], faces[n, 1], faces[n, 2]
            ax, ay = px[a], py[a]
            bx, by, cx, cy = px[b] - ax, py[b] - ay, px[c] - ax, py[c] - ay
            area = bx * cy - by * cx
            if not abs(area) > 0.0:  # or NaN, where the lens model does not reach
                continue
            left = max(int(np.floor(min(min(bx, cx), 0.0) + ax)), 0)
            right = min(int(np.ceil(max(max(bx, cx), 0.0) + ax)), cols)
            top = max(int(np.floor(min(min(by, cy), 0.0) + ay)), 0)
            bottom = min(int(np.ceil(max(max(by, cy), 0.0) + ay)), rows)
            for row in range(top, bottom):
                for col in range(left, right):
                    dx, dy = col + 0.5 - ax, row + 0.5 - ay
                    s, t = (dx * cy - dy * cx) / area, (bx * dy - by * dx) / area
                    if s < 0.0 or t < 0.0 or s + t > 1.0:
                        continue
                    near = (1.0 - s - t) * away[a] + s * away[b] + t * away[c]
                    at = offset + row * cols + col
                    depths[at] = min(depths[at], near)


@njit(nogil=True, cache=True, error_model="numpy")
def rate_faces(geometry, sizes, centres, corners, scaled, layout, depths, grace, ratings):
    """Write the pixels that each view has of each triangle, 0 where it does not see all of it.

    The triangles, float32 (F, 3, 3), are anticlockwise seen from outside. Pictures have `sizes`
    (V, 2), rows and columns. `scaled` and `layout` are the views as `depths` were drawn for: what
    lies farther than that behind what a view sees first, by more than `grace` metres, is hidden.
    Written is `ratings`, float32 (F, V).
    """
    u = np.empty(3, np.float32)
    v = np.empty(3, np.float32)
    for n in range(len(corners)):
        a, b, c = corners[n, 0], corners[n, 1], corners[n, 2]
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        length = max(np.sqrt(nx * nx + ny * ny + nz * nz), np.float32(1e-12))
        # From a little before the triangle, as the depths are those of whole pixels.
        mx = (a[0] + b[0] + c[0]) / 3 + grace * nx / length
        my = (a[1] + b[1] + c[1]) / 3 + grace * ny / length
        mz = (a[2] + b[2] + c[2]) / 3 + grace * nz / length
        for i in range(len(geometry)):
            ratings[n, i] = 0.0
            dx, dy, dz = centres[i, 0] - mx, centres[i, 1] - my, centres[i, 2] - mz
            if nx * dx + ny * dy + nz * dz <= 0.0:
                continue
            numbers = load_view(geometry, i)
            whole = True
            for k in range(3):
                u[k], v[k] = project(numbers, corners[n, k, 0], corners[n, k, 1], corners[n, k, 2])
                whole &= u[k] > MARGIN_PX and v[k] > MARGIN_PX
                whole &= u[k] < sizes[i, 1] - MARGIN_PX and v[k] < sizes[i, 0] - MARGIN_PX
            if not whole or _hidden(scaled, layout, depths, i, mx, my, mz, grace):
                continue
            area = (u[1] - u[0]) * (v[2] - v[0]) - (u[2] - u[0]) * (v[1] - v[0])
            ratings[n, i] = abs(area) / np.float32(2.0)


@njit(nogil=True, cache=True, error_model="numpy")
def _hidden(scaled, layout, depths, i, x, y, z, grace):
    numbers = load_view(scaled, i)
    px, py = project(numbers, x, y, z)
    rows, cols = layout[i, 1], layout[i, 2]
    if not (px >= 0.0 and py >= 0.0 and px < cols and py < rows):
        return True
    away = numbers[8] * x + numbers[9] * y + numbers[10] * z + numbers[11]
    return away > depths[layout[i, 0] + int(py) * cols + int(px)] + grace
