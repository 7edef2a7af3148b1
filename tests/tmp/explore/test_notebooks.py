"""The notebooks: they run top to bottom on a survey, are kept without outputs, and explain all."""

import json
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tmp.explore.lab import FOLDER, SURVEY_VARIABLE, copy_notebooks, notebooks_folder
from tmp.survey import Survey

NOTEBOOKS = sorted(notebooks_folder().glob("*.ipynb"))
MOST_LINES = 75
"""Of a cell; the longest sets up the sliders of a plan."""


def cells_of(path: Path) -> list[dict[str, Any]]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    cells: list[dict[str, Any]] = document["cells"]
    return cells


def test_there_are_the_six_that_the_page_tells_of() -> None:
    page = (Path(__file__).parents[3] / "docs" / "exploring.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) == 6
    for path in NOTEBOOKS:
        assert path.stem in page


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    for cell in cells_of(path):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_explains_itself_and_folds_its_code_away(path: Path) -> None:
    cells = cells_of(path)
    assert cells[0]["cell_type"] == "markdown"
    assert "Run All Cells" in "".join(cells[0]["source"])
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["metadata"]["jupyter"]["source_hidden"]
            assert len(cell["source"]) <= MOST_LINES


def run(path: Path, survey: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Run a notebook on a survey; returns its cells."""
    monkeypatch.setenv(SURVEY_VARIABLE, str(survey))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[3])]))
    notebook = nbformat.read(path, 4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook, timeout=180, resources={"metadata": {"path": str(survey)}}, allow_errors=True
    )
    cells: list[Any] = client.execute().cells
    return cells


def faults(cells: list[Any]) -> list[str]:
    """Return errors, and what was written to stderr."""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    found = [f"{one.ename}: {one.evalue}" for one in outputs if one.output_type == "error"]
    return found + [one.text for one in outputs if one.get("name") == "stderr"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(
    path: Path, walled: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = run(path, walled.folder, monkeypatch)
    assert faults(cells) == []
    shown = [output for cell in cells for output in cell.get("outputs", [])]
    assert any("application/vnd.jupyter.widget-view+json" in one.get("data", {}) for one in shown)


def test_a_folder_that_is_no_survey_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = run(notebooks_folder() / "04_the_model.ipynb", tmp_path, monkeypatch)
    error = next(output for output in cells[1].outputs if output.output_type == "error")
    (line,) = error.traceback
    assert line == (
        f"Error: {tmp_path}: is not a survey (no survey.toml); make one with "
        f"'tmp ingest PHOTOS --to {tmp_path}'"
    )


def test_copies_that_people_have_edited_stay(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    assert [path.name for path in copy_notebooks(folder)] == [path.name for path in NOTEBOOKS]
    (folder / NOTEBOOKS[0].name).write_text("mine")
    (folder / NOTEBOOKS[1].name).unlink()
    assert copy_notebooks(folder) == [folder / NOTEBOOKS[1].name]
    assert (folder / NOTEBOOKS[0].name).read_text() == "mine"
