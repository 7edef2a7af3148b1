"""A request becomes a plan that is proved, and files that say the same."""

import re
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from pyproj import Geod
from shapely import LineString, MultiPolygon, box
from shapely.geometry import Polygon

from flightplan.autopilot.protocol import wire_fence
from flightplan.coverage.spacing import Overlap
from flightplan.equipment.catalogue import App, Catalogue, read_catalogue
from flightplan.equipment.flight_model import Wind
from flightplan.formats.mission import LATE_M, ReleasedBy, Role, photos_along
from flightplan.formats.mission_files import FORMATS
from flightplan.outputs.light_windows import sun_day
from flightplan.outputs.plan_folder import facts_of, write_plan
from flightplan.plan.missions import missions_of
from flightplan.plan.planning import FlightPlan, _if_dark, make_plan
from flightplan.plan.request import PlanRequest, set_plan
from flightplan.proof.rules import RuleLimits
from flightplan.rehearsal.planned import disagreements, prove_flown, read_plans
from tmp.errors import InputError
from tmp.geo.areas import SurveyArea, read_area
from tmp.geo.frames import PlanFrame
from tmp.survey import Survey

FARM = Path(__file__).parents[2] / "sample_data"
GEOD = Geod(ellps="WGS84")


def field(lat_deg: float = 64.0, size_m: float = 150.0, lon_deg: float = -20.0) -> SurveyArea:
    frame = PlanFrame(lon_deg=lon_deg, lat_deg=lat_deg)
    square = frame.to_geodetic(box(-size_m / 2, -size_m / 2, size_m / 2, size_m / 2))
    return SurveyArea(polygons=MultiPolygon([square]), source="a field")


def write_slope(path: Path, rise: float) -> Path:
    """Write an elevation model that rises to the east, about the middle of `field`."""
    frame = PlanFrame(lon_deg=-20.0, lat_deg=64.0)
    east = np.arange(-397.5, 400.0, 5.0)
    heights = np.broadcast_to(200.0 + rise * east, (len(east), len(east))).astype(np.float32)
    with rasterio.open(
        path, "w", driver="GTiff", width=len(east), height=len(east), count=1,
        dtype="float32", crs=frame.crs, transform=rasterio.Affine(5, 0, -400, 0, -5, 400),
    ) as file:  # fmt: skip
        file.write(heights, 1)
    return path


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue()


@pytest.fixture(scope="module")
def request_(catalogue: Catalogue) -> PlanRequest:
    drone = catalogue.drone("rehearsal")
    return PlanRequest(
        area=read_area(FARM / "farm_area.geojson"),
        drone=drone,
        cameras=catalogue.cameras_of(drone),
        gsd_m=0.025,
        dem=FARM / "farm_terrain.tif",
        dem_datum="ellipsoid",
        day=date(2026, 7, 1),
    )


@pytest.fixture(scope="module")
def plan(request_: PlanRequest) -> FlightPlan:
    return make_plan(request_)


def test_the_farm_is_planned_and_proved(plan: FlightPlan) -> None:
    assert plan.certificate.passed
    assert plan.coverage.count[plan.coverage.inside].min() >= 9
    assert len(plan.sorties.flights) == len(plan.ways) == 1


def test_the_take_off_is_not_put_on_a_slope(plan: FlightPlan) -> None:
    terrain = plan.layout.setting.terrain
    for x, y in plan.sorties.places:
        east, west, north, south = terrain.at([(x + 3, y), (x - 3, y), (x, y + 3), (x, y - 3)])
        assert np.hypot(east - west, north - south) / 6 <= 0.11


def test_the_way_keeps_its_band_over_the_ground(plan: FlightPlan) -> None:
    (profile,) = plan.profiles
    above = profile.height_agl_m
    assert above.min() >= plan.layout.spacing.lowest_m - 0.05
    assert above[profile.surveying].max() <= plan.layout.spacing.highest_m + 0.05


def test_missions_take_the_plan_s_photographs_from_above_the_takeoff(plan: FlightPlan) -> None:
    (mission,) = missions_of(plan)
    assert len(mission.photos) == plan.certificate.photographs
    takeoff = mission.takeoff
    assert takeoff is not None
    heights = plan.ways[0].points[:, 2] - takeoff.ground_m
    np.testing.assert_allclose([p.height_m for p in mission.waypoints], heights, atol=0.002)
    assert mission.return_height_m >= max(p.height_m for p in mission.waypoints)
    assert mission.fence is not None
    way = [(p.lon_deg, p.lat_deg) for p in mission.waypoints]
    assert all(mission.fence.contains(point) for point in map(_point, way))


def _point(place: tuple[float, float]) -> Polygon:
    from shapely import Point

    return Point(place)


def test_photographs_are_only_taken_on_lines(plan: FlightPlan) -> None:
    (mission,) = missions_of(plan)
    taking = [p for p in mission.waypoints if p.photo_spacing_m > 0]
    assert taking
    assert all(p.role is Role.LINE for p in taking)
    assert sum(p.role is Role.RUN_IN for p in mission.waypoints) == len(plan.sorties.lines)


@pytest.mark.parametrize("lat_deg", [0.0, 47.0, 65.0, 78.0, 85.0])
def test_spacings_are_true_on_the_ellipsoid_at_any_latitude(
    lat_deg: float, catalogue: Catalogue
) -> None:
    drone = catalogue.drone("mini 4 pro")
    plan = make_plan(
        PlanRequest(
            area=field(lat_deg, 250.0),
            drone=drone,
            cameras=catalogue.cameras_of(drone),
            gsd_m=0.025,
            day=date(2026, 7, 1),
        )
    )
    (mission,) = missions_of(plan)
    lines = np.array([photo.line for photo in mission.photos])
    places = np.array([(photo.lon_deg, photo.lat_deg) for photo in mission.photos])
    for number, line in enumerate(plan.sorties.lines):
        ours = places[lines == number]
        apart = GEOD.inv(*ours[:-1].T, *ours[1:].T)[2]
        np.testing.assert_allclose(apart, plan.release.flown_m(line), rtol=1e-3)
        assert plan.release.flown_m(line) <= line.spacing_m


def test_wind_that_the_drone_cannot_stand_is_refused(
    request_: PlanRequest, catalogue: Catalogue
) -> None:
    storm = replace(request_, wind=Wind(speed_m_s=16.0, from_deg=240.0))
    with pytest.raises(InputError, match="wind"):
        make_plan(storm)


def test_a_takeoff_inside_an_exclusion_is_refused(request_: PlanRequest) -> None:
    place = request_.area.centre
    around = PlanFrame(lon_deg=place[0], lat_deg=place[1])
    island = MultiPolygon([around.to_geodetic(box(-5, -5, 5, 5))])
    inside = replace(
        request_,
        takeoffs=(place,),
        exclusions=(SurveyArea(polygons=island, source="a nest"),),
    )
    with pytest.raises(InputError, match="lies inside an exclusion"):
        make_plan(inside)


def test_nothing_is_flown_over_an_exclusion(request_: PlanRequest) -> None:
    place = request_.area.centre
    around = PlanFrame(lon_deg=place[0], lat_deg=place[1])
    nest = around.to_geodetic(box(-6, -6, 6, 6))
    made = make_plan(
        replace(
            request_,
            dem=None,
            exclusions=(SurveyArea(polygons=MultiPolygon([nest]), source="a nest"),),
        )
    )
    solid = made.layout.setting.exclusions[0].buffer(-0.1)
    for way in made.ways:
        assert not LineString(way.points[:, :2]).intersects(solid)


def test_an_oblique_set_of_lines_looks_ahead(request_: PlanRequest) -> None:
    made = make_plan(replace(request_, dem=None, oblique_deg=25.0))
    pitches = {line.pitch_deg for line in made.sorties.lines}
    assert pitches == {-90.0, -65.0}
    (mission,) = missions_of(made)
    assert {photo.gimbal_pitch_deg for photo in mission.photos} == pitches


def test_few_oblique_photographs_see_every_place_from_the_proof_s_view(
    request_: PlanRequest,
) -> None:
    """A small share is what ends the doming; a second whole survey is not wanted."""
    plain = make_plan(replace(request_, dem=None))
    made = make_plan(replace(request_, dem=None, oblique_deg=25.0))
    (mission,) = missions_of(made)
    oblique = sum(photo.gimbal_pitch_deg > -90.0 for photo in mission.photos)
    assert 0 < oblique <= 0.4 * plain.photos
    assert made.certificate.passed
    (check,) = [one for one in made.certificate.checks if one.name == "oblique photographs"]
    assert check.share_failing <= 0.05
    inside = made.coverage.inside
    assert (made.coverage.oblique[inside] >= 1).mean() == pytest.approx(1 - check.share_failing)
    assert f"{oblique} of them oblique" in dict(facts_of(made))["photographs"]


def test_lines_on_steep_ground_are_flown_as_slowly_as_the_drone_climbs(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    """ArduCopter descends 1.5 m/s: over 50 % of slope it cannot fly faster than 3 m/s along it."""
    drone = catalogue.drone("arducopter")
    plan = make_plan(
        PlanRequest(
            area=field(size_m=120.0),
            drone=drone,
            cameras=catalogue.cameras_of(drone),
            gsd_m=0.06,
            heading_deg=90.0,
            dem=write_slope(tmp_path / "wall.tif", 0.5),
            dem_datum="ellipsoid",
        )
    )
    assert plan.certificate.passed
    down = [one for one in plan.sorties.lines if abs(one.heading_deg - 270.0) < 1]
    assert down
    assert max(map(plan.release.speed_m_s, down)) <= 3.2
    assert "where the ground is steep" in dict(facts_of(plan))["speed"]
    missions = missions_of(plan)
    for mission, way, flight in zip(missions, plan.ways, plan.sorties.flights, strict=True):
        metres = np.hypot(*np.diff(way.points[:, :2], axis=0).T)
        seconds, rise = metres / way.speeds_m_s, np.diff(way.points[:, 2])
        assert (rise <= drone.climb_m_s * seconds + 0.01).all()
        assert (rise >= -drone.descent_m_s * seconds - 0.01).all()
        assert [one.speed_m_s for one in mission.waypoints[:-1]] == way.speeds_m_s.tolist()
        assert flight.time_s > seconds.sum()
        # Out and home at the speed that saves most energy, where the ground allows it.
        assert mission.transit_speed_m_s == way.speeds_m_s[0] <= 11.5


def test_a_large_area_is_split_into_sorties_that_come_home(catalogue: Catalogue) -> None:
    drone = catalogue.drone("mini 4 pro")
    made = make_plan(
        PlanRequest(
            area=field(size_m=700.0),
            drone=drone,
            cameras=catalogue.cameras_of(drone),
            gsd_m=0.03,
            bounds=RuleLimits(sight_m=1500.0),
            day=date(2026, 7, 1),
        )
    )
    assert len(made.sorties.flights) > 1
    assert all(one.energy_share <= made.request.battery.usable for one in made.sorties.flights)
    assert made.certificate.passed


def test_low_overlap_asks_for_no_more_views_than_it_can_give(request_: PlanRequest) -> None:
    assert request_.asked_views == 9
    assert replace(request_, overlap=Overlap(front=0.6, side=0.4)).asked_views == 2


def test_a_tilt_that_cannot_be_meant_is_refused(request_: PlanRequest) -> None:
    with pytest.raises(InputError, match="--oblique 80: give 5 to 45"):
        replace(request_, oblique_deg=80.0)


def test_a_gsd_in_metres_instead_of_centimetres_is_refused(request_: PlanRequest) -> None:
    with pytest.raises(InputError, match="GSD of 250 cm cannot be meant"):
        replace(request_, gsd_m=2.5)


def test_lines_round_a_hole_overlap_as_asked(catalogue: Catalogue) -> None:
    frame = PlanFrame(lon_deg=-20.0, lat_deg=64.0)
    ring = Polygon(
        [(-200, -150), (200, -150), (200, 150), (-200, 150)],
        [[(-65, -50), (65, -50), (65, 50), (-65, 50)]],
    )
    area = SurveyArea(polygons=MultiPolygon([frame.to_geodetic(ring)]), source="a field")
    drone = catalogue.drone("mini 4 pro")
    made = make_plan(
        PlanRequest(area=area, drone=drone, cameras=catalogue.cameras_of(drone), gsd_m=0.03)
    )
    assert made.certificate.passed, made.certificate.sentence
    assert not any(
        way.points[:, :2][(np.abs(way.points[:, :2]) < (65, 50)).all(axis=1)].size
        for way in made.ways
    )


def test_a_takeoff_with_latitude_first_is_recognised(request_: PlanRequest) -> None:
    lon, lat = request_.area.centre
    with pytest.raises(InputError, match=rf"longitude comes first: say --takeoff {lon:g},{lat:g}$"):
        make_plan(replace(request_, takeoffs=[(lat, lon)]))
    with pytest.raises(InputError, match="km from the area; give --takeoff LON,LAT"):
        make_plan(replace(request_, takeoffs=[(lon + 20.0, lat)]))


def test_a_hole_is_fenced_unless_it_may_be_flown_over(
    round_a_hole: FlightPlan, catalogue: Catalogue
) -> None:
    request = round_a_hole.request
    over = make_plan(replace(request, overfly_holes=True))
    assert round_a_hole.certificate.passed
    assert over.certificate.passed
    (hole,) = (Polygon(ring) for ring in round_a_hole.layout.setting.area.geoms[0].interiors)
    for plan, fenced in ((round_a_hole, 1), (over, 0)):
        missions = missions_of(plan)
        assert [len(one.exclusions) for one in missions] == [fenced] * len(missions)
        assert sum(item.command == 5002 for item in wire_fence(missions[0])) == 4 * fenced
        flown_m = sum(LineString(way.points[:, :2]).intersection(hole).length for way in plan.ways)
        round_it = any("Lines go round the holes" in each for each in plan.certificate.repairs)
        assert (flown_m == 0) == (bool(fenced) or round_it)
        facts = dict(facts_of(plan))
        assert facts["holes of the area"].startswith("not flown over" if fenced else "may be")
    assert over.coverage.area_m2 == pytest.approx(round_a_hole.coverage.area_m2)
    # Lines over it are quicker as a rule, and else lines round it are flown; what the proof adds
    # to either may differ.
    assert over.sorties.time_s < 1.01 * round_a_hole.sorties.time_s


def ragged(x_m: float, y_m: float, radius_m: float, corners: int) -> Polygon:
    """A hole as people draw it on a screen, with a corner every few metres."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radii = radius_m + np.random.default_rng(corners).uniform(-0.5, 0.5, corners)
    return Polygon(np.column_stack([x_m + radii * np.cos(angle), y_m + radii * np.sin(angle)]))


def test_a_hole_of_many_corners_is_fenced_a_little_larger(catalogue: Catalogue) -> None:
    hole = ragged(0, 0, 40, 200)
    whole = box(-150, -120, 150, 120).difference(hole)
    frame = PlanFrame(lon_deg=-20.0, lat_deg=64.0)
    area = SurveyArea(polygons=MultiPolygon([frame.to_geodetic(whole)]), source="a field")
    request = replace(with_hole("arducopter", catalogue, 0.08), area=area)
    setting = set_plan(request)
    (fenced,) = setting.exclusions
    assert len(fenced.exterior.coords) - 1 <= 42
    assert fenced.covers(hole)
    assert fenced.area < 1.25 * hole.area
    assert setting.area.area == pytest.approx(whole.area)
    assert setting.unfenced == 0
    many = whole.difference(shapely.union_all([ragged(x, 90, 8, 30) for x in range(-130, 131, 20)]))
    area = SurveyArea(polygons=MultiPolygon([frame.to_geodetic(many)]), source="a field")
    setting = set_plan(replace(request, area=area))
    assert len(setting.exclusions) + setting.unfenced == 15
    assert sum(len(one.exterior.coords) - 1 for one in setting.exclusions) <= 42
    assert setting.exclusions[0].covers(hole)
    assert setting.airspace.solid.covers(ragged(130, 90, 8, 30))


def test_a_takeoff_in_a_hole_needs_leave_to_fly_over_it(round_a_hole: FlightPlan) -> None:
    (lon, lat) = shapely.Polygon(
        round_a_hole.request.area.polygons.geoms[0].interiors[0]
    ).centroid.coords[0]
    with pytest.raises(InputError, match=r"a hole of the area; choose another .* --overfly-holes"):
        make_plan(replace(round_a_hole.request, takeoffs=((lon, lat),)))


@pytest.mark.parametrize(
    ("lat_deg", "day", "said"),
    [
        (64.0, date(2026, 6, 21), None),
        (64.0, date(2026, 12, 21), "reaches only 3° on 21 December 2026: "),
        (78.2, date(2026, 11, 30), "does not rise on 30 November 2026: "),
        (-77.0, date(2026, 6, 21), "does not rise on 21 June 2026: "),
    ],
)
def test_a_day_without_light_is_warned_of_with_the_next_that_has_some(
    request_: PlanRequest, lat_deg: float, day: date, said: str | None
) -> None:
    found = _if_dark(replace(request_, area=field(lat_deg), day=day))
    if said is None:
        assert not found
        return
    assert said in found[0]
    told = re.search(r"at noon from (.*) on$", found[0])
    assert told is not None
    light = datetime.strptime(told[1], "%d %B %Y").date()
    highest = [
        sun_day(-20.0, lat_deg, day).highest[1]
        for day in (light - timedelta(days=1), light, light + timedelta(days=1))
    ]
    assert highest[0] < 5.1
    assert highest[2] > 5.0


def with_hole(drone: str, catalogue: Catalogue, gsd_m: float) -> PlanRequest:
    frame = PlanFrame(lon_deg=-20.0, lat_deg=64.0)
    ring = Polygon(
        [(-150, -120), (150, -120), (150, 120), (-150, 120)],
        [[(-45, -40), (45, -40), (45, 40), (-45, 40)]],
    )
    area = SurveyArea(polygons=MultiPolygon([frame.to_geodetic(ring)]), source="a field")
    found = catalogue.drone(drone)
    cameras = catalogue.cameras_of(found)
    return PlanRequest(area=area, drone=found, cameras=cameras, gsd_m=gsd_m)


@pytest.fixture(scope="module", params=[("arducopter", 4.66), ("mini 4 pro", None)])
def round_a_hole(request: pytest.FixtureRequest, catalogue: Catalogue) -> FlightPlan:
    drone, speed_m_s = request.param
    return make_plan(replace(with_hole(drone, catalogue, 0.04), speed_m_s=speed_m_s))


def test_the_last_photograph_of_every_line_is_taken_however_late(round_a_hole: FlightPlan) -> None:
    plan = round_a_hole
    # Some line ends at the hole with hardly a run-out: its photographs are late by more than that.
    short = min(plan.sorties.lines, key=lambda line: line.run_out_m)
    by_distance = plan.release.by is ReleasedBy.DISTANCE
    assert not by_distance or short.run_out_m < short.photos * LATE_M
    for line in plan.sorties.lines:
        asked_m = plan.release.spacing_m(line)
        assert asked_m <= line.spacing_m or line.photos == 1
        last_m = (line.photos - 1) * (asked_m + LATE_M)
        assert last_m < line.length_m + line.run_out_m - 0.01 or line.photos == 1


def test_photographs_proved_are_those_that_the_missions_take(round_a_hole: FlightPlan) -> None:
    plan = round_a_hole
    if plan.release.by is not ReleasedBy.DISTANCE:
        pytest.skip("a timer's file does not say where lines are")
    for mission, way in zip(missions_of(plan), plan.ways, strict=True):
        taken = list(photos_along(mission, plan.release.by))
        assert len(taken) == len(way.photos) == len(mission.photos)
        frame = plan.layout.setting.frame
        at = frame.plan_from_geodetic([(one.lon_deg, one.lat_deg) for one in taken])
        np.testing.assert_allclose(at, way.photos[:, :2], atol=0.02)
        np.testing.assert_allclose(
            [one.height_m for one in taken], [one.height_m for one in mission.photos], atol=0.02
        )
    assert plan.photos == plan.certificate.photographs


@pytest.mark.parametrize(
    ("corners", "rise"),
    [
        ([(39, 2), (10, 34), (23, 67), (53, 46), (58, 35)], 0.0),
        ([(39, -17), (12, 41), (-39, 17), (-12, -41)], 0.0),
        ([(60, -40), (60, 40), (-60, 40), (-60, -40)], 0.4),
    ],
)
def test_every_file_that_a_timer_s_drone_flies_passes_its_rehearsal(
    catalogue: Catalogue, tmp_path: Path, corners: list[tuple[float, float]], rise: float
) -> None:
    """The files differ in where they take the photographs: by clock, distance, at waypoints."""
    frame, drone = PlanFrame(lon_deg=-20.0, lat_deg=64.0), catalogue.drone("mini 4 pro")
    ground = MultiPolygon([frame.to_geodetic(Polygon(corners))])
    plan = make_plan(
        PlanRequest(
            area=SurveyArea(polygons=ground, source="a field"),
            drone=drone,
            cameras=catalogue.cameras_of(drone),
            gsd_m=0.015,
            dem=write_slope(tmp_path / "slope.tif", rise) if rise else None,
            dem_datum="ellipsoid",
        )
    )
    assert plan.certificate.passed
    write_plan(plan, tmp_path / "survey")
    plans = read_plans(Survey(folder=tmp_path / "survey"), catalogue)
    flown = [one for one in plans if one.flown]
    by = {FORMATS[one.format].by for one in flown}
    assert {ReleasedBy.TIMER, ReleasedBy.INTERVAL, ReleasedBy.DISTANCE} <= by
    assert (ReleasedBy.POINT in by) == (rise == 0)
    for one in flown:
        certificate, _ = prove_flown(one)
        assert certificate.passed, (one.title, certificate.checks)
    assert not list(disagreements(plans))


def test_the_profile_on_the_map_passes_every_waypoint(plan: FlightPlan) -> None:
    for mission, profile in zip(missions_of(plan), plan.profiles, strict=True):
        assert mission.takeoff is not None
        places = plan.layout.setting.frame.plan_from_geodetic(
            [(one.lon_deg, one.lat_deg) for one in mission.waypoints]
        )
        along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(places, axis=0).T))])
        drawn = np.interp(along, profile.distance_m, profile.flight_m)
        flown = [mission.takeoff.ground_m + one.height_m for one in mission.waypoints]
        np.testing.assert_allclose(drawn, flown, atol=0.5)


def test_a_drone_whose_app_flies_no_waypoints_is_refused(
    request_: PlanRequest, catalogue: Catalogue
) -> None:
    drone = catalogue.drone("mini 3 pro")
    assert drone.app is App.LITCHI
    with pytest.raises(InputError, match=r"DJI Fly flies no waypoints .* plan it for Litchi"):
        replace(request_, drone=replace(drone, app=App.DJI_FLY))
