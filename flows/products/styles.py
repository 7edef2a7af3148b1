"""QGIS styles beside the rasters: a ``.qml`` of the same name is loaded by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from flows.products.band_stack import read_index_products
from flows.products.table import PRODUCTS, Kind, Product
from tmp.files import replacing
from tmp.geo.rasters import read_reduced
from tmp.plotting import OVERLAPS, ramp_steps

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
            return _ramp(*ramp_steps("plain", _range(raster)), product.unit)
        case Kind.DOUBT:
            return _ramp(*ramp_steps("doubt", (0.0, _range(raster)[1])), product.unit)
        case Kind.COUNT:
            return _ramp(OVERLAPS, np.linspace(1, MOST_VIEWS, len(OVERLAPS)), product.unit)
        case Kind.SHARE:
            return _ramp(*ramp_steps("plain", (0.0, 1.0)), product.unit)
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
