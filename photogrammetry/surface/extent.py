"""How far and how fine a block of photographs can be mapped.

Gaps of a surface may be closed where they lie among measured cells.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.surface.search import Sought
from photogrammetry.surface.trend import Trend, trend_of
from photogrammetry.views import FARTHEST_SLANT
from tmp.errors import OrientationError
from tmp.reconstruction import OrientedPhoto, Reconstruction

Float = NDArray[np.float64]

RIM = ((0, 0), (0.5, 0), (1, 0), (1, 0.5), (1, 1), (0.5, 1), (0, 1), (0, 0.5))
"""Corners and middles of the sides of a picture, as shares of its width and height."""
ROUNDS = 8
"""Steps after which a ray has found the ground to within a few hundredths of its height."""
COUNT_CELLS = 500
"""Cells along the longer side of the raster on which footprints are counted."""
BELOW, ABOVE = 0.1, 0.35
"""Room for ground without tie points, as fractions of the flying height: pits, and trees."""
NORMAL_RANGE = 5.15
"""Standard deviations between the 0.5 and 99.5 per cent of a normal distribution."""
LEAST_POINTS = 30
"""Tie points that a part of the ground needs to speak for its own range of heights."""

Mask = NDArray[np.bool_]
REACH_CELLS = 96
"""Half the side of the square over which the share of measured cells is taken."""
LEAST_SHARE = 0.3
"""Share of measured cells about a place from which a gap there is closed."""


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


def survey_trend(reconstruction: Reconstruction) -> Trend:
    """Return a smooth sheet through a reconstruction's tie points, map coordinates."""
    return trend_of(
        reconstruction.frame.map_from_world(reconstruction.points),
        float(np.median(flying_heights(reconstruction))),
        reconstruction.point_views,
    )


def footprint(reconstruction: Reconstruction, photo: OrientedPhoto, trend: Trend) -> Float:
    """Return where a picture's corners and side middles meet the ground, map, (8, 2).

    Rays farther off the vertical than `FARTHEST_SLANT` end there.

    Parameters
    ----------
    reconstruction : Reconstruction
    photo : OrientedPhoto
        One of its photographs.
    trend : Trend
        About where the ground lies.
    """
    camera = reconstruction.cameras[photo.camera_id]
    across, down = np.array(RIM).T * np.array([[camera.width_px], [camera.height_px]])
    rays = camera.ray_from_pixel(np.column_stack([across, down])) @ photo.pose.rotation
    fall = np.minimum(rays[:, 2], -1e-6)
    slope = rays[:, :2] / -fall[:, None]
    slope *= np.minimum(1.0, FARTHEST_SLANT / np.maximum(np.hypot(*slope.T), 1e-9))[:, None]
    (centre,) = reconstruction.frame.map_from_world(photo.pose.centre[None])
    # World and map axes differ by the convergence of the meridian alone: the rays are turned.
    ends = reconstruction.frame.map_from_world(
        photo.pose.centre + np.column_stack([slope, np.full(len(slope), -1.0)])
    )
    slope = ends[:, :2] - centre[:2]
    fallen = np.full(len(slope), centre[2] - float(trend.at(centre[0], centre[1])))
    for _ in range(ROUNDS):
        at = centre[:2] + slope * np.maximum(fallen, 0.0)[:, None]
        # Half the way each time: on a slope as steep as the ray, whole steps would swing.
        fallen = (fallen + centre[2] - trend.at(at[:, 0], at[:, 1])) / 2
    return np.asarray(centre[:2] + slope * np.maximum(fallen, 0.0)[:, None], float)


def mapped_bounds(
    reconstruction: Reconstruction, trend: Trend, *, least_views: int = 1
) -> tuple[float, float, float, float]:
    """Return the bounds ``(x_min, y_min, x_max, y_max)`` of what so many photographs or more see.

    Raises
    ------
    OrientationError
        If no two footprints overlap.
    """
    corners = np.stack([footprint(reconstruction, photo, trend) for photo in reconstruction.photos])
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    if least_views == 1:
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])
    cell = float((high - low).max()) / COUNT_CELLS
    shape = tuple(int(n) + 1 for n in reversed((high - low) / cell))
    count = np.zeros(shape, np.int32)
    for corner in corners:
        one = np.zeros(shape, np.uint8)
        cv2.fillPoly(one, [np.round((corner - low) / cell).astype(np.int32)], (1,))
        count += one
    rows, cols = np.nonzero(count >= least_views)
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


def seek_ground(
    points: Float,
    trend: Trend,
    bounds: tuple[float, float, float, float],
    flying_height_m: float,
) -> Sought:
    """Return how far below and above a sheet to search over a part of the ground.

    Parameters
    ----------
    points : ndarray of shape (N, 3)
        Tie points, map.
    trend : Trend
        The sheet.
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
    chosen = points[near] if near.sum() >= LEAST_POINTS else points
    above = chosen[:, 2] - trend.at(chosen[:, 0], chosen[:, 1])
    low, high = np.percentile(above, [0.5, 99.5])
    return Sought(
        trend=trend,
        low_m=float(low - BELOW * flying_height_m),
        high_m=float(high + ABOVE * flying_height_m),
        scatter_m=float(high - low) / NORMAL_RANGE,
    )


def closed_ground(measured: Mask, seen: Mask, asked: Mask) -> Mask:
    """Return the cells of a surface model whose gaps are closed.

    A gap among measured cells belongs to it; what lies beyond the ragged rim, and stray cells, do
    not.

    Parameters
    ----------
    measured : ndarray of shape (rows, cols), bool
        Cells with a measured height.
    seen : ndarray of shape (rows, cols), bool
        Cells that two photographs or more see.
    asked : ndarray of shape (rows, cols), bool
        Cells that could have been measured: not beyond the survey's grid.
    """
    size = (2 * REACH_CELLS + 1,) * 2
    share = cv2.blur(measured.astype(np.float32), size, borderType=cv2.BORDER_CONSTANT)
    most = cv2.blur(asked.astype(np.float32), size, borderType=cv2.BORDER_CONSTANT)
    enough = np.asarray(share) > LEAST_SHARE * np.asarray(most)
    return np.asarray((measured | seen) & enough, np.bool_)
