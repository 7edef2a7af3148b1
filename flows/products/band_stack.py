"""The raster that indices are computed from: which bands it has, and what its values rest on.

It is the reflectance stack, or for surveys with a colour camera alone the orthomosaic, whose
values are brightnesses on a display's curve and say so.

Which indices a survey has is up to people, so their rasters carry all that styles, report and
catalogue need, and are found by it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio

from flows.products.table import GROUPS, ORTHOMOSAIC, PRODUCTS, Kind, Product
from tmp.errors import InputError
from tmp.geo.grids import Grid
from tmp.geo.rasters import read_grid, read_reduced
from tmp.radiometry import Band, Provenance

if TYPE_CHECKING:
    from photogrammetry.indices.table import Index

REFLECTANCE_FILE = "reflectance.tif"
ALPHA = "alpha"
CENTRES_TAG, WIDTHS_TAG, SATURATION_TAG = "WAVELENGTHS_NM", "WIDTHS_NM", "SATURATION"
"""Dataset tags of a stack: numbers for each band in order, parted by blanks, ``?`` for unknown."""
BYTE_SATURATION = 255.0
SIGNATURE_CELLS = 64

_SIGMA = re.compile(r"sigma ([\d.]+) %")

INDEX_TAG = "INDEX"
STACK_TAG, SIGNATURE_TAG = "STACK", "STACK_SIGNATURE"
"""What an index was computed from, to notice when that has changed since."""
COPIED = ("SOFTWARE", "ENVIRONMENT", "ACQUISITION_START", "ACQUISITION_END", "CALIBRATION_LEVEL")
"""Tags of the stack that hold for what is made from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandStack:
    """An opened stack: all but its pixels."""

    path: Path
    grid: Grid
    bands: tuple[Band, ...]
    """``Band.channel`` is the place in the file, from 0; without alpha."""
    factors: tuple[float, ...]
    """Value = factor * stored + offset, for each band."""
    offsets: tuple[float, ...]
    nodata: float | None
    alpha: int | None
    """Place of the band that tells by 0 where there is nothing."""
    saturation: tuple[float | None, ...]
    """Stored value from which on each band is saturated, where known."""
    tags: Mapping[str, str]
    picture: bool
    """Whether it is an orthomosaic: brightnesses, not light."""

    @property
    def provenance(self) -> Provenance:
        """What the values rest on."""
        said = self.tags.get("CALIBRATION", "")
        known = {str(kind) for kind in Provenance}
        return Provenance(said) if said in known and not self.picture else Provenance.NONE

    @property
    def absolute(self) -> bool:
        """Whether the values are reflectance, and not just proportional to it."""
        return not self.picture and self.tags.get("CALIBRATION_LEVEL") == "reflectance"

    def sigma(self, band: Band) -> float | None:
        """Return the standard deviation of a band's level as a fraction of it, where known."""
        found = _SIGMA.search(self.tags.get(f"CALIBRATION_{band.name.upper()}", ""))
        return None if found is None else float(found[1]) / 100

    def in_words(self) -> str:
        """Say what the values rest on, in a few words."""
        if self.picture:
            return "relative (brightness of the orthomosaic, on a display's curve)"
        level = "" if self.absolute else ", level unknown"
        return f"{self.provenance}{level}"


def wavelength_tags(bands: Sequence[Band]) -> dict[str, str]:
    """Return the tags by which a stack tells its wavelengths.

    Examples
    --------
    >>> wavelength_tags([Band(name="red", centre_nm=660.0, width_nm=40.0), Band(name="nir")])
    {'WAVELENGTHS_NM': '660 ?', 'WIDTHS_NM': '40 ?'}
    """

    def line(values: Sequence[float | None]) -> str:
        return " ".join("?" if value is None else f"{value:g}" for value in values)

    return {
        CENTRES_TAG: line([band.centre_nm for band in bands]),
        WIDTHS_TAG: line([band.width_nm for band in bands]),
    }


def open_stack(path: Path) -> BandStack:
    """Open a reflectance stack or an orthomosaic.

    Raises
    ------
    InputError
        If it cannot be read, or its bands have no names.
    """
    grid = read_grid(path)
    with rasterio.open(path, driver="GTiff") as file:
        names = [(name or "").strip().lower() for name in file.descriptions]
        tags, nodata = file.tags(), file.nodata
        factors, offsets, byte = file.scales, file.offsets, file.dtypes[0] == "uint8"
        told = [_told_wavelength(file, number) for number in range(1, file.count + 1)]
    if not all(names):
        raise InputError(
            f"{path}: band {names.index('') + 1} has no name; describe it as red, nir, …"
        )
    centres = _numbers(tags.get(CENTRES_TAG), len(names))
    widths = _numbers(tags.get(WIDTHS_TAG), len(names))
    saturation = _numbers(tags.get(SATURATION_TAG), len(names))
    channels = [place for place, name in enumerate(names) if name != ALPHA]
    return BandStack(
        path=path,
        grid=grid,
        bands=tuple(
            Band(
                name=names[place],
                centre_nm=centres[place] or told[place][0],
                width_nm=widths[place] or told[place][1],
                channel=place,
            )
            for place in channels
        ),
        factors=tuple(
            float(factors[place]) / (BYTE_SATURATION if byte else 1) for place in channels
        ),
        offsets=tuple(float(offsets[place]) for place in channels),
        nodata=nodata,
        alpha=names.index(ALPHA) if ALPHA in names else None,
        saturation=tuple(saturation[p] or (BYTE_SATURATION if byte else None) for p in channels),
        tags=tags,
        picture=byte,
    )


def _stack_signature(path: Path) -> str:
    """Return what tells one state of a stack from another: a digest of its tags and overview.

    It costs milliseconds whatever the size, and survives copying, unlike times of change.
    """
    reduced, grid = read_reduced(path, SIGNATURE_CELLS)
    with rasterio.open(path, driver="GTiff") as file:
        tags = sorted(file.tags().items())
    digest = hashlib.blake2b(repr((tags, grid)).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(np.ma.getdata(reduced)).tobytes())
    return digest.hexdigest()


def choose_stack(products_dir: Path, *, picture: bool = False) -> BandStack:
    """Open the stack of a survey: reflectance where there is one, else the orthomosaic.

    If asked for the picture, the orthomosaic even where there is reflectance.

    Raises
    ------
    InputError
        If there is neither.
    """
    for file in (ORTHOMOSAIC.file,) if picture else (REFLECTANCE_FILE, ORTHOMOSAIC.file):
        if (products_dir / file).exists():
            return open_stack(products_dir / file)
    raise InputError(
        f"{products_dir}: neither {REFLECTANCE_FILE} nor {ORTHOMOSAIC.file}; "
        f"make them with 'tmp map {products_dir.parent}'"
    )


def _told_wavelength(file: Any, number: int) -> tuple[float | None, float | None]:
    """Return centre and width of a band in nm, as GDAL's IMAGERY domain has them."""
    said = file.tags(number, ns="IMAGERY")
    centre, width = (
        1000 * float(said[key]) if key in said else None
        for key in ("CENTRAL_WAVELENGTH_UM", "FWHM_UM")
    )
    return centre, width


def _numbers(text: str | None, count: int) -> list[float | None]:
    parts = [] if text is None else text.split()
    if len(parts) != count:
        return [None] * count
    return [None if part == "?" else float(part) for part in parts]


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
        "BANDS": "; ".join(
            f"{key} = {band.name}" + ("" if band.centre_nm is None else f" {band.centre_nm:g} nm")
            for key, band in bands.items()
        ),
        "CALIBRATION": str(stack.provenance),
        "RESTS_ON": stack.in_words(),
        "MASKED": masks,
        "SHOWN": f"{index.shown[0]:g} {index.shown[1]:g}",
        "RAMP": index.ramp,
        "NOTE": index.note,
        "WARNINGS": "; ".join(warnings),
        STACK_TAG: stack.path.name,
        SIGNATURE_TAG: _stack_signature(stack.path),
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
        with rasterio.open(path, driver="GTiff") as file:
            tags = file.tags()
        if INDEX_TAG in tags:
            found.append(_product(path, tags))
    return found


def products_by_group(products_dir: Path) -> Mapping[str, Sequence[Product]]:
    """Return the rasters that are shown as layers of a map, in groups; not all may be there."""
    indices = {"Indices": read_index_products(products_dir)}
    before = {group: products for group, products in GROUPS.items() if group != "Doubt"}
    return {**before, **indices, "Doubt": GROUPS["Doubt"]}


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
    if not stack.is_file() or _stack_signature(stack) == tags.get(SIGNATURE_TAG):
        return ""
    return f"made from an earlier {stack.name}; run tmp indices again"
