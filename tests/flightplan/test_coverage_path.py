import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from flightplan.coverage.annealing import places_inside
from flightplan.coverage.path import PathOptions, plan_path
from flightplan.coverage.routes import (
    Airspace,
    Line,
    Pattern,
    Route,
    route_over,
    route_path,
    route_seconds,
)
from flightplan.equipment.flight_model import Motion, Wind
from tmp.errors import InputError

PATTERN = Pattern(across_m=80, along_m=60, line_spacing_m=24, photo_spacing_m=15)
MOTION = Motion()
QUICK = PathOptions(effort=0.1)
FIELD = shapely.box(0, 0, 240, 140)
POND = shapely.box(100, 50, 150, 90)


def views(route: Route, places: NDArray[np.float64]) -> NDArray[np.int64]:
    counts = np.zeros(len(places), np.int64)
    for line in route.lines:
        heading = np.radians(line.heading_deg)
        for station in line.stations:
            away = places - station
            along = away @ [np.sin(heading), np.cos(heading)]
            across = away @ [np.cos(heading), -np.sin(heading)]
            counts += (abs(along) <= 30 + 1e-6) & (abs(across) <= 40 + 1e-6)
    return counts


def crossed_m(route: Route, obstacle: Polygon) -> float:
    return float(shapely.linestrings(route_path(route)).intersection(obstacle).length)


def test_a_field_is_seen_nine_times_everywhere_by_default() -> None:
    route = plan_path(FIELD, PATTERN, MOTION, options=QUICK)
    assert views(route, places_inside(FIELD, 2.0)).min() >= 9


def test_a_lean_path_is_quicker_and_sees_what_it_must() -> None:
    lean = plan_path(FIELD, PATTERN, MOTION, options=PathOptions(effort=0.1, views=5))
    assert views(lean, places_inside(FIELD, 2.0)).min() >= 5
    assert lean.time_s < plan_path(FIELD, PATTERN, MOTION, options=QUICK).time_s


def test_a_path_that_was_searched_is_quicker_than_lines_laid_with_care() -> None:
    """Six lines, the outer ones denser and all but the middle ones with a run beyond the field."""
    rows = ((10, 24, 25), (34, 15, 19), (58, 0, 17), (82, 0, 17), (106, 15, 19), (130, 24, 25))
    lines = [
        Line(start=(-beyond, y), end=(240.0 + beyond, y), photos=photos)
        for y, beyond, photos in rows
    ]
    flown = [line if number % 2 == 0 else line.reversed() for number, line in enumerate(lines)]
    laid = route_over(flown, Airspace(Polygon()), MOTION)
    assert views(laid, places_inside(FIELD, 2.0)).min() == 9
    searched = plan_path(FIELD, PATTERN, MOTION, options=PathOptions(effort=0.2))
    assert searched.time_s < laid.time_s


def test_neighbouring_lines_keep_the_sidelap_and_photographs_the_frontlap() -> None:
    route = plan_path(FIELD, PATTERN, MOTION, options=PathOptions(effort=0.1, heading_deg=90.0))
    across = np.sort([line.start[1] for line in route.lines])
    assert np.diff(across).max() <= PATTERN.line_spacing_m + 1e-6
    assert max(line.spacing_m for line in route.lines) <= PATTERN.photo_spacing_m + 1e-6


def test_the_time_is_that_of_the_way_flown() -> None:
    route = plan_path(FIELD, PATTERN, MOTION, options=QUICK)
    assert route.time_s == pytest.approx(route_seconds(route, MOTION))
    assert len(route.transits) == len(route.lines) - 1
    for line, way, following in zip(route.lines[:-1], route.transits, route.lines[1:], strict=True):
        np.testing.assert_allclose(way[[0, -1]], [line.end, following.start])


def test_the_camera_slows_lines_with_closer_photographs() -> None:
    slow = Pattern(
        across_m=80, along_m=60, line_spacing_m=24, photo_spacing_m=15, least_interval_s=3.0
    )
    route = plan_path(FIELD, slow, MOTION, options=QUICK)
    assert route.time_s > route_seconds(route, MOTION)


def test_holes_and_exclusions_are_never_flown_over() -> None:
    tower = shapely.Point(260, 70).buffer(15)
    holed = FIELD.difference(POND)
    route = plan_path(holed, PATTERN, MOTION, exclusions=tower, options=QUICK)
    assert crossed_m(route, POND) == 0
    assert crossed_m(route, tower) == 0
    assert views(route, places_inside(holed, 2.0)).min() >= 9


@pytest.mark.parametrize("beyond_m", [17.0, 19.0, 22.0])
def test_the_only_line_over_a_strip_ends_before_an_obstacle_beyond_it(beyond_m: float) -> None:
    """It goes on beyond the strip for its views, and up to half a photo spacing further."""
    wall = shapely.box(107 + beyond_m, -200, 150 + beyond_m, 200)
    options = PathOptions(effort=0.05, views=4, heading_deg=90.0)
    route = plan_path(shapely.box(0, 0, 107, 4), PATTERN, MOTION, exclusions=wall, options=options)
    assert len(route.lines) == 1
    assert (
        max(x for line in route.lines for x in (line.start[0], line.end[0])) <= 107 + beyond_m - 2
    )
    assert crossed_m(route, wall) == 0


def test_staying_inside_leaves_the_area_nowhere() -> None:
    corner = shapely.box(0, 0, 240, 140).difference(shapely.box(120, 70, 240, 140))
    options = PathOptions(effort=0.1, keep_inside=True, clearance_m=0.0, views=2)
    route = plan_path(corner, PATTERN, MOTION, options=options)
    outside = shapely.linestrings(route_path(route)).difference(corner.buffer(0.05))
    assert outside.length == pytest.approx(0.0, abs=1e-6)


def test_a_second_grid_crosses_the_first_at_right_angles() -> None:
    options = PathOptions(effort=0.1, double_grid=True, heading_deg=90.0)
    route = plan_path(FIELD, PATTERN, MOTION, options=options)
    courses = {round(line.heading_deg) % 180 for line in route.lines}
    assert courses == {0, 90}
    assert views(route, places_inside(FIELD, 2.0)).min() >= 9


def test_several_polygons_make_one_tour() -> None:
    area = MultiPolygon([shapely.box(0, 0, 100, 60), shapely.box(300, 0, 360, 100)])
    route = plan_path(area, PATTERN, MOTION, options=QUICK)
    assert views(route, places_inside(area, 2.0)).min() >= 9
    parts = [int(line.start[0] > 200) for line in route.lines]
    assert sum(abs(np.diff(parts))) == 1


def test_run_ins_lengthen_lines_but_never_into_an_obstacle() -> None:
    options = PathOptions(effort=0.1, run_in_m=20.0, views=4)
    holed = FIELD.difference(POND)
    route = plan_path(holed, PATTERN, MOTION, options=options)
    assert max(line.run_in_m for line in route.lines) == pytest.approx(20.0)
    assert crossed_m(route, POND) == 0
    ways = sum(float(np.hypot(*np.diff(way, axis=0).T).sum()) for way in route.transits)
    first, last = route.lines[0].run_in_m, route.lines[-1].run_out_m
    flown = float(np.hypot(*np.diff(route_path(route), axis=0).T).sum())
    lines = sum(line.length_m for line in route.lines)
    assert flown == pytest.approx(first + lines + ways + last)
    assert route.time_s == pytest.approx(route_seconds(route, MOTION))


def test_lines_start_and_end_near_home() -> None:
    home = (-10.0, -10.0)
    route = plan_path(FIELD, PATTERN, MOTION, options=PathOptions(effort=0.1, home=home))
    way = route_path(route)
    assert min(np.hypot(*(way[0] - home)), np.hypot(*(way[-1] - home))) < 60


def test_lines_are_laid_across_a_wind_that_would_stop_the_drone() -> None:
    square = shapely.box(0, 0, 150, 150)
    windy = Motion(cruise_m_s=8.0, max_airspeed_m_s=9.0, wind=Wind(speed_m_s=8.5, from_deg=0.0))
    route = plan_path(square, PATTERN, windy, options=QUICK)
    along_wind = [abs(np.cos(np.radians(line.heading_deg))) for line in route.lines]
    assert max(along_wind) < 0.8


@pytest.mark.parametrize(
    "area",
    [
        shapely.box(0, 0, 2, 2),
        shapely.box(0, 0, 300, 0.5),
        shapely.linestrings([[0, 0], [150, 80], [300, 40]]).buffer(3),
        shapely.Point(0, 0).buffer(20),
    ],
    ids=["speck", "ribbon", "corridor", "disc"],
)
@pytest.mark.parametrize("wanted", [1, 9])
def test_small_and_thin_areas_get_their_views(area: Polygon, wanted: int) -> None:
    route = plan_path(area, PATTERN, MOTION, options=PathOptions(effort=0.1, views=wanted))
    assert route.photos >= wanted
    places = np.concatenate([places_inside(area, 2.0), np.array([area.centroid.coords[0]])])
    assert views(route, places[shapely.contains_xy(area, places)]).min(initial=99) >= wanted


def test_a_speck_asked_to_be_seen_once_gets_one_photograph() -> None:
    area = shapely.box(0, 0, 2, 2)
    route = plan_path(area, PATTERN, MOTION, options=PathOptions(effort=0.1, views=1))
    assert (len(route.lines), route.photos, route.time_s) == (1, 1, 0.0)


angles = st.lists(st.floats(0.4, 1.0), min_size=5, max_size=9)


@st.composite
def holed_fields(draw: st.DrawFn) -> Polygon:
    """A star-shaped field, often concave, with a pond."""
    reach = np.array(draw(angles)) * draw(st.floats(80, 160))
    turn = np.linspace(0, 2 * np.pi, len(reach), endpoint=False)
    rim = Polygon(np.column_stack([reach * np.cos(turn), reach * np.sin(turn)]))
    pond = shapely.Point(draw(st.floats(-20, 20)), draw(st.floats(-20, 20)))
    return rim.difference(pond.buffer(draw(st.floats(5, 25)), quad_segs=2))


@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(field=holed_fields())
def test_any_field_is_seen_without_flying_over_its_holes(field: Polygon) -> None:
    parts = [part for part in shapely.get_parts(field) if part.area > 100]
    area = MultiPolygon(parts)
    route = plan_path(area, PATTERN, MOTION, options=PathOptions(effort=0.1, views=6))
    assert views(route, places_inside(area, 2.0)).min() >= 6
    holes = [Polygon(ring) for part in parts for ring in part.interiors]
    assert crossed_m(route, shapely.union_all(holes)) == 0


def test_the_same_field_gets_the_same_route() -> None:
    one, other = (
        plan_path(FIELD.difference(POND), PATTERN, MOTION, options=QUICK) for _ in range(2)
    )
    assert one.lines == other.lines
    assert one.time_s == other.time_s


@pytest.mark.parametrize(
    ("area", "message"),
    [
        (Polygon(), "no extent"),
        (Polygon([(0, 0), (10, 0), (20, 0)]), "no extent|not a proper polygon"),
        (Polygon([(0, 0), (10, 10), (10, 0), (0, 10)]), "not a proper polygon"),
    ],
)
def test_an_area_that_is_none_is_refused(area: Polygon, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_path(area, PATTERN, MOTION, options=QUICK)


def test_exclusions_that_leave_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="cover the whole area"):
        plan_path(FIELD, PATTERN, MOTION, exclusions=FIELD.buffer(1), options=QUICK)


def test_a_part_walled_in_is_refused() -> None:
    wall = shapely.box(-50, -50, 400, 400).difference(shapely.box(-45, -45, 395, 395))
    inner = MultiPolygon([shapely.box(0, 0, 60, 60), shapely.box(500, 0, 560, 60)])
    with pytest.raises(InputError, match="wall"):
        plan_path(inner, PATTERN, MOTION, exclusions=wall, options=QUICK)


@pytest.mark.parametrize("name", ["line_spacing_m", "photo_spacing_m"])
def test_an_overlap_of_all_is_refused(name: str) -> None:
    given = {"across_m": 80.0, "along_m": 60.0, "line_spacing_m": 24.0, "photo_spacing_m": 15.0}
    with pytest.raises(InputError, match="overlap"):
        Pattern(**{**given, name: 0.0})


def test_no_views_are_refused() -> None:
    with pytest.raises(InputError, match="at least 1"):
        PathOptions(views=0)


@pytest.mark.real
def test_the_field_with_a_hole_is_flown_quicker_than_by_any_rival(real_data: Path) -> None:
    path = real_data / "fields" / "hole.local.json"
    if not path.exists():
        pytest.skip("the compared fields are not in ../shared/data/fields")
    rings = json.loads(path.read_text())["local_m"]
    field = Polygon(rings["exterior"], rings["interiors"])
    pattern = Pattern(across_m=86.5, along_m=64.9, line_spacing_m=25.96, photo_spacing_m=16.225)
    route = plan_path(field, pattern, MOTION, options=PathOptions(views=5))
    assert route.time_s <= 755
