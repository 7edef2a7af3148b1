"""The map before take-off: a picture and a page that say the same and need nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image

from flightplan.coverage.routes import Line
from flightplan.outputs.map_page import write_map
from flightplan.outputs.plan_map import (
    DrawnSortie,
    PlanPicture,
    count_keys,
    cursor_pixels,
    gsd_keys,
    plan_layers,
)
from flightplan.proof.certificate import Asked, certify
from flightplan.proof.footprints import GroundCells, Photos
from flightplan.proof.prove import prove
from flightplan.terrain.profiles import profile_along
from flightplan.terrain.terrain import Terrain
from tmp.cameras import Camera
from tmp.errors import InputError
from tmp.geo.frames import PlanFrame

CAMERA = Camera(
    camera_id="even", width_px=4000, height_px=3000, fx_px=3000, fy_px=3000, cx_px=2000, cy_px=1500
)  # fmt: skip
HOLE = shapely.box(60, 40, 90, 70)
AREA = shapely.box(0, 0, 150, 100) - HOLE
SVG = "{http://www.w3.org/2000/svg}"


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
    sheet = GroundCells.over(AREA, ground, 2.0, crs=frame.crs)
    photos = Photos.on_lines(lines, lambda xy: ground.at(xy) + 60)
    coverage = prove(photos, CAMERA, sheet)
    ends = np.vstack([line.stations[[0, -1]] for line in lines])
    way = np.column_stack([ends, ground.at(ends) + 60])
    surveying = np.arange(len(way) - 1) % 2 == 0
    profile = profile_along(way, ground, surveying=surveying)
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


def test_a_base_map_lies_below_and_the_page_stays_small(plan: PlanPicture, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bands = rng.integers(0, 255, (3, 700, 700)).astype(np.uint8)
    bands[2] = 0
    with rasterio.open(
        tmp_path / "base.tif", "w", driver="GTiff", count=3, width=700, height=700, dtype="uint8",
        crs=plan.frame.crs, transform=Affine(1, 0, -200, 0, -1, 400),
    ) as target:  # fmt: skip
        target.write(bands)
    over = replace(plan, basemap=tmp_path / "base.tif")
    write_map(tmp_path / "a.png", tmp_path / "a.html", over)
    assert (tmp_path / "a.html").stat().st_size < 3e6
    write_map(tmp_path / "b.png", tmp_path / "b.html", plan)
    pixels = [np.asarray(Image.open(tmp_path / name).convert("RGB")) for name in ("a.png", "b.png")]
    assert pixels[0].shape == pixels[1].shape
    # Noise of red and green, paler by the wash, without its blue.
    apart = (pixels[0] != pixels[1]).any(axis=-1)
    colours = pixels[0][apart].astype(float)
    assert colours[:, 0].std() > 20
    assert np.median(colours[:, 2]) < np.median(colours[:, 0]) - 30


class Page(HTMLParser):
    """Collects what a page refers to and which layers it switches."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.switches: dict[str, bool] = {}
        """Whether each layer's box is ticked."""
        self.ids: list[str] = []
        self.layers: dict[str, set[bool]] = {}
        """Whether the parts of each layer are shown."""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [given[name] or "" for name in ("src", "href") if name in given]
        if layer := given.get("data-layer"):
            self.switches[layer] = "checked" in given
        if "id" in given:
            self.ids.append(given["id"] or "")
        for name in (given.get("class") or "").split():
            if name.startswith("layer-"):
                shown = "hidden" not in given
                self.layers.setdefault(name.removeprefix("layer-"), set()).add(shown)


@pytest.fixture(scope="module")
def written(plan: PlanPicture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the picture and the page of the plan."""
    folder = tmp_path_factory.mktemp("plan")
    write_map(folder / "map.png", folder / "map.html", plan)
    return folder


def svgs_of(folder: Path) -> list[ElementTree.Element]:
    """Return the map and the profiles of a page."""
    text = (folder / "map.html").read_text(encoding="utf-8")
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def texts_of(svg: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in svg.iter(f"{SVG}text")]


def test_the_page_needs_no_other_file_and_its_identifiers_are_its_own(written: Path) -> None:
    text = (written / "map.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.links
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link[0] == "#"} <= set(page.ids)
    assert not re.search(r"@import|url\([^#]|<link", text)
    assert len(page.ids) == len(set(page.ids))
    assert "Field &lt;1&gt; &amp; more" in text
    assert "The wind is strong." in text
    assert "2 photographs added at the west side." in text
    assert len(text) < 500_000


def test_each_switch_shows_and_hides_the_parts_of_its_layer(
    plan: PlanPicture, written: Path
) -> None:
    page = Page((written / "map.html").read_text(encoding="utf-8"))
    assert page.switches.keys() == page.layers.keys()
    assert page.layers == {layer: {ticked} for layer, ticked in page.switches.items()}
    assert [layer for layer, ticked in page.switches.items() if not ticked] == ["gsd"]
    crowd = replace(plan.sorties[0], photos=np.repeat(plan.sorties[0].photos, 10, axis=0))
    layers = plan_layers(replace(plan, sorties=[crowd]))
    assert [layer.name for layer in layers if not layer.shown] == ["gsd", "photos"]


def test_the_map_says_where_it_is_and_how_long_things_are(written: Path) -> None:
    said = texts_of(svgs_of(written)[0])
    assert {"N", "A", "20 m"} <= set(said)
    assert "21.9000° W" in said
    assert "64.1000° N" in said
    # The ground rises by a metre in ten: its contours carry their heights.
    assert {"0", "5", "10"} & set(said)
    assert "-0" not in said


def test_the_profile_has_units_and_names_the_lowest_place(plan: PlanPicture, written: Path) -> None:
    _, profile = svgs_of(written)
    said = texts_of(profile)
    lowest = plan.sorties[0].profile.height_agl_m.min()
    for words in (
        *("distance flown, m", "height, m (EGM2008 height)", f"lowest on lines {lowest:.1f} m"),
        *("heights asked on lines", "flight with photographs", "without"),
    ):
        assert words in said


def test_a_map_written_twice_is_the_same(plan: PlanPicture, written: Path, tmp_path: Path) -> None:
    write_map(tmp_path / "map.png", tmp_path / "map.html", plan)
    for name in ("map.png", "map.html"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_the_picture_shows_failing_ground_in_its_colour_and_the_exclusion_hatched(
    written: Path,
) -> None:
    picture = np.asarray(Image.open(written / "map.png").convert("RGB")).astype(int)
    red = (picture[..., 0] > 150) & (picture[..., 1] < 80) & (picture[..., 2] < 80)
    orange = np.abs(picture - (248, 203, 155)).max(axis=2) < 12
    assert red.sum() > 600
    assert orange.sum() > 2000


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
    for entries in (count_keys(plan.coverage, 9), gsd_keys(plan.coverage, 0.02)):
        shares = [re.search(r"\((\d+)%\)", label) for label, _ in entries]
        assert sum(int(share[1]) for share in shares if share) == pytest.approx(100, abs=4)


def test_classes_of_sharpness_have_names_from_the_finest_to_the_unseen(plan: PlanPicture) -> None:
    coverage = replace(
        plan.coverage,
        inside=np.ones((1, 6), bool),
        gsd_m=np.float32([[0.01, 0.018, 0.021, 0.03, 0.04, np.inf]]),
    )
    labels = [label for label, _ in gsd_keys(coverage, 0.02)]
    assert labels == [
        f"{name} (17%)"
        for name in (
            *("up to 1.60 cm", "1.60 to 2.02 cm", "2.02 to 2.40 cm", "2.40 to 3.20 cm"),
            *("above 3.20 cm", "not seen"),
        )
    ]


def test_the_page_finds_the_ground_under_the_pointer(plan: PlanPicture, written: Path) -> None:
    """The sheet of the page and the corners of the plan are one rectangle, north up."""
    found = re.search(r"const proof = (\{.*\});", (written / "map.html").read_text())
    assert found
    proof = json.loads(found[1])
    assert proof.keys() == {"picture", "bounds", "box", "sheet", "corners"}
    west, south, east, north = proof["box"]
    left, top, wide, tall = proof["sheet"]
    assert wide / tall == pytest.approx((east - west) / (north - south))
    assert proof["corners"][0][0] < -21.9 < proof["corners"][2][0]
    assert proof["corners"][0][1] > 64.1 > proof["corners"][2][1] - 0.01
    # The outline of the area lies in the sheet where it lies in the box.
    svg = svgs_of(written)[0]
    parts = [one for one in svg.iter() if one.attrib.get("class") == "layer-area"]
    path = next(parts[-1].iter(f"{SVG}path")).attrib["d"]
    numbers = np.array(re.findall(r"-?[\d.]+", path), float).reshape(-1, 2)
    scale = wide / (east - west)
    assert numbers[:, 0].min() == pytest.approx(left - west * scale, abs=0.2)
    assert numbers[:, 1].max() == pytest.approx(top + north * scale, abs=0.2)
    x, y, width, height = map(float, svg.attrib["viewBox"].split())
    assert x <= left < left + wide <= x + width
    assert y <= top < top + tall <= y + height


def test_a_plan_without_sorties_is_refused(plan: PlanPicture) -> None:
    with pytest.raises(InputError, match="no sortie to draw"):
        PlanPicture(
            title="empty", frame=plan.frame, area=AREA, coverage=plan.coverage, asked=plan.asked,
            certificate=plan.certificate, sorties=[], terrain=plan.terrain,
        )  # fmt: skip


def test_lines_have_arrows_however_many_waypoints_they_have(
    plan: PlanPicture, tmp_path: Path
) -> None:
    (sortie,) = plan.sorties
    ends = sortie.way[:2]
    dense = np.linspace(*ends, 40)
    arrows = []
    for way in (ends, dense):
        drawn = replace(sortie, way=way, surveying=np.ones(len(way) - 1, bool))
        write_map(tmp_path / "a.png", tmp_path / "map.html", replace(plan, sorties=[drawn]))
        lines = [one for one in svgs_of(tmp_path)[0].iter()
                 if one.attrib.get("class") == "layer-lines"]  # fmt: skip
        arrows.append(
            sum(
                path.attrib["d"].endswith("z") for part in lines for path in part.iter(f"{SVG}path")
            )
        )
    assert arrows[0] == arrows[1] > 1


def test_several_sorties_are_numbered_where_they_begin(plan: PlanPicture, tmp_path: Path) -> None:
    (sortie,) = plan.sorties
    second = replace(sortie, name="Sortie 2", way=sortie.way[::-1])
    write_map(tmp_path / "a.png", tmp_path / "map.html", replace(plan, sorties=[sortie, second]))
    map_, *profiles = svgs_of(tmp_path)
    assert {"1", "2", "A"} <= set(texts_of(map_))
    assert len(profiles) == 2
