"""Place a block in the world and adjust it until it rests: rounds, weights and outliers.

A gap in the flight, or water, parts a survey into pieces that no tie point joins.  All of them have
positions, so they lie in one world, each to the accuracy of its own.  What the smaller ones lack, a
firm scale above all, is taken from the largest: drones fly one survey at one height.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from photogrammetry.orientation.adjust import (
    AdjustOptions,
    TieWeight,
    adjust,
    assess_vertical_scale,
    height_above_ground_m,
)
from photogrammetry.orientation.block import Block, merge
from photogrammetry.orientation.control import (
    ControlFit,
    GroundControl,
    Held,
    assess_control,
    hold,
)
from photogrammetry.orientation.georeference import (
    Firmness,
    HeightSource,
    Placement,
    assess_firmness,
    georeference,
    level,
    weigh_positions,
)
from photogrammetry.orientation.priors import (
    FlyingHeight,
    Priors,
    collect_known,
    compare_flying_height,
    estimate_vertical,
    held_in_place,
    with_doubted_lens,
    with_flying_height,
)
from tmp.cameras import Camera
from tmp.captures import Capture, HeightUse
from tmp.errors import OrientationError
from tmp.geo.control import Control
from tmp.geo.frames import LocalFrame
from tmp.progress import Track, silent
from tmp.reconstruction import VerticalScale

log = logging.getLogger(__name__)
Float = NDArray[np.float64]
LOOSE = 1e-3
"""Residual, as a fraction of the long side, that the first round lets pass: the lens is not
yet known."""
ROUNDS = 3
STRAY_ANGLE_DEG = 0.1
"""Angle between the widest rays to a tie point under which it is as good as infinitely far."""
HASTY = 1e-4
"""Tolerance of all rounds but the last."""
LEAST_PHOTOGRAPHS = 3
MOST_HIGHER = 0.7
"""Share of the flying height by which a piece may be flown higher or lower than the block."""
MOST_STRETCH = 1.5
"""Flying height of a piece against the block's, or its inverse, beyond which they contradict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineOptions:
    """How tie points are weighed and which are dropped."""

    adjustment: AdjustOptions = field(default_factory=AdjustOptions)
    common_error_share: float = 0.02
    """Share of the variance of a tie point's residual that it has in common with the others of
    its photograph: lens, shutter, light.  Because of it n observations weigh less than n."""
    min_ray_angle_deg: float = 1.5
    """Tie points seen under a smaller angle are dropped."""
    outlier_spreads: float = 4.0
    """Observations further off than this many times the spread of all are dropped."""
    assess_scale: bool = True
    """Whether to solve again at other focal lengths and tell how firm the vertical scale is."""
    heights: HeightUse = HeightUse.AUTO
    """Whether recorded GNSS heights give the block its tilt."""
    position_sigma_m: tuple[float, float] | None = None
    """Standard deviation of all positions, horizontal and vertical; None for those recorded."""
    control: Control = field(default_factory=Control)
    """Points on the ground that hold the block, or only check it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """An adjusted block with what it was adjusted to."""

    block: Block
    known: Priors
    """As recorded; positions are NaN where the block has no place on Earth."""
    weighed: Priors
    """As it was believed in the last adjustment."""
    placement: Placement | None
    """How the block came to its place; None where it has none."""
    firmness: Firmness | None
    """How firmly it is placed; None where it has no place."""
    pieces: PlacedPieces
    """What was laid beside the largest piece, and what could not be."""
    flown: FlyingHeight | None
    """Flying height as recorded and as solved; None where they cannot be compared."""
    frame: LocalFrame
    sigma_px: float
    """Standard deviation of an image coordinate, the unknowns allowed for."""
    dropped: int
    """Observations taken for outliers."""
    scale: VerticalScale | None
    control: ControlFit | None = None
    """How the block agrees with its control; None without any."""


def refine(
    blocks: Sequence[Block],
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera],
    frame: LocalFrame,
    *,
    options: RefineOptions,
    threads: int,
    track: Track = silent,
) -> Solution:
    """Place a block in the world, other pieces beside it, and adjust all in three rounds.

    The first round finds the lens, robustly; the second has weights from what the first left,
    and the flying height; the third is free of outliers.  Where there is ground control, the block
    is laid on it first, and what a flight's recorded positions are off by in common is set right.

    Blocks are pieces that share nothing, the largest first; the others are laid beside it where
    they have positions that allow it.  Cameras are those of the metadata, by camera id.
    """
    by_name = {capture.name: capture for capture in captures}

    def captures_of(block: Block) -> list[Capture]:
        return [by_name[name] for name in block.names]

    def recorded_of(block: Block) -> Priors:
        return _recorded(captures_of(block), cameras, frame, options)

    start, placement, recorded = _place(blocks, captures_of, recorded_of, options.heights)
    mine = captures_of(start.block)
    flights = [capture.flight for capture in mine]
    block, known, held = _hold(start, placement, options.control, frame, flights)
    settings = replace(options.adjustment, threads=threads)
    first = block.cameras[0]
    loose_px = LOOSE * max(first.width_px, first.height_px) / 2
    weight = weigh(block, options, sigma_px=loose_px)
    hasty = replace(settings, tolerance=HASTY)
    for number in track(range(ROUNDS), "Adjusting the block", ROUNDS):
        last = number == ROUNDS - 1
        block = adjust(block, known, weight, settings if last else hasty)
        block = _without_strays(block) if last else without_outliers(block, options)
        weight = weigh(block, options)
        if held is not None:
            held = held if last else held.judged(block)
            known = replace(_recentred(block, known, flights), control=held.control)
        if placement is not None:
            known = _lens_told(number, known, recorded, block, mine)
            known = weigh_positions(block, known, start.known)
    flown, firmness = _firmness(block, known, placement, mine)
    fit = None
    if held is not None:
        weighing = weight, hasty
        fit = _assess_control(
            held, block, known, weighing, _positions_off(block, recorded, flights)
        )
    scale = None
    if options.assess_scale:
        scale = assess_vertical_scale(block, known, weight, settings)
        scale = _doubted(scale, flown, block, recorded)
    return Solution(
        block=block,
        known=recorded,
        weighed=known,
        placement=placement,
        firmness=firmness,
        pieces=start,
        flown=flown,
        frame=frame if placement is not None else LocalFrame(origin=None, crs=None),
        sigma_px=observation_sigma_px(block),
        dropped=len(start.block.photo) - len(block.photo),
        scale=scale,
        control=fit,
    )


def _hold(
    start: PlacedPieces,
    placement: Placement | None,
    control: Control,
    frame: LocalFrame,
    flights: Sequence[str],
) -> tuple[Block, Priors, Held | None]:
    """Lay a placed block on its control; returns what is known with it, and the control in use."""
    block, known = start.block, start.known
    if not control:
        return replace(block, cameras=known.cameras), known, None
    if placement is None:
        raise OrientationError(
            "ground control cannot yet take the place of positions, which the photographs lack; "
            "map without it by 'tmp control SURVEY --clear'"
        )
    block, held = hold(block, GroundControl.of(control, frame))
    known = replace(_recentred(block, known, flights), control=held.control)
    return replace(block, cameras=known.cameras), known, held


def _lens_told(
    number: int, known: Priors, recorded: Priors, block: Block, captures: Sequence[Capture]
) -> Priors:
    """Return what is known of the lens after a round: from the flying height, then doubted."""
    if number == 0:
        return with_flying_height(known, block, captures)
    return with_doubted_lens(known, recorded, block, captures) if number == 1 else known


def _firmness(
    block: Block, known: Priors, placement: Placement | None, captures: Sequence[Capture]
) -> tuple[FlyingHeight | None, Firmness | None]:
    """Return flying height and firmness of an adjusted block; None for one without a place."""
    if placement is None:
        return None, None
    firmness = assess_firmness(block, known, placement, [capture.flight for capture in captures])
    if known.control is not None:
        firmness = _firmer(firmness, known.control)
    return compare_flying_height(known, block, captures), firmness


def _assess_control(
    held: Held,
    block: Block,
    known: Priors,
    weighing: tuple[TieWeight, AdjustOptions],
    positions_off: Sequence[tuple[str, Float]],
) -> ControlFit:
    weight, options = weighing

    def solve(control: GroundControl) -> Block:
        return adjust(block, replace(known, control=control), weight, options)

    return assess_control(block, held, solve=solve, positions_off=positions_off)


def _recentred(block: Block, known: Priors, flights: Sequence[str]) -> Priors:
    """Return what is known with the positions of each flight moved to the block as a whole.

    Errors of one receiver in one flight are alike, and control knows the place better.
    """
    positions = known.positions.copy()
    for flight, off in _positions_off(block, known, flights):
        positions[[name == flight for name in flights]] -= off
    return replace(known, positions=positions)


def _positions_off(
    block: Block, known: Priors, flights: Sequence[str]
) -> list[tuple[str, NDArray[np.float64]]]:
    """Return each flight and what its positions are off by in common, east, north, up (3,)."""
    off: Float = known.positions - block.centres
    placed, found = np.isfinite(off).all(axis=1), []
    for flight in sorted(set(flights)):
        mine = placed & np.array([name == flight for name in flights])
        if mine.any():
            found.append((flight, np.median(off[mine], axis=0)))
    return found


def _firmer(firmness: Firmness, control: GroundControl) -> Firmness:
    """Return how firmly a block is placed with its control counted.

    A slope through points of standard deviation ``s`` whose places spread by ``d`` has
    ``s / (d sqrt(n))``, and so has the scale.
    """
    places = control.places[~control.check]
    level_m, _, up_m = np.median(control.sigmas[~control.check], axis=0)
    spread = np.linalg.svd(places[:, :2] - places[:, :2].mean(axis=0), compute_uv=False)
    tilt_deg = float(np.degrees(np.arctan(up_m / spread[-1])))
    scale = float(level_m / np.linalg.norm(spread))
    return replace(
        firmness,
        tilt_sigma_deg=float((firmness.tilt_sigma_deg**-2 + tilt_deg**-2) ** -0.5),
        scale_sigma=float((firmness.scale_sigma**-2 + scale**-2) ** -0.5),
    )


def _place(
    blocks: Sequence[Block],
    captures_of: Callable[[Block], list[Capture]],
    recorded_of: Callable[[Block], Priors],
    heights: HeightUse,
) -> tuple[PlacedPieces, Placement | None, Priors]:
    """Place the largest piece and lay the others beside it; level it alone without positions.

    With them comes what is recorded of their photographs.
    """
    block, mine = blocks[0], captures_of(blocks[0])
    recorded = recorded_of(block)
    vertical = estimate_vertical(block, recorded.rotations)
    if int(np.isfinite(recorded.positions).all(axis=1).sum()) < 2:
        block = level(block, vertical)
        recorded = replace(recorded, positions=np.full_like(recorded.positions, np.nan))
        return PlacedPieces(block=block, known=held_in_place(recorded, block)), None, recorded
    placement = georeference(
        block,
        recorded,
        vertical,
        heights=heights,
        relative=_relative_heights(mine),
        order=_order_taken(mine),
    )
    placed = place_pieces(
        placement, blocks[1:], recorded_of, lambda piece: _relative_heights(captures_of(piece))
    )
    return placed, placement, recorded_of(placed.block)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedPieces:
    """A block with what was laid beside it."""

    block: Block
    known: Priors
    """Of its photographs, in its order."""
    beside: tuple[tuple[str, ...], ...] = ()
    """Photographs of each piece laid beside."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why a piece was not, by photograph."""


def place_pieces(
    placement: Placement,
    pieces: Sequence[Block],
    recorded: Callable[[Block], Priors],
    relative: Callable[[Block], Float],
) -> PlacedPieces:
    """Lay pieces, in frames of their own, beside a placed block; no photograph is in two.

    What is recorded of a piece's photographs, and their heights above take-off (NaN where
    unknown), are given in its order.
    """
    block, known = placement.block, placement.known
    level = HeightUse.AUTO if placement.heights is HeightSource.GNSS else HeightUse.IGNORE
    beside: list[tuple[str, ...]] = []
    refused: dict[str, str] = {}
    for piece in pieces:
        found = _lay(placement.block, piece, recorded(piece), relative(piece), level)
        if isinstance(found, str):
            refused |= dict.fromkeys(piece.names, found)
            continue
        whole = merge(replace(block, track=block.track[:0]), found.block)
        known = _combined(whole, (block, known), (found.block, found.known))
        block = whole
        beside.append(piece.names)
        log.info("a piece of %d photographs laid beside the block", len(piece.names))
    return PlacedPieces(block=block, known=known, beside=tuple(beside), refused=refused)


def _lay(
    block: Block, piece: Block, recorded: Priors, relative: Float, heights: HeightUse
) -> Placement | str:
    """Place a piece, or say why it cannot lie beside the block."""
    others = len(piece.names) - 1
    apart = f"joins only {others} other{'s' * (others != 1)} to a piece of its own"
    if np.isfinite(recorded.positions).all(axis=1).sum() < LEAST_PHOTOGRAPHS:
        return f"{apart}, which has too few positions to be laid beside the block"
    vertical = estimate_vertical(piece, recorded.rotations)
    below_m = max(height_above_ground_m(block), 1e-6)
    try:
        placed = georeference(piece, recorded, vertical, heights=heights, relative=relative)
        higher_m = 0.0
        if placed.heights is not HeightSource.NONE:
            higher_m = float(np.median(placed.block.centres[:, 2]) - np.median(block.centres[:, 2]))
        if abs(higher_m) > MOST_HIGHER * below_m:  # no drone's doing: heights that drift
            placed = georeference(piece, recorded, vertical, heights=HeightUse.IGNORE)
            higher_m = 0.0
    except OrientationError:
        return f"{apart}, whose positions are all at one place"
    # Over one level of ground a piece flown higher has as much more below it.
    expected_m = below_m + higher_m
    stretch = expected_m / max(height_above_ground_m(placed.block), 1e-6)
    if not 1 / MOST_STRETCH < stretch < MOST_STRETCH:
        return (
            f"{apart}, which by its positions was flown {1 / stretch:.1f} times as high above the "
            "ground as the block: they contradict each other"
        )
    level_m = float(np.median(block.centres[:, 2])) + higher_m
    return replace(placed, block=_stretched(placed.block, stretch, level_m))


def _stretched(piece: Block, stretch: float, level_m: float) -> Block:
    """Scale a placed piece about the middle of its cameras, and bring these to a height.

    Positions pull it from there to where they are, by their weight.
    """
    middle = piece.centres.mean(axis=0)
    moved = piece.transformed(stretch, np.eye(3), (1 - stretch) * middle)
    rise_m = level_m - float(np.median(moved.centres[:, 2]))
    return moved.transformed(1.0, np.eye(3), np.array([0.0, 0.0, rise_m]))


def _combined(whole: Block, *parts: tuple[Block, Priors]) -> Priors:
    """Return what is known of the photographs of a merged block, in its order."""
    place = {name: i for i, name in enumerate(name for block, _ in parts for name in block.names)}
    order = [place[name] for name in whole.names]
    cameras = {camera.camera_id: camera for _, known in parts for camera in known.cameras}
    of_photographs = {
        key: np.concatenate([getattr(known, key) for _, known in parts])[order]
        for key in ("positions", "position_sigmas", "rotations", "tilt_sigmas_deg")
    }
    return Priors(
        cameras=tuple(cameras[camera.camera_id] for camera in whole.cameras),
        positions=of_photographs["positions"],
        position_sigmas=of_photographs["position_sigmas"],
        rotations=of_photographs["rotations"],
        tilt_sigmas_deg=of_photographs["tilt_sigmas_deg"],
    )


def _doubted(
    scale: VerticalScale, flown: FlyingHeight | None, block: Block, recorded: Priors
) -> VerticalScale:
    """Count contradictions about the lens as doubt about the vertical scale.

    Where the adjusted focal length is further from the metadata's than its standard deviation, that
    of the scale is multiplied by their ratio (Birge's), as all of them are evidently too small.
    Half the difference between lens and barometer counts where they exclude each other.

    References
    ----------
    Birge, R. T. (1932). The calculation of errors by the method of least squares. Physical Review
    40, 207.
    """
    ratio = max(
        abs(adjusted.fx_px / prior.fx_px - 1) / prior.focal_sigma
        for adjusted, prior in zip(block.cameras, recorded.cameras, strict=True)
    )
    apart = 0.0 if flown is None or flown.agrees else abs(flown.recorded_m / flown.solved_m - 1)
    sigma = float(np.hypot(scale.sigma_scale * max(ratio, 1.0), apart / 2))
    return replace(scale, sigma_scale=sigma, weak=scale.weak or apart > 0)


def _relative_heights(captures: Sequence[Capture]) -> NDArray[np.float64]:
    return np.array([c.height_takeoff_m or np.nan for c in captures], float)


def _order_taken(captures: Sequence[Capture]) -> NDArray[np.int64]:
    """Return the indices of captures by camera and time, or by name where times are not known."""
    timed = all(capture.time_utc is not None for capture in captures)
    order = sorted(
        range(len(captures)),
        key=lambda i: (
            captures[i].body,
            captures[i].band,
            str(captures[i].time_utc) if timed else "",
            captures[i].name,
        ),
    )
    return np.array(order)


def _recorded(
    captures: Sequence[Capture],
    cameras: Mapping[str, Camera],
    frame: LocalFrame,
    options: RefineOptions,
) -> Priors:
    """Collect what is recorded, with the standard deviations of a user who knows better."""
    known = collect_known(captures, cameras, frame)
    if options.position_sigma_m is None:
        return known
    level_m, up_m = options.position_sigma_m
    sigmas = np.broadcast_to([level_m, level_m, up_m], known.position_sigmas.shape)
    return replace(known, position_sigmas=sigmas.copy())


def observation_sigma_px(block: Block) -> float:
    """Return the standard deviation of one image coordinate, the unknowns allowed for."""
    squared = float((block.residuals() ** 2).sum())
    freedom = 2 * len(block.photo) - 3 * len(block.points) - 6 * len(block.names)
    return float(np.sqrt(squared / max(freedom, 1)))


def weigh(block: Block, options: RefineOptions, *, sigma_px: float | None = None) -> TieWeight:
    """Weigh tie points by how well they fit and by how much they err together.

    How well they fit is as the block has it unless `sigma_px` is given.

    ``n`` observations of one photograph whose residuals have the correlation ``rho`` are worth
    ``n / (1 + (n - 1) rho)`` independent ones.

    References
    ----------
    Kish, L. (1965). Survey Sampling, section 5.4 (the design effect).
    """
    sigma_px = observation_sigma_px(block) if sigma_px is None else sigma_px
    number = float(np.median(np.bincount(block.photo, minlength=len(block.names))))
    effect = 1 + max(number - 1, 0) * options.common_error_share
    return TieWeight(loss_px=2 * sigma_px, sigma_px=sigma_px * float(np.sqrt(effect)))


def _without_strays(block: Block) -> Block:
    """Return the block without points that came to lie behind a camera or beyond all measure."""
    near = block.ray_angles() > np.radians(STRAY_ANGLE_DEG)
    return block.kept(np.isfinite(block.residuals()).all(axis=1) & near[block.point])


def without_outliers(block: Block, options: RefineOptions) -> Block:
    """Return the block without what fits badly and points seen under too small an angle."""
    residual_px = np.linalg.norm(block.residuals(), axis=1)
    limit_px = options.outlier_spreads * 1.4826 * float(np.nanmedian(residual_px))
    wide = block.ray_angles() > np.radians(options.min_ray_angle_deg)
    return block.kept((residual_px < limit_px) & wide[block.point])
