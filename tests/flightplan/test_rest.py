"""The rest of a survey that was flown in part."""

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import shapely
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from flightplan.equipment.catalogue import read_catalogue
from flightplan.equipment.flight_model import Battery
from flightplan.outputs.plan_folder import write_plan
from flightplan.plan.planning import FlightPlan, plan_rest, plan_survey
from flightplan.plan.rest import MarkedFlown, left_of, marked_from_text, read_former
from tmp.captures import Capture, write_captures
from tmp.cli import main
from tmp.errors import InputError
from tmp.geo.areas import SurveyArea
from tmp.geo.frames import PlanFrame
from tmp.survey import Survey

FRAME = PlanFrame(lon_deg=-20.0, lat_deg=64.0)
GNSS_M = 1.5
Float = NDArray[np.float64]


def field(wide_m: float, tall_m: float) -> SurveyArea:
    box = shapely.box(-wide_m / 2, -tall_m / 2, wide_m / 2, tall_m / 2)
    return SurveyArea(polygons=shapely.MultiPolygon([FRAME.to_geodetic(box)]), source="a field")


@pytest.fixture(scope="module", params=["mini 4 pro", "px4"])
def flown(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FlightPlan, Path]:
    """A plan of several sorties, and the folder of its survey."""
    battery = Battery(reserve=0.8 if request.param == "mini 4 pro" else 0.75)
    plan = plan_survey(
        field(260, 150), drone=request.param, gsd_m=0.02, battery=battery, takeoffs=[(-20.0, 64.0)]
    )
    assert len(plan.sorties.flights) >= 2
    folder = tmp_path_factory.mktemp("rest") / "field"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flightplan.outputs.plan_folder.write_map", lambda *_: None)
        write_plan(plan, folder)
    return plan, folder


@pytest.fixture
def survey(flown: tuple[FlightPlan, Path], tmp_path: Path) -> Survey:
    shutil.copytree(flown[1], tmp_path / "field")
    return Survey(folder=tmp_path / "field")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flightplan.outputs.plan_folder.write_map", lambda *_: None)


def taken(plan: FlightPlan, sortie: int, share: float = 1.0) -> Float:
    """Return longitude and latitude of the first photographs of a sortie, as GNSS has them."""
    places = plan.ways[sortie - 1].photos[:, :2]
    places = places[: round(share * len(places))]
    noise = np.random.default_rng(sortie).normal(0.0, GNSS_M / 2, places.shape).clip(-3, 3)
    return plan.layout.setting.frame.geodetic_from_plan(places + noise)


def record(survey: Survey, sortie: int, places: Float) -> None:
    rows = "".join(f"2026-11-30T12:00:00.000Z,{lon:.7f},{lat:.7f},1\n" for lon, lat in places)
    path = survey.plan_dir / f"flown-sortie-{sortie}.csv"
    path.write_text("time_utc,lon_deg,lat_deg,height_amsl_m\n" + rows + "2026-11-30T12:0")


def ingest(survey: Survey, places: Float) -> None:
    start = datetime(2026, 11, 30, 12, tzinfo=UTC)
    captures = [
        Capture(
            name=f"{number}{band}.jpg",
            source="",
            sha256="0" * 64,
            size_bytes=1,
            width_px=1,
            height_px=1,
            camera_id="c",
            rig_id=str(number),
            time_utc=start + timedelta(seconds=2 * number),
            longitude_deg=lon,
            latitude_deg=lat,
            height_m=100.0,
        )
        for number, (lon, lat) in enumerate(places)
        for band in ("red", "nir")
    ]
    write_captures(survey.gpkg_path, captures)


def test_lines_without_photographs_are_left_as_they_were(
    flown: tuple[FlightPlan, Path], survey: Survey
) -> None:
    plan, _ = flown
    record(survey, 1, taken(plan, 1))
    former = read_former(survey, read_catalogue())
    left, before = left_of(former, survey)
    wanted = plan.sorties.lines[len(plan.sorties.flights[0].lines) :]
    assert [line.photos for line in left] == [line.photos for line in wanted]
    for line, planned in zip(left, wanted, strict=True):
        np.testing.assert_allclose(line.stations, planned.stations, atol=1e-3)
        np.testing.assert_allclose(line.flown, planned.flown, atol=1e-3)
    assert sum(line.photos for line in before.lines) == plan.sorties.flights[0].photos


def test_of_a_line_broken_off_the_stations_left_are_flown_and_one_before(
    flown: tuple[FlightPlan, Path], survey: Survey
) -> None:
    plan, _ = flown
    line = plan.sorties.lines[0]
    count = int((plan.ways[0].photo_lines == 0).sum())
    record(survey, 1, taken(plan, 1)[: count // 2])
    left, before = left_of(read_former(survey, read_catalogue()), survey)
    first = left[0]
    np.testing.assert_allclose(first.end, line.end, atol=1e-3)
    away = np.hypot(*(line.stations[:, None] - first.stations).transpose(2, 0, 1))
    assert away.min(axis=0).max() < 1e-3
    assert 0.3 * line.photos < first.photos < 0.8 * line.photos
    (part,) = before.lines
    assert first.photos + part.photos == line.photos + 1  # flown twice


def test_photographs_of_the_survey_tell_the_same_and_are_counted_once(
    flown: tuple[FlightPlan, Path], survey: Survey
) -> None:
    plan, _ = flown
    former, places = read_former(survey, read_catalogue()), taken(plan, 1)
    ingest(survey, places)
    by_card = left_of(former, survey)
    record(survey, 1, places)
    by_both = left_of(former, survey)
    assert by_card[0] == by_both[0]
    assert len(by_card[1].places) == len(by_both[1].places) <= len(places)


def test_both_parts_are_proved_together_and_rehearsed(
    flown: tuple[FlightPlan, Path], survey: Survey, undrawn: None
) -> None:
    plan, _ = flown
    record(survey, 1, taken(plan, 1))
    (survey.plan_dir / "flights.json").write_text(
        '{"loaded": ["x"], "sorties": {"sortie-1": {"waypoint": 7}}, "sending": {}}'
    )
    result = tmp("plan", "--rest", "-o", survey.folder)
    assert result.exit_code == 0, result.output
    assert "flown before" in result.output
    assert "the former plan is kept in" in result.output
    flights = json.loads((survey.plan_dir / "flights.json").read_text())
    assert flights == {"loaded": ["x"], "sorties": {}, "sending": {}}
    own = tmp("rehearse", survey.folder).output.split("read  ")[1]
    assert "Every place is seen by at least" in own
    assert "FAILS" not in own
    said = json.loads((survey.plan_dir / "plan.json").read_text())
    assert said["views"] == plan.asked.photographs
    assert said["height_agl_m"] == pytest.approx(plan.layout.spacing.height_agl_m, abs=1e-3)
    flown_before = [one for one in said["lines"] if one["sortie"] is None]
    assert len(flown_before) == len(plan.sorties.flights[0].lines)
    # What rain leaves of the rest is planned in its turn.
    again = plan_rest(survey, flown=[MarkedFlown(sortie=1)])
    assert again.certificate.passed or len(again.sorties.lines) > 0
    assert len(again.before.lines) > len(flown_before)


def test_what_was_flown_may_be_said_by_hand(flown: tuple[FlightPlan, Path], survey: Survey) -> None:
    plan, _ = flown
    former = read_former(survey, read_catalogue())
    left, before = left_of(former, survey, [MarkedFlown(sortie=1)])
    assert len(before.lines) == len(plan.sorties.flights[0].lines)
    assert len(before.places) == sum(line.photos for line in before.lines)
    part, _ = left_of(former, survey, [MarkedFlown(sortie=1, first=1, last=1)])
    assert len(part) == len(plan.sorties.lines) - 1
    everything = [MarkedFlown(sortie=k + 1) for k in range(len(plan.sorties.flights))]
    with pytest.raises(InputError, match="all lines of its plan were flown"):
        left_of(former, survey, everything)
    assert len(left) == len(plan.sorties.lines) - len(before.lines)


def test_a_photograph_missed_here_or_there_is_no_reason_to_fly_again(
    flown: tuple[FlightPlan, Path], survey: Survey
) -> None:
    plan, _ = flown
    places = taken(plan, 1)
    record(survey, 1, np.delete(places, np.arange(4, len(places) - 8, 9), axis=0))
    left, _ = left_of(read_former(survey, read_catalogue()), survey)
    assert len(left) == len(plan.sorties.lines) - len(plan.sorties.flights[0].lines)


def test_lines_across_are_not_flown_by_those_they_cross(tmp_path: Path, undrawn: None) -> None:
    plan = plan_survey(field(200, 120), drone="px4", gsd_m=0.02, double_grid=True)
    survey = Survey(folder=tmp_path / "grid")
    write_plan(plan, survey.folder)
    course = plan.sorties.lines[0].heading_deg % 180.0
    along = np.array([abs(one.heading_deg % 180 - course) < 5 for one in plan.sorties.lines])
    assert 0 < along.sum() < len(along)
    mine = np.concatenate(
        [
            way.photos[along[flight.first + way.photo_lines], :2]
            for flight, way in zip(plan.sorties.flights, plan.ways, strict=True)
        ]
    )
    record(survey, 1, plan.layout.setting.frame.geodetic_from_plan(mine))
    left, _ = left_of(read_former(survey, read_catalogue()), survey)
    assert len(left) == (~along).sum()


def tmp(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--rest"], "no photograph lies on a line of its plan; .* --flown 1"),
        (["--rest", "--flown", "99"], "--flown 99: the plan has no such sortie"),
        (["--rest", "--flown", "1:2-99"], "--flown 1:2-99: the plan has sortie 1 with"),
        (["--rest", "--flown", "one"], "give a sortie, such as 2, or lines of one"),
        (["--rest", "--gsd", "3cm"], "--gsd is as it was asked"),
        (["--flown", "1"], "give it with --rest"),
        ([], "AREA is missing; or say --rest"),
    ],
)
def test_what_is_no_rest_is_refused_in_one_line(
    words: list[str], reason: str, survey: Survey
) -> None:
    before = (survey.plan_dir / "plan.json").read_bytes()
    result = tmp("plan", "-o", survey.folder, *words)
    assert result.exit_code == 1
    assert len(result.output.strip().splitlines()) == 1
    assert re.search(reason, result.output)
    assert (survey.plan_dir / "plan.json").read_bytes() == before


def test_a_survey_without_a_plan_has_no_rest(tmp_path: Path) -> None:
    assert "holds no plan" in tmp("plan", "--rest", "-o", tmp_path / "s").output


def test_marks_are_read_as_they_are_written() -> None:
    assert marked_from_text("2") == MarkedFlown(sortie=2)
    assert marked_from_text("2:5") == MarkedFlown(sortie=2, first=5, last=5)
    with pytest.raises(InputError, match="give a sortie"):
        marked_from_text("2:")


def test_lines_nine_metres_apart_are_told_apart_in_spite_of_gnss(
    tmp_path: Path, undrawn: None
) -> None:
    plan = plan_survey(field(90, 60), drone="rehearsal", gsd_m=0.02)
    assert plan.layout.spacing.line_m < 10.0
    survey = Survey(folder=tmp_path / "low")
    write_plan(plan, survey.folder)
    (way,) = plan.ways
    first = way.photo_lines < 3
    places = way.photos[first, :2] + np.random.default_rng(5).normal(0, 2.0, (first.sum(), 2))
    headings = [plan.sorties.lines[k].heading_deg for k in way.photo_lines[first]]
    lon_lat = plan.layout.setting.frame.geodetic_from_plan(places)
    rows = "".join(
        f"{lon:.7f},{lat:.7f},{yaw:.1f}\n"
        for (lon, lat), yaw in zip(lon_lat, headings, strict=True)
    )
    (survey.plan_dir / "flown-sortie-1.csv").write_text("lon_deg,lat_deg,yaw_deg\n" + rows)
    left, before = left_of(read_former(survey, read_catalogue()), survey)
    assert [line.photos for line in left] == [line.photos for line in plan.sorties.lines[3:]]
    assert len(before.places) > 0.9 * first.sum()
