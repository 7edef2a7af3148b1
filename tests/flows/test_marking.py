"""The page in which control points are marked."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from flows.cli.control import control as command
from flows.report.quality import MapRecord
from flows.run.marking import make_marking_page
from flows.viewer.marking import PIECE_PX, expected_sights
from ingest.control import ControlOptions, add_control
from tmp.captures import HeightDatum, write_captures
from tmp.errors import InputError
from tmp.geo.control import Control, ControlPoint, read_control, write_control
from tmp.reconstruction import write_reconstruction
from tmp.survey import Survey, read_settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OTHER_LEVEL_M = 60.0
"""By which heights of the points lie above those of the map: a geoid, say."""


@pytest.fixture
def farm(record: MapRecord) -> Survey:
    """A mapped survey with three points that are not marked, white dots in its photographs."""
    survey = record.survey
    block = record.reconstruction
    write_captures(survey.gpkg_path, record.captures)
    result = survey.work_dir / "stages" / "orientation" / "0123"
    write_reconstruction(block, result)
    survey.map_path.write_text(json.dumps({"results": ["stages/orientation/0123"]}))
    ties = block.frame.map_from_world(block.points)
    middle = np.median(ties, axis=0)
    world = np.array([[4.0, 3.0, 0.0], [-5.0, 2.0, 0.0], [0.0, -4.0, 0.0]]) + middle
    points = []
    for name, place in zip("abc", world, strict=True):
        points.append(
            ControlPoint(
                name=name,
                x=float(place[0]),
                y=float(place[1]),
                height_m=float(place[2]) + OTHER_LEVEL_M,
                crs=block.frame.crs,
                sigma_m=0.02,
                height_sigma_m=0.03,
            )
        )
    write_control(survey.folder, Control(points=tuple(points)))
    sights = expected_sights(read_control(survey.folder), block, survey.products_dir)
    survey.photos_dir.mkdir(exist_ok=True)
    for photo in block.photos:
        camera = block.cameras[photo.camera_id]
        picture = np.zeros((camera.height_px, camera.width_px, 3), np.uint8)
        for sight in sights:
            if sight.photograph == photo.name:
                picture[int(sight.y_px), int(sight.x_px)] = 255
        path = (survey.photos_dir / photo.name).with_suffix(".png")
        Image.fromarray(picture).save(path)
        path.rename(survey.photos_dir / photo.name)
    return survey


def data_of(page: Path) -> dict[str, Any]:
    text = (page.parent / "data.js").read_text()
    return json.loads(text.removeprefix("window.TMP_MARKING=").rstrip(";\n"))


def test_points_are_expected_where_the_map_shows_them_whatever_their_heights_count_from(
    farm: Survey,
) -> None:
    block = farm.reconstruction
    control = read_control(farm.folder)
    sights = expected_sights(control, block, farm.products_dir)
    assert {sight.point for sight in sights} == set("abc")
    dsm = farm.read("dsm")
    photos = {photo.name: photo for photo in block.photos}
    for point in control.points:
        row = int((dsm.grid.y_max - point.y) // dsm.grid.cell_m)
        col = int((point.x - dsm.grid.x_min) // dsm.grid.cell_m)
        height = dsm.values[0, row, col]
        assert abs(height + OTHER_LEVEL_M - point.height_m) < 5
        place = block.frame.world_from_map([point.x, point.y, height])
        mine = [sight for sight in sights if sight.point == point.name]
        assert len(mine) >= 2
        for sight in mine:
            photo = photos[sight.photograph]
            camera = block.cameras[photo.camera_id]
            exact = camera.pixel_from_cam(photo.pose.cam_from_world(place))[0]
            assert (sight.x_px, sight.y_px) == pytest.approx(exact, abs=0.01)
        off = [np.hypot(one.x_px - 400, one.y_px - 300) for one in mine]
        assert off == sorted(off)


def test_pieces_show_what_is_expected_in_them(farm: Survey) -> None:
    page = make_marking_page(farm)
    assert page == farm.folder / "control" / "marking" / "index.html"
    for point in data_of(page)["points"]:
        for sight in point["sights"]:
            piece = np.asarray(Image.open(page.parent / sight["file"]), int).sum(axis=2)
            assert piece.shape == (sight["height"], sight["width"])
            assert max(piece.shape) <= PIECE_PX
            row, col = int(sight["y"] - sight["top"]), int(sight["x"] - sight["left"])
            assert piece[row, col] > 300


def test_marks_alone_are_taken_in_and_heights_count_from_the_points_once_they_hold(
    farm: Survey, tmp_path: Path
) -> None:
    before = read_settings(farm).vertical_datum
    sights = expected_sights(read_control(farm.folder), farm.reconstruction, farm.products_dir)
    lines = [f"{s.point},{s.photograph},{s.x_px:.2f},{s.y_px:.2f}" for s in sights]
    table = tmp_path / "marks.csv"
    table.write_text("\n".join(["name,photograph,x_px,y_px", lines[0]]))
    assert not add_control(farm.folder, table, ControlOptions()).holds
    assert read_settings(farm).vertical_datum is before
    table.write_text("\n".join(["name,photograph,x_px,y_px", *lines]))
    found = add_control(farm.folder, table, ControlOptions())
    assert found.holds
    assert len(found.marks) == len(sights)
    assert read_settings(farm).vertical_datum is HeightDatum.CONTROL
    table.write_text("name,photograph,x_px,y_px\nz,DJI_0001.JPG,1,1\n")
    with pytest.raises(
        InputError, match=r"marks 'z', which is no point of the survey; .*\(a, b, c"
    ):
        add_control(farm.folder, table, ControlOptions())


def test_what_the_page_needs_and_lacks_is_said(farm: Survey) -> None:
    marked = CliRunner().invoke(command, [str(farm.folder), "--mark"])
    assert marked.exit_code == 0, marked.output
    assert "index.html" in marked.output
    shown = CliRunner().invoke(command, [str(farm.folder)])
    assert "not enough is marked to hold a map" in shown.output
    far = read_control(farm.folder).points[0]
    write_control(farm.folder, Control(points=(replace(far, x=far.x + 900),)))
    with pytest.raises(InputError, match="no photograph of the map should show any of its points"):
        make_marking_page(farm)
    farm.map_path.unlink()
    with pytest.raises(InputError, match=r"no map yet, which tells where points are; .*preview"):
        make_marking_page(farm)
    assert CliRunner().invoke(command, [str(farm.folder), "--clear"]).exit_code == 0
    assert not (farm.folder / "control").exists()
    with pytest.raises(InputError, match="no control yet; add its points"):
        make_marking_page(farm)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_marks_set_by_mouse_and_keyboard_come_back_as_a_table(farm: Survey, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    page_path = make_marking_page(farm)
    first, second = data_of(page_path)["points"][0]["sights"][:2]
    said: list[str] = []
    asked: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_path.as_uri())
        assert f"a in {first['photograph']}, 1 of" in page.inner_text("#said")
        box = page.locator("#sheet").bounding_box()
        at = first["x"] - first["left"] + 3.5, first["y"] - first["top"] - 2.25
        page.mouse.click(box["x"] + at[0], box["y"] + at[1])
        assert second["photograph"] in page.inner_text("#said")
        page.focus("#stage")
        for key in ("ArrowRight", "ArrowRight", "Shift+ArrowDown", "Enter"):
            page.keyboard.press(key)
        page.keyboard.press("p")
        page.keyboard.press("x")
        page.keyboard.press("u")
        assert "marked in 2 of" in page.inner_text("nav")
        page.reload()  # this browser has kept them
        assert "marked in 2 of" in page.inner_text("nav")
        with page.expect_download() as download:
            page.click("#save")
        download.value.save_as(tmp_path / "marks.csv")
        browser.close()
    assert said == []
    assert {address.partition(":")[0] for address in asked} <= {"file", "blob"}
    found = add_control(farm.folder, tmp_path / "marks.csv", ControlOptions())
    by_photograph = {mark.photograph: (mark.x_px, mark.y_px) for mark in found.marks}
    assert by_photograph[first["photograph"]] == pytest.approx(
        (first["x"] + 3.5, first["y"] - 2.25), abs=0.6
    )
    assert by_photograph[second["photograph"]] == pytest.approx(
        (second["x"] + 2, second["y"] + 0.1), abs=0.01
    )
