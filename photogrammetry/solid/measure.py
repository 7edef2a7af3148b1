"""The sides of a site, measured as the ground is: with the photographs turned about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from photogrammetry.kernels.projection import FARTHEST_SLANT
from photogrammetry.pictures import PictureStore
from photogrammetry.solid.sides import Side, SiteFrame
from photogrammetry.surface.measure import SurfaceOptions, measure_tile
from photogrammetry.surface.search import Sought
from photogrammetry.views import View
from tmp.cameras import Pose
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Tile

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

MOST_VIEWS = 32
"""Photographs that a tile is measured in, those that look at it most squarely: a few of them are
compared in each place, and each costs time to be looked into."""


def turned_views(views: Sequence[View], frame: SiteFrame, side: Side) -> list[View]:
    """Return photographs as they stand about a site whose side is up."""
    turn = side.rotation
    return [
        replace(
            view,
            pose=Pose.from_centre(
                view.pose.rotation @ turn.T, turn @ (view.pose.centre - frame.offset)
            ),
        )
        for view in views
    ]


def measure_side(
    side: Side,
    tile: Tile,
    views: Sequence[View],
    store: PictureStore,
    *,
    options: SurfaceOptions,
) -> Float32:
    """Measure one tile of a side, in photographs that are turned for it.

    Returns its height, sigma (NaN where it was not measured) and number of agreeing photographs,
    (3, rows, cols).
    """
    low_m, high_m = side.reach_m
    found = measure_tile(
        side.grid,
        tile,
        _facing(views, side, tile),
        LocalFrame(origin=None, crs=None),
        store,
        Sought(trend=side.trend, low_m=low_m, high_m=high_m),
        options=options,
    )
    sigma = np.where(found.measured, found.sigma, np.nan)
    return np.stack([found.height, sigma, found.views]).astype(np.float32)


def _facing(views: Sequence[View], side: Side, tile: Tile) -> list[View]:
    """Return the turned photographs that look at a tile of a side most squarely."""
    x0, y0, x1, y1 = side.grid.window(tile).bounds
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    middle = np.array([x, y, float(side.trend.at(np.asarray(x), np.asarray(y)))])
    half_m = max(x1 - x0, y1 - y0) / 2
    found = []
    for view in views:
        ray = view.pose.centre - middle
        slant = float(np.hypot(ray[0], ray[1]) / ray[2]) if ray[2] > 0 else np.inf
        if slant < FARTHEST_SLANT and _sees(view, middle, half_m):
            found.append((slant, view.name, view))
    return [view for _, _, view in sorted(found, key=lambda one: one[:2])[:MOST_VIEWS]]


def _sees(view: View, middle: Float, half_m: float) -> bool:
    """Tell whether a photograph sees any of a disc, or nearly does."""
    cam = view.pose.cam_from_world(middle)
    if cam[0, 2] <= 0:
        return False
    margin_px = half_m / cam[0, 2] * view.camera.fx_px
    pixel = view.camera.pixel_from_cam(cam)[0]
    size = np.array([view.camera.width_px, view.camera.height_px])
    return bool(((pixel > -margin_px) & (pixel < size + margin_px)).all())
