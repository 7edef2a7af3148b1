"""Which photographs a piece of ground is compared in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from photogrammetry.search import Float32, Ground
from photogrammetry.views import TileViews

LEAST_BASE = 0.06
"""Least base-to-height ratio between two views of a place."""


def choose_views(
    placed: TileViews, ground: Ground, sheet: Float32, *, count: int, max_off_nadir: float
) -> NDArray[np.int64]:
    """Choose the views that see each block best.

    The view nearest to the vertical comes first; each further one is the next nearest whose ray
    differs from all chosen ones by at least `LEAST_BASE` of the height, so that five photographs
    taken from one spot do not pass for five views.

    Parameters
    ----------
    placed : TileViews
    ground : Ground
    sheet : ndarray of shape (rows + 2 radius, cols + 2 radius)
        Approximate tile heights.
    count : int
        Most views of a block, K.
    max_off_nadir : float
        Greatest tangent of the angle between a ray and the vertical.

    Returns
    -------
    ndarray of shape (block rows, block cols, K), int64
        Positions in `placed`, -1 where fewer views see the block.
    """
    rows, cols = ground.shape
    radius, block = ground.radius, ground.block
    block_rows, block_cols = -(-rows // block), -(-cols // block)
    edges_r = np.minimum(np.arange(block_rows + 1) * block, rows - 1) + radius
    edges_c = np.minimum(np.arange(block_cols + 1) * block, cols - 1) + radius
    corner_r, corner_c = np.meshgrid(edges_r, edges_c, indexing="ij")
    corners = np.column_stack(
        [
            ground.x[corner_c.ravel()],
            ground.y[corner_r.ravel()],
            sheet[corner_r.ravel(), corner_c.ravel()],
        ]
    ).astype(float)
    shape = (block_rows + 1, block_cols + 1)
    middle = _of_blocks(corners.reshape(*shape, 3)).mean(axis=0).reshape(-1, 3)
    slopes = np.full((len(placed), block_rows * block_cols, 2), np.nan)
    rank = np.full((len(placed), block_rows * block_cols), np.inf)
    for v, view in enumerate(placed.views):
        pixels = placed.pixel_from_tile(v, corners)
        inside = (
            (pixels[:, 0] > 2)
            & (pixels[:, 1] > 2)
            & (pixels[:, 0] < view.camera.width_px - 2)
            & (pixels[:, 1] < view.camera.height_px - 2)
        )
        visible = _of_blocks(inside.reshape(shape)).sum(axis=0).ravel()
        offset = placed.centres[v] - middle
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes[v] = offset[:, :2] / offset[:, 2:]
        tangent = np.hypot(*slopes[v].T)
        usable = (offset[:, 2] > 0) & (tangent < max_off_nadir) & (visible > 0)
        # A view that sees only part of a block comes after all that see the whole.
        rank[v] = np.where(usable, tangent + 10.0 * (visible < 4), np.inf)
    chosen = _greedy(rank, slopes, count)
    return chosen.reshape(block_rows, block_cols, count)


def _of_blocks(corners: NDArray[np.generic]) -> NDArray[np.float64]:
    """Gather the four corner values of every block: (4, block rows, block cols, ...)."""
    return np.stack(
        [corners[:-1, :-1], corners[1:, :-1], corners[:-1, 1:], corners[1:, 1:]]
    ).astype(float)


def _greedy(
    rank: NDArray[np.float64], slopes: NDArray[np.float64], count: int
) -> NDArray[np.int64]:
    rank = rank.copy()
    number = rank.shape[1]
    chosen = np.full((number, count), -1, np.int64)
    everyone = np.arange(number)
    for k in range(count if len(rank) else 0):
        best = np.argmin(rank, axis=0)
        found = np.isfinite(rank[best, everyone])
        chosen[found, k] = best[found]
        with np.errstate(invalid="ignore"):
            base = np.hypot(*np.moveaxis(slopes - slopes[best, everyone], 2, 0))
        rank[(base < LEAST_BASE) & found] = np.inf
        rank[best[found], everyone[found]] = np.inf
    return chosen
