"""One gain per photograph and band, solved once from what neighbours see in common."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import spsolve

from photogrammetry.pictures import THUMBNAIL_LEVEL, PictureStore
from photogrammetry.views import View
from tmp.progress import Track, silent

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
Int = NDArray[np.int64]

LEAST_POINTS, POINTS_PER_VIEW = 5_000, 2
"""Points that are compared: so many at most in a small survey, and in a large one so many for each
photograph, which then sees some twenty of them."""
DARKEST_DN, BRIGHTEST_DN = 8, 247
"""Values outside this range are clipped or close to it, and say nothing of the exposure."""
ROBUST_SCALE = 0.1
"""Residual in natural logarithms from which a sample counts less."""
ROUNDS = 6
BEYOND = 3.0
"""Times the size of a picture within which points are projected: no lens bends further."""
RESTRAINT = 0.2
"""Weight of the wish for a gain of 1 against that of all samples of a photograph.

Neighbours disagree a little by their view of the sun; along a line of photographs such
differences would add up and bleach its end."""


def balance_exposures(
    views: Sequence[View], points: Float, store: PictureStore, *, track: Track = silent
) -> Float:
    """Solve gains that make photographs agree where they overlap.

    Parameters
    ----------
    views : sequence of View
    points : ndarray of shape (N, 3)
        Points of the ground in world coordinates, such as tie points.
    store : PictureStore
        Holds the thumbnails.
    track : Track

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
    most = max(LEAST_POINTS, POINTS_PER_VIEW * len(views))
    if len(points) > most:
        points = points[np.linspace(0, len(points) - 1, most).astype(int)]
    found = [
        _sample_thumbnail(view, points, store)
        for view in track(views, "Comparing exposures", len(views))
    ]
    view_of = np.repeat(np.arange(len(views)), [len(seen) for seen, _ in found])
    point_of = np.concatenate([seen for seen, _ in found])
    logarithms = np.concatenate([values for _, values in found])
    gains = np.column_stack(
        [_solve_gains(view_of, point_of, logarithms[:, band], len(views)) for band in range(3)]
    )
    log.info("gains of %d photographs: %.3f to %.3f", len(views), gains.min(), gains.max())
    return gains


def _sample_thumbnail(view: View, points: Float, store: PictureStore) -> tuple[Int, Float]:
    """Return which of some points (N, 3) a view sees, and logarithms of its thumbnail there.

    Returns
    -------
    indices : ndarray of shape (S,)
    logarithms : ndarray of shape (S, 3)
        NaN where unusable.
    """
    camera, cam = view.camera, view.pose.cam_from_world(points)
    reach = BEYOND * np.array([camera.width_px / camera.fx_px, camera.height_px / camera.fy_px])
    near = np.flatnonzero((np.abs(cam[:, :2]) < reach * cam[:, 2:]).all(axis=1))
    pixels = camera.pixel_from_cam(cam[near])
    inside = np.all((pixels > 0) & (pixels < [camera.width_px, camera.height_px]), axis=1)
    # Corner origin to OpenCV's centre origin.
    at = (pixels[inside] / 2.0**THUMBNAIL_LEVEL - 0.5).astype(np.float32)
    if len(at) == 0:
        return near[inside], np.zeros((0, 3))
    values = np.asarray(
        cv2.remap(
            store.thumbnail(view.name),
            at[:, 0][None],
            at[:, 1][None],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        float,
    )[0]
    usable = (values >= DARKEST_DN) & (values <= BRIGHTEST_DN)
    return near[inside], np.where(usable, np.log(np.maximum(values, 1.0)), np.nan)


def _solve_gains(view_of: Int, point_of: Int, logarithms: Float, views: int) -> Float:
    """Solve the gains of one band.

    Parameters
    ----------
    view_of, point_of : ndarray of shape (S,)
        View and point of each sample.
    logarithms : ndarray of shape (S,)
        NaN where unusable.
    views : int

    Returns
    -------
    ndarray of shape (views,)
    """
    usable = np.isfinite(logarithms)
    usable &= np.bincount(point_of[usable], minlength=point_of.max(initial=0) + 1)[point_of] > 1
    view_of, point_of, values = view_of[usable], point_of[usable], logarithms[usable]
    weights, gains = np.ones(len(values)), np.zeros(views)
    for _ in range(ROUNDS):
        mass = np.maximum(np.bincount(point_of, weights), 1e-9)
        mean = np.bincount(point_of, weights * values) / mass
        right = -np.bincount(view_of, weights * (values - mean[point_of]), minlength=views)
        seen = csr_array((weights, (view_of, point_of)), shape=(views, len(mass)))
        share = csr_array((weights / mass[point_of], (view_of, point_of)), shape=seen.shape)
        restraint = max(RESTRAINT * weights.sum() / views, 1e-9)
        own = np.bincount(view_of, weights, minlength=views) + restraint
        gains = spsolve((diags_array(own) - share @ seen.T).tocsc(), right)
        adjusted = values + gains[view_of]
        centre = np.bincount(point_of, weights * adjusted) / mass
        weights = 1 / (1 + ((adjusted - centre[point_of]) / ROBUST_SCALE) ** 2)
    return np.asarray(np.exp(gains - gains.mean()))
