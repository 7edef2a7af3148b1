"""How precisely an adjusted block is known: standard deviations of poses and lens.

The normal equations of the adjustment are set up once more where it came to rest, tie points are
eliminated, and what is left, six unknowns for each photograph and nine for each camera, is
inverted.  Tie points and positions weigh what they weighed in the adjustment.

References
----------
Triggs, B., McLauchlan, P., Hartley, R., Fitzgibbon, A. (2000). Bundle adjustment: a modern
synthesis, section 6.1 (Schur complement).
Förstner, W., Wrobel, B. P. (2016). Photogrammetric Computer Vision, section 4.2 (covariance of
the estimated parameters).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import block_diag, bsr_array, csr_array

from photogrammetry.orientation.adjust import AdjustOptions, TieWeight, camera_covariance
from photogrammetry.orientation.block import Block, pixel_by_cam
from photogrammetry.orientation.control import MARK_SIGMA_PX, intersect
from photogrammetry.orientation.priors import Priors
from tmp.cameras import Camera
from tmp.reconstruction import InteriorPrecision

Float = NDArray[np.float64]

INTERIOR = ("fx_px", "fy_px", "cx_px", "cy_px", "k1", "k2", "p1", "p2", "k3")
"""Parameters of a camera in the order of `adjust.camera_parameters`."""
MOST_PHOTOGRAPHS = 600
"""Beyond them the matrix to invert would take more than the 0.1 GB it takes here."""
POSE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Standard deviations of an adjusted block, from its own geometry and what was known."""

    centre_sigmas: Float
    """Of projection centres, world, in its unit, (N, 3)."""
    turn_sigmas_deg: Float
    """Of rotations about the camera's x, y and z axes, (N, 3)."""
    interior: dict[str, InteriorPrecision]
    """By camera id."""


def assess_precision(
    block: Block, known: Priors, weight: TieWeight, options: AdjustOptions
) -> Precision | None:
    """Return how precisely poses and lenses are known; None for a block that is too large."""
    count = len(block.names)
    if count > MOST_PHOTOGRAPHS:
        return None
    normal = _reduced_normal(*_with_control(block, known, weight))
    prior = np.zeros(len(normal))
    off: Float = (block.centres - known.positions) / known.position_sigmas
    distance: Float = (off**2).sum(axis=1)
    with np.errstate(invalid="ignore"):
        pull = 1 / (1 + distance / options.gnss_loss_sigmas**2)
    position = np.where(np.isfinite(off), pull[:, None] / known.position_sigmas**2, 0)
    recorded = np.isfinite(known.rotations[:, 0, 0])
    yaw_deg = options.yaw_sigma_deg * np.sqrt(max(recorded.sum(), 1))
    tilt_deg = np.asarray(known.tilt_sigmas_deg, float)
    turn = np.radians(np.column_stack([tilt_deg, tilt_deg, np.full(count, yaw_deg)]))
    rotation = np.where(np.isfinite(known.rotations[:, :, 0]), 1 / turn**2, 0)
    prior[: POSE * count] = np.hstack([rotation, np.nan_to_num(position)]).ravel()
    normal[np.diag_indices_from(normal)] += prior
    for index, camera in enumerate(known.cameras):
        at = slice(POSE * count + 9 * index, POSE * count + 9 * index + 9)
        normal[at, at] += np.linalg.inv(camera_covariance(camera, options)[:9, :9])
    covariance = _inverted(normal)
    sigmas = np.sqrt(np.diag(covariance))
    poses = sigmas[: POSE * count].reshape(count, POSE)
    return Precision(
        centre_sigmas=poses[:, 3:],
        turn_sigmas_deg=np.degrees(poses[:, :3]),
        interior={
            camera.camera_id: _interior(covariance, POSE * count + 9 * index)
            for index, camera in enumerate(block.cameras)
        },
    )


def _inverted(normal: Float) -> Float:
    """Invert a positive definite matrix of unlike units, scaled to a unit diagonal first."""
    scale = 1 / np.sqrt(np.diag(normal))
    factor = cho_factor(normal * np.outer(scale, scale), overwrite_a=True)
    inverse: Float = cho_solve(factor, np.eye(len(normal)), overwrite_b=True)
    return inverse * np.outer(scale, scale)


def _interior(covariance: Float, start: int) -> InteriorPrecision:
    of_camera = covariance[start : start + 9, start : start + 9]
    sigmas = np.sqrt(np.diag(of_camera))
    correlation = of_camera / np.outer(sigmas, sigmas)
    return InteriorPrecision(
        names=INTERIOR,
        sigmas=tuple(float(f"{value:.4g}") for value in sigmas),
        correlation=tuple(tuple(row) for row in correlation.round(3).tolist()),
    )


def _with_control(block: Block, known: Priors, weight: TieWeight) -> tuple[Block, Float, Float]:
    """Return the block with control points among its tie points.

    With it come the weight of each observation (K,), as a factor of its residual, and of each
    point's own place (M, 3), inverse variances.
    """
    squared = (block.residuals() ** 2).sum(axis=1)
    root = 1 / (weight.sigma_px * np.sqrt(1 + squared / weight.loss_px**2))
    own = np.zeros((len(block.points), 3))
    control = known.control
    if control is None:
        return block, root, own
    held, photo = control.holding(block), control.photo_in(block)
    marks = np.flatnonzero(held[control.point] & (photo >= 0))
    number = np.cumsum(held) - 1 + len(block.points)
    whole = replace(
        block,
        points=np.vstack([block.points, intersect(block, control, held=held)[held]]),
        photo=np.concatenate([block.photo, photo[marks]]),
        point=np.concatenate([block.point, number[control.point[marks]]]),
        xy_px=np.vstack([block.xy_px, control.xy_px[marks]]),
    )
    return (
        whole,
        np.concatenate([root, np.full(len(marks), 1 / MARK_SIGMA_PX)]),
        np.vstack([own, control.sigmas[held] ** -2]),
    )


def _reduced_normal(block: Block, root: Float, own: Float) -> Float:
    """Return the normal matrix of poses and cameras, tie points eliminated.

    Given are factors of residuals (K,) and what is known of the points' places (M, 3).
    """
    sound = np.flatnonzero(np.isfinite(block.residuals()).all(axis=1))
    pose, interior, ground = _derivatives(block, sound)
    root = root[sound]
    pose, interior, ground = (part * root[:, None, None] for part in (pose, interior, ground))
    photo, point = block.photo[sound], block.point[sound]
    count, cameras = len(block.names), len(block.cameras)
    unknowns = POSE * count + 9 * cameras
    rows = np.arange(2 * len(sound)).reshape(-1, 2, 1)
    of_pose = POSE * photo[:, None, None] + np.arange(POSE)
    of_camera = POSE * count + 9 * block.camera_of[photo][:, None, None] + np.arange(9)
    columns = np.concatenate([of_pose, of_camera], axis=2).repeat(2, axis=1)
    values = np.concatenate([pose, interior], axis=2)
    a = csr_array(
        (values.ravel(), (np.broadcast_to(rows, columns.shape).ravel(), columns.ravel())),
        shape=(2 * len(sound), unknowns),
    )
    b = bsr_array(
        (ground, point, np.arange(len(sound) + 1)),
        blocksize=(2, 3),
        shape=(2 * len(sound), 3 * len(block.points)),
    ).tocsr()
    ties = np.zeros((len(block.points), 3, 3))
    np.add.at(ties, point, np.einsum("kia,kib->kab", ground, ground))
    ties += own[:, :, None] * np.eye(3)
    ties += 1e-9 * np.trace(ties, axis1=1, axis2=2)[:, None, None] * np.eye(3) + 1e-30 * np.eye(3)
    mixed = (a.T @ b).tocsr()
    return np.asarray(
        (a.T @ a).toarray() - (mixed @ block_diag(np.linalg.inv(ties), "csr") @ mixed.T).toarray()
    )


def _derivatives(block: Block, sound: NDArray[np.int_]) -> tuple[Float, Float, Float]:
    """Return the derivatives of image coordinates by pose, camera and tie point, (K, 2, …).

    A pose turns by a small rotation of the camera's axes, and its centre moves in the world.
    """
    photo = block.photo[sound]
    rotation = block.rotations[photo]
    cam = np.einsum("kij,kj->ki", rotation, block.points[block.point[sound]])
    cam += block.poses[photo, 4:]
    by_cam, interior = np.empty((len(sound), 2, 3)), np.empty((len(sound), 2, 9))
    for index, camera in enumerate(block.cameras):
        mine = block.camera_of[photo] == index
        by_cam[mine] = pixel_by_cam(camera, cam[mine])
        interior[mine] = _by_interior(camera, cam[mine])
    ground = by_cam @ rotation
    turned = np.cross(np.eye(3)[None], cam[:, None, :])  # row a is e_a × cam
    by_turn = np.einsum("kij,kaj->kia", by_cam, turned)
    return np.concatenate([by_turn, -ground], axis=2), interior, ground


def _by_interior(camera: Camera, cam: Float) -> Float:
    """Return the derivatives of image coordinates by the parameters `INTERIOR`, (K, 2, 9)."""
    u, v = (cam[:, :2] / cam[:, 2:]).T
    r2, zero, one = u * u + v * v, np.zeros_like(u), np.ones_like(u)
    x, y = (camera.pixel_from_cam(cam) - (camera.cx_px, camera.cy_px)).T
    fx, fy = camera.fx_px, camera.fy_px
    by_x = [x / fx, zero, one, zero, fx * u * r2, fx * u * r2**2]
    by_x += [fx * 2 * u * v, fx * (r2 + 2 * u * u), fx * u * r2**3]
    by_y = [zero, y / fy, zero, one, fy * v * r2, fy * v * r2**2]
    by_y += [fy * (r2 + 2 * v * v), fy * 2 * u * v, fy * v * r2**3]
    return np.stack([np.column_stack(by_x), np.column_stack(by_y)], axis=1)
