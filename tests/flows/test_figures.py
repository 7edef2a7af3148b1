import io
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from PIL import Image
from shapely.geometry import box

from flows.products.colours import NO_VALUE
from flows.products.table import Kind, Product
from flows.report.figures import (
    Drawn,
    draw_cameras,
    draw_distortion,
    draw_ground,
    draw_histogram,
    draw_index,
    draw_orthomosaic,
    draw_sigma,
    draw_surface,
)
from flows.report.ground import Ground, LeftOut, choose_sheet
from flows.report.provenance import Hole
from flows.report.quality import MapRecord
from photogrammetry.surface.trend import survey_trend
from tmp.geo.grids import Grid
from tmp.geo.rasters import read_grid
from tmp.plotting import css_rgb, page_box, to_png
from tmp.reconstruction import Reconstruction

SVG = "{http://www.w3.org/2000/svg}"


def words_of(drawn: Drawn) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(drawn.svg).iter(f"{SVG}text")]


def paths_of(drawn: Drawn, layer: str) -> list[str]:
    """Return the paths of a figure that have a class, marks at their places among them."""
    root = ElementTree.fromstring(drawn.svg)
    groups = [one for one in root.iter(f"{SVG}g") if one.attrib.get("class") == layer]
    marks = [use.attrib["x"] for one in groups for use in one.iter(f"{SVG}use")]
    return marks or [path.attrib["d"] for one in groups for path in one.iter(f"{SVG}path")]


def hints_of(drawn: Drawn) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(drawn.svg).iter(f"{SVG}title")]


def test_residual_vectors_are_drawn_towards_their_side(reconstruction: Reconstruction) -> None:
    photos = tuple(
        replace(photo, gnss_residual_m=(0.5, 0.0, -1.0)) for photo in reconstruction.photos
    )
    moved = replace(reconstruction, photos=photos)
    sheet = choose_sheet(
        moved, (500_000.0, 7_110_000.0, 500_010.0, 7_110_010.0), survey_trend(moved)
    )
    drawn = draw_cameras(moved, np.ones(sheet.shape, int), sheet)
    *_, path = paths_of(drawn, "residual-down")
    assert path.count("M") == len(photos)
    for line in path.split("M")[1:]:
        (x0, y0), (x1, y1) = (map(float, place.split()) for place in line.split("L"))
        assert x1 - x0 > 10
        assert y1 == pytest.approx(y0, abs=0.2)
    assert not paths_of(drawn, "residual-up")
    assert "drawn " in drawn.note
    assert {"camera that rose", "camera that sank", "12 or more"} <= set(words_of(drawn))


def test_tiles_that_are_missing_are_outlined_with_the_reason(
    reconstruction: Reconstruction,
) -> None:
    sheet = choose_sheet(reconstruction, (5e5, 7.11e6, 5e5, 7.11e6), survey_trend(reconstruction))
    west, south, east, north = sheet.bounds
    wide, tall = east - west, north - south
    bounds = (west + wide / 2, south + tall / 4, east - wide / 4, north - tall / 4)
    hole = Hole(stage="surface", name="r0c1", reason="<out> of memory", bounds=bounds)
    drawn = draw_cameras(reconstruction, np.ones(sheet.shape, int), sheet, [hole])
    (path,) = paths_of(drawn, "hole")
    drawn_wide, drawn_tall = np.ptp(
        np.array(re.findall(r"-?[\d.]+", path), float).reshape(-1, 2), axis=0
    )
    assert drawn_wide / drawn_tall == pytest.approx((wide / 4) / (tall / 2), rel=0.05)
    assert "surface r0c1: <out> of memory" in hints_of(drawn)
    assert "could not be made" in drawn.note


@pytest.mark.parametrize(("kind", "placed"), [("record", True), ("unscaled", False)])
def test_maps_have_metres_and_north_where_there_is_a_place(
    kind: str, placed: bool, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind).survey.products_dir
    said = words_of(draw_orthomosaic(folder / "orthomosaic.tif"))
    assert ("N" in said) is placed
    assert any(re.fullmatch(r"\d+ m" if placed else r"\d+ units", text) for text in said)
    assert ("easting, m (EPSG:32627)" in said) is placed
    assert ("units of arbitrary length" in said) is not placed
    unit = "metres" if placed else "units"
    for draw, name in ((draw_surface, "dsm.tif"), (draw_sigma, "dsm_sigma.tif")):
        assert any(f" in {unit}; " in text for text in words_of(draw(folder / name)))


def test_a_map_is_drawn_to_one_scale_where_its_coordinates_say(record: MapRecord) -> None:
    path = record.survey.products_dir / "orthomosaic.tif"
    grid = read_grid(path)
    root = ElementTree.fromstring(draw_orthomosaic(path).svg)
    (image,) = root.iter(f"{SVG}image")
    left, top, wide, tall = (float(image.attrib[k]) for k in ("x", "y", "width", "height"))
    west, south, east, north = grid.bounds
    assert wide / tall == pytest.approx((east - west) / (north - south), rel=1e-3)
    for text in root.iter(f"{SVG}text"):
        if re.fullmatch(r"\d{6}", text.text or ""):
            at = west + (float(text.attrib["x"]) - left) / wide * (east - west)
            assert at == pytest.approx(float(text.text or ""), abs=0.1)
        if re.fullmatch(r"\d{7}", text.text or ""):
            (y,) = re.findall(r"[-\d.]+\)?$", text.attrib["transform"].replace(")", ""))[:1]
            assert top < abs(float(y)) < top + tall


def test_histogram_puts_what_lies_beyond_into_its_last_column() -> None:
    drawn = draw_histogram([0.5, 99.0], np.array([0.0, 1.0, 2.0]), "x", "y")
    (path,) = paths_of(drawn, "columns")
    heights = [float(pair.split()[1]) for pair in re.split("[MLz]", path) if pair.strip()]
    # Both columns are as high: the outline has one upper edge.
    assert len(set(heights)) == 2
    assert {"x", "y"} <= set(words_of(drawn))


def test_distortion_before_and_after_is_told_apart_without_colour(
    reconstruction: Reconstruction,
) -> None:
    (camera,) = reconstruction.cameras.values()
    drawn = draw_distortion(camera, replace(camera, k1=0.1))
    words = {"metadata", "adjusted", "distortion, px", "distance from the principal point, px"}
    assert words <= set(words_of(drawn))
    assert "stroke-dasharray" in drawn.svg


def test_an_index_has_its_bar_and_as_a_picture_its_title(record: MapRecord, tmp_path: Path) -> None:
    product = Product(
        file="ndvi.tif", kind=Kind.INDEX, title="NDVI", purpose="", bands=("NDVI",),
        shown=(-0.2, 1.0), ramp="plants", told={"rests on": "panel"},
    )  # fmt: skip
    path = record.survey.products_dir / "dsm.tif"
    drawn = draw_index(path, product)
    assert drawn.note == "rests on: panel"
    assert "NDVI; the same colours on every date" in words_of(drawn)
    titled = draw_index(path, product, title="NDVI: farm", lines=["rests on: panel"])
    assert {"NDVI: farm", "rests on: panel"} <= set(words_of(titled))
    assert titled.figure.bbox.height > drawn.figure.bbox.height + 40


def flown(
    block: Reconstruction, measured: float, *, overlap: int = 3, sheet: Grid | None = None
) -> Ground:
    """Ground all of which was flown and measured to the same share."""
    sheet = sheet or choose_sheet(block, (5e5, 7.11e6, 5e5, 7.11e6), survey_trend(block))
    return Ground(
        sheet=sheet,
        overlap=np.full(sheet.shape, overlap),
        framed=np.full(sheet.shape, overlap),
        flown=np.ones(sheet.shape, bool),
        measured=np.full(sheet.shape, measured),
        drawn=np.zeros(sheet.shape),
        asked=np.ones(sheet.shape, bool),
        water=np.zeros(sheet.shape),
    )


def picture_of(drawn: Drawn) -> np.ndarray:
    """Return the pixels of a figure."""
    return np.asarray(Image.open(io.BytesIO(to_png(drawn.figure))).convert("RGB")).astype(int)


def ground_of(drawn: Drawn) -> tuple[float, float, float, float]:
    """Return west, south, east, north of the map of a figure."""
    axes = drawn.figure.axes[0]
    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    return west, south, east, north


def pink(drawn: Drawn) -> float:
    """Return the share of a map that is hatched as flown and not mapped."""
    left, top, wide, tall = map(round, page_box(drawn.figure.axes[0], ground_of(drawn)))
    red, green, blue = np.moveaxis(picture_of(drawn)[top : top + tall, left : left + wide], 2, 0)
    return float(((red - green > 100) & (red - blue > 50)).mean())


def test_ground_that_was_flown_and_not_mapped_is_hatched(reconstruction: Reconstruction) -> None:
    bare, mapped = (
        draw_ground(reconstruction, flown(reconstruction, share), None) for share in (0.0, 1.0)
    )
    assert 0.1 < pink(bare) < 0.5
    assert pink(mapped) == 0.0
    rim = draw_ground(reconstruction, flown(reconstruction, 0.0, overlap=1), None)
    assert pink(rim) == 0.0


def test_gaps_are_numbered_and_said_with_their_areas(reconstruction: Reconstruction) -> None:
    sheet = Grid(crs="EPSG:32627", x_min=5e5, y_max=7.11e6, cell_m=1.5, rows=90, cols=90)
    ground = flown(reconstruction, 1.0, sheet=sheet)
    measured = ground.measured.copy()
    measured[50:52, 50:53] = 0.0
    measured[60:62, 60:62] = 0.0
    drawn = draw_ground(reconstruction, replace(ground, measured=measured), None)
    assert {"1", "2"} <= set(words_of(drawn))
    assert drawn.note == (
        "2 patches without a height, where two photographs or more look (numbered): "
        "22 m² (of 13.5, 9)."
    )
    assert draw_ground(reconstruction, ground, None).note == ""


def test_what_has_no_height_is_grey_on_the_map_of_doubt(record: MapRecord) -> None:
    path = record.survey.products_dir / "dsm_sigma.tif"
    with rasterio.open(path) as file:
        unknown = file.read(1) == file.nodata
    pixels = np.asarray(draw_sigma(path).figure.axes[0].images[0].get_array())
    assert unknown.any()
    assert (pixels[unknown] == css_rgb(NO_VALUE)).all()
    assert not (pixels[~unknown] == css_rgb(NO_VALUE)).all(axis=1).any()


def test_photographs_left_out_are_crosses(reconstruction: Reconstruction) -> None:
    ground = flown(reconstruction, 1.0)
    corners = np.add([(0, 0), (9, 0), (9, 9), (0, 9)], (5e5, 7.11e6))
    one = LeftOut(name="<lost>.jpg", place=(5e5, 7.11e6), footprint=corners)
    drawn = draw_ground(reconstruction, replace(ground, left_out=(one,)), None)
    assert len(paths_of(drawn, "lost")) == 1
    assert "<lost>.jpg: left out" in hints_of(drawn)
    assert len(paths_of(drawn, "camera")) == len(reconstruction.photos)
    assert {photo.name for photo in reconstruction.photos} <= set(hints_of(drawn))
    assert "photograph left out, where it was recorded" in words_of(drawn)
    assert not paths_of(draw_ground(reconstruction, ground, None), "lost")


def test_what_is_to_be_flown_again_is_outlined(reconstruction: Reconstruction) -> None:
    ground = flown(reconstruction, 1.0)
    x, y = (float(at.mean()) for at in ground.sheet.cell_centres())
    lacks = [box(x - 5, y - 5, x + 5, y + 5), box(x + 8, y, x + 12, y + 4)]
    assert len(paths_of(draw_ground(reconstruction, ground, None, lacks), "lacking")) == 2
    assert not paths_of(draw_ground(reconstruction, ground, None), "lacking")


def test_orthomosaic_lies_where_its_ground_is(record: MapRecord) -> None:
    path = record.survey.products_dir / "orthomosaic.tif"
    drawn = draw_ground(
        record.reconstruction, flown(record.reconstruction, 1.0, sheet=read_grid(path)), path
    )
    picture = picture_of(drawn)
    left, top, wide, tall = page_box(drawn.figure.axes[0], ground_of(drawn))
    # The hole lies 20 m west and 10 m north of the middle of 80 × 70 m.
    hole = picture[round(top + tall * 25 / 70), round(left + wide * 20 / 80)]
    assert hole.min() > 245
    assert picture[round(top + tall * 45 / 70), round(left + wide * 60 / 80)].min() < 200
