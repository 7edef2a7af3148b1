"""Say in plain words what an ingest did and what the survey now holds, bands and panels too."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ingest.changed import KEPT
from ingest.checks import shutter
from ingest.grouping import rigs_of
from ingest.photographs import IngestResult
from ingest.places import describe_places, span_km
from tmp.captures import Capture, CaptureKind, Flag, HeightDatum

Line = tuple[str, str]
"""Label and text."""

FLIGHTS_SHOWN = 8
BAND_ORDER = ("", "blue", "green", "red", "rededge", "nir")
"""Colour first, then by wavelength; other bands follow by name."""

NAMES_SHOWN = 5
"""Reasons told per flag; the GeoPackage has them all."""
_DATUMS = {
    HeightDatum.ELLIPSOID: "the WGS 84 ellipsoid",
    HeightDatum.EGM96: "the EGM96 geoid (sea level)",
    HeightDatum.BAROMETRIC: "the barometer's zero",
    HeightDatum.CONTROL: "the zero of the ground control",
    HeightDatum.UNKNOWN: "a level the camera does not name",
}


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
            said = f"{_count(len(mine), 'capture')}, {said}"
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
        count = _count(len(members), "photograph")
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
    count = _count(shots, "capture")
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


def summarise(result: IngestResult) -> list[str]:
    """Return the closing summary, line by line."""
    captures = result.captures
    again = f", {result.already} given again and skipped" if result.already else ""
    lines = [
        f"{_count(len(result.added), 'photograph')} added{again}; "
        f"{len(captures)} in {result.survey.folder}, {sum(c.used for c in captures)} of them used"
    ]
    if result.put_back:
        lines.append(
            f"  put back     {_count(len(result.put_back), 'photograph')} that had changed or was "
            f"lost; what lay there is in {KEPT}/, if anything did"
        )
    if result.ignored:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in result.ignored.most_common())
        lines.append(f"  passed over  other files: {kinds}")
    lines += [f"  {label:<11}  {text}" for label, text in _facts(result)]
    lines += _flags(result.flagged)
    lines += [f"  MIND: {note}" for note in result.notes]
    lines += [f"  LEFT OUT: {path}: {reason}" for path, reason in result.left_out.items()]
    lines += [f"  NOT TAKEN IN: {reason}" for reason in result.failed.values()]
    places = describe_places(captures)
    if len(places) > 1:
        lines.append(
            f"  PLACES: the photographs are of {len(places)} places, up to {span_km(captures):.0f} "
            "km apart, and a map is of one"
        )
        lines += [f"    {place}" for place in places]
    choice = " --place 1, or another of the places above" if len(places) > 1 else ""
    lines.append(f"next: tmp map {shlex.quote(str(result.survey.folder))}{choice}")
    return lines


def _facts(result: IngestResult) -> Iterable[tuple[str, str]]:
    used = [c for c in result.captures if c.used]
    moments = sorted(c.time_utc for c in used if c.time_utc is not None)
    if moments:
        evidence = Counter(c.time_evidence for c in used).most_common(1)[0][0]
        yield "taken", f"{moments[0]:%Y-%m-%d %H:%M} to {moments[-1]:%Y-%m-%d %H:%M} UTC"
        yield "", f"by {evidence}"
    placed = [c for c in used if c.positioned]
    if placed:
        if result.settings.origin is not None:
            yield "area", _area(result, placed)
        yield "positions", _positions(placed)
        heights = "heights count from " + _DATUMS[result.settings.vertical_datum]
        if len({c.height_datum for c in placed}) > 1:
            heights += "; BUT the photographs mix several, see survey.gpkg"
        yield "", heights
    else:
        yield "area", "no photograph has a position: the map will lack place, scale and north"
    yield from tell_bands(result.captures)
    yield from tell_flights(result.captures)
    yield from tell_panels(result.captures)
    for camera_id, count in Counter(c.camera_id for c in used).items():
        camera = result.settings.cameras[camera_id]
        yield (
            "camera",
            f"{camera_id}, {_count(count, 'photograph')}: focal length {camera.fx_px:.0f} px "
            f"± {100 * camera.focal_sigma:g} % from {camera.source}",
        )


def _area(result: IngestResult, placed: Sequence[Capture]) -> str:
    """Describe the extent of the camera positions, and how high they fly."""
    geodetic = np.array([(c.longitude_deg, c.latitude_deg, c.height_m) for c in placed], float)
    east, north, _ = np.ptp(result.settings.frame.world_from_geodetic(geodetic), axis=0)
    above = [c.height_takeoff_m for c in placed if c.height_takeoff_m is not None]
    height = f", {np.median(above):.0f} m above take-off" if above else ""
    return f"{east:.0f} m × {north:.0f} m between camera positions{height}; {result.settings.crs}"


def _positions(placed: Sequence[Capture]) -> str:
    kinds = Counter(c.position_source for c in placed).most_common(3)
    names = ", ".join(f"{count} × {kind}" if len(kinds) > 1 else kind for kind, count in kinds)
    horizontal_m = float(np.median([c.sigma_horizontal_m for c in placed]))
    vertical_m = float(np.median([c.sigma_vertical_m for c in placed]))
    return f"{names}; σ {_length(horizontal_m)} horizontally, {_length(vertical_m)} vertically"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _length(metres: float) -> str:
    return f"{metres:.1f} m" if metres >= 0.5 else f"{100 * metres:.1f} cm"


def _flags(flagged: Sequence[Capture]) -> list[str]:
    if not flagged:
        return ["  flagged      none"]
    lines = []
    for flag in Flag:
        have = [c for c in flagged if flag in c.flags]
        if have:
            used = any(c.used or c.kind is CaptureKind.PANEL for c in have)
            fate = "still used" if used else "left out"
            lines.append(f"  {flag}: {_count(len(have), 'photograph')}, {fate}")
            lines += _reasons(have)
    lines += [f"  {c.name}: {c.reason}" for c in flagged if not c.flags]
    lines.append("  to overrule: keep = [...] or drop = [...] under [photographs] in survey.toml")
    return lines


def _reasons(captures: Sequence[Capture]) -> list[str]:
    """Name photographs with their reasons, those of one reason together."""
    alike: dict[str, list[Capture]] = {}
    for capture in captures:
        alike.setdefault(capture.reason, []).append(capture)
    lines = []
    for reason, photos in list(alike.items())[:NAMES_SHOWN]:
        others = f" and {len(photos) - 1} more" if len(photos) > 1 else ""
        lines.append(f"    {photos[0].name}{others}: {reason}")
    if len(alike) > NAMES_SHOWN:
        hidden = sum(len(photos) for photos in list(alike.values())[NAMES_SHOWN:])
        lines.append(f"    and {hidden} more, see survey.gpkg")
    return lines
