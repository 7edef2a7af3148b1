"""Energy of flight from published endurance."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightplan.equipment.catalogue import read_catalogue
from flightplan.equipment.flight_model import (
    AIR_KG_M3,
    GRAVITY_M_S2,
    Airframe,
    Battery,
    Motion,
    Wind,
    airframe_of,
    climb_joules,
    economical_m_s,
    leg_airspeeds,
    path_joules,
    path_seconds,
    power_w,
    standing_w,
    vertical,
)
from tmp.errors import InputError

DRONES = tuple(read_catalogue().drones.values())
MINI = read_catalogue().drone("Mini 4 Pro")

ZENG = Airframe(mass_kg=20 / 9.80665, disc_m2=0.503, drag_m2=0.0151, hover_w=168.5, share=0.526)
"""Zeng et al. 2019, table I: W = 20 N, A = 0.503 m², d0 s A = 0.0151 m², 79.86 + 88.63 W."""


@pytest.mark.parametrize("drone", DRONES, ids=lambda drone: drone.key)
def test_hover_lasts_as_long_as_published(drone) -> None:
    frame = airframe_of(drone)
    assert drone.battery_wh * 60 / power_w(frame, 0.0) == pytest.approx(drone.hover_min)


@pytest.mark.parametrize(
    "drone", [d for d in DRONES if not math.isnan(d.cruise_min)], ids=lambda drone: drone.key
)
def test_cruise_lasts_as_long_as_published(drone) -> None:
    """One figure is fitted, the induced share, and it must come out as it does in the books."""
    frame = airframe_of(drone)
    minutes = drone.battery_wh * 60 / power_w(frame, drone.cruise_m_s)
    assert minutes == pytest.approx(drone.cruise_min, rel=1e-6)
    assert 0.25 < frame.share < 0.7


@pytest.mark.parametrize("drone", DRONES, ids=lambda drone: drone.key)
def test_no_speed_flies_a_way_with_less_energy_than_the_economical_one(drone) -> None:
    frame = airframe_of(drone)
    best = economical_m_s(frame, 30.0)
    joules = [power_w(frame, v) / v for v in (best - 1.0, best, best + 1.0)]
    assert min(joules) == joules[1]
    assert economical_m_s(frame, 4.0) == 4.0


def test_the_induced_speed_at_hover_is_that_of_the_paper() -> None:
    """Zeng et al. 2019, table I: 4.03 m/s."""
    assert ZENG.induced_m_s == pytest.approx(4.03, abs=0.01)


def test_power_falls_to_its_least_near_ten_metres_a_second_as_in_the_paper() -> None:
    """Zeng et al. 2019, figure 2: least about 126 W near 10 m/s; induced power by the same
    formula, drag here without propulsive losses of its own."""
    speeds = np.linspace(0, 20, 401)
    power = power_w(ZENG, speeds)
    assert speeds[np.argmin(power)] == pytest.approx(9.0, abs=1.5)
    assert power.min() == pytest.approx(126, rel=0.1)


def test_induced_power_far_above_hover_speed_falls_as_one_over_speed() -> None:
    """Glauert's limit, v_i = v_h² / v (Leishman 2006, equation 2.132)."""
    frame = replace(ZENG, drag_m2=0.0, share=1.0)
    v = 60.0
    assert power_w(frame, v) / 168.5 == pytest.approx(frame.induced_m_s / v, rel=0.01)


@pytest.mark.parametrize("v", [3.0, 10.0, 25.0])
def test_the_thrust_is_the_momentum_that_the_tilted_disc_gives_the_air(v: float) -> None:
    """Glauert 1926: T = 2 ρ A U v_i, U the air that comes from ahead and what the disc adds."""
    frame = replace(ZENG, share=1.0)
    rest = power_w(replace(frame, share=0.0), v) - frame.hover_w
    thrust_n = np.array([0.5 * AIR_KG_M3 * frame.drag_m2 * v**2, frame.mass_kg * GRAVITY_M_S2])
    weights = np.linalg.norm(thrust_n) / thrust_n[1]
    induced_m_s = (power_w(frame, v) - rest) / frame.hover_w / weights * frame.induced_m_s
    through = np.array([-v, 0.0]) - induced_m_s * thrust_n / np.linalg.norm(thrust_n)
    momentum_n = 2 * AIR_KG_M3 * frame.disc_m2 * np.linalg.norm(through) * induced_m_s
    assert momentum_n == pytest.approx(np.linalg.norm(thrust_n), rel=1e-6)


def test_a_climb_costs_its_height_at_half_efficiency() -> None:
    frame = airframe_of(MINI)
    seconds, joules = vertical(MINI, frame, 100.0)
    assert seconds == pytest.approx(100 / 5 + 100 / 5)
    assert joules == pytest.approx(40 * standing_w(frame, None) + 0.249 * 9.80665 * 100 / 0.5)


def test_flying_into_the_wind_is_flying_faster_through_the_air() -> None:
    wind = Wind(speed_m_s=5.0, from_deg=0.0)
    north, east = [0.0, 100.0], [100.0, 0.0]
    assert leg_airspeeds([north, east], [8.0, 8.0], wind) == pytest.approx([13, math.hypot(8, 5)])


def test_a_leg_too_short_for_cruise_is_all_speeding_up_and_braking() -> None:
    """At 8 m/s forward flight costs less than standing: none of it may be charged at that."""
    frame, motion = airframe_of(MINI), Motion(cruise_m_s=8.0, acceleration_m_s2=2.0, corner_s=1.0)
    hover = standing_w(frame, None)
    assert float(power_w(frame, 8)) < hover
    # 8 m: half of it in 2 s of speeding up at 2 m/s², half in 2 s of braking.
    assert path_joules([[0, 0], [8, 0]], motion, frame) == pytest.approx(4 * hover)


def test_a_square_costs_its_times_at_their_powers() -> None:
    frame, motion = airframe_of(MINI), Motion(cruise_m_s=8.0, acceleration_m_s2=2.0, corner_s=1.0)
    square = [[0, 0], [80, 0], [80, 80], [0, 80], [0, 0]]
    hover, moving = float(power_w(frame, 0)), float(power_w(frame, 8))
    # 80 m: 4 s of speeding up, 48 m in 6 s at cruise, 4 s of braking.
    expected = 4 * (6 * moving + 8 * max(hover, moving)) + 3 * hover
    assert path_joules(square, motion, frame) == pytest.approx(expected)
    assert path_seconds(square, motion) == pytest.approx(4 * 14 + 3)


@given(speed=st.floats(0.5, 7.5), course=st.floats(0, 360))
def test_wind_never_saves_energy_over_a_way_there_and_back(speed: float, course: float) -> None:
    """Beyond the speed of least power, that is, where surveys are flown."""
    frame = airframe_of(MINI)
    away = 500 * np.array([math.sin(math.radians(course)), math.cos(math.radians(course))])
    there_and_back = np.array([[0.0, 0.0], away, [0.0, 0.0]])
    still = Motion(cruise_m_s=10.0)
    windy = Motion(cruise_m_s=10.0, wind=Wind(speed_m_s=speed, from_deg=270.0))
    assert path_joules(there_and_back, windy, frame) >= 0.999 * path_joules(
        there_and_back, still, frame
    )


def test_climbing_costs_more_and_sinking_no_less() -> None:
    assert climb_joules(airframe_of(MINI), 30) == pytest.approx(0.249 * 9.80665 * 30 / 0.5)
    assert climb_joules(airframe_of(MINI), -30) == 0.0


def test_no_way_costs_nothing() -> None:
    assert path_joules(np.empty((0, 2)), Motion(), airframe_of(MINI)) == 0.0
    assert path_joules([[3.0, 4.0]], Motion(), airframe_of(MINI)) == 0.0


@pytest.mark.parametrize(("reserve", "health"), [(0.9, 0.9), (0.5, 0.3), (-0.1, 1), (0.2, 1.1)])
def test_a_battery_with_nothing_to_spend_is_refused(reserve: float, health: float) -> None:
    with pytest.raises(InputError, match="battery"):
        Battery(reserve=reserve, health=health)
