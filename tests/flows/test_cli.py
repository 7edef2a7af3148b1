from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from flows import cli
from flows.lock import locked
from tmp.cli import main


def test_interrupt_ends_in_one_line_and_status_130(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.flow.map_survey", stop)
    result = CliRunner().invoke(main, ["map", str(tmp_path)])
    assert result.exit_code == 130
    assert result.output == "interrupted; run the same command again to go on\n"


def test_folder_that_is_no_survey_is_refused_in_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["map", str(tmp_path)])
    assert result.exit_code == 1
    assert "is not a survey" in result.output
    assert result.output.count("\n") == 1


def test_options_reach_the_map(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def remember(root: Path, options: Any, **_: Any) -> None:
        asked.append(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.flow.map_survey", remember)
    words = ["map", str(tmp_path), "--quality", "fast", "--workers", "3", "--ortho-gsd", "0.05"]
    CliRunner().invoke(main, [*words, "--area", "farm.geojson", "--fill"])
    (options,) = asked
    assert (options.quality, options.workers, options.ortho_gsd_m) == ("fast", 3, 0.05)
    assert (options.area_file, options.fill) == (Path("farm.geojson"), True)


def test_demo_refuses_a_folder_that_holds_other_things(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("years of work")
    result = CliRunner().invoke(cli.demo, [str(tmp_path)])
    assert result.exit_code == 1
    assert (tmp_path / "thesis.docx").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_ingest_waits_its_turn_like_every_other_command(tmp_path: Path) -> None:
    survey, card = tmp_path / "survey", tmp_path / "card"
    card.mkdir()
    cv2.imwrite(str(card / "DJI_0001.JPG"), np.full((60, 80, 3), 90, np.uint8))
    words = ["ingest", str(card), "--to", str(survey)]
    assert CliRunner().invoke(main, words).exit_code == 0
    with locked(survey / "work" / "lock", "'tmp map'"):
        refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 1
    assert "'tmp map' is already at work on it" in refused.output
