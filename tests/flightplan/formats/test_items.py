"""What autopilots are told: the order of commands, and what ArduPilot and PX4 accept."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flightplan.formats.mavlink_items import (
    Autopilot,
    Command,
    Frame,
    Item,
    home_item,
    mission_from_items,
    mission_items,
)
from flightplan.formats.mission import AtEnd, HeightReference, Photo, Place, Role
from tmp.errors import InputError

# Commands that ArduCopter 4.7 took into a mission, observed in its simulator.
ACCEPTED = {16, 82, 19, 17, 20, 21, 22, 93, 114, 115, 178, 179, 189, 195, 197}
ACCEPTED |= {201, 203, 205, 206, 207, 1000, 2000, 2001}


def triggers(items):
    """Return (command's index among waypoints, parameters 1 and 3) of camera triggers."""
    found, waypoints = [], 0
    for item in items:
        waypoints += item.command == Command.WAYPOINT
        if item.command == Command.TRIGGER_DISTANCE:
            found.append((waypoints, item.params[0], item.params[2]))
    return found


def test_the_camera_starts_at_a_lines_start_and_stops_after_its_run_out(mission):
    first_line = triggers(mission_items(mission, Autopilot.ARDUPILOT))[:2]
    # Waypoints of a line: run-in, start, end, end of run-out.
    assert first_line == [(2, 15.0, 1.0), (4, 0.0, 0.0)]


def test_waypoints_along_a_line_do_not_trigger_again(mission):
    # Two more waypoints on the first line, as over relief.
    line = mission.waypoints[1]
    waypoints = (mission.waypoints[0], line, line, line, *mission.waypoints[2:])
    items = mission_items(replace(mission, waypoints=waypoints), Autopilot.ARDUPILOT)
    assert triggers(items)[:2] == [(2, 15.0, 1.0), (6, 0.0, 0.0)]


def test_the_camera_is_off_at_the_end_even_without_a_run_out(flown):
    mission = flown.lawnmower(run_ins=False)
    items = mission_items(mission, Autopilot.PX4)
    assert triggers(items)[-1] == (len(mission.waypoints), 0.0, 0.0)


@pytest.mark.parametrize("autopilot", Autopilot)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_only_accepted_commands_frames_and_values_are_used(flown, autopilot, data):
    mission = data.draw(flown.missions())
    for item in (home_item(mission), *mission_items(mission, autopilot)):
        assert item.command in ACCEPTED
        if item.command in (Command.WAYPOINT, Command.TAKEOFF, Command.LAND):
            assert item.frame != Frame.MISSION
            assert abs(item.params[4]) <= 90
            assert -180 <= item.params[5] < 180
            assert math.isfinite(item.params[6])
        assert math.isfinite(item.params[0])


def test_it_starts_by_taking_off_and_ends_by_coming_home(mission):
    items = mission_items(mission, Autopilot.ARDUPILOT)
    assert items[0].command == Command.TAKEOFF
    assert items[0].params[6] == 30.0
    assert items[-1].command == Command.RETURN


def test_landing_elsewhere_is_a_landing_there(mission):
    away = replace(mission, landing=Place(lon_deg=10.81, lat_deg=46.87))
    last = mission_items(away, Autopilot.ARDUPILOT)[-1]
    assert (last.command, last.params[4:6]) == (Command.LAND, (46.87, 10.81))
    back = mission_from_items(mission_items(away, Autopilot.PX4), "", None, Autopilot.PX4)
    assert back.at_end is AtEnd.LAND
    assert (back.landing.lon_deg, back.landing.lat_deg) == (10.81, 46.87)


def test_speed_is_commanded_only_where_it_changes(mission):
    speeds = [
        item.params[1]
        for item in mission_items(mission, Autopilot.PX4)
        if item.command == Command.SPEED
    ]
    assert speeds == [12.0, 6.0, 12.0, 6.0, 12.0, 6.0, 12.0, 6.0]


def test_ardupilot_is_turned_only_off_the_way_it_flies(mission):
    along = replace(mission.waypoints[1], heading_deg=0.0)
    across = replace(mission.waypoints[2], heading_deg=90.0)
    waypoints = (mission.waypoints[0], along, across, *mission.waypoints[3:])
    turned = replace(mission, waypoints=waypoints)
    items = mission_items(turned, Autopilot.ARDUPILOT)
    assert [i.params[0] for i in items if i.command == Command.YAW] == [90.0]
    px4 = [i for i in mission_items(turned, Autopilot.PX4) if i.command == Command.WAYPOINT]
    assert px4[2].params[3] == 90.0
    assert math.isnan(px4[0].params[3])


@pytest.mark.parametrize(("off_deg", "turns"), [(0.9, []), (1.1, [1.1]), (358.9, [358.9])])
def test_ardupilot_is_turned_from_one_degree_off_its_course(mission, off_deg, turns):
    """The second waypoint's line goes due north."""
    line = replace(mission.waypoints[1], heading_deg=off_deg)
    turned = replace(mission, waypoints=(mission.waypoints[0], line, *mission.waypoints[2:]))
    items = mission_items(turned, Autopilot.ARDUPILOT)
    turned = [i.params for i in items if i.command == Command.YAW]
    assert [params[0] for params in turned] == pytest.approx(turns)
    # The autopilot's own rate and way round, to a heading from north.
    assert all(params[1:] == (0, 0, 0, 0, 0, 0) for params in turned)


@pytest.mark.parametrize(
    ("autopilot", "command"),
    [(Autopilot.ARDUPILOT, Command.ONE_PHOTO), (Autopilot.PX4, Command.START_PHOTOS)],
)
def test_single_photographs_are_taken_over_their_waypoints(mission, autopilot, command):
    bare = tuple(replace(w, photo_spacing_m=math.nan, role=Role.TRANSIT) for w in mission.waypoints)
    spot = bare[3]
    photo = Photo(
        lon_deg=spot.lon_deg, lat_deg=spot.lat_deg, height_m=spot.height_m, heading_deg=0.0
    )
    single = replace(mission, waypoints=bare, photos=(photo,))
    items = mission_items(single, autopilot)
    assert [i.command for i in items].count(command) == 1
    back = mission_from_items(items, "", mission.takeoff, autopilot)
    assert [(p.lon_deg, p.lat_deg) for p in back.photos] == [(spot.lon_deg, spot.lat_deg)]


def test_heights_above_the_ellipsoid_are_refused(mission):
    with pytest.raises(InputError, match="ellipsoid, which autopilots do not take"):
        mission_items(replace(mission, height_reference=HeightReference.ELLIPSOID), Autopilot.PX4)


def item(command, frame, *params):
    return Item(command=command, frame=frame, params=(0.0, 0.0, 0.0, 0.0, *params))


@pytest.mark.parametrize(("lat_deg", "written"), [(0.0, 1e-7), (1e-7, 1e-7), (-1e-7, -1e-7)])
def test_only_the_place_that_autopilots_take_for_none_is_moved(mission, lat_deg, written):
    """0, 0 means here to them; they count in steps of 1e-7 degrees, a centimetre."""
    first = replace(mission.waypoints[0], lon_deg=0.0, lat_deg=lat_deg)
    beside = replace(first, lon_deg=1e-7, lat_deg=0.0)
    bare = replace(mission, waypoints=(first, beside), photos=())
    items = [i for i in mission_items(bare, Autopilot.PX4) if i.command == Command.WAYPOINT]
    assert [item.params[4:6] for item in items] == [(written, 0.0), (0.0, 1e-7)]


@pytest.mark.parametrize(("autopilot", "heading"), [("px4", 270.0), ("ardupilot", math.nan)])
def test_a_waypoints_fourth_parameter_turns_px4_and_is_dropped_by_ardupilot(autopilot, heading):
    """As MAVLink's NAV_WAYPOINT says: desired yaw angle; ArduCopter stores it and ignores it."""
    turned = Item(command=16, frame=3, params=(0.0, 0.0, 0.0, -90.0, 50.0, 10.0, 60.0))
    mission = mission_from_items([turned], "", None, Autopilot(autopilot))
    assert mission.waypoints[0].heading_deg == pytest.approx(heading, nan_ok=True)


def test_heights_above_sea_level_are_brought_to_the_takeoff_where_they_are_mixed():
    home = Place(lon_deg=10.0, lat_deg=50.0, ground_m=300.0)
    items = [item(16, 0, 50.0, 10.0, 360.0), item(16, 3, 50.001, 10.0, 61.0)]
    mission = mission_from_items(items, "", home, Autopilot.ARDUPILOT)
    assert mission.height_reference is HeightReference.TAKEOFF
    assert [w.height_m for w in mission.waypoints] == [60.0, 61.0]
    with pytest.raises(InputError, match="above amsl and takeoff by turns"):
        mission_from_items(items, "", None, Autopilot.ARDUPILOT)


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([], "no waypoint in it"),
        ([item(16, 2, 50.0, 10.0, 60.0)], "frame 2, which does not say"),
        ([item(16, 3, 95.0, 10.0, 60.0)], "item 1 .* is not on Earth"),
        ([item(16, 3, 50.0, 10.0, math.nan)], "item 1 has no height"),
        ([item(16, 3, 0.0, 0.0, 10.0)], "no place and none comes before"),
    ],
)
def test_items_that_make_no_mission_are_refused(items, words):
    with pytest.raises(InputError, match=words):
        mission_from_items(items, "", None, Autopilot.ARDUPILOT)
