"""How a raster's values become colours: its own QGIS style, a stretch to its values, and light."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse
from numpy.typing import NDArray

from tmp.plotting import css_rgb

Float32 = NDArray[np.float32]
Pixels = NDArray[np.uint8]

STRETCHED = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")
"""Colours, matplotlib's viridis, of a raster without a style."""
PERCENTILES = (2.0, 98.0)
"""Values between which a raster without a style is stretched."""
LEVEL = 0.55
"""Least brightness of level ground, however low the light."""
DARKEST = 0.35
"""Of a coloured surface's colours, where no light falls on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """Where a surface is lit from."""

    azimuth_deg: float = 315.0
    """Clockwise from north."""
    elevation_deg: float = 35.0
    """Above the horizon; low light shows low walls."""
    exaggeration: float = 1.0
    """By how much heights are drawn out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """Colours and the values they stand for."""

    values: tuple[float, ...]
    """Rising; of steps the upper end of each, the last one infinite."""
    colours: tuple[str, ...]
    """``#rrggbb`` of each value."""
    labels: tuple[str, ...]
    kind: str = "ramp"
    """``ramp``: mixed between values; ``steps``: one colour up to each value; ``classes``: of these
    very values, and nothing elsewhere."""

    def draw(self, values: Float32) -> Pixels:
        """Return red, green, blue and alpha (rows, cols, 4) of values (rows, cols), NaN as none."""
        known = np.isfinite(values)
        filled = np.where(known, values, self.values[0])
        table = np.array([css_rgb(colour) for colour in self.colours], np.float64)
        pixels = np.zeros((*values.shape, 4), np.uint8)
        if self.kind == "ramp":
            for band in range(3):
                pixels[..., band] = np.interp(filled, self.values, table[:, band]) + 0.5
        else:
            at = np.searchsorted(np.array(self.values), filled)
            at = np.minimum(at, len(table) - 1)
            pixels[..., :3] = table[at]
            if self.kind == "classes":
                known &= np.array(self.values)[at] == filled
        pixels[..., 3] = np.where(known, 255, 0)
        return pixels


def read_style(raster: Path) -> Style | None:
    """Return the style in the ``.qml`` beside a raster, also one that people changed in QGIS.

    None where there is none, or one that has no colours for values of one band.
    """
    try:
        root = parse(raster.with_suffix(".qml")).getroot()
    except (OSError, ParseError, DefusedXmlException):
        return None
    shader = root.find(".//colorrampshader")
    if shader is not None:
        kind = "steps" if shader.get("colorRampType") == "DISCRETE" else "ramp"
        return _style_of(list(shader.iter("item")), kind)
    return _style_of(list(root.iter("paletteEntry")), "classes")


def _style_of(items: list[Element], kind: str) -> Style | None:
    try:
        rows = sorted(
            (float(item.attrib["value"]), item.attrib["color"], item.get("label", ""))
            for item in items
        )
        _ = [css_rgb(colour) for _, colour, _ in rows]
    except (KeyError, ValueError):
        return None
    if not rows:
        return None
    values, colours, labels = zip(*rows, strict=True)
    return Style(values=values, colours=colours, labels=labels, kind=kind)


def stretched(
    values: NDArray[np.floating[Any]], unit: str = "", colours: tuple[str, ...] = STRETCHED
) -> Style:
    """Return a ramp from the 2nd to the 98th percentile of values, NaN left out.

    Examples
    --------
    >>> stretched(np.arange(101.0), "m").labels[0]
    '2 m'
    """
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, PERCENTILES) if known.size else (0.0, 1.0)
    if high - low < 1e-6 * max(1.0, abs(low)):
        high = low + 1.0
    steps = np.linspace(low, high, len(colours))
    digits = max(0, 1 - math.floor(math.log10(steps[1] - steps[0])))
    labels = tuple(f"{step:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{step:.0f}"
                   for step in steps)  # fmt: skip
    return Style(
        values=tuple(map(float, steps)),
        colours=colours,
        labels=tuple(f"{label} {unit}".strip() for label in labels),
    )


def shade(height: Float32, cell_m: float, light: Light) -> Float32:
    """Return how bright a surface is, 0 to 1, without its outermost cells.

    Parameters
    ----------
    height : ndarray of shape (rows + 2, cols + 2)
        Metres, first row in the north; NaN where it is not known.
    cell_m : float
    light : Light

    Returns
    -------
    ndarray of shape (rows, cols)
        NaN where the height or one of its neighbours is not known.

    References
    ----------
    Horn, B. K. P. (1981). Hill shading and the reflectance map. Proceedings of the IEEE 69(1).
    """
    z = height * light.exaggeration
    across = z[:, 2:] - z[:, :-2]
    down = z[2:] - z[:-2]
    east = (across[:-2] + 2 * across[1:-1] + across[2:]) / (8 * cell_m)
    north = -(down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]) / (8 * cell_m)
    azimuth, elevation = math.radians(light.azimuth_deg), math.radians(light.elevation_deg)
    level = math.cos(elevation)
    toward = (level * math.sin(azimuth), level * math.cos(azimuth), math.sin(elevation))
    cosine = (toward[2] - east * toward[0] - north * toward[1]) / np.sqrt(1 + east**2 + north**2)
    return np.asarray(np.clip(cosine, 0, 1), np.float32)


def lit(colours: Pixels | None, brightness: Float32, light: Light) -> Pixels:
    """Return colours (rows, cols, 4) as light falls on them; without colours, grey.

    Level ground is never darker than `LEVEL`, so that low light makes walls stand out and not the
    map dark.
    """
    known = np.isfinite(brightness)
    level = min(max(math.sin(math.radians(light.elevation_deg)), 0.02), 0.9999)
    lifted = max(LEVEL, level)
    bright = np.where(known, brightness, 0) ** (math.log(lifted) / math.log(level))
    if colours is None:
        grey = (255 * bright + 0.5).astype(np.uint8)
        return np.stack([grey, grey, grey, np.where(known, 255, 0).astype(np.uint8)], axis=-1)
    factor = DARKEST + (1 - DARKEST) * np.clip(bright / lifted, 0, 1.5)
    factor[~known] = 1.0  # the edge of what is measured has no slope, and keeps its colour
    drawn = colours.copy()
    drawn[..., :3] = np.clip(colours[..., :3] * factor[..., None], 0, 255)
    return drawn
