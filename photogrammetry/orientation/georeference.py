"""From the frame a block grew in to that of the survey: place, heading, scale and level.

Positions may belong to the photograph before or after: clocks disagree, receivers lag.  A drone
that flies up and down shows it.  Positions that come late lie ahead of the cameras on one line and
behind them, seen on the map, on the next; no shift of the whole block explains both.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from photogrammetry.orientation.block import Block, fit_level_similarity
from photogrammetry.orientation.priors import BELIEVED_SIGMAS, GIMBAL, Priors, Vertical, as_one
from tmp.captures import HeightUse
from tmp.errors import OrientationError

log = logging.getLogger(__name__)
Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

ASSUMED_HEIGHT = 100.0
"""Height of the cameras above the ground of a block whose scale nothing is known of."""
COLLINEAR = 0.03
"""Spread across a line of positions over the spread along it, below which it fixes no tilt."""
LEAST_SPREAD_M = 1e-3
"""Standard deviation of positions below which they are one place."""
LEAST_RELATIVE = 0.8
"""Share of the photographs that must have a height above take-off for it to be used."""
RELATIVE_SIGMA_M = 2.0
"""Standard deviation of a barometric height above take-off, drift over a flight included."""
UNUSED_SIGMA_M = 1e3
"""Standard deviation of a height that is not used; not infinite, so that the block has a place."""
LEAST_OBSERVED = 6
"""Positions from which on their scatter says something of their quality."""
INDEPENDENT = 9
"""Positions of consumer receivers that count as independent of each other."""
RTK_SIGMA_M = 0.3
"""Horizontal standard deviation below which a position is a fixed or float RTK solution's."""
LEAST_PHOTOGRAPHS = 16
MOST_SLIP, COARSE, FINE = 3.0, 0.25, 0.05
"""Photographs that positions may be early or late, and steps in which that is sought."""
LEAST_GAIN = 0.5
"""Residual with the slip over that without it, up to which the slip is real."""
LONGEST_STEP = 3.0
"""Steps longer than this many times the median one are not flown between two photographs."""
UP = np.array([0.0, 0.0, 1.0])


class HeightSource(StrEnum):
    """Which heights a block was placed by."""

    GNSS = "GNSS"
    RELATIVE = "above take-off"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeightVerdict:
    """How recorded heights compare with a block that was laid down level."""

    plausible: bool
    slope: Float
    """Metres that the heights ask the block to rise for each metre east and north, (2,)."""
    joined_slope: Float
    """The same, joined with the block's vertical by their weights."""
    tilt_deg: float
    """Tilt that the heights ask for."""
    range_m: float
    """Between the heights' 2nd and 98th percentile of differences from the block."""
    scatter_m: float
    """Standard deviation, robust, about the plane that fits the differences best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A block in the world, and what holds it there from now on."""

    block: Block
    known: Priors
    """Positions, standard deviations and rotations as they are to be weighed."""
    vertical: Vertical
    """As estimated without positions, in the frame the block came in."""
    heights: HeightSource
    judged: HeightVerdict
    slip: float
    """Photographs by which the positions were late, and have been set back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmness:
    """How firmly a block is placed."""

    scatter_m: tuple[float, float]
    """Standard deviation, robust, of the positions about the block: level axes and up."""
    tilt_sigma_deg: float
    """Standard deviation of the block's tilt, with all that is known."""
    scale_sigma: float
    """Standard deviation of its horizontal scale, as a fraction."""


def georeference(
    block: Block,
    known: Priors,
    vertical: Vertical,
    *,
    heights: HeightUse = HeightUse.AUTO,
    relative: Float | None = None,
    order: NDArray[np.int64] | None = None,
) -> Placement:
    """Bring a block into the world of its GNSS positions.

    Its vertical was found without them; `heights` says whether theirs give the block its tilt. The
    relative heights (N,) count from a level of their own (take-off), NaN where unknown, and take
    the place of heights that are not believed. The order (N,) is that in which photographs were
    taken; as they are, if not given.

    Raises `OrientationError` with fewer than two positions, or all of them at one place.

    Positions and heights are judged apart, because receivers are worse in height and because
    heights that drift lean the whole block.  The block is first laid down level, by its vertical,
    on the horizontal positions.  The plane through what then remains of the heights is the tilt
    they ask for.  Where it is more than three standard deviations (of the vertical, and of a plane
    through such heights) the heights do not belong to this block, and it stays level.  Otherwise
    it is tilted by as much of it as the weights of both allow.
    """
    placed = _placed(known)
    target = known.positions[placed]
    spread = _spread(target[:, :2])
    if len(target) < 2 or spread[0] < LEAST_SPREAD_M:
        raise OrientationError(
            f"{int(placed.sum())} of {len(placed)} oriented photographs have a position of their "
            "own; two at different places are needed to place the block"
        )
    level_block = _lay_level(block, placed, target, vertical.up)
    order = np.arange(len(placed)) if order is None else order
    slip = estimate_slip(level_block.centres, known.positions, order)
    if slip:
        log.warning("positions are late by %.2f photographs: set back", slip)
        known = _set_back(known, level_block, order, slip)
        target = known.positions[placed]
        level_block = _lay_level(block, placed, target, vertical.up)
    stated_m = float(np.median(known.position_sigmas[placed, 2]))
    judged = _judge_heights(level_block.centres[placed], target[:, 2], stated_m, vertical.sigma_deg)
    believed = heights is HeightUse.TRUST or (heights is HeightUse.AUTO and judged.plausible)
    if believed:
        slope = judged.slope if heights is HeightUse.TRUST else judged.joined_slope
        world_from_block = level_block.rotations[0].T @ block.rotations[0]
        up = world_from_block.T @ np.array([*slope, 1.0])
        found, source = _lay_level(block, placed, target, up), HeightSource.GNSS
    else:
        log.warning("recorded heights ask for a tilt of %.1f degrees: not used", judged.tilt_deg)
        found, source = level_block, HeightSource.NONE
        if relative is not None and np.isfinite(relative).mean() >= LEAST_RELATIVE:
            flown = np.isfinite(relative)
            second = _judge_heights(
                found.centres[flown], relative[flown], RELATIVE_SIGMA_M, vertical.sigma_deg
            )
            source = HeightSource.RELATIVE if second.plausible else HeightSource.NONE
        known = _with_heights(found, known, source, relative)
    if GIMBAL not in vertical.evidence:
        known = replace(known, rotations=_upright(found, block, vertical))
    return Placement(
        block=found,
        known=replace(known, tilt_sigmas_deg=as_one(vertical.sigma_deg, known.rotations)),
        vertical=vertical,
        heights=source,
        judged=judged,
        slip=slip,
    )


def _judge_heights(
    centres: Float, heights_m: Float, stated_sigma_m: float, vertical_sigma_deg: float
) -> HeightVerdict:
    """Judge recorded heights (N,) against projection centres (N, 3) of a level block, world.

    Given are their stated standard deviation and that of the block's vertical.
    """
    off = heights_m - centres[:, 2]
    level = centres[:, :2] - np.median(centres[:, :2], axis=0)
    _, _, axes = np.linalg.svd(level - level.mean(axis=0), full_matrices=False)
    spread = _spread(level)
    count = 1 if len(off) < 4 or spread[1] < COLLINEAR * spread[0] else 2
    along = level @ axes[:count].T
    rises, scatter_m = _fit_slope(along, off)
    noise_m = max(scatter_m, stated_sigma_m)
    sigmas_deg = np.degrees(np.arctan(noise_m / (np.sqrt(len(off)) * spread[:count])))
    tilts_deg = np.degrees(np.arctan(np.abs(rises)))
    limits_deg = BELIEVED_SIGMAS * np.hypot(sigmas_deg, vertical_sigma_deg)
    weights = vertical_sigma_deg**2 / (vertical_sigma_deg**2 + sigmas_deg**2)
    return HeightVerdict(
        plausible=bool((tilts_deg <= limits_deg).all()),
        slope=rises @ axes[:count],
        joined_slope=(weights * rises) @ axes[:count],
        tilt_deg=float(np.degrees(np.arctan(np.linalg.norm(rises)))),
        range_m=float(np.ptp(np.percentile(off, [2, 98]))),
        scatter_m=scatter_m,
    )


def level(block: Block, vertical: Vertical) -> Block:
    """Bring a block without positions into a frame where its vertical points up.

    The tie points' median lies at zero and the cameras `ASSUMED_HEIGHT` above it.
    """
    turned = block.transformed(1.0, _turn(vertical.up, UP), np.zeros(3))
    ground = np.median(turned.points, axis=0)
    scale = ASSUMED_HEIGHT / max(float(np.median(turned.centres[:, 2]) - ground[2]), 1e-9)
    return turned.transformed(scale, np.eye(3), -scale * ground)


def _set_back(known: Priors, block: Block, order: NDArray[np.int64], slip: float) -> Priors:
    """Move positions that are late back along the flight, by the block's own shape."""
    placed = _placed(known)
    late = centres_later(block.centres, order, slip)
    scale, heading_rad, _ = fit_level_similarity(late[placed, :2], known.positions[placed, :2])
    turn = scale * _about_up(heading_rad)[:2, :2]
    positions = known.positions.copy()
    positions[:, :2] -= (late - block.centres)[:, :2] @ turn.T
    positions[:, 2] -= scale * (late - block.centres)[:, 2]
    return replace(known, positions=positions)


def _lay_level(block: Block, placed: Mask, target: Float, up: Float) -> Block:
    """Lay a block down by its up direction (3,), and by the horizontal positions."""
    turned = block.transformed(1.0, _turn(up, UP), np.zeros(3))
    centres = turned.centres[placed]
    scale, heading_rad, shift = fit_level_similarity(centres[:, :2], target[:, :2])
    rise = float(np.median(target[:, 2] - scale * centres[:, 2]))
    return turned.transformed(scale, _about_up(heading_rad), np.array([*shift, rise]))


def _about_up(heading_rad: float) -> Float:
    """Return the rotation (3, 3) by a heading."""
    cosine, sine = np.cos(heading_rad), np.sin(heading_rad)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def estimate_slip(centres: Float, positions: Float, order: NDArray[np.int64]) -> float:
    """Return by how many photographs positions are late; 0 where nothing says so.

    Projection centres (N, 3) are those of a level block, at any scale, heading and place; recorded
    positions (N, 3) are NaN where there is none; `order` (N,) is that in which photographs were
    taken.

    Of all slips the one is sought whose centres, that many photographs later, fit the positions
    best by a level similarity.  It is believed where it halves the residuals.
    """
    placed = np.isfinite(positions).all(axis=1)
    if placed.sum() < LEAST_PHOTOGRAPHS:
        return 0.0

    def misfit(slip: float) -> float:
        source = centres_later(centres, order, slip)[placed, :2]
        target = positions[placed, :2]
        scale, heading_rad, shift = fit_level_similarity(source, target, trials=50)
        turn = scale * np.exp(1j * heading_rad)
        off = turn * (source @ [1, 1j]) + shift @ [1, 1j] - target @ [1, 1j]
        return float(np.sqrt(np.mean(np.minimum(np.abs(off), 3 * np.median(np.abs(off))) ** 2)))

    without = misfit(0.0)
    if without <= 0:
        return 0.0
    coarse = np.arange(-MOST_SLIP, MOST_SLIP + COARSE / 2, COARSE)
    best = coarse[int(np.argmin([misfit(float(slip)) for slip in coarse]))]
    fine = best + np.arange(-COARSE, COARSE + FINE / 2, FINE)
    misfits = [misfit(float(slip)) for slip in fine]
    if min(misfits) > LEAST_GAIN * without:
        return 0.0
    return float(fine[int(np.argmin(misfits))])


def centres_later(centres: Float, order: NDArray[np.int64], later: float) -> Float:
    """Return where the cameras were some photographs later, (N, 3), between them on straight ways.

    Beyond the first and the last photograph, and across breaks of the flight, the camera is taken
    to have flown on as it did.
    """
    flown = centres[order]
    ahead = np.diff(flown, axis=0)
    length = np.linalg.norm(ahead, axis=1)
    whole = length < LONGEST_STEP * max(float(np.median(length)), 1e-9)
    found = np.empty_like(centres)
    for i, photo in enumerate(order):
        found[photo] = _fly(flown, ahead, whole, i, later)
    return found


def _fly(flown: Float, ahead: Float, whole: NDArray[np.bool_], start: int, later: float) -> Float:
    """Return the place a number of photographs after (or before) one of them."""
    place, left = flown[start], abs(later)
    direction = 1 if later > 0 else -1
    at, step = start, np.zeros(3)
    while left > 0:
        leg = at if direction > 0 else at - 1
        if 0 <= leg < len(ahead) and whole[leg]:
            step = direction * ahead[leg]
        elif not step.any():  # nothing flown before it: as on the other side
            other = at - 1 if direction > 0 else at
            if 0 <= other < len(ahead) and whole[other]:
                step = direction * ahead[other]
        part = min(left, 1.0)
        place = place + part * step
        left -= part
        at += direction
    return np.asarray(place)


def _fit_slope(along: Float, values: Float) -> tuple[Float, float]:
    """Fit values (N,) by a constant and slopes (K,) robustly; return them and the scatter."""
    design = np.column_stack([along, np.ones(len(along))])
    weights, solution, scatter = np.ones(len(values)), np.zeros(design.shape[1]), 0.0
    for _ in range(20):
        root = np.sqrt(weights)
        solution = np.linalg.lstsq(design * root[:, None], values * root, rcond=None)[0]
        residual = values - design @ solution
        scatter = 1.4826 * float(np.median(np.abs(residual - np.median(residual))))
        weights = 1 / (1 + (residual / max(2 * scatter, 1e-9)) ** 2)
    return solution[:-1], scatter


def weigh_positions(block: Block, known: Priors, stated: Priors) -> Priors:
    """Weigh positions by their scatter about an adjusted block where that is worse than stated.

    The block is adjusted, so that its deformation by a lens not yet known is not laid to the
    positions; `stated` has the standard deviations that they came with.
    """
    if _placed(known).sum() < LEAST_OBSERVED:
        return known
    level_m, up_m = _scatter(block, known)
    floor = np.array([level_m, level_m, up_m])
    return replace(known, position_sigmas=np.maximum(stated.position_sigmas, floor))


def assess_firmness(
    block: Block, known: Priors, placement: Placement, flights: Sequence[str]
) -> Firmness:
    """Return how firmly an adjusted block, each photograph of a flight, is placed.

    A slope through ``n`` heights of standard deviation ``s``, whose places spread by ``d``, has
    ``s / (d sqrt(n))``, and likewise the scale of horizontal positions.  Errors of one receiver in
    one flight are alike, so that no more than `INDEPENDENT` of its positions count; those of a
    fixed RTK solution are apart.  What all positions of a flight have in common shifts it against
    the others: an offset of ``s`` in each of several flights with shares ``w`` of the photographs
    and centres ``c`` off the middle gives a slope of ``s sqrt(sum (w c)²) / d²``.  Tilts by
    positions and by the vertical are joined.
    """
    placed = _placed(known)
    level_m, _, up_m = np.median(known.position_sigmas[placed], axis=0)
    places = known.positions[placed, :2] - known.positions[placed, :2].mean(axis=0)
    _, _, axes = np.linalg.svd(places, full_matrices=False)
    along = places @ axes.T
    spread = _spread(places)
    lever = _lever(along, [name for name, has in zip(flights, placed, strict=True) if has])
    most = placed.sum() if level_m < RTK_SIGMA_M else min(placed.sum(), INDEPENDENT)
    weight = placement.vertical.sigma_deg**-2
    if placement.heights is not HeightSource.NONE and placed.sum() >= 3:
        across = max(float(spread[-1]), COLLINEAR * float(spread[0]))
        slope = up_m * np.hypot(1 / (np.sqrt(most) * across), lever[-1] / across**2)
        weight += np.degrees(np.arctan(slope)) ** -2
    extent = float(np.linalg.norm(spread))
    scale = level_m * np.hypot(1 / (np.sqrt(most) * extent), np.linalg.norm(lever) / extent**2)
    return Firmness(
        scatter_m=_scatter(block, known),
        tilt_sigma_deg=float(weight**-0.5),
        scale_sigma=float(scale),
    )


def _lever(along: Float, flights: Sequence[str]) -> Float:
    """Return ``sqrt(sum (w c)²)`` over flights, for each axis of places (N, K), (K,)."""
    moments = np.zeros(along.shape[1])
    for flight in sorted(set(flights)):
        mine = np.array([name == flight for name in flights])
        moments += (mine.mean() * along[mine].mean(axis=0)) ** 2
    return np.asarray(np.sqrt(moments))


def _with_heights(
    block: Block, known: Priors, source: HeightSource, relative: Float | None
) -> Priors:
    """Return what is known of a level block's photographs without the GNSS heights."""
    placed = _placed(known)
    positions, sigmas = known.positions.copy(), known.position_sigmas.copy()
    positions[placed, 2] = block.centres[placed, 2]
    sigmas[:, 2] = UNUSED_SIGMA_M
    if source is HeightSource.RELATIVE and relative is not None:
        flown = placed & np.isfinite(relative)
        rise = float(np.median(block.centres[flown, 2] - relative[flown]))
        positions[flown, 2], sigmas[flown, 2] = relative[flown] + rise, RELATIVE_SIGMA_M
    return replace(known, positions=positions, position_sigmas=sigmas)


def _placed(known: Priors) -> Mask:
    return np.asarray(np.isfinite(known.positions).all(axis=1))


def _scatter(block: Block, known: Priors) -> tuple[float, float]:
    """Return the robust standard deviation of positions about a block, level axes and up."""
    off = (block.centres - known.positions)[_placed(known)]
    spread = 1.4826 * np.median(np.abs(off - np.median(off, axis=0)), axis=0)
    return float(np.hypot(spread[0], spread[1]) / np.sqrt(2)), float(spread[2])


def _spread(points: Float) -> Float:
    """Return the standard deviations of points (N, K) along their principal axes, (K,)."""
    singular = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return np.asarray(singular / np.sqrt(max(len(points), 1)))


def _upright(block: Block, before: Block, vertical: Vertical) -> Float:
    """Return the rotations (N, 3, 3) of a placed block if its vertical pointed up.

    `before` is the same block in the frame of the vertical.
    """
    rotations = block.rotations
    world_from_before = rotations[0].T @ before.rotations[0]
    return np.asarray(rotations @ _turn(world_from_before @ vertical.up, UP).T)


def _turn(from_direction: Float, to_direction: Float) -> Float:
    """Return the smallest rotation (3, 3) that takes one direction to another."""
    a = from_direction / np.linalg.norm(from_direction)
    b = to_direction / np.linalg.norm(to_direction)
    axis, cosine = np.cross(a, b), float(a @ b)
    if cosine < -1 + 1e-12:  # opposite: half a turn about any axis across
        across = np.cross(a, [1.0, 0.0, 0.0] if abs(a[0]) < 0.9 else [0.0, 1.0, 0.0])
        across /= np.linalg.norm(across)
        return np.asarray(2 * np.outer(across, across) - np.eye(3))
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + skew + skew @ skew / (1 + cosine))
