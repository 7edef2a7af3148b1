"""What a photograph's file says of itself: EXIF, XMP, size in pixels, and whether it is whole.

When it was taken is given in UTC, with how the time zone was settled; where, with how well that is
known and what the height is measured from.
"""

from __future__ import annotations

import io
import logging
import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree as SafeXml
import exifread
from defusedxml import DefusedXmlException

from tmp.captures import HeightDatum
from tmp.errors import LARGEST, SMALLEST
from tmp.geo.frames import zone_of_longitude

log = logging.getLogger(__name__)
# It warns about each photograph without EXIF; the verdicts say that better.
logging.getLogger("exifread").setLevel(logging.ERROR)

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"

_SEGMENT = re.compile(rb"\xff+([\x01-\xfe])", re.DOTALL)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start-of-frame markers: all of 0xC0–0xCF that are not tables (ITU-T T.81, table B.1)."""
_CLOCKS_IN_UTC = ("micasense", "sequoia")
"""Makers and models whose DateTimeOriginal is UTC by design."""
_STAMP = re.compile(r"(\d{4})\D(\d\d)\D(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.(\d+))?")
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
LEAST_BYTES_PER_PX = {"jpeg": 0.002, "png": 1e-5}
"""A file with less holds fewer pixels than it says: black ones take 0.003 and 0.0001."""
LOWEST_GROUND_M = -440.0
"""Shore of the Dead Sea; a lower height means that the sign in EXIF is wrong."""
_AGREE_DEG = 3e-6
"""0.3 m: EXIF and XMP positions closer than this are one fix at two precisions."""
_RTK = ((50, "RTK fixed", 0.03, 0.05), (32, "RTK float", 0.5, 1.0), (16, "GNSS single", 2.0, 4.0))
"""RtkFlag from, its name, and standard deviations where the receiver gives none."""
_RTK_SIGMAS = ("RtkStdLon", "RtkStdLat", "RtkStdHgt")
WORST_SIGMA_M = 1000.0
"""No receiver gives out a fix that it holds for worse."""
WORST_DILUTION = 50.0
"""From here on a dilution of precision stands for no fix."""
FARTHEST_HEIGHT_M = 100_000.0
"""Where space begins: a larger number, either way, is a damaged tag and no height."""


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
    short: bool = False
    """Whether the file is too small for a picture of the size that its header says."""
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
        """Return the first number of an EXIF tag; None too if no figure can be so large."""
        found = next(iter(self.numbers(name)), None)
        # A ratio ends at 2**32, but a damaged DOUBLE says 1e64.
        return None if found is None or abs(found) > LARGEST else found

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
    """Read the tags of one photograph from the bytes of its whole file.

    Never raises on damaged content: what cannot be read is absent.
    """
    if data.startswith(b"\xff\xd8"):
        kind = "jpeg"
        width_px, height_px, picture_at = _jpeg_layout(data)
        # Inside entropy-coded data 0xFF is always followed by a stuffed zero or a restart
        # marker, so an FF D9 behind the start of scan ends this picture and not a thumbnail.
        truncated = picture_at < 0 or data.rfind(b"\xff\xd9", picture_at) < 0
        head = data[:picture_at] if picture_at > 0 else data
    elif data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        kind, head = "tiff", data
    elif data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        kind, head = "png", data[: 1 << 18]
        width_px, height_px = struct.unpack(">II", data[16:24])
        truncated = b"IEND" not in data[-64:]
    else:
        return Tags(kind="")
    tags = Tags(kind=kind, exif=_read_exif(data), xmp=parse_xmp(head))
    if kind == "tiff":
        width_px = int(tags.number("Image ImageWidth") or 0)
        height_px = int(tags.number("Image ImageLength") or 0)
        truncated = _strips_end(tags) > len(data)
        short = _lacks_strips(tags, width_px, height_px)
    else:
        short = len(data) < LEAST_BYTES_PER_PX[kind] * width_px * height_px
    return replace(tags, width_px=width_px, height_px=height_px, truncated=truncated, short=short)


def parse_xmp(data: bytes) -> dict[str, tuple[tuple[str, str], ...]]:
    """Find and flatten the XMP packet in a file's bytes.

    Attributes, elements and ``rdf:Seq``, ``rdf:Bag`` and ``rdf:Alt`` lists of all
    ``rdf:Description`` are merged; the items of a list are joined with commas. Returned are
    (namespace URI, text) pairs by local name, as makers put the same name in several namespaces.

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


def _lacks_strips(tags: Tags, width_px: int, height_px: int) -> bool:
    """Tell whether the strips of a TIFF are too few, or without compression too small, for it."""
    sizes = tags.numbers("Image StripByteCounts")
    rows = tags.number("Image RowsPerStrip")
    if not sizes or not rows:
        return False
    if len(sizes) < math.ceil(height_px / rows):
        return True
    bits = math.fsum(tags.numbers("Image BitsPerSample")) or 1.0
    return tags.number("Image Compression") == 1 and sum(sizes) < width_px * height_px * bits / 8


def read_time(tags: Tags, longitude_deg: float | None) -> tuple[datetime | None, str]:
    """Return the time of exposure in UTC, to the millisecond, and its evidence in words.

    The best of: UTC recorded at exposure, GPS date and time, DateTimeOriginal with its offset,
    DateTimeOriginal of cameras that keep UTC, DateTimeOriginal with the zone that the
    longitude suggests.
    """
    if (moment := _stamp(tags.xmp_text("UTCAtExposure"))) is not None:
        return moment, "UTCAtExposure"
    if (moment := _gps_moment(tags)) is not None:
        return moment, "GPS date and time"
    local = _stamp(
        tags.text("EXIF DateTimeOriginal"), tags.text("EXIF SubSecTimeOriginal")
    ) or _stamp(tags.text("Image DateTime"))
    if local is None:
        return None, ""
    offset = _OFFSET.match(tags.text("EXIF OffsetTimeOriginal") or tags.text("EXIF OffsetTime"))
    if offset:
        sign, hours, minutes = offset.groups()
        east = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
        return local - east, "DateTimeOriginal with OffsetTimeOriginal"
    maker = f"{tags.text('Image Make')} {tags.text('Image Model')}".casefold()
    if any(name in maker for name in _CLOCKS_IN_UTC):
        return local, "DateTimeOriginal, which this camera keeps in UTC"
    if longitude_deg is None:
        return local, "DateTimeOriginal without a zone, taken as UTC"
    zone = zone_of_longitude(longitude_deg)
    return (
        local.replace(tzinfo=zone).astimezone(UTC),
        f"DateTimeOriginal, taken as {zone} from the longitude (may be 1 to 2 h off)",
    )


def _gps_moment(tags: Tags) -> datetime | None:
    clock = tags.numbers("GPS GPSTimeStamp")
    date = tags.text("GPS GPSDate") or tags.text("GPS GPSDateStamp")
    midnight = _stamp(f"{date} 00:00:00")
    if midnight is None or len(clock) != 3:
        return None
    seconds = clock[0] * 3600 + clock[1] * 60 + clock[2]
    return midnight + timedelta(milliseconds=round(1000 * seconds))


def _stamp(text: str, subsecond: str = "") -> datetime | None:
    """Parse ``2016:06:23 16:31:59`` or ISO 8601; the year must be one drones have seen."""
    match = _STAMP.match(text)
    if match is None:
        return None
    *whole, fraction = match.groups()
    digits = fraction or (subsecond if subsecond.isdigit() else "")
    try:
        moment = datetime(*map(int, whole), tzinfo=UTC)  # type: ignore[arg-type, misc]
    except ValueError:
        return None
    if moment.year < 1990:
        return None
    return moment + timedelta(milliseconds=int(1000 * float(f"0.{digits or 0}")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """One GNSS fix, in the fields of `tmp.captures.Capture`."""

    longitude_deg: float | None = None
    latitude_deg: float | None = None
    height_m: float | None = None
    height_datum: HeightDatum = HeightDatum.UNKNOWN
    sigma_horizontal_m: float = 3.0
    sigma_vertical_m: float = 6.0
    position_source: str = ""
    """Which tags it rests on, or why there is none."""
    height_takeoff_m: float | None = None
    """Height above the take-off point."""
    problems: str = ""
    """What the tags say that cannot be true, and was not believed."""


def read_position(tags: Tags) -> Position:
    """Weigh EXIF and XMP into one position with its standard deviations.

    XMP is taken where both agree, for it has more digits; where they differ, EXIF, because
    tools that improve positions after the flight rewrite EXIF only.
    """
    takeoff_m = tags.xmp_number("RelativeAltitude")
    if takeoff_m is not None and _far_off(takeoff_m):
        takeoff_m = None
    problems = "; ".join(_impossible(tags))
    exif, xmp = _exif_place(tags), _xmp_place(tags)
    if exif is None and xmp is None:
        return Position(
            position_source=_why_none(tags), height_takeoff_m=takeoff_m, problems=problems
        )
    rewritten = False
    if exif is None:
        place, origin = xmp, "XMP"
    elif xmp is None:
        place, origin = exif, "EXIF"
    else:
        rewritten = max(abs(exif[0] - xmp[0]), abs(exif[1] - xmp[1])) > _AGREE_DEG
        place, origin = (exif, "EXIF, differs from XMP") if rewritten else (xmp, "XMP")
    assert place is not None
    accuracy, height_m = _accuracy(tags, rewritten=rewritten), _height(tags)
    return Position(
        longitude_deg=place[0],
        latitude_deg=place[1],
        height_m=None if height_m is None or _far_off(height_m) else height_m,
        height_datum=_datum(tags),
        sigma_horizontal_m=accuracy.horizontal_m,
        sigma_vertical_m=accuracy.vertical_m,
        position_source=f"{origin} {accuracy.evidence}",
        height_takeoff_m=takeoff_m,
        problems=problems,
    )


def _exif_place(tags: Tags) -> tuple[float, float] | None:
    """Return longitude and latitude of the GPS tags, or None when absent, void or (0, 0)."""
    if tags.text("GPS GPSStatus") == "V":
        return None
    longitude = _degrees(tags, "Longitude", "W")
    latitude = _degrees(tags, "Latitude", "S")
    return _on_earth(longitude, latitude)


def _degrees(tags: Tags, axis: str, negative: str) -> float | None:
    parts = tags.numbers(f"GPS GPS{axis}")
    if not parts:
        return None
    value = math.fsum(part / 60.0**power for power, part in enumerate(parts[:3]))
    return -value if tags.text(f"GPS GPS{axis}Ref").upper().startswith(negative) else value


def _xmp_place(tags: Tags) -> tuple[float, float] | None:
    # Some firmware spells it GpsLongtitude.
    longitude = tags.xmp_number("GpsLongitude", "GpsLongtitude", "GPSLongitude", namespace="dji")
    latitude = tags.xmp_number("GpsLatitude", "GPSLatitude", namespace="dji")
    return _on_earth(longitude, latitude)


def _on_earth(longitude: float | None, latitude: float | None) -> tuple[float, float] | None:
    if longitude is None or latitude is None or (longitude == 0 and latitude == 0):
        return None
    if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
        return None
    return longitude, latitude


def _why_none(tags: Tags) -> str:
    if tags.text("GPS GPSStatus") == "V":
        return "the receiver had no fix (GPSStatus V)"
    if tags.numbers("GPS GPSLatitude") or tags.xmp_number("GpsLatitude") is not None:
        return "the recorded position is zero or not on Earth"
    return "no GPS tags"


def _height(tags: Tags) -> float | None:
    """Return the height of the fix; exactly zero counts as absent, a wrong sign is mended."""
    recorded = tags.number("GPS GPSAltitude")
    absolute = tags.xmp_number("AbsoluteAltitude")
    if not recorded:
        return absolute or None
    reference = tags.number("GPS GPSAltitudeRef")
    height = -recorded if reference in (1, 3) and recorded > 0 else recorded
    if absolute and absolute * height < 0 and math.isclose(absolute, -height, abs_tol=1.0):
        return absolute
    return abs(height) if height < LOWEST_GROUND_M else height


def _datum(tags: Tags) -> HeightDatum:
    """Tell what the height is measured from, as far as the tags bear it out.

    References
    ----------
    EXIF 3.0, 4.6.6: GPSAltitudeRef 2 and 3 mean sea level.  DJI Mavic 3M user manual, XMP
    field list: AltitudeType, RtkFlag.
    """
    if "EGM" in tags.text("GPS GPSMapDatum").upper():
        return HeightDatum.EGM96
    kind = tags.xmp_text("AltitudeType").casefold()
    if "rtk" in kind or (not kind and _rtk_flag(tags) >= 16):
        return HeightDatum.ELLIPSOID
    if "pressure" in kind:
        return HeightDatum.BAROMETRIC
    if tags.number("GPS GPSAltitudeRef") in (2, 3):
        return HeightDatum.EGM96
    return HeightDatum.UNKNOWN


def _rtk_flag(tags: Tags) -> int:
    return int(tags.xmp_number("RtkFlag") or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Accuracy:
    """How well a position is known, and what says so."""

    horizontal_m: float = 3.0
    vertical_m: float = 6.0
    evidence: str = "GNSS (typical accuracy)"


def _accuracy(tags: Tags, *, rewritten: bool) -> _Accuracy:
    """Return the standard deviations of a position by the best evidence that can be true."""
    if not rewritten and (flag := _rtk_flag(tags)) >= 16:
        name, horizontal_m, vertical_m = next(row[1:] for row in _RTK if flag >= row[0])
        east, north, up = (_believed(tags.xmp_number(tag)) for tag in _RTK_SIGMAS)
        if east and north and up:
            # Below a centimetre the lever arm and the shutter's delay rule, not the receiver.
            horizontal_m = max(0.01, math.hypot(east, north) / math.sqrt(2))
            return _Accuracy(horizontal_m=horizontal_m, vertical_m=max(0.01, up), evidence=name)
        evidence = f"{name} (typical accuracy)"
        return _Accuracy(horizontal_m=horizontal_m, vertical_m=vertical_m, evidence=evidence)
    for tag, (horizontal, vertical) in _stated_accuracies(tags).items():
        if (horizontal := _believed(horizontal)) is not None:
            vertical = _believed(vertical) or 2 * horizontal
            evidence = f"GNSS ({tag})"
            return _Accuracy(horizontal_m=horizontal, vertical_m=vertical, evidence=evidence)
    dilution = tags.number("GPS GPSDOP")
    if dilution is not None and 0 < dilution < WORST_DILUTION:
        # 2 m of range error per unit of dilution suits a single-frequency receiver outdoors.
        return _Accuracy(
            horizontal_m=max(1.0, 2 * dilution),
            vertical_m=max(2.0, 4 * dilution),
            evidence="GNSS (GPSDOP)",
        )
    return _Accuracy()


def _stated_accuracies(tags: Tags) -> dict[str, tuple[float | None, float | None]]:
    """Return standard deviations as tags state them, horizontal and vertical, the best first."""
    # exifread knows GPSHPositioningError by its number only.
    error = tags.number("GPS Tag 0x001F") or tags.number("GPS GPSHPositioningError")
    return {
        "GPSXYAccuracy": (
            tags.xmp_number("GPSXYAccuracy", namespace="pix4d"),
            tags.xmp_number("GPSZAccuracy", namespace="pix4d"),
        ),
        "GPSHPositioningError": (error, None),
    }


def _believed(sigma_m: float | None) -> float | None:
    """Return a stated standard deviation; None where there is none or it cannot be true."""
    return sigma_m if sigma_m is not None and SMALLEST <= sigma_m <= WORST_SIGMA_M else None


def _impossible(tags: Tags) -> Iterator[str]:
    """Name what a photograph says of its position that cannot be true, and is not believed."""
    said = {tag: pair[0] for tag, pair in _stated_accuracies(tags).items()}
    said["GPSZAccuracy"] = _stated_accuracies(tags)["GPSXYAccuracy"][1]
    if _rtk_flag(tags) >= 16:
        said |= {tag: tags.xmp_number(tag) for tag in _RTK_SIGMAS}
    for tag, sigma_m in said.items():
        if sigma_m and _believed(sigma_m) is None:  # exactly 0 stands for unknown
            yield f"{tag} {sigma_m:g} m, not believed"
    if (height_m := tags.xmp_number("RelativeAltitude")) is not None and _far_off(height_m):
        yield f"RelativeAltitude {height_m:g} m, not believed"
    if (height_m := _height(tags)) is not None and _far_off(height_m):
        yield f"height {height_m:g} m, not believed"


def _far_off(height_m: float) -> bool:
    return not abs(height_m) <= FARTHEST_HEIGHT_M
