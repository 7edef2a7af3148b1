import defusedxml.ElementTree as ElementTree
import pytest

from flows.products.sidecars import write_styles
from flows.products.table import GROUND_CLASSES
from flows.report.report import MapRecord


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


def test_doubt_starts_at_zero(record: MapRecord) -> None:
    write_styles(record.survey.products_dir)
    tree = ElementTree.parse(record.survey.products_dir / "dsm_sigma.qml")
    renderer = tree.find("pipe/rasterrenderer")
    assert float(renderer.get("classificationMin")) == 0.0


def test_classes_are_named_in_the_legend(record: MapRecord) -> None:
    products = record.survey.products_dir
    (products / GROUND_CLASSES.file).touch()
    write_styles(products)
    tree = ElementTree.parse(products / "ground.qml")
    entries = {entry.get("value"): entry.get("label") for entry in tree.iter("paletteEntry")}
    assert entries["1"] == "measured"
    assert entries["3"] == "continued, not measured"
