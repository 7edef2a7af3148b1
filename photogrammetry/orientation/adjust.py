"""The final weighted adjustment: tie points, GNSS and priors on the interior orientation.

The solver is Ceres, through COLMAP; the observations and their weights are ours.  Minimised are
robust reprojection residuals, positions with their standard deviations, gimbal angles with the
weight of one record, and what is known of each camera beforehand.  All residuals are scaled so
that a tie point observation has unit weight.

Over level ground, seen from one height by cameras that look down, a longer focal length and a
greater flying height make the same photographs.  A block is therefore adjusted again with the focal
length held 5 % shorter and 5 % longer: where that costs the tie points nothing, the heights rest on
the metadata, and the report must say so.

References
----------
James, M. R., Robson, S. (2014). Mitigating systematic error in topographic models derived from
UAV and ground-based image networks. Earth Surface Processes and Landforms 39.
Förstner, W., Wrobel, B. P. (2016). Photogrammetric Computer Vision, chapter 15 (bundle
adjustment with prior information).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from photogrammetry.orientation.block import Block
from photogrammetry.orientation.control import (
    MARK_SIGMA_PX,
    GroundControl,
    intersect,
    mark_residuals,
)
from photogrammetry.orientation.priors import Priors
from tmp.cameras import Camera
from tmp.errors import OrientationError
from tmp.reconstruction import VerticalScale
from tmp.threads import keeping_signals

with keeping_signals():
    import pyceres
    import pycolmap
    import pycolmap.cost_functions

log = logging.getLogger(__name__)
Float = NDArray[np.float64]

MODEL = "FULL_OPENCV"
"""fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6: Brown's model with the last three held at zero."""
HELD = (9, 10, 11)
FOCAL = (0, 1)
UNSAID_M = 1e6
"""Standard deviation of what a prior is not meant to say."""
STEP = 0.05
"""By which the focal length is changed, as a fraction."""
WEAK = 0.004
"""Standard deviation of the scale from the block alone above which it counts as weak.

16 cm at 40 m: about what a block flown at one height leaves open, and several times what a second
height does.
"""


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
    control_loss_sigmas: float = 3.0
    """The same of control points and of their marks."""
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
    known: Priors,
    weight: TieWeight,
    options: AdjustOptions,
    *,
    held_focal_factor: float | None = None,
) -> Block:
    """Return the block that fits the tie points and everything known best.

    It starts from a block in the world of `known`. With `held_focal_factor` every focal length is
    held at that multiple of the block's. Raises `OrientationError` if the adjustment does not end
    in a usable solution.
    """
    start = block if held_focal_factor is None else _refocused(block, held_focal_factor)
    reconstruction = _to_colmap(start)
    config = pycolmap.BundleAdjustmentConfig()
    for image_id in reconstruction.images:
        config.add_image(image_id)
    adjuster = pycolmap.create_default_ceres_bundle_adjuster(
        _colmap_options(weight, options), config, reconstruction
    )
    priors = _PriorCosts(
        problem=adjuster.problem, reconstruction=reconstruction, unit_px=weight.sigma_px
    )
    priors.add_positions(known, options)
    priors.add_rotations(known, options)
    priors.add_cameras(known, options, hold_focal=held_focal_factor is not None)
    priors.add_control(known, start, options)
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
    images = (reconstruction.image(i + 1) for i in range(len(block.names)))
    poses = np.array([image.cam_from_world().params for image in images])
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _PriorCosts:
    """Adds what is known to a problem whose tie points have unit weight.

    Ceres minimises half the sum of squared residuals, tie points in pixels.  Weighing those by
    ``1 / unit_px²`` is the same as multiplying all other standard deviations' inverses by
    ``unit_px``.
    """

    problem: pyceres.Problem
    reconstruction: pycolmap.Reconstruction
    unit_px: float
    places: list[Float] = field(default_factory=list)
    """Control points as they are solved, kept for as long as the problem."""

    def add_positions(self, known: Priors, options: AdjustOptions) -> None:
        """Pull projection centres to their GNSS positions, robustly."""
        loss = pyceres.CauchyLoss(options.gnss_loss_sigmas * self.unit_px)
        for photo in np.flatnonzero(np.isfinite(known.positions).all(axis=1)):
            cost = pycolmap.cost_functions.AbsolutePosePositionPriorCost(
                np.diag((known.position_sigmas[photo] / self.unit_px) ** 2), known.positions[photo]
            )
            self.problem.add_residual_block(cost, loss, [self._pose(int(photo)).params])

    def add_rotations(self, known: Priors, options: AdjustOptions) -> None:
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

    def add_cameras(self, known: Priors, options: AdjustOptions, *, hold_focal: bool) -> None:
        """Pull interior orientations to the metadata's and hold what Brown's model lacks."""
        for index, camera in enumerate(known.cameras, 1):
            parameters = self.reconstruction.camera(index).params
            covariance = camera_covariance(camera, options) / self.unit_px**2
            cost = pyceres.factors.NormalPrior(camera_parameters(camera), covariance)
            self.problem.add_residual_block(cost, pyceres.TrivialLoss(), [parameters])
            held = HELD + (FOCAL if hold_focal else ())
            self.problem.set_manifold(parameters, pyceres.SubsetManifold(len(parameters), held))

    def add_control(self, known: Priors, block: Block, options: AdjustOptions) -> None:
        """Add control points, pulled to their places, and their marks, both robustly."""
        control = known.control
        if control is None:
            return
        held, photo = control.holding(block), control.photo_in(block)
        places = intersect(block, control, held=held)
        loss = pyceres.CauchyLoss(options.control_loss_sigmas * self.unit_px)
        mark = np.eye(2) * (MARK_SIGMA_PX / self.unit_px) ** 2
        for i in np.flatnonzero(held):
            place = np.ascontiguousarray(places[i])
            self.places.append(place)
            covariance = np.diag((control.sigmas[i] / self.unit_px) ** 2)
            prior = pyceres.factors.NormalPrior(control.places[i], covariance)
            self.problem.add_residual_block(prior, loss, [place])
            for k in np.flatnonzero((control.point == i) & (photo >= 0)):
                camera = self.reconstruction.camera(int(block.camera_of[photo[k]]) + 1)
                cost = pycolmap.cost_functions.ReprojErrorCost(camera.model, mark, control.xy_px[k])
                pose = self._pose(int(photo[k])).params
                self.problem.add_residual_block(cost, loss, [place, pose, camera.params])

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


def height_above_ground_m(block: Block) -> float:
    """Return the median height of the cameras above the tie points they see."""
    return float(np.median(block.centres[block.photo, 2] - block.points[block.point, 2]))


def assess_vertical_scale(
    block: Block, known: Priors, weight: TieWeight, options: AdjustOptions
) -> VerticalScale:
    """Solve a block again at other focal lengths and tell how much worse it fits.

    With the cost ``c`` of tie points and positions, minimised over everything else, as a
    function of the focal length's fraction ``d``, the standard deviation of the scale from the
    block alone is ``s = d / sqrt(c(+d) - 2 c(0) + c(-d))``: the curvature of the profile
    likelihood.  `VerticalScale.sigma_scale` joins this with what is known of the lens.
    """
    shorter = adjust(block, known, weight, options, held_focal_factor=1 - STEP)
    longer = adjust(block, known, weight, options, held_focal_factor=1 + STEP)
    blocks = (shorter, block, longer)
    cost = [_cost(b, known, weight, options) for b in blocks]
    curvature = max(cost[0] - 2 * cost[1] + cost[2], 0.0) / STEP**2
    prior = sum(camera.focal_sigma**-2 for camera in known.cameras) / len(known.cameras)
    alone = curvature**-0.5 if curvature > 0 else np.inf
    log.info("vertical scale: %.1f %% from the block alone", 100 * alone)
    return VerticalScale(
        focal_factors=(1 - STEP, 1.0, 1 + STEP),
        # A stray point behind a camera at another focal length says nothing there.
        mean_residual_px=tuple(
            float(np.nanmean(np.linalg.norm(b.residuals(), axis=1))) for b in blocks
        ),
        height_agl_m=tuple(height_above_ground_m(b) for b in blocks),
        sigma_scale=float((curvature + prior) ** -0.5),
        weak=bool(alone > WEAK),
    )


def _cost(block: Block, known: Priors, weight: TieWeight, options: AdjustOptions) -> float:
    """Return half the weighted sum of squares of tie points and positions, as minimised."""
    squared = (block.residuals() ** 2).sum(axis=1)
    robust = np.log1p(squared / weight.loss_px**2)
    ties = weight.loss_px**2 * np.nansum(robust) / weight.sigma_px**2
    off: NDArray[np.float64] = (block.centres - known.positions) / known.position_sigmas
    distance = (off[np.isfinite(off).all(axis=1)] ** 2).sum(axis=1)
    gnss = options.gnss_loss_sigmas**2 * np.log1p(distance / options.gnss_loss_sigmas**2).sum()
    held = 0.0 if known.control is None else _control_cost(block, known.control, options)
    return float(ties + gnss + held) / 2


def _control_cost(block: Block, control: GroundControl, options: AdjustOptions) -> float:
    """Return the weighted sum of squares of control points and marks, as minimised."""
    held, scale = control.holding(block), options.control_loss_sigmas**2
    places = intersect(block, control, held=held)
    off: Float = ((places - control.places) / control.sigmas)[held]
    marks = mark_residuals(block, control, places)[held[control.point]] / MARK_SIGMA_PX
    squares = np.concatenate([(off**2).sum(axis=1), (marks**2).sum(axis=1)])
    return float(scale * np.log1p(squares[np.isfinite(squares)] / scale).sum())
