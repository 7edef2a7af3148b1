"""Litchi's CSV, column by column."""

import csv
import io
from dataclasses import replace

import pytest

from flightplan.equipment.catalogue import read_catalogue
from flightplan.formats.litchi import COLUMNS, from_litchi, to_litchi
from flightplan.formats.mission import HeightReference
from flightplan.formats.mission_files import Format, why_not_written
from tmp.errors import InputError


def rows(mission):
    return list(csv.DictReader(io.StringIO(to_litchi(mission).content.decode())))


def test_the_header_is_litchis_own(mission):
    header = to_litchi(mission).content.decode().splitlines()[0].split(",")
    assert len(header) == 46
    assert header[:8] == [
        *("latitude", "longitude", "altitude(m)", "heading(deg)", "curvesize(m)", "rotationdir"),
        *("gimbalmode", "gimbalpitchangle"),
    ]
    assert header[8:10] == ["actiontype1", "actionparam1"]
    assert header[-8:] == [
        *("altitudemode", "speed(m/s)", "poi_latitude", "poi_longitude", "poi_altitude(m)"),
        *("poi_altitudemode", "photo_timeinterval", "photo_distinterval"),
    ]


def test_heights_that_litchi_does_not_take_are_told_and_not_written(mission):
    drones = read_catalogue()
    deep = replace(
        mission, waypoints=(*mission.waypoints, replace(mission.waypoints[0], height_m=-230.0))
    )
    said = why_not_written(Format.LITCHI, [mission, deep], drones.drone("Mini 4 Pro"))
    assert said.startswith("not written: a waypoint is -230 m above the take-off point")
    assert why_not_written(Format.LITCHI, [mission], drones.drone("Mini 4 Pro")) == ""
    assert why_not_written(Format.WPL, [deep], drones.drone("Mini 4 Pro")) == ""
    # A drone that Litchi flies has no other file: its writer refuses the plan.
    assert why_not_written(Format.LITCHI, [deep], drones.drone("Mini 3 Pro")) == ""
    with pytest.raises(InputError, match="take off nearer to its height"):
        to_litchi(deep)


def test_rows_say_height_above_takeoff_speed_and_spacing(mission):
    table = rows(mission)
    assert len(table) == len(mission.waypoints)
    line = table[1]
    assert line["altitudemode"] == "0"
    assert (line["altitude(m)"], line["speed(m/s)"]) == ("58.800", "6")
    assert (line["photo_distinterval"], line["photo_timeinterval"]) == ("15", "-1")
    assert line["heading(deg)"] == "0"
    assert (line["gimbalmode"], line["gimbalpitchangle"]) == ("2", "-90")
    assert table[3]["photo_distinterval"] == "-1"


@pytest.mark.parametrize(("heading", "written"), [(-90.0, "270"), (359.5, "359.5"), (360.0, "0")])
def test_headings_are_from_north_clockwise_and_below_a_full_turn(mission, heading, written):
    turned = replace(mission.waypoints[1], heading_deg=heading)
    waypoints = (mission.waypoints[0], turned, *mission.waypoints[2:])
    assert rows(replace(mission, waypoints=waypoints))[1]["heading(deg)"] == written


def test_the_takeoffs_height_is_told(mission):
    assert any("1200.0 m (EGM2008)" in note for note in to_litchi(mission).notes)


def imperial():
    header = ",".join(COLUMNS).replace("(m)", "(ft)").replace("(m/s)", "(mph)")
    actions = ",".join(["1,0", *["-1,0"] * 14])
    return f"{header}\n47.0,8.0,200,90,0,0,2,-85,{actions},1,10,0,0,0,0,-1,-1\n".encode()


def test_feet_and_miles_are_brought_to_metres():
    mission = from_litchi(imperial(), "feet")
    (waypoint,) = mission.waypoints
    assert waypoint.height_m == pytest.approx(60.96)
    assert waypoint.speed_m_s == pytest.approx(4.4704)
    assert mission.height_reference is HeightReference.TERRAIN
    assert len(mission.photos) == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"47.0,8.0", b"97.0,8.0", "line 2 at latitude 97.0"),
        (b"47.0,8.0", b"north,8.0", "line 2: latitude is 'north'"),
        (b"altitude(ft)", b"altitude(yd)", "no column altitude"),
        (b",1,10,0,0", b",7,10,0,0", "altitudemode is '7'"),
    ],
)
def test_malformed_tables_are_refused_with_line_and_column(old, new, words):
    with pytest.raises(InputError, match=words):
        from_litchi(imperial().replace(old, new, 1), "feet")


def test_what_litchi_cannot_fly_is_refused(mission):
    high = replace(mission, waypoints=tuple(replace(w, height_m=600) for w in mission.waypoints))
    with pytest.raises(InputError, match="takes -200 to 500 m"):
        to_litchi(high)
    with pytest.raises(InputError, match="heights above amsl"):
        to_litchi(replace(mission, height_reference=HeightReference.AMSL))
