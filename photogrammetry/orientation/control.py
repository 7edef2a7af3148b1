"""A block held by ground control: laid on it, cleared of blunders, and told how far off it is.

Control points are points of the block with a place that is known beforehand, and marks are their
observations, weighed by their own accuracies.  Check points take no part: they are intersected from
the finished block.  What a control point would be off by, had it been a check point, is found by
adjusting without it.

References
----------
Förstner, W., Wrobel, B. P. (2016). Photogrammetric Computer Vision, sections 13.3 (triangulation)
and 15.4 (control points).
Sanz-Ablanedo, E., Chandler, J. H., Rodríguez-Pérez, J. R., Ordóñez, C. (2018). Accuracy of UAV and
SfM photogrammetric survey as a function of the number and location of ground control points used.
Remote Sensing 10(10): residuals of control points tell too little; check points are needed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photogrammetry.orientation.block import (
    Block,
    Similarity,
    fit_similarity,
    fit_similarity_robustly,
    pixel_by_cam,
)
from tmp.errors import OrientationError
from tmp.geo.control import LEAST_MARKS, LEAST_POINTS, Control, Role
from tmp.geo.frames import LocalFrame

log = logging.getLogger(__name__)
Float = NDArray[np.float64]
Int = NDArray[np.int64]
Mask = NDArray[np.bool_]

MARK_SIGMA_PX = 1.0
"""Standard deviation of each coordinate of a mark, set by hand or found."""
STEPS = 8
FOREIGN_M, FOREIGN_SHARE = 20.0, 0.1
"""Distance from where positions and the other points expect a point, in metres and as a share of
the points' extent, beyond which it is another point, or wrongly typed."""
BLUNDER_SPREADS = 5.0
LEAST_BLUNDER_PX = 6.0
"""Distance from where the other photographs see a point below which no mark is a blunder."""
LEAST_BLUNDER = 0.01
"""Distance from its place, as a share of the flying height, below which no point is a blunder."""
MOST_FOLDS = 10
"""Times that a block is adjusted without some of its control points."""
MOST_PHOTOGRAPHS = 300
"""Beyond them it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundControl:
    """Points C with a known place and their K marks."""

    names: tuple[str, ...]
    places: Float
    """World, (C, 3)."""
    sigmas: Float
    """Standard deviations, metres, (C, 3)."""
    check: Mask
    """Which only check, (C,)."""
    point: Int
    """Point of each mark, (K,)."""
    photographs: tuple[str, ...]
    """Photograph of each mark, by name, K of them."""
    xy_px: Float
    """Image coordinates, full size, corner origin, (K, 2)."""

    @classmethod
    def of(cls, control: Control, frame: LocalFrame) -> GroundControl:
        """Bring the control of a survey into the world of a frame with a place."""
        assert frame.crs is not None
        number = {point.name: i for i, point in enumerate(control.points)}
        return cls(
            names=tuple(number),
            places=frame.world_from_map(control.on_map(frame.crs)),
            sigmas=np.array([(p.sigma_m, p.sigma_m, p.height_sigma_m) for p in control.points]),
            check=np.array([p.role is Role.CHECK for p in control.points]),
            point=np.array([number[mark.point] for mark in control.marks], np.int64),
            photographs=tuple(mark.photograph for mark in control.marks),
            xy_px=np.array([(m.x_px, m.y_px) for m in control.marks], float).reshape(-1, 2),
        )

    def photo_in(self, block: Block) -> Int:
        """Return the index in a block of the photograph of each mark, (K,); -1 where it is not."""
        number = {name: i for i, name in enumerate(block.names)}
        return np.array([number.get(name, -1) for name in self.photographs], np.int64)

    def holding(self, block: Block) -> Mask:
        """Tell which points hold a block: no check points, and marked in two of its photographs."""
        marks = np.bincount(self.point[self.photo_in(block) >= 0], minlength=len(self.names))
        return np.asarray(~self.check & (marks >= LEAST_MARKS))

    def without_marks(self, dropped: Mask) -> GroundControl:
        """Return it without some of its marks, (K,)."""
        photographs = np.array(self.photographs, object)[~dropped]
        return replace(
            self,
            point=self.point[~dropped],
            photographs=tuple(photographs),
            xy_px=self.xy_px[~dropped],
        )

    def checking(self, points: Mask) -> GroundControl:
        """Return it with some more points (C,) that only check."""
        return replace(self, check=self.check | points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Control in use, and what was found to be wrong with what was given."""

    control: GroundControl
    given: GroundControl
    blunders: tuple[str, ...] = ()
    """Points that were left out, by name."""
    wrong_marks: tuple[tuple[str, str, float], ...] = ()
    """Point, photograph and distance in pixels of marks that were left out."""

    def judged(self, block: Block) -> Held:
        """Return it without the blunders that an adjusted block, in the world, shows.

        Raises `OrientationError` if too little is left.
        """
        control, off_px = self.control, _mark_errors(block, self.control)
        wrong = _worst_marks(control, off_px)
        marks = [
            (control.names[control.point[k]], control.photographs[k], float(off_px[k]))
            for k in np.flatnonzero(wrong)
        ]
        control = control.without_marks(wrong)
        points = _blunders(block, control)
        for name, photograph, off in marks:
            log.warning("mark of %s in %s is %.0f px off: left out", name, photograph, off)
        judged = replace(
            self,
            control=control.checking(points),
            blunders=self.blunders + _named(control, points),
            wrong_marks=self.wrong_marks + tuple(marks),
        )
        refuse_too_few(judged, block)
        return judged


def _named(control: GroundControl, points: Mask) -> tuple[str, ...]:
    names = tuple(control.names[i] for i in np.flatnonzero(points))
    for name in names:
        log.warning("control point %s contradicts the others: left out", name)
    return names


def hold(block: Block, given: GroundControl) -> tuple[Block, Held]:
    """Lay a block that lies roughly at its place, by positions, on its control.

    Raises `OrientationError` if fewer than three points are marked in two photographs of the block.
    """
    seen = intersect(block, given)
    off: Float = given.places - seen
    apart = np.zeros(len(given.names))
    known = np.isfinite(off).all(axis=1)
    if known.sum() >= LEAST_POINTS:
        middle = np.median(off[known], axis=0)
        apart = np.nan_to_num(np.linalg.norm(off - middle, axis=1))
    extent_m = float(np.linalg.norm(np.ptp(given.places[~given.check], axis=0)))
    foreign = (apart > max(FOREIGN_M, FOREIGN_SHARE * extent_m)) & ~given.check
    control = given.checking(foreign)
    held = Held(control=control, given=given, blunders=_named(given, foreign))
    holding = control.holding(block)
    refuse_too_few(held, block)
    similarity = _fit(seen[holding], control.places[holding])
    return block.transformed(similarity.scale, similarity.rotation, similarity.translation), held


def refuse_too_few(held: Held, block: Block) -> None:
    """Raise `OrientationError` if too few points hold a block."""
    holding = int(held.control.holding(block).sum())
    if holding >= LEAST_POINTS:
        return
    wrong = f"; left out as wrong: {', '.join(held.blunders)}" if held.blunders else ""
    raise OrientationError(
        f"{holding} of {int((~held.given.check).sum())} control points are marked in two or more "
        f"oriented photographs and agree with the others, and {LEAST_POINTS} are needed{wrong}; "
        "mark more with 'tmp control', or map without control by 'tmp control SURVEY --clear'"
    )


def _fit(source: Float, target: Float) -> Similarity:
    if len(source) == LEAST_POINTS:
        return fit_similarity(source, target)
    return fit_similarity_robustly(source, target)


def intersect(block: Block, control: GroundControl, *, held: Mask | None = None) -> Float:
    """Return where a block sees the points of control, in its frame, (C, 3).

    They fit the marks best, and their known places too where they are held (C,); NaN for those not
    held that fewer than two photographs show.
    """
    photo = control.photo_in(block)
    found = np.full((len(control.names), 3), np.nan)
    for i in range(len(control.names)):
        mine = np.flatnonzero((control.point == i) & (photo >= 0))
        prior = held is not None and bool(held[i])
        if len(mine) >= LEAST_MARKS or prior:
            known = (control.places[i], control.sigmas[i]) if prior else None
            found[i] = _intersected(block, photo[mine], control.xy_px[mine], known)
    return found


def _intersected(
    block: Block, photo: Int, xy_px: Float, known: tuple[Float, Float] | None
) -> Float:
    """Return the place (3,) that fits image coordinates (K, 2), and what is known, best."""
    place = _crossing(block, photo, xy_px) if known is None else known[0]
    for _ in range(STEPS):
        slope, miss = _linearised(block, photo, xy_px, place)
        normal = np.einsum("kia,kib->ab", slope, slope)
        right = np.einsum("kia,ki->a", slope, miss)
        if known is not None:
            normal += np.diag(known[1] ** -2)
            right += (known[0] - place) / known[1] ** 2
        if np.linalg.matrix_rank(normal) < 3:
            return np.full(3, np.nan)
        step = np.linalg.solve(normal, right)
        place = place + step
        if np.linalg.norm(step) < 1e-9 * max(float(np.linalg.norm(place)), 1.0):
            break
    return np.asarray(place)


def _linearised(block: Block, photo: Int, xy_px: Float, place: Float) -> tuple[Float, Float]:
    """Return derivatives of image coordinates by a place (K, 2, 3), and marked less projected.

    Both are in standard deviations of a mark; 0 where the place is behind the camera.
    """
    cam = block.rotations[photo] @ place + block.poses[photo, 4:]
    slope, miss = np.zeros((len(photo), 2, 3)), np.zeros((len(photo), 2))
    of_camera = block.camera_of[photo]
    for index in np.unique(of_camera):
        mine = of_camera == index
        camera = block.cameras[index]
        slope[mine] = pixel_by_cam(camera, cam[mine]) @ block.rotations[photo[mine]]
        miss[mine] = xy_px[mine] - camera.pixel_from_cam(cam[mine])
    behind = ~np.isfinite(miss).all(axis=1)
    slope[behind], miss[behind] = 0.0, 0.0
    return slope / MARK_SIGMA_PX, miss / MARK_SIGMA_PX


def _crossing(block: Block, photo: Int, xy_px: Float) -> Float:
    """Return the place (3,) nearest to the rays of image coordinates, in the least squares."""
    rays = np.empty((len(photo), 3))
    of_camera = block.camera_of[photo]
    for index in np.unique(of_camera):
        mine = of_camera == index
        rays[mine] = block.cameras[index].ray_from_pixel(xy_px[mine])
    rays = np.einsum("kji,kj->ki", block.rotations[photo], rays)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    across = np.eye(3) - rays[:, :, None] * rays[:, None]
    right = np.einsum("kij,kj->i", across, block.centres[photo])
    return np.asarray(np.linalg.lstsq(across.sum(axis=0), right, rcond=None)[0])


def mark_residuals(block: Block, control: GroundControl, places: Float) -> Float:
    """Return projected minus marked image coordinates for places (C, 3); NaN outside, (K, 2)."""
    photo = control.photo_in(block)
    found = np.full((len(photo), 2), np.nan)
    cam = np.einsum("kij,kj->ki", block.rotations[photo], places[control.point])
    cam += block.poses[photo, 4:]
    for index, camera in enumerate(block.cameras):
        mine = (photo >= 0) & (block.camera_of[photo] == index)
        found[mine] = camera.pixel_from_cam(cam[mine]) - control.xy_px[mine]
    return found


def _mark_errors(block: Block, control: GroundControl) -> Float:
    """Return how far each mark is from where the others of its point put it, pixels, (K,).

    NaN for marks of points that fewer than three photographs show: none can be told from another.
    The place without a mark is one step of the intersection away from that with it.
    """
    photo, places = control.photo_in(block), intersect(block, control)
    off = np.full(len(photo), np.nan)
    for i in range(len(control.names)):
        mine = np.flatnonzero((control.point == i) & (photo >= 0))
        if len(mine) < LEAST_MARKS + 1:
            continue
        slope, miss = _linearised(block, photo[mine], control.xy_px[mine], places[i])
        normal = np.einsum("kia,kib->ab", slope, slope)
        for k, mark in enumerate(mine):
            others = normal - slope[k].T @ slope[k]
            step = np.linalg.lstsq(others, slope[k].T @ miss[k], rcond=None)[0]
            off[mark] = MARK_SIGMA_PX * np.linalg.norm(miss[k] + slope[k] @ step)
    return off


def _worst_marks(control: GroundControl, off_px: Float) -> Mask:
    """Tell which marks are blunders: the worst of its point, far off by the measure of all."""
    wrong = np.zeros(len(off_px), np.bool_)
    if not np.isfinite(off_px).any():
        return wrong
    limit_px = max(LEAST_BLUNDER_PX, BLUNDER_SPREADS * float(np.nanmedian(off_px)))
    for i in range(len(control.names)):
        mine = np.flatnonzero((control.point == i) & np.isfinite(off_px))
        if len(mine):
            worst = mine[np.argmax(off_px[mine])]
            wrong[worst] = off_px[worst] > limit_px
    return wrong


def _blunders(block: Block, control: GroundControl) -> Mask:
    """Tell which points contradict the others: the worst of at least four, (C,)."""
    seen, wrong = intersect(block, control), np.zeros(len(control.names), np.bool_)
    holding = np.flatnonzero(control.holding(block) & np.isfinite(seen).all(axis=1))
    if len(holding) <= LEAST_POINTS:
        return wrong
    fitted = fit_similarity_robustly(seen[holding], control.places[holding])
    off: Float = np.linalg.norm(fitted(seen[holding]) - control.places[holding], axis=1)
    height_m = float(np.median(block.centres[:, 2]) - np.median(seen[holding, 2]))
    spread_m = 1.4826 * float(np.median(off))
    sigma_m = np.linalg.norm(control.sigmas[holding], axis=1)
    limit_m = np.maximum(
        BLUNDER_SPREADS * np.maximum(sigma_m, spread_m), LEAST_BLUNDER * abs(height_m)
    )
    worst = int(np.argmax(off / limit_m))
    wrong[holding[worst]] = off[worst] > limit_m[worst]
    return wrong


def left_out_errors(
    block: Block, control: GroundControl, solve: Callable[[GroundControl], Block]
) -> Float:
    """Return how far points (C, 3) would be off, seen less given, had each only checked.

    `solve` adjusts the block with the control given.  NaN for points that do not hold it, where
    too few would be left, and for blocks too large to be adjusted so often.
    """
    off = np.full((len(control.names), 3), np.nan)
    holding = np.flatnonzero(control.holding(block))
    if len(holding) <= LEAST_POINTS or len(block.names) > MOST_PHOTOGRAPHS:
        return off
    folds = min(len(holding), MOST_FOLDS)
    for fold in range(folds):
        mine = holding[fold::folds]
        out = np.zeros(len(control.names), np.bool_)
        out[mine] = True
        few = control.checking(out)
        off[mine] = (intersect(solve(few), few) - control.places)[mine]
    return off


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlFit:
    """How a finished block agrees with its control."""

    held: Held
    off_m: Float
    """Place seen less given: held points after the adjustment, others intersected, (C, 3)."""
    left_out_m: Float
    """Of held points, had each only checked, (C, 3)."""
    residual_px: Float
    """Mean distance of each point's marks from where the block shows it, (C,)."""
    marks: Int
    """Photographs of the block that show each point, (C,)."""
    positions_off_m: tuple[tuple[str, tuple[float, float, float]], ...]
    """Flight, and by how much its recorded positions lay off: east, north, up."""

    def errors_m(self) -> Float:
        """Return what checks the map: check points, and held ones as if they were, (P, 3)."""
        control = self.held.control
        given = self.held.given
        checks = self.off_m[given.check]
        found = np.vstack([checks, self.left_out_m[~control.check]])
        return found[np.isfinite(found).all(axis=1)]

    def document(self) -> dict[str, Any]:
        """Return it as plain values."""
        held, control = self.held, self.held.given
        holding = ~held.control.check

        def triple(row: Float) -> list[float] | None:
            return [round(float(v), 4) for v in row] if np.isfinite(row).all() else None

        points = [
            {
                "name": name,
                "role": str(Role.CHECK if control.check[i] else Role.CONTROL),
                "used": bool(holding[i] and self.marks[i] >= LEAST_MARKS),
                "photographs": int(self.marks[i]),
                "sigma_m": [float(v) for v in control.sigmas[i]],
                "off_m": triple(self.off_m[i]),
                "left_out_m": triple(self.left_out_m[i]),
                "residual_px": None
                if np.isnan(self.residual_px[i])
                else round(float(self.residual_px[i]), 2),
            }
            for i, name in enumerate(control.names)
        ]
        return {
            "points": points,
            "rmse_control_m": rmse(self.off_m[holding]),
            "rmse_check_m": rmse(self.off_m[control.check]),
            "rmse_left_out_m": rmse(self.left_out_m[holding]),
            "blunders": list(held.blunders),
            "wrong_marks": [list(mark) for mark in held.wrong_marks],
            "positions_off_m": {flight: list(off) for flight, off in self.positions_off_m},
            "sigma_m": self.place_sigmas_m(),
        }

    def place_sigmas_m(self) -> list[float]:
        """Return standard deviations of the map's place, horizontal (one axis) and up."""
        control = self.held.control
        count = max(int((~control.check).sum()), 1)
        errors = self.errors_m()
        errors = errors if len(errors) else self.off_m[~control.check]
        errors = errors[np.isfinite(errors).all(axis=1)]
        given = np.median(control.sigmas, axis=0)
        level = np.hypot(given[0], np.sqrt(np.mean(errors[:, :2] ** 2)) if len(errors) else 0.0)
        up = np.hypot(given[2], np.sqrt(np.mean(errors[:, 2] ** 2)) if len(errors) else 0.0)
        return [float(level / np.sqrt(count)), float(up / np.sqrt(count))]


def rmse(off_m: Float) -> list[float] | None:
    """Return root mean squares of errors (P, 3): horizontal, radial, and vertical; None of none."""
    known = off_m[np.isfinite(off_m).all(axis=1)]
    if len(known) == 0:
        return None
    squares = (known**2).mean(axis=0)
    return [round(float(np.sqrt(squares[0] + squares[1])), 4), round(float(np.sqrt(squares[2])), 4)]


def assess_control(
    block: Block,
    held: Held,
    *,
    solve: Callable[[GroundControl], Block],
    positions_off: Sequence[tuple[str, Float]],
) -> ControlFit:
    """Tell how a finished block agrees with its control; see `left_out_errors`."""
    control = held.control
    places = intersect(block, control, held=control.holding(block))
    residual = np.linalg.norm(mark_residuals(block, control, places), axis=1)
    shown = control.point[np.isfinite(residual)]
    marks = np.bincount(shown, minlength=len(control.names))
    total = np.bincount(shown, residual[np.isfinite(residual)], minlength=len(control.names))
    mean = np.divide(total, marks, out=np.full(len(marks), np.nan), where=marks > 0)
    return ControlFit(
        held=held,
        off_m=places - control.places,
        left_out_m=left_out_errors(block, control, solve),
        residual_px=mean,
        marks=marks,
        positions_off_m=tuple(
            (flight, (float(off[0]), float(off[1]), float(off[2]))) for flight, off in positions_off
        ),
    )
