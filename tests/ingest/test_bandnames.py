import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.metadata.vendors import normal_name, why_implausible
from tmp.radiometry import Band


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("--", ""),
        ("-", ""),
        ("", ""),
        ("r-e", "rededge"),  # once more, "re" would have become "rededge"
        ("near-infrared", "nir"),
        ("Red_Edge - 740 ", "rededge-740"),
        ("red-740_", "red-740"),
        ("NIR--840", "nir-840"),
        ("-740", "-740"),
        ("740-", "740"),
        ("a-7-8", "a7-8"),
        ("red-²", "red²"),  # a digit to Unicode, but no number
    ],
)
def test_odd_names_have_one_spelling(written, normal):
    assert normal_name(written) == normal
    assert normal_name(normal) == normal


# Words in which makers' names, dashes, blanks and digits meet far more often than in any text.
PIECES = st.lists(
    st.sampled_from(["-", "_", " ", "\n", "7", "740", "²", "İ", "ß", "N", "R", "E", "Red", "pan"]),
    max_size=8,
).map("".join)


@given(PIECES | st.text(max_size=30))
@example("--")
def test_a_normal_name_stays_as_it_is(text):
    assert normal_name(normal_name(text)) == normal_name(text)


@given(PIECES | st.text(max_size=30))
def test_a_normal_name_has_no_blanks_and_a_dash_only_before_a_wavelength(text):
    name, dash, wavelength = normal_name(text).partition("-")
    assert not any(letter.isspace() or letter == "_" for letter in name)
    assert bool(dash) == wavelength.isdecimal()


def test_each_letter_there_is_has_a_normal_name_that_stays():
    letters = map(chr, range(sys.maxunicode + 1))
    once = {letter: normal_name(letter) for letter in letters}
    assert [letter for letter, name in once.items() if normal_name(name) != name] == []


def test_a_band_far_from_the_wavelengths_of_its_name_is_implausible():
    assert why_implausible(Band(name="red", centre_nm=850.0)) == "band 'red' centred at 850 nm"
    assert why_implausible(Band(name="rededge-740", centre_nm=740.0)) == ""


def test_orange_ends_and_red_begins_where_both_may_be_meant():
    """Red from 600 nm, since MAPIR calls 615 nm orange and Sentera 625 nm red."""
    for name, low_nm, high_nm in (("orange", 580.0, 650.0), ("red", 600.0, 710.0)):
        for within_nm in (low_nm, high_nm):
            assert why_implausible(Band(name=name, centre_nm=within_nm)) == ""
        for beyond_nm in (low_nm - 0.5, high_nm + 0.5):
            assert f"band {name!r} centred at" in why_implausible(
                Band(name=name, centre_nm=beyond_nm)
            )
