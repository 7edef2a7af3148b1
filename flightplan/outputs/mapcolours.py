"""The rasters of a plan's map as colours: shaded ground, photographs seen, sharpness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flightplan.outputs.drawing import Picture, Pixels, round_step
from flightplan.outputs.mapsheet import MapView
from flightplan.proof.footprints import height_below
from flightplan.proof.prove import Coverage
from flightplan.terrain.terrain import Terrain

Float = NDArray[np.float64]

BELOW = ("#8c0d25", "#e0603f", "#f9c58d")
"""Seen by none; by less than half of what was asked; by less than asked."""
REACHED = ("#e3f1e6", "#b5dcc4", "#7fbfa6")
"""As asked; from one and a half, from two and a half times as often."""
SHARPNESS = ((0.0, "#b5dcc4"), (0.8, "#e3f1e6"), (1.01, "#f9c58d"), (1.2, "#e0603f"),
             (1.6, "#8c0d25"))  # fmt: skip
"""Fraction of the ground sampling distance asked from which each colour holds."""
UNSEEN = "#4a4a4a"
OPACITY = 205
CONTOURS = 9
"""About how many contour lines cross the relief shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LegendEntry:
    """One colour and what it stands for."""

    colour: str
    label: str


def ground_picture(terrain: Terrain, view: MapView) -> tuple[Picture, float]:
    """Return the ground shaded from the north-west with contour lines, and their interval.

    The interval is 0 where the ground is level and there is nothing to draw.

    References
    ----------
    Horn, B. K. P. (1981). Hill shading and the reflectance map. Proceedings of the IEEE 69(1).
    """
    x, y = _pixel_places(view)
    ground = height_below(terrain, np.stack(np.broadcast_arrays(x, y[:, None]), axis=-1))
    south, east = np.gradient(ground, 1 / view.scale)
    cosine = (0.5 * east - 0.5 * -south + np.sqrt(0.5)) / np.sqrt(1 + east**2 + south**2)
    # Level ground is 0.71; the shades are spread about it and kept pale.
    shade = np.clip(0.97 + 0.5 * (cosine - np.sqrt(0.5)), 0.45, 1.0)
    relief = float(np.ptp(ground))
    interval = 0.0
    if relief > 0.5:
        interval = round_step(relief / CONTOURS * 2)
        step = np.floor(ground / interval)
        contour = np.zeros(step.shape, bool)
        contour[:-1] |= step[1:] != step[:-1]
        contour[:, :-1] |= step[:, 1:] != step[:, :-1]
        shade = np.where(contour, shade * 0.72, shade)
    tint = np.array([250, 248, 243])
    pixels = np.full((*ground.shape, 4), 255, np.uint8)
    pixels[..., :3] = np.clip(shade[..., None] * tint, 0, 255)
    return _stretched(pixels, view), interval


def count_picture(
    coverage: Coverage, asked: int, view: MapView
) -> tuple[Picture, list[LegendEntry]]:
    """Return how many photographs see the ground, in classes about what was asked."""
    half = max((asked + 1) // 2, 1)
    starts = [0, 1, half, asked, int(1.5 * asked + 0.5), int(2.5 * asked + 0.5)]
    classes = dict(zip(starts, (*BELOW, *REACHED), strict=True))
    # Where few photographs are asked, classes fall together: the better colour is meant.
    bounds = sorted(classes)
    colours = [classes[start] for start in bounds]
    inside = coverage.count[coverage.inside]
    entries = []
    for start, end, colour in zip(bounds, [*bounds[1:], None], colours, strict=True):
        part = (inside >= start) & (True if end is None else inside < end)
        share = float(part.mean())
        name = f"{start} or more" if end is None else f"{start} to {end - 1}"
        name = name if end != start + 1 else str(start)
        if share:
            entries.append(LegendEntry(colour=colour, label=f"{name} ({_share(share)})"))
    return _classified(coverage, coverage.count, bounds, colours, view), entries


def gsd_picture(
    coverage: Coverage, asked_m: float, view: MapView
) -> tuple[Picture, list[LegendEntry]]:
    """Return the best ground sampling distance in classes about what was asked."""
    bounds = [*(share * asked_m for share, _ in SHARPNESS), np.inf]
    colours = [*(colour for _, colour in SHARPNESS), UNSEEN]
    inside = coverage.gsd_m[coverage.inside]
    entries = []
    for start, end, colour in zip(bounds, [*bounds[1:], np.nan], colours, strict=True):
        part = np.isinf(inside) if np.isinf(start) else (inside >= start) & (inside < end)
        share = float(part.mean())
        name = f"{start * 100:.2f} to {end * 100:.2f} cm"
        if start == 0:
            name = f"up to {end * 100:.2f} cm"
        if np.isinf(end):
            name = f"above {start * 100:.2f} cm"
        if np.isinf(start):
            name = "not seen"
        if share:
            entries.append(LegendEntry(colour=colour, label=f"{name} ({_share(share)})"))
    return _classified(coverage, coverage.gsd_m, bounds, colours, view), entries


def cursor_pixels(coverage: Coverage, longest: int = 420) -> tuple[Pixels, list[float]]:
    """Pack the proof for the page's cursor: an opaque image, and the plan bounds of its cells.

    The upper half holds photographs (red; 255 beyond the area) and the ground sampling distance
    in tenths of a millimetre (green and blue, high byte first); the lower half the height above
    the ground in decimetres in the same two channels.
    """
    each = max(1, -(-max(coverage.grid.shape) // longest))
    inside = coverage.inside[::each, ::each]
    count = np.where(inside, np.minimum(coverage.count[::each, ::each], 254), 255)
    upper = _two_bytes(coverage.gsd_m[::each, ::each] * 1e4)
    lower = _two_bytes(coverage.height_agl_m[::each, ::each] * 10)
    top = np.dstack([count, upper])
    pixels = np.vstack([top, np.dstack([count, lower])]).astype(np.uint8)
    grid, (rows, cols) = coverage.grid, inside.shape
    cell_m = each * grid.cell_m
    west, north = (
        grid.x_min - (each - 1) / 2 * grid.cell_m,
        grid.y_max + (each - 1) / 2 * (grid.cell_m),
    )
    return pixels, [west, north - rows * cell_m, west + cols * cell_m, north]


def _two_bytes(values: NDArray[np.float32]) -> Float:
    whole = np.nan_to_num(values.astype(float), nan=65535, posinf=65535).round().clip(0, 65535)
    return np.stack([whole // 256, whole % 256], axis=-1)


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "under 1%"


def _pixel_places(view: MapView) -> tuple[Float, Float]:
    cols, rows = (max(int(side), 2) for side in view.size)
    x = view.west + (np.arange(cols) + 0.5) * (view.size[0] / cols) / view.scale
    y = view.north - (np.arange(rows) + 0.5) * (view.size[1] / rows) / view.scale
    return x.astype(np.float64), y.astype(np.float64)


def _stretched(pixels: Pixels, view: MapView) -> Picture:
    return Picture(pixels=pixels, x=0, y=0, width=view.size[0], height=view.size[1])


def _classified(
    coverage: Coverage,
    values: NDArray[np.generic],
    bounds: list[int] | list[float],
    colours: list[str],
    view: MapView,
) -> Picture:
    """Colour the pixels of the map by the class of the cell below each."""
    x, y = _pixel_places(view)
    grid = coverage.grid
    col = np.floor((x - grid.x_min) / grid.cell_m).astype(int)
    row = np.floor((grid.y_max - y) / grid.cell_m).astype(int)
    known = ((row >= 0) & (row < grid.rows))[:, None] & ((col >= 0) & (col < grid.cols))
    at = np.ix_(row.clip(0, grid.rows - 1), col.clip(0, grid.cols - 1))
    known &= coverage.inside[at]
    table = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours])
    pixels = np.zeros((*known.shape, 4), np.uint8)
    pixels[..., :3] = table[np.searchsorted(bounds, values[at], side="right") - 1]
    pixels[..., 3] = known * np.uint8(OPACITY)
    return _stretched(pixels, view)
