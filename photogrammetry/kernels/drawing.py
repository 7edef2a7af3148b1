"""The kernel that draws textured triangles as seen from a side."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def draw_triangles(places, uv, faces, texture, tint, depth, picture):
    """Draw triangles onto a picture, uint8 (rows, cols, 3), where none drawn before is nearer.

    Corners have `places`, float32 (N, 3): column and row in pixels, corner origin, and nearness;
    and `uv`, float32 (N, 2), shares of the texture, uint8 (rows, cols, 3), whose values are
    multiplied by the tint (3,). Changed are picture and `depth`, float32 (rows, cols), the nearness
    of what is drawn.
    """
    rows, cols = depth.shape
    height, width = texture.shape[:2]
    for n in range(len(faces)):
        i, j, k = faces[n, 0], faces[n, 1], faces[n, 2]
        ax, ay = places[i, 0], places[i, 1]
        bx, by = places[j, 0] - ax, places[j, 1] - ay
        cx, cy = places[k, 0] - ax, places[k, 1] - ay
        area = bx * cy - by * cx
        if abs(area) < 1e-9:
            continue
        left = max(int(np.floor(min(0.0, bx, cx) + ax)), 0)
        right = min(int(np.ceil(max(0.0, bx, cx) + ax)), cols)
        top = max(int(np.floor(min(0.0, by, cy) + ay)), 0)
        bottom = min(int(np.ceil(max(0.0, by, cy) + ay)), rows)
        for row in range(top, bottom):
            for col in range(left, right):
                px, py = col + 0.5 - ax, row + 0.5 - ay
                s = (px * cy - py * cx) / area
                t = (bx * py - by * px) / area
                if s < 0.0 or t < 0.0 or s + t > 1.0:
                    continue
                r = 1.0 - s - t
                near = r * places[i, 2] + s * places[j, 2] + t * places[k, 2]
                if near <= depth[row, col]:
                    continue
                depth[row, col] = near
                x = int((r * uv[i, 0] + s * uv[j, 0] + t * uv[k, 0]) * width)
                y = int((r * uv[i, 1] + s * uv[j, 1] + t * uv[k, 1]) * height)
                x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
                for band in range(3):
                    picture[row, col, band] = np.uint8(texture[y, x, band] * tint[band])
