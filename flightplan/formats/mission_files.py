"""Missions as files: what each format is called, what it can carry, writing and reading."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, partial
from pathlib import Path

from flightplan.equipment.catalogue import App, Catalogue, Drone, read_catalogue
from flightplan.formats import geojson, kml_gpx, litchi, qgroundcontrol, wpml
from flightplan.formats.geometry import place
from flightplan.formats.markup import local_name
from flightplan.formats.mavlink_items import Autopilot
from flightplan.formats.mission import Content, Mission, ReleasedBy, Written, losses
from flightplan.formats.wpml_reading import from_wpml, is_wpml
from tmp.errors import InputError
from tmp.files import replacing
from tmp.geo.vectors import parse_xml, read_whole, unzipped

log = logging.getLogger(__name__)

_ROUTES = re.compile(r"(^|/)(waylines\.wpml|[^/]*\.kml)$")


PLAN_FILE, PLAN_VERSION = "plan.json", 1
"""What was asked of a plan and what came of it, beside its missions."""
TAKEN = "taken.csv"
"""Photographs taken before, of a plan that is the rest of another."""
SUMS = "plan.sha256"
"""Digests of what was written, by which files edited since are told."""


class Format(StrEnum):
    """The formats missions are written in."""

    PLAN_ARDUPILOT = "plan-ardupilot"
    PLAN_PX4 = "plan-px4"
    WPL = "wpl"
    DJI_ENTERPRISE = "dji-enterprise"
    DJI_PHOTO = "dji-photo"
    DJI_DISTANCE = "dji-distance"
    DJI_INTERVAL = "dji-interval"
    DJI_TIMER = "dji-timer"
    LITCHI = "litchi"
    KML = "kml"
    GPX = "gpx"
    GEOJSON = "geojson"


@dataclass(frozen=True, slots=True)
class FormatKind:
    """What a format is, and what it can carry."""

    title: str
    suffix: str
    carries: frozenset[Content]
    encode: Callable[..., Written]
    """Takes the mission, and a catalogue as ``catalogue`` if `names_drone`."""
    goes_to: str
    """Device and program that take it, for a person with the file in hand."""
    by: ReleasedBy = ReleasedBy.DISTANCE
    """Who takes the photographs."""
    names_drone: bool = False
    """Whether the file calls the drone by a number of the catalogue."""


FORMATS: dict[Format, FormatKind] = {
    Format.PLAN_ARDUPILOT: FormatKind(
        "QGroundControl plan for ArduPilot",
        ".plan",
        qgroundcontrol.PLAN_CARRIES,
        partial(qgroundcontrol.to_plan, autopilot=Autopilot.ARDUPILOT),
        "QGroundControl, and 'tmp fly': vehicles with ArduPilot",
    ),
    Format.PLAN_PX4: FormatKind(
        "QGroundControl plan for PX4",
        ".plan",
        qgroundcontrol.PLAN_CARRIES,
        partial(qgroundcontrol.to_plan, autopilot=Autopilot.PX4),
        "QGroundControl, and 'tmp fly': vehicles with PX4",
    ),
    Format.WPL: FormatKind(
        "QGC WPL 110, for Mission Planner and ArduPilot",
        ".waypoints",
        qgroundcontrol.WPL_CARRIES,
        qgroundcontrol.to_wpl,
        "Mission Planner on a laptop, to send to the vehicle",
    ),
    Format.DJI_ENTERPRISE: FormatKind(
        "DJI Pilot 2 on enterprise drones",
        ".kmz",
        wpml.ENTERPRISE_CARRIES,
        wpml.to_enterprise,
        "DJI Pilot 2 on its controller (RC Pro Enterprise, RC Plus), by memory card",
        names_drone=True,
    ),
    **{
        format_: FormatKind(
            f"DJI Fly, {title}",
            ".kmz",
            wpml.TIMER_CARRIES if format_ is Format.DJI_TIMER else wpml.CONSUMER_CARRIES,
            partial(wpml.to_consumer, trigger=by),
            f"DJI Fly on phone, RC 2 or RC Pro, in place of a mission made there: {title}",
            by=by,
            names_drone=True,
        )
        for format_, title, by in (
            (Format.DJI_PHOTO, "a photograph at each waypoint", ReleasedBy.POINT),
            (Format.DJI_DISTANCE, "photographs by distance", ReleasedBy.DISTANCE),
            (Format.DJI_INTERVAL, "photographs by time", ReleasedBy.INTERVAL),
            (Format.DJI_TIMER, "the camera's own timer", ReleasedBy.TIMER),
        )
    },
    Format.LITCHI: FormatKind(
        "Litchi CSV",
        ".csv",
        litchi.CARRIES,
        litchi.to_litchi,
        "Litchi: its mission hub in a browser, then the app",
    ),
    Format.KML: FormatKind(
        "KML", ".kml", kml_gpx.KML_CARRIES, kml_gpx.to_kml, "Google Earth, to look at"
    ),
    Format.GPX: FormatKind(
        "GPX route", ".gpx", kml_gpx.GPX_CARRIES, kml_gpx.to_gpx, "a hand-held GPS, to look at"
    ),
    Format.GEOJSON: FormatKind(
        "GeoJSON, all of the mission",
        ".geojson",
        geojson.CARRIES,
        geojson.to_geojson,
        "QGIS or Python, to look at: all of the mission",
    ),
}

FORMATS_OF = {
    App.DJI_FLY: (Format.DJI_TIMER, Format.DJI_PHOTO, Format.DJI_INTERVAL, Format.LITCHI),
    App.PILOT_2: (Format.DJI_ENTERPRISE,),
    App.LITCHI: (Format.LITCHI,),
    App.MAVLINK: (),
}
"""What is written for each app, the one to use first."""
ALWAYS = (Format.WPL, Format.KML, Format.GEOJSON)
PX4 = "px4"
"""Drone whose QGroundControl plan is written in PX4's commands; all others get ArduPilot's."""


def formats_of(drone: Drone) -> tuple[Format, ...]:
    """Return the formats that a plan for a drone is written in, the one to use first."""
    plan = Format.PLAN_PX4 if drone.key == PX4 else Format.PLAN_ARDUPILOT
    return (*FORMATS_OF[drone.app], plan, *ALWAYS)


def flown_by(drone: Drone) -> tuple[Format, ...]:
    """Return those of `formats_of` that a drone can fly; the others are to look at."""
    return FORMATS_OF[drone.app] or formats_of(drone)[: 1 if drone.key == PX4 else 2]


def released_by(drone: Drone) -> ReleasedBy:
    """Return who takes the photographs where a drone flies the file to use first."""
    return FORMATS[formats_of(drone)[0]].by


def file_below(format_: Format, wanted: Sequence[Format], name: str) -> str:
    """Return the path of a mission's file in the folder of a plan in the formats wanted."""
    suffix = FORMATS[format_].suffix
    alike = sum(FORMATS[one].suffix == suffix for one in wanted) > 1
    return f"{format_.value}/{name}{suffix}" if alike else f"{name}{suffix}"


def why_not_written(format_: Format, missions: Sequence[Mission], drone: Drone) -> str:
    """Say why an app would not open a format's files; empty where it would.

    What the drone flies with is written all the same, or its writer refuses it.
    """
    heights = [point.height_m for one in missions for point in one.waypoints]
    beyond = [one for one in heights if not litchi.LOWEST_M <= one <= litchi.HIGHEST_M]
    if format_ is Format.LITCHI and beyond and drone.app is not App.LITCHI:
        return (
            f"not written: a waypoint is {max(beyond, key=abs):.0f} m above the take-off point, "
            f"and Litchi takes {litchi.LOWEST_M:g} to {litchi.HIGHEST_M:g} m; take off nearer to "
            "the height of the area for it"
        )
    if not FORMATS[format_].title.startswith("DJI Fly"):
        return ""
    most = max(wpml.consumer_points(one, FORMATS[format_].by) for one in missions)
    if most <= drone.max_points:
        return ""
    return (
        f"not written: a sortie takes {most} waypoints so, and DJI Fly opens {drone.max_points} "
        f"without trouble; use {FORMATS[FORMATS_OF[App.DJI_FLY][0]].title}"
    )


def write_mission(
    path: Path, mission: Mission, format_: Format, catalogue: Catalogue | None = None
) -> tuple[str, ...]:
    """Write a mission, and return what a person flying it must know.

    The same mission always gives the same bytes.  For each thing the format changed or cannot
    carry one sentence says so, and what to do instead.  DJI's formats find the drone's number in
    the catalogue, by default the platform's own.

    Raises
    ------
    InputError
        If the mission has a waypoint without height or place, or the format cannot hold it.
    """
    try:
        written = encode_mission(mission, format_, catalogue)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    with replacing(path) as temporary:
        temporary.write_bytes(written.content)
    log.info("%s: %d waypoints for %s", path, len(mission.waypoints), FORMATS[format_].title)
    return written.notes


def encode_mission(
    mission: Mission, format_: Format, catalogue: Catalogue | None = None
) -> Written:
    """Return what `write_mission` writes; raises as it does."""
    for index, waypoint in enumerate(mission.waypoints):
        what = f"waypoint {index} of mission {mission.name!r}"
        if not math.isfinite(waypoint.height_m):
            raise InputError(f"{what} has no height; give it one")
        place(waypoint.lon_deg, waypoint.lat_deg, what)
    kind = FORMATS[format_]
    options = {"catalogue": catalogue or _shipped()} if kind.names_drone else {}
    written = kind.encode(mission, **options)
    return replace(written, notes=(*written.notes, *losses(mission, kind.carries)))


@cache
def _shipped() -> Catalogue:
    return read_catalogue()


def read_mission(path: Path) -> Mission:
    """Read a mission, whatever its format; the content decides, not the file's name.

    Raises
    ------
    InputError
        If the file cannot be read, is no mission, or is malformed.
    """
    content = read_whole(path)
    try:
        return decode_mission(content, path.stem)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def sortie_plans(folder: Path) -> dict[int, Path]:
    """Return the QGroundControl plans of a survey's sorties by their number, in order."""
    found = {
        int(name): path
        for path in folder.glob("sortie-*.plan")
        if (name := path.stem.removeprefix("sortie-")).isdecimal()
    }
    return dict(sorted(found.items()))


def decode_mission(content: bytes, name: str) -> Mission:
    """Return the mission in a file's bytes, as `read_mission`; `name` is for those without."""
    if not content.strip():
        raise InputError("the file is empty; export it again")
    if content[:2] == b"PK":
        return _from_kmz(content, name)
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:4096]
    if start.startswith(b"QGC WPL"):
        return qgroundcontrol.from_wpl(content, name)
    if start.startswith(b"{"):
        return _from_json(content, name)
    if start.startswith(b"<") or content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return _from_xml(content, name)
    if litchi.is_litchi(start.decode("utf-8", errors="replace").split("\n")[0]):
        return litchi.from_litchi(content, name)
    raise InputError(
        "not a mission in a format known here (.plan, QGC WPL, WPML, Litchi CSV, KML, GPX, "
        "GeoJSON); export it as one of them"
    )


def _from_json(content: bytes, name: str) -> Mission:
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"not well-formed JSON ({error}); export it again") from error
    if not isinstance(value, dict):
        raise InputError("a JSON list is not a mission; export it as .plan or GeoJSON")
    if value.get("fileType") == "Plan":
        return qgroundcontrol.from_plan(value, name)
    if "features" in value or "coordinates" in value or value.get("type") == "Feature":
        return geojson.from_geojson(value, name)
    raise InputError("JSON, but neither a QGroundControl plan nor GeoJSON; export it as one")


def _from_xml(content: bytes, name: str) -> Mission:
    root = parse_xml(content)
    kind = local_name(root)
    if kind == "gpx":
        return kml_gpx.from_gpx(root, name)
    if kind == "kml":
        return from_wpml(root, name) if is_wpml(root) else kml_gpx.from_kml(root, name)
    raise InputError(f"XML, but neither KML nor GPX (its root is {kind[:40]!r}); export it as one")


def _from_kmz(content: bytes, name: str) -> Mission:
    members = unzipped(content, _ROUTES)
    if not members:
        raise InputError("a zip archive without waylines.wpml or a .kml; export the mission again")
    route = min(members, key=lambda key: (not key.lower().endswith(".wpml"), key))
    return _from_xml(members[route], name)
