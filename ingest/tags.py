"""What a photograph's file says of itself: EXIF, XMP, size in pixels, and whether it is whole."""

from __future__ import annotations

import io
import logging
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree as SafeXml
import exifread
from defusedxml import DefusedXmlException

log = logging.getLogger(__name__)
# It warns about each photograph without EXIF; the verdicts say that better.
logging.getLogger("exifread").setLevel(logging.ERROR)

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """All tags of one photograph, with forgiving look-ups."""

    kind: str
    """``jpeg``, ``tiff``, ``png``, or empty for anything else."""
    width_px: int = 0
    height_px: int = 0
    """Size as stored, before any EXIF orientation; zero when it cannot be told."""
    truncated: bool = False
    """Whether the file ends before its picture does."""
    exif: Mapping[str, Any] = field(default_factory=dict)
    """exifread's tags, as ``"GPS GPSLatitude"``."""
    xmp: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Namespace and text of each XMP property, by its local name."""

    def text(self, name: str) -> str:
        """Return an EXIF tag as text, without padding; empty when absent."""
        tag = self.exif.get(name)
        return "" if tag is None else str(tag).replace("\x00", "").strip()

    def numbers(self, name: str) -> list[float]:
        """Return an EXIF tag's finite numbers; empty when absent or damaged."""
        tag = self.exif.get(name)
        values = [] if tag is None else tag.values
        if isinstance(values, str | bytes):
            values = [values]
        try:
            # exifread wraps each number of a floating-point tag in a tuple.
            found = [float(v[0] if isinstance(v, tuple) else v) for v in values]
        except (TypeError, ValueError, ZeroDivisionError, IndexError):
            return []
        return found if all(map(math.isfinite, found)) else []

    def number(self, name: str) -> float | None:
        """Return the first number of an EXIF tag."""
        return next(iter(self.numbers(name)), None)

    def xmp_text(self, *names: str, namespace: str = "") -> str:
        """Return the first of several XMP properties, in any namespace whose URI holds a word."""
        for name in names:
            for uri, value in self.xmp.get(name, ()):
                if namespace in uri:
                    return value
        return ""

    def xmp_numbers(self, *names: str, namespace: str = "") -> list[float]:
        """Return the numbers in an XMP property; a sequence or a list with commas."""
        return numbers_in(self.xmp_text(*names, namespace=namespace))

    def xmp_number(self, *names: str, namespace: str = "") -> float | None:
        """Return an XMP property that is one number."""
        found = self.xmp_numbers(*names, namespace=namespace)
        return found[0] if len(found) == 1 else None


def read_tags(data: bytes) -> Tags:
    """Read the tags of one photograph from the bytes of its file.

    Parameters
    ----------
    data : bytes
        The whole file.

    Notes
    -----
    Never raises on damaged content: what cannot be read is absent.
    """
    if data.startswith(b"\xff\xd8"):
        width_px, height_px, picture_at = _jpeg_layout(data)
        # Inside entropy-coded data 0xFF is always followed by a stuffed zero or a restart
        # marker, so an FF D9 behind the start of scan ends this picture and not a thumbnail.
        return Tags(
            kind="jpeg",
            width_px=width_px,
            height_px=height_px,
            truncated=picture_at < 0 or data.rfind(b"\xff\xd9", picture_at) < 0,
            exif=_read_exif(data),
            xmp=parse_xmp(data[: picture_at if picture_at > 0 else len(data)]),
        )
    if data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        exif = _read_exif(data)
        tags = Tags(kind="tiff", exif=exif, xmp=parse_xmp(data))
        return Tags(
            kind="tiff",
            width_px=int(tags.number("Image ImageWidth") or 0),
            height_px=int(tags.number("Image ImageLength") or 0),
            truncated=_strips_end(tags) > len(data),
            exif=exif,
            xmp=tags.xmp,
        )
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        width_px, height_px = struct.unpack(">II", data[16:24])
        return Tags(
            kind="png",
            width_px=width_px,
            height_px=height_px,
            truncated=b"IEND" not in data[-64:],
            exif=_read_exif(data),
            xmp=parse_xmp(data[: 1 << 18]),
        )
    return Tags(kind="")


def parse_xmp(data: bytes) -> dict[str, tuple[tuple[str, str], ...]]:
    """Find and flatten the XMP packet in a file's bytes.

    Attributes, elements and ``rdf:Seq``, ``rdf:Bag`` and ``rdf:Alt`` lists of all
    ``rdf:Description`` are merged; the items of a list are joined with commas.

    Returns
    -------
    dict
        Local name to (namespace URI, text) pairs, as makers put the same name in several
        namespaces.

    Examples
    --------
    >>> parse_xmp(
    ...     b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    ...     b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    ...     b'<rdf:Description xmlns:d="dji" d:RtkFlag="50"/></rdf:RDF></x:xmpmeta>'
    ... )
    {'RtkFlag': (('dji', '50'),)}
    """
    start = data.find(b"<x:xmpmeta")
    end = data.find(b"</x:xmpmeta>", start)
    if start < 0 or end < 0:
        return {}
    try:
        root = SafeXml.fromstring(data[start : end + len(b"</x:xmpmeta>")])
    except (ParseError, DefusedXmlException, ValueError) as error:
        log.info("XMP packet is not readable: %s", error)
        return {}
    found: dict[str, list[tuple[str, str]]] = {}
    for description in root.iter(f"{RDF}Description"):
        properties = [*description.attrib.items(), *((e.tag, _value(e)) for e in description)]
        for name, value in properties:
            uri, _, local = name.removeprefix("{").rpartition("}")
            if uri != RDF[1:-1]:
                found.setdefault(local, []).append((uri, value.strip()))
    return {name: tuple(values) for name, values in found.items()}


def numbers_in(text: str) -> list[float]:
    """Return the finite numbers in a list with commas; empty when any part is none.

    Examples
    --------
    >>> numbers_in("+198.31, 0"), numbers_in("1,nan"), numbers_in("")
    ([198.31, 0.0], [], [])
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) else []


def _value(element: Element) -> str:
    items = [(item.text or "").strip() for item in element.iter(f"{RDF}li")]
    return ",".join(items) if items else element.text or ""


def _read_exif(data: bytes) -> dict[str, Any]:
    try:
        tags: dict[str, Any] = exifread.process_file(io.BytesIO(data), details=False)
    except Exception as error:  # a damaged tag must not take the photograph with it
        log.info("EXIF is not readable: %s", error)
        return {}
    return tags


_SEGMENT = re.compile(rb"\xff+([\x01-\xfe])", re.DOTALL)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start-of-frame markers: all of 0xC0–0xCF that are not tables (ITU-T T.81, table B.1)."""


def _jpeg_layout(data: bytes) -> tuple[int, int, int]:
    """Return width, height, and the offset of the first scan or -1, walking the segments."""
    width_px = height_px = 0
    at = 2
    while (marker := _SEGMENT.match(data, at)) and marker.end() + 2 <= len(data):
        code = marker.group(1)[0]
        at = marker.end()
        if code == 0xDA:
            return width_px, height_px, at
        if 0xD0 <= code <= 0xD9 or code == 0x01:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if code in _FRAMES and at + 7 <= len(data):
            height_px, width_px = struct.unpack_from(">HH", data, at + 3)
        at += length
    return width_px, height_px, -1


def _strips_end(tags: Tags) -> float:
    """Return the offset behind the last strip or tile of a TIFF; 0 when it cannot be told."""
    for part in ("Strip", "Tile"):
        starts = tags.numbers(f"Image {part}Offsets")
        sizes = tags.numbers(f"Image {part}ByteCounts")
        if starts and len(starts) == len(sizes):
            return max(start + size for start, size in zip(starts, sizes, strict=True))
    return 0
