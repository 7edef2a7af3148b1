"""When a photograph was taken, in UTC, and how its time zone was settled."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from ingest.tags import Tags

_CLOCKS_IN_UTC = ("micasense", "sequoia")
"""Makers and models whose DateTimeOriginal is UTC by design."""

_STAMP = re.compile(r"(\d{4})\D(\d\d)\D(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.(\d+))?")
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")


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
    zone_h = round(longitude_deg / 15)
    return (
        local - timedelta(hours=zone_h),
        f"DateTimeOriginal, taken as UTC{zone_h:+03d}:00 from the longitude (may be 1 to 2 h off)",
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
