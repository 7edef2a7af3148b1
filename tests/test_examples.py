"""The programs of ``examples/``: the quick ones run, the others are held to what they call."""

import subprocess
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from unittest.mock import create_autospec

import pytest
import rasterio

import flows
from tmp.survey import open_survey

EXAMPLES = Path(__file__).parent.parent / "examples"
FARM = EXAMPLES.parent / "sample_data"
PROGRAMS = sorted(path.name for path in EXAMPLES.glob("*.py"))


def example(name: str) -> ModuleType:
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def farm(example_folder: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(example_folder / "farm", tmp_path / "farm"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_words_a_program_says_what_it_needs(name: str) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "SURVEY" in done.stderr
    assert f"`{name}`" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


def test_a_field_is_planned_and_its_missions_written(tmp_path: Path) -> None:
    area = FARM / "farm_area.geojson"
    folder = example("plan_field").main(str(area), str(tmp_path / "farm"))
    assert list(folder.rglob("sortie-1.kmz"))
    assert (folder / "map.html").is_file()


def test_the_mean_in_a_polygon_is_that_of_its_cells(farm: Path, example_folder: Path) -> None:
    with rasterio.open(farm / "products" / "ndvi.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        values = file.read(1)
        values[:, :20] = -0.1  # west of the polygon
        file.write(values, 1)
    field = example_folder / "field.geojson"
    assert example("ndvi_in_polygon").main(str(farm), "ndvi", str(field)) == pytest.approx(0.5)


def test_an_index_of_ones_own_is_computed_from_the_orthomosaic(farm: Path) -> None:
    grey = example("own_index").main(str(farm), "ExGn", "(2*G - R - B)/(R + G + B)")
    assert grey == pytest.approx(0.0)
    assert "exgn" in open_survey(farm).products


def test_photographs_are_taken_in_and_mapped(
    example_folder: Path, farm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = create_autospec(flows.map_survey)
    monkeypatch.setattr("flows.pipeline.map_survey", mapped)
    survey = example("map_photographs").main(str(farm), str(example_folder / "card"))
    assert len(survey.captures) == 5
    assert mapped.call_args.args[0] == str(farm)


def test_a_cluster_is_asked_as_its_profile_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "cluster.toml"
    profile.write_text('partition = "short"\n')
    run = create_autospec(import_module("flows.pipeline").run_survey)
    run.return_value.holes = {"surface": {"r0c1": "no memory"}}
    monkeypatch.setattr("flows.pipeline.run_survey", run)
    example("run_on_cluster").main("farm", str(profile), "card")
    survey, request, how = run.call_args.args
    assert (survey, request.cards) == ("farm", (Path("card"),))
    assert how.on is flows.Where.SLURM
    assert how.used_profile.place.partition == "short"
