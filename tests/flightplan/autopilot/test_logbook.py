import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flightplan.autopilot.logbook import COLUMNS, Logbook, PhotographList, PhotographTrigger
from flightplan.autopilot.protocol import WireItem
from flightplan.formats.mission_files import read_mission
from tmp.errors import InputError

TRIGGER = PhotographTrigger(
    time=datetime(2026, 6, 1, 12, 0, 0, 250_000, tzinfo=UTC),
    lon_deg=-21.9876543,
    lat_deg=64.1234567,
    height_amsl_m=91.5,
    height_takeoff_m=60.25,
    yaw_deg=270.0,
    pitch_deg=float("nan"),
    roll_deg=0.0,
    camera=0,
    index=41,
    message="CAMERA_FEEDBACK",
)


def test_a_photograph_is_on_the_disk_before_the_list_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "flown-sortie-1.csv"
    with PhotographList(path) as photographs:
        photographs.add(TRIGGER, item=7, waypoint=2)
        assert path.read_text(encoding="utf-8").splitlines() == [
            ",".join(COLUMNS),
            "2026-06-01T12:00:00.250Z,-21.9876543,64.1234567,91.500,60.250,270.000,,0.000,7,2,0,41",
        ]


def test_a_second_flight_adds_to_the_list_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "flown-sortie-1.csv"
    for _ in range(2):
        with PhotographList(path) as photographs:
            photographs.add(TRIGGER, item=7, waypoint=2)
            assert photographs.count == 1
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3


def test_the_logbook_remembers_how_far_a_sortie_got(tmp_path: Path) -> None:
    book = Logbook(folder=tmp_path)
    assert (book.waypoint("sortie-1"), book.first("sortie-1")) == (-1, 0)
    book.passed("sortie-1", 5)
    book.loaded("sortie-1", 4, 12)
    assert (book.waypoint("sortie-1"), book.first("sortie-1")) == (5, 4)
    book.passed("sortie-1", 7)
    assert Logbook(folder=tmp_path).waypoint("sortie-1") == 7
    assert json.loads(book.path.read_text(encoding="utf-8"))["sorties"]["sortie-1"]["of"] == 12


def test_the_logbook_knows_its_own_missions_and_forgets_the_oldest(tmp_path: Path) -> None:
    book = Logbook(folder=tmp_path)
    assert not book.knows("a")
    for name in ("a", "b", "a"):
        book.remember(name)
    assert book.knows("a")
    assert json.loads(book.path.read_text(encoding="utf-8"))["loaded"] == ["b", "a"]
    for number in range(60):
        book.remember(str(number))
    assert not book.knows("a")


def test_a_mission_put_aside_can_be_read_again(tmp_path: Path) -> None:
    items = [
        WireItem(command=16, frame=0, x=641234567, y=-219876543, z=31.0),
        WireItem(command=22, frame=3, x=641234567, y=-219876543, z=30.0),
        WireItem(command=206, frame=2, p1=15.0, p3=1.0),
        WireItem(command=203, frame=0, x=1),
        WireItem(command=16, frame=3, p4=float("nan"), x=641334567, y=-219876543, z=60.25),
    ]
    path = Logbook(folder=tmp_path).keep(items, "mission")
    mission = read_mission(path)
    assert mission.takeoff_height_m == 30.0
    assert mission.waypoints[-1].lat_deg == 64.1334567
    assert mission.waypoints[-1].height_m == 60.25


def test_a_damaged_logbook_is_named(tmp_path: Path) -> None:
    book = Logbook(folder=tmp_path)
    book.path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"flights\.json: damaged .* delete it"):
        book.waypoint("sortie-1")


def test_the_latest_photograph_of_each_camera_is_known_when_a_list_is_opened(
    tmp_path: Path,
) -> None:
    path = tmp_path / "flown-sortie-1.csv"
    with PhotographList(path) as photographs:
        assert photographs.latest == {}
        photographs.add(TRIGGER, item=7, waypoint=2)
    with path.open("a", encoding="utf-8") as stream:
        stream.write("2026-06-01T12:00:0")  # the computer was switched off
    with PhotographList(path) as photographs:
        assert photographs.latest == {0: 41}


def test_what_is_being_sent_is_noted_with_open_values_until_it_has_arrived(tmp_path: Path) -> None:
    book = Logbook(folder=tmp_path)
    wanted = (WireItem(command=16, frame=3, p4=float("nan"), x=641234567, y=-219876543, z=60.25),)
    assert book.half_sent("mission") == ((), ())
    book.sending("mission", wanted, ())
    (item,), held = Logbook(folder=tmp_path).half_sent("mission")
    assert math.isnan(item.p4)
    assert (item.x, item.y, item.z, held) == (641234567, -219876543, 60.25, ())
    book.sent("mission")
    assert book.half_sent("mission") == ((), ())


def test_a_flight_that_was_not_followed_to_its_end_is_remembered(tmp_path: Path) -> None:
    book = Logbook(folder=tmp_path)
    assert book.followed("sortie-1")
    book.following("sortie-1", on=True)
    assert not Logbook(folder=tmp_path).followed("sortie-1")
    book.following("sortie-1", on=False)
    assert book.followed("sortie-1")
