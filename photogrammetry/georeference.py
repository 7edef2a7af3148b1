"""From the frame a block grew in to the local frame of the survey: a robust similarity.

References
----------
Umeyama, S. (1991). Least-squares estimation of transformation parameters between two point
patterns. IEEE PAMI 13(4).
Rousseeuw, P. J. (1984). Least median of squares regression. JASA 79.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photogrammetry.block import Block
from tmp.errors import OrientationError

log = logging.getLogger(__name__)
Float = NDArray[np.float64]

ASSUMED_HEIGHT = 100.0
"""Height of the cameras above the ground of a block whose scale nothing is known of."""
COLLINEAR = 0.03
"""Spread across a line of positions over the spread along it, below which it fixes no tilt."""
UP = np.array([0.0, 0.0, 1.0])


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


def georeference(block: Block, positions: Float, rotations: Float) -> Block:
    """Bring a block into the world of its GNSS positions.

    Parameters
    ----------
    positions : ndarray of shape (N, 3)
        Recorded projection centres, world; NaN where there is none.
    rotations : ndarray of shape (N, 3, 3)
        cam_from_world from the gimbal; NaN where there is none.

    Returns
    -------
    Block

    Raises
    ------
    OrientationError
        With fewer than two positions, or all of them at one place.

    Notes
    -----
    Positions along one line leave the tilt about it open.  It is then taken from the gimbal
    angles, and where there are none the cameras are taken to look straight down.
    """
    known = np.asarray(np.isfinite(positions).all(axis=1))
    source, target = block.centres[known], positions[known]
    centred = target - target.mean(axis=0) if len(target) else np.zeros((1, 3))
    spread = np.linalg.svd(centred, compute_uv=False)
    if len(target) < 2 or spread[0] < 1e-3 * np.sqrt(len(target)):
        raise OrientationError(
            f"{int(known.sum())} of {len(known)} oriented photographs have a position of their "
            "own; two at different places are needed to place the block"
        )
    if len(target) < 3 or spread[1] < COLLINEAR * spread[0]:
        similarity = _fit_line(block, known, target, rotations)
    else:
        similarity = fit_similarity_robustly(source, target)
    return block.transformed(similarity.scale, similarity.rotation, similarity.translation)


def level(block: Block) -> Block:
    """Bring a block without positions into a frame where its cameras look down on average.

    The tie points' median lies at zero and the cameras `ASSUMED_HEIGHT` above it.
    """
    rotation = _turn(block.rotations[:, 2].mean(axis=0), -UP)
    turned = block.transformed(1.0, rotation, np.zeros(3))
    ground = np.median(turned.points, axis=0)
    scale = ASSUMED_HEIGHT / max(float(np.median(turned.centres[:, 2]) - ground[2]), 1e-9)
    return turned.transformed(scale, np.eye(3), -scale * ground)


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


def _fit_line(
    block: Block, known: NDArray[np.bool_], target: Float, rotations: Float
) -> Similarity:
    """Fit positions along a line, with the directions of view for what they leave open."""
    source = block.centres[known]
    axes = block.rotations[known]
    recorded = rotations[known]
    bare = ~np.isfinite(recorded).all(axis=(1, 2))
    ratio = np.linalg.norm(target - target.mean(0)) / np.linalg.norm(source - source.mean(0))
    arm = float(np.linalg.norm(target - target.mean(0)) / np.sqrt(len(target)))
    views = recorded[:, 2].copy()
    views[bare] = -UP
    sources = [source, source + axes[:, 2] * arm / ratio]
    targets = [target, target + views * arm]
    if not bare.any():  # the heading counts as well
        sources.append(source + axes[:, 0] * arm / ratio)
        targets.append(target + recorded[:, 0] * arm)
    return fit_similarity(np.vstack(sources), np.vstack(targets))


def _turn(from_direction: Float, to_direction: Float) -> Float:
    """Return the smallest rotation (3, 3) that takes one direction to another."""
    a = from_direction / np.linalg.norm(from_direction)
    b = to_direction / np.linalg.norm(to_direction)
    axis, cosine = np.cross(a, b), float(a @ b)
    if cosine < -1 + 1e-12:  # opposite: half a turn about any axis across
        across = np.cross(a, [1.0, 0.0, 0.0] if abs(a[0]) < 0.9 else [0.0, 1.0, 0.0])
        across /= np.linalg.norm(across)
        return np.asarray(2 * np.outer(across, across) - np.eye(3))
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + skew + skew @ skew / (1 + cosine))
