"""Ground control: points measured on the ground, and where photographs show them.

A survey keeps them as two tables that people can read and edit, ``control/points.csv`` and
``control/marks.csv``.  Coordinates stay as they were given, in the CRS that they were given in.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer
from pyproj.exceptions import ProjError

from tmp.errors import InputError
from tmp.files import replacing

LEAST_POINTS, LEAST_MARKS = 3, 2
"""Control points that hold a map, and photographs in which each has to be marked."""
FOLDER = "control"
POINTS, MARKS = "points.csv", "marks.csv"
MARKING = "marking"
"""Folder of the page to mark points in."""
LEAST_SIGMA_M = 1e-4
MOST_SIGMA_M = 1e3
MOST_ROWS = 200_000


class Role(StrEnum):
    """What a point is for."""

    CONTROL = "control"
    """It holds the map in place."""
    CHECK = "check"
    """It only tells how far off the map is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPoint:
    """A point measured on the ground."""

    name: str
    x: float
    """Easting, or longitude in degrees, in `crs`."""
    y: float
    """Northing, or latitude in degrees, in `crs`."""
    height_m: float
    crs: str
    """As PROJ understands it; coordinates are in the order east, north."""
    sigma_m: float
    """Standard deviation of each horizontal coordinate."""
    height_sigma_m: float
    role: Role = Role.CONTROL

    def __post_init__(self) -> None:
        for key in ("x", "y", "height_m"):
            if not math.isfinite(getattr(self, key)):
                raise InputError(f"point {self.name}: {key} is {getattr(self, key)}, not a number")
        for key in ("sigma_m", "height_sigma_m"):
            if not LEAST_SIGMA_M <= getattr(self, key) <= MOST_SIGMA_M:
                raise InputError(
                    f"point {self.name}: {key} is {getattr(self, key):g}; a standard deviation "
                    f"lies between {LEAST_SIGMA_M:g} and {MOST_SIGMA_M:g} m"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where a photograph shows a point."""

    point: str
    photograph: str
    """As in `tmp.captures.Capture.name`."""
    x_px: float
    """Columns from the picture's left edge, full size: the first pixel's centre is at 0.5."""
    y_px: float
    """Rows from its upper edge."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.x_px) and math.isfinite(self.y_px)):
            raise InputError(
                f"mark of {self.point} in {self.photograph}: {self.x_px}, {self.y_px} is no place"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """All points of a survey and their marks."""

    points: tuple[ControlPoint, ...] = ()
    """By name."""
    marks: tuple[Mark, ...] = ()
    """By point and photograph."""

    def __bool__(self) -> bool:
        return bool(self.points)

    @property
    def holds(self) -> bool:
        """Tell whether enough is marked to hold a map: three control points in two photographs."""
        marked = Counter(mark.point for mark in self.marks)
        held = [p for p in self.points if p.role is Role.CONTROL and marked[p.name] >= LEAST_MARKS]
        return len(held) >= LEAST_POINTS

    def joined(self, other: Control) -> Control:
        """Return both; of what is in both, what the other says."""
        points = {point.name: point for point in (*self.points, *other.points)}
        marks = {(mark.point, mark.photograph): mark for mark in (*self.marks, *other.marks)}
        return Control(
            points=tuple(points[name] for name in sorted(points)),
            marks=tuple(marks[key] for key in sorted(marks)),
        )

    def on_map(self, crs: str) -> NDArray[np.float64]:
        """Return the points' easting, northing and height in a projected CRS, (N, 3).

        Heights are unchanged.  Raises `InputError` for a CRS that PROJ does not know, or that
        does not hold a point.
        """
        return np.array([project(point, crs) for point in self.points], float).reshape(-1, 3)


Record = TypeVar("Record", ControlPoint, Mark)


def project(point: ControlPoint, crs: str) -> tuple[float, float, float]:
    """Return easting, northing and height of a point in a projected CRS; see `Control.on_map`."""
    try:
        x, y = Transformer.from_crs(point.crs, crs, always_xy=True).transform(point.x, point.y)
    except ProjError as error:
        reason = " ".join(str(error).split())[:80]
        raise InputError(
            f"point {point.name}: CRS {point.crs!r} is not known ({reason}); give one such as "
            "EPSG:32627 with --crs"
        ) from error
    if not (math.isfinite(x) and math.isfinite(y)):
        raise InputError(
            f"point {point.name}: {point.x:g}, {point.y:g} lies outside {point.crs} or {crs}; are "
            "the axes swapped, or the CRS another?"
        )
    return float(x), float(y), point.height_m


def read_control(survey: Path) -> Control:
    """Return the control of a survey's folder; empty where there is none.

    Raises `InputError` for a table that is not what `write_control` writes, with the line.
    """
    folder = survey / FOLDER
    if not (folder / POINTS).exists():
        return Control()
    marks = _read(folder / MARKS, Mark) if (folder / MARKS).exists() else ()
    found = Control(points=tuple(_read(folder / POINTS, ControlPoint)), marks=tuple(marks))
    names = {point.name for point in found.points}
    for mark in found.marks:
        if mark.point not in names:
            raise InputError(f"{folder / MARKS}: {mark.point!r} is no point of {POINTS}")
    return Control().joined(found)


def write_control(survey: Path, control: Control) -> Sequence[Path]:
    """Write the control of a survey's folder; returns the tables' paths.

    The points come last: a table of marks alone counts for nothing.
    """
    folder = survey / FOLDER
    folder.mkdir(exist_ok=True)
    _write(folder / MARKS, Mark, control.marks)
    _write(folder / POINTS, ControlPoint, control.points)
    return folder / POINTS, folder / MARKS


def remove_control(survey: Path) -> bool:
    """Take the control away from a survey's folder; tells whether there was any."""
    folder = survey / FOLDER
    if not (folder / POINTS).exists():
        return False
    for name in (POINTS, MARKS):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / MARKING, ignore_errors=True)
    if not any(folder.iterdir()):
        folder.rmdir()
    return True


def control_text(control: Control) -> str:
    """Return control as a line of text from which `control_from_text` makes it again."""
    return json.dumps(asdict(control)) if control else ""


def control_from_text(text: str) -> Control:
    """Return the control that `control_text` wrote."""
    if not text:
        return Control()
    said = json.loads(text)
    return Control(
        points=tuple(
            ControlPoint(**point | {"role": Role(point["role"])}) for point in said["points"]
        ),
        marks=tuple(Mark(**mark) for mark in said["marks"]),
    )


def read_rows(text: str, where: str) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a table with a heading, by its names in small letters, and their lines.

    Commas, semicolons and tabs part columns.  Raises `InputError` for what is no such table.
    """
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        for row in reader:
            if None in row or any(value is None for value in row.values()):
                raise InputError(
                    f"{where}, line {reader.line_num}: has not as many columns as the heading"
                )
            rows.append((reader.line_num, {key: value.strip() for key, value in row.items()}))
            if len(rows) > MOST_ROWS:
                raise InputError(f"{where}: more than {MOST_ROWS:,} lines; is this the right file?")
    except csv.Error as error:
        raise InputError(f"{where}, line {reader.line_num}: no table ({error})") from error
    return rows


def number(row: dict[str, str], key: str, where: str) -> float:
    """Return a column's number; raises `InputError` with the place if it is none."""
    try:
        return float(row[key])
    except ValueError as error:
        raise InputError(f"{where}: {key} is {row[key]!r}, which is no number") from error


def _read(path: Path, kind: type[Record]) -> list[Record]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); add the control again") from error
    columns = {field.name: field.type for field in fields(kind)}
    found = []
    for line, row in read_rows(text, str(path)):
        where = f"{path}, line {line}"
        lacking = sorted(columns.keys() - row.keys())
        if lacking:
            raise InputError(f"{path}: has no column {lacking[0]!r}")
        values: dict[str, Any] = {
            key: number(row, key, where) if kept == "float" else row[key]
            for key, kept in columns.items()
        }
        if "role" in values:
            if values["role"] not in set(Role):
                said = f"{where}: role is {values['role']!r}; one of {', '.join(Role)}"
                raise InputError(said)
            values["role"] = Role(values["role"])
        try:
            found.append(kind(**values))
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    return found


def _write(path: Path, kind: type, records: Sequence[object]) -> None:
    text = io.StringIO()
    names = [field.name for field in fields(kind)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(record, name) for name in names] for record in records)
    with replacing(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")
