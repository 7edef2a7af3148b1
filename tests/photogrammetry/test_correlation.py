"""Photo-consistency against a plain NumPy oracle."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from photogrammetry.kernels.correlation import MAX_VIEWS, consistency

ROWS, COLS = 6, 7


def score_of(layers, radius, noise):
    """Run the kernel on layers (K, rows + 2 radius, cols + 2 radius)."""
    side = max(layers.shape[1:])
    padded = np.zeros((MAX_VIEWS, side, side), np.float32)
    padded[: len(layers), : layers.shape[1], : layers.shape[2]] = layers
    work = [np.zeros((MAX_VIEWS, side, side), np.float32) for _ in range(4)]
    score = np.zeros((side, side), np.float32)
    scratch = np.zeros((4, side, side), np.float32)
    consistency(padded, len(layers), radius, ROWS, COLS, noise, scratch, *work, score)
    return score[:ROWS, :COLS]


def score_by_definition(layers, radius, noise):
    score = np.full((ROWS, COLS), np.nan)
    size = 2 * radius + 1
    for r in range(ROWS):
        for c in range(COLS):
            windows = layers[:, r : r + size, c : c + size].reshape(len(layers), -1).astype(float)
            known = [w - w.mean() for w in windows if np.isfinite(w).all()]
            floor = size**2 * noise**2
            zncc = {
                pair: a @ b / np.sqrt((a @ a + floor) * (b @ b + floor))
                for pair in combinations(range(len(known)), 2)
                for a, b in [(known[pair[0]], known[pair[1]])]
            }
            if not zncc:
                continue
            ways = [list(zncc.values())]
            if len(known) >= 4:
                ways += [
                    [value for pair, value in zncc.items() if out not in pair]
                    for out in range(len(known))
                ]
            score[r, c] = max(np.mean(values) for values in ways)
    return score


@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_consistency_follows_its_definition(radius, count):
    rng = np.random.default_rng(count)
    shape = (ROWS + 2 * radius, COLS + 2 * radius)
    common = rng.normal(size=shape) * 20
    layers = (common + rng.normal(size=(count, *shape)) * 15).astype(np.float32)
    layers[0, :3, :3] = np.nan
    # Sums of squares of grey values in float32 cost some digits.
    np.testing.assert_allclose(
        score_of(layers, radius, 1.0), score_by_definition(layers, radius, 1.0), atol=2e-4
    )


@settings(deadline=None, max_examples=20)
@given(st.floats(-60, 60), st.floats(0.5, 2.0))
def test_brightness_and_contrast_of_one_picture_change_nothing(brightness, contrast):
    rng = np.random.default_rng(5)
    layers = (rng.normal(size=(5, ROWS + 2, COLS + 2)) * 20).astype(np.float32)
    changed = layers.copy()
    changed[2] = changed[2] * np.float32(contrast) + np.float32(brightness)
    # Without the noise floor, which does know how strong a picture's texture is.
    np.testing.assert_allclose(
        score_of(changed, 1, 0.0), score_of(layers, 1, 0.0), atol=2e-3, rtol=0
    )


def test_one_blocked_view_of_four_does_no_harm():
    rng = np.random.default_rng(6)
    common = rng.normal(size=(ROWS + 2, COLS + 2)) * 20
    layers = np.stack([common, common, common, rng.normal(size=common.shape) * 20])
    assert score_of(layers.astype(np.float32), 1, 0.1).min() > 0.99


def test_featureless_windows_agree_on_nothing():
    layers = np.random.default_rng(7).normal(size=(4, ROWS + 4, COLS + 4)).astype(np.float32) * 0.1
    assert np.abs(score_of(layers, 2, 1.0)).max() < 0.05


def test_a_single_view_has_no_score():
    assert np.isnan(score_of(np.ones((1, ROWS + 2, COLS + 2), np.float32), 1, 1.0)).all()
