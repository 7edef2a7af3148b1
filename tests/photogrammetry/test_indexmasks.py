"""Masks: saturated cells go, shadows go where there are shadows, snow stays."""

from __future__ import annotations

import numpy as np
import pytest

from photogrammetry.indices.compute import (
    NODATA,
    Layer,
    brightness,
    choose_shadow_limit,
    saturated_cells,
    shadowed_cells,
)


def scene(*, shadow: float, share: float, seed: int = 1) -> tuple[dict[str, Layer], np.ndarray]:
    """Lawn, soil and stone with their own spectra, part of each with less light."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, (120, 160))
    spectra = np.array([[0.08, 0.05, 0.45], [0.12, 0.2, 0.28], [0.25, 0.28, 0.3]])
    dark = rng.random(kind.shape) < share
    light = np.where(dark, shadow, 1.0) * rng.normal(1, 0.12, kind.shape).clip(0.5)
    cells = np.moveaxis(spectra[kind], 2, 0) * light
    names = ("green", "red", "nir")
    return {
        name: Layer(stored=band.astype(np.float32)) for name, band in zip(names, cells, strict=True)
    }, dark


@pytest.mark.parametrize("share", [0.08, 0.25, 0.5])
def test_shadows_are_parted_from_lit_ground_of_any_kind(share: float) -> None:
    layers, dark = scene(shadow=0.15, share=share)
    limit = choose_shadow_limit(brightness(layers.values()))
    assert limit is not None
    found = shadowed_cells(layers.values(), limit)
    assert (found == dark).mean() > 0.98


def test_ground_without_shadows_has_none() -> None:
    layers, _ = scene(shadow=1.0, share=0.3)
    assert choose_shadow_limit(brightness(layers.values())) is None


def test_raking_light_that_merely_dims_is_no_shadow() -> None:
    layers, _ = scene(shadow=0.6, share=0.4)
    assert choose_shadow_limit(brightness(layers.values())) is None


def test_a_handful_of_cells_or_equal_ones_give_no_limit() -> None:
    assert choose_shadow_limit(np.zeros(100, np.float32)) is None
    assert choose_shadow_limit(np.zeros((100, 100), np.float32)) is None
    assert choose_shadow_limit(np.full((100, 100), np.nan, np.float32)) is None


def test_brightness_of_nodata_and_of_nothing_is_unknown() -> None:
    layer = Layer(stored=np.float32([[NODATA, 0.0, -0.1, 0.5]]))
    assert np.isnan(brightness([layer])[0]).tolist() == [True, True, True, False]


def test_saturation_in_one_band_is_enough_and_nodata_is_none() -> None:
    layers = {
        "N": Layer(stored=np.float32([[1.0, 65535.0, 70000.0]]), nodata=70000.0),
        "R": Layer(stored=np.float32([[1.0, 1.0, 1.0]])),
    }
    assert saturated_cells(layers, {"N": 65535.0}).tolist() == [[False, True, False]]
    assert not saturated_cells(layers, {}).any()
