"""The plan in a survey's folder: mission files, proof, map, briefing, and what was asked.

The proof lies there as rasters that QGIS opens: photographs, ground sampling distance, flying
height.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from flightplan.coverage.routes import NADIR_DEG, Line
from flightplan.coverage.sorties import Sorties, card_gb
from flightplan.equipment.catalogue import Catalogue, Drone
from flightplan.formats.mission import Mission, Role
from flightplan.formats.mission_files import (
    FORMATS,
    PLAN_FILE,
    PLAN_VERSION,
    SUMS,
    TAKEN,
    file_below,
    formats_of,
    why_not_written,
    write_mission,
)
from flightplan.outputs.briefing import Briefing, LightWindow, hours, minutes, write_briefing
from flightplan.outputs.light_windows import light_of
from flightplan.outputs.map_page import write_map
from flightplan.outputs.plan_map import DrawnSortie, PlanPicture
from flightplan.plan.missions import missions_of
from flightplan.plan.planning import FlightPlan
from flightplan.proof.certificate import write_certificate, write_rasters
from flightplan.terrain.terrain import bounds_about, read_terrain
from tmp.errors import InputError
from tmp.files import read_json, replacing_folder, write_json
from tmp.geo.frames import country_near, position_in_words
from tmp.lock import locked_survey
from tmp.survey import StrPath, Survey, create_survey, read_settings, refuse_other_folder

Float = NDArray[np.float64]
AROUND_M, AROUND_STEPS = 25.0, 2
"""Where the ground round a take-off is told: steps each way, for a start from beside it."""

MAP, PICTURE, BRIEFING = "map.html", "map.png", "briefing.html"
CERTIFICATE = "certificate.json"
PROOF, NOTES = "proof", "notes.txt"
PROGRESS = "flights.json"
FORMER = "previous-"
"""A plan that another took the place of, whole: ``previous-20261130T120305Z``."""
FAR_M = 5000.0
"""Farther than this from the survey's photographs or former plan another place is meant."""
FLOWN = ("flown-*", PROGRESS, "replaced-*")
"""Records of flights, which outlive a plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFiles:
    """What was written."""

    folder: Path
    missions: tuple[Mission, ...]
    own: str
    """Kind of file that is the drone's own."""
    notes: tuple[str, ...]
    """What a person flying the drone's own file must know."""
    left_out: tuple[str, ...] = ()
    """Files that the app would not open, each with the reason."""
    kept: str = ""
    """What became of the former plan, in words; empty where there was none."""


def write_plan(
    plan: FlightPlan, to: StrPath, *, elsewhere: bool = False, basemap: Path | None = None
) -> PlanFiles:
    """Write everything about a plan into the ``plan`` folder of a survey, made if need be.

    A former plan is kept whole in a folder within, ``previous-TIME``; what a person has put beside
    it, and the records of flights, are in the new one too.  The map shows a `basemap` below, a
    GeoTIFF, MBTiles or GeoPackage of tiles.

    Raises
    ------
    NotASurveyError, VersionError, InputError, SpaceError
        If the folder is something else, a newer version's survey, another command is at work on
        it, its photographs or its former plan lie far away (unless `elsewhere`), or the disk is
        full.
    """
    survey = Survey(folder=Path(to))
    refuse_other_folder(survey)
    with locked_survey(survey, "'tmp plan'"):
        create_survey(survey)
        if not elsewhere:
            _refuse_elsewhere(survey, plan)
        return _write(plan, survey, basemap)


def _write(plan: FlightPlan, survey: Survey, basemap: Path | None) -> PlanFiles:
    """Write a plan into a survey whose lock is held."""
    missions = missions_of(plan)
    title = survey.folder.resolve().name
    former = _former_name(survey.plan_dir) if survey.plan_dir.is_dir() else ""
    with replacing_folder(survey.plan_dir, keep=FLOWN, former=former) as folder:
        notes = _write_missions(folder, missions, plan)
        write_rasters(folder / PROOF, plan.coverage, terrain=plan.layout.setting.terrain.datum)
        write_certificate(folder / CERTIFICATE, plan.certificate)
        if plan.before.lines:
            layout = plan.layout
            taken = plan.before.taken(layout.setting.terrain, layout.spacing.height_agl_m)
            taken.write(folder / TAKEN, layout.setting.frame)
        (folder / PLAN_FILE).write_text(
            json.dumps(summary(plan, missions), indent=2) + "\n", "utf-8"
        )
        light = light_of(plan)
        picture = picture_of(plan, missions, title, light, files_for(plan.request.drone, missions))
        write_map(folder / PICTURE, folder / MAP, replace(picture, basemap=basemap))
        write_briefing(folder / BRIEFING, _briefing(plan, missions, title, light))
        sums = {file: _digest(folder / file) for file in _files(folder)}
        lines = (f"{digest}  {file}\n" for file, digest in sums.items())
        (folder / SUMS).write_text("".join(lines), "utf-8", newline="\n")
        kept = _carry_on(survey.plan_dir, folder) if former else ""
    _forget_progress(survey.plan_dir / PROGRESS)
    for older in survey.plan_dir.glob(f"{FORMER}*/{FORMER}*"):
        older.replace(survey.plan_dir / older.name)
    return PlanFiles(
        folder=survey.plan_dir,
        missions=missions,
        own=FORMATS[formats_of(plan.request.drone)[0]].title,
        notes=notes,
        left_out=left_out(plan.request.drone, missions),
        kept=f"the former plan is kept in {survey.plan_dir / former}{kept}" if former else "",
    )


def _forget_progress(path: Path) -> None:
    """Take out of the records how far former sorties got: those of the new plan are others."""
    if path.is_file():
        content = read_json(path, remedy="move it away")
        write_json(path, content | {"sorties": {}}, indent=1, for_people=True)


def _refuse_elsewhere(survey: Survey, plan: FlightPlan) -> None:
    """Raise `InputError` if a survey is about another place than the plan."""
    origin, path = read_settings(survey).origin, survey.plan_dir / PLAN_FILE
    known = [("photographs", origin[:2])] if origin else []
    if path.is_file():
        known.append(("former plan", tuple(read_json(path, remedy="move it away")["frame"])))
    for what, place in known:
        away_m = float(np.hypot(*plan.layout.setting.frame.plan_from_geodetic([place])[0]))
        if not away_m <= FAR_M:
            raise InputError(
                f"{survey.folder}: the place of its {what}, "
                f"{position_in_words(*place, decimals=4)}, is {away_m / 1000:.0f} km from this "
                "area; plan it into a survey of its own, or say --elsewhere if it is meant"
            )


def _former_name(folder: Path) -> str:
    """Return a name for the plan that is there, not in use yet."""
    name = f"{FORMER}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    names = (f"{name}{letter}" for letter in ("", *ascii_lowercase))
    return next(one for one in names if not (folder / one).exists())


def _files(folder: Path) -> Iterator[str]:
    """Yield the files of a plan by their path in its folder; former plans left out."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(FORMER):
            yield name


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _carry_on(former: Path, folder: Path) -> str:
    """Copy what a person has put beside a former plan to the new one; say so, and what was edited.

    What the platform wrote is known by its digest. A plan without digests is only kept whole.
    """
    path = former / SUMS
    if not path.is_file():
        return ""
    lines = path.read_text("utf-8").splitlines()
    written = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    flown = {file.name for pattern in FLOWN for file in former.glob(pattern)}
    here, there = [], []
    for name in _files(former):
        if name == SUMS or name in flown or _digest(former / name) == written.get(name):
            continue
        # A mission beside the new sorties would be flown with them.
        if name in written or name.startswith("sortie-") or (folder / name).exists():
            there.append(name)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(former / name, folder / name)
            here.append(name)
    said = f"; yours or edited by you, only there: {', '.join(there)}" if there else ""
    return said + (f"; yours, there and in the new one: {', '.join(here)}" if here else "")


def files_for(drone: Drone, missions: Sequence[Mission]) -> tuple[tuple[str, str], ...]:
    """Return which files a plan for a drone has, and where each goes; the one to use first."""
    wanted = formats_of(drone)
    written = [one for one in wanted if not why_not_written(one, missions, drone)]
    return tuple((file_below(one, wanted, "sortie-N"), FORMATS[one].goes_to) for one in written)


def left_out(drone: Drone, missions: Sequence[Mission]) -> tuple[str, ...]:
    """Return which files a plan for a drone lacks, each with the reason."""
    wanted = formats_of(drone)
    return tuple(
        f"{file_below(one, wanted, 'sortie-N')} {reason}"
        for one in wanted
        if (reason := why_not_written(one, missions, drone))
    )


def _write_missions(folder: Path, missions: Sequence[Mission], plan: FlightPlan) -> tuple[str, ...]:
    """Write what the drone's app may want, with notes; return those of the file to use."""
    drone = plan.request.drone
    catalogue = Catalogue(cameras={}, drones={drone.key: drone})
    wanted = formats_of(drone)
    notes: dict[str, dict[str, None]] = {}
    for format_ in wanted:
        said = notes.setdefault(FORMATS[format_].title, {})
        if reason := why_not_written(format_, missions, drone):
            said[reason] = None
            continue
        for mission in missions:
            file = folder / file_below(format_, wanted, mission.name)
            file.parent.mkdir(exist_ok=True)
            said.update(dict.fromkeys(write_mission(file, mission, format_, catalogue)))
    table = "".join(f"- {file}: {where}\n" for file, where in files_for(drone, missions))
    pages = (
        f"{title}\n" + "".join(f"- {note}\n" for note in said) for title, said in notes.items()
    )
    head = f"Which file goes where, the one to use first (N: number of the sortie)\n{table}"
    (folder / NOTES).write_text("\n".join([head, *pages]), "utf-8")
    return tuple(notes[FORMATS[wanted[0]].title])


def summary(plan: FlightPlan, missions: Sequence[Mission]) -> dict[str, Any]:
    """Return what was asked and what came of it, as JSON takes it."""
    request, sorties = plan.request, plan.sorties
    return {
        "kind": "tmp plan",
        "version": PLAN_VERSION,
        "software": version("terrestrial-mapping-platform"),
        "area": shapely.geometry.mapping(request.area.polygons),
        "exclusions": [shapely.geometry.mapping(one.polygons) for one in request.exclusions],
        "overfly_holes": request.overfly_holes,
        "drone": request.drone.key,
        "cameras": [camera.key for camera in request.cameras],
        "gsd_m": request.gsd_m,
        "height_agl_m": round(plan.layout.spacing.height_agl_m, 3),
        "band_m": plan.layout.band.below_m,
        "frontlap": request.overlap.front,
        "sidelap": request.overlap.side,
        "views": request.asked_views,
        "oblique_deg": request.oblique_deg,
        "oblique": plan.asked.oblique,
        "dem": str(request.dem) if request.dem else None,
        "dem_datum": plan.layout.setting.terrain.datum if request.dem else None,
        "frame": [plan.layout.setting.frame.lon_deg, plan.layout.setting.frame.lat_deg],
        "bounds": list(plan.layout.setting.terrain.bounds),
        "day": request.day.isoformat(),
        "reserve": request.battery.reserve,
        "line_spacing_m": round(plan.layout.spacing.line_m, 3),
        "photo_spacing_m": round(plan.layout.spacing.photo_m, 3),
        "speed_m_s": round(plan.layout.spacing.speed_m_s, 3),
        "slowest_m_s": round(min(map(plan.release.speed_m_s, sorties.lines)), 3),
        "exposure_s": plan.layout.spacing.exposure_s,
        "speed_limit": plan.layout.spacing.speed_limit,
        "timer_s": plan.release.interval_s,
        "sorties": [
            {
                "lines": len(flight.lines),
                "photographs": len(way.photos),
                "seconds": round(flight.time_s),
                "battery": round(flight.energy_share, 3),
                "battery_number": flight.battery,
                "farthest_m": round(flight.farthest_m),
                "return_m": mission.return_height_m,
                "ground": {"step_m": AROUND_M, "m": _ground_around(plan, flight.launch)},
                "takeoff": _lon_lat(plan, [flight.launch])[0],
            }
            for flight, way, mission in zip(sorties.flights, plan.ways, missions, strict=True)
        ],
        "lines": [
            *(
                _flown_line(plan, line, number)
                for number, flight in enumerate(sorties.flights, start=1)
                for line in flight.lines
            ),
            *(_flown_line(plan, line, None) for line in plan.before.lines),
        ],
        "asked": {
            "source": request.area.source,
            "height_agl_m": request.height_agl_m,
            "speed_m_s": request.speed_m_s,
            "takeoffs": [list(place) for place in request.takeoffs],
            "wind": asdict(request.wind) if request.wind else None,
            "bounds": asdict(request.bounds),
            "allowed": sorted(request.allowed),
        },
        "laid_out": {
            "gsd_m": plan.layout.request.gsd_m,
            "frontlap": plan.layout.request.overlap.front,
            "sidelap": plan.layout.request.overlap.side,
        },
        "left_out": list(left_out(request.drone, missions)),
        "passed": plan.certificate.passed,
        "warnings": list(plan.warnings),
        "findings": [finding.line for finding in plan.findings],
    }


def _flown_line(plan: FlightPlan, line: Line, sortie: int | None) -> dict[str, Any]:
    """Return where a line is flown and photographed: what its photographs are told by.

    `sortie` is None for what was flown before.
    """
    entry, start, end, leave = _lon_lat(plan, line.flown)
    return {
        "flown": [entry, leave],
        "photographed": [start, end],
        "photographs": line.photos,
        "pitch_deg": line.pitch_deg,
        "extra": line.extra,
        "regular": line.pitch_deg == NADIR_DEG and not line.extra,
        "sortie": sortie,
    }


def _lon_lat(plan: FlightPlan, places: Iterable[tuple[float, float]] | Float) -> list[list[float]]:
    """Return longitude and latitude of plan points, as JSON takes them."""
    found = plan.layout.setting.frame.geodetic_from_plan(np.asarray(places))
    return [[float(lon), float(lat)] for lon, lat in np.round(found, 9)]


def picture_of(
    plan: FlightPlan,
    missions: Sequence[Mission],
    title: str,
    light: Sequence[LightWindow],
    files: Sequence[tuple[str, str]] = (),
) -> PlanPicture:
    """Return what the map shows."""
    return PlanPicture(
        title=title,
        frame=plan.layout.setting.frame,
        area=plan.layout.setting.area,
        coverage=plan.coverage,
        asked=plan.asked,
        certificate=plan.certificate,
        sorties=[_drawn(plan, number, mission) for number, mission in enumerate(missions)],
        terrain=plan.layout.setting.terrain,
        exclusions=plan.layout.setting.exclusions,
        facts=dict(facts_of(plan)) | {one.what: one.when for one in light},
        files=files,
        before=plan.before.places,
        warnings=[*plan.warnings, *(finding.message for finding in plan.findings)],
    )


def _drawn(plan: FlightPlan, number: int, mission: Mission) -> DrawnSortie:
    flight, way = plan.sorties.flights[number], plan.ways[number]
    return DrawnSortie(
        name=mission.name,
        way=way.points[:, :2],
        surveying=np.array([leg.role is Role.LINE for leg in way.legs]),
        photos=way.photos[:, :2],
        profile=plan.profiles[number],
        takeoff=flight.launch,
        facts={
            "lines": str(len(flight.lines)),
            "photographs": str(len(way.photos)),
            "time": minutes(flight.time_s),
            "battery": f"{flight.battery}, {100 * flight.energy_share:.0f} %",
            "way": f"{flight.distance_m / 1000:.1f} km",
            "farthest": f"{flight.farthest_m:.0f} m",
        },
    )


def facts_of(plan: FlightPlan) -> list[tuple[str, str]]:
    """Return the plan's figures as a person reads them: name and value."""
    spacing, sorties, request = plan.layout.spacing, plan.sorties, plan.request
    gsd = max(one.gsd_m for one in spacing.cameras)
    holes = shapely.get_num_interior_rings(shapely.get_parts(request.area.polygons)).any()
    flown = "may be flown over" if request.overfly_holes else "not flown over, and fenced"
    before = plan.before
    gone = f"{len(before.lines)} lines or parts of lines, {len(before.places)} photographs"
    return [
        ("place", place_of(plan)),
        ("take-off", "as you gave it" if request.takeoffs else "assumed; give yours, --takeoff"),
        ("drone", request.drone.name),
        ("camera", " and ".join(camera.name for camera in request.cameras)),
        ("area", f"{plan.coverage.area_m2 / 1e4:.2f} ha"),
        *([("holes of the area", flown)] if holes else []),
        ("height above ground", f"{spacing.height_agl_m:.1f} m"),
        ("ground sampling distance", f"{100 * gsd:.2f} cm"),
        ("lines apart", f"{spacing.line_m:.1f} m"),
        ("photographs apart", photographs_apart(plan)),
        ("speed", speed_in_words(plan)),
        *([("flown before", gone)] if before.lines else []),
        ("photographs", photographs_in_words(plan)),
        ("card space", f"{card_gb(plan.photos, request.cameras):.1f} GB"),
        ("in the air", minutes(sorties.time_s)),
        ("in the field", f"about {hours(sorties.field_s)}, walking and changes of battery counted"),
        ("take-off places", _say_places(sorties)),
        ("batteries", f"{sorties.batteries}"),
    ]


def photographs_in_words(plan: FlightPlan) -> str:
    """Return the number of photographs, and how many of them look aslant."""
    flown = zip(plan.sorties.flights, plan.ways, strict=True)
    numbers = np.concatenate([flight.first + way.photo_lines for flight, way in flown])
    oblique = [line.pitch_deg != NADIR_DEG for line in plan.sorties.lines]
    aslant = numbers[np.array(oblique)[numbers]]
    if not aslant.size:
        return f"{plan.photos}"
    count = len(np.unique(aslant))
    return (
        f"{plan.photos}, {len(aslant)} of them oblique, on {count} line{'s' * (count > 1)} across"
    )


def speed_in_words(plan: FlightPlan) -> str:
    """Return the ground speed on lines and what limits it, on steep ground too."""
    spacing = plan.layout.spacing
    words = f"{spacing.speed_m_s:.1f} m/s, limited by {spacing.speed_limit}"
    steep = plan.release.speeds.on_steep_lines(plan.sorties.lines)
    if not steep:
        return words
    count = f"{len(steep)} line{'s' * (len(steep) > 1)}"
    return f"{words}; down to {min(steep):.1f} m/s on {count}, where the ground is steep"


def photographs_apart(plan: FlightPlan) -> str:
    """Return the way between photographs in the drone's own file, of the closest and widest line.

    Lateness comes on top of it, see `flightplan.formats.mission.LATE_M`.
    """
    lines = [line for line in plan.sorties.lines if line.photos > 1] or plan.sorties.lines
    apart = sorted(f"{plan.release.flown_m(line):.1f}" for line in lines)
    apart.sort(key=float)
    if apart[0] == apart[-1]:
        return f"{apart[0]} m"
    usual = max(set(apart), key=apart.count)
    return f"{apart[0]} to {apart[-1]} m, {usual} m on most lines"


def _say_places(sorties: Sorties) -> str:
    count = len(sorties.places)
    return f"{count}, {sorties.walk_m / 1000:.1f} km from one to the last" if count > 1 else "1"


def place_of(plan: FlightPlan) -> str:
    """Return where a plan is, in words."""
    lon_deg, lat_deg = plan.request.area.centre
    country = country_near((lon_deg + 180.0) % 360.0 - 180.0, lat_deg)
    return position_in_words(lon_deg, lat_deg, decimals=4) + (
        f", in or near {country}" if country else ""
    )


def _briefing(
    plan: FlightPlan, missions: tuple[Mission, ...], title: str, light: tuple[LightWindow, ...]
) -> Briefing:
    request, spacing = plan.request, plan.layout.spacing
    first = formats_of(request.drone)[0]
    wind = request.wind
    return Briefing(
        title=title,
        missions=missions,
        format=first,
        files=tuple(file_below(first, formats_of(request.drone), one.name) for one in missions),
        batteries=tuple((one.battery, one.energy_share) for one in plan.sorties.flights),
        drone=request.drone.name,
        camera=" and ".join(camera.name for camera in request.cameras),
        area_ha=plan.coverage.area_m2 / 1e4,
        gsd_cm=(
            100 * min(one.gsd_m for one in spacing.cameras),
            100 * max(one.coarsest_gsd_m for one in spacing.cameras),
        ),
        height_agl_m=(spacing.lowest_m, spacing.highest_m),
        frontlap=request.overlap.front,
        sidelap=request.overlap.side,
        least_views=int(plan.coverage.count[plan.coverage.inside].min()),
        card_gb=card_gb(plan.photos, request.cameras),
        exposure_s=request.exposure_s,
        wind=f"{wind.speed_m_s:g} m/s from {wind.from_deg:g}°" if wind else "",
        light=light,
        warnings=(*plan.warnings, *(finding.message for finding in plan.findings)),
        made=f"{request.day:%-d %B %Y}, TMP {version('terrestrial-mapping-platform')}",
    )


def _ground_around(plan: FlightPlan, launch: tuple[float, float]) -> list[list[float | None]]:
    """Return the ground's height round a take-off, rows from south to north; None where unknown.

    It is read from the elevation model anew, as the plan's own ground ends near its lines; where
    the model ends too near, that has to do.
    """
    setting, request = plan.layout.setting, plan.request
    terrain = setting.terrain
    if request.dem is not None:
        bounds = bounds_about(np.array([launch]), AROUND_M * AROUND_STEPS)
        with suppress(InputError):
            terrain = read_terrain(request.dem, setting.frame, bounds, datum=request.dem_datum)
    steps = AROUND_M * np.arange(-AROUND_STEPS, AROUND_STEPS + 1)
    places = [[(launch[0] + x, launch[1] + y) for x in steps] for y in steps]
    return [
        [round(float(terrain.at([at])[0]), 1) if terrain.covers([at])[0] else None for at in row]
        for row in places
    ]
