"""Which photographs a piece of ground is compared in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photogrammetry.correlation import MAX_VIEWS
from photogrammetry.search import Float32, Ground
from photogrammetry.views import TileViews

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

LEAST_BASE = 0.06
"""Least base-to-height ratio between two views of a place."""
ENOUGH_VIEWS = 4
"""Views of a place from which no worse ones are wanted: the least agreeing can be left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sightings:
    """What every view V sees of every block B."""

    corners: Mask
    """(4, V, B), whether the view holds each corner of the block."""
    slopes: Float
    """(V, B, 2), of the ray from the block's middle, metres per metre of height."""
    good: Mask
    """(V, B), views that see the whole of a block, and not too far off the vertical."""
    usable: Mask
    """(V, B)"""


def choose_views(
    placed: TileViews,
    ground: Ground,
    sheet: Float32,
    *,
    count: int,
    steep: float,
    max_off_nadir: float,
) -> NDArray[np.int64]:
    """Choose the views that see each block best.

    The view nearest to the vertical comes first; each further one is the next nearest whose ray
    differs from all chosen ones by at least `LEAST_BASE` of the height, so that five photographs
    taken from one spot do not pass for five views.

    Views that see only part of a block, or see it from far off the vertical, stand back: they are
    taken for corners of it that fewer than `ENOUGH_VIEWS` of the others see, those first that
    help most, and up to `MAX_VIEWS` in all.  So the surface ends where the photographs do, not
    where a block ends.

    Parameters
    ----------
    placed : TileViews
    ground : Ground
    sheet : ndarray of shape (rows + 2 radius, cols + 2 radius)
        Approximate tile heights.
    count : int
        Most views of a block that see it well.
    steep : float
        Tangent of the angle between a ray and the vertical from which a view stands back.
    max_off_nadir : float
        Greatest tangent of that angle, anywhere in the block.

    Returns
    -------
    ndarray of shape (block rows, block cols, MAX_VIEWS), int64
        Positions in `placed`, -1 where fewer views see the block.
    """
    rows, cols = ground.shape
    radius, block = ground.radius, ground.block
    block_rows, block_cols = -(-rows // block), -(-cols // block)
    edges_r = np.minimum(np.arange(block_rows + 1) * block, rows - 1) + radius
    edges_c = np.minimum(np.arange(block_cols + 1) * block, cols - 1) + radius
    corner_r, corner_c = np.meshgrid(edges_r, edges_c, indexing="ij")
    corners = np.stack(
        [ground.x[corner_c], ground.y[corner_r], sheet[corner_r, corner_c]], axis=-1
    ).astype(float)
    chosen = _greedy(_look(placed, corners, steep, max_off_nadir), count)
    return chosen.reshape(block_rows, block_cols, MAX_VIEWS)


def _look(placed: TileViews, corners: Float, steep: float, max_off_nadir: float) -> _Sightings:
    """Tell what every view sees of the blocks between corners (rows, cols, 3)."""
    middle = _of_blocks(corners).mean(axis=0).reshape(-1, 3)
    shape = len(placed), len(middle)
    seen = np.zeros((4, *shape), np.bool_)
    slopes = np.full((*shape, 2), np.nan)
    good, usable = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    for v, view in enumerate(placed.views):
        pixels = placed.pixel_from_tile(v, corners.reshape(-1, 3))
        inside = (
            (pixels[:, 0] > 2)
            & (pixels[:, 1] > 2)
            & (pixels[:, 0] < view.camera.width_px - 2)
            & (pixels[:, 1] < view.camera.height_px - 2)
        )
        offset = placed.centres[v] - corners
        with np.errstate(divide="ignore", invalid="ignore"):
            tangents = np.hypot(offset[..., 0], offset[..., 1]) / offset[..., 2]
        within = (offset[..., 2] > 0) & (tangents < max_off_nadir)
        seen[:, v] = _of_blocks(inside.reshape(within.shape) & within).reshape(4, -1) > 0
        away = placed.centres[v] - middle
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes[v] = away[:, :2] / away[:, 2:]
        usable[v] = seen[:, v].any(axis=0) & (away[:, 2] > 0)
        good[v] = seen[:, v].all(axis=0) & (np.hypot(*slopes[v].T) < steep)
    return _Sightings(corners=seen, slopes=slopes, good=good & usable, usable=usable)


def _of_blocks(corners: NDArray[np.generic]) -> Float:
    """Gather the four corner values of every block: (4, block rows, block cols, ...)."""
    return np.stack(
        [corners[:-1, :-1], corners[1:, :-1], corners[:-1, 1:], corners[1:, 1:]]
    ).astype(float)


def _greedy(sightings: _Sightings, count: int) -> NDArray[np.int64]:
    slopes, left = sightings.slopes, sightings.usable.copy()
    tangent = np.hypot(slopes[..., 0], slopes[..., 1])
    number = left.shape[1]
    chosen = np.full((number, MAX_VIEWS), -1, np.int64)
    have = np.zeros((4, number))
    everyone = np.arange(number)
    for k in range(MAX_VIEWS if len(left) else 0):
        # Views that stand back come after all others, and only where they are wanted.
        wanted = np.maximum(ENOUGH_VIEWS - have, 0.0)
        help_given = (sightings.corners * wanted[:, None]).sum(axis=0)
        standing_back = np.where(help_given > 0, 1e4 - 100.0 * help_given + tangent, np.inf)
        well = tangent if k < count else np.full_like(tangent, np.inf)
        rank = np.where(left, np.where(sightings.good, well, standing_back), np.inf)
        best = np.argmin(rank, axis=0)
        found = np.isfinite(rank[best, everyone])
        chosen[found, k] = best[found]
        have += sightings.corners[:, best, everyone] * found
        with np.errstate(invalid="ignore"):
            base = np.hypot(*np.moveaxis(slopes - slopes[best, everyone], 2, 0))
        left &= ~((base < LEAST_BASE) & found)
        left[best[found], everyone[found]] = False
    return chosen
