"""What the metadata say about a block's photographs, as means and standard deviations."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from photogrammetry.adjust import Known
from photogrammetry.block import Block
from photogrammetry.pairs import gimbal_rotation
from photogrammetry.vertical import GIMBAL_SIGMA_DEG, VIEWS_SIGMA_DEG
from tmp.cameras import Camera
from tmp.captures import Capture
from tmp.frames import LocalFrame

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


def collect_known(
    captures: Sequence[Capture], cameras: Mapping[str, Camera], frame: LocalFrame
) -> Known:
    """Collect what is recorded about photographs, in their order.

    Parameters
    ----------
    captures : sequence of Capture
        Those of a block, in its order.
    cameras : mapping of Camera
        By camera id; those in use become `Known.cameras`, in the order of their ids.
    """
    positions = np.full((len(captures), 3), np.nan)
    placed = [i for i, c in enumerate(captures) if c.positioned and frame.referenced]
    if placed:
        geodetic = [
            (captures[i].longitude_deg, captures[i].latitude_deg, captures[i].height_m)
            for i in placed
        ]
        positions[placed] = frame.world_from_geodetic(np.array(geodetic, float))
    sigmas = [(c.sigma_horizontal_m, c.sigma_horizontal_m, c.sigma_vertical_m) for c in captures]
    floor = np.array([HORIZONTAL_FLOOR_M, HORIZONTAL_FLOOR_M, VERTICAL_FLOOR_M])
    rotations = np.full((len(captures), 3, 3), np.nan)
    if frame.referenced:
        for i, capture in enumerate(captures):
            if (rotation := gimbal_rotation(capture)) is not None:
                rotations[i] = rotation
    in_use = sorted({capture.camera_id for capture in captures})
    return Known(
        positions=positions,
        position_sigmas=np.maximum(np.array(sigmas, float), floor),
        cameras=tuple(squared(cameras[key]) for key in in_use),
        rotations=rotations,
        tilt_sigmas_deg=as_one(GIMBAL_SIGMA_DEG, rotations),
    )


def as_one(sigma_deg: float, rotations: Float) -> Float:
    """Return the standard deviations (N,) by which all rotations together weigh as one."""
    recorded = int(np.isfinite(rotations).all(axis=(1, 2)).sum())
    return np.full(len(rotations), sigma_deg * np.sqrt(max(recorded, 1)))


def held_in_place(known: Known, block: Block) -> Known:
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
    agrees: bool
    """Whether both may be right: the lens as the metadata have it, and level ground to take-off."""


def compare_flying_height(
    known: Known, block: Block, captures: Sequence[Capture]
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
    return FlyingHeight(recorded_m=recorded_m, solved_m=solved_m, sigma_m=sigma_m, agrees=agrees)


def with_flying_height(known: Known, block: Block, captures: Sequence[Capture]) -> Known:
    """Let the recorded height above take-off speak for the focal length.

    Parameters
    ----------
    block : Block
        Adjusted, in the world of `known`.
    captures : sequence of Capture
        Those of the block, in its order.

    Notes
    -----
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
    lens, solved = known.cameras[0], block.cameras[0]
    focal_px = float(np.sqrt(solved.fx_px * solved.fy_px)) * flown.recorded_m / flown.solved_m
    sigma_px = focal_px * flown.sigma_m / flown.recorded_m
    lens_sigma_px = lens.focal_sigma * lens.fx_px
    weights = np.array([lens_sigma_px**-2, sigma_px**-2])
    joined_px = float(weights @ [lens.fx_px, focal_px] / weights.sum())
    joined = replace(
        lens,
        fx_px=joined_px,
        fy_px=joined_px,
        focal_sigma=float(weights.sum() ** -0.5 / joined_px),
    )
    return replace(known, cameras=(joined,))


def with_doubted_lens(
    known: Known, recorded: Known, block: Block, captures: Sequence[Capture]
) -> Known:
    """Let go of a focal length that both the block and the barometer contradict.

    Parameters
    ----------
    known : Known
        As weighed so far.
    recorded : Known
        With the cameras of the metadata.
    block : Block
        Adjusted.
    captures : sequence of Capture
        Those of the block, in its order.

    Notes
    -----
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
