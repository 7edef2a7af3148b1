"""Height, distances and speed for the detail and overlap asked."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightplan.coverage.spacing import (
    KEEPS_UP,
    Overlap,
    Wanted,
    choose_spacing,
    exposure_from_text,
    footprint,
    length_from_text,
    overlap_from_text,
    speed_from_text,
)
from flightplan.equipment.catalogue import CameraModel, read_catalogue
from flightplan.rehearsal.photographs import Station
from tmp.errors import InputError

CATALOGUE = read_catalogue()
MINI = CATALOGUE.cameras["dji-mini-4-pro"]
BOTH = CATALOGUE.cameras_of(CATALOGUE.drone("Mavic 3M"))
LAPS = Overlap(front=0.75, side=0.7)


def test_distances_are_those_worked_by_hand() -> None:
    """4032 × 3024 px at 2800 px and 60 m: 86.4 × 64.8 m, 2.14 cm."""
    got = choose_spacing([MINI], Wanted(overlap=LAPS, height_agl_m=60.0, exposure_s=1 / 2000))
    assert got.cameras[0].footprint_m == pytest.approx((86.4, 64.8))
    assert got.cameras[0].gsd_m == pytest.approx(60 / 2800)
    assert (got.line_m, got.photo_m) == pytest.approx((0.3 * 86.4, 0.25 * 64.8))
    assert got.speed_m_s == pytest.approx(KEEPS_UP * 16.2 / 2)
    assert got.speed_limit == "2 s between photographs"


def test_detail_binds_at_the_highest_and_overlap_at_the_lowest_clearance() -> None:
    got = choose_spacing([MINI], Wanted(overlap=LAPS, gsd_m=0.025, below_m=5, above_m=3))
    assert got.highest_m / MINI.f_px == pytest.approx(0.025)
    assert (got.lowest_m, got.highest_m) == pytest.approx((62.0, 70.0))
    assert got.line_m == pytest.approx(0.3 * 62 * MINI.width_px / MINI.f_px)


def test_two_cameras_take_the_coarser_pixels_the_tighter_footprint_and_the_slower_shutter() -> None:
    """The Mavic 3M's bands have 2170 px over 2592 px and 2 s, its colour camera 0.7 s."""
    got = choose_spacing(BOTH, Wanted(overlap=LAPS, gsd_m=0.03, exposure_s=1 / 4000))
    bands, colour = got.cameras
    assert got.height_agl_m == pytest.approx(0.03 * 2170)
    assert bands.gsd_m == pytest.approx(0.03)
    assert colour.gsd_m < 0.02
    assert got.line_m == pytest.approx(0.3 * got.height_agl_m * 2592 / 2170)
    assert got.speed_m_s == pytest.approx(KEEPS_UP * got.photo_m / 2.0)
    assert (bands.frontlap, bands.sidelap) == pytest.approx((0.75, 0.7))
    assert colour.frontlap > bands.frontlap
    assert colour.sidelap > bands.sidelap


def test_blur_and_the_drone_bound_the_speed_too() -> None:
    wanted = Wanted(overlap=LAPS, height_agl_m=60.0, exposure_s=1 / 100)
    slow = choose_spacing([MINI], wanted)
    assert slow.speed_m_s == pytest.approx(0.5 * 60 / 2800 * 100)
    assert slow.speed_limit == "blur in 1/100 s of exposure"
    assert choose_spacing([MINI], wanted, max_speed_m_s=0.5).speed_limit == "the drone"


def test_blur_is_that_of_the_detail_asked_for_and_not_of_a_finer_camera() -> None:
    bands, colour = (CATALOGUE.cameras[f"parrot-sequoia{part}"] for part in ("", "-rgb"))
    wanted = Wanted(overlap=LAPS, gsd_m=0.04, exposure_s=1 / 800)
    both = choose_spacing([bands, colour], wanted)
    # Half a pixel of 4 cm in 1/800 s is 16 m/s; of the colour camera's 1.16 cm it was 4.7 m/s.
    assert both.speed_limit == "1 s between photographs"
    assert both.speed_m_s > 7.0
    alone = choose_spacing([colour], replace(wanted, gsd_m=0.0116, overlap=Overlap(front=0.1)))
    assert alone.speed_m_s == pytest.approx(0.5 * 0.0116 * 800)
    fine = both.cameras[1].blur_px_per_m_s * both.speed_m_s
    assert fine == pytest.approx(both.speed_m_s / 800 / (0.04 * 1061.3 / 3645))


def test_a_speed_asked_for_is_a_ceiling() -> None:
    wanted = Wanted(overlap=LAPS, height_agl_m=60.0)
    free, slow, fast = (
        choose_spacing([MINI], replace(wanted, speed_m_s=speed)) for speed in (math.inf, 2.0, 20.0)
    )
    assert (slow.speed_m_s, slow.speed_limit) == (2.0, "--speed")
    assert (fast.speed_m_s, fast.speed_limit) == (free.speed_m_s, free.speed_limit)


@pytest.mark.parametrize(
    ("read", "text", "reason"),
    [
        (speed_from_text, "6", "needs a number and a unit"),
        (speed_from_text, "600km/h", "cannot be meant; give 0.5 to 30 m/s"),
        (exposure_from_text, "2000", "give one over a number, such as 1/2000"),
        (exposure_from_text, "1/0", "is no time of exposure"),
        (exposure_from_text, "1/100000", "from 1/50 to 1/32000"),
    ],
)
def test_what_is_no_speed_or_exposure_is_refused(
    read: Callable[[str], float], text: str, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        read(text)


def test_an_exposure_is_read_as_cameras_show_it() -> None:
    assert exposure_from_text("1/2000") == exposure_from_text(" 1 / 2000 s") == 0.0005


def test_raw_files_slow_the_flight() -> None:
    camera = CATALOGUE.cameras["dji-phantom-4-pro"]
    wanted = Wanted(overlap=LAPS, height_agl_m=60.0, exposure_s=1 / 4000)
    jpeg, raw = (choose_spacing([camera], replace(wanted, raw=raw)) for raw in (False, True))
    assert raw.speed_m_s == pytest.approx(jpeg.speed_m_s * 2 / 5)


@given(
    front=st.floats(0, 0.95),
    side=st.floats(0, 0.95),
    gsd_cm=st.floats(1.5, 20),
    below=st.floats(0, 10),
    above=st.floats(0, 10),
)
def test_overlap_and_detail_hold_over_the_whole_band(
    front: float, side: float, gsd_cm: float, below: float, above: float
) -> None:
    wanted = Wanted(
        overlap=Overlap(front=front, side=side),
        gsd_m=gsd_cm / 100,
        below_m=below,
        above_m=above,
        least_height_m=1.0,
    )
    got = choose_spacing(BOTH, wanted)
    for one in got.cameras:
        assert one.coarsest_gsd_m <= gsd_cm / 100 * (1 + 1e-9)
        assert one.frontlap >= front - 1e-9
        assert one.sidelap >= side - 1e-9
    assert got.speed_m_s <= min(one.speed_by_interval_m_s for one in got.cameras)


@given(pitch_deg=st.floats(-90, -52))
def test_a_tilted_footprint_is_that_of_rays_cast_on_the_ground(pitch_deg: float) -> None:
    seen = footprint(MINI, pitch_deg=pitch_deg)
    pose = Station(position=(0.0, 0.0, 1.0), yaw_deg=0.0, pitch_deg=pitch_deg).pose
    width, height = MINI.width_px, MINI.height_px
    # Bottom corners and the middle; the bottom looks back to below the drone.
    rays = MINI.camera().ray_from_pixel([[0, height], [width, height], [width / 2, height / 2]])
    world = rays @ pose.rotation
    ground = world[:, :2] / -world[:, 2:]
    assert ground[1, 0] - ground[0, 0] == pytest.approx(seen.across)
    assert 2 * (ground[2, 1] - ground[0, 1]) == pytest.approx(seen.along)
    assert math.hypot(ground[2, 1], 1.0) == pytest.approx(seen.distance)


def test_looking_down_is_the_plain_footprint() -> None:
    seen = footprint(MINI)
    assert np.allclose((seen.across, seen.along), (4032 / 2800, 3024 / 2800))
    assert (seen.near, seen.distance) == pytest.approx((1.0, 1.0))


def test_a_view_of_the_horizon_is_refused() -> None:
    with pytest.raises(InputError, match="too near the horizon; look down to -38° or more"):
        footprint(MINI, pitch_deg=-30)


def test_detail_below_what_the_least_height_gives_is_refused_with_what_it_gives() -> None:
    camera = CATALOGUE.camera("Sequoia")
    with pytest.raises(InputError, match=r"5\.3 m above ground, .*ask for 0\.95 cm or more"):
        choose_spacing([camera], Wanted(overlap=LAPS, gsd_m=0.005))
    choose_spacing([camera], Wanted(overlap=LAPS, gsd_m=0.0095))
    with pytest.raises(InputError, match="fly at 14 m or more"):
        choose_spacing([camera], Wanted(overlap=LAPS, height_agl_m=12.0, below_m=4.0))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"gsd_m": 0.02, "height_agl_m": 50.0},
        {"gsd_m": -0.02},
        {"gsd_m": math.nan},
        {"height_agl_m": 50.0, "below_m": -1.0},
        {"height_agl_m": 50.0, "pitch_deg": 10.0},
        {"height_agl_m": 50.0, "exposure_s": 0.0},
    ],
)
def test_wishes_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Wanted(overlap=LAPS, **wrong)


def test_no_camera_is_refused() -> None:
    none: list[CameraModel] = []
    with pytest.raises(InputError, match="no camera"):
        choose_spacing(none, Wanted(overlap=LAPS, gsd_m=0.02))


@pytest.mark.parametrize(
    ("text", "fraction"),
    [("80", 0.8), ("80%", 0.8), (" 80 % ", 0.8), ("0.8", 0.8), ("0", 0.0), ("1%", 0.01)],
)
def test_overlaps_are_read_as_people_write_them(text: str, fraction: float) -> None:
    assert overlap_from_text(text) == pytest.approx(fraction)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("100", "less than 100 %"),
        ("120%", "less than 100 %"),
        ("-5", "negative"),
        ("1", "may be 1 % or all"),
        ("1.5", "may be 1.5 % or all"),
        ("much", "not a number"),
    ],
)
def test_impossible_overlaps_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=f"sidelap .*{said}"):
        overlap_from_text(text, "sidelap")


@given(value=st.floats(0, 0.999))
def test_a_fraction_reads_as_itself(value: float) -> None:
    assert overlap_from_text(f"{value:.6f}") == pytest.approx(round(value, 6))


@pytest.mark.parametrize("text", ["2.5", "cm", "-2cm", "0cm", "2.5 furlongs", ""])
def test_a_length_without_unit_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="gsd"):
        length_from_text(text, "gsd")
