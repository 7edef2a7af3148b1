"""The viewer in a real browser, from a disk and from its server; no other machine is asked."""

from __future__ import annotations

import io
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flows.products.cameras import write_cameras
from flows.report.quality import MapRecord
from flows.run.viewer import _Handler, make_viewer
from photogrammetry.model.glb import Model, Part, write_glb
from tmp.captures import write_captures
from tmp.geo.rasters import read_grid

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="no playwright; install it with 'pip install playwright'"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
ARGUMENTS = (
    *("--no-sandbox", "--enable-unsafe-swiftshader", "--use-angle=swiftshader"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
PATIENCE_MS = 60_000
"""For a machine busy with other work."""
LEAST_CONTRAST = 4.5
"""Of text, WCAG 2.2 AA."""
CONTRASTS = """() => {
  const rgb = (css) => css.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const found = [];
  for (const one of document.querySelectorAll("body *")) {
    const text = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!text || !one.checkVisibility() || one.tagName === "OPTION") continue;
    let under = one, ground = [0, 0, 0, 0];
    while (under && (ground[3] ?? 1) < 0.5) {
      ground = rgb(getComputedStyle(under).backgroundColor);
      under = under.parentElement;
    }
    if ((ground[3] ?? 1) < 0.5) ground = [255, 255, 255];
    const style = getComputedStyle(one);
    const ink = rgb(one instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground)].sort((p, q) => q - p);
    found.push([(a + 0.05) / (b + 0.05), one.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""


@dataclass(kw_only=True)
class Opened:
    """A page, and what it asked for and complained of."""

    page: Any
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def go(self, address: str) -> None:
        self.page.goto(address)
        self.wait("document.querySelectorAll('img.leaflet-tile-loaded').length > 0")

    def wait(self, condition: str) -> None:
        self.page.wait_for_function(condition, timeout=PATIENCE_MS)

    def show(self, x: float, y: float, zoom: float) -> None:
        """Have a place in the middle of the map."""
        self.page.evaluate(
            "([x, y, z]) => TMP.map.setView(TMP.fromMap({x, y}), z, {animate: false})", [x, y, zoom]
        )

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a place is on the screen, worked out from the address alone."""
        self.page.wait_for_timeout(400)  # the address is written a little later
        said = dict(re.findall(r"(\w+)=([^&]*)", self.page.url))
        data = self.page.evaluate("({pixel: TMP_DATA.pixel, levels: TMP_DATA.levels})")
        metres = data["pixel"] * 2 ** (data["levels"] - float(said["z"]))
        box = self.page.locator("#map").bounding_box()
        return (
            box["x"] + box["width"] / 2 + (x - float(said["x"])) / metres,
            box["y"] + box["height"] / 2 - (y - float(said["y"])) / metres,
        )

    def tap(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.place(x, y))

    def pixels(self) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"), int)

    def told(self) -> dict[str, str]:
        """Return what was measured, by name."""
        names = self.page.locator("#measured dt").all_inner_texts()
        return dict(zip(names, self.page.locator("#measured dd").all_inner_texts(), strict=True))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def folder(record: MapRecord) -> Path:
    """A viewer with picture, relief, heights, cameras and a small model."""
    survey = record.survey
    write_captures(survey.gpkg_path, record.captures)
    write_cameras(record.reconstruction, record.captures, survey.products_dir)
    photo = survey.photos_dir / record.reconstruction.photos[0].name
    photo.parent.mkdir(exist_ok=True)
    Image.new("RGB", (800, 600), (200, 30, 30)).save(photo)
    square = np.array([[0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 1]], np.float32)
    part = Part(
        name="ground",
        points=square,
        normals=np.tile(np.float32([0, 0, 1]), (4, 1)),
        uv=square[:, :2] / 10,
        faces=np.array([[0, 1, 2], [0, 2, 3]], np.uint32),
        picture=0,
    )
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (20, 200, 40)).save(file, "JPEG")
    model = Model(parts=[part], pictures=[file.getvalue()])
    write_glb(survey.products_dir / "model.glb", model, about={})
    return make_viewer(survey).path.parent


@pytest.fixture(params=["disk", "server"])
def address(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The page on a disk, and at its server."""
    if request.param == "disk":
        yield (folder / "index.html").as_uri()
        return
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def opened(chromium: Any, folder: Path) -> Iterator[Opened]:
    """A wide page from the disk, which must ask nobody and complain of nothing."""
    yield from _open(chromium, (folder / "index.html").as_uri(), WIDE)


@pytest.fixture
def phone(chromium: Any, folder: Path) -> Iterator[Opened]:
    yield from _open(chromium, (folder / "index.html").as_uri(), PHONE)


def _open(chromium: Any, address: str, size: dict[str, int]) -> Iterator[Opened]:
    page = chromium.new_page(viewport=size)
    page.set_default_timeout(PATIENCE_MS)
    opened = Opened(page=page)
    page.on("request", lambda request: opened.asked.append(request.url))
    page.on("console", lambda message: opened.complaints.append(message.text))
    page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    opened.go(address)
    yield opened
    page.close()
    assert opened.complaints == []
    local = ("file:///", "http://127.0.0.1:", "blob:", "data:")
    assert [url for url in opened.asked if not url.startswith(local)] == []


def middle(record: MapRecord) -> tuple[float, float]:
    x_min, y_min, x_max, y_max = read_grid(record.survey.products_dir / "dsm.tif").bounds
    return (x_min + x_max) / 2, (y_min + y_max) / 2


def test_it_opens_from_a_disk_and_from_a_server_and_is_drawn_where_it_lies(
    chromium: Any, address: str, record: MapRecord
) -> None:
    x0, y0 = middle(record)
    for opened in _open(chromium, address, WIDE):
        opened.show(x0, y0, 2)
        opened.page.wait_for_timeout(800)
        seen = opened.pixels()
        for east, north in ((2, 2), (6, 2), (2, -10), (-6, 14), (22, -18)):  # squares of 4 m
            dark = (east // 4 + north // 4) % 2 == 0
            col, row = opened.place(x0 + east, y0 + north)
            assert (seen[int(row), int(col), 0] < 110) == dark


def test_lengths_and_areas_are_true(opened: Opened, record: MapRecord) -> None:
    """Between corners of squares of 4 m, tapped as the address says they lie."""
    x0, y0 = middle(record)
    cell_m = 0.25
    opened.show(x0, y0, 3)
    opened.page.click("[data-tool=line]")
    opened.tap(x0 - 12, y0 - 8)
    opened.tap(x0 + 12, y0 + 8)
    opened.wait("document.querySelectorAll('#measured dt').length > 1")
    length = float(opened.told()["length"].split()[0])
    true = float(np.hypot(24, 16))
    assert abs(length - true) < min(cell_m, 0.005 * true)
    opened.show(x0, y0, 2)
    opened.page.click("[data-tool=area]")
    for east, north in ((-16, -8), (16, -8), (16, 8), (-16, 8)):
        opened.tap(x0 + east, y0 + north)
    opened.wait("document.querySelector('#measured dt')?.textContent === 'area'")
    area, perimeter = (float(opened.told()[name].split()[0]) for name in ("area", "perimeter"))
    assert area == pytest.approx(32 * 16, rel=0.005)
    assert abs(perimeter - 96) < min(cell_m, 0.005 * 96)


def test_a_height_and_its_doubt_are_those_of_the_products(
    opened: Opened, record: MapRecord
) -> None:
    x0, y0 = middle(record)
    opened.show(x0 + 15, y0, 4)
    opened.page.click("[data-tool=height]")
    opened.tap(x0 + 15.1, y0 + 3.1)  # on the wall
    opened.wait("document.querySelectorAll('#measured dt').length > 1")
    surface, _, sigma, unit = opened.told()["surface"].split()
    window = (x0 + 15.05, y0 + 3.05, x0 + 15.15, y0 + 3.15)
    heights, doubts = (record.survey.read(name, window).values for name in ("dsm", "dsm_sigma"))
    # One tap may fall into the next cell.
    assert float(surface) == pytest.approx(float(heights.mean()), abs=0.06)
    assert float(sigma) == pytest.approx(float(doubts.mean()), abs=0.01)
    assert unit == "m"
    opened.show(x0 - 20, y0 + 10, 3)
    opened.tap(x0 - 20, y0 + 10)  # in the hole
    opened.wait("document.getElementById('measured').textContent.includes('not known here')")


def test_a_profile_shows_the_wall_and_can_be_saved(opened: Opened, record: MapRecord) -> None:
    x0, y0 = middle(record)
    opened.show(x0 + 15, y0 + 15, 4)
    opened.page.click("[data-tool=line]")
    opened.tap(x0 + 10, y0 + 15)
    opened.tap(x0 + 20, y0 + 15)
    opened.wait("document.querySelector('#measured svg') !== null")
    with opened.page.expect_download() as download:
        opened.page.click("text=Save the profile as CSV")
    rows = Path(download.value.path()).read_text().splitlines()
    assert rows[0] == "along,x,y,surface,sigma,ground"
    along, _, _, surface = np.array([row.split(",")[:4] for row in rows[1:]], float).T
    on = np.abs(along - 5) < 0.8
    beside = (np.abs(along - 5) > 1.2) & (np.abs(along - 5) < 2)
    assert surface[on].mean() - surface[beside].mean() == pytest.approx(1, abs=0.05)


def test_an_address_holds_view_layers_and_what_was_measured(
    opened: Opened, chromium: Any, record: MapRecord
) -> None:
    x0, y0 = middle(record)
    opened.show(x0 + 3, y0 - 2, 2.5)
    opened.page.check("input[value=relief_hillshade]")
    opened.page.select_option("#above", "dsm")
    opened.page.check("#cameras")
    opened.page.click("[data-tool=line]")
    opened.tap(x0 - 8, y0 - 20 / 3)  # where a photograph was taken
    opened.tap(x0 + 5, y0 + 1)
    opened.wait("document.querySelector('#measured svg') !== null")
    opened.place(x0, y0)
    kept, told = opened.page.url, opened.told()
    for again in _open(chromium, kept, WIDE):
        again.wait("document.querySelector('#measured svg') !== null")
        assert again.told() == told
        assert again.page.is_checked("input[value=relief_hillshade]")
        assert again.page.input_value("#above") == "dsm"
        assert again.page.is_checked("#cameras")
        again.place(x0, y0)
        assert again.page.url == kept


def test_one_layer_is_swept_over_another(opened: Opened, record: MapRecord) -> None:
    x0, y0 = middle(record)
    opened.show(x0, y0, 2)
    opened.page.select_option("#above", "relief_hillshade")
    opened.page.wait_for_timeout(800)
    seen = opened.pixels()
    row = int(opened.place(x0, y0)[1]) + 40
    columns = [int(opened.place(x0 + east, y0)[0]) for east in (-20, 20)]
    grey = [np.ptp(seen[row, col]) < 8 for col in columns]
    assert grey == [False, True]
    opened.page.focus("#divider")
    opened.page.keyboard.press("Home")
    opened.page.wait_for_timeout(300)
    assert np.ptp(opened.pixels()[row, columns[0]]) < 8
    opened.page.keyboard.press("End")
    opened.page.wait_for_timeout(300)
    assert np.ptp(opened.pixels()[row, columns[1]]) >= 8


def test_all_of_it_works_by_keyboard(opened: Opened) -> None:
    page = opened.page
    page.focus("#map")
    page.keyboard.press("3")
    assert page.is_checked("input[value=relief_hillshade]")
    page.keyboard.press("Shift+Digit1")
    assert page.input_value("#above") == "orthomosaic"
    page.keyboard.press("]")
    assert page.get_attribute("#divider", "aria-valuenow") == "52"
    page.keyboard.press("l")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(600)
    page.keyboard.press("Enter")
    opened.wait("document.querySelector('#measured svg') !== null")
    assert float(opened.told()["length"].split()[0]) > 1
    page.keyboard.press("Escape")
    assert page.is_hidden("#result")
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    page.keyboard.press("p")
    assert page.is_checked("#cameras")
    page.select_option("#photograph", index=1)
    opened.wait("document.querySelector('.leaflet-popup img')?.complete")
    assert "DJI_0000.JPG" in page.inner_text(".leaflet-popup")


def test_the_model_is_shown_in_its_colours_and_by_light(opened: Opened) -> None:
    opened.page.click("#show-model")
    opened.wait(
        "document.getElementById('model').dataset.shown === 'yes' || "
        "/cannot|shows no/.test(document.getElementById('loading').textContent)"
    )
    assert opened.page.inner_text("#loading") == ""
    opened.page.wait_for_timeout(1000)
    green = opened.pixels()[425, 640]
    assert green[1] > 120 > green[0]
    opened.page.check("#lit")
    opened.page.wait_for_timeout(1000)
    assert np.ptp(opened.pixels()[425, 640]) < 40
    opened.page.click("#close-model")


def test_on_a_phone_nothing_is_cut_off_and_all_can_be_hit(phone: Opened) -> None:
    page = phone.page
    assert page.is_hidden("#panel")
    page.click("#show-panel")
    page.select_option("#above", "relief_vat")
    page.click("[data-tool=line]")
    box = page.locator("#map").bounding_box()
    for share in (0.3, 0.6):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 3)
    phone.wait("document.querySelectorAll('#measured dt').length > 1")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE["width"]
    for button in page.locator("button:visible").all():
        size = button.bounding_box()
        assert size["height"] >= 44, button.inner_text()
        assert size["x"] >= 0
        assert size["x"] + size["width"] <= PHONE["width"], button.inner_text()


@pytest.mark.parametrize("shown", ["#help", "#result", "#panel"])
def test_all_text_has_contrast(opened: Opened, shown: str) -> None:
    page = opened.page
    page.select_option("#above", "dsm_sigma")
    page.check("#cameras")
    if shown == "#help":
        page.click("#show-help")
    if shown == "#result":
        page.click("[data-tool=line]")
        box = page.locator("#map").bounding_box()
        for share in (0.6, 0.7):
            page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        opened.wait("document.querySelectorAll('#measured dt').length > 1")
    assert page.is_visible(shown)
    found = page.evaluate(CONTRASTS)
    assert len(found) > 20
    assert [(ratio, text) for ratio, text in found if ratio < LEAST_CONTRAST] == []


def test_what_can_be_used_has_a_name(opened: Opened) -> None:
    unnamed = opened.page.evaluate(
        """[...document.querySelectorAll("button, select, input, [role=slider], canvas, #map")]
        .filter((one) => !one.labels?.length && !one.textContent.trim()
          && !one.getAttribute("aria-label")).map((one) => one.outerHTML)"""
    )
    assert unnamed == []


def test_in_print_there_is_the_map_and_its_legend_without_tools(opened: Opened) -> None:
    opened.page.emulate_media(media="print")
    assert opened.page.is_hidden("[role=toolbar]")
    assert opened.page.is_visible("#map")
    assert opened.page.is_visible("#legend")
