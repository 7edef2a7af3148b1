"""One gain per photograph and band, solved once from what neighbours see in common."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.pictures import THUMBNAIL_LEVEL, PictureStore
from photogrammetry.views import View

log = logging.getLogger(__name__)

Float = NDArray[np.float64]

MOST_POINTS = 5_000
DARKEST_DN, BRIGHTEST_DN = 8, 247
"""Values outside this range are clipped or close to it, and say nothing of the exposure."""
ROBUST_SCALE = 0.1
"""Residual in natural logarithms from which a sample counts less."""
RESTRAINT = 0.2
"""Weight of the wish for a gain of 1 against that of all samples of a photograph.

Neighbours disagree a little by their view of the sun; along a line of photographs such
differences would add up and bleach its end."""


def balance_exposures(views: Sequence[View], points: Float, store: PictureStore) -> Float:
    """Solve gains that make photographs agree where they overlap.

    Parameters
    ----------
    views : sequence of View
    points : ndarray of shape (N, 3)
        Points of the ground in world coordinates, such as tie points.
    store : PictureStore
        Holds the thumbnails.

    Returns
    -------
    ndarray of shape (V, 3)
        Factors for blue, green and red; their geometric mean over the photographs is 1.

    Notes
    -----
    Least squares on logarithms: sample of view v at point p plus log gain of v equals an unknown
    brightness of p, which is eliminated; re-weighted against moving and shining things.  After
    Brown, M. & Lowe, D. G. (2007), Automatic panoramic image stitching using invariant features,
    IJCV 74(1), section 6.
    """
    if len(points) > MOST_POINTS:
        points = points[np.linspace(0, len(points) - 1, MOST_POINTS).astype(int)]
    samples = np.stack([_sample_thumbnail(view, points, store) for view in views])
    gains = np.column_stack([_solve_gains(samples[:, :, band]) for band in range(3)])
    log.info("gains of %d photographs: %.3f to %.3f", len(views), gains.min(), gains.max())
    return gains


def _sample_thumbnail(view: View, points: Float, store: PictureStore) -> NDArray[np.float32]:
    """Return the logarithms of a thumbnail's values at points (N, 3); NaN where unusable."""
    thumbnail = store.thumbnail(view.name)
    cam = view.pose.cam_from_world(points)
    pixels = view.camera.pixel_from_cam(cam)
    with np.errstate(invalid="ignore"):
        seen = (
            (pixels[:, 0] > 0)
            & (pixels[:, 1] > 0)
            & (pixels[:, 0] < view.camera.width_px)
            & (pixels[:, 1] < view.camera.height_px)
        )
    # Corner origin to OpenCV's centre origin.
    at = np.where(seen[:, None], pixels / 2.0**THUMBNAIL_LEVEL - 0.5, 0.0).astype(np.float32)
    values = np.asarray(
        cv2.remap(
            thumbnail,
            at[:, 0][None],
            at[:, 1][None],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )[0]
    usable = seen[:, None] & (values >= DARKEST_DN) & (values <= BRIGHTEST_DN)
    return np.where(usable, np.log(np.maximum(values, 1.0)), np.nan).astype(np.float32)


def _solve_gains(samples: NDArray[np.float32]) -> Float:
    """Solve the gains of one band from logarithms (V, N)."""
    known = np.isfinite(samples) & (np.isfinite(samples).sum(axis=0) > 1)
    values = np.where(known, samples, np.float32(0.0))
    weights = known.astype(np.float32)
    gains = np.zeros(len(samples))
    for _ in range(6):
        mass = np.maximum(weights.sum(axis=0), np.float32(1e-9))
        matrix = np.diag(weights.sum(axis=1, dtype=float)) - (weights / mass) @ weights.T
        mean = (weights * values).sum(axis=0) / mass
        right = -(weights * (values - mean)).sum(axis=1)
        matrix += np.eye(len(matrix)) * max(RESTRAINT * weights.sum() / len(matrix), 1e-9)
        gains = np.linalg.solve(matrix, right)
        adjusted = values + gains[:, None].astype(np.float32)
        centre = (weights * adjusted).sum(axis=0) / mass
        weights = known / (1 + ((adjusted - centre) / np.float32(ROBUST_SCALE)) ** 2)
    return np.asarray(np.exp(gains - gains.mean()))
