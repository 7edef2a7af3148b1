"""A first look at NDVI from photographs alone, before there is a map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from flows.run import quick_look
from flows.run.quick_look import Look, Scale
from tmp.cli import main
from tmp.errors import InputError
from tmp.survey import create_survey


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Look], Scale, list[str]]]:
    """What goes onto contact sheets, noted on its way."""
    sheets: list[tuple[list[Look], Scale, list[str]]] = []
    write = quick_look.write_contact_sheet

    def note(path: Path, looks: list[Look], scale: Scale, *, title: str, lines: list[str]) -> None:
        sheets.append((looks, scale, lines))
        write(path, looks, scale, title=title, lines=lines)

    monkeypatch.setattr(quick_look, "write_contact_sheet", note)
    return sheets


@pytest.mark.real
def test_a_card_of_red_and_near_infrared_shows_lawn_and_asphalt(
    real_data: Path, tmp_path: Path, drawn: list[tuple[list[Look], Scale, list[str]]]
) -> None:
    """The sun sensor alone holds the level, so lawn and asphalt are only known to be far apart."""
    survey = tmp_path / "survey"
    card = real_data / "garfield_sequoia"
    done = CliRunner().invoke(
        main, ["ingest", str(card), "--to", str(survey), "--link", "--quick-ndvi"]
    )
    assert done.exit_code == 0, done.output
    assert str(survey / "quick_ndvi.png") in done.output
    ((looks, scale, lines),) = drawn
    assert scale.name == "NDVI"
    assert len(looks) == 11
    first = looks[0].values
    lawn, asphalt = first[20:60, 60:100], first[90:130, 120:150]
    assert np.nanmedian(lawn) > 0.5
    assert np.nanmedian(asphalt) < 0.15
    assert "sun sensor" in lines[0]
    assert any("px left" in line for line in lines)
    with Image.open(survey / "quick_ndvi.png") as sheet:
        assert sheet.width > 800


def test_a_converted_camera_of_one_file_needs_no_alignment(
    tmp_path: Path, drawn: list[tuple[list[Look], Scale, list[str]]]
) -> None:
    """Near-infrared in the red channel, as with a blue filter: NDVI_blue is what can be had."""
    card = tmp_path / "card"
    card.mkdir()
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[..., 0], picture[..., 2] = 200, 60
    for number in range(2):
        path = card / f"IMG_{number:04d}.JPG"
        image = Image.fromarray(np.roll(picture + number, number, axis=1))
        exif = Image.Exif()
        exif[271], exif[272] = "Canon", "Converted PowerShot"
        image.save(path, exif=exif, quality=95)
    survey = create_survey(tmp_path / "survey")
    (survey.folder / "cameras.toml").write_text(
        '[cameras."*powershot*"]\nchannels = ["nir", "green", "blue"]\n'
    )
    done = CliRunner().invoke(
        main, ["ingest", str(card), "--to", str(survey.folder), "--quick-ndvi"]
    )
    assert done.exit_code == 0, done.output
    ((looks, scale, _),) = drawn
    assert scale.name == "BNDVI"
    # The display's curve is undone before the formula: ((200/255)^2.2 - (60/255)^2.2) / sum.
    assert np.nanmedian(looks[0].values) == pytest.approx(0.86, abs=0.03)


def test_colour_alone_is_refused_with_the_remedy(tmp_path: Path) -> None:
    card = tmp_path / "card"
    card.mkdir()
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(card / "a.JPG")
    survey = tmp_path / "survey"
    CliRunner().invoke(main, ["ingest", str(card), "--to", str(survey)])
    with pytest.raises(InputError, match=r"no release has near-infrared.*cameras.toml"):
        quick_look.write_quick_ndvi(survey)


def test_many_releases_are_taken_evenly() -> None:
    assert quick_look._evenly(3, 120) == [0, 1, 2]
    chosen = quick_look._evenly(1000, 120)
    assert len(chosen) == 120
    assert (chosen[0], chosen[-1]) == (0, 999)
