from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ingest.grouping import FLIGHT_GAP, number_flights
from tmp.captures import Capture, CaptureKind

NOON = datetime(2024, 6, 1, 12, tzinfo=UTC)


def photo(minute, *, name="", body="a", flight_id="", kind=CaptureKind.SURVEY):
    return Capture(
        name=name or f"{body}{minute}",
        source="",
        sha256="",
        size_bytes=1,
        width_px=1,
        height_px=1,
        camera_id="c",
        body=body,
        flight_id=flight_id,
        kind=kind,
        time_utc=None if minute is None else NOON + timedelta(minutes=minute),
    )


def flights(*captures):
    return [c.flight for c in number_flights(captures)]


def test_a_pause_of_more_than_ten_minutes_parts_two_flights():
    assert flights(photo(0), photo(9), photo(20), photo(25)) == ["1", "1", "2", "2"]


def test_ids_of_flights_outrank_pauses():
    first, second = {"flight_id": "x"}, {"flight_id": "y"}
    captures = photo(0, **first), photo(30, **first), photo(32, **second)
    assert flights(*captures) == ["1", "1", "2"]


def test_flights_are_numbered_in_order_of_time():
    assert flights(photo(60), photo(0), photo(61)) == ["2", "1", "2"]


def test_cameras_in_the_air_at_one_time_are_on_one_flight():
    other = {"body": "b", "flight_id": "x"}
    captures = photo(0), photo(5), photo(2, **other), photo(7, **other)
    assert flights(*captures) == ["1", "1", "1", "1"]


def test_one_camera_s_flights_are_not_joined_by_another_s():
    captures = photo(0), photo(5), photo(30), photo(4, body="b"), photo(30, body="b")
    assert flights(*captures) == ["1", "1", "2", "1", "2"]


def test_a_panel_goes_to_the_nearest_flight_and_makes_none():
    panel = CaptureKind.PANEL
    captures = [photo(0), photo(5), photo(60), photo(65)]
    for minute, flight in ((-20, "1"), (20, "1"), (50, "2"), (75, "2"), (300, "")):
        assert flights(*captures, photo(minute, kind=panel))[-1] == flight
    assert flights(photo(0, kind=panel)) == [""]


def test_a_panel_goes_to_its_own_camera_s_flight_before_a_nearer_one():
    captures = photo(0), photo(5), photo(40, body="b"), photo(30, kind=CaptureKind.PANEL)
    assert flights(*captures)[-1] == "1"


def test_a_panel_that_names_its_flight_goes_there_however_far_in_time():
    captures = photo(0, flight_id="x"), photo(100, flight_id="y"), photo(105, flight_id="y")
    for name, number in (("x", "1"), ("y", "2"), ("", "2")):
        panel = photo(110, flight_id=name, kind=CaptureKind.PANEL)
        assert flights(*captures, panel)[-1] == number


def test_a_photograph_without_time_is_on_no_flight():
    assert flights(photo(0), photo(None)) == ["1", ""]


@given(st.lists(st.integers(0, 600), min_size=1, max_size=30, unique=True))
def test_within_a_flight_no_pause_is_longer_than_the_limit(minutes):
    captures = number_flights([photo(m) for m in minutes])
    ordered = sorted(captures, key=lambda c: c.time_utc)
    for before, after in pairwise(ordered):
        parted = after.time_utc - before.time_utc > FLIGHT_GAP
        assert (before.flight != after.flight) == parted
