"""Second looks: pairs between pieces of a block, and about photographs that joined none of them.

What a first, quick comparison misses costs a whole block where nothing else ties its parts
together.  Those few pairs are compared again with all keypoints and looser tests; geometric
verification stays what it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from photogrammetry.matching import MatchOptions, count_alike
from photogrammetry.pairs import Pair
from tmp.captures import Capture
from tmp.frames import LocalFrame

Offer = Callable[[int, int], None]
log = logging.getLogger(__name__)

PATIENT = MatchOptions(
    coarse_keypoints=5000,
    patient_keypoints=8000,
    coarse_ratio=0.9,
    coarse_error=0.05,
    coarse_inliers=10,
    ratio=0.85,
    radius=0.1,
)
"""How pairs are compared again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondLook:
    """With how many others a photograph is compared again."""

    nearest: int = 10
    """By position, ..."""
    sequence: int = 4
    """... before and after in the order of names, ..."""
    alike: int = 6
    """... and by likeness of ..."""
    alike_keypoints: int = 400
    """... so many of their largest keypoints."""
    enough_inliers: int = 60
    """Matches of a verified pair from which it is not compared again."""
    most_by_likeness: int = 400
    """Photographs up to which likeness is tried: its work grows with their square."""


def propose_again(
    captures: Sequence[Capture],
    piece_of: NDArray[np.int64],
    verified: Sequence[tuple[int, int]],
    frame: LocalFrame,
    descriptors: Sequence[NDArray[np.uint8]] | None,
    options: SecondLook,
) -> list[Pair]:
    """Choose pairs to compare again, ordered by index.

    Parameters
    ----------
    captures : sequence of Capture
    piece_of : ndarray of shape (N,)
        Piece of each photograph, 0 for the largest, -1 for none.
    verified : sequence of (int, int)
        Pairs that need no second look.
    descriptors : sequence of ndarray of shape (K, 128), optional
        Of each photograph's largest keypoints, for likeness; without them it is not asked.
    """
    apart = np.flatnonzero(piece_of != 0)
    known = set(verified)
    found: set[tuple[int, int]] = set()

    def offer(first: int, second: int) -> None:
        pair = min(first, second), max(first, second)
        together = piece_of[first] == piece_of[second] and piece_of[first] >= 0
        same_band = captures[first].band == captures[second].band
        if first != second and same_band and not together and pair not in known:
            found.add(pair)

    for i in apart.tolist():
        for j in range(i - options.sequence, i + options.sequence + 1):
            if 0 <= j < len(captures):
                offer(i, j)
    _offer_nearest(captures, piece_of, frame, options, offer)
    if descriptors is not None:
        for i in apart.tolist():
            for j in _most_alike(descriptors, i, piece_of, options):
                offer(i, j)
    log.info("%d pairs get a second look", len(found))
    return [Pair(first=first, second=second, overlap=1.0) for first, second in sorted(found)]


def _offer_nearest(
    captures: Sequence[Capture],
    piece_of: NDArray[np.int64],
    frame: LocalFrame,
    options: SecondLook,
    offer: Offer,
) -> None:
    """Offer each photograph apart with the nearest ones of every other piece."""
    if not frame.referenced:
        return
    placed = [i for i, capture in enumerate(captures) if capture.positioned]
    if not placed:
        return
    geodetic = [(captures[i].longitude_deg, captures[i].latitude_deg, 0.0) for i in placed]
    world = frame.world_from_geodetic(np.array(geodetic, float))[:, :2]
    of = piece_of[placed]
    for piece in np.unique(of):
        theirs = np.flatnonzero(of == piece)
        mine = np.flatnonzero(((of != piece) | (of < 0)) & (of != 0))
        if len(mine) == 0:
            continue
        count = min(options.nearest, len(theirs))
        _, near = cKDTree(world[theirs]).query(world[mine], k=range(1, count + 1))
        for i, others in zip(mine, near, strict=True):
            for j in theirs[others]:
                offer(placed[i], placed[j])


def _most_alike(
    descriptors: Sequence[NDArray[np.uint8]],
    photo: int,
    piece_of: NDArray[np.int64],
    options: SecondLook,
) -> list[int]:
    others = [
        j
        for j in range(len(descriptors))
        if j != photo and (piece_of[j] != piece_of[photo] or piece_of[photo] < 0)
    ]
    alike = [count_alike(descriptors[photo], descriptors[j]) for j in others]
    order = np.argsort(-np.array(alike), kind="stable")[: options.alike]
    return [others[k] for k in order if alike[k] >= 3]
