"""Sharp edges of houses: cells beside a jump are given to the roof or to the ground anew.

Windows and aggregation let a roof spread over the ground beside it, and an edge that runs along
a baseline correlates at any height.  Where the surface on both sides of a jump is plain, each
cell between is put to a simple question: continued from above and continued from below, which of
the two do the photographs agree on, those left out that the roof blocks?
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.kernels.visibility import compare_surfaces
from photogrammetry.surface.search import Float32, PyramidLevel
from photogrammetry.surface.trend import local_moment, plane_equations
from photogrammetry.views import TileViews

Mask = NDArray[np.bool_]

LEAST_JUMP_CELLS = 8.0
"""Jump in height, in cells, from which an edge is looked at."""
REACH_CELLS = 22
"""Distance from an edge over which its two surfaces are looked for."""
DOUBT_CELLS = 9
"""Distance from an edge within which cells are decided anew."""
INSET_CELLS = 4.0
"""Distance from an edge within which heights are not trusted, towards the roof."""
OUTSET_CELLS = 7.0
"""The same towards the ground: roofs grow rather than shrink."""
PLAIN_CELLS = 3.0
"""Greatest range of heights, in cells, among the neighbours of a cell of a plain surface."""
SUPPORT_CELLS = 6.0
"""Standard deviation of the Gaussian weight with which a plane is fitted."""
LEAST_SUPPORT = 0.003
"""Least sum of weights, of 1 for a full neighbourhood, of a plane."""
GREATEST_ROUGHNESS_CELLS = 2.5
"""Greatest deviation from the plane, in cells: a ridge is less, crowns of trees are more."""
CLEAR_ADVANTAGE = 0.2
"""Difference in correlation from which a decision counts as measured."""
ROOF_ADVANTAGE = -0.1
"""Advantage at the edge itself: a window there hangs over it and agrees less than on the roof."""
ROUNDS = 3
"""How often cells are decided; each round knows better what blocks the sight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plane:
    """A surface continued beyond its edge, (rows, cols)."""

    height: Float32
    rough: Float32
    """Standard deviation about the plane."""
    known: Mask


def sharpen_edges(placed: TileViews, level: PyramidLevel, height: Float32) -> tuple[Float32, Mask]:
    """Decide the cells beside jumps between two plain surfaces anew.

    The level is the finest, with many views of each block: most may be blocked beside a wall.
    Returns the tile heights (rows, cols), changed only beside such jumps, and the cells that were
    clearly one or the other.
    """
    ground = level.ground
    nothing = np.zeros(height.shape, np.bool_)
    high, edge = _split(height, ground.cell_m)
    if not edge.any():
        return height, nothing
    near = _grown(edge, REACH_CELLS)
    plain = near & _plain(height, ground.cell_m)
    roof = plain & high & ~_grown(near & ~high, INSET_CELLS)
    floor = plain & ~high & ~_grown(near & high, OUTSET_CELLS)
    doubt = _grown(edge, DOUBT_CELLS) & _grown(roof, REACH_CELLS) & _grown(floor, REACH_CELLS)
    if not doubt.any():
        return height, nothing
    upper = _continued(height, roof, doubt, ground.cell_m)
    lower = _continued(height, floor, doubt, ground.cell_m)
    apart = upper.height - lower.height > 0.5 * LEAST_JUMP_CELLS * ground.cell_m
    usable = cv2.erode((upper.known & lower.known & apart).astype(np.uint8), np.ones((3, 3))) > 0
    candidates = usable & doubt
    candidates[[0, -1]] = candidates[:, [0, -1]] = False
    if not candidates.any():
        return height, nothing
    on_roof = high & ~_grown(near & ~high, INSET_CELLS)
    advantage = np.empty(height.shape, np.float32)
    for _ in range(ROUNDS):
        surface = np.where(on_roof, height, np.where(near, lower.height, height))
        surface = np.where(candidates & on_roof, upper.height, surface)
        compare_surfaces(
            *level.compared,
            placed.centres,
            upper.height,
            lower.height,
            surface.astype(np.float32),
            candidates,
            advantage,
        )
        on_roof = np.where(candidates, _decide(advantage, high, candidates), high)
    wanted = np.where(on_roof, upper.height, lower.height)
    tolerance = ground.cell_m + 2 * np.where(on_roof, upper.rough, lower.rough)
    wrong = candidates & (np.abs(height - wanted) > tolerance)
    clear = np.where(on_roof, advantage, -advantage) > CLEAR_ADVANTAGE
    return np.where(wrong, wanted, height).astype(np.float32), candidates & clear


def _split(height: Float32, cell_m: float) -> tuple[Mask, Mask]:
    """Tell cells above half way between their surroundings' extremes, and cells on a jump."""
    around = np.ones((2 * REACH_CELLS + 1,) * 2, np.uint8)
    top, bottom = cv2.dilate(height, around), cv2.erode(height, around)
    high = height > (top + bottom) / 2
    near = np.ones((5, 5), np.uint8)
    drop = cv2.dilate(height, near) - cv2.erode(height, near)
    flips = cv2.morphologyEx(high.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return high, (drop > LEAST_JUMP_CELLS * cell_m) & (flips > 0)


def _grown(mask: Mask, cells: float) -> Mask:
    """Return the cells within a distance of a mask."""
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(away <= cells)


def _plain(height: Float32, cell_m: float) -> Mask:
    """Tell where a surface is smooth over more than a few cells, as crowns of trees are not."""
    kernel = np.ones((3, 3), np.uint8)
    drop = cv2.dilate(height, kernel) - cv2.erode(height, kernel)
    smooth = (drop < PLAIN_CELLS * cell_m).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(smooth, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)) > 0)


def _continued(height: Float32, trusted: Mask, wanted: Mask, cell_m: float) -> _Plane:
    """Fit a plane about every wanted cell to the trusted cells near it, by weighted least squares.

    References
    ----------
    Knutsson, H. & Westin, C.-F. (1993). Normalized and differential convolution. CVPR.
    """
    middle = float(height[trusted].mean()) if trusted.any() else 0.0
    w = trusted.astype(np.float32)
    z = np.where(trusted, (height - middle) / cell_m, 0.0).astype(np.float32)

    normal, right = plane_equations(z, w, SUPPORT_CELLS, wanted)
    weight = np.maximum(normal[:, 0, 0], 1e-9)
    # A hair of ridge, so that a narrow support is not tilted at will.
    normal[:, [1, 2], [1, 2]] += 0.02 * weight[:, None]
    normal[:, 0, 0] = weight
    solution = np.linalg.solve(normal, right[..., None])[..., 0]
    residual = local_moment(z * z, SUPPORT_CELLS)[wanted] - np.einsum("ni,ni->n", solution, right)
    rough = np.sqrt(np.maximum(residual, 0) / weight)
    plane = _Plane(
        height=height.copy(),
        rough=np.zeros(height.shape, np.float32),
        known=np.zeros(height.shape, np.bool_),
    )
    plane.height[wanted] = solution[:, 0] * cell_m + middle
    plane.rough[wanted] = rough * cell_m
    plane.known[wanted] = (weight > LEAST_SUPPORT) & (rough < GREATEST_ROUGHNESS_CELLS)
    return plane


def _decide(advantage: Float32, high: Mask, candidates: Mask) -> Mask:
    """Give each candidate to the roof or the ground, in accord with its neighbours."""
    known = np.isfinite(advantage)
    # What cannot be compared stays as it was, with little say.
    vote = np.where(known, advantage, np.where(high, 0.1, -0.1)).astype(np.float32)
    vote[~candidates] = np.where(high, 0.5, -0.5)[~candidates]
    return np.asarray(cv2.GaussianBlur(vote, (0, 0), 1.2) > ROOF_ADVANTAGE)
