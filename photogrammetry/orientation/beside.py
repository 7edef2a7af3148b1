"""Pieces that share nothing with the block, laid beside it by their own positions.

A gap in the flight, or water, parts a survey into blocks that no tie point joins.  All of them have
positions, so they lie in one world, each to the accuracy of its own.  What such a piece lacks, a
firm scale above all, is taken from the block: drones fly one survey at one height.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from photogrammetry.orientation.adjust import Known
from photogrammetry.orientation.block import Block
from photogrammetry.orientation.georeference import HeightSource, Placement, georeference
from photogrammetry.orientation.pieces import merge
from photogrammetry.orientation.vertical import estimate_vertical
from tmp.cameras import Camera
from tmp.captures import HeightUse
from tmp.errors import OrientationError

log = logging.getLogger(__name__)
Float = NDArray[np.float64]
Int = NDArray[np.int64]

LEAST_PHOTOGRAPHS = 3
MOST_HIGHER = 0.7
"""Share of the flying height by which a piece may be flown higher or lower than the block."""
MOST_STRETCH = 1.5
"""Flying height of a piece against the block's, or its inverse, beyond which they contradict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """A block with what was laid beside it."""

    block: Block
    known: Known
    """Of its photographs, in its order."""
    beside: tuple[tuple[str, ...], ...]
    """Photographs of each piece laid beside."""
    refused: dict[str, str]
    """Why a piece was not, by photograph."""


def lay_beside(
    placement: Placement,
    pieces: Sequence[Block],
    recorded: Callable[[Block], Known],
    relative: Callable[[Block], Float],
) -> Laid:
    """Lay pieces beside a placed block.

    Parameters
    ----------
    placement : Placement
        Of the block.
    pieces : sequence of Block
        In frames of their own; no photograph in two, nor in the block.
    recorded : callable
        Gives what is recorded of a piece's photographs, in its order.
    relative : callable
        Gives their heights above take-off, NaN where unknown.
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
    return Laid(block=block, known=known, beside=tuple(beside), refused=refused)


def _lay(
    block: Block, piece: Block, recorded: Known, relative: Float, heights: HeightUse
) -> Placement | str:
    """Place a piece, or say why it cannot lie beside the block."""
    others = len(piece.names) - 1
    apart = f"joins only {others} other{'s' * (others != 1)} to a piece of its own"
    if np.isfinite(recorded.positions).all(axis=1).sum() < LEAST_PHOTOGRAPHS:
        return f"{apart}, which has too few positions to be laid beside the block"
    vertical = estimate_vertical(piece, recorded.rotations)
    below_m = _height_above_ground(block)
    try:
        placed = georeference(piece, recorded, vertical, heights=heights, relative=relative)
        higher_m = _how_much_higher(block, placed)
        if abs(higher_m) > MOST_HIGHER * below_m:  # no drone's doing: heights that drift
            placed = georeference(piece, recorded, vertical, heights=HeightUse.IGNORE)
            higher_m = 0.0
    except OrientationError:
        return f"{apart}, whose positions are all at one place"
    # Over one level of ground a piece flown higher has as much more below it.
    expected_m = below_m + higher_m
    stretch = expected_m / _height_above_ground(placed.block)
    if not 1 / MOST_STRETCH < stretch < MOST_STRETCH:
        return (
            f"{apart}, which by its positions was flown {1 / stretch:.1f} times as high above the "
            "ground as the block: they contradict each other"
        )
    level_m = float(np.median(block.centres[:, 2])) + higher_m
    return replace(placed, block=_stretched(placed.block, stretch, level_m))


def _how_much_higher(block: Block, placed: Placement) -> float:
    if placed.heights is HeightSource.NONE:
        return 0.0
    return float(np.median(placed.block.centres[:, 2]) - np.median(block.centres[:, 2]))


def _stretched(piece: Block, stretch: float, level_m: float) -> Block:
    """Scale a placed piece about the middle of its cameras, and bring these to a height.

    Positions pull it from there to where they are, by their weight.
    """
    middle = piece.centres.mean(axis=0)
    moved = piece.transformed(stretch, np.eye(3), (1 - stretch) * middle)
    rise_m = level_m - float(np.median(moved.centres[:, 2]))
    return moved.transformed(1.0, np.eye(3), np.array([0.0, 0.0, rise_m]))


def _height_above_ground(block: Block) -> float:
    below = block.centres[block.photo, 2] - block.points[block.point, 2]
    return max(float(np.median(below)), 1e-6)


def _combined(whole: Block, first: tuple[Block, Known], second: tuple[Block, Known]) -> Known:
    """Return what is known of the photographs of a merged block, in its order."""
    place = {name: i for i, name in enumerate(whole.names)}
    count = len(place)
    positions, sigmas = np.full((count, 3), np.nan), np.full((count, 3), np.nan)
    rotations, tilts_deg = np.full((count, 3, 3), np.nan), np.full(count, np.nan)
    cameras: dict[str, Camera] = {}
    for block, known in (first, second):
        at: Int = np.array([place[name] for name in block.names])
        positions[at], sigmas[at] = known.positions, known.position_sigmas
        rotations[at], tilts_deg[at] = known.rotations, known.tilt_sigmas_deg
        cameras |= {camera.camera_id: camera for camera in known.cameras}
    return Known(
        positions=positions,
        position_sigmas=sigmas,
        rotations=rotations,
        tilt_sigmas_deg=tilts_deg,
        cameras=tuple(cameras[camera.camera_id] for camera in whole.cameras),
    )
