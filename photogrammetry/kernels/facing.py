"""The kernel that tells how well photographs show the triangles of a model."""

import numpy as np
from numba import njit

from photogrammetry.kernels.projection import FARTHEST_SLANT, load_view, project
from photogrammetry.kernels.rendering import in_sight


@njit(nogil=True, cache=True, error_model="numpy")
def rate_faces(geometry, sizes, centres, corners, start, sheet, cell, ratings):
    """Write the pixels that each view has of each triangle, 0 where it does not see all of it.

    The triangles, float32 (F, 3, 3), are anticlockwise seen from outside. Of each, `start` (F, 2)
    has the row and column of the cell of the sheet from which a ray to a view sets out at the
    height of the triangle's middle; what stands higher blocks it. Pictures have `sizes` (V, 2),
    rows and columns. Written is `ratings`, float32 (F, V).
    """
    highest = sheet.max()
    u = np.empty(3, np.float32)
    v = np.empty(3, np.float32)
    for n in range(len(corners)):
        a, b, c = corners[n, 0], corners[n, 1], corners[n, 2]
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        mx, my, mz = (a[0] + b[0] + c[0]) / 3, (a[1] + b[1] + c[1]) / 3, (a[2] + b[2] + c[2]) / 3
        for i in range(len(geometry)):
            ratings[n, i] = 0.0
            dx, dy, dz = centres[i, 0] - mx, centres[i, 1] - my, centres[i, 2] - mz
            if dz <= 0.0 or nx * dx + ny * dy + nz * dz <= 0.0:
                continue
            sx, sy = dx / dz, dy / dz
            if sx * sx + sy * sy > FARTHEST_SLANT * FARTHEST_SLANT:
                continue
            numbers = load_view(geometry, i)
            whole = True
            for k in range(3):
                u[k], v[k] = project(numbers, corners[n, k, 0], corners[n, k, 1], corners[n, k, 2])
                # A margin of two pixels, for what is copied about a chart.
                whole &= u[k] > 2.0 and v[k] > 2.0
                whole &= u[k] < sizes[i, 1] - 2.0 and v[k] < sizes[i, 0] - 2.0
            if not whole or not in_sight(
                sheet, cell, start[n, 0], start[n, 1], np.float32(mz), sx, sy, highest
            ):
                continue
            area = (u[1] - u[0]) * (v[2] - v[0]) - (u[2] - u[0]) * (v[1] - v[0])
            ratings[n, i] = abs(area) / np.float32(2.0)
