"""Several pictures of relief in one: the visualisation for archaeological topography."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The ends between which each picture is stretched from black to white."""

    sky_view_factor: tuple[float, float]
    positive_openness_deg: tuple[float, float]
    slope_deg: tuple[float, float]
    """The level end is white."""


GENERAL = Stretch(
    sky_view_factor=(0.7, 1.0), positive_openness_deg=(68.0, 93.0), slope_deg=(0.0, 50.0)
)
FLAT = Stretch(
    sky_view_factor=(0.9, 1.0), positive_openness_deg=(85.0, 91.0), slope_deg=(0.0, 15.0)
)


def blend(
    hillshade: Float32,
    slope_deg: Float32,
    positive_openness_deg: Float32,
    sky_view_factor: Float32,
    stretch: Stretch = GENERAL,
) -> Float32:
    """Return one picture, 0 to 1, of four of the same cells (rows, cols).

    From below: the hillshade; the slope's luminosity at half opacity; openness as overlay at half
    opacity, which darkens hollows and brightens crests; the sky-view factor multiplied at a
    quarter, which darkens what lies deep. Steep is dark, so walls and ditches show whichever way
    they run.

    References
    ----------
    Kokalj, Ž., Somrak, M. (2019). Why not a single image? Combining visualizations to facilitate
    fieldwork and on-screen mapping. Remote Sensing 11(7), 747.

    Examples
    --------
    >>> level = [np.full((1, 1), value, np.float32) for value in (0.5736, 0, 90, 1)]
    >>> round(float(blend(*level)[0, 0]), 3)
    0.868
    """
    picture = (hillshade + 1 - _stretched(slope_deg, stretch.slope_deg)) / 2
    opened = _stretched(positive_openness_deg, stretch.positive_openness_deg)
    bright = 1 - 2 * (1 - picture) * (1 - opened)
    overlaid = np.where(picture > 0.5, bright, 2 * picture * opened)
    seen = _stretched(sky_view_factor, stretch.sky_view_factor)
    return np.asarray((picture + overlaid) / 2 * (0.75 + 0.25 * seen), np.float32)


def _stretched(values: Float32, ends: tuple[float, float]) -> Float32:
    """Return values as 0 to 1 between two ends, and as the ends beyond them."""
    low, high = ends
    shares = (values - np.float32(low)) / np.float32(high - low)
    return np.asarray(np.clip(shares, 0, 1), np.float32)
