from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from flightplan.terrain.height_band import (
    FlightProfile,
    HeightBand,
    fit_heights,
    following_share,
)
from flightplan.terrain.profiles import ground_profile
from flightplan.terrain.terrain import Terrain
from tmp.errors import InputError

SAMPLES = np.arange(0.0, 1201.0, 30.0)
BAND = HeightBand(height_m=50, below_m=5, above_m=5, climb=3 / 8, descent=3 / 8)
PROFILES = {
    "cliff down": np.where(SAMPLES <= 600, 100.0, 40.0),
    "cliff up": np.where(SAMPLES <= 600, 40.0, 100.0),
    "ridge": np.where((SAMPLES >= 600) & (SAMPLES <= 660), 125.0, 100.0),
    "valley": np.maximum(
        100 - np.tan(np.radians(30)) * np.maximum(138.56 - np.abs(SAMPLES - 600), 0), 20
    ),
    "undulation": 100 + 4.5 * np.sin(2 * np.pi * SAMPLES / 300),
    "ice front": np.interp(SAMPLES, [600, 650], [150.0, 100.0]),
    "15° up": np.tan(np.radians(15)) * SAMPLES,
    "15° down": -np.tan(np.radians(15)) * SAMPLES,
}
"""Ground that planners are compared on, sampled every 30 m over 1 200 m."""


@dataclass(frozen=True, kw_only=True)
class BandCheck:
    """What a flight profile keeps, everywhere and not only at its waypoints."""

    least_clearance_m: float
    """Above the ground that counts for safety."""
    greatest_clearance_m: float
    """Above the ground that counts for resolution."""
    least_over_lower_m: float
    most_over_upper_m: float
    """Above the edges of the band."""
    steepest_climb: float
    steepest_descent: float

    def safe(self, band: HeightBand, hair: float = 1e-4) -> bool:
        return (
            self.least_over_lower_m >= -hair
            and self.steepest_climb <= band.climb + hair
            and self.steepest_descent <= band.descent + hair
        )


def check_band(
    flight: FlightProfile,
    distance_m: ArrayLike,
    ground_m: ArrayLike,
    band: HeightBand,
    *,
    highest_m: ArrayLike | None = None,
) -> BandCheck:
    """Measure a flight every metre and wherever ground or flight bend, so no place is worse."""
    x, ground = np.asarray(distance_m, float), np.asarray(ground_m, float)
    highest = ground if highest_m is None else np.maximum(ground, np.asarray(highest_m, float))
    dense = np.concatenate([np.arange(x[0], x[-1]), x, flight.distance_m])
    places = np.unique(dense.clip(x[0], x[-1]))
    height = flight.at(places)
    over_highest = height - np.interp(places, x, highest)
    over_ground = height - np.interp(places, x, ground)
    slopes = np.diff(flight.height_m) / np.diff(flight.distance_m)
    return BandCheck(
        least_clearance_m=float(over_highest.min()),
        greatest_clearance_m=float(over_ground.max()),
        least_over_lower_m=float(over_highest.min() - band.height_m + band.below_m),
        most_over_upper_m=float(over_ground.max() - band.height_m - band.above_m),
        steepest_climb=float(max(slopes.max(), 0.0)),
        steepest_descent=float(max(-slopes.min(), 0.0)),
    )


def test_level_ground_takes_two_waypoints_at_the_wanted_height() -> None:
    flight = fit_heights([0, 500, 1000], [100, 100, 100], BAND)
    assert flight.distance_m.tolist() == [0, 1000]
    assert flight.height_m == pytest.approx([150, 150], abs=0.01)
    assert flight.excesses == ()


@pytest.mark.parametrize("name", PROFILES)
def test_clearance_is_never_below_the_band(name: str) -> None:
    flight = fit_heights(SAMPLES, PROFILES[name], BAND)
    check = check_band(flight, SAMPLES, PROFILES[name], BAND)
    assert check.safe(BAND)
    assert check.least_clearance_m >= 45 - 1e-6
    assert len(flight.distance_m) < len(SAMPLES) / 2


@pytest.mark.parametrize("name", ["undulation", "15° up", "15° down"])
def test_ground_that_can_be_followed_is_followed_inside_the_band(name: str) -> None:
    flight = fit_heights(SAMPLES, PROFILES[name], BAND)
    check = check_band(flight, SAMPLES, PROFILES[name], BAND)
    assert flight.excesses == ()
    assert check.greatest_clearance_m <= 55 + 1e-6


def test_undulation_inside_the_band_takes_two_waypoints() -> None:
    assert len(fit_heights(SAMPLES, PROFILES["undulation"], BAND).distance_m) == 2


def test_cliff_is_flown_above_the_band_by_what_the_climb_needs() -> None:
    """60 m in 30 m, at 3 m up for 8 m along: 60 - 30 · 3/8 - 10 m of band."""
    flight = fit_heights(SAMPLES, PROFILES["cliff up"], BAND)
    (excess,) = flight.excesses
    assert excess.most_m == pytest.approx(60 - 30 * 3 / 8 - 10, abs=0.02)
    assert excess.start_m == pytest.approx(630 - (60 - 10) / (3 / 8), abs=0.1)
    assert excess.end_m == pytest.approx(630 - 10 / (60 / 30 - 3 / 8), abs=0.1)
    check = check_band(flight, SAMPLES, PROFILES["cliff up"], BAND)
    assert check.most_over_upper_m == pytest.approx(excess.most_m)
    assert check.steepest_climb == pytest.approx(3 / 8, abs=1e-3)


def test_a_cliff_flown_the_other_way_is_its_mirror_image() -> None:
    band = HeightBand(height_m=50, below_m=4, above_m=6, climb=0.5, descent=0.25)
    back = HeightBand(height_m=50, below_m=4, above_m=6, climb=0.25, descent=0.5)
    up = fit_heights(SAMPLES, PROFILES["cliff up"], band)
    down = fit_heights(SAMPLES, PROFILES["cliff up"][::-1], back)
    assert len(up.distance_m) == len(down.distance_m)
    assert up.excesses[0].most_m == pytest.approx(down.excesses[0].most_m, abs=0.02)


def test_a_dip_is_left_no_faster_than_the_drone_climbs() -> None:
    """The ground rises out of it by 3 in 4, the drone by 1 in 10."""
    band = HeightBand(height_m=50, below_m=5, above_m=5, climb=0.1, descent=0.25)
    way, ground = [0.0, 10.0, 90.0], [80.0, 0.0, 60.0]
    check = check_band(fit_heights(way, ground, band), way, ground, band)
    assert check.safe(band)


def test_faster_climbs_bring_the_cliff_back_into_the_band() -> None:
    band = HeightBand(height_m=50, below_m=5, above_m=5, climb=3, descent=3)
    for name, ground in PROFILES.items():
        flight = fit_heights(SAMPLES, ground, band)
        assert flight.excesses == (), name
        assert check_band(flight, SAMPLES, ground, band).most_over_upper_m <= 1e-6


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(2, 80),
    below_m=st.sampled_from([0.0, 2.0, 5.0]),
    above_m=st.sampled_from([0.0, 2.0, 5.0]),
    slopes=st.tuples(st.floats(0.1, 2.0), st.floats(0.1, 2.0)),
)
def test_any_ground_is_flown_safely(
    seed: int, count: int, below_m: float, above_m: float, slopes: tuple[float, float]
) -> None:
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.uniform(0.5, 30.0, count))
    ground = np.cumsum(rng.normal(0, rng.uniform(0.1, 10), count))
    highest = ground + (rng.uniform(0, 3, count) if seed % 2 else 0.0)
    climb, descent = slopes
    band = HeightBand(height_m=40, below_m=below_m, above_m=above_m, climb=climb, descent=descent)
    flight = fit_heights(x, ground, band, highest_m=highest)
    check = check_band(flight, x, ground, band, highest_m=highest)
    assert check.safe(band)
    slope = np.diff(highest) / np.diff(x)
    if slope.max() <= climb and slope.min() >= -descent:
        assert len(flight.distance_m) <= count
    most = max((excess.most_m for excess in flight.excesses), default=0.01)
    assert check.most_over_upper_m <= most + 1e-6


@given(seed=st.integers(0, 10_000))
def test_excess_is_no_more_than_slope_limits_force(seed: int) -> None:
    """The lowest flight over the band's lower edge, worked out place by place."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.uniform(0.5, 30.0, 30))
    ground = np.cumsum(rng.normal(0, 10, 30))
    dense = np.linspace(x[0], x[-1], 300)
    run = dense[:, None] - x
    floor = ground + BAND.height_m - BAND.below_m
    flown = np.where(run < 0, -run * BAND.climb, run * BAND.descent)
    lowest = np.maximum((floor - flown).max(axis=1), np.interp(dense, x, floor))
    upper = np.maximum(np.interp(dense, x, floor) + 10, lowest) + 0.01
    flight = fit_heights(x, ground, BAND)
    assert (flight.at(dense) <= upper + 1e-6).all()
    assert (flight.at(dense) >= lowest - 1e-6).all()


def test_a_slope_twice_as_steep_as_the_drone_climbs_is_flown_at_half_the_speed() -> None:
    x = np.arange(0.0, 201.0, 10.0)
    share = following_share(x, 2 * BAND.climb * x, BAND, least=0.1)
    assert share == pytest.approx(0.5, abs=0.002)


def test_a_rise_that_fits_into_the_band_slows_nothing() -> None:
    x = np.arange(0.0, 201.0, 10.0)
    assert following_share(x, np.where(x == 100, 9.0, 0.0), BAND, least=0.1) == 1.0


def test_a_cliff_that_no_speed_follows_is_flown_over_at_full_speed() -> None:
    assert following_share(SAMPLES / 30, PROFILES["cliff up"], BAND, least=0.2) == 1.0


def test_a_way_need_only_arrive_at_the_wanted_height() -> None:
    """A pit between its ends is flown over; one at its end is not."""
    x = np.arange(0.0, 401.0, 10.0)
    pit, end = np.where(abs(x - 200) < 60, -60.0, 0.0), np.where(x > 340, -60.0, 0.0)
    assert following_share(x, pit, BAND, least=0.05, only_ends=True) == 1.0
    assert following_share(x, pit, BAND, least=0.05) < 0.5
    assert following_share(x, end, BAND, least=0.05, only_ends=True) < 1.0


@given(seed=st.integers(0, 10_000))
def test_at_the_speed_found_two_ways_in_a_row_stay_in_the_band(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.arange(0.0, 301.0, 5.0)
    ground = np.cumsum(rng.normal(0, rng.uniform(0.2, 2.5), len(x)))
    cut = int(rng.integers(10, 50))
    parts = slice(0, cut + 1), slice(cut, None)
    shares = [following_share(x[one], ground[one], BAND, least=0.02) for one in parts]
    slower = np.where(np.arange(len(x) - 1) < cut, 1 / shares[0], 1 / shares[1])
    evenly = np.concatenate([[0.0], np.cumsum(np.diff(x) * slower)])
    flight = fit_heights(evenly, ground, BAND)
    most = max((excess.most_m for excess in flight.excesses), default=0.0)
    assert most < 0.05 or 1.0 in shares


def test_flight_over_rough_terrain_is_safe_on_a_dense_resample_of_it() -> None:
    heights = np.random.default_rng(3).uniform(0, 8, (60, 60)).astype(np.float32)
    terrain = Terrain(heights=heights, x_min=0, y_max=600, cell_m=10, datum="local")
    way = np.array([(20.0, 15.0), (570.0, 310.0), (30.0, 420.0)])
    ground = ground_profile(terrain, way, half_width_m=5.0)
    flight = fit_heights(ground.distance_m, ground.lowest_m, BAND, highest_m=ground.highest_m)
    legs = np.append(0.0, np.cumsum(np.hypot(*np.diff(way, axis=0).T)))
    dense = np.arange(0, legs[-1], 0.5)
    points = np.column_stack([np.interp(dense, legs, way[:, axis]) for axis in (0, 1)])
    clearance = flight.at(dense) - terrain.at(points)
    assert clearance.min() >= 45 - 1e-6


def test_a_check_sees_what_lies_between_samples() -> None:
    flight = FlightProfile(distance_m=np.array([0.0, 100.0]), height_m=np.array([150.0, 150.0]))
    check = check_band(flight, [0, 50, 51, 100], [100, 100, 130, 100], BAND)
    assert check.least_clearance_m == 20
    assert check.least_over_lower_m == -25
    assert not check.safe(BAND)


@pytest.mark.parametrize(
    ("distance", "ground", "reason"),
    [
        ([0], [1], "two or more samples"),
        ([0, 1], [1, 2, 3], "two or more samples"),
        ([0, 1], [1, np.nan], "not finite"),
        ([0, 2, 2], [1, 2, 3], "must increase"),
    ],
)
def test_samples_that_make_no_ground_are_refused(
    distance: list[float], ground: list[float], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        fit_heights(distance, ground, BAND)


def test_bands_that_cannot_be_flown_are_refused() -> None:
    with pytest.raises(InputError, match="reaches the ground"):
        HeightBand(height_m=5, below_m=5, above_m=5, climb=1, descent=1)
    with pytest.raises(InputError, match="slopes must be positive"):
        HeightBand(height_m=50, below_m=5, above_m=5, climb=0, descent=1)
    with pytest.raises(InputError, match="must not be negative"):
        HeightBand(height_m=50, below_m=-5, above_m=5, climb=1, descent=1)
