"""The final weighted adjustment: tie points, GNSS and priors on the interior orientation.

The solver is Ceres, through COLMAP; the observations and their weights are ours.  Minimised are
robust reprojection residuals, positions with their standard deviations, gimbal angles with the
weight of one record, and what is known of each camera beforehand.  All residuals are scaled so
that a tie point observation has unit weight.

What the metadata say of the photographs comes in as means and standard deviations.

References
----------
Förstner, W., Wrobel, B. P. (2016). Photogrammetric Computer Vision, chapter 15 (bundle
adjustment with prior information).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyceres
import pycolmap
import pycolmap.cost_functions
from numpy.typing import NDArray

from photogrammetry.orientation.block import Block
from photogrammetry.orientation.pairs import gimbal_rotation
from photogrammetry.orientation.vertical import GIMBAL_SIGMA_DEG, VIEWS_SIGMA_DEG
from tmp.cameras import Camera
from tmp.captures import Capture
from tmp.errors import OrientationError
from tmp.geo.frames import LocalFrame

log = logging.getLogger(__name__)
Float = NDArray[np.float64]

MODEL = "FULL_OPENCV"
"""fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6: Brown's model with the last three held at zero."""
HELD = (9, 10, 11)
FOCAL = (0, 1)
UNSAID_M = 1e6
"""Standard deviation of what a prior is not meant to say."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TieWeight:
    """How far tie point observations are trusted."""

    loss_px: float
    """Residual from which on an observation pulls less and less (Cauchy's loss)."""
    sigma_px: float
    """Standard deviation along each axis with which an observation is weighed against GNSS and
    priors; larger than its scatter, because observations of one photograph err together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustOptions:
    """Standard deviations of what is known, as fractions or in the unit named."""

    gnss_loss_sigmas: float = 3.0
    """Positions further off than this many standard deviations pull less and less (Cauchy)."""
    aspect_sigma: float = 0.0005
    """Of fy / fx: pixels are square."""
    centre_sigma: float = 0.005
    """Of the principal point, as a fraction of the width."""
    radial_sigma: float = 0.1
    """Of k1, k2, k3 where no calibration is known."""
    calibrated_radial_sigma: float = 0.02
    tangential_sigma: float = 0.002
    yaw_sigma_deg: float = 10.0
    """Of the heading of a gimbal; compasses are worse than horizons."""
    max_iterations: int = 40
    tolerance: float = 1e-6
    """Relative decrease of the cost below which the solution counts as found."""
    threads: int = 1


def adjust(
    block: Block,
    known: Known,
    weight: TieWeight,
    options: AdjustOptions,
    *,
    held_focal_factor: float | None = None,
) -> Block:
    """Return the block that fits the tie points and everything known best.

    Parameters
    ----------
    block : Block
        Approximate values, in the world of `known`.
    held_focal_factor : float, optional
        Hold every focal length at this multiple of the block's instead of adjusting it.

    Raises
    ------
    OrientationError
        If the adjustment does not end in a usable solution.
    """
    start = block if held_focal_factor is None else _refocused(block, held_focal_factor)
    reconstruction = _to_colmap(start)
    config = pycolmap.BundleAdjustmentConfig()
    for image_id in reconstruction.images:
        config.add_image(image_id)
    adjuster = pycolmap.create_default_ceres_bundle_adjuster(
        _colmap_options(weight, options), config, reconstruction
    )
    priors = _Priors(adjuster.problem, reconstruction, unit_px=weight.sigma_px)
    priors.add_positions(known, options)
    priors.add_rotations(known, options)
    priors.add_cameras(known, options, hold_focal=held_focal_factor is not None)
    summary = adjuster.solve()
    if not summary.is_solution_usable():
        raise OrientationError(
            f"the adjustment of {len(block.names)} photographs found no solution; "
            "check the camera's focal length in survey.toml"
        )
    return _from_colmap(start, reconstruction)


def _refocused(block: Block, factor: float) -> Block:
    """Change the focal lengths and stretch heights with them, which hardly moves a pixel."""
    cameras = tuple(
        replace(c, fx_px=c.fx_px * factor, fy_px=c.fy_px * factor) for c in block.cameras
    )
    ground = np.median(block.points[:, 2])
    stretch = np.array([1.0, 1.0, factor])
    points = (block.points - [0, 0, ground]) * stretch + [0, 0, ground]
    centres = (block.centres - [0, 0, ground]) * stretch + [0, 0, ground]
    moved = -np.einsum("nij,nj->ni", block.rotations, centres)
    return replace(
        block, cameras=cameras, points=points, poses=np.column_stack([block.poses[:, :4], moved])
    )


def _to_colmap(block: Block) -> pycolmap.Reconstruction:
    """Build COLMAP's reconstruction: camera, image and point ids are our indices plus one."""
    reconstruction = pycolmap.Reconstruction()
    for index, camera in enumerate(block.cameras, 1):
        reconstruction.add_camera_with_trivial_rig(
            pycolmap.Camera(
                camera_id=index,
                model=MODEL,
                width=camera.width_px,
                height=camera.height_px,
                params=camera_parameters(camera),
            )
        )
    order = np.argsort(block.photo, kind="stable")
    starts = np.searchsorted(block.photo[order], np.arange(len(block.names) + 1))
    place = np.empty(len(order), int)
    for photo, name in enumerate(block.names):
        mine = order[starts[photo] : starts[photo + 1]]
        place[mine] = np.arange(len(mine))
        image = pycolmap.Image(
            name=name,
            image_id=photo + 1,
            camera_id=int(block.camera_of[photo]) + 1,
            keypoints=block.xy_px[mine],
        )
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(block.poses[photo, :4]), block.poses[photo, 4:])
        reconstruction.add_image_with_trivial_frame(image, pose)
    order = np.argsort(block.point, kind="stable")
    starts = np.searchsorted(block.point[order], np.arange(len(block.points) + 1))
    photos, places = (block.photo[order] + 1).tolist(), place[order].tolist()
    for point, xyz in enumerate(block.points):
        track = pycolmap.Track()
        for k in range(starts[point], starts[point + 1]):
            track.add_element(photos[k], places[k])
        reconstruction.add_point3D(xyz, track)
    return reconstruction


def _from_colmap(block: Block, reconstruction: pycolmap.Reconstruction) -> Block:
    poses = np.array(
        [
            reconstruction.image(photo + 1).cam_from_world().params
            for photo in range(len(block.names))
        ]
    )
    points = np.array([reconstruction.point3D(j + 1).xyz for j in range(len(block.points))])
    cameras = tuple(
        camera_from_parameters(camera, reconstruction.camera(index).params)
        for index, camera in enumerate(block.cameras, 1)
    )
    return replace(block, poses=poses, points=points.reshape(-1, 3), cameras=cameras)


def camera_parameters(camera: Camera) -> Float:
    """Return the parameters of COLMAP's FULL_OPENCV model, (12,)."""
    c = camera
    return np.array(
        [c.fx_px, c.fy_px, c.cx_px, c.cy_px, c.k1, c.k2, c.p1, c.p2, c.k3, 0.0, 0.0, 0.0]
    )


def camera_from_parameters(camera: Camera, parameters: Float) -> Camera:
    """Return `camera` with the parameters (12,) of a FULL_OPENCV model."""
    fx, fy, cx, cy, k1, k2, p1, p2, k3 = (float(v) for v in parameters[:9])
    return replace(
        camera, fx_px=fx, fy_px=fy, cx_px=cx, cy_px=cy, k1=k1, k2=k2, p1=p1, p2=p2, k3=k3
    )


def _colmap_options(weight: TieWeight, options: AdjustOptions) -> pycolmap.BundleAdjustmentOptions:
    chosen = pycolmap.BundleAdjustmentOptions()
    chosen.refine_principal_point = True
    chosen.print_summary = False
    chosen.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    chosen.ceres.loss_function_scale = weight.loss_px
    solver = chosen.ceres.solver_options
    solver.max_num_iterations = options.max_iterations
    solver.function_tolerance = options.tolerance
    solver.initial_trust_region_radius = 1e9  # priors keep every direction in hand: full steps
    solver.num_threads = options.threads
    return chosen


class _Priors:
    """Adds what is known to a problem whose tie points have unit weight.

    Ceres minimises half the sum of squared residuals, tie points in pixels.  Weighing those by
    ``1 / unit_px²`` is the same as multiplying all other standard deviations' inverses by
    ``unit_px``.
    """

    def __init__(
        self, problem: pyceres.Problem, reconstruction: pycolmap.Reconstruction, unit_px: float
    ) -> None:
        self.problem = problem
        self.reconstruction = reconstruction
        self.unit_px = unit_px

    def add_positions(self, known: Known, options: AdjustOptions) -> None:
        """Pull projection centres to their GNSS positions, robustly."""
        loss = pyceres.CauchyLoss(options.gnss_loss_sigmas * self.unit_px)
        for photo in np.flatnonzero(np.isfinite(known.positions).all(axis=1)):
            cost = pycolmap.cost_functions.AbsolutePosePositionPriorCost(
                np.diag((known.position_sigmas[photo] / self.unit_px) ** 2), known.positions[photo]
            )
            self.problem.add_residual_block(cost, loss, [self._pose(int(photo)).params])

    def add_rotations(self, known: Known, options: AdjustOptions) -> None:
        """Pull rotations to those known.

        Their error is common to a flight: a thousand records of a gimbal know no more than one.
        """
        recorded = np.flatnonzero(np.isfinite(known.rotations).all(axis=(1, 2)))
        yaw_deg = options.yaw_sigma_deg * np.sqrt(len(recorded))
        for photo in recorded:
            tilt_deg = known.tilt_sigmas_deg[photo]
            turn = np.radians([tilt_deg, tilt_deg, yaw_deg])
            covariance = np.diag((np.array([*turn, *3 * [UNSAID_M]]) / self.unit_px) ** 2)
            pose = self._pose(int(photo))
            prior = pycolmap.Rigid3d(pycolmap.Rotation3d(known.rotations[photo]), pose.translation)
            cost = pycolmap.cost_functions.AbsolutePosePriorCost(covariance, prior)
            self.problem.add_residual_block(cost, pyceres.TrivialLoss(), [pose.params])

    def add_cameras(self, known: Known, options: AdjustOptions, *, hold_focal: bool) -> None:
        """Pull interior orientations to the metadata's and hold what Brown's model lacks."""
        for index, camera in enumerate(known.cameras, 1):
            parameters = self.reconstruction.camera(index).params
            covariance = camera_covariance(camera, options) / self.unit_px**2
            cost = pyceres.factors.NormalPrior(camera_parameters(camera), covariance)
            self.problem.add_residual_block(cost, pyceres.TrivialLoss(), [parameters])
            held = HELD + (FOCAL if hold_focal else ())
            self.problem.set_manifold(parameters, pyceres.SubsetManifold(len(parameters), held))

    def _pose(self, photo: int) -> Any:
        return cast("Any", self.reconstruction.image(photo + 1).frame).rig_from_world


def camera_covariance(camera: Camera, options: AdjustOptions) -> Float:
    """Return the covariance (12, 12) of what is known of a camera beforehand."""
    radial = options.calibrated_radial_sigma if camera.distortion_known else options.radial_sigma
    tangential, centre_px = options.tangential_sigma, options.centre_sigma * camera.width_px
    sigmas = [0, 0, centre_px, centre_px, radial, radial, tangential, tangential, radial, 1, 1, 1]
    covariance = np.diag(np.square(np.array(sigmas, float)))
    focal_px, aspect_px = camera.focal_sigma * camera.fx_px, options.aspect_sigma * camera.fx_px
    covariance[:2, :2] = focal_px**2 + np.eye(2) * aspect_px**2 / 2
    return covariance


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
