"""Pieces of a block: grown, joined by what they share, and grown again after a second look.

Where overlap is poor a block grows in pieces.  Two pieces that see the same tie points, or the
same photographs, are one block after a similarity.

What a first, quick comparison misses costs a whole block where nothing else ties its parts
together.  Those few pairs are compared again with all keypoints and looser tests; geometric
verification stays what it is.

So photographs are joined piece by piece (`sfm.py`), pieces by what they share; where more than one
piece is left, or photographs without any, the pairs between them are compared again.  With what
that adds a single piece grows on to the photographs left out, and several are grown anew.  A block
that holds together at once costs nothing more.

References
----------
Rousseeuw, P. J. (1984). Least median of squares regression. JASA 79.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from photogrammetry.orientation.block import (
    Block,
    Similarity,
    common_tracks,
    fit_similarity_robustly,
    merge,
)
from photogrammetry.orientation.features import Features
from photogrammetry.orientation.matching import MatchOptions, Pair, VerifiedPair, count_alike
from photogrammetry.orientation.sfm import (
    START,
    Photographs,
    SfmOptions,
    TrackOptions,
    Tracks,
    build_tracks,
    choose_tracks,
    reconstruct,
    spanning_tracks,
)
from tmp.captures import Capture
from tmp.geo.frames import LocalFrame
from tmp.progress import Track, silent

log = logging.getLogger(__name__)
Float = NDArray[np.float64]
Int = NDArray[np.int64]

LEAST_SHARED = 8
"""Tie points and projection centres in common by which two pieces are joined, ..."""
AGREEING = 0.6
"""... this share of them within ..."""
JOIN_ERROR = 0.03
"""... this fraction of the flying height of one another."""

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
RELAXED_INLIERS = 12
"""Tie points by which a photograph joins on the second attempt."""


def join_pieces(blocks: Sequence[Block]) -> list[Block]:
    """Join pieces, in frames of their own, that share tie points or photographs, the largest first.

    Returns those that are left, the largest first, none of whose photographs are in a larger one.
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
                similarity, points = found
                sizes = len(whole.names), len(piece.names)
                log.info("pieces of %d and %d photographs joined by %d points", *sizes, points)
                moved = piece.transformed(
                    similarity.scale, similarity.rotation, similarity.translation
                )
                whole = merge(whole, moved)
                rest.remove(piece)
                grown = True
        done.append(whole)
        left = [p for p in (_without(piece, whole.names) for piece in rest) if len(p.names) >= 2]
        left.sort(key=lambda block: (-len(block.names), block.names))
    return sorted(done, key=lambda block: (-len(block.names), block.names))


def align_piece(whole: Block, piece: Block) -> tuple[Similarity, int] | None:
    """Return the similarity from a piece's frame to that of another; None where nothing fits.

    With it comes the number of points and projection centres that agree.
    """
    in_whole, in_piece = common_tracks(whole.track, piece.track)
    source, target = piece.points[in_piece], whole.points[in_whole]
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
    return found, int(agreeing.sum())


def _flying_height(block: Block) -> float:
    """Return the median distance of tie points from the photographs that see them."""
    return float(
        np.median(np.linalg.norm(block.points[block.point] - block.centres[block.photo], axis=1))
    )


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
        cameras=tuple(block.cameras[i] for i in used),
        camera_of=np.searchsorted(used, camera_of),
        poses=block.poses[stay],
        photo=index[seen.photo],
    )


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
    piece_of: Int,
    verified: Sequence[tuple[int, int]],
    frame: LocalFrame,
    descriptors: Sequence[NDArray[np.uint8]] | None,
    options: SecondLook,
) -> list[Pair]:
    """Choose pairs to compare again, ordered by index; not those verified.

    The piece of each photograph (N,) is 0 for the largest, -1 for none. Descriptors (K, 128), of
    each photograph's largest keypoints, tell likeness; without them it is not asked.
    """
    apart = np.flatnonzero(piece_of != 0).tolist()
    reach = range(-options.sequence, options.sequence + 1)
    offered = [(i, i + step) for i in apart for step in reach if 0 <= i + step < len(captures)]
    offered += _nearest_pairs(captures, piece_of, frame, options)
    if descriptors is not None:
        offered += [(i, j) for i in apart for j in _most_alike(descriptors, i, piece_of, options)]
    found: set[tuple[int, int]] = set()
    for first, second in offered:
        together = piece_of[first] == piece_of[second] and piece_of[first] >= 0
        same_band = captures[first].band == captures[second].band
        if first != second and same_band and not together:
            found.add((min(first, second), max(first, second)))
    found.difference_update(verified)
    log.info("%d pairs get a second look", len(found))
    return [Pair(first=first, second=second, overlap=1.0) for first, second in sorted(found)]


def _nearest_pairs(
    captures: Sequence[Capture], piece_of: Int, frame: LocalFrame, options: SecondLook
) -> Iterator[tuple[int, int]]:
    """Yield each photograph apart with the nearest ones of every other piece."""
    placed = [i for i, capture in enumerate(captures) if capture.positioned]
    if not placed or not frame.referenced:
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
                yield placed[i], placed[j]


def _most_alike(
    descriptors: Sequence[NDArray[np.uint8]], photo: int, piece_of: Int, options: SecondLook
) -> list[int]:
    others = [
        j
        for j in range(len(descriptors))
        if j != photo and (piece_of[j] != piece_of[photo] or piece_of[photo] < 0)
    ]
    alike = [count_alike(descriptors[photo], descriptors[j]) for j in others]
    order = np.argsort(-np.array(alike), kind="stable")[: options.alike]
    return [others[k] for k in order if alike[k] >= 3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """What photographs were joined to."""

    blocks: tuple[Block, ...]
    """Pieces that could not be joined, the largest first, no photograph in two; maybe none."""
    pairs: tuple[VerifiedPair, ...]
    tracks: Tracks
    """All there are; the block is grown from a choice of them."""

    @property
    def rank(self) -> tuple[int, int]:
        """Photographs in the largest piece, and in all."""
        sizes = [len(block.names) for block in self.blocks]
        return max(sizes, default=0), sum(sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grower:
    """Grows a block from verified pairs."""

    captures: Sequence[Capture]
    photographs: Photographs
    """Of the captures, in their order."""
    frame: LocalFrame
    tracks: TrackOptions
    sfm: SfmOptions
    second: SecondLook
    rematch: Callable[[Sequence[Pair]], list[VerifiedPair]]
    """Compares pairs again, patiently; returns those whose matches agree with one motion."""
    read_features: Callable[[int], Features]
    """Reads the keypoints of a photograph by its index."""
    scratch_dir: Path
    """An empty folder for COLMAP."""
    threads: int

    def grow(self, pairs: Sequence[VerifiedPair], *, track: Track = silent) -> Grown:
        """Join photographs to as few pieces as they allow.

        Of two attempts the one with the larger largest piece counts, the first if they are alike.
        """
        first = self._attempt(pairs, self.sfm, self.scratch_dir / "first", track)
        if first.rank[0] == len(self.captures):
            return first
        more = self.rematch(self._propose(first))
        known = {(pair.first, pair.second): pair for pair in pairs}
        better = {
            key: pair
            for key, pair in (((pair.first, pair.second), pair) for pair in more)
            if key not in known or len(pair.inliers) > len(known[key].inliers)
        }
        log.info("second look: %d pairs gained", len(better))
        if not better:
            return first
        relaxed = replace(self.sfm, min_inliers=RELAXED_INLIERS)
        joined = [pair for _, pair in sorted((known | better).items())]
        start = self.scratch_dir / "first" / START
        second = self._attempt(joined, relaxed, self.scratch_dir / "second", track, start)
        return second if second.rank > first.rank else first

    def _attempt(
        self,
        pairs: Sequence[VerifiedPair],
        options: SfmOptions,
        folder: Path,
        track: Track,
        start: Path | None = None,
    ) -> Grown:
        """Grow anew, or on from where there is something to start from."""
        photographs, captures = self.photographs, self.captures
        tracks = build_tracks(
            [len(xy) for xy in photographs.xy_px], [(p.first, p.second, p.inliers) for p in pairs]
        )
        tracks = spanning_tracks(tracks, [c.rig_id for c in captures])
        if not pairs:
            return Grown(blocks=(), pairs=(), tracks=tracks)
        long_sides = [max(c.width_px, c.height_px) for c in captures]
        chosen = choose_tracks(tracks, photographs.xy_px, long_sides, self.tracks)
        pieces = reconstruct(
            photographs,
            pairs,
            chosen,
            folder,
            options=options,
            threads=self.threads,
            start=start if start is not None and start.exists() else None,
            track=track,
        )
        return Grown(blocks=tuple(join_pieces(pieces)), pairs=tuple(pairs), tracks=tracks)

    def _propose(self, grown: Grown) -> list[Pair]:
        """Return the pairs that deserve a second look."""
        index = {capture.name: i for i, capture in enumerate(self.captures)}
        piece_of = np.full(len(index), -1)
        for number, block in enumerate(grown.blocks):
            piece_of[[index[name] for name in block.names]] = number
        return propose_again(
            self.captures,
            piece_of,
            [
                (pair.first, pair.second)
                for pair in grown.pairs
                if len(pair.inliers) >= self.second.enough_inliers
            ],
            self.frame,
            self._largest_descriptors(),
            self.second,
        )

    def _largest_descriptors(self) -> list[NDArray[np.uint8]] | None:
        if len(self.captures) > self.second.most_by_likeness:
            return None
        count = self.second.alike_keypoints
        return [
            self.read_features(photo).descriptors[:count].copy()
            for photo in range(len(self.captures))
        ]
