"""The map for Google Earth: a KMZ of pictures laid over the globe, and the photographs' places.

It is for showing where a survey is, so the pictures are small; they are cut into squares, as
viewers reduce larger ones, and only those of a rim need a picture that can be transparent.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from affine import Affine
from PIL import Image
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from flows.products.cameras import GEOJSON
from flows.products.colours import colour_values
from flows.products.table import ORTHOMOSAIC, VAT, Kind, Product
from tmp.errors import InputError
from tmp.files import replacing
from tmp.plotting import Pixels
from tmp.survey import Survey, read_settings

KMZ = "survey.kmz"
LONGEST_PX, SQUARE_PX = 4096, 1024
JPEG_QUALITY = 85


def write_kmz(survey: Survey) -> Path:
    """Write ``products/survey.kmz``; returns its path.

    Raises
    ------
    InputError
        If there is no orthomosaic, or it has no place on the Earth.
    """
    products_dir = survey.products_dir
    shown = [one for one in (ORTHOMOSAIC, VAT) if (products_dir / one.file).exists()]
    if ORTHOMOSAIC not in shown:
        raise InputError(f"{survey.folder}: has no map to show; make one with 'tmp map'")
    with rasterio.open(products_dir / ORTHOMOSAIC.file, driver="GTiff") as file:
        if file.crs is None:
            raise InputError(
                f"{survey.folder}: the photographs carry no positions, so the map has no place on "
                "the Earth; leave --kmz away"
            )
    target = products_dir / KMZ
    with (
        replacing(target) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        folders = [_folder(archive, products_dir, product) for product in shown]
        name = escape(read_settings(survey).name)
        archive.writestr(
            "doc.kml",
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<kml xmlns="http://www.opengis.net/kml/2.2"><Document>'
            f"<name>{name}</name>{''.join(folders)}{_photographs(products_dir)}"
            "</Document></kml>\n",
        )
    return target


def _folder(archive: zipfile.ZipFile, products_dir: Path, product: Product) -> str:
    """Add the pictures of a product to the archive; returns the folder that shows them."""
    shown = int(product is ORTHOMOSAIC)
    overlays = []
    for number, (bounds, pixels) in enumerate(_squares(products_dir / product.file, product)):
        opaque = bool((pixels[..., 3] == 255).all())
        path = f"{product.name.replace('/', '_')}/{number}.{'jpg' if opaque else 'png'}"
        content = BytesIO()
        if opaque:
            Image.fromarray(pixels[..., :3]).save(content, "JPEG", quality=JPEG_QUALITY)
        else:
            Image.fromarray(pixels).save(content, "PNG")
        archive.writestr(path, content.getvalue())
        west, south, east, north = bounds
        overlays.append(
            f"<GroundOverlay><visibility>{shown}</visibility><Icon><href>{path}</href></Icon>"
            f"<LatLonBox><north>{north:.9f}</north><south>{south:.9f}</south>"
            f"<east>{east:.9f}</east><west>{west:.9f}</west></LatLonBox></GroundOverlay>"
        )
    return (
        f"<Folder><name>{escape(product.title)}</name><visibility>{shown}</visibility>"
        f"<description>{escape(product.purpose)}</description>{''.join(overlays)}</Folder>"
    )


def _squares(
    path: Path, product: Product
) -> Iterator[tuple[tuple[float, float, float, float], Pixels]]:
    """Yield bounds in degrees and pictures (rows, cols, 4) of all squares that show something."""
    with rasterio.open(path, driver="GTiff") as file:
        west, south, east, north = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
        wide = (east - west) * math.cos(math.radians((south + north) / 2))
        longest = min(LONGEST_PX, max(file.shape))
        scale = longest / max(wide, north - south)
        cols, rows = (max(1, round(side * scale)) for side in (wide, north - south))
        degrees, degrees_up = (east - west) / cols, (north - south) / rows
        with WarpedVRT(
            file,
            crs="EPSG:4326",
            transform=Affine(degrees, 0.0, west, 0.0, -degrees_up, north),
            width=cols,
            height=rows,
            resampling=Resampling.bilinear,  # over as many cells as make a pixel
        ) as warped:
            for row in range(0, rows, SQUARE_PX):
                for col in range(0, cols, SQUARE_PX):
                    size = min(SQUARE_PX, cols - col), min(SQUARE_PX, rows - row)
                    square = Window(col, row, *size)
                    pixels = _picture(warped, square, product)
                    if pixels[..., 3].any():
                        x0, y1 = west + col * degrees, north - row * degrees_up
                        x1, y0 = x0 + size[0] * degrees, y1 - size[1] * degrees_up
                        yield (x0, y0, x1, y1), pixels


def _picture(warped: Any, square: Window, product: Product) -> Pixels:
    if product.kind is Kind.PICTURE:
        return np.ascontiguousarray(np.moveaxis(warped.read(window=square), 0, 2))
    values = np.ma.filled(warped.read(1, window=square, masked=True).astype(np.float32), np.nan)
    rgb = colour_values(values, product.steps, product.ramp)
    return np.dstack([rgb, np.where(np.isfinite(values), 255, 0).astype(np.uint8)])


def _photographs(products_dir: Path) -> str:
    """Return a folder of the places where photographs were taken, not shown at first."""
    path = products_dir / GEOJSON
    if not path.exists():
        return ""
    places = []
    for feature in json.loads(path.read_text(encoding="utf-8"))["features"]:
        longitude, latitude = feature["geometry"]["coordinates"][:2]
        name = escape(str(feature["properties"]["photograph"]))
        places.append(
            f"<Placemark><name>{name}</name><visibility>0</visibility><Point><coordinates>"
            f"{longitude:.8f},{latitude:.8f}</coordinates></Point></Placemark>"
        )
    return f"<Folder><name>Photographs</name><visibility>0</visibility>{''.join(places)}</Folder>"
