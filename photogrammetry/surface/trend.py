"""A smooth sheet through scattered heights: about where the ground lies, and what is seen of it.

Local planes are fitted coarse to fine, each level to what the coarser ones have left over.  Where
there are heights the sheet follows them; beyond them it goes on as the wider ground does.  Where
the rays of a photograph meet it, the photograph's footprint ends.

References
----------
Knutsson, H. & Westin, C.-F. (1993). Normalized and differential convolution. CVPR.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.kernels.projection import FARTHEST_SLANT
from tmp.errors import OrientationError
from tmp.reconstruction import OrientedPhoto, Reconstruction

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

CELLS_PER_HEIGHT = 8
"""Cells of a trend along one flying height."""
SUPPORT_CELLS = 4.0
"""Standard deviation in cells of the weight with which a plane is fitted, at every level."""
SLOPE_RIDGE = 0.4
"""Pull of a plane's slope towards that of the coarser level, against 1 for a full neighbourhood."""
WEIGHT_RIDGE = 0.02
"""The same of its height: far from heights the coarser level speaks alone."""
COARSEST_CELLS = 8
"""Longer side in cells of the grid to which a single plane is fitted."""
GOOD_VIEWS = 3
"""Photographs that see a tie point from which it speaks for the ground, if there are enough."""
ENOUGH_POINTS = 100
RIM = ((0, 0), (0.5, 0), (1, 0), (1, 0.5), (1, 1), (0.5, 1), (0, 1), (0, 0.5))
"""Corners and middles of the sides of a picture, as shares of its width and height."""
ROUNDS = 8
"""Steps after which a ray has found the ground to within a few hundredths of its height."""
COUNT_CELLS = 500
"""Cells along the longer side of the raster on which footprints are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A sheet on a coarse grid, map coordinates."""

    x_min: float
    y_max: float
    cell_m: float
    height: Float
    """Map heights (rows, cols) at cell centres."""

    def over(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> Float:
        """Return heights (rows, cols) over columns at `x` and rows at `y`, interpolated.

        Beyond the grid its rim goes on.
        """
        (j, right, u), (i, below, v) = self._between(x, y)
        along = self.height[:, j] * (1 - u) + self.height[:, right] * u
        return np.asarray(along[i] * (1 - v)[:, None] + along[below] * v[:, None], float)

    def at(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> Float:
        """Return heights at places (...,) of map coordinates, interpolated."""
        (j, right, u), (i, below, v) = self._between(x, y)
        upper = self.height[i, j] * (1 - u) + self.height[i, right] * u
        lower = self.height[below, j] * (1 - u) + self.height[below, right] * u
        return np.asarray(upper * (1 - v) + lower * v, float)

    def shifted(self, up_m: float) -> Trend:
        """Return the sheet moved up."""
        return replace(self, height=self.height + up_m)

    def _between(
        self, x: NDArray[np.floating], y: NDArray[np.floating]
    ) -> list[tuple[NDArray[np.int_], NDArray[np.int_], Float]]:
        """Return columns and rows before and after places, and the way from one to the other."""
        along = np.asarray(x, float) - self.x_min, self.y_max - np.asarray(y, float)
        found = []
        for away_m, count in zip(along, self.height.shape[::-1], strict=True):
            at = np.clip(away_m / self.cell_m - 0.5, 0, count - 1)
            first = at.astype(int)
            found.append((first, np.minimum(first + 1, count - 1), at - first))
        return found


def trend_of(points: Float, flying_height_m: float, views: NDArray[np.integer]) -> Trend:
    """Lay a sheet through tie points.

    It is as smooth as half a flying height, so that it passes between crowns and ground and not
    from one to the other.  Points (N, 3) are in the map; as many photographs as `views` (N,) says
    see each.
    """
    good = views >= GOOD_VIEWS
    if good.sum() >= ENOUGH_POINTS:
        points = points[good]
    cell_m = flying_height_m / CELLS_PER_HEIGHT
    # One flying height beyond the points; farther out the rim goes on.
    low = points[:, :2].min(axis=0) - flying_height_m
    high = points[:, :2].max(axis=0) + flying_height_m
    cols, rows = (int(n) + 1 for n in (high - low) / cell_m)
    value, weight = medians_of(points, float(low[0]), float(high[1]), cell_m, (rows, cols))
    return Trend(
        x_min=float(low[0]), y_max=float(high[1]), cell_m=cell_m, height=fit_sheet(value, weight)
    )


def points_in_cells(
    points: Float, x_min: float, y_max: float, cell_m: float, shape: tuple[int, int]
) -> tuple[NDArray[np.int_], Float]:
    """Return the cell, counted row by row, and the height of the points (N, 3) on a grid."""
    col = np.floor((points[:, 0] - x_min) / cell_m).astype(int)
    row = np.floor((y_max - points[:, 1]) / cell_m).astype(int)
    inside = (col >= 0) & (row >= 0) & (col < shape[1]) & (row < shape[0])
    return (row * shape[1] + col)[inside], points[inside, 2]


def medians_of(
    points: Float, x_min: float, y_max: float, cell_m: float, shape: tuple[int, int]
) -> tuple[Float, Float]:
    """Return the median height of the points in every cell, and its weight of 0 to 1.

    Points outside the grid are passed over; a cell with three points or more has the full weight.
    """
    cell, z = points_in_cells(points, x_min, y_max, cell_m, shape)
    order = np.lexsort((z, cell))
    cell, z = cell[order], z[order]
    cells, first, count = np.unique(cell, return_index=True, return_counts=True)
    value, weight = np.zeros(shape), np.zeros(shape)
    value.ravel()[cells] = (z[first + (count - 1) // 2] + z[first + count // 2]) / 2
    weight.ravel()[cells] = np.minimum(count, 3) / 3
    return value, weight


def fit_sheet(value: Float, weight: Float, *, support: float = SUPPORT_CELLS) -> Float:
    """Lay a smooth sheet through heights (rows, cols) with weights of 0 (unknown) to 1.

    The support is the standard deviation in cells of the weight of a local plane.  The sheet is
    known everywhere; 0 if no height is.
    """
    if not (weight > 0).any():
        return np.zeros(value.shape)
    middle = float(np.median(value[weight > 0]))
    known = np.where(weight > 0, value - middle, 0.0)
    return _fit(known, weight.astype(float), np.minimum(weight, 1.0), support) + middle


def _fit(value: Float, weight: Float, presence: Float, support: float) -> Float:
    """Lay a sheet through heights; `presence` says how far a level speaks against the coarser one.

    On coarser levels the weights are averages, so that heights keep their say against each other,
    but one height among many unknown cells is as present as many.
    """
    rows, cols = value.shape
    if max(rows, cols) <= COARSEST_CELLS:
        return _plane(value, weight)
    even = ((0, rows % 2), (0, cols % 2))
    shape = (rows + rows % 2, cols + cols % 2)
    w = _halved(np.pad(weight, even))
    total = _halved(np.pad(value * weight, even))
    mean = np.divide(total, w, out=np.zeros_like(total), where=w > 0)
    present = np.minimum(_halved(np.pad(presence, even)), 1.0)
    half = _fit(mean, w / 4, present, support)
    coarse = cv2.resize(half, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)[:rows, :cols]
    return np.asarray(coarse + _local_planes(value - coarse, weight, presence, support), float)


def _halved(array: Float) -> Float:
    rows, cols = array.shape
    return np.asarray(array.reshape(rows // 2, 2, cols // 2, 2).sum(axis=(1, 3)), float)


def _plane(value: Float, weight: Float) -> Float:
    """Fit one plane to all heights, outliers held back (Huber), slopes only where they show."""
    row, col = np.indices(value.shape)
    design = np.column_stack([np.ones(value.size), col.ravel(), row.ravel()]).astype(float)
    w, z = weight.ravel().copy(), value.ravel()
    solution = np.zeros(3)
    mean = (w @ design[:, 1:]) / w.sum()
    design[:, 1:] -= mean
    ridge = np.diag([0.0, SLOPE_RIDGE, SLOPE_RIDGE]) * w.sum()
    for _ in range(5):
        solution = np.linalg.solve(design.T @ (w[:, None] * design) + ridge, design.T @ (w * z))
        residual = np.abs(z - design @ solution)
        scale = 1.5 * max(float(np.median(residual[weight.ravel() > 0])), 1e-6)
        w = weight.ravel() * np.minimum(1.0, 2 * scale / np.maximum(residual, 1e-12))
        w = w if w.sum() > 0 else weight.ravel()
    return np.asarray((design @ solution).reshape(value.shape), float)


def local_moment(array: NDArray[Any], support: float, across: int = 0, down: int = 0) -> Float:
    """Average an array about every cell, times powers of the distance east and south.

    The array (rows, cols) is filtered in its own type. The support is the standard deviation of the
    Gaussian weight in cells, and the unit of the distance.
    """
    reach = int(np.ceil(3 * support))
    t = np.arange(-reach, reach + 1) / support
    g = np.exp(-0.5 * t**2)
    g /= g.sum()
    kernels = (g * t**across, g * t**down)
    return np.asarray(cv2.sepFilter2D(array, -1, *kernels, borderType=cv2.BORDER_CONSTANT), float)


def plane_equations(
    weighted: NDArray[Any], weight: NDArray[Any], support: float, wanted: Any = ...
) -> tuple[Float, Float]:
    """Return the normal equations of planes fitted about every wanted cell, of all if not given.

    Given are values times their weights, and the weights, (rows, cols). Returned are (..., 3, 3)
    and (..., 3), of height and slopes east and south per support; see `local_moment`.
    """
    powers = ((0, 0), (1, 0), (0, 1))
    right = np.stack([local_moment(weighted, support, *p)[wanted] for p in powers], axis=-1)
    normal = np.empty((*right.shape, 3))
    for i, (a, b) in enumerate(powers):
        for j, (c, d) in enumerate(powers[: i + 1]):
            moment = local_moment(weight, support, a + c, b + d)[wanted]
            normal[..., i, j] = normal[..., j, i] = moment
    return normal, right


def _local_planes(value: Float, weight: Float, presence: Float, support: float) -> Float:
    """Return the heights of planes fitted about every cell, drawn towards 0 where little is known.

    All arrays are (rows, cols), the support a standard deviation in cells.
    """
    normal, right = plane_equations(value * weight, weight, support)
    total = np.maximum(normal[..., 0, 0], 1e-15)
    # In units of the total, so that small weights keep their digits.
    normal, right = normal / total[..., None, None], right / total[..., None]
    normal[..., [1, 2], [1, 2]] += SLOPE_RIDGE
    normal[..., 0, 0] = 1.0
    height = np.linalg.solve(normal, right[..., None])[..., 0, 0]
    present = local_moment(presence, support)
    return np.asarray(height * present / (present + WEIGHT_RIDGE), float)


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

    The trend is about where the ground lies.  Rays farther off the vertical than `FARTHEST_SLANT`
    end there.
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

    Raises `OrientationError` if no two footprints overlap.
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
