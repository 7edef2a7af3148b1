import numpy as np
import pytest

from flightplan.coverage.routes import Line, Route, route_path, route_seconds
from flightplan.equipment.flight_model import Motion

TWO_LINES = Route(
    lines=(
        Line(start=(0, 0), end=(80, 0), photos=6, run_in_m=16, run_out_m=16),
        Line(start=(80, 32), end=(0, 32), photos=6),
    ),
    transits=(np.array([[80, 0], [96, 0], [96, 32], [80, 32]], float),),
    time_s=0.0,
)


def test_run_ins_lines_and_transits_are_timed_as_one_way() -> None:
    # Legs of 112, 32 and 96 m at 8 m/s and 2 m/s²: 18 + 8 + 16 s, and two corners.
    assert route_seconds(TWO_LINES, Motion()) == pytest.approx(44.0)


def test_a_slow_line_slows_no_other() -> None:
    # The first leg at 4 m/s takes 112 / 4 + 2 s.
    assert route_seconds(TWO_LINES, Motion(), caps_m_s=[4, 8]) == pytest.approx(56.0)


def test_the_way_starts_with_the_run_in() -> None:
    way = route_path(TWO_LINES)
    assert way[0].tolist() == [-16, 0]
    assert way[-1].tolist() == [0, 32]


def test_no_line_is_no_way() -> None:
    nothing = Route(lines=(), transits=(), time_s=0.0)
    assert len(route_path(nothing)) == 0
    assert route_seconds(nothing, Motion()) == 0
