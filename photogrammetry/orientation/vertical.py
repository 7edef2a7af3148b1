"""Which way is up, as far as the photographs themselves, the gimbal and the flight tell.

Positions place a block and give it its tilt, if their heights are good.  Heights of consumer
receivers drift, by a hundred metres where the sky is poor, and a block that follows them leans.
What is collected here knows nothing of recorded GNSS heights, and so can judge them: gimbal angles;
the direction that is the same in every photograph while the headings change; the level on which
cameras fly; and, weakly, the ground.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photogrammetry.orientation.block import Block

log = logging.getLogger(__name__)
Float = NDArray[np.float64]

GIMBAL = "gimbal angles"
GIMBAL_SIGMA_DEG = 1.0
"""Error that a gimbal's angles have in common: its horizon drifts in flight."""
GIMBAL_SPREAD_DEG, GIMBAL_SHARE = 8.0, 0.6
"""Distance from their mean within which this share of gimbal angles must lie to say anything."""
VIEWS_SIGMA_DEG = 3.5
"""Error that all views of a drone without gimbal have in common: it leans into the wind."""
ONE_HEADING_SIGMA_DEG = 10.0
"""Of views that all have one heading: a camera may be mounted at a slant."""
HEADINGS_APART = 0.15
"""Least difference of the two largest singular values below for headings to count as spread."""
LEVEL_FLIGHT_SIGMA_DEG = 3.0
"""Slope of the surface that a drone at constant height flies on, barometer and pilot counted."""
GROUND_SIGMA_DEG = 6.0
"""Slope of ground that people survey, where nothing better is known."""
BELIEVED_SIGMAS = 3.0
"""A statement farther than this from those before it is not of the vertical."""
LEAST_SPREAD = 0.15
"""Spread of cameras across over along their flight below which they lie on no plane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertical:
    """The direction away from the ground, in a block's frame."""

    up: Float
    """Unit vector, (3,)."""
    sigma_deg: float
    """Standard deviation of its tilt about any level axis."""
    evidence: tuple[str, ...]
    """What it rests on, in words."""


def estimate_vertical(block: Block, rotations: Float) -> Vertical:
    """Estimate a block's vertical without its positions.

    Parameters
    ----------
    block : Block
        In any frame.
    rotations : ndarray of shape (N, 3, 3)
        cam_from_world from the gimbal, world z up; NaN where there is none.

    Notes
    -----
    Gimbal angles are believed alone where they agree with one another.  Otherwise the views speak
    first, then level flight and level ground, each only as far as it is in keeping with what was
    found before, with weights by their variances.
    """
    gimbal = _from_gimbal(block, rotations)
    if gimbal is not None:
        return gimbal
    found = _from_views(block)
    for statement in (_from_flight(block, found.up), _from_ground(block, found.up)):
        if statement is not None and _agree(found, statement):
            found = _joined(found, statement)
    log.info("vertical: %s, to %.1f degrees", ", ".join(found.evidence), found.sigma_deg)
    return found


def angle_deg(first: Float, second: Float) -> float:
    """Return the angle between two directions in degrees."""
    cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def fit_plane(points: Float, toward: Float) -> tuple[Float, float]:
    """Fit a plane to points robustly.

    Parameters
    ----------
    points : ndarray of shape (N, 3)
    toward : ndarray of shape (3,)
        Direction on whose side the normal lies.

    Returns
    -------
    tuple of ndarray of shape (3,) and float
        Unit normal, and the standard deviation of the points' distances from the median ones.

    Notes
    -----
    Total least squares with Cauchy's weights, reweighted from the coordinate-wise median.
    """
    weights = np.ones(len(points))
    normal, spread = np.asarray(toward, float), 0.0
    for _ in range(30):
        middle = weights @ points / weights.sum()
        _, _, axes = np.linalg.svd(
            (points - middle) * np.sqrt(weights)[:, None], full_matrices=False
        )
        normal = axes[2] * (1.0 if axes[2] @ toward > 0 else -1.0)
        distance = (points - middle) @ normal
        spread = 1.4826 * float(np.median(np.abs(distance - np.median(distance))))
        weights = 1 / (1 + (distance / max(2 * spread, 1e-12)) ** 2)
    return normal, spread


def _from_gimbal(block: Block, rotations: Float) -> Vertical | None:
    recorded = np.isfinite(rotations).all(axis=(1, 2))
    if not recorded.any():
        return None
    # World z in each camera by its gimbal, brought into the block by its own rotation.
    ups = np.einsum("nij,ni->nj", block.rotations[recorded], rotations[recorded][:, :, 2])
    up, spread_deg = _mean_direction(ups)
    agreeing = float((ups @ up > np.cos(np.radians(GIMBAL_SPREAD_DEG))).mean())
    if agreeing < GIMBAL_SHARE:
        log.info("only %.0f %% of the gimbal angles agree; none is used", 100 * agreeing)
        return None
    return Vertical(
        up=up,
        sigma_deg=float(np.hypot(GIMBAL_SIGMA_DEG, spread_deg / np.sqrt(recorded.sum()))),
        evidence=(GIMBAL,),
    )


def _from_views(block: Block) -> Vertical:
    """Find the direction that lies the same way in all photographs, whatever their headings.

    Notes
    -----
    With ``u`` up in the block and ``c`` up in each camera, ``u`` and ``c`` that maximise the mean
    of ``u · (R_i' c)`` are the first singular vectors of the mean of ``R_i'``.  A camera at a
    fixed slant thus gives the vertical as well as one that looks straight down, if its headings
    are spread; with one heading, the views themselves are taken to be vertical.
    """
    transposed = block.rotations.transpose(0, 2, 1)
    views = block.rotations[:, 2].mean(axis=0)
    left, singular, right = np.linalg.svd(transposed.mean(axis=0))
    up, up_in_cam = left[:, 0], right[0]
    if up @ views > 0:
        up, up_in_cam = -up, -up_in_cam
    if singular[0] - singular[1] < HEADINGS_APART:
        up = -views / np.linalg.norm(views)
        return Vertical(up=up, sigma_deg=ONE_HEADING_SIGMA_DEG, evidence=("views of one heading",))
    _, spread_deg = _mean_direction(transposed @ up_in_cam)
    sigma_deg = float(np.hypot(VIEWS_SIGMA_DEG, spread_deg / np.sqrt(len(block.names))))
    return Vertical(up=up, sigma_deg=sigma_deg, evidence=("views",))


def _from_flight(block: Block, up: Float) -> Vertical | None:
    centres = block.centres
    if len(centres) < 6:
        return None
    across = centres - np.outer(centres @ up, up)
    spread = np.linalg.svd(across - across.mean(axis=0), compute_uv=False)
    if spread[1] < LEAST_SPREAD * spread[0]:
        return None
    normal, rough = fit_plane(centres, up)
    extent = spread[1] / np.sqrt(len(centres))
    loose_deg = np.degrees(np.arctan2(rough / np.sqrt(len(centres)), extent))
    sigma_deg = float(np.hypot(LEVEL_FLIGHT_SIGMA_DEG, loose_deg))
    return Vertical(up=normal, sigma_deg=sigma_deg, evidence=("level flight",))


def _from_ground(block: Block, up: Float) -> Vertical | None:
    if len(block.points) < 100:
        return None
    normal, _ = fit_plane(block.points, up)
    return Vertical(up=normal, sigma_deg=GROUND_SIGMA_DEG, evidence=("the lie of the ground",))


def _agree(found: Vertical, statement: Vertical) -> bool:
    limit_deg = BELIEVED_SIGMAS * np.hypot(found.sigma_deg, statement.sigma_deg)
    return bool(angle_deg(found.up, statement.up) < limit_deg)


def _joined(first: Vertical, second: Vertical) -> Vertical:
    weights = first.sigma_deg**-2, second.sigma_deg**-2
    up = weights[0] * first.up + weights[1] * second.up
    return Vertical(
        up=up / np.linalg.norm(up),
        sigma_deg=float(sum(weights) ** -0.5),
        evidence=first.evidence + second.evidence,
    )


def _mean_direction(directions: Float) -> tuple[Float, float]:
    """Return a robust mean of unit vectors (N, 3) and their spread about it in degrees."""
    weights = np.ones(len(directions))
    mean, spread = directions[0], 0.0
    for _ in range(20):
        mean = weights @ directions
        mean /= np.linalg.norm(mean)
        away = np.linalg.norm(directions - mean, axis=1)
        spread = max(float(np.median(away)), 1e-9)
        weights = 1 / (1 + (away / (2 * spread)) ** 2)
    return mean, float(np.degrees(spread))
