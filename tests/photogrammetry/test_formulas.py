"""Formulas: they do arithmetic as NumPy does, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photogrammetry.indices.table import DEEPEST, LONGEST, parse_formula
from tmp.errors import InputError

BANDS = ("B", "G", "R", "RE1", "N")


def test_a_formula_gives_what_is_worked_by_hand() -> None:
    values = {"N": np.float32([0.5]), "R": np.float32([0.1])}
    formula = parse_formula("2.5*(N - R)/(N + 2.4*R + L)", BANDS, {"L": 1.0})
    assert formula(values)[0] == pytest.approx(2.5 * 0.4 / 1.74, rel=1e-6)
    assert formula.names == ("N", "R")


def test_values_stay_in_single_precision() -> None:
    values = {name: np.float32([0.3, 0.4]) for name in BANDS}
    for text in ("N/R", "sqrt(N)*1e300/1e300", "N**2.0 + 10**3", "max(N, R) - min(1/3, G)"):
        assert parse_formula(text, BANDS)(values).dtype == np.float32


def test_nothing_over_nothing_is_quietly_unknown() -> None:
    zero = np.zeros(2, np.float32)
    assert np.isnan(parse_formula("(N - R)/(N + R)", BANDS)({"N": zero, "R": zero})).all()
    assert np.isinf(parse_formula("1/N", BANDS)({"N": zero})).all()
    assert np.isnan(parse_formula("log(N - 1)", BANDS)({"N": zero})).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("__import__('os').system('x')", "column 1: this call is not arithmetic"),
        ("N + open('x')", "column 5: this call is not arithmetic"),
        ("N.__class__", "column 1: an attribute is not arithmetic"),
        ("N[0]", "column 1: an index in brackets is not arithmetic"),
        ("(lambda: N)()", "column 1: this call is not arithmetic"),
        ("[N for N in R]", "column 1: listcomp is not arithmetic"),
        ("N + 'a'", "column 5: this constant is not arithmetic"),
        ("N + True", "column 5: this constant is not arithmetic"),
        ("N + 1j", "column 5: this constant is not arithmetic"),
        ("N if R else G", "column 1: a condition is not arithmetic"),
        ("N < R", "column 1: a comparison is not arithmetic"),
        ("N and R", "column 1: a logical word is not arithmetic"),
        ("N % R", "column 1: this operator is not arithmetic"),
        ("~N", "column 1: this operator is not arithmetic"),
        ("(N := 2)", "is not arithmetic"),
        ("f'{N}'", "is not arithmetic"),
        ("N = 2", "column 3: invalid syntax"),
        ("N − R", "column 3: invalid character"),
        ("(N - R", r"column 1: '\(' was never closed"),
        ("", "invalid syntax"),
        ("N\x00", "null byte"),
        ("N - S1", "column 5: there is no band 'S1'; the bands are B, G, R"),
        ("eval", "there is no band 'eval'"),
        ("sqrt(N, R)", "column 1: sqrt takes 1 value"),
        ("min(N)", "column 1: min takes 2 values"),
        ("sqrt(x=N)", "this call is not arithmetic"),
        ("sqrt(*N)", "starred is not arithmetic"),
        ("N + 9**9**9**9", "column 8: this part has no finite value"),
        ("N + 1/0", "column 5: this part has no finite value"),
        ("N + (-8)**0.5", "this part has no finite value"),
        ("N*1e999", "column 3: this part has no finite value"),
        ("1 + 2", "names no band"),
        ("N" + "+N" * LONGEST, f"at most {LONGEST}"),
        ("-" * (DEEPEST + 1) + "N", f"more than {DEEPEST} operations"),
        ("(" * 240 + "N", "formula"),
    ],
)
def test_what_is_not_arithmetic_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_formula(text, BANDS)


@given(st.text(alphabet="NRGB().+-*/ 0123456789,_[]'\"sqrtabE:=%@\n", max_size=40))
def test_any_text_is_either_a_formula_or_refused(text: str) -> None:
    try:
        formula = parse_formula(text, BANDS)
    except InputError:
        return
    values = {name: np.float32([0.2, 0.0]) for name in BANDS}
    assert formula(values).dtype == np.float32


_numbers = st.sampled_from(["2", "0.5", "1.2e1", "7.5"])
_expressions = st.recursive(
    st.one_of(_numbers, st.sampled_from(BANDS)),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "*", "/", "-3.1*"]), inner).map(
        lambda part: f"({part[0]} {part[1]} {part[2]})"
    ),
    max_leaves=8,
)


@given(_expressions.filter(lambda text: any(band in text for band in "BGRN")))
def test_arithmetic_is_pythons_own(text: str) -> None:
    values = {name: np.float32([0.3, 0.05, 1.2]) * (1 + i) for i, name in enumerate(BANDS)}
    with np.errstate(all="ignore"):
        # The text is made above and harmless; Python itself is the authority here.
        expected = np.float32(eval(text, {}, values))
        np.testing.assert_allclose(parse_formula(text, BANDS)(values), expected, rtol=1e-5)
