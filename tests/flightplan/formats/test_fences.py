"""Fences with few corners never let the drone where it was not allowed."""

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon

from flightplan.formats.geometry import MOST_CORNERS, Fence, fence_of
from tmp.errors import InputError
from tmp.geo.frames import PlanFrame

FRAME = PlanFrame(lon_deg=10.8, lat_deg=46.86)


def test_closing_corners_of_a_fence_do_not_count():
    triangle = Polygon([(0, 0), (1, 0), (0, 1)])
    assert Fence(inside=(shapely.box(0, 0, 9, 9),), outside=(triangle,)).corners == 7


def wobbly(centre, radius_m, corners, wobble_m, seed):
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radii = radius_m + np.random.default_rng(seed).uniform(-wobble_m, wobble_m, corners)
    points = np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None] + centre
    return FRAME.to_geodetic(Polygon(points))


def test_a_simple_fence_stays_as_it_is(mission):
    fence = fence_of(mission)
    assert fence.inside == (mission.fence,)
    assert fence.outside == mission.exclusions


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), corners=st.integers(70, 400))
def test_a_simplified_fence_is_on_the_safe_side(flown, seed, corners):
    mission = flown.lawnmower()
    drawn = wobbly((40.0, 0.0), 400.0, corners, 1.5, seed)
    pond = wobbly((250.0, 0.0), 40.0, corners, 0.4, seed)
    fence = fence_of(replace(mission, fence=drawn, exclusions=(pond,)))
    assert fence.corners <= MOST_CORNERS
    assert drawn.buffer(1e-9).covers(fence.inside[0])
    assert fence.outside[0].buffer(1e-9).covers(pond)
    path = shapely.LineString([(w.lon_deg, w.lat_deg) for w in mission.waypoints])
    assert fence.inside[0].covers(path)
    assert not fence.outside[0].intersects(path)


def test_holes_of_the_fence_are_kept_out_of(mission):
    hole = shapely.affinity.translate(mission.exclusions[0], 0.0, -0.001)
    fence = fence_of(
        replace(mission, fence=Polygon(mission.fence.exterior, [hole.exterior]), exclusions=())
    )
    assert fence.outside[0].equals(hole)


def test_a_fence_too_close_to_be_simplified_is_refused(mission):
    path = shapely.LineString([(w.lon_deg, w.lat_deg) for w in mission.waypoints])
    tight = FRAME.to_geodetic(FRAME.to_plan(path).buffer(0.05, quad_segs=40))
    with pytest.raises(InputError, match="corners and an autopilot holds 60"):
        fence_of(replace(mission, fence=tight, exclusions=()))
