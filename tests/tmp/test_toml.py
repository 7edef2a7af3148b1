"""TOML tables made into dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmp.errors import InputError
from tmp.files import build, nearest, read_toml, refuse_unknown, subtables, table


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    focal_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kite:
    key: str
    rods: int
    line_m: float = 50.0
    colour: Colour = Colour.RED
    corners: tuple[tuple[float, float], ...] = ()
    lens: Lens | None = None
    loads: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rods < 0:
            raise InputError(f"{self.rods} rods; give 0 or more")


def test_a_table_becomes_its_dataclass_with_inner_tables_and_lists() -> None:
    entry = {
        "rods": 3.0,
        "line_m": 30,
        "colour": "blue",
        "corners": [[0, 1], [2, 3.5]],
        "lens": {"focal_mm": 8},
        "loads": {"camera": 1},
    }
    assert build(Kite, entry, "kites.toml", key="delta") == Kite(
        key="delta",
        rods=3,
        line_m=30.0,
        colour=Colour.BLUE,
        corners=((0.0, 1.0), (2.0, 3.5)),
        lens=Lens(focal_mm=8.0),
        loads={"camera": 1.0},
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({}, "k: rods is missing; add it"),
        ({"rods": 2.5}, "k: rods = 2.5; give a whole number"),
        ({"rods": True}, "k: rods = True; give a whole number"),
        ({"rods": 1, "line_m": "long"}, "k: line_m = 'long'; give a number"),
        ({"rods": 1, "colour": "rde"}, "k: colour = 'rde'; give one of red, blue"),
        ({"rods": 1, "corners": [[1]]}, r"k: corners = \[1\]; give a list of 2, each a number"),
        ({"rods": 1, "lens": 8}, "k: lens = 8; give a table"),
        ({"rods": 1, "lens": {"focal": 8}}, "k: lens: 'focal' is not known; .* 'focal_mm'"),
        ({"rods": 1, "loads": {"camera": "x"}}, "k: loads.camera = 'x'; give a number"),
        ({"rods": 1, "key": "a"}, "k: 'key' is not known; known are colour, corners"),
        ({"rods": -1}, "k: -1 rods; give 0 or more"),
    ],
)
def test_what_cannot_be_is_refused_with_where_which_and_what_to_write(
    entry: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=f"^{said}"):
        build(Kite, entry, "k", key="delta")


def test_keys_of_others_are_left_alone_where_that_is_asked_for() -> None:
    entry = {"rods": 1, "lens": {"focal_mm": 8, "made": 1990}, "owner": "Ann"}
    assert build(Kite, entry, "k", strict=False, key="delta").lens == Lens(focal_mm=8.0)


@given(st.text("abcdefgh_", min_size=4), st.sets(st.text("abcdefgh_", min_size=4), min_size=1))
def test_a_name_that_is_known_is_never_refused(name: str, others: set[str]) -> None:
    refuse_unknown([name], {*others, name}, "k")
    assert repr(name) in nearest(name, [*others, name]) or not name.strip("_")


def test_what_is_no_table_is_refused() -> None:
    document = {"place": 3, "stage": {"surface": 1}}
    assert table(document, "origin", "f") == subtables(document, "cameras", "f") == {}
    with pytest.raises(InputError, match=r"f: place = 3; write it as a table, \[place\]"):
        table(document, "place", "f")
    with pytest.raises(InputError, match=r'f: stage.surface = 1; .* \[stage."surface"\]'):
        subtables(document, "stage", "f")


def test_a_file_that_is_not_there_or_no_toml_is_one_line(tmp_path) -> None:
    path = tmp_path / "a.toml"
    with pytest.raises(InputError, match=r"a\.toml: cannot be read \(No such file"):
        read_toml(path)
    for content in (b"a = ", b"a = '\xff'"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.toml: not valid TOML \(.*\); correct it"):
            read_toml(path)
