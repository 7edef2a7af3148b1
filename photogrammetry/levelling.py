"""Level photographs of light against each other where no sensor recorded how light changed.

One factor for each photograph and band, and one fall-off towards the corners for each camera and
band, are solved at once from places that several photographs see.  What a panel or a sun sensor
said is not touched by this; it stands in for them between photographs, not for their level.

References
----------
Chandelier, L., Martinoty, G. (2009). A radiometric aerial triangulation for the equalization of
    digital aerial images and orthoimages. Photogrammetric Engineering & Remote Sensing 75(2).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from photogrammetry.views import View
from tmp.parallel import map_threads

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

REDUCTION = 8
"""By which pictures are reduced before they are sampled."""
MOST_POINTS = 8_000
ROBUST_SCALE = 0.08
"""Residual in natural logarithms from which a sample counts less: things that move or shine."""
FALL_OFF_TERMS = 3
"""Even powers of the distance from the principal point, from the second on."""
GAIN_SIGMA, FALL_OFF_SIGMA = 0.5, 1.0
"""Standard deviations of what is solved for beforehand, in logarithms: weak, so that they only
settle what no overlap does."""
SAMPLE_SIGMA = 0.05
ROUNDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Levelling:
    """Factors that make photographs agree."""

    gains: Mapping[str, Float]
    """Of each photograph, (bands,); their geometric mean is 1."""
    fall_off: Mapping[str, Float]
    """Of each camera, (`FALL_OFF_TERMS`, bands): the logarithm of the factor is their sum with
    the powers of the squared distance from the principal point, as a fraction of half the
    picture's diagonal.  It is 1 at the principal point."""

    def factors(self, view: View) -> Float32:
        """Return the factors of a photograph's pixels, (rows, cols, bands)."""
        camera = view.camera
        x, y = np.meshgrid(
            np.arange(camera.width_px) + 0.5,
            np.arange(camera.height_px) + 0.5,
        )
        found = self.factors_at(view, np.column_stack([x.ravel(), y.ravel()]))
        return found.reshape(camera.height_px, camera.width_px, -1).astype(np.float32)

    def factors_at(self, view: View, pixels: Float) -> Float:
        """Return the factors of a photograph at pixels (N, 2), (N, bands)."""
        logs = _powers(view, pixels) @ self.fall_off[view.camera.camera_id]
        return np.asarray(np.exp(logs + np.log(self.gains[view.name])))


def level_photographs(
    views: Sequence[View],
    points: Float,
    load: Callable[[str], Float32],
    *,
    workers: int = 1,
) -> Levelling:
    """Solve the factors of photographs of the same bands.

    Parameters
    ----------
    views : sequence of View
    points : ndarray of shape (N, 3)
        Points of the ground in world coordinates, such as tie points.
    load : callable
        Gives values in proportion to light, (rows, cols, bands), NaN where there is none.
    workers : int

    Notes
    -----
    Least squares on logarithms, re-weighted: a sample plus its photograph's gain plus its
    camera's fall-off equals an unknown brightness of the place, which is eliminated.
    """
    if len(points) > MOST_POINTS:
        points = points[np.linspace(0, len(points) - 1, MOST_POINTS).astype(int)]
    numbers = range(len(views))
    sampled = dict(map_threads(lambda i: _sample(views[i], points, load), numbers, workers=workers))
    samples = np.stack([sampled[i][0] for i in numbers])
    powers = np.stack([sampled[i][1] for i in numbers])
    cameras = sorted({view.camera.camera_id for view in views})
    camera_of = np.array([cameras.index(view.camera.camera_id) for view in views])
    solved = [
        _solve(samples[..., band], powers, camera_of, len(cameras))
        for band in range(samples.shape[2])
    ]
    gains = np.exp(np.stack([gain - gain.mean() for gain, _ in solved], axis=-1))
    fall_off = np.stack([terms for _, terms in solved], axis=-1)
    log.info("levels of %d photographs: %.3f to %.3f", len(views), gains.min(), gains.max())
    return Levelling(
        gains={view.name: gains[i] for i, view in enumerate(views)},
        fall_off={camera: fall_off[i] for i, camera in enumerate(cameras)},
    )


def _powers(view: View, pixels: Float) -> Float:
    """Return the powers of squared distance at pixels (N, 2), (N, `FALL_OFF_TERMS`)."""
    camera = view.camera
    half = np.hypot(camera.width_px, camera.height_px) / 2
    r2 = ((pixels - (camera.cx_px, camera.cy_px)) ** 2).sum(axis=1) / half**2
    return np.asarray(r2[:, None] ** np.arange(1, FALL_OFF_TERMS + 1))


def _sample(view: View, points: Float, load: Callable[[str], Float32]) -> tuple[Float32, Float]:
    """Return logarithms of a photograph's values at points (N, bands), NaN unseen, and powers."""
    values = load(view.name)
    size = (values.shape[1] // REDUCTION, values.shape[0] // REDUCTION)
    small = cv2.resize(values, size, interpolation=cv2.INTER_AREA).reshape(*size[::-1], -1)
    pixels = view.camera.pixel_from_cam(view.pose.cam_from_world(points))
    with np.errstate(invalid="ignore"):
        least = np.minimum(pixels, np.array([view.camera.width_px, view.camera.height_px]) - pixels)
        seen = np.asarray(least.min(axis=1) > 0)
    at = np.where(seen[:, None], pixels, 0.0)
    place = (at * (np.array(size) / values.shape[1::-1])).astype(int)
    col, row = np.minimum(place, np.array(size) - 1).T
    found = np.where(seen[:, None] & (small[row, col] > 0), small[row, col], np.nan)
    return np.log(found).astype(np.float32), _powers(view, at)


def _solve(
    samples: Float32, powers: Float, camera_of: NDArray[np.int64], cameras: int
) -> tuple[Float, Float]:
    """Solve one band from logarithms (V, N): gains (V,) and fall-off (cameras, terms)."""
    known = np.isfinite(samples) & (np.isfinite(samples).sum(axis=0) > 1)
    photo, point = np.nonzero(known)
    value = samples[photo, point].astype(float)
    design = _design(photo, powers[photo, point], camera_of, cameras, len(samples))
    unknowns = design.shape[1]
    sigma = np.full(unknowns, FALL_OFF_SIGMA)
    sigma[: len(samples)] = GAIN_SIGMA
    prior = np.diag((SAMPLE_SIGMA / sigma) ** 2)
    weight, solution = np.ones(len(value)), np.zeros(unknowns)
    for _ in range(ROUNDS):
        mass = np.maximum(np.bincount(point, weight, samples.shape[1]), 1e-9)
        by_point = csr_array(
            coo_array((weight, (point, np.arange(len(point)))), shape=(len(mass), len(point)))
        )
        mean_design, mean_value = by_point @ design, np.bincount(point, weight * value, len(mass))
        normal = (design.T * weight) @ design - (mean_design.T / mass) @ mean_design
        right = design.T @ (weight * value) - mean_design.T @ (mean_value / mass)
        solution = np.linalg.solve(normal.toarray() + prior, -right)
        levelled = value + design @ solution
        brightness = np.bincount(point, weight * levelled, len(mass)) / mass
        weight = 1 / (1 + ((levelled - brightness[point]) / ROBUST_SCALE) ** 2)
    return solution[: len(samples)], solution[len(samples) :].reshape(cameras, FALL_OFF_TERMS)


def _design(
    photo: NDArray[np.int64],
    powers: Float,
    camera_of: NDArray[np.int64],
    cameras: int,
    photos: int,
) -> csr_array:
    """Return the derivatives of samples by the unknowns, (K, photos + cameras * terms)."""
    number = np.arange(len(photo))
    first = photos + camera_of[photo] * FALL_OFF_TERMS
    rows = np.concatenate([number, *[number] * FALL_OFF_TERMS])
    cols = np.concatenate([photo, *(first + term for term in range(FALL_OFF_TERMS))])
    values = np.concatenate([np.ones(len(photo)), *powers.T])
    shape = (len(photo), photos + cameras * FALL_OFF_TERMS)
    return csr_array(coo_array((values, (rows, cols)), shape=shape))
