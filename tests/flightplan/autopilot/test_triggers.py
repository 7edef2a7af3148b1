import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymavlink.dialects.v20 import ardupilotmega as mavlink
from scipy.spatial.transform import Rotation

from flightplan.autopilot.logbook import angles_deg, read_trigger

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TAKEN_US = 1_780_000_000_000_000
TAKEN = datetime.fromtimestamp(TAKEN_US / 1e6, UTC)


def feedback(time_us: int = TAKEN_US) -> mavlink.MAVLink_camera_feedback_message:
    return mavlink.MAVLink_camera_feedback_message(
        time_us, 1, 0, 41, 641234567, -219876543, 91.5, 60.25, 0.5, -89.5, -90.0, 0.0, 0
    )


def captured(result: int = 1) -> mavlink.MAVLink_camera_image_captured_message:
    down = Rotation.from_euler("ZYX", [30, -60, 0], degrees=True).as_quat(scalar_first=True)
    return mavlink.MAVLink_camera_image_captured_message(
        5000, TAKEN_US, 1, 641234567, -219876543, 91500, 60250, list(down), 41, result, b""
    )


def test_ardupilots_message_gives_place_heights_and_angles() -> None:
    trigger = read_trigger(feedback(), NOW)
    assert trigger is not None
    assert (trigger.lon_deg, trigger.lat_deg) == (-21.9876543, 64.1234567)
    assert (trigger.height_amsl_m, trigger.height_takeoff_m) == (91.5, 60.25)
    assert (trigger.yaw_deg, trigger.pitch_deg, trigger.roll_deg) == (270.0, -89.5, 0.5)
    assert (trigger.time, trigger.index) == (TAKEN, 41)


def test_a_cameras_message_gives_the_same() -> None:
    trigger = read_trigger(captured(), NOW)
    assert trigger is not None
    assert (trigger.height_amsl_m, trigger.height_takeoff_m) == (91.5, 60.25)
    angles = (trigger.yaw_deg, trigger.pitch_deg, trigger.roll_deg)
    assert angles == pytest.approx((30.0, -60.0, 0.0), abs=1e-9)
    assert trigger.time == TAKEN


def test_a_photograph_that_failed_is_none() -> None:
    assert read_trigger(captured(result=0), NOW) is None


@pytest.mark.parametrize("time_us", [0, 61_000_000, 2**63])
def test_a_time_that_is_no_time_of_day_gives_way_to_that_of_arrival(time_us: int) -> None:
    trigger = read_trigger(feedback(time_us), NOW)
    assert trigger is not None
    assert trigger.time == NOW


@given(yaw=st.floats(0, 359.9), pitch=st.floats(-89, 89), roll=st.floats(-179, 179))
def test_angles_are_those_of_scipy(yaw: float, pitch: float, roll: float) -> None:
    rotation = Rotation.from_euler("ZYX", [yaw, pitch, roll], degrees=True)
    got = angles_deg(rotation.as_quat(scalar_first=True).tolist())
    assert got[1] == pytest.approx(pitch, abs=1e-6)
    assert math.cos(math.radians(got[0] - yaw)) == pytest.approx(1.0)
    assert math.cos(math.radians(got[2] - roll)) == pytest.approx(1.0)


@given(yaw=st.floats(0, 359.9), sign=st.sampled_from([-1, 1]))
def test_straight_down_and_up_all_turning_is_yaw(yaw: float, sign: int) -> None:
    rotation = Rotation.from_euler("ZYX", [yaw, 90 * sign, 0], degrees=True)
    got = angles_deg(rotation.as_quat(scalar_first=True).tolist())
    assert got[1:] == (90.0 * sign, 0.0)
    assert math.cos(math.radians(got[0] - yaw)) == pytest.approx(1.0)


def test_a_quaternion_that_is_none_tells_nothing() -> None:
    assert all(math.isnan(angle) for angle in angles_deg([0.0, 0.0, 0.0, 0.0]))
    assert all(math.isnan(angle) for angle in angles_deg([math.nan] * 4))
