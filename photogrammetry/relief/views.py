"""What is seen from each cell: sky-view factor, openness, local dominance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photogrammetry.kernels.relief import look_around, look_down

Float32 = NDArray[np.float32]

DIRECTIONS = 16
"""Into which horizons are looked for, as in the sky-view factor's first paper."""
STEPS_PER_CELL = 3
"""Along a direction: so that no cell is passed over that it goes through."""
EYE_M = 1.7
"""Height of a person's eyes above the ground."""
SIGHT_LINES, SIGHT_RINGS = 24, 11
"""Directions and distances at which local dominance looks down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizons:
    """What each cell sees about it; all arrays (rows, cols), NaN where the height is unknown."""

    sky_view_factor: Float32
    """Share of the sky's light that is not hidden, 0 to 1: 1 on a plain, less in a ditch."""
    positive_openness: Float32
    """Mean angle between zenith and horizon in degrees: 90 on a plain, more on a crest."""
    negative_openness: Float32
    """The same from nadir, below the surface: more than 90 in a hollow."""


def find_horizons(heights: Float32, cell_m: float, halo: int) -> Horizons:
    """Return sky-view factor and openness of the cells within a halo.

    Parameters
    ----------
    heights : ndarray of shape (rows + 2 halo, cols + 2 halo), float32
        In metres, NaN where unknown and beyond the map.
    cell_m : float
    halo : int
        How far is looked, in cells.

    Notes
    -----
    In each of `DIRECTIONS` the horizon's angle γ is the largest one of any cell on the way. The
    sky-view factor is 1 - mean(sin(max(γ, 0))), positive openness 90° - mean(γ), negative openness
    the same of the surface turned upside down. The way's cells are those that points at a third of
    a cell's distance lie in. At borders and holes, directions in which no cell is known at all are
    left out, and unknown cells hide nothing.

    References
    ----------
    Zakšek, K., Oštir, K., Kokalj, Ž. (2011). Sky-view factor as a relief visualization technique.
    Remote Sensing 3(2), eq. 5.
    Yokoyama, R., Shirasawa, M., Pike, R. J. (2002). Visualizing topography by openness.
    Photogrammetric Engineering & Remote Sensing 68(3).

    Examples
    --------
    >>> found = find_horizons(np.zeros((7, 7), np.float32), 0.5, 2)
    >>> float(found.sky_view_factor[0, 0]), float(found.positive_openness[0, 0])
    (1.0, 90.0)
    """
    offsets, starts = _ways(halo)
    inverse_m = (1 / (cell_m * np.hypot(offsets[:, 0], offsets[:, 1]))).astype(np.float32)
    shape = heights.shape[0] - 2 * halo, heights.shape[1] - 2 * halo
    sines, above, below = np.empty((3, *shape), np.float32)
    whole = np.ascontiguousarray(heights, np.float32)
    look_around(whole, halo, offsets, inverse_m, starts, sines, above, below)
    return Horizons(
        sky_view_factor=1 - sines,
        positive_openness=90 - np.degrees(above),
        negative_openness=90 - np.degrees(below),
    )


def find_dominance(heights: Float32, cell_m: float, halo: int, *, eye_m: float = EYE_M) -> Float32:
    """Return how far a person in each cell looks down on the ground about, 1 on a plain.

    Heights are as in `find_horizons`. Looked at is a ring from half the halo's distance to all of
    it, at `SIGHT_RINGS` distances in `SIGHT_LINES` directions; each sample counts by the ground it
    stands for.

    References
    ----------
    Hesse, R. (2016). Visualisierung hochauflösender digitaler Geländemodelle mit LiVT. In:
    Lieberwirth, U., Herzog, I. (eds.), 3D-Anwendungen in der Archäologie, 109-128.

    Examples
    --------
    >>> float(find_dominance(np.zeros((9, 9), np.float32), 1.0, 4)[0, 0])
    1.0
    """
    rings = np.linspace(halo / 2, halo, min(SIGHT_RINGS, halo + 1))
    angles = np.radians(np.arange(SIGHT_LINES) * (360 / SIGHT_LINES))
    distances = np.tile(rings, SIGHT_LINES)
    along = np.repeat(angles, len(rings))
    ahead = np.stack([distances * np.sin(along), distances * np.cos(along)], axis=1)
    offsets = -np.rint(ahead).astype(np.int64)
    width = rings[1] - rings[0]
    dominance = np.empty((heights.shape[0] - 2 * halo, heights.shape[1] - 2 * halo), np.float32)
    look_down(
        np.ascontiguousarray(heights, np.float32),
        halo,
        offsets,
        (distances * cell_m).astype(np.float32),
        (2 * distances + width).astype(np.float32),
        np.float32(eye_m),
        dominance,
    )
    return dominance


def _ways(radius: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cells (N, 2) of one direction after the other, and where each begins (D + 1,)."""
    far = np.arange((radius - 1) * STEPS_PER_CELL + 1) / STEPS_PER_CELL + 1
    ways = []
    for angle in np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS):
        cells = np.rint(np.stack([far * np.cos(angle), far * np.sin(angle)], axis=1))
        ways.append(np.unique(cells.astype(np.int64), axis=0))
    return np.concatenate(ways), np.cumsum([0, *map(len, ways)])
