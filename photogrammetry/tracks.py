"""Join pair-wise matches to tracks, and choose the tracks worth computing with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from photogrammetry.matching import Matches

Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackOptions:
    """How densely tie points cover a photograph."""

    cells: int = 16
    """Cells along the long side."""
    per_cell: int = 5
    """The longest tracks of each cell that are kept, from this photograph's point of view."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """Observations of tie points, ordered by track and photograph."""

    photo: Int
    """Photograph of each observation, (K,)."""
    keypoint: Int
    """Index of its keypoint in that photograph, (K,)."""
    track: Int
    """Which track it belongs to, counted from 0 without gaps, (K,)."""

    @property
    def lengths(self) -> Int:
        """Number of photographs that see each track."""
        return np.bincount(self.track)

    def by_photo(self, photos: int) -> list[Int]:
        """Return the indices of each photograph's observations."""
        order = np.argsort(self.photo, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.photo, minlength=photos))[:-1])

    def kept(self, tracks: NDArray[np.bool_]) -> Tracks:
        """Return only some of the tracks, counted anew."""
        mine = tracks[self.track]
        index = np.cumsum(tracks) - 1
        return Tracks(
            photo=self.photo[mine], keypoint=self.keypoint[mine], track=index[self.track[mine]]
        )


def build_tracks(keypoints: Sequence[int], matches: Sequence[tuple[int, int, Matches]]) -> Tracks:
    """Join matches to tracks that see no photograph twice.

    Parameters
    ----------
    keypoints : sequence of int
        Number of keypoints of each photograph.
    matches : sequence of (first, second, ndarray of shape (M, 2))
        Verified matches of pairs of photographs.

    Notes
    -----
    A track with two keypoints in one photograph holds a wrong match somewhere; it is dropped
    whole, as there is no telling which of its parts is right.
    """
    offsets = np.concatenate([[0], np.cumsum(keypoints)]).astype(np.int64)
    total = int(offsets[-1])
    a = np.concatenate([np.zeros(0, int), *(offsets[i] + m[:, 0] for i, _, m in matches)])
    b = np.concatenate([np.zeros(0, int), *(offsets[j] + m[:, 1] for _, j, m in matches)])
    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(total, total))
    _, label = connected_components(graph, directed=False)
    matched = np.unique(np.concatenate([a, b]))
    photo = np.searchsorted(offsets, matched, side="right") - 1
    track = np.unique(label[matched], return_inverse=True)[1]
    order = np.lexsort((photo, track))
    photo, track, matched = photo[order], track[order], matched[order]
    twice = np.flatnonzero((np.diff(track) == 0) & (np.diff(photo) == 0))
    sound = np.ones(int(track.max(initial=-1)) + 1, bool)
    sound[track[twice]] = False
    joined = Tracks(photo=photo, keypoint=matched - offsets[photo], track=track)
    return joined.kept(sound)


def spanning_tracks(tracks: Tracks, releases: Sequence[str]) -> Tracks:
    """Drop tracks that only the bands of one release of the shutter see.

    Their rays are a few centimetres apart and say nothing of how far the point is.

    Parameters
    ----------
    releases : sequence of str
        Which release each photograph belongs to; empty for one by itself.
    """
    number: dict[str, int] = {}
    release = np.array(
        [number.setdefault(name or f"\0{photo}", photo) for photo, name in enumerate(releases)]
    )
    of = release[tracks.photo]
    count = len(tracks.lengths)
    least, most = np.full(count, len(releases)), np.full(count, -1)
    np.minimum.at(least, tracks.track, of)
    np.maximum.at(most, tracks.track, of)
    return tracks.kept(most > least)


def choose_tracks(
    tracks: Tracks,
    xy_px: Sequence[NDArray[np.float32]],
    long_sides_px: Sequence[int],
    options: TrackOptions,
) -> Tracks:
    """Keep the longest tracks of every cell of every photograph.

    Parameters
    ----------
    xy_px : sequence of ndarray of shape (N, 2)
        Keypoint positions of each photograph.
    long_sides_px : sequence of int
        Long side of each photograph.

    Notes
    -----
    Long tracks tie more photographs together than short ones do, and an even cover determines
    the lens; a few hundred such points per photograph fix a block as well as thousands.  Among
    tracks of equal length those of small scale are preferred, whose places are more precise;
    keypoints are ordered by decreasing scale.
    """
    lengths = tracks.lengths
    cell = np.empty(len(tracks.photo), np.int64)
    for photo, mine in enumerate(tracks.by_photo(len(long_sides_px))):
        long_side_px = long_sides_px[photo]
        place = (xy_px[photo][tracks.keypoint[mine]] // (long_side_px / options.cells)).astype(int)
        cell[mine] = (photo * (options.cells + 1) + place[:, 1]) * (options.cells + 1) + place[:, 0]
    order = np.lexsort((-tracks.keypoint, -lengths[tracks.track], cell))
    starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    wanted = np.zeros(len(lengths), bool)
    wanted[tracks.track[order[rank < options.per_cell]]] = True
    return tracks.kept(wanted)
