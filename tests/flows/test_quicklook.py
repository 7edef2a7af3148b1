"""Quick looks: the same colour for the same value on every date, legible to everyone."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from flows.products.ramps import PAPER, RAMPS, colour_values, ramp_colours, ramp_steps
from flows.report.charts import ticks
from flows.run.quick_look import BAR_WIDTH_PX, MARGIN_PX, Look, Scale, write_contact_sheet
from photogrammetry.indices.table import index_table

NDVI = Scale(name="NDVI", shown=(-0.2, 1.0), ramp="plants")

DEUTERANOPE = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
PROTANOPE = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)
"""Machado, Oliveira and Fernandes (2009), severity 1.0, for linear RGB."""


def seen_as(colours: np.ndarray, vision: np.ndarray) -> np.ndarray:
    """Return CIELAB (N, 3) of sRGB colours as eyes of a kind see them."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    mixed = np.clip(linear @ vision.T, 0, 1)
    back = np.where(mixed <= 0.0031308, 12.92 * mixed, 1.055 * mixed ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(back[None].astype(np.float32), cv2.COLOR_RGB2Lab)[0]


@pytest.mark.parametrize("vision", [np.eye(3), DEUTERANOPE, PROTANOPE], ids=["all", "d", "p"])
@pytest.mark.parametrize("ramp", RAMPS)
def test_colours_a_third_of_the_bar_apart_differ_to_all_eyes(ramp: str, vision: np.ndarray) -> None:
    """A CIELAB difference of 10 is seen at a glance; 2 is the least that is seen at all."""
    lab = seen_as(ramp_colours(ramp, 31), vision)
    nearest = min(
        np.linalg.norm(lab[i] - lab[j]) for i, j in combinations(range(31), 2) if j - i >= 10
    )
    assert nearest > 10


def test_every_index_names_a_ramp_that_is_there() -> None:
    assert {index.ramp for index in index_table().indices.values()} <= set(RAMPS)


def test_ends_hold_beyond_them_and_the_unknown_is_white() -> None:
    values = np.float32([[-5, -0.2, 1.0, 9.0, np.nan, np.inf]])
    colours = colour_values(values, (-0.2, 1.0), "plants")[0]
    ramp = ramp_colours("plants")
    assert (colours[:2] == ramp[0]).all()
    assert (colours[2:4] == ramp[-1]).all()
    assert (colours[4:] == PAPER).all()


def test_a_value_has_the_colour_that_stands_over_it_in_the_bar(tmp_path: Path) -> None:
    """Read back from the PNG itself: the bar's colour at 0.4 is the picture's of 0.4."""
    looks = [Look(name="a.tif", values=np.full((30, 40), 0.4, np.float32))]
    write_contact_sheet(tmp_path / "sheet.png", looks, NDVI, title="NDVI")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"), int)
    x = MARGIN_PX + round((0.4 + 0.2) / 1.2 * (BAR_WIDTH_PX - 1))
    bar = sheet[MARGIN_PX + 34 + 10 + 9, x]
    thumb = sheet[-120, MARGIN_PX + 100]
    assert np.abs(bar - thumb).max() <= 2


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
    found = ticks(*index.shown)
    assert 3 <= len(found) <= 10
    _, steps = ramp_steps(index.ramp, index.shown)
    np.testing.assert_allclose(steps, [float(f"{step:.3g}") for step in steps], atol=1e-9)
    assert index.shown[0] <= found[0] < found[-1] <= index.shown[1]
