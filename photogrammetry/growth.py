"""Grow the largest whole block that the photographs allow, with a second look where it breaks.

Photographs are joined piece by piece (`sfm.py`), pieces by what they share (`pieces.py`).  Where
more than one piece is left, or photographs without any, the pairs between them are compared again
with patience (`rematching.py`).  With what that adds a single piece grows on to the photographs
left out, and several are grown anew.  A block that holds together at once costs nothing more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from photogrammetry.block import Block
from photogrammetry.features import Features
from photogrammetry.pairs import Pair
from photogrammetry.pieces import join_pieces
from photogrammetry.rematching import SecondLook, propose_again
from photogrammetry.sfm import START, Photographs, SfmOptions, reconstruct
from photogrammetry.tracks import (
    TrackOptions,
    Tracks,
    build_tracks,
    choose_tracks,
    spanning_tracks,
)
from photogrammetry.verification import VerifiedPair
from tmp.captures import Capture
from tmp.frames import LocalFrame
from tmp.progress import Track, silent

log = logging.getLogger(__name__)

RELAXED_INLIERS = 12
"""Tie points by which a photograph joins on the second attempt."""


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

        Notes
        -----
        Of two attempts the one with the larger largest piece counts, the first if they are alike.
        """
        first = self._attempt(pairs, self.sfm, self.scratch_dir / "first", track)
        if first.rank[0] == len(self.captures):
            return first
        more = self.rematch(self._propose(first))
        known = {(pair.first, pair.second): pair for pair in pairs}
        better = {
            (pair.first, pair.second): pair
            for pair in more
            if len(pair.inliers) > len(_inliers(known.get((pair.first, pair.second))))
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


def _inliers(pair: VerifiedPair | None) -> NDArray[np.uint32]:
    return np.zeros((0, 2), np.uint32) if pair is None else pair.inliers
