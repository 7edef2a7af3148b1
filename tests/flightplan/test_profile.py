"""The flown way over the ground."""

import numpy as np
import pytest

from flightplan.terrain.profiles import profile_along
from flightplan.terrain.terrain import Terrain
from tmp.errors import InputError


def cliff() -> Terrain:
    """100 m until x = 600, then 40."""
    x = np.arange(1200) + 0.5
    heights = np.broadcast_to(np.where(x < 600, 100.0, 40.0), (20, 1200)).astype(np.float32)
    return Terrain(heights=heights, x_min=0, y_max=20, cell_m=1, datum="test")


def test_a_way_that_cuts_a_cliff_shows_how_low_it_passes() -> None:
    """From 50 m above the plateau straight down to 50 m above its foot, 100 m on."""
    profile = profile_along([[0, 10, 150], [550, 10, 150], [650, 10, 90], [1200, 10, 90]], cliff())
    lowest = profile.height_agl_m.argmin()
    assert profile.place[lowest, 0] == pytest.approx(599, abs=1.0)
    assert profile.height_agl_m[lowest] == pytest.approx(150 - 60 * 49.5 / 100 - 100, abs=0.7)
    np.testing.assert_allclose(profile.waypoint_m, [0, 550, 650, 1200])


def test_samples_are_never_further_apart_than_asked() -> None:
    profile = profile_along([[0, 1, 60], [33.3, 5, 60], [40, 19, 60]], cliff(), step_m=0.7)
    assert np.diff(profile.distance_m).max() <= 0.7


def test_a_climb_on_the_spot_keeps_both_heights_and_legs_their_purpose() -> None:
    profile = profile_along(
        [[5, 5, 100], [5, 5, 160], [9, 5, 160]], cliff(), surveying=[False, True]
    )  # fmt: skip
    np.testing.assert_allclose(profile.height_agl_m[:2], [0, 60])
    assert not profile.surveying[:2].any()
    assert profile.surveying[2:].all()


def test_a_single_waypoint_is_refused() -> None:
    with pytest.raises(InputError, match="no length"):
        profile_along([[0, 0, 60]], cliff())


def test_a_way_off_the_terrain_is_refused() -> None:
    with pytest.raises(InputError, match="no ground height"):
        profile_along([[0, 5, 60], [0, 500, 60]], cliff())
