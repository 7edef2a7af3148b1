"""The rest of a plan that was flown in part: the lines that are left, and what was photographed.

What was flown is told by photographs on planned lines, those that ``tmp fly`` recorded and those
taken into the survey, or by a person.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import shape

from flightplan.coverage.routes import Line
from flightplan.coverage.spacing import Overlap
from flightplan.equipment.catalogue import Catalogue
from flightplan.equipment.flight_model import Battery, Wind
from flightplan.formats.mission_files import PLAN_FILE, PLAN_VERSION
from flightplan.plan.request import PlanOptions, PlanRequest
from flightplan.proof.footprints import Photos, height_below
from flightplan.proof.rules import RuleLimits
from flightplan.terrain.terrain import Terrain
from tmp.errors import InputError, VersionError
from tmp.files import read_json
from tmp.geo.areas import SurveyArea
from tmp.geo.frames import PlanFrame
from tmp.survey import Survey

Float = NDArray[np.float64]
_Shot = tuple[float, float, float]
"""Longitude and latitude of a photograph, and the yaw of its camera, degrees; NaN if not told."""

BESIDE, BESIDE_M = 0.5, (3.0, 10.0)
"""How far beside a line its photographs may lie, as a share of the line spacing, and the least and
most of it: consumer GNSS, whose error is that of all of a flight for the most part."""
TURNED_DEG = 25.0
"""How far a photograph's course may be turned from its line's, either way round."""
STILL_M = 1.0
"""Photographs nearer to one another than this tell no course."""
NEAR, NEAR_M = 0.75, 3.0
"""A station is flown if a photograph lies so near before or behind it: a part of the spacing, and
at least so far."""
IN_A_ROW = 2
"""Stations missing in a row from which a line is flown again there; where one is missing the proof
tells whether that matters."""
SEAM = 1
"""Stations flown again at each end of what is left of a line."""
OLDER = "an older version's, which does not say all that was asked; plan anew with the area"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedFlown:
    """What a person says was flown."""

    sortie: int
    first: int = 1
    """Line of the sortie."""
    last: int | None = None
    """None for the sortie's last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerPlan:
    """A survey's plan, as far as it takes to plan the rest of it."""

    request: PlanRequest
    laid_out: PlanRequest
    """Closer than was asked, where slopes made that necessary."""
    frame: PlanFrame
    """In which the lines are; that of the new plan, as the area is the same."""
    lines: tuple[Line, ...]
    sorties: tuple[int | None, ...]
    """Of each line; None for what was flown before."""
    line_spacing_m: float
    photo_spacing_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What of a plan was flown before it was made."""

    lines: tuple[Line, ...] = ()
    """Stretches of lines, as they were planned."""
    places: Float
    """Where photographs were taken, plan metres (N, 2)."""
    line: NDArray[np.int_]
    """Number in `lines` of each photograph's, (N,); each stands and looks as that says."""

    @classmethod
    def nothing(cls) -> Before:
        """Return what was flown before a new plan."""
        return cls(places=np.empty((0, 2)), line=np.empty(0, int))

    def taken(self, terrain: Terrain, height_agl_m: float, first: int = 0) -> Photos:
        """Return the photographs taken, at the height planned above the ground.

        Numbers of lines begin with `first`.
        """
        ground = height_below(terrain, self.places)
        headings = np.array([line.heading_deg for line in self.lines])
        pitches = np.array([line.pitch_deg for line in self.lines])
        return Photos(
            position=np.column_stack([self.places, ground + height_agl_m]),
            heading_deg=headings[self.line] if len(self.lines) else np.empty(0),
            pitch_deg=pitches[self.line] if len(self.lines) else np.empty(0),
            line=self.line + first,
        )

    def planned(self, terrain: Terrain, height_agl_m: float, first: int = 0) -> Photos:
        """Return the photographs as they were planned on these lines: the pattern."""
        photos = Photos.on_lines(self.lines, lambda at: height_below(terrain, at) + height_agl_m)
        return replace(photos, line=photos.line + first)


def marked_from_text(text: str) -> MarkedFlown:
    """Return what was flown, from a sortie and perhaps its lines: 2, 2:5 or 2:1-5.

    Raises
    ------
    InputError
        If it is none of these.

    Examples
    --------
    >>> marked_from_text("2:1-5")
    MarkedFlown(sortie=2, first=1, last=5)
    """
    found = re.fullmatch(r"\s*(\d+)(?::(\d+)(?:-(\d+))?)?\s*", text)
    if not found:
        raise InputError(
            f"--flown {text!r}: give a sortie, such as 2, or lines of one, such as 2:1-5"
        )
    sortie, first, last = (int(part) if part else None for part in found.groups())
    if first is None:
        return MarkedFlown(sortie=sortie or 0)
    return MarkedFlown(sortie=sortie or 0, first=first, last=last or first)


def read_former(survey: Survey, catalogue: Catalogue, **options: Unpack[PlanOptions]) -> FormerPlan:
    """Read the plan of a survey; `options` take the place of what was asked then.

    Raises
    ------
    InputError, VersionError
        If there is none, or another version wrote it.
    """
    path = survey.plan_dir / PLAN_FILE
    if not path.is_file():
        raise InputError(f"{survey.folder}: holds no plan; make one with 'tmp plan AREA'")
    said = read_json(path, remedy="plan anew with the area")
    if said.get("version") != PLAN_VERSION:
        raise VersionError(f"{path}: version {said.get('version')!r}; this platform reads 1")
    if "asked" not in said:
        raise InputError(f"{path}: {OLDER}")
    asked, laid = said["asked"], said["laid_out"]
    given: dict[str, Any] = {
        "overlap": Overlap(front=said["frontlap"], side=said["sidelap"]),
        "views": said["views"],
        "dem": Path(said["dem"]) if said["dem"] else None,
        "dem_datum": said["dem_datum"],
        "gsd_m": said["gsd_m"],
        "height_agl_m": asked["height_agl_m"],
        "speed_m_s": asked["speed_m_s"],
        "exposure_s": said["exposure_s"],
        "takeoffs": [(lon, lat) for lon, lat in asked["takeoffs"]],
        "wind": Wind(**asked["wind"]) if asked["wind"] else None,
        "battery": Battery(reserve=said["reserve"]),
        "bounds": RuleLimits(**asked["bounds"]),
        "allowed": frozenset(asked["allowed"]),
    }
    given.update(options)
    request = PlanRequest(
        area=_area(said["area"], asked["source"]),
        exclusions=tuple(_area(one, "an exclusion") for one in said["exclusions"]),
        drone=catalogue.drone(said["drone"]),
        cameras=tuple(catalogue.camera(key) for key in said["cameras"]),
        **given,
    )
    laid_out = replace(
        request, gsd_m=laid["gsd_m"], overlap=Overlap(front=laid["frontlap"], side=laid["sidelap"])
    )
    lon_deg, lat_deg = said["frame"]
    frame = PlanFrame(lon_deg=lon_deg, lat_deg=lat_deg)
    return FormerPlan(
        request=request,
        laid_out=laid_out,
        frame=frame,
        lines=tuple(line_of(one, frame) for one in said["lines"]),
        sorties=tuple(one["sortie"] for one in said["lines"]),
        line_spacing_m=said["line_spacing_m"],
        photo_spacing_m=said["photo_spacing_m"],
    )


def _area(geometry: Mapping[str, Any], source: str) -> SurveyArea:
    parts = shapely.get_parts(shape(geometry))
    return SurveyArea(polygons=shapely.MultiPolygon(list(parts)), source=source)


def line_of(said: Mapping[str, Any], frame: PlanFrame) -> Line:
    """Return a line of a plan's ``plan.json``, in the plan's plane."""
    entry, leave, start, end = frame.plan_from_geodetic([*said["flown"], *said["photographed"]])
    return Line(
        start=(float(start[0]), float(start[1])),
        end=(float(end[0]), float(end[1])),
        photos=said["photographs"],
        run_in_m=float(np.hypot(*(start - entry))),
        run_out_m=float(np.hypot(*(leave - end))),
        pitch_deg=said["pitch_deg"],
        extra=said["extra"],
    )


def left_of(
    former: FormerPlan, survey: Survey, marked: Sequence[MarkedFlown] = ()
) -> tuple[tuple[Line, ...], Before]:
    """Return the lines of a plan that were not flown, and what was.

    A line that was broken off is left from a station before the first one missing.  Stations are
    those of the former plan, so that both parts map together.

    Raises
    ------
    InputError
        If nothing was flown, all was, or a mark names no line.
    """
    told = _told(former, marked)
    sources = [_Track.of(former, rows) for rows in (_recorded(survey), _ingested(survey))]
    left: list[Line] = []
    lines: list[Line] = []
    places: list[Float] = []
    numbers: list[NDArray[np.int_]] = []
    for number, line in enumerate(former.lines):
        # The same photographs may be in both: counted once.
        found = max((one.on(number) for one in sources), key=len)
        flown = _flown_stations(line, found, former.photo_spacing_m)
        missing = np.full(line.photos, False) if told[number] else _missing(flown)
        for start, end, is_left in _stretches(missing):
            part = _part(line, start, end)
            if is_left:
                left.append(part)
                continue
            lines.append(part)
            # What was marked is taken to be photographed where no photograph says more.
            seen = found[_within(part, found, former.photo_spacing_m)]
            seen = part.stations if told[number] and 2 * len(seen) < part.photos else seen
            places.append(seen)
            numbers.append(np.full(len(seen), len(lines) - 1))
    if not lines:
        raise InputError(
            f"{survey.folder}: no photograph lies on a line of its plan; take in those of the "
            "flight ('tmp ingest'), or say what was flown, such as --flown 1"
        )
    if not left:
        raise InputError(f"{survey.folder}: all lines of its plan were flown; nothing is left")
    before = Before(lines=tuple(lines), places=np.concatenate(places), line=np.concatenate(numbers))
    return tuple(left), before


def _told(former: FormerPlan, marked: Sequence[MarkedFlown]) -> list[bool]:
    """Tell which lines were flown for sure: by earlier plans, and as a person says."""
    told = [sortie is None for sortie in former.sorties]
    for mark in marked:
        lines = [k for k, sortie in enumerate(former.sorties) if sortie == mark.sortie]
        last = len(lines) if mark.last is None else mark.last
        if not 1 <= mark.first <= last <= len(lines):
            which = f"sortie {mark.sortie} with {len(lines)} lines" if lines else "such sortie"
            raise InputError(
                f"--flown {mark.sortie}{f':{mark.first}-{last}' if lines else ''}: the plan has "
                f"{'' if lines else 'no '}{which}"
            )
        for k in lines[mark.first - 1 : last]:
            told[k] = True
    return told


def _recorded(survey: Survey) -> list[_Shot]:
    """Return where photographs were triggered, as ``tmp fly`` has recorded it."""
    found = []
    for path in sorted(survey.plan_dir.glob("flown-*.csv")):
        with path.open(encoding="utf-8", errors="replace", newline="") as stream:
            for row in csv.DictReader(stream):
                with suppress(KeyError, TypeError, ValueError):  # a row that was cut short
                    place = float(row["lon_deg"]), float(row["lat_deg"])
                    found.append((*place, float(row.get("yaw_deg") or "nan")))
    return found


def _ingested(survey: Survey) -> list[_Shot]:
    """Return where photographs of the survey were taken, one for each release, in time's order."""
    if not survey.gpkg_path.is_file():
        return []
    captures = [one for one in survey.captures if one.used and one.longitude_deg is not None]
    captures.sort(key=lambda one: (one.flight, one.time_utc.timestamp() if one.time_utc else 0.0))
    found = {
        one.rig_id or one.name: (
            one.longitude_deg or 0.0,
            one.latitude_deg or 0.0,
            math.nan if one.gimbal_yaw_deg is None else one.gimbal_yaw_deg,
        )
        for one in captures
    }
    return list(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Track:
    """Photographs in the order taken, and on which line each lies."""

    places: Float
    line: NDArray[np.int_]
    """-1 for none."""

    @classmethod
    def of(cls, former: FormerPlan, shots: Sequence[_Shot]) -> _Track:
        """Return photographs with the line nearest to each, of those that run its course.

        The course is that of the camera where it is told, or from the photograph before to the
        one behind; either may agree.
        """
        if not shots:
            return cls(places=np.empty((0, 2)), line=np.empty(0, int))
        told = np.array(shots, float)
        places = former.frame.plan_from_geodetic(told[:, :2])
        before, after = places[:1], places[-1:]
        steps = np.vstack([places[1:], after]) - np.vstack([before, places[:-1]])
        moving = np.hypot(*steps.T) > STILL_M
        course = np.degrees(np.arctan2(*steps.T))
        most_m = float(np.clip(BESIDE * former.line_spacing_m, *BESIDE_M))
        best_m, line = np.full(len(places), most_m), np.full(len(places), -1)
        for number, one in enumerate(former.lines):
            across = np.abs((places - one.start) @ (-one.course[1], one.course[0]))
            turned = np.fmin(_apart_deg(course, one), _apart_deg(told[:, 2], one))
            on = (across <= best_m) & (~moving | (turned <= TURNED_DEG))
            on &= _within(one, places, former.photo_spacing_m)
            line[on], best_m[on] = number, across[on]
        return cls(places=places, line=line)

    def on(self, number: int) -> Float:
        """Return the photographs on a line, (N, 2)."""
        return np.asarray(self.places[self.line == number])


def _apart_deg(course_deg: Float, line: Line) -> Float:
    """Return the angles between courses (N,) and that of a line, either way round."""
    return np.asarray(np.abs((course_deg - line.heading_deg + 90.0) % 180.0 - 90.0))


def _along(line: Line, places: Float) -> Float:
    """Return the metres along a line at which places (N, 2) lie abreast of it, (N,)."""
    return np.asarray((places - line.start) @ line.course)


def _within(line: Line, places: Float, spacing_m: float) -> NDArray[np.bool_]:
    """Tell which places (N, 2) lie abreast of a line, or less than a photograph beyond it."""
    along, spare_m = _along(line, places), NEAR * (line.spacing_m or spacing_m)
    return np.asarray((along >= -spare_m) & (along <= line.length_m + spare_m))


def _flown_stations(line: Line, places: Float, spacing_m: float) -> NDArray[np.bool_]:
    """Tell at which stations of a line a photograph was taken, (photos,)."""
    if not len(places):
        return np.full(line.photos, False)
    stations = np.linspace(0.0, line.length_m, line.photos)
    away = np.abs(stations[:, None] - _along(line, places)).min(axis=1)
    return np.asarray(away <= max(NEAR * (line.spacing_m or spacing_m), NEAR_M))


def _missing(flown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the stations to fly: one stretch that holds all runs of several missing, or none."""
    missing = ~flown
    if len(flown) >= IN_A_ROW:
        runs = np.convolve(missing, np.ones(IN_A_ROW), "valid") == IN_A_ROW
        found = np.flatnonzero(runs)
        ends = found[[0, -1]] + (0, IN_A_ROW - 1) if len(found) else None
    else:
        ends = np.array([0, len(flown) - 1]) if missing.all() else None
    whole = np.full(len(flown), False)
    if ends is not None:
        whole[max(ends[0] - SEAM, 0) : ends[1] + SEAM + 1] = True
    return whole


def _stretches(missing: NDArray[np.bool_]) -> Iterator[tuple[int, int, bool]]:
    """Yield the first and last station of each stretch, and whether it is left.

    What was flown ends where what is left begins, less the seam.
    """
    edges = [0, *(np.flatnonzero(np.diff(missing)) + 1).tolist(), len(missing)]
    for start, end in pairwise(edges):
        if missing[start]:
            yield start, end - 1, True
        else:
            yield (
                max(start - SEAM, 0),
                min(end - 1 + SEAM, len(missing) - 1),
                False,
            )


def _part(line: Line, first: int, last: int) -> Line:
    """Return a line from one of its stations to another; cut ends have no run."""
    if (first, last) == (0, line.photos - 1):
        return line
    stations = line.stations
    start, end = stations[first].tolist(), stations[last].tolist()
    return replace(
        line,
        start=(start[0], start[1]),
        end=(end[0], end[1]),
        photos=last - first + 1,
        run_in_m=line.run_in_m if first == 0 else 0.0,
        run_out_m=line.run_out_m if last == line.photos - 1 else 0.0,
    )
