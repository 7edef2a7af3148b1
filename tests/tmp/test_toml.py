"""TOML tables made into dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmp.errors import InputError, require_range
from tmp.files import (
    MOST_TOML_BYTES,
    build,
    nearest,
    read_toml,
    refuse_unknown,
    subtables,
    table,
)


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
        ({"rods": 1, "line_m": float("nan")}, "k: line_m = nan; give a number of ordinary size"),
        ({"rods": 1, "lens": {"focal_mm": 1e308}}, "k: lens: focal_mm = 1e.308; give a number of"),
        ({"rods": 10**400}, "k: rods = 1000"),
        ({"rods": "x" * 1000}, "k: rods = 'x{59} …; give a whole number$"),
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\na = 2", "not valid TOML"),
        (".".join(["a"] * 20_000) + " = 1", "a key of more than 32 parts"),
        ("[" + " . ".join(['"a"'] * 100) + "]", "a key of more than 32 parts"),
        ("a = " + "[" * 20_000, "nested too deep"),
        ("a = " + "{ b = " * 20_000, "not valid TOML"),
        (f"a = {'1' * 5000}", "not valid TOML"),
        ("# " + "x" * MOST_TOML_BYTES, "larger than 4 MB"),
    ],
)
def test_a_file_that_no_person_wrote_is_refused_in_one_line(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as refusal:
        read_toml(path)
    assert "\n" not in str(refusal.value)


def test_many_figures_with_points_are_no_deep_key(tmp_path: Path) -> None:
    path = tmp_path / "figures.toml"
    path.write_text(f"curve = [{', '.join(['0.5'] * 200)}]\ntext = '{'1.' * 20}'\n")
    assert len(read_toml(path)["curve"]) == 200


@given(st.floats(), st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_a_range_lets_through_what_lies_in_it_and_nothing_else(
    value: float, least: float, width: float
) -> None:
    lens = Lens(focal_mm=value)
    if least <= value <= least + width:
        require_range(lens, "focal_mm", least=least, most=least + width)
    else:
        with pytest.raises(InputError, match="focal_mm = "):
            require_range(lens, "focal_mm", least=least, most=least + width)
