"""Remember which lines of a survey are flown, so that another day can fly the rest."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from flightplan.motion import Motion, path_seconds
from flightplan.planframe import PlanFrame
from flightplan.pricing import Way, entry, leave, straight
from flightplan.routes import Line, Route
from tmp.errors import InputError, VersionError
from tmp.files import replacing

VERSION = 1
MEASURES = tuple(
    field.name for field in fields(Line) if field.name not in ("start", "end", "photos", "extra")
)
"""What of a line is kept besides its ends and photographs: run-in, run-out and the like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """A survey's lines in the order flown, and how far it has come."""

    lines: tuple[Line, ...]
    """Plan metres."""
    flown: frozenset[int]
    """Numbers of the lines that need not be flown again, from 0."""

    @property
    def left(self) -> tuple[Line, ...]:
        """Lines still to be flown, in order."""
        return tuple(line for i, line in enumerate(self.lines) if i not in self.flown)

    def route(self, motion: Motion, *, way: Way = straight) -> Route:
        """Return the route over the lines that are left.

        Raises
        ------
        InputError
            If none is left.
        """
        lines = self.left
        if not lines:
            raise InputError("every line is flown; nothing is left to plan")
        transits = tuple(way(leave(lines[i]), entry(lines[i + 1])) for i in range(len(lines) - 1))
        seconds = sum(path_seconds(line.flown, motion) for line in lines)
        seconds += sum(path_seconds(transit, motion) for transit in transits)
        seconds += 2 * motion.corner_s * len(transits)
        return Route(lines=lines, transits=transits, time_s=seconds)


def write_resume(
    path: Path, lines: Sequence[Line], frame: PlanFrame, *, flown: Collection[int] = ()
) -> None:
    """Write a survey's lines, each with whether it is flown, for people to read and mend.

    Parameters
    ----------
    path : Path
        JSON, replaced if it exists.
    lines : sequence of Line
        In the order flown, plan metres.
    flown : collection of int
        Numbers of the lines flown, from 0.
    """
    ends = [frame.geodetic_from_plan([line.start, line.end]).round(9).tolist() for line in lines]
    table = [
        {
            "line": i + 1,
            "flown": i in flown,
            "start": start,
            "end": end,
            "photos": line.photos,
            "extra": line.extra,
            **{name: round(getattr(line, name), 3) for name in MEASURES},
        }
        for i, (line, (start, end)) in enumerate(zip(lines, ends, strict=True))
    ]
    rows = ",\n".join(f"    {json.dumps(row)}" for row in table)
    with replacing(path) as beside:
        beside.write_text(
            f'{{\n  "kind": "tmp flown lines",\n  "version": {VERSION},\n'
            f'  "lines": [\n{rows}\n  ]\n}}\n',
            encoding="utf-8",
        )


def read_resume(path: Path, frame: PlanFrame) -> Resume:
    """Read which lines of a survey are flown.

    Raises
    ------
    InputError
        If the file is missing, damaged, or something else.
    VersionError
        If a newer platform wrote it.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    if not isinstance(data, dict) or data.get("kind") != "tmp flown lines":
        raise InputError(f"{path}: does not list flown lines; give the file that tmp plan wrote")
    if data.get("version") != VERSION:
        raise VersionError(f"{path}: version {data.get('version')!r}; this platform reads 1")
    rows = data.get("lines")
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path}: lists no lines; plan anew")
    lines = tuple(_line(row, frame, f"{path}: line {i + 1}") for i, row in enumerate(rows))
    return Resume(
        lines=lines, flown=frozenset(i for i, row in enumerate(rows) if row.get("flown") is True)
    )


def _line(row: Any, frame: PlanFrame, where: str) -> Line:
    try:
        (x0, y0), (x1, y1) = frame.plan_from_geodetic([row["start"], row["end"]]).tolist()
        photos = row["photos"]
        measures = {name: float(row[name]) for name in MEASURES if name in row}
        if type(photos) is not int or photos < 1 or type(row["flown"]) is not bool:
            raise ValueError("photos is a number from 1, flown is true or false")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where} is damaged ({error}); plan anew") from error
    extra = row.get("extra") is True
    return Line(start=(x0, y0), end=(x1, y1), photos=photos, extra=extra, **measures)
