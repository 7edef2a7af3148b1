"""Bounds of law and good sense on a plan."""

import math
from dataclasses import replace

import numpy as np
import pytest
import shapely

from flightplan.equipment.catalogue import read_catalogue
from flightplan.proof.rules import RULES, PlanFacts, RuleLimits, Severity, check_plan, refuse
from tmp.errors import InputError

MINI = read_catalogue().drone("Mini 4 Pro")
SQUARE = shapely.box(0, 0, 400, 400)
GOOD = PlanFacts(
    drone=MINI,
    height_agl_m=(55.0, 65.0),
    farthest_m=450.0,
    speed_m_s=7.0,
    photo_m=16.2,
    least_interval_s=2.0,
    blur_px=0.4,
    rolling_px=2.0,
    frontlap=0.8,
    sidelap=0.7,
    wind_m_s=5.0,
    points=60,
    energy_share=0.6,
    paths=(np.array([[10.0, 10.0], [390.0, 10.0], [390.0, 200.0]]),),
    launches=((200.0, 200.0),),
    area=SQUARE,
    fence=SQUARE.buffer(20),
)


def test_a_good_plan_breaks_no_rule() -> None:
    assert check_plan(GOOD) == ()
    assert check_plan(PlanFacts(drone=MINI)) == ()


@pytest.mark.parametrize(
    ("change", "rule", "severity", "value", "limit"),
    [
        ({"height_agl_m": (50.0, 121.0)}, "height", "refuse", 121.0, 120.0),
        ({"height_agl_m": (8.0, 60.0)}, "low", "refuse", 8.0, 10.0),
        ({"farthest_m": 700.0}, "sight", "warn", 700.0, 500.0),
        ({"speed_m_s": 11.8, "photo_m": 40.0}, "speed", "refuse", 11.8, 11.5),
        ({"speed_m_s": 8.5}, "interval", "refuse", 8.5, 8.1),
        ({"speed_m_s": 8.0}, "interval", "warn", 8.0, 0.95 * 8.1),
        ({"blur_px": 1.5}, "blur", "warn", 1.5, 1.0),
        ({"rolling_px": 9.0}, "rolling-shutter", "warn", 9.0, 5.0),
        ({"frontlap": 0.5}, "overlap", "warn", 0.5, 0.7),
        ({"sidelap": 0.5}, "overlap", "warn", 0.5, 0.6),
        ({"wind_m_s": 8.0}, "wind", "warn", 8.0, 10.7 * 2 / 3),
        ({"wind_m_s": 11.0}, "wind", "refuse", 11.0, 10.7),
        ({"points": 91}, "points", "refuse", 91, 90),
        ({"energy_share": 0.7}, "battery", "refuse", 0.7, 0.65),
        ({"paths": (np.array([[0.0, 0.0], [500.0, 0.0]]),)}, "fence", "refuse", 80.0, 0.0),
        ({"exclusions": (shapely.box(50, 0, 150, 20),)}, "exclusion", "refuse", 100.0, 0.0),
        ({"exclusions": (shapely.box(170, 150, 300, 300),)}, "takeoff", "refuse", 30.0, 0.0),
        ({"launches": ((200.0, 450.0),)}, "takeoff", "refuse", 30.0, 0.0),
    ],
)
def test_each_rule_finds_its_own_breach(
    change: dict[str, object], rule: str, severity: str, value: float, limit: float
) -> None:
    (found,) = check_plan(replace(GOOD, **change))
    assert (found.rule, found.severity) == (rule, severity)
    assert (found.value, found.limit) == pytest.approx((value, limit))
    assert rule in RULES
    assert found.overridable_by == f"--allow {rule}"
    assert "\n" not in found.line
    assert found.line.startswith(f"{severity}: ")


def test_a_pitch_beyond_the_gimbal_is_refused() -> None:
    drone = replace(MINI, gimbal_deg=(-90.0, -60.0))
    (found,) = check_plan(replace(GOOD, drone=drone, pitch_deg=-45.0))
    assert found.rule == "gimbal"


def test_area_out_of_sight_is_named_with_its_share() -> None:
    far = replace(GOOD, area=shapely.box(0, 0, 1400, 400))
    (found,) = check_plan(far)
    assert found.rule == "sight-area"
    # Beyond 500 m of (200, 200): from x = 700 less the bulge of the circle.
    bulge = 400 * 500 - (500**2 * math.asin(0.4) + 200 * math.sqrt(500**2 - 200**2))
    assert found.value == pytest.approx((700 * 400 + bulge) / (1400 * 400), abs=2e-3)


def test_law_elsewhere_sets_other_bounds() -> None:
    high = replace(GOOD, height_agl_m=(100.0, 140.0))
    assert check_plan(high, RuleLimits(height_agl_m=150.0)) == ()


def test_refusals_come_first_and_stop_the_plan_with_the_way_out() -> None:
    findings = check_plan(replace(GOOD, height_agl_m=(5.0, 130.0), farthest_m=800.0))
    assert [finding.severity for finding in findings] == ["refuse", "refuse", "warn"]
    with pytest.raises(InputError, match=r"130 m above .*, or --allow height \(1 more refusals\)"):
        refuse(findings)


def test_an_overridden_rule_stays_in_the_list_and_stops_nothing() -> None:
    findings = check_plan(replace(GOOD, height_agl_m=(50.0, 130.0)), allowed=["height"])
    assert [finding.overridden for finding in findings] == [True]
    assert findings[0].severity is Severity.REFUSE
    assert findings[0].line.startswith("allowed: ")
    refuse(findings)


def test_a_rule_that_does_not_exist_cannot_be_overridden() -> None:
    with pytest.raises(InputError, match="rule 'hight' is not known; choose from height, low"):
        check_plan(GOOD, allowed=["hight"])
