"""Index rasters as products: what they tell of themselves in their tags, and how they are found.

Which indices a survey has is up to people, so their rasters carry all that styles, report and
catalogue need, and are found by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import rasterio

from flows.bandstack import BandStack, stack_signature
from flows.products import PRODUCTS, Kind, Product
from tmp.bands import Band

if TYPE_CHECKING:
    from photogrammetry.indextable import Index

INDEX_TAG = "INDEX"
STACK_TAG, SIGNATURE_TAG = "STACK", "STACK_SIGNATURE"
"""What an index was computed from, to notice when that has changed since."""
COPIED = ("SOFTWARE", "ENVIRONMENT", "ACQUISITION_START", "ACQUISITION_END", "CALIBRATION_LEVEL")
"""Tags of the stack that hold for what is made from it."""


def index_tags(
    index: Index,
    bands: Mapping[str, Band],
    stack: BandStack,
    masks: str,
    warnings: Sequence[str],
    sigma: float | None,
) -> dict[str, str]:
    """Return the tags of an index's raster: how it was made, and what it rests on."""
    of_bands = {f"CALIBRATION_{band.name.upper()}" for band in bands.values()}
    copied = of_bands.union(COPIED, ["CALIBRATION_NOTES"])
    tags = {key: value for key, value in stack.tags.items() if key in copied and value}
    tags |= {
        INDEX_TAG: index.name,
        "TITLE": index.title,
        "FORMULA": index.in_words(),
        "REFERENCE": index.reference,
        "SOURCE": index.source,
        "BANDS": "; ".join(f"{key} = {_band_said(band)}" for key, band in bands.items()),
        "CALIBRATION": str(stack.provenance),
        "RESTS_ON": stack.in_words(),
        "MASKED": masks,
        "SHOWN": f"{index.shown[0]:g} {index.shown[1]:g}",
        "RAMP": index.ramp,
        "NOTE": index.note,
        "WARNINGS": "; ".join(warnings),
        STACK_TAG: stack.path.name,
        SIGNATURE_TAG: stack_signature(stack.path),
    }
    if sigma is not None:
        tags["SIGMA"] = f"{sigma:.3f}"
    return {key: value for key, value in tags.items() if value}


def read_index_products(products_dir: Path) -> list[Product]:
    """Return the index rasters in a folder, by file name."""
    fixed = {product.file for product in PRODUCTS}
    found = []
    for path in sorted(products_dir.glob("*.tif")):
        if path.name in fixed or path.name.startswith("."):
            continue
        with rasterio.open(path) as file:
            tags = file.tags()
        if INDEX_TAG in tags:
            found.append(_product(path, tags))
    return found


def _product(path: Path, tags: Mapping[str, str]) -> Product:
    low, high = (float(end) for end in tags["SHOWN"].split())
    asked = path.stem.upper()
    name = tags[INDEX_TAG]
    told = {
        "formula": tags.get("FORMULA", ""),
        "bands": tags.get("BANDS", ""),
        "rests on": tags.get("RESTS_ON", ""),
        "standard deviation left by the calibration": tags.get("SIGMA", ""),
        "calibration notes": tags.get("CALIBRATION_NOTES", ""),
        "left out": tags.get("MASKED", ""),
        "reference": " ".join(filter(None, (tags.get("REFERENCE"), tags.get("SOURCE")))),
        "note": tags.get("NOTE", ""),
        "warning": "; ".join(filter(None, (tags.get("WARNINGS"), _staleness(path, tags)))),
    }
    return Product(
        file=path.name,
        title=name if asked == name.upper() else f"{name} ({path.stem})",
        purpose=f"{tags.get('TITLE', name)}. Values rest on: {tags.get('RESTS_ON', '')}.",
        kind=Kind.INDEX,
        bands=(name,),
        shown=(low, high),
        ramp=tags.get("RAMP", "plain"),
        told={key: value for key, value in told.items() if value},
    )


def _staleness(path: Path, tags: Mapping[str, str]) -> str:
    """Say so where the raster that an index was computed from is not the one that lies there."""
    stack = path.parent / tags.get(STACK_TAG, "")
    if not stack.is_file() or stack_signature(stack) == tags.get(SIGNATURE_TAG):
        return ""
    return f"made from an earlier {stack.name}; run tmp indices again"


def _band_said(band: Band) -> str:
    return band.name if band.centre_nm is None else f"{band.name} {band.centre_nm:g} nm"
