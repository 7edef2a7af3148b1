import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightplan.equipment.flight_model import Motion, Wind, merged, path_seconds
from tmp.errors import InputError

STILL = Motion()
WINDY = Motion(cruise_m_s=14.0, max_airspeed_m_s=10.0, wind=Wind(speed_m_s=6.0, from_deg=0.0))
places = st.lists(st.tuples(*[st.floats(-500, 500)] * 2), min_size=2, max_size=12)


@pytest.mark.parametrize(
    ("length_m", "seconds"),
    [(300, 41.5), (32, 8.0), (8, 4.0), (0.5, 1.0), (0, 0.0)],
)
def test_a_leg_takes_a_trapezoid_or_a_triangle(length_m: float, seconds: float) -> None:
    assert path_seconds([[0, 0], [length_m, 0]], STILL) == pytest.approx(seconds)


def test_eight_lines_over_a_rectangle_take_what_was_published_for_them() -> None:
    # Eight lines of 300 m, 25.96 m apart: 396 s and 14 turns in the comparison of planners.
    points = []
    for row in range(8):
        ends = [(0.0, row * 25.96), (300.0, row * 25.96)]
        points += ends if row % 2 == 0 else ends[::-1]
    assert path_seconds(points, STILL) == pytest.approx(396.4, abs=0.1)


def test_points_within_5_cm_and_bends_below_2_degrees_do_not_stop_the_drone() -> None:
    bend = 100 * math.tan(math.radians(1.9))
    assert len(merged([[0, 0], [0.04, 0], [100, 0], [200, bend]])[0]) == 2
    bend = 100 * math.tan(math.radians(2.1))
    assert len(merged([[0, 0], [100, 0], [200, bend]])[0]) == 3


def test_a_merged_leg_keeps_the_lower_speed() -> None:
    corners, caps = merged([[0, 0], [50, 0], [100, 0], [100, 50]], [6.0, 5.0, 7.0])
    assert corners.tolist() == [[0, 0], [100, 0], [100, 50]]
    assert caps.tolist() == [5.0, 7.0]


def test_the_camera_slows_a_leg() -> None:
    assert path_seconds([[0, 0], [100, 0]], STILL, caps_m_s=[4.0]) == pytest.approx(27.0)


def test_the_wind_triangle_gives_head_tail_and_cross_wind_speeds() -> None:
    # Wind from the north at 6 m/s, 10 m/s through the air: 3-4-5 triangle across it.
    speeds = WINDY.ground_speed([[0, 1], [0, -1], [1, 0]])
    np.testing.assert_allclose(speeds, [4.0, 14.0, 8.0])


@given(places)
def test_a_way_takes_as_long_backwards_in_still_air(points: list[tuple[float, float]]) -> None:
    # Bends of nearly 2 degrees may merge differently from the other side.
    one, other = path_seconds(points, STILL), path_seconds(points[::-1], STILL)
    if len(merged(points)[0]) == len(merged(points[::-1])[0]) == len(points):
        assert one == pytest.approx(other)


@given(places)
def test_wind_never_saves_time_there_and_back(points: list[tuple[float, float]]) -> None:
    legs = np.diff(np.array(points), axis=0)
    calm = Motion(cruise_m_s=10.0)
    blown = Motion(
        cruise_m_s=100.0,
        acceleration_m_s2=2e4,
        max_airspeed_m_s=10.0,
        wind=Wind(speed_m_s=6.0, from_deg=70.0),
    )
    there_and_back = blown.leg_seconds(legs) + blown.leg_seconds(-legs)
    in_still_air = 2 * np.hypot(*legs.T) / calm.cruise_m_s
    assert np.all(there_and_back >= in_still_air - 1e-9)


def test_no_way_takes_no_time() -> None:
    assert path_seconds(np.empty((0, 2)), STILL) == 0
    assert path_seconds([[3, 4]], STILL) == 0


@pytest.mark.parametrize("name", ["cruise_m_s", "acceleration_m_s2", "max_airspeed_m_s"])
def test_a_drone_that_does_not_move_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="not positive"):
        Motion(**{name: 0.0})


def test_wind_stronger_than_the_drone_is_refused() -> None:
    with pytest.raises(InputError, match="carries away"):
        Motion(max_airspeed_m_s=10.0, wind=Wind(speed_m_s=10.0, from_deg=0.0))
    with pytest.raises(InputError, match="wind of -1"):
        Wind(speed_m_s=-1.0, from_deg=0.0)


@pytest.mark.parametrize("speed", [1.0, 2.9, 6.25, 8.0])
@pytest.mark.parametrize("length", [3.0, 9.6, 40.0, 200.0])
def test_a_leg_with_a_jerk_takes_what_integrating_it_takes(speed: float, length: float) -> None:
    """The acceleration rises at the jerk, is held, and falls again; so does the braking."""
    motion = Motion(cruise_m_s=speed, acceleration_m_s2=2.5, jerk_m_s3=1.0)
    top = min(speed, float(motion.reached_m_s(length)))
    peak = min(2.5, math.sqrt(top))
    ramp = top / peak + peak
    t = np.linspace(0.0, ramp, 100_001)
    acceleration = np.minimum(np.minimum(t, ramp - t), peak)
    v = np.concatenate([[0.0], np.cumsum((acceleration[1:] + acceleration[:-1]) / 2)]) * t[1]
    way = float(((v[1:] + v[:-1]) / 2).sum() * t[1])
    assert v[-1] == pytest.approx(top, rel=1e-4)
    assert motion.ramp_s(top) == pytest.approx(ramp)
    expected = 2 * ramp + (length - 2 * way) / top
    assert float(motion.leg_seconds([length, 0.0])) == pytest.approx(expected, rel=1e-4)


def test_an_infinite_jerk_is_none() -> None:
    stiff = Motion(jerk_m_s3=1e9)
    for length in (0.0, 3.0, 32.0, 200.0):
        expected = float(STILL.leg_seconds([length, 0.0]))
        assert float(stiff.leg_seconds([length, 0.0])) == pytest.approx(expected, abs=1e-4)


def test_a_short_run_in_costs_time_only_where_legs_are_shaped_alone() -> None:
    alone = Motion(acceleration_m_s2=2.5, jerk_m_s3=1.0, legs_alone=True)
    # Half of 5 m: 1.84 m/s by an acceleration that rises and falls for 1.36 s each.
    assert float(alone.reached_m_s(5.0)) == pytest.approx(2.5 ** (2 / 3))
    assert 0.5 < alone.run_lost_s(5.0, 2.9) < 1.5
    assert alone.run_lost_s(100.0, 2.9) == alone.run_lost_s(0.0, 2.9) == 0.0
    assert Motion(acceleration_m_s2=2.5, jerk_m_s3=1.0).run_lost_s(5.0, 2.9) == 0.0
