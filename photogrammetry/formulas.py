"""Formulas of bands as people write them, read without running them as code.

The text is parsed by Python's own grammar, and only the kinds of node below are let through:
numbers, names that are known, ``+ - * / **``, brackets and five functions.  Nothing is ever handed
to `eval`, so a formula out of a file or a message can do no more than arithmetic.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tmp.errors import InputError

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
        """Return the formula's values, cell by cell.

        Parameters
        ----------
        values : mapping of str to ndarray of float32
            One for each of `names`, all of one shape.

        Returns
        -------
        ndarray of float32
            Of that shape.  Where there is no value (0/0, the root of a negative number) it is
            NaN or infinite, without a warning.
        """
        with np.errstate(all="ignore"):
            return np.asarray(_value(self.root, values), np.float32)


def parse_formula(
    text: str, names: Collection[str], constants: Mapping[str, float] | None = None
) -> Formula:
    """Read a formula.

    Parameters
    ----------
    text : str
        Such as ``(N - R)/(N + R)``.
    names : collection of str
        Bands that may be named.
    constants : mapping of str to float, optional
        Names that stand for numbers.

    Raises
    ------
    InputError
        If it is anything else than arithmetic with known names; says where.

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
