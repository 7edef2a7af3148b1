"""Values as colours: the ramps of products, and the steps that suit doubts and heights.

Pictures of the report and styles for QGIS take the same colours at the same values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmp.plotting import WHITE, Float, Pixels, css_rgb

NO_VALUE = "#c3c9ce"
"""Where a map has no value and white would pass for one: no ramp has a grey as pale."""
RAMPS = {
    # Brown, yellow, green as people know NDVI.  The browns are dull and the greens are not, so that
    # they differ in yellowness too; for many eyes it is all that parts them.
    "plants": ("#7d5a50", "#b6947f", "#f0e0b4", "#dfe68c", "#7dbb50", "#278038", "#00441b"),
    "soil": ("#1f4e79", "#6a9fc0", "#cfe0e6", "#f3ead6", "#e0b27a", "#bd6f35", "#7a3012"),
    "water": ("#7a4a1c", "#c0904c", "#ecd9b0", "#f4f4f1", "#b3d3e6", "#5a9bc8", "#12508f"),
    "ice": ("#4d3a2b", "#8d7a68", "#c9c2b8", "#eef2f4", "#a9d3e8", "#4a9cc7", "#0b4f7d"),
    # From the colour of bare ground, so that what stands on it shows.
    "rising": ("#f1eee2", "#d8d79b", "#8fbf7f", "#3f9a8f", "#2b6693", "#35215c"),
    # Hollows blue, level ground white, rises red.
    "about": ("#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b"),
    "grey": ("#000000", "#333333", "#666666", "#999999", "#cccccc", "#ffffff"),
    "grey_turned": ("#ffffff", "#cccccc", "#999999", "#666666", "#333333", "#000000"),
    "plain": ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"),
    "doubt": ("#000004", "#3b0f70", "#8c2981", "#de4968", "#fe9f6d", "#fcfdbf"),
}
"""CSS colours at even steps from the low to the high end; with seven, steps are round numbers.

"plain" is matplotlib's viridis, "doubt" its magma.  All keep apart for people who do not tell red
from green: their two ends differ in lightness or in blue against yellow.
"""
ENTRIES = 256


def ramp_colours(name: str, count: int = ENTRIES) -> Pixels:
    """Return one of `RAMPS`, else "plain", as red, green and blue (count, 3).

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
    values: NDArray[np.float32], stops: Sequence[float] | Float, name: str, *, unknown: str = WHITE
) -> Pixels:
    """Return a picture (rows, cols, 3) of values, and of what is unknown (NaN).

    The stops are the values of even steps along the ramp, its two ends at least; beyond them goes
    the end's colour.
    """
    known = np.isfinite(values)
    share = np.interp(values, stops, np.linspace(0, 1, len(stops)))
    pixels = ramp_colours(name)[(np.where(known, share, 0) * (ENTRIES - 1) + 0.5).astype(int)]
    pixels[~known] = css_rgb(unknown)
    return np.asarray(pixels, np.uint8)


def doubt_stops(values: NDArray[np.floating[Any]], count: int = len(RAMPS["doubt"])) -> Float:
    """Return steps 1, 3, 10, 30 … for colours of doubts: values that differ by their factor.

    A doubt of 3 m is no worse beside one of 1 m than 3 cm beside 1 cm.  The lowest step is the last
    that all but a twentieth of the values (NaN left out) reach.

    Examples
    --------
    >>> doubt_stops(np.array([0.006, 0.02, 1.4])).tolist()
    [0.003, 0.01, 0.03, 0.1, 0.3, 1.0]
    """
    known = values[np.isfinite(values) & (values > 0)]
    least = float(np.percentile(known, 5)) if len(known) else 0.01
    first = math.floor(2 * math.log10(least) + 1e-9)
    steps = [float(f"{10 ** (half / 2):.0e}") for half in range(first, first + count)]
    return np.array(steps)


def relief_stops(values: NDArray[np.floating[Any]], count: int = len(RAMPS["plain"])) -> Float:
    """Return steps for colours of heights (NaN left out), closer where many heights are.

    With even steps trees take most of the colours and the ground they stand on gets one.  These lie
    between even steps from the 2nd to the 98th percentile and, nine times nearer, steps of equally
    many cells.
    """
    known = values[np.isfinite(values)].astype(float)
    if len(known) == 0:
        return np.linspace(0.0, 1.0, count)
    ranks = np.percentile(known, np.linspace(2, 98, count))
    even = np.linspace(ranks[0], max(ranks[-1], ranks[0] + 1e-3), count)
    return np.asarray(even / 10 + 9 * ranks / 10)


def ramp_steps(name: str, shown: tuple[float, float]) -> tuple[Sequence[str], Float]:
    """Return a ramp's CSS colours and the values they stand for, for styles and legends."""
    colours = RAMPS.get(name, RAMPS["plain"])
    return colours, np.linspace(shown[0], shown[1], len(colours))


def say_stops(stops: Sequence[float] | Float) -> list[str]:
    """Return rising values as words, as exact as keeps them apart.

    Examples
    --------
    >>> say_stops([2.78e-17, 0.1, 0.2]), say_stops([1153.52, 1157.46, 1159.23])
    (['0', '0.1', '0.2'], ['1153.5', '1157.5', '1159.2'])
    """
    digits = max(0, 1 - math.floor(math.log10(np.diff(stops).min())))
    return [f"{round(float(stop), digits) + 0.0:.10g}" for stop in stops]
