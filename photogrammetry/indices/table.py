"""The table of indices, and which of a camera's bands stands for which letter of a formula.

Formulas are read as people write them, without running them as code: the text is parsed by
Python's own grammar, and only the kinds of node below are let through: numbers, names that are
known, ``+ - * / **``, brackets and five functions.  Nothing is ever handed to `eval`, so a formula
out of a file or a message can do no more than arithmetic.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmp.errors import InputError
from tmp.files import build, nearest, read_toml
from tmp.radiometry import Band

Array = NDArray[np.float32]

LONGEST = 500
"""Characters of a formula, more than any published index has."""
DEEPEST = 60
"""Operations inside one another."""

_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: Mapping[str, tuple[Callable[..., Any], int]] = {
    "sqrt": (np.sqrt, 1),
    "abs": (np.abs, 1),
    "log": (np.log, 1),
    "exp": (np.exp, 1),
    "min": (np.minimum, 2),
    "max": (np.maximum, 2),
}

_KINDS: Mapping[type[ast.AST], str] = {
    ast.Attribute: "an attribute",
    ast.Call: "this call",
    ast.Compare: "a comparison",
    ast.Constant: "this constant",
    ast.BinOp: "this operator",
    ast.UnaryOp: "this operator",
    ast.Subscript: "an index in brackets",
    ast.Lambda: "a lambda",
    ast.IfExp: "a condition",
    ast.BoolOp: "a logical word",
}
TABLE = "indices.toml"
TOLERANCE_NM = 5.0
"""How far outside a letter's range a band's centre may lie before it is worth a word."""
_NAMES = frozenset(["blue", "green", "red", "rededge", "nir", "panchro", "lwir"])


@dataclass(frozen=True, slots=True)
class _Name:
    name: str


@dataclass(frozen=True, slots=True)
class _Operation:
    function: Callable[..., Any]
    operands: tuple[_Node, ...]


_Node = float | _Name | _Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Formula:
    """A formula that has been read and found to be nothing but arithmetic."""

    text: str
    names: tuple[str, ...]
    """The bands that it needs, in the order in which it names them."""
    root: _Node

    def __call__(self, values: Mapping[str, Array]) -> Array:
        """Return the formula's values, cell by cell, of one array for each of `names`.

        Where there is no value (0/0, the root of a negative number) it is NaN or infinite, without
        a warning.
        """
        with np.errstate(all="ignore"):
            return np.asarray(_value(self.root, values), np.float32)


def parse_formula(
    text: str, names: Collection[str], constants: Mapping[str, float] | None = None
) -> Formula:
    """Read a formula such as ``(N - R)/(N + R)``, of the names of bands and of constants.

    Raises `InputError` if it is anything else than arithmetic with them; it says where.

    Examples
    --------
    >>> ratio = parse_formula("(N - R)/(N + R)", ["N", "R"])
    >>> ratio.names
    ('N', 'R')
    >>> ratio({"N": np.float32([0.75, 0]), "R": np.float32([0.25, 0])}).tolist()
    [0.5, nan]
    >>> parse_formula("1 + X", ["N"])
    Traceback (most recent call last):
    tmp.errors.InputError: formula '1 + X', column 5: there is no band 'X'; the bands are N
    """
    reader = _Reader(text=text, names=tuple(names), constants=dict(constants or {}))
    if len(text) > LONGEST:
        raise InputError(f"formula of {len(text)} characters; give at most {LONGEST}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        column = getattr(error, "offset", None) or 1
        said = getattr(error, "msg", None) or str(error) or "too deep"
        raise InputError(f"formula {text!r}, column {column}: {said}; correct it") from error
    root = reader.node(tree.body, 0)
    found = tuple(dict.fromkeys(_names(root)))
    if not found:
        raise InputError(f"formula {text!r}: names no band; the bands are {reader.known()}")
    return Formula(text=text.strip(), names=found, root=root)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Turns the nodes of Python's grammar into ours, or refuses them."""

    text: str
    names: tuple[str, ...]
    constants: Mapping[str, float]

    def node(self, tree: ast.expr, depth: int) -> _Node:
        if depth > DEEPEST:
            raise self.refusal(tree, f"more than {DEEPEST} operations inside one another")
        match tree:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                return self.number(tree, lambda: float(value))
            case ast.Name(id=name) if name in self.constants:
                return float(self.constants[name])
            case ast.Name(id=name) if name in self.names:
                return _Name(name)
            case ast.Name(id=name):
                raise self.refusal(tree, f"there is no band {name!r}; the bands are {self.known()}")
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return self.operation(tree, _OPERATORS[type(op)], (left, right), depth)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                return self.operation(tree, _OPERATORS[type(op)], (operand,), depth)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
                function, count = _FUNCTIONS[name]
                if len(args) != count:
                    raise self.refusal(tree, f"{name} takes {count} value{'s'[: count > 1]}")
                return self.operation(tree, function, tuple(args), depth)
        kind = _KINDS.get(type(tree), type(tree).__name__.lower())
        raise self.refusal(
            tree, f"{kind} is not arithmetic; use + - * / **, brackets, {', '.join(_FUNCTIONS)}"
        )

    def operation(
        self,
        tree: ast.expr,
        function: Callable[..., Any],
        operands: tuple[ast.expr, ...],
        depth: int,
    ) -> _Node:
        """Return an operation; one of numbers alone is worked out at once."""
        read = tuple(self.node(operand, depth + 1) for operand in operands)
        numbers = [value for value in read if isinstance(value, float)]
        if len(numbers) < len(read):
            return _Operation(function, read)
        with np.errstate(all="ignore"):
            return self.number(tree, lambda: function(*numbers))

    def number(self, tree: ast.expr, work_out: Callable[[], Any]) -> float:
        try:
            value = work_out()
            if not isinstance(value, complex) and math.isfinite(value):
                return float(value)
        except (ArithmeticError, ValueError):
            pass
        raise self.refusal(tree, "this part has no finite value")

    def refusal(self, tree: ast.expr, said: str) -> InputError:
        # Python counts bytes; people count letters.
        before = self.text.strip().encode()[: tree.col_offset].decode(errors="ignore")
        return InputError(f"formula {self.text!r}, column {len(before) + 1}: {said}")

    def known(self) -> str:
        return ", ".join(self.names)


def _names(node: _Node) -> list[str]:
    if isinstance(node, _Name):
        return [node.name]
    if isinstance(node, _Operation):
        return [name for operand in node.operands for name in _names(operand)]
    return []


def _value(node: _Node, values: Mapping[str, Array]) -> Any:
    if isinstance(node, _Operation):
        return node.function(*(_value(operand, values) for operand in node.operands))
    # A Python number leaves float32 arrays what they are.
    return values[node.name] if isinstance(node, _Name) else node


class Needs(StrEnum):
    """What an index supposes of the values it is made from."""

    RATIO = "ratio"
    """A factor common to all bands cancels."""
    CONTRAST = "contrast"
    """It grows with brightness: for telling things apart within one picture."""
    REFLECTANCE = "reflectance"
    """Its constants suppose reflectance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A letter of formulas: the bands that may stand for it."""

    key: str
    """``N``, ``RE1``, …, as Awesome Spectral Indices has it."""
    name: str
    """``nir``, ``rededge``, …, as photographs have it."""
    low_nm: float
    high_nm: float

    def distance_nm(self, centre_nm: float) -> float:
        """Return how far outside the range a wavelength lies; 0 inside."""
        return max(self.low_nm - centre_nm, centre_nm - self.high_nm, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index: how it is computed, and what its values mean."""

    name: str
    title: str
    formula: Formula
    constants: tuple[tuple[str, float], ...] = ()
    also: tuple[str, ...] = ()
    """Other names."""
    reference: str = ""
    """Author and year."""
    source: str = ""
    """DOI, as an address."""
    shows: str = ""
    """``plants``, ``chlorophyll``, ``soil``, ``water`` or ``ice``."""
    needs: Needs = Needs.RATIO
    valid: tuple[float, float] = (-math.inf, math.inf)
    """Lowest and highest value that reflectances can give."""
    shown: tuple[float, float] = (-1.0, 1.0)
    """Ends of the colour bar."""
    ramp: str = "plain"
    note: str = ""

    def in_words(self) -> str:
        """Return the formula with its constants, as reports show it."""
        said = ", ".join(f"{name} = {value:g}" for name, value in self.constants)
        return f"{self.formula.text}{f', {said}' if said else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexTable:
    """What ``indices.toml`` says."""

    slots: Mapping[str, Slot]
    indices: Mapping[str, Index]
    elsewhere: Mapping[str, tuple[str, str]]
    """Why an index is not to be had, and what to take in its stead."""

    def find(self, name: str) -> Index:
        """Return the index called `name`, in any case or by another of its names.

        Raises `InputError` if there is none; says why, where a reason is known, and what is near.

        Examples
        --------
        >>> index_table().find("ndre").name
        'NDREI'
        >>> index_table().find("NDSI")
        Traceback (most recent call last):
        tmp.errors.InputError: NDSI needs short-wave infrared near 1600 nm, which no camera ...
        """
        known = {
            other: index for index in self.indices.values() for other in (*index.also, index.name)
        }
        for other, index in known.items():
            if other.lower() == name.lower():
                return index
        for other, (why, instead) in self.elsewhere.items():
            if other.lower() == name.lower():
                raise InputError(f"{other} {why}; take {instead}")
        near = nearest(name, known) or "; see --list"
        raise InputError(f"no index is called {name!r}{near}, or write it as --formula")

    def from_user(self, name: str, text: str) -> Index:
        """Return an index of the user's own formula.

        Raises `InputError` if the name is taken or no name, or the formula cannot be used.
        """
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,30}", name):
            raise InputError(
                f"--formula {name!r}: give it a name of letters, digits and _, as in MINE=N/R"
            )
        taken = {key.lower() for key in (*self.indices, *self.elsewhere)}
        taken |= {other.lower() for index in self.indices.values() for other in index.also}
        if name.lower() in taken:
            raise InputError(f"--formula {name}: that name has its meaning; choose another")
        return Index(
            name=name,
            title=f"{name}, own formula",
            formula=parse_formula(text, tuple(self.slots)),
            reference="own formula",
            needs=Needs.CONTRAST,
        )

    def computable(self, bands: Sequence[Band]) -> list[Index]:
        """Return the indices for which a camera has the bands."""
        return [
            index
            for index in self.indices.values()
            if all(choose_band(self.slots[key], bands) for key in index.formula.names)
        ]


@cache
def index_table() -> IndexTable:
    """Return the table that comes with the platform."""
    path = Path(str(files(__package__) / TABLE))
    document = read_toml(path)
    slots = {
        key: Slot(key=key, name=entry["name"], low_nm=low_nm, high_nm=high_nm)
        for key, entry in document["band"].items()
        for low_nm, high_nm in [entry["range_nm"]]
    }
    return IndexTable(
        slots=slots,
        indices={
            name: _index(name, entry, slots, f"{path}: {name}")
            for name, entry in document["index"].items()
        },
        elsewhere={
            name: (entry["why"], entry["instead"]) for name, entry in document["elsewhere"].items()
        },
    )


def _index(name: str, entry: dict[str, Any], slots: Collection[str], where: str) -> Index:
    constants = entry.pop("constants", {})
    formula = parse_formula(entry.pop("formula"), tuple(slots), constants)
    low, high = entry.pop("valid", (-math.inf, math.inf))
    return build(
        Index,
        entry,
        where,
        name=name,
        formula=formula,
        constants=tuple(constants.items()),
        valid=(low, high),
    )


def choose_band(slot: Slot, bands: Sequence[Band]) -> Band | None:
    """Choose the band that stands for a letter of a formula.

    The band of that name does, and of several the one nearest to the letter's range; a band whose
    name says nothing (a maker's word) does by its wavelength.
    """
    named = [band for band in bands if band.name == slot.name]
    by_wavelength = [
        band
        for band in bands
        if band.name not in _NAMES
        and band.centre_nm is not None
        and slot.distance_nm(band.centre_nm) <= TOLERANCE_NM
    ]
    candidates = named or by_wavelength
    if not candidates:
        return None
    return min(candidates, key=lambda band: slot.distance_nm(band.centre_nm or slot.low_nm))


def _nearest(slots: Sequence[Slot], band: Band) -> Slot:
    return min(slots, key=lambda slot: slot.distance_nm(band.centre_nm or slot.low_nm))


def assign_bands(index: Index, bands: Sequence[Band], source: str) -> dict[str, Band]:
    """Return the band for each letter of an index's formula, of those that a source has.

    Raises `InputError` if a band is missing: which, what the camera has, and what could be taken
    instead.
    """
    table = index_table()
    chosen = {key: choose_band(table.slots[key], bands) for key in index.formula.names}
    for key, band in chosen.items():
        twins = [table.slots[other] for other in chosen if chosen[other] == band]
        if band is not None and table.slots[key] != _nearest(twins, band):
            chosen[key] = None  # one red edge cannot stand for two
    missing = [key for key, band in chosen.items() if band is None]
    if missing:
        wanted = " and ".join(
            f"{table.slots[key].name} ({table.slots[key].low_nm:g} to "
            f"{table.slots[key].high_nm:g} nm)"
            for key in missing
        )
        computable = table.computable(bands)
        alike = [other for other in computable if other.shows == (index.shows or "")]
        others = [other.name for other in alike or computable]
        remedy = f"; from these could be had: {', '.join(others[:6])}" if others else ""
        has = ", ".join(_said(band) for band in bands) or "no known band"
        raise InputError(f"{index.name} needs {wanted}, and {source} has {has}{remedy}")
    return {key: band for key, band in chosen.items() if band is not None}


def list_misfits(index: Index, chosen: Mapping[str, Band]) -> list[str]:
    """Say which bands lie elsewhere than the index was made for."""
    said = []
    for key, band in chosen.items():
        slot = index_table().slots[key]
        if band.centre_nm is None:
            continue
        if slot.distance_nm(band.centre_nm) > TOLERANCE_NM:
            said.append(
                f"{index.name}: {band.name} lies at {band.centre_nm:g} nm, and the index was made "
                f"for {slot.low_nm:g} to {slot.high_nm:g} nm; compare it only with values of the "
                "same camera"
            )
    return said


def _said(band: Band) -> str:
    return band.name if band.centre_nm is None else f"{band.name} ({band.centre_nm:g} nm)"
