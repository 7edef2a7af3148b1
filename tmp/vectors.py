"""Polygons out of the files people draw them in, in the coordinates they were drawn in."""

from __future__ import annotations

import io
import logging
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree as SafeXml
import pyogrio
import shapely
from defusedxml import DefusedXmlException
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.errors import GEOSException
from shapely.geometry.base import BaseGeometry

from tmp.errors import InputError

log = logging.getLogger(__name__)

WGS84 = "EPSG:4326"
MOST_KML_BYTES = 64 * 2**20
"""Larger than any drawing; a small archive may swell to far more than memory holds."""

_WKT = re.compile(
    r"^\s*(?:SRID\s*=\s*(?P<srid>\d+)\s*;)?\s*"
    r"(?P<wkt>(?:POINT|LINESTRING|POLYGON|MULTI\w+|GEOMETRYCOLLECTION)\b.*)$",
    re.IGNORECASE | re.DOTALL,
)
_LAYER_TYPES = ("polygon", "surface", "unknown", "collection")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What a file holds of polygons."""

    polygons: tuple[shapely.Polygon, ...]
    """As drawn, without heights; not checked for crossings; at least one."""
    crs: CRS
    """Of the coordinates: x or longitude first."""
    source: str
    """The file's name, or a word for text, for messages."""


def read_polygons(
    source: Path | str, *, layer: str | None = None, crs: str | None = None
) -> Drawing:
    """Read the polygons of one layer.

    Parameters
    ----------
    source : Path or str
        A file: KML, KMZ, WKT (``.wkt``), GeoJSON, GeoPackage, shapefile (zipped or not), or
        whatever else GDAL reads; or WKT itself, with or without ``SRID=…;`` before it.
    layer : str, optional
        Which layer, or folder of a KML.  Needed if several hold polygons.
    crs : str, optional
        CRS of the coordinates, for sources that do not say it; overrules those that do.

    Returns
    -------
    Drawing
        Points and lines beside polygons are left out, and logged.

    Raises
    ------
    InputError
        If the source cannot be read, has no polygon or no CRS, or if it is not clear which layer
        is meant.
    """
    text = _WKT.match(source) if isinstance(source, str) else None
    if text is not None:
        return _read_wkt(text, "WKT", crs)
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path}: no such file; give the area as a polygon file")
    suffix = path.suffix.lower()
    found: str | None
    if suffix in (".wkt", ".ewkt"):
        text = _WKT.match(_read_text(path))
        if text is None:
            raise InputError(f"{path}: does not begin as WKT does; write POLYGON ((…))")
        return _read_wkt(text, str(path), crs)
    if suffix in (".kml", ".kmz"):
        layers, found = _read_kml(path), WGS84
    else:
        layers, found = _read_gdal(path, layer)
    polygons = _one_layer(path, layers, layer)
    return Drawing(polygons=polygons, crs=_known_crs(str(path), found, crs), source=str(path))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: cannot be read as text; {error}") from error


def _read_wkt(text: re.Match[str], source: str, crs: str | None) -> Drawing:
    try:
        shape = shapely.from_wkt(text["wkt"].strip())
    except GEOSException as error:
        raise InputError(f"{source}: cannot be read as WKT; {_one_line(error)}") from error
    found = f"EPSG:{text['srid']}" if text["srid"] else None
    return Drawing(
        polygons=_polygons_of(source, [shape]), crs=_known_crs(source, found, crs), source=source
    )


def _read_gdal(path: Path, layer: str | None) -> tuple[dict[str, list[BaseGeometry]], str | None]:
    """Return the shapes of each layer, empty for those passed over, and the CRS."""
    layers: dict[str, list[BaseGeometry]] = {}
    found: str | None = None
    try:
        kinds = {name: (kind or "").lower() for name, kind in pyogrio.list_layers(path)}
        wanted = [name for name in kinds if any(word in kinds[name] for word in _LAYER_TYPES)]
        if layer is not None:
            wanted = [layer] if layer in kinds else []
        for name in kinds:
            layers[name] = []
            # With nothing else, what there is gets read to say what it is.
            if name in wanted or (not wanted and kinds[name]):
                meta, _, shapes, _ = pyogrio.raw.read(path, layer=name, columns=[], force_2d=True)
                layers[name] = list(shapely.from_wkb(shapes))
                found = meta["crs"] or found
    except (DataSourceError, DataLayerError, ValueError, GEOSException) as error:
        raise InputError(f"{path}: cannot be read as a vector file; {_one_line(error)}") from error
    return layers, found


def _one_layer(
    path: Path, layers: Mapping[str, list[BaseGeometry]], layer: str | None
) -> tuple[shapely.Polygon, ...]:
    names = ", ".join(repr(name) for name in layers)
    if layer is not None:
        if layer not in layers:
            raise InputError(f"{path}: has no layer {layer!r}; it has {names or 'none'}")
        return _polygons_of(f"{path}, layer {layer!r}", layers[layer])
    holding = {name: shapes for name, shapes in layers.items() if any(map(_parts, shapes))}
    if len(holding) > 1:
        names = ", ".join(repr(name) for name in holding)
        raise InputError(f"{path}: layers {names} hold polygons; name one of them with --layer")
    shapes = next(iter(holding.values()), [shape for all_ in layers.values() for shape in all_])
    return _polygons_of(str(path), shapes)


def _polygons_of(source: str, shapes: Iterable[BaseGeometry | None]) -> tuple[shapely.Polygon, ...]:
    drawn = [shape for shape in shapes if shape is not None and not shape.is_empty]
    polygons = tuple(part for shape in drawn for part in _parts(shape))
    others = Counter(shape.geom_type for shape in drawn if not _parts(shape))
    said = ", ".join(f"{number} {kind}" for kind, number in others.items())
    if not polygons:
        raise InputError(
            f"{source}: holds no polygon{', only ' + said if said else ''}; "
            "draw a polygon round the area"
        )
    if others:
        log.warning("%s: left out what is not a polygon: %s", source, said)
    return polygons


def _parts(shape: BaseGeometry | None) -> list[shapely.Polygon]:
    """Return the polygons that a geometry is made of."""
    if isinstance(shape, shapely.Polygon):
        return [] if shape.is_empty else [shape]
    if isinstance(shape, shapely.GeometryCollection | shapely.MultiPolygon):
        return [part for member in shape.geoms for part in _parts(member)]
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


def _read_kml(path: Path) -> dict[str, list[BaseGeometry]]:
    """Return the shapes of each folder of a KML or KMZ."""
    try:
        text = _unzip_kml(path) if path.suffix.lower() == ".kmz" else path.read_bytes()
        root = SafeXml.fromstring(text)
    except (ParseError, DefusedXmlException, OSError) as error:
        raise InputError(f"{path}: cannot be read as KML; {_one_line(error)}") from error
    folders: dict[str, list[BaseGeometry]] = {}
    _collect(path, root, "", folders)
    return folders


def _unzip_kml(path: Path) -> bytes:
    """Return the main document of a KMZ."""
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith(".kml")]
            if not names:
                raise InputError(f"{path}: holds no KML file")
            # By the KML reference, the first at the top; doc.kml by custom.
            name = min(names, key=lambda name: (name.count("/"), name.lower() != "doc.kml"))
            with archive.open(name) as file:
                text = file.read(MOST_KML_BYTES + 1)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as KMZ; {_one_line(error)}") from error
    if len(text) > MOST_KML_BYTES:
        raise InputError(
            f"{path}: {name} is larger than {MOST_KML_BYTES >> 20} MB; save less in it"
        )
    return text


def _collect(
    path: Path, element: Element, folder: str, found: dict[str, list[BaseGeometry]]
) -> None:
    """Add the shapes below an element to the folder they lie in."""
    for child in element:
        kind = _tag(child)
        if kind in ("Folder", "Document"):
            name = next((part.text for part in child if _tag(part) == "name"), None)
            _collect(path, child, (name or "").strip() or folder, found)
        elif kind == "Polygon":
            found.setdefault(folder, []).append(_kml_polygon(path, child))
        elif kind in ("Point", "LineString", "LinearRing"):
            # Only counted, to say what there is instead of a polygon.
            shape = shapely.Point(0, 0) if kind == "Point" else shapely.LineString([(0, 0), (1, 1)])
            found.setdefault(folder, []).append(shape)
        else:
            _collect(path, child, folder, found)


def _kml_polygon(path: Path, polygon: Element) -> shapely.Polygon:
    rings: dict[str, list[list[tuple[float, float]]]] = {}
    for boundary in polygon:
        for place in boundary.iter():
            if _tag(place) == "coordinates":
                rings.setdefault(_tag(boundary), []).append(_kml_ring(path, place.text or ""))
    outer = rings.get("outerBoundaryIs", [])
    if len(outer) != 1:
        raise InputError(f"{path}: a polygon has {len(outer)} outer boundaries; draw it again")
    return shapely.Polygon(outer[0], rings.get("innerBoundaryIs", []))


def _kml_ring(path: Path, text: str) -> list[tuple[float, float]]:
    # Blanks part places and commas their numbers, but people write blanks after commas too.
    places = re.sub(r"\s*,\s*", ",", text).split()
    try:
        ring = [tuple(map(float, place.split(",")[:2])) for place in places]
        if len(ring) < 3:
            raise ValueError(f"only {len(ring)} places")
        return [(lon, lat) for lon, lat in ring]
    except ValueError as error:
        raise InputError(f"{path}: a ring cannot be read ({error}); draw it again") from error


def _tag(element: Element) -> str:
    """Return an element's name without its namespace, which programs write differently."""
    return str(element.tag).rpartition("}")[2]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
