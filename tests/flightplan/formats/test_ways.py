"""Photographs as waypoints, and points that keep a curving drone on its line."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flightplan.formats.geometry import (
    leg,
    photo_runs,
    place,
    turn_deg,
    with_guards,
    with_photo_points,
)
from flightplan.formats.mission import (
    LATE_M,
    ReleasedBy,
    Role,
    Waypoint,
    photo_ways,
    photos_along,
    releases,
    spacing_in_file,
)
from tmp.errors import InputError


def test_photo_points_fall_where_the_plan_takes_photographs(mission):
    points, photos = with_photo_points(mission.waypoints)
    assert len(photos) == len(mission.photos) == 36
    for index, photo in zip(sorted(photos), mission.photos, strict=True):
        here = replace(points[index], lon_deg=photo.lon_deg, lat_deg=photo.lat_deg)
        assert leg(points[index], here)[1] < 0.02
        assert points[index].height_m == pytest.approx(photo.height_m, abs=0.001)


def test_photographs_lie_on_the_line_between_its_waypoints_heights_too(mission):
    """The mission's own are worked out apart: every 15 m on lines that rise by 1 m in 50."""
    found = list(photos_along(mission, ReleasedBy.POINT))
    assert len(found) == len(mission.photos)
    for photo, wanted in zip(found, mission.photos, strict=True):
        here, there = (
            Waypoint(lon_deg=one.lon_deg, lat_deg=one.lat_deg, height_m=one.height_m)
            for one in (photo, wanted)
        )
        assert leg(here, there)[1] < 0.02
        assert photo.height_m == pytest.approx(wanted.height_m, abs=0.001)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_photo_points_are_evenly_spaced_along_lines(flown, data):
    spacing = data.draw(st.floats(3, 70))
    mission = flown.lawnmower()
    waypoints = tuple(
        replace(w, photo_spacing_m=spacing) if w.role is Role.LINE else w for w in mission.waypoints
    )
    points, photos = with_photo_points(waypoints)
    ways = math.ceil(120.0 / (spacing + LATE_M) - 0.02)
    assert len(photos) == 4 * (ways + 1)
    order = sorted(photos)
    for number in range(4):
        line = order[number * (ways + 1) : (number + 1) * (ways + 1)]
        for one, two in pairwise(line):
            between = [points[index] for index in range(one, two + 1)]
            length_m = sum(leg(here, there)[1] for here, there in pairwise(between))
            assert length_m == pytest.approx(120.0 / ways, abs=0.02)
            assert length_m < 1.021 * (spacing + LATE_M)


def test_a_bend_of_the_way_close_to_a_photograph_gives_way_to_it():
    """Waypoints closer than half a metre would be one to a drone, and photographs uneven."""
    line = Waypoint(lon_deg=8.0, lat_deg=47.0, height_m=60.0, role=Role.LINE, photo_spacing_m=10.0)
    metre = 1 / 111_194.0
    at = (0.0, 26.4, 37.0, 61.0)
    waypoints = [
        replace(line, lat_deg=47.0 + way_m * metre, height_m=60.0 + way_m / 10) for way_m in at
    ]
    waypoints[-1] = replace(waypoints[-1], role=Role.TRANSIT, photo_spacing_m=math.nan)
    points, photos = with_photo_points(waypoints)
    assert len(photos) == 8
    assert len(points) == 9  # seven ways of 8.7 m, and the bend at 37 m; not that at 26.4 m
    heights = [points[index].height_m for index in sorted(photos)]
    np.testing.assert_allclose(np.diff(heights), 6.1 / 7, atol=1e-3)


def test_run_ins_and_run_outs_need_no_guards(mission):
    assert with_guards(mission.waypoints) == mission.waypoints


def test_lines_that_end_in_corners_get_a_point_near_each_end(flown):
    waypoints = flown.lawnmower(run_ins=False).waypoints
    guarded = with_guards(waypoints)
    assert len(guarded) == len(waypoints) + 8
    for index in range(1, len(guarded) - 1):
        if guarded[index] not in waypoints:
            assert turn_deg(guarded[index - 1], guarded[index], guarded[index + 1]) < 0.01
    assert leg(guarded[0], guarded[1])[1] == pytest.approx(10.0, abs=0.01)


def test_the_camera_stays_on_over_run_outs_only(mission):
    # Run-in, line, run-out, transit.
    assert photo_ways(mission.waypoints)[:4] == [0.0, 15.0, 15.0, 0.0]


def test_a_run_ends_where_its_own_spacing_does():
    """However the first run of the mission was spaced."""
    runs = photo_runs([10.0, 20.0, 20.0, 10.0, 0.0, 10.0])
    assert [(run.first, run.last, run.spacing_m) for run in runs] == [
        (0, 1, 10.0),
        (1, 3, 20.0),
        (3, 4, 10.0),
        (5, 6, 10.0),
    ]


def test_longitudes_may_be_counted_once_round_the_earth_and_no_further():
    assert place(359.99, -89.99, "waypoint 1") == (359.99, -89.99)
    assert place(-360.0, 90.0, "waypoint 1") == (-360.0, 90.0)
    for lon_deg, lat_deg in ((360.01, 0.0), (0.0, 90.01), (math.nan, 0.0), (0.0, math.inf)):
        with pytest.raises(InputError, match=r"waypoint 1 at latitude .* is not on Earth"):
            place(lon_deg, lat_deg, "waypoint 1")


def test_lateness_adds_up_and_nothing_is_taken_where_the_camera_goes_off():
    # 20 photographs after the first are 7 cm later each: 5.93 m in the file come every 6 m.
    assert releases(121.0, 5.93, ReleasedBy.DISTANCE)[-1] == pytest.approx(120.0)
    assert len(releases(120.0, 6.0, ReleasedBy.DISTANCE)) == 20
    assert len(releases(120.0, 6.0, ReleasedBy.POINT)) == 21
    assert len(releases(0.0, 6.0, ReleasedBy.DISTANCE)) == 1
    # Nobody can set a timer to begin with a line.
    assert releases(20.0, 6.0, ReleasedBy.TIMER).tolist() == [0.0, 6.0, 12.0, 18.0]
    assert releases(20.0, 6.0, ReleasedBy.TIMER, 0.75).tolist() == [4.5, 10.5, 16.5]


@given(
    photos=st.integers(2, 300),
    spacing=st.floats(1.0, 60.0),
    run_out=st.floats(0.0, 30.0),
)
def test_the_last_photograph_of_a_line_comes_before_the_camera_goes_off(photos, spacing, run_out):
    length = (photos - 1) * spacing
    asked = spacing_in_file(spacing, photos, length + run_out)
    assert spacing / 2 - 0.001 <= asked <= spacing
    late = releases(length + run_out, asked, ReleasedBy.DISTANCE)
    assert len(late) >= photos or asked < spacing / 2 + 0.001


def test_photographs_along_a_mission_are_late_and_go_on_over_the_run_out(mission):
    late, exact = list(photos_along(mission)), list(photos_along(mission, ReleasedBy.INTERVAL))
    assert len(late) <= len(exact)
    ours = [[one for one in found if one.line == 0] for found in (late, exact)]
    number = min(map(len, ours)) - 1
    places = [
        replace(mission.waypoints[0], lon_deg=one[number].lon_deg, lat_deg=one[number].lat_deg)
        for one in ours
    ]
    assert leg(*places)[1] == pytest.approx(LATE_M * number, abs=0.02)
