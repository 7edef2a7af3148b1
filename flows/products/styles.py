"""QGIS styles beside the rasters: a ``.qml`` of the same name is loaded by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from flows.products.band_stack import read_index_products
from flows.products.ramps import ramp_steps
from flows.products.table import PRODUCTS, Kind, Product
from tmp.files import replacing
from tmp.geo.rasters import read_reduced

VIRIDIS = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")
MAGMA = ("#000004", "#3b0f70", "#8c2981", "#de4968", "#fe9f6d", "#fcfdbf")
VIEWS = ("#b2182b", "#ef8a62", "#fddbc7", "#d1e5f0", "#67a9cf", "#2166ac")
MOST_VIEWS = 6
SAMPLE_CELLS = 512


def write_styles(products_dir: Path) -> list[Path]:
    """Write a style beside every raster product that is there; returns their paths."""
    written = []
    for product in (*PRODUCTS, *read_index_products(products_dir)):
        raster = products_dir / product.file
        renderer = _renderer(raster, product) if raster.exists() else ""
        if renderer:
            path = raster.with_suffix(".qml")
            with replacing(path) as temporary:
                temporary.write_text(_document(renderer), encoding="utf-8")
            written.append(path)
    return written


def _renderer(raster: Path, product: Product) -> str:
    """Return the element that draws a raster; empty for what QGIS draws well by itself."""
    match product.kind:
        case Kind.PICTURE:
            return (
                '<rasterrenderer type="multibandcolor" redBand="1" greenBand="2" blueBand="3" '
                'alphaBand="4" opacity="1"/>'
            )
        case Kind.HEIGHT:
            return _ramp(VIRIDIS, np.linspace(*_range(raster), len(VIRIDIS)), product.unit)
        case Kind.DOUBT:
            return _ramp(MAGMA, np.linspace(0.0, _range(raster)[1], len(MAGMA)), product.unit)
        case Kind.COUNT:
            return _ramp(VIEWS, np.linspace(1, MOST_VIEWS, len(VIEWS)), product.unit)
        case Kind.SHARE:
            return _ramp(VIRIDIS, np.linspace(0.0, 1.0, len(VIRIDIS)), product.unit)
        case Kind.INDEX:  # fixed ends, so that colours compare from date to date
            return _ramp(*ramp_steps(product.ramp, product.shown), product.unit)
        case Kind.CLASS:
            return _classes(product)
    return ""


def _classes(product: Product) -> str:
    """Return a renderer with a name and a colour for each class, half transparent."""
    items = "".join(
        f'<paletteEntry value="{one.value}" color="{one.colour}" alpha="255" '
        f'label="{escape(one.name)}"/>'
        for one in product.classes
    )
    return (
        f'<rasterrenderer type="paletted" band="1" opacity="0.5">'
        f"<colorPalette>{items}</colorPalette></rasterrenderer>"
    )


def _range(raster: Path) -> tuple[float, float]:
    """Return the 2nd and 98th percentile of a raster's values."""
    values, _ = read_reduced(raster, SAMPLE_CELLS)
    known = values.compressed()
    if len(known) == 0:
        return 0.0, 1.0
    low, high = np.percentile(known, [2, 98])
    return float(low), float(max(high, low + 1e-3))


def _ramp(colours: Sequence[str], values: NDArray[np.float64], unit: str) -> str:
    suffix = f" {unit}" if unit else ""
    items = "".join(
        f'<item alpha="255" color="{colour}" value="{value:.6g}" '
        f'label="{escape(f"{value:.3g}{suffix}")}"/>'
        for colour, value in zip(colours, values, strict=True)
    )
    low, high = f"{values[0]:.6g}", f"{values[-1]:.6g}"
    return (
        f'<rasterrenderer type="singlebandpseudocolor" band="1" opacity="1" '
        f'classificationMin="{low}" classificationMax="{high}"><rastershader>'
        f'<colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0" '
        f'minimumValue="{low}" maximumValue="{high}">{items}</colorrampshader>'
        "</rastershader></rasterrenderer>"
    )


def _document(renderer: str) -> str:
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        '<qgis version="3.16" styleCategories="Symbology"><pipe>'
        f"{renderer}</pipe></qgis>\n"
    )
