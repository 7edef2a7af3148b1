"""Pieces of a block: joined by what they share, or laid side by side by their own positions.

Where overlap is poor a block grows in pieces.  Two pieces that see the same tie points, or the same
photographs, are one block after a similarity; pieces that share nothing still lie in one world if
both have positions.

References
----------
Rousseeuw, P. J. (1984). Least median of squares regression. JASA 79.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from photogrammetry.block import Block
from photogrammetry.similarity import Similarity, fit_similarity_robustly
from tmp.cameras import Camera

log = logging.getLogger(__name__)
Float = NDArray[np.float64]
Int = NDArray[np.int64]

LEAST_SHARED = 8
"""Tie points and projection centres in common by which two pieces are joined, ..."""
AGREEING = 0.6
"""... this share of them within ..."""
JOIN_ERROR = 0.03
"""... this fraction of the flying height of one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A piece laid onto another."""

    similarity: Similarity
    agreeing: int
    """Points and centres that agree."""


def join_pieces(blocks: Sequence[Block]) -> list[Block]:
    """Join pieces that share tie points or photographs, the largest first.

    Parameters
    ----------
    blocks : sequence of Block
        In frames of their own, with `Block.track`.

    Returns
    -------
    list of Block
        Those that are left, the largest first, none of whose photographs are in a larger one.
        A joined block lies in the frame of its largest piece.
    """
    left = sorted(blocks, key=lambda block: (-len(block.names), block.names))
    done: list[Block] = []
    while left:
        whole, rest = left[0], left[1:]
        grown = True
        while grown:
            grown = False
            for piece in list(rest):
                found = align_piece(whole, piece)
                if found is None:
                    continue
                log.info(
                    "pieces of %d and %d photographs joined by %d points",
                    len(whole.names),
                    len(piece.names),
                    found.agreeing,
                )
                whole = merge(whole, _moved(piece, found.similarity))
                rest.remove(piece)
                grown = True
        done.append(whole)
        left = [p for p in (_without(piece, whole.names) for piece in rest) if len(p.names) >= 2]
        left.sort(key=lambda block: (-len(block.names), block.names))
    return sorted(done, key=lambda block: (-len(block.names), block.names))


def align_piece(whole: Block, piece: Block) -> Joined | None:
    """Return the similarity from a piece's frame to that of another; None where nothing fits."""
    source, target = _shared_points(whole, piece)
    shared = sorted(set(whole.names).intersection(piece.names))
    if shared:
        mine = [piece.names.index(name) for name in shared]
        theirs = [whole.names.index(name) for name in shared]
        source = np.vstack([source, piece.centres[mine]])
        target = np.vstack([target, whole.centres[theirs]])
    if len(source) < LEAST_SHARED:
        return None
    found = fit_similarity_robustly(source, target)
    if not np.isfinite(found.scale) or found.scale <= 0:
        return None
    off = np.linalg.norm(found(source) - target, axis=1)
    agreeing = off < JOIN_ERROR * _flying_height(whole)
    if agreeing.sum() < LEAST_SHARED or agreeing.mean() < AGREEING:
        return None
    return Joined(similarity=found, agreeing=int(agreeing.sum()))


def merge(first: Block, second: Block) -> Block:
    """Return one block of two in the same frame.

    Photographs in both have the pose that the first gives them, and tie points of one track are
    one point, where the first has it; with `Block.track` unknown all points stay apart.
    """
    names = tuple(sorted(set(first.names).union(second.names)))
    place = {name: i for i, name in enumerate(names)}
    cameras = sorted({c.camera_id: c for c in (*second.cameras, *first.cameras)}.items())
    camera_place = {key: i for i, (key, _) in enumerate(cameras)}
    poses, camera_of = np.empty((len(names), 7)), np.empty(len(names), np.int64)
    for block in (second, first):  # the first has the last word
        at = [place[name] for name in block.names]
        poses[at] = block.poses
        ids = [block.cameras[i].camera_id for i in block.camera_of]
        camera_of[at] = [camera_place[key] for key in ids]
    number = _merged_points(first, second)
    fresh = number >= len(first.points)
    photo = np.concatenate(
        [np.array([place[name] for name in b.names])[b.photo] for b in (first, second)]
    )
    point = np.concatenate([first.point, number[second.point]])
    xy_px = np.vstack([first.xy_px, second.xy_px])
    once = np.unique(np.column_stack([photo, point]), axis=0, return_index=True)[1]
    order = np.sort(once)
    tracked = len(first.track) and len(second.track)
    return Block(
        names=names,
        cameras=tuple(camera for _, camera in cameras),
        camera_of=camera_of,
        poses=poses,
        points=np.vstack([first.points, second.points[fresh]]),
        photo=photo[order],
        point=point[order],
        xy_px=xy_px[order],
        track=np.concatenate([first.track, second.track[fresh]])
        if tracked
        else np.zeros(0, np.int64),
    )


def _merged_points(first: Block, second: Block) -> Int:
    """Return the number that each of the second block's points has in the merged block."""
    number = np.full(len(second.points), -1)
    _, in_first, in_second = _common(first.track, second.track)
    number[in_second] = in_first
    fresh = number < 0
    number[fresh] = len(first.points) + np.arange(fresh.sum())
    return number


def _common(first: Int, second: Int) -> tuple[Int, Int, Int]:
    """Return the tracks in both, and their first places in each."""
    known = [np.flatnonzero(tracks >= 0) for tracks in (first, second)]
    common, a, b = np.intersect1d(first[known[0]], second[known[1]], return_indices=True)
    return common, known[0][a], known[1][b]


def _shared_points(whole: Block, piece: Block) -> tuple[Float, Float]:
    _, in_whole, in_piece = _common(whole.track, piece.track)
    return piece.points[in_piece], whole.points[in_whole]


def _flying_height(block: Block) -> float:
    """Return the median distance of tie points from the photographs that see them."""
    return float(
        np.median(np.linalg.norm(block.points[block.point] - block.centres[block.photo], axis=1))
    )


def _moved(block: Block, similarity: Similarity) -> Block:
    return block.transformed(similarity.scale, similarity.rotation, similarity.translation)


def _without(block: Block, names: Sequence[str]) -> Block:
    """Return a block without some photographs and without points that fewer than two then see."""
    gone = set(names)
    stay = np.array([name not in gone for name in block.names])
    index = np.cumsum(stay) - 1
    camera_of = block.camera_of[stay]
    used = np.unique(camera_of)
    seen = block.kept(stay[block.photo])
    return replace(
        seen,
        names=tuple(name for name, kept in zip(block.names, stay, strict=True) if kept),
        cameras=_some(block.cameras, used),
        camera_of=np.searchsorted(used, camera_of),
        poses=block.poses[stay],
        photo=index[seen.photo],
    )


def _some(cameras: tuple[Camera, ...], used: Int) -> tuple[Camera, ...]:
    return tuple(cameras[i] for i in used)
