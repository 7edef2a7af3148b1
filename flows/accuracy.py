"""How far a map is from the truth: pure functions over arrays on one grid.

All rasters are (rows, cols) on the truth's grid, heights in metres, NaN where unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

LEAST_WALL_M = 0.25
"""Relief below which a wall is too low to judge."""
GROUND_REACH_M = 2.0
"""Distance over which the ground beside a wall is averaged."""
EDGE_REACH_CELLS = 24.0
"""Distance followed to both sides of a house's edge."""
CORNER_CELLS = 24.0
"""Length left out at both ends of a house's side."""
BLOCK_CELLS = 96
LEAST_LIKENESS = 0.6
"""Correlation of a block with the truth, once shifted, from which its shift is believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and spread of errors, in the unit of the input."""

    count: int
    mean: float
    std: float
    nmad: float
    """1.4826 times the median absolute deviation; the standard deviation without outliers."""


def spread(errors: NDArray[np.floating]) -> Spread:
    """Summarise errors, NaN left out.

    References
    ----------
    Höhle, J. & Höhle, M. (2009). Accuracy assessment of digital elevation models by means of
    robust statistical methods. ISPRS Journal 64(4).

    Examples
    --------
    >>> spread(np.array([1.0, 1.0, 3.0, np.nan])).mean
    1.6666666666666667
    """
    known = np.asarray(errors, float)
    known = known[np.isfinite(known)]
    if len(known) == 0:
        return Spread(count=0, mean=np.nan, std=np.nan, nmad=np.nan)
    deviation = np.abs(known - np.median(known))
    return Spread(
        count=len(known),
        mean=float(known.mean()),
        std=float(known.std()),
        nmad=float(1.4826 * np.median(deviation)),
    )


def wall_relief(
    measured: Float32, true: Float32, wall_height: Float32, ground: Mask, cell_m: float
) -> float:
    """Return the share of the walls' true relief that a surface shows, 1 when all of it.

    Parameters
    ----------
    measured, true : ndarray of shape (rows, cols)
        Surfaces.
    wall_height : ndarray of shape (rows, cols)
        True height of walls above the ground beside them, 0 or NaN elsewhere.
    ground : ndarray of bool, shape (rows, cols)
        Open ground, to which measured relief refers.
    cell_m : float

    Notes
    -----
    The least-squares factor between measured and true relief over all wall cells; the measured
    relief is counted from the surface's own ground within `GROUND_REACH_M`.
    """
    error = (measured - true).astype(np.float32)
    usable = ground & np.isfinite(error)
    size = (int(2 * GROUND_REACH_M / cell_m) | 1,) * 2
    weight = cv2.blur(usable.astype(np.float32), size)
    total = cv2.blur(np.where(usable, error, 0).astype(np.float32), size)
    with np.errstate(divide="ignore", invalid="ignore"):
        beside = np.where(weight > 0.01, total / weight, np.nan)
    wall = np.isfinite(error) & np.isfinite(beside) & (np.nan_to_num(wall_height) >= LEAST_WALL_M)
    if not wall.any():
        return float("nan")
    relief = wall_height[wall].astype(float)
    shown = relief + error[wall] - beside[wall]
    return float((shown @ relief) / (relief @ relief))


def edge_displacements(measured: Float32, true: Float32, outlines: Iterable[Float]) -> Float:
    """Return how far the sides of houses are displaced, in cells, positive outwards.

    Parameters
    ----------
    measured, true : ndarray of shape (rows, cols)
        Surfaces.
    outlines : iterable of ndarray of shape (N, 2)
        Corners of each house in cells, (column, row), corner origin; not closed.

    Returns
    -------
    ndarray of shape (M,)
        One value every few cells along the sides; NaN where the measured surface shows no edge.

    Notes
    -----
    The edge is where a surface, followed across the side, passes half way between eaves and
    ground; the same is done on the true surface, and the difference counts.
    """
    displacements = []
    for outline in outlines:
        for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True):
            displacements.append(_side_displacements(measured, true, outline, start, end))
    return np.concatenate(displacements) if displacements else np.zeros(0)


def _side_displacements(
    measured: Float32, true: Float32, outline: Float, start: Float, end: Float
) -> Float:
    length = float(np.hypot(*(end - start)))
    if length <= 2 * CORNER_CELLS:
        return np.zeros(0)
    along = (end - start) / length
    normal = np.array([along[1], -along[0]])
    if np.dot(normal, start - outline.mean(axis=0)) < 0:
        normal = -normal
    feet = start + np.arange(CORNER_CELLS, length - CORNER_CELLS, 4.0)[:, None] * along
    offsets = np.arange(-EDGE_REACH_CELLS, EDGE_REACH_CELLS + 0.125, 0.25)
    places = feet[:, None] + offsets[None, :, None] * normal
    found = []
    for profile, truth in zip(_sample(measured, places), _sample(true, places), strict=True):
        quarter = len(truth) // 4
        level = (np.nanmedian(truth[:quarter]) + np.nanmedian(truth[-quarter:])) / 2
        found.append(_crossing(profile, offsets, level) - _crossing(truth, offsets, level))
    return np.array(found)


def _crossing(profile: Float, offsets: Float, level: float) -> float:
    """Return where a falling profile passes a level, bridging gaps linearly; NaN if it does not."""
    known = np.isfinite(profile)
    if known.sum() < 2:
        return float("nan")
    x, z = offsets[known], profile[known]
    above = np.flatnonzero(z > level)
    if len(above) == 0 or above[-1] == len(z) - 1:
        return float("nan")
    i = above[-1]
    return float(x[i] + (z[i] - level) / (z[i] - z[i + 1]) * (x[i + 1] - x[i]))


def _sample(raster: Float32, places: Float) -> Float:
    """Sample bilinearly at (column, row), corner origin; NaN outside and beside unknown cells."""
    centred = (places - 0.5).astype(np.float32)  # OpenCV's origin is the first cell's centre
    return np.asarray(
        cv2.remap(
            raster.astype(np.float32),
            centred[..., 0],
            centred[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=float("nan"),
        ),
        np.float64,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shifts:
    """Displacement of a picture against another, block by block."""

    cells: Float
    """(N, 2), right and down, of blocks whose shift can be believed."""
    tried: int
    """Blocks with enough picture to try."""

    @property
    def lengths(self) -> Float:
        """Lengths of the displacements, (N,)."""
        return np.asarray(np.hypot(*self.cells.T))


def picture_shifts(picture: Float32, truth: Float32, known: Mask) -> Shifts:
    """Measure the displacement of a picture, block by block.

    Phase correlation finds a block's shift to a cell, maximising the correlation coefficient
    refines it.

    Parameters
    ----------
    picture, truth : ndarray of shape (rows, cols)
        Grey values.
    known : ndarray of bool, shape (rows, cols)
        Where the picture has content; blocks with gaps are passed over.

    References
    ----------
    Kuglin, C. D. & Hines, D. C. (1975). The phase correlation image alignment method.
    Evangelidis, G. D. & Psarakis, E. Z. (2008). Parametric image alignment using enhanced
    correlation coefficient maximization. IEEE PAMI 30(10).
    """
    window = cv2.createHanningWindow((BLOCK_CELLS, BLOCK_CELLS), cv2.CV_32F)
    smooth = [_texture(np.nan_to_num(image)) for image in (picture, truth)]
    shifts, tried = [], 0
    for row in range(0, picture.shape[0] - BLOCK_CELLS + 1, BLOCK_CELLS):
        for col in range(0, picture.shape[1] - BLOCK_CELLS + 1, BLOCK_CELLS):
            part = np.s_[row : row + BLOCK_CELLS, col : col + BLOCK_CELLS]
            if not known[part].all():
                continue
            tried += 1
            mine, its = (np.ascontiguousarray(image[part]) for image in smooth)
            start, _ = cv2.phaseCorrelate(its, mine, window)
            shift, likeness = _refine(mine, its, start)
            if likeness >= LEAST_LIKENESS:
                shifts.append(shift)
    return Shifts(cells=np.array(shifts, float).reshape(-1, 2), tried=tried)


def _texture(image: Float32) -> Float32:
    """Remove shading broader than a tenth of a block, and noise finer than a cell."""
    image = image.astype(np.float32)
    fine = cv2.GaussianBlur(image, (0, 0), 0.8)
    return np.asarray(fine - cv2.GaussianBlur(image, (0, 0), BLOCK_CELLS / 10), np.float32)


def _refine(
    mine: Float32, its: Float32, start: Sequence[float]
) -> tuple[tuple[float, float], float]:
    """Return the shift of one block against another, and their correlation once shifted."""
    warp = np.array([[1.0, 0.0, start[0]], [0.0, 1.0, start[1]]], np.float32)
    whole = np.ones(its.shape, np.uint8)
    until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    try:
        likeness, found = cv2.findTransformECC(
            its, mine, warp, cv2.MOTION_TRANSLATION, until, whole, 1
        )
    except cv2.error:  # nothing alike in the two blocks
        return (start[0], start[1]), 0.0
    moved = np.asarray(found)
    return (float(moved[0, 2]), float(moved[1, 2])), float(likeness)
