"""Ground control as surveyors and other programs write it, taken into a survey.

Read are tables with a heading (commas, semicolons or tabs), from any receiver or spreadsheet, and
the ``gcp_list.txt`` of OpenDroneMap and WebODM: the CRS, then lines of easting, northing, height,
column, row and photograph, with a name where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np
from pyproj import CRS
from pyproj.exceptions import CRSError
from scipy.spatial import cKDTree

from tmp.captures import Capture, HeightDatum
from tmp.errors import InputError
from tmp.geo.control import (
    LEAST_POINTS,
    Control,
    ControlPoint,
    Mark,
    Role,
    number,
    read_control,
    read_rows,
    remove_control,
    write_control,
)
from tmp.geo.frames import LocalFrame
from tmp.geo.vectors import read_whole
from tmp.lock import locked_survey
from tmp.survey import open_survey, read_settings, write_settings

SIGMA_M = (0.02, 0.03)
"""Standard deviations, horizontal and vertical, of a point that says nothing of its own: a fixed
RTK receiver's, pole and target counted."""
FARTHEST_M = 10_000.0
"""A point farther than this from every photograph belongs to another survey."""
COLLINEAR = 0.02
"""Spread of points across a line over that along it, below which they leave a tilt open."""
MOST_BYTES = 16 * 2**20
NAMED = 3

_ALIASES: Mapping[str, Sequence[str]] = {
    "name": ("name", "point", "point_name", "gcp", "gcp_name", "id", "label", "pt"),
    "x": ("x", "e", "east", "easting", "easting_m", "lon", "longitude", "longitude_deg", "geo_x"),
    "y": ("y", "n", "north", "northing", "northing_m", "lat", "latitude", "latitude_deg", "geo_y"),
    "height_m": ("z", "h", "height", "height_m", "elevation", "alt", "altitude", "geo_z"),
    "sigma_m": ("sigma_m", "sigma", "accuracy", "accuracy_m", "hrms", "sigma_h"),
    "height_sigma_m": ("height_sigma_m", "sigma_z", "sigma_v", "vrms", "vertical_accuracy"),
    "crs": ("crs", "epsg", "srs"),
    "role": ("role", "type"),
    "photograph": ("photograph", "photo", "image", "image_name", "file", "filename"),
    "x_px": ("x_px", "px", "im_x", "pixel_x", "u", "col", "column"),
    "y_px": ("y_px", "py", "im_y", "pixel_y", "v", "row"),
}
_UTM = re.compile(r"WGS\s*84\s+UTM\s+(\d{1,2})\s*([NS])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOptions:
    """What is to be known of control beside its file."""

    crs: str | None = None
    """Of the coordinates; None where the file says it."""
    sigma_m: tuple[float, float] = SIGMA_M
    """Standard deviations, horizontal and vertical, of points that say none of their own."""
    check: tuple[str, ...] = ()
    """Names of points that are to check the map and not to hold it."""
    datum: HeightDatum = HeightDatum.CONTROL
    """What their heights are measured from."""


def add_control(survey_dir: Path, file: Path, options: ControlOptions) -> Control:
    """Add the points and marks of a file to a survey; returns all that it has then.

    What is there under the same name is replaced.  Once enough is marked, the heights of the map
    count from what the points' heights count from.

    Parameters
    ----------
    survey_dir : Path
        A survey with photographs that carry positions.
    file : Path
        A table with a heading, or a ``gcp_list.txt``.
    options : ControlOptions

    Raises
    ------
    InputError
        If the file cannot be read, names photographs that the survey does not have, or holds no
        control that could hold the map: fewer than three points, all on one line, far away.
    """
    survey = open_survey(survey_dir)
    with locked_survey(survey, "'tmp control'"):
        settings, captures = read_settings(survey), survey.captures
        if not settings.frame.referenced:
            raise InputError(
                f"{survey.folder}: its photographs carry no positions; control cannot yet take "
                "their place"
            )
        added = _with_roles(read_control_file(file, options), options.check, file)
        added = _of_survey(added, captures, file)
        former = read_control(survey.folder)
        known = {point.name for point in (*former.points, *added.points)}
        for mark in added.marks:
            if mark.point not in known:
                raise InputError(
                    f"{file}: marks {mark.point!r}, which is no point of the survey; add the "
                    f"points first ({_few(sorted(known)) or 'there are none'})"
                )
        whole = former.joined(added)
        refuse_useless(whole, settings.frame, captures, str(file))
        write_control(survey.folder, whole)
        if whole.holds and settings.vertical_datum is not options.datum:
            write_settings(survey, replace(settings, vertical_datum=options.datum))
    return whole


def read_control_file(path: Path, options: ControlOptions) -> Control:
    """Return what a file holds; photographs are named as there."""
    content = read_whole(path, MOST_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if "\0" in text:
        raise InputError(f"{path}: is no text; give a table (CSV) or a gcp_list.txt")
    first = text.lstrip().partition("\n")[0].strip()
    crs = _crs_of(first)
    if crs is not None:
        return _from_list(text.strip().splitlines()[1:], options.crs or crs, options, path)
    return _from_table(text, options, path)


def refuse_useless(
    control: Control, frame: LocalFrame, captures: Sequence[Capture], where: str
) -> None:
    """Refuse control that could not hold a map of photographs in a frame with a place."""
    assert frame.crs is not None
    places = control.on_map(frame.crs)
    holds = np.array([point.role is Role.CONTROL for point in control.points])
    positions: list[tuple[float | None, ...]] = [
        (c.longitude_deg, c.latitude_deg, c.height_m) for c in captures if c.used and c.positioned
    ]
    geodetic = np.array(positions or [frame.origin or ()], float)
    cameras = frame.map_from_world(frame.world_from_geodetic(geodetic))
    away_m, _ = cKDTree(cameras[:, :2]).query(places[:, :2])
    far = int(np.argmax(away_m))
    if away_m[far] > FARTHEST_M:
        point = control.points[far]
        raise InputError(
            f"{where}: point {point.name} lies {away_m[far] / 1000:.0f} km from every photograph; "
            f"are its axes swapped ({point.x:g} east, {point.y:g} north), or is its CRS not "
            f"{point.crs}?"
        )
    count = int(holds.sum())
    if count < LEAST_POINTS:
        raise InputError(
            f"{where}: {count} control point{'s' * (count != 1)}; at least {LEAST_POINTS} are "
            "needed to hold a map (check points do not count)"
        )
    spread = np.linalg.svd(places[holds, :2] - places[holds, :2].mean(axis=0), compute_uv=False)
    if spread[1] < COLLINEAR * spread[0]:
        raise InputError(
            f"{where}: all control points lie on one line, which leaves the map's tilt open; "
            "measure one beside it"
        )


def _from_list(lines: Sequence[str], crs: str, options: ControlOptions, path: Path) -> Control:
    """Return control of the lines of a ``gcp_list.txt``."""
    points: dict[str, ControlPoint] = {}
    names: dict[tuple[str, str, str], str] = {}
    marks = []
    for count, line in enumerate(lines, 2):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{path}, line {count}"
        if len(words) < 6:
            raise InputError(
                f"{where}: {len(words)} words; easting, northing, height, column, row and "
                "photograph are expected"
            )
        row = dict(zip(("x", "y", "height_m", "x_px", "y_px"), words, strict=False))
        values = {key: number(row, key, where) for key in row}
        place = words[0], words[1], words[2]
        name = words[6] if len(words) > 6 else names.get(place, f"P{len(names) + 1}")
        if name in points and names.get(place) != name:
            raise InputError(f"{where}: point {name} has other coordinates than above")
        names[place] = name
        with _told_where(where):
            points[name] = ControlPoint(
                name=name,
                x=values["x"],
                y=values["y"],
                height_m=values["height_m"],
                crs=crs,
                sigma_m=options.sigma_m[0],
                height_sigma_m=options.sigma_m[1],
            )
            mark = Mark(point=name, photograph=words[5], x_px=values["x_px"], y_px=values["y_px"])
        marks.append(mark)
    return Control(points=tuple(points.values()), marks=tuple(marks))


def _from_table(text: str, options: ControlOptions, path: Path) -> Control:
    """Return control of a table: points, a line for each mark of a point, or marks alone."""
    points: dict[str, ControlPoint] = {}
    marks = []
    for line, given in read_rows(text, str(path)):
        where = f"{path}, line {line}"
        row = {
            key: given[alias]
            for key, aliases in _ALIASES.items()
            for alias in aliases
            if given.get(alias)
        }
        if "photograph" in row and not row.keys() & {"x", "y", "height_m"}:
            marks.append(_mark_of(row, where))
            continue
        for key in ("name", "x", "y", "height_m"):
            if key not in row:
                heading = ", ".join(given) or "none"
                raise InputError(
                    f"{where}: no {key}; its columns are called {heading}, and one of "
                    f"{', '.join(_ALIASES[key])} is looked for"
                )
        point = _point_of(row, options, where)
        before = points.setdefault(point.name, point)
        if (before.x, before.y, before.height_m) != (point.x, point.y, point.height_m):
            raise InputError(f"{where}: point {point.name} has other coordinates than above")
        if "photograph" in row:
            marks.append(_mark_of(row, where))
    if not (points or marks):
        raise InputError(f"{path}: holds no point")
    return Control(points=tuple(points.values()), marks=tuple(marks))


def _mark_of(row: Mapping[str, str], where: str) -> Mark:
    for key in ("name", "x_px", "y_px"):
        if key not in row:
            raise InputError(f"{where}: names a photograph but no {key}")
    x_px, y_px = (number(dict(row), key, where) for key in ("x_px", "y_px"))
    with _told_where(where):
        return Mark(point=row["name"], photograph=row["photograph"], x_px=x_px, y_px=y_px)


def _point_of(row: Mapping[str, str], options: ControlOptions, where: str) -> ControlPoint:
    crs = row.get("crs", options.crs)
    if crs is None:
        raise InputError(f"{where}: what CRS are its coordinates in? Give it with --crs EPSG:CODE")
    sigma_m = number(dict(row), "sigma_m", where) if "sigma_m" in row else options.sigma_m[0]
    up_m = options.sigma_m[1]
    if "height_sigma_m" in row:
        up_m = number(dict(row), "height_sigma_m", where)
    elif "sigma_m" in row:
        up_m = sigma_m * options.sigma_m[1] / options.sigma_m[0]
    role = row.get("role", "").lower()
    x, y, height_m = (number(dict(row), key, where) for key in ("x", "y", "height_m"))
    known = _known_crs(f"EPSG:{crs}" if crs.isdigit() else crs, where)
    with _told_where(where):
        return ControlPoint(
            name=row["name"],
            x=x,
            y=y,
            height_m=height_m,
            crs=known,
            sigma_m=sigma_m,
            height_sigma_m=up_m,
            role=Role.CHECK if role.startswith("check") else Role.CONTROL,
        )


@contextmanager
def _told_where(where: str) -> Iterator[None]:
    """Have an `InputError` of the block say where in a file its cause is."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _with_roles(control: Control, check: Sequence[str], file: Path) -> Control:
    names = {point.name for point in control.points}
    for name in check:
        if name not in names:
            raise InputError(
                f"{file}: no point {name!r} to check with; it has {_few(sorted(names))}"
            )
    points = (
        replace(point, role=Role.CHECK) if point.name in check else point
        for point in control.points
    )
    return replace(control, points=tuple(points))


def _of_survey(control: Control, captures: Sequence[Capture], file: Path) -> Control:
    """Return control whose marks name photographs as the survey does, and lie in them."""
    by_name = {capture.name: capture for capture in captures}
    by_source: dict[str, list[Capture]] = {}
    for capture in captures:
        for said in {PurePath(capture.source or capture.name).name, PurePath(capture.name).name}:
            by_source.setdefault(said.lower(), []).append(capture)
    marks, unknown = [], set()
    for mark in control.marks:
        alike = [by_name[mark.photograph]] if mark.photograph in by_name else []
        if not alike:
            alike = by_source.get(PurePath(mark.photograph.replace("\\", "/")).name.lower(), [])
        if len(alike) != 1:
            unknown.add(mark.photograph)
            continue
        (capture,) = alike
        if not (0 <= mark.x_px <= capture.width_px and 0 <= mark.y_px <= capture.height_px):
            raise InputError(
                f"{file}: {mark.point} is marked at {mark.x_px:g}, {mark.y_px:g} in "
                f"{mark.photograph}, which has {capture.width_px} x {capture.height_px} pixels"
            )
        marks.append(replace(mark, photograph=capture.name))
    if unknown:
        names = sorted(unknown)
        raise InputError(
            f"{file}: {len(names)} photograph{'s' * (len(names) != 1)} that the survey does not "
            f"have, or has twice ({_few(names)}); ingest them first, or leave their lines away"
        )
    return replace(control, marks=tuple(marks))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (" and others" if len(names) > NAMED else "")


def _crs_of(line: str) -> str | None:
    """Return the CRS that a line says, and nothing else; None if it is something else."""
    utm = _UTM.fullmatch(line)
    if utm:
        south = utm[2].upper() == "S"
        return f"EPSG:{(32700 if south else 32600) + int(utm[1])}"
    if not re.match(r"(\+|EPSG:|ESRI:|(PROJ|GEOG|BOUND|COMPD?)[A-Z]*\[)", line, re.IGNORECASE):
        return None
    return _known_crs(line, "the first line")


def _known_crs(said: str, where: str) -> str:
    try:
        crs = CRS.from_user_input(said)
    except CRSError as error:
        raise InputError(
            f"{where}: CRS {said!r} is not known; give one such as EPSG:32627 with --crs"
        ) from error
    if not (crs.is_projected or crs.is_geographic):
        raise InputError(f"{where}: {said!r} is no CRS of maps or of longitudes and latitudes")
    return said


def clear_control(survey_dir: Path) -> None:
    """Take all control away from a survey; heights count from what is not known again."""
    survey = open_survey(survey_dir)
    with locked_survey(survey, "'tmp control'"):
        if not remove_control(survey.folder):
            raise InputError(f"{survey.folder}: has no control")
        settings = read_settings(survey)
        if settings.vertical_datum is HeightDatum.CONTROL:
            datums = {c.height_datum for c in survey.captures if c.positioned}
            datum = datums.pop() if len(datums) == 1 else HeightDatum.UNKNOWN
            write_settings(survey, replace(settings, vertical_datum=datum))
