"""Similarities between two sets of points, some of which may be wrong.

References
----------
Umeyama, S. (1991). Least-squares estimation of transformation parameters between two point
patterns. IEEE PAMI 13(4).
Rousseeuw, P. J. (1984). Least median of squares regression. JASA 79.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """``target = scale * rotation @ source + translation``."""

    scale: float
    rotation: Float
    """(3, 3)."""
    translation: Float
    """(3,)."""

    def __call__(self, points: Float) -> Float:
        """Transform points (N, 3)."""
        return np.asarray(self.scale * points @ self.rotation.T + self.translation)


def fit_similarity(source: Float, target: Float, weights: Float | None = None) -> Similarity:
    """Fit a similarity to corresponding points (N, 3) by weighted least squares.

    Notes
    -----
    Umeyama (1991), equations 40 to 43.
    """
    share = np.ones(len(source)) if weights is None else np.asarray(weights, float)
    share = share / share.sum()
    source_mean, target_mean = share @ source, share @ target
    s, t = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd((t * share[:, None]).T @ s)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = float(singular @ sign / (share @ (s**2).sum(axis=1)))
    return Similarity(
        scale=scale, rotation=rotation, translation=target_mean - scale * rotation @ source_mean
    )


def fit_similarity_robustly(
    source: Float, target: Float, *, trials: int = 200, seed: int = 1
) -> Similarity:
    """Fit a similarity to points (N, 3) of which up to half may be wrong.

    The least median of squares over random triplets starts a reweighted fit (Cauchy's weights).
    """
    random = np.random.default_rng(seed)
    best, best_median = fit_similarity(source, target), np.inf
    for _ in range(trials):
        few = random.choice(len(source), size=3, replace=False)
        trial = fit_similarity(source[few], target[few])
        if not np.isfinite(trial.scale) or trial.scale <= 0:
            continue
        median = float(np.median(np.linalg.norm(trial(source) - target, axis=1)))
        if median < best_median:
            best, best_median = trial, median
    for _ in range(20):
        residual = np.linalg.norm(best(source) - target, axis=1)
        spread = max(1.4826 * float(np.median(residual)), 1e-9)
        best = fit_similarity(source, target, 1 / (1 + (residual / (2 * spread)) ** 2))
    return best


def fit_level_similarity(
    source: Float, target: Float, *, trials: int = 300, seed: int = 1
) -> tuple[float, float, Float]:
    """Fit scale, heading (radians) and shift to points (N, 2) of which up to half may be wrong.

    As complex numbers the points are related by ``t = a s + b``.
    """
    s, t = source @ [1, 1j], target @ [1, 1j]
    random = np.random.default_rng(seed)

    def fit(weights: Float) -> tuple[complex, complex]:
        s_mean, t_mean = weights @ s / weights.sum(), weights @ t / weights.sum()
        product = weights * np.conj(s - s_mean)
        a = complex(product @ (t - t_mean) / (product @ (s - s_mean)))
        return a, complex(t_mean - a * s_mean)

    best, best_median = fit(np.ones(len(s))), np.inf
    apart = np.abs(s - np.median(s))
    for _ in range(trials if len(s) > 2 else 0):
        i, j = random.choice(len(s), size=2, replace=False)
        if abs(s[i] - s[j]) < np.median(apart):  # two neighbours fix neither scale nor heading
            continue
        a = (t[i] - t[j]) / (s[i] - s[j])
        trial = complex(a), complex(t[i] - a * s[i])
        median = float(np.median(np.abs(trial[0] * s + trial[1] - t)))
        if median < best_median:
            best, best_median = trial, median
    for _ in range(20 if len(s) > 2 else 0):
        residual = np.abs(best[0] * s + best[1] - t)
        spread = max(1.4826 * float(np.median(residual)), 1e-9)
        best = fit(1 / (1 + (residual / (2 * spread)) ** 2))
    a, b = best
    return abs(a), float(np.angle(a)), np.array([b.real, b.imag])
