import json
import shutil

import defusedxml.ElementTree as ElementTree
import numpy as np
import pytest
import rasterio

from flows.products.sidecars import renderer_of, write_catalog, write_styles
from flows.products.table import GROUND_CLASSES, HEIGHT_ABOVE_GROUND, Kind, Product
from flows.report.quality import MapRecord


def test_every_raster_gets_a_style_of_its_own_name(record: MapRecord) -> None:
    names = {path.name for path in write_styles(record.survey.products_dir)}
    assert names == {"orthomosaic.qml", "dsm.qml", "dsm_sigma.qml"}


def test_height_style_spans_the_heights(record: MapRecord) -> None:
    write_styles(record.survey.products_dir)
    tree = ElementTree.parse(record.survey.products_dir / "dsm.qml")
    values = [float(item.get("value")) for item in tree.iter("item")]
    assert values == sorted(values)
    assert values[0] == pytest.approx(29.3, abs=0.3)
    assert values[-1] == pytest.approx(32.5, abs=0.7)
    labels = [float(item.get("label").removesuffix(" m")) for item in tree.iter("item")]
    assert labels == pytest.approx(values, abs=0.05)


def test_equal_factors_of_doubt_are_equal_steps_and_nodata_is_no_doubt(record: MapRecord) -> None:
    write_styles(record.survey.products_dir)
    tree = ElementTree.parse(record.survey.products_dir / "dsm_sigma.qml")
    values = np.array([float(item.get("value")) for item in tree.iter("item")])
    assert values[1:] / values[:-1] == pytest.approx(np.sqrt(10), rel=0.06)
    colours = [item.get("color") for item in tree.iter("item")]
    renderer = tree.find("pipe/rasterrenderer")
    assert renderer.get("nodataColor") == "195,201,206,255"
    assert "#c3c9ce" not in colours


def test_counts_of_photographs_are_classes_that_begin_with_none(record: MapRecord) -> None:
    products = record.survey.products_dir
    with rasterio.open(products / "dsm.tif") as file:
        profile = file.profile | {"dtype": "uint8", "nodata": 255, "driver": "GTiff"}
    with rasterio.open(products / "dsm_views.tif", "w", **profile) as file:
        file.write(np.zeros(file.shape, np.uint8), 1)
    write_styles(products)
    tree = ElementTree.parse(products / "dsm_views.qml")
    assert tree.find(".//colorrampshader").get("colorRampType") == "DISCRETE"
    items = [(item.get("value"), item.get("label")) for item in tree.iter("item")]
    assert items[0] == ("0", "none: small gap, closed from about it")
    assert items[1:4] == [("2", "2"), ("3", "3"), ("4", "4")]
    assert items[-1] == ("inf", "6 or more")


def test_heights_above_ground_have_the_same_colours_on_every_survey(record: MapRecord) -> None:
    products = record.survey.products_dir
    shutil.copyfile(products / "dsm.tif", products / HEIGHT_ABOVE_GROUND.file)
    write_styles(products)
    tree = ElementTree.parse(products / "height_above_ground.qml")
    values = [float(item.get("value")) for item in tree.iter("item")]
    assert values == list(HEIGHT_ABOVE_GROUND.steps)
    assert [item.get("label") for item in tree.iter("item")][:2] == ["0 m", "0.25 m"]


def test_marked_contours_are_drawn_bold(record: MapRecord) -> None:
    (record.survey.products_dir / "contours.gpkg").touch()
    assert record.survey.products_dir / "contours.qml" in write_styles(record.survey.products_dir)
    tree = ElementTree.parse(record.survey.products_dir / "contours.qml")
    widths = {
        symbol.get("name"): float(symbol.find("layer/prop[@k='line_width']").get("v"))
        for symbol in tree.iter("symbol")
    }
    assert tree.find("renderer-v2").get("attr") == "index"
    assert widths["1"] > 2 * widths["0"]


def test_labels_of_an_index_have_no_hair_off_nought(record: MapRecord) -> None:
    products = record.survey.products_dir
    index = Product(
        file="gli.tif", title="GLI", purpose="", kind=Kind.INDEX, shown=(-0.2, 0.4), ramp="plants"
    )
    shutil.copy(products / "dsm.tif", products / index.file)
    labels = [
        item.get("label")
        for item in ElementTree.fromstring(renderer_of(products / index.file, index)).iter("item")
    ]
    assert labels == ["-0.2", "-0.1", "0", "0.1", "0.2", "0.3", "0.4"]


def test_a_map_without_a_place_has_units_and_no_metres_in_styles_and_catalogue(
    record: MapRecord,
) -> None:
    survey = record.survey
    for name in ("dsm.tif", "dsm_sigma.tif"):
        with rasterio.open(survey.products_dir / name) as file:
            values, profile = file.read(), file.profile | {"crs": None, "driver": "GTiff"}
        (survey.products_dir / name).unlink()
        with rasterio.open(survey.products_dir / name, "w", **profile) as file:
            file.write(values)
        write_styles(survey.products_dir)
        tree = ElementTree.parse((survey.products_dir / name).with_suffix(".qml"))
        assert all(item.get("label").endswith(" units") for item in tree.iter("item"))
    write_catalog(survey, record.settings, record.captures)
    item = json.loads((survey.products_dir / "item.json").read_text())
    for asset in ("dsm", "dsm_sigma"):
        assert item["assets"][asset]["bands"][0]["unit"] == "units"
        assert "gsd" not in item["assets"][asset]


def test_classes_are_named_in_the_legend(record: MapRecord) -> None:
    products = record.survey.products_dir
    (products / GROUND_CLASSES.file).touch()
    write_styles(products)
    tree = ElementTree.parse(products / "ground.qml")
    entries = {entry.get("value"): entry.get("label") for entry in tree.iter("paletteEntry")}
    assert entries["1"] == "measured"
    assert entries["3"] == "continued, not measured"
