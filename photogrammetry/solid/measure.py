"""The sides of a site, measured as the ground is: with the photographs turned about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from photogrammetry.pictures import PictureStore
from photogrammetry.solid.sides import Side, SiteFrame
from photogrammetry.surface.measure import SurfaceOptions, measure_tile
from photogrammetry.surface.search import Sought
from photogrammetry.views import View
from tmp.cameras import Pose
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Tile

Float32 = NDArray[np.float32]


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
        views,
        LocalFrame(origin=None, crs=None),
        store,
        Sought(trend=side.trend, low_m=low_m, high_m=high_m),
        options=options,
    )
    sigma = np.where(found.measured, found.sigma, np.nan)
    return np.stack([found.height, sigma, found.views]).astype(np.float32)
