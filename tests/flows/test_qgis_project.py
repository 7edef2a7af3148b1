"""The QGIS project: what it lists, and whether QGIS itself opens it."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from flows.products.cameras import write_cameras
from flows.products.qgis_project import write_project
from flows.report.quality import MapRecord

QGIS_PYTHON = "/usr/bin/python3"
"""Of the system, for which distributions build QGIS."""
OPENED = """
import sys
from qgis.core import QgsApplication, QgsProject
app = QgsApplication([], False)
app.initQgis()
project = QgsProject.instance()
print("read", project.read(sys.argv[1]))
for layer in project.mapLayers().values():
    renderer = layer.renderer().type() if layer.renderer() else ""
    print(layer.id(), layer.isValid(), layer.crs().authid(), renderer, sep="|")
for group in project.layerTreeRoot().children():
    print(group.name(), [layer.layer() is not None for layer in group.children()])
print("crs", project.crs().authid())
app.exitQgis()
"""


@pytest.fixture
def project(record: MapRecord) -> Path:
    write_cameras(record.reconstruction, record.captures, record.survey.products_dir)
    found = write_project(record.survey)
    assert found is not None
    return found


def test_a_project_lists_what_is_there_by_relative_paths(project: Path) -> None:
    layers = ET.parse(project).findall("projectlayers/maplayer")
    paths = {layer.findtext("id"): layer.findtext("datasource") for layer in layers}
    assert list(paths) == [
        *(
            "survey_layer_cameras",
            "survey_layer_orthomosaic",
            "survey_layer_dsm",
            "survey_layer_dsm_sigma",
        )
    ]
    for path in paths.values():
        assert path is not None
        assert path.startswith("./products/")
        assert (project.parent / path).exists()
    tree = ET.parse(project).findall("layer-tree-group/layer-tree-group")
    assert [group.get("name") for group in tree] == ["Photographs", "Picture", "Heights", "Doubt"]
    shown = ET.parse(project).findall(".//layer-tree-layer[@checked='Qt::Checked']")
    assert [layer.get("id") for layer in shown] == ["survey_layer_orthomosaic"]


def test_it_goes_with_the_products(record: MapRecord, project: Path) -> None:
    for path in record.survey.products_dir.glob("*.tif"):
        path.unlink()
    assert write_project(record.survey) is None
    assert not project.exists()


def test_a_map_without_a_place_has_a_project_without_one(unscaled: MapRecord) -> None:
    path = write_project(unscaled.survey)
    assert path is not None
    assert ET.parse(path).find(".//spatialrefsys") is None


def test_qgis_opens_it_wherever_the_folder_lies(project: Path, tmp_path: Path) -> None:
    known = subprocess.run(
        [QGIS_PYTHON, "-c", "import qgis.core"], capture_output=True, check=False
    ) if Path(QGIS_PYTHON).exists() else None  # fmt: skip
    if known is None or known.returncode != 0:
        pytest.skip("no QGIS on this machine")
    moved = tmp_path / "elsewhere" / "a dig"
    shutil.copytree(project.parent, moved)
    shutil.rmtree(project.parent)
    done = subprocess.run(
        [QGIS_PYTHON, "-c", OPENED, str(moved / project.name)],
        capture_output=True, text=True, check=False, env={"QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert said[0] == "read True", done.stderr
    assert sorted(line for line in said if "|" in line) == [
        "survey_layer_cameras|True|EPSG:4326|singleSymbol",
        "survey_layer_dsm_sigma|True|EPSG:32627|singlebandpseudocolor",
        "survey_layer_dsm|True|EPSG:32627|singlebandpseudocolor",
        "survey_layer_orthomosaic|True|EPSG:32627|multibandcolor",
    ]
    assert said[-5:] == [
        "Photographs [True]",
        "Picture [True]",
        "Heights [True]",
        "Doubt [True]",
        "crs EPSG:32627",
    ]
