"""Files of shapes from anybody, opened as what they are meant to be and as nothing else.

GDAL opens whatever it knows by what a file holds and not by its name: one called plots.geojson may
be a virtual layer that fetches another from the web, and a GeoJSON may name its CRS by an address.
So a file's first bytes decide which kind it is, other kinds are refused, and what could lead out of
the file is refused as well.  XML and zip archives are taken apart here, in memory.
"""

from __future__ import annotations

import io
import json
import lzma
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

import defusedxml.ElementTree as SafeXml
import numpy as np
from defusedxml import DefusedXmlException
from numpy.typing import NDArray

from tmp.errors import InputError

MOST_BYTES = 64 * 2**20
"""Of a file that is parsed in memory, packed or unpacked: larger than any drawing, and than a
mission of 65 536 waypoints."""
MOST_JSON_BYTES = 256 * 2**20
MOST_TAGS = 4_000_000
MOST_DEPTH = 100
"""Elements of an XML document, and how deep they lie in each other."""
READ = "GeoPackage, GeoJSON, shapefile (zipped or not), FlatGeobuf, KML, KMZ, GML"
"""What people are told to save their polygons as."""

IN_MEMORY = "pyogrio_"
"""How the names of files in memory begin."""
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
)
"""What reading a damaged archive can raise."""
_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["'][^>]*\?>""")
_GML = re.compile(r"\{http://www\.opengis\.net/(?:gml|wfs)[^}]*\}|FeatureCollection$")
_CRS_OF_JSON = re.compile(r'"crs"\s*:\s*(?=\{)')
_HIDDEN_LETTER = re.compile(r"\\u00[4-7]", re.IGNORECASE)
"""A plain letter written by its number, which nobody does but to hide a word."""
_BINARY_KINDS = (b"SQLite format 3\0", b"fgb\x03", b"\0\0\x27\x0a")
"""How a GeoPackage, a FlatGeobuf and a shapefile begin."""


def read_whole(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """Return what a file holds; raises `InputError` if it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if len(content) > most_bytes:
        raise InputError(f"{path}: larger than {most_bytes >> 20} MB; save less in it")
    return content


class _Shallow(TreeBuilder):
    """Builds a tree that is neither so deep nor so large that it fills stack or memory."""

    depth = tags = 0

    def start(self, tag: Any, attrs: Any, /) -> Element:
        self.depth += 1
        self.tags += 1
        if self.depth > MOST_DEPTH or self.tags > MOST_TAGS:
            raise InputError(
                f"XML of more than {MOST_TAGS:,} elements, or more than {MOST_DEPTH} in each "
                "other; export less"
            )
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Element:
        self.depth -= 1
        return super().end(tag)


def parse_xml(content: bytes) -> Element:
    """Return the root element of a document from anywhere, in whatever encoding it says.

    Raises
    ------
    InputError
        If it is not well-formed, nested too deep, or declares entities or a document type.
    """
    try:
        parser = SafeXml.XMLParser(target=_Shallow(), forbid_dtd=True)
        parser.feed(_as_utf8(content))
        root: Element = parser.close()
    except DefusedXmlException as error:
        raise InputError(
            f"XML declares entities or a document type ({type(error).__name__}), which neither "
            "drawings nor missions need; export it again"
        ) from error
    except InputError:
        raise
    except (ParseError, ValueError, LookupError) as error:
        reason = " ".join(str(error).split())[:80]
        raise InputError(f"not well-formed XML ({reason}); export it again") from error
    return root


def _as_utf8(content: bytes) -> bytes:
    """Return a document in UTF-8 if it is in one of the encodings that expat does not know.

    Japanese, Korean and Chinese programs write Shift_JIS, EUC-KR, GB2312 and their kin.
    """
    said = _ENCODING.match(content[:1024])
    name = said.group(1).decode("ascii") if said else "utf-8"
    if said is None or name.lower() in ("utf-8", "utf-16", "us-ascii", "iso-8859-1"):
        return content
    return content[said.end() :].decode(name).encode("utf-8")


def unzipped(content: bytes, wanted: re.Pattern[str]) -> dict[str, bytes]:
    """Return the members of an archive whose lower-case names match; nothing touches the disk.

    Raises
    ------
    InputError
        If the archive is broken, encrypted, or unpacks to more than `MOST_BYTES`.
    """
    members: dict[str, bytes] = {}
    room = MOST_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for info in archive.infolist():
                if not wanted.search(info.filename.lower()):
                    continue
                with archive.open(info) as member:
                    data = member.read(room + 1)
                if len(data) > room:
                    raise InputError(
                        f"{info.filename[:60]!r} in it unpacks to more than "
                        f"{MOST_BYTES // 2**20} MB; save less in it"
                    )
                room -= len(data)
                members[info.filename] = data
    except InputError:
        raise
    except _BROKEN as error:
        said = " ".join(str(error).split())[:80]
        raise InputError(f"broken or encrypted zip archive ({said}); copy it again") from error
    return members


def read_kml(path: Path) -> Element:
    """Return the root of a KML, or of the main document of a KMZ; raises `InputError`."""
    content = read_whole(path)
    kind = path.suffix.lower().removeprefix(".").upper()
    try:
        if content.startswith(b"PK"):
            content = _main_kml(content)
        return parse_xml(content)
    except InputError as error:
        raise InputError(f"{path}: cannot be read as {kind}; {error}") from error


def _main_kml(content: bytes) -> bytes:
    members = unzipped(content, re.compile(r"\.kml$"))
    if not members:
        raise InputError("it holds no KML file")
    # By the KML reference, the first at the top; doc.kml by custom.
    return members[min(members, key=lambda name: (name.count("/"), name.lower() != "doc.kml"))]


def list_layers(path: Path) -> dict[str, str]:
    """Return the layers of a vector file with their kind of geometry, in lower case.

    A layer without geometry has an empty one.

    Raises
    ------
    InputError
        If the file cannot be read, or is none of the kinds in `READ`.
    """
    import pyogrio

    with _said(path):
        found: dict[str, str] = {}
        for source in _sources(path):
            kinds = (kind for _, kind in pyogrio.list_layers(source))
            names = _layer_names(source)
            found |= {name: (kind or "").lower() for name, kind in zip(names, kinds, strict=True)}
    return found


def read_layer(
    path: Path, layer: str, *, columns: Sequence[str] | None = None
) -> tuple[NDArray[Any], str | None, dict[str, NDArray[Any]]]:
    """Return the shapes of one layer without heights, its CRS, and its columns, all (N,).

    Raises `InputError` as `list_layers` does, and if the layer cannot be read.
    """
    import pyogrio
    import shapely

    with _said(path):
        for source in _sources(path):
            names = _layer_names(source)
            if layer in names:
                meta, _, wkb, values = pyogrio.raw.read(
                    source, layer=names.index(layer), columns=columns, force_2d=True
                )
                shapes = np.array([None]) if wkb is None else shapely.from_wkb(wkb)
                named = dict(zip(map(str, meta["fields"]), values, strict=True))
                return shapes, meta["crs"], named
    raise InputError(f"{path}: has no layer {layer!r}; name one that it has")


def _layer_names(source: str | bytes) -> list[str]:
    """Return the layers' names; one that has none in a file read from memory is named by number.

    GDAL would call it by the name of the memory, which is another one each time.
    """
    import pyogrio

    names = [str(name) for name, _ in pyogrio.list_layers(source)]
    if isinstance(source, str):
        return names
    return [
        f"layer {number}" if name.startswith(IN_MEMORY) else name
        for number, name in enumerate(names, 1)
    ]


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Turn what GDAL and GEOS say of a damaged file into one line."""
    from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, GeometryError
    from shapely.errors import GEOSException

    try:
        with warnings.catch_warnings():
            # What GDAL makes of an odd shape is judged by those who asked for it.
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (
        *(DataSourceError, DataLayerError, FeatureError, GeometryError),
        *(GEOSException, ValueError, OverflowError),
    ) as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: cannot be read as a vector file; {said}") from error


def _sources(path: Path) -> list[str | bytes]:
    """Return what GDAL may open of a file: its path, parts of a zip, or its content.

    Raises `InputError`, without the path, if it may open nothing.
    """
    if path.is_dir():
        if path.suffix.lower() == ".gdb" and (path / "a00000001.gdbtable").is_file():
            return [str(path)]
        raise InputError(f"is a folder; give a file: {READ}")
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}); check the path") from error
    if head.startswith(_BINARY_KINDS):
        return [str(path)]
    if head.startswith(b"PK"):
        return _zipped_sources(path)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"{"):
        _refuse_odd_json(read_whole(path, MOST_JSON_BYTES))
        return [str(path)]
    if start.startswith(b"<") or head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        content = read_whole(path)
        root = parse_xml(content)
        if root.tag.rpartition("}")[2] == "kml":
            return [_as_utf8(content)]
        if _GML.search(root.tag) and b"<OGR" not in content:
            return [str(path)]
    raise InputError(f"cannot be read as a vector file; save it as one of {READ}")


def _zipped_sources(path: Path) -> list[str | bytes]:
    content = read_whole(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except _BROKEN as error:
        raise InputError(f"broken zip archive ({error}); copy it again") from error
    if any(name.lower().endswith(".kml") for name in names):
        return [_main_kml(content)]
    shapes = unzipped(content, re.compile(r"\.(?:shp|shx|dbf|prj|cpg)$"))
    found = [name for name, data in shapes.items() if data.startswith(_BINARY_KINDS[2])]
    if not [name for name in found if name.lower().endswith(".shp")]:
        raise InputError("a zip archive without a shapefile or KML; give the file that is in it")
    return [f"/vsizip/{{{path.resolve()}}}/{n}" for n in found if n.lower().endswith(".shp")]


def _refuse_odd_json(content: bytes) -> None:
    """Refuse a JSON that names its CRS by an address, which GDAL would ask for it."""
    text = content.decode("utf-8-sig")
    if _HIDDEN_LETTER.search(text) or "gdal_streamed_alg" in text:
        raise InputError("not GeoJSON as people write it; save it again")
    for match in _CRS_OF_JSON.finditer(text):
        try:
            crs, _ = json.JSONDecoder().raw_decode(text, match.end())
        except RecursionError as error:
            raise InputError("JSON nested too deep; save it again") from error
        if str(crs.get("type", "")).lower() not in ("name", "epsg"):
            raise InputError("GeoJSON that refers to its CRS elsewhere; save it again with a name")
