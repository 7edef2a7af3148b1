"""Contour lines of the ground: smoothed as a surface, drawn tile by tile, joined into whole lines.

A line that is smoothed by itself crosses its neighbours and leaves the ground; a surface that is
smoothed has lines that do neither.  Lines end where the ground is not known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from tmp.errors import InputError

Float = NDArray[np.float64]
Lines = Mapping[float, Sequence[Float]]
"""Lines by their height; columns and rows of their points, (N, 2), from the centre of the first
cell."""

SMOOTH_CELLS = 3.0
"""Standard deviation of the Gaussian that smooths the surface."""
HALO_CELLS = 12
"""Beyond it the Gaussian adds nothing."""
DIGITS = 4
"""To which points are rounded, so that lines of neighbouring tiles meet."""
KEPT_CELLS = 0.1
"""How far a line may lie beside the one that was drawn, to have fewer points."""
LEAST_CELLS = 30.0
"""Length of the shortest line that is kept: shorter ones are what is left of noise."""
RELIEF_LINES = 25
"""Lines over the relief of a survey, at most, unless an interval is asked for."""
SIGMAS = 4.0
"""Doubts of a height that an interval is at least."""
MOST_LINES = 2000
"""Heights at which lines are drawn, at most."""
STEPS = (1.0, 2.5, 5.0)
"""Intervals are these times a power of ten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contours:
    """Whole contour lines."""

    shapes: NDArray[Any]
    """LineStrings in map coordinates, (N,)."""
    heights: Float
    """Of each, (N,)."""
    index: NDArray[np.bool_]
    """Whether each is one of those that are drawn bold and labelled, (N,)."""


def choose_interval(relief_m: float, sigma_m: float) -> float:
    """Return an interval that suits a relief and how well heights are known.

    At most `RELIEF_LINES` over the relief, and no closer than the doubt lets them be told apart.

    Examples
    --------
    >>> choose_interval(4.2, 0.012), choose_interval(0.5, 0.012), choose_interval(300, 0.05)
    (0.25, 0.05, 25.0)
    """
    least = max(relief_m / RELIEF_LINES, SIGMAS * sigma_m, 1e-3)
    decade = 10.0 ** math.floor(math.log10(least))
    found = next(step * decade for step in (*STEPS, 10.0) if step * decade >= least * (1 - 1e-9))
    return float(f"{found:.6g}")


def every_bold(interval_m: float) -> int:
    """Return each how many lines one is bold: so that its height is a round number.

    Examples
    --------
    >>> every_bold(0.25), every_bold(0.1), every_bold(5)
    (4, 5, 5)
    """
    lead = float(f"{interval_m:e}".split("e")[0])
    return 4 if abs(lead - 2.5) < 1e-6 else 5


def contour_heights(lowest_m: float, highest_m: float, interval_m: float) -> Float:
    """Return the multiples of an interval between two heights; refuses more than `MOST_LINES`."""
    first, last = math.ceil(lowest_m / interval_m), math.floor(highest_m / interval_m)
    if last - first >= MOST_LINES:
        raise InputError(
            f"contours each {interval_m:g} m over a relief of {highest_m - lowest_m:.1f} m are "
            f"{last - first + 1} lines; take a wider interval"
        )
    return np.round(np.arange(first, last + 1) * interval_m, 6)


def smoothed(height: Float) -> Float:
    """Return a surface (rows, cols) smoothed by a Gaussian; NaN stays NaN and weighs nothing."""
    known = np.isfinite(height)
    middle = float(np.median(height[known])) if known.any() else 0.0
    side = 2 * HALO_CELLS + 1
    value, weight = (
        cv2.GaussianBlur(part, (side, side), SMOOTH_CELLS, borderType=cv2.BORDER_CONSTANT)
        for part in (np.where(known, height - middle, 0.0), known.astype(float))
    )
    return np.where(known, value / np.maximum(weight, 1e-9) + middle, np.nan)


def draw_contours(height: Float, heights: Iterable[float], *, row: int, col: int) -> Lines:
    """Return the lines of a smoothed surface, NaN where it is not known.

    The surface is a tile with one row and column of its next neighbours; `row` and `col` are those
    of its first cell.
    """
    from contourpy import LineType, contour_generator

    known = np.isfinite(height)
    if known.sum() < 3:
        return {}
    low, high = float(height[known].min()), float(height[known].max())
    generator = contour_generator(
        x=np.arange(col, col + height.shape[1], dtype=float),
        y=np.arange(row, row + height.shape[0], dtype=float),
        z=np.ma.masked_invalid(height),
        corner_mask=True,
        line_type=LineType.Separate,
    )
    drawn: dict[float, list[Float]] = {}
    for level in map(float, heights):
        if low <= level <= high:
            lines: list[Any] = list(generator.lines(level))
            drawn[level] = [np.round(np.asarray(line, float), DIGITS) for line in lines]
    return drawn


def join_contours(
    tiles: Iterable[Lines], *, x_min: float, y_max: float, cell_m: float, interval_m: float
) -> Contours:
    """Return whole lines in map coordinates from those of tiles.

    ``x_min`` and ``y_max`` are the edges of the grid.
    """
    parts: dict[float, list[Float]] = {}
    for tile in tiles:
        for level, lines in tile.items():
            parts.setdefault(level, []).extend(line for line in lines if len(line) > 1)
    bold = every_bold(interval_m)
    shapes: list[Any] = []
    heights: list[float] = []
    for level in sorted(parts):
        if not parts[level]:
            continue
        joined = shapely.line_merge(
            shapely.multilinestrings([shapely.linestrings(line) for line in parts[level]])
        )
        lines = shapely.get_parts(joined)
        lines = lines[shapely.length(lines) >= LEAST_CELLS]
        lines = shapely.simplify(lines, KEPT_CELLS)
        shapes.extend(lines)
        heights.extend([level] * len(lines))
    steps = np.rint(np.array(heights, float) / interval_m).astype(int)

    def to_map(points: Float) -> Float:
        x = x_min + (points[:, 0] + 0.5) * cell_m
        return np.column_stack([x, y_max - (points[:, 1] + 0.5) * cell_m])

    return Contours(
        shapes=np.asarray(shapely.transform(np.array(shapes, object), to_map)),
        heights=np.array(heights, float),
        index=steps % bold == 0,
    )
