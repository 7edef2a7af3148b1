"""From a point of the ground to a sample of a picture: the formulas every kernel shares.

A kernel sees a set of views as three plain arrays (see `photogrammetry.views`):

``geometry`` : float32 (V, 22)
    cam_from_tile (3 × 4, row-major), fx, fy, cx, cy in pixels of the crop, k1, k2, p1, p2, k3,
    and the largest squared normalised radius the lens model is trusted to.
``layout`` : int64 (V, 3)
    Offset of the view's crop in ``pixels``, its rows and its columns.
``pixels`` : uint8 (N,) or (N, bands)
    The crops of all views, end to end.

Tile coordinates are metres about the tile's centre (x east, y north, z up), small enough for
float32: the rounding is below 0.001 px.
"""

import numpy as np
from numba import njit

GEOMETRY_WIDTH = 22
FARTHEST_SLANT = 1.73
"""Tangent of the angle off the vertical, 60°, beyond which no view of the ground is wanted."""


@njit(inline="always")
def load_view(geometry, view):
    """Return one row of ``geometry`` as a tuple.

    Held in registers, its numbers cannot alias what a loop writes, and the loop is vectorised.
    """
    g = geometry[view]
    return (
        g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7], g[8], g[9], g[10],
        g[11], g[12], g[13], g[14], g[15], g[16], g[17], g[18], g[19], g[20], g[21],
    )  # fmt: skip


@njit(inline="always")
def project(view, x, y, z):
    """Return where a view sees a tile point; x is NaN where the lens model does not reach.

    The formula is that of `tmp.cameras.Camera.pixel_from_cam` (Brown 1971), without branches.
    """
    w = view[8] * x + view[9] * y + view[10] * z + view[11]
    inverse = np.float32(1.0) / w
    u = (view[0] * x + view[1] * y + view[2] * z + view[3]) * inverse
    v = (view[4] * x + view[5] * y + view[6] * z + view[7]) * inverse
    r2 = u * u + v * v
    radial = np.float32(1.0) + r2 * (view[16] + r2 * (view[17] + r2 * view[20]))
    two_uv = np.float32(2.0) * u * v
    du = u * radial + view[18] * two_uv + view[19] * (r2 + np.float32(2.0) * u * u)
    dv = v * radial + view[18] * (r2 + np.float32(2.0) * v * v) + view[19] * two_uv
    trusted = (w > np.float32(0.0)) & (r2 <= view[21])
    px = view[12] * du + view[14] if trusted else np.float32(np.nan)
    return px, view[13] * dv + view[15]


@njit(inline="always")
def inside(rows, cols, px, py):
    """Tell whether a bilinear sample at corner-origin coordinates lies within a crop."""
    return (
        px >= np.float32(0.5)
        and py >= np.float32(0.5)
        and px < np.float32(cols - 0.5)
        and py < np.float32(rows - 0.5)
    )


@njit(inline="always")
def sample(pixels, offset, cols, px, py):
    """Sample one band bilinearly at corner-origin coordinates that are `inside`.

    The half pixel moves the corner origin to the centre of the first pixel.  The index is
    unsigned, because Numba would wrap a negative one round and test for it.
    """
    cx = px - np.float32(0.5)
    cy = py - np.float32(0.5)
    col = np.int32(cx)
    row = np.int32(cy)
    fx = cx - np.float32(col)
    fy = cy - np.float32(row)
    i = np.uint64(offset + np.int64(row) * cols + col)
    below = i + np.uint64(cols)
    one = np.uint64(1)
    top = np.float32(pixels[i])
    top += fx * (np.float32(pixels[i + one]) - top)
    bottom = np.float32(pixels[below])
    bottom += fx * (np.float32(pixels[below + one]) - bottom)
    return top + fy * (bottom - top)
