"""Files in which people draw ground: their polygons or lines, in the coordinates drawn in."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.errors import GEOSException
from shapely.geometry.base import BaseGeometry

from tmp.errors import InputError
from tmp.geo.vectors import list_layers, parse_xml, read_kml, read_layer, read_whole

log = logging.getLogger(__name__)

WGS84 = "EPSG:4326"
MOST_WKT_DEPTH = 16
"""Brackets in brackets; a collection of polygons with holes has 4."""

_WKT = re.compile(
    r"^\s*(?:SRID\s*=\s*(?P<srid>\d+)\s*;)?\s*"
    r"(?P<wkt>(?:POINT|LINESTRING|POLYGON|MULTI\w+|GEOMETRYCOLLECTION)\b.*)$",
    re.IGNORECASE | re.DOTALL,
)


class DrawnKind(StrEnum):
    """What is looked for in a file."""

    POLYGON = "polygon"
    LINE = "line"


_LAYER_TYPES = {
    DrawnKind.POLYGON: ("polygon", "surface", "unknown", "collection"),
    DrawnKind.LINE: ("line", "curve", "unknown", "collection"),
}
_REMEDY = {
    DrawnKind.POLYGON: "draw a polygon round the area",
    DrawnKind.LINE: "a width is for the corridor along a line: draw that, or leave the width out",
}
_OR_WIDTH = ", or give 'tmp plan' the --width of the corridor along it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What a file holds of one kind."""

    shapes: tuple[Any, ...]
    """As drawn, without heights; not checked for crossings; at least one, all of the kind."""
    crs: CRS
    """Of the coordinates: x or longitude first."""
    source: str
    """The file's name, or a word for text, for messages."""


def read_drawing(
    source: Path | str, kind: DrawnKind, *, layer: str | None = None, crs: str | None = None
) -> Drawing:
    """Read the polygons or the lines of one layer; what lies beside them is left out, and logged.

    Files are those of `tmp.geo.areas.read_area`, and GPX, whose tracks and routes are lines.

    Raises
    ------
    InputError
        If the source cannot be read, holds none of the kind or does not say its CRS, or it is not
        clear which layer is meant.
    """
    text = _WKT.match(source) if isinstance(source, str) else None
    if text is not None:
        return _read_wkt(text, "WKT", kind, crs)
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path}: no such file; give the area as a file of polygons or lines")
    suffix = path.suffix.lower()
    found: str | None
    if suffix in (".wkt", ".ewkt"):
        text = _WKT.match(_read_text(path))
        if text is None:
            raise InputError(f"{path}: does not begin as WKT does; write POLYGON ((…))")
        return _read_wkt(text, str(path), kind, crs)
    if suffix in (".kml", ".kmz"):
        layers, found = _read_kml(path, kind), WGS84
    elif suffix == ".gpx":
        layers, found = {"": _read_gpx(path)}, WGS84
    else:
        layers, found = _read_gdal(path, layer, kind)
    shapes = _one_layer(path, layers, layer, kind)
    return Drawing(shapes=shapes, crs=_known_crs(str(path), found, crs), source=str(path))


def _read_text(path: Path) -> str:
    try:
        return read_whole(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read as text; {error}") from error


def _read_wkt(text: re.Match[str], source: str, kind: DrawnKind, crs: str | None) -> Drawing:
    depth = 0
    for bracket in re.finditer(r"[()]", text["wkt"]):  # GEOS overflows the stack
        depth += 1 if bracket[0] == "(" else -1
        if depth > MOST_WKT_DEPTH:
            raise InputError(f"{source}: WKT nested too deep; draw the area again")
    try:
        shape = shapely.from_wkt(text["wkt"].strip())
    except GEOSException as error:
        raise InputError(f"{source}: cannot be read as WKT; {one_line(error)}") from error
    found = f"EPSG:{text['srid']}" if text["srid"] else None
    shapes = _shapes_of(source, [shape], kind)
    return Drawing(shapes=shapes, crs=_known_crs(source, found, crs), source=source)


def _read_gdal(
    path: Path, layer: str | None, kind: DrawnKind
) -> tuple[dict[str, list[BaseGeometry]], str | None]:
    """Return the shapes of each layer, empty for those passed over, and the CRS."""
    layers: dict[str, list[BaseGeometry]] = {}
    found: str | None = None
    kinds = list_layers(path)
    wanted = [name for name in kinds if any(word in kinds[name] for word in _LAYER_TYPES[kind])]
    if layer is not None:
        wanted = [layer] if layer in kinds else []
    for name in kinds:
        layers[name] = []
        # With nothing else, what there is gets read to say what it is.
        if name in wanted or (not wanted and kinds[name]):
            shapes, crs, _ = read_layer(path, name, columns=[])
            layers[name] = list(shapes)
            found = crs or found
    return layers, found


def _one_layer(
    path: Path, layers: Mapping[str, list[BaseGeometry]], layer: str | None, kind: DrawnKind
) -> tuple[Any, ...]:
    names = ", ".join(repr(name) for name in layers)
    if layer is not None:
        if layer not in layers:
            raise InputError(f"{path}: has no layer {layer!r}; it has {names or 'none'}")
        return _shapes_of(f"{path}, layer {layer!r}", layers[layer], kind)
    holding = {
        name: shapes
        for name, shapes in layers.items()
        if any(parts_of(shape, kind) for shape in shapes)
    }
    if len(holding) > 1:
        names = ", ".join(repr(name) for name in holding)
        raise InputError(f"{path}: layers {names} hold {kind}s; name one of them with --layer")
    shapes = next(iter(holding.values()), [shape for all_ in layers.values() for shape in all_])
    return _shapes_of(str(path), shapes, kind)


def _shapes_of(
    source: str, shapes: Iterable[BaseGeometry | None], kind: DrawnKind
) -> tuple[Any, ...]:
    drawn = [shape for shape in shapes if shape is not None and not shape.is_empty]
    found = tuple(part for shape in drawn for part in parts_of(shape, kind))
    others = Counter(shape.geom_type for shape in drawn if not parts_of(shape, kind))
    said = ", ".join(f"{number} {name}" for name, number in others.items())
    if not found:
        or_width = _OR_WIDTH if any("Line" in name for name in others) else ""
        raise InputError(
            f"{source}: holds no {kind}{', only ' + said if said else ''}; {_REMEDY[kind]}"
            f"{or_width if kind is DrawnKind.POLYGON else ''}"
        )
    if others:
        log.warning("%s: left out what is not a %s: %s", source, kind, said)
    return found


def parts_of(shape: BaseGeometry | None, kind: DrawnKind = DrawnKind.POLYGON) -> list[Any]:
    """Return the polygons, or lines, that a geometry is made of."""
    single = shapely.Polygon if kind is DrawnKind.POLYGON else shapely.LineString
    if isinstance(shape, single):
        return [] if shape.is_empty else [shape]
    if isinstance(shape, shapely.GeometryCollection) or (
        shape is not None and shape.geom_type == f"Multi{single.__name__}"
    ):
        return [part for member in shapely.get_parts(shape) for part in parts_of(member, kind)]
    return []


def _known_crs(source: str, found: str | None, given: str | None) -> CRS:
    try:
        said = CRS.from_user_input(found) if found else None
    except CRSError:
        said = None
    # A GeoPackage without a CRS carries one that is called undefined.
    if said is not None and (
        not (said.is_geographic or said.is_projected) or "undefined" in said.name.lower()
    ):
        said = None
    if given is not None:
        try:
            wanted = CRS.from_user_input(given)
        except CRSError as error:
            raise InputError(f"{given!r} is not a CRS; give one such as EPSG:4326") from error
        if said is not None and said != wanted:
            log.warning("%s: taken to be in %s, though it says %s", source, given, said.name)
        said = wanted
    if said is None:
        raise InputError(
            f"{source}: does not say its CRS; save it again with one, or pass --crs EPSG:4326 "
            "if it is in degrees"
        )
    return said.sub_crs_list[0] if said.is_compound else said


def _read_kml(path: Path, kind: DrawnKind) -> dict[str, list[BaseGeometry]]:
    """Return the shapes of each folder of a KML or KMZ."""
    folders: dict[str, list[BaseGeometry]] = {}
    _collect(path, read_kml(path), "", kind, folders)
    return folders


def _collect(
    path: Path,
    element: Element,
    folder: str,
    kind: DrawnKind,
    found: dict[str, list[BaseGeometry]],
) -> None:
    """Add the shapes below an element to the folder they lie in.

    Those that are not of the kind are only counted, to say what there is instead of it.
    """
    for child in element:
        tag = _tag(child)
        if tag in ("Folder", "Document"):
            name = next((part.text for part in child if _tag(part) == "name"), None)
            _collect(path, child, (name or "").strip() or folder, kind, found)
        elif tag == "Polygon":
            polygon = kind is DrawnKind.POLYGON
            shape = _kml_polygon(path, child) if polygon else shapely.box(0, 0, 1, 1)
            found.setdefault(folder, []).append(shape)
        elif tag in ("LineString", "LinearRing"):
            line = kind is DrawnKind.LINE
            shape = _kml_line(path, child) if line else shapely.LineString([(0, 0), (1, 1)])
            found.setdefault(folder, []).append(shape)
        elif tag == "Point":
            found.setdefault(folder, []).append(shapely.Point(0, 0))
        else:
            _collect(path, child, folder, kind, found)


def _kml_polygon(path: Path, polygon: Element) -> shapely.Polygon:
    rings: dict[str, list[list[tuple[float, float]]]] = {}
    for boundary in polygon:
        for place in boundary.iter():
            if _tag(place) == "coordinates":
                ring = _kml_places(path, place.text or "", "ring", 3)
                rings.setdefault(_tag(boundary), []).append(ring)
    outer = rings.get("outerBoundaryIs", [])
    if len(outer) != 1:
        raise InputError(f"{path}: a polygon has {len(outer)} outer boundaries; draw it again")
    return shapely.Polygon(outer[0], rings.get("innerBoundaryIs", []))


def _kml_line(path: Path, line: Element) -> shapely.LineString:
    text = next((part.text for part in line if _tag(part) == "coordinates"), None)
    return shapely.LineString(_kml_places(path, text or "", "line", 2))


def _kml_places(path: Path, text: str, what: str, least: int) -> list[tuple[float, float]]:
    # Blanks part places and commas their numbers, but people write blanks after commas too.
    places = re.sub(r"\s*,\s*", ",", text).split()
    try:
        found = [tuple(map(float, place.split(",")[:2])) for place in places]
        if len(found) < least:
            raise ValueError(f"only {len(found)} places")
        if not np.isfinite(found).all():
            raise ValueError("a coordinate that is no number")
        return [(lon, lat) for lon, lat in found]
    except ValueError as error:
        raise InputError(f"{path}: a {what} cannot be read ({error}); draw it again") from error


def _read_gpx(path: Path) -> list[BaseGeometry]:
    """Return the stretches of each track and the routes of a GPX; those of one place are none."""
    try:
        root = parse_xml(read_whole(path))
        lines = []
        for holder in root.iter():
            points = [part for part in holder if _tag(part) in ("trkpt", "rtept")]
            places = [(float(one.get("lon", "")), float(one.get("lat", ""))) for one in points]
            if len(places) > 1:
                lines.append(shapely.LineString(places))
    except (InputError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as GPX; {error}") from error
    return lines


def _tag(element: Element) -> str:
    """Return an element's name without its namespace, which programs write differently."""
    return str(element.tag).rpartition("}")[2]


def one_line(error: Exception) -> str:
    """Return what a library says of an error, in one line."""
    return " ".join(str(error).split())
