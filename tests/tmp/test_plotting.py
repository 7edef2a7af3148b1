"""One figure comes out alike as SVG and as pixels, and the same every time."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import shapely.affinity
from PIL import Image

from tmp import plotting
from tmp.plotting import (
    round_step,
)

SVG = "{http://www.w3.org/2000/svg}"


def small_map(title: str = "Field"):  # type: ignore[no-untyped-def]
    """Draw 60 by 40 m at two pixels to the metre: a block with a hole, a dot, a picture."""
    with plotting.house_style():
        figure = plotting.new_figure(200, 140)
        axes = plotting.map_axes(figure, (500_000, 7_000_000, 500_060, 7_000_040), 50, 10, 2.0)
        plotting.metre_ticks(axes, crs="EPSG:32627")
        cells = np.zeros((4, 6, 4), np.uint8)
        cells[0, 0] = (0, 200, 0, 255)
        box = (500_000, 7_000_000, 500_060, 7_000_040)
        plotting.picture(axes, cells, box, cells=True, layer="layer-cells")
        block = shapely.box(10, 10, 50, 30) - shapely.box(20, 15, 30, 25)
        moved = shapely.affinity.translate(block, 500_000, 7_000_000)
        plotting.draw_area(axes, moved, fc="#0000ff", gid="layer-block")
        plotting.draw_dots(axes, [(500_055, 7_000_035)], 6, "#ff0000", gid="layer-dots")
        axes.text(500_030, 7_000_032, title, gid="name")
    return figure, axes


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_north_is_up_a_hole_stays_empty_and_scales_are_equal() -> None:
    figure, _ = small_map()
    pixels = pixels_of(plotting.to_png(figure))
    # Metre (x, y) lies at column 50 + 2 x, row 10 + 2 (40 - y).
    assert pixels[10 + 2 * 28, 50 + 2 * 12].tolist() == [0, 0, 255]
    assert pixels[10 + 2 * 20, 50 + 2 * 25].tolist() == [255, 255, 255]
    assert pixels[10 + 2 * 5, 50 + 2 * 55].tolist() == [255, 0, 0]
    assert pixels[12, 54].tolist() == [0, 200, 0]
    twice = pixels_of(plotting.to_png(figure, finer=2.0))
    assert twice.shape == (280, 400, 3)
    assert twice[20 + 4 * 12, 100 + 4 * 12].tolist() == [0, 0, 255]


def test_a_hidden_layer_is_left_out_of_the_pixels_and_hidden_in_the_page() -> None:
    figure, _ = small_map()
    hidden = {"layer-block", "layer-cells"}
    pixels = pixels_of(plotting.to_png(figure, hidden=hidden))
    assert not (pixels == (0, 0, 255)).all(axis=2).any()
    assert not (pixels == (0, 200, 0)).all(axis=2).any()
    root = ElementTree.fromstring(plotting.to_svg(figure, "field", hidden=hidden))
    shown = {one.attrib.get("class"): "hidden" not in one.attrib for one in root.iter()}
    assert shown["layer-block"] is shown["layer-cells"] is False
    assert shown["layer-dots"] is shown["name"] is True
    assert (pixels_of(plotting.to_png(figure)) == (0, 0, 255)).all(axis=2).any()


def test_the_same_figure_gives_the_same_bytes_in_any_order_and_any_thread() -> None:
    def drawn(_: int) -> tuple[bytes, str]:
        figure, _ = small_map()
        return plotting.to_png(figure), plotting.to_svg(figure, "field")

    first = drawn(0)
    assert drawn(1) == first
    figure, _ = small_map()
    assert plotting.to_svg(figure, "field") == first[1]
    assert plotting.to_png(figure) == first[0]
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(drawn, range(8))) == {first}
    assert b"matplotlib" not in first[0]
    assert "<metadata" not in first[1]


def test_a_users_own_settings_neither_change_a_picture_nor_are_changed() -> None:
    before = plotting.to_svg(small_map()[0], "field")
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red"}):
        assert plotting.to_svg(small_map()[0], "field") == before
        assert matplotlib.rcParams["font.size"] == 30


def test_text_stays_text_and_what_people_write_is_escaped() -> None:
    figure, axes = small_map("<b> & $x$")
    hints = plotting.hints_over(axes, [(500_055, 7_000_035)], ["<photo> & more"])
    root = ElementTree.fromstring(plotting.to_svg(figure, 'a "map" & more', hints=hints))
    assert root.attrib["aria-label"] == 'a "map" & more'
    said = [element.text for element in root.iter(f"{SVG}text")]
    assert "<b> & $x$" in said
    assert "easting, m (EPSG:32627)" in said
    (spot,) = [one for one in root.iter(f"{SVG}rect") if len(one)]
    assert spot[0].text == "<photo> & more"
    middle = float(spot.attrib["x"]) + float(spot.attrib["width"]) / 2
    assert middle == pytest.approx(50 + 2 * 55, abs=0.2)


def test_figures_of_one_page_share_no_identifier_and_refer_to_their_own() -> None:
    both = [plotting.to_svg(small_map()[0], title) for title in ("one", "two")]
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in both]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, own in zip(both, ids, strict=True):
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) <= own


@pytest.mark.parametrize(("metres", "said"), [(60, "10 m"), (900, "200 m"), (9000, "2 km")])
def test_scale_bar_is_as_long_on_the_ground_as_it_says(metres: float, said: str) -> None:
    with plotting.house_style():
        figure = plotting.new_figure(620, 420)
        axes = plotting.map_axes(figure, (0, 0, metres, metres / 2), 10, 10, 600 / metres)
        plotting.scale_bar(axes)
    root = ElementTree.fromstring(plotting.to_svg(figure, "bar"))
    (bar,) = [one for one in root.iter() if one.attrib.get("class") == "scale-bar"]
    (path,) = bar.iter(f"{SVG}path")
    x = [float(pair.split()[0]) for pair in re.split("[ML]", path.attrib["d"]) if pair.strip()]
    length = (max(x) - min(x)) * metres / 600
    number, unit = said.split()
    assert length == pytest.approx(float(number) * (1000 if unit == "km" else 1), rel=2e-3)
    assert said in [element.text for element in root.iter(f"{SVG}text")]


def test_coordinates_stand_where_their_ticks_are() -> None:
    with plotting.house_style():
        figure = plotting.new_figure(660, 660)
        axes = plotting.map_axes(figure, (-300, -300, 300, 300), 40, 10, 1.0)
        plotting.degree_ticks(axes, (179.995, -0.003), (-179.995, 0.003))
    root = ElementTree.fromstring(plotting.to_svg(figure, "ticks"))
    places = {one.text: one.attrib for one in root.iter(f"{SVG}text")}
    assert float(places["180.000° W"]["x"]) == pytest.approx(340, abs=0.2)
    assert {"179.998° E", "179.998° W", "0.000° N", "0.002° S", "0.002° N"} <= set(places)


def test_a_title_in_letters_that_the_font_lacks_is_still_drawn() -> None:
    figure, _ = small_map("測量")
    assert plotting.to_png(figure)
    assert "測量" in plotting.to_svg(figure, "測量")


def test_photographs_are_jpeg_and_cells_are_kept_exactly() -> None:
    rows, cols = np.mgrid[:60, :80]
    photograph = np.stack([rows * 4, cols * 3, rows + cols], axis=2).astype(np.uint8)
    with plotting.house_style():
        figure = plotting.new_figure(100, 80)
        axes = plotting.map_axes(figure, (0, 0, 80, 60), 10, 10, 1.0)
        plotting.picture(axes, photograph, (0, 0, 80, 60))
        plotting.picture(axes, photograph, (0, 0, 80, 60), cells=True, layer="cells")
    svg = plotting.to_svg(figure, "pictures")
    assert svg.count("data:image/jpeg") == svg.count("data:image/png") == 1
    assert svg.index("data:image/png") < svg.index("<path")
    assert len(svg) < 20_000


def test_marks_keep_apart_along_a_line() -> None:
    with plotting.house_style():
        figure = plotting.new_figure(300, 300)
        axes = plotting.map_axes(figure, (0, 0, 100, 100), 0, 0, 3.0)
    line = np.array([[10.0, 10], [10, 90]])
    assert plotting.free_place(axes, line, [(90, 90)]) == (10, 10)
    x, y = plotting.free_place(axes, line, [(10, 10)], apart_px=24)
    assert x == 10
    assert 8 <= y - 10 < 11
    assert plotting.free_place(axes, line[:, :], [(10, v) for v in range(0, 100, 5)]) == (10, 10)


def test_nothing_is_loaded_until_something_is_drawn() -> None:
    code = "import sys, tmp.plotting, flows.products.sidecars\nprint('matplotlib' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_slope_towards_the_north_west_is_lit_and_the_other_is_in_shade() -> None:
    rows, cols = np.mgrid[:20, :20].astype(np.float32)
    towards = (rows + cols) * 0.5  # rises to the south-east, so it faces north-west
    assert plotting.hillshade(towards, 1.0)[10, 10] > 0.9
    assert plotting.hillshade(-towards, 1.0)[10, 10] < 0.4
    flat = plotting.hillshade(np.zeros((20, 20), np.float32), 1.0)
    assert flat[10, 10] == pytest.approx(0.7071, abs=1e-4)


@pytest.mark.parametrize(("longest", "chosen"), [(1.0, 1.0), (1.99, 1.0), (2.0, 2.0), (730, 500)])
def test_lengths_are_round(longest: float, chosen: float) -> None:
    assert round_step(longest) == pytest.approx(chosen)
