"""Sidecar files of the products: QGIS styles, and a static STAC 1.1 catalogue readable offline.

QGIS loads a ``.qml`` of a raster's name by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
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
from flows.products.colours import (
    NO_VALUE,
    RAMPS,
    doubt_stops,
    ramp_steps,
    relief_stops,
    say_stops,
)
from flows.products.table import (
    CONTOURS,
    DSM,
    ON_REQUEST,
    ORTHOMOSAIC,
    PRODUCTS,
    VIEWER,
    VIEWER_PAGE,
    Kind,
    Product,
    requested_models,
)
from tmp.captures import Capture
from tmp.files import replacing, write_json
from tmp.geo.rasters import read_grid, read_reduced
from tmp.plotting import css_rgb
from tmp.survey import Settings, Survey

SAMPLE_CELLS = 512
EXTENSIONS = (
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
)
ITEM_FILE = "item.json"
PROJECT = "survey.qgs"
"""QGIS project of the products, in the survey's folder."""
PREFIX = "tmp:"
"""Of properties that no extension of STAC knows."""
SHA2_256 = bytes([0x12, 0x20])
"""Multihash prefix: SHA2-256, 32 bytes."""


def listed_products(products_dir: Path) -> list[Product]:
    """Return the products that catalogue and report know of; not all need be there."""
    indices, models = read_index_products(products_dir), requested_models(products_dir)
    return [*PRODUCTS, *ON_REQUEST, *indices, *models]


def write_styles(products_dir: Path) -> list[Path]:
    """Write a style beside every raster and every lines that are there; returns their paths."""
    written = []
    for product in listed_products(products_dir):
        raster = products_dir / product.file
        if not raster.exists():
            continue
        document = ""
        if product.kind is Kind.LINES:
            document = _document(line_renderer(), "{}")
        elif renderer := renderer_of(raster, product):
            document = _document(renderer)
        if document:
            path = raster.with_suffix(".qml")
            with replacing(path) as temporary:
                temporary.write_text(document, encoding="utf-8")
            written.append(path)
    return written


def renderer_of(raster: Path, product: Product) -> str:
    """Return the element that draws a raster; empty for what QGIS draws well by itself."""
    unit = product.unit_in(read_grid(raster).crs) if product.unit else ""
    match product.kind:
        case Kind.PICTURE:
            return (
                '<rasterrenderer type="multibandcolor" redBand="1" greenBand="2" blueBand="3" '
                'alphaBand="4" opacity="1"/>'
            )
        case Kind.HEIGHT:
            values = sample_values(raster)
            return _ramp(RAMPS["plain"], relief_stops(values), unit)
        case Kind.DOUBT:
            return _ramp(RAMPS["doubt"], doubt_stops(sample_values(raster)), unit, nodata=NO_VALUE)
        case Kind.COUNT:
            return _counts(product)
        case Kind.SHARE:
            return _ramp(*ramp_steps("plain", (0.0, 1.0)), unit)
        case Kind.INDEX:  # fixed ends, so that colours compare from date to date
            return _ramp(*ramp_steps(product.ramp, product.shown), unit)
        case Kind.CLASS:
            return _classes(product)
        case Kind.FIXED:
            return _ramp(RAMPS[product.ramp], np.array(product.steps), unit)
    return ""


def line_renderer() -> str:
    """Return the element that draws contours: thin lines, and bold ones where they are marked."""
    symbols = "".join(
        f'<symbol type="line" name="{marked}" alpha="1"><layer class="SimpleLine" enabled="1">'
        f'<prop k="line_color" v="122,72,20,255"/><prop k="line_width" v="{width}"/>'
        '<prop k="line_width_unit" v="MM"/></layer></symbol>'
        for marked, width in ((0, 0.15), (1, 0.4))
    )
    categories = "".join(
        f'<category render="true" symbol="{marked}" value="{marked}" label="{said}"/>'
        for marked, said in ((0, CONTOURS.title.lower()), (1, "bold ones"))
    )
    return (
        '<renderer-v2 type="categorizedSymbol" attr="index">'
        f"<categories>{categories}</categories><symbols>{symbols}</symbols></renderer-v2>"
    )


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


def _counts(product: Product) -> str:
    """Return a renderer with a colour for each number of photographs, and none in between."""
    classes = product.classes
    ends = [*(str(one.value) for one in classes[:-1]), "inf"]
    items = [(one.colour, end, one.name) for one, end in zip(classes, ends, strict=True)]
    return _shader(items, (classes[0].value, classes[-1].value), "DISCRETE", NO_VALUE)


def sample_values(raster: Path) -> NDArray[np.floating[Any]]:
    """Return values of a raster, enough to choose colours by, NaN where there is none."""
    values, _ = read_reduced(raster, SAMPLE_CELLS)
    return np.ma.filled(values.astype(np.float32), np.nan)


def _ramp(
    colours: Sequence[str], values: NDArray[np.float64], unit: str, *, nodata: str = ""
) -> str:
    suffix = f" {unit}" if unit else ""
    labels = (f"{said}{suffix}" for said in say_stops(values))
    values = np.round(values, 9) + 0.0  # what is a hair off 0 is 0
    items = zip(colours, values, labels, strict=True)
    return _shader(items, (values[0], values[-1]), "INTERPOLATED", nodata)


def _shader(
    items: Iterable[tuple[str, float | str, str]], ends: tuple[float, float], kind: str, nodata: str
) -> str:
    """Return a renderer of one band by colours, the values they stand for, and labels."""
    drawn = "".join(
        f'<item alpha="255" color="{colour}" value="{value}" label="{escape(label)}"/>'
        for colour, value, label in items
    )
    low, high = (f"{end:.9g}" for end in ends)
    blank = f' nodataColor="{",".join(map(str, css_rgb(nodata)))},255"' if nodata else ""
    return (
        f'<rasterrenderer type="singlebandpseudocolor" band="1" opacity="1"{blank} '
        f'classificationMin="{low}" classificationMax="{high}"><rastershader>'
        f'<colorrampshader colorRampType="{kind}" classificationMode="1" clip="0" '
        f'minimumValue="{low}" maximumValue="{high}">{drawn}</colorrampshader>'
        "</rastershader></rasterrenderer>"
    )


def _document(renderer: str, within: str = "<pipe>{}</pipe>") -> str:
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        f'<qgis version="3.16" styleCategories="Symbology">{within.format(renderer)}</qgis>\n'
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
    for product in listed_products(survey.products_dir):
        path = survey.products_dir / product.file
        if path.exists():
            item.add_asset(product.name.replace("/", "_"), _asset(path, product))
    for key, extra in _extras(survey).items():
        item.add_asset(key, extra)
    item.properties |= _quality(survey)
    return item


def _quality(survey: Survey) -> dict[str, Any]:
    """Return how the map came out, of ``quality.json``: single figures, known ones only."""
    if not survey.quality_path.exists():
        return {}
    found = {
        f"{PREFIX}{key}": value
        for key, value in survey.quality.items()
        if isinstance(value, str | int | float) and key != "format"
    }
    gsd_m = survey.quality.get("gsd_m")
    return found | ({} if gsd_m is None else {"gsd": gsd_m})


def _extras(survey: Survey) -> dict[str, pystac.Asset]:
    """Return what is there beside rasters and cloud."""
    products, colmap = survey.products_dir, survey.products_dir / "colmap"
    known = {
        "thumbnail": (products / "thumbnail.jpg", "The map, small", pystac.MediaType.JPEG),
        "report": (survey.report_path, "The report", pystac.MediaType.HTML),
        "viewer": (products / VIEWER / VIEWER_PAGE, "The map in a browser", pystac.MediaType.HTML),
        "quality": (survey.quality_path, "Every figure of the report", pystac.MediaType.JSON),
        "project": (survey.folder / PROJECT, "QGIS project of the rasters", "application/x-qgis"),
        "photographs": (survey.gpkg_path, "The photographs", pystac.MediaType.GEOPACKAGE),
        "cameras": (products / "cameras.geojson", "Camera poses", pystac.MediaType.GEOJSON),
        "cameras-opk": (products / "cameras.csv", "Camera poses, omega phi kappa", "text/csv"),
        "colmap-cameras": (colmap / "cameras.txt", "Lenses for COLMAP", "text/plain"),
        "colmap-images": (colmap / "images.txt", "Camera poses for COLMAP", "text/plain"),
        "colmap-points": (colmap / "points3D.txt", "Tie points for COLMAP", "text/plain"),
    }
    roles = {
        "thumbnail": "thumbnail",
        "report": "overview",
        "viewer": "overview",
        "quality": "metadata",
    }
    return {
        key: pystac.Asset(
            href=_relative(path, products),
            title=title,
            media_type=media_type,
            roles=[roles.get(key, "data")],
            extra_fields=_file_fields(path),
        )
        for key, (path, title, media_type) in known.items()
        if path.exists()
    }


def _relative(path: Path, folder: Path) -> str:
    """Return a link from a folder to what lies in it, or beside it."""
    within = path.is_relative_to(folder)
    return f"./{path.relative_to(folder).as_posix()}" if within else f"../{path.name}"


def _file_fields(path: Path) -> dict[str, Any]:
    return {"file:size": path.stat().st_size, "file:checksum": multihash(path)}


def _asset(path: Path, product: Product) -> pystac.Asset:
    fields = _file_fields(path)
    if product.is_raster:
        fields |= _raster_fields(path, product)
    fields |= {f"{PREFIX}{topic.replace(' ', '_')}": said for topic, said in product.told.items()}
    return pystac.Asset(
        href=f"./{product.file}",
        title=product.title,
        description=product.purpose,
        media_type=product.media_type,
        roles=["visual"] if product.kind is Kind.PICTURE else ["data"],
        extra_fields=fields,
    )


def _raster_fields(path: Path, product: Product) -> dict[str, Any]:
    with rasterio.open(path, driver="GTiff") as file:
        bands = []
        names = product.bands or file.descriptions
        for name, dtype in zip(names, file.dtypes, strict=True):
            band: dict[str, Any] = {"name": name, "data_type": dtype}
            band |= {} if file.nodata is None else {"nodata": file.nodata}
            unit = product.unit_in(file.crs)
            bands.append(band | ({"unit": unit} if unit else {}))
        fields: dict[str, Any] = {
            "bands": bands,
            "proj:shape": [file.height, file.width],
            "proj:transform": list(file.transform)[:6],
        }
        if file.crs:  # without it there are no metres
            fields |= {"gsd": file.transform.a, "proj:code": file.crs.to_string()}
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
