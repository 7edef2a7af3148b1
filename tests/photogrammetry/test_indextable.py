"""The table of indices agrees with Awesome Spectral Indices, and fits bands to letters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from photogrammetry.indices.table import (
    Index,
    Needs,
    assign_bands,
    choose_band,
    index_table,
    list_misfits,
)
from tmp.errors import InputError
from tmp.radiometry import Band

TABLE = index_table()
SEQUOIA = (
    Band(name="green", centre_nm=550.0),
    Band(name="red", centre_nm=660.0),
    Band(name="rededge", centre_nm=735.0),
    Band(name="nir", centre_nm=790.0),
)
REDEDGE = (
    Band(name="blue", centre_nm=475.0),
    Band(name="green", centre_nm=560.0),
    Band(name="red", centre_nm=668.0),
    Band(name="nir", centre_nm=840.0),
    Band(name="rededge", centre_nm=717.0),
)


@pytest.fixture(scope="module")
def awesome() -> object:
    """Awesome Spectral Indices as spyndex computes them."""
    return pytest.importorskip("spyndex", reason="spyndex, a development dependency, is missing")


@pytest.mark.parametrize("index", TABLE.indices.values(), ids=lambda index: index.name)
def test_values_agree_with_spyndex_to_single_precision(index: Index, awesome: object) -> None:
    rng = np.random.default_rng(20)
    values = {key: rng.uniform(0.001, 1.2, 4096).astype(np.float32) for key in TABLE.slots}
    expected = awesome.computeIndex(index.name, params=values | dict(index.constants))
    assert expected.dtype == np.float32
    np.testing.assert_array_max_ulp(index.formula(values), expected, maxulp=4)


@pytest.mark.parametrize("index", TABLE.indices.values(), ids=lambda index: index.name)
def test_names_formulas_and_sources_are_those_of_the_catalogue(
    index: Index, awesome: object
) -> None:
    entry = awesome.indices[index.name]
    assert index.formula.text.replace(" ", "") == entry.formula.replace(" ", "")
    assert index.source.removeprefix("https://") == entry.reference.removeprefix(
        "http://"
    ).removeprefix("https://").replace("dx.doi.org", "doi.org")


def test_ranges_of_bands_are_those_of_the_catalogue(awesome: object) -> None:
    for slot in TABLE.slots.values():
        entry = awesome.bands[slot.key]
        assert (slot.low_nm, slot.high_nm) == (entry.min_wavelength, entry.max_wavelength)


_reflectances = hnp.arrays(np.float32, 16, elements=st.floats(0.0625, 1.25, width=32))


@given(st.fixed_dictionaries(dict.fromkeys(TABLE.slots, _reflectances)), st.floats(0.25, 4.0))
def test_a_common_factor_cancels_just_where_the_table_says_so(
    values: dict[str, np.ndarray], factor: float
) -> None:
    scaled = {key: value * np.float32(factor) for key, value in values.items()}
    for index in TABLE.indices.values():
        if index.needs is Needs.RATIO and index.name != "VARI":  # its denominator nears zero
            np.testing.assert_allclose(
                index.formula(scaled), index.formula(values), rtol=2e-4, atol=2e-5
            )


def test_what_needs_reflectance_changes_with_the_level() -> None:
    values = {"B": 0.04, "G": 0.08, "R": 0.05, "RE1": 0.2, "RE2": 0.3, "N": 0.45}
    bright = {key: np.float32([value]) for key, value in values.items()}
    dark = {key: value / 3 for key, value in bright.items()}
    for index in TABLE.indices.values():
        moved = abs(float(index.formula(bright)[0] - index.formula(dark)[0]))
        assert (moved < 1e-5) == (index.needs is Needs.RATIO), index.name


@given(st.fixed_dictionaries(dict.fromkeys(TABLE.slots, _reflectances)))
def test_reflectances_give_values_in_the_valid_range(values: dict[str, np.ndarray]) -> None:
    for index in TABLE.indices.values():
        if index.name in ("VARI", "EVI"):  # whose denominators pass zero, as their notes say
            continue
        found = index.formula(values)
        low, high = index.valid
        assert (found >= low - 1e-6).all(), index.name
        assert (found <= high + 1e-6).all(), index.name


def test_every_index_has_all_that_reports_show() -> None:
    for index in TABLE.indices.values():
        assert index.title
        assert index.reference
        assert index.source.startswith("https://")
        assert index.shows in ("plants", "chlorophyll", "soil", "water", "ice")
        assert -math.inf < index.shown[0] < index.shown[1] < math.inf
        assert index.valid[0] <= index.shown[0]
        assert index.shown[1] <= index.valid[1]


def test_names_are_found_in_any_case_and_by_their_other_names() -> None:
    assert TABLE.find("ndre") is TABLE.indices["NDREI"]
    assert TABLE.find("ndvi_BLUE") is TABLE.indices["BNDVI"]
    assert TABLE.find("exg").name == "ExG"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ndsi", "NDSI needs short-wave infrared.*take NDGlaI"),
        ("GRVI", "means N/G to some"),
        ("NDWJ", "did you mean 'NDWI'"),
        ("temperature", "see --list"),
    ],
)
def test_what_is_not_there_is_refused_with_what_to_take(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        TABLE.find(name)


def test_no_name_means_two_things() -> None:
    names = [name.lower() for index in TABLE.indices.values() for name in (index.name, *index.also)]
    names += [name.lower() for name in TABLE.elsewhere]
    assert len(names) == len(set(names))


def test_a_missing_band_is_named_with_what_the_camera_has_and_could() -> None:
    with pytest.raises(
        InputError,
        match=r"VARI needs blue \(450 to 530 nm\), and Sequoia has green \(550 nm\).*: NDVI, GNDVI",
    ):
        assign_bands(TABLE.find("VARI"), SEQUOIA, "Sequoia")


def test_alternatives_show_the_same_thing() -> None:
    with pytest.raises(InputError, match=r"could be had: NDWI$"):
        assign_bands(TABLE.find("NDTI"), [Band(name="green"), Band(name="nir")], "it")


def test_a_red_edge_far_from_the_indexs_own_is_warned_of() -> None:
    index = TABLE.find("NDRE")
    (said,) = list_misfits(index, assign_bands(index, SEQUOIA, "Sequoia"))
    assert "735 nm" in said
    assert "695 to 715 nm" in said
    assert not list_misfits(index, assign_bands(index, REDEDGE, "RedEdge"))


def test_of_two_red_edges_the_fitting_one_is_taken() -> None:
    both = (Band(name="rededge", centre_nm=740.0), Band(name="rededge", centre_nm=705.0))
    assert choose_band(TABLE.slots["RE1"], both) == both[1]
    assert choose_band(TABLE.slots["RE2"], both) == both[0]


def test_one_red_edge_does_not_stand_for_two() -> None:
    with pytest.raises(InputError, match=r"needs rededge \(695 to 715 nm\)"):
        assign_bands(TABLE.from_user("slope", "RE2/RE1"), SEQUOIA, "Sequoia")


def test_a_makers_own_band_counts_by_its_wavelength() -> None:
    orange, cyan = Band(name="orange", centre_nm=615.0), Band(name="cyan", centre_nm=490.0)
    assert choose_band(TABLE.slots["R"], (orange, cyan)) == orange
    assert choose_band(TABLE.slots["B"], (orange, cyan)) == cyan
    assert choose_band(TABLE.slots["N"], (orange, cyan)) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [("../x", "give it a name"), ("", "give it a name"), ("ndre", "has its meaning")],
)
def test_own_formulas_need_a_name_of_their_own(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        TABLE.from_user(name, "N/R")
