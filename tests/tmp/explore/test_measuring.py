"""Profiles, lengths and areas against a plane, and doubts against their formulas and trials."""

import math
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from tests.tmp.explore.conftest import (
    COARSE,
    CRS,
    EAST,
    NORTH,
    RISE_EAST,
    SIGMA_M,
    WALL,
    plane,
    write_raster,
)
from tmp.errors import InputError
from tmp.explore.measuring import (
    Measurement,
    area_sigma,
    geometry_of,
    ground_scale,
    length_sigma,
    with_doubt,
)
from tmp.survey import Survey, open_survey

ELLIPSOID_M = 6_371_000.0


def test_a_profile_along_a_plane_is_the_plane(walled: Survey) -> None:
    line = [(EAST + 20.03, NORTH + 10.04), (EAST + 30.03, NORTH + 33.34)]
    profile = walled.profile(line, "dtm")
    assert profile.values == pytest.approx(plane(profile.x, profile.y), abs=1e-4)
    assert profile.sigma == pytest.approx(SIGMA_M, rel=1e-5)
    assert profile.unit == "m"
    assert profile.x[[0, -1]] == pytest.approx([EAST + 20.03, EAST + 30.03], abs=1e-6)


def test_a_profile_rises_by_the_wall_where_it_stands(walled: Survey) -> None:
    middle = sum(WALL) / 2
    profile = walled.profile(
        [(EAST + middle - 3, NORTH + 30), (EAST + middle + 3, NORTH + 30)], step_m=0.02
    )
    above = profile.values - plane(profile.x, profile.y)
    standing = profile.x[above > 0.5] - EAST
    assert above.max() == pytest.approx(1.0, abs=1e-4)
    assert (standing.min(), standing.max()) == pytest.approx(WALL, abs=0.05)


def test_corners_of_a_line_are_among_the_places_of_its_profile(walled: Survey) -> None:
    line = [(EAST + 20, NORTH + 20), (EAST + 20.37, NORTH + 20), (EAST + 20.37, NORTH + 25)]
    profile = walled.profile(line, "dtm", step_m=1.0)
    corner = np.hypot(profile.x - (EAST + 20.37), profile.y - (NORTH + 20)).min()
    assert corner < 1e-6


def test_a_profile_has_no_values_beside_the_map_nor_in_a_hole(walled: Survey) -> None:
    profile = walled.profile([(EAST - 5, NORTH + 62), (EAST + 12, NORTH + 62)])
    known = np.isfinite(profile.values)
    assert not known[profile.x < EAST + 6.0].any()
    assert known[profile.x > EAST + 6.1].all()


def test_a_long_profile_is_the_same_read_in_parts(
    walled: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = [(EAST + 1, NORTH + 1), (EAST + 79, NORTH + 60), (EAST + 10, NORTH + 3)]
    whole = walled.profile(line)
    monkeypatch.setattr("tmp.explore.measuring.SPAN_CELLS", 50)
    assert walled.profile(line).values == pytest.approx(whole.values, nan_ok=True)


def test_a_profile_has_its_chart(walled: Survey) -> None:
    line = [(EAST + 35, NORTH + 30), (EAST + 45, NORTH + 30)]
    figure = walled.profile(line).plot(walled.profile(line, "dtm"))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["dsm", "dtm"]


def test_the_length_is_that_on_the_ground(walled: Survey) -> None:
    """PROJ's geodesic, raised to the height of the ground, is the rival."""
    line = [(EAST + 10, NORTH + 10), (EAST + 70, NORTH + 50)]
    measured = walled.measure(line, "dtm")
    to_degrees = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    x, y = zip(*line, strict=True)
    geodesic_m = Geod(ellps="WGS84").line_length(*to_degrees.transform(x, y))
    at_height_m = geodesic_m * (1 + plane(EAST + 40, NORTH + 30) / ELLIPSOID_M)
    assert measured.length_m == pytest.approx(at_height_m, rel=1e-7)
    rise = plane(*line[1]) - plane(*line[0])
    assert measured.rise_m == pytest.approx(rise, abs=1e-3)
    assert measured.rise_sigma_m == pytest.approx(SIGMA_M * math.sqrt(2), rel=1e-4)
    assert measured.surface_length_m == pytest.approx(math.hypot(at_height_m, rise), rel=1e-5)
    # A pixel of 5 cm at either end, and a thousandth of scale.
    assert measured.length_sigma_m == pytest.approx(
        math.hypot(0.05 * math.sqrt(2), 0.001 * at_height_m), rel=1e-3
    )


def test_the_area_is_that_on_the_ground_without_its_holes(walled: Survey) -> None:
    outer, inner = shapely.box(EAST + 10, NORTH + 10, EAST + 30, NORTH + 20), shapely.box(
        EAST + 12, NORTH + 12, EAST + 14, NORTH + 14
    )  # fmt: skip
    measured = walled.measure(outer.difference(inner), "dtm")
    scale = ground_scale(CRS, EAST + 20, NORTH + 15, plane(EAST + 20, NORTH + 15))
    assert measured.area_m2 == pytest.approx(196 * scale**2, rel=1e-6)
    assert measured.length_m == pytest.approx(68 * scale, rel=1e-6)
    assert "area 196" in str(measured)


def test_a_point_has_its_height_and_doubt(walled: Survey) -> None:
    measured = walled.measure((EAST + 20.05, NORTH + 20.05), "dtm")
    assert measured.height_m == pytest.approx(plane(EAST + 20.05, NORTH + 20.05), abs=1e-4)
    assert measured.height_sigma_m == pytest.approx(SIGMA_M, rel=1e-5)
    assert str(walled.measure((EAST + 1, NORTH + 63))) == "no height here"


def test_a_map_without_scale_has_units_and_no_metres(walled: Survey) -> None:
    flat = np.full((1, *COARSE.shape), 5.0, np.float32)
    write_raster(walled.products_dir / "dsm.tif", replace(COARSE, crs=None), flat)
    measured = walled.measure([(EAST + 20, NORTH + 20), (EAST + 30, NORTH + 20)])
    assert measured.length_m == pytest.approx(10.0)
    assert "units" in str(measured)


@given(
    angle=st.floats(0, 6.2),
    size=st.floats(2, 50),
    corners=st.integers(3, 7),
    closed=st.booleans(),
)
def test_doubts_of_length_and_area_are_those_of_trials(
    angle: float, size: float, corners: int, closed: bool
) -> None:
    """Corners moved at random, 4000 times: the spread is known within 3 %, four of its sigmas."""
    turns = angle + np.arange(corners) * 2 * np.pi / corners
    ring = size * np.column_stack([np.cos(turns), np.sin(turns)])
    moved = ring + np.random.default_rng(7).normal(0, 0.01, (4000, corners, 2))
    if closed:
        ring, moved = (np.concatenate([one, one[..., :1, :]], axis=-2) for one in (ring, moved))
        x, y = moved[..., 0], moved[..., 1]
        areas = 0.5 * (x[:, :-1] * y[:, 1:] - x[:, 1:] * y[:, :-1]).sum(axis=1)
        assert area_sigma(ring, 0.01) == pytest.approx(areas.std(), rel=0.06)
    lengths = np.hypot(*np.moveaxis(np.diff(moved, axis=1), 2, 0)).sum(axis=1)
    assert length_sigma(ring, 0.01, closed=closed) == pytest.approx(lengths.std(), rel=0.06)


def test_a_slope_makes_the_way_longer_and_not_the_length(walled: Survey) -> None:
    east = walled.measure([(EAST + 10, NORTH + 30), (EAST + 30, NORTH + 30)], "dtm")
    assert east.surface_length_m is not None
    assert east.length_m is not None
    assert east.surface_length_m / east.length_m == pytest.approx(
        math.hypot(1, RISE_EAST), rel=1e-4
    )


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        ("a wall", "is no point, line or polygon"),
        ([], "no place"),
        ([(math.nan, 1.0), (2.0, 3.0)], "no place"),
        ({"type": "Circle", "coordinates": [1, 2]}, "is no point, line or polygon"),
    ],
)
def test_what_cannot_be_measured_is_refused(drawn: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        geometry_of(drawn)  # type: ignore[arg-type]


def test_refusals_say_what_to_do(walled: Survey) -> None:
    line = [(EAST + 10, NORTH + 10), (EAST + 20, NORTH + 10)]
    with pytest.raises(InputError, match="no raster 'dem' to measure; there are dsm, dsm_sigma"):
        walled.profile(line, "dem")
    with pytest.raises(InputError, match=r"step_m = -1\.0; give a length above 0"):
        walled.profile(line, step_m=-1.0)
    with pytest.raises(InputError, match="give a longer step_m"):
        walled.profile(line, step_m=1e-6)
    with pytest.raises(InputError, match="needs a line of two different points"):
        walled.profile((EAST + 10, NORTH + 10))
    with pytest.raises(InputError, match="a MultiPoint cannot be measured"):
        walled.measure(shapely.MultiPoint(line))
    (walled.products_dir / "dsm.tif").unlink()
    with pytest.raises(InputError, match="no raster 'dsm' to measure; there are dsm_sigma"):
        open_survey(walled).measure(line)


def test_values_are_as_exact_as_their_doubt() -> None:
    assert with_doubt(0.1234567, 0.0004) == "0.123 ± 0.000"
    assert with_doubt(8.5, 1.4) == "8.5 ± 1.4"
    point = shapely.Point(0, 0)
    assert str(Measurement(geometry=point, unit="m", height_m=2.0)) == "height 2.00 m"
