from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import shapely
from shapely.geometry import shape

from flows.report import fly_again
from flows.report.fly_again import GEOJSON, KML, Lack, _Plan, find_lacks, say_lacks, write_lacks
from flows.report.ground import Ground
from tmp.geo.frames import LocalFrame
from tmp.geo.grids import Grid
from tmp.reconstruction import Reconstruction
from tmp.survey import Survey


@pytest.fixture
def sheet(reconstruction: Reconstruction) -> Grid:
    """Half metres over all that the sixteen cameras look at, from -40 to 40 m about them."""
    x, y = reconstruction.frame.map_from_world([[0.0, 0.0, 0.0]])[0][:2]
    bounds = (x - 40, y - 40, x + 40, y + 40)
    return Grid.from_bounds(bounds, 0.5, reconstruction.frame.crs)


def ground_of(sheet: Grid, framed: np.ndarray) -> Ground:
    everything = np.ones(sheet.shape)
    return Ground(
        sheet=sheet,
        overlap=framed,
        framed=framed,
        flown=framed > 0,
        measured=everything,
        drawn=everything,
        asked=np.ones(sheet.shape, bool),
        water=np.zeros(sheet.shape),
    )


def hollow(sheet: Grid) -> np.ndarray:
    """Five photographs everywhere but in a square of 8 m by 10 m in the middle, where one is."""
    framed = np.full(sheet.shape, 5)
    row, col = sheet.rows // 2, sheet.cols // 2
    framed[row - 8 : row + 8, col - 10 : col + 10] = 1
    return framed


def test_a_hollow_between_the_cameras_is_found_with_its_place_and_size(
    sheet: Grid, reconstruction: Reconstruction, tmp_path: Path
) -> None:
    ground = ground_of(sheet, hollow(sheet))
    (lack,) = find_lacks(ground, reconstruction, Survey(folder=tmp_path), whole=True)
    assert lack.area_m2 == pytest.approx(16 * 20 * 0.25)
    assert (lack.fewest, lack.wanted, lack.lines) == (1, 3, ())
    longitude, latitude, _ = reconstruction.frame.geodetic_from_world([[0.0, 0.0, 0.0]])[0]
    assert lack.outline.distance(shapely.Point(longitude, latitude)) < 1e-5
    assert "80 m² about" in lack.in_words()
    assert "in only 1 of the 3 photographs it needs" in lack.in_words()


def test_ground_that_enough_photographs_hold_and_the_rim_beyond_are_not_flown_again(
    sheet: Grid, reconstruction: Reconstruction, tmp_path: Path
) -> None:
    framed = np.full(sheet.shape, 5)
    framed[:10] = 0  # beyond the outermost cameras
    framed[80, 80] = 0  # a speck
    found = find_lacks(
        ground_of(sheet, framed), reconstruction, Survey(folder=tmp_path), whole=True
    )
    assert found == ()


def test_a_survey_without_a_place_has_nothing_to_fly_to(
    sheet: Grid, reconstruction: Reconstruction, tmp_path: Path
) -> None:
    nowhere = replace(reconstruction, frame=LocalFrame(origin=None, crs=None))
    ground = ground_of(sheet, hollow(sheet))
    assert find_lacks(ground, nowhere, Survey(folder=tmp_path), whole=True) == ()


def test_within_an_area_that_was_given_only_that_counts(
    sheet: Grid, reconstruction: Reconstruction, tmp_path: Path
) -> None:
    asked = np.zeros(sheet.shape, bool)
    asked[:, : sheet.cols // 2] = True
    ground = replace(ground_of(sheet, hollow(sheet)), asked=asked)
    (lack,) = find_lacks(ground, reconstruction, Survey(folder=tmp_path), whole=False)
    assert lack.area_m2 == pytest.approx(16 * 10 * 0.25)


def plan_over(reconstruction: Reconstruction, reach: float) -> _Plan:
    """Return a plan of five lines, 10 m apart, of photographs every 8 m, of sortie 1 and 2."""
    x0, y0 = reconstruction.frame.map_from_world([[0.0, 0.0, 0.0]])[0][:2]
    places, lines = [], []
    for number, y in enumerate((-20, -10, 0, 10, 20)):
        for x in range(-24, 25, 8):
            places.append((x0 + x, y0 + y))
            lines.append((1 + (number > 2), 1 + number % 3))
    return _Plan(
        area=shapely.box(x0 - reach, y0 - reach, x0 + reach, y0 + reach),
        places=np.array(places, float),
        lines=np.array(lines),
        spacing_m=8.0,
    )


def test_the_lines_of_a_plan_that_were_not_flown_are_named(
    sheet: Grid,
    reconstruction: Reconstruction,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    plan = plan_over(reconstruction, 30.0)
    monkeypatch.setattr(fly_again, "_read_plan", lambda *_: plan)
    flown = [place for place, line in zip(plan.places, plan.lines, strict=True) if line[1] != 3]
    world = reconstruction.frame.world_from_map([(x, y, 110.0) for x, y in flown])
    (photo, *_), pose = reconstruction.photos, reconstruction.photos[0].pose
    photos = tuple(
        replace(photo, pose=replace(pose, translation=-pose.rotation @ centre)) for centre in world
    )
    block = replace(reconstruction, photos=photos)
    (lack,) = find_lacks(
        ground_of(sheet, hollow(sheet)), block, Survey(folder=tmp_path), whole=True
    )
    assert lack.lines == ((1, 3),)
    assert lack.in_words().endswith(": line 3 of sortie 1")


def test_ground_of_a_plan_beyond_all_photographs_is_lacking_too(
    sheet: Grid,
    reconstruction: Reconstruction,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    plan = plan_over(reconstruction, 50.0)
    monkeypatch.setattr(fly_again, "_read_plan", lambda *_: plan)
    ground = ground_of(sheet, np.full(sheet.shape, 5))
    (lack,) = find_lacks(ground, reconstruction, Survey(folder=tmp_path), whole=True)
    assert lack.fewest == 0
    assert lack.area_m2 == pytest.approx(100**2 - 80**2, rel=0.03)
    far = plan_over(reconstruction, 5000.0)  # of another place
    monkeypatch.setattr(fly_again, "_read_plan", lambda *_: far)
    assert find_lacks(ground, reconstruction, Survey(folder=tmp_path), whole=True) == ()


def lack_at(area_m2: float) -> Lack:
    return Lack(
        area_m2=area_m2,
        fewest=0,
        wanted=3,
        outline=shapely.box(-21.9, 64.1, -21.8999, 64.1001),
        on_map=shapely.box(0, 0, 10, 10),
        lines=((1, 4), (1, 5)),
    )


def test_places_are_written_for_maps_and_phones_and_go_when_they_are_flown(tmp_path: Path) -> None:
    write_lacks([lack_at(120.0), lack_at(60.0)], tmp_path)
    said = json.loads((tmp_path / GEOJSON).read_text())
    first, second = said["features"]
    assert (first["properties"]["number"], second["properties"]["area_m2"]) == (1, 60.0)
    assert first["properties"]["lines"] == "lines 4, 5 of sortie 1"
    assert shape(first["geometry"]).equals(lack_at(1).outline)
    names = [one.text for one in ET.parse(tmp_path / KML).iter() if one.tag.endswith("}name")]
    assert names == ["Fly again", "1: lines 4, 5 of sortie 1", "2: lines 4, 5 of sortie 1"]
    write_lacks([], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_the_largest_places_are_said_by_a_command() -> None:
    said = say_lacks([lack_at(area) for area in (90, 80, 70, 60, 50)])
    assert len(said) == 4
    assert said[-1] == "2 smaller ones"
