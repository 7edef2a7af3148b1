import math

import numpy as np
import pytest

from flightplan.coverage.spacing import Overlap
from flightplan.rehearsal.farm import AREA_M, CAMERA, FarmOptions, plan_stations
from flightplan.rehearsal.photographs import flown, fly_lines
from tmp.errors import InputError


def test_the_standard_survey_has_thirty_two_photographs_in_four_lines() -> None:
    stations = plan_stations(FarmOptions())
    assert len(stations) == 32
    assert sorted({s.yaw_deg for s in stations}) == [90.0, 270.0]
    assert len({round(s.position[1], 6) for s in stations}) == 4


def test_a_second_height_and_oblique_lines_add_stations() -> None:
    heights = {s.position[2] for s in plan_stations(FarmOptions(second_height=True))}
    assert max(heights) / min(heights) == pytest.approx(1.35)
    pitches = {s.pitch_deg for s in plan_stations(FarmOptions(oblique=True))}
    assert pitches == {-90.0, -62.0}


@pytest.mark.parametrize("heading", [0.0, 90.0])
def test_neighbours_overlap_at_least_as_asked(heading: float) -> None:
    overlap = Overlap(front=0.75, side=0.6)
    stations = fly_lines(AREA_M, CAMERA, 27.5, heading_deg=heading, overlap=overlap)
    here = np.array([s.position[:2] for s in stations])
    along = here @ [math.sin(math.radians(heading)), math.cos(math.radians(heading))]
    across = here @ [math.cos(math.radians(heading)), -math.sin(math.radians(heading))]
    footprint = 27.5 * np.array([CAMERA.height_px, CAMERA.width_px]) / CAMERA.fx_px
    for places, lap, size in ((along, 0.75, footprint[0]), (across, 0.6, footprint[1])):
        gaps = np.diff(np.unique(np.round(places, 6)))
        assert gaps.max() <= (1 - lap) * size + 1e-6


def test_oblique_lines_look_at_the_area_from_both_sides() -> None:
    stations = fly_lines(AREA_M, CAMERA, 27.5, heading_deg=0.0, pitch_deg=-60.0)
    for station in stations:
        forward = station.pose.rotation[2]
        target = station.pose.centre - forward * station.pose.centre[2] / forward[2]
        assert abs(target[1]) < AREA_M[1] / 2


def test_wind_moves_stations_by_the_stated_amount() -> None:
    planned = fly_lines((400.0, 400.0), CAMERA, 30.0, heading_deg=0.0)
    moved = flown(planned, np.random.default_rng(2), position_sigma_m=0.5)
    shift = np.array([m.position for m in moved]) - np.array([p.position for p in planned])
    assert shift.std() == pytest.approx(0.5, rel=0.1)


def test_an_overlap_in_percent_is_refused() -> None:
    with pytest.raises(InputError, match="frontlap 80 is not a fraction"):
        Overlap(front=80)


def test_flying_underground_is_refused() -> None:
    with pytest.raises(InputError, match="not above the ground"):
        fly_lines(AREA_M, CAMERA, -3.0, heading_deg=0.0)
