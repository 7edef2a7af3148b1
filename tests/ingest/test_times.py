from datetime import UTC, datetime

import pytest

from ingest.metadata.exif import read_tags, read_time

NOON = "2024:06:01 12:00:00"


def test_utc_at_exposure_wins(make_jpeg):
    tags = read_tags(
        make_jpeg(
            xmp={"drone-dji:UTCAtExposure": "2024-06-01T10:00:00.250000"},
            gps={29: "2024:06:01", 7: (10.0, 0.0, 5.0)},
        )
    )
    moment, evidence = read_time(tags, 7.6)
    assert moment == datetime(2024, 6, 1, 10, 0, 0, 250_000, UTC)
    assert evidence == "UTCAtExposure"


def test_gps_time_beats_the_camera_clock(make_jpeg):
    tags = read_tags(make_jpeg(gps={29: "2016:11:22", 7: (16.0, 32.0, 38.652)}))
    moment, evidence = read_time(tags, -81.6)
    assert moment == datetime(2016, 11, 22, 16, 32, 38, 652_000, UTC)
    assert evidence == "GPS date and time"


@pytest.mark.parametrize(
    ("offset", "hour", "minute"),
    [("+05:30", 6, 30), ("-03:30", 15, 30), ("+00:00", 12, 0), ("+02:00", 10, 0)],
)
def test_an_offset_is_taken_off_once_with_its_minutes(make_jpeg, offset, hour, minute):
    moment, evidence = read_time(read_tags(make_jpeg(time=NOON, exif={0x9011: offset})), 7.6)
    assert (moment.hour, moment.minute) == (hour, minute)
    assert "Offset" in evidence


def test_a_naive_time_takes_its_zone_from_the_longitude_and_says_so(make_jpeg):
    moment, evidence = read_time(read_tags(make_jpeg(time="2016:06:23 16:31:59")), -91.99)
    assert moment == datetime(2016, 6, 23, 22, 31, 59, tzinfo=UTC)
    assert "UTC-06:00 from the longitude" in evidence


def test_a_naive_time_without_a_place_is_taken_as_utc_and_says_so(make_jpeg):
    moment, evidence = read_time(read_tags(make_jpeg(time=NOON)), None)
    assert moment.hour == 12
    assert "without a zone" in evidence


def test_some_cameras_keep_utc(make_jpeg):
    tags = read_tags(make_jpeg(make="Parrot", model="Sequoia", time=NOON))
    assert read_time(tags, -81.6)[0].hour == 12


@pytest.mark.parametrize("stamp", ["0000:00:00 00:00:00", "2024:13:01 12:00:00", "", "soon"])
def test_an_impossible_time_is_none(make_jpeg, stamp):
    assert read_time(read_tags(make_jpeg(time=stamp)), 7.6) == (None, "")
