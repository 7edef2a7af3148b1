"""Rehearse a plan: what each of its mission files would photograph, proved again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import shape

from flightplan.coverage.routes import NADIR_DEG
from flightplan.equipment.catalogue import CameraModel, Catalogue, Drone, narrowest
from flightplan.formats.mission import (
    TIMER_PHASES,
    HeightReference,
    Mission,
    Photo,
    Place,
    ReleasedBy,
    Role,
    photos_along,
)
from flightplan.formats.mission_files import (
    FORMATS,
    PLAN_FILE,
    PLAN_VERSION,
    SUMS,
    TAKEN,
    Format,
    file_below,
    flown_by,
    formats_of,
    read_mission,
)
from flightplan.plan.request import FLAT_CELL_M
from flightplan.plan.rest import Before, line_of
from flightplan.proof.certificate import Asked, Certificate, certify
from flightplan.proof.footprints import GroundCells, Photos, choose_cell, measure_laps
from flightplan.proof.prove import Coverage, prove_phases
from flightplan.terrain.profiles import profile_along
from flightplan.terrain.terrain import Terrain, bounds_about, read_terrain
from tmp.errors import InputError, VersionError
from tmp.geo.frames import PlanFrame
from tmp.progress import Track, silent
from tmp.survey import Survey

Float = NDArray[np.float64]

ROOM_M = 1.0
"""Ground known beyond waypoints that were moved out of what the plan knew."""
BESIDE_M, TURNED_DEG = 2.0, 5.0
"""A way or photograph this near to a planned line, and as little turned from it, is on it."""
SPARE = 0.5
"""Photographs up to this part of their spacing beyond a line count as on it."""
APART_M = 0.5
"""Ways of two files farther apart than this disagree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLines:
    """The lines that a plan was made of."""

    flown: Float
    """Start of the run-in and end of the run-out, plan metres (K, 2, 2)."""
    photographed: Float
    """Where the first and last photograph were planned, (K, 2, 2)."""
    regular: NDArray[np.bool_]
    """Which are of the pattern that looks straight down, (K,)."""

    def under(self, at: Float, course_deg: float | None = None) -> int | None:
        """Return the number of the line that a place lies on, the nearest one on a course."""
        start = self.flown[:, 0]
        way = self.flown[:, 1] - start
        length = np.hypot(*way.T)
        ahead = way / np.maximum(length, 1e-9)[:, None]
        along = ((at - start) * ahead).sum(axis=1)
        across = np.abs((at - start)[:, 0] * ahead[:, 1] - (at - start)[:, 1] * ahead[:, 0])
        on = across <= BESIDE_M
        if course_deg is not None:
            heading = np.degrees(np.arctan2(ahead[:, 0], ahead[:, 1]))
            on &= np.abs((heading - course_deg + 180.0) % 360.0 - 180.0) <= TURNED_DEG
        on &= (along >= -ROOM_M) & (along <= length + ROOM_M)
        return int(np.argmin(np.where(on, across, np.inf))) if on.any() else None

    def is_regular(self, number: int | None, at: Float, spare_m: float) -> bool:
        """Tell whether a photograph is one of the pattern, by the line it was taken on.

        On runs and near the ends of lines none is; off all lines it is one of another pattern.
        """
        if number is None:
            return self.under(at) is None
        if not self.regular[number]:
            return False
        start, end = self.photographed[number]
        length = float(np.hypot(*(end - start)))
        along = float((at - start) @ (end - start)) / max(length, 1e-9)
        return -spare_m <= along <= length + spare_m


@dataclass(frozen=True, slots=True, kw_only=True)
class FlownPlan:
    """A plan as its mission files of one format have it, edited by hand or not."""

    format: Format
    files: tuple[str, ...]
    """Of each sortie, by their path in the plan's folder."""
    flown: bool
    """Whether the plan's drone can fly the format; else it is to look at."""
    missions: tuple[Mission, ...]
    photos: tuple[tuple[Photo, ...], ...]
    """Of each mission, as the format's files take them."""
    frame: PlanFrame
    terrain: Terrain
    camera: CameraModel
    lines: PlannedLines
    taken: Photos
    """Photographs taken before, of a plan that is the rest of another."""
    before: Photos
    """The same as they were planned."""
    summary: dict[str, Any]
    """What was asked, see `flightplan.outputs.plan_folder.summary`."""

    @property
    def title(self) -> str:
        """What the format is, and its files."""
        return f"{FORMATS[self.format].title}: {', '.join(self.files)}"


def read_plan(survey: Survey, catalogue: Catalogue) -> FlownPlan:
    """Read the sorties of a survey's plan from the drone's own files, as `read_plans` does."""
    return read_plans(survey, catalogue)[0]


def read_plans(survey: Survey, catalogue: Catalogue) -> tuple[FlownPlan, ...]:
    """Read the sorties of a survey's plan as they would be flown, the drone's own files first.

    Raises
    ------
    InputError
        If there is no plan, a file is malformed or lacks, or the elevation model is gone.
    VersionError
        If a newer platform wrote it.
    """
    folder = survey.plan_dir
    summary = _summary(survey)
    drone = catalogue.drone(summary["drone"])
    frame = PlanFrame(lon_deg=summary["frame"][0], lat_deg=summary["frame"][1])
    found = {
        format_: {name: _taking_off(read_mission(folder / name), name, summary) for name in names}
        for format_, names in mission_files(folder, drone).items()
    }
    own = formats_of(drone)[0]
    if own not in found:
        file = file_below(own, formats_of(drone), "sortie-1")
        raise InputError(f"{folder}: holds no {file}; plan again")
    ways = [_places(frame, one) for missions in found.values() for one in missions.values()]
    known = np.reshape(summary["bounds"], (2, 2))
    moved = np.reshape(bounds_about(np.vstack(ways), ROOM_M), (2, 2))
    bounds = bounds_about(np.vstack([known, moved]), 0.0)
    if summary["dem"] is None:
        terrain = Terrain.flat(bounds, cell_m=FLAT_CELL_M)
    else:
        terrain = read_terrain(Path(summary["dem"]), frame, bounds, datum=summary["dem_datum"])
    lines = _lines(summary, frame)
    flown = (one for one in summary["lines"] if one.get("sortie", 1) is None)
    before = replace(Before.nothing(), lines=tuple(line_of(one, frame) for one in flown))
    taken = Photos.read(folder / TAKEN, frame) if before.lines else before.taken(terrain, 0.0)
    plans = []
    for format_, by_name in found.items():
        by = FORMATS[format_].by
        missions = tuple(by_name.values())
        if by is ReleasedBy.TIMER:
            missions = tuple(_timed(one, frame, lines, summary["timer_s"]) for one in missions)
        plans.append(
            FlownPlan(
                format=format_,
                files=tuple(by_name),
                flown=format_ in flown_by(drone),
                missions=missions,
                photos=tuple(_photos(one, by) for one in missions),
                frame=frame,
                terrain=terrain,
                camera=narrowest(catalogue.camera(key) for key in summary["cameras"]),
                lines=lines,
                taken=taken,
                before=before.planned(terrain, summary["height_agl_m"]),
                summary=summary,
            )
        )
    return tuple(sorted(plans, key=lambda one: (one.format is not own, not one.flown)))


def _photos(mission: Mission, by: ReleasedBy) -> tuple[Photo, ...]:
    """Return the photographs that a file takes: along its ways, at its waypoints, or both."""
    along = () if by is ReleasedBy.POINT else tuple(photos_along(mission, by))
    return along if by in (ReleasedBy.DISTANCE, ReleasedBy.TIMER) else (*along, *mission.photos)


def _phased(plan: FlownPlan, phase: float) -> FlownPlan:
    """Return a plan with the photographs that another phase of the timer gives."""
    photos = (tuple(photos_along(one, ReleasedBy.TIMER, phase)) for one in plan.missions)
    return replace(plan, photos=tuple(photos))


def _summary(survey: Survey) -> dict[str, Any]:
    path = survey.plan_dir / PLAN_FILE
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{survey.folder}: holds no plan; make one with 'tmp plan'") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); plan again") from error
    if summary.get("version") != PLAN_VERSION:
        raise VersionError(f"{path}: version {summary.get('version')!r}; this platform reads 1")
    if "lines" not in summary:
        raise InputError(f"{path}: an older version's, which does not say its lines; plan again")
    return summary


def mission_files(folder: Path, drone: Drone) -> dict[Format, list[str]]:
    """Return the mission files in the folder of a drone's plan, by format and in order."""
    wanted = formats_of(drone)
    found: dict[Format, list[str]] = {}
    for format_ in (*wanted, *(one for one in Format if one not in wanted)):
        pattern = file_below(format_, wanted, "sortie-*")
        if format_ not in wanted and FORMATS[format_].by is not ReleasedBy.DISTANCE:
            pattern = f"{format_.value}/sortie-*{FORMATS[format_].suffix}"
        taken = {name for names in found.values() for name in names}
        names = sorted(
            (
                name
                for path in folder.glob(pattern)
                if (name := path.relative_to(folder).as_posix()) not in taken
            ),
            key=_sortie,
        )
        if names:
            found[format_] = names
    return found


def _sortie(name: str) -> float:
    """Return the number of the sortie that a file is of; infinity where its name says none."""
    number = Path(name).stem.removeprefix("sortie-")
    return int(number) if number.isdecimal() else math.inf


def edited_files(folder: Path) -> list[str]:
    """Return the mission files that are not as the plan wrote them, by their digests."""
    path = folder / SUMS
    if not path.is_file():
        return []
    lines = (line.split("  ", 1) for line in path.read_text("utf-8").splitlines())
    found = []
    for digest, name in lines:
        if Path(name).name.startswith("sortie-") and (folder / name).is_file():
            with (folder / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    found.append(name)
    return found


def _taking_off(mission: Mission, name: str, summary: Mapping[str, Any]) -> Mission:
    """Return a mission that takes off where its file says, else where it was planned to."""
    number, sorties = _sortie(name), summary["sorties"]
    if mission.takeoff is not None or not 1 <= number <= len(sorties):
        return mission
    lon, lat = sorties[int(number) - 1]["takeoff"]
    return replace(mission, takeoff=Place(lon_deg=lon, lat_deg=lat))


def _lines(summary: Mapping[str, Any], frame: PlanFrame) -> PlannedLines:
    said = summary["lines"]
    flown, photographed = (
        frame.plan_from_geodetic([place for one in said for place in one[part]]).reshape(-1, 2, 2)
        for part in ("flown", "photographed")
    )
    regular = np.array([one["regular"] for one in said], bool)
    return PlannedLines(flown=flown, photographed=photographed, regular=regular)


def _places(frame: PlanFrame, mission: Mission) -> Float:
    return frame.plan_from_geodetic([(p.lon_deg, p.lat_deg) for p in mission.waypoints])


def _on_lines(places: Float, lines: PlannedLines) -> list[bool]:
    """Tell which ways between places (N, 2) lie on planned lines, either way, runs included."""
    found = []
    for here, there in pairwise(places):
        course_deg = _course_deg(here, there)
        on = (lines.under((here + there) / 2, course_deg + turn) for turn in (0.0, 180.0))
        moves = float(np.hypot(*(there - here))) > 0
        found.append(moves and any(number is not None for number in on))
    return found


def _course_deg(here: Float, there: Float) -> float:
    return math.degrees(math.atan2(there[0] - here[0], there[1] - here[1]))


def _timed(mission: Mission, frame: PlanFrame, lines: PlannedLines, timer_s: float) -> Mission:
    """Return a mission with the photographs that the camera's timer takes on planned lines.

    Those on ways between lines are not counted: the drone turns there.
    """
    on = [*_on_lines(_places(frame, mission), lines), False]
    return replace(
        mission,
        waypoints=tuple(
            replace(one, role=Role.LINE, photo_spacing_m=one.speed_m_s * timer_s) if here else one
            for one, here in zip(mission.waypoints, on, strict=True)
        ),
    )


def prove_flown(
    plan: FlownPlan, *, cell_m: float | None = None, workers: int = 1, track: Track = silent
) -> tuple[Certificate, Coverage]:
    """Judge a plan's mission files by what was asked of it, on cells as `choose_cell` has them."""
    summary, frame, terrain = plan.summary, plan.frame, plan.terrain
    area = frame.to_plan(shape(summary["area"]))
    for each in summary["exclusions"]:
        area = area.difference(frame.to_plan(shape(each)))
    photos, regular = _placed(plan)
    camera = plan.camera.camera()
    cell_m = cell_m or choose_cell(summary["photo_spacing_m"], area)
    ground = GroundCells.over(area, terrain, cell_m, crs=frame.crs)
    timed = FORMATS[plan.format].by is ReleasedBy.TIMER
    others = (_phased(plan, phase) for phase in TIMER_PHASES[1:] if timed)
    phases = [Photos.joined(one, plan.taken) for one in (photos, *(_placed(p)[0] for p in others))]
    coverage = prove_phases(phases, camera, ground, workers=workers, track=track)
    # Other lines than those of the files, whatever their numbers are.
    before = replace(plan.before, line=plan.before.line + photos.line.max() + 1)
    pattern = Photos.joined(photos, before)
    regular = np.append(regular, before.pitch_deg == NADIR_DEG)
    height, band = summary["height_agl_m"], summary["band_m"]
    asked = Asked(
        photographs=summary["views"],
        gsd_m=summary["gsd_m"],
        frontlap=summary["frontlap"],
        sidelap=summary["sidelap"],
        least_height_agl_m=height - band,
        most_height_agl_m=height + band,
        clearance_m=height - band,
        oblique=summary.get("oblique", 0),
    )
    certificate = certify(
        asked,
        coverage,
        laps=measure_laps(pattern, camera, terrain, regular=regular),
        profiles=[
            profile_along(
                _way(plan, mission),
                terrain,
                surveying=_surveying(plan, mission),
            )
            for mission in plan.missions
        ],
        photographs=len(photos),
        frame=frame,
        terrain=terrain.datum,
    )
    return replace(certificate, level_assumed=plan.summary["dem"] is None), coverage


def _placed(plan: FlownPlan) -> tuple[Photos, NDArray[np.bool_]]:
    """Return all photographs in plan coordinates, and which are of the regular pattern.

    Photographs on a planned line belong to it, whatever file takes them; others to a line of
    their own for each stretch with the camera on.
    """
    rows, lines, regular, first = [], [], [], len(plan.lines.regular)
    spare_m = SPARE * plan.summary["photo_spacing_m"]
    for mission, photos in zip(plan.missions, plan.photos, strict=True):
        if not photos:
            continue
        home_m = ground_of(plan, mission)
        xy = plan.frame.plan_from_geodetic([(one.lon_deg, one.lat_deg) for one in photos])
        for at, one, number in zip(xy, photos, _stretches(photos), strict=True):
            rows.append((*at, home_m + one.height_m, one.heading_deg, one.gimbal_pitch_deg))
            line = plan.lines.under(at, one.heading_deg)
            lines.append(first + number if line is None else line)
            regular.append(
                one.gimbal_pitch_deg == NADIR_DEG and plan.lines.is_regular(line, at, spare_m)
            )
        first = max(first, *lines) + 1
    if not rows:
        raise InputError(f"{plan.files[0]}: takes no photograph on any line; plan again")
    x, y, z, heading, pitch = np.array(rows, float).T
    position = np.column_stack([x, y, z])
    placed = Photos(position=position, heading_deg=heading, pitch_deg=pitch, line=np.array(lines))
    return placed, np.array(regular)


def _stretches(photos: Sequence[Photo]) -> list[int]:
    """Return numbers for photographs, the same for those of one line and heading in a row."""
    new = [
        two.line != one.line or abs(two.heading_deg - one.heading_deg) > TURNED_DEG
        for one, two in pairwise(photos)
    ]
    return [int(number) for number in np.cumsum([0, *new])]


def _surveying(plan: FlownPlan, mission: Mission) -> list[bool]:
    """Tell on which ways of a mission photographs are taken."""
    on = _on_lines(_places(plan.frame, mission), plan.lines)
    return [
        one.photo_spacing_m > 0 or here
        for one, here in zip(mission.waypoints[:-1], on, strict=True)
    ]


def disagreements(plans: Sequence[FlownPlan]) -> Iterator[tuple[str, str, float]]:
    """Yield the files whose way is not that of the first plan's: both names, and metres apart.

    Infinite where a file is of a sortie that the other has not, or its heights cannot be told.
    """
    first = dict(zip(map(_sortie, plans[0].files), range(len(plans[0].files)), strict=True))
    for plan in plans[1:]:
        missing = first.keys() - set(map(_sortie, plan.files))
        for name, mission in zip(plan.files, plan.missions, strict=True):
            number = first.get(_sortie(name))
            if number is None:
                yield name, plans[0].files[0], math.inf
                continue
            apart_m = _apart_m(plan, mission, plans[0].missions[number])
            if not apart_m <= APART_M:
                yield name, plans[0].files[number], apart_m
        for lost in sorted(missing):
            yield plans[0].files[first[lost]], plan.files[0], math.inf


def _apart_m(plan: FlownPlan, one: Mission, other: Mission) -> float:
    """Return how far the waypoints of either mission lie from the other's way at the most."""
    try:
        ways = _way(plan, one), _way(plan, other)
    except InputError:
        return math.inf
    return max(_beside_m(*ways), _beside_m(*reversed(ways)))


def _beside_m(points: Float, way: Float) -> float:
    """Return the greatest distance of points (N, 3) from a way (M, 3)."""
    start, step = way[:-1], np.diff(way, axis=0)
    if not len(step):
        start, step = way, np.zeros((1, 3))
    square = np.maximum((step**2).sum(axis=1), 1e-12)
    away = points[:, None] - start
    share = np.clip((away * step).sum(axis=2) / square, 0.0, 1.0)
    return float(np.linalg.norm(away - share[..., None] * step, axis=2).min(axis=1).max())


def _way(plan: FlownPlan, mission: Mission) -> Float:
    xy = _places(plan.frame, mission)
    home_m = ground_of(plan, mission)
    return np.column_stack([xy, [home_m + p.height_m for p in mission.waypoints]])


def ground_of(plan: FlownPlan, mission: Mission) -> float:
    """Return the height of the ground at a mission's take-off, which its heights start from.

    Raises
    ------
    InputError
        If the mission does not say where it takes off, or measures heights from elsewhere.
    """
    if mission.takeoff is None or mission.height_reference is not HeightReference.TAKEOFF:
        raise InputError(
            f"{mission.name}: heights are not above a known take-off point; plan again"
        )
    place = mission.takeoff.lon_deg, mission.takeoff.lat_deg
    (ground,) = plan.terrain.at(plan.frame.plan_from_geodetic([place]))
    return float(ground)
