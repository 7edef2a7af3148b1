"""QGC WPL 110, known line by line."""

from dataclasses import replace

import pytest

from flightplan.formats.qgroundcontrol import from_wpl, to_wpl
from tmp.errors import InputError


def test_rows_have_twelve_fields_home_first_and_nine_decimals(mission):
    lines = to_wpl(mission).content.decode().splitlines()
    assert lines[0] == "QGC WPL 110"
    rows = [line.split("\t") for line in lines[1:]]
    assert {len(row) for row in rows} == {12}
    assert [int(row[0]) for row in rows] == list(range(len(rows)))
    assert [row[1] for row in rows].count("1") == 1
    assert rows[0][1:4] == ["1", "0", "16"]
    assert rows[0][10] == "1200.000"
    placed = [row for row in rows[1:] if row[3] == "16"]
    assert {row[2] for row in placed} == {"3"}
    assert all(len(row[8].split(".")[1]) >= 8 for row in placed)


def test_more_items_than_ardupilot_holds_are_warned_of(mission):
    assert to_wpl(mission).notes == ()
    long = replace(mission, waypoints=mission.waypoints * 30)
    assert any("ArduPilot holds 650" in note for note in to_wpl(long).notes)


def test_a_known_file_reads_as_it_says():
    content = (
        "QGC WPL 110\n"
        "0\t1\t0\t16\t0\t0\t0\t0\t47.0\t8.0\t500\t1\n"
        "1\t0\t3\t22\t0\t0\t0\t0\t0\t0\t25\t1\n"
        "2\t0\t3\t178\t1\t7.5\t-1\t0\t0\t0\t0\t1\n"
        "3\t0\t3\t16\t0\t0\t0\t0\t47.001\t8.001\t60\t1\n"
        "# the camera\n"
        "4\t0\t3\t206\t20\t0\t1\t0\t0\t0\t0\t1\n"
        "5\t0\t3\t16\t0\t0\t0\t0\t47.002\t8.001\t60\t1\n"
        "6\t0\t3\t206\t0\t0\t0\t0\t0\t0\t0\t1\n"
        "7\t0\t3\t20\t0\t0\t0\t0\t0\t0\t0\t1\n"
    )
    mission = from_wpl(content.encode(), "field")
    assert (mission.takeoff.lat_deg, mission.takeoff.ground_m) == (47.0, 500.0)
    assert mission.takeoff_height_m == 25.0
    assert mission.waypoints[0].photo_spacing_m == 20.0
    assert [w.role.value for w in mission.waypoints] == ["line", "transit"]
    assert mission.speed_m_s == 7.5
    assert mission.at_end.value == "return"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("QGC WPL 120\n", "'QGC WPL 120', not 'QGC WPL 110'"),
        ("QGC WPL 110\n0\t1\t0\n", "line 2 has 3 fields instead of 12"),
        ("QGC WPL 110\n0\t1\t0\tx\t0\t0\t0\t0\t47.0\t8.0\t500\t1\n", "line 2: 'x' is"),
        ("QGC WPL 110\n", "no waypoint in it"),
    ],
)
def test_malformed_lists_are_refused_with_their_line(content, words):
    with pytest.raises(InputError, match=words):
        from_wpl(content.encode(), "field")
