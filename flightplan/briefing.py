"""One page to print and take along: what is flown, from where, when, and what to do by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from flightplan.briefing_map import WIDTH, draw_map
from flightplan.formats import FORMATS, Format
from flightplan.formats.checklists import AFTER_ANY, BEFORE_ANY, CHECKLISTS
from flightplan.formats.coordinates import wrapped
from flightplan.formats.ways import photo_ways, way_speed
from flightplan.missions import Mission, Place, Role
from tmp.errors import InputError
from tmp.files import replacing

COLOURS = ("#0b5394", "#b45f06", "#38761d", "#741b47", "#134f5c", "#7f6000")
"""Of sorties; dark enough for a grey print, and told apart there by their numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LightWindow:
    """When the light is right."""

    what: str
    """Such as "multispectral, sun above 35°"."""
    when: str
    """Such as "10:40 to 13:20, 21 June"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """What the page says; numbers that are NaN and texts that are empty are left out."""

    title: str
    missions: tuple[Mission, ...]
    """One for each sortie, in the order flown."""
    format: Format
    """What the mission files are written as; decides the checklist."""
    files: tuple[str, ...] = ()
    """Names of the mission files, one for each sortie."""
    battery_shares: tuple[float, ...] = ()
    """Used by each sortie, as fractions of a full battery."""
    drone: str = ""
    camera: str = ""
    area_ha: float = math.nan
    gsd_cm: tuple[float, float] = (math.nan, math.nan)
    """Finest and coarsest."""
    height_agl_m: tuple[float, float] = (math.nan, math.nan)
    """Lowest and highest above the ground on lines."""
    frontlap: float = math.nan
    sidelap: float = math.nan
    least_views: int = 0
    """Photographs that see each place of the area at least; 0 if not proven."""
    card_gb: float = math.nan
    """Space the photographs need."""
    wind: str = ""
    light: tuple[LightWindow, ...] = ()
    warnings: tuple[str, ...] = ()
    made: str = ""
    """Date and program, for the foot of the page."""

    def __post_init__(self) -> None:
        if not self.missions:
            raise InputError(f"briefing {self.title!r} has no mission; plan one first")
        for name in ("files", "battery_shares"):
            given = len(getattr(self, name))
            if given not in (0, len(self.missions)):
                raise InputError(
                    f"briefing {self.title!r}: {given} {name} for {len(self.missions)} missions; "
                    "give one for each"
                )


def write_briefing(path: Path, briefing: Briefing) -> None:
    """Write the briefing as a self-contained HTML page that prints on one sheet of A4.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    environment = Environment(
        loader=PackageLoader("flightplan"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("briefing.html.j2").render(
        briefing=briefing,
        facts=_facts(briefing),
        sorties=[_sortie(briefing, index) for index in range(len(briefing.missions))],
        places=_places(briefing.missions),
        totals=_totals(briefing),
        map=draw_map(briefing.missions),
        map_width=WIDTH,
        colours=COLOURS,
        file_format=FORMATS[briefing.format].title,
        before=BEFORE_ANY,
        steps=CHECKLISTS[briefing.format],
        after=AFTER_ANY,
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _facts(briefing: Briefing) -> list[tuple[str, str]]:
    """Return the page's facts as name and value."""
    missions = briefing.missions
    speeds = [
        way_speed(mission, index)
        for mission in missions
        for index, waypoint in enumerate(mission.waypoints)
        if waypoint.role is Role.LINE
    ]
    spacings = [s for mission in missions for s in photo_ways(mission.waypoints) if s > 0]
    laps = [briefing.frontlap * 100, briefing.sidelap * 100]
    facts = [
        ("Drone", briefing.drone),
        ("Camera", briefing.camera),
        ("Ground sampling", _span(briefing.gsd_cm, "cm", 1)),
        ("Height above ground", _span(briefing.height_agl_m, "m", 0)),
        ("Height above take-off", _span(_extremes(_heights(missions)), "m", 0)),
        ("Speed on lines", _span(_extremes(speeds), "m/s", 1)),
        ("Photograph every", _span(_extremes(spacings), "m", 1)),
        ("Timer", _span(_extremes([m.photo_interval_s for m in missions]), "s", 1)),
        ("Overlap", f"{laps[0]:.0f} % ahead, {laps[1]:.0f} % aside" if laps[0] == laps[0] else ""),
        ("Seen by at least", f"{briefing.least_views} photographs" if briefing.least_views else ""),
        ("Area", _span((briefing.area_ha, briefing.area_ha), "ha", 1)),
        ("Card", _span((briefing.card_gb, briefing.card_gb), "GB", 1)),
        ("Wind planned for", briefing.wind),
        ("Return height", _span(_extremes([m.return_height_m for m in missions]), "m", 0)),
    ]
    return [(name, value) for name, value in facts if value]


def _heights(missions: tuple[Mission, ...]) -> list[float]:
    return [w.height_m for mission in missions for w in mission.waypoints]


def _extremes(values: list[float]) -> tuple[float, float]:
    known = [value for value in values if math.isfinite(value)]
    return (min(known), max(known)) if known else (math.nan, math.nan)


def _span(span: tuple[float, float], unit: str, decimals: int) -> str:
    """Return a range as text, one number where both ends read the same; empty if not known."""
    if not all(map(math.isfinite, span)):
        return ""
    low, high = (f"{value:.{decimals}f}" for value in span)
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _sortie(briefing: Briefing, index: int) -> dict[str, str]:
    mission = briefing.missions[index]
    share = briefing.battery_shares[index] if briefing.battery_shares else math.nan
    return {
        "number": str(index + 1),
        "file": briefing.files[index] if briefing.files else mission.name,
        "time": _minutes(mission.duration_s),
        "photos": str(len(mission.photos)) if mission.photos else "?",
        "points": str(len(mission.waypoints)),
        "battery": f"{share * 100:.0f} %" if math.isfinite(share) else "?",
        "end": mission.at_end.value,
    }


def _totals(briefing: Briefing) -> dict[str, str]:
    missions = briefing.missions
    return {
        "time": _minutes(sum(mission.duration_s for mission in missions)),
        "photos": str(sum(len(mission.photos) for mission in missions) or "?"),
        "points": str(sum(len(mission.waypoints) for mission in missions)),
    }


def _minutes(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def _places(missions: tuple[Mission, ...]) -> list[dict[str, str]]:
    """Return each take-off place once, with the sorties that start there."""
    starts: dict[Place, list[str]] = {}
    datums: dict[Place, str] = {}
    for number, mission in enumerate(missions, start=1):
        if mission.takeoff is not None:
            starts.setdefault(mission.takeoff, []).append(str(number))
            datums[mission.takeoff] = mission.vertical_datum
    return [
        {
            "letter": chr(ord("A") + index % 26),
            "place": _coordinates(place),
            "ground": f"{place.ground_m:.1f} m {datums[place] or '(datum not stated)'}"
            if math.isfinite(place.ground_m)
            else "not known",
            "sorties": ", ".join(numbers),
        }
        for index, (place, numbers) in enumerate(starts.items())
    ]


def _coordinates(place: Place) -> str:
    lon = wrapped(place.lon_deg)
    return (
        f"{abs(place.lat_deg):.6f}° {'N' if place.lat_deg >= 0 else 'S'}, "
        f"{abs(lon):.6f}° {'E' if lon >= 0 else 'W'}"
    )
