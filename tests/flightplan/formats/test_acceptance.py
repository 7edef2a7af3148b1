"""Other people's readers take what we write, unchanged."""

import importlib
import math
import os
import threading

import pytest

from flightplan.formats.mavlink_items import Autopilot, home_item, mission_items
from flightplan.formats.mission_files import Format, write_mission

NUMBERS = {Format.PLAN_ARDUPILOT: 3, Format.PLAN_PX4: 12}


def assert_same_item(found, ours):
    assert (found.command, found.param1, found.param2, found.param3) == pytest.approx(
        (int(ours.command), *ours.params[:3])
    )
    if ours.command in (16, 21, 22):
        assert found.x == round(ours.params[4] * 1e7)
        assert found.y == round(ours.params[5] * 1e7)
    assert found.z == pytest.approx(ours.params[6], abs=0.001)


def test_pymavlinks_loader_takes_the_list(mission, tmp_path):
    mavwp = pytest.importorskip("pymavlink.mavwp", reason="pymavlink is not installed")
    path = tmp_path / "a.waypoints"
    write_mission(path, mission, Format.WPL)
    loader = mavwp.MAVWPLoader()
    ours = [home_item(mission), *mission_items(mission, Autopilot.ARDUPILOT)]
    assert loader.load(str(path)) == len(ours)
    for index, item in enumerate(ours):
        row = loader.wp(index)
        assert (row.seq, row.command) == (index, int(item.command))
        assert (row.x, row.y, row.z) == pytest.approx(item.params[4:], abs=1e-3)
        assert row.x == pytest.approx(item.params[4], abs=1e-8)


@pytest.mark.parametrize("format_", NUMBERS)
def test_mavsdks_importer_takes_the_plan(mission, tmp_path, format_):
    reason = "mavsdk (24 MB, only for this test) is not installed: pip install 'mavsdk>=4.1'"
    mavsdk = pytest.importorskip("mavsdk.mavsdk", reason=reason)
    kinds = importlib.import_module("mavsdk.component_type")
    raw = importlib.import_module("mavsdk.plugins.mission_raw")
    path = tmp_path / "a.plan"
    write_mission(path, mission, format_)
    port = 20_000 + os.getpid() % 20_000 + NUMBERS[format_]
    done = threading.Event()
    beat = threading.Thread(target=heartbeats, args=(port, NUMBERS[format_], done), daemon=True)
    beat.start()
    try:
        station = kinds.ComponentType.GROUND_STATION
        configuration = mavsdk.Configuration.create_with_component_type(station)
        with mavsdk.Mavsdk(configuration) as client:
            client.add_any_connection(f"udpin://127.0.0.1:{port}")
            vehicle = client.first_autopilot(10.0)
            data = raw.MissionRaw(vehicle).import_qgroundcontrol_mission(str(path))
    finally:
        done.set()
        beat.join()
    ardupilot = format_ is Format.PLAN_ARDUPILOT
    told = mission_items(mission, Autopilot.ARDUPILOT if ardupilot else Autopilot.PX4)
    ours = [home_item(mission), *told] if ardupilot else list(told)
    assert len(data.mission_items) == len(ours)
    for found, item in zip(data.mission_items, ours, strict=True):
        assert_same_item(found, item)
        assert math.isnan(found.param4) == math.isnan(item.params[3])
    assert [item.command for item in data.geofence_items] == [5001] * 4 + [5002] * 4


def heartbeats(port, autopilot, done):
    """Be a vehicle that only says it is there."""
    mavutil = importlib.import_module("pymavlink.mavutil")
    link = mavutil.mavlink_connection(
        f"udpout:127.0.0.1:{port}", source_system=1, source_component=1
    )
    while not done.wait(0.2):
        link.mav.heartbeat_send(mavutil.mavlink.MAV_TYPE_QUADROTOR, autopilot, 0, 0, 3)
    link.close()
