"""Say in plain words which bands, captures, flights and panels a survey holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ingest.bandverdicts import shutter
from ingest.rigs import rigs_of
from tmp.captures import Capture, CaptureKind

Line = tuple[str, str]
"""Label and text."""

FLIGHTS_SHOWN = 8
BAND_ORDER = ("", "blue", "green", "red", "rededge", "nir")
"""Colour first, then by wavelength; other bands follow by name."""


def tell_bands(captures: Sequence[Capture]) -> Iterator[Line]:
    """Yield a line for each camera body that takes bands, with its captures and their bands."""
    if not any(c.band for c in captures):
        return
    rigs = rigs_of(captures)
    for body in sorted({c.body for c in captures if c.band}):
        mine = {rig: photos for rig, photos in rigs.items() if any(c.body == body for c in photos)}
        photos = [c for c in captures if c.body == body and c.used]
        if mine:
            sets = Counter(_names({c.band for c in members}) for members in mine.values())
            said = ", ".join(f"{count} × {names}" for names, count in sets.most_common(3))
            count = f"{len(mine)} capture" + ("s" if len(mine) != 1 else "")
            yield "bands", f"{_model(body)}: {count}, {said}{_exposures(photos)}"
        else:
            sets = Counter(c.band for c in photos)
            said = ", ".join(f"{count} × {band}" for band, count in sets.most_common(3))
            yield "bands", f"{_model(body)}: {said}{_exposures(photos)}"


def tell_flights(captures: Sequence[Capture]) -> Iterator[Line]:
    """Yield a line for each flight, where there are several or a camera took bands."""
    flights = sorted({c.flight for c in captures if c.flight}, key=int)
    if len(flights) < 2 and not any(c.band for c in captures):
        return
    for flight in flights[:FLIGHTS_SHOWN]:
        members = [c for c in captures if c.flight == flight and c.kind is CaptureKind.SURVEY]
        times = sorted(c.time_utc for c in members if c.time_utc is not None)
        if not times:
            continue
        bands = _names({c.band for c in members})
        count = f"{len(members)} photograph" + ("s" if len(members) != 1 else "")
        label = "flights" if flight == flights[0] else ""
        yield label, f"{flight}: {times[0]:%Y-%m-%d %H:%M} to {times[-1]:%H:%M}, {count}, {bands}"
    if len(flights) > FLIGHTS_SHOWN:
        yield "", f"and {len(flights) - FLIGHTS_SHOWN} more, see survey.gpkg"


def tell_panels(captures: Sequence[Capture]) -> Iterator[Line]:
    """Yield a line on the pictures of reflectance panels, where a camera took bands."""
    if not any(c.band for c in captures):
        return
    panels = [c for c in captures if c.kind is CaptureKind.PANEL]
    if not panels:
        yield (
            "panels",
            "none seen or marked; reflectance will rest on sun sensors, or be relative",
        )
        return
    shots = len({c.rig_id or c.name for c in panels})
    flights = sorted({c.flight for c in panels if c.flight}, key=int)
    beside = f", with flight {', '.join(flights)}" if flights else ", with no flight near in time"
    count = f"{shots} capture" + ("s" if shots != 1 else "")
    yield "panels", f"{count} ({len(panels)} files) of a reflectance panel{beside}; not mapped"


def _names(bands: Iterable[str]) -> str:
    ordered = sorted(
        bands, key=lambda b: (BAND_ORDER.index(b) if b in BAND_ORDER else len(BAND_ORDER), b)
    )
    return "/".join(band or "RGB" for band in ordered)


def _model(body: str) -> str:
    """Return make and model, and the end of the serial number."""
    model, slash, serial = body.partition(" / ")
    return f"{model or 'camera'} …{serial[-4:]}" if slash else model or "camera"


def _exposures(captures: Sequence[Capture]) -> str:
    times = sorted(c.exposure_s for c in captures if c.band and c.exposure_s)
    if not times:
        return ""
    first, last = shutter(times[0]), shutter(times[-1])
    return f"; exposed {first}" + ("" if first == last else f" to {last}")
