"""One gain per photograph and band, solved once from what neighbours see in common.

For colour pictures, so that seams do not show; and for photographs of light where no sensor
recorded how it changed.  There, one factor for each photograph and band, and one fall-off towards
the corners for each camera and band, are solved at once from places that several photographs see.
What a panel or a sun sensor said is not touched by this; it stands in for them between
photographs, not for their level.

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
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import spsolve

from photogrammetry.pictures import THUMBNAIL_LEVEL, PictureStore
from photogrammetry.views import View
from tmp.progress import Track, silent
from tmp.threads import map_threads

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
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

REDUCTION = 8
"""By which pictures are reduced before they are sampled."""
MOST_POINTS = 8_000
ROBUST_LEVEL = 0.08
"""Residual in natural logarithms from which a sample counts less: things that move or shine."""
FALL_OFF_TERMS = 3
"""Even powers of the distance from the principal point, from the second on."""
GAIN_SIGMA, FALL_OFF_SIGMA = 0.5, 1.0
"""Standard deviations of what is solved for beforehand, in logarithms: weak, so that they only
settle what no overlap does."""
SAMPLE_SIGMA = 0.05


def balance_exposures(
    views: Sequence[View], points: Float, store: PictureStore, *, track: Track = silent
) -> Float:
    """Solve gains that make the thumbnails of photographs agree where they overlap.

    Compared are points of the ground (N, 3), world, such as tie points. Returns factors (V, 3) for
    blue, green and red; their geometric mean over the photographs is 1.

    After Brown, M. & Lowe, D. G. (2007), Automatic panoramic image stitching using invariant
    features, IJCV 74(1), section 6.
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

    The logarithms (S, 3) are NaN where unusable.
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
    """Solve the gains (views,) of one band from samples (S,): view, point and value, or NaN."""
    usable = np.isfinite(logarithms)
    usable &= np.bincount(point_of[usable], minlength=point_of.max(initial=0) + 1)[point_of] > 1
    view_of, point_of, values = view_of[usable], point_of[usable], logarithms[usable]
    number = np.arange(len(values))
    design = csr_array((np.ones(len(values)), (number, view_of)), shape=(len(values), views))
    gains = _solve(
        point_of,
        values,
        design,
        prior=lambda weights: np.full(views, max(RESTRAINT * weights.sum() / views, 1e-9)),
        scale=ROBUST_SCALE,
    )
    return np.asarray(np.exp(gains - gains.mean()))


def _solve(
    point_of: Int,
    values: Float,
    design: csr_array,
    *,
    prior: Callable[[Float], Float],
    scale: float,
) -> Float:
    """Solve the terms (U,) with which samples of the same point agree.

    Samples have a point and a logarithm each, (S,), and by `design` (S, U) derivatives by the
    terms. The prior makes of their weights (S,) those of the wish for terms of 0, (U,). From a
    residual of `scale`, in natural logarithms, a sample counts less.

    Least squares on logarithms: a sample plus its terms equals an unknown brightness of its point,
    which is eliminated; re-weighted against things that move or shine.
    """
    number = np.arange(len(values))
    weights, terms = np.ones(len(values)), np.zeros(design.shape[1])
    for _ in range(ROUNDS):
        mass = np.maximum(np.bincount(point_of, weights), 1e-9)
        mean = np.bincount(point_of, weights * values) / mass
        shape = (len(mass), len(values))
        summed = csr_array((weights, (point_of, number)), shape=shape) @ design
        averaged = csr_array((weights / mass[point_of], (point_of, number)), shape=shape) @ design
        own = (design.T * weights) @ design + diags_array(prior(weights))
        right = -(design.T @ (weights * (values - mean[point_of])))
        terms = spsolve((own - averaged.T @ summed).tocsc(), right)
        adjusted = values + design @ terms
        brightness = np.bincount(point_of, weights * adjusted) / mass
        weights = 1 / (1 + ((adjusted - brightness[point_of]) / scale) ** 2)
    return np.asarray(terms)


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
        x, y = np.meshgrid(np.arange(camera.width_px) + 0.5, np.arange(camera.height_px) + 0.5)
        found = self.factors_at(view, np.column_stack([x.ravel(), y.ravel()]))
        return found.reshape(camera.height_px, camera.width_px, -1).astype(np.float32)

    def factors_at(self, view: View, pixels: Float) -> Float:
        """Return the factors of a photograph at pixels (N, 2), (N, bands)."""
        logs = _powers(view, pixels) @ self.fall_off[view.camera.camera_id]
        return np.asarray(np.exp(logs + np.log(self.gains[view.name])))


def level_photographs(
    views: Sequence[View], points: Float, load: Callable[[str], Float32], *, workers: int = 1
) -> Levelling:
    """Solve the factors of photographs of the same bands.

    Compared are points of the ground (N, 3), world, such as tie points. `load` gives values in
    proportion to light, (rows, cols, bands), NaN where there is none.
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
        _solve_levels(samples[..., band], powers, camera_of, len(cameras))
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


def _solve_levels(
    samples: Float32, powers: Float, camera_of: Int, cameras: int
) -> tuple[Float, Float]:
    """Solve one band from logarithms (V, N): gains (V,) and fall-off (cameras, terms)."""
    known = np.isfinite(samples) & (np.isfinite(samples).sum(axis=0) > 1)
    photo, point = np.nonzero(known)
    design = _design(photo, powers[photo, point], camera_of, cameras, len(samples))
    sigma = np.full(design.shape[1], FALL_OFF_SIGMA)
    sigma[: len(samples)] = GAIN_SIGMA
    solution = _solve(
        point,
        samples[photo, point].astype(float),
        design,
        prior=lambda _: (SAMPLE_SIGMA / sigma) ** 2,
        scale=ROBUST_LEVEL,
    )
    return solution[: len(samples)], solution[len(samples) :].reshape(cameras, FALL_OFF_TERMS)


def _design(photo: Int, powers: Float, camera_of: Int, cameras: int, photos: int) -> csr_array:
    """Return the derivatives of samples by gains and fall-off, (S, photos + cameras * terms)."""
    number, terms = np.arange(len(photo)), np.arange(FALL_OFF_TERMS)
    first = photos + camera_of[photo] * FALL_OFF_TERMS
    rows = np.concatenate([number, np.repeat(number, FALL_OFF_TERMS)])
    cols = np.concatenate([photo, (first[:, None] + terms).ravel()])
    values = np.concatenate([np.ones(len(photo)), powers.ravel()])
    shape = (len(photo), photos + cameras * FALL_OFF_TERMS)
    return csr_array((values, (rows, cols)), shape=shape)
