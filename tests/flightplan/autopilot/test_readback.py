import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightplan.autopilot.protocol import ItemKind, WireItem
from flightplan.autopilot.upload import differences, fingerprint
from flightplan.formats.mavlink_items import Autopilot

AT = WireItem(command=16, frame=3, p2=2.0, p4=45.0, x=641234567, y=-219876543, z=60.0)
HOME = WireItem(command=16, frame=0, x=641000000, y=-219000000, z=31.0)
MISSION, FENCE = ItemKind.MISSION, ItemKind.FENCE


def found(sent: WireItem, held: WireItem, autopilot: Autopilot = Autopilot.PX4) -> list[str]:
    if autopilot is Autopilot.PX4:
        return differences([sent], [held], MISSION, autopilot)
    return differences([HOME, sent], [HOME, held], MISSION, autopilot)


def test_what_ardupilot_is_known_to_drop_is_no_difference_and_what_px4_drops_is() -> None:
    dropped = replace(AT, p2=0.0, p4=0.0)
    assert found(AT, dropped, Autopilot.ARDUPILOT) == []
    assert [line.split(": ")[1] for line in found(AT, dropped)] == [
        "parameter 2 2 is held as 0",
        "parameter 4 45 is held as 0",
    ]


def test_the_centimetre_is_the_limit() -> None:
    assert found(AT, replace(AT, x=AT.x + 1, y=AT.y - 1, z=60.009)) == []
    moved = found(AT, replace(AT, y=AT.y + 2))
    assert moved == [
        "item 0 of the mission (NAV_WAYPOINT at 64.1234567, -21.9876543, 60 m): "
        "longitude -21.9876543 is held as -21.9876541"
    ]
    assert "height 60 is held as 60.02" in found(AT, replace(AT, z=60.02))[0]


@pytest.mark.parametrize("autopilot", list(Autopilot))
def test_a_height_above_the_sea_instead_of_the_take_off_point_is_a_difference(
    autopilot: Autopilot,
) -> None:
    assert "frame 3 is held as 0" in found(AT, replace(AT, frame=0), autopilot)[0]
    assert found(AT, replace(AT, frame=6), autopilot) == []  # the same under its long name


def test_px4_brings_headings_into_one_turn_and_keeps_open_ones_open() -> None:
    assert found(replace(AT, p4=-90.0), replace(AT, p4=270.0)) == []
    assert found(replace(AT, p4=math.nan), replace(AT, p4=math.nan)) == []
    assert found(replace(AT, p4=math.nan), replace(AT, p4=0.0))


def test_ardupilots_home_is_its_own() -> None:
    elsewhere = replace(HOME, x=1, y=2, z=3.0)
    assert differences([HOME, AT], [elsewhere, AT], MISSION, Autopilot.ARDUPILOT) == []
    assert differences([HOME, AT], [elsewhere, AT], MISSION, Autopilot.PX4)
    assert differences([HOME], [elsewhere], FENCE, Autopilot.ARDUPILOT)


def test_a_missing_item_and_another_command_are_differences() -> None:
    assert differences([AT, AT], [AT], MISSION, Autopilot.PX4) == [
        "the mission has 2 items and it holds 1"
    ]
    assert "it holds DO_SET_CAM_TRIGG_DIST" in found(AT, WireItem(command=206, frame=2))[0]


def test_the_frame_of_a_command_without_a_place_means_nothing() -> None:
    speed = WireItem(command=178, frame=2, p1=1.0, p2=6.0, p3=-1.0)
    assert found(speed, replace(speed, frame=0), Autopilot.ARDUPILOT) == []
    assert found(speed, replace(speed, p2=9.0), Autopilot.ARDUPILOT)


@given(
    metres=st.floats(0.02, 1e4),
    field=st.sampled_from(["p1", "p2", "p3", "p4", "z"]),
)
def test_on_px4_no_change_beyond_two_centimetres_goes_unseen(metres: float, field: str) -> None:
    start = replace(AT, p1=1.0, p2=2.0, p3=3.0, p4=4.0)
    shift = metres % 300.0 + 0.02 if field == "p4" else metres
    assert found(start, replace(start, **{field: getattr(start, field) + shift}))


def test_a_fingerprint_tells_missions_apart_and_forgets_home_and_frame_names() -> None:
    name = fingerprint([HOME, AT], MISSION, Autopilot.ARDUPILOT)
    moved = replace(HOME, x=5)
    assert name == fingerprint([moved, replace(AT, frame=6)], MISSION, Autopilot.ARDUPILOT)
    assert name != fingerprint([HOME, replace(AT, x=7)], MISSION, Autopilot.ARDUPILOT)
