"""Lay the bands of one release onto each other, picture to picture: for a quick look in the field.

The lenses of a rig look from a few centimetres apart, so a homography lays one band onto another
for level ground at one height; what stands above or below it keeps a parallax.  Maps are not made
this way, see `photogrammetry.ortho.mosaic`; a contact sheet before leaving the site is.

Each method hands its result to the next as a start, and the residual of every one is measured the
same way, by `residual_px`.  The best is taken.

References
----------
Evangelidis, G., Psarakis, E. (2008). Parametric image alignment using enhanced correlation
coefficient maximization. IEEE TPAMI 30(10).
Barath, D. et al. (2019). MAGSAC: marginalizing sample consensus. CVPR.
Guizar-Sicairos, M. et al. (2008). Efficient subpixel image registration algorithms. Optics Letters
33(2) (phase correlation).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from photogrammetry.orientation.features import FeatureOptions, detect_features
from photogrammetry.orientation.matching import MatchOptions, match_features
from photogrammetry.pictures import stretched

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]

GOOD_PX = 0.5
"""Residual with which an alignment is as good as the pictures deserve."""
PATCH_PX = 128
"""Side of the patches in which the residual is measured."""
SHARP_PEAK = 0.15
"""Response of phase correlation under which a patch says nothing."""
FARTHEST_PX = 4.0
"""Shift of a patch beyond which it has matched something else."""
OUTLIER_PX = 2.0
"""Distance from the others beyond which a release has gone astray."""
LEAST_PATCHES = 8
EDGE_PX = 1e-3
LEAST_INLIERS = 25
CORNER_FROM_CENTRE = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
"""Corner-origin places from OpenCV's, whose first pixel has its centre at zero."""


class Method(StrEnum):
    """How a band was laid onto the reference."""

    PHASE = "phase correlation"
    ECC = "correlation of gradients (ECC)"
    FEATURES = "features (MAGSAC)"
    NONE = "nothing, as no method found anything in common"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """How a band lies on the reference band, as one method has it."""

    method: Method
    homography: Float
    """Place in the band's picture from place in the reference's, corner origin, (3, 3)."""
    residual_px: float | None
    """Median shift that is left; None where too little shows in both bands to tell."""

    @property
    def good(self) -> bool:
        """Tell whether what is left is no more than half a pixel."""
        return self.residual_px is not None and self.residual_px <= GOOD_PX


def align_band(reference: NDArray[Any], band: NDArray[Any]) -> Alignment:
    """Find the homography from the reference band's picture to another's of the same release.

    Both (rows, cols) are pixel values or radiance, in any unit.

    Tried are, until one leaves no more than half a pixel: a common shift by phase correlation, ECC
    on gradients from there, and features of which MAGSAC keeps those that one homography explains.
    """
    fixed, moving = edges_of(reference), edges_of(band)
    tried: list[Alignment] = []
    methods: dict[Method, Callable[[Float], Float | None]] = {
        Method.PHASE: lambda start: _by_phase(fixed, moving, start),
        Method.ECC: lambda start: _by_ecc(fixed, moving, start),
        Method.FEATURES: lambda _: _by_features(reference, band),
    }
    for method, align in methods.items():
        found = align(_best(tried).homography if tried else np.eye(3))
        if found is None:
            continue
        left_px = residual_px(fixed, moving, found)
        tried.append(Alignment(method=method, homography=found / found[2, 2], residual_px=left_px))
        if tried[-1].good:
            break
    if not tried:
        tried.append(Alignment(method=Method.NONE, homography=np.eye(3), residual_px=None))
    chosen = _best(tried)
    if not chosen.good:
        left = chosen.residual_px
        apart = "an unknown distance" if left is None else f"{left:.2f} px"
        log.warning("bands lie %s apart after %s", apart, chosen.method)
    return chosen


def warp_onto(band: Float32, homography: Float, shape: tuple[int, int]) -> Float32:
    """Return a band resampled onto the reference's picture; NaN where it shows nothing.

    The homography is that of an `Alignment`, the shape the reference's rows and columns.
    """
    rows, cols = shape
    x, y = np.meshgrid(np.arange(cols) + 0.5, np.arange(rows) + 0.5)
    places = np.stack([x, y], axis=2)
    at = cv2.perspectiveTransform(places, homography).reshape(rows, cols, 2) - 0.5
    laid = cv2.remap(
        band,
        at[..., 0].astype(np.float32),
        at[..., 1].astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    last = np.array([band.shape[1] - 1, band.shape[0] - 1])
    # Rounding must not cost the outermost pixels.
    beyond = (at < -EDGE_PX) | (at > last + EDGE_PX)
    return np.asarray(np.where(beyond.any(axis=2), np.nan, laid), np.float32)


def rig_median(alignments: Iterable[Alignment]) -> Float:
    """Return the homography that most releases of a rig agree on, (3, 3).

    A release whose corners lie further than `OUTLIER_PX` from the median's is left out of it.

    Homographies are compared by where they take a square of 1000 pixels, whose four corners say
    all that is in them.
    """
    corners = np.array([[0.0, 0.0], [1000.0, 0.0], [1000.0, 1000.0], [0.0, 1000.0]])
    taken = np.array(
        [cv2.perspectiveTransform(corners[None], one.homography)[0] for one in alignments]
    )
    middle = np.median(taken, axis=0)
    off_px = np.linalg.norm(taken - middle, axis=2).max(axis=1)
    if (off_px <= OUTLIER_PX).any():
        middle = np.median(taken[off_px <= OUTLIER_PX], axis=0)
    return np.asarray(
        cv2.getPerspectiveTransform(corners.astype(np.float32), middle.astype(np.float32)), float
    )


def edges_of(picture: NDArray[Any]) -> Float32:
    """Return the strength of edges (rows, cols), which bands share where brightness differs."""
    grey = stretched(picture)[..., 0].astype(np.float32)
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    return np.asarray(
        np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)),
        np.float32,
    )


def residual_px(fixed: Float32, moving: Float32, homography: Float) -> float | None:
    """Return the median shift left between two `edges_of` bands, in pixels of the reference.

    None where fewer than eight patches correlate.

    Patches that correlate weakly or by more than four pixels off show different things; those that
    leave the band's picture are passed over.
    """
    laid = warp_onto(moving, homography, fixed.shape)
    window = cv2.createHanningWindow((PATCH_PX, PATCH_PX), cv2.CV_32F)
    shifts = []
    for row in range(0, fixed.shape[0] - PATCH_PX + 1, PATCH_PX):
        for col in range(0, fixed.shape[1] - PATCH_PX + 1, PATCH_PX):
            part = np.s_[row : row + PATCH_PX, col : col + PATCH_PX]
            if not np.isfinite(laid[part]).all():
                continue
            shift, response = _phase(fixed[part], laid[part], window)
            if response >= SHARP_PEAK and np.hypot(*shift) <= FARTHEST_PX:
                shifts.append(np.hypot(*shift))
    return float(np.median(shifts)) if len(shifts) >= LEAST_PATCHES else None


def _by_phase(fixed: Float32, moving: Float32, start: Float) -> Float | None:
    """Add the common shift to a start."""
    laid = np.nan_to_num(warp_onto(moving, start, fixed.shape))
    window = cv2.createHanningWindow(fixed.shape[::-1], cv2.CV_32F)
    shift, response = _phase(fixed, laid, window)
    if response < 0.02:
        return None
    return np.asarray(start @ np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1.0]]))


def _phase(
    fixed: Float32, laid: Float32, window: NDArray[Any]
) -> tuple[tuple[float, float], float]:
    shift, response = cv2.phaseCorrelate(fixed - fixed.mean(), laid - laid.mean(), window)
    return (float(shift[0]), float(shift[1])), float(response)


def _by_ecc(fixed: Float32, moving: Float32, start: Float) -> Float | None:
    """Refine a start by correlation, at half size and then at full; None if it does not settle."""
    homography = start
    for factor in (0.5, 1.0):
        size = np.diag([factor, factor, 1.0])
        scaled = size @ homography @ np.linalg.inv(size)
        pair = [
            cv2.resize(a, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            for a in (fixed, moving)
        ]
        start_cv = np.linalg.inv(CORNER_FROM_CENTRE) @ scaled @ CORNER_FROM_CENTRE
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 80, 1e-6)
        try:
            _, found = cv2.findTransformECC(
                pair[0],
                pair[1],
                start_cv.astype(np.float32),
                cv2.MOTION_HOMOGRAPHY,
                criteria,
                np.full(pair[1].shape, 255, np.uint8),
                5,
            )
        except cv2.error:  # its way to say that the correlation does not rise
            return None
        scaled = CORNER_FROM_CENTRE @ np.asarray(found, float) @ np.linalg.inv(CORNER_FROM_CENTRE)
        homography = np.linalg.inv(size) @ scaled @ size
    return homography


def _by_features(reference: NDArray[Any], band: NDArray[Any]) -> Float | None:
    """Return the homography of matching keypoints; None with too few."""
    found = [
        detect_features(stretched(a), (a.shape[1], a.shape[0]), FeatureOptions())
        for a in (reference, band)
    ]
    matches = match_features(found[0], found[1], MatchOptions(), expected=True)
    if len(matches) < LEAST_INLIERS:
        return None
    here, there = found[0].xy_px[matches[:, 0]], found[1].xy_px[matches[:, 1]]
    homography, kept = cv2.findHomography(here, there, cv2.USAC_MAGSAC, 1.0, maxIters=5000)
    if homography is None or kept.sum() < LEAST_INLIERS:
        return None
    return np.asarray(homography, float)


def _best(tried: list[Alignment]) -> Alignment:
    known = [one for one in tried if one.residual_px is not None]
    return min(known, key=lambda one: one.residual_px or 0.0) if known else tried[-1]
