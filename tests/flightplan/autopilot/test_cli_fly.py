import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flightplan.autopilot import cli as cli_fly
from flightplan.autopilot import flight
from flightplan.autopilot.cli import fly
from flightplan.autopilot.protocol import WireItem
from flightplan.formats.mission import Mission
from flightplan.formats.mission_files import Format, write_mission
from tmp.cli import PluginGroup


@pytest.fixture
def survey(tmp_path: Path, mission: Mission) -> Path:
    """A survey with one planned sortie."""
    plan = tmp_path / "plan"
    plan.mkdir()
    write_mission(plan / "sortie-1.plan", mission, Format.PLAN_ARDUPILOT)
    return tmp_path


@pytest.fixture
def vehicle(vehicles: ModuleType) -> Iterator[Callable[..., Any]]:
    with ExitStack() as stack:
        yield lambda **habits: stack.enter_context(vehicles.Vehicle(vehicles.Habits(**habits)))


def run(survey: Path, address: str, *options: str, words: str = "") -> Result:
    group = PluginGroup("tmp", commands={"fly": fly})
    args = ["fly", str(survey), "--connect", address, *options]
    return CliRunner().invoke(group, args, input=words)


@pytest.mark.parametrize("px4", [False, True])
def test_a_named_sortie_is_loaded_flown_and_recorded(
    survey: Path, vehicle: Callable[..., Any], px4: bool
) -> None:
    drone = vehicle(px4=px4)
    done = run(survey, drone.address, "--start", "sortie-1")
    assert done.exit_code == 0, done.output
    assert "read back and equal" in done.output
    assert "sortie-1 is started" in done.output
    assert f"3 photographs recorded in {survey}/plan/flown-sortie-1.csv" in done.output
    assert len((survey / "plan/flown-sortie-1.csv").read_text(encoding="utf-8").splitlines()) == 4
    flights = json.loads((survey / "plan/flights.json").read_text(encoding="utf-8"))
    assert flights["sorties"]["sortie-1"]["waypoint"] == 11


def test_without_a_word_nothing_is_started(survey: Path, vehicle: Callable[..., Any]) -> None:
    drone = vehicle()
    done = run(survey, drone.address, words="fly\n")
    assert done.exit_code == 0
    assert done.output.endswith("sortie-1 is on the autopilot and was not started\n")
    assert not drone.was_armed


@pytest.mark.parametrize(("word", "started"), [("fly", True), ("yes", False), ("", False)])
def test_at_a_terminal_only_the_word_itself_starts(
    survey: Path,
    vehicle: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    word: str,
    started: bool,
) -> None:
    monkeypatch.setattr(cli_fly, "_at_a_terminal", lambda: True)
    drone = vehicle()
    done = run(survey, drone.address, words=f"{word}\n")
    assert "To arm and start sortie-1 (12 waypoints) type 'fly'" in done.output
    assert drone.was_armed == started


def test_a_wrong_name_after_start_reaches_no_vehicle(survey: Path) -> None:
    done = run(survey, "udp:127.0.0.1:1", "--start", "sortie-2")
    assert done.exit_code == 1
    assert done.output == (
        "Error: --start 'sortie-2' does not name the sortie; give --start sortie-1\n"
    )


def test_another_mission_is_one_clear_line(survey: Path, vehicle: Callable[..., Any]) -> None:
    drone = vehicle(px4=True)
    drone.mission = [WireItem(command=16, frame=3, x=1, y=2, z=30.0)] * 3
    done = run(survey, drone.address, "--start", "sortie-1")
    assert done.exit_code == 1
    assert "Error: " in done.output.splitlines()[-1]
    assert "holds another mission of 3 items, which is kept; give --replace" in done.output
    assert not drone.was_armed
    assert run(survey, drone.address, "--start", "sortie-1", "--replace").exit_code == 0


def test_ctrl_c_leaves_the_vehicle_flying_and_says_so(
    survey: Path, vehicle: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = flight.follow

    def interrupted(*args: Any, **options: Any) -> Iterator[int]:
        for waypoint in whole(*args, **options):
            yield waypoint
            if waypoint == 6:
                raise KeyboardInterrupt

    monkeypatch.setattr(flight, "follow", interrupted)
    drone = vehicle()
    done = run(survey, drone.address, "--start", "sortie-1")
    assert done.exit_code == 130
    assert "2 photographs recorded" in done.output
    assert "no longer followed: the vehicle flies its mission on" in done.output


def test_a_vehicle_in_the_air_is_followed_without_a_word(
    survey: Path, vehicle: Callable[..., Any]
) -> None:
    drone = vehicle()
    assert run(survey, drone.address).exit_code == 0
    drone.armed, drone.mode, drone.step_s = True, 3, 0.02
    drone.begin()
    done = run(survey, drone.address)
    assert done.exit_code == 0, done.output
    assert "photographs recorded" in done.output
    assert 400 not in drone.commands


def test_the_rest_of_a_sortie_is_flown_on_resume(survey: Path, vehicle: Callable[..., Any]) -> None:
    flights = {"loaded": [], "sorties": {"sortie-1": {"waypoint": 5, "of": 12, "first": 0}}}
    (survey / "plan/flights.json").write_text(json.dumps(flights), encoding="utf-8")
    drone = vehicle()
    hinted = run(survey, drone.address)
    assert "flown up to waypoint 6 of 12; --resume flies only the rest" in hinted.output
    done = run(survey, drone.address, "--resume", "--start", "sortie-1")
    assert done.exit_code == 0, done.output
    assert drone.photos == 2
    flights = json.loads((survey / "plan/flights.json").read_text(encoding="utf-8"))
    entry = flights["sorties"]["sortie-1"]
    assert (entry["first"], entry["waypoint"]) == (4, 11)
    over = run(survey, drone.address, "--resume")
    assert over.exit_code == 1
    assert "was flown to its end; nothing is left" in over.output


def test_a_fence_too_near_is_refused_or_set_for_the_flight_and_set_back(
    survey: Path, vehicle: Callable[..., Any]
) -> None:
    drone = vehicle(parameters={"FENCE_RADIUS": 150})
    refused = run(survey, drone.address, "--start", "sortie-1")
    assert refused.exit_code == 1
    assert "FENCE_RADIUS is 150 m and must be 235 m or more" in refused.output.splitlines()[-1]
    assert not drone.was_armed
    assert len(drone.mission) == 1
    asked = run(survey, drone.address, "--set-parameters")
    assert asked.output.endswith("before starting it by remote control set FENCE_RADIUS to 235\n")
    assert drone.sets == []
    done = run(survey, drone.address, "--start", "sortie-1", "--set-parameters")
    assert done.exit_code == 0, done.output
    assert "FENCE_RADIUS will be set to 235 for this flight" in done.output
    assert done.output.endswith("FENCE_RADIUS is set back to 150\n")
    assert drone.sets == [("FENCE_RADIUS", 235), ("FENCE_RADIUS", 150)]
    assert drone.photos == 3


def test_what_a_killed_program_set_is_set_back_by_the_next_once_landed(
    survey: Path, vehicle: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Iterator[int]:
        raise KeyboardInterrupt
        yield 0

    drone = vehicle(parameters={"FENCE_RADIUS": 150})
    drone.climb_s, whole = 1e6, flight.follow
    with monkeypatch.context() as patched:
        patched.setattr(flight, "follow", interrupted)
        killed = run(survey, drone.address, "--start", "sortie-1", "--set-parameters")
    assert killed.exit_code == 130
    assert "FENCE_RADIUS will be set back after the landing" in killed.output
    assert drone.sets == [("FENCE_RADIUS", 235)]

    def taken_off(*args: Any, **options: Any) -> Iterator[int]:
        drone._flying_s = 0.0
        return whole(*args, **options)

    monkeypatch.setattr(flight, "follow", taken_off)
    followed = run(survey, drone.address)
    assert followed.exit_code == 0, followed.output
    assert followed.output.endswith("FENCE_RADIUS is set back to 150\n")
    assert drone.sets[1:] == [("FENCE_RADIUS", 150)]


def test_what_was_set_is_set_back_when_the_vehicle_does_not_start(
    survey: Path, vehicle: Callable[..., Any]
) -> None:
    drone = vehicle(parameters={"FENCE_RADIUS": 150}, refuse_commands={300: "Mode change denied"})
    done = run(survey, drone.address, "--start", "sortie-1", "--set-parameters")
    assert done.exit_code == 1
    assert "will not start the mission: Mode change denied" in done.output.splitlines()[-1]
    assert "FENCE_RADIUS is set back to 150" in done.output
    assert drone.sets[-1] == ("FENCE_RADIUS", 150)
    assert not (survey / "plan/flown-parameters.json").exists()


def test_photographs_taken_after_a_killed_program_are_reported(
    survey: Path, vehicle: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = flight.follow

    def killed(*args: Any, **options: Any) -> Iterator[int]:
        for waypoint in whole(*args, **options):
            yield waypoint
            if waypoint == 6:
                raise KeyboardInterrupt

    drone = vehicle(photos_per_item=4)
    drone.step_s = 0.02
    with monkeypatch.context() as patched:
        patched.setattr(flight, "follow", killed)
        run(survey, drone.address, "--start", "sortie-1")
    until_s = time.monotonic() + 60.0
    while drone.armed and time.monotonic() < until_s:
        time.sleep(0.01)
    again = run(survey, drone.address, "--start", "sortie-1")
    assert "the flight before was not followed to its end: its photographs after" in again.output
    third = run(survey, drone.address, "--start", "sortie-1")
    assert "not followed to its end" not in third.output


def test_what_the_autopilot_says_is_shown_as_it_comes(
    survey: Path, vehicle: Callable[..., Any]
) -> None:
    text = "Battery 1 is low 14.02V used 2310 mAh, and this is a text of more than one packet"
    drone = vehicle(says={6: (4, text), 9: (6, "Reached command #9")})
    done = run(survey, drone.address, "--start", "sortie-1")
    assert done.output.count(f"autopilot, warning: {text}\n") == 1
    assert done.output.count("autopilot, info: Reached command #9\n") == 1


def test_nothing_is_signed_and_that_is_said_once(survey: Path, vehicle: Callable[..., Any]) -> None:
    done = run(survey, vehicle().address)
    assert done.output.count("MAVLink is not signed here: whoever reaches udpout:127.0.0.1:") == 1


def test_the_plans_share_of_the_battery_counts(survey: Path, vehicle: Callable[..., Any]) -> None:
    plan = {"sorties": [{"battery": 0.6}], "dem": None, "reserve": 0.25}
    (survey / "plan/plan.json").write_text(json.dumps(plan), encoding="utf-8")
    drone = vehicle(battery=51)
    done = run(survey, drone.address, "--start", "sortie-1")
    assert "sortie-1 takes 60 % and leaves 25 % in reserve, together 85 %" in done.output
    assert done.exit_code == 1
    assert run(survey, drone.address, "--battery", "40").exit_code == 0


def test_of_several_sorties_one_must_be_named(survey: Path, mission: Mission) -> None:
    second = replace(mission, name="sortie-2")
    write_mission(survey / "plan/sortie-2.plan", second, Format.PLAN_ARDUPILOT)
    done = run(survey, "udp:127.0.0.1:1")
    assert "say which sortie; give --sortie with one of 1, 2" in done.output
    done = run(survey, "udp:127.0.0.1:1", "--sortie", "3")
    assert "there is no sortie 3; give --sortie with one of 1, 2" in done.output


def test_a_survey_without_a_plan_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "udp:127.0.0.1:1")
    assert done.exit_code == 1
    assert "holds no sortie-1.plan; make a plan with 'tmp plan'" in done.output
