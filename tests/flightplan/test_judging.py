"""Certificates: what fails, where, and how it is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flightplan.proof.certificate import Asked, certify, write_certificate
from flightplan.proof.footprints import Laps
from flightplan.proof.prove import Coverage, whereabouts
from flightplan.terrain.profiles import profile_along
from flightplan.terrain.terrain import Terrain
from tmp.errors import InputError
from tmp.geo.frames import PlanFrame
from tmp.geo.grids import Grid


def coverage(count: np.ndarray, gsd_m: float = 0.02) -> Coverage:
    grid = Grid(crs=None, x_min=0, y_max=float(count.shape[0]), cell_m=1, rows=count.shape[0],
                cols=count.shape[1])  # fmt: skip
    return Coverage(
        grid=grid,
        inside=np.ones(count.shape, bool),
        ground_m=np.zeros(count.shape, np.float32),
        count=count.astype(np.uint16),
        oblique=np.zeros(count.shape, np.uint16),
        gsd_m=np.where(count > 0, gsd_m, np.inf).astype(np.float32),
        height_agl_m=np.full(count.shape, 60, np.float32),
    )


def test_a_plan_that_reaches_all_that_is_asked_passes() -> None:
    laps = Laps(front=np.array([0.8]), front_at=np.zeros((1, 2)), side=np.array([0.7]),
                side_at=np.zeros((1, 2)), side_lines=np.zeros((1, 2), int))  # fmt: skip
    way = profile_along([[0, 5, 60], [10, 5, 62]], Terrain.flat((0, 0, 10, 10)))
    certificate = certify(
        Asked(photographs=9, gsd_m=0.02, frontlap=0.8, sidelap=0.7, least_height_agl_m=58,
              most_height_agl_m=62, clearance_m=30),
        coverage(np.full((10, 10), 9)),
        laps=laps,
        profiles=[way],
        photographs=12,
    )  # fmt: skip
    assert certificate.passed
    assert certificate.sentence == "Passes all 7 checks."
    assert [check.share_failing for check in certificate.checks] == [0.0] * 7


def test_too_few_photographs_fail_with_share_worst_and_place() -> None:
    """6 of 100 cells in the north-east corner, in one piece, the worst seen twice."""
    count = np.full((10, 10), 12)
    count[0:2, 7:10] = 5
    count[1, 8] = 2
    frame = PlanFrame(lon_deg=8.0, lat_deg=50.0)
    certificate = certify(Asked(photographs=9), coverage(count), photographs=3, frame=frame)
    check = certificate.checks[0]
    assert not certificate.passed
    assert check.worst == 2
    assert check.share_failing == pytest.approx(0.06)
    assert "6.0% of the area" in check.sentence
    (spot,) = check.places
    assert (spot.x_m, spot.y_m, spot.value, spot.area_m2) == (8.5, 8.5, 2, 6)
    assert spot.where == "north-east corner"
    assert spot.lat_deg == pytest.approx(50.0 + 8.5 / 111_229, abs=1e-7)
    assert certificate.sentence == "Fails: photographs of each place."


def test_coarse_ground_fails_and_ground_not_seen_does_not_count_twice() -> None:
    seen = coverage(np.full((10, 10), 9), gsd_m=0.021)
    gsd = seen.gsd_m.copy()
    gsd[0, 0] = np.inf
    certificate = certify(Asked(gsd_m=0.02), replace(seen, gsd_m=gsd), photographs=3)
    check = certificate.checks[1]
    assert not check.passed
    assert check.worst == pytest.approx(2.1, rel=1e-5)
    assert check.share_failing == 1.0


def test_overlaps_beyond_the_area_do_not_count() -> None:
    laps = Laps(front=np.array([0.8, 0.2]), front_at=np.array([[5.0, 5], [5, 12]]),
                side=np.array([0.6, 0.1]), side_at=np.array([[5.0, 5], [-3, 5]]),
                side_lines=np.zeros((2, 2), int))  # fmt: skip
    asked = Asked(frontlap=0.8, sidelap=0.7)
    certificate = certify(asked, coverage(np.full((10, 10), 1)), laps=laps, photographs=4)
    _, front, side = certificate.checks
    assert front.passed
    assert not side.passed
    assert side.worst == 0.6
    assert side.places[0].value == 0.6


def test_heights_are_judged_on_lines_and_clearance_on_the_whole_way() -> None:
    ground = Terrain.flat((0, 0, 100, 100))
    way = profile_along([[0, 5, 10], [50, 5, 60], [100, 5, 60]], ground, surveying=[False, True])
    asked = Asked(least_height_agl_m=55, most_height_agl_m=59, clearance_m=20)
    certificate = certify(asked, coverage(np.full((5, 5), 1)), profiles=[way], photographs=2)
    _, lowest, highest, clearance = certificate.checks
    assert lowest.passed
    assert not highest.passed
    assert highest.worst == 60
    assert highest.places[0].value == 60
    assert not clearance.passed
    assert clearance.worst == 10
    assert clearance.places[0].value == 10
    said = "Clearance on the whole way: 10.0 m; at least 20.0 m were asked, missed on"
    assert clearance.sentence.startswith(said)


def test_a_certificate_is_strict_json_even_where_nothing_was_seen(tmp_path: Path) -> None:
    certificate = certify(Asked(photographs=1, gsd_m=0.02), coverage(np.zeros((4, 4))),
                          photographs=0, repairs=["1 photograph added."])  # fmt: skip
    path = tmp_path / "certificate.json"
    write_certificate(path, certificate)
    read = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert read["passed"] is False
    assert read["checks"][1]["worst"] is None
    assert read["repairs"] == ["1 photograph added."]
    write_certificate(path, certificate)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((5, 5), "middle"),
        ((9, 9), "north-east corner"),
        ((1, 5), "west side"),
        ((5, 0), "south side"),
    ],
)
def test_places_are_told_in_words(place: tuple[float, float], words: str) -> None:
    assert whereabouts(*place, (0, 0, 10, 10)) == words


def test_an_overlap_in_percent_is_refused() -> None:
    with pytest.raises(InputError, match="not a fraction"):
        Asked(frontlap=80)


def test_asking_for_no_photographs_is_refused() -> None:
    with pytest.raises(InputError, match="prove nothing"):
        Asked(photographs=0)
