"""Overlaps between footprints on the ground."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flightplan.coverage.routes import Line
from flightplan.proof.footprints import Photos, border_rays, cast, measure_laps
from flightplan.terrain.terrain import Terrain
from tmp.cameras import Camera

CAMERA = Camera(
    camera_id="even", width_px=4000, height_px=3000, fx_px=3000, fy_px=3000, cx_px=2000, cy_px=1500
)  # fmt: skip
WIDE = (-500.0, -500.0, 500.0, 500.0)


def lines(heading_deg: float, front_m: float, side_m: float) -> list[Line]:
    """Three lines of five photographs to and fro about the origin."""
    course = np.radians(heading_deg)
    ahead = np.array([np.sin(course), np.cos(course)])
    right = np.array([ahead[1], -ahead[0]])
    made = []
    for number in range(3):
        foot = (number - 1) * side_m * right
        start, end = foot - 2 * front_m * ahead, foot + 2 * front_m * ahead
        line = Line(start=tuple(start.tolist()), end=tuple(end.tolist()), photos=5)
        made.append(line if number != 1 else line.reversed())
    return made


@settings(max_examples=20, deadline=None)
@given(heading=st.floats(0, 360), front=st.floats(0.3, 0.9), side=st.floats(0.2, 0.9))
def test_overlaps_on_level_ground_are_those_flown(
    heading: float, front: float, side: float
) -> None:
    """At 60 m the footprint is 80 × 60 m."""
    flown = lines(heading, (1 - front) * 60, (1 - side) * 80)
    photos = Photos.on_lines(flown, lambda xy: np.full(len(xy), 160.0))
    laps = measure_laps(photos, CAMERA, Terrain.flat(WIDE, height_m=100))
    assert laps.front.shape == (12,)
    assert laps.side.shape == (10,)
    np.testing.assert_allclose(laps.front, front, atol=1e-3)
    np.testing.assert_allclose(laps.side, side, atol=1e-3)


def test_a_ridge_between_lines_takes_sidelap_as_the_rule_says() -> None:
    """70 % at 60 m over a plateau 25 m higher is 1 - 0.3 · 60 / 35 = 48.6 %."""
    photos = Photos.on_lines(lines(0, 12, 24), lambda xy: np.full(len(xy), 60.0))
    laps = measure_laps(photos, CAMERA, Terrain.flat(WIDE, height_m=25))
    np.testing.assert_allclose(laps.side, 1 - 0.3 * 60 / 35, atol=1e-3)


def test_a_double_grid_is_measured_family_by_family() -> None:
    flown = lines(0, 12, 24) + lines(90, 12, 24)
    photos = Photos.on_lines(flown, lambda xy: np.full(len(xy), 60.0))
    laps = measure_laps(photos, CAMERA, Terrain.flat(WIDE))
    np.testing.assert_allclose(laps.side, 0.7, atol=1e-3)
    # Not where a photograph of the other grid stands in the middle between two.
    assert laps.side.shape == (8,)


def test_the_arms_of_a_u_are_no_neighbours_across_what_joins_them() -> None:
    arms = [Line(start=(x, 0.0), end=(x, 120.0), photos=11) for x in (0.0, 24.0, 150.0, 174.0)]
    base = [Line(start=(-12.0, y), end=(186.0, y), photos=17) for y in (0.0, 24.0)]
    photos = Photos.on_lines(arms + base, lambda xy: np.full(len(xy), 60.0))
    laps = measure_laps(photos, CAMERA, Terrain.flat(WIDE))
    low = laps.side_at[laps.side < 0.7 - 1e-3]
    # What is left lies in the notch, which is none of the area.
    assert len(low)
    assert low[:, 1].min() > 30.0
    assert np.abs(low[:, 0] - 87.0).max() < 1.0


def test_a_short_line_between_two_is_the_neighbour_of_both_only_as_far_as_it_goes() -> None:
    whole = [Line(start=(x, 0.0), end=(x, 120.0), photos=11) for x in (0.0, 48.0)]
    short = Line(start=(24.0, 60.0), end=(24.0, 120.0), photos=6)
    photos = Photos.on_lines([*whole, short], lambda xy: np.full(len(xy), 60.0))
    laps = measure_laps(photos, CAMERA, Terrain.flat(WIDE))
    # Before it begins the two are neighbours, and too far apart; less than half of their distance
    # before it, it is still nearer.
    far = laps.side < 0.5
    np.testing.assert_allclose(laps.side[far], 1 - 48 / 80, atol=1e-3)
    assert laps.side_at[far, 1].max() < 60 - 0.8 * 24
    np.testing.assert_allclose(laps.side[~far], 0.7, atol=1e-3)


def test_lines_beyond_a_gap_do_not_count_as_neighbours_of_their_own_continuation() -> None:
    pieces = [
        Line(start=(0, y), end=(40, y), photos=5) for y in (0.0, 30.0)
    ] + [Line(start=(200, y), end=(240, y), photos=5) for y in (0.0, 30.0)]  # fmt: skip
    photos = Photos.on_lines(pieces, lambda xy: np.full(len(xy), 60.0))
    laps = measure_laps(photos, CAMERA, Terrain.flat(WIDE))
    assert laps.side.shape == (10,)
    np.testing.assert_allclose(laps.side, 1 - 30 / 80, atol=1e-3)


def test_a_footprint_on_a_slope_is_that_of_the_plane() -> None:
    """On ground rising 1 in 4 to the east the ray 45° down meets it at 60 / (1 + 0.25) = 48 m."""
    x = -500 + np.arange(200) * 5 + 2.5
    slope = np.broadcast_to(0.25 * x, (200, 200)).astype(np.float32)
    ground = Terrain(heights=slope, x_min=-500, y_max=500, cell_m=5, datum="test")
    photo = Photos(
        position=np.array([[0.0, 0.0, 60.0]]),
        heading_deg=np.array([90.0]),
        pitch_deg=np.array([-90.0]),
        line=np.array([0]),
    )
    hit = cast(photo, [[0.0, -1.0, 1.0]], ground)[0, 0]
    np.testing.assert_allclose(hit, [48, 0, 12], atol=0.05)


def test_border_rays_run_clockwise_from_the_top_left() -> None:
    rays = border_rays(CAMERA, 1)
    np.testing.assert_allclose(
        rays[:, :2], [[-2 / 3, -0.5], [2 / 3, -0.5], [2 / 3, 0.5], [-2 / 3, 0.5]], atol=1e-9
    )
