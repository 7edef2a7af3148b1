"""The map before take-off: a picture and a page that say the same and need nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import shapely
from flightplan.outputs.mapcolours import count_picture, cursor_pixels, gsd_picture
from flightplan.outputs.mapsheet import DrawnSortie, MapView, PlanPicture, plan_layers
from PIL import Image

from flightplan.coverage.routes import Line
from flightplan.outputs.plan_map import draw_map, write_map_html
from flightplan.proof.certificate import Asked, certify
from flightplan.proof.footprints import Photos, Sheet
from flightplan.proof.prove import prove
from flightplan.terrain.profiles import follow
from flightplan.terrain.terrain import Terrain
from tmp.cameras import Camera
from tmp.errors import InputError
from tmp.geo.frames import PlanFrame

CAMERA = Camera(
    camera_id="even", width_px=4000, height_px=3000, fx_px=3000, fy_px=3000, cx_px=2000, cy_px=1500
)  # fmt: skip
HOLE = shapely.box(60, 40, 90, 70)
AREA = shapely.box(0, 0, 150, 100) - HOLE


@pytest.fixture(scope="module")
def plan() -> PlanPicture:
    """Five lines at 60 m on a slope, too few for the nine photographs asked."""
    y = 300 - (np.arange(100) + 0.5) * 6
    ground = Terrain(
        heights=np.repeat(0.1 * y[:, None], 100, axis=1).astype(np.float32),
        x_min=-300, y_max=300, cell_m=6, datum="EGM2008 height",
    )  # fmt: skip
    frame = PlanFrame(lon_deg=-21.9, lat_deg=64.1)
    lines = [Line(start=(0, float(v)), end=(150, float(v)), photos=11) for v in range(0, 101, 25)]
    sheet = Sheet.over(AREA, ground, 2.0, crs=frame.crs)
    photos = Photos.on_lines(lines, lambda xy: ground.at(xy) + 60)
    coverage = prove(photos, CAMERA, sheet)
    ends = np.vstack([line.stations[[0, -1]] for line in lines])
    way = np.column_stack([ends, ground.at(ends) + 60])
    surveying = np.arange(len(way) - 1) % 2 == 0
    profile = follow(way, ground, surveying=surveying)
    asked = Asked(photographs=9, gsd_m=0.02, least_height_agl_m=55, most_height_agl_m=65)
    certificate = certify(
        asked,
        coverage,
        profiles=[profile],
        photographs=len(photos),
        frame=frame,
        repairs=["2 photographs added at the west side."],
    )
    sortie = DrawnSortie(
        name="Sortie 1", way=ends, surveying=surveying, photos=photos.position[:, :2],
        profile=profile, takeoff=(-20.0, -10.0), facts={"time": "4 min", "photographs": "55"},
    )  # fmt: skip
    return PlanPicture(
        title="Field <1> & more",
        frame=frame,
        area=AREA,
        coverage=coverage,
        asked=asked,
        certificate=certificate,
        sorties=[sortie],
        terrain=ground,
        exclusions=[HOLE],
        facts={"Drone": "Mini", "Photographs": "55"},
        warnings=["The wind is strong."],
    )


class Page(HTMLParser):
    """Collects what a page refers to and which layers it switches."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.switches: list[str] = []
        self.ids: list[str] = []
        self.hidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [given[name] or "" for name in ("src", "href") if name in given]
        if "data-layer" in given:
            self.switches.append(given["data-layer"] or "")
        if "id" in given:
            self.ids.append(given["id"] or "")
            if "hidden" in given:
                self.hidden.append(given["id"] or "")


def test_the_page_needs_no_other_file_and_each_switch_has_its_layer(
    plan: PlanPicture, tmp_path: Path
) -> None:
    path = tmp_path / "map.html"
    write_map_html(path, plan)
    text = path.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.links
    assert all(link.startswith("data:") for link in page.links)
    assert not re.search(r"@import|url\(|<link", text)
    assert {f"layer-{name}" for name in page.switches} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.hidden == ["layer-gsd"]
    assert "Field &lt;1&gt; &amp; more" in text
    assert "The wind is strong." in text
    assert "2 photographs added at the west side." in text
    assert path.stat().st_size < 1_000_000


def test_a_page_written_twice_is_the_same(plan: PlanPicture, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_map_html(tmp_path / name, plan)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_the_picture_shows_failing_ground_in_its_colour_and_the_exclusion_hatched(
    plan: PlanPicture, tmp_path: Path
) -> None:
    path = tmp_path / "map.png"
    draw_map(path, plan)
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    red = (picture[..., 0] > 170) & (picture[..., 1] < 80) & (picture[..., 2] < 80)
    orange = np.abs(picture - (248, 203, 155)).max(axis=2) < 12
    assert red.sum() > 300
    assert orange.sum() > 1000


def test_the_cursor_reads_back_what_was_counted(plan: PlanPicture) -> None:
    pixels, bounds = cursor_pixels(plan.coverage)
    rows, cols = plan.coverage.grid.shape
    assert pixels.shape == (2 * rows, cols, 3)
    assert bounds == list(plan.coverage.grid.bounds)
    seen = plan.coverage.inside & (plan.coverage.count > 0)
    np.testing.assert_array_equal(pixels[:rows, :, 0][seen], plan.coverage.count[seen])
    gsd = (pixels[:rows, :, 1].astype(int) * 256 + pixels[:rows, :, 2]) / 1e4
    np.testing.assert_allclose(gsd[seen], plan.coverage.gsd_m[seen], atol=6e-5)
    height = (pixels[rows:, :, 1].astype(int) * 256 + pixels[rows:, :, 2]) / 10
    np.testing.assert_allclose(height[seen], plan.coverage.height_agl_m[seen], atol=0.051)
    assert (pixels[:rows, :, 0][~plan.coverage.inside] == 255).all()


def test_a_large_proof_is_thinned_for_the_cursor_and_keeps_its_place(plan: PlanPicture) -> None:
    pixels, (west, south, east, north) = cursor_pixels(plan.coverage, longest=30)
    assert pixels.shape[1] <= 30
    each_m = (east - west) / pixels.shape[1]
    assert each_m == pytest.approx((north - south) / (pixels.shape[0] / 2))
    assert west + each_m / 2 == pytest.approx(plan.coverage.grid.x_min + 1.0)


def test_legends_cover_the_whole_area(plan: PlanPicture) -> None:
    view = MapView.around(plan)
    for _, entries in (
        count_picture(plan.coverage, 9, view),
        gsd_picture(plan.coverage, 0.02, view),
    ):
        shares = [re.search(r"\((\d+)%\)", entry.label) for entry in entries]
        assert sum(int(share[1]) for share in shares if share) == pytest.approx(100, abs=4)


def test_coordinates_of_the_corners_are_those_of_the_plan(plan: PlanPicture) -> None:
    view = MapView.around(plan)
    north_west = plan.frame.geodetic_from_plan(view.corners)[0]
    assert north_west[0] < -21.9
    assert north_west[1] > 64.1
    np.testing.assert_allclose(view.place(view.corners[[0, 2]]), [[0, 0], view.size], atol=1e-6)


def test_a_plan_without_sorties_is_refused(plan: PlanPicture) -> None:
    with pytest.raises(InputError, match="no sortie to draw"):
        PlanPicture(
            title="empty", frame=plan.frame, area=AREA, coverage=plan.coverage, asked=plan.asked,
            certificate=plan.certificate, sorties=[], terrain=plan.terrain,
        )  # fmt: skip


def test_lines_have_arrows_however_many_waypoints_they_have(plan: PlanPicture) -> None:
    (sortie,) = plan.sorties
    ends = sortie.way[:2]
    few = replace(plan, sorties=[replace(sortie, way=ends, surveying=np.array([True]))])
    dense = np.linspace(*ends, 40)
    many = replace(plan, sorties=[replace(sortie, way=dense, surveying=np.ones(39, bool))])
    arrows = [
        len(next(layer.shapes for layer in plan_layers(one, MapView.around(plan))
                 if layer.name == "lines")) - 1
        for one in (few, many)
    ]  # fmt: skip
    assert arrows[0] == arrows[1] > 1


def test_numbers_in_the_page_are_strict_json(plan: PlanPicture, tmp_path: Path) -> None:
    write_map_html(tmp_path / "map.html", plan)
    found = re.search(r"const proof = (\{.*\});", (tmp_path / "map.html").read_text())
    assert found
    assert set(json.loads(found[1])) == {"picture", "bounds", "view", "corners"}
