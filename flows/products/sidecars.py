"""Sidecar files of the products: QGIS styles, and a static STAC 1.1 catalogue readable offline.

QGIS loads a ``.qml`` of a raster's name by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pystac
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry import box, mapping

from flows.products.band_stack import read_index_products
from flows.products.table import DSM, ORTHOMOSAIC, PRODUCTS, Kind, Product
from tmp.captures import Capture
from tmp.files import replacing, write_json
from tmp.geo.rasters import read_grid, read_reduced
from tmp.plotting import OVERLAPS, ramp_steps
from tmp.survey import Settings, Survey

MOST_VIEWS = 6
SAMPLE_CELLS = 512
EXTENSIONS = (
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
)
ITEM_FILE = "item.json"
SHA2_256 = bytes([0x12, 0x20])
"""Multihash prefix: SHA2-256, 32 bytes."""


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


def write_catalog(survey: Survey, settings: Settings, captures: Sequence[Capture]) -> Path:
    """Write ``catalog.json`` and ``products/item.json``; returns the catalogue's path.

    The captures say when the survey was made.  One without positions has an item without geometry,
    which STAC allows.
    """
    catalog = pystac.Catalog(
        id=_identifier(settings.name),
        title=settings.name,
        description=f"Products of the survey {settings.name}.",
    )
    item = _item(survey, settings, captures)
    item_path = survey.products_dir / ITEM_FILE
    item.set_self_href(str(item_path))
    catalog.set_self_href(str(survey.catalog_path))
    # Links are written by hand: pystac would lay the files out in folders of its own.
    described = catalog.to_dict(include_self_link=False, transform_hrefs=False)
    described["links"] = [
        {"rel": "root", "href": "./catalog.json", "type": "application/json"},
        {
            "rel": "item",
            "href": f"./{survey.products_dir.name}/{ITEM_FILE}",
            "type": "application/geo+json",
        },
    ]
    item_described = item.to_dict(include_self_link=False, transform_hrefs=False)
    item_described["links"] = [
        {"rel": rel, "href": "../catalog.json", "type": "application/json"}
        for rel in ("root", "parent")
    ]
    for path, document in ((item_path, item_described), (survey.catalog_path, described)):
        write_json(path, document, indent=2)
    return survey.catalog_path


def _item(survey: Survey, settings: Settings, captures: Sequence[Capture]) -> pystac.Item:
    times = sorted(capture.time_utc for capture in captures if capture.time_utc is not None)
    geometry, bbox = _footprint(survey)
    # STAC wants one time, or a start and an end; without any, the time of writing is said to be so.
    item = pystac.Item(
        id=_identifier(settings.name),
        geometry=geometry,
        bbox=bbox,
        datetime=None if times else datetime.now(UTC),
        start_datetime=times[0] if times else None,
        end_datetime=times[-1] if times else None,
        properties={"title": settings.name}
        | ({} if times else {"description": "Time unknown; datetime is that of the catalogue."}),
        stac_extensions=list(EXTENSIONS),
    )
    for product in (*PRODUCTS, *read_index_products(survey.products_dir)):
        path = survey.products_dir / product.file
        if path.exists():
            item.add_asset(path.stem, _asset(path, product))
    return item


def _asset(path: Path, product: Product) -> pystac.Asset:
    fields: dict[str, Any] = {
        "file:size": path.stat().st_size,
        "file:checksum": multihash(path),
    }
    if product.kind is not Kind.CLOUD:
        fields |= _raster_fields(path, product)
    fields |= {f"tmp:{topic.replace(' ', '_')}": said for topic, said in product.told.items()}
    return pystac.Asset(
        href=f"./{path.name}",
        title=product.title,
        description=product.purpose,
        media_type=product.media_type,
        roles=["visual"] if product.kind is Kind.PICTURE else ["data"],
        extra_fields=fields,
    )


def _raster_fields(path: Path, product: Product) -> dict[str, Any]:
    with rasterio.open(path) as file:
        bands = []
        names = product.bands or file.descriptions
        for name, dtype in zip(names, file.dtypes, strict=True):
            band: dict[str, Any] = {"name": name, "data_type": dtype}
            band |= {} if file.nodata is None else {"nodata": file.nodata}
            bands.append(band | ({"unit": product.unit} if product.unit else {}))
        fields: dict[str, Any] = {
            "bands": bands,
            "gsd": file.transform.a,
            "proj:shape": [file.height, file.width],
            "proj:transform": list(file.transform)[:6],
        }
        if file.crs:
            fields["proj:code"] = file.crs.to_string()
    return fields


def _footprint(survey: Survey) -> tuple[dict[str, Any] | None, list[float] | None]:
    """Return the products' rectangle in longitude and latitude, or nothing without a place."""
    for product in (ORTHOMOSAIC, DSM):
        path = survey.products_dir / product.file
        if path.exists() and (grid := read_grid(path)).crs is not None:
            to_wgs84 = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform
            polygon = shapely.transform(
                box(*grid.bounds).segmentize(100.0), to_wgs84, interleaved=False
            )
            return mapping(polygon), [float(np.round(value, 8)) for value in polygon.bounds]
    return None, None


def multihash(path: Path) -> str:
    """Return a file's SHA-256 as a multihash in hexadecimal, as the file extension wants it."""
    with path.open("rb") as file:
        return (SHA2_256 + hashlib.file_digest(file, "sha256").digest()).hex()


def _identifier(name: str) -> str:
    """Return a name as an identifier that is safe in paths and links."""
    safe = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    return "-".join(part for part in safe.split("-") if part) or "survey"
