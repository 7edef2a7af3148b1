"""How many photographs see each place, by the surface that was found.

Whether a photograph sees a place is more than whether the place lies within its frame: trees and
walls hide what is behind them, and high ground has less overlap than low.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from flows.products.ground import read_closed
from tmp.cameras import Camera, Pose
from tmp.geo.grids import Grid
from tmp.geo.rasters import TiledRaster
from tmp.reconstruction import Reconstruction

Float = NDArray[np.float64]

WINDOW_CELLS = 1024
"""Side of what is read of a surface at once; gaps are closed from well beyond it."""
CLEARANCE_CELLS = 1.0
"""Height in cells by which a surface must rise above a ray to block it."""


def heights_of(ground: TiledRaster, sheet: Grid) -> Float:
    """Return the height of what the photographs look at, in each cell of a sheet.

    Parameters
    ----------
    ground : TiledRaster
        Result of the surface stage.
    sheet : Grid
        Coarser cells in the same CRS.

    Returns
    -------
    ndarray of shape (rows, cols)
        Mean map height of the surface as it was found, measured or not; beyond it, that of the
        nearest place it reaches.
    """
    cells = sheet.rows * sheet.cols
    total, count = np.zeros(cells), np.zeros(cells)
    for window in ground.grid.tiles(WINDOW_CELLS):
        height, *_ = ground.read(window)
        row, col = np.nonzero(read_closed(ground, window))
        x, y = ground.grid.window(window).cell_centres()
        i = ((sheet.y_max - y[row]) / sheet.cell_m).astype(int)
        j = ((x[col] - sheet.x_min) / sheet.cell_m).astype(int)
        on = (i >= 0) & (j >= 0) & (i < sheet.rows) & (j < sheet.cols)
        cell = i[on] * sheet.cols + j[on]
        total += np.bincount(cell, weights=height[row[on], col[on]], minlength=cells)
        count += np.bincount(cell, minlength=cells)
    mean = (total / np.maximum(count, 1)).reshape(sheet.shape)
    known = count.reshape(sheet.shape) > 0
    return _nearest(mean, known) if known.any() else mean


def count_overlap(
    reconstruction: Reconstruction, sheet: Grid, height_m: Float, *, hidden: bool = False
) -> NDArray[np.int_]:
    """Count the photographs that see each cell.

    Parameters
    ----------
    reconstruction : Reconstruction
    sheet : Grid
    height_m : ndarray of shape (rows, cols)
        Map height of the ground in each cell.
    hidden : bool
        Count photographs whose frame holds the cell even where the surface hides it from them.

    Returns
    -------
    ndarray of shape (rows, cols), int
    """
    x, y = np.meshgrid(*sheet.cell_centres())
    places = np.column_stack([x.ravel(), y.ravel(), height_m.ravel()])
    world = reconstruction.frame.world_from_map(places)
    count = np.zeros(len(world), int)
    for photo in reconstruction.photos:
        near = in_frame(world, reconstruction.cameras[photo.camera_id], photo.pose)
        if not hidden:
            (centre,) = reconstruction.frame.map_from_world(photo.pose.centre[None])
            near = near[_open(sheet, height_m, places[near], centre)]
        count[near] += 1
    return count.reshape(sheet.shape)


def in_frame(world: Float, camera: Camera, pose: Pose) -> NDArray[np.int_]:
    """Return the indices of the points (N, 3), world, that lie within a photograph."""
    in_cam = pose.cam_from_world(world)
    # Far outside the picture the distortion polynomial can fold points back into it.
    reach = 1.2 * np.hypot(camera.width_px, camera.height_px) / 2 / camera.fx_px
    near = np.flatnonzero(np.hypot(in_cam[:, 0], in_cam[:, 1]) < reach * in_cam[:, 2])
    u, v = camera.pixel_from_cam(in_cam[near]).T
    inside = (u > 0) & (v > 0) & (u < camera.width_px) & (v < camera.height_px)
    return np.asarray(near[inside])


def _open(sheet: Grid, height_m: Float, places: Float, centre: Float) -> NDArray[np.bool_]:
    """Tell which places (N, 3) a surface leaves open to a projection centre, map coordinates.

    Rays are walked one cell at a time, as far as the surface's highest point.
    """
    away = centre - places
    away[:, 2] = np.maximum(away[:, 2], 1e-3)
    level = np.hypot(away[:, 0], away[:, 1])
    # The part of the way to the camera after which a ray is above everything.
    clear = CLEARANCE_CELLS * sheet.cell_m
    until = np.clip((height_m.max() - clear - places[:, 2]) / away[:, 2], 0.0, 1.0)
    steps = np.floor(until * level / sheet.cell_m).astype(int)
    blocked = np.zeros(len(places), bool)
    for step in range(1, int(steps.max(initial=0)) + 1):
        going = np.flatnonzero((steps >= step) & ~blocked)
        part = step * sheet.cell_m / level[going]
        on_ray = places[going] + part[:, None] * away[going]
        i = np.floor((sheet.y_max - on_ray[:, 1]) / sheet.cell_m).astype(int)
        j = np.floor((on_ray[:, 0] - sheet.x_min) / sheet.cell_m).astype(int)
        inside = (i >= 0) & (j >= 0) & (i < sheet.rows) & (j < sheet.cols)
        above = height_m[i.clip(0, sheet.rows - 1), j.clip(0, sheet.cols - 1)]
        blocked[going] = inside & (above > on_ray[:, 2] + clear)
    return ~blocked


def _nearest(values: Float, known: NDArray[np.bool_]) -> Float:
    """Give the cells that are not known the value of the nearest one that is."""
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8),
        cv2.DIST_L2,
        cv2.DIST_MASK_PRECISE,
        labelType=cv2.DIST_LABEL_PIXEL,
    )
    of_label = np.zeros(math.prod(values.shape) + 1)
    of_label[labels[known]] = values[known]
    return np.asarray(of_label[labels])
