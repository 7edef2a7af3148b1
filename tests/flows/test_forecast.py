from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.engine.cost import Forecast
from tmp.progress import silent

EXPECTED_S = {
    "features": 30.0,
    "matches": 10.0,
    "orientation": 20.0,
    "surface": 80.0,
    "ortho": 60.0,
}
TOLD = {"features", "surface", "ortho"}
"""Stages that tell how far they are."""
STEPS = 20


def simulated(speeds: dict[str, float]) -> list[tuple[float, float]]:
    """Run stages that take so many times what the model says; return true and foreseen rests."""
    clock = [0.0]
    forecast = Forecast(EXPECTED_S, now_s=lambda: clock[0])
    total = sum(EXPECTED_S[stage] * speeds[stage] for stage in EXPECTED_S)
    seen = [(total, forecast.left_s())]
    for stage, expected_s in EXPECTED_S.items():
        forecast.begin(stage)
        for step in range(1, STEPS + 1):
            clock[0] += expected_s * speeds[stage] / STEPS
            if stage in TOLD:
                forecast.reach(step / STEPS)
            seen.append((total - clock[0], forecast.left_s()))
        forecast.end(stage)
        seen.append((total - clock[0], forecast.left_s()))
    return seen


@pytest.mark.parametrize("factor", [1 / 3, 1.0, 3.0])
def test_a_machine_three_times_slower_or_faster_is_found_out(factor: float) -> None:
    seen = simulated(dict.fromkeys(EXPECTED_S, factor))
    whole_s = seen[0][0]
    for stages, within in ((1, 0.25), (3, 0.1)):  # done
        for true_s, foreseen_s in seen[stages * (STEPS + 1) :]:
            assert abs(foreseen_s - true_s) < within * whole_s
    assert seen[-1][1] == pytest.approx(0.0, abs=1e-6)


@given(st.lists(st.floats(1 / 3, 3.0), min_size=5, max_size=5))
def test_whatever_single_stages_take_the_end_is_near_when_it_is_said_to_be(
    speeds: list[float],
) -> None:
    seen = simulated(dict(zip(EXPECTED_S, speeds, strict=True)))
    whole_s = seen[0][0]
    for true_s, foreseen_s in seen[-STEPS // 2 :]:  # the last stage, when half of it is done
        assert abs(foreseen_s - true_s) < 0.1 * whole_s
    assert all(foreseen_s >= 0 for _, foreseen_s in seen)


@pytest.mark.parametrize(("factor", "growth"), [(1 / 3, 0.0), (1.0, 0.002), (3.0, 0.05)])
def test_the_time_left_hardly_ever_grows_once_the_machine_is_known(
    factor: float, growth: float
) -> None:
    seen = simulated(dict.fromkeys(EXPECTED_S, factor))
    left = [foreseen_s for _, foreseen_s in seen[len(seen) // 3 :]]
    steps = [later - earlier for earlier, later in pairwise(left)]
    assert max(steps) <= growth * seen[0][0] + 1e-6


def test_stages_with_nothing_to_do_take_no_time_and_say_nothing_of_the_machine() -> None:
    forecast = Forecast(EXPECTED_S, now_s=lambda: 0.0)
    for stage in ("features", "matches", "orientation"):
        forecast.end(stage)
    assert forecast.left_s() == pytest.approx(140.0)


def test_only_the_loop_over_a_stages_own_items_tells_how_far_it_is() -> None:
    clock = [0.0]
    forecast = Forecast({"surface": 100.0}, now_s=lambda: clock[0])
    forecast.begin("surface")
    track = forecast.watch(silent, "Measuring the surface")
    for _ in track(range(10), "Decoding photographs", 10):
        clock[0] += 1.0
    before = forecast.left_s()
    assert before == pytest.approx(90.0)
    for number in track(range(10), "Measuring the surface", 10):
        clock[0] += 1.0
        if number == 5:
            break
    assert forecast.left_s() < before
