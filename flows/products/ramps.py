"""Colours of indices: fixed ends, so that the same colour means the same value on every date.

The ramps keep apart for people who do not tell red from green: their two ends differ in lightness
or in blue against yellow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PAPER = (255, 255, 255)
ENTRIES = 256

RAMPS = {
    # Brown, yellow, green as people know NDVI.  The browns are dull and the greens are not, so that
    # they differ in yellowness too; for many eyes it is all that parts them.
    "plants": ("#7d5a50", "#b6947f", "#f0e0b4", "#dfe68c", "#7dbb50", "#278038", "#00441b"),
    "soil": ("#1f4e79", "#6a9fc0", "#cfe0e6", "#f3ead6", "#e0b27a", "#bd6f35", "#7a3012"),
    "water": ("#7a4a1c", "#c0904c", "#ecd9b0", "#f4f4f1", "#b3d3e6", "#5a9bc8", "#12508f"),
    "ice": ("#4d3a2b", "#8d7a68", "#c9c2b8", "#eef2f4", "#a9d3e8", "#4a9cc7", "#0b4f7d"),
    "plain": ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"),
}
"""CSS colours at even steps from the low to the high end; with seven, steps are round numbers."""


def ramp_colours(name: str, count: int = ENTRIES) -> NDArray[np.uint8]:
    """Return a ramp as colours.

    Parameters
    ----------
    name : str
        One of `RAMPS`; another name gives "plain".
    count : int

    Returns
    -------
    ndarray of shape (count, 3), uint8
        Red, green, blue.

    Examples
    --------
    >>> ramp_colours("plants")[0].tolist()
    [125, 90, 80]
    """
    stops = np.array([css_rgb(css) for css in RAMPS.get(name, RAMPS["plain"])], float)
    at = np.linspace(0, len(stops) - 1, count)
    mixed = [np.interp(at, np.arange(len(stops)), stops[:, band]) for band in range(3)]
    return np.round(np.stack(mixed, axis=1)).astype(np.uint8)


def colour_values(
    values: NDArray[np.float32], shown: tuple[float, float], name: str
) -> NDArray[np.uint8]:
    """Return a picture (rows, cols, 3) of values; beyond the ends the end's colour, NaN white."""
    low, high = shown
    known = np.isfinite(values)
    share = (np.where(known, values, low) - low) / (high - low)
    picture = ramp_colours(name)[np.clip(share * (ENTRIES - 1) + 0.5, 0, ENTRIES - 1).astype(int)]
    picture[~known] = PAPER
    return np.asarray(picture, np.uint8)


def ramp_steps(name: str, shown: tuple[float, float]) -> tuple[Sequence[str], NDArray[np.float64]]:
    """Return a ramp's CSS colours and the values they stand for, for styles and legends."""
    colours = RAMPS.get(name, RAMPS["plain"])
    return colours, np.linspace(shown[0], shown[1], len(colours))


def css_rgb(css: str) -> tuple[int, int, int]:
    """Return red, green, blue of ``#rrggbb``."""
    return int(css[1:3], 16), int(css[3:5], 16), int(css[5:7], 16)
