"""Where a photograph was taken, how well that is known, and what its height is measured from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ingest.tags import Tags
from tmp.captures import HeightDatum

LOWEST_GROUND_M = -440.0
"""Shore of the Dead Sea; a lower height means that the sign in EXIF is wrong."""

_AGREE_DEG = 3e-6
"""0.3 m: EXIF and XMP positions closer than this are one fix at two precisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """One GNSS fix."""

    longitude_deg: float | None = None
    latitude_deg: float | None = None
    height_m: float | None = None
    height_datum: HeightDatum = HeightDatum.UNKNOWN
    sigma_horizontal_m: float = 3.0
    sigma_vertical_m: float = 6.0
    source: str = ""
    """Which tags it rests on, or why there is none."""
    height_takeoff_m: float | None = None
    """Height above the take-off point."""


def read_position(tags: Tags) -> Position:
    """Weigh EXIF and XMP into one position with its standard deviations.

    Notes
    -----
    XMP is taken where both agree, for it has more digits; where they differ, EXIF, because
    tools that improve positions after the flight rewrite EXIF only.
    """
    takeoff_m = tags.xmp_number("RelativeAltitude")
    exif, xmp = _exif_place(tags), _xmp_place(tags)
    if exif is None and xmp is None:
        return Position(source=_why_none(tags), height_takeoff_m=takeoff_m)
    rewritten = False
    if exif is None:
        place, origin = xmp, "XMP"
    elif xmp is None:
        place, origin = exif, "EXIF"
    else:
        rewritten = max(abs(exif[0] - xmp[0]), abs(exif[1] - xmp[1])) > _AGREE_DEG
        place, origin = (exif, "EXIF, differs from XMP") if rewritten else (xmp, "XMP")
    assert place is not None
    horizontal_m, vertical_m, quality = _sigmas(tags, rewritten=rewritten)
    return Position(
        longitude_deg=place[0],
        latitude_deg=place[1],
        height_m=_height(tags),
        height_datum=_datum(tags),
        sigma_horizontal_m=horizontal_m,
        sigma_vertical_m=vertical_m,
        source=f"{origin} {quality}",
        height_takeoff_m=takeoff_m,
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


_RTK = ((50, "RTK fixed", 0.03, 0.05), (32, "RTK float", 0.5, 1.0), (16, "GNSS single", 2.0, 4.0))
"""RtkFlag from, its name, and standard deviations where the receiver gives none."""


def _sigmas(tags: Tags, *, rewritten: bool) -> tuple[float, float, str]:
    """Return standard deviations (horizontal, vertical, m) and the evidence for them."""
    if not rewritten and (flag := _rtk_flag(tags)) >= 16:
        name, horizontal_m, vertical_m = next(row[1:] for row in _RTK if flag >= row[0])
        east, north = tags.xmp_number("RtkStdLon"), tags.xmp_number("RtkStdLat")
        up = tags.xmp_number("RtkStdHgt")
        if east and north and up:
            # Below a centimetre the lever arm and the shutter's delay rule, not the receiver.
            return max(0.01, math.hypot(east, north) / math.sqrt(2)), max(0.01, up), name
        return horizontal_m, vertical_m, f"{name} (typical accuracy)"
    horizontal = tags.xmp_number("GPSXYAccuracy", namespace="pix4d")
    if horizontal:
        vertical = tags.xmp_number("GPSZAccuracy", namespace="pix4d")
        return horizontal, vertical or 2 * horizontal, "GNSS (GPSXYAccuracy)"
    # exifread knows GPSHPositioningError by its number only.
    error = tags.number("GPS Tag 0x001F") or tags.number("GPS GPSHPositioningError")
    if error:
        return error, 2 * error, "GNSS (GPSHPositioningError)"
    dilution = tags.number("GPS GPSDOP")
    if dilution and dilution < 50:
        # 2 m of range error per unit of dilution suits a single-frequency receiver outdoors.
        return max(1.0, 2 * dilution), max(2.0, 4 * dilution), "GNSS (GPSDOP)"
    return 3.0, 6.0, "GNSS (typical accuracy)"
