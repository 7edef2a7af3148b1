"""QGC WPL 110: the plain list of items that Mission Planner, QGroundControl and pymavlink read.

Row 0 is home.  Heights of the other rows are above home (frame 3) unless the mission's own are
not.

References
----------
https://mavlink.io/en/file_formats/
"""

from __future__ import annotations

from flightplan.formats.geometry import degrees, finite, number, place
from flightplan.formats.mavlink_items import (
    Autopilot,
    Command,
    Frame,
    Item,
    home_item,
    mission_from_items,
    mission_items,
    size_notes,
)
from flightplan.formats.mission import Content, Mission, Place, Written
from tmp.errors import InputError

HEADER = "QGC WPL 110"

CARRIES = frozenset(
    {
        Content.TAKEOFF,
        Content.TAKEOFF_HEIGHT,
        Content.LANDING,
        Content.AT_END,
        Content.SPEED,
        Content.HEADING,
        Content.GIMBAL,
        Content.STOPS,
        Content.PHOTOS,
    }
)


def to_wpl(mission: Mission) -> Written:
    """Return a mission for ArduPilot as QGC WPL 110.

    Raises
    ------
    InputError
        If the mission has no take-off place or heights above the ellipsoid.
    """
    rows = [home_item(mission), *mission_items(mission, Autopilot.ARDUPILOT)]
    lines = [HEADER, *(_row(index, item) for index, item in enumerate(rows))]
    return Written(content=("\n".join(lines) + "\n").encode(), notes=size_notes(len(rows)))


def _row(index: int, item: Item) -> str:
    p1, p2, p3, p4, lat, lon, height = item.params
    fields = [
        str(index),
        "1" if index == 0 else "0",
        str(int(item.frame)),
        str(int(item.command)),
        *(number(value, 6) for value in (p1, p2, p3, p4)),
        degrees(lat),
        degrees(lon),
        f"{height:.3f}",
        "1",
    ]
    return "\t".join(fields)


def from_wpl(content: bytes, name: str) -> Mission:
    """Return the mission of a QGC WPL 110 file.

    Raises
    ------
    InputError
        If a row has not twelve numbers, or the rows make no mission.
    """
    lines = content.decode("utf-8-sig", errors="replace").splitlines()
    if not lines or not lines[0].strip().startswith(HEADER):
        version = lines[0].strip()[:40] if lines else ""
        raise InputError(f"first line is {version!r}, not {HEADER!r}; export it as version 110")
    items = [
        _item(line.split(), row)
        for row, line in enumerate(lines[1:], start=2)
        if line.strip() and not line.startswith("#")
    ]
    home = None
    if items and items[0].frame == Frame.AMSL and items[0].command in (0, Command.WAYPOINT):
        p = items.pop(0).params
        lon, lat = place(p[5], p[4], "the home row")
        home = Place(lon_deg=lon, lat_deg=lat, ground_m=p[6])
    return mission_from_items(items, name, home, Autopilot.ARDUPILOT)


def _item(fields: list[str], row: int) -> Item:
    if len(fields) != 12:
        raise InputError(
            f"line {row} has {len(fields)} fields instead of 12; export the file again"
        )
    values = [finite(field, f"line {row}: {field!r}") for field in fields]
    p1, p2, p3, p4, p5, p6, p7 = values[4:11]
    return Item(
        command=int(values[3]),
        frame=int(values[2]),
        params=(p1, p2, p3, p4, p5, p6, p7),
        autocontinue=values[11] != 0,
    )
