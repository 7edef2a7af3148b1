from __future__ import annotations

import threading

import numpy as np
import pytest

from photogrammetry.orientation.matching import VerifiedPair
from photogrammetry.orientation.sfm import (
    SfmOptions,
    TrackOptions,
    build_tracks,
    choose_tracks,
    reconstruct,
)


def pair(first: int, second: int, matches: list[tuple[int, int]]) -> VerifiedPair:
    return VerifiedPair(
        first=first,
        second=second,
        configuration=2,
        matrices=np.zeros((3, 3, 3)),
        inliers=np.array(matches, np.uint32).reshape(-1, 2),
    )


def test_matches_join_to_tracks():
    tracks = build_tracks(
        [3, 3, 3],
        [
            (0, 1, np.array([[0, 2], [1, 1]], np.uint32)),
            (1, 2, np.array([[2, 0]], np.uint32)),
        ],
    )
    assert sorted(tracks.lengths.tolist()) == [2, 3]
    long = tracks.track == np.argmax(tracks.lengths)
    seen = zip(tracks.photo[long].tolist(), tracks.keypoint[long].tolist(), strict=True)
    assert list(seen) == [(0, 0), (1, 2), (2, 0)]


def test_a_track_that_sees_a_photograph_twice_is_dropped():
    tracks = build_tracks(
        [2, 2, 2],
        [
            (0, 1, np.array([[0, 0]], np.uint32)),
            (1, 2, np.array([[0, 0]], np.uint32)),
            (0, 2, np.array([[1, 0]], np.uint32)),
        ],
    )
    assert len(tracks.lengths) == 0


def test_no_matches_are_no_tracks():
    assert len(build_tracks([5, 5], []).lengths) == 0


def test_every_cell_keeps_its_longest_tracks():
    random = np.random.default_rng(0)
    xy = [random.uniform(0, 100, (50, 2)).astype(np.float32) for _ in range(3)]
    everything = np.column_stack([np.arange(50)] * 2).astype(np.uint32)
    tracks = build_tracks([50] * 3, [(0, 1, everything), (1, 2, everything[:10])])
    kept = choose_tracks(tracks, xy, [100] * 3, TrackOptions(cells=1, per_cell=10))
    assert kept.lengths.tolist() == [3] * 10


def matched(flown, block):
    """Photographs, pairs and tracks of a block, as matching would have left them."""
    photographs, pairs = flown.matched_photographs(block)
    tracks = build_tracks(
        [len(xy) for xy in photographs.xy_px], [(p.first, p.second, p.inliers) for p in pairs]
    )
    return photographs, pairs, tracks


def test_a_block_is_reconstructed_up_to_a_similarity(tmp_path, flown):
    from photogrammetry.orientation.block import fit_similarity

    block, poses = flown.flown_block(noise_px=0.2)
    photographs, pairs, tracks = matched(flown, block)
    joined = []

    def watch(items, label, total):
        for item in items:
            joined.append((label, total))
            yield item

    blocks = reconstruct(
        photographs, pairs, tracks, tmp_path, options=SfmOptions(), threads=1, track=watch
    )
    assert len(blocks) == 1
    found = blocks[0]
    assert found.names == block.names
    assert joined[0] == ("Orienting photographs", 15)
    truth = np.array([p.centre for p in poses])
    fit = fit_similarity(found.centres, truth)
    assert np.abs(fit(found.centres) - truth).max() < 0.1  # the lens is not adjusted yet


def test_the_global_solution_agrees(tmp_path, flown):
    from photogrammetry.orientation.block import fit_similarity

    block, poses = flown.flown_block(noise_px=0.2)
    photographs, pairs, tracks = matched(flown, block)
    options = SfmOptions(global_above=5)
    blocks = reconstruct(photographs, pairs, tracks, tmp_path, options=options, threads=1)
    assert len(blocks[0].names) == 15
    truth = np.array([p.centre for p in poses])
    fit = fit_similarity(blocks[0].centres, truth)
    assert np.abs(fit(blocks[0].centres) - truth).max() < 0.3


def test_an_interrupt_stops_the_growth(tmp_path, flown):
    block, _ = flown.flown_block(noise_px=0.2)
    photographs, pairs, tracks = matched(flown, block)

    def interrupt(items, label, total):
        for item in items:
            yield item
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconstruct(
            photographs, pairs, tracks, tmp_path, options=SfmOptions(), threads=1, track=interrupt
        )
    assert not [t for t in threading.enumerate() if t.name == "reconstruction"]
