import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymavlink.dialects.v20 import ardupilotmega as mavlink
from shapely import Point

from flightplan.autopilot.protocol import (
    WireItem,
    has_home,
    waypoints_passed,
    wire_fence,
    wire_mission,
)
from flightplan.formats.mavlink_items import Autopilot, Command, Frame
from flightplan.formats.mission import HeightReference, Mission, Place
from tmp.errors import InputError

HOME = Place(lon_deg=-21.98, lat_deg=64.12, ground_m=30.0)


def commands(items: tuple[WireItem, ...]) -> list[int]:
    return [item.command for item in items]


def test_the_first_line_is_flown_as_worked_by_hand(mission: Mission) -> None:
    items = wire_mission(mission, Autopilot.ARDUPILOT, HOME)
    assert commands(items[:10]) == [16, 22, 178, 16, 205, 178, 16, 206, 16, 16]
    home, takeoff = items[:2]
    assert (home.frame, home.x, home.y, home.z) == (0, 641234567, -219876543, 31.0)
    assert (takeoff.frame, takeoff.z) == (3, 30.0)
    camera = items[7]
    assert (camera.frame, camera.p1, camera.p3) == (2, 15.0, 1.0)


def test_the_camera_is_on_for_each_line_and_off_between_them(mission: Mission) -> None:
    items = wire_mission(mission, Autopilot.PX4, HOME)
    switched = [item.p1 for item in items if item.command == Command.TRIGGER_DISTANCE]
    assert switched == [15.0, 0.0] * 3


def test_px4_keeps_no_home_and_leaves_headings_open(mission: Mission) -> None:
    items = wire_mission(mission, Autopilot.PX4, HOME)
    assert not has_home(Autopilot.PX4)
    assert items[0].command == Command.TAKEOFF
    assert math.isnan(items[0].p4)
    assert all(math.isnan(item.p4) for item in items if item.command == Command.WAYPOINT)


def test_returning_home_goes_in_the_only_frame_that_px4_takes(mission: Mission) -> None:
    last = wire_mission(mission, Autopilot.PX4, HOME)[-1]
    assert (last.command, last.frame) == (Command.RETURN, Frame.MISSION)


@pytest.mark.parametrize("autopilot", list(Autopilot))
def test_every_waypoint_is_found_again_by_its_number(
    mission: Mission, autopilot: Autopilot
) -> None:
    items = wire_mission(mission, autopilot, HOME)
    numbers = [item.waypoint for item in items if item.waypoint >= 0]
    assert numbers == list(range(len(mission.waypoints)))
    assert waypoints_passed(items, 1) == -1
    assert waypoints_passed(items, len(items) - 1) == len(mission.waypoints) - 1


def test_a_mission_without_take_off_point_takes_off_where_the_vehicle_stands(
    mission: Mission,
) -> None:
    items = wire_mission(replace(mission, takeoff=None), Autopilot.PX4, HOME)
    assert (items[0].x, items[0].y) == (641200000, -219800000)


@given(lat=st.floats(-89, 89), lon=st.floats(-180, 179.9), height=st.floats(-100, 5000))
def test_an_item_survives_the_wire(lat: float, lon: float, height: float) -> None:
    make = mavlink.MAVLink(None)
    item = WireItem(command=16, frame=3, x=round(lat * 1e7), y=round(lon * 1e7), z=height)
    packed = item.to_message(make, (1, 1), 5, 0).pack(make)
    got = WireItem.from_message(mavlink.MAVLink(None).decode(bytearray(packed)))
    assert (got.x, got.y, got.command, got.frame) == (item.x, item.y, 16, 3)
    assert got.z == pytest.approx(height, abs=5e-4)  # 32 bit floats, below 5 km


def test_the_fence_lists_its_corners_without_repeating_the_first(mission: Mission) -> None:
    fence = wire_fence(mission)
    assert [(item.command, item.p1) for item in fence] == [(5001, 4.0)] * 4 + [(5002, 3.0)] * 3
    assert wire_fence(replace(mission, fence=None, exclusions=())) == ()


def test_a_round_fence_is_simplified_to_what_an_autopilot_holds(mission: Mission) -> None:
    wide = Point(mission.waypoints[0].lon_deg, mission.waypoints[0].lat_deg).buffer(0.02, 64)
    assert 3 <= len(wire_fence(replace(mission, fence=wide))) <= 60


def test_heights_that_an_autopilot_cannot_fly_are_refused(mission: Mission) -> None:
    terrain = replace(mission, height_reference=HeightReference.TERRAIN)
    with pytest.raises(InputError, match="PX4 takes no heights above the terrain"):
        wire_mission(terrain, Autopilot.PX4, HOME)
    assert wire_mission(terrain, Autopilot.ARDUPILOT, HOME)[3].frame == Frame.TERRAIN
    ellipsoid = replace(mission, height_reference=HeightReference.ELLIPSOID)
    with pytest.raises(InputError, match="ellipsoid"):
        wire_mission(ellipsoid, Autopilot.ARDUPILOT, HOME)


def test_an_item_is_named_in_messages_by_command_and_place() -> None:
    item = WireItem(command=16, frame=3, x=641234567, y=-219876543, z=60.25)
    assert str(item) == "NAV_WAYPOINT at 64.1234567, -21.9876543, 60.25 m"
    assert str(WireItem(command=206, frame=2)) == "DO_SET_CAM_TRIGG_DIST"
