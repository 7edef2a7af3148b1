"""Corridors: lines of flight along a road or river, its bends included."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from click.testing import CliRunner, Result

from flightplan.coverage.path import PathOptions, plan_path
from flightplan.coverage.routes import Pattern
from flightplan.coverage.sweep import along_line
from flightplan.equipment.flight_model import Motion
from tmp.cli import main

PATTERN = Pattern(across_m=80, along_m=60, line_spacing_m=24, photo_spacing_m=15)
BENT = shapely.LineString([(0, 0), (400, 0), (400, 300)])
ZIGZAG = shapely.LineString([(0, 0), (300, 60), (450, 300), (800, 340), (900, 150)])


def corridor(line: shapely.LineString, width_m: float = 60.0) -> shapely.Polygon:
    return line.buffer(width_m / 2, cap_style="flat", join_style="mitre")


@pytest.mark.parametrize("line", [BENT, ZIGZAG, shapely.LineString([(0, 0), (500, 0), (0, 40)])])
def test_a_corridor_is_divided_without_gap_or_overlap(line: shapely.LineString) -> None:
    ground = corridor(line)
    cells = along_line(ground, line, 5.0)
    assert len(cells) == len(line.coords) - 1
    assert sum(cell.ground.area for cell in cells) == pytest.approx(ground.area)
    whole = shapely.union_all([cell.ground for cell in cells])
    assert shapely.area(whole.symmetric_difference(ground)) == pytest.approx(0.0, abs=1e-6)


def test_bends_smaller_than_the_tolerance_are_none() -> None:
    way = shapely.LineString([(0, 0), (100, 4), (200, 0), (200, 200)])
    headings = [cell.heading_deg for cell in along_line(corridor(way), way, 5.0)]
    assert headings == [90.0, 0.0]


def test_lines_follow_the_bends_of_a_winding_road() -> None:
    turns = np.cumsum(np.radians(np.random.default_rng(3).uniform(-70, 70, 16)))
    steps = 200 * np.column_stack([np.cos(turns), np.sin(turns)])
    road = shapely.LineString(np.vstack([[0, 0], np.cumsum(steps, axis=0)]))
    routes = [
        plan_path(
            corridor(road), PATTERN, Motion(), options=PathOptions(effort=0.05, middle=middle)
        )
        for middle in (None, road)
    ]
    assert routes[1].time_s < 0.95 * routes[0].time_s
    courses = 90.0 - np.degrees(turns)
    for line in routes[1].lines:
        if line.length_m > 100:
            off = (line.heading_deg - courses + 90.0) % 180.0 - 90.0
            assert np.abs(off).min() < 20.0


def tmp(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def road(tmp_path: Path) -> Path:
    places = [[-19.76, 64.143], [-19.756, 64.143], [-19.756, 64.145]]
    line = {"type": "LineString", "coordinates": places}
    feature = {"type": "Feature", "properties": {}, "geometry": line}
    path = tmp_path / "road.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return path


def test_a_line_is_planned_with_its_width(
    road: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flightplan.outputs.plan_folder.write_map", lambda *_: None)
    words = ("--width", "60m", "--drone", "mini 4 pro", "--gsd", "3cm")
    result = tmp("plan", road, "-o", tmp_path / "road", *words)
    assert result.exit_code == 0, result.output
    assert "Every place is seen by at least" in result.output
    # 194 m along the parallel and 223 m along the meridian, 60 m wide, and the corner.
    assert "area                       2.5" in result.output


def test_a_line_without_its_width_is_refused_in_one_line(road: Path, tmp_path: Path) -> None:
    result = tmp("plan", road, "-o", tmp_path / "road", "--drone", "mini 4 pro")
    assert result.exit_code == 1
    assert "--width of the corridor along it" in result.output
    assert len(result.output.strip().splitlines()) == 1
