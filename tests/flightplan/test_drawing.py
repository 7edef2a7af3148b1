"""Shapes come out alike as SVG and as pixels."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from flightplan.outputs.drawing import (
    Dots,
    Layer,
    Picture,
    Shape,
    Stroke,
    Text,
    moved,
    rectangle,
    to_picture,
    to_svg,
)

SIZE = (60.0, 40.0)


def painted(*shapes: Shape, shown: bool = True) -> np.ndarray:
    layer = Layer(name="one", label="", shapes=shapes, shown=shown)
    return np.asarray(to_picture([layer], SIZE)).astype(int)


def test_a_ring_within_a_ring_is_a_hole() -> None:
    rings = (rectangle(5, 5, 40, 30), rectangle(15, 12, 10, 10))
    pixels = painted(Stroke(parts=rings, fill="#0000ff", width=0))
    assert pixels[8, 8].tolist() == [0, 0, 255]
    assert pixels[17, 20].tolist() == [255, 255, 255]
    assert pixels[2, 2].tolist() == [255, 255, 255]


def test_half_opaque_fill_lets_the_paper_through() -> None:
    pixels = painted(Stroke(parts=(rectangle(5, 5, 40, 30),), fill="#00000080", width=0))
    assert pixels[20, 20] == pytest.approx(np.full(3, 127), abs=2)


def test_a_hidden_layer_is_hidden_in_both() -> None:
    dot = Dots(places=np.array([[30.0, 20.0]]), radius=8, colour="#ff0000")
    assert (painted(dot, shown=False) == 255).all()
    assert painted(dot)[20, 30].tolist() == [255, 0, 0]
    svg = to_svg([Layer(name="one", label="", shapes=(dot,), shown=False)], SIZE, "test")
    assert '<g id="layer-one" hidden="hidden">' in svg


def test_dashes_leave_gaps_and_a_halo_lies_below() -> None:
    line = np.array([[0.0, 20.0], [60, 20]])
    dark = painted(Stroke(parts=(line,), colour="#000000", width=3, dash=6))[20, :, 0] < 100
    assert 0.35 < dark.mean() < 0.75
    assert np.diff(dark.astype(int)).tolist().count(1) >= 4


def test_moving_a_shape_moves_its_pixels() -> None:
    dot = Dots(places=np.array([[10.0, 10.0]]), radius=4, colour="#00ff00")
    np.testing.assert_array_equal(
        painted(moved(dot, 20, 5))[15, 30], painted(dot)[10, 10]
    )  # fmt: skip
    assert moved(Text(x=1, y=2, text="a"), 3, 4) == Text(x=4, y=6, text="a")


def test_svg_is_well_formed_and_escapes_what_people_write() -> None:
    shapes = (
        Text(x=5, y=20, text='<b> & "x"', bold=True, anchor="middle"),
        Picture(pixels=np.zeros((2, 3, 4), np.uint8), x=0, y=0, width=60, height=40),
        Stroke(parts=(rectangle(1, 1, 5, 5),), colour="#123456", dash=3, halo=1),
        Dots(places=np.array([[3.0, 4.0], [5, 6]]), radius=2, colour="#000000", rim="#ffffff"),
    )
    svg = to_svg([Layer(name="one", label="One", shapes=shapes)], SIZE, 'a "map" & more')
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == 'a "map" & more'
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ['<b> & "x"']
