"""The layers of the viewer: which products they show, in which colours, and their pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window

from flows.products.band_stack import products_by_group
from flows.products.colours import (
    RAMPS,
    colour_values,
    doubt_stops,
    ramp_steps,
    relief_stops,
    say_stops,
)
from flows.products.sidecars import sample_values
from flows.products.table import Kind, Product
from tmp.geo.grids import Grid
from tmp.geo.rasters import read_grid
from tmp.plotting import Float, Pixels, css_rgb


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A product as the viewer shows it."""

    product: Product
    group: str
    path: Path
    grid: Grid
    stops: Float
    """Values that the colours stand for; empty for pictures, classes and counts."""

    def legend(self) -> list[tuple[str, str]]:
        """Return colours and what they stand for, the lowest first; none for a picture."""
        product = self.product
        if product.classes:
            return [(one.colour, one.name) for one in product.classes]
        if not len(self.stops):
            return []
        unit = product.unit_in(self.grid.crs)
        colours = RAMPS.get(_ramp(product), RAMPS["plain"])
        said = say_stops(self.stops)
        return [
            (colour, f"{text} {unit}".strip()) for colour, text in zip(colours, said, strict=True)
        ]

    def draw(self, window: Grid) -> Pixels | None:
        """Return the layer over any grid in its CRS as colours (rows, cols, 4); None if empty."""
        values, known = self._read(window)
        if not known.any():
            return None
        product = self.product
        if product.kind is Kind.PICTURE:
            return np.where(known[..., None], np.moveaxis(values, 0, 2), 0).astype(np.uint8)
        if product.classes:
            rgb, shown = _classes(values[0], product)
            known = known & shown
        else:
            cells = np.where(known, values[0], np.nan).astype(np.float32)
            rgb = colour_values(cells, self.stops, _ramp(product))
        return np.dstack([rgb, np.where(known, 255, 0).astype(np.uint8)])

    def _read(self, window: Grid) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the values over a grid (bands, rows, cols), and where there are any."""
        size, grid = window.cell_m, self.grid
        x_min, y_min, x_max, y_max = grid.bounds
        # Whole cells of the window that lie within; a hair of tolerance for edges that coincide.
        col0 = max(0, int(np.ceil((x_min - window.x_min) / size - 0.01)))
        row0 = max(0, int(np.ceil((window.y_max - y_max) / size - 0.01)))
        col1 = min(window.cols, int(np.floor((x_max - window.x_min) / size + 0.01)))
        row1 = min(window.rows, int(np.floor((window.y_max - y_min) / size + 0.01)))
        known = np.zeros(window.shape, np.bool_)
        bands = 4 if self.product.kind is Kind.PICTURE else 1
        values = np.zeros((bands, *window.shape), np.float32 if bands == 1 else np.uint8)
        if col1 <= col0 or row1 <= row0:
            return values, known
        times = size / grid.cell_m
        part = Window(
            (window.x_min + col0 * size - x_min) / grid.cell_m,
            (y_max - window.y_max + row0 * size) / grid.cell_m,
            (col1 - col0) * times,
            (row1 - row0) * times,
        )
        within = np.s_[row0:row1, col0:col1]
        with rasterio.Env(GDAL_CACHEMAX=2**24), rasterio.open(self.path, driver="GTiff") as file:
            found = file.read(
                indexes=list(range(1, bands + 1)),
                window=part,
                out_shape=(bands, row1 - row0, col1 - col0),
                resampling=self._resampling(times),
                masked=bands == 1,
            )
        if bands == 4:
            values[(slice(None), *within)] = found
            known[within] = found[3] > 0
        else:
            filled = np.ma.filled(found.astype(np.float32), np.nan)
            values[(slice(None), *within)] = filled
            known[within] = np.isfinite(filled[0])
        return values, known

    def _resampling(self, times: float) -> Resampling:
        if self.product.classes:
            return Resampling.nearest
        return Resampling.average if times > 1.5 else Resampling.bilinear


def find_layers(products_dir: Path) -> list[Layer]:
    """Return the layers of the products that are there, in the order they are listed."""
    layers = []
    for group, products in products_by_group(products_dir).items():
        for product in products:
            path = products_dir / product.file
            if path.exists():
                stops = _stops(path, product)
                grid = read_grid(path)
                layers.append(
                    Layer(product=product, group=group, path=path, grid=grid, stops=stops)
                )
    return layers


def _stops(path: Path, product: Product) -> Float:
    """Return the values that a product's colours stand for, as its style for QGIS has them."""
    match product.kind:
        case Kind.HEIGHT:
            return relief_stops(sample_values(path))
        case Kind.DOUBT:
            return doubt_stops(sample_values(path))
        case Kind.SHARE:
            return ramp_steps("plain", (0.0, 1.0))[1]
        case Kind.INDEX:
            return ramp_steps(product.ramp, product.shown)[1]
        case Kind.FIXED:
            return np.array(product.steps)
    return np.zeros(0)


def _ramp(product: Product) -> str:
    return product.ramp or ("doubt" if product.kind is Kind.DOUBT else "plain")


def _classes(values: NDArray[Any], product: Product) -> tuple[Pixels, NDArray[np.bool_]]:
    """Return the colours (rows, cols, 3) of classes, or counts, and which of them have one."""
    rgb = np.zeros((*values.shape, 3), np.uint8)
    shown = np.zeros(values.shape, np.bool_)
    counts = product.kind is Kind.COUNT
    for one in product.classes:
        of_it = values >= one.value if counts else values == one.value
        rgb[of_it], shown = css_rgb(one.colour), shown | of_it
    return rgb, shown
