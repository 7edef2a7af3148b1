"""Colours of values: apart for all eyes, and at steps that suit what they show."""

from itertools import combinations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.products.colours import RAMPS, colour_values, doubt_stops, ramp_colours, relief_stops
from tmp.plotting import SORTIES, css_rgb

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
VISIONS = pytest.mark.parametrize(
    "vision", [np.eye(3), DEUTERANOPE, PROTANOPE], ids=["all", "d", "p"]
)


def seen_as(colours: np.ndarray, vision: np.ndarray) -> np.ndarray:
    """Return CIELAB (N, 3) of sRGB colours as eyes of a kind see them."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    mixed = np.clip(linear @ vision.T, 0, 1)
    back = np.where(mixed <= 0.0031308, 12.92 * mixed, 1.055 * mixed ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(back[None].astype(np.float32), cv2.COLOR_RGB2Lab)[0]


@VISIONS
@pytest.mark.parametrize("ramp", RAMPS)
def test_colours_a_third_of_the_bar_apart_differ_to_all_eyes(ramp: str, vision: np.ndarray) -> None:
    """A CIELAB difference of 10 is seen at a glance; 2 is the least that is seen at all."""
    lab = seen_as(ramp_colours(ramp, 31), vision)
    nearest = min(
        np.linalg.norm(lab[i] - lab[j]) for i, j in combinations(range(31), 2) if j - i >= 10
    )
    assert nearest > 10


@VISIONS
def test_sorties_are_dark_and_neighbours_differ_to_all_eyes(vision: np.ndarray) -> None:
    lab = seen_as(np.array([css_rgb(css) for css in SORTIES], float), vision)
    assert lab[:, 0].max() < 50
    assert np.linalg.norm(lab - np.roll(lab, 1, axis=0), axis=1).min() > 35
    assert min(np.linalg.norm(a - b) for a, b in combinations(lab, 2)) > 18


def test_ends_hold_beyond_them_and_the_unknown_is_white() -> None:
    values = np.float32([[-5, -0.2, 1.0, 9.0, np.nan, np.inf]])
    colours = colour_values(values, (-0.2, 1.0), "plants")[0]
    ramp = ramp_colours("plants")
    assert (colours[:2] == ramp[0]).all()
    assert (colours[2:4] == ramp[-1]).all()
    assert (colours[4:] == 255).all()


@given(
    st.lists(st.floats(-400, 8000, width=32), min_size=1, max_size=200),
    st.integers(0, 3),
)
def test_heights_of_any_ground_give_rising_steps_within_them(
    values: list[float], gaps: int
) -> None:
    stops = relief_stops(np.array(values + [np.nan] * gaps, np.float32))
    assert (np.diff(stops) > 0).all()
    assert stops[0] >= min(values) - 1e-3
    assert stops[-1] <= max(values) + 0.01


def test_ground_gets_most_of_the_colours_beside_a_few_tall_trees() -> None:
    ground, trees = np.linspace(150.0, 152.0, 900), np.linspace(165.0, 170.0, 100)
    heights = np.concatenate([ground, trees]).astype(np.float32)
    stops = relief_stops(heights)
    share = np.interp(152.0, stops, np.linspace(0, 1, len(stops)))
    even = (152.0 - stops[0]) / (stops[-1] - stops[0])
    assert share > 0.5
    assert share > 4 * even


@given(st.floats(1e-4, 50.0))
def test_doubts_are_coloured_by_equal_factors_from_just_below_the_least(least: float) -> None:
    stops = doubt_stops(np.array([least, least, np.nan, 0.0]))
    assert stops[0] <= least * 1.06
    assert least < 3.4 * stops[0]
    assert stops[1:] / stops[:-1] == pytest.approx(np.sqrt(10), rel=0.06)


def test_doubts_of_nothing_are_coloured_all_the_same() -> None:
    assert len(doubt_stops(np.full(3, np.nan))) == len(RAMPS["doubt"])
