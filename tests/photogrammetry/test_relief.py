"""Pictures of relief: known values, a slow oracle, and the Relief Visualization Toolbox."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photogrammetry.relief.blend import FLAT, GENERAL, blend
from photogrammetry.relief.light import find_slopes, shade, shade_from_three_sides
from photogrammetry.relief.local import find_local_relief
from photogrammetry.relief.views import _ways, find_dominance, find_horizons

CELL_M = 0.1
TOLD = "the rival, by 'pip install --no-deps rvt-py' as its GDAL is not needed"


def rough(rows: int = 60, cols: int = 70, seed: int = 3) -> np.ndarray:
    """Rolling ground about 0 with a wall, a ditch and noise, float32."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :cols] * CELL_M
    height = 0.3 * np.sin(x) + 0.2 * np.cos(1.3 * y) + 0.01 * rng.normal(size=(rows, cols))
    height += 0.5 * (np.abs(x - 3) < 0.4) - 0.3 * (np.abs(y - 4) < 0.3)
    return height.astype(np.float32)


def with_halo(height: np.ndarray, halo: int) -> np.ndarray:
    return np.pad(height, halo, constant_values=np.nan)


def horizons_by_hand(height: np.ndarray, radius: int) -> np.ndarray:
    """Sky-view factor, positive and negative openness, angle by angle: slow and plain."""
    wide = with_halo(height.astype(float), radius)
    found = np.full((3, *height.shape), np.nan)
    for row, col in np.argwhere(np.isfinite(height)):
        angles = []
        for k in range(16):
            ups, downs, seen = [], [], set()
            for step in range(3, 3 * radius + 1):
                away = step / 3
                i = round(away * math.cos(2 * math.pi * k / 16))
                j = round(away * math.sin(2 * math.pi * k / 16))
                if (i, j) in seen:
                    continue
                seen.add((i, j))
                rise = wide[row + radius + i, col + radius + j] - height[row, col]
                if not math.isnan(rise):
                    angle = math.atan2(rise, CELL_M * math.hypot(i, j))
                    ups.append(angle)
                    downs.append(-angle)
            if ups:
                angles.append((math.sin(max(*ups, 0, 0)), max(ups), max(downs)))
        if angles:
            sky, up, down = np.mean(angles, axis=0)
            found[:, row, col] = 1 - sky, 90 - math.degrees(up), 90 - math.degrees(down)
    return found


def test_horizons_agree_with_the_oracle_at_borders_and_holes_too() -> None:
    height = rough(24, 26)
    height[5:9, 10:14] = np.nan
    height[0, :7] = np.nan
    found = find_horizons(with_halo(height, 6), CELL_M, 6)
    sky, above, below = horizons_by_hand(height, 6)
    assert np.array_equal(np.isnan(found.sky_view_factor), np.isnan(height))
    assert np.allclose(found.sky_view_factor, sky, atol=1e-5, equal_nan=True)
    assert np.allclose(found.positive_openness, above, atol=1e-4, equal_nan=True)
    assert np.allclose(found.negative_openness, below, atol=1e-4, equal_nan=True)


def test_a_cell_without_any_neighbour_sees_nothing() -> None:
    height = np.full((9, 9), np.nan, np.float32)
    height[4, 4] = 1.0
    found = find_horizons(with_halo(height, 3), CELL_M, 3)
    assert np.isnan(found.sky_view_factor).all()
    assert np.isnan(find_dominance(with_halo(height, 3), CELL_M, 3)).all()
    slopes = find_slopes(with_halo(height, 1), CELL_M)
    assert slopes.degrees[4, 4] == 0  # as far as is known


def test_from_the_middle_of_a_round_pit_the_sky_is_a_disc() -> None:
    """Walls at 45 degrees all about leave 1 - sin(45°) of the sky, and open 45° to it."""
    y, x = np.mgrid[-20:21, -20:21]
    height = np.where(np.hypot(x, y) >= 15, 1.5, 0).astype(np.float32)
    found = find_horizons(height, CELL_M, 20)
    # The wall's cells begin at 15 to 15.7 cells.
    assert found.sky_view_factor[0, 0] == pytest.approx(1 - math.sin(math.pi / 4), abs=0.01)
    assert found.positive_openness[0, 0] == pytest.approx(45, abs=1)
    assert found.negative_openness[0, 0] == pytest.approx(90)


@given(st.integers(2, 12), st.floats(-500, 5000), st.integers(0, 99))
def test_horizons_do_not_change_with_the_height_above_the_sea(
    halo: int, up_m: float, seed: int
) -> None:
    height = np.round(rough(30, 30, seed), 2)
    low = find_horizons(height, CELL_M, halo)
    high = find_horizons((height + np.float32(up_m)).astype(np.float32), CELL_M, halo)
    # float32 holds heights of 5 km to a quarter of a millimetre: 0.3 degrees over one cell.
    assert np.allclose(low.sky_view_factor, high.sky_view_factor, atol=6e-3)


def test_openness_of_a_crest_is_that_of_the_hollow_upside_down() -> None:
    height = rough()
    found = find_horizons(with_halo(height, 8), CELL_M, 8)
    turned = find_horizons(with_halo(-height, 8), CELL_M, 8)
    assert np.array_equal(found.positive_openness, turned.negative_openness)


@pytest.mark.parametrize("radius", [1, 2, 7, 50])
def test_the_cells_looked_at_reach_all_around_and_no_farther(radius: int) -> None:
    offsets, starts = _ways(radius)
    far = np.hypot(*offsets.T)
    assert far.min() >= 1
    assert far.max() <= radius + 0.71
    assert len(starts) == 17
    ways = [offsets[a:b] for a, b in itertools.pairwise(starts)]
    ends = {tuple(way[np.argmax(np.hypot(*way.T))]) for way in ways}
    assert len(ends) == (16 if radius > 1 else 8)


def test_every_picture_is_the_same_whatever_the_tiles() -> None:
    height, halo = rough(), 10
    height[20:30, 5:9] = np.nan
    wide = with_halo(height, halo)
    whole = find_horizons(wide, CELL_M, halo).sky_view_factor, find_dominance(wide, CELL_M, halo)
    part = wide[13 : 13 + 2 * halo + 20, 21 : 21 + 2 * halo + 30]
    own = np.s_[13:33, 21:51]
    parts = find_horizons(part, CELL_M, halo).sky_view_factor, find_dominance(part, CELL_M, halo)
    for of_all, of_part in zip(whole, parts, strict=True):
        assert np.array_equal(of_all[own], of_part, equal_nan=True)
    local = find_local_relief(wide, halo)[own]
    assert np.allclose(local, find_local_relief(part, halo), atol=1e-6, equal_nan=True)


def test_light_from_where_the_ground_faces_is_full_and_from_behind_none() -> None:
    rising = np.tile(np.arange(5, dtype=np.float32) * CELL_M, (5, 1))  # 45 degrees, faces west
    slopes = find_slopes(rising, CELL_M)
    assert slopes.degrees == pytest.approx(45)
    assert shade(slopes, 270, 45) == pytest.approx(1)
    assert shade(slopes, 90, 35) == pytest.approx(0)
    red, green, blue = np.moveaxis(shade_from_three_sides(slopes), 2, 0)
    assert red.min() > green.max() > blue.max() == 0


def test_slopes_go_on_to_borders_and_holes() -> None:
    height = np.tile(np.arange(8, dtype=np.float32), (8, 1))
    height[3, 3] = np.nan
    slopes = find_slopes(with_halo(height, 1), 2.0)
    known = np.isfinite(height)
    assert np.array_equal(np.isfinite(slopes.east), known)
    assert (slopes.east[known] == 0.5).all()
    assert (slopes.north[known] == 0).all()


def test_local_relief_is_the_height_above_the_mean_of_what_is_known() -> None:
    height = (rough() + 1200).astype(np.float32)
    height[10:20, 30:50] = np.nan
    found = find_local_relief(with_halo(height, 9), 9)
    wide = with_halo(height.astype(float), 9)
    for row, col in ((0, 0), (9, 29), (30, 40), (59, 69), (25, 35)):
        mean = np.nanmean(wide[row : row + 19, col : col + 19])
        assert found[row, col] == pytest.approx(height[row, col] - mean, abs=2e-4)
    assert np.array_equal(np.isnan(found), np.isnan(height))


def test_from_a_rise_one_looks_down_more_than_from_a_plain_and_from_a_pit_less() -> None:
    height = np.zeros((61, 61), np.float32)
    plain = find_dominance(height, CELL_M, 20)
    assert np.allclose(plain, 1)
    for up_m in (0.5, -0.5):
        height[30, 30] = up_m
        assert find_dominance(height, CELL_M, 20)[10, 10] == pytest.approx(1 + up_m / 1.7, rel=1e-5)


def test_the_blend_darkens_steep_and_sunken_places() -> None:
    def of(slope: float, openness: float, sky: float) -> float:
        layers = [np.full((1, 1), value, np.float32) for value in (0.57, slope, openness, sky)]
        return float(blend(*layers)[0, 0])

    level = of(0, 90, 1)
    assert 0 <= of(60, 60, 0.5) < of(40, 80, 0.8) < level <= 1
    steep = [np.full((1, 1), value, np.float32) for value in (0.57, 10.0, 89.0, 0.97)]
    assert blend(*steep, FLAT) < blend(*steep, GENERAL)  # faint rises show better


def test_relief_agrees_with_the_relief_visualization_toolbox() -> None:
    vis = pytest.importorskip("rvt.vis", reason=TOLD)
    height, radius = rough(120, 130), 20
    inner = np.s_[radius:-radius, radius:-radius]  # beyond, it mirrors the ground
    found = find_horizons(with_halo(height, radius), CELL_M, radius)
    seen = vis.sky_view_factor(height.copy(), CELL_M, compute_opns=True, svf_r_max=radius)
    assert np.abs(found.sky_view_factor - seen["svf"])[inner].max() < 2e-6
    assert np.abs(found.positive_openness - seen["opns"])[inner].max() < 2e-4
    below = vis.sky_view_factor(-height, CELL_M, False, True, svf_r_max=radius)["opns"]
    assert np.abs(found.negative_openness - below)[inner].max() < 2e-4
    slopes, own = find_slopes(with_halo(height, 1), CELL_M), np.s_[1:-1, 1:-1]
    theirs = vis.slope_aspect(height.copy(), CELL_M, CELL_M, output_units="degree")["slope"]
    assert np.abs(slopes.degrees - theirs)[own].max() < 1e-4
    assert np.abs(shade(slopes) - vis.hillshade(height.copy(), CELL_M, CELL_M))[own].max() < 2e-6
    sides = vis.multi_hillshade(height.copy(), CELL_M, CELL_M)[[14, 1, 4]]
    ours = np.moveaxis(shade_from_three_sides(slopes), 2, 0)[:, 1:-1, 1:-1]
    assert np.abs(ours - sides).max() < 2e-6
    local = vis.slrm(height.copy(), radius)
    ours = find_local_relief(with_halo(height, radius), radius)
    assert np.abs(ours - local)[inner].max() < 2e-6
    # In cells, as the toolbox has no metres here.
    steps = {"min_rad": 10, "max_rad": 20, "rad_inc": 1, "observer_height": 1.7 / CELL_M}
    theirs = vis.local_dominance((height / np.float32(CELL_M)).copy(), **steps)
    ours = find_dominance(with_halo(height, radius), CELL_M, radius)
    assert np.abs(ours - theirs)[inner].max() < 1e-5


def test_the_blend_is_that_of_the_toolbox(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rvt.vis", reason=TOLD)
    # It asks matplotlib for what that has no longer, for colours that are not used here.
    monkeypatch.setattr("matplotlib.cm.get_cmap", None, raising=False)
    from rvt import blend_func

    height = rough(80, 80)
    slopes = find_slopes(with_halo(height, 1), CELL_M)
    seen = find_horizons(with_halo(height, 9), CELL_M, 9)
    ours = blend(shade(slopes), slopes.degrees, seen.positive_openness, seen.sky_view_factor)
    picture = blend_func.normalize_lin(shade(slopes), 0.0, 1.0)
    for mode, values, low, high, opacity in (
        ("luminosity", slopes.degrees, 0.0, 50.0, 50),
        ("overlay", seen.positive_openness.copy(), 68.0, 93.0, 50),
        ("multiply", seen.sky_view_factor.copy(), 0.7, 1.0, 25),
    ):
        active = blend_func.normalize_lin(values, low, high)
        active = 1 - active if mode == "luminosity" else active
        top = blend_func.blend_images(mode, active, picture.copy())
        picture = blend_func.render_images(top, picture, opacity)
    assert np.abs(ours - picture).max() < 1e-5
