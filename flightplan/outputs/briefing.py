"""One page to print and take along: what is flown, from where, when, and what to do by hand.

It has a map of area, exclusions, flight lines and take-off places, and for each format what a
person does in order because the file cannot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from flightplan.formats.geometry import near, photo_ways, polygons_of, way_speed, wrapped
from flightplan.formats.mission import Mission, Place, Role
from flightplan.formats.mission_files import FORMATS, Format
from tmp.errors import InputError
from tmp.files import replacing
from tmp.geo.frames import PlanFrame

Float = NDArray[np.float64]
_Drawn = Callable[[Float], Float]

WIDTH = 1000.0
"""Of the drawing, in its own units."""

_MARGIN = 0.06
_FOOT = 0.05
_TALLEST = 0.75
_FLATTEST = 0.42

BEFORE_ANY = (
    "Airspace, permission and landowner asked; people and animals clear of the area",
    "Batteries full, propellers whole, memory card empty and in the drone",
    "Lens clean; focus at infinity; shutter 1/800 s or faster; exposure and white balance fixed",
    "Return height set in the app; home point recorded at the take-off place",
)
AFTER_ANY = (
    "Look at the last photographs: sharp, not blown out, about as many as in the table",
    "Note wind, cloud and any line that was broken off; keep the card apart",
)
_DJI_FLY = (
    "Make any two-point waypoint mission in DJI Fly, save it, close the app",
    "Put this file in that mission's place (Android/data/dji.go.v5/files/waypoint/ID/ID.kmz)",
    "Open the mission: its shape must be that of the map; if the app closes, split the mission",
    "Take off, climb to the height above take-off given here, camera straight down, then start",
)
CHECKLISTS: dict[Format, tuple[str, ...]] = {
    Format.PLAN_ARDUPILOT: (
        "Open the plan in QGroundControl and do not edit the survey: editing redraws its lines",
        "Set RTL_ALT to the return height; upload; read back; compare the number of items",
        "Enable the fence (FENCE_ENABLE) after uploading it; set FENCE_ALT_MAX",
        "Wait for GPS and home; arm; switch to Auto",
    ),
    Format.PLAN_PX4: (
        "Open the plan in QGroundControl and do not edit the survey: editing redraws its lines",
        "Set RTL_RETURN_ALT to the return height; upload mission and fence",
        "Set the fence's action (GF_ACTION); wait for GPS and home; start the mission",
    ),
    Format.WPL: (
        "Load the file in Mission Planner; home is the take-off place",
        "Set RTL_ALT to the return height; draw the fence by hand: the file has none",
        "Write to the autopilot, read back, compare; arm; switch to Auto",
    ),
    Format.DJI_ENTERPRISE: (
        "Copy the file to the controller's card and import it in DJI Pilot 2",
        "Heights are above the take-off place: take off there",
        "Check speed, return height and the number of waypoints; start",
    ),
    Format.DJI_PHOTO: (
        *_DJI_FLY,
        "Watch the first line: one photograph at each point (count them); else use the timer file",
    ),
    Format.DJI_DISTANCE: (
        *_DJI_FLY,
        "Watch the first line: some versions ignore distances; no photographs, use the timer file",
    ),
    Format.DJI_INTERVAL: (
        *_DJI_FLY,
        "Watch the first line: some versions ignore intervals; no photographs, use the timer file",
    ),
    Format.DJI_TIMER: (
        *_DJI_FLY,
        "Set timed shots to the interval given here; start them before the first line, stop them "
        "after the last; the file takes no photographs",
    ),
    Format.LITCHI: (
        "Import the CSV in Litchi's mission hub; path mode straight lines",
        "Heading mode custom, finish action return home, return height as above",
        "Heights are above the take-off place: take off there",
    ),
    Format.KML: ("To look at only: no drone flies it as it is",),
    Format.GPX: ("To look at only: no drone flies it as it is",),
    Format.GEOJSON: ("To look at only: no drone flies it as it is",),
}
"""In the order to be done."""
COLOURS = ("#0b5394", "#b45f06", "#38761d", "#741b47", "#134f5c", "#7f6000")
"""Of sorties; dark enough for a grey print, and told apart there by their numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SortieDrawing:
    """One sortie on the map."""

    lines: str
    """SVG path of the ways with photographs."""
    ways: str
    """SVG path of all other ways, from the take-off on."""
    start: tuple[float, float]
    """Where the first line begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapDrawing:
    """SVG paths of a survey, in units of a drawing `WIDTH` wide with y down."""

    height: float
    area: str
    exclusions: str
    sorties: tuple[SortieDrawing, ...]
    takeoffs: tuple[tuple[float, float], ...]
    """Each place once, in the order of the sorties."""
    takeoff_of: tuple[int, ...]
    """Which of `takeoffs` each sortie starts from; -1 for one that does not say."""
    bar: float
    """Length of the scale bar."""
    bar_m: int


def draw_map(missions: Sequence[Mission]) -> MapDrawing:
    """Return a map of all sorties, north up."""
    first = missions[0].waypoints[0]
    frame = PlanFrame(lon_deg=first.lon_deg, lat_deg=first.lat_deg)
    paths = [
        frame.plan_from_geodetic([(w.lon_deg, w.lat_deg) for w in mission.waypoints])
        for mission in missions
    ]
    takeoffs, takeoff_of = _takeoffs(missions, frame)
    area = [frame.to_plan(p) for mission in missions[:1] for p in polygons_of(mission.area)]
    closed = {p.wkb: frame.to_plan(p) for mission in missions for p in mission.exclusions}
    exclusions = list(closed.values())
    everything = [*paths, *(np.array([place]) for place in takeoffs)]
    everything += [np.array(shape.exterior.coords)[:, :2] for shape in area]
    low, high = _bounds(np.vstack(everything))
    scale = WIDTH / (high[0] - low[0])

    def drawn(points: Float) -> Float:
        shifted = np.column_stack([points[:, 0] - low[0], high[1] - points[:, 1]])
        return np.asarray(shifted * scale)

    bar_m = _round_length((high[0] - low[0]) / 5)
    return MapDrawing(
        height=float((high[1] - low[1]) * scale),
        area="".join(_shape(shape, drawn) for shape in area),
        exclusions="".join(_shape(shape, drawn) for shape in exclusions),
        sorties=tuple(
            _drawn_sortie(
                mission, drawn(path), drawn(np.array([takeoffs[at]])) if at >= 0 else None
            )
            for mission, path, at in zip(missions, paths, takeoff_of, strict=True)
        ),
        takeoffs=tuple((float(x), float(y)) for x, y in drawn(np.array(takeoffs).reshape(-1, 2))),
        takeoff_of=takeoff_of,
        bar=bar_m * scale,
        bar_m=bar_m,
    )


def _takeoffs(
    missions: Sequence[Mission], frame: PlanFrame
) -> tuple[list[tuple[float, float]], tuple[int, ...]]:
    """Return the different take-off places in plan metres, and which each mission has."""
    places: dict[tuple[float, float], int] = {}
    for mission in missions:
        if mission.takeoff is not None:
            lon = near(mission.takeoff.lon_deg, frame.lon_deg)
            places.setdefault((lon, mission.takeoff.lat_deg), len(places))
    indexes = tuple(
        -1
        if mission.takeoff is None
        else places[(near(mission.takeoff.lon_deg, frame.lon_deg), mission.takeoff.lat_deg)]
        for mission in missions
    )
    if not places:
        return [], indexes
    points = frame.plan_from_geodetic(list(places))
    return [(float(x), float(y)) for x, y in points], indexes


def _bounds(points: Float) -> tuple[Float, Float]:
    """Return the corners of what is shown: all points, in a shape that suits the page."""
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.maximum(high - low, 20.0) * (1 + 2 * _MARGIN)
    size[0] = max(size[0], size[1] / _TALLEST)
    size[1] = max(size[1], size[0] * _FLATTEST)
    centre = (low + high) / 2
    # A strip at the foot is kept free for the scale bar.
    foot = np.array([0.0, _FOOT * size[0]])
    return centre - size / 2 - foot, centre + size / 2


def _round_length(length_m: float) -> int:
    """Return the largest 1, 2 or 5 times a power of ten up to a length, at least 1."""
    power = 10 ** int(np.floor(np.log10(max(length_m, 1.0))))
    return int(max(step * power for step in (1, 2, 5) if step * power <= max(length_m, 1.0)))


def _shape(shape: BaseGeometry, drawn: _Drawn) -> str:
    rings = [shape.exterior, *shape.interiors]
    return "".join(_line(drawn(np.array(ring.coords)[:, :2])) + "Z" for ring in rings)


def _line(points: Float) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _drawn_sortie(mission: Mission, points: Float, start: Float | None) -> SortieDrawing:
    spacings = photo_ways(mission.waypoints)
    lines = "".join(_line(points[i : i + 2]) for i, s in enumerate(spacings) if s > 0)
    ways = "".join(_line(points[i : i + 2]) for i, s in enumerate(spacings) if not s > 0)
    if start is not None:
        ways = _line(np.vstack([start, points[:1]])) + ways
    first = next((i for i, spacing in enumerate(spacings) if spacing > 0), 0)
    return SortieDrawing(
        lines=lines, ways=ways, start=(float(points[first][0]), float(points[first][1]))
    )


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
