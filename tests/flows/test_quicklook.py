"""Quick looks: the same colour for the same value on every date, legible to everyone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.products.colours import RAMPS, ramp_colours, ramp_steps
from flows.run.quick_look import BAR_WIDTH_PX, MARGIN_PX, Look, Scale, write_contact_sheet
from photogrammetry.indices.table import index_table
from tmp import plotting

NDVI = Scale(name="NDVI", shown=(-0.2, 1.0), ramp="plants")


def test_every_index_names_a_ramp_that_is_there() -> None:
    assert {index.ramp for index in index_table().indices.values()} <= set(RAMPS)


def test_a_value_has_the_colour_that_stands_over_it_in_the_bar(tmp_path: Path) -> None:
    """Read back from the PNG itself: the bar's colour at 0.4 is the picture's of 0.4."""
    looks = [Look(name="a.tif", values=np.full((30, 40), 0.4, np.float32))]
    write_contact_sheet(tmp_path / "sheet.png", looks, NDVI, title="NDVI")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"), int)
    x = MARGIN_PX + round((0.4 + 0.2) / 1.2 * (BAR_WIDTH_PX - 1))
    bar = sheet[MARGIN_PX + 36 + 7, x]
    thumb = sheet[-120, MARGIN_PX + 100]
    assert np.abs(bar - thumb).max() <= 2
    assert thumb.max() - thumb.min() > 50


def test_sheets_of_two_dates_have_the_same_colours(tmp_path: Path) -> None:
    colours = []
    for number, others in enumerate((0.1, 0.9)):
        looks = [
            Look(name="a", values=np.full((30, 40), value, np.float32)) for value in (0.5, others)
        ]
        write_contact_sheet(tmp_path / f"{number}.png", looks, NDVI, title="NDVI")
        sheet = np.asarray(Image.open(tmp_path / f"{number}.png"))
        colours.append(sheet[-120, MARGIN_PX + 100])
    assert (colours[0] == colours[1]).all()


def test_long_titles_and_one_odd_picture_fit_the_sheet(tmp_path: Path) -> None:
    looks = [
        Look(name="x" * 200, values=np.full((90, 10), np.nan, np.float32), notes=("n" * 300,)),
        Look(name="b", values=np.zeros((10, 90), np.float32)),
    ]
    write_contact_sheet(tmp_path / "sheet.png", looks, NDVI, title="t" * 400, lines=["l" * 400])
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert (sheet[:, -MARGIN_PX // 2 :] == 255).all()


@pytest.mark.parametrize("index", index_table().indices.values(), ids=lambda index: index.name)
def test_colour_bars_have_a_handful_of_round_ticks(index) -> None:  # type: ignore[no-untyped-def]
    with plotting.house_style():
        figure = plotting.new_figure(500, 80)
        colours = ramp_colours(index.ramp)
        plotting.colour_bar(figure, (10, 10, BAR_WIDTH_PX), colours, index.shown, index.name)
        (axes,) = figure.axes
        shown = [tick for tick in axes.get_xticks() if index.shown[0] <= tick <= index.shown[1]]
    assert 3 <= len(shown) <= 10
    assert axes.get_xlabel() == index.name
    _, steps = ramp_steps(index.ramp, index.shown)
    np.testing.assert_allclose(steps, [float(f"{step:.3g}") for step in steps], atol=1e-9)
