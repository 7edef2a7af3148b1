"""Litchi's CSV: one row for each waypoint, 46 columns, heights above the take-off point.

References
----------
https://litchiutilities.com/docs/litchiCsv.php
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping

from flightplan.formats.geometry import (
    degrees,
    finite,
    first_line_m_s,
    leg,
    near,
    number,
    photo_stops,
    place,
    way_speed,
    wrapped,
)
from flightplan.formats.mission import (
    Content,
    HeightReference,
    Mission,
    Photo,
    Role,
    Waypoint,
    Written,
    photo_ways,
)
from tmp.errors import InputError

CARRIES = frozenset({Content.SPEED, Content.HEADING, Content.GIMBAL, Content.STOPS, Content.PHOTOS})

ACTIONS = 15
COLUMNS = (
    *("latitude", "longitude", "altitude(m)", "heading(deg)", "curvesize(m)", "rotationdir"),
    *("gimbalmode", "gimbalpitchangle"),
    *(f"action{part}{n}" for n in range(1, ACTIONS + 1) for part in ("type", "param")),
    *("altitudemode", "speed(m/s)", "poi_latitude", "poi_longitude", "poi_altitude(m)"),
    *("poi_altitudemode", "photo_timeinterval", "photo_distinterval"),
)

MOST_WAYPOINTS = 99
"""What DJI's waypoint missions, which Litchi flies, take at once."""

LOWEST_M, HIGHEST_M = -200.0, 500.0
"""Heights above the take-off point that Litchi takes."""
_STAY, _PHOTO = 0, 1
_STAY_MS = 1000
_INTERPOLATE = 2
_FROM_TAKEOFF, _ABOVE_GROUND = 0, 1
_METRES = {"m": 1.0, "ft": 0.3048}
_METRES_PER_SECOND = {"m/s": 1.0, "km/h": 1 / 3.6, "kph": 1 / 3.6, "mph": 0.44704}


def to_litchi(mission: Mission) -> Written:
    """Return a mission as Litchi's CSV.

    Raises
    ------
    InputError
        If heights are not above the take-off point or lie outside -200 to 500 m.
    """
    if mission.height_reference is not HeightReference.TAKEOFF:
        raise InputError(
            f"mission {mission.name!r} has heights above {mission.height_reference.value}; "
            "Litchi takes ours above the take-off point"
        )
    spacings = [*photo_ways(mission.waypoints), 0.0]
    stops = photo_stops(mission)
    target = io.StringIO()
    rows = csv.writer(target, lineterminator="\n")
    rows.writerow(COLUMNS)
    for index, waypoint in enumerate(mission.waypoints):
        if not LOWEST_M <= waypoint.height_m <= HIGHEST_M:
            raise InputError(
                f"waypoint {index} is {waypoint.height_m:.0f} m above the take-off point; Litchi "
                "takes -200 to 500 m; take off nearer to its height"
            )
        rows.writerow(_row(mission, index, spacings[index], photo=index in stops))
    return Written(content=target.getvalue().encode(), notes=_notes(mission))


def _notes(mission: Mission) -> tuple[str, ...]:
    notes = [
        "in Litchi set path mode to straight lines, heading mode to custom and the finish action "
        "by hand: its CSV has no place for them"
    ]
    if mission.takeoff is not None and math.isfinite(mission.takeoff.ground_m):
        notes.append(
            f"heights are above the take-off point, where the ground is at "
            f"{mission.takeoff.ground_m:.1f} m ({mission.vertical_datum or 'datum not stated'})"
        )
    if len(mission.waypoints) > MOST_WAYPOINTS:
        notes.append(
            f"{len(mission.waypoints)} waypoints; Litchi splits missions of more than "
            f"{MOST_WAYPOINTS}"
        )
    return tuple(notes)


def _row(mission: Mission, index: int, spacing_m: float, *, photo: bool) -> list[str]:
    waypoint = mission.waypoints[index]
    actions = [(_STAY, _STAY_MS)] if waypoint.stop else []
    actions += [(_PHOTO, 0)] if photo else []
    actions += [(-1, 0)] * (ACTIONS - len(actions))
    last = index == len(mission.waypoints) - 1
    speed = way_speed(mission, index)
    return [
        degrees(waypoint.lat_deg),
        degrees(wrapped(waypoint.lon_deg)),
        f"{waypoint.height_m:.3f}",
        number(_heading_deg(mission, index), 1),
        "0",
        "0",
        str(_INTERPOLATE),
        number(waypoint.gimbal_pitch_deg, 1),
        *(str(part) for action in actions for part in action),
        str(_FROM_TAKEOFF),
        number(speed, 2) if math.isfinite(speed) and not last else "0",
        *("0", "0", "0", str(_FROM_TAKEOFF)),
        "-1",
        number(spacing_m) if spacing_m > 0 else "-1",
    ]


def _heading_deg(mission: Mission, index: int) -> float:
    """Return the waypoint's heading; the course of the way where it leaves it open."""
    points = mission.waypoints
    if math.isfinite(points[index].heading_deg):
        return points[index].heading_deg % 360.0
    if len(points) == 1:
        return 0.0
    start = min(index, len(points) - 2)
    return leg(points[start], points[start + 1])[0]


def is_litchi(header: str) -> bool:
    """Tell whether the first line of a file is that of a Litchi CSV."""
    names = [name.strip().strip('"').lower() for name in header.split(",")]
    return names[:2] == ["latitude", "longitude"] and any(n.startswith("altitude(") for n in names)


def from_litchi(content: bytes, name: str) -> Mission:
    """Return the mission of a Litchi CSV, metric or imperial.

    Raises
    ------
    InputError
        If a column is missing, a number is not one, or heights above ground and above the
        take-off point are mixed.
    """
    stream = io.StringIO(content.decode("utf-8-sig", errors="replace"), newline="")
    try:
        table = csv.reader(stream, strict=True)
        header = [column.strip().lower() for column in next(table, [])]
        rows = [dict(zip(header, row, strict=False)) for row in table if any(row)]
    except csv.Error as error:
        raise InputError(f"not a CSV table ({error}); export it again") from error
    if not rows:
        raise InputError("no waypoint in it; export the mission again")
    height = _column(header, "altitude", _METRES)
    speed = _column(header, "speed", _METRES_PER_SECOND)
    modes = {row.get("altitudemode", "0").strip() for row in rows}
    if len(modes) > 1 or not modes <= {"0", "1"}:
        raise InputError(
            f"altitudemode is {', '.join(sorted(modes))[:40]!r}; use 0 (above the take-off point) "
            "or 1 (above ground) for all waypoints"
        )
    about = near(_number(rows[0], "longitude", 1), 0.0)
    waypoints = tuple(
        _waypoint(row, line, about, height, speed) for line, row in enumerate(rows, start=2)
    )
    terrain = modes == {str(_ABOVE_GROUND)}
    return Mission(
        name=name,
        waypoints=waypoints,
        photos=tuple(
            Photo.at(waypoint)
            for waypoint, row in zip(waypoints, rows, strict=True)
            if str(_PHOTO) in _actions(row)
        ),
        height_reference=HeightReference.TERRAIN if terrain else HeightReference.TAKEOFF,
        speed_m_s=first_line_m_s(waypoints),
        notes=(
            "Litchi's file does not say where to take off, how to end, or how to face; heights "
            + ("above ground" if terrain else "are above the take-off point"),
        ),
    )


def _column(header: list[str], name: str, units: Mapping[str, float]) -> tuple[str, float]:
    """Return the column of a quantity, and what its unit is in SI units."""
    for unit, size in units.items():
        if f"{name}({unit})" in header:
            return f"{name}({unit})", size
    raise InputError(
        f"no column {name}({' or '.join(units)}); export it from Litchi's mission hub again"
    )


def _number(row: Mapping[str, str], column: str, line: int) -> float:
    return finite(row.get(column), f"line {line}: {column}")


def _waypoint(
    row: Mapping[str, str],
    line: int,
    about_deg: float,
    height: tuple[str, float],
    speed: tuple[str, float],
) -> Waypoint:
    lon, lat = place(
        _number(row, "longitude", line), _number(row, "latitude", line), f"line {line}"
    )
    speed_m_s = _number(row, speed[0], line) * speed[1]
    spacing = _number(row, "photo_distinterval", line) if row.get("photo_distinterval") else -1.0
    interval = _number(row, "photo_timeinterval", line) if row.get("photo_timeinterval") else -1.0
    if not spacing > 0 and interval > 0 and speed_m_s > 0:
        spacing = interval * speed_m_s
    return Waypoint(
        lon_deg=near(lon, about_deg),
        lat_deg=lat,
        height_m=_number(row, height[0], line) * height[1],
        speed_m_s=speed_m_s if speed_m_s > 0 else math.nan,
        heading_deg=_number(row, "heading(deg)", line) % 360.0,
        gimbal_pitch_deg=_number(row, "gimbalpitchangle", line),
        role=Role.LINE if spacing > 0 else Role.TRANSIT,
        photo_spacing_m=spacing if spacing > 0 else math.nan,
        stop=(str(_STAY) in _actions(row)),
    )


def _actions(row: Mapping[str, str]) -> list[str]:
    return [(row.get(f"actiontype{n}") or "-1").strip() for n in range(1, ACTIONS + 1)]
