from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import box

from flightplan.autopilot.logbook import remaining, resume_from
from flightplan.formats.geometry import photo_runs
from flightplan.formats.mission import Mission, Place, Waypoint, photo_ways
from tmp.errors import InputError

HOME = Place(lon_deg=0.0, lat_deg=0.0)


@pytest.mark.parametrize(
    ("passed", "first"),
    [
        (-1, 0),  # nothing was flown
        (0, 0),  # on the run-in of the first line
        (1, 0),  # on the first line
        (2, 0),  # on its run-out, where the last photograph is taken
        (3, 3),  # on the way to the second line
        (5, 4),  # on the second line: from its run-in
    ],
)
def test_an_interrupted_line_is_flown_anew_from_its_run_in(
    mission: Mission, passed: int, first: int
) -> None:
    assert resume_from(mission, passed) == first


@given(passed=st.integers(-1, 20), lines=st.lists(st.booleans(), min_size=2, max_size=20))
def test_no_photograph_is_left_out(passed: int, lines: list[bool]) -> None:
    waypoints = tuple(
        Waypoint(
            lon_deg=0.001 * i,
            lat_deg=0.0,
            height_m=50.0,
            photo_spacing_m=9.0 if on else float("nan"),
        )
        for i, on in enumerate(lines)
    )
    mission = Mission(name="m", waypoints=waypoints)
    first = resume_from(mission, min(passed, len(lines) - 1))
    whole = [run for run in photo_runs(photo_ways(waypoints)) if run.last <= passed]
    again = [run for run in photo_runs(photo_ways(waypoints)) if run.last > passed]
    assert all(run.first >= first for run in again)
    assert all(run.last <= first + 1 for run in whole) or not whole


def test_the_rest_begins_at_the_waypoint_and_climbs_over_what_was_flown(mission: Mission) -> None:
    rest = remaining(mission, 4, HOME)
    assert rest.waypoints == mission.waypoints[4:]
    assert rest.takeoff_height_m == 61.25
    assert remaining(mission, 0, HOME) is mission


def test_nothing_left_is_said(mission: Mission) -> None:
    for first in (10, 11):
        with pytest.raises(InputError, match="flown to its end; nothing is left"):
            remaining(mission, first + 1, HOME)


def test_a_straight_way_into_an_exclusion_is_refused(mission: Mission) -> None:
    to, takeoff = mission.waypoints[4], mission.takeoff
    assert takeoff is not None
    lon, lat = (to.lon_deg + takeoff.lon_deg) / 2, (to.lat_deg + takeoff.lat_deg) / 2
    between = box(lon - 1e-5, lat - 1e-5, lon + 1e-5, lat + 1e-5)
    with pytest.raises(InputError, match="leaves the fence or enters an exclusion"):
        remaining(replace(mission, exclusions=(between,)), 4, HOME)
