"""Where the sun stands, and when its light serves."""

import time
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightplan.equipment.catalogue import read_catalogue
from flightplan.outputs.light_windows import (
    SunDay,
    glint_windows,
    multispectral_windows,
    raking_windows,
    sun_day,
)
from tmp.cameras import Pose
from tmp.errors import InputError

MINI = read_catalogue().cameras["dji-mini-4-pro"]
CAMERA = MINI.camera()


def made_day(elevation: np.ndarray) -> SunDay:
    """A day with elevations of one's own, an hour apart."""
    times = np.datetime64("2026-06-21T00:00", "m") + 60 * np.arange(len(elevation)).astype(
        "timedelta64[m]"
    )
    return SunDay(
        times=times,
        elevation_deg=np.asarray(elevation, float),
        azimuth_deg=np.linspace(0, 360, len(elevation)),
        zone=UTC,
    )


def test_polar_day_and_night_are_said_in_words() -> None:
    assert sun_day(15.6, 78.22, date(2026, 6, 21), zone=UTC).said.startswith(
        "polar day: the sun does not set (from 11.7° to 35.2°)"
    )
    night = sun_day(15.6, 78.22, date(2026, 11, 21), zone=UTC)
    assert night.said.startswith("polar night: the sun does not rise")
    assert multispectral_windows(night) == (
        (),
        "the sun reaches -8.2° at most: too low for reflectance work",
    )
    assert raking_windows(night) == ()


def test_a_day_is_counted_in_local_time_across_the_date_line() -> None:
    fiji = timezone(timedelta(hours=12))
    day = sun_day(178.4, -18.1, date(2026, 3, 1), zone=fiji)
    when, top_deg = day.highest
    assert when.astimezone(fiji).date() == date(2026, 3, 1)
    assert when.astimezone(fiji).hour == 12
    assert top_deg > 75
    assert "local, UTC+12:00" in day.said


@pytest.mark.parametrize("computer", ["UTC", "Asia/Tokyo", "America/Chicago"])
def test_times_are_of_the_site_wherever_the_plan_is_made(
    computer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", computer)
    time.tzset()
    day = sun_day(-91.994, 46.842, date(2026, 11, 30))
    monkeypatch.undo()
    time.tzset()
    assert str(day.zone) == "UTC-06:00"
    # Solar noon is at 17:57 UTC there: 12 h + 91.994° / 15 less the equation of time, 11 min.
    when, _ = day.highest
    assert abs(when - datetime(2026, 11, 30, 17, 57, tzinfo=UTC)) < timedelta(minutes=3)
    assert day.said.count("sun up") == 1
    assert " and " not in day.said  # one day of the site's, not two halves of another's


def test_multispectral_work_is_when_the_sun_is_high() -> None:
    day = made_day([-5, 10, 29, 31, 45, 31, 29, 5])
    windows, said = multispectral_windows(day)
    assert [(w.start.hour, w.end.hour) for w in windows] == [(3, 5)]
    assert said == "sun above 30°"


def test_where_the_sun_stays_low_the_best_of_the_day_is_named() -> None:
    """17.5° gives 0.95 of what 18.4° gives on level ground: sin 17.5° / sin 18.4°."""
    windows, said = multispectral_windows(made_day([0, 15, 17.6, 18.4, 17.4, 15]))
    assert [(w.start.hour, w.end.hour) for w in windows] == [(2, 3)]
    assert "at 18.4°: shadows are 3.0 times as long as high" in said


def test_raking_light_is_morning_and_evening() -> None:
    windows = raking_windows(made_day([0, 6, 14, 16, 40, 14, 4]))
    assert [(w.start.hour, w.end.hour) for w in windows] == [(1, 2), (5, 5)]


def test_glint_is_in_the_picture_when_the_sun_is_nearer_the_zenith_than_its_corners() -> None:
    """4032 × 3024 px at 2800 px: the corners lie 41.99° from the axis."""
    corner_deg = np.degrees(np.arctan(np.hypot(4032, 3024) / 2 / 2800))
    assert corner_deg == pytest.approx(41.99, abs=0.01)
    seen = glint_windows(made_day([47.9, 48.1, 60.0, -60.0]), CAMERA, margin_deg=0.0)
    assert [(w.start.hour, w.end.hour) for w in seen] == [(1, 2)]
    windows = glint_windows(made_day([30, 44, 60, 44, 30]), CAMERA, margin_deg=5.0)
    assert [(w.start.hour, w.end.hour) for w in windows] == [(1, 3)]


@given(
    elevation=st.floats(1, 89),
    azimuth=st.floats(0, 360),
    heading=st.floats(0, 360),
)
def test_no_picture_has_the_sun_in_it_outside_the_windows(
    elevation: float, azimuth: float, heading: float
) -> None:
    """The sun's mirror image, projected into a picture of any heading."""
    e, a = np.radians([elevation, azimuth])
    mirrored = [np.sin(a) * np.cos(e), np.cos(a) * np.cos(e), -np.sin(e)]
    pose = Pose.from_gimbal(heading, -90.0, 0.0, (0.0, 0.0, 0.0))
    x, y, z = pose.cam_from_world(np.array([mirrored]))[0]
    inside = abs(x / z * CAMERA.fx_px) <= CAMERA.width_px / 2
    if z > 0 and inside and abs(y / z * CAMERA.fy_px) <= CAMERA.height_px / 2:
        assert glint_windows(made_day([elevation + 1e-6]), CAMERA, margin_deg=0.0)


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_windows_hold_all_that_is_lit_and_nothing_else(lit: list[bool]) -> None:
    day = made_day(np.where(lit, 40.0, 0.0))
    windows, _ = multispectral_windows(day) if any(lit) else ((), "")
    held = [
        any(w.start <= at <= w.end for w in windows)
        for at in (datetime(2026, 6, 21, tzinfo=UTC) + timedelta(hours=h) for h in range(len(lit)))
    ]
    assert held == lit


def test_a_place_off_the_earth_is_refused() -> None:
    with pytest.raises(InputError, match="not on Earth"):
        sun_day(15.6, 98.2, date(2026, 6, 21))
