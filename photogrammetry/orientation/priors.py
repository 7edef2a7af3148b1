"""What is known of a block's photographs beside their tie points.

Recorded are positions, gimbal angles, heights above take-off and interior orientations: means and
standard deviations for the adjustment.

Positions give a block its tilt only if their heights are good.  Heights of consumer receivers
drift, by a hundred metres where the sky is poor, and a block that follows them leans.  So the
vertical is estimated without them: from gimbal angles; from the direction that is the same in every
photograph while the headings change; from the level on which cameras fly; and, weakly, from the
ground.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from photogrammetry.orientation.block import Block
from photogrammetry.orientation.control import GroundControl
from tmp.cameras import Camera, Pose
from tmp.captures import Capture
from tmp.geo.frames import LocalFrame

log = logging.getLogger(__name__)
Float = NDArray[np.float64]

HORIZONTAL_FLOOR_M, VERTICAL_FLOOR_M = 0.01, 0.015
"""No recorded position is trusted further than this: a receiver's own figure leaves out the
offset of the antenna from the lens and the moment of the exposure."""
BAROMETER_SIGMA_M = 1.0
TAKEOFF_SIGMA = 0.03
"""Of the ground at the take-off point against the surveyed ground's, as a fraction of the flying
height, besides the relief of the surveyed ground itself."""
SURPRISE_SIGMAS = 2.5
"""Change of the focal length beyond which what the metadata say of it is in doubt."""
AGREEMENT_SIGMAS = 2.5
"""A height above take-off further than this from what the lens says is not of this ground."""
LOOKING_DOWN = 0.9
"""Cosine of the mean inclination of the views above which height and focal length are one."""
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
class Priors:
    """What is recorded about a block's photographs, in its order and in its frame."""

    positions: Float
    """Projection centres from GNSS, world, (N, 3); NaN where there is none."""
    position_sigmas: Float
    """Standard deviations of their coordinates, metres, (N, 3)."""
    cameras: tuple[Camera, ...]
    """Interior orientations beforehand: the means of the priors, with `focal_sigma`."""
    rotations: Float
    """cam_from_world from gimbal or vertical, (N, 3, 3); NaN where nothing is known of it."""
    tilt_sigmas_deg: Float
    """Standard deviation of each rotation's tilt, (N,): that of the tilt they have in common, times
    the root of their number, so that all together weigh as one."""
    control: GroundControl | None = None
    """Points on the ground that hold the block; None without any."""


def collect_known(
    captures: Sequence[Capture], cameras: Mapping[str, Camera], frame: LocalFrame
) -> Priors:
    """Collect what is recorded about the photographs of a block, in their order.

    Of the cameras, by camera id, those in use become `Priors.cameras`, in the order of their ids.
    """
    positions = np.full((len(captures), 3), np.nan)
    placed = [i for i, c in enumerate(captures) if c.positioned and frame.referenced]
    if placed:
        positions[placed] = world_positions([captures[i] for i in placed], frame)
    sigmas = [(c.sigma_horizontal_m, c.sigma_horizontal_m, c.sigma_vertical_m) for c in captures]
    floor = np.array([HORIZONTAL_FLOOR_M, HORIZONTAL_FLOOR_M, VERTICAL_FLOOR_M])
    rotations = np.full((len(captures), 3, 3), np.nan)
    if frame.referenced:
        for i, capture in enumerate(captures):
            if (rotation := gimbal_rotation(capture)) is not None:
                rotations[i] = rotation
    in_use = sorted({capture.camera_id for capture in captures})
    return Priors(
        positions=positions,
        position_sigmas=np.maximum(np.array(sigmas, float), floor),
        cameras=tuple(squared(cameras[key]) for key in in_use),
        rotations=rotations,
        tilt_sigmas_deg=as_one(GIMBAL_SIGMA_DEG, rotations),
    )


def world_positions(captures: Sequence[Capture], frame: LocalFrame) -> Float:
    """Return the recorded positions of captures that have one, world, (N, 3)."""
    geodetic = [(c.longitude_deg, c.latitude_deg, c.height_m) for c in captures]
    return frame.world_from_geodetic(np.array(geodetic, float))


def gimbal_rotation(capture: Capture) -> Float | None:
    """Return the cam_from_world rotation (3, 3) of a capture's gimbal angles, or None."""
    yaw_deg, pitch_deg = capture.gimbal_yaw_deg, capture.gimbal_pitch_deg
    if yaw_deg is None or pitch_deg is None:
        return None
    roll_deg = capture.gimbal_roll_deg or 0.0
    return Pose.from_gimbal(yaw_deg, pitch_deg, roll_deg, np.zeros(3)).rotation


def as_one(sigma_deg: float, rotations: Float) -> Float:
    """Return the standard deviations (N,) by which all rotations together weigh as one."""
    recorded = int(np.isfinite(rotations).all(axis=(1, 2)).sum())
    return np.full(len(rotations), sigma_deg * np.sqrt(max(recorded, 1)))


def held_in_place(known: Priors, block: Block) -> Priors:
    """Return `known` with what keeps a block without positions where it is.

    It is held by its own projection centres, loosely, and by its own rotations.
    """
    extent = float(np.linalg.norm(np.ptp(block.centres, axis=0)))
    return replace(
        known,
        positions=block.centres,
        position_sigmas=np.full((len(block.names), 3), 0.1 * extent),
        rotations=block.rotations,
        tilt_sigmas_deg=as_one(VIEWS_SIGMA_DEG, block.rotations),
    )


def squared(camera: Camera) -> Camera:
    """Return a camera with square pixels: one focal length, the geometric mean."""
    focal_px = float(np.sqrt(camera.fx_px * camera.fy_px))
    return replace(camera, fx_px=focal_px, fy_px=focal_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlyingHeight:
    """Height above ground by the barometer and by the block."""

    recorded_m: float
    """Median height above take-off."""
    solved_m: float
    """Median height of the cameras above the tie points."""
    sigma_m: float
    """Standard deviation of the recorded height as one above the surveyed ground."""
    focal_px: float
    """Focal length with which the block would have the recorded height."""
    agrees: bool
    """Whether both may be right: the lens as the metadata have it, and level ground to take-off."""


def compare_flying_height(
    known: Priors, block: Block, captures: Sequence[Capture]
) -> FlyingHeight | None:
    """Compare recorded and solved flying height; None where they say nothing of each other."""
    heights = np.array([c.height_takeoff_m or np.nan for c in captures])
    downward = float(-block.rotations[:, 2, 2].mean())
    positioned = np.isfinite(known.positions).all(axis=1).sum()
    if len(known.cameras) != 1 or positioned < 3 or downward < LOOKING_DOWN:
        return None
    if np.isfinite(heights).mean() < 0.5 or np.nanmedian(heights) < 5:
        return None
    low, high = np.percentile(block.points[:, 2], [16, 84])
    flown = np.isfinite(heights)
    above = block.centres[flown, 2] - np.median(block.points[:, 2])
    recorded_m, solved_m = float(np.median(heights[flown])), float(np.median(above))
    sigma_m = float(
        np.sqrt(BAROMETER_SIGMA_M**2 + (TAKEOFF_SIGMA * recorded_m) ** 2 + ((high - low) / 2) ** 2)
    )
    lens, solved = known.cameras[0], block.cameras[0]
    focal_px = float(np.sqrt(solved.fx_px * solved.fy_px)) * recorded_m / solved_m
    limit_px = np.hypot(focal_px * sigma_m / recorded_m, lens.focal_sigma * lens.fx_px)
    agrees = bool(abs(focal_px - lens.fx_px) <= AGREEMENT_SIGMAS * limit_px)
    if not agrees:
        log.info("height above take-off does not fit the lens: %.1f m not used", recorded_m)
    return FlyingHeight(
        recorded_m=recorded_m, solved_m=solved_m, sigma_m=sigma_m, focal_px=focal_px, agrees=agrees
    )


def with_flying_height(known: Priors, block: Block, captures: Sequence[Capture]) -> Priors:
    """Let the recorded height above take-off speak for the focal length of an adjusted block.

    With positions that fix the horizontal scale, views that look down and one camera, flying
    height above the ground and focal length are proportional.  The barometer's height above the
    take-off point therefore says what the focal length should be, if the ground at take-off is
    as high as the ground surveyed; its standard deviation counts the barometer, the take-off
    and the relief.  The two statements are joined by their weights unless they contradict each
    other, when the take-off point evidently lay elsewhere.
    """
    flown = compare_flying_height(known, block, captures)
    if flown is None or not flown.agrees:
        return known
    lens = known.cameras[0]
    sigma_px = flown.focal_px * flown.sigma_m / flown.recorded_m
    weights = np.array([(lens.focal_sigma * lens.fx_px) ** -2, sigma_px**-2])
    joined_px = float(weights @ [lens.fx_px, flown.focal_px] / weights.sum())
    focal_sigma = float(weights.sum() ** -0.5 / joined_px)
    joined = replace(lens, fx_px=joined_px, fy_px=joined_px, focal_sigma=focal_sigma)
    return replace(known, cameras=(joined,))


def with_doubted_lens(
    known: Priors, recorded: Priors, block: Block, captures: Sequence[Capture]
) -> Priors:
    """Let go of a focal length that both the adjusted block and the barometer contradict.

    `known` is weighed so far, `recorded` has the cameras of the metadata.

    A block alone says little of its focal length.  If it moves by more than `SURPRISE_SIGMAS` all
    the same, the metadata's standard deviation is too small: it is widened to twice the change,
    and the flying height asked again.  Only where that then agrees is anything changed, as nothing
    else would hold the focal length.
    """
    if len(recorded.cameras) != 1:
        return known
    lens, solved = recorded.cameras[0], block.cameras[0]
    change = abs(float(np.sqrt(solved.fx_px * solved.fy_px)) / lens.fx_px - 1)
    if change <= SURPRISE_SIGMAS * lens.focal_sigma:
        return known
    doubted = replace(known, cameras=(replace(lens, focal_sigma=2 * change),))
    told = with_flying_height(doubted, block, captures)
    if told is doubted:
        return known
    log.warning("focal length of the metadata in doubt: it changed by %.1f %%", 100 * change)
    return told


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
    """Estimate a block's vertical, in any frame, without its positions.

    Rotations (N, 3, 3) are cam_from_world from the gimbal, world z up; NaN where there is none.

    Gimbal angles are believed alone where they agree with one another.  Otherwise the views speak
    first, then level flight and level ground, each only as far as it is in keeping with what was
    found before, with weights by their variances.
    """
    gimbal = _from_gimbal(block, rotations)
    if gimbal is not None:
        return gimbal
    found = _from_views(block)
    for statement in (_from_flight(block, found.up), _from_ground(block, found.up)):
        if statement is None:
            continue
        limit_deg = BELIEVED_SIGMAS * np.hypot(found.sigma_deg, statement.sigma_deg)
        if angle_deg(found.up, statement.up) < limit_deg:
            found = _joined(found, statement)
    log.info("vertical: %s, to %.1f degrees", ", ".join(found.evidence), found.sigma_deg)
    return found


def angle_deg(first: Float, second: Float) -> float:
    """Return the angle between two directions in degrees."""
    cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def fit_plane(points: Float, toward: Float) -> tuple[Float, float]:
    """Fit a plane to points (N, 3) robustly.

    Returns the unit normal (3,), on the side of the direction `toward`, and the standard deviation
    of the points' distances from the median ones.

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
