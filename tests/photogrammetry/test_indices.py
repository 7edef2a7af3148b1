"""Indices of arrays: what is stored, what is unknown, what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from photogrammetry.indices.compute import NODATA, Layer, compute_index, index_values
from photogrammetry.indices.table import index_table
from tmp.errors import InputError

NDVI = index_table().find("NDVI")


def layers(nir: np.ndarray, red: np.ndarray, **options: float) -> dict[str, Layer]:
    return {"N": Layer(stored=nir, **options), "R": Layer(stored=red, **options)}


def test_stored_integers_become_reflectance_first() -> None:
    """(0.5 - 0.1)/(0.5 + 0.1), each band on a scale of its own."""
    bands = {
        "N": Layer(stored=np.full((3, 4), 5000, np.uint16), factor=1e-4),
        "R": Layer(stored=np.full((3, 4), 150, np.uint8), factor=1e-3, offset=-0.05),
    }
    np.testing.assert_allclose(compute_index(NDVI, bands).values, 2 / 3, rtol=1e-6)


def test_every_cell_is_counted_once_for_its_reason() -> None:
    nir = np.float32([[0.5, NODATA, np.nan, 0.0, 0.5, 0.5, NODATA]])
    red = np.float32([[0.1, 0.1, 0.1, 0.0, -0.1, 0.1, 0.1]])
    mask = np.array([[False, False, False, False, False, True, True]])
    cells = compute_index(NDVI, layers(nir, red), mask=mask)
    assert (cells.known, cells.unknown, cells.masked, cells.undefined) == (1, 3, 1, 2)
    assert (cells.values[0, 1:] == NODATA).all()


def test_snow_brighter_than_a_panel_keeps_its_value() -> None:
    cells = compute_index(NDVI, layers(np.float32([[1.1]]), np.float32([[1.3]])))
    assert cells.values[0, 0] == pytest.approx(-0.2 / 2.4, rel=1e-5)


@given(
    hnp.arrays(np.float32, (7, 11), elements=st.floats(-1, 2, width=32)),
    hnp.arrays(np.float32, (7, 11), elements=st.floats(-1, 2, width=32)),
)
def test_values_are_valid_or_nodata_and_counts_add_up(nir: np.ndarray, red: np.ndarray) -> None:
    cells = compute_index(NDVI, layers(nir, red))
    good = cells.values != NODATA
    assert good.sum() == cells.known
    assert (np.abs(cells.values[good]) <= 1).all()
    np.testing.assert_array_equal(
        np.where(good, cells.values, np.nan), index_values(NDVI, {"N": nir, "R": red})
    )


def test_blocks_and_threads_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    nir, red = rng.uniform(0, 1, (2, 97, 53)).astype(np.float32)
    nir[5:9, 7] = NODATA
    whole = compute_index(NDVI, layers(nir, red))
    monkeypatch.setattr("photogrammetry.indices.compute.BLOCK_CELLS", 150)
    parts = compute_index(NDVI, layers(nir, red), workers=3)
    np.testing.assert_array_equal(whole.values, parts.values)
    assert (whole.unknown, whole.undefined) == (parts.unknown, parts.undefined)


def test_a_nodata_value_that_an_integer_cannot_hold_is_nowhere() -> None:
    bands = layers(np.uint8([[200]]), np.uint8([[100]]), nodata=NODATA)
    assert compute_index(NDVI, bands).known == 1


def test_bands_of_other_shapes_or_missing_are_refused() -> None:
    one, other = np.ones((2, 2), np.float32), np.ones((2, 3), np.float32)
    with pytest.raises(InputError, match="bands of shapes"):
        compute_index(NDVI, layers(one, other))
    with pytest.raises(InputError, match="no values for R"):
        compute_index(NDVI, {"N": Layer(stored=one)})
    with pytest.raises(InputError, match=r"mask of shape \(2, 3\)"):
        compute_index(NDVI, layers(one, one), mask=other > 0)
