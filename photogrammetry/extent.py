"""How far and how fine a block of photographs can be mapped."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from tmp.errors import OrientationError
from tmp.reconstruction import OrientedPhoto, Reconstruction

Float = NDArray[np.float64]

MOST_SLANT = 1.5
"""Tangent of the angle off the vertical beyond which a picture's corner is not followed."""
COUNT_CELLS = 500
"""Cells along the longer side of the raster on which footprints are counted."""
BELOW, ABOVE = 0.1, 0.35
"""Room for ground without tie points, as fractions of the flying height: pits, and trees."""
LEAST_POINTS = 30
"""Tie points that a part of the ground needs to speak for its own range of heights."""


def flying_heights(reconstruction: Reconstruction) -> Float:
    """Return each photograph's height above the nearest tie points in metres, (P,)."""
    points = reconstruction.points
    heights = []
    for photo in reconstruction.photos:
        centre = photo.pose.centre
        distance2 = ((points[:, :2] - centre[:2]) ** 2).sum(axis=1)
        count = min(100, len(points))
        nearest = np.argpartition(distance2, count - 1)[:count]
        heights.append(centre[2] - np.median(points[nearest, 2]))
    return np.array(heights)


def ground_sample_distance(reconstruction: Reconstruction) -> float:
    """Return the median size of a photograph's pixel on the ground in metres."""
    focal = [reconstruction.cameras[photo.camera_id].fx_px for photo in reconstruction.photos]
    return float(np.median(flying_heights(reconstruction) / np.array(focal)))


def footprint(reconstruction: Reconstruction, photo: OrientedPhoto) -> Float:
    """Return a photograph's corners on the level of the median tie point, map, (4, 2)."""
    camera = reconstruction.cameras[photo.camera_id]
    width, height = camera.width_px, camera.height_px
    rays = camera.ray_from_pixel([(0, 0), (width, 0), (width, height), (0, height)])
    rays = rays @ photo.pose.rotation  # cam to world
    fall = np.minimum(rays[:, 2], -1e-6)
    slope = rays[:, :2] / -fall[:, None]
    slant = np.hypot(*slope.T)
    slope *= np.minimum(1.0, MOST_SLANT / np.maximum(slant, 1e-9))[:, None]
    level = float(np.median(reconstruction.points[:, 2]))
    centre = photo.pose.centre
    corners = centre[:2] + slope * (centre[2] - level)
    world = np.column_stack([corners, np.full(4, level)])
    return reconstruction.frame.map_from_world(world)[:, :2]


def mapped_bounds(reconstruction: Reconstruction) -> tuple[float, float, float, float]:
    """Return the bounds ``(x_min, y_min, x_max, y_max)`` of what two photographs or more see.

    Raises
    ------
    OrientationError
        If no two footprints overlap.
    """
    corners = np.stack([footprint(reconstruction, photo) for photo in reconstruction.photos])
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    cell = float((high - low).max()) / COUNT_CELLS
    shape = tuple(int(n) + 1 for n in reversed((high - low) / cell))
    count = np.zeros(shape, np.int32)
    for corner in corners:
        one = np.zeros(shape, np.uint8)
        cv2.fillConvexPoly(one, np.round((corner - low) / cell).astype(np.int32), (1,))
        count += one
    rows, cols = np.nonzero(count >= 2)
    if len(rows) == 0:
        raise OrientationError(
            "no place is seen by two oriented photographs; fly with more overlap"
        )
    return (
        float(low[0] + cols.min() * cell),
        float(low[1] + rows.min() * cell),
        float(low[0] + (cols.max() + 1) * cell),
        float(low[1] + (rows.max() + 1) * cell),
    )


def height_range(
    points: Float, bounds: tuple[float, float, float, float], flying_height_m: float
) -> tuple[float, float]:
    """Return the lowest and highest map height to search over a part of the ground.

    Parameters
    ----------
    points : ndarray of shape (N, 3)
        Tie points, map.
    bounds : tuple of float
        Of the part; the points within half a flying height of it speak for it, or all if they
        are too few.
    flying_height_m : float
    """
    reach = flying_height_m / 2
    near = (
        (points[:, 0] > bounds[0] - reach)
        & (points[:, 1] > bounds[1] - reach)
        & (points[:, 0] < bounds[2] + reach)
        & (points[:, 1] < bounds[3] + reach)
    )
    heights = points[near, 2] if near.sum() >= LEAST_POINTS else points[:, 2]
    low, high = np.percentile(heights, [0.5, 99.5])
    return float(low - BELOW * flying_height_m), float(high + ABOVE * flying_height_m)
