"""One page to print and take along: what is flown, from where, when, and what to do by hand.

It has a map of area, exclusions, flight lines and take-off places, and for each format what a
person does in order because the file cannot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from flightplan.coverage.spacing import EXPOSURE_S
from flightplan.formats.geometry import near, polygons_of, way_speed
from flightplan.formats.mission import Mission, Place, Role, photo_ways
from flightplan.formats.mission_files import FORMATS, Format
from tmp import plotting
from tmp.errors import InputError
from tmp.files import replacing
from tmp.geo.frames import PlanFrame, position_in_words
from tmp.plotting import INK, SORTIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = NDArray[np.float64]

WIDTH = 480.0
"""Of the map, pixels; a third larger on paper."""
GROUND = "#e9e4cf"

_MARGIN = 0.06
_FOOT = 0.05
_TALLEST = 0.75
_FLATTEST = 0.42

BEFORE_ANY = (
    "Airspace, permission and landowner asked; people and animals clear of the area",
    "Batteries full, propellers whole, memory card empty and in the drone",
    "Lens clean; focus at infinity; {shutter}; exposure and white balance fixed",
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
    **dict.fromkeys(
        (Format.KML, Format.GPX, Format.GEOJSON), ("To look at only: no drone flies it as it is",)
    ),
}
"""In the order to be done."""


def draw_briefing_map(missions: Sequence[Mission]) -> str:
    """Return a map of all sorties, north up, as SVG.

    Sorties are told apart by their numbers too, where the page is printed grey.
    """
    first = missions[0].waypoints[0]
    frame = PlanFrame(lon_deg=first.lon_deg, lat_deg=first.lat_deg)
    ways = [
        frame.plan_from_geodetic([(w.lon_deg, w.lat_deg) for w in mission.waypoints])
        for mission in missions
    ]
    homes = [_home(mission, frame) for mission in missions]
    area = [frame.to_plan(p) for mission in missions[:1] for p in polygons_of(mission.area)]
    closed = {p.wkb: frame.to_plan(p) for mission in missions for p in mission.exclusions}
    corners = [shapely.get_coordinates(shape) for shape in area]
    known = [np.array([home]) for home in homes if home is not None]
    west, south, east, north = box = _bounds(np.vstack([*ways, *corners, *known]))
    scale = WIDTH / (east - west)
    with plotting.house_style():
        figure = plotting.new_figure(WIDTH, (north - south) * scale)
        axes = plotting.map_axes(figure, box, 0, 0, scale)
        axes.set_axis_off()
        for shape in area:
            plotting.draw_area(axes, shape, fc=GROUND, ec=INK, lw=2, gid="area")
        for shape in closed.values():
            plotting.draw_closed(axes, shape, gid="exclusion")
        for number, (mission, way, home) in enumerate(zip(missions, ways, homes, strict=True)):
            _draw_way(axes, mission, way, home, SORTIES[number % len(SORTIES)])
        _draw_badges(axes, missions, ways, homes)
        plotting.scale_bar(axes)
        plotting.north_arrow(axes)
        return plotting.to_svg(figure, "Map of the area, the flight lines and the take-off places")


def _home(mission: Mission, frame: PlanFrame) -> tuple[float, float] | None:
    """Return where a mission takes off, plan metres."""
    place = mission.takeoff
    if place is None:
        return None
    ((x, y),) = frame.plan_from_geodetic([(near(place.lon_deg, frame.lon_deg), place.lat_deg)])
    return float(x), float(y)


def _bounds(points: Float) -> plotting.Box:
    """Return what is shown: all points, in a shape that suits the page."""
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.maximum(high - low, 20.0) * (1 + 2 * _MARGIN)
    size[0] = max(size[0], size[1] / _TALLEST)
    size[1] = max(size[1], size[0] * _FLATTEST)
    centre = (low + high) / 2
    # A strip at the foot is kept free for the scale bar.
    west, south = centre - size / 2 - (0, _FOOT * size[0])
    east, north = centre + size / 2
    return float(west), float(south), float(east), float(north)


def _draw_way(
    axes: Axes, mission: Mission, way: Float, home: tuple[float, float] | None, colour: str
) -> None:
    legs = [way[i : i + 2] for i in range(len(way) - 1)]
    taking = [spacing > 0 for spacing in photo_ways(mission.waypoints)]
    between = [leg for leg, on in zip(legs, taking, strict=False) if not on]
    if home is not None:
        between.insert(0, np.array([home, way[0]]))
    plotting.draw_lines(axes, between, color=colour, lw=1, ls=(0, (4, 4)), gid="ways")
    flown = [leg for leg, on in zip(legs, taking, strict=False) if on]
    plotting.draw_lines(axes, flown, color=colour, lw=2, gid="lines")


def _draw_badges(
    axes: Axes,
    missions: Sequence[Mission],
    ways: Sequence[Float],
    homes: Sequence[tuple[float, float] | None],
) -> None:
    """Draw the number of each sortie at its first line, and the letter of each take-off place."""
    places = list(dict.fromkeys(home for home in homes if home is not None))
    taken = [*places]
    for number, (mission, way) in enumerate(zip(missions, ways, strict=True)):
        spacings = photo_ways(mission.waypoints)
        first = next((i for i, spacing in enumerate(spacings) if spacing > 0), 0)
        taken.append(plotting.free_place(axes, way[first:], taken))
        colour = SORTIES[number % len(SORTIES)]
        plotting.draw_badge(axes, taken[-1], str(number + 1), colour, zorder=5)
    for index, place in enumerate(places):
        plotting.draw_badge(axes, place, plotting.place_letter(index), INK, square=True, zorder=6)


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
    batteries: tuple[tuple[int, float], ...] = ()
    """Number of the battery that each sortie flies with, and the share of it that it uses."""
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
    exposure_s: float = EXPOSURE_S
    """Longest time of exposure, for which the speed was chosen."""
    wind: str = ""
    light: tuple[LightWindow, ...] = ()
    warnings: tuple[str, ...] = ()
    made: str = ""
    """Date and program, for the foot of the page."""

    def __post_init__(self) -> None:
        if not self.missions:
            raise InputError(f"briefing {self.title!r} has no mission; plan one first")
        for name in ("files", "batteries"):
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
    shutter = f"shutter 1/{1 / briefing.exposure_s:.0f} s or faster"
    write_page(
        path,
        "briefing.html.j2",
        briefing=briefing,
        facts=_facts(briefing),
        sorties=[_sortie(briefing, index) for index in range(len(briefing.missions))],
        places=_places(briefing.missions),
        totals=_totals(briefing),
        map=draw_briefing_map(briefing.missions),
        colours=SORTIES,
        file_format=FORMATS[briefing.format].title,
        before=[step.format(shutter=shutter) for step in BEFORE_ANY],
        steps=CHECKLISTS[briefing.format],
        after=AFTER_ANY,
    )


def write_page(path: Path, template: str, **values: Any) -> None:
    """Write an HTML page from a template of the package."""
    environment = Environment(
        loader=PackageLoader("flightplan"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    with replacing(path) as temporary:
        temporary.write_text(environment.get_template(template).render(values), encoding="utf-8")


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
    battery = briefing.batteries[index] if briefing.batteries else None
    return {
        "number": str(index + 1),
        "file": briefing.files[index] if briefing.files else mission.name,
        "time": minutes(mission.duration_s),
        "photos": str(len(mission.photos)) if mission.photos else "?",
        "points": str(len(mission.waypoints)),
        "battery": f"{battery[0]}, {battery[1] * 100:.0f} %" if battery else "?",
        "end": mission.at_end.value,
    }


def _totals(briefing: Briefing) -> dict[str, str]:
    missions = briefing.missions
    return {
        "time": minutes(sum(mission.duration_s for mission in missions)),
        "photos": str(sum(len(mission.photos) for mission in missions) or "?"),
        "points": str(sum(len(mission.waypoints) for mission in missions)),
    }


def minutes(seconds: float) -> str:
    """Return a time as minutes and whole seconds; a question mark where it is not known."""
    if not math.isfinite(seconds):
        return "?"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60:02d} s"


def hours(seconds: float) -> str:
    """Return a time as hours and minutes.

    Examples
    --------
    >>> hours(5400.0)
    '1 h 30 min'
    """
    whole = round(seconds / 60)
    return f"{whole // 60} h {whole % 60:02d} min" if whole >= 60 else f"{whole} min"


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
            "letter": plotting.place_letter(index),
            "place": position_in_words(place.lon_deg, place.lat_deg),
            "ground": f"{place.ground_m:.1f} m {datums[place] or '(datum not stated)'}"
            if math.isfinite(place.ground_m)
            else "not known",
            "sorties": ", ".join(numbers),
        }
        for index, (place, numbers) in enumerate(starts.items())
    ]
