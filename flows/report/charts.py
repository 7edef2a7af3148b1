"""Small charts as inline SVG: maps with a scale bar, histograms, curves."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tmp.geo.grids import Grid

Float = NDArray[np.float64]

MAP_WIDTH = 860.0
"""Width of a map in SVG units."""
TALLEST_MAP = 820.0
CHART_WIDTH, CHART_HEIGHT = 420.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 28.0, 40.0
"""Margins of a chart round its axes."""


def data_uri(content: bytes, media_type: str) -> str:
    """Return bytes as a ``data:`` URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def round_length(longest: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is not above `longest`.

    Examples
    --------
    >>> round_length(37.0), round_length(0.9)
    (20.0, 0.5)
    """
    power = 10.0 ** math.floor(math.log10(longest))
    return max(step * power for step in (1.0, 2.0, 5.0) if step * power <= longest * (1 + 1e-9))


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSheet:
    """A map drawn on a grid: SVG coordinates from map coordinates."""

    grid: Grid

    @property
    def scale(self) -> float:
        """SVG units per metre."""
        west, south, east, north = self.grid.bounds
        return min(MAP_WIDTH / (east - west), TALLEST_MAP / (north - south))

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in SVG units."""
        west, south, east, north = self.grid.bounds
        return (east - west) * self.scale, (north - south) * self.scale

    def place(self, points: ArrayLike) -> Float:
        """Return SVG coordinates (N, 2) of map points (N, 2 or more)."""
        points = np.atleast_2d(np.asarray(points, float))
        return np.column_stack(
            [
                (points[:, 0] - self.grid.x_min) * self.scale,
                (self.grid.y_max - points[:, 1]) * self.scale,
            ]
        )

    def svg(self, picture_uri: str, title: str, overlay: Sequence[str] = ()) -> str:
        """Return the map: a picture that fills the grid, marks on it, scale bar and north.

        Parameters
        ----------
        picture_uri : str
            A ``data:`` URI.
        title : str
            Read aloud in place of the picture.
        overlay : sequence of str
            SVG elements in this sheet's coordinates.
        """
        width, height = self.size
        smooth = "auto" if self.grid.cols > MAP_WIDTH / 4 else "pixelated"
        return "".join(
            [
                f'<svg class="map" viewBox="0 0 {width:.1f} {height:.1f}" '
                f'style="max-width:{width:.0f}px" '
                f'role="img" aria-label="{escape(title)}">',
                f'<image href="{picture_uri}" width="{width:.1f}" height="{height:.1f}" '
                f'preserveAspectRatio="none" style="image-rendering:{smooth}"/>',
                *overlay,
                self._scale_bar(),
                self._north(),
                "</svg>",
            ]
        )

    def _north(self) -> str:
        if self.grid.crs is None:
            return ""
        return (
            f'<g transform="translate({self.size[0] - 26:.1f} 34)"><path class="north" '
            'd="M0 -22 L8 10 L0 4 L-8 10 Z"/><text class="halo" y="24" '
            'text-anchor="middle">N</text></g>'
        )

    def _scale_bar(self) -> str:
        width, height = self.size
        length_m = round_length(width / self.scale / 4)
        length = length_m * self.scale
        # Without positions the scale is arbitrary, and metres would be a lie.
        label = f"{length_m:g} {'units' if self.grid.crs is None else 'm'}"
        return (
            f'<g transform="translate(14 {height - 14:.1f})">'
            f'<path class="bar-halo" d="M0 -7 V0 H{length:.1f} V-7"/>'
            f'<path class="bar" d="M0 -7 V0 H{length:.1f} V-7"/>'
            f'<text class="halo" y="-10">{label}</text>'
            "</g>"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line of a chart."""

    x: Float
    y: Float
    label: str
    css: str
    """Class that gives its colour and dashes."""


def curves(lines: Sequence[Curve], x_label: str, y_label: str) -> str:
    """Return a line chart."""
    x_low, x_high = _span(np.concatenate([line.x for line in lines]))
    y_low, y_high = _span(np.concatenate([line.y for line in lines] + [np.zeros(1)]))
    axes = _Axes(x_low=x_low, x_high=x_high, y_low=y_low, y_high=y_high)
    parts = [axes.frame(x_label, y_label)]
    for i, line in enumerate(lines):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in axes.place(line.x, line.y))
        parts.append(f'<polyline class="{line.css}" points="{points}"/>')
        x = LEFT + 10 + 130 * i
        parts.append(
            f'<path class="{line.css}" d="M{x} 12 h22"/>'
            f'<text x="{x + 28}" y="16">{escape(line.label)}</text>'
        )
    return _chart(parts, f"{y_label} over {x_label}")


def histogram(values: ArrayLike, edges: Float, x_label: str, y_label: str) -> str:
    """Return a histogram as shares of all values, those beyond the last edge in the last bin."""
    values = np.asarray(values, float)
    counts, _ = np.histogram(np.minimum(values, edges[-1] - 1e-9), edges)
    shares = 100 * counts / max(len(values), 1)
    axes = _Axes(
        x_low=float(edges[0]), x_high=float(edges[-1]), y_low=0.0, y_high=float(shares.max()) or 1.0
    )
    parts = [axes.frame(x_label, y_label)]
    for left, right, share in zip(edges[:-1], edges[1:], shares, strict=True):
        (x0, y0), (x1, y1) = axes.place(np.array([left, right]), np.array([share, 0.0]))
        parts.append(
            f'<rect class="column" x="{x0 + 0.5:.1f}" y="{y0:.1f}" '
            f'width="{max(x1 - x0 - 1, 0.5):.1f}" height="{y1 - y0:.1f}"/>'
        )
    return _chart(parts, f"histogram of {x_label}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axes:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def place(self, x: Float, y: Float) -> Float:
        width, height = CHART_WIDTH - LEFT - RIGHT, CHART_HEIGHT - TOP - BOTTOM
        return np.column_stack(
            [
                LEFT + (x - self.x_low) / (self.x_high - self.x_low) * width,
                TOP + (self.y_high - y) / (self.y_high - self.y_low) * height,
            ]
        )

    def frame(self, x_label: str, y_label: str) -> str:
        """Return grid lines, tick labels and axis titles."""
        parts = []
        for value in ticks(self.x_low, self.x_high):
            ((x, y),) = self.place(np.array([value]), np.array([self.y_low]))
            parts.append(
                f'<text x="{x:.1f}" y="{y + 15:.1f}" text-anchor="middle">{value:g}</text>'
            )
        for value in ticks(self.y_low, self.y_high):
            ((x, y),) = self.place(np.array([self.x_low]), np.array([value]))
            parts.append(
                f'<path class="grid" d="M{x:.1f} {y:.1f} H{CHART_WIDTH - RIGHT}"/>'
                f'<text x="{x - 5:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
            )
        middle = (TOP + CHART_HEIGHT - BOTTOM) / 2
        parts.append(
            f'<text x="{(LEFT + CHART_WIDTH - RIGHT) / 2}" y="{CHART_HEIGHT - 6}" '
            f'text-anchor="middle">{escape(x_label)}</text>'
            f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">'
            f"{escape(y_label)}</text>"
        )
        return "".join(parts)


def _chart(parts: Sequence[str], title: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {CHART_WIDTH:.0f} {CHART_HEIGHT:.0f}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _span(values: Float) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def ticks(low: float, high: float) -> list[float]:
    """Return round values from `low` to `high` for an axis.

    Examples
    --------
    >>> ticks(-0.2, 1.0)
    [-0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    step = round_length((high - low) / 4)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) + 0.0 for k in range(first, math.floor(high / step + 1e-9) + 1)]
