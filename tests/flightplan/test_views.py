import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from flightplan.coverage.annealing import (
    Lacks,
    Places,
    Sightings,
    places_inside,
    places_on_edge,
    toggled,
)
from flightplan.coverage.routes import Axes, Pattern, Strip

SQUARE = shapely.box(0, 0, 200, 200)


def strip(across: float, start: float, photos: int, sweep: int = 0) -> Strip:
    return Strip(sweep=sweep, across_m=across, start_m=start, photos=photos, spacing_m=15.0)


def test_a_place_is_seen_from_within_half_a_footprint_along_and_across() -> None:
    seen = Sightings(
        np.array([[50.0, 0.0], [0.0, 0.0], [50.0, 41.0]]),
        [Axes(heading_deg=90.0)],
        across_m=80,
        along_m=60,
    )
    # Photographs at 0, 15 … 105: 20 to 80 holds 30, 45, 60 and 75, -30 to 30 holds 0, 15 and 30.
    assert seen.count([strip(0, 0, 8)]).tolist() == [4, 3, 0]


@given(st.floats(0, 180), st.floats(-200, 200), st.floats(-200, 200), st.integers(1, 20))
def test_counts_agree_with_looking_at_each_photograph(
    heading: float, across: float, start: float, photos: int
) -> None:
    axes = Axes(heading_deg=heading)
    places = places_inside(SQUARE, 20.0)
    line = axes.line(strip(across, start, photos))
    counts = np.zeros(len(places), int)
    for station in np.linspace(line.start, line.end, photos):
        away = places - station
        # Clear of the rim, where rounding decides.
        counts += (abs(away @ axes.along) <= 30) & (abs(away @ axes.across) <= 40)
    away = places @ axes.along - start
    unclear = np.zeros(len(places), bool)
    for rim in (-30, 30):
        unclear |= abs((away - rim + 7.5) % 15 - 7.5) < 1e-5
    unclear |= abs(abs(places @ axes.across - across) - 40) < 1e-5
    got = Sightings(places, [axes], across_m=80, along_m=60).count([strip(across, start, photos)])
    np.testing.assert_array_equal(got[~unclear], counts[~unclear])


def test_a_change_touches_only_the_places_beside_it() -> None:
    places = places_inside(SQUARE, 5.0)
    axes = [Axes(heading_deg=0.0), Axes(heading_deg=70.0)]
    seen = Sightings(places, axes, across_m=80, along_m=60)
    old, new, other = strip(-50, 0, 9), strip(-90, 20, 7), strip(100, 10, 8, sweep=1)
    counts = seen.count([old, other])
    touched, after = seen.changed(counts, [old], [new])
    counts[touched] = after
    np.testing.assert_array_equal(counts, seen.count([new, other]))


def test_what_is_left_to_be_seen_after_a_change_is_what_a_new_look_finds() -> None:
    """Views and near photographs are counted in different places, and must not be mixed."""
    places = Places(
        views=places_inside(SQUARE, 5.0),
        inner=places_inside(shapely.box(40, 30, 160, 150), 5.0),
        cells_m2=(25.0, 25.0),
    )
    pattern = Pattern(across_m=80, along_m=60, line_spacing_m=24, photo_spacing_m=15)
    lacks = Lacks(places, [Axes(heading_deg=0.0)], pattern, 4)
    before = [strip(-50, 0, 9), strip(-90, 20, 12)]
    changed = lacks.changed(lacks.look(before), before, {1: strip(-120, 10, 10)}).settled()
    wanted = lacks.look([before[0], strip(-120, 10, 10)])
    assert (changed.owed, changed.far) == (wanted.owed, wanted.far)
    for got, want in zip(changed.counts, wanted.counts, strict=True):
        np.testing.assert_array_equal(got, want)


def test_cells_count_where_their_centre_lies_inside() -> None:
    assert len(places_inside(SQUARE, 2.0)) == 10_000
    assert len(places_inside(shapely.box(0, 0, 0.5, 0.5), 2.0)) == 0
    assert len(places_on_edge(SQUARE, 50.0)) == 17


@given(st.integers(1, 30), st.floats(-200, 200))
def test_closer_photographs_cover_the_same_stretch_and_can_be_taken_back(
    photos: int, start: float
) -> None:
    pattern = Pattern(across_m=80, along_m=60, line_spacing_m=24, photo_spacing_m=15)
    usual = strip(10, start, photos)
    closer = toggled(usual, pattern)
    assert closer.spacing_m < usual.spacing_m
    assert closer.start_m + closer.end_m == pytest.approx(usual.start_m + usual.end_m, abs=1e-9)
    assert abs(closer.length_m - usual.length_m) <= closer.spacing_m / 2 + 1e-9
    back = toggled(closer, pattern)
    assert (back.photos, back.spacing_m) == (photos, 15.0)
    assert back.start_m == pytest.approx(start, abs=1e-9)
